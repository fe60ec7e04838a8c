//! Whole worlds and bursts of anything: a worker says of each frame what the one pure function says, in verdict, reason, VM,
//! tally, observation and record, and the balance holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis::dataplane::{Pipeline, Witness};
use portcullis::model::{Direction, LinkIndex, VmIndex, Way};
use portcullis::policy::{Case, Decision, DropReason, Guard, IdentityLevel, Observed, Record, Tally, Verdict};
use portcullis::port::memory::Frame;
use portcullis::telemetry::denials::{Denial, DenialCounts};
use portcullis::testkit::{
    NOBODY, PEER, RELAY, ROUTER_MAC, Station, VM_A, VM_B, VM_C, VM_D, World, frame, link_layer_option, world,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::dress;

/// How a VM is known, and what becomes of its mail.
#[derive(Clone, Debug)]
struct Kind {
    lists: Lists,
    class: Option<&'static str>,
    /// Its public address, if it has one: its own, or another.
    public: Option<bool>,
    monitor: bool,
    /// What it may do all the same.
    exceptions: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Lists {
    Everything,
    Mac,
    Addresses,
    Ipv4,
    Ipv6,
    /// Its network, and a further address of its own.
    Prefix,
}

impl Kind {
    /// A VM line; of the scope given, under a name of its own there.
    fn line(&self, vm: Station, scope: u16) -> String {
        let octets = vm.ipv4.octets();
        let further = format!("192.0.2.{}", 100 + octets[3]);
        let subnet = format!("192.0.2.{}/28", 128 + 16 * (octets[3] % 4));
        let (mac, v4, v6) = (vm.mac.to_string(), vm.ipv4.to_string(), vm.ipv6.to_string());
        let (macs, ips) = match self.lists {
            Lists::Everything => (vec![mac], vec![v4, v6, further]),
            Lists::Mac => (vec![mac], vec![]),
            Lists::Addresses => (vec![], vec![v4, v6]),
            Lists::Ipv4 => (vec![mac], vec![v4]),
            Lists::Ipv6 => (vec![mac], vec![v6]),
            Lists::Prefix => (vec![mac], vec![subnet, further, v6]),
        };
        let public = self.public.map(|own| if own { vm.ipv4.to_string() } else { format!("198.18.0.{}", octets[3]) });
        let mode = if self.monitor { "monitor" } else { "enforce" };
        let tenant = if octets[3].is_multiple_of(2) { "blue" } else { "red" };
        let id = format!("{}-{scope}", vm.id);
        let exceptions: Vec<serde_json::Value> =
            self.exceptions.iter().map(|one| serde_json::from_str(one).unwrap()).collect();
        serde_json::json!({
            "id": id, "macs": macs, "ips": ips, "public_ipv4": public, "class": self.class, "mode": mode, "scope": scope,
            "exceptions": exceptions, "tenant": tenant,
        })
        .to_string()
    }
}

#[derive(Clone, Debug)]
struct Outline {
    vms: [Kind; 4],
    elsewhere: Kind,
    unknown: &'static str,
    box_monitors: bool,
    directions: Vec<Direction>,
    via: bool,
    via_in: bool,
    relay: bool,
    /// VM C is a relay: for all, or for its tenant.
    relay_vm: Option<bool>,
    refuse: bool,
    /// Untagged frames are of the scope of VLAN 100.
    untagged_there: bool,
    identity: IdentityLevel,
    /// Those that look; all if none are named.
    guards: Option<Vec<Guard>>,
    protect: bool,
}

impl Outline {
    fn build(&self) -> World {
        let mut world = world()
            .class("odd", &[25, 2525])
            .monitored_class("watched", &[25, 587])
            .unknown_class(self.unknown)
            .directions(&self.directions)
            .scope(100, 1);
        for (kind, vm) in self.vms.iter().zip([VM_A, VM_B, VM_C, VM_D]) {
            world = world.vm(&kind.line(vm, 0));
        }
        world = world.vm(&self.elsewhere.line(VM_A, 1));
        if self.box_monitors {
            world = world.box_monitors();
        }
        if self.via {
            world = world.via(ROUTER_MAC);
        }
        if self.via_in {
            world = world.via_in(100, NOBODY.mac);
        }
        if self.relay {
            world = world.relay(RELAY, &[587]);
        }
        if let Some(tenant) = self.relay_vm {
            world = world.relay_vm(Station { id: "vm-c-0", ..VM_C }, &[25, 587], tenant);
        }
        if self.untagged_there {
            world = world.scope(0, 1);
        }
        if self.refuse {
            world = world.refuse_the_rest();
        }
        world = world.identity(self.identity);
        if let Some(guards) = self.guards.as_ref().filter(|_| self.identity != IdentityLevel::Mail) {
            world = world.guards(guards);
        }
        if self.protect {
            world = world.protect(VM_B.ipv4.into()).protect(VM_B.ipv6.into());
        }
        world.build()
    }
}

/// At the end of the world's first minute one of them is over.
const EXCEPTIONS: [&str; 4] = [
    r#"{"name":"submission","ports":[587],"permanent":true}"#,
    r#"{"name":"mta","ports":[25],"peer":"198.51.100.0/28","until":"2026-12-01T10:01:00Z"}"#,
    r#"{"name":"odd","class":"odd","peer":"2001:db8:ffff::/48","permanent":true}"#,
    r#"{"name":"all","class":"unrestricted","peer":"198.51.100.25","until":"2027-01-01T00:00:00Z"}"#,
];

fn kind() -> impl Strategy<Value = Kind> {
    let lists = prop::sample::select(
        &[Lists::Everything, Lists::Mac, Lists::Addresses, Lists::Ipv4, Lists::Ipv6, Lists::Prefix][..],
    );
    let class = prop::sample::select(
        &[None, None, None, Some("restricted"), Some("unrestricted"), Some("odd"), Some("watched")][..],
    );
    let seldom = || prop::bool::weighted(0.15);
    let exceptions = prop_oneof![
        2 => Just(vec![]),
        1 => prop::sample::subsequence(EXCEPTIONS.to_vec(), 0..=EXCEPTIONS.len()),
    ];
    (lists, class, any::<Option<bool>>(), seldom(), exceptions)
        .prop_map(|(lists, class, public, monitor, exceptions)| Kind { lists, class, public, monitor, exceptions })
}

fn outline() -> impl Strategy<Value = Outline> {
    let seldom = || prop::bool::weighted(0.15);
    let both = Direction::ALL.to_vec();
    let directions =
        prop::sample::select(vec![both.clone(), both.clone(), both, vec![Direction::Egress], vec![Direction::Ingress]]);
    let unknown = prop::sample::select(&["restricted", "restricted", "unrestricted", "odd", "watched"][..]);
    let identity = prop_oneof![
        3 => Just(IdentityLevel::Mail),
        1 => Just(IdentityLevel::Observe),
        3 => Just(IdentityLevel::Strict),
    ];
    let guards = prop::option::weighted(0.2, prop::sample::subsequence(Guard::ALL.to_vec(), 0..=4));
    let vms = ([kind(), kind(), kind(), kind()], kind(), unknown);
    (vms, seldom(), directions, any::<[bool; 4]>(), seldom(), (identity, guards, seldom(), any::<Option<bool>>()))
        .prop_map(|(vms, box_monitors, directions, switches, untagged_there, (identity, guards, protect, relay_vm))| {
            let ((vms, elsewhere, unknown), [via, via_in, relay, refuse]) = (vms, switches);
            Outline {
                vms,
                elsewhere,
                unknown,
                box_monitors,
                directions,
                via,
                via_in,
                relay,
                relay_vm,
                refuse,
                untagged_there,
                identity,
                guards,
                protect,
            }
        })
}

/// Who sends it with whose address, plain or dressed, TCP or not, whole or not; and how long its segments are.
fn any_frame() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let station = || prop::sample::select(&[VM_A, VM_B, VM_C, VM_D, NOBODY][..]);
    let mac = prop_oneof![
        6 => Just(None),
        3 => station().prop_map(|other| Some(other.mac)),
        1 => Just(Some(ROUTER_MAC)),
    ];
    let address = prop_oneof![6 => Just(None), 1 => (100..105u8).prop_map(Some), 1 => (128..=255u8).prop_map(Some)];
    let port = || prop::sample::select(&[25u16, 25, 25, 587, 465, 443, 2525, 40000][..]);
    let peer = prop::sample::select(&[PEER, PEER, PEER, RELAY, RELAY, VM_C][..]);
    // What it is: mostly TCP.
    let what = prop::sample::select(
        &[
            "tcp", "tcp", "tcp", "tcp", "tcp", "udp", "first", "later", "early", "gre", "arp", "lldp", "arp of",
            "dhcp", "nd", "ra",
        ][..],
    );
    let vlan = prop_oneof![9 => Just(vec![]), 2 => Just(vec![100]), 1 => Just(vec![7]), 1 => Just(vec![0, 100])];
    let how = prop_oneof![5 => Just(None), 1 => dress(3).prop_map(Some)];
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    let segments = prop_oneof![3 => Just(usize::MAX), 1 => 1..200usize];
    let message = (station(), station(), prop::sample::select(&[133u8, 134, 135, 136, 137, 143][..]), any::<bool>());
    let rest = (how, cut, segments, message);
    ((station(), mac, address, peer), (port(), port(), what, vlan), rest, any::<[bool; 2]>()).prop_map(
        |((vm, mac, address, peer), (from, to, what, vlan), (how, cut, segments, message), [ipv6, ingress])| {
            let (claimed, about, kind, unspecified) = message;
            let mut vm = mac.map_or(vm, |mac| vm.with_mac(mac));
            if let Some(last) = address {
                vm.ipv4 = std::net::Ipv4Addr::new(192, 0, 2, last);
            }
            if what == "nd" && unspecified {
                vm.ipv6 = std::net::Ipv6Addr::UNSPECIFIED;
            }
            let mut frame = frame().from(vm).to(peer).tcp_ports(from, to);
            if ingress {
                frame = frame.reversed();
            }
            if ipv6 {
                frame = frame.ipv6();
            }
            for id in vlan {
                frame = frame.vlan(id);
            }
            if let Some(how) = how {
                frame = how.put_on(frame);
            }
            frame = match what {
                "udp" => frame.udp_ports(from, to),
                "first" => frame.fragment(0, true).segment_bytes(12),
                "later" => frame.fragment(64, true),
                "early" => frame.fragment(1, false),
                "gre" => frame.protocol(47, &[0; 24]),
                "arp" => frame.ether(0x0806, &[0; 28]),
                "arp of" if unspecified => frame.arp(claimed.mac, [0; 4].into(), about.ipv4),
                "arp of" => frame.arp(claimed.mac, about.ipv4, vm.ipv4),
                "dhcp" => frame.udp_ports(67, [67, 68, 546, 547][usize::from(kind % 4)]).data(&[2]),
                "nd" => frame.neighbour(kind, about.ipv6, &[link_layer_option(1 + kind % 2, claimed.mac)]),
                "ra" => frame.protocol(1, &[if unspecified { 5 } else { 9 }]),
                "lldp" => frame.ether(0x88cc, &[0; 20]),
                _ => frame,
            };
            let mut bytes = frame.bytes();
            bytes.truncate(cut.map_or(usize::MAX, |cut| cut.index(bytes.len() + 1)));
            let segments = segments.min(bytes.len().max(1));
            (bytes, segments)
        },
    )
}

/// Remembers what it was told, and how long the frames were.
#[derive(Default)]
struct Notes(Vec<(Record, usize)>);

impl Witness for Notes {
    const LOOKS: bool = true;

    fn wants(&mut self, _: Way, _: Verdict, _: Option<VmIndex>, _: &[u8]) -> bool {
        true
    }

    fn saw(&mut self, record: &Record, _: &[u8], length: usize) {
        self.0.push((*record, length));
    }
}

/// What is counted beside a decision.
fn observed(decision: &Decision) -> Vec<Observed> {
    match decision {
        Decision::Settled(verdict, observed) => watched(*verdict).into_iter().chain(*observed).collect(),
        Decision::Judged(judgement) if judgement.verdict.forwards() => {
            let finding = judgement.identity.finding.map(portcullis::policy::Finding::observed);
            let excepted = (judgement.tally == Tally::Excepted).then_some(Observed::Excepted);
            let beside = finding.into_iter().chain(excepted).chain(judgement.observed);
            beside.chain(watched(judgement.verdict)).collect()
        }
        Decision::Judged(_) => Vec::new(),
    }
}

fn watched(verdict: Verdict) -> Option<Observed> {
    matches!(verdict, Verdict::WouldDrop(_)).then_some(Observed::WouldDeny)
}

/// Without ports, of which not all may be told apart.
fn by_reason(DenialCounts(counts): &DenialCounts) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (kind, frames) in counts {
        *sums.entry(format!("{:?}", Denial { port: None, ..*kind })).or_insert(0) += frames;
    }
    sums
}

