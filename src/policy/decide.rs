//! The pure function that decides, in the order of the contract. First match wins.
//!
//! [`decide`] is all of it. A burst goes by [`sieve`] first, which takes out the many frames that need not even be
//! parsed in full, and may have [`fetch_ahead`] ask for table lines before they are read.

use std::net::IpAddr;

use super::identity::{self, Evidence, Finding, Identity, vm_side};
use super::{Direction, DropReason, LinkIndex, Observed, Policy, Tally, Verdict};
use crate::packet::{self, MacAddr, Opaque, Other, Outcome, Packet, Ports, Runt, Tunnel};
use crate::vm::table::Snapshot;

/// A frame that must be judged: the evidence, without the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// Which way it travels.
    pub(super) direction: Direction,
    /// The VM's station address: source on egress, destination on ingress.
    pub(super) mac: MacAddr,
    /// The VM's IP address, when it can be read.
    pub(super) address: Option<IpAddr>,
    /// The other end's IP address, when it can be read.
    pub(super) peer: Option<IpAddr>,
    /// The sender chose the path (IPv4 source route, routing header with segments left).
    pub(super) source_routed: bool,
    /// The ports, or why they cannot be known.
    pub(super) subject: Result<Ports, Opaque>,
}

impl Case {
    /// The evidence in a whole frame; nothing if it has neither ports nor hides any.
    pub(super) fn find(direction: Direction, frame: &[u8]) -> Option<Self> {
        let packet = Packet::parse(frame, frame.len()).ok()?;
        let subject = match packet.outcome {
            Outcome::Tcp(ports) => Ok(ports),
            Outcome::Opaque(reason) => Err(reason),
            Outcome::Other(_) | Outcome::LaterFragment => return None,
        };
        Some(Self::of(direction, &packet, subject))
    }

    #[inline(never)]
    fn of(direction: Direction, packet: &Packet<'_>, subject: Result<Ports, Opaque>) -> Self {
        let (mac, _) = vm_side(direction, packet.source_mac(), packet.destination_mac());
        let ends = packet.network.addresses().map(|(source, destination)| vm_side(direction, source, destination));
        Self {
            direction,
            mac,
            address: ends.map(|(address, _)| address),
            peer: ends.map(|(_, peer)| peer),
            source_routed: packet.network.is_source_routed(),
            subject,
        }
    }
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
    /// Forward, or drop and why.
    pub const fn verdict(&self) -> Verdict {
        match *self {
            Self::Settled(verdict, _) => verdict,
            Self::Judged(judgement) => judgement.verdict,
        }
    }
}

/// Decides about one frame: `head` holds its first bytes, `length` is its true length (see [`Packet::parse`]).
pub fn decide(
    policy: &Policy,
    snapshot: Snapshot<'_>,
    link: LinkIndex,
    direction: Direction,
    head: &[u8],
    length: usize,
) -> Decision {
    decide_then(policy, snapshot, (link, direction), head, length, |decision| decision)
}

/// [`decide`], and what is done about it. `then` is compiled into the short and into the long way, so that on the short
/// one neither evidence nor decision passes through memory.
#[inline(always)]
pub fn decide_then<R>(
    policy: &Policy,
    snapshot: Snapshot<'_>,
    entry: (LinkIndex, Direction),
    head: &[u8],
    length: usize,
    then: impl FnOnce(Decision) -> R,
) -> R {
    match Packet::of_plain_ipv4(head) {
        Some(packet) => then(decide_packet(policy, snapshot, entry, &packet)),
        None => then(decide_parsed(policy, snapshot, entry, head, length)),
    }
}

#[inline(never)]
fn decide_parsed(
    policy: &Policy,
    snapshot: Snapshot<'_>,
    entry: (LinkIndex, Direction),
    head: &[u8],
    length: usize,
) -> Decision {
    match Packet::parse(head, length) {
        Ok(packet) => decide_packet(policy, snapshot, entry, &packet),
        Err(Runt) => Decision::Settled(Verdict::Drop(DropReason::Runt), None),
    }
}

