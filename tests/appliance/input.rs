//! What cannot be is refused before anything runs: with the documented exit code, and naming the offender.
//!
//! No frame flows here, so instead of the balance each test asserts that nothing was done: nothing on standard output,
//! nothing left of EAL's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::files;
use crate::support::{Config, Ended, Lab, pcap};

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const OS: i32 = 71;
const PERMISSION: i32 = 77;
const CONFIGURATION: i32 = 78;

fn demo_inside() -> String {
    files::path("pcaps/demo-inside.pcap").to_str().unwrap().to_owned()
}

/// `run` with a configuration.
#[track_caller]
fn run(lab: &Lab, config: &Config, more: &[&str]) -> Ended {
    let file = lab.write("portcullis.toml", config.toml());
    lab.run(&[&["run", "--config", &file], more].concat())
}

/// `check` and `run` both refuse it.
#[track_caller]
fn refused_by_check_and_run(lab: &Lab, config: &str, parts: &[&str]) {
    let file = lab.write("portcullis.toml", config);
    lab.run(&["check", "--config", &file]).fails(CONFIGURATION, &[&[file.as_str()], parts].concat());
    lab.run(&["run", "--config", &file]).fails(CONFIGURATION, &[&[file.as_str()], parts].concat());
    assert_nothing_ran(lab);
}

/// `check`, the dry run and `run` refuse it in the same words.
#[track_caller]
fn refused_alike(lab: &Lab, config: &Config, more: &[&str], parts: &[&str]) {
    let file = lab.write("portcullis.toml", config.toml());
    let said = |command: &[&str]| {
        let ended = lab.run(&[command, &["--config", &file], more].concat());
        let said = ended.stderr.split("portcullis: ").last().unwrap_or_default().to_owned();
        ended.fails(CONFIGURATION, parts);
        said
    };
    let words = said(&["check"]);
    assert_eq!(said(&["run", "--dry-run"]), words);
    assert_eq!(said(&["run", "--strict"]), words);
    assert_nothing_ran(lab);
}

/// A link of two devices that exist everywhere.
fn nulls(lab: &Lab) -> Config {
    lab.config("net_null0", "net_null1")
}

#[track_caller]
fn assert_nothing_ran(lab: &Lab) {
    assert!(!lab.path("control.sock").exists(), "no socket");
    lab.assert_no_run_dir();
}

// The command line.

#[test]
fn a_command_line_that_cannot_be_ends_with_64() {
    let lab = Lab::new();
    for (args, part) in [
        (&[] as &[&str], "Usage: portcullis"),
        (&["frobnicate"], "frobnicate"),
        (&["replay"], "--inside"),
        (&["replay", "--inside", "a.pcap", "--isnide", "b.pcap"], "--isnide"),
        (&["vm", "set"], "ID"),
        (&["vm", "set", "web1", "--mac", "5"], "5"),
        (&["vm", "patch", "web1", "--public-ipv4", "203.0.113.6", "--no-public-ipv4"], "--no-public-ipv4"),
    ] {
        lab.run(args).fails(USAGE, &[part]);
    }
    let help = lab.run(&["--help"]).done();
    assert!(help.stdout.contains("replay") && help.stdout.contains("Exit codes"), "help is an answer: {}", help.stdout);
    for command in ["run", "check"] {
        let help = lab.run(&[command, "--help"]).done().stdout;
        assert!(help.contains("[default: /etc/portcullis/portcullis.toml]"), "{help}");
    }
}

#[test]
fn commands_to_a_daemon_that_is_not_there_end_with_69() {
    let lab = Lab::new();
    let socket = lab.text("control.sock");
    for args in
        [&["stats"] as &[&str], &["vm", "list"], &["vm", "delete", "web1"], &["vm", "patch", "web1", "--no-class"]]
    {
        lab.run(&[args, &["--socket", &socket]].concat()).fails(UNAVAILABLE, &[&socket, "is it running?"]);
    }
    let version = lab.run(&["version", "--socket", &socket]).done();
    assert!(version.stdout.contains(&format!("no daemon on {socket}")), "{}", version.stdout);
}

// Captures.

#[test]
fn a_capture_that_is_not_there_is_named() {
    let lab = Lab::new();
    let missing = lab.text("missing.pcap");
    lab.run(&["replay", "--inside", &missing]).fails(USAGE, &[&missing, "No such file"]);
    let folder = lab.text("");
    lab.run(&["replay", "--inside", &folder]).fails(USAGE, &[&folder, "directory"]);
    assert_nothing_ran(&lab);
}