/// Everything that was seen, by name: what a generator must bring forth.
type Seen = BTreeSet<&'static str>;

/// A worker against the pure function, frame by frame.
fn agree(world: &World, direction: Direction, frames: &[(Vec<u8>, usize)], seen: &mut Seen) {
    let segmented = frames.iter().map(|(bytes, segments)| Frame::segmented(bytes, *segments));
    let (run, (Notes(told), ())) =
        world.run_with(direction, segmented, usize::MAX, Pipeline::new(Notes::default(), ()));
    let way = Way { link: LinkIndex(0), direction };
    let (mut sent, mut drops, mut spared, mut beside, mut tallies, mut denials, mut records) =
        (Vec::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (bytes, _) in frames {
        let decision = world.decide(direction, bytes);
        match decision.verdict() {
            Verdict::Forward => sent.push(bytes.clone()),
            Verdict::Drop(reason) => *drops.entry(reason).or_insert(0) += 1,
            Verdict::WouldDrop(reason) => {
                sent.push(bytes.clone());
                *spared.entry(reason).or_insert(0) += 1;
            }
        }
        for observed in observed(&decision) {
            *beside.entry(observed).or_insert(0) += 1;
        }
        if let Decision::Judged(judgement) = decision {
            if let Some(reason) = judgement.verdict.reason() {
                let port = Case::find(world.snapshot(), way, bytes).unwrap().denied_port(reason);
                let kind = Denial { direction, watched: judgement.verdict.forwards(), reason, port };
                denials.entry(judgement.identity.vm).or_insert_with(DenialCounts::default).add(kind, 1);
            }
            *tallies.entry((judgement.identity.vm, judgement.tally)).or_insert(0) += 1;
            seen.insert(judgement.tally.name());
        }
        records.extend(Record::of(way, &decision).map(|record| (record, bytes.len())));
    }
    assert_eq!(run.sent, sent);
    for reason in DropReason::ALL {
        let expected = drops.get(&reason).copied().unwrap_or(0);
        assert_eq!(run.lane.dropped(reason), expected, "{reason:?}");
        assert_eq!(run.lane.spared(reason), spared.get(&reason).copied().unwrap_or(0), "{reason:?}");
        seen.extend((expected > 0).then_some(reason.name()));
    }
    for observed in Observed::ALL {
        let expected = beside.get(&observed).copied().unwrap_or(0);
        assert_eq!(run.lane.seen(observed), expected, "{observed:?}");
        seen.extend((expected > 0).then_some(observed.name()));
    }
    for vm in world.registry.iter_after(None).map(|(vm, _)| Some(vm)).chain([None]) {
        let counts = run.judged(vm);
        let counted = [counts.allowed, counts.denied, counts.excepted, counts.would_deny];
        let expected = Tally::ALL.map(|tally| tallies.get(&(vm, tally)).copied().unwrap_or(0));
        assert_eq!(counted, expected, "{}", world.name(vm));
        let denied = run.denied(vm);
        let empty = DenialCounts::default();
        let expected = denials.get(&vm).unwrap_or(&empty);
        assert_eq!(by_reason(&denied), by_reason(expected), "{}", world.name(vm));
        for (kind, frames) in denied.0.iter().filter(|(kind, _)| kind.port.is_some()) {
            let decided = expected.0.iter().find_map(|(it, decided)| (it == kind).then_some(decided));
            assert!(decided >= Some(frames), "{kind:?}: {frames}, and {decided:?} were decided");
            seen.insert("a denied port");
        }
    }
    // Plain frames are answered first, so the order within a burst is not theirs.
    let sorted = |records: &[(Record, usize)]| {
        let mut lines: Vec<String> = records.iter().map(|record| format!("{record:?}")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&told), sorted(&records));
}

fn cases() -> impl Strategy<Value = (Outline, bool, Vec<(Vec<u8>, usize)>)> {
    (outline(), any::<bool>(), prop::collection::vec(any_frame(), 0..150))
}

fn direction(ingress: bool) -> Direction {
    if ingress { Direction::Ingress } else { Direction::Egress }
}

proptest! {
    #[test]
    fn a_worker_says_of_each_frame_what_the_one_function_says((outline, ingress, frames) in cases()) {
        let world = outline.build();
        agree(&world, direction(ingress), &frames, &mut Seen::new());
        world.wait(Duration::from_secs(60));
        agree(&world, direction(ingress), &frames, &mut Seen::new());
    }
}

/// The same cases in every run: each reason, tally and observation comes up, so the property above looks at all of them.
#[test]
fn the_worlds_bring_forth_everything_that_can_be_said() {
    let (mut runner, mut seen) = (TestRunner::deterministic(), Seen::new());
    for _ in 0..300 {
        let (outline, ingress, frames) = cases().new_tree(&mut runner).unwrap().current();
        agree(&outline.build(), direction(ingress), &frames, &mut seen);
    }
    let later = ["reject_sent", "reject_suppressed"];
    // A queue that is full and an end that comes have tests of their own; tunnels are told apart in `verdicts::sight`.
    let elsewhere = ["tx_full", "shutdown"];
    let all = DropReason::ALL.map(DropReason::name).into_iter().chain(Observed::ALL.map(Observed::name));
    let expected: Seen = all
        .chain(Tally::ALL.map(Tally::name))
        .filter(|name| !later.contains(name) && !elsewhere.contains(name))
        .filter(|name| !name.starts_with("tunnel_") || *name == "tunnel_gre")
        .collect();
    let missing: Vec<_> = expected.difference(&seen).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}
