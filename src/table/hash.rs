//! Which bucket a key belongs to: a hash that tenants cannot aim at.
//!
//! Tenants choose MACs and the low half of their IPv6 addresses, so the function is drawn at random at start and never
//! leaves the process. Two stages:
//!
//! 1. Multiply-shift (Dietzfelbinger 1996; in vector form Dietzfelbinger, Gil, Matias, Pippenger 1992): the upper 64
//!    of the 128 bits of `b + a1*x1 + a2*x2 + ...` modulo 2^128, for 64-bit words x and secret 128-bit words a and b.
//!    As 128 >= 64 + 64 - 1 it is *strongly universal*: the hashes of any two different keys are independent and
//!    uniform over 64 bits.
//! 2. A fixed bijection of 64 bits (xor-shift, multiply by a secret odd word, xor-shift, multiply). It keeps that
//!    property exactly, and breaks up the straight lines that stage 1 draws through consecutive addresses, which for
//!    an unlucky `a` would fall into few buckets.
//!
//! The bucket is `hash * buckets / 2^64`. So two different keys meet in a bucket with probability at most
//! (1 + buckets/2^64)^2 / buckets, whoever chose them, and a look-up meets at most keys/buckets foreign keys on
//! average. MACs and IPv4 prefixes share a store but have secrets of their own, which makes them independent too.

use std::fmt;

/// What the hash is drawn from.
#[derive(Clone)]
pub struct Secret([u64; Self::WORDS]);

impl Secret {
    const WORDS: usize = 23;

    /// From the operating system's generator.
    ///
    /// # Errors
    /// The system has no such generator, or refuses.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut words = [0; Self::WORDS];
        for word in &mut words {
            *word = getrandom::u64()?;
        }
        Ok(Self(words))
    }

    /// The same every time: for tests and benches.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the hash of the [filter](super::filter) is drawn from; what is multiplied by is odd.
#[derive(Clone, Copy)]
pub(super) struct FilterSecret {
    pub(super) ipv4: u64,
    pub(super) upper: u64,
    pub(super) lower: u64,
    pub(super) meta: u64,
    pub(super) last: u64,
}

impl FilterSecret {
    pub(super) fn new(secret: &Secret) -> Self {
        let [.., a, upper, lower, b, c] = secret.0;
        Self { ipv4: a | 1, upper, lower, meta: b | 1, last: c | 1 }
    }
}

/// The function that was drawn.
pub(super) struct Hash {
    mac: (u128, u128),
    ipv4: (u128, u128),
    ipv6: ([u128; 3], u128),
    odd: [u64; 2],
}

impl Hash {
    pub(super) fn new(secret: &Secret) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, ..] = secret.0;
        let wide = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        Self {
            mac: (wide(a, b), wide(c, d)),
            ipv4: (wide(e, f), wide(g, h)),
            ipv6: ([wide(i, j), wide(k, l), wide(m, n)], wide(o, p)),
            odd: [q | 1, r | 1],
        }
    }

    #[inline]
    pub(super) fn mac(&self, word: u64) -> u64 {
        let (a, b) = self.mac;
        self.scatter(a.wrapping_mul(u128::from(word)).wrapping_add(b))
    }

    #[inline]
    pub(super) fn ipv4(&self, word: u64) -> u64 {
        let (a, b) = self.ipv4;
        self.scatter(a.wrapping_mul(u128::from(word)).wrapping_add(b))
    }

    #[inline]
    pub(super) fn ipv6(&self, words: [u64; 3]) -> u64 {
        let ([a0, a1, a2], b) = self.ipv6;
        let [x0, x1, x2] = words.map(u128::from);
        let sum = a0.wrapping_mul(x0).wrapping_add(a1.wrapping_mul(x1)).wrapping_add(a2.wrapping_mul(x2));
        self.scatter(sum.wrapping_add(b))
    }

    #[inline]
    fn scatter(&self, product: u128) -> u64 {
        let [odd0, odd1] = self.odd;
        let hash = (product >> 64) as u64;
        let hash = (hash ^ (hash >> 32)).wrapping_mul(odd0);
        (hash ^ (hash >> 32)).wrapping_mul(odd1)
    }
}

/// `hash` scaled down to below `buckets`.
#[inline]
pub(super) fn scale(hash: u64, buckets: u32) -> u32 {
    let scaled = (u128::from(hash) * u128::from(buckets)) >> 64; // Below `buckets`.
    (scaled & 0xffff_ffff) as u32
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    /// How many buckets hold more than three times the average, over keys of a regular shape.
    fn crowded(seed: u64, key: impl Fn(&Hash, u64) -> u64) -> usize {
        const BUCKETS: u32 = 4096;
        let hash = Hash::new(&Secret::from_seed(seed));
        let mut load = vec![0u32; BUCKETS as usize];
        for n in 0..u64::from(BUCKETS) * 5 {
            *load.get_mut(scale(key(&hash, n), BUCKETS) as usize).unwrap() += 1;
        }
        load.into_iter().filter(|&keys| keys > 15).count()
    }

    #[test]
    fn regular_addresses_spread_like_random_ones() {
        // A Poisson distribution with mean 5 has 0.007 % above 15: 0.3 of 4096 buckets.
        for seed in 0..20 {
            assert!(crowded(seed, |hash, n| hash.mac(n << 16)) < 8, "consecutive MACs, seed {seed}");
            assert!(crowded(seed, |hash, n| hash.ipv4(n << 40)) < 8, "one address of each /24, seed {seed}");
            assert!(crowded(seed, |hash, n| hash.ipv6([n, 0, 64])) < 8, "consecutive /64s, seed {seed}");
            assert!(crowded(seed, |hash, n| hash.ipv6([1, n, 128])) < 8, "consecutive hosts, seed {seed}");
        }
    }

    #[test]
    fn even_a_multiplier_that_keeps_neighbours_together_is_scattered() {
        let mut hash = Hash::new(&Secret::from_seed(1));
        hash.mac.0 = 1 << 60; // Stage 1 alone would put all of these into one bucket.
        let mut homes: Vec<u32> = (0..1000).map(|n| scale(hash.mac(n << 16), 1 << 20)).collect();
        homes.sort_unstable();
        homes.dedup();
        assert!(homes.len() > 990, "{} of 1000", homes.len());
    }

    #[test]
    fn a_scaled_hash_is_always_a_bucket() {
        for buckets in [1, 2, 5, u32::MAX] {
            assert_eq!(scale(0, buckets), 0);
            assert_eq!(scale(u64::MAX, buckets), buckets - 1);
        }
    }

    #[test]
    fn secrets_differ_and_do_not_print() {
        let (one, two) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one.0, two.0);
        assert_eq!(format!("{one:?}"), "Secret(..)");
    }
}
