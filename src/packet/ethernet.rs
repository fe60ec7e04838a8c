//! Ethernet II, VLAN tags (802.1Q, 802.1ad and their forerunners) and IP in 802.3 (RFC 1042).
//!
//! Stacked priority tags and LLC/SNAP are a known way past layer-2 filters (VU#855201, CVE-2021-27853): hosts and
//! access points unwrap them, so the box looks through them too.

use super::{Opaque, Other, Rest, Tunnel};
use crate::model::VlanId;

/// How many tags are looked through; one more hides everything behind it.
pub(super) const TAGS_MAX: usize = 2;

/// Smallest EtherType; below stands the length of an 802.3 frame (IEEE 802.3, 3.2.6).
const ETHER_TYPE_MIN: u16 = 0x0600;
pub(super) const ETHER_TYPE_IPV4: u16 = 0x0800;
pub(super) const ETHER_TYPE_ARP: u16 = 0x0806;
pub(super) const ETHER_TYPE_IPV6: u16 = 0x86dd;
const ETHER_TYPE_MPLS: u16 = 0x8847;
const ETHER_TYPE_MPLS_UPSTREAM: u16 = 0x8848;
const ETHER_TYPE_PPPOE_SESSION: u16 = 0x8864;
const ETHER_TYPE_MACSEC: u16 = 0x88e5;

