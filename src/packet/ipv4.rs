//! The IPv4 header (RFC 791).

use super::chain::{self, End};
use super::transport::{self, Part};
use super::{Network, Opaque, Outcome, Rest};
use crate::model::Family;

const PROTOCOL_TCP: u8 = transport::PROTOCOL_TCP;
const PROTOCOL_AH: u8 = chain::HEADER_AH;

/// What an IPv4 packet carries; `packet` begins at its header and may be followed by padding.
#[inline]
pub(super) fn parse(packet: Rest<'_>) -> (Network<'_>, Outcome) {
    walk(packet, transport::reached)
}

/// The header, and the protocol that the packet carries, or why it cannot be told.
pub(super) fn upper(packet: Rest<'_>) -> (Network<'_>, Result<End<'_>, Outcome>) {
    walk(packet, |upper| upper)
}

/// The header, and what `reached` says of the protocol that the packet carries, or of why it cannot be told. Asked where that is
/// found, so that most packets' ends need not be written down for it.
#[inline(always)]
fn walk<'f, T>(packet: Rest<'f>, reached: impl Fn(Result<End<'f>, Outcome>) -> T) -> (Network<'f>, T) {
    const MALFORMED: Outcome = Outcome::Opaque(Opaque::Malformed);
    let Some(header) = packet.peek::<20>() else {
        return (Network::Absent, reached(Err(MALFORMED)));
    };
    let &[version_ihl, _, l0, l1, _, _, f0, f1, _, protocol, ..] = header;
    if version_ihl >> 4 != 4 {
        return (Network::Absent, reached(Err(MALFORMED)));
    }
    let header_bytes = usize::from(version_ihl & 0x0f) * 4;
    let total_bytes = usize::from(u16::from_be_bytes([l0, l1]));
    let payload = if header_bytes < 20 { None } else { packet.cut(total_bytes).and_then(|p| p.skip(header_bytes)) };
    let Some(payload) = payload else {
        return (Network::Ipv4 { header, options: &[] }, reached(Err(MALFORMED)));
    };
    let options = packet.bytes.get(20..header_bytes).unwrap_or(&[]);
    let network = Network::Ipv4 { header, options };

    let fragment = u16::from_be_bytes([f0, f1]);
    let (offset, more) = (fragment & 0x1fff, fragment & 0x2000 != 0);
    if offset != 0 {
        return (network, reached(Err(later_fragment(protocol, offset))));
    }
    let part = if more { Part::FirstFragment } else { Part::Whole };
    if protocol != PROTOCOL_AH {
        return (network, reached(Ok(End::at(protocol, payload, part))));
    }
    (network, reached(chain::walk(Family::Ipv4, protocol, payload, part)))
}

/// A later fragment that could bring or overwrite a TCP header's ports is opaque (RFC 3128): of TCP itself at 8 and 16
/// bytes; behind AH wherever a chain of permitted length could end.
fn later_fragment(protocol: u8, offset: u16) -> Outcome {
    match protocol {
        PROTOCOL_TCP if offset <= 2 => Outcome::Opaque(Opaque::Fragment),
        PROTOCOL_AH if offset < chain::EARLY_FRAGMENT_OFFSET => Outcome::Opaque(Opaque::Fragment),
        _ => Outcome::LaterFragment,
    }
}

