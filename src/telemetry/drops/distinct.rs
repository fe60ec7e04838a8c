//! How many different addresses were seen, about, in 64 bytes.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::LazyLock;

/// Linear counting (Whang and others, 1990): each address sets one of 512 bits, and how many are still unset says how many there
/// were. Exact for few, within a tenth up to some 1,000, and no more than 3,194.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Distinct([u64; 8]);

/// Nobody can choose addresses that look like one.
static SECRET: LazyLock<std::hash::RandomState> = LazyLock::new(std::hash::RandomState::new);

impl Distinct {
    pub(super) fn add(&mut self, address: IpAddr) {
        let hash = SECRET.hash_one(address);
        if let Some(word) = self.0.get_mut((hash >> 6 & 7) as usize) {
            *word |= 1 << (hash & 63);
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 3,194")]
    pub(super) fn count(&self) -> u32 {
        let unset: u32 = self.0.iter().map(|word| word.count_zeros()).sum();
        (512.0 * (512.0 / f64::from(unset.max(1))).ln()).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_about_right() {
        let mut distinct = Distinct::default();
        assert_eq!(distinct.count(), 0);
        for _ in 0..1_000 {
            distinct.add([192, 0, 2, 25].into());
        }
        assert_eq!(distinct.count(), 1);
        for number in 0..500_u32 {
            distinct.add(IpAddr::from(number.to_be_bytes()));
        }
        // The bits are drawn at random: the deviation is a twentieth, so this is eight of them.
        assert!((300..700).contains(&distinct.count()), "{}", distinct.count());
        (0..1_000_000_u32).for_each(|number| distinct.add(IpAddr::from(number.to_be_bytes())));
        assert_eq!(distinct.count(), 3194);
    }
}
