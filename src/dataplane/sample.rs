//! Which dropped frames are told of: the first few of each VM and stranger in a round, so that a flood neither costs much nor
//! hides what another VM is denied.

use std::hash::BuildHasher;
use std::sync::atomic::Ordering;

use super::hooks::Witness;
use crate::model::{Direction, VmIndex, Way};
use crate::packet::{Outcome, Packet, Ports};
use crate::policy::{Record, Verdict};
use crate::sync::{AtomicU64, zeroed};
use crate::telemetry::drops::feed::{Feed, Head, Sample};

/// How many frames of one VM are told of in a round, and of one stranger.
const TOLD_MAX: u32 = 8;
/// Where more strangers are told of than this in a round, only every [`THIN`]th of their frames is looked at: a flood of them is
/// made of frames that are dear already.
const STRANGERS_MAX: u32 = 512;
const THIN: u32 = 64;
/// Strangers that are told apart. Those that share a place share what may be told.
const PLACES: usize = 1_024;

/// A worker's part in the samples of dropped frames.
#[derive(Debug)]
pub struct Sampler {
    feed: Feed,
    /// Of each VM of the table how many frames were told of, and above that (from bit 8) the round in which they were. Pages
    /// are touched when their VM is first denied something.
    vms: Box<[AtomicU64]>,
    strangers: Throttle,
    /// For how many the frame stands that was wanted last.
    frames: u32,
}

impl Sampler {
    /// Gives to this feed, over a table of `vms` VMs; nothing if the memory is not to be had.
    #[must_use]
    pub fn create(feed: Feed, vms: usize) -> Option<Self> {
        Some(Self { feed, vms: zeroed(vms)?, strangers: Throttle::new(), frames: 0 })
    }
}

impl Witness for Sampler {
    const LOOKS: bool = true;

    #[inline(always)]
    fn wants(&mut self, way: Way, verdict: Verdict, vm: Option<VmIndex>, head: &[u8]) -> bool {
        if verdict == Verdict::Forward {
            return false;
        }
        let Some(vm) = vm else {
            #[expect(clippy::cast_possible_truncation, reason = "the low half of the round")]
            let round = self.feed.round() as u32;
            return !self.strangers.skips(round) && self.wants_stranger(way, head, round);
        };
        let Some(told) = self.vms.get(vm.0 as usize) else { return false };
        let (round, last) = (self.feed.round() << 8, told.load(Ordering::Relaxed));
        let before = if last & !0xff == round { last & 0xff } else { 0 };
        if before == u64::from(TOLD_MAX) {
            return false;
        }
        told.store(round | (before + 1), Ordering::Relaxed);
        self.frames = 1;
        true
    }

    fn saw(&mut self, record: &Record, head: &[u8], length: usize) {
        let Some(reason) = record.verdict.reason() else { return };
        let Record { way, vm, .. } = *record;
        let packet = Packet::parse(head, length).ok();
        let from_vm = way.direction == Direction::Egress;
        let mac = |packet: Packet<'_>| if from_vm { packet.source_mac() } else { packet.destination_mac() };
        let addresses = packet.and_then(|packet| packet.network.addresses());
        let ports = packet.and_then(|packet| match packet.outcome {
            Outcome::Tcp(Ports { source, destination }) => Some((source, destination)),
            _ => None,
        });
        self.feed.give(Sample {
            way,
            reason,
            watched: record.verdict.forwards(),
            judged: record.tally.is_some(),
            vm,
            mac: packet.map(mac),
            vlan: packet.map(|packet| packet.vlan).unwrap_or_default(),
            address: addresses.map(|(source, destination)| if from_vm { source } else { destination }),
            peer: addresses.map(|(source, destination)| if from_vm { destination } else { source }),
            ports,
            bytes: u32::try_from(length).unwrap_or(u32::MAX),
            head: Head::of(head),
            frames: self.frames,
        });
    }
}

impl Sampler {
    #[inline(never)]
    fn wants_stranger(&mut self, way: Way, head: &[u8], round: u32) -> bool {
        let (station, address) = stranger(way.direction, head);
        let frames = self.strangers.tells(station, address, round);
        self.frames = frames.unwrap_or(0);
        frames.is_some()
    }
}

/// The station on the VM's side, and the address there of a frame without a tag; of others nothing, which only means that
/// all of a station's share what may be told.
#[inline]
fn stranger(direction: Direction, head: &[u8]) -> (u64, u64) {
    let at = |egress: usize, ingress: usize| if direction == Direction::Egress { egress } else { ingress };
    let bytes = |at: usize| head.get(at..).and_then(|rest| rest.first_chunk::<8>()).copied().unwrap_or_default();
    let station = u64::from_be_bytes(bytes(at(6, 0))) >> 16;
    let address = match head.get(12..14) {
        Some([0x08, 0x00]) => u64::from_be_bytes(bytes(at(26, 30))) >> 32,
        Some([0x86, 0xdd]) => {
            u64::from_be_bytes(bytes(at(22, 38))).rotate_left(32) ^ u64::from_be_bytes(bytes(at(30, 46)))
        }
        _ => 0,
    };
    (station, address)
}

