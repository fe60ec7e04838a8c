//! The virtual machines the box knows: the writable truth about them and the table that workers read.

pub mod lines;
pub mod quiescent;
pub mod record;
pub mod registry;
mod sync;
pub mod table;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::packet::MacAddr;

/// Position of a VM in the table, from 0; below the table's capacity. Given out by the registry, reused after a VM
/// is deleted and no worker can see it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmIndex(pub u32);

/// Tenants on different VLANs may use the same addresses: every look-up is (scope, address). The configuration maps
/// a link's VLANs to scopes; 0 unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Scope(pub u16);

/// Position of a class in the configuration's list of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u8);

impl ClassId {
    /// The built-in class of VMs without a public IPv4 address.
    pub const RESTRICTED: Self = Self(0);
    /// The built-in class of VMs with one: no port is closed.
    pub const UNRESTRICTED: Self = Self(1);
}

/// Whether a denied frame is dropped or only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Denied frames are dropped.
    #[default]
    Enforce,
    /// Denied frames are forwarded and counted as `would_deny`.
    Monitor,
}

/// What workers know of a VM beside its keys: enough to judge a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmState {
    /// Effective class: the override, or what the public address says.
    pub class: ClassId,
    /// The VM's own mode.
    pub mode: Mode,
    /// The inventory lists at least one MAC.
    pub lists_macs: bool,
    /// The inventory lists at least one IPv4 address or prefix.
    pub lists_ipv4: bool,
    /// The inventory lists at least one IPv6 address or prefix.
    pub lists_ipv6: bool,
    /// An IPv4 address that the inventory lists in full length, so that a frame which comes from it needs no look-up by
    /// address; 0.0.0.0, which no inventory lists, if there is none.
    pub ipv4: Ipv4Addr,
}

/// What a VM is found by. Equal keys belong to one VM; nested prefixes are different keys (the longest wins).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A station address within a scope.
    Mac(Scope, MacAddr),
    /// An address (a prefix of full length) or prefix within a scope; host bits are zero.
    Prefix(Scope, IpNet),
}

impl Key {
    /// The key of one address: its prefix of full length.
    #[must_use]
    pub fn address(scope: Scope, address: IpAddr) -> Self {
        Self::Prefix(scope, IpNet::from(address))
    }
}
