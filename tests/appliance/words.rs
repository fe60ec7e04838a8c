//! What the commands print: for people, in whatever width there is, and for programs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::demo;
use crate::support::{Daemon, Ended, Killed, Lab, assert_balance, number, wait_for};

const WIDTH: usize = 60;

/// Two VMs of the demo's captures, one of them with more addresses than a line can hold.
fn daemon(lab: &Lab) -> Daemon<'_> {
    let daemon = Daemon::start(lab, &demo(lab));
    let ips: Vec<String> = (1..9).map(|number| format!("2001:db8:{number}::1234:5678:9abc")).collect();
    let mut words = vec!["vm", "set", "web1", "--mac", "52:54:00:00:00:01", "--ip", "10.0.0.5"];
    ips.iter().for_each(|ip| words.extend(["--ip", ip]));
    daemon.change(&words);
    daemon.change(&["vm", "set", "mail1", "--mac", "52:54:00:00:00:02", "--public-ipv4", "203.0.113.6"]);
    daemon
}

fn error(ended: &Ended) -> Value {
    let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stdout));
    document["error"].clone()
}

fn ids(listed: &Value) -> Vec<&str> {
    listed["vms"].as_array().unwrap().iter().map(|entry| entry["vm"]["id"].as_str().unwrap()).collect()
}

