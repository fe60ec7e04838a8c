//! The pure function that decides, in the order of the contract. First match wins.
//!
//! It comes in two steps so that a burst can fetch table lines for all its frames before it reads the first:
//! [`triage`] needs no table and settles nearly every frame; [`judge`] looks the VM up. [`decide`] is both. Before them
//! [`sieve`] takes out what need not even be parsed in full.

use std::net::IpAddr;

use super::identity::{self, Finding, Identity, vm_side};
use super::{Direction, DropReason, LinkIndex, Observed, Policy, Tally, Verdict};
use crate::packet::{self, MacAddr, Opaque, Other, Outcome, Packet, Ports, Runt, Tunnel};
use crate::vm::Scope;
use crate::vm::table::Snapshot;

/// What [`triage`] found.
#[derive(Clone, Copy, Debug)]
pub enum Triage {
    /// Nothing about the VM matters: the verdict stands, with what was seen.
    Settled(Verdict, Option<Observed>),
    /// A closed port or an opaque frame: the VM decides.
    Judge(Case),
}

/// A frame that must be judged: the evidence, without the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Which way it travels.
    pub direction: Direction,
    /// Where addresses are looked up.
    pub scope: Scope,
    /// The VM's station address: source on egress, destination on ingress.
    pub mac: MacAddr,
    /// The VM's IP address, when it can be read.
    pub address: Option<IpAddr>,
    /// The other end's IP address, when it can be read.
    pub peer: Option<IpAddr>,
    /// The sender chose the path (IPv4 source route, routing header with segments left).
    pub source_routed: bool,
    /// The ports, or why they cannot be known.
    pub subject: Result<Ports, Opaque>,
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
    Judged(Case, Judgement),
}

impl Decision {
    /// Forward, or drop and why.
    pub const fn verdict(&self) -> Verdict {
        match *self {
            Self::Settled(verdict, _) => verdict,
            Self::Judged(_, judgement) => judgement.verdict,
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
    match triage(policy, link, direction, head, length) {
        Triage::Settled(verdict, observed) => Decision::Settled(verdict, observed),
        Triage::Judge(case) => Decision::Judged(case, judge(policy, snapshot, &case)),
    }
}

/// A bit for each frame of a burst (at most 64) that [`triage`] must see. The many others it would forward without a
/// word: of the common shape, and of ports that no class closes. Sieving them out costs a few dozen instructions a frame
/// and no branch on what a sender chooses. `heads` are the frames, or their first bytes.
#[inline(always)]
pub fn sieve<'f>(policy: &Policy, direction: Direction, heads: impl Iterator<Item = &'f [u8]>) -> u64 {
    let closed = |port| policy.classes.any_closes(port);
    // Two loops, so that neither asks for the direction.
    match direction {
        Direction::Egress => sift(heads, |ports| closed(ports.destination)),
        Direction::Ingress => sift(heads, |ports| closed(ports.destination) | closed(ports.source)),
    }
}

#[inline(always)]
fn sift<'f>(heads: impl Iterator<Item = &'f [u8]>, matters: impl Fn(Ports) -> bool) -> u64 {
    let mut undecided = 0;
    for (index, head) in heads.enumerate() {
        let plain = packet::plain_tcp(head);
        let doubt = plain.doubt | u64::from(matters(plain.ports));
        undecided |= u64::from(doubt != 0) << (index & 63);
    }
    undecided
}

/// Whether any class closes a port that counts in this direction.
fn matters(policy: &Policy, direction: Direction, ports: Ports) -> bool {
    policy.classes.any_closes(ports.destination)
        || (direction == Direction::Ingress && policy.classes.any_closes(ports.source))
}

