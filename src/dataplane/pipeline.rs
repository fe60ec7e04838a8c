//! One burst through the policy. Pure but for the frames it frees and the counters it writes; no allocation, no lock,
//! no system call.

use super::hooks::{Answered, Responder, Witness};
use crate::model::{FrameSet, VmIndex, Way};
use crate::packet::HEAD_BYTES_MAX;
use crate::policy::{
    self, ByClass, Case, Decision, DropReason, Examined, Finding, Judgement, Named, Observed, Question, Record,
    Settings, Sieved, Snapshot, Sought, Tally, Verdict,
};
use crate::port::{BURST_FRAMES_MAX, Frames};
use crate::telemetry::counters::{Block, BurstCounts};
use crate::telemetry::denials::Denial;

/// What a worker keeps from burst to burst so that none allocates, and who has a say beside the policy.
#[derive(Debug)]
pub struct Pipeline<W = (), R = ()> {
    /// Where the head of a frame is put together when it lies in several segments.
    head: Box<[u8; HEAD_BYTES_MAX]>,
    /// What is asked about the frames of a burst, before any is answered.
    questions: Box<[Question; BURST_FRAMES_MAX]>,
    /// What was denied to frames of a burst by the class of their VM alone.
    denials: Box<[Denied; BURST_FRAMES_MAX]>,
    /// Which VMs list the MACs of frames that their class does not decide.
    listers: Box<[Option<VmIndex>; BURST_FRAMES_MAX]>,
    /// Frames that must be judged one by one, before any is. Never more than a burst has, so it never grows.
    cases: Vec<(usize, Case, Sought)>,
    /// Who they say that they are.
    names: Vec<Named>,
    witness: W,
    responder: R,
}

impl<W: Default, R: Default> Default for Pipeline<W, R> {
    fn default() -> Self {
        Self::new(W::default(), R::default())
    }
}

impl<W, R> Pipeline<W, R> {
    /// With these to look and to answer.
    pub fn new(witness: W, responder: R) -> Self {
        let head = Box::new([0; HEAD_BYTES_MAX]);
        let questions = Box::new([Question::default(); BURST_FRAMES_MAX]);
        let denials = Box::new([Denied::default(); BURST_FRAMES_MAX]);
        Self {
            head,
            questions,
            denials,
            listers: Box::new([None; BURST_FRAMES_MAX]),
            cases: Vec::with_capacity(BURST_FRAMES_MAX),
            names: Vec::with_capacity(BURST_FRAMES_MAX),
            witness,
            responder,
        }
    }

    #[cfg(feature = "testkit")]
    pub(super) fn into_hooks(self) -> (W, R) {
        (self.witness, self.responder)
    }
}

/// Judges a burst by one snapshot: frees what is dropped, keeps the rest in order, counts both. What is answered goes to
/// `replies`, which is empty and has as much room as the burst.
///
/// First the many frames whose ports no class closes are sieved out. Then those are answered that need only their VM's class,
/// all together. The others are examined one by one, those of a common shape without the parser, and what must be looked up for
/// them is asked for before the first is judged, so that they do not wait one after the other.
#[inline]
pub fn filter_burst<F: Frames, W: Witness, R: Responder>(
    pipeline: &mut Pipeline<W, R>,
    snapshot: Snapshot<'_>,
    way: Way,
    burst: &mut F,
    replies: &mut F,
    counts: &mut BurstCounts,
    block: &Block,
) {
    let Pipeline { head, questions, denials, listers, cases, names, witness, responder } = pipeline;
    let Sieved { closed, dressed, mut others } =
        policy::sieve(snapshot.settings, way, burst.heads(), |index| burst.head(index));
    let (dropped, answered) = (FrameSet::EMPTY, FrameSet::EMPTY);
    let settings = snapshot.settings;
    let always_asks_who = settings.always_asks_who(way.direction);
    let mut rulings = Rulings { settings, way, counts, block, witness, responder, dropped, answered };
    let (mut segments, mut unanswered) = (dressed, FrameSet::EMPTY);
    if !closed.is_empty() {
        match ByClass::open(snapshot, way) {
            Some(by_class) => {
                unanswered = rulings.answer(&by_class, burst, closed, questions, denials, listers);
            }
            None => segments |= closed,
        }
    }
    if always_asks_who {
        (segments, unanswered, others) = (FrameSet::EMPTY, FrameSet::EMPTY, others | segments | unanswered);
    }
    for index in segments.iter() {
        match Case::of_segment(settings, way, burst.head(index)) {
            Some(case) => cases.push((index, case, case.seek(snapshot))),
            None => others |= FrameSet::of(index),
        }
    }
    for index in unanswered.iter() {
        match Case::of_segment(settings, way, burst.head(index)) {
            Some(case) => {
                let lister = listers.get(index).copied().flatten();
                cases.push((index, case, case.seek_address(snapshot, lister)));
            }
            None => others |= FrameSet::of(index),
        }
    }
    for index in others.iter() {
        let (first, length) = (burst.head(index), burst.length(index));
        let first = match first.len() >= length.min(HEAD_BYTES_MAX) {
            true => first,
            false => {
                let gathered = burst.gather(index, &mut head[..]);
                head.get(..gathered).unwrap_or(&[])
            }
        };
        if always_asks_who {
            match policy::examine_strictly(snapshot, way, first, length) {
                Examined::Settled(verdict, observed) => rulings.conclude_strictly(burst, index, verdict, observed),
                Examined::Case(case) => cases.push((index, case, case.seek_strictly(snapshot))),
            }
            continue;
        }
        match policy::examine(settings, way, first, length) {
            Examined::Settled(verdict, observed) => {
                rulings.conclude(burst, index, None, &Decision::Settled(verdict, observed));
            }
            Examined::Case(case) => {
                cases.push((index, case, case.seek(snapshot)));
            }
        }
    }
    names.extend(cases.iter().map(|(_, case, sought)| {
        let named = case.look_up(snapshot, sought);
        block.prefetch(named.vm(), way.direction);
        named
    }));
    for ((index, case, _), named) in cases.iter().zip(&*names) {
        if always_asks_who {
            rulings.judge_strictly(burst, *index, snapshot, case, *named);
        } else {
            rulings.conclude(burst, *index, Some(case), &Decision::Judged(policy::judge(snapshot, case, *named)));
        }
    }
    cases.clear();
    names.clear();

    let Rulings { dropped, answered, .. } = rulings;
    if dropped.is_empty() {
        return;
    }
    let mut kept = !dropped;
    if R::ANSWERS && !answered.is_empty() {
        let moved = burst.move_to(answered, replies);
        kept = kept.without(moved);
    }
    burst.keep(kept);
}

