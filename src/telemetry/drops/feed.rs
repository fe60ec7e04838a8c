//! How a worker gives samples of dropped frames away: into a ring of its own that one reader empties. Neither waits.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::model::{MacAddr, VlanId, VmIndex, Way};
use crate::policy::DropReason;

/// Samples that a ring holds.
const SAMPLES_MAX: usize = 4_096;
/// Bytes of a frame that a sample keeps: headers as they mostly are, and two tags.
pub const HEAD_BYTES: usize = 128;

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    bytes: [u8; HEAD_BYTES],
    length: u8,
}

impl Head {
    /// As many as are kept.
    #[must_use]
    pub fn of(frame: &[u8]) -> Self {
        let mut head = Self { bytes: [0; HEAD_BYTES], length: 0 };
        let length = frame.len().min(HEAD_BYTES);
        if let (Some(kept), Some(first)) = (head.bytes.get_mut(..length), frame.get(..length)) {
            kept.copy_from_slice(first);
            head.length = u8::try_from(length).unwrap_or(u8::MAX);
        }
        head
    }

    /// Those that are kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// What is told of a dropped frame, or of one that was only watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// Where it came in.
    pub way: Way,
    /// Why it was dropped.
    pub reason: DropReason,
    /// It was forwarded, because somebody only watches.
    pub watched: bool,
    /// Somebody had to judge it, for a VM or for the unknown one.
    pub judged: bool,
    /// For whom it counts.
    pub vm: Option<VmIndex>,
    /// The station on the VM's side, if there is an Ethernet header.
    pub mac: Option<MacAddr>,
    /// In which VLAN, 0 if in none.
    pub vlan: VlanId,
    /// The address on the VM's side, if it can be read.
    pub address: Option<IpAddr>,
    /// The other end's.
    pub peer: Option<IpAddr>,
    /// Source and destination of a TCP segment, if they can be read.
    pub ports: Option<(u16, u16)>,
    /// Its length.
    pub bytes: u32,
    /// How it begins.
    pub head: Head,
    /// For how many frames of its kind it stands.
    pub frames: u32,
}

/// A worker's end.
#[derive(Debug)]
pub struct Feed {
    samples: Producer<Sample>,
    round: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

/// The reader's end.
#[derive(Debug)]
pub struct Outlet {
    samples: Consumer<Sample>,
    lost: Arc<AtomicU64>,
}

/// Both ends of a ring.
pub(super) fn channel(round: &Arc<AtomicU64>) -> (Feed, Outlet) {
    let (producer, consumer) = RingBuffer::new(SAMPLES_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let feed = Feed { samples: producer, round: Arc::clone(round), lost: Arc::clone(&lost) };
    (feed, Outlet { samples: consumer, lost })
}

impl Feed {
    /// Which round it is: it grows whenever samples are taken in time.
    #[inline]
    #[must_use]
    pub fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    /// Gives a sample; one that finds no room is counted as lost. Half of the room is for VMs alone, so that no stranger
    /// can hide what they are denied.
    pub fn give(&mut self, sample: Sample) {
        let has_room = sample.vm.is_some() || self.samples.slots() > SAMPLES_MAX / 2;
        if !has_room || self.samples.push(sample).is_err() {
            let lost = self.lost.load(Ordering::Relaxed) + u64::from(sample.frames);
            self.lost.store(lost, Ordering::Relaxed);
        }
    }
}

impl Outlet {
    /// What was given, and at most as much as the ring holds.
    pub(super) fn samples(&mut self) -> impl Iterator<Item = Sample> + '_ {
        std::iter::from_fn(|| self.samples.pop().ok()).take(SAMPLES_MAX)
    }

    /// Frames whose samples found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Direction, LinkIndex};

    pub(in crate::telemetry::drops) const SAMPLE: Sample = Sample {
        way: Way { link: LinkIndex(0), direction: Direction::Egress },
        reason: DropReason::PortClosed,
        watched: false,
        judged: true,
        vm: Some(VmIndex(3)),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 3])),
        vlan: VlanId(0),
        address: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3))),
        peer: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 25))),
        ports: Some((40_000, 25)),
        bytes: 74,
        head: Head { bytes: [0; HEAD_BYTES], length: 54 },
        frames: 1,
    };
    pub(in crate::telemetry::drops) const STRANGER: Sample =
        Sample { vm: None, mac: Some(MacAddr([2, 0, 0, 0, 0, 8])), ..SAMPLE };

    #[test]
    fn a_head_has_as_many_bytes_as_there_are_and_as_are_kept() {
        let frame: Vec<u8> = (0..=255).collect();
        for length in [0, 1, 60, HEAD_BYTES, HEAD_BYTES + 1, 256] {
            assert_eq!(Head::of(&frame[..length]).bytes(), &frame[..length.min(HEAD_BYTES)]);
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_strangers_leave_half_to_vms() {
        let (mut feed, mut outlet) = channel(&Arc::new(AtomicU64::new(0)));
        for _ in 0..SAMPLES_MAX {
            feed.give(Sample { frames: 2, ..STRANGER });
        }
        assert_eq!(outlet.lost(), SAMPLES_MAX as u64);
        for _ in 0..SAMPLES_MAX {
            feed.give(SAMPLE);
        }
        assert_eq!(outlet.lost(), SAMPLES_MAX as u64 * 3 / 2);
        let taken: Vec<Sample> = outlet.samples().collect();
        assert_eq!(taken.len(), SAMPLES_MAX);
        assert_eq!(taken.iter().filter(|sample| sample.vm.is_none()).count(), SAMPLES_MAX / 2);
    }
}
