//! No set of fragments that the box forwards can be put together to a TCP segment to a closed port, by any of the ways
//! in which hosts resolve overlaps, whichever of them arrive and in whatever order.
//!
//! The sender of these sets is hostile: it mixes fragments of two segments, to 25 and to 443, cut at different points,
//! with stray ones at early offsets, behind AH and extension headers.
//!
//! In IPv6 the fragment headers of a set agree on the next header here. Two first fragments with different next headers
//! (one harmless as UDP, one as a short TCP) need a host that drops no overlapping fragments, which RFC 5722 has
//! forbidden since 2009, and that takes the next header from one and the bytes from the other; a box that keeps no
//! state cannot tell them from fragments of two packets.

use portcullis::model::Direction;
use portcullis::policy::Verdict;
use portcullis::testkit::{FrameBuilder, PEER, VM_A, frame};
use proptest::prelude::*;

use super::a_world;

const TCP: u8 = 6;
const AH: u8 = 51;
const MAIL_PORTS: [u16; 3] = [25, 465, 587];

/// What of one packet's payload a fragment carries.
#[derive(Clone, Debug)]
struct Fragment {
    /// In units of eight bytes.
    offset: usize,
    more: bool,
    bytes: Vec<u8>,
}

impl Fragment {
    fn start(&self) -> usize {
        self.offset * 8
    }

    fn end(&self) -> usize {
        self.start() + self.bytes.len()
    }
}

/// How a host resolves overlaps: whether the newcomer takes a byte that another fragment has filled (Shankar and Paxson,
/// "Active Mapping"; Novak, "Target-Based Fragmentation Reassembly").
type Overlap = fn(old: &Fragment, new: &Fragment) -> bool;

const REASSEMBLIES: [(&str, Overlap); 5] = [
    ("first", |_, _| false),
    ("last", |_, _| true),
    ("BSD", |old, new| new.offset < old.offset),
    ("Linux", |old, new| new.offset <= old.offset),
    ("Windows", |old, new| new.start() < old.start() && new.end() > old.end()),
];

/// Every payload that a host may make of the fragments in this order: one for each end that one of them names.
fn reassemble(fragments: &[&Fragment], newcomer_wins: Overlap) -> Vec<Vec<u8>> {
    let mut bytes: Vec<Option<(u8, &Fragment)>> = Vec::new();
    for new in fragments {
        bytes.resize(bytes.len().max(new.end()), None);
        for (at, &byte) in (new.start()..).zip(&new.bytes) {
            if bytes[at].is_none_or(|(_, old)| newcomer_wins(old, new)) {
                bytes[at] = Some((byte, new));
            }
        }
    }
    let ends = fragments.iter().filter(|fragment| !fragment.more).map(|fragment| fragment.end());
    ends.filter_map(|end| bytes[..end].iter().map(|byte| byte.map(|(byte, _)| byte)).collect()).collect()
}

/// The TCP port that a host finds in a payload, which walks any chain and knows no limits.
fn tcp_port(mut protocol: u8, mut payload: &[u8]) -> Option<u16> {
    loop {
        let bytes = match protocol {
            TCP => return Some(u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?])),
            AH => (usize::from(*payload.get(1)?) + 2) * 4,
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*payload.get(1)?) + 1) * 8,
            _ => return None,
        };
        protocol = payload[0];
        payload = payload.get(bytes..)?;
    }
}

/// A payload: a chain of headers, then TCP to this port, then bytes that look like TCP to 25 wherever one looks.
fn payload(headers: &[(u8, usize)], port: u16, data_bytes: usize) -> (u8, Vec<u8>) {
    let builder = frame().ipv6().tcp(port).data(&[0, 25].repeat(data_bytes / 2));
    let whole = headers.iter().fold(builder, |builder, &(kind, bytes)| builder.extension(kind, bytes)).bytes();
    (whole[20], whole[54..].to_vec())
}

/// Cuts a payload into fragments at these points (in units of eight bytes).
fn split(payload: &[u8], points: &[usize]) -> Vec<Fragment> {
    let units = payload.len().div_ceil(8);
    let mut points: Vec<usize> = points.iter().map(|point| point % units).filter(|&point| point > 0).collect();
    points.extend([0, units]);
    points.sort_unstable();
    points.dedup();
    let fragment = |pair: &[usize]| {
        let end = (pair[1] * 8).min(payload.len());
        Fragment { offset: pair[0], more: end < payload.len(), bytes: payload[pair[0] * 8..end].to_vec() }
    };
    points.windows(2).map(fragment).collect()
}

/// The frame that carries a fragment.
fn carry(fragment: &Fragment, protocol: u8, ipv6: bool) -> FrameBuilder {
    let offset = u16::try_from(fragment.offset).unwrap();
    // The chain is in the bytes already, so that it is cut where the fragment is.
    let frame = frame().from(VM_A).to(PEER).fragment(offset, fragment.more).protocol(0xfd, &fragment.bytes);
    if ipv6 {
        let bytes = frame.ipv6();
        bytes.set(54, &[protocol])
    } else {
        frame.set(23, &[protocol])
    }
}

#[derive(Clone, Debug)]
struct Attack {
    ipv6: bool,
    protocol: u8,
    /// In the order of arrival.
    fragments: Vec<Fragment>,
    /// Which of the forwarded ones arrive, for several tries.
    arrivals: Vec<u64>,
}

