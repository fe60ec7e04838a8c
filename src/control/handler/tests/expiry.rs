//! Exceptions over the wire, and what becomes of them when they are over.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::model::Moment;
use crate::vm::journal::Committed;

const NOON: &str = "2026-12-01T12:00:00Z";

/// A box at noon, with a clock that somebody moves, and web1.
fn at_noon() -> (State, Vec<Reader>, Arc<quanta::Mock>) {
    let (steady, time) = quanta::Clock::mock();
    let (mut state, readers, _) = state_with(Clock::at(NOON.parse().unwrap(), steady), NoJournal::default());
    ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    (state, readers, time)
}

fn names(state: &mut State) -> Value {
    let list = ask(state, "exception.list", &json!({})).unwrap();
    list["exceptions"].as_array().unwrap().iter().map(|one| one["exception"]["name"].clone()).collect()
}

#[test]
fn an_exception_is_added_listed_and_removed() {
    let (mut state, _readers, _) = at_noon();
    let mail = json!({"vm": "web1", "name": "T-1", "ports": [587], "peer": "192.0.2.25", "until": "2026-12-01T14:00:00Z",
                      "reason": "invoices", "ticket": "T-1"});
    assert_eq!(ask(&mut state, "exception.add", &mail).unwrap()["changed"], true);
    assert_eq!(ask(&mut state, "exception.add", &mail).unwrap()["changed"], false, "it is there");
    let for_good = json!({"vm": "web1", "name": "a", "class": "mta-only", "permanent": true});
    ask(&mut state, "exception.add", &for_good).unwrap();
    let list = ask(&mut state, "exception.list", &json!({"vm": "web1"})).unwrap();
    let mut exception = mail;
    exception.as_object_mut().unwrap().remove("vm");
    assert_eq!(
        list,
        json!({
            "exceptions": [
                {"vm": "web1", "exception": exception, "left_s": 7200},
                {"vm": "web1", "exception": {"name": "a", "class": "mta-only", "permanent": true}, "left_s": null},
            ],
            "now": NOON, "next": null, "revision": 3, "boot": "0000b007"
        })
    );
    let vm = ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap();
    assert_eq!(vm["vm"]["exceptions"][0], exception);
    assert_eq!(ask(&mut state, "vm.set", &vm["vm"]).unwrap()["changed"], false, "a record can be set as it was got");
    let synced = ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    assert_eq!(synced["changed"], false, "what the operator said stays");

    let longer = json!({"vm": "web1", "name": "T-1", "ports": [587], "until": "2026-12-01T16:00:00Z"});
    ask(&mut state, "exception.add", &longer).unwrap();
    assert_eq!(ask(&mut state, "exception.list", &json!({})).unwrap()["exceptions"][0]["left_s"], 14_400, "replaced");
    let gone = json!({"vm": "web1", "name": "T-1"});
    assert_eq!(ask(&mut state, "exception.remove", &gone).unwrap()["changed"], true);
    assert_eq!(ask(&mut state, "exception.remove", &gone).unwrap()["changed"], false);
    assert_eq!(names(&mut state), json!(["a"]));
}