/// Whether loose or strict source routing (RFC 791, 3.1) is among the options, or they cannot be walked to their end.
pub(super) fn has_source_route(mut options: &[u8]) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    // At most 40 rounds: each consumes a byte.
    loop {
        options = match *options {
            [] | [END, ..] => return false,
            [NO_OPERATION, ref rest @ ..] => rest,
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => return true,
            [_, length, ..] if length >= 2 => match options.get(usize::from(length)..) {
                Some(rest) => rest,
                None => return true,
            },
            _ => return true,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Other, Ports};
    use super::*;

    fn outcome(packet: &[u8]) -> Outcome {
        parse(Rest::new(packet, packet.len())).1
    }

    /// A packet with this protocol, fragment field and payload; lengths are right.
    fn packet(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
        assert!(options.len().is_multiple_of(4));
        let ihl = u8::try_from(5 + options.len() / 4).unwrap();
        let total = u16::try_from(20 + options.len() + payload.len()).unwrap().to_be_bytes();
        let [f0, f1] = fragment.to_be_bytes();
        let mut bytes = vec![0x40 | ihl, 0, total[0], total[1], 0, 1, f0, f1, 64, protocol, 0, 0];
        bytes.extend([10, 0, 0, 5, 198, 51, 100, 25]);
        bytes.extend(options);
        bytes.extend(payload);
        bytes
    }

    const TCP_25: [u8; 20] = [0xc0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];
    const PORTS_25: Outcome = Outcome::Tcp(Ports { source: 0xc000, destination: 25 });

    #[test]
    fn ports_are_read_at_the_true_header_length() {
        for words in 0..=10 {
            // Decoys: the options look like a TCP header to port 443, which a reader at byte 20 would believe.
            let options = [0x01, 0x01, 0x01, 0xbb].repeat(words);
            assert_eq!(outcome(&packet(6, 0, &options, &TCP_25)), PORTS_25, "{words} words of options");
        }
    }

    #[test]
    fn the_parser_agrees_with_a_slow_model_on_every_small_header() {
        // IHL 0..15 x version 0..15 x total length 0..80 x frame length 0..80: whatever the lengths claim, the ports are
        // believed only where the header, the total length and the frame agree that they are there.
        let mut bytes = [0u8; 80];
        bytes[9] = 6;
        for (at, byte) in bytes.iter_mut().enumerate().skip(20) {
            *byte = u8::try_from(at).unwrap();
        }
        for first in 0..=255u8 {
            for total in 0..=80usize {
                bytes[0] = first;
                bytes[3] = u8::try_from(total).unwrap();
                for frame in 0..=80usize {
                    let (version, header) = (first >> 4, usize::from(first & 15) * 4);
                    let possible = frame >= 20 && version == 4 && header >= 20 && header <= total && total <= frame;
                    let expected = if possible && total - header >= 4 {
                        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                        Outcome::Tcp(Ports { source: port(header), destination: port(header + 2) })
                    } else {
                        Outcome::Opaque(Opaque::Malformed)
                    };
                    assert_eq!(outcome(&bytes[..frame]), expected, "{first:#x} total {total} frame {frame}");
                }
            }
        }
    }

    #[test]
    fn padding_behind_the_total_length_is_ignored() {
        let mut stump = packet(6, 0, &[], &TCP_25[..3]);
        stump.extend([25; 40]);
        assert_eq!(outcome(&stump), Outcome::Opaque(Opaque::Malformed), "a port from the padding is no port");
    }

    #[test]
    fn a_first_fragment_of_tcp_needs_its_whole_fixed_header() {
        for bytes in 0..=20 {
            let expected = if bytes < 20 { Outcome::Opaque(Opaque::Fragment) } else { PORTS_25 };
            assert_eq!(outcome(&packet(6, 0x2000, &[], &TCP_25[..bytes])), expected, "{bytes} bytes");
        }
        assert_eq!(outcome(&packet(253, 0x2000, &[], &[])), Outcome::Other(Other::Ip));
    }

    #[test]
    fn early_later_fragments_of_tcp_are_opaque() {
        for more in [0, 0x2000] {
            for offset in [1, 2, 3, 34, 35, 256, 0x1fff] {
                let expected = if offset <= 2 { Outcome::Opaque(Opaque::Fragment) } else { Outcome::LaterFragment };
                assert_eq!(outcome(&packet(6, more | offset, &[], &TCP_25)), expected, "offset {offset}");
                assert_eq!(outcome(&packet(17, more | offset, &[], &TCP_25)), Outcome::LaterFragment, "UDP {offset}");
                let behind_ah = if offset < 35 { Outcome::Opaque(Opaque::Fragment) } else { Outcome::LaterFragment };
                assert_eq!(outcome(&packet(51, more | offset, &[], &TCP_25)), behind_ah, "AH {offset}");
            }
        }
    }

    #[test]
    fn the_reserved_and_do_not_fragment_bits_change_nothing() {
        for bits in [0x4000, 0x8000, 0xc000] {
            assert_eq!(outcome(&packet(6, bits, &[], &TCP_25)), PORTS_25, "{bits:#x}");
        }
    }

    #[test]
    fn authentication_headers_are_looked_through() {
        const AH_TO_TCP: [u8; 16] = [6, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(outcome(&packet(51, 0, &[], &[&AH_TO_TCP[..], &TCP_25].concat())), PORTS_25);
        assert_eq!(outcome(&packet(51, 0, &[], &AH_TO_TCP[..12])), Outcome::Opaque(Opaque::Malformed));
        assert_eq!(outcome(&packet(51, 0x2000, &[], &AH_TO_TCP[..12])), Outcome::Opaque(Opaque::Fragment));
    }

    #[test]
    fn source_routes_are_found_wherever_they_stand() {
        for (options, routed) in [
            (&[][..], false),
            (&[1, 1, 1, 0], false),
            (&[131, 3, 4, 0], true),
            (&[1, 137, 3, 4], true),
            (&[7, 3, 4, 131], true),
            (&[0, 131, 3, 4], false),
            (&[7, 0, 0, 0], true),
            (&[7, 9, 0, 0], true),
            (&[1, 1, 1, 7], true),
            (&[148, 4, 0, 0], false),
        ] {
            assert_eq!(has_source_route(options), routed, "{options:?}");
        }
    }
}
