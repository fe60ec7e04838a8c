//! Captures of every kind: `pcaps/kinds` holds the same four frames in each, of which the second is dropped. What wireshark
//! reads is judged alike; what cannot be read is refused at once, by the number of the packet.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::files;
use crate::support::{Lab, assert_balance, number};

const USAGE: i32 = 64;
const OS: i32 = 71;

fn kind(name: &str) -> String {
    files::path("pcaps/kinds").join(name).to_str().unwrap().to_owned()
}

/// What is left of the four frames.
fn three() -> Vec<Vec<u8>> {
    let frames = files::read_pcap(Path::new(&kind("plain.pcap")));
    assert_eq!(frames.len(), 4);
    [0, 2, 3].map(|at: usize| frames[at].clone()).to_vec()
}

#[track_caller]
fn assert_judged_like_the_plain_one(stats: &Value, out: &str) {
    assert_balance(stats);
    assert_eq!(stats["links"]["link0"]["inside"]["rx"], 4);
    assert_eq!(stats["reasons"]["egress"]["port_closed"], 1);
    assert_eq!(number(&stats["vms"]["r"]["egress"]["denied"]), 1);
    assert_eq!(number(&stats["vms"]["u"]["egress"]["allowed"]), 1);
    assert_eq!(files::read_pcap(Path::new(out)), three());
}

#[test]
fn captures_of_every_kind_are_judged_alike() {
    let lab = Lab::new();
    let (vms, out) = (kind("vms.jsonl"), lab.text("out.pcap"));
    for name in [
        "plain.pcap",
        "mixed-sections.pcapng",
        "no-endofopt.pcapng",
        "latin1-comment.pcapng",
        "snaplen-96.pcap",
        "linktype-high-bits.pcap",
        "plain.pcap.gz",
    ] {
        let ended =
            lab.run(&["replay", "--strict", "--vms", &vms, "--inside", &kind(name), "--outside-out", &out, "--json"]);
        assert_eq!(ended.stderr, "", "{name}");
        assert_judged_like_the_plain_one(&ended.json(), &out);
    }
}

#[test]
fn a_capture_that_is_being_written_is_judged_as_far_as_it_is_whole() {
    let lab = Lab::new();
    let (vms, out, growing) = (kind("vms.jsonl"), lab.text("out.pcap"), kind("growing.pcap"));
    let args = ["replay", "--vms", &vms, "--inside", &growing, "--outside-out", &out];
    let ended = lab.run(&[&args[..], &["--json"]].concat());
    assert!(ended.stderr.contains(&growing) && ended.stderr.contains("behind packet 4"), "{}", ended.stderr);
    assert_judged_like_the_plain_one(&ended.json(), &out);

    fs::write(&out, "kept").unwrap();
    lab.run(&[&args[..], &["--strict"]].concat()).fails(USAGE, &[&growing, "behind packet 4", "--strict"]);
    assert_eq!(fs::read(&out).unwrap(), b"kept");
}

#[test]
fn the_packet_that_cannot_be_read_is_named_at_once() {
    let lab = Lab::new();
    let missing = kind("missing-interface.pcapng");
    let ended = lab.run(&["replay", "--inside", &missing, "--outside-out", &lab.text("out.pcap")]);
    ended.fails(USAGE, &[&missing, "packet 4", "interface 7"]);
    assert!(!lab.path("out.pcap").exists());
    lab.assert_no_run_dir();
}

/// As `<(cat FILE)` of a shell.
fn by_pipe(lab: &Lab, line: &str) -> Value {
    let portcullis = lab.command(&[]).get_program().to_str().unwrap().to_owned();
    let line = line.replacen("portcullis", &portcullis, 1);
    let output = Command::new("bash").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn vms_and_captures_may_come_by_a_pipe() {
    let lab = Lab::new();
    let (vms, plain, zipped) = (kind("vms.jsonl"), kind("plain.pcap"), kind("plain.pcap.gz"));
    let out = lab.text("out.pcap");
    for inside in [&plain, &zipped] {
        let line =
            format!("portcullis replay --vms <(cat '{vms}') --inside <(cat '{inside}') --outside-out '{out}' --json");
        assert_judged_like_the_plain_one(&by_pipe(&lab, &line), &out);
    }
}

#[test]
fn a_refused_replay_touches_no_file() {
    let lab = Lab::new();
    let (plain, kept) = (kind("plain.pcap"), lab.write("kept.pcap", "kept"));
    let nowhere = "/nonexistent/out.pcap";
    let bad_vms = lab.write("vms.jsonl", "{\"id\":\"r\"}");
    for (args, code) in [
        (["--outside-out", &kept, "--inside-out", nowhere], OS),
        (["--inside-out", &kept, "--outside-out", nowhere], OS),
        (["--outside-out", &kept, "--vms", &bad_vms], 78),
        (["--outside-out", &kept, "--config", nowhere], 78),
        (["--outside-out", &kept, "--inside-out", &kept], USAGE),
        (["--outside-out", &kept, "--outside", &kind("missing-interface.pcapng")], USAGE),
    ] {
        lab.run(&[&["replay", "--inside", &plain][..], &args].concat()).fails(code, &[]);
        assert_eq!(fs::read(&kept).unwrap(), b"kept", "{args:?}");
        let beside = fs::read_dir(Path::new(&kept).parent().unwrap()).unwrap();
        assert!(
            beside.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(".portcullis")),
            "{args:?}"
        );
    }
    lab.assert_no_run_dir();
}

#[test]
fn an_output_replaces_what_was_there_and_follows_links() {
    let lab = Lab::new();
    let (vms, plain, target) = (kind("vms.jsonl"), kind("plain.pcap"), lab.write("target.pcap", "old"));
    let link = lab.text("link.pcap");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let args = ["replay", "--vms", &vms, "--inside", &plain, "--json", "--outside-out"];
    lab.run(&[&args[..], &[&link]].concat()).json();
    assert_eq!(files::read_pcap(Path::new(&target)), three());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let stats = lab.run(&[&args[..], &["/dev/null"]].concat()).json();
    assert_balance(&stats);
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "a device stays one");
    assert_eq!(stats["links"]["link0"]["outside"]["tx"], json!(3));
}

#[test]
fn a_place_that_is_full_is_named() {
    let lab = Lab::new();
    let mut command = lab.command(&["replay", "--inside", &kind("plain.pcap")]);
    command.env("TMPDIR", "/nonexistent");
    lab.finish(&mut command).fails(OS, &["/nonexistent", "TMPDIR"]);
}
