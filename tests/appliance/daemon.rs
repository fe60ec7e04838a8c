//! `portcullis run`, and the commands that talk to it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use portcullis::testkit::{PEER, Station, VM_A, VM_B, frame};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::files;
use crate::support::{Config, Daemon, FILE_PREFIX, Killed, LIMIT, Lab, assert_balance, cores, number, pcap, wait_for};
use crate::telemetry::telemetry;

/// A device that replays captures for ever, a receive queue for each.
fn for_ever(number: u8, captures: &[&str]) -> String {
    let queues: String = captures.iter().map(|capture| format!(",rx_pcap={capture}")).collect();
    format!("net_pcap{number}{queues},infinite_rx=1")
}

/// A link with the demo's frames on both sides, for ever.
pub(crate) fn demo(lab: &Lab) -> Config {
    let [inside, outside] = ["demo-inside.pcap", "demo-outside.pcap"]
        .map(|name| files::path("pcaps").join(name).to_str().unwrap().to_owned());
    lab.config(&for_ever(0, &[&inside]), &for_ever(1, &[&outside]))
}

/// A VM's mail over IPv4 and IPv6, and nothing else, for ever; as many queues as workers. Nothing enters outside.
pub(crate) fn mail_of(lab: &Lab, vm: Station, workers: usize) -> Config {
    let mail = [frame().from(vm).to(PEER).tcp(25), frame().from(vm).to(PEER).tcp(587).ipv6()];
    let capture = lab.write("mail.pcap", pcap(&mail.map(Into::into)));
    lab.config(&for_ever(0, &vec![&capture[..]; workers]), "net_null0,no-rx=1").workers(workers)
}

/// `vm set` for a station, restricted.
fn set(vm: Station) -> Vec<String> {
    let words = ["vm", "set", vm.id, "--mac", &vm.mac.to_string(), "--ip", &vm.ipv4.to_string(), "--ip"];
    words.iter().map(ToString::to_string).chain([vm.ipv6.to_string()]).collect()
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

pub(crate) fn egress(stats: &Value, reason: &str) -> u64 {
    number(&stats["reasons"]["egress"][reason])
}

fn judged(stats: &Value, vm: &str, tally: &str) -> u64 {
    number(&stats["vms"][vm]["egress"][tally])
}

#[test]
fn vms_are_set_patched_shown_listed_and_deleted_while_frames_flow() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1));
    daemon.stats_when("frames of an unknown VM are denied", |stats| egress(stats, "port_closed") > 0);

    let answer = daemon.change(&words(&set(VM_A)));
    assert_eq!((&answer["revision"], &answer["changed"]), (&json!(1), &json!(true)), "{answer}");
    let shown = daemon.ask(&["vm", "show", VM_A.id]);
    assert_eq!(shown["effective_class"], "restricted");
    assert_eq!((&shown["vm"]["id"], &shown["vm"]["macs"]), (&json!(VM_A.id), &json!([VM_A.mac.to_string()])));
    daemon.stats_when("its frames are denied as its own", |stats| {
        stats["vms"].get(VM_A.id).is_some() && judged(stats, VM_A.id, "denied") > 0
    });

    daemon.change(&["vm", "patch", VM_A.id, "--public-ipv4", "203.0.113.6", "--note", "ticket 4711"]);
    let shown = daemon.ask(&["vm", "show", VM_A.id]);
    assert_eq!(shown["effective_class"], "unrestricted");
    assert_eq!((&shown["vm"]["public_ipv4"], &shown["vm"]["note"]), (&json!("203.0.113.6"), &json!("ticket 4711")));
    daemon.stats_when("its frames are allowed", |stats| judged(stats, VM_A.id, "allowed") > 0);

    let again = daemon.change(&["vm", "patch", VM_A.id, "--public-ipv4", "203.0.113.6"]);
    assert_eq!((&again["revision"], &again["changed"]), (&json!(2), &json!(false)), "{again}");
    daemon.change(&words(&set(VM_B)));
    let listed = daemon.ask(&["vm", "list"]);
    let ids: Vec<&Value> = listed["vms"].as_array().unwrap().iter().map(|entry| &entry["vm"]["id"]).collect();
    assert_eq!((ids, &listed["revision"]), (vec![&json!(VM_A.id), &json!(VM_B.id)], &json!(3)));

    let found = daemon.ask(&["vm", "lookup", &VM_A.mac.to_string()]);
    assert_eq!((&found["matches"][0]["vm"]["id"], &found["matches"][1]), (&json!(VM_A.id), &Value::Null));
    assert_eq!(daemon.ask(&["vm", "lookup", &VM_B.ipv6.to_string()])["matches"][0]["vm"]["id"], VM_B.id);
    assert_eq!(daemon.command(&["vm", "lookup", "192.0.2.99"]).done().stdout, "192.0.2.99 is nobody's, revision 3\n");
    assert_eq!(daemon.ask(&["health"])["healthy"], true);

    daemon.change(&["vm", "delete", VM_A.id]);
    let stats = daemon.stats();
    assert!(stats["vms"].get(VM_A.id).is_none() && stats["vms"].get(VM_B.id).is_some(), "{stats}");
    let denied = |stats: &Value| number(&stats["unknown"]["egress"]["denied"]);
    daemon.stats_when("it is unknown again", |now| denied(now) > denied(&stats));

    let end = daemon.stop(Signal::TERM);
    assert_eq!(end["revision"], 4);
}

