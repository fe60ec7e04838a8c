//! The IPv6 header (RFC 8200).

use super::chain::{self, End};
use super::transport::{self, Part};
use super::{Network, Opaque, Outcome, Rest};
use crate::model::Family;

/// What an IPv6 packet carries; `packet` begins at its header and may be followed by padding.
#[inline]
pub(super) fn parse(packet: Rest<'_>) -> (Network<'_>, Outcome) {
    let reached = |upper: Result<End<'_>, Outcome>| {
        let segments_left = upper.as_ref().is_ok_and(|end| end.segments_left);
        (segments_left, transport::reached(upper))
    };
    match walk(packet, reached) {
        Some((header, (segments_left, outcome))) => (Network::Ipv6 { header, segments_left }, outcome),
        None => (Network::Absent, Outcome::Opaque(Opaque::Malformed)),
    }
}

/// The header, and the protocol that the packet carries, or why it cannot be told; nothing if the header cannot be read.
pub(super) fn upper(packet: Rest<'_>) -> Option<(&[u8; 40], Result<End<'_>, Outcome>)> {
    walk(packet, |upper| upper)
}

/// As [`ipv4::walk`](super::ipv4); nothing if the header cannot be read.
#[inline(always)]
fn walk<'f, T>(packet: Rest<'f>, reached: impl Fn(Result<End<'f>, Outcome>) -> T) -> Option<(&'f [u8; 40], T)> {
    let (header, behind) = packet.split::<40>()?;
    let &[version, _, _, _, l0, l1, next, ..] = header;
    if version >> 4 != 6 {
        return None;
    }
    let payload = match u16::from_be_bytes([l0, l1]) {
        // A jumbogram (RFC 2675) or a segmentation offload's unfilled field: the packet ends with the frame.
        0 => Some(behind),
        bytes => behind.cut(usize::from(bytes)),
    };
    let said = match payload {
        None => reached(Err(Outcome::Opaque(Opaque::Malformed))),
        Some(payload) if next == transport::PROTOCOL_TCP => reached(Ok(End::at(next, payload, Part::Whole))),
        Some(payload) => reached(chain::walk(Family::Ipv6, next, payload, Part::Whole)),
    };
    Some((header, said))
}

#[cfg(test)]
mod tests {
    use super::super::{Other, Ports};
    use super::*;

    const TCP_25: [u8; 20] = [0xc0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];
    const PORTS_25: Outcome = Outcome::Tcp(Ports { source: 0xc000, destination: 25 });

    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x25]);
        bytes.extend(payload);
        bytes
    }

    fn outcome(packet: &[u8]) -> Outcome {
        parse(Rest::new(packet, packet.len())).1
    }

    #[test]
    fn plain_tcp_shows_its_ports() {
        assert_eq!(outcome(&packet(6, &TCP_25)), PORTS_25);
        assert_eq!(outcome(&packet(6, &TCP_25[..3])), Outcome::Opaque(Opaque::Malformed));
    }

    #[test]
    fn payload_length_zero_ends_with_the_frame() {
        let mut jumbo = packet(6, &TCP_25);
        jumbo[4..6].fill(0);
        assert_eq!(outcome(&jumbo), PORTS_25);
    }

    #[test]
    fn a_payload_beyond_the_frame_is_malformed() {
        let mut long = packet(6, &TCP_25);
        long[5] += 1;
        assert_eq!(outcome(&long), Outcome::Opaque(Opaque::Malformed));
        assert!(parse(Rest::new(&long, long.len())).0.addresses().is_some(), "its addresses can be read all the same");
    }

    #[test]
    fn bytes_behind_the_payload_are_ignored() {
        let mut padded = packet(6, &TCP_25[..2]);
        padded.extend([25; 18]);
        assert_eq!(outcome(&padded), Outcome::Opaque(Opaque::Malformed));
    }

    #[test]
    fn a_wrong_version_or_a_header_cut_short_hides_the_addresses() {
        let whole = packet(6, &TCP_25);
        for length in 0..40 {
            let (network, outcome) = parse(Rest::new(&whole[..length], length));
            assert_eq!(outcome, Outcome::Opaque(Opaque::Malformed));
            assert!(network.addresses().is_none());
        }
        for version in (0..16).filter(|&v| v != 6) {
            let mut wrong = whole.clone();
            wrong[0] = version << 4;
            let (network, outcome) = parse(Rest::new(&wrong, wrong.len()));
            assert_eq!(outcome, Outcome::Opaque(Opaque::Malformed), "version {version}");
            assert!(network.addresses().is_none());
        }
    }

    #[test]
    fn no_next_header_and_unknown_protocols_are_not_tcp() {
        for next in [59, 50, 58, 132, 253] {
            assert!(matches!(outcome(&packet(next, &TCP_25)), Outcome::Other(Other::Ip | Other::Tunnel(_))), "{next}");
        }
    }
}
