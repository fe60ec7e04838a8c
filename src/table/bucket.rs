//! How keys lie in memory: buckets of whole cache lines, made of plain 64-bit words.
//!
//! A bucket has [`SLOTS`] slots, each a key and a 32-bit *value*, and a 32-bit *link* to the next bucket of its
//! chain. Values and link share three words (two halves each), so one reader sees two values per load; the one writer
//! changes a half by storing the word with its other half repeated.
//!
//! ```text
//! narrow, 8 words = 64 bytes     key0 key1 key2 key3 key4 │ value0,value1 value2,value3 value4,link
//! wide, 16 words = 128 bytes     value0,value1 value2,value3 value4,link │ meta0,meta1 meta2,meta3 meta4,- │ address0
//!                                address1 address2 address3 address4
//! ```
//!
//! A value is a VM index with marks above it; 0 is an empty slot:
//!
//! ```text
//! 31 valid_odd │ 30 valid_even │ 29 the key is an IPv4 prefix │ 28..0 VM index
//! ```
//!
//! A narrow key fills its word (MAC 48 bits, scope 16; or address 32, scope 16, length 8), so the kind of key stands
//! in the value; a MAC and a prefix are never equal. A wide key is an IPv6 address and a meta word (scope 16, length
//! 8, and 8 bits of the hash, which let a miss be a matter of the first line nearly always).
//!
//! Words and not structs because only words can be had lazily zeroed and aligned to the line without `unsafe`: an
//! allocation with a larger alignment than `malloc`'s is filled by hand, which would cost a small installation the
//! memory of a full table.

use crate::model::VmIndex;
use crate::sync::{AtomicU64, Ordering};

/// Keys per bucket.
pub(super) const SLOTS: usize = 5;
/// Words of the largest bucket; what a store's first word is aligned to.
pub(super) const WORDS_MAX: usize = 16;

/// Valid in generations of even number.
pub(super) const VALID_EVEN: u32 = 1 << 30;
/// Valid in generations of odd number.
pub(super) const VALID_ODD: u32 = 1 << 31;
/// The key of the slot is an IPv4 prefix; without it, a MAC or an IPv6 prefix.
pub(super) const IPV4: u32 = 1 << 29;
/// The VM index.
pub(super) const INDEX: u32 = IPV4 - 1;

/// The VM of a value.
#[inline]
pub(super) const fn vm(value: u32) -> VmIndex {
    VmIndex(value & INDEX)
}

/// What a bucket's three words of values and link say at one moment.
#[derive(Clone, Copy)]
pub(super) struct Values {
    pub(super) slots: [u32; SLOTS],
    /// Number of the next bucket of the chain, 0 at its end.
    pub(super) link: u32,
}

#[inline]
const fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

#[inline]
const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// A key and where to look for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probe<K> {
    pub(super) key: K,
    pub(super) hash: u64,
    /// [`IPV4`] or nothing: what the value of this key carries.
    pub(super) kind: u32,
}

/// A bucket of either width. Nothing here can panic, whatever the arguments.
pub(super) trait Bucket: Sized {
    /// What is compared.
    type Key: Copy;
    /// Size of the bucket.
    const WORDS: usize;

    /// `words` as buckets, a rest left out.
    fn all(words: &[AtomicU64]) -> &[Self];
    /// Values 0 to 4 and the link.
    fn halves(&self) -> &[AtomicU64; 3];
    /// Whether the key of a slot is `key`. Means something only while the slot is valid for the caller.
    fn holds(&self, slot: usize, key: Self::Key) -> bool;
    /// The key of a slot, for the one writer.
    fn key(&self, slot: usize) -> Option<Self::Key>;
    /// Writes the key of a slot that is valid for nobody.
    fn write_key(&self, slot: usize, key: Self::Key);
    /// Asks the CPU for all of the bucket.
    fn prefetch(&self);

    /// All values (Acquire: loaded before any key).
    #[inline]
    fn values(&self) -> Values {
        let [a, b, c] = self.halves();
        let (a, b, c) = (a.load(Ordering::Acquire), b.load(Ordering::Acquire), c.load(Ordering::Acquire));
        Values { slots: [low(a), high(a), low(b), high(b), low(c)], link: high(c) }
    }

    /// Stores a value (Release: after the key). For the one writer.
    fn set_value(&self, slot: usize, value: u32) {
        if slot < SLOTS {
            self.set_half(slot, value);
        }
    }

    /// Stores the link. For the one writer.
    fn set_link(&self, link: u32) {
        self.set_half(SLOTS, link);
    }

    /// Stores one of six halves. For the one writer, or the other half could be lost.
    fn set_half(&self, half: usize, value: u32) {
        if let Some(word) = self.halves().get(half / 2) {
            let old = word.load(Ordering::Relaxed);
            let new = match half % 2 {
                0 => old & !0xffff_ffff | u64::from(value),
                _ => old & 0xffff_ffff | u64::from(value) << 32,
            };
            word.store(new, Ordering::Release);
        }
    }
}

/// Five MACs or IPv4 prefixes in one cache line.
pub(super) type Narrow = [AtomicU64; 8];

impl Bucket for Narrow {
    type Key = u64;
    const WORDS: usize = 8;

    #[inline]
    fn all(words: &[AtomicU64]) -> &[Self] {
        words.as_chunks().0
    }

    #[inline]
    fn halves(&self) -> &[AtomicU64; 3] {
        let [_, _, _, _, _, halves @ ..] = self;
        halves
    }

    #[inline]
    fn holds(&self, slot: usize, key: u64) -> bool {
        let [keys @ .., _, _, _] = self;
        keys.get(slot).is_some_and(|word| word.load(Ordering::Relaxed) == key)
    }

