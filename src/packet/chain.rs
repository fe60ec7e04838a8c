//! The headers between IP and transport: IPv6 extension headers and, for both families, AH.
//!
//! The walk is bounded (RFC 8504, 5.3 permits it): whatever stands behind more than [`HEADERS_MAX`] headers or
//! [`BYTES_MAX`] bytes is not looked for. The defect the walk meets first names the outcome.

use super::transport::Part;
use super::{Opaque, Outcome, Rest};
use crate::model::Family;

/// How many headers are looked through.
const HEADERS_MAX: usize = 8;
/// How many bytes of headers are looked through.
const BYTES_MAX: usize = 256;

/// A later fragment below this offset (in units of 8 bytes) could hold or overwrite the ports of a TCP header behind
/// the longest chain that is looked through: (256 + 20) / 8, rounded up.
pub(super) const EARLY_FRAGMENT_OFFSET: u16 = 35;

const HEADER_HOP_BY_HOP: u8 = 0;
const HEADER_ROUTING: u8 = 43;
const HEADER_FRAGMENT: u8 = 44;
pub(super) const HEADER_AH: u8 = 51;
const HEADER_DESTINATION: u8 = 60;
const HEADER_MOBILITY: u8 = 135;
const HEADER_HIP: u8 = 139;
const HEADER_SHIM6: u8 = 140;

/// Where a chain ends.
pub(super) struct End<'f> {
    /// The first protocol that is not a header of the chain.
    pub(super) protocol: u8,
    /// What follows the chain.
    pub(super) payload: Rest<'f>,
    /// Whole, or the first fragment when a fragment header said so.
    pub(super) part: Part,
    /// A routing header with segments left was met.
    pub(super) segments_left: bool,
    /// A fragment header was met.
    pub(super) is_fragment: bool,
}

impl<'f> End<'f> {
    /// Of a packet without such headers.
    #[inline]
    pub(super) fn at(protocol: u8, payload: Rest<'f>, part: Part) -> Self {
        Self { protocol, payload, part, segments_left: false, is_fragment: false }
    }
}

