//! The data plane's ports over DPDK queues: names only, the work is done in the `dpdk` crate.

use dpdk::{Burst, RxQueue, TxQueue};

use super::{BURST_FRAMES_MAX, Frames, Rx, Tx};
use crate::model::FrameSet;

const _: () = assert!(BURST_FRAMES_MAX == dpdk::BURST_FRAMES_MAX, "a set has a bit for each frame of either burst");

impl Frames for Burst {
    #[inline]
    fn count(&self) -> usize {
        self.len()
    }

    #[inline]
    fn head(&self, index: usize) -> &[u8] {
        Self::head(self, index)
    }

    #[inline]
    fn heads(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        Self::heads(self)
    }

    #[inline]
    fn length(&self, index: usize) -> usize {
        Self::length(self, index)
    }

    fn gather(&self, index: usize, into: &mut [u8]) -> usize {
        Self::gather(self, index, into)
    }

    #[inline]
    fn keep(&mut self, frames: FrameSet) {
        Self::keep(self, frames.bits());
    }

    fn move_to(&mut self, frames: FrameSet, target: &mut Self) -> FrameSet {
        FrameSet::from_bits(Self::move_to(self, frames.bits(), target))
    }

    fn rewrite(&mut self, index: usize, length: usize) -> Option<&mut [u8]> {
        Self::rewrite(self, index, length)
    }
}

impl Rx for RxQueue {
    type Burst = Burst;

    #[inline]
    fn receive(&mut self, burst: &mut Burst) {
        Self::receive(self, burst);
    }
}

impl Tx for TxQueue {
    type Burst = Burst;

    #[inline]
    fn send(&mut self, burst: &mut Burst) {
        Self::send(self, burst);
    }
}