#[test]
fn people_get_sentences_and_tables() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    let said = |args: &[&str]| {
        let ended = daemon.command(args).done();
        assert!(!ended.stdout.contains('\x1b'), "no colours in a pipe");
        ended.stdout
    };
    let mac = VM_A.mac.to_string();
    // A worker that did not get its CPU in time makes this a refusal, and the change stays; see `Daemon::change`.
    daemon.change(&["vm", "set", "web1", "--mac", &mac, "--ip", "10.0.0.5"]);
    assert_eq!(
        said(&["vm", "set", "web1", "--mac", &mac, "--ip", "10.0.0.5"]),
        "web1: nothing to change, revision 1\n"
    );
    let shown = said(&["vm", "show", "web1"]);
    assert!(shown.contains("10.0.0.5") && shown.contains("judged by    restricted"), "{shown}");
    let listed = said(&["vm", "list"]);
    assert!(listed.contains("web1") && listed.ends_with("1 VM(s), revision 1\n"), "{listed}");
    let stats = said(&["stats"]);
    assert!(stats.contains("uplink, from VMs") && stats.contains("Every received frame was forwarded"), "{stats}");
    let version = said(&["version"]);
    assert!(
        version.starts_with("portcullis ") && version.contains("\ndaemon ") && version.contains("DPDK "),
        "{version}"
    );
    daemon.stop(Signal::TERM);
}

#[test]
fn what_the_daemon_refuses_ends_the_command_and_changes_nothing() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    for (args, part) in [
        (&["vm", "show", "web2"] as &[&str], "web2"),
        (&["vm", "patch", "web2", "--no-class"], "web2"),
        (&["vm", "set", "web2", "--ip", "10.0.0.5"], "web1"),
        (&["vm", "patch", "web1", "--class", "restrictd"], "did you mean `restricted`?"),
        (&["vm", "patch", "web1", "--note", "x", "--if-revision", "7"], "the revision is 1, not 7"),
    ] {
        daemon.command(args).fails(65, &[part]);
    }
    daemon.command(&["vm", "set", "web2", "--ip", "127.0.0.1"]).fails(64, &["127.0.0.1"]);
    assert_eq!(daemon.stop(Signal::TERM)["revision"], 1);
}

#[test]
fn a_change_is_in_force_when_its_command_ends() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1));
    daemon.change(&words(&set(VM_A)));
    in_force_when_answered(&daemon, 5, |fields| {
        let change: Vec<&str> = match &fields["class"] {
            Value::String(class) => vec!["--class", class],
            _ => vec!["--no-class"],
        };
        daemon.change(&[&["vm", "patch", VM_A.id], &change[..]].concat());
        daemon.stats()
    });
    daemon.stop(Signal::TERM);
}

