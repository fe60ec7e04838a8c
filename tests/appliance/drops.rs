//! `portcullis drops`, `would-drop` and `unknown`: what a running box says of what it dropped.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use portcullis::testkit::{PEER, VM_A, VM_B, frame};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{egress, mail_of};
use crate::support::{Daemon, Lab, number, pcap, wait_for};

/// Mail of two VMs, one of them over two families, over and over.
fn mail_of_two(lab: &Lab) -> crate::support::Config {
    let mail = |vm, port| frame().from(vm).to(PEER).tcp(port);
    let frames = [mail(VM_A, 25), mail(VM_A, 587).ipv6(), mail(VM_B, 465)];
    let capture = lab.write("mail.pcap", pcap(&frames.map(Into::into)));
    lab.config(&format!("net_pcap0,rx_pcap={capture},infinite_rx=1"), "net_null0,no-rx=1")
}

fn set<'a>(id: &'a str, mac: &'a str, ipv4: &'a str, ipv6: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["vm", "set", id, "--mac", mac, "--ip", ipv4, "--ip", ipv6], more].concat()
}

#[test]
fn each_vm_has_its_drops_by_kind_and_the_last_of_them() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of_two(&lab));
    let [a, b] = [VM_A, VM_B].map(|vm| (vm.mac.to_string(), vm.ipv4.to_string(), vm.ipv6.to_string()));

    // Of nobody yet.
    daemon.stats_when("frames of nobody are denied", |stats| egress(stats, "port_closed") > 0);
    let unknown = wait_for("both strangers are told of", || {
        let unknown = daemon.ask(&["unknown"]);
        (unknown["macs"].as_array().unwrap().len() == 2).then_some(unknown)
    });
    let mut who: Vec<&str> = unknown["macs"].as_array().unwrap().iter().map(|it| it["who"].as_str().unwrap()).collect();
    who.sort_unstable();
    let mut expected = [a.0.as_str(), b.0.as_str()];
    expected.sort_unstable();
    assert_eq!(who, expected);
    let text = daemon.command(&["unknown"]).done().stdout;
    assert!(text.contains("from an unknown VM to port 25 dropped (port_closed)") && text.contains(&a.1), "{text}");
    let text = daemon.command(&["vm", "why", "--ip", &a.1]).done().stdout;
    assert!(text.contains(&format!("{}:", a.1)) && text.contains("Seen: 2"), "{text}");

    // Known, and one of them only watched.
    daemon.change(&set(VM_A.id, &a.0, &a.1, &a.2, &[]));
    daemon.change(&set(VM_B.id, &b.0, &b.1, &b.2, &["--mode", "monitor"]));
    let kinds = |id: &str| {
        let vm = daemon.ask(&["vm", "show", id]);
        let kinds = vm["denials"].as_array().unwrap().clone();
        let sum: u64 = kinds.iter().map(|kind| number(&kind["frames"])).sum();
        (kinds, sum)
    };
    let counted = |stats: &Value, id: &str| {
        let counts = &stats["vms"][id]["egress"];
        number(&counts["denied"]) + number(&counts["would_deny"])
    };
    for (vm, ports, verdict) in [(VM_A, &[25, 587][..], "dropped"), (VM_B, &[465], "watched")] {
        let before = daemon.stats_when("its frames are denied", |stats| counted(stats, vm.id) > 1000);
        let (kinds, sum) = kinds(vm.id);
        let after = daemon.stats();
        assert!((counted(&before, vm.id)..=counted(&after, vm.id)).contains(&sum), "{sum}: {before} {after}");
        let mut seen: Vec<u64> = kinds.iter().map(|kind| number(&kind["port"])).collect();
        seen.sort_unstable();
        assert_eq!(seen, ports);
        for kind in kinds {
            let is = (&kind["direction"], &kind["verdict"], &kind["reason"]);
            assert_eq!(is, (&json!("egress"), &json!(verdict), &json!("port_closed")));
        }
        let drops = daemon.ask(&["drops", "--vm", vm.id, "--limit", "1000"]);
        let drops = drops["drops"].as_array().unwrap();
        assert!(!drops.is_empty());
        for drop in drops {
            assert_eq!((&drop["vm"], &drop["mac"]), (&json!(vm.id), &json!(vm.mac.to_string())));
            assert!(ports.contains(&number(&drop["destination_port"])) && drop["verdict"] == verdict, "{drop}");
        }
    }
    let why = daemon.command(&["vm", "why", VM_A.id]).done().stdout;
    assert!(why.contains("Denied: ") && why.contains("frames from it to port 25 dropped (port_closed)"), "{why}");
    assert!(why.contains("Seen: 2") && why.contains("To lift: "), "{why}");
    let would = daemon.ask(&["would-drop"]);
    let line = &would["would_drop"][0];
    assert_eq!((&line["vm"], &line["port"], &line["peers"]), (&json!(VM_B.id), &json!(465), &json!(1)));
    for _ in 0..20 {
        // However many come meanwhile.
        assert_eq!(daemon.ask(&["drops", "--limit", "1"])["drops"].as_array().unwrap().len(), 1);
    }
    let text = daemon.command(&["would-drop"]).done().stdout;
    assert!(text.contains(VM_B.id) && !text.contains(VM_A.id) && text.contains("465"), "{text}");
    let text = daemon.command(&["drops", "--verdict", "watched"]).done().stdout;
    assert!(text.contains("port_closed (only watched)") && !text.contains(VM_A.id), "{text}");
    daemon.command(&["drops", "--reason", "spoof_mca"]).fails(65, &["did you mean `spoof_mac`?"]);
    daemon.command(&["drops", "--vm", "nobody"]).fails(65, &["there is no VM nobody"]);
    daemon.stop(Signal::TERM);
}

