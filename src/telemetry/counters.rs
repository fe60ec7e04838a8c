//! Counters: one block per worker, written by that worker alone with plain stores, read from outside at any time.
//!
//! *The balance*: for each link and direction, `rx = tx + sum of drops`, where `tx` is what left by the other port. A
//! worker adds a whole burst at once, between two steps of the block's sequence number; a reader that saw the number
//! move reads again. So the balance holds in every reading, under load too, and the worker never waits.
//!
//! Counters of VMs stand apart: they count judged frames only and are read one VM at a time.

use crossbeam::utils::CachePadded;

use super::denials::{Denial, DenialCounts, Denials};
use super::load::Load;
use crate::model::{Direction, VmIndex, Way};
use crate::policy::{DropReason, Observed, Tally};
use crate::sync::seqlock::Seqlock;
use crate::sync::{AtomicU64, Ordering, zeroed};

const REASONS: usize = DropReason::ALL.len();
const OBSERVED: usize = Observed::ALL.len();
const TALLIES: usize = Tally::ALL.len();

/// Frames of one link and direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneCounts {
    /// Received by the entry port, as the driver handed them over.
    pub rx: u64,
    /// Sent by the other port of the link.
    pub tx: u64,
    /// Dropped, by [`DropReason`].
    pub drops: [u64; REASONS],
    /// Forwarded because somebody only watches, by the [`DropReason`] that they would have been dropped for.
    pub would_deny: [u64; REASONS],
    /// Seen on frames that were not dropped for it, by [`Observed`].
    pub observed: [u64; OBSERVED],
}

impl Default for LaneCounts {
    fn default() -> Self {
        Self { rx: 0, tx: 0, drops: [0; REASONS], would_deny: [0; REASONS], observed: [0; OBSERVED] }
    }
}

impl LaneCounts {
    /// Whether each received frame was sent or counted under one reason.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.rx == self.tx + self.drops.iter().sum::<u64>()
    }

    /// Dropped frames of one reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason as usize).copied().unwrap_or(0)
    }

    /// Frames that would have been dropped for one reason.
    #[must_use]
    pub fn spared(&self, reason: DropReason) -> u64 {
        self.would_deny.get(reason as usize).copied().unwrap_or(0)
    }

    /// Observations of one kind.
    #[must_use]
    pub fn seen(&self, observed: Observed) -> u64 {
        self.observed.get(observed as usize).copied().unwrap_or(0)
    }

    /// Adds another lane's counts.
    pub fn add(&mut self, other: &Self) {
        self.rx += other.rx;
        self.tx += other.tx;
        self.drops.iter_mut().zip(other.drops).for_each(|(sum, n)| *sum += n);
        self.would_deny.iter_mut().zip(other.would_deny).for_each(|(sum, n)| *sum += n);
        self.observed.iter_mut().zip(other.observed).for_each(|(sum, n)| *sum += n);
    }
}

/// Judged frames of one VM (or of the unknown one) and direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VmCounts {
    /// Judged and forwarded.
    pub allowed: u64,
    /// Judged and dropped.
    pub denied: u64,
    /// Forwarded because a relay or an exception covers them.
    pub excepted: u64,
    /// Forwarded by monitor mode.
    pub would_deny: u64,
}

impl VmCounts {
    /// Adds another reading.
    pub fn add(&mut self, other: Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.excepted += other.excepted;
        self.would_deny += other.would_deny;
    }

    /// Frames under one tally.
    #[must_use]
    pub const fn tallied(&self, tally: Tally) -> u64 {
        match tally {
            Tally::Allowed => self.allowed,
            Tally::Denied => self.denied,
            Tally::Excepted => self.excepted,
            Tally::WouldDeny => self.would_deny,
        }
    }

    /// What was counted since `base` was read.
    #[must_use]
    pub fn since(self, base: Self) -> Self {
        Self {
            allowed: self.allowed.saturating_sub(base.allowed),
            denied: self.denied.saturating_sub(base.denied),
            excepted: self.excepted.saturating_sub(base.excepted),
            would_deny: self.would_deny.saturating_sub(base.would_deny),
        }
    }

    /// Whether nothing was judged.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// What one worker counts of one burst, before it is added to its block: plain numbers on the worker's stack.
#[derive(Debug, Default)]
pub struct BurstCounts {
    rx: u64,
    tx: u64,
    drops: Touched<REASONS>,
    would_deny: Touched<REASONS>,
    observed: Touched<OBSERVED>,
}

/// Numbers of which few change in a burst: `touched` says which.
#[derive(Debug)]
struct Touched<const N: usize> {
    touched: u64,
    counts: [u64; N],
}

impl<const N: usize> Default for Touched<N> {
    fn default() -> Self {
        const { assert!(N <= 64, "one bit each") };
        Self { touched: 0, counts: [0; N] }
    }
}

impl<const N: usize> Touched<N> {
    #[inline]
    fn add(&mut self, at: usize, frames: u64) {
        if let Some(count) = self.counts.get_mut(at) {
            *count += frames;
            self.touched |= 1 << at;
        }
    }

