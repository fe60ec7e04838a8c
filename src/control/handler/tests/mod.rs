//! Calls without a socket.

mod confirm;
mod dropped;
mod expiry;
mod guards;
mod questions;

use super::*;
use crate::control::rpc::{Line, parse_line};
use crate::model::{ClassId, Direction, Revision};
use crate::policy::{Class, Classes, Reader, Settings, Tally};
use crate::table::Capacity;
use crate::telemetry::counters::Block;
use crate::vm::clock::Clock;
use crate::vm::journal::{Journal, NoJournal};
use serde_json::{Value, json};

const BOOT: Boot = Boot(0xb007);
const CAPACITY: Capacity = Capacity { vms: 4, keys: 16 };

/// A box of two workers and one link, its classes those of an operator who added one.
fn state() -> (State, Vec<Reader>, Vec<Arc<Block>>) {
    state_with(Clock::default(), NoJournal::default())
}

fn state_with(clock: Clock, journal: impl Journal + 'static) -> (State, Vec<Reader>, Vec<Arc<Block>>) {
    let restricted = Classes::default().get(ClassId::RESTRICTED).clone();
    let mta_only = Class { name: "mta-only".into(), ..restricted.clone() };
    let classes = Classes::new(restricted, [mta_only]).unwrap();
    let via = vec!["52:54:00:ff:ff:01".parse().unwrap()];
    let settings = Settings { classes, via: crate::policy::Routers::new(via, Vec::new()), ..Settings::default() };
    let (registry, readers) = Registry::create(CAPACITY, 2, settings, clock).unwrap();
    let registry = registry.with_journal(journal, Revision(0));
    let blocks: Vec<_> = (0..2).map(|_| Arc::new(Block::new(1, CAPACITY.vms as usize))).collect();
    let state = State::new(registry, Arc::new(Ledger::new(blocks.clone(), vec!["uplink".into()])))
        .with_patience(Duration::ZERO)
        .with_boot(BOOT);
    (state, readers, blocks)
}

/// What a client would be answered: the `result`, or the `error`.
fn ask(state: &mut State, method: &str, params: &Value) -> Result<Value, Value> {
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let Line::One(request) = parse_line(line.as_bytes()) else { panic!("one request") };
    match request.call.and_then(|call| state.handle(call)) {
        Ok(answer) => Ok(serde_json::to_value(answer).unwrap()),
        Err(error) => Err(serde_json::to_value(error).unwrap()),
    }
}

fn kind(outcome: Result<Value, Value>) -> String {
    outcome.unwrap_err()["data"]["kind"].as_str().unwrap().to_owned()
}

#[test]
fn a_vm_is_made_changed_and_forgotten() {
    let (mut state, _readers, _) = state();
    let made = ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    assert_eq!((&made["revision"], &made["changed"]), (&json!(1), &json!(true)));
    assert!(made["applied_us"].is_u64());
    let again = ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    assert_eq!(again, json!({"revision": 1, "boot": "0000b007", "changed": false, "applied_us": 0, "durable": false}));

    let vm = ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap();
    let zero = json!({"allowed": 0, "denied": 0, "excepted": 0, "would_deny": 0});
    assert_eq!(
        vm,
        json!({
            "vm": {"id": "web1", "macs": [], "ips": ["10.0.0.5"], "public_ipv4": null, "scope": 0, "class": null,
                   "mode": "enforce", "note": null},
            "etag": "8ce712e6ba8df3a0",
            "effective_class": "restricted",
            "effective_mode": "enforce",
            "counters": {"egress": zero, "ingress": zero},
            "denials": [],
            "revision": 1,
            "boot": "0000b007"
        })
    );
    assert_eq!(ask(&mut state, "vm.set", &vm["vm"]).unwrap()["changed"], false, "a record can be set as it was got");

    ask(&mut state, "vm.patch", &json!({"id": "web1", "public_ipv4": "203.0.113.5"})).unwrap();
    assert_eq!(ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap()["effective_class"], "unrestricted");
    ask(&mut state, "vm.patch", &json!({"id": "web1", "class": "mta-only"})).unwrap();
    assert_eq!(ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap()["effective_class"], "mta-only");

    assert_eq!(ask(&mut state, "vm.delete", &json!({"id": "web1"})).unwrap()["changed"], true);
    let gone = ask(&mut state, "vm.delete", &json!({"id": "web1"})).unwrap();
    assert_eq!(gone, json!({"revision": 4, "boot": "0000b007", "changed": false, "applied_us": 0, "durable": false}));
    assert_eq!(kind(ask(&mut state, "vm.get", &json!({"id": "web1"}))), "not_found");
    assert_eq!(kind(ask(&mut state, "vm.patch", &json!({"id": "web1"}))), "not_found");
}

