//! One burst through the policy. Pure but for the frames it frees and the counters it writes; no allocation, no lock,
//! no system call.

use crate::packet::HEAD_BYTES_MAX;
use crate::policy::{self, Decision, Direction, Judgement, LinkIndex, Observed, Policy, Tally, Verdict};
use crate::port::{BURST_FRAMES_MAX, Frames};
use crate::telemetry::counters::{Block, BurstCounts};
use crate::vm::table::Snapshot;

/// Undecided frames in a burst from which their table lines are fetched ahead.
const FETCH_AHEAD_FRAMES_MIN: u32 = 16;

/// What a worker keeps from burst to burst so that none allocates.
#[derive(Debug)]
pub struct Pipeline {
    /// Where the head of a frame is put together when it lies in several segments.
    head: Box<[u8; HEAD_BYTES_MAX]>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self { head: Box::new([0; HEAD_BYTES_MAX]) }
    }
}

/// Judges a burst by one snapshot: frees what is dropped, keeps the rest in order, counts both.
///
/// First the many frames whose ports no class closes are sieved out. The others are decided one by one, behind a fetch
/// of all their table lines when there are many.
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
    let undecided = policy::sieve(policy, direction, frames, |index| burst.head(index));
    if undecided.count_ones() >= FETCH_AHEAD_FRAMES_MIN {
        for index in bits(undecided) {
            policy::fetch_ahead(policy, snapshot, (link, direction), burst.head(index));
        }
    }

    let mut rulings = Rulings { direction, counts, block, dropped: 0 };
    for index in bits(undecided) {
        let (head, length) = (burst.head(index), burst.length(index));
        let head = match head.len() >= length.min(HEAD_BYTES_MAX) {
            true => head,
            false => {
                let gathered = burst.gather(index, &mut pipeline.head[..]);
                pipeline.head.get(..gathered).unwrap_or(&[])
            }
        };
        policy::decide_then(policy, snapshot, (link, direction), head, length, |decision| match decision {
            Decision::Settled(verdict, observed) => rulings.settle(index, verdict, observed),
            Decision::Judged(judgement) => rulings.judge(index, judgement),
        });
    }

    let dropped = rulings.dropped;
    if dropped != 0 {
        burst.keep(!dropped);
    }
}

/// The positions of the bits that are set, ascending.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            index
        })
    })
}

/// What became of a burst so far.
struct Rulings<'a> {
    direction: Direction,
    counts: &'a mut BurstCounts,
    block: &'a Block,
    /// A bit for each frame to be freed.
    dropped: u64,
}

impl Rulings<'_> {
    #[inline(always)]
    fn settle(&mut self, index: usize, verdict: Verdict, observed: Option<Observed>) {
        if let Verdict::Drop(reason) = verdict {
            self.dropped |= 1 << index;
            self.counts.dropped(reason, 1);
        }
        if let Some(observed) = observed {
            self.counts.observed(observed);
        }
    }

    #[inline(always)]
    fn judge(&mut self, index: usize, judgement: Judgement) {
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
