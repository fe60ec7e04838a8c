//! The shape that nearly every frame has, read at fixed offsets: Ethernet II without a tag, IPv4 without options or IPv6
//! without extension headers, a whole TCP segment.
//!
//! An answer from here is the answer of [`Packet::parse`](super::Packet::parse) (a property test compares them), without a
//! branch for each field. Any doubt is no answer: then the frame takes the long way.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{Network, Outcome, Packet, Ports, VlanId};

/// What the fixed offsets hold, and whether to believe it.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// Where a frame of the shape has its ports.
    pub ports: Ports,
    /// 0 if the frame is of the shape and all its lengths agree. A number and not a flag, so that a caller can add
    /// doubts of its own and branch once.
    pub doubt: u64,
}

impl Plain {
    /// Of a frame that is too short.
    const NONE: Self = Self { ports: Ports { source: 0, destination: 0 }, doubt: 1 };

    /// The ports, if there is no doubt.
    #[inline]
    #[must_use]
    pub fn ports(self) -> Option<Ports> {
        (self.doubt == 0).then_some(self.ports)
    }
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv4Frame {
    macs: [u8; 12],
    /// EtherType, version and header length, DSCP, total length, id.
    front: [u8; 8],
    /// Fragment, TTL, protocol, checksum, half of the source address.
    back: [u8; 8],
    addresses: [u8; 6],
    ports: [u8; 4],
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv6Frame {
    macs: [u8; 12],
    /// EtherType, version, traffic class, flow label, payload length.
    front: [u8; 8],
    next_header: u8,
    /// Hop limit, addresses.
    back: [u8; 33],
    ports: [u8; 4],
}

/// EtherType 0x0800, version 4, five words of header.
const IPV4_FRONT: u64 = u64::from_ne_bytes([0x08, 0x00, 0x45, 0, 0, 0, 0, 0]);
const IPV4_FRONT_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0, 0, 0, 0, 0]);
/// No more fragments, offset 0 (reserved and don't-fragment bits say nothing); TCP.
const IPV4_BACK: u64 = u64::from_ne_bytes([0, 0, 0, 6, 0, 0, 0, 0]);
const IPV4_BACK_MASK: u64 = u64::from_ne_bytes([0x3f, 0xff, 0, 0xff, 0, 0, 0, 0]);
/// EtherType 0x86dd, version 6.
const IPV6_FRONT: u64 = u64::from_ne_bytes([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0]);
const IPV6_FRONT_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xf0, 0, 0, 0, 0, 0]);

/// Reads a frame as if it were IPv4 of the shape. `head` is the frame, or its first bytes: a packet that ends behind them
/// is in doubt.
///
/// Fields are compared several at a time, as they lie in the frame, and without a branch between them.
#[inline(always)]
#[must_use]
pub fn plain_ipv4(head: &[u8]) -> Plain {
    let Ok((frame, _)) = Ipv4Frame::ref_from_prefix(head) else { return Plain::NONE };
    Plain { ports: ports(frame.ports), doubt: frame.doubt(head.len()) }
}

/// Reads a frame as if it were IPv6 of the shape; see [`plain_ipv4`].
#[inline(always)]
#[must_use]
pub fn plain_ipv6(head: &[u8]) -> Plain {
    let Ok((frame, _)) = Ipv6Frame::ref_from_prefix(head) else { return Plain::NONE };
    Plain { ports: ports(frame.ports), doubt: frame.doubt(head.len()) }
}

impl<'f> Packet<'f> {
    /// What [`parse`](Self::parse) says of a frame, if it is IPv4 of the shape; else nothing. `head` is as for
    /// [`plain_ipv4`].
    #[inline(always)]
    #[must_use]
    pub fn of_plain_ipv4(head: &'f [u8]) -> Option<Self> {
        let outcome = Outcome::Tcp(plain_ipv4(head).ports()?);
        let (ethernet, packet) = head.split_first_chunk::<14>()?;
        let network = Network::Ipv4 { header: packet.first_chunk::<20>()?, options: &[] };
        Some(Self { ethernet, vlan: VlanId(0), network, outcome })
    }

