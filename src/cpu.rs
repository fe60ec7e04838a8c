//! What safe Rust cannot say about the CPU: prefetch and the cycle counter, each with a portable twin.
//!
//! The one file of this crate that may hold `unsafe`; everything it exports is safe to call with any argument.
#![allow(unsafe_code)]

/// Asks the CPU to bring the cache line of `value` in for reading. A hint: it changes nothing but time.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching is a hint that cannot fault and writes nothing; the address comes from a live reference.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The CPU's time-stamp counter where it has one, else nanoseconds of the monotonic clock: a number that only grows
/// and is cheap to read. Compare differences only.
#[inline(always)]
#[must_use]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `rdtsc` has no operands, touches no memory, and every x86-64 CPU has it.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    portable_cycles()
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_cycles() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_counters_only_grow() {
        let (tsc, portable) = (cycles(), portable_cycles());
        assert!(cycles() >= tsc);
        assert!(portable_cycles() >= portable);
    }

    #[test]
    fn prefetch_takes_any_reference() {
        prefetch(&[0u8; 0]);
        prefetch(&17u64);
        prefetch("text");
    }
}