#[test]
fn not_one_frame_is_judged_by_the_old_state_once_a_change_is_answered() {
    asked_in_one_line(1);
}

#[test]
fn nor_on_the_second_of_two_workers() {
    asked_in_one_line(2);
}

/// The change and the reading that follows it stand in one line of the control socket, so nothing but the box's own
/// waiting keeps the last frames of the old state out of the reading. A worker shares its CPU with the control thread:
/// it has been interrupted in the middle of a burst whenever something is answered.
fn asked_in_one_line(workers: usize) {
    let lab = Lab::new();
    let main = cores(1);
    let mut daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, workers).dpdk(&format!("main_core = {main}")));
    let log = daemon.log();
    assert!(log.contains(&format!("inside is net_pcap0 (net_pcap), MTU 1500, {workers} queue(s)")), "{log}");
    daemon.change(&words(&set(VM_A)));
    let mut socket = BufReader::new(UnixStream::connect(lab.path("control.sock")).unwrap());
    socket.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    in_force_when_answered(&daemon, 25, |fields| {
        let line = json!([
            {"jsonrpc": "2.0", "id": 1, "method": "vm.patch", "params": fields},
            {"jsonrpc": "2.0", "id": 2, "method": "stats.get"},
        ]);
        // Asked again where the machine is too busy, as in `Daemon::change`.
        wait_for("the change is in force", || {
            socket.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
            let mut answers = String::new();
            socket.read_line(&mut answers).unwrap();
            let answers: Value = serde_json::from_str(&answers).unwrap();
            let stats = &answers[1]["result"];
            assert_balance(stats);
            match &answers[0]["error"]["data"]["kind"] {
                Value::Null => Some(stats.clone()),
                kind => (kind != "not_in_force").then(|| panic!("{answers}")),
            }
        })
    });
    daemon.stop(Signal::TERM);
}

/// A VM sends mail without pause, and its class goes to and fro. `change` makes a change and reads the statistics when it
/// is answered; from then on no frame is counted as the class before would have it.
fn in_force_when_answered(daemon: &Daemon<'_>, rounds: u32, mut change: impl FnMut(&Value) -> Value) {
    for round in 0..rounds {
        for (class, grows, stays) in [(json!("unrestricted"), "allowed", "denied"), (Value::Null, "denied", "allowed")]
        {
            let answered = change(&json!({"id": VM_A.id, "class": class}));
            let later = daemon.stats_when("frames are judged by the new class", |stats| {
                judged(stats, VM_A.id, grows) > judged(&answered, VM_A.id, grows) + 100
            });
            let both = [&answered, &later].map(|stats| judged(stats, VM_A.id, stays));
            assert_eq!(both[0], both[1], "round {round}, class {class}: {stays} frames after the answer");
            if stays == "denied" {
                let both = [&answered, &later].map(|stats| egress(stats, "port_closed"));
                assert_eq!(both[0], both[1], "round {round}: port_closed after the answer");
            }
        }
    }
}

#[test]
fn sigterm_and_sigint_end_it_with_final_counters() {
    for signal in [Signal::TERM, Signal::INT] {
        let lab = Lab::new();
        let daemon = Daemon::start(&lab, &demo(&lab));
        assert!(lab.run_dir(FILE_PREFIX).exists());
        let before = daemon.stats_when("frames flow both ways", |stats| {
            let link = &stats["links"]["uplink"];
            number(&link["inside"]["tx"]) > 1000 && number(&link["outside"]["tx"]) > 1000
        });
        let end = daemon.stop(signal);
        for (side, count) in [("inside", "rx"), ("outside", "rx"), ("inside", "tx"), ("outside", "tx")] {
            let [before, end] = [&before, &end].map(|stats| number(&stats["links"]["uplink"][side][count]));
            assert!(end >= before, "{signal:?}: {side} {count} is final");
        }
    }
}

