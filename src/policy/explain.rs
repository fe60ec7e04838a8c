//! A decision in words: what the frame is, whose it is, what is closed to it, and what happened.

use std::fmt::Write as _;

use super::decide::{Case, Subject, denial};
use super::grant::{Grant, grant};
use super::strict::objection;
use super::{Decision, DropReason, Finding, IdentityLevel, Judgement, Observed, Settings, Snapshot, Tally, Verdict};
use crate::model::{Direction, Mode, VmIndex, Way};
use crate::packet::{Outcome, Packet};

/// What the explanation says of a VM that the table does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmFacts {
    /// Its id.
    pub id: String,
    /// Why it has its class.
    pub class_because: ClassBecause,
}

/// Why a VM has its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassBecause {
    /// The operator said so.
    Override,
    /// It has a public IPv4 address.
    PublicIpv4,
    /// It has none.
    NoPublicIpv4,
}

/// Why a frame was decided about as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// The number of the rule that decided, as `docs/policy.md` has it.
    pub rule: u8,
    /// One sentence each: what the frame is, whose, what is closed to it, what became of it.
    pub steps: Vec<String>,
}

/// Explains what was decided about a whole frame. `facts` names VMs.
#[must_use]
pub fn explain(
    snapshot: Snapshot<'_>,
    way: Way,
    frame: &[u8],
    decision: Decision,
    facts: impl Fn(VmIndex) -> VmFacts,
) -> Grounds {
    match decision {
        Decision::Settled(verdict, observed) => settled(snapshot.settings, way, frame, verdict, observed),
        Decision::Judged(judgement) => match Case::find(snapshot, way, frame) {
            Some(case) => Grounds {
                rule: rule_of(snapshot.settings, &case, &judgement),
                steps: judged(snapshot, &case, &judgement, &facts),
            },
            None => {
                let mistaken = "This is not the frame that was decided about: nobody asks whose it is.";
                Grounds { rule: 4, steps: vec![mistaken.into()] }
            }
        },
    }
}

/// What the rules say that need no VM: 1 (runts, refused VLANs), 3 (not TCP) and 4 (ports that matter to nobody, a direction that
/// is not judged).
fn settled(settings: &Settings, way: Way, frame: &[u8], verdict: Verdict, observed: Option<Observed>) -> Grounds {
    let outcome = Packet::parse(frame, frame.len()).map(|packet| packet.outcome);
    let is_candidate = matches!(outcome, Ok(Outcome::Tcp(_) | Outcome::Opaque(_)));
    let (rule, step) = match (verdict, observed) {
        (Verdict::Drop(reason), _) => (1, format!("Dropped as {}: {}", reason.name(), reason.meaning())),
        (Verdict::WouldDrop(reason), _) => {
            let (name, meaning) = (reason.name(), reason.meaning());
            (1, format!("Forwarded, because this is only watched; else dropped as {name}: {meaning}"))
        }
        (Verdict::Forward, Some(observed)) => {
            (3, format!("Forwarded, and counted as {}: {}", observed.name(), observed.meaning()))
        }
        (Verdict::Forward, None) if !is_candidate => (3, "Forwarded: it is certainly not TCP.".into()),
        (Verdict::Forward, None) if !settings.judges(way.direction) => {
            (4, format!("Forwarded: {} is not judged (`policy.directions`).", way.direction.name()))
        }
        (Verdict::Forward, None) => {
            (4, "Forwarded: neither a port that any class closes nor a frame that could hide one.".into())
        }
    };
    Grounds { rule, steps: vec![step] }
}

/// The rule that decided: 2 (strict), 6 (relays, exceptions), 7 (destination, opaque), 8 (source) or 9.
fn rule_of(settings: &Settings, case: &Case, judgement: &Judgement) -> u8 {
    let Judgement { verdict, identity, tally, .. } = judgement;
    let enforces = settings.identity == IdentityLevel::Strict && settings.mode == Mode::Enforce;
    let is_objection = objection(case, identity).is_some_and(|reason| verdict.reason() == Some(reason));
    match (verdict, tally) {
        (Verdict::Drop(_), _) if is_objection && enforces => 2,
        (Verdict::WouldDrop(_), _) if is_objection && !enforces => 2,
        (Verdict::Forward, Tally::Excepted) => 6,
        (Verdict::Forward, _) => 9,
        _ => {
            // What a finding names is closed by a rule all the same.
            let is_finding = identity.finding.map(Finding::drop_reason) == verdict.reason();
            let reason = if is_finding { denial(&(settings, identity), case) } else { verdict.reason() };
            if reason == Some(DropReason::ReplyClosed) { 8 } else { 7 }
        }
    }
}

