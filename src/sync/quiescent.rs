//! Grace periods: when does no worker read the old state any more?
//!
//! One writer publishes [`Generation`]s; each worker says, once per turn and in a cache line of its own, which one
//! it reads from now on. The grace period of generation G is over when every worker that is online has said G or
//! later. Then nobody reads what only earlier generations select, and the writer may change it.
//!
//! # Why it holds
//!
//! *A worker that is online.* It loads the published generation (Acquire) and stores it as `seen` (Release), in that
//! order, after the last read of its previous turn. A writer that loads `seen` ≥ G (Acquire) therefore comes after
//! all those reads: none of them can return what the writer stores next. And the worker's load of G comes after
//! everything that the writer did before it published G.
//!
//! *A worker that goes offline* stores `seen` = `OFFLINE` (Release) after its last read: the same argument.
//!
//! *A worker that comes online* while the writer looks. The worker stores `seen` = 0 ("may be reading anything"),
//! fences (SeqCst), then loads the published generation. The writer publishes G, fences (SeqCst), then loads `seen`.
//! One fence comes first. If it is the worker's, the writer sees that worker online and waits for it. If it is the
//! writer's, the worker loads G or later and never reads the older state. Without the fences both could miss each
//! other: this is the store-buffer pattern, which x86 reorders too.
//!
//! Nothing here waits: [`Grace::is_over`] is a question. A worker never waits for the writer at all.
//!
//! `seen` is stored every turn, though the same value mostly: the line belongs to the worker, so the store costs
//! nothing until somebody looks.

use std::fmt;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::{AtomicU64, Ordering, fence};

/// Number of a published state of the table: each publication adds one. The registry maps revisions onto it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl Generation {
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `seen` of a worker that reads nothing.
const OFFLINE: u64 = u64::MAX;
/// `seen` of a worker that may be reading anything.
const UNKNOWN: u64 = 0;

type Seen = Arc<CachePadded<AtomicU64>>;

/// The published generation and what each worker has seen of it.
#[derive(Debug)]
pub struct Grace {
    published: CachePadded<AtomicU64>,
    seen: Box<[Seen]>,
}

impl Grace {
    /// Nothing published yet, every worker offline. The passes go to one worker each, in the order of their numbers.
    pub(crate) fn new(workers: usize) -> (Arc<Self>, Vec<Pass>) {
        let seen: Box<[Seen]> = (0..workers).map(|_| Seen::new(CachePadded::new(AtomicU64::new(OFFLINE)))).collect();
        let grace = Arc::new(Self { published: CachePadded::new(AtomicU64::new(0)), seen });
        let passes = grace.seen.iter().map(|seen| Pass { grace: grace.clone(), seen: seen.clone(), online: false });
        let passes = passes.collect();
        (grace, passes)
    }

    /// The newest generation. Who loads it sees everything that was written before it was published.
    #[inline]
    #[must_use]
    pub fn published(&self) -> Generation {
        Generation(self.published.load(Ordering::Acquire))
    }

    /// For the one writer only: everything written so far is what `generation` stands for.
    pub(crate) fn publish(&self, generation: Generation) {
        self.published.store(generation.0, Ordering::Release);
    }

    /// Whether no worker reads anything older than `generation` any more, now and for ever.
    ///
    /// A yes stands, though who asks once more may get a no: from a worker that comes online and does not know yet
    /// what it will read. Ask until the first yes, and act on that.
    ///
    /// # States
    /// `generation` is published, and the caller knows it from the writer.
    #[must_use]
    pub fn is_over(&self, generation: Generation) -> bool {
        fence(Ordering::SeqCst); // After the publication, before `seen`: see "comes online" above.
        self.seen.iter().all(|seen| seen.load(Ordering::Acquire) >= generation.0)
    }

    /// Numbers of the workers that `generation` waits for, ascending.
    #[must_use]
    pub fn waiting_for(&self, generation: Generation) -> Vec<usize> {
        fence(Ordering::SeqCst);
        let late = |(_, seen): &(usize, &Seen)| seen.load(Ordering::Acquire) < generation.0;
        self.seen.iter().enumerate().filter(late).map(|(worker, _)| worker).collect()
    }