/// Walks from `next`, whose header starts `chain`, to the transport protocol.
pub(super) fn walk(family: Family, next: u8, chain: Rest<'_>, part: Part) -> Result<End<'_>, Outcome> {
    let mut end = End::at(next, chain, part);
    let mut walked_bytes = 0;
    for headers in 0.. {
        let header = end.protocol;
        if !belongs(family, header) {
            return Ok(end);
        }
        if headers == HEADERS_MAX || (header == HEADER_FRAGMENT && end.is_fragment) {
            return Err(Outcome::Opaque(Opaque::HeaderChain));
        }
        // Fails where the packet or the part of the chain that is looked through ends before `end_bytes`.
        let within = |end_bytes: usize, part: Part| match () {
            () if end_bytes <= chain.length.min(BYTES_MAX) => Ok(()),
            () if chain.length >= BYTES_MAX => Err(Outcome::Opaque(Opaque::HeaderChain)),
            () if part == Part::FirstFragment => Err(Outcome::Opaque(Opaque::Fragment)),
            () => Err(Outcome::Opaque(Opaque::Malformed)),
        };
        within(walked_bytes + 8, end.part)?;
        let Some(&[protocol, length, b2, b3, ..]) = end.payload.peek::<8>() else {
            return Err(Outcome::Opaque(Opaque::Malformed));
        };
        let header_bytes = match header {
            HEADER_FRAGMENT => 8,
            HEADER_AH => (usize::from(length) + 2) * 4, // RFC 4302, 2.2
            _ => (usize::from(length) + 1) * 8,
        };
        within(walked_bytes + header_bytes, end.part)?;
        match header {
            HEADER_ROUTING => end.segments_left |= b3 != 0,
            HEADER_FRAGMENT => {
                end.is_fragment = true;
                let (offset, more) = (u16::from_be_bytes([b2, b3]) >> 3, b3 & 1 != 0);
                match (offset, more) {
                    (0, false) => {} // an atomic fragment is a whole packet (RFC 6946)
                    (0, true) => end.part = Part::FirstFragment,
                    // Whatever its next header: options behind the fragment header can put the ports here.
                    (offset, _) if offset < EARLY_FRAGMENT_OFFSET => return Err(Outcome::Opaque(Opaque::Fragment)),
                    _ => return Err(Outcome::LaterFragment),
                }
            }
            _ => {}
        }
        walked_bytes += header_bytes;
        end.protocol = protocol;
        end.payload = chain.skip(walked_bytes).ok_or(Outcome::Opaque(Opaque::Malformed))?;
    }
    Ok(end)
}

pub(super) const fn belongs(family: Family, header: u8) -> bool {
    match header {
        HEADER_AH => true,
        HEADER_HOP_BY_HOP | HEADER_ROUTING | HEADER_FRAGMENT | HEADER_DESTINATION | HEADER_MOBILITY | HEADER_HIP
        | HEADER_SHIM6 => matches!(family, Family::Ipv6),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Network, Other, Ports, ipv6};
    use super::*;

    const TCP_25: [u8; 20] = [0xc0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];
    const PORTS_25: Outcome = Outcome::Tcp(Ports { source: 0xc000, destination: 25 });
    const TCP: u8 = 6;

    /// A chain of (header, bytes) ending in `last`, with `tail` behind it; AH and the others carry zeros.
    fn chain(headers: &[(u8, usize)], last: u8, tail: &[u8]) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        for (at, &(header, length)) in headers.iter().enumerate() {
            let next = headers.get(at + 1).map_or(last, |&(next, _)| next);
            let units = match header {
                HEADER_FRAGMENT => 0,
                HEADER_AH => length / 4 - 2,
                _ => length / 8 - 1,
            };
            bytes.extend([next, u8::try_from(units).unwrap()]);
            bytes.resize(bytes.len() + length - 2, 0);
        }
        bytes.extend(tail);
        (headers.first().map_or(last, |&(first, _)| first), bytes)
    }

    fn parse(next: u8, payload: &[u8]) -> (bool, Outcome) {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
        packet.extend([0x20; 32]);
        packet.extend(payload);
        let (network, outcome) = ipv6::parse(Rest::new(&packet, packet.len()));
        (matches!(network, Network::Ipv6 { segments_left: true, .. }), outcome)
    }

    fn outcome(headers: &[(u8, usize)], tail: &[u8]) -> Outcome {
        let (next, bytes) = chain(headers, TCP, tail);
        parse(next, &bytes).1
    }

    #[test]
    fn every_header_of_the_list_is_looked_through() {
        for header in [0, 43, 44, 51, 60, 135, 139, 140] {
            assert_eq!(outcome(&[(header, 8)], &TCP_25), PORTS_25, "header {header}");
        }
        for header in [0, 43, 60, 135, 139, 140] {
            assert_eq!(outcome(&[(header, 64)], &TCP_25), PORTS_25, "long header {header}");
        }
        assert_eq!(outcome(&[(51, 12)], &TCP_25), PORTS_25, "AH counts in units of four bytes");
    }

    #[test]
    fn at_most_eight_headers() {
        for count in 0..=100 {
            let expected = if count <= 8 { PORTS_25 } else { Outcome::Opaque(Opaque::HeaderChain) };
            assert_eq!(outcome(&vec![(60, 8); count], &TCP_25), expected, "{count} headers");
        }
    }

    #[test]
    fn at_most_256_bytes() {
        assert_eq!(outcome(&[(0, 128), (60, 128)], &TCP_25), PORTS_25);
        assert_eq!(outcome(&[(0, 128), (60, 136)], &TCP_25), Outcome::Opaque(Opaque::HeaderChain));
        assert_eq!(outcome(&[(60, 2048)], &TCP_25), Outcome::Opaque(Opaque::HeaderChain));
    }

    #[test]
    fn the_defect_that_is_met_first_names_the_outcome() {
        // A header of 2,048 bytes, in a packet that ends before and behind the limit.
        let (next, bytes) = chain(&[(60, 2048)], TCP, &TCP_25);
        assert_eq!(parse(next, &bytes[..255]).1, Outcome::Opaque(Opaque::Malformed));
        assert_eq!(parse(next, &bytes[..300]).1, Outcome::Opaque(Opaque::HeaderChain));
    }

    #[test]
    fn one_fragment_header_only() {
        assert_eq!(outcome(&[(44, 8), (44, 8)], &TCP_25), Outcome::Opaque(Opaque::HeaderChain));
        assert_eq!(outcome(&[(44, 8), (60, 8), (44, 8)], &TCP_25), Outcome::Opaque(Opaque::HeaderChain));
        assert_eq!(outcome(&[(0, 8), (44, 8), (60, 8)], &TCP_25), PORTS_25, "an atomic fragment is a whole packet");
    }

    #[test]
    fn a_first_fragment_without_the_whole_chain_and_tcp_header_is_opaque() {
        let (next, mut bytes) = chain(&[(44, 8), (60, 24)], TCP, &TCP_25);
        bytes[3] = 1; // more fragments
        assert_eq!(parse(next, &bytes).1, PORTS_25);
        for cut in 8..bytes.len() {
            assert_eq!(parse(next, &bytes[..cut]).1, Outcome::Opaque(Opaque::Fragment), "cut at {cut}");
        }
        for cut in 1..8 {
            assert_eq!(parse(next, &bytes[..cut]).1, Outcome::Opaque(Opaque::Malformed), "no fragment yet at {cut}");
        }
    }

    #[test]
    fn early_later_fragments_are_opaque_whatever_they_carry() {
        for protocol in [TCP, 17, 60, 58, 253] {
            for offset in [1u16, 2, 3, 34, 35, 256, 0x1fff] {
                let [b2, b3] = (offset << 3 | 1).to_be_bytes();
                let fragment = [&[protocol, 0, b2, b3, 0, 0, 0, 1][..], &TCP_25].concat();
                let expected = if offset < 35 { Outcome::Opaque(Opaque::Fragment) } else { Outcome::LaterFragment };
                assert_eq!(parse(44, &fragment).1, expected, "protocol {protocol} offset {offset}");
            }
        }
    }

    #[test]
    fn segments_left_are_reported() {
        for (segments, routed) in [(0, false), (1, true), (255, true)] {
            let (next, mut bytes) = chain(&[(43, 8)], TCP, &TCP_25);
            bytes[3] = segments;
            assert_eq!(parse(next, &bytes), (routed, PORTS_25), "{segments} segments left");
        }
    }

    #[test]
    fn a_chain_may_end_in_something_that_is_not_tcp() {
        let (next, bytes) = chain(&[(0, 8)], 59, &TCP_25);
        assert_eq!(parse(next, &bytes).1, Outcome::Other(Other::Ip));
    }
}
