//! What outlasts the process: the store, through kills, damage and full disks.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis::model::Moment;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::demo;
use crate::support::{Config, Daemon, LIMIT, Lab, helper, is_root, number, wait_for};

/// The demo's frames, and a store.
fn kept(lab: &Lab) -> Config {
    kept_at(lab, &lab.path("state.redb"))
}

fn kept_at(lab: &Lab, path: &Path) -> Config {
    demo(lab).and(&format!("[store]\npath = \"{}\"", path.display()))
}

/// Both files of the store.
fn files(lab: &Lab) -> [PathBuf; 2] {
    ["state.redb", "state.redb.copy"].map(|name| lab.path(name))
}

fn store(stats: &Value) -> &Value {
    &stats["daemon"]["store"]
}

/// Every record, as `vm.set` takes it.
fn records(daemon: &Daemon<'_>) -> Vec<Value> {
    let listed = daemon.ask(&["vm", "list"]);
    listed["vms"].as_array().unwrap().iter().map(|entry| entry["vm"].clone()).collect()
}

#[test]
fn what_was_changed_is_there_again_however_the_process_ended() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    daemon.change(&["vm", "set", "web1", "--mac", "52:54:00:00:00:01", "--ip", "10.0.0.5", "--ip", "2001:db8::5"]);
    daemon.change(&["vm", "set", "gone", "--ip", "10.0.0.6"]);
    daemon.change(&[
        "vm",
        "patch",
        "web1",
        "--public-ipv4",
        "203.0.113.5",
        "--mode",
        "monitor",
        "--note",
        "ticket 4711",
    ]);
    let deleted = daemon.change(&["vm", "delete", "gone"]);
    assert_eq!((&deleted["durable"], number(&deleted["revision"])), (&json!(true), 4));
    let before = records(&daemon);
    daemon.end(Signal::KILL);

    for (signal, revision) in [(Signal::TERM, 5), (Signal::KILL, 6)] {
        let mut daemon = Daemon::start(&lab, &kept(&lab));
        assert!(daemon.log().contains(&format!("the store: 1 VMs, revision {}", revision - 1)), "{}", daemon.log());
        assert_eq!(records(&daemon), before);
        let stats = daemon.stats_when("mail of web1 is seen", |stats| {
            number(&stats["vms"]["web1"]["egress"]["allowed"]) + number(&stats["vms"]["web1"]["egress"]["would_deny"])
                > 0
        });
        let expected = json!({"durable": true, "revision": revision - 1, "copies": 2, "trouble": null});
        assert_eq!(store(&stats), &expected);
        // Revisions go on where they were.
        let again = daemon.change(&["vm", "set", "web2", "--ip", &format!("10.0.1.{revision}")]);
        let gone = daemon.change(&["vm", "show", "web2"]);
        assert_eq!((number(&again["revision"]), &gone["vm"]["id"]), (revision, &json!("web2")));
        daemon.command(&["vm", "set", "web3", "--ip", "10.0.0.5"]).fails(65, &["belongs to VM web1"]);
        if signal == Signal::TERM {
            daemon.stop(signal);
            // Without a daemon the files can be looked at.
            let [file, copy] = files(&lab).map(|path| path.to_str().unwrap().to_owned());
            for file in [&file, &copy] {
                let mut summary = lab.run(&["store", "check", file, "--json"]).json();
                let clock = summary.as_object_mut().unwrap().remove("clock").unwrap();
                assert!(clock.as_str().unwrap().parse::<Moment>().is_ok(), "{clock}");
                assert_eq!(
                    summary,
                    json!({"format": 4, "revision": revision, "vms": 2, "policy": false, "unconfirmed": false})
                );
            }
            let exported = lab.run(&["store", "export", &copy]).done().stdout;
            assert_eq!(exported.lines().count(), 2);
            assert_eq!(serde_json::from_str::<Value>(exported.lines().next().unwrap()).unwrap(), before[0]);
            // The third start is to find one VM again.
            let mut daemon = Daemon::start(&lab, &kept(&lab));
            lab.run(&["store", "check", &file]).fails(69, &["is in use"]);
            daemon.change(&["vm", "delete", "web2"]);
            daemon.change(&["vm", "set", "web2", "--ip", "10.0.0.99"]);
            daemon.end(Signal::KILL);
            break;
        }
    }
}

#[test]
fn without_a_store_nothing_is_called_durable() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &demo(&lab));
    assert!(daemon.log().contains("no store is configured (`store.path`)"), "{}", daemon.log());
    assert_eq!(daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"])["durable"], false);
    assert_eq!(store(&daemon.stats()), &Value::Null);
    daemon.stop(Signal::TERM);
}

