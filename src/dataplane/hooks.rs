//! Who may look at frames that are not simply forwarded, and who may answer them.
//!
//! Both are type parameters of the worker, so that nobody pays for what nobody wants: `()` looks at nothing and answers
//! nothing, and what would call it is not there.

use crate::model::{VmIndex, Way};
use crate::policy::{Record, Settings, Verdict};
use crate::port::Frames;

/// Sees what is not simply forwarded. Called by workers, so it neither waits nor allocates.
pub trait Witness {
    /// Whether it looks at all.
    const LOOKS: bool;

    /// Whether it wants to see a frame that came in this `way`. Asked of each, before anything is put together for it.
    fn wants(&mut self, way: Way, verdict: Verdict, vm: Option<VmIndex>, head: &[u8]) -> bool;

    /// One frame that it wanted and what is said of it, before anything is freed. `head` holds its first bytes, `length` is
    /// its true one.
    fn saw(&mut self, record: &Record, head: &[u8], length: usize);
}

impl Witness for () {
    const LOOKS: bool = false;

    fn wants(&mut self, _: Way, _: Verdict, _: Option<VmIndex>, _: &[u8]) -> bool {
        false
    }

    fn saw(&mut self, _: &Record, _: &[u8], _: usize) {}
}

/// Turns denied frames into answers. Called by workers, so it neither waits nor allocates.
pub trait Responder {
    /// Whether it answers at all.
    const ANSWERS: bool;

    /// Writes the answer over the frame at `index`, if there is one to give: asked where its sender is to be told. An answered
    /// frame counts as dropped like any other that was denied; its answer leaves by the port that it came in by.
    fn answer<F: Frames>(&mut self, settings: &Settings, record: &Record, burst: &mut F, index: usize) -> Answered;
}

/// What became of a question for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It stands where the frame stood.
    Yes,
    /// There is none to such a frame.
    No,
    /// There would be one, but there have been too many, or there is no room for it.
    Suppressed,
}

impl Responder for () {
    const ANSWERS: bool = false;

    fn answer<F: Frames>(&mut self, _: &Settings, _: &Record, _: &mut F, _: usize) -> Answered {
        Answered::No
    }
}