/// What lies behind the Ethernet header, tags and LLC.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'f> {
    Ipv4(Rest<'f>),
    Ipv6(Rest<'f>),
    Arp(Rest<'f>),
    Other(Other),
    Opaque(Opaque),
}

/// The link layer of a frame.
pub(super) struct Link<'f> {
    pub(super) vlan: VlanId,
    pub(super) payload: Payload<'f>,
}

/// Looks through tags and 802.3 headers; `ether_type` is bytes 12 and 13 of the frame, `rest` what follows them.
#[inline]
pub(super) fn peel(mut ether_type: u16, mut rest: Rest<'_>) -> Link<'_> {
    let mut vlan = VlanId(0);
    let mut tags = 0;
    // At most TAGS_MAX + 1 rounds: each but the last consumes a tag.
    let payload = loop {
        match ether_type {
            ETHER_TYPE_IPV4 => break Payload::Ipv4(rest),
            ETHER_TYPE_IPV6 => break Payload::Ipv6(rest),
            tag if is_tag(tag) => {}
            length if length < ETHER_TYPE_MIN => match unwrap_802_3(rest) {
                Ok((inner, after)) if is_tag(inner) => rest = after,
                Ok((ETHER_TYPE_IPV4, after)) => break Payload::Ipv4(after),
                Ok((ETHER_TYPE_IPV6, after)) => break Payload::Ipv6(after),
                Ok((ETHER_TYPE_ARP, after)) => break Payload::Arp(after),
                Ok((inner, _)) => break Payload::Other(kind(inner)),
                Err(payload) => break payload,
            },
            ETHER_TYPE_ARP => break Payload::Arp(rest),
            other => break Payload::Other(kind(other)),
        }
        if tags == TAGS_MAX {
            break Payload::Opaque(Opaque::VlanDepth);
        }
        let Some((&[c0, c1, t0, t1], after)) = rest.split::<4>() else {
            break Payload::Opaque(Opaque::Malformed);
        };
        tags += 1;
        if vlan == VlanId(0) {
            vlan = VlanId(u16::from_be_bytes([c0, c1]) & 0x0fff);
        }
        (ether_type, rest) = (u16::from_be_bytes([t0, t1]), after);
    };
    Link { vlan, payload }
}

/// 802.1Q, 802.1ad, and the types that switches used for stacking before it (9100, 9200, 9300). Without a branch.
#[inline(always)]
pub(super) const fn is_tag(ether_type: u16) -> bool {
    (ether_type == 0x8100) | (ether_type == 0x88a8) | ((ether_type & 0xfcff == 0x9000) & (ether_type != 0x9000))
}

/// The EtherType inside an 802.3 frame and what follows it; the length field is not believed. `Err` is the payload of a
/// frame that carries no EtherType.
fn unwrap_802_3(rest: Rest<'_>) -> Result<(u16, Rest<'_>), Payload<'_>> {
    const CUT_SHORT: Payload<'_> = Payload::Opaque(Opaque::Malformed);
    match rest.peek::<3>().ok_or(CUT_SHORT)? {
        // SNAP (RFC 1042), OUI 00-00-00, or 00-00-F8 for bridge tunnel encapsulation (802.1H).
        [0xaa, 0xaa, 0x03] => {
            let (&[_, _, _, o0, o1, o2, t0, t1], after) = rest.split::<8>().ok_or(CUT_SHORT)?;
            match [o0, o1, o2] {
                [0, 0, 0 | 0xf8] => Ok((u16::from_be_bytes([t0, t1]), after)),
                _ => Err(Payload::Other(Other::Tunnel(Tunnel::Other))),
            }
        }
        // SAP 06 is IP without an EtherType, so the version says which; a wrong one is the IPv4 parser's to report.
        [0x06, _, 0x03] => {
            let after = rest.skip(3).ok_or(CUT_SHORT)?;
            let ether_type = match after.peek::<1>() {
                Some([0x60..=0x6f]) => ETHER_TYPE_IPV6,
                _ => ETHER_TYPE_IPV4,
            };
            Ok((ether_type, after))
        }
        _ => Err(Payload::Other(Other::NotIp)),
    }
}

/// What is known to carry no packet is named; anything else may be somebody's tag or tunnel.
#[inline(never)]
fn kind(ether_type: u16) -> Other {
    match ether_type {
        // RARP, Wake-on-LAN; pause frames, slow protocols; PPPoE discovery, EAPOL, LLDP, PTP, CFM; loopback tests.
        0x8035 | 0x0842 | 0x8808 | 0x8809 | 0x8863 | 0x888e | 0x88cc | 0x88f7 | 0x8902 | 0x9000 => Other::NotIp,
        ETHER_TYPE_MPLS | ETHER_TYPE_MPLS_UPSTREAM => Other::Tunnel(Tunnel::Mpls),
        ETHER_TYPE_PPPOE_SESSION => Other::Tunnel(Tunnel::Pppoe),
        ETHER_TYPE_MACSEC => Other::Tunnel(Tunnel::Macsec),
        _ => Other::Tunnel(Tunnel::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Packet, Ports};
    use super::*;

    fn parse(after_macs: &[u8]) -> Packet<'_> {
        let frame: &[u8] = Vec::leak([&[0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1], after_macs].concat());
        Packet::parse(frame, frame.len()).expect("not a runt")
    }

    /// IPv4 with a protocol that is not TCP: when it is reached, the outcome says so.
    const IPV4: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 5, 192, 0, 2, 1];

    #[test]
    fn five_types_are_tags() {
        let tags: Vec<u16> = (0..=u16::MAX).filter(|&it| is_tag(it)).collect();
        assert_eq!(tags, [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300]);
    }

    #[test]
    fn the_outermost_tag_with_an_id_names_the_vlan() {
        let reached = Outcome::Other(Other::Ip);
        for (bytes, vlan) in [
            (&[0x08, 0][..], 0),
            (&[0x81, 0, 0x20, 100, 0x08, 0], 100),
            (&[0x81, 0, 0xe0, 0, 0x81, 0, 0, 7, 0x08, 0], 7),
            (&[0x88, 0xa8, 0x0f, 0xff, 0x81, 0, 0, 7, 0x08, 0], 4095),
            (&[0x91, 0, 0, 1, 0x92, 0, 0, 2, 0x08, 0], 1),
            (&[0x93, 0, 0, 3, 0x08, 0], 3),
        ] {
            let packet = parse(Vec::leak([bytes, &IPV4].concat()));
            assert_eq!((packet.vlan, packet.outcome), (VlanId(vlan), reached), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_third_tag_hides_everything() {
        for inner in [&[0x08, 0x00][..], &[0x08, 0x06], &[0x81, 0x00]] {
            let tags = [&[0x81, 0, 0, 0, 0x81, 0, 0, 0, 0x81, 0, 0, 0], inner, &IPV4].concat();
            assert_eq!(parse(&tags).outcome, Outcome::Opaque(Opaque::VlanDepth), "{inner:02x?}");
        }
        assert_eq!(parse(&[0x81, 0, 0, 1, 0x88, 0xa8, 0, 2, 0x91, 0]).outcome, Outcome::Opaque(Opaque::VlanDepth));
    }

    #[test]
    fn a_tag_cut_short_is_malformed() {
        for bytes in [&[0x81, 0][..], &[0x81, 0, 0], &[0x81, 0, 0, 1, 0x08]] {
            assert_eq!(parse(bytes).outcome, Outcome::Opaque(Opaque::Malformed), "{bytes:02x?}");
        }
    }

    #[test]
    fn ip_in_802_3_is_looked_through() {
        const SNAP_IPV4: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
        const BRIDGE_TUNNEL_IPV4: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0xf8, 8, 0];
        const SNAP_TAG: [u8; 12] = [0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0, 0, 9, 8, 0];
        const SAP_06: [u8; 3] = [6, 6, 3];
        for length in [[0, 28], [0, 0], [5, 0xff]] {
            for llc in [&SNAP_IPV4[..], &BRIDGE_TUNNEL_IPV4, &SNAP_TAG, &SAP_06] {
                let frame = [&length[..], llc, &IPV4].concat();
                assert_eq!(parse(&frame).outcome, Outcome::Other(Other::Ip), "{length:?} {llc:02x?}");
                let tagged = [&[0x81, 0, 0, 0][..], &length, llc, &IPV4].concat();
                assert_eq!(parse(&tagged).outcome, Outcome::Other(Other::Ip), "tagged {length:?} {llc:02x?}");
            }
        }
    }

    #[test]
    fn other_802_3_frames_are_not_ip() {
        let other = Other::Tunnel(Tunnel::Other);
        for (llc, kind) in [
            (&[0x42, 0x42, 3][..], Other::NotIp),
            (&[0xaa, 0xaa, 3, 0, 0, 0, 8, 6], Other::NotIp),
            (&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0], other),
            (&[0xaa, 0xaa, 3, 0, 0x80, 0xc2, 0, 7], other),
            (&[0xaa, 0xaa, 3, 0, 0, 0, 0, 40], other),
        ] {
            let frame = [&[0, 40][..], llc, &IPV4].concat();
            assert_eq!(parse(&frame).outcome, Outcome::Other(kind), "{llc:02x?}");
        }
    }

    #[test]
    fn an_llc_or_snap_header_cut_short_is_malformed() {
        for llc in [&[][..], &[0xaa, 0xaa], &[0xaa, 0xaa, 3], &[0xaa, 0xaa, 3, 0, 0, 0, 8]] {
            let frame = [&[0, 40][..], llc].concat();
            assert_eq!(parse(&frame).outcome, Outcome::Opaque(Opaque::Malformed), "{llc:02x?}");
        }
    }

    #[test]
    fn a_wrong_version_behind_sap_06_is_malformed() {
        for version in (0..16).filter(|version| ![4, 6].contains(version)) {
            let frame = [&[0, 43, 6, 6, 3, version << 4 | 5][..], &[0; 60]].concat();
            assert_eq!(parse(&frame).outcome, Outcome::Opaque(Opaque::Malformed), "{version}");
        }
        assert_eq!(parse(&[0, 3, 6, 6, 3]).outcome, Outcome::Opaque(Opaque::Malformed), "nothing there");
    }

    #[test]
    fn the_version_behind_sap_06_says_which_ip_it_is() {
        let mut frame = [&[0, 63, 6, 6, 3, 0x60, 0, 0, 0, 0, 20, 6, 64][..], &[0x20; 32], &[0xc0, 0, 0, 25]].concat();
        frame.resize(frame.len() + 16, 0);
        let ports = Ports { source: 0xc000, destination: 25 };
        assert_eq!(parse(&frame).outcome, Outcome::Tcp(ports));
    }

    #[test]
    fn what_hides_ip_behind_another_type_is_counted_by_kind() {
        for (ether_type, kind) in [
            ([0x88, 0x47], Other::Tunnel(Tunnel::Mpls)),
            ([0x88, 0x64], Other::Tunnel(Tunnel::Pppoe)),
            ([0x88, 0xe5], Other::Tunnel(Tunnel::Macsec)),
            ([0x08, 0x06], Other::NotIp),
            ([0x88, 0xcc], Other::NotIp),
            ([0x88, 0xe7], Other::Tunnel(Tunnel::Other)),
            ([0x89, 0x3f], Other::Tunnel(Tunnel::Other)),
            ([0x89, 0x4f], Other::Tunnel(Tunnel::Other)),
            ([0x82, 0x00], Other::Tunnel(Tunnel::Other)),
            ([0x9a, 0x00], Other::Tunnel(Tunnel::Other)),
            ([0xda, 0xda], Other::Tunnel(Tunnel::Other)),
            ([0xc0, 0x28], Other::Tunnel(Tunnel::Other)),
        ] {
            assert_eq!(parse(&[&ether_type[..], &IPV4].concat()).outcome, Outcome::Other(kind), "{ether_type:02x?}");
        }
    }
}
