//! Changes that are undone unless somebody confirms them.

use super::*;

fn txn(operations: &Value, more: &[(&str, Value)]) -> Value {
    let mut params = json!({ "operations": operations });
    for (name, value) in more {
        params[name] = value.clone();
    }
    params
}

/// Frees web1, and opens a port to the class that web2 has.
fn risky() -> Value {
    json!([
        {"method": "vm.patch", "params": {"id": "web1", "public_ipv4": "203.0.113.5"}},
        {"method": "vm.delete", "params": {"id": "web2"}},
        {"method": "vm.set", "params": {"id": "web3", "ips": ["10.0.0.7"]}},
        {"method": "policy.patch", "params": {"class": {"mta-only": {"ports": [25]}}}},
    ])
}

/// Two VMs, revision 2.
fn begun() -> (State, Vec<Reader>) {
    let (mut state, readers, _) = state();
    ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"], "note": "ticket 1"})).unwrap();
    ask(&mut state, "vm.set", &json!({"id": "web2", "ips": ["10.0.0.6"], "class": "mta-only"})).unwrap();
    (state, readers)
}

/// All that may change, without revisions.
fn truth(state: &mut State) -> (Value, Value) {
    let vms = ask(state, "vm.list", &json!({})).unwrap()["vms"].clone();
    let mut policy = ask(state, "policy.get", &json!({})).unwrap();
    policy.as_object_mut().unwrap().retain(|name, _| name != "revision");
    (vms, policy)
}

fn revision(answer: &Value) -> u64 {
    answer["revision"].as_u64().unwrap()
}

#[test]
fn what_nobody_confirms_is_undone_exactly() {
    let (mut state, _readers) = begun();
    let before = truth(&mut state);
    let made = ask(&mut state, "txn", &txn(&risky(), &[("confirm_s", json!(60))])).unwrap();
    assert_eq!((revision(&made), &made["confirm_s"]), (3, &json!(60)));
    assert_ne!(truth(&mut state), before);
    let health = ask(&mut state, "health", &json!({})).unwrap();
    assert_eq!(health["unconfirmed"], json!({"revision": 3, "left_s": 60}));

    state.undo_unconfirmed(Instant::now());
    assert_eq!(state.registry().revision(), Revision(3), "not yet");
    state.undo_unconfirmed(Instant::now() + Duration::from_secs(61));
    assert_eq!((truth(&mut state), state.registry().revision()), (before, Revision(4)));
    assert_eq!(ask(&mut state, "health", &json!({})).unwrap()["unconfirmed"], Value::Null);
    state.undo_unconfirmed(Instant::now() + Duration::from_secs(61));
    assert_eq!(state.registry().revision(), Revision(4), "once is enough");
    let newest = &ask(&mut state, "history", &json!({"limit": 1})).unwrap()["entries"][0];
    assert_eq!((revision(newest), &newest["method"]), (4, &json!("txn.rollback")));
}

#[test]
fn what_is_confirmed_stays() {
    let (mut state, _readers) = begun();
    ask(&mut state, "txn", &txn(&risky(), &[("confirm_s", json!(1))])).unwrap();
    let after = truth(&mut state);
    let confirmed = ask(&mut state, "txn.confirm", &json!({"if_revision": 3})).unwrap();
    assert_eq!((revision(&confirmed), &confirmed["changed"]), (4, &json!(true)));
    state.undo_unconfirmed(Instant::now() + Duration::from_secs(61));
    assert_eq!((truth(&mut state), state.registry().revision()), (after, Revision(4)));
    for method in ["txn.confirm", "txn.rollback"] {
        assert_eq!(kind(ask(&mut state, method, &json!({}))), "not_found");
    }
}

#[test]
fn it_is_undone_at_once_if_somebody_says_so() {
    let (mut state, _readers) = begun();
    let before = truth(&mut state);
    ask(&mut state, "txn", &txn(&risky(), &[("confirm_s", json!(60))])).unwrap();
    assert_eq!(kind(ask(&mut state, "txn.rollback", &json!({"if_revision": 2}))), "revision_mismatch");
    assert_eq!(revision(&ask(&mut state, "txn.rollback", &json!({})).unwrap()), 4);
    assert_eq!(truth(&mut state), before);
}

