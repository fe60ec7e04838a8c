//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::Rest;
use crate::model::MacAddr;

/// Who says where he is, and whom he asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// The sender's station, which need not be the one that sent the frame.
    pub sender_mac: MacAddr,
    /// The sender's address; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// The address that is asked about.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Of protocol 0x0800 with addresses of 6 and 4 bytes, whatever its hardware type and opcode: hosts do not look at them
    /// either. Nothing if it is of another shape or is cut short.
    pub(super) fn read(packet: Rest<'_>) -> Option<Self> {
        let bytes = packet.peek::<28>()?;
        let (&[_, _, 0x08, 0x00, 6, 4, _, _], addresses) = bytes.split_first_chunk::<8>()? else { return None };
        let &[m0, m1, m2, m3, m4, m5, s0, s1, s2, s3, _, _, _, _, _, _, t0, t1, t2, t3] = addresses.first_chunk()?;
        Some(Self {
            sender_mac: MacAddr([m0, m1, m2, m3, m4, m5]),
            sender: Ipv4Addr::new(s0, s1, s2, s3),
            target: Ipv4Addr::new(t0, t1, t2, t3),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 28] =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 254];

    fn read(bytes: &[u8]) -> Option<Arp> {
        Arp::read(Rest::new(bytes, bytes.len()))
    }

    #[test]
    fn a_request_says_who_asks_about_whom() {
        let arp = Arp {
            sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            sender: Ipv4Addr::new(192, 0, 2, 1),
            target: Ipv4Addr::new(192, 0, 2, 254),
        };
        assert_eq!(read(&REQUEST), Some(arp));
        assert_eq!(read(&[&REQUEST[..], &[0; 18]].concat()), Some(arp), "padded");
        for at in [0, 1, 6, 7] {
            let mut other = REQUEST;
            other[at] ^= 0xff;
            assert_eq!(read(&other), Some(arp), "hardware type and opcode may be anything");
        }
    }

    #[test]
    fn other_shapes_and_what_is_cut_short_say_nothing() {
        for at in 2..6 {
            let mut other = REQUEST;
            other[at] ^= 0xff;
            assert_eq!(read(&other), None, "byte {at}");
        }
        for bytes in 0..28 {
            assert_eq!(read(&REQUEST[..bytes]), None, "{bytes} bytes");
        }
    }
}
