//! Where frames come from and go to: the seam between the data plane and its ports.
//!
//! The traits are generic and monomorphised, so that the pipeline which runs on DPDK queues runs unchanged, at no cost,
//! on the [`memory`] ports of tests, benches and fuzzing. This module knows bytes only.

#[cfg(feature = "dpdk")]
mod dpdk;
#[cfg(feature = "testkit")]
pub mod memory;

use crate::model::FrameSet;

/// Most frames of one burst.
pub const BURST_FRAMES_MAX: usize = FrameSet::FRAMES_MAX;

/// An ordered set of at most [`BURST_FRAMES_MAX`] frames, owned: dropping it frees them.
pub trait Frames {
    /// How many frames there are.
    fn count(&self) -> usize;

    /// The first bytes of a frame, as they lie in one piece; empty for an index beyond the last.
    fn head(&self, index: usize) -> &[u8];

    /// The heads of all frames, in order.
    fn heads(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        (0..self.count()).map(|index| self.head(index))
    }

    /// The true length of a frame in bytes.
    fn length(&self, index: usize) -> usize;

    /// Copies the first bytes of a frame over all its segments and says how many they were.
    fn gather(&self, index: usize, into: &mut [u8]) -> usize;

    /// Frees the frames that are not in the set; the others keep their order.
    fn keep(&mut self, frames: FrameSet);

    /// Moves frames behind those of another burst, in order, as far as there is room, and says which; the others keep their
    /// order.
    fn move_to(&mut self, frames: FrameSet, target: &mut Self) -> FrameSet;

    /// The bytes of a frame, to be written anew, after giving it `length` of them: those it had, then zeros. `None`, and
    /// nothing changed, if the frame lies in several pieces, is somebody else's too, or has no room for so many.
    fn rewrite(&mut self, index: usize, length: usize) -> Option<&mut [u8]>;
}

/// A receive queue.
pub trait Rx {
    /// What it fills.
    type Burst: Frames;

    /// Takes what has arrived into `burst`, which must be empty.
    fn receive(&mut self, burst: &mut Self::Burst);
}

/// A transmit queue.
pub trait Tx {
    /// What it sends.
    type Burst: Frames;

    /// Sends from the front; what the queue refused stays in `burst`, in order.
    fn send(&mut self, burst: &mut Self::Burst);
}