#[test]
fn meanwhile_nothing_is_changed_that_stands_in_the_way_back() {
    let (mut state, _readers) = begun();
    let before = truth(&mut state);
    ask(&mut state, "txn", &txn(&risky(), &[("confirm_s", json!(60))])).unwrap();
    for (method, params, words) in [
        ("vm.patch", json!({"id": "web1", "note": "x"}), "VM web1: revision 3, which changed it, waits"),
        ("vm.set", json!({"id": "web2", "ips": ["10.0.0.9"]}), "VM web2"),
        ("vm.set", json!({"id": "thief", "ips": ["10.0.0.6"]}), "10.0.0.6 belongs to VM thief"),
        ("policy.patch", json!({"policy": {"mode": "monitor"}}), "policy cannot be changed"),
        (
            "txn",
            txn(&json!([{"method": "vm.set", "params": {"id": "x", "ips": ["10.0.0.9"]}}]), &[("confirm_s", json!(1))]),
            "one at a time",
        ),
    ] {
        let error = ask(&mut state, method, &params).unwrap_err();
        assert_eq!(
            (&error["data"]["kind"], &error["data"]["revision"]),
            (&json!("pending_confirm"), &json!(3)),
            "{error}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words) && message.contains("`txn.confirm`"), "{error}");
    }
    // What does not touch it goes on, and stays.
    ask(&mut state, "vm.set", &json!({"id": "other", "ips": ["10.0.0.10"]})).unwrap();
    ask(&mut state, "vm.patch", &json!({"id": "other", "note": "x"})).unwrap();
    assert_eq!(ask(&mut state, "vm.patch", &json!({"id": "other", "note": "x"})).unwrap()["changed"], false);
    state.undo_unconfirmed(Instant::now() + Duration::from_secs(61));
    ask(&mut state, "vm.delete", &json!({"id": "other"})).unwrap();
    assert_eq!(truth(&mut state), before);
}

#[test]
fn the_room_that_the_way_back_needs_is_kept() {
    let (mut state, _readers) = begun();
    let delete = json!([{"method": "vm.delete", "params": {"id": "web2"}}]);
    ask(&mut state, "txn", &txn(&delete, &[("confirm_s", json!(60))])).unwrap();
    let mut vm = |id: u8| ask(&mut state, "vm.set", &json!({"id": format!("vm{id}"), "ips": [format!("10.0.1.{id}")]}));
    assert!(vm(1).is_ok() && vm(2).is_ok());
    assert_eq!(kind(vm(3)), "pending_confirm", "of the four places one is web2's");
    ask(&mut state, "txn.rollback", &json!({})).unwrap();
    assert_eq!(state.registry().len(), 4);
}

#[test]
fn it_is_tried_again_when_a_worker_stood_still() {
    let (mut state, mut readers) = begun();
    ask(&mut state, "txn", &txn(&risky(), &[("confirm_s", json!(1))])).unwrap();
    readers[1].go_online();
    assert_eq!(kind(ask(&mut state, "vm.set", &json!({"id": "other", "ips": ["10.0.0.10"]}))), "not_in_force");
    let late = Instant::now() + Duration::from_secs(2);
    state.undo_unconfirmed(late);
    assert!(state.registry().unconfirmed().is_some());
    readers[1].go_offline();
    state.undo_unconfirmed(late);
    assert!(state.registry().unconfirmed().is_none());
    assert_eq!(state.registry().len(), 3);
}

#[test]
fn nothing_to_change_is_nothing_to_confirm() {
    let (mut state, _readers) = begun();
    let same = json!([{"method": "vm.patch", "params": {"id": "web1", "note": "ticket 1"}}]);
    let made = ask(&mut state, "txn", &txn(&same, &[("confirm_s", json!(60))])).unwrap();
    assert_eq!((&made["changed"], made.get("confirm_s")), (&json!(false), None));
    assert!(state.registry().unconfirmed().is_none());
    let would = ask(&mut state, "txn", &txn(&risky(), &[("confirm_s", json!(60)), ("dry_run", json!(true))])).unwrap();
    assert_eq!(would["changed"], true);
    assert!(state.registry().unconfirmed().is_none());
    for seconds in [0, 86_401] {
        let refused = ask(&mut state, "txn", &txn(&same, &[("confirm_s", json!(seconds))])).unwrap_err();
        assert_eq!(refused["data"], json!({"kind": "invalid_params", "path": "confirm_s"}));
    }
}