#[test]
fn a_capture_that_may_not_be_read_is_named_and_ends_with_77() {
    let lab = Lab::new();
    let secret = lab.write("secret.pcap", pcap(&[]));
    let mode = if crate::support::is_root() { 0o600 } else { 0 };
    fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
    let mut command = lab.command_of_nobody(&["replay", "--inside", &secret]);
    lab.finish(&mut command).fails(PERMISSION, &[&secret, "Permission denied"]);
    assert_nothing_ran(&lab);
}

#[test]
fn a_capture_cut_in_the_middle_of_a_record_is_refused_where_that_is_asked_for() {
    let lab = Lab::new();
    let whole = fs::read(demo_inside()).unwrap();
    // Behind the header of the second record; and in the middle of its frame.
    let first = 24 + 16 + files::read_pcap(demo_inside().as_ref())[0].len();
    for length in [first + 7, first + 16, first + 30, whole.len() - 1] {
        let (cut, out) = (lab.write("cut.pcap", &whole[..length]), lab.text("out.pcap"));
        let ended = lab.run(&["replay", "--strict", "--inside", &cut, "--outside-out", &out]);
        ended.fails(USAGE, &[&cut, "ends in the middle of a record behind packet"]);
        assert!(!lab.path("out.pcap").exists(), "{length} bytes");
    }
    assert_nothing_ran(&lab);
}

#[test]
fn a_capture_that_is_none_or_holds_no_ethernet_is_named() {
    let lab = Lab::new();
    let text = lab.write("notes.pcap", "this is no capture, however it is called");
    lab.run(&["replay", "--inside", &text]).fails(USAGE, &[&text, "is not a capture"]);
    let mut wifi = pcap(&[vec![0; 60]]);
    wifi[20] = 105; // LINKTYPE_IEEE802_11
    let wifi = lab.write("wifi.pcap", wifi);
    lab.run(&["replay", "--inside", &wifi]).fails(USAGE, &[&wifi, "only Ethernet"]);
    assert_nothing_ran(&lab);
}

#[test]
fn a_replay_does_not_overwrite_what_it_reads() {
    let lab = Lab::new();
    let inside = lab.text("in.pcap");
    fs::copy(demo_inside(), &inside).unwrap();
    let before = fs::read(&inside).unwrap();
    let linked = lab.text("linked.pcap");
    std::os::unix::fs::symlink(&inside, &linked).unwrap();
    for out in [&inside, &linked] {
        let ended = lab.run(&["replay", "--inside", &inside, "--outside-out", out]);
        ended.fails(USAGE, &[out, "what is replayed to the inside port is the same file"]);
    }
    let out = lab.text("out.pcap");
    let args = ["replay", "--inside", &inside, "--outside", &inside, "--outside-out", &out, "--inside-out", &out];
    lab.run(&args).fails(USAGE, &[&out, "what leaves by the inside port is the same file"]);
    assert_eq!(fs::read(&inside).unwrap(), before);
    assert_nothing_ran(&lab);
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let lab = Lab::new();
    let nowhere = lab.text("no-such-folder/out.pcap");
    let ended = lab.run(&["replay", "--inside", &demo_inside(), "--outside-out", &nowhere]);
    ended.fails(OS, &[&nowhere, "cannot be written"]);

    let folder = lab.foreign_folder();
    let (inside, out) = (lab.write("in.pcap", pcap(&[vec![0; 60]])), folder.join("out.pcap"));
    let out = out.to_str().unwrap();
    let mut command = lab.command_of_nobody(&["replay", "--inside", &inside, "--outside-out", out]);
    lab.finish(&mut command).fails(PERMISSION, &[out, "cannot be written"]);
    assert_nothing_ran(&lab);
}

// VM lines.

