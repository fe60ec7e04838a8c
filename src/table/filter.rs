//! What says early that no key lies there.
//!
//! An address that nobody lists has a bucket for every prefix length in use, and each is a line that the worker would
//! wait for: whoever sends mail from such addresses would buy that wait. So before the bucket of a prefix is asked for, one
//! bit is: a Bloom filter of one hash, small enough to stay in the CPU's own caches. MACs and addresses in full length are
//! not in it: there is one bucket for each, it is fetched while other frames are looked at, and nearly always the key is there.
//!
//! Two levels: eight times as many *fine* bits as there can be keys, and a *coarse* bit for each word of fine bits, set while
//! that word is not 0. A table for four million keys has 4 MiB of the one and 64 KiB of the other, and with few prefixes in
//! it the coarse bit nearly always says no.
//!
//! # Groups of lengths
//!
//! A prefix has a second bit, which it shares with those of [like lengths](super::lengths::group) that have the same
//! beginning: 10.1.2.16/28 and 10.1.2.128/25 share that of 10.1.2.0 and the lengths 24 to 31. So one bit may tell that an
//! address has no prefix of eight lengths.
//!
//! # Never a wrong no
//!
//! Bits have no parity. They are set before the batch that inserts a key is published, and cleared when the batch that
//! removes the last key of a bit has settled: every reader has then moved on to a generation without it, as it must
//! before the key's slot is free. Whoever sees the generation of a key (Acquire) sees its bits, so the bits are read
//! Relaxed. How many keys a bit stands for is the writer's private book.
//!
//! # The hash
//!
//! Senders choose addresses, so it is drawn at random like the table's, but costs less, since a wrong yes costs no more than
//! a bucket. A word is multiplied by a secret odd number, folded, and multiplied by another, of which the upper bits
//! count: multiply-shift (Dietzfelbinger, Hagerup, Katajainen, Penttonen 1997), by which two different words share one of
//! m bits with probability at most 2/m. The two words of an IPv6 address are made one by the folded product of each plus a
//! secret (NH, of UMAC, RFC 4418).

use crate::sync::{AtomicU64, Ordering, in_huge_pages, zeroed_in_huge_pages};

use super::hash::{FilterSecret, scale};

/// Fine bits for each key of a full table.
const BITS_PER_KEY: u32 = 8;

/// Loom has a filter only where it is what is looked at, or the other models would branch on its loads for hours.
#[cfg(loom)]
pub(super) const KEYS_MIN: u32 = 20;

/// How many fine bits a filter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    bits: u32,
}

impl Size {
    pub(super) fn of(keys: u32) -> Self {
        #[cfg(loom)]
        if keys < KEYS_MIN {
            return Self { bits: 0 };
        }
        Self { bits: keys.saturating_mul(BITS_PER_KEY).max(1) }
    }

    fn fine_words(self) -> usize {
        self.bits.div_ceil(64) as usize
    }

    fn coarse_words(self) -> usize {
        self.fine_words().div_ceil(64)
    }

    /// Two counts of four bits in each.
    fn count_bytes(self) -> usize {
        self.bits.div_ceil(2) as usize
    }

    /// Bytes of bits and of the writer's counts.
    pub(super) fn bytes(self) -> u64 {
        (self.fine_words() + self.coarse_words()) as u64 * 8 + self.count_bytes() as u64
    }
}

/// Where a bit is: of a key, or of a group of prefixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u32);

/// The shared part.
pub(super) struct Filter {
    fine: Box<[AtomicU64]>,
    coarse: Box<[AtomicU64]>,
    bits: u32,
    secret: FilterSecret,
}

impl Filter {
    /// Empty; nothing if the memory is not to be had.
    pub(super) fn new(size: Size, secret: FilterSecret) -> Option<Self> {
        Some(Self {
            fine: zeroed_in_huge_pages(size.fine_words())?,
            coarse: zeroed_in_huge_pages(size.coarse_words())?,
            bits: size.bits,
            secret,
        })
    }

