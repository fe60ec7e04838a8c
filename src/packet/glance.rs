//! The shapes that most frames have, whatever their tags, family and protocol: up to two tags, IPv4 without options or IPv6 without
//! extension headers, whole, and ARP.
//!
//! A glance says what [`Packet::parse`](super::Packet::parse) says of the frame (tests compare them), or that it does not
//! know: IP options, extension headers, fragments, 802.3, a third tag and whatever is wrong take the long way.

use super::chain;
use super::plain::{PlainIpv4, PlainIpv6};
use super::transport::{self, PROTOCOL_TCP, PROTOCOL_UDP};
use super::{Other, Ports, bytes_at, ethernet};
use crate::model::{Family, IpWords, MacAddr, VlanId};

/// What a frame carries, at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Which marks of its ports matter.
    kind: u8,
    /// Of TCP or UDP.
    pub ports: Ports,
}

/// Marks of a port: why a frame to it cannot be settled at a glance.
#[derive(Debug)]
pub struct Mark;

impl Mark {
    /// TCP to it is asked about, and UDP to it is counted.
    pub const WANTED: u8 = 0x01;
    /// UDP to it is a known tunnel.
    pub const TUNNEL: u8 = 0x02;
    /// Nothing can be settled, whatever it is.
    pub const ALL: u8 = 0xff;
}

// What a frame is: the marks that matter to it.
const TCP: u8 = Mark::WANTED;
const UDP: u8 = Mark::WANTED | Mark::TUNNEL;
/// Nobody looks for what it carries: no port has this mark, but for [`Mark::ALL`].
const PASSES: u8 = 0x40;
/// It has another shape; every port has this mark.
const LONG_WAY: u8 = 0x80;

impl Glance {
    /// Of a frame, or of its first bytes.
    #[inline(always)]
    #[must_use]
    pub fn at(head: &[u8]) -> Self {
        Self::of(head).unwrap_or(Self { kind: LONG_WAY, ports: Ports { source: 0, destination: 0 } })
    }

    /// Whether nothing more need be known of it: it has one of the shapes, and its ports have no mark that matters.
    #[inline(always)]
    #[must_use]
    pub const fn passes(self, marks: u8) -> bool {
        (marks | LONG_WAY) & self.kind == 0
    }

    /// Whether it is TCP of a shape, which [`Segment::at`] can read.
    #[inline(always)]
    #[must_use]
    pub const fn is_segment(self) -> bool {
        self.kind == TCP
    }

    #[inline(always)]
    fn of(head: &[u8]) -> Option<Self> {
        Some(match Shape::of(head)? {
            Shape::Ipv4(plain) => Self { kind: *KINDS.get(usize::from(plain.protocol()))?, ports: plain.ports() },
            Shape::Ipv6(plain) => {
                Self { kind: *KINDS.get(256 + usize::from(plain.next_header()))?, ports: plain.ports() }
            }
            Shape::Arp => Self { kind: PASSES, ports: Ports { source: 0, destination: 0 } },
        })
    }
}

/// A TCP segment that has one of the shapes, and whose it says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The outermost tag whose id is not 0, else 0.
    pub vlan: VlanId,
    /// Source and destination station.
    pub macs: (MacAddr, MacAddr),
    /// Source and destination address.
    pub addresses: (IpWords, IpWords),
    /// Both ports.
    pub ports: Ports,
}

impl Segment {
    /// Of a frame, or of its first bytes; nothing if it has no such shape or carries something else.
    #[inline(always)]
    #[must_use]
    pub fn at(head: &[u8]) -> Option<Self> {
        let stations: &[u8; 12] = head.first_chunk()?;
        let (addresses, ports) = match Shape::of(head)? {
            Shape::Ipv4(plain) if plain.protocol() == PROTOCOL_TCP => (plain.ends(), plain.ports()),
            Shape::Ipv6(plain) if plain.next_header() == PROTOCOL_TCP => (plain.ends(), plain.ports()),
            Shape::Ipv4(_) | Shape::Ipv6(_) | Shape::Arp => return None,
        };
        let macs = (MacAddr(bytes_at(stations, 6)), MacAddr(bytes_at(stations, 0)));
        Some(Self { vlan: vlan(head), macs, addresses, ports })
    }
}

