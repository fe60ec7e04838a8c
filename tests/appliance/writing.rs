//! What wants to write must not kill: logs and results that nobody reads, or that have no room.

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::demo;
use crate::support::{Daemon, Killed, Lab, assert_balance, number, wait_for};

/// What takes nothing: a full disk, a reader that has gone away, a pipe that nobody reads.
const NOWHERE: [&str; 3] = ["a full disk", "a reader that is gone", "a pipe that nobody reads"];

/// The reader that keeps a pipe open, if there is one, and where to write to.
fn nowhere(what: &str) -> (Option<PipeReader>, Stdio) {
    if what == "a full disk" {
        return (None, File::options().write(true).open("/dev/full").unwrap().into());
    }
    let (reader, writer) = pipe().unwrap();
    match what {
        "a reader that is gone" => (None, writer.into()),
        _ => (Some(reader), full(writer).into()),
    }
}

fn full(mut writer: PipeWriter) -> PipeWriter {
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[0; 4096]).is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    writer
}

#[test]
fn a_log_that_nobody_takes_stops_neither_start_nor_frames_nor_changes_nor_the_end() {
    for what in NOWHERE {
        let lab = Lab::new();
        let (_reader, log) = nowhere(what);
        let daemon = Daemon::spawn(&lab, &demo(&lab), &[], |command: &mut Command| command.stderr(log).spawn());
        daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
        daemon.stats_when("frames flow", |stats| number(&stats["links"]["uplink"]["inside"]["tx"]) > 1000);
        daemon.stop(Signal::TERM);
    }
}

#[test]
fn a_start_that_fails_ends_with_its_code_though_nobody_hears_why() {
    for what in NOWHERE {
        let lab = Lab::new();
        let (_reader, log) = nowhere(what);
        let file = lab.write("portcullis.toml", lab.config("net_nothing0", "net_null1").toml());
        let mut command = lab.command(&["run", "--config", &file]);
        let mut child = Killed(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let status = wait_for(&format!("it ends into {what}"), || child.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(69), "{what}");
    }
}

#[test]
fn final_counters_that_cannot_be_printed_are_an_error_and_no_panic() {
    for (what, code) in NOWHERE.into_iter().zip([71, 0, 71]) {
        let lab = Lab::new();
        let (_reader, out) = nowhere(what);
        let mut daemon = Daemon::spawn(&lab, &demo(&lab), &[], |command: &mut Command| command.stdout(out).spawn());
        let ended = daemon.end(Signal::TERM);
        assert_eq!(ended.code, Some(code), "{what}: {}", ended.stderr);
        assert_eq!(ended.stderr.contains("portcullis: standard output: "), code != 0, "{what}: {}", ended.stderr);
        lab.assert_no_run_dir();
    }
}

#[test]
fn results_that_cannot_be_kept_are_an_error_unless_the_reader_has_gone_away() {
    let lab = Lab::new();
    let file = lab.write("portcullis.toml", demo(&lab).toml());
    let capture = crate::files::path("pcaps").join("demo-inside.pcap");
    let commands: [&[&str]; 5] = [
        &["--help"],
        &["--version"],
        &["check", "--config", &file],
        &["run", "--dry-run", "--config", &file],
        &["replay", "--inside", capture.to_str().unwrap()],
    ];
    for args in commands {
        for (what, code) in [("a full disk", 71), ("a reader that is gone", 0)] {
            let (_reader, out) = nowhere(what);
            let (mut errors, written) = pipe().unwrap();
            let mut command = lab.command(args);
            let mut child = Killed(command.stdout(out).stderr(written).spawn().unwrap());
            drop(command); // It holds the other end of the pipe.
            let mut said = String::new();
            errors.read_to_string(&mut said).unwrap();
            assert_eq!(child.0.wait().unwrap().code(), Some(code), "{args:?} into {what}: {said}");
            assert_eq!(said.contains("No space left on device"), code != 0, "{args:?} into {what}: {said}");
        }
    }
}

#[test]
fn errors_that_nobody_takes_keep_their_exit_code() {
    let lab = Lab::new();
    let commands: [(&[&str], i32); 3] = [
        (&["nonsense"], 64),
        (&["check", "--config", "/nonexistent"], 78),
        (&["stats", "--socket", "/nonexistent"], 69),
    ];
    for (args, code) in commands {
        for what in NOWHERE {
            let (_reader, errors) = nowhere(what);
            let mut child = Killed(lab.command(args).stdout(Stdio::null()).stderr(errors).spawn().unwrap());
            let status = wait_for(&format!("{args:?} ends"), || child.0.try_wait().unwrap());
            assert_eq!(status.code(), Some(code), "{args:?} into {what}");
        }
    }
}

#[test]
fn each_line_of_the_log_has_its_time_and_none_is_a_warning_where_nothing_is_wrong() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &demo(&lab));
    assert_balance(&daemon.stats());
    let log = daemon.end(Signal::TERM).stderr;
    assert!(log.contains("forwarding; 0 VMs known"), "{log}");
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "no time: {line}");
        assert!(rest.trim_start().starts_with("INFO "), "nothing is wrong: {line}");
    }
}

#[test]
fn an_audit_log_that_cannot_be_written_stops_nothing_and_is_written_once_it_can() {
    let lab = Lab::new();
    let audit = lab.text("later/audit.jsonl");
    let mut daemon = Daemon::start(&lab, &demo(&lab).and(&format!("audit = {audit:?}")));
    assert!(daemon.log().contains("later/audit.jsonl (`control.audit`) cannot be written: "), "{}", daemon.log());
    let degraded = || {
        let problems = daemon.command(&["health", "--json"]).stdout;
        serde_json::from_str::<Value>(&problems).unwrap()["problems"].clone()
    };
    assert_eq!((&degraded()[0]["kind"], &degraded()[0]["records_lost"]), (&json!("audit_degraded"), &json!(0)));
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    wait_for("the lost record is counted", || (degraded()[0]["records_lost"] == 1).then_some(()));

    fs::create_dir(lab.path("later")).unwrap();
    wait_for("it is written again", || {
        let problems = degraded();
        (!problems[0]["message"].as_str().unwrap().contains("cannot be written")).then_some(())
    });
    daemon.change(&["vm", "delete", "web1"]);
    daemon.stop(Signal::TERM);
    let text = fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["outcome"], &lines[0]["records"]), (&json!("lost"), &json!(1)));
    assert_eq!((lines.len(), &lines[1]["method"]), (2, &json!("vm.delete")));
}