/// Lets the first few frames of each stranger through in a round, and remembers for how many the next one stands.
#[derive(Debug)]
struct Throttle {
    places: Box<[Place; PLACES]>,
    /// How many frames of this round are not looked at before the next one.
    skip: u32,
    /// The low half of the round.
    round: u32,
    /// How many were let through in it.
    told: u32,
    /// Nobody can choose to share a place with somebody else.
    secret: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Whose it is: a hash.
    tag: u32,
    /// The low half of the round.
    round: u32,
    /// How many were let through in it.
    told: u32,
    /// How many of this tag were not since the last that was.
    untold: u32,
}

impl Throttle {
    fn new() -> Self {
        let secret = std::hash::RandomState::new().hash_one(0);
        Self { places: Box::new([Place::default(); PLACES]), skip: 0, round: 0, told: 0, secret }
    }

    /// Whether a frame is one of those that are not looked at. A round begins without any, so that whoever comes after a flood
    /// is seen.
    #[inline(always)]
    fn skips(&mut self, round: u32) -> bool {
        let skips = (self.skip > 0) & (self.round == round);
        self.skip -= u32::from(skips);
        skips
    }

    /// For how many frames this one is told of, if it is.
    #[expect(clippy::cast_possible_truncation, reason = "half of a word")]
    fn tells(&mut self, station: u64, address: u64, round: u32) -> Option<u32> {
        let mixed =
            ((station ^ self.secret).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ address ^ self.secret.rotate_left(32))
                .wrapping_mul(0xd6e8_feb8_6659_fd93);
        if self.round != round {
            (self.round, self.told) = (round, 0);
        }
        // This one stands for those that are not looked at behind it.
        let frames = if self.told < STRANGERS_MAX { 1 } else { THIN };
        self.skip = frames - 1;
        let (place, tag) = (self.places.get_mut((mixed >> 40) as usize % PLACES)?, mixed as u32);
        if place.round != round {
            (place.round, place.told) = (round, 0);
        }
        if place.told == TOLD_MAX {
            place.untold = place.untold.saturating_add(if place.tag == tag { frames } else { 0 });
            return None;
        }
        if place.tag != tag {
            (place.tag, place.untold) = (tag, 0);
        }
        place.told += 1;
        self.told += 1;
        Some(std::mem::take(&mut place.untold).saturating_add(frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_round_are_told_and_stand_for_the_others() {
        let mut throttle = Throttle::new();
        let told: Vec<u32> = (0..100).filter_map(|_| throttle.tells(1, 25, 1)).collect();
        assert_eq!(told, [1; 8]);
        assert_eq!(throttle.tells(1, 25, 2), Some(93), "the 92 that were not, and itself");
        assert_eq!(throttle.tells(1, 25, 2), Some(1));
    }

    #[test]
    fn a_flood_does_not_silence_others_and_tells_little_itself() {
        let mut throttle = Throttle::new();
        for _ in 0..10_000 {
            let _ = throttle.tells(1, 25, 1);
        }
        let others = (2..102).filter(|&who| throttle.tells(who, 25, 1).is_some()).count();
        assert!(others >= 98, "{others}");
        let told = (0..1_000_000_u64).filter(|&who| throttle.tells(who, 25, 2).is_some()).count();
        assert!(told <= PLACES * TOLD_MAX as usize, "{told}");
    }

    #[test]
    fn a_flood_of_strangers_is_thinned_and_each_that_is_told_of_stands_for_the_rest() {
        let (mut throttle, mut frames) = (Throttle::new(), 0);
        let mut looked = 0_u64;
        for who in 0..1_000_000_u64 {
            // A new round every 100,000 frames.
            let round = 1 + u32::try_from(who / 100_000).unwrap();
            if throttle.skips(round) {
                continue;
            }
            looked += 1;
            frames += u64::from(throttle.tells(who % 300, 0, round).unwrap_or(0));
        }
        assert!(looked < 40_000, "{looked}");
        // What is missing: a place's last, and strangers that share a place.
        assert!((600_000..=1_000_100).contains(&frames), "{frames}");
    }

    #[test]
    fn who_comes_after_a_flood_is_seen_at_once() {
        let mut throttle = Throttle::new();
        // It ends where the most frames are to be skipped.
        let flood = (0_u64..).take_while(|&who| {
            let _ = throttle.tells(who, 0, 1);
            throttle.skip == 0
        });
        assert!(flood.count() >= STRANGERS_MAX as usize);
        assert!(throttle.skips(1), "what is tested");
        assert!(!throttle.skips(2));
        assert_eq!(throttle.tells(u64::MAX, 0, 2), Some(1));
        assert!(!throttle.skips(2));
    }
}
