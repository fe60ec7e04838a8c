//! One burst through the policy. Pure but for the frames it frees and the counters it writes; no allocation, no lock,
//! no system call.

use crate::model::{Direction, Way};
use crate::packet::HEAD_BYTES_MAX;
use crate::policy::{
    self, ByClass, Decision, DropReason, Judgement, Observed, Question, Sieved, Snapshot, Tally, Verdict,
};
use crate::port::{BURST_FRAMES_MAX, Frames};
use crate::telemetry::counters::{Block, BurstCounts};

/// What a worker keeps from burst to burst so that none allocates.
#[derive(Debug)]
pub struct Pipeline {
    /// Where the head of a frame is put together when it lies in several segments.
    head: Box<[u8; HEAD_BYTES_MAX]>,
    /// What is asked about the frames of a burst, before any is answered.
    questions: Box<[Question; BURST_FRAMES_MAX]>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self { head: Box::new([0; HEAD_BYTES_MAX]), questions: Box::new([Question::default(); BURST_FRAMES_MAX]) }
    }
}

/// Judges a burst by one snapshot: frees what is dropped, keeps the rest in order, counts both.
///
/// First the many frames whose ports no class closes are sieved out. Then those are answered that need only their VM's class,
/// all together. The others are decided one by one.
#[inline]
pub fn filter_burst<F: Frames>(
    pipeline: &mut Pipeline,
    snapshot: Snapshot<'_>,
    way: Way,
    burst: &mut F,
    counts: &mut BurstCounts,
    block: &Block,
) {
    let Sieved { closed, mut others } =
        policy::sieve(snapshot.settings, way.direction, burst.heads(), |index| burst.head(index));
    let mut rulings = Rulings { direction: way.direction, counts, block, dropped: 0 };
    if closed != 0 {
        others |= match ByClass::open(snapshot, way) {
            Some(by_class) => rulings.answer(&by_class, burst, closed, &mut pipeline.questions),
            None => closed,
        };
    }
    for index in bits(others) {
        let (head, length) = (burst.head(index), burst.length(index));
        let head = match head.len() >= length.min(HEAD_BYTES_MAX) {
            true => head,
            false => {
                let gathered = burst.gather(index, &mut pipeline.head[..]);
                pipeline.head.get(..gathered).unwrap_or(&[])
            }
        };
        match policy::decide(snapshot, way, head, length) {
            Decision::Settled(verdict, observed) => rulings.settle(index, verdict, observed),
            Decision::Judged(judgement) => rulings.judge(index, judgement),
        }
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
    /// Rules on the frames of `closed` that their VM's class decides; the rest of them is left.
    #[inline(always)]
    fn answer<F: Frames>(
        &mut self,
        by_class: &ByClass<'_>,
        burst: &F,
        closed: u64,
        questions: &mut [Question; BURST_FRAMES_MAX],
    ) -> u64 {
        for (index, question) in bits(closed).zip(&mut *questions) {
            *question = by_class.ask(burst.head(index));
        }
        let (mut port_closed, mut reply_closed, mut unanswered) = (0_u64, 0_u64, 0);
        for (index, question) in bits(closed).zip(&*questions) {
            let Some(answer) = by_class.answer(question) else {
                unanswered |= 1 << index;
                continue;
            };
            port_closed |= u64::from(answer.port_closed) << index;
            reply_closed |= u64::from(answer.reply_closed) << index;
            let tally = if answer.port_closed | answer.reply_closed { Tally::Denied } else { Tally::Allowed };
            self.block.add_judged(Some(answer.vm), self.direction, tally);
        }
        self.counts.dropped(DropReason::PortClosed, port_closed.count_ones().into());
        if reply_closed != 0 {
            self.counts.dropped(DropReason::ReplyClosed, reply_closed.count_ones().into());
        }
        self.dropped |= port_closed | reply_closed;
        unanswered
    }

    fn settle(&mut self, index: usize, verdict: Verdict, observed: Option<Observed>) {
        if let Verdict::Drop(reason) = verdict {
            self.dropped |= 1 << index;
            self.counts.dropped(reason, 1);
        }
        if let Some(observed) = observed {
            self.counts.observed(observed);
        }
    }

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
