//! Exceptions: what a single VM may do all the same, by command, over restarts, and to its end.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis::model::Moment;
use portcullis::store::file::{Differences, File};
use portcullis::testkit::VM_A;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{egress, mail_of};
use crate::life::{self, Frozen};
use crate::support::{Config, Daemon, Lab, assert_balance, number, wait_for};

/// VM A's mail to ports 25 and 587 for ever, and a store.
fn kept(lab: &Lab) -> Config {
    mail_of(lab, VM_A, 1).and(&format!("[store]\npath = \"{}\"", lab.path("state.redb").display()))
}

fn with_vm(daemon: &Daemon<'_>) {
    let (mac, ipv4, ipv6) = (VM_A.mac.to_string(), VM_A.ipv4.to_string(), VM_A.ipv6.to_string());
    daemon.change(&["vm", "set", VM_A.id, "--mac", &mac, "--ip", &ipv4, "--ip", &ipv6]);
}

fn excepted(stats: &Value) -> u64 {
    number(&stats["observed"]["egress"]["excepted"])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn names(daemon: &Daemon<'_>) -> Vec<String> {
    let list = daemon.ask(&["exception", "list"]);
    let name = |one: &Value| one["exception"]["name"].as_str().unwrap().to_owned();
    list["exceptions"].as_array().unwrap().iter().map(name).collect()
}

/// What of VM A's mail was excepted and denied from now on, once something was judged of it.
fn judged_from_now(daemon: &Daemon<'_>) -> (u64, u64) {
    let counts = |stats: &Value| (excepted(stats), egress(stats, "port_closed"));
    let before = counts(&daemon.stats());
    let after = counts(&daemon.stats_when("VM A goes on", |stats| {
        let (excepted, denied) = counts(stats);
        excepted + denied > before.0 + before.1 + 100
    }));
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn an_exception_opens_what_it_says_until_it_is_removed_and_outlasts_kills() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    with_vm(&daemon);
    let (opened, denied) = judged_from_now(&daemon);
    assert!(opened == 0 && denied > 0);
    let add = ["exception", "add", VM_A.id, "--ports", "25", "--until", "2h", "--ticket", "4711"];
    assert_eq!(daemon.change(&add)["durable"], true);
    let (opened, denied) = judged_from_now(&daemon);
    assert!(opened > 0 && denied > 0, "25 is open, 587 is not: {opened}, {denied}");
    let for_good = ["exception", "add", VM_A.id, "--class", "unrestricted", "--permanent", "--name", "all"];
    daemon.change(&for_good);
    let (opened, denied) = judged_from_now(&daemon);
    assert!(opened > 0 && denied == 0);
    daemon.end(Signal::KILL);

    let daemon = Daemon::start(&lab, &kept(&lab));
    assert_eq!(names(&daemon), ["4711", "all"]);
    let (opened, denied) = judged_from_now(&daemon);
    assert!(opened > 0 && denied == 0, "from the first frame on");
    let table = daemon.command(&["exception", "list"]).done().stdout;
    assert!(table.contains("4711") && table.contains("(in ") && table.contains("never"), "{table}");
    let shown = daemon.command(&["vm", "show", VM_A.id]).done().stdout;
    assert!(shown.contains("4711: opens 25 until") && shown.contains("all: opens what class unrestricted"), "{shown}");
    for name in ["4711", "all"] {
        daemon.change(&["exception", "remove", VM_A.id, name]);
    }
    let (opened, denied) = judged_from_now(&daemon);
    assert!(opened == 0 && denied > 0);
    let stats = daemon.stop(Signal::TERM);
    assert_eq!(excepted(&stats), number(&stats["vms"][VM_A.id]["egress"]["excepted"]));
}

#[test]
fn an_exception_opens_a_port_until_its_end_though_the_control_thread_stands_still() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1));
    with_vm(&daemon);
    // On a busy machine it may end before the thread stands still, and then proves nothing.
    let frozen = wait_for("the control thread stands still before the end", || {
        let until = Moment::of_unix(now() + 3).to_string();
        daemon.change(&["exception", "add", VM_A.id, "--ports", "25,587", "--until", &until, "--name", "short"]);
        daemon.stats_when("it opens", |stats| excepted(stats) > 0);
        let frozen = Frozen::thread(&daemon, "control");
        if !daemon.log().contains("exception short is over") {
            return Some(frozen);
        }
        frozen.release();
        None
    });
    // The watchdog needs 4 s to notice.
    let (_, ended) = frozen.end(&mut daemon);
    assert!(!ended.stderr.contains("exception short is over"), "nobody else ended it: {}", ended.stderr);
    let stats = life::json(&ended.stdout);
    assert_balance(&stats);
    assert!(excepted(&stats) > 0 && egress(&stats, "port_closed") > 0, "the worker closed the ports: {stats}");
}

