//! Real TCP through the box: a VM and a mail server in network namespaces of their own, the box between them in a third.
//!
//! ```text
//!   namespace vm                namespace gw                  namespace out
//!   eth0 10.77.0.2 ──veth── gwvm │ portcullis │ gwout ──veth── eth0 10.77.0.1
//!        fd77::2                                                    fd77::1
//! ```
//!
//! Only root may make namespaces. The tests make their own, with names that no other run has, touch no other, and
//! remove them however they end. What the box did is read from its counters; no test waits for silence.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::files::is_left_out;
use crate::support::{Config, Daemon, LIMIT, Lab, helper, is_root, number, wait_for};

pub(crate) const OUT4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
pub(crate) const VM4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
pub(crate) const OUT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));
pub(crate) const VM6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2));

/// How long a client tries that is expected to be cut off; its verdict is not used, the box's counter is.
const SHORT: Duration = Duration::from_millis(500);

/// Whether to go without these tests. Not being root is no reason to pass: somebody must have said so.
pub(crate) fn is_skipped() -> bool {
    if is_left_out("netns", "no TCP goes through the box") {
        return true;
    }
    assert!(
        is_root(),
        "network namespaces are for root: run `make test` as root, or set PORTCULLIS_SKIP=netns to go without"
    );
    false
}

