//! A set of frames of one burst.

use std::ops::{BitAnd, BitOr, BitOrAssign, Not, Sub};

/// Frames of a burst, by their places: a bit for each, least significant first. So a burst has at most
/// [`FRAMES_MAX`](Self::FRAMES_MAX) frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameSet(u64);

impl FrameSet {
    /// Places that a set knows.
    pub const FRAMES_MAX: usize = 64;
    /// No frame.
    pub const EMPTY: Self = Self(0);

    /// The frames whose bit is 1.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A bit for each frame.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// One frame, or none. A place beyond the last is none.
    #[inline(always)]
    #[must_use]
    pub const fn if_so(place: usize, so: bool) -> Self {
        Self(if place < Self::FRAMES_MAX { (so as u64) << place } else { 0 })
    }

    /// One frame.
    #[inline(always)]
    #[must_use]
    pub const fn of(place: usize) -> Self {
        Self::if_so(place, true)
    }

    /// Whether there is none.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[inline(always)]
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether a frame is among them.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, place: usize) -> bool {
        place < Self::FRAMES_MAX && self.0 >> place & 1 == 1
    }

    /// The same frames, at the places they have when those of `gone` are taken out of the burst.
    #[must_use]
    pub fn without(self, gone: Self) -> Self {
        let left = (0..Self::FRAMES_MAX).filter(|&place| !gone.contains(place));
        left.enumerate().map(|(now, place)| Self::if_so(now, self.contains(place))).fold(Self::EMPTY, Self::bitor)
    }

    /// The places, ascending.
    #[inline(always)]
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let place = left.trailing_zeros() as usize;
            (left != 0).then(|| {
                left &= left - 1;
                place
            })
        })
    }
}

impl FromIterator<usize> for FrameSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        places.into_iter().fold(Self::EMPTY, |set, place| set | Self::of(place))
    }
}

impl BitOr for FrameSet {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for FrameSet {
    #[inline(always)]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for FrameSet {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Those that are not in the other.
impl Sub for FrameSet {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Every place that is not in it, whether the burst has a frame there or not.
impl Not for FrameSet {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_what_they_say() {
        let set: FrameSet = [0, 3, 63].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 63]);
        assert_eq!((set.len(), set.contains(3), set.contains(4), set.contains(64)), (3, true, false, false));
        assert_eq!((set - FrameSet::of(3)) | FrameSet::of(5), [0, 5, 63].into_iter().collect());
        let gone: FrameSet = [1, 3].into_iter().collect();
        assert_eq!(set.without(gone), [0, 61].into_iter().collect(), "3 is gone, 63 is two places further ahead");
        assert_eq!((!FrameSet::EMPTY).without(gone).len(), 62);
        assert!((set & !set).is_empty() && FrameSet::of(64).is_empty() && FrameSet::if_so(1, false).is_empty());
        assert_eq!(FrameSet::from_bits(u64::MAX).len(), FrameSet::FRAMES_MAX);
    }
}
