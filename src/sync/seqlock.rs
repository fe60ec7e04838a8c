//! Several numbers that are read together as they were written together: a sequence lock.
//!
//! One writer, which never waits; any readers, which look again when the writer was at work meanwhile. What is guarded are
//! atomics, read and written relaxed, so nothing here is undefined, whoever is wrong.
//!
//! The sequence number is odd while the writer is at work. Its first step must be seen before any of the numbers, hence the
//! release fence behind it; its last step after all of them, hence the release store. A reader that sees the same even
//! number before (acquire) and after (behind an acquire fence) has read nothing that was written between.

use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::{AtomicU64, Ordering, fence, hint, sleep};

/// Looks at full speed before a reader leaves its core to others.
const SPINS_MAX: usize = if cfg!(loom) { 2 } else { 1_000 };
/// Looks in all. The writer may have been taken off its CPU in the middle of its work.
const LOOKS_MAX: usize = if cfg!(loom) { 4 } else { SPINS_MAX + 10_000 };

/// The sequence number.
#[derive(Debug)]
pub struct Seqlock {
    sequence: CachePadded<AtomicU64>,
}

impl Default for Seqlock {
    fn default() -> Self {
        Self { sequence: CachePadded::new(AtomicU64::new(0)) }
    }
}

impl Seqlock {
    /// Changes what is guarded. For the one writer.
    #[inline]
    pub fn write(&self, change: impl FnOnce()) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// What `look` reads between two changes; and whether it does: of a writer that does not come back within about a
    /// second the reading may be uneven.
    pub fn read<T>(&self, mut look: impl FnMut() -> T) -> (T, bool) {
        let mut looks = 0;
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let seen = look();
            fence(Ordering::Acquire);
            let even = before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before;
            looks += 1;
            if even || looks == LOOKS_MAX {
                return (seen, even);
            }
            match looks {
                0..SPINS_MAX => hint::spin_loop(),
                _ => sleep(Duration::from_micros(100)),
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_together_is_read_together() {
        let (lock, [a, b]) = (Seqlock::default(), [const { AtomicU64::new(0) }; 2]);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 1..=200_000 {
                    lock.write(|| {
                        a.store(number, Ordering::Relaxed);
                        b.store(number, Ordering::Relaxed);
                    });
                }
            });
            let mut readings = 0;
            while !writer.is_finished() || readings < 100 {
                let (pair, even) = lock.read(|| (a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)));
                assert!(even && pair.0 == pair.1, "{pair:?}");
                readings += 1;
            }
        });
        assert_eq!(lock.read(|| a.load(Ordering::Relaxed)), (200_000, true));
    }
}

#[cfg(test)]
#[cfg(loom)]
mod check_loom {
    use super::super::thread;
    use super::*;
    use loom::sync::Arc;

    /// In every interleaving, with every stale value that the memory model allows, an even reading is of one change.
    #[test]
    fn loom_an_even_reading_is_of_one_change() {
        loom::model(|| {
            let shared = Arc::new((Seqlock::default(), AtomicU64::new(0), AtomicU64::new(0)));
            let theirs = shared.clone();
            let writer = thread::spawn(move || {
                let (lock, a, b) = &*theirs;
                for number in 1..=2 {
                    lock.write(|| {
                        a.store(number, Ordering::Relaxed);
                        b.store(number, Ordering::Relaxed);
                    });
                }
            });
            let (lock, a, b) = &*shared;
            let (pair, even) = lock.read(|| (a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)));
            assert!(!even || pair.0 == pair.1, "{pair:?}");
            writer.join().unwrap();
            let (pair, even) = lock.read(|| (a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)));
            assert_eq!((pair, even), ((2, 2), true));
        });
    }
}
