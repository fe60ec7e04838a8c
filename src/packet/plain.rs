//! The shape that most frames have, read at fixed offsets: Ethernet II without a tag, IPv4 without options, a whole TCP
//! segment.
//!
//! What is read here is what [`Packet::parse`](super::Packet::parse) says of the frame (a property test compares them),
//! without a branch for each field, *unless there is doubt*. Then it means nothing, and the frame takes the long way.

use std::net::Ipv4Addr;

use super::{Ports, bytes_at, ipv4_at, ipv6_at};
use crate::model::{IpWords, MacAddr};

/// The first bytes of a frame, taken for IPv4 of the shape.
#[derive(Clone, Copy, Debug)]
pub struct PlainIpv4<'f>(&'f [u8; 14 + 20 + 4]);

impl<'f> PlainIpv4<'f> {
    /// Of a frame that is long enough. `head` is the frame, or its first bytes.
    #[inline(always)]
    #[must_use]
    pub fn read(head: &'f [u8]) -> Option<Self> {
        head.first_chunk().map(Self)
    }

    /// Whether a frame with `bytes` bytes at hand, at least those of `self`, is of another shape, or is not all there, or
    /// its lengths disagree. Fields are compared several at a time, as they lie in the frame, and all in one comparison.
    #[inline(always)]
    #[must_use]
    pub fn is_doubtful(self, bytes: usize) -> bool {
        self.differs(bytes, 0xff)
    }

    /// The same of a packet that carries whatever its protocol says, at least 4 bytes of it.
    #[inline(always)]
    pub(super) fn is_odd(self, bytes: usize) -> bool {
        self.differs(bytes, 0)
    }

    #[inline(always)]
    fn differs(self, bytes: usize, protocol_mask: u8) -> bool {
        /// EtherType 0x0800; version 4, five words of header; at least 20 bytes of IP and 4 of TCP.
        const FRONT: u64 = u64::from_be_bytes([0, 0, 0x08, 0x00, 0x45, 0, 0, 20 + 4]);
        const FRONT_MASK: u64 = u64::from_be_bytes([0, 0, 0xff, 0xff, 0xff, 0, 0xff, 0xff]);
        /// No more fragments, offset 0 (reserved and don't-fragment bits say nothing); TCP.
        const BACK: u64 = u64::from_le_bytes([0, 0, 0, 0, 0, 0, 0, 6]);
        let back_mask = u64::from_le_bytes([0, 0, 0, 0, 0x3f, 0xff, 0, protocol_mask]);
        // Two bytes of a MAC, EtherType, version and header length, DSCP, total length.
        let front = u64::from_be_bytes(bytes_at(self.0, 10)) & FRONT_MASK;
        // Total length, id, fragment, TTL, protocol.
        let back = (u64::from_le_bytes(bytes_at(self.0, 16)) ^ BACK) & back_mask;
        // By how much the packet is longer than its 24 bytes; longer than any frame if something else is not as it should.
        front.wrapping_sub(FRONT) | back > (bytes - (14 + 20 + 4)) as u64
    }

    /// What it carries.
    #[inline(always)]
    pub(super) fn protocol(self) -> u8 {
        let [protocol] = bytes_at(self.0, 23);
        protocol
    }

    /// Source station.
    #[inline(always)]
    #[must_use]
    pub fn source_mac(self) -> MacAddr {
        MacAddr(bytes_at(self.0, 6))
    }

    /// Destination station.
    #[inline(always)]
    #[must_use]
    pub fn destination_mac(self) -> MacAddr {
        MacAddr(bytes_at(self.0, 0))
    }

    /// Source address.
    #[inline(always)]
    #[must_use]
    pub fn source(self) -> Ipv4Addr {
        bytes_at::<4, _>(self.0, 26).into()
    }

    /// Destination address.
    #[inline(always)]
    #[must_use]
    pub fn destination(self) -> Ipv4Addr {
        bytes_at::<4, _>(self.0, 30).into()
    }

    /// Source and destination address.
    #[inline(always)]
    pub(super) fn ends(self) -> (IpWords, IpWords) {
        (ipv4_at(self.0, 26), ipv4_at(self.0, 30))
    }

    /// Both ports.
    #[inline(always)]
    #[must_use]
    pub fn ports(self) -> Ports {
        ports(bytes_at(self.0, 34))
    }
}

/// The first bytes of a frame, taken for IPv6 of the shape, whatever it carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainIpv6<'f>(&'f [u8; 14 + 40 + 4]);

impl<'f> PlainIpv6<'f> {
    /// As [`PlainIpv4::read`].
    #[inline(always)]
    pub(super) fn read(head: &'f [u8]) -> Option<Self> {
        head.first_chunk().map(Self)
    }

    /// As [`PlainIpv4::is_odd`].
    #[inline(always)]
    pub(super) fn is_odd(self, bytes: usize) -> bool {
        /// EtherType 0x86dd, version 6.
        const FRONT: u64 = u64::from_be_bytes([0, 0, 0, 0, 0x86, 0xdd, 0x60, 0]);
        const FRONT_MASK: u64 = u64::from_be_bytes([0, 0, 0, 0, 0xff, 0xff, 0xf0, 0]);
        let front = (u64::from_be_bytes(bytes_at(self.0, 8)) ^ FRONT) & FRONT_MASK;
        let length = u64::from(u16::from_be_bytes(bytes_at(self.0, 18)));
        front << 16 | length.wrapping_sub(4) > (bytes - (14 + 40 + 4)) as u64
    }

