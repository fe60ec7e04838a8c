//! The policy, row by row: each test is a sentence of `docs/policy.md`, quoted where the words matter.
//!
//! Every row goes through the data plane on memory ports and through the pure function, which must agree, and asserts
//! everything that is said of a frame: verdict, reason, for whom it was counted and how, and what was observed beside.
//! The balance is asserted with each (`testkit::World`).
//!
//! - `identity`: "Whose frame is it?"
//! - `sight`: "What the box can see"
//! - `strict`, `guards`: "Strict"
//! - `relays`: "Relays"
//! - `order`: "The verdict", monitor mode, directions, classes, counting
//! - `exceptions`: "Exceptions"
//! - `reject`: "Denied frames"
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end in a panic")]

mod exceptions;
mod guards;
mod identity;
mod order;
mod reject;
mod relays;
mod sight;
mod strict;

use portcullis::model::Direction;
use portcullis::testkit::{Answer, FrameBuilder, World};

const MAIL_PORTS: [u16; 3] = [25, 465, 587];

/// The frame and its twin.
fn both_families(frame: FrameBuilder) -> [FrameBuilder; 2] {
    [frame.clone(), frame.ipv6()]
}

/// From the VM, and to it.
fn both_directions(frame: &FrameBuilder) -> [(Direction, FrameBuilder); 2] {
    [(Direction::Egress, frame.clone()), (Direction::Ingress, frame.clone().reversed())]
}

/// Both families from the VM, and both to it: always the same answer.
#[track_caller]
fn each_way(world: &World, frame: FrameBuilder, expected: &Answer) {
    for frame in both_families(frame) {
        this_family_each_way(world, &frame, expected);
    }
}

/// From the VM and to it, in the frame's own family.
#[track_caller]
fn this_family_each_way(world: &World, frame: &FrameBuilder, expected: &Answer) {
    for (direction, frame) in both_directions(frame) {
        let answer = world.answer(direction, &frame.bytes());
        assert_eq!(answer, *expected, "{} of {frame:?}", direction.name());
    }
}