/// Sends changes of three VMs, one after the other, until nobody answers: the number of the last one that was
/// acknowledged as durable, of each VM, and of the last one that was sent.
fn write_until_it_ends(socket: &Path, from: u64) -> ([u64; 3], u64) {
    let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
    stream.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    let mut acknowledged = [0; 3];
    for number in from.. {
        let vm = usize::try_from(number % 3).unwrap();
        let params =
            json!({"id": format!("vm{vm}"), "ips": [format!("10.0.0.{}", vm + 5)], "note": number.to_string()});
        let request = json!({"jsonrpc": "2.0", "id": number, "method": "vm.set", "params": params});
        let mut answer = String::new();
        let sent = stream.get_mut().write_all(format!("{request}\n").as_bytes());
        if sent.is_err() || stream.read_line(&mut answer).is_err() || !answer.ends_with('\n') {
            return (acknowledged, number);
        }
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if answer["result"]["durable"] == true {
            acknowledged[vm] = number;
        }
    }
    unreachable!()
}

#[test]
fn killed_at_any_moment_it_has_lost_nothing_that_was_acknowledged() {
    let lab = Lab::new();
    let rounds = if std::env::var_os("PORTCULLIS_SOAK").is_some() { 500 } else { 12 };
    let (mut notes, mut sent, mut revision) = ([0; 3], 0, 0);
    for round in 0..rounds {
        let mut daemon = Daemon::start(&lab, &kept(&lab));
        let listed = daemon.ask(&["vm", "list"]);
        let now = number(&listed["revision"]);
        for (vm, note) in notes.iter_mut().enumerate() {
            let entry = listed["vms"].as_array().unwrap().iter().find(|entry| entry["vm"]["id"] == format!("vm{vm}"));
            // What nobody acknowledged may be there or not.
            let Some(entry) = entry else {
                assert_eq!(*note, 0, "round {round}: vm{vm} is lost");
                continue;
            };
            let found: u64 = entry["vm"]["note"].as_str().unwrap().parse().unwrap();
            assert!((*note..=sent).contains(&found), "round {round}: vm{vm} has {found}, of {note} to {sent}");
            *note = found;
        }
        // Each number is one revision, made once: whatever is true is what the last of them made.
        assert!((revision..=sent).contains(&now), "round {round}: revision {now}, of {revision} to {sent}");
        assert_eq!(now, notes.into_iter().max().unwrap(), "round {round}: each change once, none left out");

        let socket = lab.path("control.sock");
        let writer = std::thread::spawn(move || write_until_it_ends(&socket, now + 1));
        // Another moment each time.
        let wanted = now + 1 + round * 7 % 60;
        wait_for("some changes are made", || (number(&daemon.ask(&["stats"])["revision"]) >= wanted).then_some(()));
        daemon.end(Signal::KILL);
        let (acknowledged, last) = writer.join().unwrap();
        for (note, acknowledged) in notes.iter_mut().zip(acknowledged) {
            *note = acknowledged.max(*note);
        }
        (sent, revision) = (last, notes.into_iter().max().unwrap());
    }
}

/// Changes a letter of every record, those of earlier states too.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let records: Vec<usize> =
        bytes.windows(6).enumerate().filter(|(_, six)| six == b"\"web1\"").map(|(at, _)| at).collect();
    assert!(!records.is_empty());
    records.iter().for_each(|at| bytes[at + 4] ^= 3);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_store_frees_nobody_and_keeps_nothing_from_starting() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5", "--class", "unrestricted"]);
    daemon.change(&["vm", "patch", "web1", "--no-class"]);
    daemon.end(Signal::KILL);
    let [file, copy] = files(&lab);

    damage(&file);
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    let log = daemon.log();
    for part in ["state.redb is damaged: ", "is kept as", "the store goes on from", "state.redb.copy, revision 2"] {
        assert!(log.contains(part), "`{part}` is not in: {log}");
    }
    assert_eq!(daemon.ask(&["vm", "show", "web1"])["effective_class"], "restricted");
    assert_eq!(number(&store(&daemon.stats())["copies"]), 2, "the file was made anew");
    daemon.end(Signal::KILL);

    damage(&file);
    fs::write(&copy, b"").unwrap();
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    let log = daemon.log();
    assert!(log.contains("no file of the store can be read") && log.contains("set again"), "{log}");
    assert_eq!(records(&daemon), [] as [Value; 0]);
    assert_eq!(daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"])["durable"], true);
    daemon.stop(Signal::TERM);
    assert_eq!(lab.run(&["store", "check", file.to_str().unwrap(), "--json"]).json()["vms"], 1);
}

/// Frees web1 and changes policy, to be undone unless it is confirmed.
fn apply_unconfirmed(lab: &Lab, daemon: &Daemon<'_>, wait: &str) -> Value {
    let file = lab.path("risky.jsonl");
    fs::write(
        &file,
        r#"{"method":"vm.patch","params":{"id":"web1","public_ipv4":"203.0.113.5"}}
           {"method":"policy.patch","params":{"policy":{"mode":"monitor"}}}"#,
    )
    .unwrap();
    let answer = daemon.change(&["apply", file.to_str().unwrap(), "--confirm", wait]);
    assert!(answer["confirm_s"].is_u64(), "{answer}");
    answer
}

fn policy(daemon: &Daemon<'_>) -> (Value, Value) {
    let policy = daemon.ask(&["policy", "show"]);
    (policy["document"].clone(), policy["origin"].clone())
}

