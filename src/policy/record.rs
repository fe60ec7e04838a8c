//! What is said of a frame that was not simply forwarded, for whoever wants to see it.

use super::{Decision, Finding, Observed, Tally, Verdict};
use crate::model::{VmIndex, Way};

/// One frame that was dropped, or forwarded with something to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it came in.
    pub way: Way,
    /// Forward, or drop and why.
    pub verdict: Verdict,
    /// For whom it counts, if it was judged; none is the unknown VM.
    pub vm: Option<VmIndex>,
    /// How it counts, if it was judged.
    pub tally: Option<Tally>,
    /// What is wrong with its identity.
    pub finding: Option<Finding>,
    /// What it is counted as beside.
    pub observed: Option<Observed>,
    /// Its sender is to be told that it was denied.
    pub rejects: bool,
}

impl Record {
    /// What a decision says of a frame; nothing if it is simply forwarded: unjudged and unremarkable, or allowed. Inlined, so
    /// that a decision which nobody wants told need not lie in memory.
    #[inline(always)]
    #[must_use]
    pub fn of(way: Way, decision: &Decision) -> Option<Self> {
        match *decision {
            Decision::Settled(Verdict::Forward, None) => None,
            Decision::Settled(verdict, observed) => {
                Some(Self { way, verdict, vm: None, tally: None, finding: None, observed, rejects: false })
            }
            Decision::Judged(judgement) => {
                let (identity, tally) = (judgement.identity, judgement.tally);
                if tally == Tally::Allowed && identity.finding.is_none() {
                    return None;
                }
                let observed = judgement.beside();
                let (verdict, finding) = (judgement.verdict, identity.finding);
                let (vm, rejects) = (identity.vm, judgement.rejects);
                Some(Self { way, verdict, vm, tally: Some(tally), finding, observed, rejects })
            }
        }
    }
}
