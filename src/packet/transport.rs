//! What IP carries: TCP and UDP ports, tunnels by kind.

use super::chain::End;
use super::{Opaque, Outcome, Rest};

/// The ports of a TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

/// What is certainly not TCP on the outside of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Not IP, and known to carry no packets: ARP, LLDP, STP.
    NotIp,
    /// UDP (RFC 768) that is no known tunnel.
    Udp(Ports),
    /// Something that carries packets inside; they are not judged.
    Tunnel(Tunnel),
    /// Any other protocol over IP: ICMP, SCTP, unknown ones.
    Ip,
}

/// Tunnels, by what carries them: a type of Ethernet's, a protocol of IP's, or a well-known UDP destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// PPPoE session frames (RFC 2516).
    Pppoe,
    /// MPLS (RFC 3032), or MPLS in IP (RFC 4023).
    Mpls,
    /// MACsec (802.1AE).
    Macsec,
    /// IPv4 in IP (RFC 2003, 2473).
    Ipip,
    /// IPv6 in IP (RFC 4213, 2473).
    SixInFour,
    /// GRE (RFC 2784).
    Gre,
    /// IPsec ESP (RFC 4303), bare or in UDP 4500 (RFC 3948).
    Esp,
    /// Ethernet in IP (RFC 3378).
    EtherIp,
    /// L2TP (RFC 3931), bare or in UDP 1701.
    L2tp,
    /// VXLAN (RFC 7348), UDP 4789, and 8472 as older Linux kernels have it.
    Vxlan,
    /// Geneve (RFC 8926), UDP 6081.
    Geneve,
    /// GTP-U (3GPP TS 29.281), UDP 2152.
    GtpU,
    /// Teredo (RFC 4380), UDP 3544.
    Teredo,
    /// WireGuard on its customary port, UDP 51820.
    Wireguard,
    /// Whatever else may carry packets: types, tags and SNAP organisations that the box does not know, and rare tunnels.
    Other,
}

/// Which part of a packet the box holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    FirstFragment,
}

pub(super) const PROTOCOL_ICMP: u8 = 1;
pub(super) const PROTOCOL_IGMP: u8 = 2;
const PROTOCOL_IPIP: u8 = 4;
pub(super) const PROTOCOL_TCP: u8 = 6;
pub(super) const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_GRE: u8 = 47;
const PROTOCOL_ESP: u8 = 50;
pub(super) const PROTOCOL_ICMPV6: u8 = 58;
const PROTOCOL_ETHERIP: u8 = 97;
const PROTOCOL_L2TP: u8 = 115;
const PROTOCOL_MPLS: u8 = 137;

/// TCP's fixed header (RFC 9293, 3.1). A first fragment must hold all of it (RFC 1858).
const TCP_HEADER_BYTES: usize = 20;

/// What a packet comes to whose headers were walked.
#[inline(always)]
pub(super) fn reached(upper: Result<End<'_>, Outcome>) -> Outcome {
    match upper {
        Ok(end) => outcome(end.protocol, end.payload, end.part),
        Err(outcome) => outcome,
    }
}

/// The outcome of a whole packet or first fragment that carries `protocol`.
#[inline]
pub(super) fn outcome(protocol: u8, payload: Rest<'_>, part: Part) -> Outcome {
    if protocol != PROTOCOL_TCP {
        return Outcome::Other(other(protocol, payload));
    }
    if part == Part::FirstFragment && payload.length < TCP_HEADER_BYTES {
        return Outcome::Opaque(Opaque::Fragment);
    }
    match ports(payload) {
        Some(ports) => Outcome::Tcp(ports),
        None => Outcome::Opaque(Opaque::Malformed),
    }
}

#[inline]
pub(super) fn ports(payload: Rest<'_>) -> Option<Ports> {
    let &[s0, s1, d0, d1] = payload.peek::<4>()?;
    Some(Ports { source: u16::from_be_bytes([s0, s1]), destination: u16::from_be_bytes([d0, d1]) })
}

#[inline(never)]
fn other(protocol: u8, payload: Rest<'_>) -> Other {
    match protocol {
        PROTOCOL_UDP => ports(payload)
            .map_or(Other::Ip, |ports| udp_tunnel(ports.destination).map_or(Other::Udp(ports), Other::Tunnel)),
        other => of_number(other),
    }
}

