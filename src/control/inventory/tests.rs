//! Syncs without a socket.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::collector::{Collector, IDLE};
use super::*;
use crate::control::State;
use crate::control::reading::{Overview, Rows, Take};
use crate::control::rpc::{Answer, Line, parse_line};
use crate::policy::{Reader, Settings};
use crate::table::Capacity;
use crate::telemetry::ledger::Ledger;
use crate::vm::clock::Clock;
use crate::vm::registry::Registry;

fn state(vms: u32) -> (State, Vec<Reader>) {
    let (registry, readers) =
        Registry::create(Capacity { vms, keys: vms * 4 }, 1, Settings::default(), Clock::default()).unwrap();
    (State::new(registry, std::sync::Arc::new(Ledger::new(Vec::new(), Vec::new()))), readers)
}

/// What a client would be answered: the `result`, or the `error`.
fn ask(state: &mut State, method: &str, params: &Value) -> Result<Value, Value> {
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let Line::One(request) = parse_line(line.as_bytes()) else { panic!("one request") };
    match request.call.and_then(|call| state.handle(call)) {
        Ok(answer) => Ok(serde_json::to_value::<Answer<'_>>(answer).unwrap()),
        Err(error) => Err(serde_json::to_value(error).unwrap()),
    }
}

fn kind(outcome: Result<Value, Value>) -> String {
    outcome.unwrap_err()["data"]["kind"].as_str().unwrap().to_owned()
}

fn begin(state: &mut State) -> Value {
    ask(state, "sync.begin", &json!({})).unwrap()["sync"].clone()
}

/// Sends an inventory, all in one chunk.
fn collect(state: &mut State, vms: &Value) -> Value {
    let sync = begin(state);
    ask(state, "sync.chunk", &json!({"sync": sync, "at": 0, "vms": vms})).unwrap();
    sync
}

fn commit(state: &mut State, sync: &Value, more: &[&str]) -> Result<Value, Value> {
    let mut params = json!({ "sync": sync });
    more.iter().for_each(|name| params[name] = true.into());
    ask(state, "sync.commit", &params)
}

fn vm(id: &str, ip: &str) -> Value {
    json!({"id": id, "ips": [ip]})
}

/// Ids and addresses of all VMs.
fn known(state: &mut State) -> BTreeMap<String, String> {
    let listed = ask(state, "vm.list", &json!({"limit": 10_000})).unwrap();
    let entries = listed["vms"].as_array().unwrap().iter();
    entries.map(|entry| (entry["vm"]["id"].as_str().unwrap().to_owned(), entry["vm"]["ips"].to_string())).collect()
}

fn counts(answer: &Value) -> [u64; 3] {
    ["created", "replaced", "removed"].map(|name| answer[name].as_u64().unwrap())
}

#[test]
fn an_inventory_replaces_what_there_is_and_only_what_differs_is_touched() {
    let (mut state, _readers) = state(100);
    for n in 0..10 {
        ask(&mut state, "vm.set", &vm(&format!("vm{n}"), &format!("10.0.0.{n}"))).unwrap();
    }
    ask(&mut state, "vm.patch", &json!({"id": "vm1", "class": "unrestricted", "note": "ticket 1"})).unwrap();
    // vm0 and vm1 swap their addresses, vm9 is gone, vm99 has its address.
    let mut vms: Vec<Value> = (2..9).map(|n| vm(&format!("vm{n}"), &format!("10.0.0.{n}"))).collect();
    vms.extend([vm("vm0", "10.0.0.1"), vm("vm1", "10.0.0.0"), vm("vm99", "10.0.0.9")]);
    let sync = collect(&mut state, &json!(vms));
    assert_eq!(known(&mut state).len(), 10, "nothing is changed before the commit");

    let would = commit(&mut state, &sync, &["dry_run"]).unwrap();
    assert_eq!((counts(&would), &would["needs_force"], &would["revision"]), ([1, 2, 1], &json!(false), &json!(11)));
    let ids: Vec<&Value> = would["vms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vm| if vm["after"].is_null() { &vm["before"]["id"] } else { &vm["after"]["id"] })
        .collect();
    assert_eq!(ids, ["vm0", "vm1", "vm9", "vm99"]);

    let done = commit(&mut state, &sync, &[]).unwrap();
    assert_eq!((counts(&done), &done["revision"], &done["changes"]), ([1, 2, 1], &json!(12), &json!(1)));
    let shown = ask(&mut state, "vm.get", &json!({"id": "vm1"})).unwrap();
    assert_eq!((&shown["vm"]["ips"], &shown["vm"]["note"]), (&json!(["10.0.0.0"]), &json!("ticket 1")));
    assert_eq!(known(&mut state).len(), 10);
    let newest = ask(&mut state, "history", &json!({"vm": "vm9", "limit": 1})).unwrap();
    assert_eq!(newest["entries"][0]["method"], "sync.commit");
    assert_eq!(kind(commit(&mut state, &sync, &[])), "not_found", "it is over");

    let sync = collect(&mut state, &json!(vms));
    let done = commit(&mut state, &sync, &[]).unwrap();
    assert_eq!((&done["changed"], &done["changes"], &done["revision"]), (&json!(false), &json!(0), &json!(12)));
}

#[test]
fn a_broken_inventory_does_not_remove_everybody() {
    let (mut state, _readers) = state(100);
    for n in 0..10 {
        ask(&mut state, "vm.set", &vm(&format!("vm{n}"), &format!("10.0.0.{n}"))).unwrap();
    }
    let all: Vec<Value> = (0..10).map(|n| vm(&format!("vm{n}"), &format!("10.0.0.{n}"))).collect();
    let sync = collect(&mut state, &json!(all[..8]));
    assert_eq!(counts(&commit(&mut state, &sync, &[]).unwrap()), [0, 0, 2], "20 % may go");
    let sync = collect(&mut state, &json!(all[..6]));
    assert_eq!(commit(&mut state, &sync, &["dry_run"]).unwrap()["needs_force"], true);
    let error = commit(&mut state, &sync, &[]).unwrap_err();
    assert_eq!(error["data"], json!({"kind": "too_many_removed", "removed": 2, "vms": 8, "limit_percent": 20}));
    assert_eq!(known(&mut state).len(), 8);
    // It is kept, and can be forced.
    assert_eq!(counts(&commit(&mut state, &sync, &["force"]).unwrap()), [0, 0, 2]);
    let sync = begin(&mut state);
    assert_eq!(kind(commit(&mut state, &sync, &[])), "too_many_removed");
    assert_eq!(counts(&commit(&mut state, &sync, &["force"]).unwrap()), [0, 0, 6]);
}

#[test]
fn chunks_can_be_sent_again_but_not_left_out() {
    let (mut state, _readers) = state(4);
    let sync = begin(&mut state);
    let mut chunk = |at: u64, ids: &[&str]| {
        let vms: Vec<Value> = ids.iter().map(|id| vm(id, &format!("10.0.0.{}", id.len()))).collect();
        ask(&mut state, "sync.chunk", &json!({"sync": sync, "at": at, "vms": vms}))
    };
    assert_eq!(chunk(0, &["a", "bb"]).unwrap()["received"], 2);
    assert_eq!(chunk(0, &["a", "bb"]).unwrap()["received"], 2, "its answer was lost");
    let error = chunk(3, &["ccc"]).unwrap_err();
    assert_eq!(error["data"], json!({"kind": "invalid_params", "path": "at", "received": 2}));
    assert_eq!(kind(chunk(1, &["bb", "ccc"])), "invalid_params");
    let error = chunk(2, &["ccc", "a"]).unwrap_err();
    assert_eq!(
        error["data"],
        json!({"kind": "invalid_params", "path": "vms[1]", "received": 2}),
        "none of it is taken"
    );
    assert_eq!(kind(chunk(2, &["ccc", "ccc"])), "invalid_params");
    assert_eq!(kind(chunk(2, &["ccc", "dddd", "eeeee"])), "table_full");
    assert_eq!(chunk(2, &["ccc", "dddd"]).unwrap(), json!({"sync": sync, "received": 4, "vms_max": 4}));
    assert_eq!(chunk(4, &[]).unwrap()["received"], 4);
    assert_eq!(ask(&mut state, "sync.status", &json!({"sync": sync})).unwrap()["received"], 4);
    commit(&mut state, &sync, &[]).unwrap();
    assert_eq!(known(&mut state).len(), 4);
}

#[test]
fn a_record_that_cannot_be_is_named_when_it_is_sent() {
    let (mut state, _readers) = state(4);
    let sync = begin(&mut state);
    for (record, path, words) in [
        (json!({"id": "x", "ips": ["10.0.0.x"]}), "vms[1].ips[0]", "10.0.0.x"),
        (json!({"id": "x"}), "vms[1]", "neither MAC nor IP"),
        (json!({"id": "x", "ip": "10.0.0.1"}), "vms[1].ip", "did you mean `ips`?"),
    ] {
        let params = json!({"sync": sync, "at": 0, "vms": [vm("a", "10.0.0.1"), record]});
        let error = ask(&mut state, "sync.chunk", &params).unwrap_err();
        assert_eq!(error["data"]["path"], path, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    assert_eq!(ask(&mut state, "sync.status", &json!({"sync": sync})).unwrap()["received"], 0);
}

#[test]
fn one_at_a_time_and_none_for_ever() {
    let (mut state, _readers) = state(4);
    let first = collect(&mut state, &json!([vm("a", "10.0.0.1")]));
    let second = begin(&mut state);
    assert_eq!(kind(ask(&mut state, "sync.status", &json!({"sync": first}))), "not_found");
    assert_eq!(ask(&mut state, "sync.status", &json!({"sync": second})).unwrap()["received"], 0);
    state.collector().expire(Instant::now() + IDLE / 2);
    assert!(ask(&mut state, "sync.status", &json!({"sync": second})).is_ok());
    state.collector().expire(Instant::now() + IDLE + Duration::from_secs(1));
    assert_eq!(kind(ask(&mut state, "sync.status", &json!({"sync": second}))), "not_found");
    let third = begin(&mut state);
    ask(&mut state, "sync.abort", &json!({"sync": third})).unwrap();
    assert_eq!(kind(ask(&mut state, "sync.abort", &json!({"sync": third}))), "not_found");
}

#[test]
fn what_cannot_be_changes_nothing_and_names_the_vm() {
    let (mut state, _readers) = state(10);
    ask(&mut state, "vm.set", &vm("a", "10.0.0.1")).unwrap();
    let sync = collect(&mut state, &json!([vm("a", "10.0.0.2"), vm("b", "10.0.0.3"), vm("c", "10.0.0.3")]));
    for more in [&["dry_run"][..], &[]] {
        let error = commit(&mut state, &sync, more).unwrap_err();
        assert_eq!(error["data"]["kind"], "conflict");
        assert!(error["message"].as_str().unwrap().contains("VM c: 10.0.0.3 belongs to VM b"), "{error}");
    }
    assert_eq!(known(&mut state), [("a".to_owned(), "[\"10.0.0.1\"]".to_owned())].into());
    let stale = json!({"sync": sync, "if_revision": 7});
    assert_eq!(kind(ask(&mut state, "sync.commit", &stale)), "revision_mismatch");
}

#[test]
fn more_than_fits_one_change_is_made_in_steps() {
    let count = TOGETHER_MAX + STEP;
    let (mut state, _readers) = state(u32::try_from(count).unwrap() + 1);
    // Its address goes to the first step's last VM, while it goes itself with the last step.
    ask(&mut state, "vm.set", &vm("zzz", "10.0.0.7")).unwrap();
    let sync = begin(&mut state);
    let ids: Vec<usize> = (0..count).collect();
    for chunk in ids.chunks(5_000) {
        let vms: Vec<Value> = chunk
            .iter()
            .map(|n| vm(&format!("vm{n:06}"), &format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255)))
            .collect();
        ask(&mut state, "sync.chunk", &json!({"sync": sync, "at": chunk[0], "vms": vms})).unwrap();
    }
    let would = commit(&mut state, &sync, &["dry_run"]).unwrap();
    assert_eq!((counts(&would), would["vms"].as_array().unwrap().len()), ([count as u64, 0, 1], SHOWN_MAX));
    let done = commit(&mut state, &sync, &["force"]).unwrap();
    // The first step could not be, and is made in the end.
    assert_eq!((counts(&done), &done["changes"]), ([count as u64, 0, 1], &json!(12)));
    assert_eq!(state.registry().len(), count);
}

/// Somebody who changes VMs while they are compared.
struct Meddled<'a> {
    state: &'a mut State,
    meddle: std::cell::RefCell<Vec<Value>>,
}

impl Source for Meddled<'_> {
    fn overview(&self) -> Result<Overview, RpcError> {
        self.state.overview()
    }

    fn rows(&self, take: Take) -> Result<Rows, RpcError> {
        self.state.rows(take)
    }

    fn explain(&self, question: crate::control::rpc::Question) -> Result<crate::control::rpc::ExplainAnswer, RpcError> {
        self.state.explain(question)
    }

    fn history(
        &self,
        recall: crate::control::history::Recall,
    ) -> Result<(Vec<crate::control::history::Entry>, bool), RpcError> {
        self.state.history(recall)
    }
}

impl Changer for Meddled<'_> {
    fn change_one(&mut self, wanted: Wanted) -> Result<Made, RpcError> {
        for params in self.meddle.take() {
            let method = if params.get("ips").is_some() { "vm.set" } else { "vm.delete" };
            let _ = ask(self.state, method, &params); // What it does not say matters, what it does.
        }
        self.state.change_one(wanted)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// However others change VMs between the comparison and the change, all is as the inventory says afterwards.
    #[test]
    fn after_a_commit_there_is_what_the_inventory_says(
        before in proptest::collection::btree_map(0u8..6, 0u8..6, 0..6),
        wanted in proptest::collection::btree_map(0u8..6, 0u8..6, 0..6),
        meddle in proptest::collection::vec((0u8..6, proptest::option::of(0u8..6)), 0..6),
    ) {
        let (mut state, _readers) = state(12);
        let record = |id: &u8, ip: &u8| vm(&format!("vm{id}"), &format!("10.0.0.{ip}"));
        for (id, ip) in &before {
            let _ = ask(&mut state, "vm.set", &record(id, ip)); // Some are refused: two have one address.
        }
        let vms: Vec<Value> = wanted.iter().map(|(id, ip)| record(id, ip)).collect();
        let sync = collect(&mut state, &json!(vms));
        let sync: SyncId = serde_json::from_value(sync).unwrap();
        let meddle = meddle.iter().map(|(id, ip)| match ip {
            Some(ip) => record(id, ip),
            None => json!({"id": format!("vm{id}")}),
        });
        let meddle = std::cell::RefCell::new(meddle.collect());
        let collector: std::sync::Arc<Collector> = state.collector();
        let call = SyncCall::Commit(Commit { sync, dry_run: false, force: true, guard: Guard::default() });
        let outcome = answer(&mut Meddled { state: &mut state, meddle }, &collector, call, Who::default());
        let can_be = wanted.values().collect::<std::collections::BTreeSet<_>>().len() == wanted.len();
        prop_assert_eq!(outcome.is_ok(), can_be);
        if can_be {
            let expected = wanted.iter().map(|(id, ip)| (format!("vm{id}"), format!("[\"10.0.0.{ip}\"]")));
            prop_assert_eq!(known(&mut state), expected.collect());
        }
    }
}