    /// The mark of an IPv4 prefix, as the word that the table compares.
    #[inline(always)]
    pub(super) fn ipv4(&self, word: u64) -> Mark {
        self.mark(word.wrapping_mul(self.secret.ipv4))
    }

    /// The mark of an IPv6 prefix: the words of its address, and scope and length.
    #[inline(always)]
    pub(super) fn ipv6(&self, ([upper, lower], meta): ([u64; 2], u32)) -> Mark {
        let FilterSecret { upper: a, lower: b, meta: c, .. } = self.secret;
        let product = u128::from(upper.wrapping_add(a)).wrapping_mul(u128::from(lower.wrapping_add(b)));
        let folded = (product >> 64) as u64 ^ (product & 0xffff_ffff_ffff_ffff) as u64;
        self.mark(folded.wrapping_add(u64::from(meta).wrapping_mul(c)))
    }

    #[inline(always)]
    fn mark(&self, word: u64) -> Mark {
        let hash = (word ^ (word >> 32)).wrapping_mul(self.secret.last);
        Mark(scale(hash, self.bits))
    }

    /// Whether a key may be in the table; a no is certain.
    #[inline(always)]
    pub(super) fn may_hold(&self, Mark(at): Mark) -> bool {
        let is_set = |words: &[AtomicU64], bit: u32| {
            // Beyond the last word is nothing; if it were, a yes would be the safe answer.
            words.get((bit >> 6) as usize).is_none_or(|word| word.load(Ordering::Relaxed) >> (bit & 63) & 1 != 0)
        };
        is_set(&self.coarse, at >> 6) && is_set(&self.fine, at)
    }

    /// Keys are on nearly every page now: large ones cost nothing more.
    pub(super) fn in_huge_pages(&self) {
        in_huge_pages(&self.fine);
    }

    fn set(&self, Mark(at): Mark) {
        let set = |words: &[AtomicU64], bit: u32| {
            if let Some(word) = words.get((bit >> 6) as usize) {
                word.store(word.load(Ordering::Relaxed) | 1 << (bit & 63), Ordering::Release);
            }
        };
        set(&self.fine, at);
        set(&self.coarse, at >> 6);
    }

    fn clear(&self, Mark(at): Mark) {
        let clear = |words: &[AtomicU64], bit: u32| match words.get((bit >> 6) as usize) {
            Some(word) => {
                let left = word.load(Ordering::Relaxed) & !(1 << (bit & 63));
                word.store(left, Ordering::Release);
                left == 0
            }
            None => false,
        };
        if clear(&self.fine, at) {
            clear(&self.coarse, at >> 6);
        }
    }
}

/// Marks, at most, that a batch's lists keep room for after it.
const KEPT_MAX: usize = 1 << 16;

/// How many keys each fine bit stands for: four bits each.
///
/// A full count is never left again, since what it should be is forgotten; by chance no bit of a million comes to that.
struct Counts(Box<[u8]>);

impl Counts {
    const FULL: u8 = 15;

    fn new(size: Size) -> Option<Self> {
        <[u8] as zerocopy::FromZeros>::new_box_zeroed_with_elems(size.count_bytes()).ok().map(Self)
    }

    /// Changes a count, unless it is full, and returns what it is then.
    fn change(&mut self, Mark(at): Mark, to: impl FnOnce(u8) -> u8) -> u8 {
        let Some(pair) = self.0.get_mut((at / 2) as usize) else { return Self::FULL };
        let shift = at % 2 * 4;
        let count = *pair >> shift & 15;
        if count == Self::FULL {
            return count;
        }
        let count = to(count) & 15;
        *pair = *pair & !(15 << shift) | count << shift;
        count
    }
}