#[test]
fn an_exception_that_cannot_be_is_refused() {
    let (mut state, _readers, _) = at_noon();
    for (params, kind, words) in [
        (json!({"vm": "web2", "name": "a", "ports": [25], "permanent": true}), "not_found", "no VM web2"),
        (json!({"name": "a", "ports": [25], "permanent": true}), "invalid_params", "missing field `vm`"),
        (json!({"vm": "web1", "ports": [25], "permanent": true}), "invalid_params", "missing field `name`"),
        (json!({"vm": "web1", "name": "a", "permanent": true}), "invalid_params", "say what it opens"),
        (json!({"vm": "web1", "name": "a", "ports": [25]}), "invalid_params", "say when it ends"),
        (json!({"vm": "web1", "name": "a", "class": "mta-onyl", "permanent": true}), "unknown_class", "`mta-only`?"),
        (json!({"vm": "web1", "name": "a", "ports": [25], "until": NOON}), "invalid_params", "over already"),
        (json!({"vm": "web1", "name": "a", "prots": [25], "permanent": true}), "invalid_params", "`ports`?"),
    ] {
        let error = ask(&mut state, "exception.add", &params).unwrap_err();
        assert_eq!(error["data"]["kind"], kind, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    assert_eq!(kind(ask(&mut state, "exception.list", &json!({"vm": "web2"}))), "not_found");
    assert_eq!(kind(ask(&mut state, "exception.remove", &json!({"vm": "web2", "name": "a"}))), "not_found");
    for count in 0..16 {
        let params = json!({"vm": "web1", "name": format!("e{count}"), "ports": [25], "permanent": true});
        ask(&mut state, "exception.add", &params).unwrap();
    }
    let more = ask(&mut state, "exception.add", &json!({"vm": "web1", "name": "x", "ports": [25], "permanent": true}));
    assert!(more.unwrap_err()["message"].as_str().unwrap().contains("17 exceptions; at most 16"));
}

#[test]
fn a_class_that_an_exception_speaks_of_is_in_use() {
    let (mut state, _readers, _) = at_noon();
    let add = json!({"vm": "web1", "name": "a", "class": "mta-only", "permanent": true});
    ask(&mut state, "exception.add", &add).unwrap();
    let remove = json!({"class": {"mta-only": null}});
    let error = ask(&mut state, "policy.patch", &remove).unwrap_err();
    assert_eq!((&error["data"]["kind"], &error["data"]["other"]), (&json!("conflict"), &json!("web1")), "{error}");
    let both = json!([{"method": "exception.remove", "params": {"vm": "web1", "name": "a"}},
                      {"method": "policy.patch", "params": remove}]);
    ask(&mut state, "txn", &json!({ "operations": both })).unwrap();
}

#[test]
fn what_is_over_leaves_its_record_by_a_revision_of_its_own() {
    let (mut state, _readers, time) = at_noon();
    for (name, until) in [("one", "2026-12-01T12:01:00Z"), ("two", "2026-12-01T12:02:00Z")] {
        let params = json!({"vm": "web1", "name": name, "ports": [25], "until": until});
        ask(&mut state, "exception.add", &params).unwrap();
    }
    // Looks that are due: one a second.
    let mut second = 0;
    let mut look = |state: &mut State| {
        second += 1;
        state.end_exceptions(Instant::now() + Duration::from_secs(second));
    };
    look(&mut state);
    assert_eq!((names(&mut state), state.registry().revision()), (json!(["one", "two"]), Revision(3)));
    time.increment(Duration::from_secs(60));
    assert_eq!(ask(&mut state, "exception.list", &json!({})).unwrap()["exceptions"][0]["left_s"], 0);
    look(&mut state);
    assert_eq!((names(&mut state), state.registry().revision()), (json!(["two"]), Revision(4)));
    let newest = &ask(&mut state, "history", &json!({"limit": 1})).unwrap()["entries"][0];
    let by = (&newest["method"], &newest["pid"], &newest["vm"]);
    assert_eq!(by, (&json!("exception.expire"), &json!(std::process::id()), &json!("web1")));
    look(&mut state);
    assert_eq!(state.registry().revision(), Revision(4), "once is enough");
    time.increment(Duration::from_secs(600));
    look(&mut state);
    assert_eq!((names(&mut state), state.registry().revision()), (json!([]), Revision(5)));
}

/// Counts how often the disk would be waited for.
#[derive(Debug, Default)]
struct Commits(Arc<AtomicUsize>);

impl Journal for Commits {
    fn note(&mut self, _: Moment) {}

    fn commit(&mut self, _: &[Committed], _: Moment) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn report(&self) -> Option<JournalReport> {
        None
    }
}

#[test]
fn ends_that_come_together_wait_for_the_disk_once() {
    let (steady, time) = quanta::Clock::mock();
    let commits = Arc::default();
    let (mut state, _readers, _) = state_with(Clock::at(NOON.parse().unwrap(), steady), Commits(Arc::clone(&commits)));
    let one = json!([{"name": "a", "ports": [25], "until": "2026-12-01T12:01:00Z"}]);
    for vm in 1..=4 {
        let params = json!({"id": format!("vm{vm}"), "ips": [format!("10.0.0.{vm}")], "exceptions": one});
        ask(&mut state, "vm.set", &params).unwrap();
    }
    time.increment(Duration::from_secs(60));
    let before = commits.load(Ordering::Relaxed);
    state.end_exceptions(Instant::now());
    assert_eq!((names(&mut state), state.registry().revision()), (json!([]), Revision(8)), "a revision each");
    assert_eq!(commits.load(Ordering::Relaxed) - before, 1);
}

#[test]
fn the_end_of_an_exception_waits_for_a_change_that_waits_itself() {
    let (mut state, _readers, time) = at_noon();
    let exception = json!({"vm": "web1", "name": "a", "ports": [25], "until": "2026-12-01T12:01:00Z"});
    let operations = json!([{"method": "exception.add", "params": exception}]);
    ask(&mut state, "txn", &json!({"operations": operations, "confirm_s": 3600})).unwrap();
    time.increment(Duration::from_secs(60));
    state.end_exceptions(Instant::now());
    assert_eq!(names(&mut state), json!(["a"]), "the way back is kept");
    ask(&mut state, "txn.confirm", &json!({})).unwrap();
    state.end_exceptions(Instant::now() + Duration::from_secs(61));
    assert_eq!(names(&mut state), json!([]));
}
