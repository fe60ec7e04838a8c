//! Who sends most, of so many that they cannot all be counted: the space-saving summary (Metwally and others, 2005). Whoever
//! has sent more than a 256th of everything is in it; nobody is ranked lower than he deserves.

use std::collections::HashMap;
use std::hash::Hash;

use super::Seen;

/// A sender, as far as it can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<K> {
    /// Who.
    pub who: K,
    /// Frames, at most.
    pub frames: u64,
    /// How many of them may be somebody else's, whose place it took.
    pub over: u64,
    /// The last one.
    pub last: Seen,
}

/// The summary.
#[derive(Debug)]
pub struct Busiest<K> {
    senders: HashMap<K, Sender<K>>,
    places: usize,
}

impl<K: Copy + Eq + Hash + Ord> Busiest<K> {
    /// Of so many senders.
    pub(super) fn new(places: usize) -> Self {
        Self { senders: HashMap::with_capacity(places), places }
    }

    pub(super) fn add(&mut self, who: K, seen: Seen) {
        let frames = u64::from(seen.sample.frames);
        if let Some(sender) = self.senders.get_mut(&who) {
            sender.frames += frames;
            sender.last = seen;
            return;
        }
        let over = match self.senders.len() < self.places {
            true => 0,
            false => {
                let least = self.senders.values().min_by_key(|sender| (sender.frames, sender.who));
                let least = least.map(|sender| sender.who);
                least.and_then(|least| self.senders.remove(&least)).map_or(0, |sender| sender.frames)
            }
        };
        self.senders.insert(who, Sender { who, frames: over + frames, over, last: seen });
    }

    /// All of them, busiest first.
    pub(super) fn ranked(&self) -> Vec<Sender<K>> {
        let mut senders: Vec<Sender<K>> = self.senders.values().copied().collect();
        senders.sort_by(|a, b| b.frames.cmp(&a.frames).then(a.who.cmp(&b.who)));
        senders
    }
}

#[cfg(test)]
mod tests {
    use super::super::feed::tests::STRANGER;
    use super::*;

    #[test]
    fn who_sends_much_stays_however_many_others_there_are() {
        let mut busiest = Busiest::new(16);
        let seen = Seen { number: 1, at_ms: 7_000, sample: STRANGER };
        for number in 0..10_000_u32 {
            busiest.add(number + 1_000, seen);
            busiest.add(number % 4, seen);
        }
        let ranked = busiest.ranked();
        assert_eq!(ranked.len(), 16);
        assert_eq!(ranked[..4].iter().map(|sender| sender.who).collect::<Vec<_>>(), [0, 1, 2, 3]);
        for sender in &ranked {
            let sent = if sender.who < 4 { 2_500 } else { 1 };
            assert!(sender.frames >= sent && sender.frames - sender.over <= sent, "{sender:?}");
        }
    }
}