#[test]
fn an_end_leaves_the_record_by_itself_and_is_remembered() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &kept(&lab));
    with_vm(&daemon);
    daemon.change(&["exception", "add", VM_A.id, "--ports", "25", "--until", "1s", "--name", "short"]);
    wait_for("it is over", || names(&daemon).is_empty().then_some(()));
    assert_eq!(daemon.command(&["exception", "list"]).done().stdout, "no exceptions, revision 3\n");
    let history = daemon.ask(&["history", VM_A.id, "--limit", "1"]);
    let newest = &history["entries"][0];
    assert_eq!(newest["method"], "exception.expire", "{history}");
    assert_eq!(newest["before"]["exceptions"][0]["name"], "short");
    assert_eq!(newest["after"]["exceptions"], Value::Null);
    let (opened, denied) = judged_from_now(&daemon);
    assert!(opened == 0 && denied > 0);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_clock_that_was_set_back_lengthens_nothing() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &kept(&lab));
    with_vm(&daemon);
    let until = Moment::of_unix(now() + 1800).to_string();
    daemon.change(&["exception", "add", VM_A.id, "--ports", "25", "--until", &until, "--name", "half-an-hour"]);
    daemon.change(&["exception", "add", VM_A.id, "--ports", "587", "--permanent", "--name", "for-good"]);
    let stats = daemon.stop(Signal::TERM);
    let revision = stats["revision"].clone();

    // As if this had been an hour later, and the clock was set back since.
    let seen = Moment::of_unix(now() + 3600);
    for name in ["state.redb", "state.redb.copy"] {
        note(&lab.path(name), seen, serde_json::from_value(revision.clone()).unwrap());
    }
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    assert!(daemon.log().contains("the system's clock is behind"), "{}", daemon.log());
    wait_for("what is over leaves its record", || (names(&daemon) == ["for-good"]).then_some(()));
    let list = daemon.ask(&["exception", "list"]);
    assert!(list["now"].as_str().unwrap().parse::<Moment>().unwrap() >= seen, "{list}");
    let refused = daemon.command(&["exception", "add", VM_A.id, "--ports", "25", "--until", "30m", "--name", "x"]);
    refused.fails(65, &["would be over already", "by the box's clock"]);
    let (opened, denied) = judged_from_now(&daemon);
    assert!(opened > 0 && denied > 0, "587 is open, 25 is not: {opened}, {denied}");
    daemon.stop(Signal::TERM);
}

/// Writes down in a file of a store what time it is.
fn note(path: &Path, now: Moment, revision: portcullis::model::Revision) {
    let differences = Differences { clock: Some(now), ..Differences::default() };
    File::open(path).unwrap().write(&differences, revision).unwrap();
}

#[test]
fn what_cannot_be_an_exception_is_refused_before_anybody_is_asked() {
    let lab = Lab::new();
    let add = |more: &[&str]| lab.run(&[&["exception", "add", "web1", "--socket", "/nowhere"], more].concat());
    for (words, parts) in [
        (&["--ports", "25", "--ticket", "1"][..], &["--until"][..]),
        (&["--until", "2h", "--ticket", "1"], &["--ports"]),
        (&["--ports", "25", "--until", "2h"], &["--name"]),
        (&["--ports", "25", "--class", "mta", "--permanent", "--ticket", "1"], &["--class", "cannot be used"]),
        (&["--ports", "mail", "--permanent", "--ticket", "1"], &["`mail`"]),
        (&["--ports", "25", "--until", "soon", "--ticket", "1"], &["soon", "2h"]),
        (&["--ports", "25", "--permanent", "--peer", "192.0.2.1/24", "--ticket", "1"], &["192.0.2.0/24"]),
        (&["--ports", "25", "--permanent", "--ticket", "no 1"], &["--name is needed", "`no 1`"]),
    ] {
        add(words).fails(64, parts);
    }
    let refused = add(&["--ports", "25", "--permanent", "--ticket", "no 1", "--json"]);
    assert_eq!(refused.code, Some(64));
    let error: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(error["error"]["exit_code"], json!(64));
}