#[test]
fn a_refusal_says_why_and_changes_nothing() {
    let (mut state, _readers, _) = state();
    ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    for (params, kind, words) in [
        (json!({"id": "web2", "ips": ["10.0.0.5"]}), "conflict", "10.0.0.5 belongs to VM web1"),
        (json!({"id": "web2", "macs": ["52:54:00:ff:ff:01"]}), "conflict", "router"),
        (json!({"id": "web2", "ips": ["10.0.0.6"], "class": "mta-onyl"}), "unknown_class", "did you mean `mta-only`?"),
        (json!({"id": "web2"}), "invalid_params", "neither MAC nor IP"),
        (json!({"id": "web2", "macs": ["ff:ff:ff:ff:ff:ff"]}), "invalid_params", "broadcast"),
    ] {
        let error = ask(&mut state, "vm.set", &params).unwrap_err();
        assert_eq!(error["data"]["kind"], kind, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    assert_eq!(state.registry().revision(), Revision(1));
    assert_eq!(state.registry().len(), 1);
}

#[test]
fn a_full_table_is_refused_by_the_name_of_its_limit() {
    let (mut state, _readers, _) = state();
    for vm in 1..=4 {
        ask(&mut state, "vm.set", &json!({"id": format!("vm{vm}"), "ips": [format!("10.0.0.{vm}")]})).unwrap();
    }
    let error = ask(&mut state, "vm.set", &json!({"id": "vm5", "ips": ["10.0.0.5"]})).unwrap_err();
    assert_eq!(error["data"], json!({"kind": "table_full", "limit": "table.vms"}));
    let ips: Vec<_> = (10..30).map(|n| format!("10.0.0.{n}")).collect();
    let error = ask(&mut state, "vm.set", &json!({"id": "vm1", "ips": ips})).unwrap_err();
    assert_eq!(error["data"], json!({"kind": "table_full", "limit": "table.keys"}));
}

#[test]
fn if_revision_lets_nobody_overwrite_what_he_has_not_seen() {
    let (mut state, _readers, _) = state();
    ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"], "if_revision": 0})).unwrap();
    for (method, params) in [
        ("vm.set", json!({"id": "web1", "ips": ["10.0.0.6"], "if_revision": 0})),
        ("vm.patch", json!({"id": "web1", "note": "x", "if_revision": 0})),
        ("vm.delete", json!({"id": "web1", "if_revision": 2})),
        ("vm.delete", json!({"id": "nobody", "if_revision": 0})),
    ] {
        let error = ask(&mut state, method, &params).unwrap_err();
        assert_eq!(
            error["data"],
            json!({"kind": "revision_mismatch", "revision": 1, "boot": "0000b007"}),
            "{method} {params}"
        );
    }
    assert_eq!(ask(&mut state, "vm.delete", &json!({"id": "web1", "if_revision": 1})).unwrap()["revision"], 2);
}

#[test]
fn a_change_is_not_in_force_before_every_worker_uses_it() {
    let (mut state, mut readers, _) = state();
    readers[1].go_online();
    let set = |ip: &str| json!({"id": "web1", "ips": [ip]});

    let error = ask(&mut state, "vm.set", &set("10.0.0.5")).unwrap_err();
    let waiting =
        json!({"kind": "not_in_force", "revision": 1, "boot": "0000b007", "waiting_for": [1], "applied": true});
    assert_eq!(error["data"], waiting);
    assert_eq!(state.registry().len(), 1, "the change stays");

    let error = ask(&mut state, "vm.set", &set("10.0.0.6")).unwrap_err();
    let waiting =
        json!({"kind": "not_in_force", "revision": 1, "boot": "0000b007", "waiting_for": [1], "applied": false});
    assert_eq!(error["data"], waiting, "the next one is not made");
    let vm = ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap();
    assert_eq!(vm["vm"]["ips"], json!(["10.0.0.5"]));

    readers[1].snapshot();
    let again = ask(&mut state, "vm.set", &set("10.0.0.5")).unwrap();
    assert_eq!(again["changed"], false, "asking again tells that it is in force now");
}

#[test]
fn the_list_comes_in_pages_in_the_order_of_ids() {
    let (mut state, _readers, _) = state();
    for (id, ip) in [("c", "10.0.0.3"), ("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        ask(&mut state, "vm.set", &json!({"id": id, "ips": [ip]})).unwrap();
    }
    let ids =
        |page: &Value| page["vms"].as_array().unwrap().iter().map(|vm| vm["vm"]["id"].clone()).collect::<Vec<_>>();
    let first = ask(&mut state, "vm.list", &json!({"limit": 2})).unwrap();
    assert_eq!(
        (ids(&first), &first["next"], &first["revision"]),
        (vec![json!("a"), json!("b")], &json!("b"), &json!(3))
    );
    let second = ask(&mut state, "vm.list", &json!({"limit": 2, "after": first["next"]})).unwrap();
    assert_eq!((ids(&second), &second["next"]), (vec![json!("c")], &Value::Null));
    let exact = ask(&mut state, "vm.list", &json!({"limit": 3})).unwrap();
    assert_eq!((ids(&exact).len(), &exact["next"]), (3, &Value::Null));
    assert_eq!(ids(&ask(&mut state, "vm.list", &json!({"after": "z"})).unwrap()), [json!(null); 0]);
    for limit in [json!(0), json!(10_001), json!(-1), json!(1e30), json!("5")] {
        assert_eq!(kind(ask(&mut state, "vm.list", &json!({"limit": limit}))), "invalid_params", "{limit}");
    }
}

#[test]
fn all_workers_count_for_a_vm_and_a_new_vm_starts_at_zero() {
    let (mut state, mut readers, blocks) = state();
    ask(&mut state, "vm.set", &json!({"id": "old", "ips": ["10.0.0.5"]})).unwrap();
    let (index, _) = state.registry().get(&"old".parse().unwrap()).unwrap();
    let count = |block: usize| blocks[block].add_judged(Some(index), Direction::Egress, Tally::Denied);
    let denied = |state: &mut State, id: &str| {
        ask(state, "vm.get", &json!({"id": id})).unwrap()["counters"]["egress"]["denied"].as_u64().unwrap()
    };
    count(0);
    count(1);
    assert_eq!(denied(&mut state, "old"), 2);

    readers[0].go_online();
    assert_eq!(kind(ask(&mut state, "vm.delete", &json!({"id": "old"}))), "not_in_force");
    count(0); // The worker has not seen the change yet.
    readers[0].go_offline();
    ask(&mut state, "vm.set", &json!({"id": "new", "ips": ["10.0.0.6"]})).unwrap();
    assert_eq!(state.registry().get(&"new".parse().unwrap()).unwrap().0, index, "the number is used again");
    assert_eq!(denied(&mut state, "new"), 0);
    count(1);
    assert_eq!(denied(&mut state, "new"), 1);
    ask(&mut state, "vm.patch", &json!({"id": "new", "note": "x"})).unwrap();
    assert_eq!(denied(&mut state, "new"), 1, "a changed VM is the same VM");
}

#[test]
fn the_statistics_have_the_vms_unless_they_are_not_wanted() {
    let (mut state, _readers, blocks) = state();
    ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    blocks[0].add_judged(None, Direction::Ingress, Tally::Allowed);
    let stats = ask(&mut state, "stats.get", &json!({})).unwrap();
    assert_eq!(stats["links"]["uplink"]["inside"]["rx"], 0);
    assert_eq!(stats["unknown"]["ingress"]["allowed"], 1);
    assert_eq!((&stats["revision"], &stats["balanced"]), (&json!(1), &json!(true)));
    assert_eq!(stats["vms"]["web1"]["egress"]["denied"], 0);
    assert_eq!(ask(&mut state, "stats.get", &json!({"vms": false})).unwrap()["vms"], json!({}));
}

#[test]
fn version_tells_program_contract_and_document() {
    let (state, _readers, _) = state();
    let mut state = state.with_dpdk_version("DPDK 22.11.4");
    let version = ask(&mut state, "version", &json!({})).unwrap();
    assert_eq!(
        version,
        json!({"version": crate::VERSION, "protocol": 1, "schema": 1, "dpdk": "DPDK 22.11.4", "boot": "0000b007"})
    );
}

/// Changes that queued and are made together.
fn together(state: &mut State, calls: &[(&str, Value)]) -> Vec<Result<Value, Value>> {
    let wanted = calls.iter().map(|(method, params)| {
        let line = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let Line::One(request) = parse_line(line.as_bytes()) else { panic!("one request") };
        let Asked::Change(wanted) = Asked::of(request.call.unwrap(), Who { uid: 7, pid: 8 }, Role::Admin) else {
            panic!("a change")
        };
        wanted
    });
    let outcomes = state.change(wanted.collect());
    outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Ok(applied) => Ok(serde_json::to_value(applied).unwrap()),
            Err(error) => Err(serde_json::to_value(error).unwrap()),
        })
        .collect()
}

#[test]
fn changes_that_queue_come_into_force_together_and_each_is_answered_for_itself() {
    let (mut state, _readers, _) = state();
    let answers = together(
        &mut state,
        &[
            ("vm.set", json!({"id": "a", "ips": ["10.0.0.1"]})),
            ("vm.set", json!({"id": "b", "ips": ["10.0.0.1"]})),
            ("vm.set", json!({"id": "a", "ips": ["10.0.0.1"]})),
            ("vm.patch", json!({"id": "a", "ips": ["10.0.0.2"], "if_revision": 1})),
            ("vm.set", json!({"id": "b", "ips": ["10.0.0.1"]})),
            ("vm.delete", json!({"id": "b", "if_revision": 1})),
            ("vm.delete", json!({"id": "nobody"})),
        ],
    );
    let told: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok(applied) => (applied["revision"].as_u64().unwrap(), applied["changed"].as_bool().unwrap().to_string()),
            Err(error) => (0, error["data"]["kind"].as_str().unwrap().to_owned()),
        })
        .collect();
    let expected =
        [(1, "true"), (0, "conflict"), (1, "false"), (2, "true"), (3, "true"), (0, "revision_mismatch"), (3, "false")];
    assert_eq!(told, expected.map(|(revision, what)| (revision, what.to_owned())));
    assert_eq!(state.final_report().daemon.unwrap().changes.count, 3);
}