/// What lies behind the tags.
enum Shape<'f> {
    Ipv4(PlainIpv4<'f>),
    Ipv6(PlainIpv6<'f>),
    Arp,
}

impl<'f> Shape<'f> {
    #[inline(always)]
    fn of(head: &'f [u8]) -> Option<Self> {
        // What follows a tag lies as it would without, so the tag is taken for part of the stations.
        let mut frame = head;
        for _ in 0..=ethernet::TAGS_MAX {
            let front: &[u8; 14] = frame.first_chunk()?;
            match u16::from_be_bytes(bytes_at(front, 12)) {
                ethernet::ETHER_TYPE_IPV4 => {
                    return PlainIpv4::read(frame).filter(|plain| !plain.is_odd(frame.len())).map(Self::Ipv4);
                }
                ethernet::ETHER_TYPE_IPV6 => {
                    return PlainIpv6::read(frame).filter(|plain| !plain.is_odd(frame.len())).map(Self::Ipv6);
                }
                ethernet::ETHER_TYPE_ARP => return Some(Self::Arp),
                tag if ethernet::is_tag(tag) => frame = frame.get(4..)?,
                _ => return None,
            }
        }
        None
    }
}

/// The VLAN of a frame that has one of the shapes: the outermost tag whose id is not 0, else 0.
#[must_use]
pub fn vlan(head: &[u8]) -> VlanId {
    let mut frame = head;
    for _ in 0..ethernet::TAGS_MAX {
        let Some(front) = frame.first_chunk::<16>() else { break };
        let [ether_type, control] = [12, 14].map(|at| u16::from_be_bytes(bytes_at(front, at)));
        match control & 0x0fff {
            _ if !ethernet::is_tag(ether_type) => break,
            0 => frame = frame.get(4..).unwrap_or_default(),
            id => return VlanId(id),
        }
    }
    VlanId(0)
}

/// What each protocol of IPv4 is, and each next header of IPv6 behind them.
#[expect(clippy::indexing_slicing, reason = "the compiler runs it, and sees the bounds")]
static KINDS: [u8; 512] = {
    let mut kinds = [LONG_WAY; 512];
    let mut at = 0;
    while at < 512 {
        #[expect(clippy::cast_possible_truncation, reason = "what is cut off is the family")]
        let (family, protocol) = (if at < 256 { Family::Ipv4 } else { Family::Ipv6 }, at as u8);
        kinds[at] = match protocol {
            PROTOCOL_TCP => TCP,
            PROTOCOL_UDP => UDP,
            _ if chain::belongs(family, protocol) => LONG_WAY,
            _ => match transport::of_number(protocol) {
                Other::Ip => PASSES,
                _ => LONG_WAY,
            },
        };
        at += 1;
    }
    kinds
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Outcome, Packet};
    use super::*;

    /// A segment by the parser.
    fn parsed_segment(frame: &[u8]) -> Option<Segment> {
        let packet = Packet::parse(frame, frame.len()).ok()?;
        let Outcome::Tcp(ports) = packet.outcome else { return None };
        assert!(!packet.network.is_source_routed(), "{frame:02x?}");
        let (macs, addresses) = ((packet.source_mac(), packet.destination_mac()), packet.network.ends()?);
        Some(Segment { vlan: packet.vlan, macs, addresses, ports })
    }

    /// What a frame is by the parser, as a glance would have it; nothing where only the parser may say it.
    fn parsed(frame: &[u8]) -> Option<(u8, Option<Ports>, VlanId)> {
        let packet = Packet::parse(frame, frame.len()).ok()?;
        let (kind, ports) = match packet.outcome {
            Outcome::Tcp(ports) => (TCP, Some(ports)),
            Outcome::Other(Other::Udp(ports)) => (UDP, Some(ports)),
            Outcome::Other(Other::Ip | Other::NotIp) => (PASSES, None),
            Outcome::Other(Other::Tunnel(_)) | Outcome::Opaque(_) | Outcome::LaterFragment => return None,
        };
        Some((kind, ports, packet.vlan))
    }

    /// Whether it has one of the shapes; then it is what the parser says.
    fn agrees(frame: &[u8]) -> bool {
        let glance @ Glance { kind, ports } = Glance::at(frame);
        let segment = Segment::at(frame);
        assert_eq!(segment.is_some(), glance.is_segment(), "{frame:02x?}");
        if segment.is_some() {
            assert_eq!(segment, parsed_segment(frame), "{frame:02x?}");
        }
        let tunnel = transport::udp_tunnel(ports.destination);
        match kind {
            LONG_WAY => return false,
            UDP if tunnel.is_some() => {
                let outcome = Packet::parse(frame, frame.len()).map(|packet| packet.outcome);
                assert_eq!(outcome, Ok(Outcome::Other(Other::Tunnel(tunnel.unwrap()))), "{frame:02x?}");
            }
            _ => {
                let ports = (kind != PASSES).then_some(ports);
                assert_eq!(Some((kind, ports, vlan(frame))), parsed(frame), "{frame:02x?}");
            }
        }
        true
    }

    #[test]
    fn a_tag_is_read_however_little_follows_it() {
        let frame = ethernet(TAGS[1], [8, 6], &[]);
        assert_eq!((frame.len(), vlan(&frame)), (18, VlanId(7)));
        assert!(agrees(&frame));
    }

    #[test]
    fn marks_hold_up_what_they_are_about() {
        let at = |kind| Glance { kind, ports: Ports { source: 0, destination: 0 } };
        for (kind, marks, passes) in [
            (TCP, 0, true),
            (TCP, Mark::TUNNEL, true),
            (TCP, Mark::WANTED, false),
            (UDP, 0, true),
            (UDP, Mark::TUNNEL, false),
            (UDP, Mark::WANTED, false),
            (PASSES, Mark::WANTED | Mark::TUNNEL, true),
            (PASSES, Mark::ALL, false),
            (LONG_WAY, 0, false),
        ] {
            assert_eq!(at(kind).passes(marks), passes, "{kind:#x} {marks:#x}");
        }
    }

    const PORTS: [u8; 4] = [0xc0, 0, 1, 0xbb];

    fn ethernet(tags: &[[u8; 4]], ether_type: [u8; 2], payload: &[u8]) -> Vec<u8> {
        let macs = [0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1];
        [&macs[..], tags.as_flattened(), &ether_type, payload].concat()
    }

    fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let [l0, l1] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let header = [0x45, 0, l0, l1, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 5, 192, 0, 2, 25];
        [&header[..], payload].concat()
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let [l0, l1] = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[0x60, 0, 0, 0, l0, l1, next, 64][..], &[0x20; 32], payload].concat()
    }

    const TAGS: [&[[u8; 4]]; 4] =
        [&[], &[[0x81, 0, 0x20, 7]], &[[0x88, 0xa8, 0, 0], [0x81, 0, 0xe0, 9]], &[[0x93, 0, 0, 5], [0x81, 0, 0, 9]]];

    /// Frames of the shapes, under each dress.
    fn of_the_shapes(protocol: u8, payload: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let dressed = |tags: &&[[u8; 4]]| {
            [
                (true, ethernet(tags, [8, 0], &ipv4(protocol, payload))),
                (false, ethernet(tags, [0x86, 0xdd], &ipv6(protocol, payload))),
            ]
        };
        TAGS.iter().flat_map(dressed).collect()
    }

    #[test]
    fn every_protocol_is_what_the_parser_says_in_every_dress() {
        for protocol in 0..=255 {
            let payload = [&PORTS[..], &[0; 36]].concat();
            for (is_ipv4, frame) in of_the_shapes(protocol, &payload) {
                let family = if is_ipv4 { Family::Ipv4 } else { Family::Ipv6 };
                let expected = parsed(&frame).filter(|_| !chain::belongs(family, protocol)).is_some();
                assert_eq!(agrees(&frame), expected, "protocol {protocol}: {frame:02x?}");
            }
        }
    }

    #[test]
    fn every_port_of_udp_and_tcp_is_read() {
        for port in 0..=u16::MAX {
            let [p0, p1] = port.to_be_bytes();
            for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
                let frame =
                    ethernet(TAGS[1], [8, 0], &ipv4(protocol, &[0xc0, 0, p0, p1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
                assert!(agrees(&frame), "protocol {protocol}, port {port}");
            }
        }
    }

    #[test]
    fn every_type_of_ethernet_is_left_to_the_parser_but_ip_and_arp() {
        for ether_type in 0..=u16::MAX {
            for tags in TAGS {
                let frame = ethernet(tags, ether_type.to_be_bytes(), &ipv4(PROTOCOL_UDP, &[0; 40]));
                let certain = agrees(&frame);
                // What follows is IPv4, so only its type and ARP's fit.
                assert_eq!(certain, matches!(ether_type, 0x0800 | 0x0806), "{ether_type:04x} {tags:?}");
            }
        }
    }

    #[test]
    fn each_bit_and_each_length_says_what_the_parser_says() {
        let mut certain = 0;
        for (_, frame) in [PROTOCOL_TCP, PROTOCOL_UDP, 1, 58].into_iter().flat_map(|it| of_the_shapes(it, &[0xc0; 40]))
        {
            for length in 0..=frame.len() {
                certain += usize::from(agrees(&frame[..length]));
            }
            for (at, bit) in (0..frame.len() * 8).map(|bit| (bit / 8, 1 << (bit % 8))) {
                let mut other = frame.clone();
                other[at] ^= bit;
                certain += usize::from(agrees(&other));
                // Two bytes less, so that lengths that fit no more are met, too.
                agrees(&other[..frame.len() - 2]);
            }
        }
        assert!(certain > 10_000, "{certain}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn near_the_shapes_and_far_from_them_it_says_what_the_parser_says(
            dress in 0usize..4,
            ether_type in prop_oneof![4 => Just([8u8, 0]), 4 => Just([0x86, 0xdd]), 1 => Just([8, 6]), 1 => any::<[u8; 2]>()],
            version in prop_oneof![Just(0x45), Just(0x60), any::<u8>()],
            length in prop_oneof![0u16..80, any::<u16>()],
            fragment in prop_oneof![Just([0u8, 0]), Just([0x40, 0]), any::<[u8; 2]>()],
            protocol in prop_oneof![Just(6u8), Just(17), Just(1), Just(58), Just(44), any::<u8>()],
            rest in proptest::collection::vec(any::<u8>(), 0..90),
        ) {
            let mut frame = ethernet(TAGS[dress], ether_type, &rest);
            let [l0, l1] = length.to_be_bytes();
            let ip = frame.len() - rest.len();
            let fields = match version >> 4 {
                6 => [(0, version), (4, l0), (5, l1), (6, protocol), (6, protocol), (6, protocol)],
                _ => [(0, version), (2, l0), (3, l1), (6, fragment[0]), (7, fragment[1]), (9, protocol)],
            };
            for (at, value) in fields {
                if let Some(byte) = frame.get_mut(ip + at) {
                    *byte = value;
                }
            }
            agrees(&frame);
        }
    }
}
