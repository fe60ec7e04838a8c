//! Whose frame is it? Privilege needs agreeing evidence; missing evidence means restricted.

use super::{Case, DropReason, Observed, Settings, Snapshot};
use crate::model::{ClassId, Direction, Family, IpWords, Mode, VmIndex};
use crate::table::{self, Prefix, VmState};

/// What is wrong with a frame's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The MAC says one VM, the IP address another or nobody.
    SpoofIp,
    /// The IP address says a VM that lists MACs, and the MAC is nobody's.
    SpoofMac,
    /// Nothing confirms that the IP address is the VM's own.
    MissingEvidence,
}

impl Finding {
    /// The two pieces of evidence exclude each other.
    #[must_use]
    pub const fn is_contradiction(self) -> bool {
        matches!(self, Self::SpoofIp | Self::SpoofMac)
    }

    /// The reason of a drop that rests on this finding.
    #[must_use]
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::SpoofIp => DropReason::SpoofIp,
            Self::SpoofMac => DropReason::SpoofMac,
            Self::MissingEvidence => DropReason::MissingEvidence,
        }
    }

    /// How a forwarded frame with this finding is counted.
    #[must_use]
    pub const fn observed(self) -> Observed {
        match self {
            Self::SpoofIp => Observed::SpoofIp,
            Self::SpoofMac => Observed::SpoofMac,
            Self::MissingEvidence => Observed::MissingEvidence,
        }
    }
}

/// Whose frame it is, and what is closed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The VM that counts the frame; `None` is the unknown one.
    pub vm: Option<VmIndex>,
    /// The class of that VM, or the class of unknown frames.
    pub class: ClassId,
    /// Classes whose ports are closed beside those of `class`.
    pub also: [Option<ClassId>; 2],
    /// The VM that the address names where the MAC names `vm`: a contradiction.
    pub other: Option<VmIndex>,
    /// What is wrong with the evidence.
    pub finding: Option<Finding>,
    /// The VM's own mode.
    pub mode: Mode,
    /// The VM has exceptions.
    pub has_exceptions: bool,
}

impl Identity {
    /// Whether `port` is closed for the frame.
    #[inline(always)]
    #[must_use]
    pub fn closes(&self, settings: &Settings, port: u16) -> bool {
        self.any_class(|class| settings.classes.get(class).ports.contains(port))
    }

    /// Whether any port at all is closed for the frame.
    #[inline(always)]
    #[must_use]
    pub fn closes_any(&self, settings: &Settings) -> bool {
        self.any_class(|class| !settings.classes.get(class).ports.is_empty())
    }

    /// Whether a denied frame is forwarded all the same. The mode of a VM or class counts only where nothing is wrong
    /// with the identity, else one VM's monitor mode would change something for another.
    #[inline(always)]
    #[must_use]
    pub fn is_monitored(&self, settings: &Settings) -> bool {
        let own = self.finding.is_none()
            && (self.mode == Mode::Monitor || settings.classes.get(self.class).mode == Mode::Monitor);
        own || settings.mode == Mode::Monitor
    }

    /// Whether each class that closes `port` wants its sender to be told.
    #[must_use]
    pub fn all_that_close_reject(&self, settings: &Settings, port: u16) -> bool {
        !self.any_class(|class| {
            let class = settings.classes.get(class);
            class.ports.contains(port) && !settings.rejects(class)
        })
    }

    #[inline(always)]
    fn any_class(&self, closes: impl Fn(ClassId) -> bool) -> bool {
        closes(self.class) || self.also.iter().flatten().any(|&class| closes(class))
    }
}

/// What the MAC says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Station {
    Vm(VmIndex),
    Router,
    #[default]
    Nobody,
}

impl Station {
    /// Of the VM that lists it. No VM lists a router's, but one of another link or VLAN may.
    #[inline(always)]
    pub(super) fn of(is_router: bool, vm: Option<VmIndex>) -> Self {
        match vm {
            _ if is_router => Self::Router,
            Some(vm) => Self::Vm(vm),
            None => Self::Nobody,
        }
    }
}

/// Whose a frame is, on its way to be looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sought {
    station: Lister,
    prefix: Prefix,
}

/// The VM that lists a MAC.
#[derive(Clone, Copy, Debug)]
enum Lister {
    Sought(table::Station),
    Known(Option<VmIndex>),
}

impl Default for Lister {
    fn default() -> Self {
        Self::Known(None)
    }
}

impl Sought {
    /// Asks the CPU for what [`Named::look_up`] will read.
    #[inline(always)]
    pub(super) fn begin(snapshot: Snapshot<'_>, case: &Case) -> Self {
        let station = Lister::Sought(snapshot.vms.seek_mac(case.scope, case.mac));
        Self { station, prefix: Self::prefix(snapshot, case) }
    }