#[test]
fn drops_are_followed_as_they_come() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1));
    let socket = lab.path("control.sock").display().to_string();
    let words = ["drops", "--follow", "--json", "--socket", &socket];
    let mut child = lab.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told: Vec<Value> = lines.take(100).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let numbers: Vec<u64> = told.iter().map(|drop| number(&drop["number"])).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "each once, in their order: {numbers:?}");
    daemon.stop(Signal::TERM);
}

/// What tshark, which we did not write, reads in a capture: comment, interface, source, port and lengths, a line each.
fn tshark(path: &str) -> Vec<String> {
    let fields = ["frame.comment", "frame.interface_name", "eth.src", "tcp.dstport", "frame.len", "frame.cap_len"];
    let mut command = std::process::Command::new("tshark");
    command.args(["-n", "-r", path, "-T", "fields", "-E", "separator=|"]).args(fields.iter().flat_map(|it| ["-e", it]));
    let output = command.output().expect("`make setup` installs tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn dropped_frames_are_captured_with_the_reason_beside_each() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of_two(&lab));
    let [a, b] = [VM_A, VM_B].map(|vm| (vm.mac.to_string(), vm.ipv4.to_string(), vm.ipv6.to_string()));
    daemon.change(&set(VM_A.id, &a.0, &a.1, &a.2, &[]));
    daemon.change(&set(VM_B.id, &b.0, &b.1, &b.2, &["--mode", "monitor"]));
    let file = lab.text("drops.pcapng");

    let said = daemon.command(&["capture", "-w", &file, "--vm", VM_B.id, "--count", "3"]).done().stdout;
    assert!(said.contains("3 frames in "), "{said}");
    let comment = "only watched: port_closed (The destination port is closed for the VM's class.); VM vm-b";
    // As long as it was, and no longer than is kept.
    let length = frame().from(VM_B).to(PEER).tcp(465).bytes().len();
    let line = format!("{comment}|uplink, inside|{}|465|{length}|{}", b.0, length.min(128));
    assert_eq!(tshark(&file), [line.as_str(); 3]);

    // What is remembered, cut short, to a pipe; and nothing else on standard output.
    let all = lab
        .command(&["capture", "-w", "-", "--last", "--snaplen", "20", "--verdict", "dropped", "--vm", VM_A.id])
        .env("PORTCULLIS_SOCKET", lab.path("control.sock"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(all.status.success());
    let lines = tshark(&lab.write("all.pcapng", &all.stdout));
    let mine = format!("; VM vm-a|uplink, inside|{}||", a.0);
    assert!(lines.len() >= 8 && lines.iter().all(|line| line.contains(&mine) && line.ends_with("|20")), "{lines:?}");

    let answer = daemon.ask(&["capture", "-w", &file, "--last", "--reason", "spoof_ip"]);
    assert_eq!(answer, json!({ "frames": 0, "file": file }), "a capture without frames is one");
    assert_eq!(tshark(&file), [""; 0]);
    daemon.command(&["capture", "-w", "/proc/none/x", "--last"]).fails(71, &["/proc/none/x: No such file"]);
    daemon.command(&["capture", "-w", "/dev/full", "--last"]).fails(71, &["/dev/full: No space left"]);
    daemon.command(&["capture", "-w", &lab.text("no"), "--reason", "spoof"]).fails(65, &["spoof_ip"]);
    assert!(!lab.path("no").exists(), "who is refused touches no file");
    daemon.stop(Signal::TERM);
}
