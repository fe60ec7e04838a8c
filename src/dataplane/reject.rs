//! Answers to denied frames, where `deny = "reject"`: written over the frame itself, and no more of them than a sender may
//! cause.

use std::sync::atomic::Ordering;

use quanta::{Clock, Instant};

use super::hooks::{Answered, Responder};
use crate::model::{LinkIndex, VmIndex};
use crate::packet::{REFUSAL_BYTES_MAX, Refusal};
use crate::policy::{Record, RejectRate, Settings};
use crate::port::Frames;
use crate::sync::{AtomicU64, zeroed};

/// One worker's: what it has answered to whom, and what it writes with.
#[derive(Debug)]
pub struct Rejecter {
    clock: Clock,
    start: Instant,
    /// A bucket for each VM of the table; pages are touched when their VM is first answered.
    vms: Box<[AtomicU64]>,
    /// One for all unknown senders of a link.
    unknown: Box<[AtomicU64]>,
    refusal: Box<[u8; REFUSAL_BYTES_MAX]>,
}

impl Rejecter {
    /// For a worker of `links` links over a table of `vms` VMs, with full buckets; nothing if the memory is not to be had.
    #[must_use]
    pub fn create(links: usize, vms: usize, clock: Clock) -> Option<Self> {
        let start = clock.now();
        let refusal = Box::new([0; REFUSAL_BYTES_MAX]);
        Some(Self { clock, start, vms: zeroed(vms)?, unknown: zeroed(links)?, refusal })
    }

    /// Takes a token for an answer; false if there is none.
    fn takes_token(&self, rate: RejectRate, vm: Option<VmIndex>, link: LinkIndex) -> bool {
        let bucket = match vm {
            Some(vm) => self.vms.get(vm.0 as usize),
            None => self.unknown.get(link.0),
        };
        let Some(bucket) = bucket else { return false };
        let now = u64::try_from(self.clock.now().duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        match fill(bucket.load(Ordering::Relaxed), now, rate) {
            Some(full_at) => {
                bucket.store(full_at, Ordering::Relaxed);
                true
            }
            None => false,
        }
    }
}

/// A bucket is the moment at which it will be full again, in nanoseconds: each token puts that off by the time that one takes
/// to come, and as many may be missing as it holds. Answers the new moment; nothing if the bucket is empty.
fn fill(full_at: u64, now: u64, rate: RejectRate) -> Option<u64> {
    let token = 1_000_000_000 / u64::from(rate.per_second.max(1));
    let later = full_at.max(now) + token;
    (later - now <= token * u64::from(rate.burst)).then_some(later)
}

impl Responder for Rejecter {
    const ANSWERS: bool = true;

    #[inline(never)]
    fn answer<F: Frames>(&mut self, settings: &Settings, record: &Record, burst: &mut F, index: usize) -> Answered {
        let (link, head) = (record.way.link, burst.head(index));
        // What lies in several pieces cannot be written over.
        let Some(refusal) = Refusal::of(head).filter(|_| head.len() == burst.length(index)) else {
            return Answered::No;
        };
        if !self.takes_token(settings.reject_rate, record.vm, link) {
            return Answered::Suppressed;
        }
        let Some(bytes) = refusal.write(settings.refusal_sources(link), &mut self.refusal) else {
            return Answered::No;
        };
        match (burst.rewrite(index, bytes), self.refusal.get(..bytes)) {
            (Some(frame), Some(refusal)) => {
                frame.copy_from_slice(refusal);
                Answered::Yes
            }
            _ => Answered::Suppressed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RejectRate = RejectRate { per_second: 100, burst: 20 };

    /// How many of `asked` are answered at this moment.
    fn answered(full_at: &mut u64, now: u64, asked: usize) -> usize {
        let mut count = 0;
        for _ in 0..asked {
            if let Some(later) = fill(*full_at, now, RATE) {
                (*full_at, count) = (later, count + 1);
            }
        }
        count
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        const MS: u64 = 1_000_000;
        let mut full_at = 0;
        assert_eq!(answered(&mut full_at, 0, 1000), 20);
        assert_eq!(answered(&mut full_at, 9 * MS, 1000), 0);
        assert_eq!(answered(&mut full_at, 10 * MS, 1000), 1);
        assert_eq!(answered(&mut full_at, 110 * MS, 1000), 10);
        assert_eq!(answered(&mut full_at, 100_000 * MS, 1000), 20, "it holds no more than its burst");
        let second = (0..1000).map(|ms| answered(&mut full_at, (100_000 + ms) * MS, 5)).sum::<usize>();
        assert_eq!(second, 99, "100 a second");
    }

    #[test]
    fn the_fastest_and_the_slowest_rate_work() {
        let fastest = RejectRate { per_second: 1_000_000, burst: 1 };
        assert_eq!(fill(0, 0, fastest), Some(1000));
        assert_eq!(fill(1000, 999, fastest), None);
        assert_eq!(fill(1000, 1000, fastest), Some(2000));
        let slowest = RejectRate { per_second: 1, burst: 10_000 };
        assert_eq!(fill(u64::MAX / 2, 0, slowest), None);
    }
}
