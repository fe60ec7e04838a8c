//! How planes share memory: the floor under the table, the settings and the counters.
//!
//! | | |
//! |---|---|
//! | [`quiescent`] | grace periods: when does no worker read the old state any more? (QSBR) |
//! | [`published`] | a value that changes seldom and whole, read without waiting |
//! | [`seqlock`] | several numbers that are read together as they were written together |
//!
//! Each is checked with `loom`, which enumerates every interleaving with the stale values that the memory model allows.
//! So atomics are taken from here: the standard library's, or those of a checker (`--cfg loom`; `--cfg shuttle` draws long
//! random histories). `scripts/test` runs them; the tests stand at the end of the files and in `table/check_*.rs`.

pub mod published;
pub mod quiescent;
pub mod seqlock;

#[cfg(loom)]
pub(crate) use loom::{
    hint,
    sync::atomic::{AtomicU64, Ordering, fence},
    thread,
};
#[cfg(shuttle)]
pub(crate) use shuttle::{
    hint,
    sync::atomic::{AtomicU64, Ordering, fence},
    thread,
};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::{
    hint,
    sync::atomic::{AtomicU64, Ordering, fence},
    thread,
};

use std::time::Duration;

/// A place that is filled once, by the one who owns it; others ask whether it is, and take a copy.
pub(crate) struct Once<T> {
    #[cfg(not(any(loom, shuttle)))]
    cell: std::sync::OnceLock<T>,
    /// Checkers have no such cell: a flag that is raised behind the value.
    #[cfg(any(loom, shuttle))]
    cell: (AtomicU64, std::sync::Mutex<Option<T>>),
}

#[cfg(not(any(loom, shuttle)))]
impl<T: Clone> Once<T> {
    pub(crate) fn new() -> Self {
        Self { cell: std::sync::OnceLock::new() }
    }

    /// Fills it; what comes too late is dropped.
    pub(crate) fn set(&self, value: T) {
        let _ = self.cell.set(value);
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.cell.get().is_some()
    }

    pub(crate) fn get(&self) -> Option<T> {
        self.cell.get().cloned()
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.cell.take()
    }
}

#[cfg(any(loom, shuttle))]
impl<T: Clone> Once<T> {
    pub(crate) fn new() -> Self {
        Self { cell: (AtomicU64::new(0), std::sync::Mutex::new(None)) }
    }

    pub(crate) fn set(&self, value: T) {
        let (flag, place) = &self.cell;
        *place.lock().expect("no panic inside") = Some(value);
        flag.store(1, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.cell.0.load(Ordering::Acquire) == 1
    }

    pub(crate) fn get(&self) -> Option<T> {
        let (_, place) = &self.cell;
        self.is_set().then(|| place.lock().expect("no panic inside").clone()).flatten()
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.cell.1.get_mut().expect("no panic inside").take()
    }
}

/// `count` words of zero, or nothing if the memory is not to be had.
///
/// From the operating system as untouched pages: what is not used costs no memory.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn zeroed(count: usize) -> Option<Box<[AtomicU64]>> {
    <[AtomicU64] as zerocopy::FromZeros>::new_box_zeroed_with_elems(count).ok()
}

/// As [`zeroed`], in huge pages if the system has them: a look-up somewhere in it then needs no page walk.
///
/// What is hashed into it touches every huge page soon, so an array has to be small for that, or filled: a larger one is in
/// ordinary pages until somebody says that it is ([`in_huge_pages`]).
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn zeroed_in_huge_pages(count: usize) -> Option<Box<[AtomicU64]>> {
    let words = zeroed(count)?;
    if size_of_val(&*words) <= HUGE_AT_ONCE_BYTES {
        crate::cpu::prefer_huge_pages(&words);
    } else {
        crate::cpu::prefer_ordinary_pages(&words);
    }
    Some(words)
}

/// Wishes for huge pages under an array whose ordinary pages were nearly all touched, or will be, from its front on.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn in_huge_pages(words: &[AtomicU64]) {
    crate::cpu::prefer_huge_pages(words);
}

#[cfg(any(loom, shuttle))]
pub(crate) fn in_huge_pages(_: &[AtomicU64]) {}

/// What an array may cost in memory though it is nearly empty.
#[cfg(not(any(loom, shuttle)))]
const HUGE_AT_ONCE_BYTES: usize = 128 << 20;

/// `count` words of zero.
#[cfg(any(loom, shuttle))]
pub(crate) fn zeroed(count: usize) -> Option<Box<[AtomicU64]>> {
    Some((0..count).map(|_| AtomicU64::new(0)).collect())
}

#[cfg(any(loom, shuttle))]
pub(crate) use self::zeroed as zeroed_in_huge_pages;

/// Leaves the core to others for about `time`.
pub(crate) fn sleep(time: Duration) {
    #[cfg(not(any(loom, shuttle)))]
    thread::sleep(time);
    #[cfg(any(loom, shuttle))]
    {
        let _ = time; // The checkers know no time.
        thread::yield_now();
    }
}
