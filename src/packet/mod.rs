//! Bytes of a frame → [`Packet`]: what the box can see. No policy, no panic, no allocation.
//!
//! The parser promises three things. It looks at no more than [`HEAD_BYTES_MAX`] bytes, whatever the frame claims; its
//! loops are bounded (two tags, eight headers); and every frame of at least an Ethernet header gets exactly one
//! [`Outcome`]. It refuses to know what any of that means: a later fragment, a third tag, a truncated header are
//! reported, and [`policy`](crate::policy) decides.
//!
//! One file per layer: `ethernet` (tags, 802.3), `ipv4`, `ipv6`, `chain` (the headers between IP and transport),
//! `transport`; and two short ways: `plain` for the one shape that most frames have, `glance` for all the common ones. `message` is the second reading, for
//! guards: what `arp` and `icmpv6` say. `refusal` is the one thing that the box says itself. Layers hand each other a `Rest`, which knows how many bytes the frame really has even
//! where only its head is at hand.

mod arp;
mod chain;
mod checksum;
mod ethernet;
mod glance;
pub mod icmpv6;
mod ipv4;
mod ipv6;
mod message;
mod plain;
mod refusal;
mod transport;

use std::net::IpAddr;

use crate::model::{IpWords, MacAddr, VlanId};
pub use arp::Arp;
pub use glance::{Glance, Mark, Segment, vlan};
pub use icmpv6::Icmpv6;
pub use message::Message;
pub use plain::PlainIpv4;
pub use refusal::{REFUSAL_BYTES_MAX, Refusal, RefusalSources};
pub use transport::{Other, Ports, Tunnel, udp_tunnel};

/// What the parser may look at: Ethernet 14, three times LLC/SNAP 8, two tags 8, the longest fixed IP header 60, a
/// header chain of 256, a TCP header of 20; rounded up. A caller that gathers this much of a segmented frame loses
/// nothing.
pub const HEAD_BYTES_MAX: usize = 512;

/// What the box can see of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'f> {
    /// Destination, source and type; read by [`source_mac`](Self::source_mac) and
    /// [`destination_mac`](Self::destination_mac), since most frames are settled without.
    ethernet: &'f [u8; 14],
    /// The outermost tag whose id is not 0, else 0.
    pub vlan: VlanId,
    /// The IP header, when its addresses can be read.
    pub network: Network<'f>,
    /// What the frame carries.
    pub outcome: Outcome,
}

/// A frame too short for an Ethernet header (14 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runt;

/// What a frame carries, as far as a mail-port firewall cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// TCP, and its ports are known.
    Tcp(Ports),
    /// Certainly not TCP on the outside of the packet.
    Other(Other),
    /// Some part of a fragmented packet that cannot hold or overwrite its ports.
    LaterFragment,
    /// It might be TCP to a mail port and the box cannot tell.
    Opaque(Opaque),
}

/// Why a frame cannot be judged by its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opaque {
    /// A length or version that is impossible for the frame, or a header or tag cut short.
    Malformed,
    /// A first fragment without its ports, or an early later fragment that could bring or overwrite them
    /// (RFC 1858, 3128, 5722, 7112).
    Fragment,
    /// More than 8 headers or 256 bytes between IP and transport, or a second fragment header.
    HeaderChain,
    /// A third VLAN tag.
    VlanDepth,
}

/// The IP header of a frame, when its version is right and its fixed part is there.
#[derive(Clone, Copy, Debug)]
pub enum Network<'f> {
    /// Not IP, or the addresses cannot be read.
    Absent,
    /// The fixed header, and the options that follow it.
    Ipv4 {
        /// Bytes 0..20.
        header: &'f [u8; 20],
        /// Bytes 20..IHL*4; empty when the header length is impossible.
        options: &'f [u8],
    },
    /// The fixed header.
    Ipv6 {
        /// Bytes 0..40.
        header: &'f [u8; 40],
        /// A routing header with segments left was walked.
        segments_left: bool,
    },
}

impl<'f> Packet<'f> {
    /// Parses a frame of `length` bytes of which `head` holds the first ones: all of them, or at least
    /// [`HEAD_BYTES_MAX`]. A shorter head is judged as a frame cut short.
    ///
    /// # Errors
    /// [`Runt`]: fewer than 14 bytes.
    #[inline]
    pub fn parse(head: &'f [u8], length: usize) -> Result<Self, Runt> {
        let (ethernet, rest) = Rest::new(head, length).split::<14>().ok_or(Runt)?;
        let &[.., t0, t1] = ethernet;
        let link = ethernet::peel(u16::from_be_bytes([t0, t1]), rest);
        let (network, outcome) = match link.payload {
            ethernet::Payload::Ipv4(rest) => ipv4::parse(rest),
            ethernet::Payload::Ipv6(rest) => ipv6::parse(rest),
            ethernet::Payload::Arp(_) => (Network::Absent, Outcome::Other(Other::NotIp)),
            ethernet::Payload::Other(other) => (Network::Absent, Outcome::Other(other)),
            ethernet::Payload::Opaque(reason) => (Network::Absent, Outcome::Opaque(reason)),
        };
        Ok(Self { ethernet, vlan: link.vlan, network, outcome })
    }