#[test]
fn what_nobody_had_confirmed_when_the_process_was_killed_is_undone_at_the_next_start() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5", "--note", "ticket 1"]);
    let before = (records(&daemon), policy(&daemon));
    apply_unconfirmed(&lab, &daemon, "1h");
    assert_ne!((records(&daemon), policy(&daemon)), before);
    daemon.end(Signal::KILL);
    let summary = lab.run(&["store", "check", "--json", files(&lab)[0].to_str().unwrap()]).json();
    assert_eq!(summary["unconfirmed"], true, "{summary}");

    let mut daemon = Daemon::start(&lab, &kept(&lab));
    assert_eq!((records(&daemon), policy(&daemon)), before);
    let health = daemon.ask(&["health"]);
    assert_eq!((&health["unconfirmed"], number(&health["revision"])), (&Value::Null, 3));

    // What is confirmed is there again, and once undone stays so.
    apply_unconfirmed(&lab, &daemon, "60");
    daemon.change(&["confirm"]);
    let after = (records(&daemon), policy(&daemon));
    daemon.end(Signal::KILL);
    let daemon = Daemon::start(&lab, &kept(&lab));
    assert_eq!((records(&daemon), policy(&daemon)), after);
    daemon.stop(Signal::TERM);
}

#[test]
fn what_nobody_confirms_in_time_is_undone_by_itself() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    let before = (records(&daemon), policy(&daemon));
    apply_unconfirmed(&lab, &daemon, "1s");
    wait_for("the change to be undone", || {
        let health = daemon.ask(&["health"]);
        health["unconfirmed"].is_null().then_some(())
    });
    assert_eq!((records(&daemon), policy(&daemon)), before);
    wait_for("it is logged", || daemon.log().contains("nobody confirmed revision 2: it is undone").then_some(()));
    daemon.stop(Signal::TERM);
}

#[test]
fn what_the_store_has_and_the_configuration_does_not_allow_is_left_out_with_an_alarm() {
    let lab = Lab::new();
    let with_class = kept(&lab).and("[class.mta]\nports = [25]");
    let mut daemon = Daemon::start(&lab, &with_class);
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5", "--class", "mta"]);
    daemon.change(&["vm", "set", "web2", "--ip", "10.0.0.6"]);
    daemon.end(Signal::KILL);
    let mut daemon = Daemon::start(&lab, &kept(&lab));
    assert!(daemon.log().contains("VM web1 of the store is left out"), "{}", daemon.log());
    assert_eq!(records(&daemon)[0]["id"], "web2");
    daemon.stop(Signal::TERM);
    // With the class back, so is the VM.
    let daemon = Daemon::start(&lab, &with_class);
    assert_eq!(daemon.ask(&["vm", "show", "web1"])["effective_class"], "mta");
    daemon.stop(Signal::TERM);
}

mod root_only {
    use super::*;

    /// A small disk; only root may mount one.
    struct Disk(PathBuf);

    impl Disk {
        fn new(lab: &Lab) -> Self {
            assert!(is_root(), "a disk is mounted by root: run `make test` as root");
            let path = lab.path("disk");
            fs::create_dir(&path).unwrap();
            helper(Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "portcullis"]).arg(&path));
            Self(path)
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
        }
    }

    #[test]
    fn a_full_disk_stops_no_change_and_is_said_until_there_is_room() {
        let lab = Lab::new();
        let Disk(disk) = &Disk::new(&lab);
        let config = kept_at(&lab, &disk.join("state.redb"));
        let mut daemon = Daemon::start(&lab, &config);
        daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5", "--class", "unrestricted"]);

        let mut filler = fs::File::create(disk.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let note = "x".repeat(1000);
        let full = (0..4000).find(|number| {
            let [id, ip] = [format!("vm{number}"), format!("10.1.{}.{}", number / 250, 1 + number % 250)];
            daemon.change(&["vm", "set", &id, "--ip", &ip, "--note", &note])["durable"] == false
        });
        let full = full.expect("the disk is full some time");
        // In force all the same.
        let restricted = daemon.change(&["vm", "patch", "web1", "--no-class"]);
        assert_eq!((&restricted["changed"], &restricted["durable"]), (&json!(true), &json!(false)));
        assert_eq!(daemon.ask(&["vm", "show", "web1"])["effective_class"], "restricted");
        let stats = daemon.stats();
        assert_eq!((&store(&stats)["durable"], number(&store(&stats)["copies"])), (&json!(false), 0));
        assert!(daemon.log().contains("the store cannot be written, so changes end with the process"));

        fs::remove_file(disk.join("filler")).unwrap();
        drop(filler);
        daemon.stats_when("the store is whole again", |stats| {
            store(stats)["durable"] == true && number(&store(stats)["copies"]) == 2
        });
        assert!(daemon.log().contains("the store is whole again"));
        let revision = number(&daemon.change(&["vm", "delete", "vm0"])["revision"]);
        daemon.end(Signal::KILL);
        let daemon = Daemon::start(&lab, &config);
        assert_eq!(number(&daemon.stats()["revision"]), revision);
        assert_eq!(records(&daemon).len(), full + 1);
        assert_eq!(daemon.ask(&["vm", "show", "web1"])["effective_class"], "restricted");
        daemon.stop(Signal::TERM);
    }
}