fn attack(ipv6: bool) -> impl Strategy<Value = Attack> {
    let kinds: &[u8] = if ipv6 { &[0, 43, 51, 60, 135, 139, 140] } else { &[51] };
    let header = (prop::sample::select(kinds), 2..9usize).prop_map(|(kind, units)| (kind, units * 8));
    let mut chain = prop::collection::vec(header, 0..4).boxed();
    if !ipv6 {
        chain = prop_oneof![3 => Just(Vec::new()), 1 => chain].boxed();
    }
    let points = || prop::collection::vec(0..64usize, 0..7);
    let stray = (0..40usize, any::<bool>(), 0..24usize, prop::sample::select(&MAIL_PORTS[..]));
    (
        (chain.clone(), chain),
        prop::sample::select(&MAIL_PORTS[..]),
        0..400usize,
        (points(), points(), points()),
        prop::collection::vec(stray, 0..4),
        any::<u64>(),
        prop::collection::vec(any::<u64>(), 6),
    )
        .prop_map(move |((chain, mut other_chain), port, data, points, strays, seed, arrivals)| {
            let (protocol, closed) = payload(&chain, port, data);
            // The harmless twin may have another chain, as long as it begins with the same header.
            match (chain.first(), other_chain.first_mut()) {
                (Some(first), Some(other)) => other.0 = first.0,
                _ => other_chain.clone_from(&chain),
            }
            let (other_protocol, open) = payload(&other_chain, 443, data);
            assert_eq!(protocol, other_protocol);
            let mut fragments = [split(&closed, &points.0), split(&open, &points.1), split(&open, &points.2)].concat();
            fragments.extend(strays.into_iter().map(|(offset, more, words, port)| {
                let [high, low] = port.to_be_bytes();
                Fragment { offset, more, bytes: [high, low].repeat(words * 4 + 4) }
            }));
            shuffle(&mut fragments, seed);
            Attack { ipv6, protocol, fragments, arrivals }
        })
}

/// Fisher and Yates, by a seed, so that a failing case shrinks.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for at in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        items.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
    }
}

/// Puts together what arrives of `fragments`, in every way; the ports that come out.
fn ports_reached(attack: &Attack, fragments: &[&Fragment]) -> Vec<(&'static str, u16)> {
    let mut reached = Vec::new();
    let arrivals = attack.arrivals.iter().copied().chain([u64::MAX]);
    for mask in arrivals {
        let arrived: Vec<_> =
            fragments.iter().enumerate().filter(|(at, _)| mask >> (at % 64) & 1 == 1).map(|(_, &f)| f).collect();
        for (name, newcomer_wins) in REASSEMBLIES {
            let payloads = reassemble(&arrived, newcomer_wins);
            reached.extend(payloads.iter().filter_map(|payload| Some((name, tcp_port(attack.protocol, payload)?))));
        }
    }
    reached
}

fn check(attack: &Attack) -> Result<(), TestCaseError> {
    let world = a_world();
    let forwarded: Vec<&Fragment> = attack
        .fragments
        .iter()
        .filter(|fragment| {
            let bytes = carry(fragment, attack.protocol, attack.ipv6).bytes();
            world.decide(Direction::Egress, &bytes).verdict() == Verdict::Forward
        })
        .collect();
    for (name, port) in ports_reached(attack, &forwarded) {
        prop_assert!(!MAIL_PORTS.contains(&port), "{name} makes port {port} of {forwarded:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn no_forwarded_set_of_ipv4_fragments_makes_mail(attack in attack(false)) {
        check(&attack)?;
    }

    #[test]
    fn no_forwarded_set_of_ipv6_fragments_makes_mail(attack in attack(true)) {
        check(&attack)?;
    }
}

#[test]
fn honest_fragments_of_an_open_port_still_arrive() {
    // Else the properties above would hold of a box that forwards nothing.
    for ipv6 in [false, true] {
        let (protocol, bytes) = payload(&[], 443, 1000);
        let fragments = split(&bytes, &[40, 80, 100]);
        let world = a_world();
        for fragment in &fragments {
            let bytes = carry(fragment, protocol, ipv6).bytes();
            assert_eq!(
                world.decide(Direction::Egress, &bytes).verdict(),
                Verdict::Forward,
                "offset {}",
                fragment.offset
            );
        }
        let attack = Attack { ipv6, protocol, fragments, arrivals: Vec::new() };
        let reached = ports_reached(&attack, &attack.fragments.iter().collect::<Vec<_>>());
        assert_eq!(reached, REASSEMBLIES.map(|(name, _)| (name, 443)));
    }
}

#[test]
fn without_a_box_each_way_of_reassembly_can_be_made_to_reach_mail() {
    // Else the properties above would hold of a reassembly that puts nothing together.
    let (protocol, open) = payload(&[], 443, 200);
    let (_, closed) = payload(&[], 25, 200);
    let [open, closed] = [split(&open, &[5]), split(&closed, &[5])];
    let sets = [
        vec![&closed[0], &open[0], &open[1]], // first, BSD, Windows
        vec![&open[0], &closed[0], &open[1]], // last, Linux
    ];
    for (name, _) in REASSEMBLIES {
        let attack = Attack { ipv6: false, protocol, fragments: Vec::new(), arrivals: Vec::new() };
        let reaches = sets.iter().any(|set| ports_reached(&attack, set).contains(&(name, 25)));
        assert!(reaches, "{name}");
    }
}
