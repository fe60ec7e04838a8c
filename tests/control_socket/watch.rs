//! Watchers: told of every change, once and in order, however slow they are.

use super::*;

impl Raw {
    fn watch(&mut self, params: &Value) -> Value {
        self.send(line(1, "watch", params).as_bytes());
        self.line()
    }

    /// The next notification.
    fn told(&mut self) -> (String, Value) {
        let mut told = self.line();
        assert!(told.get("id").is_none(), "{told}");
        (told["method"].as_str().unwrap().to_owned(), told["params"].take())
    }

    /// Revisions, and ids of the VMs, of one `change`.
    fn change(&mut self) -> (u64, Vec<String>, bool) {
        let (method, params) = self.told();
        assert_eq!(method, "change", "{params}");
        let entries = params["entries"].as_array().unwrap().iter();
        let ids = entries.map(|entry| entry["vm"].as_str().unwrap_or("policy").to_owned()).collect();
        (params["revision"].as_u64().unwrap(), ids, params["more"].as_bool().unwrap())
    }
}

/// Sets so many VMs in one change.
fn txn(client: &mut Client, count: usize, note: &str) {
    let operations: Vec<Value> = (0..count)
        .map(|n| json!({"method": "vm.set", "params": {"id": format!("vm{n:04}"), "ips": [format!("10.0.{}.{}", n / 250, n % 250)], "note": note}}))
        .collect();
    client.call("txn", &json!({ "operations": operations })).unwrap();
}

#[test]
fn a_watcher_is_told_what_is_changed_from_now_on() {
    let served = start();
    let mut client = served.client();
    client.call("vm.set", &set("before", "10.0.1.1")).unwrap();
    let mut watcher = served.raw();
    let answer = watcher.watch(&json!({}));
    assert_eq!(answer["result"]["revision"], 1);
    client.call("vm.set", &set("a", "10.0.0.1")).unwrap();
    let told = watcher.told().1;
    assert_eq!(
        (&told["revision"], &told["boot"], &told["more"]),
        (&json!(2), &answer["result"]["boot"], &json!(false))
    );
    let entry = &told["entries"][0];
    assert_eq!((&entry["vm"], &entry["before"], &entry["method"]), (&json!("a"), &Value::Null, &json!("vm.set")));
    assert_eq!(entry["after"]["ips"], json!(["10.0.0.1"]));
    client.call("vm.set", &set("a", "10.0.0.1")).unwrap();
    client.call("policy.patch", &json!({"policy": {"mode": "monitor"}})).unwrap();
    assert_eq!(watcher.change(), (3, vec!["policy".to_owned()], false), "what changes nothing is not told");
}

#[test]
fn a_watcher_that_was_away_goes_on_where_it_was() {
    let served = start();
    let mut client = served.client();
    for n in 1..=5 {
        client.call("vm.set", &set(&format!("vm{n}"), &format!("10.0.0.{n}"))).unwrap();
    }
    let boot = client.call("version", &json!({})).unwrap()["boot"].clone();
    let mut watcher = served.raw();
    watcher.watch(&json!({"from_revision": 3, "if_boot": boot}));
    assert_eq!([watcher.change().0, watcher.change().0], [4, 5]);
    for params in [json!({"from_revision": 6}), json!({"from_revision": 3, "if_boot": "00000000"})] {
        let mut watcher = served.raw();
        watcher.watch(&params);
        let (method, told) = watcher.told();
        assert_eq!((method.as_str(), &told), ("compacted", &json!({"revision": 5, "boot": boot})), "{params}");
    }
    client.call("vm.delete", &json!({"id": "vm1"})).unwrap();
    assert_eq!(watcher.change(), (6, vec!["vm1".to_owned()], false));
}

#[test]
fn a_long_change_comes_in_parts_and_more_than_is_remembered_is_said_to_be_forgotten() {
    let served = start();
    let mut client = served.client();
    let mut watcher = served.raw();
    watcher.watch(&json!({}));
    txn(&mut client, 999, "first");
    let (first, second) = (watcher.change(), watcher.change());
    assert_eq!((first.0, first.1.len(), first.2), (1, 500, true));
    assert_eq!((second.0, second.1.len(), second.2), (1, 499, false));
    // It stops listening; nothing queues for it.
    for round in 0..40 {
        txn(&mut client, 999, &format!("round {round} {}", "x".repeat(900)));
    }
    let mut seen = 1;
    loop {
        match watcher.told() {
            (method, told) if method == "compacted" => {
                assert!(told["revision"].as_u64().unwrap() > seen);
                break;
            }
            (_, told) => seen = told["revision"].as_u64().unwrap(),
        }
    }
    assert!(seen < 41);
}

#[test]
fn a_watcher_hears_of_a_confirmation_and_of_a_rollback() {
    let served = start();
    let mut client = served.client();
    let mut watcher = served.raw();
    watcher.watch(&json!({}));
    let operation = json!([{"method": "vm.set", "params": set("a", "10.0.0.1")}]);
    client.call("txn", &json!({"operations": operation, "confirm_s": 60})).unwrap();
    client.call("txn.confirm", &json!({})).unwrap();
    assert_eq!([watcher.change().0, watcher.change().0], [1, 2]);
    let operation = json!([{"method": "vm.delete", "params": {"id": "a"}}]);
    client.call("txn", &json!({"operations": operation, "confirm_s": 1})).unwrap();
    // By itself, after a second.
    let [deleted, back] = [watcher.told().1, watcher.told().1];
    assert_eq!((&deleted["entries"][0]["after"], &back["entries"][0]["before"]), (&Value::Null, &Value::Null));
    assert_eq!(deleted["entries"][0]["before"], back["entries"][0]["after"]);
}

#[test]
fn watchers_disturb_nobody_and_end_with_the_server() {
    let served = start();
    let mut watchers: Vec<Raw> = (0..20).map(|_| served.raw()).collect();
    for watcher in &mut watchers {
        watcher.watch(&json!({}));
    }
    let mut client = served.client();
    for n in 0..200 {
        client.call("vm.set", &set("a", &format!("10.0.0.{n}"))).unwrap();
    }
    for watcher in &mut watchers {
        assert!((1..=200).all(|revision| watcher.change().0 == revision));
    }
    // One that says something is let go, and so is one that is gone.
    watchers[0].send(b"x");
    assert!(watchers[0].is_closed());
    drop(watchers.pop());
    while served.server.connections() > 19 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = served.server.stop();
    assert!(watchers.iter_mut().all(Raw::is_closed));
}

#[test]
fn watch_stands_alone() {
    let served = start();
    let mut client = served.raw();
    client.send(format!("[{}]\n", line(1, "watch", &json!({})).trim()).as_bytes());
    assert_eq!(client.line()[0]["error"]["data"]["kind"], "invalid_request");
    assert_eq!(client.watch(&json!({"if_boot": "00000000"}))["error"]["data"]["path"], "if_boot");
    assert!(client.watch(&json!({"from_revision": 0}))["result"].is_object());
}
