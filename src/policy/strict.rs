//! Rule 2: where the box is strict, every frame that comes in by an inside port must be who it says it is. First guards, then
//! the identity table. Where it observes, what they object to is counted, and the later rules decide.

use std::net::IpAddr;

use super::decide::{self, Case, Check, Examined, Subject};
use super::guards::{self, Sender};
use super::identity::{self, Finding, Identity, Named};
use super::{Decision, DropReason, IdentityLevel, Judgement, Observed, Snapshot, Tally, Verdict};
use crate::model::{Mode, Way};
use crate::packet::{Message, Network, Outcome, Packet, icmpv6};

/// As [`examine`](super::examine), where it [always matters](super::Settings::always_asks_who) who a frame says it is: what the frame
/// is, and what its guard says.
#[inline(never)]
pub fn examine_strictly(snapshot: Snapshot<'_>, way: Way, head: &[u8], length: usize) -> Examined {
    let settings = snapshot.settings;
    let Ok(packet) = Packet::parse(head, length) else {
        return Examined::Settled(Verdict::Drop(DropReason::Runt), None);
    };
    let Some(scope) = settings.scope(way, packet.vlan) else {
        return Examined::Settled(decide::refused(settings), None);
    };
    let judges = settings.judges(way.direction);
    let subject = match packet.outcome {
        Outcome::Tcp(ports) if judges && decide::matters(settings, way.direction, ports) => Subject::Tcp(ports),
        Outcome::Opaque(reason) if judges => Subject::Opaque(reason),
        Outcome::Tcp(_) | Outcome::Opaque(_) => Subject::Passing(None),
        Outcome::Other(other) => Subject::Passing(decide::observe(settings, other)),
        Outcome::LaterFragment => Subject::Passing(Some(Observed::LaterFragment)),
    };
    let message = match packet.outcome {
        Outcome::Tcp(_) | Outcome::LaterFragment => Message::Other,
        Outcome::Other(_) | Outcome::Opaque(_) => Message::read(head, length),
    };
    let source = match message {
        Message::Arp(arp) => arp.map(|arp| arp.sender.into()),
        _ => packet.network.addresses().map(|(source, _)| source),
    };
    let sender = Sender::of(snapshot, way, packet.vlan, scope, packet.source_mac());
    let check = guards::check(&sender, source, &message).map_or(Check::Identity, Check::Guard);
    match subject {
        Subject::Passing(observed) if check == Check::Identity && !claims(&packet, source, &message) => {
            Examined::Settled(Verdict::Forward, observed)
        }
        _ => Examined::Case(Case {
            address: source.map(Into::into),
            check,
            ..Case::of(settings, way, &packet, scope, subject)
        }),
    }
}

/// Whether a frame says whose it is: one that is no IP does not, nor what is sent without an address by who looks for one, or
/// who joins a group.
fn claims(packet: &Packet<'_>, source: Option<IpAddr>, message: &Message<'_>) -> bool {
    if matches!(packet.network, Network::Absent) {
        return false;
    }
    let asks = match (source, message) {
        (Some(IpAddr::V4(_)), Message::Igmp) => true,
        (Some(IpAddr::V4(_)), Message::Udp { ports, .. }) => (ports.source, ports.destination) == (68, 67),
        (Some(IpAddr::V6(_)), Message::Icmpv6(message)) => matches!(
            message.kind,
            // Multicast listener discovery (RFC 2710, RFC 3810).
            130..=132 | 143 | icmpv6::ROUTER_SOLICITATION | icmpv6::NEIGHBOUR_SOLICITATION
        ),
        _ => false,
    };
    !(asks && source.is_some_and(|source| source.is_unspecified()))
}

/// What rule 2 (strict) objects to.
#[inline]
pub(super) fn objection(case: &Case, identity: &Identity) -> Option<DropReason> {
    match case.check {
        Check::Nothing => None,
        Check::Identity => identity.finding.filter(|finding| finding.is_contradiction()).map(Finding::drop_reason),
        Check::Guard(reason) => Some(reason),
    }
}

/// As [`judge`](super::judge), of a case that [`examine_strictly`] made: what rule 2 (strict) objects to, and if it does not, or
/// only watches, what the later rules make of it.
#[inline(never)]
pub fn judge_strictly(snapshot: Snapshot<'_>, case: &Case, named: Named) -> Decision {
    let settings = snapshot.settings;
    let identity = identity::identify(snapshot, case.address, named);
    let rest = match case.subject {
        Subject::Passing(observed) => Decision::Settled(Verdict::Forward, observed),
        Subject::Tcp(_) | Subject::Opaque(_) => Decision::Judged(decide::by_class(snapshot, case, identity)),
    };
    let Some(reason) = objection(case, &identity) else { return rest };
    // What a guard names is named by it alone.
    let identity = match case.check {
        Check::Guard(_) => Identity { finding: None, ..identity },
        _ => identity,
    };
    let observed = match case.subject {
        Subject::Passing(observed) => observed,
        Subject::Tcp(_) | Subject::Opaque(_) => None,
    };
    let judged =
        |verdict, tally, observed| Decision::Judged(Judgement { verdict, identity, tally, observed, rejects: false });
    if settings.identity == IdentityLevel::Strict && settings.mode == Mode::Enforce {
        judged(Verdict::Drop(reason), Tally::Denied, None)
    } else if rest.verdict().forwards() {
        judged(Verdict::WouldDrop(reason), Tally::WouldDeny, observed)
    } else {
        rest
    }
}