    /// Source station.
    #[inline]
    #[must_use]
    pub fn source_mac(&self) -> MacAddr {
        let &[_, _, _, _, _, _, s0, s1, s2, s3, s4, s5, _, _] = self.ethernet;
        MacAddr([s0, s1, s2, s3, s4, s5])
    }

    /// Destination station.
    #[inline]
    #[must_use]
    pub fn destination_mac(&self) -> MacAddr {
        let &[d0, d1, d2, d3, d4, d5, ..] = self.ethernet;
        MacAddr([d0, d1, d2, d3, d4, d5])
    }
}

impl Network<'_> {
    /// Source and destination address.
    #[inline]
    #[must_use]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        self.ends().map(|(source, destination)| (source.into(), destination.into()))
    }

    /// Source and destination address, for a worker.
    #[inline(always)]
    #[must_use]
    pub fn ends(&self) -> Option<(IpWords, IpWords)> {
        match *self {
            Self::Absent => None,
            Self::Ipv4 { header, .. } => Some((ipv4_at(header, 12), ipv4_at(header, 16))),
            Self::Ipv6 { header, .. } => Some((ipv6_at(header, 8), ipv6_at(header, 24))),
        }
    }

    /// Whether the sender chose the path: an IPv4 source route, or an IPv6 routing header with segments left. Such a
    /// packet's destination is not where it ends up. Options that cannot be walked count as a source route.
    #[must_use]
    pub fn is_source_routed(&self) -> bool {
        match *self {
            Self::Absent => false,
            Self::Ipv4 { options, .. } => ipv4::has_source_route(options),
            Self::Ipv6 { segments_left, .. } => segments_left,
        }
    }
}

/// `N` bytes from `offset` on, which the compiler sees to be there.
#[inline(always)]
fn bytes_at<const N: usize, const M: usize>(bytes: &[u8; M], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// The IPv4 address there.
#[inline(always)]
fn ipv4_at<const M: usize>(bytes: &[u8; M], offset: usize) -> IpWords {
    IpWords::ipv4(u32::from_be_bytes(bytes_at(bytes, offset)))
}

/// The IPv6 address there.
#[inline(always)]
fn ipv6_at<const M: usize>(bytes: &[u8; M], offset: usize) -> IpWords {
    IpWords::ipv6([offset, offset + 8].map(|at| u64::from_be_bytes(bytes_at(bytes, at))))
}

/// What is left of a frame: the bytes at hand, and how many there really are.
#[derive(Clone, Copy, Debug)]
struct Rest<'f> {
    /// A prefix of what is left.
    bytes: &'f [u8],
    /// How many bytes the frame has from here on; at least `bytes.len()`.
    length: usize,
}

impl<'f> Rest<'f> {
    #[inline]
    fn new(head: &'f [u8], length: usize) -> Self {
        Self { bytes: head.get(..length).unwrap_or(head), length }
    }

    /// The first `N` bytes and what follows them.
    #[inline]
    fn split<const N: usize>(self) -> Option<(&'f [u8; N], Self)> {
        let (first, bytes) = self.bytes.split_first_chunk::<N>()?;
        Some((first, Self { bytes, length: self.length - N }))
    }

    /// The first `N` bytes.
    #[inline]
    fn peek<const N: usize>(self) -> Option<&'f [u8; N]> {
        self.bytes.first_chunk::<N>()
    }

    /// What follows the first `count` bytes; `None` when the frame ends before.
    #[inline]
    fn skip(self, count: usize) -> Option<Self> {
        Some(Self { length: self.length.checked_sub(count)?, bytes: self.bytes.get(count..).unwrap_or(&[]) })
    }

    /// Forgets what lies behind the first `length` bytes (padding, trailers); `None` when there are fewer.
    #[inline]
    fn cut(self, length: usize) -> Option<Self> {
        (length <= self.length).then(|| Self { bytes: self.bytes.get(..length).unwrap_or(self.bytes), length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_fourteen_bytes_are_a_runt() {
        for length in 0..14 {
            assert_eq!(Packet::parse(&[0x08; 14][..length], length).map(|p| p.outcome), Err(Runt), "{length}");
        }
        assert!(Packet::parse(&[0x08; 14], 14).is_ok());
    }

    #[test]
    fn a_head_that_lies_about_its_length_is_cut_short_not_read_past() {
        // The frame claims 1,500 bytes, the head holds the Ethernet header alone.
        let mut head = [0u8; 14];
        head[12] = 0x08;
        let packet = Packet::parse(&head, 1500).expect("an Ethernet header is there");
        assert_eq!(packet.outcome, Outcome::Opaque(Opaque::Malformed));
    }
}
