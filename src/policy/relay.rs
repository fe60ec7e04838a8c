//! Relays: peers that every VM may reach, or every VM of a tenant.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Parted, PortSet};
use crate::model::{Scope, VmIndex};

/// A peer that VMs may reach, as the provider's smarthost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Unique; for people.
    pub name: String,
    /// Where it is.
    pub at: RelayAt,
    /// The ports it may be reached on.
    pub ports: PortSet,
}

/// Where a relay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayAt {
    /// At these addresses.
    Prefix(IpNet),
    /// Where a VM is.
    Vm {
        /// Its name.
        id: String,
        /// Only VMs of its tenant may reach it.
        tenant: bool,
    },
}

/// A relay as workers have it: where its VM is now, and who may reach it.
#[derive(Clone, Debug)]
pub struct RelayInForce {
    /// Unique; for people.
    pub name: Box<str>,
    /// Its addresses, whatever scope a frame is of.
    pub anywhere: Vec<IpNet>,
    /// Its addresses for frames of one scope.
    pub within: Option<(Scope, Vec<IpNet>)>,
    /// The ports it may be reached on.
    pub ports: Arc<PortSet>,
    /// Who may reach it; everybody if nothing is said.
    pub members: Option<Members>,
}

/// The VMs of a tenant.
#[derive(Clone, Debug)]
pub struct Members {
    /// The tenant; a VM that has none has no fellows.
    pub tenant: Option<Box<str>>,
    /// The VMs.
    pub vms: Parted<()>,
}

impl RelayInForce {
    /// Whether a peer is this relay, for frames of a scope.
    #[must_use]
    pub fn is_at(&self, scope: Scope, peer: IpAddr) -> bool {
        let among = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&peer));
        among(&self.anywhere) || self.within.as_ref().is_some_and(|(own, nets)| *own == scope && among(nets))
    }

    /// Whether a VM may reach it; none is an unknown one.
    #[must_use]
    pub fn serves(&self, vm: Option<VmIndex>) -> bool {
        match (&self.members, vm) {
            (None, _) => true,
            (Some(members), Some(vm)) => members.vms.get(vm).is_some(),
            (Some(_), None) => false,
        }
    }
}
