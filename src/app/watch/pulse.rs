//! Notices a thread that has stopped turning.
//!
//! A worker that hangs (a driver's bug, a stopped thread) forwards nothing and holds every change up; a control thread
//! that hangs leaves the box deaf. So the process ends and its supervisor starts a new one. Ticks are counted instead of
//! reading a clock: when the whole machine stands still, so do they, and nobody is blamed.

use std::fmt;
use std::time::Duration;

/// How often it is looked.
pub const TICK: Duration = Duration::from_millis(100);

/// How long a thread may stand still: 4 s, so that the process ends within 5.
pub const STALLED: Ticks = Ticks(40);

/// The same for the thread that talks to drivers about links, some of which take seconds to answer.
pub const STALLED_IN_A_DRIVER: Ticks = Ticks(200);

/// So many times [`TICK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u32);

impl Ticks {
    /// As many as fit into a time, but at least one.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        Self(u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1))
    }
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", (TICK * self.0).as_secs())
    }
}

/// What one thread showed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    beats: u64,
    still: u32,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { beats: u64::MAX, still: 0 }
    }
}

impl Pulse {
    /// One tick: how long the thread has stood still, by the number of its beats so far.
    pub fn tick(&mut self, beats: u64) -> Ticks {
        self.still = if self.beats == beats { self.still.saturating_add(1) } else { 0 };
        self.beats = beats;
        Ticks(self.still)
    }

    /// How long it has stood still.
    #[must_use]
    pub fn still(&self) -> Ticks {
        Ticks(self.still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_that_stays_still_is_stalled() {
        let (mut quick, mut slow) = (Pulse::default(), Pulse::default());
        for turn in 0..1000 {
            assert!(quick.tick(turn) < STALLED && slow.tick(turn / 20) < STALLED, "slow is not stalled");
        }
        for tick in 1..=STALLED.0 {
            assert_eq!(quick.tick(1000 + u64::from(tick)), Ticks(0));
            assert_eq!(slow.tick(50), Ticks(tick - 1));
        }
        assert_eq!(slow.tick(50), STALLED);
        assert_eq!(slow.tick(51), Ticks(0), "it has come back");
    }

    #[test]
    fn a_thread_that_never_beat_is_stalled_too() {
        let mut pulse = Pulse::default();
        let still = (0..=STALLED.0).map(|_| pulse.tick(0)).last();
        assert_eq!(still, Some(STALLED));
        assert_eq!(STALLED.to_string(), "4 s");
    }
}
