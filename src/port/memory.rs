//! Ports in memory, for tests, benches and fuzzing.

use std::collections::VecDeque;

use super::{BURST_FRAMES_MAX, Frames, Rx, Tx};

/// A frame in one or more segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    segments: Vec<Vec<u8>>,
}

impl Frame {
    /// A frame whose segments hold `segment_bytes` each, the last one the rest.
    #[must_use]
    pub fn segmented(bytes: &[u8], segment_bytes: usize) -> Self {
        let mut segments: Vec<Vec<u8>> = bytes.chunks(segment_bytes.max(1)).map(<[u8]>::to_vec).collect();
        if segments.is_empty() {
            segments.push(Vec::new());
        }
        Self { segments }
    }

    /// All bytes of the frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.segments.concat()
    }
}

impl From<&[u8]> for Frame {
    fn from(bytes: &[u8]) -> Self {
        Self { segments: vec![bytes.to_vec()] }
    }
}

/// Frames on their way.
#[derive(Debug, Default)]
pub struct Burst {
    frames: Vec<Frame>,
}

impl Frames for Burst {
    fn count(&self) -> usize {
        self.frames.len()
    }

    fn head(&self, index: usize) -> &[u8] {
        self.frames.get(index).and_then(|frame| frame.segments.first()).map_or(&[], Vec::as_slice)
    }

    fn length(&self, index: usize) -> usize {
        self.frames.get(index).map_or(0, |frame| frame.segments.iter().map(Vec::len).sum())
    }

    fn gather(&self, index: usize, into: &mut [u8]) -> usize {
        let bytes = self.frames.get(index).into_iter().flat_map(|frame| frame.segments.iter().flatten());
        into.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count()
    }

    fn keep(&mut self, mask: u64) {
        let mut index = 0;
        self.frames.retain(|_| {
            index += 1;
            mask >> (index - 1) & 1 == 1
        });
    }
}

/// A receive queue that hands out the frames it was given.
#[derive(Debug, Default)]
pub struct Source {
    frames: VecDeque<Frame>,
}

impl Source {
    /// A queue of `frames`, first one first.
    pub fn new(frames: impl IntoIterator<Item = Frame>) -> Self {
        Self { frames: frames.into_iter().collect() }
    }

    /// How many frames are still to be received.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.frames.len()
    }
}

impl Rx for Source {
    type Burst = Burst;

    fn receive(&mut self, burst: &mut Burst) {
        let count = self.frames.len().min(BURST_FRAMES_MAX);
        burst.frames.extend(self.frames.drain(..count));
    }
}

/// A transmit queue that keeps what it was sent.
#[derive(Debug)]
pub struct Sink {
    /// What was sent, first one first.
    pub frames: Vec<Frame>,
    /// How many frames are accepted before the queue is full.
    pub capacity: usize,
}

impl Default for Sink {
    fn default() -> Self {
        Self { frames: Vec::new(), capacity: usize::MAX }
    }
}

impl Tx for Sink {
    type Burst = Burst;

    fn send(&mut self, burst: &mut Burst) {
        let count = burst.frames.len().min(self.capacity - self.frames.len());
        self.frames.extend(burst.frames.drain(..count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_frees_the_others_and_preserves_order() {
        let mut source = Source::new((0..5u8).map(|n| Frame::from(&[n][..])));
        let mut burst = Burst::default();
        source.receive(&mut burst);
        burst.keep(0b10101);
        assert_eq!(burst.frames.iter().map(Frame::bytes).collect::<Vec<_>>(), [[0], [2], [4]]);
    }

    #[test]
    fn gather_reads_over_segments() {
        let mut source = Source::new([Frame::segmented(b"portcullis", 3)]);
        let mut burst = Burst::default();
        source.receive(&mut burst);
        let mut bytes = [0; 8];
        assert_eq!((burst.head(0), burst.length(0)), (&b"por"[..], 10));
        assert_eq!((burst.gather(0, &mut bytes), &bytes), (8, b"portcull"));
    }
}