    fn key(&self, slot: usize) -> Option<u64> {
        let [keys @ .., _, _, _] = self;
        keys.get(slot).map(|word| word.load(Ordering::Relaxed))
    }

    fn write_key(&self, slot: usize, key: u64) {
        let [keys @ .., _, _, _] = self;
        if let Some(word) = keys.get(slot) {
            word.store(key, Ordering::Relaxed);
        }
    }

    #[inline]
    fn prefetch(&self) {
        crate::cpu::prefetch(self);
    }
}

/// Five IPv6 prefixes in two cache lines.
pub(super) type Wide = [AtomicU64; 16];

/// An IPv6 prefix: the address in two words, and scope, length and 8 bits of the hash in a half.
#[derive(Clone, Copy, Debug)]
pub(super) struct WideKey {
    pub(super) address: [u64; 2],
    pub(super) meta: u32,
}

impl Bucket for Wide {
    type Key = WideKey;
    const WORDS: usize = 16;

    #[inline]
    fn all(words: &[AtomicU64]) -> &[Self] {
        words.as_chunks().0
    }

    #[inline]
    fn halves(&self) -> &[AtomicU64; 3] {
        let [halves @ .., _, _, _, _, _, _, _, _, _, _, _, _, _] = self;
        halves
    }

    #[inline]
    fn holds(&self, slot: usize, key: WideKey) -> bool {
        let is = |word: usize, value: u64| self.get(word).is_some_and(|at| at.load(Ordering::Relaxed) == value);
        let meta = self.get(3 + slot / 2).map_or(0, |word| word.load(Ordering::Relaxed));
        let meta = if slot.is_multiple_of(2) { low(meta) } else { high(meta) };
        let [upper, lower] = key.address;
        meta == key.meta && is(6 + 2 * slot, upper) && is(7 + 2 * slot, lower)
    }

    fn key(&self, slot: usize) -> Option<WideKey> {
        let load = |word: usize| self.get(word).map(|at| at.load(Ordering::Relaxed));
        let metas = load(3 + slot / 2)?;
        let meta = if slot.is_multiple_of(2) { low(metas) } else { high(metas) };
        Some(WideKey { address: [load(6 + 2 * slot)?, load(7 + 2 * slot)?], meta })
    }

    fn write_key(&self, slot: usize, key: WideKey) {
        let [upper, lower] = key.address;
        let words = (self.get(3 + slot / 2), self.get(6 + 2 * slot), self.get(7 + 2 * slot));
        let (Some(metas), Some(first), Some(second)) = words else { return };
        let old = metas.load(Ordering::Relaxed);
        let new = match slot % 2 {
            0 => old & !0xffff_ffff | u64::from(key.meta),
            _ => old & 0xffff_ffff | u64::from(key.meta) << 32,
        };
        metas.store(new, Ordering::Relaxed);
        first.store(upper, Ordering::Relaxed);
        second.store(lower, Ordering::Relaxed);
    }

    #[inline]
    fn prefetch(&self) {
        let [first, .., last] = self;
        crate::cpu::prefetch(first);
        crate::cpu::prefetch(last);
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_whole_cache_lines() {
        assert_eq!((size_of::<Narrow>(), size_of::<Wide>()), (64, 128));
        assert_eq!(Narrow::WORDS * 8, size_of::<Narrow>());
        assert_eq!(Wide::WORDS * 8, size_of::<Wide>());
        const { assert!(Narrow::WORDS <= WORDS_MAX && Wide::WORDS <= WORDS_MAX) };
    }

    fn slots_do_not_overlap<B: Bucket>(bucket: &B, key: impl Fn(u64) -> B::Key) {
        for (slot, value) in (0..SLOTS).zip(100u32..) {
            bucket.write_key(slot, key(slot as u64 + 1));
            bucket.set_value(slot, value);
        }
        bucket.set_link(77);
        let values = bucket.values();
        assert_eq!((values.slots, values.link), ([100, 101, 102, 103, 104], 77));
        for slot in 0..SLOTS {
            for other in 0..SLOTS {
                assert_eq!(bucket.holds(slot, key(other as u64 + 1)), slot == other);
            }
            assert!(bucket.holds(slot, bucket.key(slot).unwrap()));
        }
        bucket.set_value(SLOTS, 1);
        bucket.write_key(SLOTS, key(9));
        bucket.write_key(SLOTS + 20, key(9));
        assert!(!bucket.holds(SLOTS + 20, key(9)));
        assert_eq!(bucket.values().link, 77, "slots that do not exist change nothing");
    }

    #[test]
    fn narrow_slots_do_not_overlap() {
        let bucket: Narrow = std::array::from_fn(|_| AtomicU64::new(0));
        slots_do_not_overlap(&bucket, |n| n);
    }

    #[test]
    fn wide_slots_do_not_overlap() {
        let bucket: Wide = std::array::from_fn(|_| AtomicU64::new(0));
        slots_do_not_overlap(&bucket, |n| WideKey { address: [n, !n], meta: (n & 0xff) as u32 });
    }

    #[test]
    fn every_part_of_a_wide_key_is_compared() {
        let bucket: Wide = std::array::from_fn(|_| AtomicU64::new(0));
        bucket.write_key(3, WideKey { address: [1, 2], meta: 3 });
        assert!(bucket.holds(3, WideKey { address: [1, 2], meta: 3 }));
        for (upper, lower, meta) in [(0, 2, 3), (1, 0, 3), (1, 2, 0)] {
            assert!(!bucket.holds(3, WideKey { address: [upper, lower], meta }));
        }
    }
}
