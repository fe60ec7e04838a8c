//! Which prefix lengths are in use: a look-up probes each of them, longest first.
//!
//! At most [`LENGTHS_MAX`] a family. Per parity they are four words: a bit for each length of IPv4, whether IPv6 addresses
//! of full length are in use, and a bit for each shorter length of IPv6, in two. The words of one parity change only while
//! every reader reads the other, so they cannot tear.

use super::bucket::VALID_EVEN;
use crate::model::Family;
use crate::sync::{AtomicU64, Ordering};

/// Different prefix lengths per family.
pub(super) const LENGTHS_MAX: usize = 16;

/// The lengths of one parity: IPv4, IPv6 in full length, IPv6 below 64, IPv6 from 64 on.
struct Sets([AtomicU64; 4]);

impl Sets {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// The shared part: one cache line.
pub(super) struct Lengths {
    even: Sets,
    odd: Sets,
}

impl Lengths {
    pub(super) fn new() -> Self {
        Self { even: Sets::new(), odd: Sets::new() }
    }

    #[inline]
    fn sets(&self, valid: u32) -> &[AtomicU64; 4] {
        if valid == VALID_EVEN { &self.even.0 } else { &self.odd.0 }
    }

    /// The lengths in use, for readers of the generations that `valid` stands for.
    #[inline]
    pub(super) fn in_use(&self, family: Family, valid: u32) -> InUse {
        let [ipv4, full, low, high] = self.sets(valid);
        let load = |word: &AtomicU64| word.load(Ordering::Acquire);
        match family {
            Family::Ipv4 => {
                let low = load(ipv4);
                InUse { full: low & IPV4_FULL != 0, high: 0, low: low & !IPV4_FULL }
            }
            Family::Ipv6 => InUse { full: load(full) != 0, high: load(high), low: load(low) },
        }
    }

    /// Stores what `counts` says for one parity.
    pub(super) fn store(&self, valid: u32, counts: &Counts) {
        let (v4, v6) = (counts.set(Family::Ipv4), counts.set(Family::Ipv6));
        let words = [if v4.full { v4.low | IPV4_FULL } else { v4.low }, v6.full.into(), v6.low, v6.high];
        for (at, word) in self.sets(valid).iter().zip(words) {
            at.store(word, Ordering::Release);
        }
    }
}

/// The bit of full addresses among those of IPv4.
const IPV4_FULL: u64 = 1 << 32;

/// Prefix lengths, longest first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InUse {
    /// The full length is one of them.
    pub(super) full: bool,
    /// A bit for each length from 64 to 127.
    high: u64,
    /// A bit for each length below 64.
    low: u64,
}

impl InUse {
    /// Whether no length is left.
    #[inline(always)]
    pub(super) const fn is_empty(self) -> bool {
        !self.full && self.high == 0 && self.low == 0
    }

    /// Those that are shorter than `length`.
    #[inline(always)]
    pub(super) const fn below(self, length: u8) -> Self {
        let (low, high) = match length {
            0..64 => (self.low & !(u64::MAX << length), 0),
            64..128 => (self.low, self.high & !(u64::MAX << (length & 63))),
            128.. => (self.low, self.high),
        };
        Self { full: false, low, high }
    }

    /// The longest below the full one for which `may` is true. Lengths of one [group](group) are asked about together first,
    /// if there are several, and passed over together if `may_any` is false of it.
    #[inline(always)]
    pub(super) fn first(self, may: impl Fn(u8) -> bool, may_any: impl Fn(u8) -> bool) -> Option<u8> {
        if self.high != 0
            && let Some(length) = first_of(self.high, |bit| may(64 + bit), |bit| may_any(64 + bit))
        {
            return Some(64 + length);
        }
        first_of(self.low, may, may_any)
    }
}

/// Takes bits out of `set`, the highest first, until `may` is true of one.
#[inline(always)]
fn first_of(mut set: u64, may: impl Fn(u8) -> bool, may_any: impl Fn(u8) -> bool) -> Option<u8> {
    let mut entered = 64;
    while let Some(bit) = set.checked_ilog2() {
        let of_group = bit & !7;
        let all = set & 0xff << of_group;
        if !all.is_power_of_two() && entered != of_group {
            if !may_any((of_group & 63) as u8) {
                set ^= all;
                continue;
            }
            entered = of_group;
        }
        set ^= 1 << bit;
        let bit = (bit & 63) as u8;
        if may(bit) {
            return Some(bit);
        }
    }
    None
}

/// Lengths that are asked about together: eight, named by the shortest.
#[inline(always)]
pub(super) const fn group(length: u8) -> u8 {
    length & !7
}

/// The writer's part: how many keys have each length.
#[derive(Clone)]
pub(super) struct Counts {
    ipv4: [u32; 33],
    ipv6: [u32; 129],
}

impl Counts {
    pub(super) fn new() -> Self {
        Self { ipv4: [0; 33], ipv6: [0; 129] }
    }

