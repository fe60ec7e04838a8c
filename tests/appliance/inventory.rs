//! Inventories that replace all the box knows, and who watches what changes.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use crate::daemon::demo;
use crate::support::{Daemon, Lab, number};

/// Ten VMs, as CSV; `ip` says what each has behind `10.0.0.`.
fn csv(ids: impl IntoIterator<Item = u8>, ip: impl Fn(u8) -> u8) -> String {
    let rows = ids.into_iter().map(|id| format!("vm{id},10.0.0.{}\n", ip(id)));
    format!("id,ip\n{}", rows.collect::<String>())
}

#[test]
fn a_nightly_inventory_changes_what_differs_and_nothing_else() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    let night = lab.write("first.csv", csv(0..10, |id| id));
    let said = daemon.command(&["sync", &night]).done().stdout;
    assert!(said.contains("10 VMs: 10 created, 0 replaced, 0 removed; revision 1"), "{said}");
    daemon.change(&["vm", "patch", "vm3", "--class", "unrestricted"]);

    // Two swap their addresses, one goes.
    let swapped = |id| if id < 2 { 1 - id } else { id };
    let night = lab.write("second.csv", csv(0..9, swapped));
    let would = daemon.command(&["sync", "--dry-run", &night]).done().stdout;
    let lines: Vec<&str> = would.lines().collect();
    assert!(lines[0].starts_with("~ vm0: ips: ") && lines[2].starts_with("- vm9: deleted"), "{would}");
    assert_eq!(lines[3], "nothing was changed (--dry-run); 0 created, 2 replaced, 1 removed");
    assert_eq!(number(&daemon.ask(&["health"])["revision"]), 2);
    let done = daemon.change(&["sync", &night]);
    assert_eq!((&done["revision"], &done["replaced"], &done["removed"]), (&json!(3), &json!(2), &json!(1)));
    assert_eq!(daemon.ask(&["vm", "show", "vm3"])["vm"]["class"], "unrestricted", "the operator's stays");
    let again = daemon.command(&["sync", &night]).done().stdout;
    assert!(again.contains("9 VMs: all as they were, revision 3"), "{again}");

    // An inventory that was cut off.
    let cut = lab.write("cut.csv", csv(0..5, swapped));
    let ended = daemon.command(&["sync", &cut]);
    ended.fails(65, &["4 of 9 VMs would be removed, more than 20 %", "control.sync_remove_max_percent"]);
    let bad = lab.write("bad.csv", "id,ip\nvm0,10.0.0.300\nvm1,10.0.0.1\nvm1,10.0.0.2\nvm2,\n");
    let ended = daemon.command(&["sync", &bad, "--json"]);
    assert_eq!(ended.code, Some(65));
    for words in ["3 of 4 records cannot be", "bad.csv:2: ips[0]: ", "VM vm1 is in line 3 already", "bad.csv:5: VM vm2"]
    {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let error: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(error["error"]["errors"].as_array().unwrap().len(), 3, "{error}");
    assert_eq!(number(&daemon.ask(&["health"])["revision"]), 3);
    let forced = daemon.change(&["sync", &cut, "--force"]);
    assert_eq!((number(&forced["removed"]), number(&daemon.stats()["daemon"]["table"]["vms"])), (4, 5));
    daemon.stop(Signal::TERM);
}

#[test]
fn changes_are_told_as_they_are_made_until_the_daemon_ends() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    let mut watching = lab
        .command(&["watch", "--from", "0", "--socket", &lab.text("control.sock")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.next().unwrap().starts_with("watching, revision 1@"));
    assert!(said.next().unwrap().contains("revision 1 vm.set (uid "));
    daemon.change(&["vm", "patch", "web1", "--class", "unrestricted"]);
    assert!(said.next().unwrap().ends_with("web1: class: null -> \"unrestricted\""));
    daemon.stop(Signal::TERM);
    assert_eq!(said.next(), None);
    assert_eq!(watching.wait().unwrap().code(), Some(69));
}
