//! What a VM may tell its neighbours: nothing of an address that is somebody else's, and nothing that only routers and servers
//! say. One file a guard; each reads one kind of message.
//!
//! Guards look at what comes in by inside ports. The routers, servers and neighbours of the world are outside, and a router
//! that stands inside is in `via`.

mod arp;
mod dhcp;
mod nd;
mod ra;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::decide::opaque_reason;
use super::identity::{self, Named, Station};
use super::{DropReason, Snapshot};
use crate::model::{MacAddr, Scope, VlanId, Way};
use crate::packet::Message;

/// A guard, as `policy.guards` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// ARP.
    Arp,
    /// DHCP and DHCPv6.
    Dhcp,
    /// Neighbour discovery.
    Nd,
    /// Router advertisements and redirects.
    Ra,
}

/// The guards that look; all of them unless it is said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards(u8);

impl Default for Guards {
    fn default() -> Self {
        Guard::ALL.into_iter().collect()
    }
}

impl Guard {
    /// All of them, in the order in which they look: the first that objects names the drop.
    pub const ALL: [Self; 4] = [Self::Arp, Self::Dhcp, Self::Nd, Self::Ra];
}

impl Guards {
    /// Whether this one looks.
    #[must_use]
    pub const fn has(self, guard: Guard) -> bool {
        self.0 & 1 << guard as u8 != 0
    }

    /// Those that look.
    pub fn iter(self) -> impl Iterator<Item = Guard> {
        Guard::ALL.into_iter().filter(move |&guard| self.has(guard))
    }
}

impl FromIterator<Guard> for Guards {
    fn from_iter<I: IntoIterator<Item = Guard>>(guards: I) -> Self {
        Self(guards.into_iter().fold(0, |bits, guard| bits | 1 << guard as u8))
    }
}

/// Who sent a frame, as far as its station address tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    snapshot: Snapshot<'a>,
    way: Way,
    scope: Scope,
    mac: MacAddr,
    /// A router stands there.
    is_router: bool,
}

impl<'a> Sender<'a> {
    /// Of a frame with this source MAC.
    pub(super) fn of(snapshot: Snapshot<'a>, way: Way, vlan: VlanId, scope: Scope, mac: MacAddr) -> Self {
        let is_router = snapshot.settings.via.stands(way.link, vlan, mac);
        Self { snapshot, way, scope, mac, is_router }
    }

    /// Whose MAC it is; looked up when a message asks, which most do not.
    fn station(&self) -> Station {
        Station::of(self.is_router, self.snapshot.vms.vm_by_mac(self.scope, self.mac))
    }

    /// Whether this MAC, inside a message, is the sender's too: of the same VM, or where he is no VM the very same.
    fn has(&self, mac: MacAddr) -> bool {
        mac == self.mac
            || match self.station() {
                Station::Vm(vm) => self.snapshot.vms.vm_by_mac(self.scope, mac) == Some(vm),
                Station::Router | Station::Nobody => false,
            }
    }

    /// Whether he may say that this address is his: nothing contradicts it, and it is no protected one.
    fn may_claim(&self, address: IpAddr) -> bool {
        !self.is_protected(address) && !self.contradicts(address)
    }

    /// Whether it is an address of the link's gateways, which only routers claim.
    fn is_protected(&self, address: IpAddr) -> bool {
        !self.is_router && self.snapshot.settings.is_protected(self.way.link, address)
    }

    /// Whether any VM lists it.
    fn is_listed(&self, address: IpAddr) -> bool {
        self.snapshot.vms.vm_by_ip(self.scope, address).is_some()
    }

    /// Whether the identity table calls it a contradiction.
    fn contradicts(&self, address: IpAddr) -> bool {
        let owner = self.snapshot.vms.vm_by_ip(self.scope, address);
        let named = Named { station: self.station(), owner };
        let identity = identity::identify(self.snapshot, Some(address.into()), named);
        identity.finding.is_some_and(identity::Finding::is_contradiction)
    }
}

/// The reason of the first guard that objects. `source` is the message's source address.
pub(super) fn check(sender: &Sender<'_>, source: Option<IpAddr>, message: &Message<'_>) -> Option<DropReason> {
    let guards = sender.snapshot.settings.guards;
    if let Message::Hidden(opaque) = *message {
        return may_be_guarded(guards).then(|| opaque_reason(opaque));
    }
    guards.iter().find_map(|guard| {
        let (objects, reason) = match guard {
            Guard::Arp => (arp::objects(sender, message), DropReason::ArpGuard),
            Guard::Dhcp => (dhcp::objects(sender, message), DropReason::DhcpGuard),
            Guard::Nd => (nd::objects(sender, source, message), DropReason::NdGuard),
            Guard::Ra => (ra::objects(sender, message), DropReason::RaGuard),
        };
        objects.then_some(reason)
    })
}

/// Whether what cannot be read could be something that a guard wants to see (RFC 7113); ARP has no headers to hide behind.
fn may_be_guarded(guards: Guards) -> bool {
    [Guard::Dhcp, Guard::Nd, Guard::Ra].into_iter().any(|guard| guards.has(guard))
}
