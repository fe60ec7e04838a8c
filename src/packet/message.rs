//! What a frame says to its neighbours: what guards read of frames that carry no TCP.
//!
//! The same layers are taken off as by [`Packet::parse`](super::Packet::parse), in a second reading, so that those who ask
//! nobody who he is need not pay for it.

use super::arp::Arp;
use super::ethernet::{self, Payload};
use super::icmpv6::Icmpv6;
use super::transport::{self, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_IGMP, PROTOCOL_UDP, Part, Ports};
use super::{Opaque, Outcome, Rest, ipv4, ipv6};

/// A frame, as far as guards care.
#[derive(Clone, Copy, Debug)]
pub enum Message<'f> {
    /// ARP; nothing if it is of another shape than IPv4's over Ethernet, or is cut short.
    Arp(Option<Arp>),
    /// ICMP, of this type.
    Icmp(u8),
    /// IGMP.
    Igmp,
    /// ICMPv6.
    Icmpv6(Icmpv6<'f>),
    /// UDP.
    Udp {
        /// Its ports.
        ports: Ports,
        /// The first byte behind its header.
        first: Option<u8>,
        /// It goes on in a fragment that comes later.
        goes_on: bool,
    },
    /// IPv6 whose headers cannot be read to what they carry, which may be any of these.
    Hidden(Opaque),
    /// Anything else.
    Other,
}

impl<'f> Message<'f> {
    /// Of a frame of `length` bytes of which `head` holds the first ones; see [`Packet::parse`](super::Packet::parse).
    #[must_use]
    pub fn read(head: &'f [u8], length: usize) -> Self {
        let Some((&[.., t0, t1], rest)) = Rest::new(head, length).split::<14>() else { return Self::Other };
        match ethernet::peel(u16::from_be_bytes([t0, t1]), rest).payload {
            Payload::Ipv4(packet) => match ipv4::upper(packet).1 {
                Ok(end) => match end.protocol {
                    PROTOCOL_ICMP => end.payload.peek::<1>().map_or(Self::Other, |&[kind]| Self::Icmp(kind)),
                    PROTOCOL_IGMP => Self::Igmp,
                    PROTOCOL_UDP => Self::udp(end.payload, end.part),
                    _ => Self::Other,
                },
                Err(_) => Self::Other,
            },
            Payload::Ipv6(packet) => match ipv6::upper(packet) {
                Some((_, Ok(end))) => match end.protocol {
                    PROTOCOL_ICMPV6 => Icmpv6::read(end.payload, end.is_fragment).map_or(Self::Other, Self::Icmpv6),
                    PROTOCOL_UDP => Self::udp(end.payload, end.part),
                    _ => Self::Other,
                },
                Some((_, Err(Outcome::Opaque(reason)))) => Self::Hidden(reason),
                _ => Self::Other,
            },
            Payload::Arp(packet) => Self::Arp(Arp::read(packet)),
            _ => Self::Other,
        }
    }

    fn udp(datagram: Rest<'f>, part: Part) -> Self {
        let Some(ports) = transport::ports(datagram) else { return Self::Other };
        let first = datagram.split::<8>().and_then(|(_, data)| data.peek::<1>()).map(|&[first]| first);
        Self::Udp { ports, first, goes_on: part == Part::FirstFragment }
    }
}
