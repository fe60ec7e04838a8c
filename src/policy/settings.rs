//! Everything that decides beside the VMs, as one immutable value. A change of settings is a new value, published like
//! one of VMs; workers borrow the one that belongs to their snapshot.

use std::net::IpAddr;

use super::{Classes, Relay, VlanScopes};
use crate::model::{ClassId, Direction, MacAddr, Mode, Scope, VlanId, Way};

/// What the configuration says of policy.
#[derive(Clone, Debug)]
pub struct Settings {
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

impl Default for Settings {
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

impl Settings {
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
    pub fn scope(&self, way: Way, vlan: VlanId) -> Scope {
        self.scopes.get(way.link.0).map_or(Scope(0), |scopes| scopes.get(vlan))
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