/// Rules 1 to 4: all that can be said without knowing the VM.
pub fn triage(policy: &Policy, link: LinkIndex, direction: Direction, head: &[u8], length: usize) -> Triage {
    let packet = match Packet::parse(head, length) {
        Ok(packet) => packet,
        Err(Runt) => return Triage::Settled(Verdict::Drop(DropReason::Runt), None),
    };
    let subject = match packet.outcome {
        Outcome::Tcp(ports) if !matters(policy, direction, ports) => return Triage::Settled(Verdict::Forward, None),
        Outcome::Tcp(ports) => Ok(ports),
        Outcome::Other(other) => return Triage::Settled(Verdict::Forward, observe(policy, other)),
        Outcome::LaterFragment => return Triage::Settled(Verdict::Forward, Some(Observed::LaterFragment)),
        Outcome::Opaque(reason) => Err(reason),
    };
    if policy.judges(direction) {
        Triage::Judge(case(policy, link, direction, &packet, subject))
    } else {
        Triage::Settled(Verdict::Forward, None)
    }
}

/// The evidence of a frame that must be judged.
fn case(
    policy: &Policy,
    link: LinkIndex,
    direction: Direction,
    packet: &Packet<'_>,
    subject: Result<Ports, Opaque>,
) -> Case {
    let (mac, _) = vm_side(direction, packet.source_mac(), packet.destination_mac());
    let (address, peer) = match packet.network.addresses() {
        Some((source, destination)) => {
            let (address, peer) = vm_side(direction, source, destination);
            (Some(address), Some(peer))
        }
        None => (None, None),
    };
    Case {
        direction,
        scope: policy.scope(link, packet.vlan),
        mac,
        address,
        peer,
        source_routed: packet.network.is_source_routed(),
        subject,
    }
}

/// Rules 5 to 9: by the VM's class.
pub fn judge(policy: &Policy, snapshot: Snapshot<'_>, case: &Case) -> Judgement {
    let identity = identity::identify(policy, snapshot, case);
    let (verdict, tally) = match grounds(policy, &identity, case) {
        Grounds::Open => (Verdict::Forward, Tally::Allowed),
        Grounds::Excepted => (Verdict::Forward, Tally::Excepted),
        Grounds::Deny(_) if identity.is_monitored(policy) => (Verdict::Forward, Tally::WouldDeny),
        Grounds::Deny(reason) => (Verdict::Drop(reason), Tally::Denied),
    };
    Judgement { verdict, identity, tally }
}

/// What the rules say before monitor mode is asked.
enum Grounds {
    Open,
    Excepted,
    Deny(DropReason),
}

fn grounds(policy: &Policy, identity: &Identity, case: &Case) -> Grounds {
    let denial = denial(case, |port| match port {
        Some(port) => identity.closes(policy, port),
        None => identity.closes_any(policy),
    });
    if is_relayed(policy, identity, case, denial) {
        return Grounds::Excepted;
    }
    match denial {
        Some(reason) => Grounds::Deny(name_drop(policy, identity, case, reason)),
        None => Grounds::Open,
    }
}

/// Rules 7 and 8, where `closes` says what is closed: a port, or any at all.
fn denial(case: &Case, closes: impl Fn(Option<u16>) -> bool) -> Option<DropReason> {
    match case.subject {
        Err(opaque) => closes(None).then(|| opaque_reason(opaque)),
        Ok(ports) if closes(Some(ports.destination)) => Some(DropReason::PortClosed),
        Ok(ports) if case.direction == Direction::Ingress && closes(Some(ports.source)) => {
            Some(DropReason::ReplyClosed)
        }
        Ok(_) => None,
    }
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

/// The reason of a denied frame: its finding where the drop rests on it; what the class says where the class of the VM
/// alone would have denied too, be it by another rule.
fn name_drop(policy: &Policy, identity: &Identity, case: &Case, reason: DropReason) -> DropReason {
    match identity.finding {
        None => reason,
        Some(finding) if finding.is_contradiction() => finding.drop_reason(),
        Some(finding) => {
            let own = &policy.classes.get(identity.class).ports;
            let own_denial = denial(case, |port| port.map_or(!own.is_empty(), |port| own.contains(port)));
            own_denial.unwrap_or(finding.drop_reason())
        }
    }
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