fn judged(
    snapshot: Snapshot<'_>,
    case: &Case,
    judgement: &Judgement,
    facts: &impl Fn(VmIndex) -> VmFacts,
) -> Vec<String> {
    let vm = judgement.identity.vm.map(facts);
    let verdict = match (judgement.verdict, judgement.tally) {
        (Verdict::Drop(reason), _) => {
            let told = if judgement.rejects { ", and its sender is told" } else { "" };
            format!("Verdict: dropped as {}{told}. {}", reason.name(), reason.meaning())
        }
        (Verdict::WouldDrop(reason), _) => {
            format!(
                "Verdict: forwarded, because this is only watched; else dropped as {}. {}",
                reason.name(),
                reason.meaning()
            )
        }
        (Verdict::Forward, Tally::Excepted) => {
            let because = match grant(snapshot, &judgement.identity, case) {
                Some(Grant::Exception(exception)) => {
                    format!("exception {} of this VM opens what is closed", exception.name)
                }
                Some(Grant::Relay(relay)) => format!("relay {} covers the peer and port", relay.name),
                None => "something covered it that is over by now".into(),
            };
            format!("Verdict: forwarded, because {because}.")
        }
        (Verdict::Forward, _) => "Verdict: forwarded, because nothing that the frame needs is closed.".into(),
    };
    let class = match case.subject {
        Subject::Passing(_) => "Class: none is asked for, since every frame must be who it says it is.".into(),
        Subject::Tcp(_) | Subject::Opaque(_) => class(snapshot.settings, judgement, vm.as_ref()),
    };
    vec![what(case), whose(case, judgement, vm.as_ref()), class, verdict]
}

fn what(case: &Case) -> String {
    let way = match case.direction {
        Direction::Egress => "from a VM",
        Direction::Ingress => "to a VM",
    };
    let subject = match case.subject {
        Subject::Tcp(ports) => format!("TCP port {} to port {}", ports.source, ports.destination),
        Subject::Opaque(_) => "its TCP ports cannot be known".into(),
        Subject::Passing(_) => "it goes to no port that any class closes".into(),
    };
    let mut text = format!("Frame: {way}; the VM's side is MAC {}", case.mac);
    if let (Some(address), Some(peer)) = (case.address(), case.peer()) {
        let _ = write!(text, ", IP {address}; the peer is {peer}");
    }
    let _ = write!(text, "; {subject}.");
    text
}

fn whose(case: &Case, judgement: &Judgement, vm: Option<&VmFacts>) -> String {
    match (judgement.identity.finding, vm) {
        (None, Some(vm)) => format!("Whose: {}'s.", vm.id),
        (None, None) => "Whose: no VM has this MAC or this address.".into(),
        (Some(Finding::SpoofIp), Some(vm)) => {
            let address = case.address().map_or_else(|| "the address".into(), |address| address.to_string());
            format!("Whose: the MAC is {}'s, but {address} is not: a contradiction.", vm.id)
        }
        (Some(Finding::SpoofMac), Some(vm)) => {
            format!(
                "Whose: the address is {}'s, which lists its MACs, and {} is none of them: a contradiction.",
                vm.id, case.mac
            )
        }
        (Some(_), Some(vm)) => format!("Whose: the MAC is {}'s, but nothing confirms the address.", vm.id),
        (Some(_), None) => "Whose: nothing in the frame says so.".into(),
    }
}

fn class(settings: &Settings, judgement: &Judgement, vm: Option<&VmFacts>) -> String {
    let class = settings.classes.get(judgement.identity.class);
    let because = match vm {
        None => "frames that no VM answers for are".into(),
        Some(VmFacts { id, class_because: ClassBecause::Override }) => format!("the operator made {id}"),
        Some(VmFacts { id, class_because: ClassBecause::PublicIpv4 }) => {
            format!("{id} has a public IPv4 address, which makes it")
        }
        Some(VmFacts { id, class_because: ClassBecause::NoPublicIpv4 }) => {
            format!("{id} has no public IPv4 address, which makes it")
        }
    };
    let mut text = format!("Class: {because} `{}`; closed TCP ports: {}", class.name, class.ports);
    for also in judgement.identity.also.iter().flatten().filter(|&&also| also != judgement.identity.class) {
        let also = settings.classes.get(*also);
        let _ = write!(text, "; and, the identity not being sure, those of `{}`: {}", also.name, also.ports);
    }
    text.push('.');
    text
}