    fn of(&self, family: Family) -> &[u32] {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    fn count_mut(&mut self, family: Family, length: u8) -> Option<&mut u32> {
        match family {
            Family::Ipv4 => self.ipv4.get_mut(usize::from(length)),
            Family::Ipv6 => self.ipv6.get_mut(usize::from(length)),
        }
    }

    /// The lengths of a family that keys have, ascending.
    pub(super) fn in_use(&self, family: Family) -> impl Iterator<Item = u8> {
        (0u8..).zip(self.of(family)).filter(|&(_, &count)| count > 0).map(|(length, _)| length)
    }

    /// Whether one more key of this length can be told to readers.
    pub(super) fn has_room(&self, family: Family, length: u8) -> bool {
        self.of(family).get(usize::from(length)).is_some_and(|&count| count > 0)
            || self.in_use(family).count() < LENGTHS_MAX
    }

    pub(super) fn add(&mut self, family: Family, length: u8) {
        if let Some(count) = self.count_mut(family, length) {
            *count += 1;
        }
    }

    pub(super) fn subtract(&mut self, family: Family, length: u8) {
        if let Some(count) = self.count_mut(family, length) {
            *count = count.saturating_sub(1);
        }
    }

    fn set(&self, family: Family) -> InUse {
        let mut set = InUse::default();
        for length in self.in_use(family) {
            match length {
                32 if family == Family::Ipv4 => set.full = true,
                0..64 => set.low |= 1 << length,
                64..128 => set.high |= 1 << (length - 64),
                128.. => set.full = true,
            }
        }
        set
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::super::bucket::VALID_ODD;
    use super::*;

    /// What the full length of either family is called here.
    const FULL: u8 = 255;

    impl Iterator for InUse {
        type Item = u8;

        fn next(&mut self) -> Option<u8> {
            let first = if self.full { Some(FULL) } else { self.first(|_| true, |_| true) };
            *self = self.below(first?);
            first
        }
    }

    #[test]
    fn lengths_are_listed_longest_first_and_for_one_parity() {
        let (lengths, mut counts) = (Lengths::new(), Counts::new());
        for length in (0..=120).step_by(8) {
            assert!(counts.has_room(Family::Ipv6, length));
            counts.add(Family::Ipv6, length);
        }
        assert!(!counts.has_room(Family::Ipv6, 128), "sixteen are in use");
        assert!(counts.has_room(Family::Ipv6, 64), "this one already is");
        assert!(counts.has_room(Family::Ipv4, 32), "the other family");
        lengths.store(VALID_ODD, &counts);

        let listed: Vec<u8> = lengths.in_use(Family::Ipv6, VALID_ODD).collect();
        assert_eq!(listed, (0..=120).step_by(8).rev().collect::<Vec<u8>>());
        assert_eq!(lengths.in_use(Family::Ipv6, VALID_EVEN).count(), 0);
        assert_eq!(lengths.in_use(Family::Ipv4, VALID_ODD).count(), 0);
    }

    #[test]
    fn the_longest_length_there_is_comes_first() {
        let (lengths, mut counts) = (Lengths::new(), Counts::new());
        for length in [0, 1, 63, 64, 127, 128] {
            counts.add(Family::Ipv6, length);
        }
        [32, 31, 0].into_iter().for_each(|length| counts.add(Family::Ipv4, length));
        lengths.store(VALID_EVEN, &counts);
        assert_eq!(lengths.in_use(Family::Ipv6, VALID_EVEN).collect::<Vec<_>>(), [FULL, 127, 64, 63, 1, 0]);
        assert_eq!(lengths.in_use(Family::Ipv4, VALID_EVEN).collect::<Vec<_>>(), [FULL, 31, 0]);
    }

    #[test]
    fn lengths_of_a_group_are_passed_over_together() {
        let (lengths, mut counts) = (Lengths::new(), Counts::new());
        for length in [128, 71, 64, 63, 60, 56, 40] {
            counts.add(Family::Ipv6, length);
        }
        lengths.store(VALID_EVEN, &counts);
        let asked = |groups: &[u8], lengths: InUse| {
            let (asked, groups_asked) = (std::cell::RefCell::new(Vec::new()), std::cell::RefCell::new(Vec::new()));
            let may = |length| {
                asked.borrow_mut().push(length);
                false
            };
            let may_any = |group| {
                groups_asked.borrow_mut().push(group);
                groups.contains(&group)
            };
            assert_eq!(lengths.first(may, may_any), None);
            (asked.into_inner(), groups_asked.into_inner())
        };
        let all = lengths.in_use(Family::Ipv6, VALID_EVEN);
        assert_eq!(asked(&[], all), (vec![40], vec![64, 56]), "a length alone in its group is asked about itself");
        assert_eq!(asked(&[56], all), (vec![63, 60, 56, 40], vec![64, 56]));
        assert_eq!(all.first(|length| length == 60, |_| true), Some(60));
        assert_eq!(all.below(60).collect::<Vec<_>>(), [56, 40]);
    }

    #[test]
    fn a_length_is_in_use_until_its_last_key_goes() {
        let mut counts = Counts::new();
        counts.add(Family::Ipv4, 24);
        counts.add(Family::Ipv4, 24);
        counts.subtract(Family::Ipv4, 24);
        assert_eq!(counts.in_use(Family::Ipv4).collect::<Vec<_>>(), [24]);
        counts.subtract(Family::Ipv4, 24);
        assert_eq!(counts.in_use(Family::Ipv4).count(), 0);
    }
}
