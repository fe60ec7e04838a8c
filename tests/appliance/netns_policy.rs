//! What real hosts make of a strict box, and of one that rejects: the picture of `netns`, with Linux on both ends.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::netns::{self, Net, OUT4, OUT6, VM4, VM6, af_packet, dropped, exchange, ip, set_vm};
use crate::support::{Config, Daemon, LIMIT, Lab, helper, number, wait_for};

/// Linux's numbers for how a connection fails.
const EACCES: i32 = 13;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

const WEB: u16 = 8080;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Counters of what only a strict box drops, from inside.
fn strict_drops(stats: &Value) -> u64 {
    let reasons = ["spoof_ip", "spoof_mac", "arp_guard", "nd_guard", "ra_guard", "dhcp_guard"];
    reasons.iter().map(|reason| dropped(stats, "egress", reason)).sum()
}

fn box_that_rejects(lab: &Lab, more: &str) -> Config {
    af_packet(lab).link(more).and("[policy]\nidentity = \"strict\"\ndeny = \"reject\"\nreject_burst = 1000")
}

/// How a connection to a closed port fails, by the kernel's number; it must not be by waiting.
#[track_caller]
fn refused(net: &Net, to: SocketAddr) -> i32 {
    let error = net.vm.connect(to, LIMIT).unwrap_err();
    error.raw_os_error().unwrap_or_else(|| panic!("{to}: {error}, which no answer of the box causes"))
}

#[test]
fn a_denied_connection_fails_at_once_and_says_why() {
    if netns::is_skipped() {
        return;
    }
    for (sources, expected) in [
        ("", [ECONNREFUSED, ECONNREFUSED]),
        ("reject_ipv4 = \"10.77.0.254\"\nreject_ipv6 = \"fd77::254\"", [EHOSTUNREACH, EACCES]),
    ] {
        let (net, lab) = (Net::new(), Lab::new());
        net.veth();
        let daemon = net.start(&lab, &box_that_rejects(&lab, sources));
        set_vm(&net, &daemon);
        net.wait_for_ping();
        for port in [25, 465, 587] {
            let got = [OUT4, OUT6].map(|out| refused(&net, SocketAddr::new(out, port)));
            assert_eq!(got, expected, "port {port}, {sources}");
        }
        let end = daemon.stop(Signal::TERM);
        assert!(number(&end["observed"]["egress"]["reject_sent"]) >= 6, "{end}");
        assert_eq!(number(&end["observed"]["egress"]["reject_suppressed"]), 0);
        assert_eq!((strict_drops(&end), &end["balanced"]), (0, &Value::Bool(true)));
    }
}

