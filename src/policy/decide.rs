//! The pure function that decides, in the order of the contract. First match wins.
//!
//! [`decide`] is all of it, in two steps: [`examine`] says what a frame is, and settles most frames by that; [`judge`] says
//! what the VM's class makes of the others. The data plane takes the first step for all frames of a burst before it takes
//! the second for any, so that what must be looked up is on its way meanwhile; and it lets a burst go by
//! [`batch`](super::batch) before either, which gives the same answers to the many simple frames sooner.

use std::net::IpAddr;

use super::grant::grant;
use super::identity::{self, Finding, Identity, Named, Sought, vm_side};
use super::strict::{examine_strictly, judge_strictly};
use super::{Class, DropReason, Observed, PortSet, Settings, Snapshot, Tally, Verdict};
use crate::model::{Direction, IpWords, MacAddr, Mode, Scope, VmIndex, Way};
use crate::packet::{Opaque, Other, Outcome, Packet, Ports, Segment, Tunnel};

/// A frame that must be judged: the evidence, without the frame.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Which way it travels.
    pub direction: Direction,
    /// Where its VM is looked up.
    pub scope: Scope,
    /// The VM's station address: source on egress, destination on ingress.
    pub mac: MacAddr,
    /// The VM's IP address, when it can be read.
    pub(super) address: Option<IpWords>,
    /// The other end's IP address, when it can be read.
    pub(super) peer: Option<IpWords>,
    /// A router stands behind that MAC.
    pub is_router: bool,
    /// The sender chose the path (IPv4 source route, routing header with segments left).
    pub(super) source_routed: bool,
    /// What it wants.
    pub subject: Subject,
    /// What rule 2 (strict) wants to know.
    pub(super) check: Check,
}

/// What a frame wants that somebody may deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// TCP ports, of which some class closes one.
    Tcp(Ports),
    /// Ports that cannot be known.
    Opaque(Opaque),
    /// Nothing: it is neither TCP nor opaque (rule 3), or its ports matter to nobody (rule 4). Counted as this.
    Passing(Option<Observed>),
}

/// What rule 2 (strict) wants to know of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing.
    Nothing,
    /// Whether the identity table contradicts it.
    Identity,
    /// Nothing more: a guard has objected.
    Guard(DropReason),
}

impl Case {
    /// The evidence in a whole frame, where anybody asks for it.
    pub fn find(snapshot: Snapshot<'_>, way: Way, frame: &[u8]) -> Option<Self> {
        let examined = match snapshot.settings.always_asks_who(way.direction) {
            true => examine_strictly(snapshot, way, frame, frame.len()),
            false => examine(snapshot.settings, way, frame, frame.len()),
        };
        match examined {
            Examined::Case(case) => Some(case),
            Examined::Settled(..) => None,
        }
    }

    /// The case that [`examine`](super::examine) makes of a [`Segment`]; nothing if the frame is none, or [`examine`](super::examine)
    /// settles it.
    #[inline(always)]
    #[must_use]
    pub fn of_segment(settings: &Settings, way: Way, head: &[u8]) -> Option<Self> {
        let direction = way.direction;
        let Segment { vlan, macs, addresses, ports } = Segment::at(head)?;
        let scope = settings.scope(way, vlan)?;
        if !settings.judges(direction) || !matters(settings, direction, ports) {
            return None;
        }
        let (mac, _) = vm_side(direction, macs.0, macs.1);
        let (address, peer) = vm_side(direction, addresses.0, addresses.1);
        Some(Self {
            direction,
            scope,
            mac,
            address: Some(address),
            peer: Some(peer),
            is_router: settings.via.stands(way.link, vlan, mac),
            source_routed: false,
            subject: Subject::Tcp(ports),
            check: Check::Nothing,
        })
    }

    /// The port that a denial for this reason is about, if it is about one.
    #[must_use]
    pub fn denied_port(&self, reason: DropReason) -> Option<u16> {
        let Subject::Tcp(ports) = self.subject else { return None };
        reason.port(self.direction, ports.source, ports.destination)
    }

