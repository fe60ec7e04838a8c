//! One burst through the policy. Pure but for the frames it frees and the counters it writes; no allocation, no lock,
//! no system call.

use crate::packet::HEAD_BYTES_MAX;
use crate::policy::{self, Case, Direction, LinkIndex, Observed, Policy, Tally, Triage, Verdict};
use crate::port::{BURST_FRAMES_MAX, Frames};
use crate::telemetry::counters::{Block, BurstCounts};
use crate::vm::table::Snapshot;

/// Frames to judge in a burst from which table lines are fetched ahead.
const PREFETCH_CASES_MIN: usize = 4;

/// What a worker keeps from burst to burst so that none allocates.
#[derive(Debug)]
pub struct Pipeline {
    /// Frames that wait for their table lines, with their position in the burst.
    cases: Vec<(usize, Case)>,
    /// Where the head of a frame is put together when it lies in several segments.
    head: Box<[u8; HEAD_BYTES_MAX]>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self { cases: Vec::with_capacity(BURST_FRAMES_MAX), head: Box::new([0; HEAD_BYTES_MAX]) }
    }
}

/// Judges a burst by one snapshot: frees what is dropped, keeps the rest in order, counts both.
///
/// Three passes. The first sieves out the many frames whose ports no class closes; the second parses the others and
/// settles those whose VM does not matter; the third looks the VMs of the rest up, all together.
#[inline]
pub fn filter_burst<F: Frames>(
    pipeline: &mut Pipeline,
    policy: &Policy,
    snapshot: Snapshot<'_>,
    (link, direction): (LinkIndex, Direction),
    burst: &mut F,
    counts: &mut BurstCounts,
    block: &Block,
) {
    let mut undecided = 0u64;
    for index in 0..burst.count().min(BURST_FRAMES_MAX) {
        let plain = policy::is_plainly_forwarded(policy, direction, burst.head(index), burst.length(index));
        undecided |= u64::from(!plain) << index;
    }

    let mut dropped = 0u64;
    let mut settle = |index: usize, verdict: Verdict, counts: &mut BurstCounts| {
        if let Verdict::Drop(reason) = verdict {
            dropped |= 1 << index;
            counts.dropped(reason, 1);
        }
    };
    while undecided != 0 {
        let index = undecided.trailing_zeros() as usize;
        undecided &= undecided - 1;
        let (head, length) = (burst.head(index), burst.length(index));
        let triage = if head.len() >= length.min(HEAD_BYTES_MAX) {
            policy::triage(policy, link, direction, head, length)
        } else {
            let gathered = burst.gather(index, &mut pipeline.head[..]);
            policy::triage(policy, link, direction, pipeline.head.get(..gathered).unwrap_or(&[]), length)
        };
        match triage {
            Triage::Settled(verdict, observed) => {
                settle(index, verdict, counts);
                if let Some(observed) = observed {
                    counts.observed(observed);
                }
            }
            Triage::Judge(case) => {
                pipeline.cases.push((index, case));
            }
        }
    }
    // Fetching ahead hashes each key once more: it pays when several waits can overlap.
    if pipeline.cases.len() >= PREFETCH_CASES_MIN {
        pipeline.cases.iter().for_each(|(_, case)| case.prefetch(snapshot));
    }

    for (index, case) in pipeline.cases.drain(..) {
        let judgement = policy::judge(policy, snapshot, &case);
        settle(index, judgement.verdict, counts);
        block.add_judged(judgement.identity.vm, direction, judgement.tally);
        if judgement.verdict == Verdict::Forward {
            if let Some(finding) = judgement.identity.finding {
                counts.observed(finding.observed());
            }
            match judgement.tally {
                Tally::Excepted => counts.observed(Observed::Excepted),
                Tally::WouldDeny => counts.observed(Observed::WouldDeny),
                Tally::Allowed | Tally::Denied => {}
            }
        }
    }

    if dropped != 0 {
        burst.keep(!dropped);
    }
}
