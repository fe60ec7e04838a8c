//! Which prefix lengths are in use: a look-up probes each of them, longest first.
//!
//! At most [`LENGTHS_MAX`] a family. Per family and parity they are a list of 16 bytes in two words: each byte a
//! length plus one, the longest in the lowest byte, 0 after the last. A list of one parity changes only while every
//! reader reads the other, so its two words cannot tear.

use super::Family;
use super::bucket::VALID_EVEN;
use crate::sync::{AtomicU64, Ordering};

/// Different prefix lengths per family.
pub(super) const LENGTHS_MAX: usize = 16;

/// The lists of one parity: IPv4, IPv6.
struct Lists([[AtomicU64; 2]; 2]);

impl Lists {
    fn new() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))))
    }

    #[inline]
    fn get(&self, family: Family) -> &[AtomicU64; 2] {
        let [ipv4, ipv6] = &self.0;
        match family {
            Family::Ipv4 => ipv4,
            Family::Ipv6 => ipv6,
        }
    }
}

/// The shared part: one cache line.
pub(super) struct Lengths {
    even: Lists,
    odd: Lists,
}

impl Lengths {
    pub(super) fn new() -> Self {
        Self { even: Lists::new(), odd: Lists::new() }
    }

    #[inline]
    fn lists(&self, valid: u32) -> &Lists {
        if valid == VALID_EVEN { &self.even } else { &self.odd }
    }

    /// The lengths in use, longest first, for readers of the generations that `valid` stands for.
    #[inline]
    pub(super) fn in_use(&self, family: Family, valid: u32) -> InUse {
        let [first, second] = self.lists(valid).get(family);
        InUse(u128::from(second.load(Ordering::Acquire)) << 64 | u128::from(first.load(Ordering::Acquire)))
    }

    /// Stores what `counts` says for one parity.
    pub(super) fn store(&self, valid: u32, counts: &Counts) {
        for family in [Family::Ipv4, Family::Ipv6] {
            let list = counts.list(family);
            let [first, second] = self.lists(valid).get(family);
            first.store((list & 0xffff_ffff_ffff_ffff) as u64, Ordering::Release);
            second.store((list >> 64) as u64, Ordering::Release);
        }
    }
}

/// Prefix lengths, longest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct InUse(u128);

impl InUse {
    /// Those of which `keep` is true, in the same order.
    #[inline(always)]
    pub(super) fn retain(self, mut keep: impl FnMut(u8) -> bool) -> Self {
        let (mut kept, mut end) = (0, 0);
        for length in self {
            if keep(length) {
                kept |= (u128::from(length) + 1) << (end & 127);
                end += 8;
            }
        }
        Self(kept)
    }
}

impl Iterator for InUse {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let length = ((self.0 & 0xff) as u8).checked_sub(1)?;
        self.0 >>= 8;
        Some(length)
    }
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

    fn list(&self, family: Family) -> u128 {
        self.in_use(family).fold(0, |list, length| list << 8 | (u128::from(length) + 1))
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::super::bucket::VALID_ODD;
    use super::*;

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
