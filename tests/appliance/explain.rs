//! `portcullis explain`: the words of the running box, of a box that is only thought of, and what lifts.

use portcullis::testkit::VM_A;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{demo, egress, mail_of};
use crate::files;
use crate::support::{Daemon, Lab, number};

/// Words as a shell would have them.
fn words(command: &str) -> Vec<&str> {
    command.split(' ').skip(1).collect()
}

fn explained(daemon: &Daemon<'_>, more: &[&str]) -> Value {
    let answer = daemon.ask(&[&["explain", "--vm", VM_A.id, "--port", "25"], more].concat());
    answer["explanations"][0].clone()
}

#[test]
fn what_is_explained_is_lifted_by_the_command_that_it_names() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1));
    let (mac, ipv4, ipv6) = (VM_A.mac.to_string(), VM_A.ipv4.to_string(), VM_A.ipv6.to_string());
    daemon.change(&["vm", "set", VM_A.id, "--mac", &mac, "--ip", &ipv4, "--ip", &ipv6]);
    let denied = explained(&daemon, &[]);
    assert_eq!(
        (&denied["verdict"], &denied["reason"], &denied["rule"]),
        (&json!("dropped"), &json!("port_closed"), &json!(7))
    );
    assert_eq!(
        (&denied["vm"], &denied["class"], &denied["link"]),
        (&json!(VM_A.id), &json!("restricted"), &json!("uplink"))
    );
    let stats = daemon.stats_when("frames are denied", |stats| egress(stats, "port_closed") > 0);
    assert_eq!(number(&stats["unknown"]["egress"]["excepted"]), 0);

    // For a time, towards that peer.
    let exception = denied["lift"]["or_exception"].as_str().unwrap();
    daemon.change(&words(exception));
    let excepted = explained(&daemon, &[]);
    assert_eq!(
        (&excepted["verdict"], &excepted["rule"], &excepted["tally"]),
        (&json!("forwarded"), &json!(6), &json!("excepted"))
    );
    assert_eq!(explained(&daemon, &["--peer", "203.0.113.9"])["rule"], 7, "another peer");
    let text = daemon.command(&["explain", "--vm", VM_A.id, "--port", "25"]).done().stdout;
    assert!(text.starts_with("forwarded (rule 6)") && text.contains("exception NAME of this VM"), "{text}");
    daemon.change(&["exception", "remove", VM_A.id, "NAME"]);

    // For good.
    let denied = explained(&daemon, &["--peer", &ipv6.replace("::1", "::99")]);
    for command in denied["lift"]["commands"].as_array().unwrap() {
        daemon.change(&words(command.as_str().unwrap()));
    }
    assert_eq!(explained(&daemon, &[])["rule"], 9);
    daemon.stats_when("frames pass", |stats| number(&stats["vms"][VM_A.id]["egress"]["allowed"]) > 0);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_capture_is_explained_alike_by_a_running_box_and_by_one_that_is_only_thought_of() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    let path = |name: &str| files::path(&format!("pcaps/{name}")).to_str().unwrap().to_owned();
    let vms = path("demo-vms.jsonl");
    daemon.command(&["vm", "set", "--file", &vms]).done();
    let config = lab.path("portcullis.toml").to_str().unwrap().to_owned();
    // Thousands of frames, in many requests.
    for (capture, side) in [("golden-inside.pcap", "inside"), ("golden-outside.pcap", "outside")] {
        let asked = ["explain", "--pcap", &path(capture), "--side", side, "--json"];
        let running = daemon.command(&asked).done().stdout;
        let imagined = lab.run(&[&asked[..], &["--config", &config, "--vms", &vms]].concat()).done().stdout;
        assert_eq!(running, imagined, "{capture}");
        let frames = files::read_pcap(&files::path(&format!("pcaps/{capture}"))).len();
        assert_eq!(running.lines().count(), frames);
        let last: Value = serde_json::from_str(running.lines().last().unwrap()).unwrap();
        assert_eq!(number(&last["frame"]), frames as u64);
    }
    let capture = path("demo-inside.pcap");
    let table = daemon.command(&["explain", "--pcap", &capture, "--vm", "web1"]).done().stdout;
    assert!(table.contains("dropped: port_closed") && !table.contains("mail1"), "{table}");
    let one = daemon.command(&["explain", "--pcap", &capture, "--frame", "33"]).done().stdout;
    assert!(one.starts_with("dropped: port_closed (rule 7)") && one.contains("To lift: "), "{one}");
    daemon.stop(Signal::TERM);
}

