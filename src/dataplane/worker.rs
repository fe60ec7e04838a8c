//! The loop of one worker: it owns a queue pair of both ports of every link and runs each burst to completion.

use std::sync::atomic::{AtomicBool, Ordering};

use quanta::Clock;

use super::hooks::{Responder, Witness};
use super::link::{LinkQueues, Pass};
use super::pipeline::{Pipeline, filter_burst};
use crate::model::{Direction, FrameSet};
use crate::policy::{DropReason, Observed, Reader, Snapshot};
use crate::port::{Frames, Rx, Tx};
use crate::telemetry::counters::{Block, BurstCounts};

/// How often a full transmit queue is asked again before the rest of the burst is dropped as `tx_full`: long enough for
/// a driver to reap what it has sent, short enough not to starve the other direction.
const TX_ATTEMPTS_MAX: usize = 16;

/// What one worker needs beside its links.
#[derive(Debug)]
pub struct Worker<'a, W = (), R = ()> {
    block: &'a Block,
    pipeline: Pipeline<W, R>,
    counts: BurstCounts,
}

impl<'a, W: Witness, R: Responder> Worker<'a, W, R> {
    /// A worker that counts into `block`.
    #[must_use]
    pub fn new(block: &'a Block, pipeline: Pipeline<W, R>) -> Self {
        Self { block, pipeline, counts: BurstCounts::default() }
    }

    /// Who looked, and who answered.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn into_hooks(self) -> (W, R) {
        self.pipeline.into_hooks()
    }

    /// Forwards until `stop` is set. Nothing is held between turns, so nothing is left to drain. How long turns take is read
    /// from `clock`, once a turn.
    pub fn run<Q, T>(&mut self, links: &mut [LinkQueues<Q, T>], reader: &mut Reader, clock: &Clock, stop: &AtomicBool)
    where
        Q: Rx,
        T: Tx<Burst = Q::Burst>,
    {
        reader.go_online();
        let mut began = clock.raw();
        while !stop.load(Ordering::Relaxed) {
            let snapshot = reader.snapshot();
            let received: usize = links.iter_mut().map(|link| self.turn(link, snapshot)).sum();
            let ended = clock.raw();
            let busy_ns = (received > 0).then(|| clock.delta_as_nanos(began, ended));
            self.block.load().turned(busy_ns);
            began = ended;
        }
        reader.go_offline();
    }

    /// One burst of each direction of a link. Answers how many frames were received.
    #[inline]
    pub fn turn<Q, T>(&mut self, link: &mut LinkQueues<Q, T>, snapshot: Snapshot<'_>) -> usize
    where
        Q: Rx,
        T: Tx<Burst = Q::Burst>,
    {
        Direction::ALL.into_iter().map(|direction| self.one_way(link.pass(direction), snapshot)).sum()
    }

    /// Receives, judges, sends; what the queue keeps refusing is freed and counted.
    #[inline]
    fn one_way<Q, T>(&mut self, pass: Pass<'_, Q, T>, snapshot: Snapshot<'_>) -> usize
    where
        Q: Rx,
        T: Tx<Burst = Q::Burst>,
    {
        let Pass { way, rx, tx, back, burst, replies } = pass;
        rx.receive(burst);
        let received = burst.count();
        if received == 0 {
            return 0;
        }
        self.block.load().received(received);
        let counts = &mut self.counts;
        counts.received(received as u64);
        filter_burst(&mut self.pipeline, snapshot, way, burst, replies, counts, self.block);

        let kept = burst.count();
        let refused = send(tx, burst);
        counts.sent((kept - refused) as u64);
        if refused > 0 {
            counts.dropped(DropReason::TxFull, refused as u64);
        }
        if R::ANSWERS && replies.count() != 0 {
            // Apart from the balance: the frames that are answered are dropped ones, whatever becomes of the answers.
            let answers = replies.count();
            let refused = send(back, replies);
            counts.observed_often(Observed::RejectSent, (answers - refused) as u64);
            counts.observed_often(Observed::RejectSuppressed, refused as u64);
        }
        self.block.add_burst(way, counts);
        received
    }
}

/// Sends a burst; frees what the queue keeps refusing, and answers how many frames that are.
#[inline]
fn send<T: Tx>(tx: &mut T, burst: &mut T::Burst) -> usize {
    for _ in 0..TX_ATTEMPTS_MAX {
        if burst.count() == 0 {
            return 0;
        }
        tx.send(burst);
    }
    let refused = burst.count();
    burst.keep(FrameSet::EMPTY);
    refused
}