/// Starts it without waiting for more than a line of its log, and interrupts it then. What it printed, and its log.
fn interrupted_at(lab: &Lab, line: &str) -> (String, String) {
    let file = lab.write("portcullis.toml", demo(lab).toml());
    let (out, err) = (lab.path("out"), lab.path("err"));
    let mut command = lab.command(&["run", "--config", &file]);
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let mut child = Killed(command.spawn().unwrap());
    wait_for("the log says so", || fs::read_to_string(&err).unwrap().contains(line).then_some(()));
    kill_process(Pid::from_child(&child.0), Signal::INT).unwrap();
    let status = wait_for("it ends", || child.0.try_wait().unwrap());
    let log = fs::read_to_string(err).unwrap();
    assert!(status.success(), "{log}");
    assert!(!lab.path("control.sock").exists());
    lab.assert_no_run_dir();
    (fs::read_to_string(out).unwrap(), log)
}

#[test]
fn the_final_counters_are_for_people_unless_asked_otherwise() {
    let (said, log) = interrupted_at(&Lab::new(), "forwarding; 0 VMs known");
    assert!(
        said.starts_with("Up ")
            && said.contains("\nFrames\n")
            && said.contains("Every received frame was forwarded or counted"),
        "{said}"
    );
    let ports = "link uplink: inside is net_pcap0";
    assert!(log.contains("EAL arguments: portcullis --lcores") && log.contains(ports), "{log}");
    assert!(!log.contains('\x1b') && !said.contains('\x1b'), "no terminal, no colours");
}

