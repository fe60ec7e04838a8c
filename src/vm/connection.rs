//! A connection that somebody asks about, as the frame that would begin it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    IpHeaders, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder, PacketBuilderStep, VlanId,
    ip_number,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::record::{Vm, VmId};
use super::registry::Registry;
use crate::model::{Direction, MacAddr};

/// The first frame of a connection, from a VM's side or towards it; what is left out is as it mostly is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Whose it is: its first MAC and address, unless others are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
    /// The VM's MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// The VM's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The other end; somebody in the Internet unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The port that it goes to.
    pub destination_port: u16,
    /// The port that it comes from; 40000 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// The VLAN that it comes in by; none unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// TCP unless said.
    #[serde(default)]
    pub protocol: Protocol,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A SYN.
    #[default]
    Tcp,
    /// An empty datagram.
    Udp,
}

/// Why there is no such frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// No VM of that name.
    #[error("there is no VM {0}")]
    NoVm(VmId),
    /// Nothing says what the VM's address is.
    #[error("no address: name the VM (`vm`, --vm) or the address that it uses (`ip`, --ip)")]
    NoAddress,
    /// The VM has none of the family.
    #[error("VM {vm} lists no {family} address; name the one that it uses (`ip`)")]
    NoneOfFamily {
        /// Whose.
        vm: VmId,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// Two families.
    #[error("{ip} and {peer} are of two address families")]
    Families {
        /// The VM's.
        ip: IpAddr,
        /// The other end's.
        peer: IpAddr,
    },
    /// No VLAN.
    #[error("vlan: {0} is none; 1 to 4094 are possible")]
    Vlan(u16),
}

/// A VM that is known by addresses alone has some MAC all the same: one that is administered locally.
const SOME_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
/// The router beyond the box.
const GATEWAY_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);
/// Somebody in the Internet (RFC 5737), unless somebody else is named.
pub const PEER_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The same over IPv6 (RFC 3849).
pub const PEER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const SOURCE_PORT: u16 = 40_000;
const TTL: u8 = 64;

impl Connection {
    /// The frame that begins it: from the VM on egress, to it on ingress.
    ///
    /// # Errors
    /// Something is missing, or does not fit.
    pub fn frame(&self, registry: &Registry, direction: Direction) -> Result<Vec<u8>, ConnectionError> {
        let vm = match &self.vm {
            Some(id) => Some(registry.get(id).ok_or_else(|| ConnectionError::NoVm(id.clone()))?.1.as_ref()),
            None => None,
        };
        let ip = self.address(vm)?;
        let peer = self.peer.unwrap_or(match ip {
            IpAddr::V4(_) => PEER_IPV4.into(),
            IpAddr::V6(_) => PEER_IPV6.into(),
        });
        if self.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return Err(ConnectionError::Vlan(self.vlan.unwrap_or_default()));
        }
        let mac = self.mac.or_else(|| vm?.macs.first().copied()).unwrap_or(SOME_MAC);
        let (macs, addresses) = match direction {
            Direction::Egress => ((mac, GATEWAY_MAC), (ip, peer)),
            Direction::Ingress => ((GATEWAY_MAC, mac), (peer, ip)),
        };
        let network = match addresses {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = Ipv4Header::new(0, TTL, ip_number::TCP, source.octets(), destination.octets());
                IpHeaders::Ipv4(header.unwrap_or_default(), Ipv4Extensions::default())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    hop_limit: TTL,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, Ipv6Extensions::default())
            }
            _ => return Err(ConnectionError::Families { ip, peer }),
        };
        let ethernet = PacketBuilder::ethernet2(macs.0.0, macs.1.0);
        let vlan = self.vlan.and_then(|vlan| VlanId::try_new(vlan).ok());
        Ok(match vlan {
            Some(vlan) => self.segment(ethernet.single_vlan(vlan).ip(network)),
            None => self.segment(ethernet.ip(network)),
        })
    }

    /// The VM's end.
    fn address(&self, vm: Option<&Vm>) -> Result<IpAddr, ConnectionError> {
        match (self.ip, vm) {
            (Some(ip), _) => Ok(ip),
            (None, None) => Err(ConnectionError::NoAddress),
            (None, Some(vm)) => {
                let first = |net: IpNet| match net {
                    IpNet::V4(net) => IpAddr::V4(net.hosts().next().unwrap_or(net.addr())),
                    // The first address of a prefix is that of its routers (RFC 4291, 2.6.1).
                    IpNet::V6(net) if net.prefix_len() == 128 => IpAddr::V6(net.addr()),
                    IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from_bits(net.addr().to_bits() + 1)),
                };
                let is_wanted =
                    |net: &IpNet| self.peer.is_none_or(|peer| peer.is_ipv4() == matches!(net, IpNet::V4(_)));
                let public = vm.public_ipv4.map(|address| IpNet::from(IpAddr::V4(address)));
                let found = public.into_iter().chain(vm.prefixes()).find(is_wanted).map(first);
                found.ok_or_else(|| ConnectionError::NoneOfFamily {
                    vm: vm.id.clone(),
                    family: if self.peer.is_some_and(|peer| peer.is_ipv6()) { "IPv6" } else { "IPv4" },
                })
            }
        }
    }

    fn segment(&self, packet: PacketBuilderStep<IpHeaders>) -> Vec<u8> {
        let (source, destination) = (self.source_port.unwrap_or(SOURCE_PORT), self.destination_port);
        let mut bytes = Vec::new();
        let written = match self.protocol {
            Protocol::Tcp => packet.tcp(source, destination, 0, u16::MAX).syn().write(&mut bytes, &[]),
            Protocol::Udp => packet.udp(source, destination).write(&mut bytes, &[]),
        };
        debug_assert!(written.is_ok(), "nothing is too long: {written:?}");
        bytes
    }
}
