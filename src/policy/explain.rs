//! A decision in words: what the frame is, whose it is, what is closed to it, and what happened.

use std::fmt::Write as _;

use super::decide::{Case, Subject};
use super::grant::{Grant, grant};
use super::{Decision, Finding, Judgement, Settings, Snapshot, Tally, Verdict};
use crate::model::{Direction, VmIndex, Way};

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

/// Explains what was decided about a whole frame, one sentence a line. `facts` names VMs.
#[must_use]
pub fn explain(
    snapshot: Snapshot<'_>,
    way: Way,
    frame: &[u8],
    decision: Decision,
    facts: impl Fn(VmIndex) -> VmFacts,
) -> Vec<String> {
    match decision {
        Decision::Settled(Verdict::Forward, None) => {
            vec!["Forwarded: neither a port that any class closes nor a frame that could hide one.".into()]
        }
        Decision::Settled(Verdict::Forward, Some(observed)) => {
            vec![format!("Forwarded, and counted as {}: {}", observed.name(), observed.meaning())]
        }
        Decision::Settled(Verdict::Drop(reason), _) => {
            vec![format!("Dropped as {}: {}", reason.name(), reason.meaning())]
        }
        Decision::Settled(Verdict::WouldDrop(reason), _) => {
            vec![format!(
                "Forwarded, because this is only watched; else dropped as {}: {}",
                reason.name(),
                reason.meaning()
            )]
        }
        Decision::Judged(judgement) => {
            let mistaken = || vec!["This is not the frame that was decided about: nobody asks whose it is.".into()];
            Case::find(snapshot, way, frame).map_or_else(mistaken, |case| judged(snapshot, &case, &judgement, &facts))
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
    if let (Some(address), Some(peer)) = (case.address, case.peer) {
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
            let address = case.address.map_or_else(|| "the address".into(), |address| address.to_string());
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
