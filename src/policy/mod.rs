//! What the box decides, and why: the contract of `docs/policy.md` in code.
//!
//! One line to remember: **mail ports fail closed, everything else fails open, and both are counted.** One pure
//! function decides ([`decide`]); the data plane, `replay` and every explanation call it, so they cannot disagree.
//!
//! Where the contract leaves room, this is what we do:
//! - *Which reason names a denied frame with a finding?* A contradiction (`spoof_ip`, `spoof_mac`) always names the
//!   drop, since no class was established. `missing_evidence` names it where the VM's own class would have left the
//!   port open; where that class closes it anyway, the reason is the class's (`port_closed`, `opaque_*`): more evidence
//!   would not have helped the tenant.
//! - *Which VM counts a contradicted frame?* The one its MAC names, else the one its IP address names.
//! - *Monitor mode* of a VM or class needs a frame without any finding; the box's own covers every judged frame.
//! - *The unknown class* in monitor mode watches unknown frames too: nothing contradicts them.
//! - *A relay* covers an unrestricted VM's frames as well (the first match decides, so they count as `excepted`). On
//!   ingress it covers its answers only: it never opens a VM's own closed port.
//! - *Addresses of an opaque frame can be read* when the IP version is right and the fixed header is there. Where they
//!   cannot, a router's or an unlisted MAC names nobody: what `restricted` closes is closed beside the unknown class.
//! - *A VM that lists no address* is known by its MAC alone, from a link-local address (fe80::/10) too.
//! - *A direction that is not judged* forwards everything but runts; what is seen on the way is still counted.

mod batch;
mod class;
mod decide;
mod explain;
mod identity;
mod verdict;

use std::net::IpAddr;

use ipnet::IpNet;

pub use batch::{Answer, ByClass, Question, Sieved, sieve};
pub use class::{
    Class, Classes, MAIL_PORTS, PortRange, PortRangeError, PortSet, RESTRICTED, TooManyClasses, UNRESTRICTED,
};
pub use decide::{Decision, Judgement, decide};
pub use explain::{ClassBecause, VmFacts, explain};
pub use identity::{Finding, Identity};
pub use verdict::{DropReason, Observed, Tally, Verdict};

use crate::model::{ClassId, Direction, LinkIndex, MacAddr, Mode, Scope, VlanId};

/// A peer that every VM may reach, as the provider's smarthost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Unique; for people.
    pub name: String,
    /// Where it is.
    pub prefix: IpNet,
    /// The ports it may be reached on.
    pub ports: PortSet,
}

/// Everything that decides beside the VM table; immutable while workers use it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Named sets of closed ports.
    pub classes: Classes,
    /// Class of frames that no VM answers for.
    pub unknown_class: ClassId,
    /// The box's own mode.
    pub mode: Mode,
    /// Whether frames from VMs are judged.
    pub judge_egress: bool,
    /// Whether frames to VMs are judged.
    pub judge_ingress: bool,
    /// Routers between VMs and box, ascending: behind them only the IP address identifies the VM.
    pub via: Vec<MacAddr>,
    /// Peers that every VM may reach.
    pub relays: Vec<Relay>,
    /// For each link, the scopes of its VLANs.
    pub scopes: Vec<VlanScopes>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            classes: Classes::default(),
            unknown_class: ClassId::RESTRICTED,
            mode: Mode::Enforce,
            judge_egress: true,
            judge_ingress: true,
            via: Vec::new(),
            relays: Vec::new(),
            scopes: Vec::new(),
        }
    }
}

impl Policy {
    /// Whether frames of this direction are judged.
    #[inline]
    #[must_use]
    pub fn judges(&self, direction: Direction) -> bool {
        match direction {
            Direction::Egress => self.judge_egress,
            Direction::Ingress => self.judge_ingress,
        }
    }

    /// The scope of a VLAN of a link.
    #[inline]
    #[must_use]
    pub fn scope(&self, link: LinkIndex, vlan: VlanId) -> Scope {
        self.scopes.get(link.0).map_or(Scope(0), |scopes| scopes.get(vlan))
    }

    /// Whether a relay covers this peer on any port.
    #[inline]
    #[must_use]
    pub fn is_relay(&self, peer: IpAddr) -> bool {
        self.relays.iter().any(|relay| relay.prefix.contains(&peer))
    }

    /// The relay that covers this peer and port.
    #[must_use]
    pub fn relay(&self, peer: IpAddr, port: u16) -> Option<&Relay> {
        self.relays.iter().find(|relay| relay.prefix.contains(&peer) && relay.ports.contains(port))
    }
}

/// The scopes of a link's VLANs; 0 where the configuration says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VlanScopes(Vec<(VlanId, Scope)>);

impl VlanScopes {
    /// Scope of a VLAN; [`VlanId`] 0 stands for untagged frames.
    #[inline]
    #[must_use]
    pub fn get(&self, vlan: VlanId) -> Scope {
        if self.0.is_empty() {
            return Scope(0);
        }
        let found = self.0.binary_search_by_key(&vlan.0, |(vlan, _)| vlan.0);
        found.ok().and_then(|at| self.0.get(at)).map_or(Scope(0), |&(_, scope)| scope)
    }
}

impl FromIterator<(VlanId, Scope)> for VlanScopes {
    fn from_iter<I: IntoIterator<Item = (VlanId, Scope)>>(scopes: I) -> Self {
        let mut list: Vec<_> = scopes.into_iter().collect();
        list.sort_by_key(|(vlan, _)| vlan.0);
        Self(list)
    }
}