/// A frame that the class of its VM denies.
#[derive(Clone, Copy, Debug)]
struct Denied {
    index: usize,
    vm: VmIndex,
    reason: DropReason,
    port: u16,
    rejects: bool,
}

impl Default for Denied {
    fn default() -> Self {
        Self { index: 0, vm: VmIndex(0), reason: DropReason::PortClosed, port: 0, rejects: false }
    }
}

/// What became of a burst so far.
struct Rulings<'a, W, R> {
    settings: &'a Settings,
    way: Way,
    counts: &'a mut BurstCounts,
    block: &'a Block,
    witness: &'a mut W,
    responder: &'a mut R,
    /// To be freed, or to become answers.
    dropped: FrameSet,
    /// Written over with answers; dropped ones.
    answered: FrameSet,
}

impl<W: Witness, R: Responder> Rulings<'_, W, R> {
    /// Rules on the frames of `closed` that their VM's class decides; the rest of them is left, with the VMs that list their MACs.
    #[inline(always)]
    fn answer<F: Frames>(
        &mut self,
        by_class: &ByClass<'_>,
        burst: &mut F,
        closed: FrameSet,
        questions: &mut [Question; BURST_FRAMES_MAX],
        denials: &mut [Denied; BURST_FRAMES_MAX],
        listers: &mut [Option<VmIndex>; BURST_FRAMES_MAX],
    ) -> FrameSet {
        for (index, question) in closed.iter().zip(&mut *questions) {
            *question = by_class.ask(burst.head(index));
        }
        let (mut port_closed, mut reply_closed, mut unanswered) = (FrameSet::EMPTY, FrameSet::EMPTY, FrameSet::EMPTY);
        let mut denied = 0;
        for (index, question) in closed.iter().zip(&*questions) {
            let answer = match by_class.answer(question) {
                Ok(answer) => answer,
                Err(vm) => {
                    unanswered |= FrameSet::of(index);
                    if let Some(lister) = listers.get_mut(index) {
                        *lister = vm;
                    }
                    continue;
                }
            };
            port_closed |= FrameSet::if_so(index, answer.port_closed);
            reply_closed |= FrameSet::if_so(index, answer.reply_closed);
            let is_denied = answer.port_closed | answer.reply_closed;
            let tally = if is_denied { Tally::Denied } else { Tally::Allowed };
            if answer.judged {
                self.block.add_judged(Some(answer.vm), self.way.direction, tally);
            }
            // Written whether it is denied or not, since that cannot be foreseen, and kept if it is.
            if let Some(place) = denials.get_mut(denied) {
                let (reason, port) = match answer.port_closed {
                    true => (DropReason::PortClosed, question.destination_port()),
                    false => (DropReason::ReplyClosed, question.source_port()),
                };
                *place = Denied { index, vm: answer.vm, reason, port, rejects: answer.rejects };
            }
            denied += usize::from(is_denied);
        }
        let way = self.way;
        for &Denied { index, vm, reason, port, rejects } in denials.iter().take(denied) {
            let kind = Denial { direction: way.direction, watched: false, reason, port: Some(port) };
            self.block.add_denied(Some(vm), kind);
            let verdict = Verdict::Drop(reason);
            self.tell(burst, index, (verdict, Some(vm), rejects), || {
                let (vm, tally) = (Some(vm), Some(Tally::Denied));
                Some(Record { way, verdict, vm, tally, finding: None, observed: None, rejects })
            });
        }
        self.counts.dropped(DropReason::PortClosed, port_closed.len() as u64);
        if !reply_closed.is_empty() {
            self.counts.dropped(DropReason::ReplyClosed, reply_closed.len() as u64);
        }
        self.dropped |= port_closed | reply_closed;
        unanswered
    }

    /// As [`conclude`](Self::conclude), kept out of the way of frames that nobody asks who they are.
    #[inline(never)]
    fn conclude_strictly<F: Frames>(
        &mut self,
        burst: &mut F,
        index: usize,
        verdict: Verdict,
        observed: Option<Observed>,
    ) {
        self.conclude(burst, index, None, &Decision::Settled(verdict, observed));
    }

    /// Judges a case by all the rules, and concludes.
    #[inline(never)]
    fn judge_strictly<F: Frames>(
        &mut self,
        burst: &mut F,
        index: usize,
        snapshot: Snapshot<'_>,
        case: &Case,
        named: Named,
    ) {
        let decision = policy::judge_strictly(snapshot, case, named);
        self.conclude(burst, index, Some(case), &decision);
    }

    /// Counts a decision, notes a drop, and tells of both.
    #[inline(always)]
    fn conclude<F: Frames>(&mut self, burst: &mut F, index: usize, case: Option<&Case>, decision: &Decision) {
        self.rule(index, case, decision);
        let (way, vm) = (self.way, decision.vm());
        self.tell(burst, index, (decision.verdict(), vm, decision.rejects()), || Record::of(way, decision));
    }

    #[inline(always)]
    fn rule(&mut self, index: usize, case: Option<&Case>, decision: &Decision) {
        match *decision {
            Decision::Settled(verdict, observed) => self.settle(index, verdict, observed, None),
            Decision::Judged(judgement @ Judgement { verdict, identity, tally, .. }) => {
                let direction = self.way.direction;
                self.block.add_judged(identity.vm, direction, tally);
                if let Some(reason) = verdict.reason() {
                    let (watched, port) = (verdict.forwards(), case.and_then(|case| case.denied_port(reason)));
                    self.block.add_denied(identity.vm, Denial { direction, watched, reason, port });
                }
                self.settle(index, verdict, judgement.beside(), identity.finding);
            }
        }
    }

    #[inline(never)]
    fn settle(&mut self, index: usize, verdict: Verdict, observed: Option<Observed>, finding: Option<Finding>) {
        match verdict {
            Verdict::Drop(reason) => {
                self.dropped |= FrameSet::of(index);
                self.counts.dropped(reason, 1);
            }
            Verdict::WouldDrop(reason) => self.counts.would_deny(reason),
            Verdict::Forward => {}
        }
        if let Some(finding) = finding.filter(|_| verdict.forwards()) {
            self.counts.observed(finding.observed());
        }
        if let Some(observed) = observed {
            self.counts.observed(observed);
        }
    }

    /// Tells who wants to see it, and where it rejects, asks who may answer it.
    #[inline(always)]
    fn tell<F: Frames>(
        &mut self,
        burst: &mut F,
        index: usize,
        (verdict, vm, rejects): (Verdict, Option<VmIndex>, bool),
        record: impl FnOnce() -> Option<Record>,
    ) {
        let answers = R::ANSWERS && rejects;
        let wants = W::LOOKS && self.witness.wants(self.way, verdict, vm, burst.head(index));
        if wants || answers {
            self.tell_record(burst, index, wants, answers, record());
        }
    }

    #[inline(never)]
    fn tell_record<F: Frames>(
        &mut self,
        burst: &mut F,
        index: usize,
        wants: bool,
        answers: bool,
        record: Option<Record>,
    ) {
        let Some(record) = record else { return };
        if wants {
            self.witness.saw(&record, burst.head(index), burst.length(index));
        }
        if answers {
            match self.responder.answer(self.settings, &record, burst, index) {
                Answered::Yes => self.answered |= FrameSet::of(index),
                Answered::No => {}
                Answered::Suppressed => self.counts.observed(Observed::RejectSuppressed),
            }
        }
    }
}