#[test]
fn what_one_change_gives_up_the_next_one_of_the_queue_can_have() {
    let (mut state, _readers, blocks) = state();
    for vm in 1..=4 {
        ask(&mut state, "vm.set", &json!({"id": format!("vm{vm}"), "ips": [format!("10.0.0.{vm}")]})).unwrap();
    }
    blocks[0].add_judged(Some(VmIndex(0)), Direction::Egress, Tally::Denied);
    let calls = [("vm.delete", json!({"id": "vm1"})), ("vm.set", json!({"id": "vm5", "ips": ["10.0.0.1"]}))];
    let answers = together(&mut state, &calls);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap()["changed"] == true), "{answers:?}");
    let vm = ask(&mut state, "vm.get", &json!({"id": "vm5"})).unwrap();
    assert_eq!(vm["counters"]["egress"]["denied"], 0, "a number that is used again starts anew");
}

#[test]
fn changes_that_queue_behind_a_worker_that_stands_still_are_told_apart() {
    let (mut state, mut readers, _) = state();
    readers[1].go_online();
    let calls = [
        ("vm.set", json!({"id": "a", "ips": ["10.0.0.1"]})),
        ("vm.set", json!({"id": "a", "ips": ["10.0.0.1"]})),
        ("vm.set", json!({"id": "b", "ips": ["10.0.0.1"]})),
    ];
    let data = |answer: &Result<Value, Value>| {
        let data = &answer.as_ref().unwrap_err()["data"];
        (data["kind"].clone(), data["applied"].clone())
    };
    let answers = together(&mut state, &calls);
    let made = (json!("not_in_force"), json!(true));
    assert_eq!(answers.iter().map(data).collect::<Vec<_>>(), [made.clone(), made, (json!("conflict"), Value::Null)]);
    let answers = together(&mut state, &calls);
    let not_made = (json!("not_in_force"), json!(false));
    assert_eq!(answers.iter().map(data).collect::<Vec<_>>(), [not_made.clone(), not_made.clone(), not_made]);
    readers[1].go_offline();
    assert!(together(&mut state, &calls)[0].is_ok());
}