#[test]
fn what_cannot_be_explained_is_refused_by_name() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    let capture = files::path("pcaps/demo-inside.pcap").to_str().unwrap().to_owned();
    for (words, code, parts) in [
        (&["--vm", "nobody", "--port", "25"][..], 65, &["there is no VM nobody"][..]),
        (&["--port", "25"], 65, &["--vm", "--ip"]),
        (&["--ip", "10.0.0.1", "--peer", "::1", "--port", "25"], 65, &["two address families"]),
        (&["--ip", "10.0.0.1", "--port", "25", "--vlan", "4095"], 65, &["vlan", "4095"]),
        (&["--ip", "10.0.0.1", "--port", "25", "--link", "uplnk"], 65, &["did you mean `uplink`?"]),
        (&["--hex", "52540"], 65, &["`52540` is no frame"]),
        (&["--pcap", &capture, "--frame", "65"], 64, &["there is no frame 65; it has 64"]),
        (&["--pcap", "/nonexistent"], 64, &["/nonexistent"]),
        (&["--pcap", &capture, "--port", "25"], 64, &["cannot be used"]),
        (&[], 64, &["--port"]),
    ] {
        daemon.command(&[&["explain"], words].concat()).fails(code, parts);
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn a_tenant_is_told_why_in_words_for_his_ticket() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1));
    let (mac, ipv4, ipv6) = (VM_A.mac.to_string(), VM_A.ipv4.to_string(), VM_A.ipv6.to_string());
    let why = |words: &[&str]| daemon.command(&[&["vm", "why"], words].concat()).done().stdout;
    // Nobody's yet, and how to make him somebody.
    for (words, address) in [(&["--mac", &mac, "--ip", &ipv4][..], ipv4.as_str()), (&["--mac", &mac], "ADDRESS")] {
        let text = why(words);
        let command = format!("portcullis vm set NAME --mac {mac} --ip {address} ");
        assert!(text.contains("no VM has this MAC") && text.contains(&command), "{text}");
    }

    daemon.change(&["vm", "set", VM_A.id, "--mac", &mac, "--ip", &ipv4, "--ip", &ipv6]);
    daemon.change(&["exception", "add", VM_A.id, "--ports", "587", "--permanent", "--ticket", "4711"]);
    daemon.stats_when("frames are denied", |stats| number(&stats["vms"][VM_A.id]["egress"]["denied"]) > 0);
    for words in [&[VM_A.id][..], &["--mac", &mac], &["--ip", &ipv6]] {
        let text = why(words);
        for part in [
            "vm-a has no public IPv4 address, which makes it `restricted`; closed TCP ports: 25, 465, 587.",
            "Exception 4711: opens 587, for good",
            "From it since the box started",
            "To lift: `portcullis vm patch vm-a --class unrestricted`",
            "`portcullis exception add vm-a --ports 25 --peer SERVER --until 2h --name NAME`",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }
    let answer = daemon.ask(&["vm", "why", VM_A.id, "--peer", "2001:db8:7::25"]);
    assert_eq!((&answer["vm"]["vm"]["id"], &answer["explanation"]["rule"]), (&json!(VM_A.id), &json!(7)));

    // Known by its MAC alone, by IPv6 alone, and one that may do everything.
    daemon.change(&["vm", "set", "mac-only", "--mac", "52:54:00:00:99:01"]);
    daemon.change(&["vm", "set", "six", "--ip", "2001:db8:6::6", "--mode", "monitor"]);
    daemon.change(&["vm", "set", "free", "--public-ipv4", "203.0.113.9"]);
    assert!(why(&["mac-only"]).contains("mac-only has no public IPv4 address"));
    assert!(why(&["six"]).contains("only watched"));
    let text = why(&["free"]);
    assert!(text.contains("free is `unrestricted`: no TCP port is closed") && !text.contains("To lift"), "{text}");
    daemon.command(&["vm", "why", "nobody"]).fails(65, &["there is no VM nobody"]);
    daemon.stop(Signal::TERM);
}
