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
        let (full_at, given) = take(bucket.load(Ordering::Relaxed), now, rate);
        bucket.store(full_at, Ordering::Relaxed);
        given
    }
}

/// A bucket is the moment at which it will be full again, in nanoseconds: each token puts that off by the time that one takes
/// to come, and as many may be missing as it holds. Answers the new moment, and whether a token was there. A bucket that was
/// emptied at another rate is empty and no emptier, so that it comes back at the rate of now.
fn take(full_at: u64, now: u64, rate: RejectRate) -> (u64, bool) {
    let token = 1_000_000_000 / u64::from(rate.per_second.max(1));
    let empty = now.saturating_add(token * u64::from(rate.burst));
    let full_at = full_at.clamp(now, empty);
    match full_at.saturating_add(token) {
        later if later <= empty => (later, true),
        _ => (full_at, false),
    }
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
        answered_at(RATE, full_at, now, asked)
    }

    fn answered_at(rate: RejectRate, full_at: &mut u64, now: u64, asked: usize) -> usize {
        let mut ask = || {
            let (later, given) = take(*full_at, now, rate);
            *full_at = later;
            usize::from(given)
        };
        (0..asked).map(|_| ask()).sum()
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
        assert_eq!(take(0, 0, fastest), (1000, true));
        assert_eq!(take(1000, 999, fastest), (1000, false));
        assert_eq!(take(1000, 1000, fastest), (2000, true));
        let slowest = RejectRate { per_second: 1, burst: 10_000 };
        assert_eq!(take(u64::MAX, u64::MAX, slowest), (u64::MAX, true), "the end of time is no panic");
    }

    #[test]
    fn a_bucket_that_was_emptied_at_another_rate_follows_the_new_one() {
        const SECOND: u64 = 1_000_000_000;
        let slow = RejectRate { per_second: 1, burst: 10_000 };
        let mut full_at = 0;
        assert_eq!(answered_at(slow, &mut full_at, 0, 20_000), 10_000);
        assert_eq!(answered(&mut full_at, SECOND, 1000), 0, "it was empty");
        assert_eq!(answered(&mut full_at, 2 * SECOND, 1000), 20, "and is full a second later");
    }
}