/// The writer's part.
pub(super) struct Clerk {
    /// Keys of each fine bit, those included that the open or unsettled batch removes.
    counts: Counts,
    /// What the open batch has inserted.
    added: Vec<Mark>,
    /// What the open or unsettled batch has removed.
    removed: Vec<Mark>,
}

impl Clerk {
    /// Of an empty filter; nothing if the memory is not to be had.
    pub(super) fn new(size: Size) -> Option<Self> {
        Some(Self { counts: Counts::new(size)?, added: Vec::new(), removed: Vec::new() })
    }

    /// A key is inserted by the open batch.
    pub(super) fn add(&mut self, filter: &Filter, mark: Mark) {
        self.counts.change(mark, |count| count + 1);
        filter.set(mark);
        self.added.push(mark);
    }

    /// A key is removed by the open batch, and may be read until it settles.
    pub(super) fn remove(&mut self, mark: Mark) {
        self.removed.push(mark);
    }

    /// After the grace period of the batch: what it removed is read by nobody.
    pub(super) fn settle(&mut self, filter: &Filter) {
        self.added.clear();
        let removed = std::mem::take(&mut self.removed);
        self.removed = self.forget(filter, removed);
        self.added.shrink_to(KEPT_MAX);
    }

    /// Takes a batch back that was not published.
    pub(super) fn roll_back(&mut self, filter: &Filter) {
        self.removed.clear();
        let added = std::mem::take(&mut self.added);
        self.added = self.forget(filter, added);
        self.removed.shrink_to(KEPT_MAX);
    }

