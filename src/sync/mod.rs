//! What planes share memory by: where atomics come from, and grace periods.
//!
//! Atomics come from the standard library, or a checker that explores interleavings.
//!
//! `--cfg loom` enumerates them all (with the stale values that the memory model allows), `--cfg shuttle` draws long
//! random ones. `table/check_loom.rs` and `table/check_shuttle.rs` say how to run them.

pub mod quiescent;

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

/// `count` words of zero, or nothing if the memory is not to be had.
///
/// From the operating system as untouched pages, huge ones if it has them: a large table costs no memory before it is
/// used, and a look-up somewhere in it no page walk.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn zeroed(count: usize) -> Option<Box<[AtomicU64]>> {
    let words = <[AtomicU64] as zerocopy::FromZeros>::new_box_zeroed_with_elems(count).ok()?;
    crate::cpu::prefer_huge_pages(&words);
    Some(words)
}

/// `count` words of zero.
#[cfg(any(loom, shuttle))]
pub(crate) fn zeroed(count: usize) -> Option<Box<[AtomicU64]>> {
    Some((0..count).map(|_| AtomicU64::new(0)).collect())
}

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
