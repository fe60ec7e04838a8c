//! What a sender is told whose TCP segment was denied, so that his `connect()` fails at once and says why: ICMP
//! "administratively prohibited" (RFC 1812, RFC 4443), or a reset (RFC 9293, 3.10.7.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Checksum;
use super::transport::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP};
use super::{Network, Rest, ethernet, ipv4, ipv6};

/// The longest refusal: an ICMPv6 error in two tags.
pub const REFUSAL_BYTES_MAX: usize = ETHERNET_BYTES_MAX + IPV6_BYTES_MAX;

/// The shortest frame that Ethernet carries, without its check sequence.
const FRAME_BYTES_MIN: usize = 60;
const ETHERNET_BYTES_MAX: usize = 14 + 2 * 4;
/// How long an ICMP error may be: what every host takes in one piece (RFC 1812, 4.3.2.3; RFC 4443, 2.4).
const IPV4_BYTES_MAX: usize = 576;
const IPV6_BYTES_MAX: usize = 1280;
const HOPS: u8 = 64;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The addresses that the box itself speaks from on a link; without one of a family it answers with resets alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusalSources {
    /// Of ICMP.
    pub ipv4: Option<Ipv4Addr>,
    /// Of ICMPv6.
    pub ipv6: Option<Ipv6Addr>,
}

/// A segment that can be answered.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'f> {
    /// Destination and source station, tags and type.
    ethernet: &'f [u8],
    /// The IP packet as far as it goes, without what stands behind it.
    packet: &'f [u8],
    source: IpAddr,
    destination: IpAddr,
    tcp: &'f [u8; 20],
    /// Bytes that the segment carries, as far as the frame holds them.
    data_bytes: usize,
}

impl<'f> Refusal<'f> {
    /// Of a whole frame. Nothing where an answer would hit who did not ask, or could begin a conversation of refusals: to
    /// resets and to what cannot be read to its TCP header; where the sender chose the path; to 802.3; from what is no
    /// station's address; to groups.
    #[must_use]
    pub fn of(frame: &'f [u8]) -> Option<Self> {
        let (ethernet, rest) = split_ethernet(frame)?;
        let &[d0, .., t0, t1] = ethernet else { return None };
        let &[_, _, _, _, _, _, s0, ..] = ethernet else { return None };
        if (d0 | s0) & 1 != 0 {
            return None;
        }
        let rest = Rest::new(rest, rest.len());
        let (network, end, bytes) = match u16::from_be_bytes([t0, t1]) {
            ethernet::ETHER_TYPE_IPV4 => {
                let (network, end) = ipv4::upper(rest);
                let &[_, _, l0, l1] = rest.peek::<4>()?;
                (network, end.ok()?, usize::from(u16::from_be_bytes([l0, l1])))
            }
            ethernet::ETHER_TYPE_IPV6 => {
                let (header, end) = ipv6::upper(rest)?;
                let (end, &[_, _, _, _, l0, l1, ..]) = (end.ok()?, header);
                let bytes = match u16::from_be_bytes([l0, l1]) {
                    0 => rest.length,
                    payload => 40 + usize::from(payload),
                };
                (Network::Ipv6 { header, segments_left: end.segments_left }, end, bytes)
            }
            _ => return None,
        };
        let (tcp, behind) = end.payload.split::<20>().filter(|_| end.protocol == PROTOCOL_TCP)?;
        let &[.., offset, flags, _, _, _, _, _, _] = tcp;
        let data_bytes = behind.length.checked_sub(usize::from(offset >> 4).checked_mul(4)?.checked_sub(20)?)?;
        let (source, destination) = network.addresses()?;
        let is_answered = flags & RST == 0 && !network.is_source_routed() && is_host(source) && is_one(destination);
        let packet = rest.bytes.get(..bytes)?;
        is_answered.then_some(Self { ethernet, packet, source, destination, tcp, data_bytes })
    }

    /// Writes the answer and says how long it is.
    #[must_use]
    pub fn write(&self, sources: RefusalSources, frame: &mut [u8; REFUSAL_BYTES_MAX]) -> Option<usize> {
        let mut out = Out { frame, bytes: 0 };
        let (destination, rest) = self.ethernet.split_at_checked(6)?;
        let (source, tags_and_type) = rest.split_at_checked(6)?;
        out.put(source)?;
        out.put(destination)?;
        out.put(tags_and_type)?;
        let &[.., flags, _, _, _, _, _, _] = self.tcp;
        let begins = flags & (SYN | ACK | RST) == SYN;
        match (self.source, self.destination, sources.ipv4, sources.ipv6) {
            (IpAddr::V4(to), _, Some(from), _) if begins => self.icmp(&mut out, from, to)?,
            (IpAddr::V6(to), _, _, Some(from)) if begins => self.icmpv6(&mut out, from, to)?,
            (IpAddr::V4(to), IpAddr::V4(from), ..) => {
                out.ipv4_header(PROTOCOL_TCP, 20, from, to)?;
                out.put(&self.reset(pseudo_header(&from.octets(), &to.octets(), PROTOCOL_TCP, 20)))?;
            }
            (IpAddr::V6(to), IpAddr::V6(from), ..) => {
                out.ipv6_header(PROTOCOL_TCP, 20, from, to)?;
                out.put(&self.reset(pseudo_header(&from.octets(), &to.octets(), PROTOCOL_TCP, 20)))?;
            }
            _ => return None,
        }
        out.pad()
    }

