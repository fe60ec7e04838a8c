//! The loop of one worker: it owns one queue of both ports of every link and runs each burst to completion.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::pipeline::{Pipeline, filter_burst};
use crate::model::Way;
use crate::policy::{DropReason, Reader, Snapshot};
use crate::port::{Frames, Rx, Tx};
use crate::telemetry::counters::{Block, BurstCounts};

/// How often a full transmit queue is asked again before the rest of the burst is dropped as `tx_full`: long enough for
/// a driver to reap what it has sent, short enough not to starve the other direction.
const TX_ATTEMPTS_MAX: usize = 16;

/// One way through a link: what enters by `rx` leaves by `tx`, or is dropped.
#[derive(Debug)]
pub struct Lane<R: Rx, T> {
    /// The way of its frames.
    pub way: Way,
    /// Queue of the port where frames enter.
    pub rx: R,
    /// Queue of the other port.
    pub tx: T,
    /// Frames between the two; empty outside of [`Worker::turn`].
    pub burst: R::Burst,
}

/// What one worker needs beside its lanes.
#[derive(Debug)]
pub struct Worker<'a> {
    block: &'a Block,
    /// Grows with every turn: the watchdog's sign of life.
    turns: &'a CachePadded<AtomicU64>,
    pipeline: Pipeline,
    counts: BurstCounts,
}

impl<'a> Worker<'a> {
    /// A worker that counts into `block` and shows that it lives in `turns`.
    #[must_use]
    pub fn new(block: &'a Block, turns: &'a CachePadded<AtomicU64>) -> Self {
        Self { block, turns, pipeline: Pipeline::default(), counts: BurstCounts::default() }
    }

    /// Forwards until `stop` is set. Nothing is held between turns, so nothing is left to drain.
    pub fn run<R, T>(&mut self, lanes: &mut [Lane<R, T>], reader: &mut Reader, stop: &AtomicBool)
    where
        R: Rx,
        T: Tx<Burst = R::Burst>,
    {
        reader.go_online();
        while !stop.load(Ordering::Relaxed) {
            let snapshot = reader.snapshot();
            for lane in &mut *lanes {
                self.turn(lane, snapshot);
            }
            self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        reader.go_offline();
    }

    /// One burst of one lane: receive, judge, send; what the queue keeps refusing is freed and counted. Answers how many
    /// frames were received.
    #[inline]
    pub fn turn<R, T>(&mut self, lane: &mut Lane<R, T>, snapshot: Snapshot<'_>) -> usize
    where
        R: Rx,
        T: Tx<Burst = R::Burst>,
    {
        let Lane { way, rx, tx, burst } = lane;
        rx.receive(burst);
        let received = burst.count();
        if received == 0 {
            return 0;
        }
        let counts = &mut self.counts;
        counts.received(received as u64);
        filter_burst(&mut self.pipeline, snapshot, *way, burst, counts, self.block);

        let kept = burst.count();
        for _ in 0..TX_ATTEMPTS_MAX {
            if burst.count() == 0 {
                break;
            }
            tx.send(burst);
        }
        let refused = burst.count();
        counts.sent((kept - refused) as u64);
        if refused > 0 {
            counts.dropped(DropReason::TxFull, refused as u64);
            burst.keep(0);
        }
        self.block.add_burst(*way, counts);
        received
    }
}