    /// Counts marks off, and returns their list, empty.
    fn forget(&mut self, filter: &Filter, mut marks: Vec<Mark>) -> Vec<Mark> {
        for mark in marks.drain(..) {
            if self.counts.change(mark, |count| count.saturating_sub(1)) == 0 {
                filter.clear(mark);
            }
        }
        marks.shrink_to(KEPT_MAX);
        marks
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;

    use super::super::hash::Secret;
    use super::*;

    fn new(keys: u32, seed: u64) -> (Filter, Clerk) {
        let size = Size::of(keys);
        let secret = FilterSecret::new(&Secret::from_seed(seed));
        (Filter::new(size, secret).unwrap(), Clerk::new(size).unwrap())
    }

    /// A key of each kind by turns, as regular as inventories are.
    fn mark(filter: &Filter, n: u32) -> Mark {
        match n % 2 {
            0 => filter.ipv4(u64::from(0x0a00_0000 + n) << 32 | 29),
            _ => filter.ipv6(([0x2001_0db8_0000_0000 | u64::from(n) << 8, 0], 64 << 8)),
        }
    }

    /// Share of `asked` that the filter lets through.
    fn passed(filter: &Filter, asked: std::ops::Range<u32>) -> f64 {
        let all = asked.len() as f64;
        asked.filter(|&n| filter.may_hold(mark(filter, n))).count() as f64 / all
    }

    #[test]
    fn what_is_not_there_is_seldom_taken_for_it() {
        for seed in 0..20 {
            let (filter, mut clerk) = new(30_000, seed);
            assert_eq!(passed(&filter, 0..30_000), 0.0, "an empty one says no");
            (0..300).for_each(|n| clerk.add(&filter, mark(&filter, n)));
            let few = passed(&filter, 100_000..130_000);
            assert!(few < 0.004, "seed {seed}: {few} of a table that is a hundredth full; 1/800 of the bits are set");
            (300..30_000).for_each(|n| clerk.add(&filter, mark(&filter, n)));
            let full = passed(&filter, 100_000..130_000);
            assert!((0.08..0.16).contains(&full), "seed {seed}: {full} of a full table; 12 % of the bits are set");
            assert_eq!(passed(&filter, 0..30_000), 1.0);
        }
    }

    #[test]
    fn prefixes_and_scopes_of_one_address_have_marks_of_their_own() {
        let (filter, _) = new(1 << 20, 3);
        let mut marks = HashSet::new();
        for length in 0..=32 {
            let mask = u64::MAX << (32 - length);
            marks.extend((0..4).map(|scope| filter.ipv4((0x0a01_0203 & mask) << 32 | scope << 16 | length).0));
        }
        for length in 0..=128 {
            marks.extend((0..4).map(|scope| filter.ipv6(([0x2001_0db8 << 32, 0], scope << 16 | length << 8)).0));
        }
        assert!(marks.len() > 4 * (33 + 129) - 3, "{} of 648", marks.len());
    }

    #[test]
    fn a_bit_goes_with_its_last_key_and_not_before_it_settles() {
        let (filter, mut clerk) = new(10, 1);
        let mark = Mark(70);
        clerk.add(&filter, mark);
        clerk.add(&filter, mark);
        clerk.settle(&filter);
        clerk.remove(mark);
        clerk.settle(&filter);
        assert!(filter.may_hold(mark), "another key has it");
        clerk.remove(mark);
        assert!(filter.may_hold(mark), "it may still be read");
        clerk.settle(&filter);
        assert!(!filter.may_hold(mark));
        assert!(filter.coarse.iter().chain(&filter.fine).all(|word| word.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn what_is_rolled_back_leaves_no_bit() {
        let (filter, mut clerk) = new(10, 1);
        clerk.add(&filter, Mark(3));
        clerk.settle(&filter);
        clerk.add(&filter, Mark(3));
        clerk.add(&filter, Mark(4));
        clerk.remove(Mark(3));
        clerk.roll_back(&filter);
        assert!(filter.may_hold(Mark(3)) && !filter.may_hold(Mark(4)));
        clerk.remove(Mark(3));
        clerk.settle(&filter);
        assert!(!filter.may_hold(Mark(3)));
    }

    #[test]
    fn a_count_that_was_full_keeps_its_bit() {
        let (filter, mut clerk) = new(10, 1);
        for mark in [6, 7] {
            (0..20).for_each(|_| clerk.add(&filter, Mark(mark)));
            clerk.settle(&filter);
            (0..20).for_each(|_| clerk.remove(Mark(mark)));
            clerk.settle(&filter);
            assert!(filter.may_hold(Mark(mark)));
        }
        assert!(!filter.may_hold(Mark(5)) && !filter.may_hold(Mark(8)));
    }

    proptest! {
        /// What is published, what an open batch has, and what the batch before removed, against maps that count keys.
        #[test]
        fn no_key_that_somebody_reads_is_ever_denied(
            batches in proptest::collection::vec((proptest::collection::vec((any::<bool>(), 0u32..40), 0..20), any::<bool>()), 0..40),
        ) {
            let (filter, mut clerk) = new(4, 1);
            let mut published: BTreeMap<u32, u32> = BTreeMap::new();
            for (edits, publish) in batches {
                let mut next = published.clone();
                for (insert, n) in edits {
                    let keys = next.entry(n).or_default();
                    match (insert, *keys) {
                        (true, _) => {
                            *keys += 1;
                            clerk.add(&filter, mark(&filter, n));
                        }
                        (false, 0) => {}
                        (false, _) => {
                            *keys -= 1;
                            clerk.remove(mark(&filter, n));
                        }
                    }
                    for (&n, &keys) in published.iter().chain(&next) {
                        prop_assert!(keys == 0 || filter.may_hold(mark(&filter, n)), "{n}");
                    }
                }
                if publish {
                    clerk.settle(&filter);
                    published = next;
                } else {
                    clerk.roll_back(&filter);
                }
                let bits: HashSet<u32> = published.iter().filter(|&(_, &keys)| keys > 0).map(|(&n, _)| mark(&filter, n).0).collect();
                prop_assert!(bits.iter().all(|&bit| filter.may_hold(Mark(bit))));
                let set: u32 = filter.fine.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
                prop_assert!(set as usize >= bits.len());
            }
        }
    }
}
