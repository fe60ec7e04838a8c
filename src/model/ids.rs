//! Numbers, each of a type of its own.

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

/// The id of a VLAN, 1..=4095; 0 for none (a priority tag alone names no VLAN).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanId(pub u16);

/// Position of a link in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkIndex(pub usize);

/// How many changes were committed since start-up: VMs and policy alike, a transaction counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);
