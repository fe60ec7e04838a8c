//! DPDK's telemetry socket: its own commands, and ours beside them, as the script that DPDK ships asks them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::demo;
use crate::metrics::quiet;
use crate::support::{Daemon, FILE_PREFIX, LIMIT, Lab, assert_balance};

/// Asks DPDK's telemetry socket: one packet for the greeting, one each for question and answer.
pub(crate) fn telemetry(lab: &Lab, question: &str) -> Value {
    let path = lab.run_dir(FILE_PREFIX).join("dpdk_telemetry.v2");
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    connect(&fd, &SocketAddrUnix::new(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut stream = UnixStream::from(fd);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut packet = vec![0; 65536];
    let greeting = stream.read(&mut packet).unwrap();
    assert!(
        packet[..greeting].starts_with(b"{\"version\":\"DPDK "),
        "{:?}",
        String::from_utf8_lossy(&packet[..greeting])
    );
    stream.write_all(question.as_bytes()).unwrap();
    let answer = stream.read(&mut packet).unwrap();
    serde_json::from_slice(&packet[..answer]).unwrap()
}
#[test]
fn dpdks_own_commands_are_answered() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    assert_eq!(telemetry(&lab, "/ethdev/list")["/ethdev/list"], json!([0, 1]));
    let info = telemetry(&lab, "/ethdev/info,0");
    assert_eq!(info["/ethdev/info"]["name"], "net_pcap0", "{info}");
    assert_balance(&daemon.stop(Signal::TERM));
}

/// What the statistics have under each name that telemetry has.
fn of_statistics(stats: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::from([("balanced".to_owned(), json!(1))]);
    for way in ["egress", "ingress"] {
        for group in ["reasons", "would_deny", "observed", "unknown"] {
            for (name, count) in stats[group][way].as_object().unwrap() {
                all.insert(format!("{group}/{way}/{name}"), count.clone());
            }
        }
    }
    all
}

#[test]
fn our_commands_say_what_the_statistics_say() {
    let lab = Lab::new();
    let (daemon, _) = quiet(&lab, "", "");
    let stats = daemon.stats();
    let ask = |question: &str| {
        let command = question.split(',').next().unwrap().to_owned();
        telemetry(&lab, question)[command].clone()
    };
    assert_eq!(ask("/portcullis/stats"), json!(of_statistics(&stats)));
    let link = ask("/portcullis/link,0");
    assert_eq!(link["name"], "uplink");
    for (side, name) in [("inside", "rx"), ("outside", "tx"), ("inside", "rx_missed"), ("outside", "rx_tags_restored")]
    {
        assert_eq!(link[format!("{side}/{name}")], stats["links"]["uplink"][side][name], "{link}");
    }
    let vm = ask("/portcullis/vm,vm-a");
    assert_eq!((&vm["class"], &vm["egress/denied"]), (&json!("restricted"), &stats["vms"]["vm-a"]["egress"]["denied"]));
    let worker = ask("/portcullis/worker,0");
    assert_eq!((&worker["rx"], &worker["bursts/1"]), (&json!(7), &stats["workers"][0]["bursts"]["1"]), "{worker}");
    let drops = ask("/portcullis/drops");
    let last = drops[0].as_str().unwrap();
    assert!(last.contains("egress port_closed - ") && last.ends_with(" port 25"), "{drops}");
    let info = ask("/portcullis/info");
    assert_eq!((&info["boot"], &info["links"]), (&stats["daemon"]["boot"], &json!(1)), "{info}");
    for nothing in
        ["/portcullis/vm", "/portcullis/vm,nobody", "/portcullis/vm,!", "/portcullis/link,1", "/portcullis/worker,x"]
    {
        assert_eq!(ask(nothing), Value::Null, "{nothing}");
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn the_script_that_dpdk_ships_shows_our_commands() {
    let lab = Lab::new();
    let (daemon, _) = quiet(&lab, "", "");
    let mut script = Command::new("dpdk-telemetry.py");
    script
        .args(["-f", FILE_PREFIX])
        .env("RUNTIME_DIRECTORY", lab.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = script.spawn().expect("`make setup` installs dpdk-dev, which has it");
    child.stdin.take().unwrap().write_all(b"/\n/help,/portcullis/vm\n/portcullis/vm,vm-a\nquit\n").unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    for words in ["/portcullis/stats", "Judged frames of a VM", "\"egress/denied\": 2"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    daemon.stop(Signal::TERM);
}
