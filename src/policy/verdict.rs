//! What can happen to a frame. One list each of drop reasons, observations and per-VM tallies feeds the enums, the
//! counters and every name that people see.

use crate::model::Direction;

/// Declares an enum of unit variants, each with its public name and the sentence that explains it.
macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident $name:literal $meaning:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $enum { $(#[doc = $meaning] $variant,)+ }

        impl $enum {
            /// All of them, in the order of the documentation.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name in JSON, metrics, logs and documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, as a sentence.
            #[allow(dead_code, reason = "nothing explains the tallies of VMs yet")]
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

named! {
    /// Why a frame was dropped. Every dropped frame has exactly one reason.
    DropReason {
        PortClosed "port_closed" "The destination port is closed for the VM's class.",
        ReplyClosed "reply_closed" "Arrived from outside from a port that is closed for the VM's class.",
        OpaqueMalformed "opaque_malformed" "A length or version is impossible, or a header is cut short: it may hide a closed port.",
        OpaqueFragment "opaque_fragment" "A fragment that may hide or overwrite the TCP ports.",
        OpaqueHeaderChain "opaque_header_chain" "More than 8 headers or 256 bytes before the transport header, or two fragment headers.",
        OpaqueVlanDepth "opaque_vlan_depth" "A third VLAN tag hides what the frame carries.",
        SpoofIp "spoof_ip" "The MAC belongs to one VM and the IP address to another or to nobody.",
        SpoofMac "spoof_mac" "The IP address belongs to a VM, the MAC to nobody, and that VM lists its MACs.",
        MissingEvidence "missing_evidence" "The MAC names a VM but nothing confirms that the IP address is its own.",
        ScopeRefused "scope_refused" "In a VLAN that the configuration refuses on this link.",
        ArpGuard "arp_guard" "ARP that claims an address or MAC of somebody else (identity = strict).",
        NdGuard "nd_guard" "Neighbour discovery that claims an address or MAC of somebody else (identity = strict).",
        RaGuard "ra_guard" "A router advertisement or redirect from a station that is no router (identity = strict).",
        DhcpGuard "dhcp_guard" "A DHCP server's message from a VM (identity = strict).",
        Runt "runt" "Fewer than 14 bytes: no Ethernet header.",
        TxFull "tx_full" "The other port's transmit queue stayed full.",
        Shutdown "shutdown" "Received, but the process was told to stop before it could be sent.",
    }
}

impl DropReason {
    /// Whether it is a port that is closed; other denials may show one, and would be the same with another.
    #[must_use]
    pub const fn is_of_a_port(self) -> bool {
        matches!(self, Self::PortClosed | Self::ReplyClosed)
    }

    /// The port that a denial for this reason is about, of a TCP segment; none if it is about no one port.
    #[must_use]
    pub const fn port(self, direction: Direction, source: u16, destination: u16) -> Option<u16> {
        match (self, direction) {
            (Self::ReplyClosed, _) => Some(source),
            (Self::PortClosed, _) | (_, Direction::Egress) => Some(destination),
            // Which of the two was closed is not told.
            (_, Direction::Ingress) => None,
        }
    }
}

named! {
    /// What was seen on frames that were not dropped for it; outside the balance.
    Observed {
        SpoofIp "spoof_ip" "Forwarded, though the MAC belongs to one VM and the IP address to another or to nobody.",
        SpoofMac "spoof_mac" "Forwarded, though the IP address belongs to a VM that lists its MACs and the MAC is not among them.",
        MissingEvidence "missing_evidence" "Forwarded, though nothing confirms that the IP address is the VM's own.",
        UdpMail "udp_mail" "UDP to a port that some class closes for TCP.",
        Excepted "excepted" "A relay or an exception covered the frame.",
        WouldDeny "would_deny" "Forwarded because it is only watched (monitor mode, identity = observe); else it would have been denied.",
        LaterFragment "later_fragment" "A later fragment that can hold no ports; without its first fragment nothing can be reassembled.",
        TunnelPppoe "tunnel_pppoe" "PPPoE session frames; the inside is not judged.",
        TunnelMpls "tunnel_mpls" "MPLS frames, or MPLS in IP; the inside is not judged.",
        TunnelMacsec "tunnel_macsec" "MACsec frames; the inside is not judged.",
        TunnelIpip "tunnel_ipip" "IPv4 in IP; the inside is not judged.",
        TunnelSixInFour "tunnel_6in4" "IPv6 in IP; the inside is not judged.",
        TunnelGre "tunnel_gre" "GRE; the inside is not judged.",
        TunnelEsp "tunnel_esp" "IPsec ESP, bare or in UDP 4500; the inside is not judged.",
        TunnelEtherIp "tunnel_etherip" "Ethernet in IP; the inside is not judged.",
        TunnelL2tp "tunnel_l2tp" "L2TP, bare or in UDP 1701; the inside is not judged.",
        TunnelVxlan "tunnel_vxlan" "VXLAN (UDP 4789, 8472); the inside is not judged.",
        TunnelGeneve "tunnel_geneve" "Geneve (UDP 6081); the inside is not judged.",
        TunnelGtpU "tunnel_gtp_u" "GTP-U (UDP 2152); the inside is not judged.",
        TunnelTeredo "tunnel_teredo" "Teredo (UDP 3544); the inside is not judged.",
        TunnelWireguard "tunnel_wireguard" "WireGuard (UDP 51820); the inside is not judged.",
        TunnelOther "tunnel_other" "Another type, tag or protocol that may carry packets; the inside is not judged.",
        RejectSent "reject_sent" "The box answered a denied frame with an ICMP error or TCP RST (deny = reject).",
        RejectSuppressed "reject_suppressed" "A reply was withheld by the rate limit (deny = reject).",
    }
}

named! {
    /// How a judged frame counts for its VM.
    Tally {
        Allowed "allowed" "Judged and forwarded.",
        Denied "denied" "Judged and dropped.",
        Excepted "excepted" "Forwarded because a relay or an exception covers it.",
        WouldDeny "would_deny" "Forwarded because it is only watched (monitor mode, identity = observe); enforced, it would have been denied.",
    }
}

/// What happens to a frame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves by the other port of its link, unchanged.
    Forward,
    /// It is dropped and counted under this reason.
    Drop(DropReason),
    /// It leaves like any other, because somebody only watches: enforced, it would be dropped for this reason.
    WouldDrop(DropReason),
}

impl Verdict {
    /// Why it is dropped, or would be.
    #[must_use]
    pub const fn reason(self) -> Option<DropReason> {
        match self {
            Self::Forward => None,
            Self::Drop(reason) | Self::WouldDrop(reason) => Some(reason),
        }
    }

    /// Whether the frame leaves.
    #[must_use]
    pub const fn forwards(self) -> bool {
        matches!(self, Self::Forward | Self::WouldDrop(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_reasons_are_the_documented_ones() {
        let names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(
            names.join(" "),
            "port_closed reply_closed opaque_malformed opaque_fragment opaque_header_chain opaque_vlan_depth spoof_ip \
             spoof_mac missing_evidence scope_refused arp_guard nd_guard ra_guard dhcp_guard runt tx_full shutdown"
        );
    }

    #[test]
    fn positions_are_stable_indexes() {
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
        for (at, observed) in Observed::ALL.into_iter().enumerate() {
            assert_eq!(observed as usize, at);
        }
    }
}
