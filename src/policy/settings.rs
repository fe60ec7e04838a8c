//! Everything that decides beside the VMs, as one immutable value. A change of settings is a new value, published like
//! one of VMs; workers borrow the one that belongs to their snapshot.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Class, Classes, Guards, Relay, Routers, TooManyClasses, VlanScopes};
use crate::model::{ClassId, Direction, LinkIndex, Mode, Scope, VlanId, Way};
use crate::packet::RefusalSources;

/// What may stand as a VM's public address, which lifts its restriction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublicIpv4 {
    /// Addresses that are public, so that an inventory which fills the field with private ones frees nobody.
    #[default]
    Public,
    /// Whatever a VM may have, for laboratories.
    Any,
}

/// What happens to a denied frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deny {
    /// It vanishes.
    #[default]
    Drop,
    /// It is dropped, and who sent it from inside is told, so that his connection fails at once.
    Reject,
}

/// How many answers one sender may cause on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectRate {
    /// In the long run, 1 to 1,000,000.
    pub per_second: u32,
    /// At once, 1 to 10,000.
    pub burst: u32,
}

impl Default for RejectRate {
    fn default() -> Self {
        Self { per_second: 100, burst: 20 }
    }
}

/// When it matters who a frame says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityLevel {
    /// Where a mail port or an opaque frame is judged.
    #[default]
    Mail,
    /// As `mail`, and what `strict` would drop is counted.
    Observe,
    /// Always, of whatever comes in by an inside port: guards and the identity table drop it, if it is not true.
    Strict,
}

/// Who said what policy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration file, at the start or read again.
    #[default]
    Configuration,
    /// Somebody over the control socket, since then.
    Socket,
}

/// What the configuration says of policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Named sets of closed ports.
    pub classes: Classes,
    /// Class of frames that no VM answers for.
    pub unknown_class: ClassId,
    /// When it matters who a frame says it is.
    pub identity: IdentityLevel,
    /// Who looks at what VMs tell their neighbours, where it always matters.
    pub guards: Guards,
    /// For each link, addresses that only its routers claim.
    pub protect: Vec<Vec<IpAddr>>,
    /// What happens to a denied frame, where its class does not say.
    pub deny: Deny,
    /// The box or a class rejects.
    pub rejects_at_all: bool,
    /// How many answers one sender may cause.
    pub reject_rate: RejectRate,
    /// For each link, what the box answers from.
    pub refusal_sources: Vec<RefusalSources>,
    /// The box's own mode.
    pub mode: Mode,
    /// What may stand as a VM's public address.
    pub public_ipv4: PublicIpv4,
    /// Whether frames from VMs are judged.
    pub judge_egress: bool,
    /// Whether frames to VMs are judged.
    pub judge_ingress: bool,
    /// Routers between VMs and box: behind them only the IP address identifies the VM.
    pub via: Routers,
    /// Peers that VMs may reach.
    pub relays: Vec<Relay>,
    /// For each link, the scopes of its VLANs.
    pub scopes: Vec<VlanScopes>,
    /// How links are called, by their index.
    pub links: Vec<String>,
    /// Who said so.
    pub origin: Origin,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            classes: Classes::default(),
            unknown_class: ClassId::RESTRICTED,
            identity: IdentityLevel::Mail,
            guards: Guards::default(),
            protect: Vec::new(),
            deny: Deny::Drop,
            rejects_at_all: false,
            reject_rate: RejectRate::default(),
            refusal_sources: Vec::new(),
            mode: Mode::Enforce,
            public_ipv4: PublicIpv4::Public,
            judge_egress: true,
            judge_ingress: true,
            via: Routers::default(),
            relays: Vec::new(),
            scopes: Vec::new(),
            links: Vec::new(),
            origin: Origin::Configuration,
        }
    }
}

impl Settings {
    /// The same, as what comes after `previous`: a class keeps the number that the class of its name has there, and a new
    /// one gets a number that none has there. So numbers mean the same to who reads the one and who reads the other, and
    /// what VMs' states say of classes need not be written anew.
    ///
    /// # Errors
    /// There are not enough numbers.
    pub fn following(&self, previous: &Self) -> Result<Self, TooManyClasses> {
        let classes = self.classes.following(&previous.classes)?;
        let unknown = &self.classes.get(self.unknown_class).name;
        let unknown_class = classes.find(unknown).unwrap_or(ClassId::RESTRICTED);
        Ok(Self { classes, unknown_class, ..self.clone() })
    }

    /// Whether frames of this direction are judged.
    #[inline]
    #[must_use]
    pub fn judges(&self, direction: Direction) -> bool {
        match direction {
            Direction::Egress => self.judge_egress,
            Direction::Ingress => self.judge_ingress,
        }
    }

    /// Whether rule 2 (strict) looks at frames of this direction.
    #[inline]
    #[must_use]
    pub fn always_asks_who(&self, direction: Direction) -> bool {
        self.identity != IdentityLevel::Mail && direction == Direction::Egress
    }

    /// Whether who sends what this class denies is told.
    #[inline]
    #[must_use]
    pub fn rejects(&self, class: &Class) -> bool {
        class.deny.unwrap_or(self.deny) == Deny::Reject
    }

    /// Every address that the box answers from on some link.
    #[must_use]
    pub fn refusal_addresses(&self) -> Vec<IpAddr> {
        let of = |sources: &RefusalSources| [sources.ipv4.map(IpAddr::V4), sources.ipv6.map(IpAddr::V6)];
        self.refusal_sources.iter().flat_map(of).flatten().collect()
    }

    /// What the box answers from on a link.
    #[must_use]
    pub fn refusal_sources(&self, link: LinkIndex) -> RefusalSources {
        self.refusal_sources.get(link.0).copied().unwrap_or_default()
    }

    /// Whether an address is one that only routers of this link claim.
    #[must_use]
    pub fn is_protected(&self, link: LinkIndex, address: IpAddr) -> bool {
        self.protect.get(link.0).is_some_and(|protected| protected.contains(&address))
    }

    /// Whether frames of some VLAN are refused on a link.
    #[inline]
    #[must_use]
    pub fn refuses_vlans(&self, link: LinkIndex) -> bool {
        self.scopes.get(link.0).is_some_and(VlanScopes::refuses)
    }

    /// The scope of a VLAN of a link; none if its frames are refused.
    #[inline]
    #[must_use]
    pub fn scope(&self, way: Way, vlan: VlanId) -> Option<Scope> {
        self.scopes.get(way.link.0).map_or(Some(Scope(0)), |scopes| scopes.get(vlan))
    }
}