    /// The VM's IP address, when it can be read.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address.map(Into::into)
    }

    /// The other end's IP address, when it can be read.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer.map(Into::into)
    }

    /// Whether its sender chose the path, so that it may go elsewhere afterwards.
    #[must_use]
    pub const fn is_source_routed(&self) -> bool {
        self.source_routed
    }

    #[inline(always)]
    pub(super) fn of(settings: &Settings, way: Way, packet: &Packet<'_>, scope: Scope, subject: Subject) -> Self {
        let direction = way.direction;
        let mac = match direction {
            Direction::Egress => packet.source_mac(),
            Direction::Ingress => packet.destination_mac(),
        };
        let ends = packet.network.ends().map(|(source, destination)| vm_side(direction, source, destination));
        Self {
            direction,
            scope,
            mac,
            is_router: settings.via.stands(way.link, packet.vlan, mac),
            address: ends.map(|(address, _)| address),
            peer: ends.map(|(_, peer)| peer),
            source_routed: packet.network.is_source_routed(),
            subject,
            check: Check::Nothing,
        }
    }

    /// Begins to look up whose it is: asks the CPU for what [`look_up`](Self::look_up) will read.
    #[inline(always)]
    pub fn seek(&self, snapshot: Snapshot<'_>) -> Sought {
        Sought::begin(snapshot, self)
    }

    /// As [`seek`](Self::seek), where it is known which VM lists the MAC.
    #[inline(always)]
    pub fn seek_address(&self, snapshot: Snapshot<'_>, vm: Option<VmIndex>) -> Sought {
        Sought::begin_from(snapshot, self, vm)
    }

    /// As [`seek`](Self::seek), never inlined: where nobody asks who everybody is, the one other caller has it inlined then.
    #[inline(never)]
    pub fn seek_strictly(&self, snapshot: Snapshot<'_>) -> Sought {
        self.seek(snapshot)
    }

    /// Whose it is by MAC and address; asks the CPU for what [`judge`] will read. `sought` was begun by the same snapshot.
    #[inline(always)]
    pub fn look_up(&self, snapshot: Snapshot<'_>, sought: &Sought) -> Named {
        Named::look_up(snapshot, self, sought)
    }
}

/// What a frame is, before anybody asks whose.
#[derive(Clone, Copy, Debug)]
pub enum Examined {
    /// Settled without the VM.
    Settled(Verdict, Option<Observed>),
    /// To be judged.
    Case(Case),
}

/// What became of a judged frame, and on what grounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Forward, or drop and why.
    pub verdict: Verdict,
    /// Whose frame it was taken for.
    pub identity: Identity,
    /// How it counts for that VM.
    pub tally: Tally,
    /// What it is counted as beside, as what no rule but the second objects to.
    pub observed: Option<Observed>,
    /// It is dropped, and its sender is to be told, if it can be.
    pub rejects: bool,
}

impl Judgement {
    /// What it is counted as beside its verdict and finding.
    #[inline]
    #[must_use]
    pub const fn beside(&self) -> Option<Observed> {
        match self.tally {
            Tally::Excepted => Some(Observed::Excepted),
            Tally::Allowed | Tally::Denied | Tally::WouldDeny => self.observed,
        }
    }
}

/// The whole answer for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Settled without the VM.
    Settled(Verdict, Option<Observed>),
    /// Judged by the VM's class.
    Judged(Judgement),
}

impl Decision {
    /// Whether its sender is to be told that it was denied.
    #[inline]
    #[must_use]
    pub const fn rejects(&self) -> bool {
        match *self {
            Self::Settled(..) => false,
            Self::Judged(judgement) => judgement.rejects,
        }
    }

    /// For whom it counts, if it was judged; none is the unknown VM.
    #[inline]
    #[must_use]
    pub const fn vm(&self) -> Option<VmIndex> {
        match *self {
            Self::Settled(..) => None,
            Self::Judged(judgement) => judgement.identity.vm,
        }
    }

    /// Forward, or drop and why.
    pub const fn verdict(&self) -> Verdict {
        match *self {
            Self::Settled(verdict, _) => verdict,
            Self::Judged(judgement) => judgement.verdict,
        }
    }
}

