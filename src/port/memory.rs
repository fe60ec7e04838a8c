//! Ports in memory, for tests, benches and fuzzing.

use std::collections::VecDeque;

use super::{BURST_FRAMES_MAX, Frames, Rx, Tx};
use crate::model::FrameSet;

/// Room for a frame in one piece, as an ordinary packet buffer has it.
pub const SEGMENT_BYTES_MAX: usize = 2048;

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

    fn keep(&mut self, frames: FrameSet) {
        let mut places = 0..;
        self.frames.retain(|_| places.next().is_some_and(|place| frames.contains(place)));
    }

    fn move_to(&mut self, frames: FrameSet, target: &mut Self) -> FrameSet {
        let (mut stay, mut moved) = (Vec::new(), FrameSet::EMPTY);
        for (place, frame) in self.frames.drain(..).enumerate() {
            if frames.contains(place) && target.frames.len() < BURST_FRAMES_MAX {
                target.frames.push(frame);
                moved |= FrameSet::of(place);
            } else {
                stay.push(frame);
            }
        }
        self.frames = stay;
        moved
    }

    fn rewrite(&mut self, index: usize, length: usize) -> Option<&mut [u8]> {
        match self.frames.get_mut(index)?.segments.as_mut_slice() {
            [only] if length <= SEGMENT_BYTES_MAX => {
                only.resize(length, 0);
                Some(only)
            }
            _ => None,
        }
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
        burst.keep(FrameSet::from_bits(0b10101));
        assert_eq!(burst.frames.iter().map(Frame::bytes).collect::<Vec<_>>(), [[0], [2], [4]]);
    }

    #[test]
    fn frames_move_to_another_burst_as_far_as_there_is_room() {
        let fill = |numbers: std::ops::Range<u8>| {
            let mut burst = Burst::default();
            Source::new(numbers.map(|n| Frame::from(&[n][..]))).receive(&mut burst);
            burst
        };
        let numbers = |burst: &Burst| burst.frames.iter().flat_map(Frame::bytes).collect::<Vec<_>>();
        let (mut from, mut to) = (fill(0..5), fill(100..162));
        assert_eq!(from.move_to(FrameSet::from_bits(0b11010), &mut to), FrameSet::from_bits(0b01010));
        assert_eq!(numbers(&from), [0, 2, 4], "the third had no place");
        assert_eq!(numbers(&to)[61..], [161, 1, 3]);
    }

    #[test]
    fn a_frame_in_one_piece_can_be_written_anew() {
        let mut burst = Burst::default();
        Source::new([Frame::from(&b"port"[..]), Frame::segmented(b"port", 2)]).receive(&mut burst);
        burst.rewrite(0, 6).unwrap()[4..].copy_from_slice(b"al");
        assert_eq!(burst.head(0), b"portal");
        assert_eq!(burst.rewrite(0, 2), Some(&mut b"po".to_owned()[..]));
        assert!(burst.rewrite(0, SEGMENT_BYTES_MAX + 1).is_none() && burst.rewrite(1, 4).is_none());
        assert!(burst.rewrite(2, 0).is_none(), "no such frame");
        assert_eq!(burst.head(0), b"po", "what is refused changes nothing");
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
