//! Notices a worker that has stopped turning.
//!
//! A worker that hangs (a driver's bug, a stopped thread) forwards nothing and holds every change up, so the process
//! ends and its supervisor starts a new one. The watchdog counts its own ticks instead of reading a clock: when the whole
//! machine stands still, so do they, and nobody is blamed.

use std::time::Duration;

/// How often the watchdog looks.
pub const TICK: Duration = Duration::from_millis(100);

/// Ticks without a turn after which a worker counts as stalled: 4 s, so that the process ends within 5.
const STALLED_TICKS: u32 = 40;

/// What is known of each worker.
#[derive(Clone, Debug)]
pub struct Watchdog {
    workers: Vec<(u64, u32)>,
}

impl Watchdog {
    /// For so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers: vec![(u64::MAX, 0); workers] }
    }

    /// One tick: takes every worker's turns so far and answers with the first that has stalled.
    pub fn tick(&mut self, turns: impl IntoIterator<Item = u64>) -> Option<usize> {
        let mut stalled = None;
        for (at, (worker, now)) in self.workers.iter_mut().zip(turns).enumerate() {
            let (seen, still) = worker;
            *still = if *seen == now { *still + 1 } else { 0 };
            *seen = now;
            if *still >= STALLED_TICKS {
                stalled = stalled.or(Some(at));
            }
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_that_stays_still_is_stalled() {
        let mut watchdog = Watchdog::new(2);
        for turn in 0..1000 {
            assert_eq!(watchdog.tick([turn, turn / 20]), None, "slow is not stalled");
        }
        for tick in 0..STALLED_TICKS {
            assert_eq!(watchdog.tick([1000 + u64::from(tick), 50]), None, "tick {tick}");
        }
        assert_eq!(watchdog.tick([2000, 50]), Some(1));
    }
}