#[inline(always)]
fn decide_packet(
    policy: &Policy,
    snapshot: Snapshot<'_>,
    entry: (LinkIndex, Direction),
    packet: &Packet<'_>,
) -> Decision {
    // Rules 2 to 4 need no VM; the others do.
    match packet.outcome {
        Outcome::Tcp(ports) if !matters(policy, entry.1, ports) => Decision::Settled(Verdict::Forward, None),
        Outcome::Tcp(ports) => judge(policy, snapshot, entry, packet, Ok(ports)),
        Outcome::Opaque(reason) => judge(policy, snapshot, entry, packet, Err(reason)),
        Outcome::Other(other) => Decision::Settled(Verdict::Forward, observe(policy, other)),
        Outcome::LaterFragment => Decision::Settled(Verdict::Forward, Some(Observed::LaterFragment)),
    }
}

/// A closed port or an opaque frame: the VM decides. What nearly every such frame is decided by is here, and goes from
/// the frame to the verdict through registers; the rest is in [`judge_rest`].
#[inline(always)]
fn judge(
    policy: &Policy,
    snapshot: Snapshot<'_>,
    (link, direction): (LinkIndex, Direction),
    packet: &Packet<'_>,
    subject: Result<Ports, Opaque>,
) -> Decision {
    if !policy.judges(direction) {
        return Decision::Settled(Verdict::Forward, None);
    }
    let scope = policy.scope(link, packet.vlan);
    let (mac, _) = vm_side(direction, packet.source_mac(), packet.destination_mac());
    let address = packet.network.addresses().map(|(source, destination)| vm_side(direction, source, destination).0);
    let evidence = Evidence::of(policy, snapshot, scope, mac, address);
    Decision::Judged(match evidence.agreed(snapshot) {
        Some(identity) if policy.relays.is_empty() => {
            conclude(policy, identity, denial(policy, &identity, direction, subject))
        }
        _ => judge_rest(policy, snapshot, &Case::of(direction, packet, subject), evidence),
    })
}

#[inline(never)]
fn judge_rest(policy: &Policy, snapshot: Snapshot<'_>, case: &Case, evidence: Evidence) -> Judgement {
    let identity = identity::identify(policy, snapshot, case.address, evidence);
    let denial = denial(policy, &identity, case.direction, case.subject);
    if is_relayed(policy, &identity, case, denial) {
        return Judgement { verdict: Verdict::Forward, identity, tally: Tally::Excepted };
    }
    let named = match identity.finding {
        None => denial,
        Some(finding) => denial.map(|_| name_drop(policy, &identity, case, finding)),
    };
    conclude(policy, identity, named)
}

/// The verdict, if this is what the rules say before monitor mode is asked.
#[inline(always)]
fn conclude(policy: &Policy, identity: Identity, denial: Option<DropReason>) -> Judgement {
    let (verdict, tally) = match denial {
        None => (Verdict::Forward, Tally::Allowed),
        Some(_) if identity.is_monitored(policy) => (Verdict::Forward, Tally::WouldDeny),
        Some(reason) => (Verdict::Drop(reason), Tally::Denied),
    };
    Judgement { verdict, identity, tally }
}

/// Rules 7 and 8.
#[inline(always)]
fn denial(
    policy: &Policy,
    identity: &Identity,
    direction: Direction,
    subject: Result<Ports, Opaque>,
) -> Option<DropReason> {
    denial_where(direction, subject, |port| match port {
        Some(port) => identity.closes(policy, port),
        None => identity.closes_any(policy),
    })
}

/// Rules 7 and 8, where `closes` says what is closed: a port, or any at all.
#[inline(always)]
fn denial_where(
    direction: Direction,
    subject: Result<Ports, Opaque>,
    closes: impl Fn(Option<u16>) -> bool,
) -> Option<DropReason> {
    match subject {
        Err(opaque) => closes(None).then(|| opaque_reason(opaque)),
        Ok(ports) if closes(Some(ports.destination)) => Some(DropReason::PortClosed),
        Ok(ports) if direction == Direction::Ingress && closes(Some(ports.source)) => Some(DropReason::ReplyClosed),
        Ok(_) => None,
    }
}