#[test]
fn one_wrong_vm_line_of_a_thousand_keeps_everything_from_running() {
    let lab = Lab::new();
    let line = |number: u32, ip: &str| format!("{{\"id\":\"vm{number}\",\"ips\":[\"{ip}\"]}}\n");
    let good = |number: u32| line(number, &format!("10.0.{}.{}", number / 250, number % 250));
    let lines = |wrong: &str| -> String {
        (1..=1000).map(|number| if number == 999 { wrong.to_owned() } else { good(number) }).collect()
    };
    for (wrong, parts) in [
        (line(999, "10.0.0.5/24"), ["ips[0]", "10.0.0.5/24"]),
        ("{\"id\":\"vm999\",\"macs\":[\"52:54:00:00:00:01\",\"52-54\"]}\n".into(), ["macs[1]", "52-54"]),
        ("{\"id\":\"vm999\",\"public_ip\":\"203.0.113.6\"}\n".into(), ["`public_ip`", "did you mean `public_ipv4`?"]),
        ("{\"id\":\"vm999\",\"ips\":[\"10.0.0.\n".into(), ["line 999", "ips"]),
    ] {
        let (vms, out) = (lab.write("vms.jsonl", lines(&wrong)), lab.text("out.pcap"));
        let parts = [&[vms.as_str(), "line 999"], &parts[..]].concat();
        let args = ["replay", "--vms", &vms, "--inside", &demo_inside(), "--outside-out", &out];
        lab.run(&args).fails(CONFIGURATION, &parts);
        assert_eq!(fs::read(&out).unwrap_or_default(), b"", "no frame left");

        let file = lab.write("portcullis.toml", nulls(&lab).toml());
        lab.run(&["run", "--strict", "--config", &file, "--vms", &vms]).fails(CONFIGURATION, &parts);
        assert_nothing_ran(&lab);
    }
}

