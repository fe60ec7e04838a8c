//! One burst through the policy. Pure but for the frames it frees and the counters it writes; no allocation, no lock,
//! no system call.

use crate::packet::HEAD_BYTES_MAX;
use crate::policy::{self, Case, Direction, LinkIndex, Observed, Policy, Tally, Triage, Verdict};
use crate::port::{BURST_FRAMES_MAX, Frames};
use crate::telemetry::counters::{Block, BurstCounts};
use crate::vm::table::Snapshot;

/// Undecided frames in a burst from which table lines are fetched ahead: each key is then hashed twice, which pays when
/// several waits can overlap.
const PREFETCH_FRAMES_MIN: u32 = 16;

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
/// First the many frames whose ports no class closes are sieved out. The others are parsed in full; where the VM matters
/// it is looked up, at once when there are few such frames, behind a fetch of all their table lines when there are many.
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
    let frames = burst.count().min(BURST_FRAMES_MAX);
    let mut undecided = policy::sieve(policy, direction, (0..frames).map(|index| burst.head(index)));

    let fetch_ahead = undecided.count_ones() >= PREFETCH_FRAMES_MIN;
    let mut rulings = Rulings { policy, snapshot, direction, counts, block, dropped: 0 };
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
            Triage::Settled(verdict, observed) => rulings.settle(index, verdict, observed),
            Triage::Judge(case) if fetch_ahead => {
                case.prefetch(snapshot);
                pipeline.cases.push((index, case));
            }
            Triage::Judge(case) => rulings.judge(index, &case),
        }
    }
    for (index, case) in pipeline.cases.drain(..) {
        rulings.judge(index, &case);
    }

    let dropped = rulings.dropped;
    if dropped != 0 {
        burst.keep(!dropped);
    }
}

/// What became of a burst so far.
struct Rulings<'a> {
    policy: &'a Policy,
    snapshot: Snapshot<'a>,
    direction: Direction,
    counts: &'a mut BurstCounts,
    block: &'a Block,
    /// A bit for each frame to be freed.
    dropped: u64,
}

impl Rulings<'_> {
    fn settle(&mut self, index: usize, verdict: Verdict, observed: Option<Observed>) {
        if let Verdict::Drop(reason) = verdict {
            self.dropped |= 1 << index;
            self.counts.dropped(reason, 1);
        }
        if let Some(observed) = observed {
            self.counts.observed(observed);
        }
    }

    #[inline]
    fn judge(&mut self, index: usize, case: &Case) {
        let judgement = policy::judge(self.policy, self.snapshot, case);
        self.block.add_judged(judgement.identity.vm, self.direction, judgement.tally);
        let noted = match judgement.tally {
            Tally::Excepted => Some(Observed::Excepted),
            Tally::WouldDeny => Some(Observed::WouldDeny),
            Tally::Allowed | Tally::Denied => None,
        };
        self.settle(index, judgement.verdict, noted);
        if judgement.verdict == Verdict::Forward
            && let Some(finding) = judgement.identity.finding
        {
            self.counts.observed(finding.observed());
        }
    }
}