#[test]
fn tables_fit_a_terminal_of_60_columns() {
    let lab = Lab::new();
    let daemon = daemon(&lab);
    daemon.stats_when("something was dropped", |stats| stats["reasons"]["egress"]["port_closed"] != 0);
    let socket = lab.text("control.sock");
    for args in [&["stats"] as &[&str], &["stats", "--seconds", "0"], &["vm", "list"], &["vm", "show", "web1"]] {
        let mut command = lab.command(&[args, &["--socket", &socket]].concat());
        let said = lab.finish(command.env("COLUMNS", WIDTH.to_string())).done().stdout;
        for line in said.lines() {
            assert!(line.chars().count() <= WIDTH, "{args:?}: {line:?} is too long in\n{said}");
            assert_eq!(line, line.trim_end(), "{args:?}: blanks at the end of a line in\n{said}");
        }
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn stats_shows_rates_links_and_who_stands_out() {
    let lab = Lab::new();
    let daemon = daemon(&lab);
    let denied = |stats: &Value, id: &str| number(&stats["vms"][id]["egress"]["denied"]);
    daemon.stats_when("frames of both were denied, most of them web1's", |stats| {
        denied(stats, "mail1") > 0 && denied(stats, "web1") > denied(stats, "mail1") + 100
    });
    let said = |args: &[&str]| daemon.command(&[&["stats"], args].concat()).done().stdout;
    let rates = said(&[]);
    assert!(
        rates.contains("frames a burst") && rates.contains("received/s") && rates.contains("uplink, inside: link up"),
        "{rates}"
    );
    assert!(rates.find("from web1") < rates.find("from mail1"), "most denied first, not by name: {rates}");
    let first = said(&["--seconds", "0", "--top", "1", "--by", "allowed"]);
    assert!(!first.contains("received/s") && first.contains("from mail1") && !first.contains("web1"), "{first}");
    assert!(first.contains("and more VMs"), "{first}");
    daemon.command(&["stats", "--by", "loud"]).fails(64, &["denied"]);
    daemon.stop(Signal::TERM);
}

#[test]
fn an_error_is_json_where_a_program_asked() {
    let lab = Lab::new();
    let nobody = lab.run(&["stats", "--json", "--socket", &lab.text("nowhere.sock")]);
    assert_eq!(nobody.code, Some(69));
    assert_eq!((&error(&nobody)["kind"], &error(&nobody)["exit_code"]), (&json!("unavailable"), &json!(69)));
    let usage = lab.run(&["vm", "show", "--json"]);
    assert_eq!((usage.code, &error(&usage)["kind"]), (Some(64), &json!("usage")));
    let bad = lab.run(&["check", "--json", "--config", &lab.text("nowhere.toml")]);
    assert_eq!((bad.code, &error(&bad)["kind"]), (Some(78), &json!("configuration")));

    let daemon = daemon(&lab);
    let conflict = daemon.command(&["vm", "set", "web2", "--ip", "10.0.0.5", "--json"]);
    assert_eq!(conflict.code, Some(65), "{}", conflict.stderr);
    assert_eq!((&error(&conflict)["kind"], &error(&conflict)["other"]), (&json!("conflict"), &json!("web1")));
    let message = error(&conflict)["message"].as_str().unwrap().to_owned();
    assert!(conflict.stderr.contains(&message), "people are told as well: {}", conflict.stderr);
    daemon.stop(Signal::TERM);
}

#[test]
fn the_environment_names_the_socket_unless_the_command_line_does() {
    let lab = Lab::new();
    let daemon = daemon(&lab);
    let list = |args: &[&str], socket: &str| lab.finish(lab.command(args).env("PORTCULLIS_SOCKET", socket));
    let socket = lab.text("control.sock");
    assert!(list(&["vm", "list"], &socket).done().stdout.contains("web1"));
    list(&["vm", "list", "--socket", &socket], "/nowhere").done();
    list(&["vm", "list"], "/nowhere").fails(69, &["/nowhere", "is it running?"]);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_list_shows_what_is_asked_for() {
    let lab = Lab::new();
    let daemon = daemon(&lab);
    daemon.change(&["vm", "set", "net", "--ip", "10.1.0.0/16", "--mode", "monitor"]);
    for (filter, expected) in [
        (&[] as &[&str], &["mail1", "net", "web1"] as &[&str]),
        (&["--class", "restricted"], &["net", "web1"]),
        (&["--mode", "monitor"], &["net"]),
        (&["--id", "we"], &["web1"]),
        (&["--ip", "10.1.2.3"], &["net"]),
        (&["--ip", "203.0.113.6"], &["mail1"]),
        (&["--ip", "2001:db8:3::1234:5678:9abc", "--id", "mail"], &[]),
    ] {
        assert_eq!(ids(&daemon.ask(&[&["vm", "list"], filter].concat())), expected, "{filter:?}");
        let said = daemon.command(&[&["vm", "list"], filter].concat()).done().stdout;
        assert!(said.contains(&format!("{} VM(s)", expected.len())), "{said}");
    }
    let shown = daemon.command(&["vm", "show", "net"]).done().stdout;
    assert!(shown.contains("In monitor mode"), "{shown}");
    daemon.stop(Signal::TERM);
}

#[test]
fn monitor_mode_is_said_wherever_the_rule_might_be_believed_to_bite() {
    let lab = Lab::new();
    let config = demo(&lab).and("[policy]\nmode = \"monitor\"\n[class.trial]\nports = [25]\nmode = \"monitor\"");
    let mut daemon = Daemon::start(&lab, &config);
    let file = lab.text("portcullis.toml");
    let check = lab.run(&["check", "--config", &file]).done();
    let log = daemon.log();
    for said in [&check.stderr, &log] {
        assert!(said.contains("policy.mode: `monitor`: no rule is enforced"), "{said}");
        assert!(said.contains("class.trial.mode: `monitor`"), "{said}");
    }
    daemon.change(&["vm", "set", "web1", "--mac", "52:54:00:00:00:01", "--ip", "10.0.0.5"]);
    let stats = daemon.stats_when("something would have been denied", |stats| {
        number(&stats["vms"]["web1"]["egress"]["would_deny"]) > 0
    });
    assert_eq!(stats["daemon"]["mode"], "monitor");
    assert_eq!(daemon.ask(&["vm", "show", "web1"])["effective_mode"], "monitor");
    for (args, said) in [
        (&["stats", "--seconds", "0"][..], "in monitor mode: no rule is enforced"),
        (&["vm", "list"], "monitor"),
        (&["vm", "show", "web1"], "In monitor mode"),
    ] {
        let shown = daemon.command(args).done().stdout.replace('\n', " ");
        assert!(shown.contains(said), "{shown}");
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn a_file_sets_many_vms_and_every_bad_line_is_named() {
    let lab = Lab::new();
    let daemon = daemon(&lab);
    let line = |id: &str, ip: &str| json!({ "id": id, "ips": [ip] }).to_string();
    let good = lab.write("good.jsonl", format!("{}\n\n{}\n", line("a", "10.2.0.1"), line("b", "10.2.0.2")));
    let answer = daemon.ask(&["vm", "set", "--file", &good]);
    assert_eq!((&answer["records"], &answer["changed"], &answer["unchanged"]), (&json!(2), &json!(2), &json!(0)));

    let text = [&line("a", "10.2.0.1"), "{\"id\":", &line("c", "10.2.0.2"), &line("d", "10.2.0.4"), "[]"].join("\n");
    let bad = lab.write("bad.jsonl", text);
    let ended = daemon.command(&["vm", "set", "--file", &bad, "--json"]);
    let error = error(&ended);
    let lines: Vec<&Value> = error["errors"].as_array().unwrap().iter().map(|error| &error["line"]).collect();
    assert_eq!((ended.code, lines), (Some(65), vec![&json!(2), &json!(3), &json!(5)]));
    assert_eq!(
        (&error["changed"], &error["unchanged"], &error["errors"][1]["other"]),
        (&json!(1), &json!(1), &json!("b"))
    );
    for part in ["3 of 5 records were not set", "bad.jsonl:2: ", "bad.jsonl:3: ", "belongs to VM b", "bad.jsonl:5: "] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert_eq!(ids(&daemon.ask(&["vm", "list"])), ["a", "b", "d", "mail1", "web1"]);

    // More than travel in one line; what is wrong is still named by its own line.
    let many: Vec<_> =
        (0..1_500).map(|n| line(&format!("m{n}"), &format!("10.3.{}.{}", n / 250, 1 + n % 250))).collect();
    let many = lab.write("many.jsonl", [many.join("\n"), line("m9", "10.3.0.1"), line("e", "10.2.0.5")].join("\n"));
    let ended = daemon.command(&["vm", "set", "--file", &many, "--json"]);
    let many = crate::words::error(&ended);
    assert_eq!(
        (&many["changed"], &many["errors"].as_array().unwrap().len()),
        (&json!(1_501), &1),
        "{}",
        many["errors"][0]
    );
    assert_eq!((&many["errors"][0]["line"], &many["errors"][0]["other"]), (&json!(1_501), &json!("m0")));

    let socket = lab.text("control.sock");
    let mut piped = lab.command(&["vm", "set", "--file", "-", "--socket", &socket]);
    piped.stdin(Stdio::from(std::fs::File::open(&good).unwrap()));
    assert!(lab.finish(&mut piped).done().stdout.contains("2 records: 0 changed, 2 as they were"));
    daemon.command(&["vm", "set", "--file", &good, "--if-revision", "1"]).fails(64, &["--if-revision"]);
    let broken = lab.write("broken.json", "{\n\"id\": \"x\",\n\"ips\": [}\n");
    daemon.command(&["vm", "set", "--file", &broken]).fails(78, &["broken.json", "line 3"]);
    daemon.stop(Signal::TERM);
}

#[test]
fn inventories_come_as_csv_and_go_as_lines() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    // As spreadsheets write it: a byte order mark, CR LF, MACs in three spellings.
    let csv = lab.write(
        "inventory.csv",
        "\u{feff}name,mac,ipv4,ipv6,public,owner\r\n\
         web1,5254.0000.0001,10.0.0.5,2001:DB8:1::5,,alice\r\n\
         mail1,525400000002,203.0.113.6,2001:db8:2::6,203.0.113.6,bob\r\n\
         bad1,52:54:00:00:00:03,10.0.0.300,,,\r\n\
         bad2,52-54-00-00-00-01,,,,\r\n",
    );
    daemon.command(&["vm", "import", &csv]).fails(78, &["column `owner` is none of a VM's", "--ignore owner"]);
    let ended = daemon.command(&["vm", "import", &csv, "--ignore", "owner"]);
    let ended =
        ended.fails(65, &["2 of 4 records were not set", "inventory.csv:4: ips[0]", "inventory.csv:5: VM bad2"]);
    assert!(ended.stderr.contains("belongs to VM web1"), "{}", ended.stderr);
    let shown = daemon.ask(&["vm", "show", "web1"]);
    assert_eq!(
        (&shown["vm"]["macs"], &shown["vm"]["ips"]),
        (&json!(["52:54:00:00:00:01"]), &json!(["10.0.0.5", "2001:db8:1::5"]))
    );
    assert_eq!(daemon.ask(&["vm", "show", "mail1"])["effective_class"], "unrestricted");

    let exported = daemon.command(&["vm", "export"]).done().stdout;
    assert_eq!(exported.lines().count(), 2);
    let file = lab.write("all.jsonl", &exported);
    let again = daemon.ask(&["vm", "import", &file]);
    assert_eq!((&again["records"], &again["unchanged"]), (&json!(2), &json!(2)));
    daemon.change(&["vm", "delete", "web1"]);
    daemon.change(&["vm", "import", &file]);
    assert_eq!(daemon.command(&["vm", "export"]).done().stdout, exported);
    daemon.stop(Signal::TERM);
}

#[test]
fn any_call_can_be_made() {
    let lab = Lab::new();
    let daemon = daemon(&lab);
    let methods = daemon.command(&["rpc"]).done().stdout;
    assert!(methods.lines().any(|line| line == "vm.patch") && methods.lines().count() > 30, "{methods}");
    let vm = daemon.command(&["rpc", "vm.get", r#"{"id":"web1"}"#]).json();
    assert_eq!((&vm["vm"]["id"], &vm["effective_class"]), (&json!("web1"), &json!("restricted")), "{vm}");
    daemon.command(&["rpc", "vm.got"]).fails(65, &["no method `vm.got`", "did you mean `vm.get`?"]);
    daemon.command(&["rpc", "vm.get", "[1]"]).fails(64, &["one JSON object"]);
    let refusal = error(&daemon.command(&["rpc", "vm.get", r#"{"id":"nobody"}"#, "--json"]));
    assert_eq!((&refusal["kind"], &refusal["exit_code"]), (&json!("not_found"), &json!(65)), "{refusal}");
    daemon.stop(Signal::TERM);
}

#[test]
fn counters_since_a_mark_are_those_that_came_since() {
    let lab = Lab::new();
    let running = daemon(&lab);
    let denied = |stats: &Value| number(&stats["reasons"]["egress"]["port_closed"]);
    let marked = running.stats_when("frames are denied", |stats| denied(stats) > 0);
    let mark = lab.write("mark.json", marked.to_string());
    let before = denied(&running.stats());
    let since = running.ask(&["stats", "--since", &mark]);
    let after = denied(&running.stats());
    assert!((before..=after).contains(&(denied(&since) + denied(&marked))), "{since}");
    assert_balance(&since);
    let words = running.command(&["stats", "--since", &mark]).done().stdout;
    assert!(words.contains("port_closed") && words.contains("received/s"), "{words}");
    running.command(&["stats", "--since", &lab.write("other.json", "{}")]).fails(64, &["stats --json"]);
    running.stop(Signal::TERM);

    let again = daemon(&lab);
    again.command(&["stats", "--since", &mark]).fails(64, &["counters have started anew"]);
    again.stop(Signal::TERM);
}

#[test]
fn what_goes_on_ends_when_nobody_reads_it_any_more() {
    let lab = Lab::new();
    let daemon = daemon(&lab);
    for args in [&["drops", "--follow"][..], &["drops", "--follow", "--json"], &["stats", "--watch"]] {
        let mut command = lab.command(&[args, &["--socket", &lab.text("control.sock")]].concat());
        let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut reader = BufReader::new(child.0.stdout.take().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{args:?}");
        drop(reader);
        let status = wait_for("it ends", || child.0.try_wait().unwrap());
        assert!(status.success(), "{args:?}: {status}");
    }
    daemon.command(&["stats", "--watch", "--seconds", "0"]).fails(64, &["--seconds 0"]);
    daemon.stop(Signal::TERM);
}
