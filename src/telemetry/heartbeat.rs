//! Signs of life: a thread beats each time it really goes round, somebody else looks whether the number moves.
//!
//! A thread that is watched beats at least once in [`PERIOD`], idle or not: it waits for work no longer than that. It must
//! not beat while it waits for something that may never come; then its silence is what is meant to be seen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a thread may wait for work before it beats again.
pub const PERIOD: Duration = Duration::from_secs(1);

/// The heart of one thread. Beating is a plain store to a word of its own; one thread beats, any may look.
#[derive(Debug)]
pub struct Heartbeat {
    name: &'static str,
    beats: AtomicU64,
}

impl Heartbeat {
    /// Of a thread that people know by this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, beats: AtomicU64::new(0) }
    }

    /// Whose it is.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The thread goes round.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has gone round.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_is_only_as_old_as_its_beats() {
        let heart = Heartbeat::new("control");
        assert_eq!((heart.name(), heart.beats()), ("control", 0));
        heart.beat();
        heart.beat();
        assert_eq!(heart.beats(), 2);
    }
}