    /// Adds the touched numbers to `block` and starts again from zero.
    #[inline]
    fn flush(&mut self, block: &[AtomicU64; N]) {
        while self.touched != 0 {
            let at = self.touched.trailing_zeros() as usize;
            self.touched &= self.touched - 1;
            if let (Some(count), Some(counter)) = (self.counts.get_mut(at), block.get(at)) {
                add(counter, std::mem::take(count));
            }
        }
    }
}

impl BurstCounts {
    /// Frames received.
    #[inline]
    pub fn received(&mut self, frames: u64) {
        self.rx += frames;
    }

    /// Frames sent.
    #[inline]
    pub fn sent(&mut self, frames: u64) {
        self.tx += frames;
    }

    /// Frames dropped for a reason.
    #[inline]
    pub fn dropped(&mut self, reason: DropReason, frames: u64) {
        self.drops.add(reason as usize, frames);
    }

    /// A frame was forwarded that would have been dropped for this reason.
    #[inline]
    pub fn would_deny(&mut self, reason: DropReason) {
        self.would_deny.add(reason as usize, 1);
        self.observed(Observed::WouldDeny);
    }

    /// Something was seen on a frame.
    #[inline]
    pub fn observed(&mut self, observed: Observed) {
        self.observed.add(observed as usize, 1);
    }

    /// Something was seen on so many frames.
    #[inline]
    pub fn observed_often(&mut self, observed: Observed, frames: u64) {
        self.observed.add(observed as usize, frames);
    }
}

/// Everything one worker counts.
#[derive(Debug)]
pub struct Block {
    /// Guards `lanes`.
    lock: Seqlock,
    lanes: Vec<CachePadded<Lane>>,
    unknown: [[AtomicU64; TALLIES]; 2],
    /// [`VM_COUNTERS`] for each VM of the table; pages are touched when their VM is first judged.
    vms: Box<[AtomicU64]>,
    denials: Denials,
    load: CachePadded<Load>,
}

const VM_COUNTERS: usize = 2 * TALLIES;

#[derive(Debug)]
struct Lane {
    rx: AtomicU64,
    tx: AtomicU64,
    drops: [AtomicU64; REASONS],
    would_deny: [AtomicU64; REASONS],
    observed: [AtomicU64; OBSERVED],
}

pub(super) fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// Adds with a plain load and store: each counter has one writer.
#[inline]
pub(super) fn add(counter: &AtomicU64, frames: u64) {
    counter.store(counter.load(Ordering::Relaxed) + frames, Ordering::Relaxed);
}

impl Block {
    /// Counters for a worker of `links` links over a table of `vms` VMs; nothing if the memory is not to be had.
    #[must_use]
    pub fn create(links: usize, vms: usize) -> Option<Self> {
        let lane = || Lane {
            rx: AtomicU64::new(0),
            tx: AtomicU64::new(0),
            drops: zeros(),
            would_deny: zeros(),
            observed: zeros(),
        };
        Some(Self {
            lock: Seqlock::default(),
            lanes: (0..links * 2).map(|_| CachePadded::new(lane())).collect(),
            unknown: [zeros(), zeros()],
            vms: zeroed(vms.checked_mul(VM_COUNTERS)?)?,
            denials: Denials::create(vms)?,
            load: CachePadded::default(),
        })
    }

    /// As [`create`](Block::create), for tests and benches.
    ///
    /// # Panics
    /// Without memory.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn new(links: usize, vms: usize) -> Self {
        Self::create(links, vms).expect("a test asks for little")
    }

    /// Bytes of address space for the VMs' counters.
    #[must_use]
    pub const fn vm_bytes(vms: usize) -> usize {
        vms.saturating_mul(VM_COUNTERS * size_of::<AtomicU64>() + Denials::BYTES_PER_VM)
    }

    /// Adds a burst's counts and clears them. For the worker that owns the block.
    #[inline]
    pub fn add_burst(&self, way: Way, burst: &mut BurstCounts) {
        let Some(lane) = self.lanes.get(lane_at(way)) else { return };
        self.lock.write(|| {
            add(&lane.rx, std::mem::take(&mut burst.rx));
            add(&lane.tx, std::mem::take(&mut burst.tx));
            burst.drops.flush(&lane.drops);
            burst.would_deny.flush(&lane.would_deny);
            burst.observed.flush(&lane.observed);
        });
    }

    /// Counts a judged frame for its VM. For the worker that owns the block.
    #[inline]
    pub fn add_judged(&self, vm: Option<VmIndex>, direction: Direction, tally: Tally) {
        let counter = match vm {
            Some(vm) => self.vms.get(vm.0 as usize * VM_COUNTERS + direction as usize * TALLIES + tally as usize),
            None => self.unknown.get(direction as usize).and_then(|tallies| tallies.get(tally as usize)),
        };
        if let Some(counter) = counter {
            add(counter, 1);
        }
    }

    /// Counts a denied frame for its VM: which kind of denial it was. For the worker that owns the block.
    #[inline(always)]
    pub fn add_denied(&self, vm: Option<VmIndex>, kind: Denial) {
        self.denials.add(vm, kind);
    }