    /// As [`of_plain_ipv4`](Self::of_plain_ipv4), of IPv6.
    #[inline]
    #[must_use]
    pub fn of_plain_ipv6(head: &'f [u8]) -> Option<Self> {
        let outcome = Outcome::Tcp(plain_ipv6(head).ports()?);
        let (ethernet, packet) = head.split_first_chunk::<14>()?;
        let network = Network::Ipv6 { header: packet.first_chunk::<40>()?, segments_left: false };
        Some(Self { ethernet, vlan: VlanId(0), network, outcome })
    }
}

impl Ipv4Frame {
    /// 0 if a frame of `bytes` bytes, at least those of `self`, is of the shape and its lengths agree.
    #[inline(always)]
    fn doubt(&self, bytes: usize) -> u64 {
        let [_, _, _, _, l0, l1, _, _] = self.front;
        let total_bytes = usize::from(u16::from_be_bytes([l0, l1]));
        // At least 20 bytes of IP and 4 of TCP, and no more than there are: one comparison for both ends.
        let beyond = total_bytes.wrapping_sub(20 + 4) > bytes - (14 + 20 + 4);
        ((u64::from_ne_bytes(self.front) ^ IPV4_FRONT) & IPV4_FRONT_MASK)
            | ((u64::from_ne_bytes(self.back) ^ IPV4_BACK) & IPV4_BACK_MASK)
            | u64::from(beyond)
    }
}

impl Ipv6Frame {
    /// As [`Ipv4Frame::doubt`].
    #[inline(always)]
    fn doubt(&self, bytes: usize) -> u64 {
        let [_, _, _, _, _, _, l0, l1] = self.front;
        let payload_bytes = usize::from(u16::from_be_bytes([l0, l1]));
        let beyond = payload_bytes.wrapping_sub(4) > bytes - (14 + 40 + 4);
        ((u64::from_ne_bytes(self.front) ^ IPV6_FRONT) & IPV6_FRONT_MASK)
            | u64::from(self.next_header ^ 6)
            | u64::from(beyond)
    }
}

#[inline(always)]
fn ports([s0, s1, d0, d1]: [u8; 4]) -> Ports {
    Ports { source: u16::from_be_bytes([s0, s1]), destination: u16::from_be_bytes([d0, d1]) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Runt;
    use super::*;

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
        fn the_short_way_and_the_long_way_agree((frame, length) in near()) {
            let parsed = Packet::parse(&frame, length);
            for ports in [plain_ipv4(&frame), plain_ipv6(&frame)].into_iter().filter_map(Plain::ports) {
                prop_assert_eq!(parsed.map(|packet| packet.outcome), Ok(Outcome::Tcp(ports)));
            }
            for plain in [Packet::of_plain_ipv4(&frame), Packet::of_plain_ipv6(&frame)].into_iter().flatten() {
                prop_assert_eq!(format!("{:?}", Ok::<_, Runt>(plain)), format!("{parsed:?}"));
            }
        }
    }

    #[test]
    fn the_common_frames_take_the_short_way() {
        let mut v4 = [0u8; 60];
        v4[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0, 40]);
        v4[23] = 6;
        v4[34..38].copy_from_slice(&[0xc0, 0, 0x01, 0xbb]);
        assert!(Packet::of_plain_ipv4(&v4).is_some() && plain_ipv6(&v4).ports().is_none());
        assert_eq!(plain_ipv4(&v4).ports(), Some(Ports { source: 0xc000, destination: 443 }));
        let mut v6 = [0u8; 74];
        v6[12..21].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6]);
        v6[54..58].copy_from_slice(&[0xc0, 0, 0x01, 0xbb]);
        assert!(Packet::of_plain_ipv6(&v6).is_some() && plain_ipv4(&v6).ports().is_none());
        assert_eq!(plain_ipv6(&v6).ports(), Some(Ports { source: 0xc000, destination: 443 }));
    }
}
