//! How busy a worker is: how often it looked for frames, how often in vain, how long it worked, and how many frames came at
//! once. Written by that worker alone with plain stores, read from outside at any time.

use serde::{Deserialize, Serialize};

use super::counters::{add, zeros};
use super::report::Named;
use crate::sync::{AtomicU64, Ordering};

/// Largest bursts of each size that is told apart: 1, 2, 3 to 4, 5 to 8, and so on. The last has all that are larger, too.
pub const BURST_SIZES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The counters of one worker.
#[derive(Debug)]
pub struct Load {
    turns: AtomicU64,
    turns_empty: AtomicU64,
    busy_ns: AtomicU64,
    bursts: [AtomicU64; BURST_SIZES.len()],
}

impl Default for Load {
    fn default() -> Self {
        Self { turns: AtomicU64::new(0), turns_empty: AtomicU64::new(0), busy_ns: AtomicU64::new(0), bursts: zeros() }
    }
}

impl Load {
    /// A burst of so many frames was received; more than none.
    #[inline]
    pub fn received(&self, frames: usize) {
        let size = frames.saturating_sub(1).checked_ilog2().map_or(0, |log| log as usize + 1);
        if let Some(counter) = self.bursts.get(size.min(BURST_SIZES.len() - 1)) {
            add(counter, 1);
        }
    }

    /// The worker has looked at every link once, and received something, which took so long; or nothing.
    #[inline]
    pub fn turned(&self, busy_ns: Option<u64>) {
        add(&self.turns, 1);
        match busy_ns {
            Some(nanos) => add(&self.busy_ns, nanos),
            None => add(&self.turns_empty, 1),
        }
    }

    /// How often the worker has gone round: its sign of life.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// A reading. What is read of a worker at work may be a turn apart.
    #[must_use]
    pub fn read(&self) -> LoadReport {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoadReport {
            turns: load(&self.turns),
            turns_empty: load(&self.turns_empty),
            busy_ns: load(&self.busy_ns),
            bursts: BURST_SIZES.iter().zip(&self.bursts).map(|(size, n)| (size.to_string(), load(n))).collect(),
        }
    }
}

/// How busy a worker was, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// How often it looked at every link once.
    pub turns: u64,
    /// How often it found nothing there.
    pub turns_empty: u64,
    /// Nanoseconds that the others took.
    pub busy_ns: u64,
    /// Bursts that it received, by the most frames that each size stands for: see [`BURST_SIZES`].
    pub bursts: Named<u64>,
}

impl LoadReport {
    /// Bursts of all sizes.
    #[must_use]
    pub fn bursts(&self) -> u64 {
        self.bursts.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_told_apart_by_size_and_none_is_too_large() {
        let load = Load::default();
        for frames in [1, 2, 3, 4, 5, 64, 65, 4096] {
            load.received(frames);
        }
        let bursts: Vec<u64> = load.read().bursts.iter().map(|(_, &count)| count).collect();
        assert_eq!(bursts, [1, 1, 2, 1, 0, 0, 3]);
        assert_eq!(load.read().bursts.get("4"), Some(&2));
    }

    #[test]
    fn only_turns_that_found_something_are_work() {
        let load = Load::default();
        [Some(700), None, Some(50), None, None].into_iter().for_each(|busy| load.turned(busy));
        let LoadReport { turns, turns_empty, busy_ns, .. } = load.read();
        assert_eq!((turns, turns_empty, busy_ns, load.turns()), (5, 3, 750, 5));
    }
}