    /// As [`begin`](Self::begin), where it is known which VM lists the MAC.
    #[inline(always)]
    pub(super) fn begin_from(snapshot: Snapshot<'_>, case: &Case, vm: Option<VmIndex>) -> Self {
        Self { station: Lister::Known(vm), prefix: Self::prefix(snapshot, case) }
    }

    #[inline(always)]
    fn prefix(snapshot: Snapshot<'_>, case: &Case) -> Prefix {
        match case.address {
            Some(address) => snapshot.vms.seek_ip(case.scope, address),
            None => Prefix::NONE,
        }
    }
}

/// Who MAC and address say that it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named {
    pub(super) station: Station,
    pub(super) owner: Option<VmIndex>,
}

impl Named {
    /// Looks up both, and asks the CPU for what [`identify`] will read.
    #[inline(always)]
    pub(super) fn look_up(snapshot: Snapshot<'_>, case: &Case, sought: &Sought) -> Self {
        let vms = snapshot.vms;
        let lister = match sought.station {
            Lister::Sought(station) => vms.vm_at(station),
            Lister::Known(vm) => vm,
        };
        let station = Station::of(case.is_router, lister);
        let owner = case.address.and_then(|address| vms.vm_within(case.scope, address, sought.prefix));
        let named = Self { station, owner };
        if let Some(vm) = named.vm() {
            vms.seek_state(vm);
        }
        named
    }

    /// Whose frame it will be taken for.
    #[inline(always)]
    pub fn vm(self) -> Option<VmIndex> {
        match self.station {
            Station::Vm(vm) => Some(vm),
            Station::Router | Station::Nobody => self.owner,
        }
    }
}

/// Reads the identity table of the contract. `named` was looked up in the same snapshot, `address` where it can be read.
#[inline(always)]
pub(super) fn identify(snapshot: Snapshot<'_>, address: Option<IpWords>, named: Named) -> Identity {
    let Snapshot { vms, settings, .. } = snapshot;
    let Named { station, owner } = named;
    match (station, owner) {
        (Station::Vm(a), Some(b)) if a == b => of(a, vms.state(a)),
        (Station::Vm(a), Some(b)) => {
            let of_a = contradiction(Finding::SpoofIp, a, vms.state(a));
            Identity { also: [Some(ClassId::RESTRICTED), Some(vms.state(b).class)], other: Some(b), ..of_a }
        }
        (Station::Vm(a), None) => {
            let state = vms.state(a);
            let lists_family = match address {
                Some(address) if is_link_local(address) => false,
                Some(IpWords { family: Family::Ipv4, .. }) => state.lists_ipv4,
                Some(IpWords { family: Family::Ipv6, .. }) => state.lists_ipv6,
                None => false,
            };
            if !state.lists_ipv4 && !state.lists_ipv6 {
                of(a, state)
            } else if lists_family {
                contradiction(Finding::SpoofIp, a, state)
            } else {
                missing_evidence(of(a, state))
            }
        }
        (Station::Router, Some(b)) => of(b, vms.state(b)),
        (Station::Nobody, Some(b)) => match vms.state(b) {
            state if state.lists_macs => contradiction(Finding::SpoofMac, b, state),
            state => of(b, state),
        },
        (Station::Router | Station::Nobody, None) => {
            let (class, mode) = (settings.unknown_class, Mode::Enforce);
            let unknown =
                Identity { vm: None, class, also: [None; 2], other: None, finding: None, mode, has_exceptions: false };
            if address.is_some() { unknown } else { missing_evidence(unknown) }
        }
    }
}

/// The evidence agrees.
#[inline]
fn of(vm: VmIndex, state: VmState) -> Identity {
    let VmState { class, mode, has_exceptions, .. } = state;
    Identity { vm: Some(vm), class, also: [None; 2], other: None, finding: None, mode, has_exceptions }
}

/// Nothing confirms `identity`: what `restricted` closes is closed too.
fn missing_evidence(identity: Identity) -> Identity {
    Identity { also: [Some(ClassId::RESTRICTED), None], finding: Some(Finding::MissingEvidence), ..identity }
}

/// A contradiction never gains: closed is what `restricted` closes and what every class that the evidence names closes.
fn contradiction(finding: Finding, vm: VmIndex, state: VmState) -> Identity {
    Identity { also: [Some(ClassId::RESTRICTED), None], finding: Some(finding), ..of(vm, state) }
}

/// fe80::/10 (RFC 4291, 2.5.6): every IPv6 station has such addresses, no inventory lists them.
fn is_link_local(address: IpWords) -> bool {
    address.family == Family::Ipv6 && address.upper >> 54 == 0xfe80 >> 6
}

/// Which end of a frame is the VM.
#[inline(always)]
pub(super) fn vm_side<T>(direction: Direction, source: T, destination: T) -> (T, T) {
    match direction {
        Direction::Egress => (source, destination),
        Direction::Ingress => (destination, source),
    }
}