/// A network namespace; it and all that is in it are gone afterwards.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn new(role: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-{role}-{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        Self(name)
    }

    /// Runs something here. Sockets and processes made by it stay here.
    pub(crate) fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
        thread::scope(|scope| {
            let act = || {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            };
            scope.spawn(act).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A program here.
    pub(crate) fn run(&self, program: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).args(program);
        command
    }

    /// Addresses of an end of the wire; up.
    fn address(&self, addresses: [IpAddr; 2]) {
        for (address, length, more) in [(addresses[0], 24, &[] as &[&str]), (addresses[1], 64, &["nodad"])] {
            let address = format!("{address}/{length}");
            ip(&[&["-n", &self.0, "address", "add", &address, "dev", "eth0"], more].concat());
        }
        ip(&["-n", &self.0, "link", "set", "eth0", "up"]);
    }

    pub(crate) fn mac(&self) -> String {
        let links: Value = serde_json::from_str(&ip(&["-n", &self.0, "-j", "link", "show", "eth0"])).unwrap();
        links[0]["address"].as_str().unwrap().to_owned()
    }

    pub(crate) fn connect(&self, to: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
        self.enter(|| {
            let stream = TcpStream::connect_timeout(&to, limit)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LIMIT))?;
            Ok(stream)
        })
    }

    /// A server that sends back what it gets; what it got comes out here too, a message for each read.
    pub(crate) fn echo(&self, at: SocketAddr) -> Receiver<Vec<u8>> {
        let listener = self.enter(|| TcpListener::bind(at).unwrap());
        let (sender, got) = channel();
        // Ends with the process: each test is one.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, sender) = (stream.unwrap(), sender.clone());
                thread::spawn(move || {
                    let mut bytes = [0; 65536];
                    while let Ok(read @ 1..) = stream.read(&mut bytes) {
                        let _ = sender.send(bytes[..read].to_vec());
                        if stream.write_all(&bytes[..read]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        got
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}

pub(crate) fn ip(args: &[&str]) -> String {
    helper(Command::new("ip").args(args))
}

/// The picture above, without the box.
pub(crate) struct Net {
    pub(crate) vm: Namespace,
    pub(crate) out: Namespace,
    /// Dropped last: its ends of the wires go with the others.
    gateway: Namespace,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self { vm: Namespace::new("vm"), out: Namespace::new("out"), gateway: Namespace::new("gw") }
    }

    /// Wires between the gateway and the two ends, as the box needs them: no unfinished checksums from the ends, no
    /// frames of its own from the gateway.
    pub(crate) fn veth(&self) {
        for (end, wire, addresses) in [(&self.vm, "gwvm", [VM4, VM6]), (&self.out, "gwout", [OUT4, OUT6])] {
            let gateway = &self.gateway.0;
            ip(&["-n", gateway, "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", &end.0]);
            helper(&mut end.run(&["ethtool", "-K", "eth0", "tx", "off"]));
            let silence = format!("echo 1 > /proc/sys/net/ipv6/conf/{wire}/disable_ipv6");
            helper(&mut self.gateway.run(&["sh", "-c", &silence]));
            end.address(addresses);
            ip(&["-n", gateway, "link", "set", wire, "up", "promisc", "on"]);
        }
    }

    /// The box, in the gateway's namespace.
    pub(crate) fn start<'a>(&self, lab: &'a Lab, config: &Config) -> Daemon<'a> {
        Daemon::spawn(lab, config, &[], |command| self.gateway.enter(|| command.spawn()))
    }

    /// Waits until frames go both ways.
    pub(crate) fn wait_for_ping(&self) {
        for to in [OUT4, OUT6] {
            wait_for(&format!("{to} answers"), || {
                let ping = self.vm.run(&["ping", "-c", "1", "-W", "1", &to.to_string()]).output().unwrap();
                ping.status.success().then_some(())
            });
        }
    }
}

/// The box between two kernel interfaces.
pub(crate) fn af_packet(lab: &Lab) -> Config {
    lab.config("net_af_packet0,iface=gwvm", "net_af_packet1,iface=gwout")
}

/// Makes the VM of the namespace known, without a public address.
pub(crate) fn set_vm(net: &Net, daemon: &Daemon<'_>) {
    let (mac, ip4, ip6) = (net.vm.mac(), VM4.to_string(), VM6.to_string());
    daemon.change(&["vm", "set", "vm", "--mac", &mac, "--ip", &ip4, "--ip", &ip6]);
    assert_eq!(daemon.ask(&["vm", "show", "vm"])["effective_class"], "restricted");
}

pub(crate) fn dropped(stats: &Value, way: &str, reason: &str) -> u64 {
    number(&stats["reasons"][way][reason])
}

/// Sends bytes and gets them back.
#[track_caller]
pub(crate) fn exchange(stream: &mut TcpStream, bytes: &[u8]) {
    let mut reader = stream.try_clone().unwrap();
    thread::scope(|scope| {
        let back = scope.spawn(move || {
            let mut back = vec![0; bytes.len()];
            reader.read_exact(&mut back).unwrap();
            back
        });
        stream.write_all(bytes).unwrap();
        assert!(back.join().unwrap() == bytes, "the payload comes back as it went");
    });
}

/// As long as a mail with an attachment, no two parts alike.
fn payload() -> Vec<u8> {
    (0..500_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// What a tenant sees, and what his operator does about it.
fn a_tenants_day(net: &Net, daemon: &Daemon<'_>, vm: IpAddr, out: IpAddr) {
    let mail = SocketAddr::new(out, 25);
    let (web_got, mail_got) = (net.out.echo(SocketAddr::new(out, 8080)), net.out.echo(mail));

    // The web works, with payload both ways and nothing dropped.
    let mut web = net.vm.connect(SocketAddr::new(out, 8080), LIMIT).unwrap();
    exchange(&mut web, &payload());
    drop(web);
    let arrived: usize = web_got.try_iter().map(|bytes| bytes.len()).sum();
    assert_eq!(arrived, payload().len());
    let before = daemon.stats();

    // Mail does not: every SYN is dropped, and nobody accepts anything.
    let error = net.vm.connect(mail, SHORT).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{error}");
    let closed = |stats: &Value| dropped(stats, "egress", "port_closed");
    daemon.stats_when("the box has dropped the SYN", |stats| closed(stats) > closed(&before));

    // Neither does mail to the VM.
    let vm_got = net.vm.echo(SocketAddr::new(vm, 587));
    net.out.connect(SocketAddr::new(vm, 587), SHORT).unwrap_err();
    daemon.stats_when("the box has dropped the SYN from outside", |stats| {
        dropped(stats, "ingress", "port_closed") > dropped(&before, "ingress", "port_closed")
    });
    assert!(vm_got.try_recv().is_err());

    // With a public address it does, at once: the very next connection.
    daemon.change(&["vm", "patch", "vm", "--public-ipv4", "203.0.113.6"]);
    let mut session = net.vm.connect(mail, LIMIT).unwrap();
    exchange(&mut session, b"EHLO vm.test\r\n");
    assert_eq!(mail_got.recv_timeout(LIMIT).unwrap(), b"EHLO vm.test\r\n");
    let mut inbound = net.out.connect(SocketAddr::new(vm, 587), LIMIT).unwrap();
    exchange(&mut inbound, &payload()[..100_000]);

    // Without it the session is cut, though it is established: its next segment does not arrive.
    daemon.change(&["vm", "patch", "vm", "--no-public-ipv4"]);
    let cut = daemon.stats();
    session.write_all(b"MAIL FROM:<spam@vm.test>\r\n").unwrap();
    daemon.stats_when("the segment and its repetition are dropped", |stats| closed(stats) >= closed(&cut) + 2);
    assert!(mail_got.try_recv().is_err(), "nothing arrived");

    // And given back, TCP itself repeats what was lost.
    daemon.change(&["vm", "patch", "vm", "--class", "unrestricted"]);
    assert_eq!(mail_got.recv_timeout(LIMIT).unwrap(), b"MAIL FROM:<spam@vm.test>\r\n");
    let mut answer = vec![0; 26];
    session.read_exact(&mut answer).unwrap();
    daemon.change(&["vm", "patch", "vm", "--no-class"]);
}

/// What the day must leave in the counters.
#[track_caller]
fn the_end(daemon: Daemon<'_>) {
    let end = daemon.stop(Signal::TERM);
    let vm = &end["vms"]["vm"];
    assert!(number(&vm["egress"]["denied"]) > 0 && number(&vm["egress"]["allowed"]) > 0, "{vm}");
    assert!(number(&vm["ingress"]["denied"]) > 0 && number(&vm["ingress"]["allowed"]) > 0, "{vm}");
    for reason in ["spoof_ip", "spoof_mac", "missing_evidence", "opaque_malformed"] {
        assert_eq!(dropped(&end, "egress", reason), 0, "{reason} of an honest VM");
    }
}

#[test]
fn mail_over_ipv4_is_closed_until_a_public_address_opens_it_and_cut_without() {
    if is_skipped() {
        return;
    }
    let (net, lab) = (Net::new(), Lab::new());
    net.veth();
    let daemon = net.start(&lab, &af_packet(&lab));
    set_vm(&net, &daemon);
    net.wait_for_ping();
    a_tenants_day(&net, &daemon, VM4, OUT4);
    the_end(daemon);
}

#[test]
fn mail_over_ipv6_is_closed_until_a_public_address_opens_it_and_cut_without() {
    if is_skipped() {
        return;
    }
    let (net, lab) = (Net::new(), Lab::new());
    net.veth();
    let daemon = net.start(&lab, &af_packet(&lab));
    set_vm(&net, &daemon);
    net.wait_for_ping();
    a_tenants_day(&net, &daemon, VM6, OUT6);
    the_end(daemon);
}

#[test]
fn tap_devices_carry_the_same() {
    if is_skipped() {
        return;
    }
    let (net, lab) = (Net::new(), Lab::new());
    // A tap reads down once it is in another namespace: that must not take the other side down.
    let config = lab.config("net_tap0,iface=gwvm", "net_tap1,iface=gwout").link("link_propagation = false");
    let daemon = net.start(&lab, &config);
    for (wire, end, addresses) in [("gwvm", &net.vm, [VM4, VM6]), ("gwout", &net.out, [OUT4, OUT6])] {
        ip(&["-n", &net.gateway.0, "link", "set", wire, "netns", &end.0, "name", "eth0"]);
        end.address(addresses);
    }
    set_vm(&net, &daemon);
    net.wait_for_ping();
    a_tenants_day(&net, &daemon, VM4, OUT4);
    a_tenants_day(&net, &daemon, VM6, OUT6);
    the_end(daemon);
}

#[test]
fn a_vm_that_nobody_lists_browses_and_sends_no_mail() {
    if is_skipped() {
        return;
    }
    let (net, lab) = (Net::new(), Lab::new());
    net.veth();
    let daemon = net.start(&lab, &af_packet(&lab));
    net.wait_for_ping();
    let _web = net.out.echo(SocketAddr::new(OUT4, 8080));
    let mail = net.out.echo(SocketAddr::new(OUT4, 465));
    exchange(&mut net.vm.connect(SocketAddr::new(OUT4, 8080), LIMIT).unwrap(), b"GET / HTTP/1.0\r\n\r\n");
    net.vm.connect(SocketAddr::new(OUT4, 465), SHORT).unwrap_err();
    let denied = |stats: &Value| number(&stats["unknown"]["egress"]["denied"]);
    daemon.stats_when("the SYN is dropped as an unknown VM's", |stats| denied(stats) > 0);
    assert!(mail.try_recv().is_err());
    daemon.stop(Signal::TERM);
}