    /// Destination unreachable, communication administratively prohibited (RFC 1812, 5.2.7.1).
    fn icmp(&self, out: &mut Out<'_>, from: Ipv4Addr, to: Ipv4Addr) -> Option<()> {
        let quote = self.packet.get(..IPV4_BYTES_MAX - 20 - 8).unwrap_or(self.packet);
        let checksum = Checksum::default().add(&[3, 13]).add(quote).finish();
        out.ipv4_header(PROTOCOL_ICMP, 8 + quote.len(), from, to)?;
        out.icmp_message([3, 13], checksum, quote)
    }

    /// Destination unreachable, communication administratively prohibited (RFC 4443, 3.1).
    fn icmpv6(&self, out: &mut Out<'_>, from: Ipv6Addr, to: Ipv6Addr) -> Option<()> {
        let quote = self.packet.get(..IPV6_BYTES_MAX - 40 - 8).unwrap_or(self.packet);
        let pseudo_header = pseudo_header(&from.octets(), &to.octets(), PROTOCOL_ICMPV6, 8 + quote.len());
        let checksum = pseudo_header.add(&[1, 1]).add(quote).finish();
        out.ipv6_header(PROTOCOL_ICMPV6, 8 + quote.len(), from, to)?;
        out.icmp_message([1, 1], checksum, quote)
    }

    /// "<SEQ=SEG.ACK><CTL=RST>" to what acknowledges something, else "<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>".
    fn reset(&self, pseudo_header: Checksum) -> [u8; 20] {
        let &[p0, p1, q0, q1, s0, s1, s2, s3, a0, a1, a2, a3, _, flags, ..] = self.tcp;
        let (sequence, acknowledgement, answer) = if flags & ACK != 0 {
            ([a0, a1, a2, a3], [0; 4], RST)
        } else {
            let numbers = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            let length = u32::try_from(self.data_bytes).unwrap_or(0).wrapping_add(numbers);
            let next = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(length);
            ([0; 4], next.to_be_bytes(), RST | ACK)
        };
        let ([b0, b1, b2, b3], [c0, c1, c2, c3]) = (sequence, acknowledgement);
        let segment =
            |[k0, k1]: [u8; 2]| [q0, q1, p0, p1, b0, b1, b2, b3, c0, c1, c2, c3, 5 << 4, answer, 0, 0, k0, k1, 0, 0];
        segment(pseudo_header.add(&segment([0, 0])).finish())
    }
}

/// Stations, tags and type, and what stands behind them.
fn split_ethernet(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let type_at = [12, 16, 20].into_iter().find(|&at| {
        let ether_type = frame.get(at..at + 2).and_then(|bytes| bytes.first_chunk::<2>());
        !ether_type.is_some_and(|&[t0, t1]| ethernet::is_tag(u16::from_be_bytes([t0, t1])))
    })?;
    frame.split_at_checked(type_at + 2)
}

/// Whether anybody can be at this source address.
fn is_host(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            first != 0 && first < 224 && !address.is_loopback()
        }
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_loopback() && !address.is_multicast(),
    }
}

/// Whether this destination is one station's.
fn is_one(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(address) => !address.is_multicast() && !address.is_broadcast(),
        IpAddr::V6(address) => !address.is_multicast(),
    }
}

/// What TCP and ICMPv6 sum up beside themselves (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_header(from: &[u8], to: &[u8], protocol: u8, bytes: usize) -> Checksum {
    let length = u32::try_from(bytes).unwrap_or(0).to_be_bytes();
    Checksum::default().add(from).add(to).add(&length).add(&[0, protocol])
}

/// A frame that grows.
struct Out<'o> {
    frame: &'o mut [u8; REFUSAL_BYTES_MAX],
    bytes: usize,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.bytes + bytes.len();
        self.frame.get_mut(self.bytes..end)?.copy_from_slice(bytes);
        self.bytes = end;
        Some(())
    }

    /// Without options, not to be fragmented, so the identification may be 0 (RFC 6864).
    fn ipv4_header(&mut self, protocol: u8, bytes: usize, from: Ipv4Addr, to: Ipv4Addr) -> Option<()> {
        let [l0, l1] = u16::try_from(20 + bytes).ok()?.to_be_bytes();
        let ([f0, f1, f2, f3], [t0, t1, t2, t3]) = (from.octets(), to.octets());
        let header = |[k0, k1]: [u8; 2]| {
            [0x45, 0, l0, l1, 0, 0, 0x40, 0, HOPS, protocol, k0, k1, f0, f1, f2, f3, t0, t1, t2, t3]
        };
        self.put(&header(Checksum::default().add(&header([0, 0])).finish()))
    }

    fn ipv6_header(&mut self, protocol: u8, bytes: usize, from: Ipv6Addr, to: Ipv6Addr) -> Option<()> {
        let [l0, l1] = u16::try_from(bytes).ok()?.to_be_bytes();
        self.put(&[0x60, 0, 0, 0, l0, l1, protocol, HOPS])?;
        self.put(&from.octets())?;
        self.put(&to.octets())
    }

    fn icmp_message(&mut self, [kind, code]: [u8; 2], [k0, k1]: [u8; 2], quote: &[u8]) -> Option<()> {
        self.put(&[kind, code, k0, k1, 0, 0, 0, 0])?;
        self.put(quote)
    }

    /// As long as Ethernet wants it, with zeros.
    fn pad(mut self) -> Option<usize> {
        let missing = FRAME_BYTES_MIN.saturating_sub(self.bytes);
        self.put([0; FRAME_BYTES_MIN].get(..missing)?)?;
        Some(self.bytes)
    }
}