/// The tunnel whose UDP destination port it is.
#[must_use]
pub const fn udp_tunnel(port: u16) -> Option<Tunnel> {
    Some(match port {
        1701 => Tunnel::L2tp,
        2152 => Tunnel::GtpU,
        3544 => Tunnel::Teredo,
        4500 => Tunnel::Esp,
        4789 | 8472 => Tunnel::Vxlan,
        6081 => Tunnel::Geneve,
        51820 => Tunnel::Wireguard,
        // LISP (RFC 9300), VXLAN-GPE, GUE, MPLS in UDP (RFC 7510).
        4341 | 4790 | 6080 | 6635 => Tunnel::Other,
        _ => return None,
    })
}

/// What a protocol is that has no ports.
pub(super) const fn of_number(protocol: u8) -> Other {
    Other::Tunnel(match protocol {
        PROTOCOL_IPIP => Tunnel::Ipip,
        PROTOCOL_IPV6 => Tunnel::SixInFour,
        PROTOCOL_GRE => Tunnel::Gre,
        PROTOCOL_ESP => Tunnel::Esp,
        PROTOCOL_ETHERIP => Tunnel::EtherIp,
        PROTOCOL_L2TP => Tunnel::L2tp,
        PROTOCOL_MPLS => Tunnel::Mpls,
        // SwIPe, minimal encapsulation (RFC 2004), IPIP of KA9Q, ENCAP (RFC 1241), IPComp (RFC 3173), ROHC (RFC 5858),
        // Ethernet (RFC 8986), AGGFRAG (RFC 9347), NSH (RFC 9491).
        53 | 55 | 94 | 98 | 108 | 142..=145 => Tunnel::Other,
        _ => return Other::Ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(protocol: u8, payload: &[u8]) -> Outcome {
        outcome(protocol, Rest::new(payload, payload.len()), Part::Whole)
    }

    #[test]
    fn a_tcp_stump_without_ports_is_malformed() {
        for bytes in 0..20 {
            let expected = match bytes {
                0..4 => Outcome::Opaque(Opaque::Malformed),
                _ => Outcome::Tcp(Ports { source: 0x1919, destination: 0x1919 }),
            };
            assert_eq!(whole(PROTOCOL_TCP, &[0x19; 20][..bytes]), expected, "{bytes} bytes");
        }
    }

    #[test]
    fn tunnels_are_counted_by_kind() {
        for (protocol, kind) in [
            (4, Tunnel::Ipip),
            (41, Tunnel::SixInFour),
            (47, Tunnel::Gre),
            (50, Tunnel::Esp),
            (97, Tunnel::EtherIp),
            (115, Tunnel::L2tp),
            (137, Tunnel::Mpls),
            (53, Tunnel::Other),
            (55, Tunnel::Other),
            (94, Tunnel::Other),
            (98, Tunnel::Other),
            (108, Tunnel::Other),
            (142, Tunnel::Other),
            (143, Tunnel::Other),
            (144, Tunnel::Other),
            (145, Tunnel::Other),
        ] {
            assert_eq!(whole(protocol, &[0; 8]), Outcome::Other(Other::Tunnel(kind)), "protocol {protocol}");
        }
        for (port, kind) in [
            (1701u16, Tunnel::L2tp),
            (2152, Tunnel::GtpU),
            (3544, Tunnel::Teredo),
            (4500, Tunnel::Esp),
            (4789, Tunnel::Vxlan),
            (8472, Tunnel::Vxlan),
            (6081, Tunnel::Geneve),
            (51820, Tunnel::Wireguard),
            (4341, Tunnel::Other),
            (4790, Tunnel::Other),
            (6080, Tunnel::Other),
            (6635, Tunnel::Other),
        ] {
            let [d0, d1] = port.to_be_bytes();
            assert_eq!(whole(17, &[0xc0, 0, d0, d1]), Outcome::Other(Other::Tunnel(kind)), "UDP {port}");
        }
    }

    #[test]
    fn udp_keeps_its_ports_for_the_count() {
        assert_eq!(whole(17, &[0xc0, 1, 0, 25]), Outcome::Other(Other::Udp(Ports { source: 0xc001, destination: 25 })));
        assert_eq!(whole(17, &[0xc0, 1, 0]), Outcome::Other(Other::Ip), "too short for ports: not TCP all the same");
    }

    #[test]
    fn every_other_protocol_is_not_tcp() {
        let tunnels = [4, 41, 47, 50, 53, 55, 94, 97, 98, 108, 115, 137, 142, 143, 144, 145];
        for protocol in (0..=255u8).filter(|p| ![6, 17].contains(p) && !tunnels.contains(p)) {
            assert_eq!(whole(protocol, &[0, 25, 0, 25]), Outcome::Other(Other::Ip), "{protocol}");
        }
    }
}