/// Decides about one frame: `head` holds its first bytes, `length` is its true length (see [`Packet::parse`]).
pub fn decide(snapshot: Snapshot<'_>, way: Way, head: &[u8], length: usize) -> Decision {
    let named = |case: &Case| case.look_up(snapshot, &case.seek(snapshot));
    if snapshot.settings.always_asks_who(way.direction) {
        return match examine_strictly(snapshot, way, head, length) {
            Examined::Settled(verdict, observed) => Decision::Settled(verdict, observed),
            Examined::Case(case) => judge_strictly(snapshot, &case, named(&case)),
        };
    }
    match examine(snapshot.settings, way, head, length) {
        Examined::Settled(verdict, observed) => Decision::Settled(verdict, observed),
        Examined::Case(case) => Decision::Judged(judge(snapshot, &case, named(&case))),
    }
}

/// The rules that need no VM. Inlined, so that a case is written once, where it is kept: to copy what was just written piece by
/// piece makes the CPU wait.
#[inline(always)]
pub fn examine(settings: &Settings, way: Way, head: &[u8], length: usize) -> Examined {
    let settled = |verdict, observed| Examined::Settled(verdict, observed);
    let Ok(packet) = Packet::parse(head, length) else {
        return settled(Verdict::Drop(DropReason::Runt), None);
    };
    let Some(scope) = settings.scope(way, packet.vlan) else {
        return settled(refused(settings), None);
    };
    let subject = match packet.outcome {
        Outcome::Tcp(ports) if !matters(settings, way.direction, ports) => return settled(Verdict::Forward, None),
        Outcome::Tcp(ports) => Subject::Tcp(ports),
        Outcome::Opaque(reason) => Subject::Opaque(reason),
        Outcome::Other(other) => return settled(Verdict::Forward, observe(settings, other)),
        Outcome::LaterFragment => return settled(Verdict::Forward, Some(Observed::LaterFragment)),
    };
    if settings.judges(way.direction) {
        Examined::Case(Case::of(settings, way, &packet, scope, subject))
    } else {
        settled(Verdict::Forward, None)
    }
}

/// What becomes of a refused VLAN's frame.
pub(super) const fn refused(settings: &Settings) -> Verdict {
    match settings.mode {
        Mode::Enforce => Verdict::Drop(DropReason::ScopeRefused),
        Mode::Monitor => Verdict::WouldDrop(DropReason::ScopeRefused),
    }
}

/// The rules that need the VM. `named` is what [`Case::look_up`] found in the same snapshot.
#[inline(always)]
pub fn judge(snapshot: Snapshot<'_>, case: &Case, named: Named) -> Judgement {
    by_class(snapshot, case, identity::identify(snapshot, case.address, named))
}

/// What the identity and the class say of a closed port or an opaque frame.
#[inline(always)]
pub(super) fn by_class(snapshot: Snapshot<'_>, case: &Case, identity: Identity) -> Judgement {
    let settings = snapshot.settings;
    let denial = denial(&(settings, &identity), case);
    let (verdict, tally) = match denial {
        _ if grant(snapshot, &identity, case).is_some() => (Verdict::Forward, Tally::Excepted),
        None => (Verdict::Forward, Tally::Allowed),
        Some(reason) => {
            let reason = identity.finding.map_or(reason, |finding| name_drop(snapshot, identity, *case, finding));
            if identity.is_monitored(settings) {
                (Verdict::WouldDrop(reason), Tally::WouldDeny)
            } else {
                (Verdict::Drop(reason), Tally::Denied)
            }
        }
    };
    let rejects = settings.rejects_at_all && tally == Tally::Denied && rejects(settings, identity, *case);
    Judgement { verdict, identity, tally, observed: None, rejects }
}

/// What is closed to a frame. Not two closures, which the compiler would call, and keep in memory what they look at.
pub(super) trait Closed {
    /// Whether a port is.
    fn closes(&self, port: u16) -> bool;
    /// Whether any is.
    fn closes_any(&self) -> bool;
}

impl Closed for (&Settings, &Identity) {
    #[inline(always)]
    fn closes(&self, port: u16) -> bool {
        self.1.closes(self.0, port)
    }

    #[inline(always)]
    fn closes_any(&self) -> bool {
        self.1.closes_any(self.0)
    }
}

impl Closed for PortSet {
    fn closes(&self, port: u16) -> bool {
        self.contains(port)
    }

    fn closes_any(&self) -> bool {
        !self.is_empty()
    }
}