#[test]
fn two_vms_that_claim_the_same_are_told_apart_by_line_and_name() {
    let lab = Lab::new();
    for (lines, parts) in [
        (
            [r#"{"id":"web1","macs":["52:54:00:00:00:01"]}"#, r#"{"id":"web2","macs":["52:54:00:00:00:01"]}"#],
            ["52:54:00:00:00:01", "web1", "web2"],
        ),
        (
            [r#"{"id":"web1","ips":["10.0.0.0/24"]}"#, r#"{"id":"web2","ips":["10.0.0.0/24"]}"#],
            ["10.0.0.0/24", "web1", "web2"],
        ),
        (
            [r#"{"id":"web1","ips":["203.0.113.6"]}"#, r#"{"id":"web2","public_ipv4":"203.0.113.6"}"#],
            ["203.0.113.6", "web1", "web2"],
        ),
        ([r#"{"id":"web1","ips":["10.0.0.1"]}"#, r#"{"id":"web1","ips":["10.0.0.2"]}"#], ["web1", "line 1", "already"]),
    ] {
        let vms = lab.write("vms.jsonl", lines.join("\n"));
        let ended = lab.run(&["replay", "--vms", &vms, "--inside", &demo_inside()]);
        ended.fails(CONFIGURATION, &[&[vms.as_str(), "line 2"], &parts[..]].concat());
    }
    assert_nothing_ran(&lab);
}

// The configuration.

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    let lab = Lab::new();
    let config = nulls(&lab).link("queus = 1").toml();
    refused_by_check_and_run(&lab, &config, &["queus", "did you mean `queues`?"]);
    let config = nulls(&lab).and("[polcy]\nmode = \"monitor\"").toml();
    refused_by_check_and_run(&lab, &config, &["polcy", "did you mean `policy`?"]);
    let config = nulls(&lab).and("[metrics]\nlistn = \"127.0.0.1:9753\"").toml();
    refused_by_check_and_run(&lab, &config, &["listn", "did you mean `listen`?"]);
    let config = nulls(&lab).and("[events]\nkeep = 5").toml();
    refused_by_check_and_run(&lab, &config, &["events", "not in this version"]);
}

#[test]
fn a_link_needs_two_ports() {
    let lab = Lab::new();
    for (present, missing) in [("inside", "outside"), ("outside", "inside")] {
        let config = format!("[[link]]\nname = \"uplink\"\n{present} = \"net_null0\"\n");
        refused_by_check_and_run(&lab, &config, &["[[link]]", &format!("missing field `{missing}`")]);
    }
    refused_by_check_and_run(&lab, "", &["no link is configured"]);
}

#[test]
fn a_device_serves_one_port() {
    let lab = Lab::new();
    let config = lab.config("net_null0", "net_null0,size=9000").toml();
    refused_by_check_and_run(&lab, &config, &["link[0].outside", "`net_null0`", "link[0].inside"]);
    let other = "[[link]]\nname = \"other\"\ninside = \"net_null1\"\noutside = \"net_null2\"";
    let config = nulls(&lab).and(other).toml();
    refused_by_check_and_run(&lab, &config, &["link[1].inside", "`net_null1`", "link[0].outside"]);
    let other = "[[link]]\nname = \"uplink\"\ninside = \"net_null2\"\noutside = \"net_null3\"";
    let config = nulls(&lab).and(other).toml();
    refused_by_check_and_run(&lab, &config, &["link[1].name", "`uplink`"]);
}

#[test]
fn a_worker_needs_a_cpu_that_is_there() {
    let lab = Lab::new();
    let parts = ["portcullis.toml", "dpdk.cores", "is not available", "may run on"];
    refused_alike(&lab, &nulls(&lab).cores("0-1023"), &[], &parts);
    let first = crate::support::cores(1);
    let twice = format!("CPU {first} is named twice");
    refused_alike(&lab, &nulls(&lab).cores(&format!("{first},{first}")), &[], &["dpdk.cores", &twice]);
    refused_alike(&lab, &nulls(&lab).cores("4-1"), &[], &["dpdk.cores", "`4-1` is not a list of CPUs"]);
}

#[test]
fn a_queue_needs_a_worker() {
    let lab = Lab::new();
    let parts = ["portcullis.toml", "`uplink`", "2 queues", "there are 1", "dpdk.cores"];
    refused_alike(&lab, &nulls(&lab).link("queues = 2"), &[], &parts);
}

#[test]
fn every_fault_is_told_at_once() {
    let lab = Lab::new();
    let vms =
        lab.write("vms.jsonl", "{\"id\":\"a\",\"ips\":[\"10.0.0.5\"]}\nno vm\n{\"id\":\"b\",\"ips\":[\"10.0.0.5\"]}\n");
    let config = nulls(&lab).link("queues = 2");
    let parts = ["2 queues", "contradicts `dpdk.file_prefix`", "vms.jsonl, line 2: ", "vms.jsonl, line 3: VM b"];
    refused_alike(&lab, &config, &["--vms", &vms, "--", "--file-prefix=other"], &parts);
}

#[test]
fn one_interface_is_no_two_ports() {
    let lab = Lab::new();
    let config = lab.config("net_af_packet0,iface=x", "net_tap0,iface=x");
    refused_alike(&lab, &config, &[], &["link[0].outside", "`x`", "link[0].inside"]);
    refused_alike(&lab, &lab.config("eth0", "net_null0"), &[], &["net_af_packet0,iface=eth0"]);
}

#[test]
fn a_file_without_any_good_line_is_no_file_of_vms() {
    let lab = Lab::new();
    let csv = lab.write("inventory.csv", "id,mac,ip\nweb1,52:54:00:00:00:01,10.0.0.5\n");
    run(&lab, &nulls(&lab), &["--vms", &csv])
        .fails(CONFIGURATION, &["inventory.csv, line 1: ", "inventory.csv, line 2: "]);
    assert_nothing_ran(&lab);
}

#[test]
fn a_private_address_is_no_public_one() {
    let lab = Lab::new();
    let vms = lab.write("vms.jsonl", "\u{feff}{\"id\":\"a\",\"macs\":null,\"ips\":[\"10.0.0.5\"]}\r\n{\"id\":\"b\",\"public_ipv4\":\"100.64.0.9\"}\r\n");
    refused_alike(&lab, &nulls(&lab), &["--vms", &vms], &["vms.jsonl, line 2: ", "100.64.0.9", "RFC 6598"]);
    let file = lab.write("portcullis.toml", nulls(&lab).and("[policy]\npublic_ipv4 = \"any\"").toml());
    let ended = lab.run(&["check", "--config", &file, "--vms", &vms]).done();
    assert!(ended.stderr.contains("policy.public_ipv4"), "{}", ended.stderr);
    assert_nothing_ran(&lab);
}

#[test]
fn more_queues_than_a_device_has_are_refused_with_its_limit() {
    let lab = Lab::new();
    let device = format!("net_pcap0,rx_pcap={},infinite_rx=1", demo_inside());
    let config = lab.config("net_null0", &device).workers(2).link("queues = 2");
    let parts = ["`uplink`", "outside", "net_pcap0", "at most 1 receive", "2 were asked for"];
    run(&lab, &config, &[]).fails(CONFIGURATION, &parts);
    assert_nothing_ran(&lab);
}

#[test]
fn a_raw_option_may_not_contradict_the_file() {
    let lab = Lab::new();
    let refused = |more: &[&str], parts: &[&str]| refused_alike(&lab, &nulls(&lab), more, parts);
    refused(&["--", "-l", "0,1"], &["`-l 0,1`", "dpdk.cores", "--lcores 0@"]);
    refused(&["--", "--file-prefix=other"], &["--file-prefix other", "dpdk.file_prefix", "lab"]);
    refused(&["--", "--vdev", "net_null1,size=60"], &["net_null1", "a link of the configuration uses already"]);
}

// What only the machine knows.

#[test]
fn a_device_that_is_not_there_is_named_and_ends_with_69() {
    let lab = Lab::new();
    // A driver that does not exist, one that cannot start its device, a slot of the PCI bus with nothing in it.
    for (device, name) in [
        ("net_nosuchdriver0", "net_nosuchdriver0"),
        ("net_af_packet0,iface=no-such-iface", "net_af_packet0,iface=no-such-iface"),
        ("net_pcap0,iface=no-such-iface", "net_pcap0,iface=no-such-iface"),
    ] {
        run(&lab, &lab.config(device, "net_null0"), &[]).fails(UNAVAILABLE, &[name]);
        assert!(!lab.path("control.sock").exists(), "no socket");
    }
}

#[test]
fn counters_that_no_memory_holds_are_refused_by_the_key_to_change() {
    let lab = Lab::new();
    // Address space for the table of so many VMs, and not for their counters.
    let config = lab.write("portcullis.toml", nulls(&lab).and("[table]\nvms = 268435456").toml());
    let whole = lab.command(&["run", "--config", &config]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -v 8000000; exec \"$0\" \"$@\""]).arg(whole.get_program()).args(whole.get_args());
    limited.env("RUNTIME_DIRECTORY", lab.path(""));
    lab.finish(&mut limited).fails(OS, &["no memory for", "`table.vms`"]);
    assert_nothing_ran(&lab);
}

#[test]
fn an_option_that_eal_does_not_know_is_answered_by_us_too() {
    let lab = Lab::new();
    let ended = run(&lab, &nulls(&lab), &["--", "--no-such-option"]);
    ended.fails(CONFIGURATION, &["portcullis: ", "EAL"]);
}

#[test]
fn a_device_that_dpdk_cannot_have_is_told_by_a_dry_run() {
    let lab = Lab::new();
    let config = lab.config("0000:ff:1f.7", "net_null0");
    let preview = run(&lab, &config, &["--dry-run"]).done().stdout;
    assert!(
        preview.contains("Would fail: link `uplink`, device 0000:ff:1f.7: this machine has no such PCI"),
        "{preview}"
    );
}

#[test]
fn packet_buffers_that_no_memory_holds_are_refused_in_bytes() {
    let lab = Lab::new();
    let config = nulls(&lab).dpdk("mbufs = 4000000").dpdk("memory_mib = 64");
    let ended = run(&lab, &config, &[]).fails(OS, &["4000000 mbufs", "Cannot allocate memory", "dpdk.memory_mib"]);
    let bytes: u64 = ended.stderr.split(" bytes in all").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(bytes > 4_000_000 * 2048, "{bytes}");
    assert_nothing_ran(&lab);
}

#[test]
fn a_socket_needs_a_folder_that_may_be_written() {
    let lab = Lab::new();
    let missing = lab.path("no-such-folder/control.sock");
    let ended = run(&lab, &nulls(&lab).socket(&missing), &[]);
    ended.fails(CONFIGURATION, &[&lab.text("no-such-folder"), "does not exist"]);

    let folder = lab.foreign_folder();
    let socket = folder.join("control.sock");
    let file = lab.write("portcullis.toml", nulls(&lab).socket(&socket).toml());
    let mut command = lab.command_of_nobody(&["run", "--config", &file]);
    lab.finish(&mut command).fails(PERMISSION, &[socket.to_str().unwrap(), "no permission"]);
    assert_nothing_ran(&lab);
}

#[test]
fn what_stands_in_the_place_of_the_socket_is_left_alone() {
    let lab = Lab::new();
    let file = lab.write("control.sock", "somebody's notes");
    let ended = run(&lab, &nulls(&lab), &[]);
    ended.fails(CONFIGURATION, &[&file, "not a socket of ours"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's notes");
    lab.assert_no_run_dir();
}
