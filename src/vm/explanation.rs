//! Why a frame is forwarded or dropped, and how it could pass: what the data plane decides, by the same function, in words.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::lift::{Lift, lift};
use super::record::VmId;
use super::registry::Registry;
use crate::model::{Direction, VmIndex, Way};
use crate::policy::{self, Case, ClassBecause, Decision, Grounds, Verdict, VmFacts};

/// Why one frame is forwarded or dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The link that it comes in by, if links have names.
    pub link: Option<String>,
    /// From a VM or to one.
    pub direction: Direction,
    /// What becomes of it.
    pub verdict: Becomes,
    /// Why it is dropped, or would be.
    pub reason: Option<Cow<'static, str>>,
    /// The number of the rule that decides.
    pub rule: u8,
    /// The VM that counts it; none if nobody asks whose it is, or if it is nobody's.
    pub vm: Option<VmId>,
    /// How it counts for that VM, or for the unknown one; none if nobody asks whose it is.
    pub tally: Option<Cow<'static, str>>,
    /// The class that it is judged by.
    pub class: Option<String>,
    /// What is wrong with its identity.
    pub finding: Option<Cow<'static, str>>,
    /// It is dropped, and its sender is to be told.
    pub rejects: bool,
    /// One sentence each.
    pub steps: Vec<String>,
    /// How it could pass, if it is dropped or only watched.
    pub lift: Option<Lift>,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Becomes {
    /// It leaves by the other port.
    Forwarded,
    /// It is dropped.
    Dropped,
    /// It leaves, and would be dropped if it were not only watched.
    Watched,
}

impl Explanation {
    /// Of a frame that comes in, by what workers see now.
    #[must_use]
    pub fn of(registry: &Registry, way: Way, frame: &[u8]) -> Self {
        let snapshot = registry.snapshot();
        let settings = snapshot.settings;
        let decision = policy::decide(snapshot, way, frame, frame.len());
        let Grounds { rule, steps } = policy::explain(snapshot, way, frame, decision, |vm| facts(registry, vm));
        let verdict = decision.verdict();
        let judgement = match decision {
            Decision::Settled(..) => None,
            Decision::Judged(judgement) => Some(judgement),
        };
        let identity = judgement.map(|judgement| judgement.identity);
        let lifted = judgement.filter(|_| verdict != Verdict::Forward).and_then(|judgement| {
            let case = Case::find(snapshot, way, frame)?;
            Some(lift(registry, &case, &judgement))
        });
        Self {
            link: settings.links.get(way.link.0).cloned(),
            direction: way.direction,
            verdict: match verdict {
                Verdict::Forward => Becomes::Forwarded,
                Verdict::Drop(_) => Becomes::Dropped,
                Verdict::WouldDrop(_) => Becomes::Watched,
            },
            reason: verdict.reason().map(|reason| reason.name().into()),
            rule,
            vm: identity.and_then(|identity| registry.by_index(identity.vm?)).map(|vm| vm.id.clone()),
            tally: judgement.map(|judgement| judgement.tally.name().into()),
            class: identity.map(|identity| settings.classes.get(identity.class).name.clone()),
            finding: identity.and_then(|identity| Some(identity.finding?.drop_reason().name().into())),
            rejects: decision.rejects(),
            steps,
            lift: lifted,
        }
    }

    /// All that there is to say to people, one sentence each.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.steps.iter().cloned().chain(self.lift.as_ref().map(ToString::to_string))
    }
}

/// What an explanation says of a VM.
fn facts(registry: &Registry, vm: VmIndex) -> VmFacts {
    let Some(vm) = registry.by_index(vm) else {
        return VmFacts { id: format!("VM number {}", vm.0), class_because: ClassBecause::NoPublicIpv4 };
    };
    let class_because = match (&vm.class, vm.public_ipv4) {
        (Some(_), _) => ClassBecause::Override,
        (None, Some(_)) => ClassBecause::PublicIpv4,
        (None, None) => ClassBecause::NoPublicIpv4,
    };
    VmFacts { id: vm.id.to_string(), class_because }
}