#[test]
fn what_goes_there_and_back_in_one_change_changes_nothing() {
    let (mut state, _readers, _) = state();
    ask(&mut state, "vm.set", &json!({"id": "a", "ips": ["10.0.0.1"], "note": "x"})).unwrap();
    let mode = |mode| json!({"method": "policy.patch", "params": {"policy": {"mode": mode}}});
    let note = |note| json!({"method": "vm.patch", "params": {"id": "a", "note": note}});
    let operations = json!({"operations": [mode("monitor"), note("y"), note("x"), mode("enforce")]});
    let answer = ask(&mut state, "txn", &operations).unwrap();
    assert_eq!((&answer["changed"], &answer["revision"]), (&json!(false), &json!(1)));
    assert_eq!(ask(&mut state, "policy.get", &json!({})).unwrap()["origin"], "configuration");
}

#[test]
fn statistics_rank_the_vms_that_are_asked_for() {
    let (mut state, _readers, blocks) = state();
    for (at, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        ask(&mut state, "vm.set", &json!({"id": id, "ips": [format!("10.0.0.{at}")]})).unwrap();
        let (index, _) = state.registry().get(&id.parse().unwrap()).unwrap();
        for _ in 0..at {
            blocks[at % 2].add_judged(Some(index), Direction::Egress, Tally::Denied);
        }
        if id == "b" {
            blocks[0].add_judged(Some(index), Direction::Ingress, Tally::Allowed);
        }
    }
    let mut names = |params: &Value| {
        let line = json!({"jsonrpc": "2.0", "id": 1, "method": "stats.get", "params": params}).to_string();
        let Line::One(request) = parse_line(line.as_bytes()) else { panic!("one request") };
        // As text: a `Value` would sort the members.
        let text = serde_json::to_string(&state.handle(request.call.unwrap()).unwrap()).unwrap();
        let report: Report = serde_json::from_str(&text).unwrap();
        report.vms.iter().map(|(id, _)| id.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&json!({"top": 2})), ["d", "c"]);
    assert_eq!(names(&json!({"top": 10})), ["d", "c", "b"], "not those of which nothing was judged");
    assert_eq!(names(&json!({"top": 1, "by": "allowed"})), ["b"]);
    assert_eq!(names(&json!({})), ["a", "b", "c", "d"]);
}

