//! What a worker has of a link: a queue pair of each of its two ports.

use crate::model::{Direction, LinkIndex, Way};
use crate::port::Rx;

/// Receive and transmit queue of one port.
#[derive(Debug)]
pub struct QueuePair<R, T> {
    /// Where frames come from.
    pub rx: R,
    /// Where frames go.
    pub tx: T,
}

/// One worker's part of a link: what enters by one port leaves by the other, is answered by the port it came from, or is
/// dropped.
#[derive(Debug)]
pub struct LinkQueues<R: Rx, T> {
    /// Which link.
    pub index: LinkIndex,
    /// Of the port towards the VMs.
    pub inside: QueuePair<R, T>,
    /// Of the port towards the uplink.
    pub outside: QueuePair<R, T>,
    /// Frames on their way; empty outside of [`Worker::turn`](super::Worker::turn).
    pub burst: R::Burst,
    /// Answers on their way back; empty outside of a turn. As much room as `burst` has.
    pub replies: R::Burst,
}

/// One direction of a link, borrowed for a turn.
pub(super) struct Pass<'l, R: Rx, T> {
    pub(super) way: Way,
    pub(super) rx: &'l mut R,
    /// Of the other port.
    pub(super) tx: &'l mut T,
    /// Of the port that frames came in by.
    pub(super) back: &'l mut T,
    pub(super) burst: &'l mut R::Burst,
    pub(super) replies: &'l mut R::Burst,
}

impl<R: Rx, T> LinkQueues<R, T> {
    /// One direction of it.
    #[inline(always)]
    pub(super) fn pass(&mut self, direction: Direction) -> Pass<'_, R, T> {
        let Self { index, inside, outside, burst, replies } = self;
        let (from, to) = match direction {
            Direction::Egress => (inside, outside),
            Direction::Ingress => (outside, inside),
        };
        let way = Way { link: *index, direction };
        Pass { way, rx: &mut from.rx, tx: &mut to.tx, back: &mut from.tx, burst, replies }
    }
}