/// Asks the CPU for the table lines that deciding about a frame will read. Each key is hashed twice in the end, which
/// pays when many waits overlap. Of the common shape only: other frames would have to be parsed for it.
#[inline(always)]
pub fn fetch_ahead(policy: &Policy, snapshot: Snapshot<'_>, (link, direction): (LinkIndex, Direction), head: &[u8]) {
    if let Some(packet) = Packet::of_plain_ipv4(head).or_else(|| Packet::of_plain_ipv6(head)) {
        let scope = policy.scope(link, packet.vlan);
        snapshot.prefetch_mac(scope, vm_side(direction, packet.source_mac(), packet.destination_mac()).0);
        if let Some((source, destination)) = packet.network.addresses() {
            snapshot.prefetch_ip(scope, vm_side(direction, source, destination).0);
        }
    }
}

/// A bit for each frame of a burst (at most 64) that [`decide`] must see. The many others it would forward without a
/// word: of the common shape, and of ports that no class closes. Sieving them out costs a few dozen instructions a frame
/// and no branch on what a sender chooses. `head` gives a frame, or its first bytes.
#[inline(always)]
pub fn sieve<'f>(policy: &Policy, direction: Direction, frames: usize, head: impl Fn(usize) -> &'f [u8]) -> u64 {
    let closed = |port| policy.classes.any_closes(port);
    // Two loops, so that neither asks for the direction.
    match direction {
        Direction::Egress => sift(frames, head, |ports| closed(ports.destination)),
        Direction::Ingress => sift(frames, head, |ports| closed(ports.destination) | closed(ports.source)),
    }
}

#[inline(always)]
fn sift<'f>(frames: usize, head: impl Fn(usize) -> &'f [u8], matters: impl Fn(Ports) -> bool) -> u64 {
    // The last frame first, so that each bit is shifted in from below.
    let undecided = (0..frames).rev().fold(0, |undecided, index| {
        let plain = packet::plain_ipv4(head(index));
        undecided << 1 | u64::from(plain.doubt | u64::from(matters(plain.ports)) != 0)
    });
    // IPv6 is looked at apart: to have it in the same loop would make every frame pay for it.
    let (mut left, mut settled) = (undecided, 0);
    while left != 0 {
        let index = left.trailing_zeros();
        left &= left - 1;
        let plain = packet::plain_ipv6(head(index as usize));
        settled |= u64::from(plain.doubt | u64::from(matters(plain.ports)) == 0) << index;
    }
    undecided & !settled
}

/// Whether any class closes a port that counts in this direction.
fn matters(policy: &Policy, direction: Direction, ports: Ports) -> bool {
    policy.classes.any_closes(ports.destination)
        || (direction == Direction::Ingress && policy.classes.any_closes(ports.source))
}

/// Whether a relay covers the frame: on egress where it goes, on ingress its answers (rule 8) only.
fn is_relayed(policy: &Policy, identity: &Identity, case: &Case, denial: Option<DropReason>) -> bool {
    if policy.relays.is_empty() || case.source_routed || identity.finding.is_some_and(Finding::is_contradiction) {
        return false;
    }
    let (Some(peer), Ok(ports)) = (case.peer, case.subject) else { return false };
    match case.direction {
        Direction::Egress => policy.relay(peer, ports.destination).is_some(),
        Direction::Ingress => denial != Some(DropReason::PortClosed) && policy.relay(peer, ports.source).is_some(),
    }
}

/// The reason of a denied frame with a finding: the finding where the drop rests on it; what the class says where the
/// class of the VM alone would have denied too, be it by another rule.
fn name_drop(policy: &Policy, identity: &Identity, case: &Case, finding: Finding) -> DropReason {
    if finding.is_contradiction() {
        return finding.drop_reason();
    }
    let own = &policy.classes.get(identity.class).ports;
    let own_denial =
        denial_where(case.direction, case.subject, |port| port.map_or(!own.is_empty(), |port| own.contains(port)));
    own_denial.unwrap_or(finding.drop_reason())
}

const fn opaque_reason(opaque: Opaque) -> DropReason {
    match opaque {
        Opaque::Malformed => DropReason::OpaqueMalformed,
        Opaque::Fragment => DropReason::OpaqueFragment,
        Opaque::HeaderChain => DropReason::OpaqueHeaderChain,
        Opaque::VlanDepth => DropReason::OpaqueVlanDepth,
    }
}

/// What to count of a frame that is certainly not TCP.
fn observe(policy: &Policy, other: Other) -> Option<Observed> {
    match other {
        Other::NotIp | Other::Ip => None,
        Other::Udp(ports) => policy.classes.any_closes(ports.destination).then_some(Observed::UdpMail),
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
        }),
    }
}