#[test]
fn the_mode_in_effect_is_said_wherever_it_comes_from() {
    let (mut state, _readers, _) = state();
    let mode = |state: &mut State| {
        let listed = ask(state, "vm.list", &json!({})).unwrap();
        listed["vms"][0]["effective_mode"].as_str().unwrap().to_owned()
    };
    ask(&mut state, "vm.set", &json!({"id": "a", "ips": ["10.0.0.1"]})).unwrap();
    assert_eq!(mode(&mut state), "enforce");
    ask(&mut state, "vm.patch", &json!({"id": "a", "mode": "monitor"})).unwrap();
    assert_eq!(mode(&mut state), "monitor");
    ask(&mut state, "vm.patch", &json!({"id": "a", "mode": null})).unwrap();
    let watched = Settings { mode: crate::model::Mode::Monitor, ..Settings::clone(state.registry.settings()) };
    state.registry.apply([crate::vm::edit::Edit::Settings(Arc::new(watched))]).unwrap();
    assert_eq!(mode(&mut state), "monitor", "the box's own");
}

#[test]
fn a_transaction_is_made_whole_or_refused_whole_with_its_step() {
    let (mut state, _readers, _) = state();
    let set = |id: &str, ip: &str| json!({"method": "vm.set", "params": {"id": id, "ips": [ip]}});
    let both = json!({"operations": [set("a", "10.0.0.1"), set("b", "10.0.0.2")]});
    let would = ask(&mut state, "txn", &json!({"operations": both["operations"], "dry_run": true})).unwrap();
    assert_eq!((&would["dry_run"], &would["changed"], &would["revision"]), (&json!(true), &json!(true), &json!(0)));
    assert_eq!((&would["vms"][1]["before"], &would["vms"][1]["after"]["id"]), (&json!(null), &json!("b")));
    assert_eq!(ask(&mut state, "vm.list", &json!({})).unwrap()["vms"], json!([]));
    assert_eq!(ask(&mut state, "txn", &both).unwrap()["revision"], 1, "one change");

    // What counts is what is true in the end.
    let swap = json!({"operations": [set("a", "10.0.0.2"), set("b", "10.0.0.1")]});
    assert_eq!(ask(&mut state, "txn", &swap).unwrap()["revision"], 2);
    assert_eq!(ask(&mut state, "vm.get", &json!({"id": "a"})).unwrap()["vm"]["ips"], json!(["10.0.0.2"]));

    // A class comes and is used by one change; it goes only with its last VM.
    let class = |ports| json!({"method": "policy.patch", "params": {"class": {"games": ports}}});
    let of = |class: Value| json!({"method": "vm.patch", "params": {"id": "a", "class": class}});
    let made = ask(&mut state, "txn", &json!({"operations": [of(json!("games")), class(json!({"ports": [2000]}))]}));
    assert_eq!(made.unwrap()["revision"], 3);
    let would =
        ask(&mut state, "txn", &json!({"operations": [class(json!(null)), of(json!(null))], "dry_run": true})).unwrap();
    assert_eq!(would["policy"]["before"]["class"]["games"]["ports"], json!([2000]));
    assert_eq!(would["policy"]["after"]["class"]["games"], json!(null));
    assert_eq!(would["vms"].as_array().unwrap().len(), 1);

    for dry_run in [true, false] {
        let refused =
            json!({"operations": [set("c", "10.0.0.3"), of(json!(null)), set("d", "10.0.0.1")], "dry_run": dry_run});
        let error = ask(&mut state, "txn", &refused).unwrap_err();
        let data = (&error["data"]["kind"], &error["data"]["operation"], &error["data"]["other"]);
        assert_eq!(data, (&json!("conflict"), &json!(2), &json!("b")));
        let error =
            ask(&mut state, "txn", &json!({"operations": [class(json!(null))], "dry_run": dry_run})).unwrap_err();
        assert_eq!(error["data"]["other"], "a");
    }
    assert!(ask(&mut state, "vm.get", &json!({"id": "c"})).is_err());
    assert_eq!(ask(&mut state, "vm.get", &json!({"id": "a"})).unwrap()["effective_class"], "games");
    let stale = ask(&mut state, "txn", &json!({"operations": [of(json!(null))], "if_revision": 2})).unwrap_err();
    assert_eq!(stale["data"]["kind"], "revision_mismatch");
}

