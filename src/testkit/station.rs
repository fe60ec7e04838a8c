//! Who talks in tests: VMs, and whom they talk to.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::model::MacAddr;

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// What it is called; [`NOBODY`] and [`PEER`] are no VMs.
    pub id: &'static str,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// What every frame from or to the uplink has on that end.
pub const GATEWAY_MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0xee, 0xee, 1]);
/// A router between VMs and box, where `via` lists it.
pub const ROUTER_MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0xff, 0xff, 1]);

/// A VM, for the world to say of which class.
pub const VM_A: Station = Station::vm("vm-a", 1);
/// Another VM.
pub const VM_B: Station = Station::vm("vm-b", 2);
/// A third VM.
pub const VM_C: Station = Station::vm("vm-c", 3);
/// A fourth VM.
pub const VM_D: Station = Station::vm("vm-d", 4);

/// A mail server somewhere.
pub const PEER: Station = Station {
    id: "peer",
    mac: GATEWAY_MAC,
    ipv4: Ipv4Addr::new(198, 51, 100, 7),
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7),
};
/// The provider's smarthost.
pub const RELAY: Station = Station {
    id: "relay",
    mac: GATEWAY_MAC,
    ipv4: Ipv4Addr::new(198, 51, 100, 25),
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x25),
};
/// Whom no inventory lists. Judged frames of such stations count as `unknown`.
pub const NOBODY: Station = Station {
    id: "unknown",
    mac: MacAddr([0x52, 0x54, 0, 0xdd, 0xdd, 1]),
    ipv4: Ipv4Addr::new(203, 0, 113, 99),
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1),
};

impl Station {
    /// `52:54:00:00:00:NN`, `192.0.2.NN`, `2001:db8::NN`.
    #[must_use]
    pub const fn vm(id: &'static str, number: u8) -> Self {
        Self {
            id,
            mac: MacAddr([0x52, 0x54, 0, 0, 0, number]),
            ipv4: Ipv4Addr::new(192, 0, 2, number),
            ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number as u16),
        }
    }

    /// The same with another MAC.
    #[must_use]
    pub const fn with_mac(self, mac: MacAddr) -> Self {
        Self { mac, ..self }
    }

    /// The same under somebody else's addresses.
    #[must_use]
    pub const fn with_ips_of(self, other: Self) -> Self {
        Self { ipv4: other.ipv4, ipv6: other.ipv6, ..self }
    }

    /// The same under another IPv6 address.
    #[must_use]
    pub const fn with_ipv6(self, ipv6: Ipv6Addr) -> Self {
        Self { ipv6, ..self }
    }
}