    /// Asks the CPU for what [`add_judged`](Self::add_judged) will add to.
    #[inline(always)]
    pub fn prefetch(&self, vm: Option<VmIndex>, direction: Direction) {
        if let Some(counter) =
            vm.and_then(|vm| self.vms.get(vm.0 as usize * VM_COUNTERS + direction as usize * TALLIES))
        {
            crate::cpu::prefetch(counter);
        }
    }

    /// A reading of one lane in which the balance holds. A worker that the kernel has taken off its CPU in the middle of
    /// an addition is waited for; of one that does not come back within about a second the reading may be uneven.
    #[must_use]
    pub fn lane(&self, way: Way) -> LaneCounts {
        let Some(lane) = self.lanes.get(lane_at(way)) else { return LaneCounts::default() };
        let (counts, _) = self.lock.read(|| LaneCounts {
            rx: lane.rx.load(Ordering::Relaxed),
            tx: lane.tx.load(Ordering::Relaxed),
            drops: lane.drops.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
            would_deny: lane.would_deny.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
            observed: lane.observed.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
        });
        counts
    }

    /// How busy the worker is. It alone may count.
    #[inline]
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Adds the denied frames of one VM, or of the unknown one, kind by kind.
    pub fn denied(&self, vm: Option<VmIndex>, sum: &mut DenialCounts) {
        self.denials.read(vm, sum);
    }

    /// Judged frames of one VM, or of the unknown one.
    #[must_use]
    pub fn judged(&self, vm: Option<VmIndex>, direction: Direction) -> VmCounts {
        let counters = match vm {
            Some(vm) => self.vms.get(vm.0 as usize * VM_COUNTERS + direction as usize * TALLIES..),
            None => self.unknown.get(direction as usize).map(<[AtomicU64; TALLIES]>::as_slice),
        };
        let read = |tally: Tally| {
            counters.and_then(|c| c.get(tally as usize)).map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        VmCounts {
            allowed: read(Tally::Allowed),
            denied: read(Tally::Denied),
            excepted: read(Tally::Excepted),
            would_deny: read(Tally::WouldDeny),
        }
    }
}

fn lane_at(way: Way) -> usize {
    way.link.0 * 2 + way.direction as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LinkIndex;

    const EGRESS: Way = Way { link: LinkIndex(0), direction: Direction::Egress };

    #[test]
    fn memory_that_is_not_to_be_had_is_no_panic() {
        assert!(Block::create(1, usize::MAX / 64).is_none());
        assert!(Block::create(1, usize::MAX).is_none());
    }

    #[test]
    fn a_burst_is_added_once_and_to_its_lane() {
        let block = Block::new(2, 0);
        let mut burst = BurstCounts::default();
        burst.received(32);
        burst.sent(30);
        burst.dropped(DropReason::PortClosed, 2);
        burst.observed(Observed::UdpMail);
        block.add_burst(Way { link: LinkIndex(1), direction: Direction::Ingress }, &mut burst);
        block.add_burst(Way { link: LinkIndex(1), direction: Direction::Ingress }, &mut burst);

        let lane = block.lane(Way { link: LinkIndex(1), direction: Direction::Ingress });
        assert_eq!((lane.rx, lane.tx, lane.dropped(DropReason::PortClosed)), (32, 30, 2));
        assert_eq!(lane.seen(Observed::UdpMail), 1);
        assert!(lane.is_balanced());
        assert_eq!(block.lane(Way { link: LinkIndex(1), direction: Direction::Egress }), LaneCounts::default());
    }

    #[test]
    fn the_balance_holds_in_every_reading_while_the_worker_counts() {
        let block = Block::new(1, 0);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut burst = BurstCounts::default();
                for frames in 0..200_000u64 {
                    burst.received(frames % 33);
                    burst.sent(frames % 33 / 2);
                    burst.dropped(DropReason::ALL[(frames % 16) as usize], frames % 33 - frames % 33 / 2);
                    block.add_burst(EGRESS, &mut burst);
                }
            });
            let mut readings = 0;
            while !worker.is_finished() || readings < 100 {
                assert!(block.lane(EGRESS).is_balanced());
                readings += 1;
            }
        });
    }

    #[test]
    fn judged_frames_count_for_their_vm_and_direction() {
        let block = Block::new(1, 3);
        block.add_judged(Some(VmIndex(2)), Direction::Ingress, Tally::WouldDeny);
        block.add_judged(Some(VmIndex(0)), Direction::Egress, Tally::Denied);
        block.add_judged(None, Direction::Egress, Tally::Excepted);
        assert_eq!(
            block.judged(Some(VmIndex(2)), Direction::Ingress),
            VmCounts { would_deny: 1, ..VmCounts::default() }
        );
        assert_eq!(block.judged(Some(VmIndex(0)), Direction::Egress), VmCounts { denied: 1, ..VmCounts::default() });
        assert_eq!(block.judged(None, Direction::Egress), VmCounts { excepted: 1, ..VmCounts::default() });
        assert!(block.judged(Some(VmIndex(1)), Direction::Egress).is_zero());
        assert!(block.judged(Some(VmIndex(9)), Direction::Egress).is_zero(), "beyond the table");
    }
}
