//! What safe Rust cannot say about the CPU: prefetch, huge pages. Each is a hint.
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

/// Asks the kernel to back a large array with huge pages where it can, best before anything is written to it: a look-up that
/// touches a line anywhere in it then seldom waits for a page walk. A wish: what the array holds does not change, and
/// where the kernel has no huge pages nothing happens.
pub fn prefer_huge_pages<T>(array: &[T]) {
    advise(array, rustix::mm::Advice::LinuxHugepage);
}

/// Asks the kernel not to do so on its own account: where little is written to a large array, here and there, each huge
/// page would cost 2 MiB of memory.
pub fn prefer_ordinary_pages<T>(array: &[T]) {
    advise(array, rustix::mm::Advice::LinuxNoHugepage);
}

fn advise<T>(array: &[T], advice: rustix::mm::Advice) {
    const PAGE_BYTES: usize = 4096;
    debug_assert!(matches!(advice, rustix::mm::Advice::LinuxHugepage | rustix::mm::Advice::LinuxNoHugepage));
    let (first, last) = (array.as_ptr().addr(), array.as_ptr().addr() + size_of_val(array));
    let (start, end) = (first.next_multiple_of(PAGE_BYTES), last / PAGE_BYTES * PAGE_BYTES);
    if start < end {
        let address = array.as_ptr().cast::<core::ffi::c_void>().cast_mut().wrapping_byte_add(start - first);
        // SAFETY: the range is whole pages inside a live allocation of ours; advice about huge pages (nothing else is given
        // here) changes how they are backed, never what they hold, so the shared reference stays true.
        let _ = unsafe { rustix::mm::madvise(address, end - start, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_change_nothing_but_time() {
        for length in [0, 1, 511, 512, 4096, 3 << 20] {
            let array = vec![7u64; length];
            prefer_huge_pages(&array);
            assert!(array.iter().all(|&word| word == 7), "{length}");
        }
    }

    #[test]
    fn prefetch_takes_any_reference() {
        prefetch(&[0u8; 0]);
        prefetch(&17u64);
        prefetch("text");
    }
}