/// Rules 7 (destination, opaque) and 8 (source).
#[inline(always)]
pub(super) fn denial(closed: &impl Closed, case: &Case) -> Option<DropReason> {
    match case.subject {
        Subject::Opaque(opaque) => closed.closes_any().then(|| opaque_reason(opaque)),
        Subject::Tcp(ports) if closed.closes(ports.destination) => Some(DropReason::PortClosed),
        Subject::Tcp(ports) if case.direction == Direction::Ingress && closed.closes(ports.source) => {
            Some(DropReason::ReplyClosed)
        }
        Subject::Tcp(_) | Subject::Passing(_) => None,
    }
}

/// Whether who sent a denied frame from inside is to be told: every class that closes its port must want that, and nothing may
/// say that it was sent by somebody else. An opaque frame has no port to speak of.
#[inline(never)]
fn rejects(settings: &Settings, identity: Identity, case: Case) -> bool {
    let Subject::Tcp(ports) = case.subject else { return false };
    let is_forged = identity.finding.is_some_and(Finding::is_contradiction);
    case.direction == Direction::Egress && !is_forged && identity.all_that_close_reject(settings, ports.destination)
}

/// Whether any class closes a port that counts in this direction.
pub(super) fn matters(settings: &Settings, direction: Direction, ports: Ports) -> bool {
    settings.classes.any_closes(ports.destination)
        || (direction == Direction::Ingress && settings.classes.any_closes(ports.source))
}

/// The reason of a denied frame with a finding: the finding where the drop rests on it; what the class says where each VM
/// that the evidence names would have been denied it anyway, be it by another rule. Who sends a contradiction from inside
/// has no excuse; what comes in with one was sent by a router.
#[inline(never)]
fn name_drop(snapshot: Snapshot<'_>, identity: Identity, case: Case, finding: Finding) -> DropReason {
    if finding.is_contradiction() && case.direction == Direction::Egress {
        return finding.drop_reason();
    }
    let denial_of = |class, mode| {
        let Class { ports, mode: class_mode, .. } = snapshot.settings.classes.get(class);
        let enforced = mode == Mode::Enforce && *class_mode == Mode::Enforce;
        if enforced { denial(ports, &case) } else { None }
    };
    let other = identity.other.map(|other| snapshot.vms.state(other));
    match denial_of(identity.class, identity.mode) {
        Some(reason) if other.is_none_or(|other| denial_of(other.class, other.mode).is_some()) => reason,
        _ => finding.drop_reason(),
    }
}

/// The reason that an opaque frame is dropped for.
pub(super) const fn opaque_reason(opaque: Opaque) -> DropReason {
    match opaque {
        Opaque::Malformed => DropReason::OpaqueMalformed,
        Opaque::Fragment => DropReason::OpaqueFragment,
        Opaque::HeaderChain => DropReason::OpaqueHeaderChain,
        Opaque::VlanDepth => DropReason::OpaqueVlanDepth,
    }
}

/// What to count of a frame that is certainly not TCP.
pub(super) fn observe(settings: &Settings, other: Other) -> Option<Observed> {
    match other {
        Other::NotIp | Other::Ip => None,
        Other::Udp(ports) => settings.classes.any_closes(ports.destination).then_some(Observed::UdpMail),
        Other::Tunnel(tunnel) => Some(match tunnel {
            Tunnel::Pppoe => Observed::TunnelPppoe,
            Tunnel::Mpls => Observed::TunnelMpls,
            Tunnel::Macsec => Observed::TunnelMacsec,
            Tunnel::Ipip => Observed::TunnelIpip,
            Tunnel::SixInFour => Observed::TunnelSixInFour,
            Tunnel::Gre => Observed::TunnelGre,
            Tunnel::Esp => Observed::TunnelEsp,
            Tunnel::EtherIp => Observed::TunnelEtherIp,
            Tunnel::L2tp => Observed::TunnelL2tp,
            Tunnel::Vxlan => Observed::TunnelVxlan,
            Tunnel::Geneve => Observed::TunnelGeneve,
            Tunnel::GtpU => Observed::TunnelGtpU,
            Tunnel::Teredo => Observed::TunnelTeredo,
            Tunnel::Wireguard => Observed::TunnelWireguard,
            Tunnel::Other => Observed::TunnelOther,
        }),
    }
}