    /// The generation that a worker reads: none while it is offline, or if there is no such worker.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn seen(&self, worker: usize) -> Option<Generation> {
        match self.seen.get(worker)?.load(Ordering::Acquire) {
            OFFLINE => None,
            seen => Some(Generation(seen)),
        }
    }

    /// How many workers there are, online or not.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn workers(&self) -> usize {
        self.seen.len()
    }
}

/// One worker's part: exactly one exists per worker, it moves between threads but is never shared.
#[derive(Debug)]
pub(crate) struct Pass {
    grace: Arc<Grace>,
    seen: Seen,
    /// What `seen` says, without asking it.
    online: bool,
}

impl Pass {
    /// From now on every grace period waits for this worker.
    pub(crate) fn go_online(&mut self) {
        if !self.online {
            self.turn();
        }
    }

    /// Says that this worker may be reading anything. Only a load of the generation after this tells what.
    #[cold]
    fn announce(&mut self) {
        self.online = true;
        self.seen.store(UNKNOWN, Ordering::Release);
        fence(Ordering::SeqCst); // See "comes online" above.
    }

    /// From now on no grace period waits for this worker. The caller reads nothing any more.
    pub(crate) fn go_offline(&mut self) {
        self.online = false;
        self.seen.store(OFFLINE, Ordering::Release);
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn is_online(&self) -> bool {
        self.online
    }

    /// A turn ends and the next begins: gives up what was read so far and returns what may be read from now on.
    #[inline]
    pub(crate) fn turn(&mut self) -> Generation {
        self.turn_with(|_| ())
    }

    /// As [`turn`](Self::turn). `prepare` gives up what belongs to an older generation, before this one is said to be
    /// read: who waits for that finds it given up.
    #[inline]
    pub(crate) fn turn_with(&mut self, prepare: impl FnOnce(Generation)) -> Generation {
        if !self.online {
            self.announce();
        }
        let generation = self.grace.published();
        prepare(generation);
        self.seen.store(generation.0, Ordering::Release);
        generation
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.go_offline();
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_waits_for_every_worker_that_is_online() {
        let (grace, mut passes) = Grace::new(3);
        let [first, second, _third] = &mut passes[..] else { panic!("three workers") };
        first.go_online();
        second.go_online();
        grace.publish(Generation(1));
        assert!(!grace.is_over(Generation(1)));
        assert_eq!(grace.waiting_for(Generation(1)), [0, 1]);

        assert_eq!(first.turn(), Generation(1));
        assert_eq!(grace.waiting_for(Generation(1)), [1]);
        second.go_offline();
        assert!(grace.is_over(Generation(1)), "workers 1 and 2 are offline");
        assert_eq!(
            [grace.seen(0), grace.seen(1), grace.seen(2), grace.seen(3)],
            [Some(Generation(1)), None, None, None]
        );
    }

    #[test]
    fn a_worker_that_comes_online_reads_the_newest_generation_at_once() {
        let (grace, mut passes) = Grace::new(1);
        grace.publish(Generation(7));
        passes[0].go_online();
        assert_eq!(grace.seen(0), Some(Generation(7)));
        assert!(grace.is_over(Generation(7)));
        grace.publish(Generation(8));
        assert!(!grace.is_over(Generation(8)));
    }

    #[test]
    fn a_turn_brings_a_worker_online_and_its_end_takes_it_offline() {
        let (grace, mut passes) = Grace::new(1);
        grace.publish(Generation(1));
        let mut pass = passes.remove(0);
        assert!(!pass.is_online());
        assert_eq!(pass.turn(), Generation(1));
        assert!(pass.is_online());
        grace.publish(Generation(2));
        drop(pass);
        assert!(grace.is_over(Generation(2)), "a worker that is gone holds nothing up");
    }
}