#[test]
fn told_to_stop_while_it_starts_it_stops_in_order() {
    let (said, _) = interrupted_at(&Lab::new(), "packet buffers of 2048 bytes");
    assert!(said.contains("Every received frame was forwarded or counted"), "{said}");
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused_and_the_first_undisturbed() {
    let lab = Lab::new();
    let first = Daemon::start(&lab, &demo(&lab));
    first.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    let socket = lab.text("control.sock");
    let file = lab.write("second.toml", demo(&lab).toml().replace(&format!("\"{FILE_PREFIX}\""), "\"second\""));
    for _ in 0..3 {
        let pid = format!("(pid {})", first.pid().as_raw_nonzero());
        lab.run(&["run", "--config", &file]).fails(69, &["another portcullis", &pid, &socket]);
    }
    assert!(!lab.run_dir("second").exists(), "it stopped before EAL");
    let stats = first.stats();
    first.stats_when("the first goes on", |now| {
        number(&now["links"]["uplink"]["inside"]["rx"]) > number(&stats["links"]["uplink"]["inside"]["rx"])
    });
    assert_eq!(first.ask(&["vm", "show", "web1"])["effective_class"], "restricted");
    first.stop(Signal::TERM);
}

#[test]
fn a_second_daemon_of_the_same_file_prefix_is_refused_and_the_first_undisturbed() {
    let lab = Lab::new();
    let first = Daemon::start(&lab, &demo(&lab));
    let config = demo(&lab).socket(&lab.path("second.sock"));
    let file = lab.write("second.toml", config.toml());
    lab.run(&["run", "--config", &file]).fails(71, &["EAL did not start", "dpdk.file_prefix"]);
    assert!(!lab.path("second.sock").exists());
    let info = telemetry(&lab, "/ethdev/list");
    assert_eq!(info["/ethdev/list"], json!([0, 1]), "the first one's files are still there");
    first.stop(Signal::TERM);
}

#[test]
fn after_a_kill_the_next_one_takes_the_stale_socket_over() {
    let lab = Lab::new();
    let vms = lab.write("vms.jsonl", r#"{"id":"kept","ips":["10.0.0.9"]}"#);
    for round in 0..3 {
        let mut daemon = Daemon::start_with(&lab, &demo(&lab), &["--vms", &vms]);
        daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
        daemon.stats_when("frames flow", |stats| number(&stats["links"]["uplink"]["inside"]["rx"]) > 100);
        assert_eq!(daemon.end(Signal::KILL).code, None);
        assert!(lab.path("control.sock").exists(), "round {round}: nobody was left to remove it");
        lab.run(&["stats", "--socket", &lab.text("control.sock")]).fails(69, &["is it running?"]);
    }
    let daemon = Daemon::start_with(&lab, &demo(&lab), &["--vms", &vms]);
    let listed = daemon.ask(&["vm", "list"]);
    let ids: Vec<&Value> = listed["vms"].as_array().unwrap().iter().map(|entry| &entry["vm"]["id"]).collect();
    assert_eq!(ids, ["kept"], "VMs of the file are back, VMs of the socket are gone");
    daemon.stop(Signal::TERM);
}

#[test]
fn a_dry_run_tells_what_would_be_and_starts_nothing() {
    let lab = Lab::new();
    let config =
        lab.config("net_null0,size=60", "net_ring0").link("queues = 1").link("mtu = 9000").dpdk("main_core = 0");
    let file = lab.write("portcullis.toml", config.toml());
    let text = lab.run(&["run", "--dry-run", "--config", &file, "--", "--log-level", "pmd:8"]).done().stdout;
    let eal = text.lines().find_map(|line| line.strip_prefix("EAL arguments: ")).unwrap();
    for part in
        ["--lcores 0@0,1@", "--file-prefix lab", "--no-huge", "--no-pci --vdev net_null0,size=60 --vdev net_ring0"]
    {
        assert!(eal.contains(part), "`{part}` is not in: {eal}");
    }
    assert!(eal.ends_with("--log-level pmd:8"), "{eal}");
    assert!(
        text.contains("Link uplink: inside net_null0,size=60 <-> outside net_ring0, MTU 9000, 1 queue(s)"),
        "{text}"
    );

    let document = lab.run(&["run", "--dry-run", "--json", "--config", &file]).json();
    assert_eq!(document["eal_arguments"][0], "portcullis");
    assert_eq!(document["cores"]["main"], 0);
    assert_eq!(document["links"][0]["outside"], "net_ring0");
    assert_eq!(document["socket"], lab.text("control.sock"));
    assert!(
        !lab.path("control.sock").exists() && !lab.path("control.sock.lock").exists() && !lab.path("dpdk").exists()
    );
}

#[test]
fn it_starts_with_the_good_vm_lines_and_raises_an_alarm_about_the_others() {
    let lab = Lab::new();
    let lines = [
        r#"{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"]}"#,
        r#"{"id":"web2","ips":["10.0.0.5/24"]}"#,
        r#"{"id":"a-later-one","ips":["10.0.0.5"]}"#,
        r#"{"id":"web3","ips":["10.0.0.7"]}"#,
    ];
    let vms = lab.write("vms.jsonl", lines.join("\n"));
    let mut daemon = Daemon::start_with(&lab, &demo(&lab), &["--vms", &vms]);
    let log = daemon.log();
    for part in ["line 2: ips[0]", "line 3: VM a-later-one", "web1", "2 of 4 lines are bad and left out"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(log.contains("forwarding; 2 VMs known"), "{log}");
    assert_balance(&daemon.stop(Signal::TERM));

    let file = lab.text("portcullis.toml");
    for command in [&["run", "--strict"] as &[&str], &["run", "--dry-run"], &["check"]] {
        lab.run(&[command, &["--config", &file, "--vms", &vms]].concat()).fails(78, &["line 2: ", "line 3: "]);
    }
    let ended = lab.run(&["check", "--lenient", "--config", &file, "--vms", &vms]).done();
    assert!(ended.stderr.contains("2 of 4 lines are bad"), "{}", ended.stderr);

    let inside = files::path("pcaps/demo-inside.pcap");
    let replay = ["replay", "--vms", &vms, "--inside", inside.to_str().unwrap()];
    lab.run(&replay).fails(78, &["line 2: ", "line 3: "]);
    let lenient = lab.run(&[&replay[..], &["--lenient", "--json"]].concat()).done();
    assert!(lenient.stderr.contains("2 of 4 lines are bad"), "{}", lenient.stderr);
    assert_balance(&lenient.json());
}

#[test]
fn check_says_whether_a_configuration_is_fine() {
    let lab = Lab::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/portcullis.toml");
    let shipped = shipped.to_str().unwrap();
    let said = lab.run(&["check", "--config", shipped]).done().stdout;
    assert_eq!(said, format!("{shipped}: fine; 1 link(s), 2 classes\n"));
    let golden = files::path("pcaps/golden.toml");
    let document = lab.run(&["check", "--json", "--config", golden.to_str().unwrap()]).json();
    assert_eq!((&document["valid"], &document["links"]), (&json!(true), &json!(["link0"])));
    let classes = document["classes"].as_array().unwrap();
    assert!(classes.contains(&json!("mta-only")) && classes.contains(&json!("restricted")), "{document}");
}

#[test]
fn two_workers_serve_two_queues_of_devices_that_have_many() {
    let lab = Lab::new();
    let config = lab.config("net_null0,size=64", "net_null1,size=64").workers(2).link("queues = 2");
    let mut daemon = Daemon::start(&lab, &config);
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    daemon.stats_when("frames flow both ways", |stats| {
        let link = &stats["links"]["uplink"];
        number(&link["inside"]["tx"]) > 100_000 && number(&link["outside"]["tx"]) > 100_000
    });
    let log = daemon.log();
    assert!(log.contains("inside is net_null0") && log.contains("2 queue(s)"), "{log}");
    daemon.stop(Signal::TERM);
}

#[test]
fn a_device_of_one_queue_leaves_a_worker_idle_and_says_so() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab, &demo(&lab).workers(2));
    daemon.stats_when("frames flow", |stats| number(&stats["links"]["uplink"]["inside"]["rx"]) > 1000);
    let log = daemon.log();
    assert!(log.contains("1 queues for 2 workers") && log.contains("1 queue(s)"), "{log}");
    let stats = daemon.stats();
    let [busy, idle] = [&stats["workers"][0], &stats["workers"][1]];
    assert!(number(&busy["busy_ns"]) > 0 && number(&busy["turns"]) > number(&busy["turns_empty"]), "{busy}");
    assert_eq!((number(&idle["busy_ns"]), &idle["bursts"]["1"]), (0, &json!(0)), "{idle}");
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    daemon.stop(Signal::TERM);
}

#[test]
fn what_leaves_through_a_ring_comes_back_and_is_judged_the_other_way() {
    let lab = Lab::new();
    let web = |ipv6: bool| {
        let frame = frame().from(VM_A).to(PEER).tcp(443);
        Vec::from(if ipv6 { frame.ipv6() } else { frame })
    };
    let frames: Vec<Vec<u8>> = [false, true].map(web).into_iter().cycle().take(200).collect();
    let (inside, out) = (lab.write("in.pcap", pcap(&frames)), lab.text("out.pcap"));
    let config = lab.config(&format!("net_pcap0,rx_pcap={inside},tx_pcap={out}"), "net_ring0");
    let daemon = Daemon::start(&lab, &config);
    daemon.stats_when("every frame is back", |stats| stats["links"]["uplink"]["inside"]["tx"] == 200);
    let end = daemon.stop(Signal::TERM);
    assert_eq!(end["links"]["uplink"]["outside"]["tx"], 200);
    assert_eq!(files::read_pcap(Path::new(&out)), frames, "unchanged, in order, written out at the end");
}

#[test]
fn two_links_are_two_pairs() {
    let lab = Lab::new();
    let mail = lab.write("mail.pcap", pcap(&[frame().from(VM_A).tcp(25).into()]));
    let web = lab.write("web.pcap", pcap(&[frame().from(VM_A).tcp(443).into()]));
    let other =
        format!("[[link]]\nname = \"other\"\ninside = \"{}\"\noutside = \"net_null1,no-rx=1\"", for_ever(1, &[&web]));
    let daemon = Daemon::start(&lab, &lab.config(&for_ever(0, &[&mail]), "net_null0,no-rx=1").and(&other));
    let stats = daemon.stats_when("frames arrive on both", |stats| {
        ["uplink", "other"].iter().all(|link| number(&stats["links"][link]["inside"]["rx"]) > 100)
    });
    assert_eq!(stats["links"]["uplink"]["outside"]["tx"], 0, "mail is dropped on one");
    let other = &stats["links"]["other"];
    assert_eq!(other["outside"]["tx"], other["inside"]["rx"], "the web passes on the other");
    daemon.stop(Signal::TERM);
}