    /// Its next header.
    #[inline(always)]
    pub(super) fn next_header(self) -> u8 {
        let [next_header] = bytes_at(self.0, 20);
        next_header
    }

    /// Source and destination address.
    #[inline(always)]
    pub(super) fn ends(self) -> (IpWords, IpWords) {
        (ipv6_at(self.0, 22), ipv6_at(self.0, 38))
    }

    /// Both ports.
    #[inline(always)]
    pub(super) fn ports(self) -> Ports {
        ports(bytes_at(self.0, 54))
    }
}

#[inline(always)]
fn ports([s0, s1, d0, d1]: [u8; 4]) -> Ports {
    Ports { source: u16::from_be_bytes([s0, s1]), destination: u16::from_be_bytes([d0, d1]) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::net::IpAddr;

    use super::super::{Outcome, Packet};
    use super::*;
    use crate::model::VlanId;

    /// Frames near the shape: right and nearly right values where it matters, anything elsewhere.
    fn near() -> impl Strategy<Value = (Vec<u8>, usize)> {
        let byte = |values: &'static [u8]| prop_oneof![4 => proptest::sample::select(values), 1 => any::<u8>()];
        let ethernet = prop_oneof![Just([8u8, 0]), Just([0x86, 0xdd]), Just([0x81, 0]), any::<[u8; 2]>()];
        let lengths = prop_oneof![0u16..70, Just(20), Just(24), Just(40), any::<u16>()];
        (
            ethernet,
            byte(&[0x45, 0x60, 0x46, 0x6f]),
            lengths,
            byte(&[0, 0x40, 0x20, 0x80]),
            byte(&[0, 1]),
            byte(&[6, 17, 44]),
            0usize..100,
        )
            .prop_flat_map(|(kind, version, length, f0, f1, protocol, frame)| {
                proptest::collection::vec(any::<u8>(), frame).prop_map(move |mut bytes| {
                    let [l0, l1] = length.to_be_bytes();
                    let lengths = if version >> 4 == 6 { [(18, l0), (19, l1)] } else { [(16, l0), (17, l1)] };
                    let fixed = [(12, kind[0]), (13, kind[1]), (14, version), (20, f0), (21, f1), (23, protocol)];
                    for (at, value) in fixed.into_iter().chain(lengths) {
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = value;
                        }
                    }
                    if version >> 4 == 6 && bytes.len() > 20 {
                        bytes[20] = protocol;
                    }
                    let length = bytes.len();
                    (bytes, length)
                })
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn without_doubt_it_is_what_the_parser_says((frame, length) in near()) {
            let parsed = Packet::parse(&frame, length);
            if let Some(plain) = sure_ipv4(&frame) {
                let packet = parsed.unwrap();
                prop_assert_eq!(packet.outcome, Outcome::Tcp(plain.ports()));
                prop_assert_eq!((packet.source_mac(), packet.destination_mac()), (plain.source_mac(), plain.destination_mac()));
                let addresses = (IpAddr::V4(plain.source()), IpAddr::V4(plain.destination()));
                prop_assert_eq!(packet.network.addresses(), Some(addresses));
                prop_assert_eq!((packet.vlan, packet.network.is_source_routed()), (VlanId(0), false));
            }
        }
    }

    fn sure_ipv4(frame: &[u8]) -> Option<PlainIpv4<'_>> {
        PlainIpv4::read(frame).filter(|plain| !plain.is_doubtful(frame.len()))
    }

    #[test]
    fn the_common_frames_are_of_the_shape() {
        let mut v4 = [0u8; 60];
        v4[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0, 40]);
        v4[23] = 6;
        v4[34..38].copy_from_slice(&[0xc0, 0, 0x01, 0xbb]);
        let ports = Ports { source: 0xc000, destination: 443 };
        assert_eq!(sure_ipv4(&v4).map(PlainIpv4::ports), Some(ports));
        let mut v6 = [0u8; 74];
        v6[12..21].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6]);
        assert!(sure_ipv4(&v6).is_none());
    }

    #[test]
    fn each_field_of_the_shape_raises_doubt() {
        let mut v4 = [0u8; 54];
        v4[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0, 40]);
        v4[23] = 6;
        assert!(sure_ipv4(&v4).is_some());
        for (at, bit) in (0..38 * 8).map(|bit| (bit / 8, 1 << (bit % 8))) {
            let mut other = v4;
            other[at] ^= bit;
            // MACs, DSCP, id, reserved and don't-fragment bits, TTL, checksum, addresses and ports may be anything; total
            // length may be shorter (32 is) but not longer than the frame or too short.
            let free =
                matches!(at, 0..12 | 15 | 18 | 19 | 22 | 24..) || (at == 20 && bit >= 0x40) || (at == 17 && bit == 8);
            let shorter = at == 17 && (24..=40).contains(&other[17]);
            assert_eq!(sure_ipv4(&other).is_some(), free || shorter, "byte {at}, bit {bit:#x}");
        }
    }
}
