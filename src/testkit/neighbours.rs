//! What stations tell their neighbours: ARP and neighbour discovery, byte by byte.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::frame::FrameBuilder;
use crate::model::MacAddr;

const ARP: u16 = 0x0806;
const ICMPV6: u8 = 58;

impl FrameBuilder {
    /// An ARP request (RFC 826) from this station and address, about that one.
    #[must_use]
    pub fn arp(self, sender_mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        let request = [0, 1, 8, 0, 6, 4, 0, 1];
        let (sender, target) = (sender.octets(), target.octets());
        self.ether(ARP, &[&request[..], &sender_mac.0, &sender, &[0; 6], &target].concat())
    }

    /// A message of neighbour discovery (RFC 4861) about a target, with options; over IPv6.
    #[must_use]
    pub fn neighbour(self, kind: u8, target: Ipv6Addr, options: &[Vec<u8>]) -> Self {
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &options.concat()].concat();
        self.ipv6().protocol(ICMPV6, &message)
    }

    /// A router solicitation with options.
    #[must_use]
    pub fn router_solicitation(self, options: &[Vec<u8>]) -> Self {
        self.ipv6().protocol(ICMPV6, &[&[133, 0, 0, 0, 0, 0, 0, 0][..], &options.concat()].concat())
    }
}

/// An option of neighbour discovery that holds a MAC: source (1) or target link-layer address (2).
#[must_use]
pub fn link_layer_option(kind: u8, mac: MacAddr) -> Vec<u8> {
    [&[kind, 1][..], &mac.0].concat()
}