#[test]
fn an_address_is_looked_up_as_workers_do() {
    let (mut state, _readers, _) = state();
    let operations = json!([
        {"method": "vm.set", "params": {"id": "net", "ips": ["10.0.0.0/24", "2001:db8::/64"], "macs": ["52:54:00:00:00:01"]}},
        {"method": "vm.set", "params": {"id": "one", "ips": ["10.0.0.5"], "public_ipv4": "203.0.113.5"}},
        {"method": "vm.set", "params": {"id": "far", "ips": ["10.0.0.5"], "scope": 7}},
    ]);
    ask(&mut state, "txn", &json!({"operations": operations})).unwrap();
    let mut found = |params: Value| {
        let answer = ask(&mut state, "vm.lookup", &params).unwrap();
        let pair = |found: &Value| {
            assert!(found["effective_class"].is_string(), "{found}");
            format!("{} by {}", found["vm"]["id"].as_str().unwrap(), found["key"].as_str().unwrap())
        };
        answer["matches"].as_array().unwrap().iter().map(pair).collect::<Vec<_>>()
    };
    assert_eq!(found(json!({"ip": "10.0.0.5"})), ["one by 10.0.0.5", "far by 10.0.0.5"], "in every scope");
    assert_eq!(found(json!({"ip": "10.0.0.5", "scope": 7})), ["far by 10.0.0.5"]);
    assert_eq!(found(json!({"ip": "10.0.0.6"})), ["net by 10.0.0.0/24"]);
    assert_eq!(found(json!({"ip": "203.0.113.5", "scope": 0})), ["one by 203.0.113.5"]);
    assert_eq!(found(json!({"ip": "2001:db8::77"})), ["net by 2001:db8::/64"]);
    assert_eq!(found(json!({"mac": "52-54-00-00-00-01"})), ["net by 52:54:00:00:00:01"]);
    assert_eq!(found(json!({"ip": "10.0.1.1"})), [""; 0]);
    assert_eq!(found(json!({"mac": "52:54:00:00:00:01", "scope": 7})), [""; 0]);
    for params in [json!({}), json!({"ip": "10.0.0.5", "mac": "52:54:00:00:00:01"})] {
        assert_eq!(ask(&mut state, "vm.lookup", &params).unwrap_err()["data"]["kind"], "invalid_params");
    }
}

#[test]
fn health_and_methods_are_told() {
    let (mut state, _readers, _) = state();
    let health = ask(&mut state, "health", &json!({})).unwrap();
    assert_eq!((&health["healthy"], &health["problems"], &health["revision"]), (&json!(true), &json!([]), &json!(0)));
    let methods = ask(&mut state, "rpc.methods", &json!({})).unwrap();
    let methods: Vec<&str> = methods["methods"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(methods, super::super::rpc::METHODS);
    // Each of them is one.
    for method in methods {
        let error = ask(&mut state, method, &json!({"nothing": {"like": "it"}})).unwrap_or_else(|error| error);
        assert_ne!(error["data"]["kind"], "unknown_method", "{method}");
    }
}