#[test]
fn a_running_session_is_reset_at_its_next_segment() {
    if netns::is_skipped() {
        return;
    }
    let (net, lab) = (Net::new(), Lab::new());
    net.veth();
    let daemon = net.start(&lab, &box_that_rejects(&lab, ""));
    set_vm(&net, &daemon);
    net.wait_for_ping();
    for out in [OUT4, OUT6] {
        let mail = SocketAddr::new(out, 25);
        let got = net.out.echo(mail);
        daemon.change(&["vm", "patch", "vm", "--class", "unrestricted"]);
        let mut session = net.vm.connect(mail, LIMIT).unwrap();
        exchange(&mut session, b"EHLO vm.test\r\n");
        assert_eq!(got.recv_timeout(LIMIT).unwrap(), b"EHLO vm.test\r\n");
        daemon.change(&["vm", "patch", "vm", "--no-class"]);
        session.write_all(b"MAIL FROM:<spam@vm.test>\r\n").unwrap();
        let error = session.read(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        assert!(got.try_recv().is_err(), "nothing arrived");
    }
    let end = daemon.stop(Signal::TERM);
    assert_eq!(end["balanced"], true);
}

/// A DHCP, DHCPv6 and SLAAC server, in a namespace.
fn dnsmasq(namespace: &netns::Namespace, lab: &Lab, name: &str, host: &str) -> Running {
    let leases = lab.path(&format!("{name}.leases"));
    let mut command =
        namespace.run(&["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0"]);
    command.args(["--interface=eth0", "--bind-interfaces", "--dhcp-authoritative", "--enable-ra", "--pid-file="]);
    command.args(["--dhcp-range=10.77.0.50,10.77.0.60,1h", "--dhcp-range=fd77::1:50,fd77::1:50,slaac,64,1h"]);
    command.arg(format!("--dhcp-host={host},10.77.0.50")).arg(format!("--dhcp-leasefile={}", leases.display()));
    let log = std::fs::File::create(lab.path(&format!("{name}.log"))).unwrap();
    Running(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

/// A DHCP client for `-4` or `-6`, until it is dropped, that touches nothing else of the machine.
///
/// It stays in the foreground: one that goes to the background has left before its child has written down which
/// process it is.
fn dhclient(net: &Net, lab: &Lab, family: &str) -> Running {
    let script = lab.write(
        "dhclient-script",
        "#!/bin/sh\ncase \"$reason\" in\nBOUND|REBOOT) ip address add \"$new_ip_address/24\" dev \"$interface\" ;;\n\
         BOUND6) ip address add \"$new_ip6_address/128\" dev \"$interface\" ;;\nesac\nexit 0\n",
    );
    helper(std::process::Command::new("chmod").args(["755", &script]));
    let leases = lab.path(&format!("dhclient{family}.leases")).display().to_string();
    let mut command = net.vm.run(&["dhclient", family, "-d", "-1", "--no-pid", "-cf", "/dev/null"]);
    command.args(["-sf", &script, "-lf", &leases, "eth0"]);
    let log = std::fs::File::create(lab.path(&format!("dhclient{family}.log"))).unwrap();
    Running(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

/// The global addresses of the VM that are its own already.
fn addresses(net: &Net) -> Vec<String> {
    let links: Value = serde_json::from_str(&ip(&["-n", &net.vm.0, "-j", "address", "show", "eth0"])).unwrap();
    let of = links[0]["addr_info"].as_array().unwrap();
    let ready = |it: &&Value| it["scope"] == "global" && it["tentative"] != true;
    of.iter().filter(ready).map(|it| it["local"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn hosts_get_their_addresses_through_a_strict_box_and_may_use_no_others() {
    if netns::is_skipped() {
        return;
    }
    let (net, lab) = (Net::new(), Lab::new());
    net.veth();
    ip(&["-n", &net.vm.0, "address", "flush", "dev", "eth0", "scope", "global"]);
    let config = af_packet(&lab).link("protect = [\"10.77.0.1\", \"fd77::1\"]").and("[policy]\nidentity = \"strict\"");
    let daemon = net.start(&lab, &config);
    let mac = net.vm.mac();
    daemon.change(&["vm", "set", "vm", "--mac", &mac, "--ip", "10.77.0.50", "--ip", "fd77::/64"]);
    let _server = dnsmasq(&net.out, &lab, "out", &mac);

    // SLAAC, with duplicate address detection, for what the router advertises; DHCP; DHCPv6.
    ip(&["-n", &net.vm.0, "link", "set", "eth0", "down"]);
    ip(&["-n", &net.vm.0, "link", "set", "eth0", "up"]);
    let has = |wanted: &str| addresses(&net).iter().any(|address| address == wanted);
    wait_for("an address by SLAAC", || {
        addresses(&net).iter().any(|address| address.starts_with("fd77:")).then_some(())
    });
    for (family, address) in [("-4", "10.77.0.50"), ("-6", "fd77::1:50")] {
        let _client = dhclient(&net, &lab, family);
        wait_for("an address by DHCP", || has(address).then_some(()));
    }

    // It works as any network does.
    net.wait_for_ping();
    for out in [OUT4, OUT6] {
        let _got = net.out.echo(SocketAddr::new(out, WEB));
        exchange(&mut net.vm.connect(SocketAddr::new(out, WEB), LIMIT).unwrap(), b"GET / HTTP/1.0\r\n\r\n");
    }
    let honest = daemon.stats();
    assert_eq!(strict_drops(&honest), 0, "{}", honest["reasons"]["egress"]);

    // Addresses that nobody gave it, for a ping and its ARP; and what only routers and servers say.
    ip(&["-n", &net.vm.0, "address", "add", "10.77.0.99/24", "dev", "eth0"]);
    let _ = net.vm.run(&["ping", "-c", "1", "-W", "1", "-I", "10.77.0.99", "10.77.0.1"]).output().unwrap();
    daemon.stats_when("a foreign address is dropped", |stats| dropped(stats, "egress", "spoof_ip") > 0);
    ip(&["-n", &net.vm.0, "neighbour", "flush", "dev", "eth0"]);
    let _ = net.vm.run(&["ping", "-c", "1", "-W", "1", "-I", "10.77.0.99", "10.77.0.77"]).output().unwrap();
    daemon.stats_when("its ARP is dropped", |stats| dropped(stats, "egress", "arp_guard") > 0);
    let _rogue = dnsmasq(&net.vm, &lab, "vm", &mac);
    daemon.stats_when("a router advertisement is dropped", |stats| dropped(stats, "egress", "ra_guard") > 0);

    let end = daemon.stop(Signal::TERM);
    assert_eq!(end["balanced"], true);
    assert_eq!(
        dropped(&end, "ingress", "spoof_ip") + dropped(&end, "ingress", "ra_guard"),
        0,
        "from outside all of it came"
    );
}

/// What goes wrong on the way to strict is seen before anything is dropped.
#[test]
fn observe_counts_what_strict_would_drop() {
    if netns::is_skipped() {
        return;
    }
    let (net, lab) = (Net::new(), Lab::new());
    net.veth();
    let daemon = net.start(&lab, &af_packet(&lab).and("[policy]\nidentity = \"observe\""));
    // Its record lists one family and forgets the other.
    daemon.change(&["vm", "set", "vm", "--mac", &net.vm.mac(), "--ip", "10.77.0.200", "--ip", &VM6.to_string()]);
    net.wait_for_ping();
    let would = |stats: &Value, reason: &str| number(&stats["would_deny"]["egress"][reason]);
    let stats = daemon
        .stats_when("ping and ARP are counted", |stats| would(stats, "spoof_ip") > 0 && would(stats, "arp_guard") > 0);
    assert_eq!((strict_drops(&stats), would(&stats, "nd_guard")), (0, 0));
    assert!(number(&stats["vms"]["vm"]["egress"]["would_deny"]) > 0);
    daemon.change(&["vm", "patch", "vm", "--add-ip", &VM4.to_string()]);
    daemon_is_quiet(&daemon, &net);
    daemon.stop(Signal::TERM);
}

/// Nothing more is counted once the record is complete.
#[track_caller]
fn daemon_is_quiet(daemon: &Daemon<'_>, net: &Net) {
    let counted = |stats: &Value| number(&stats["observed"]["egress"]["would_deny"]);
    let before = daemon.stats();
    net.wait_for_ping();
    let after = daemon.stats();
    assert_eq!(counted(&after), counted(&before), "{}", after["would_deny"]["egress"]);
}
