//! What holds for every frame, and not only for those that somebody wrote down.
//!
//! - `parsing`: any bytes, and IPv4 lengths exhaustively against a model
//! - `mail`: every port; mail in every dress
//! - `forwarding`: segments, bytes, order, balance
//! - `worlds`: configurations, inventories and frames of every kind, a worker against the one function
//! - `fragments`: nothing that the box lets through can be put together to mail
//!
//! `PROPTEST_CASES=100000 cargo test --test properties` looks longer. What a run finds is kept in
//! `*.proptest-regressions` beside the module and tried first from then on.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end in a panic")]

#[path = "properties/forwarding.rs"]
mod forwarding;
#[path = "properties/fragments.rs"]
mod fragments;
#[path = "properties/mail.rs"]
mod mail;
#[path = "properties/parsing.rs"]
mod parsing;
#[path = "properties/worlds.rs"]
mod worlds;

use portcullis::testkit::{FrameBuilder, VM_A, VM_B, World, world};
use proptest::prelude::*;

/// [`VM_A`] is restricted, [`VM_B`] is not.
fn a_world() -> World {
    world().restricted(VM_A).unrestricted(VM_B).build()
}

/// What a sender can put around a segment without changing to which port it goes.
#[derive(Clone, Debug)]
struct Dress {
    ipv6: bool,
    tags: Vec<(u16, u16)>,
    /// SNAP (its last OUI byte) after so many tags, and whether its length is true.
    snap: Option<(usize, u8, Option<u16>)>,
    options: Vec<u8>,
    /// Kinds and sizes in units of eight bytes.
    extensions: Vec<(u8, usize)>,
    atomic: bool,
    padding: Vec<u8>,
    flags: u8,
}

impl Dress {
    fn put_on(&self, mut frame: FrameBuilder) -> FrameBuilder {
        frame = frame.flags(self.flags).options(&self.options).padding(&self.padding);
        let snap = |frame: FrameBuilder, at: usize| match self.snap {
            Some((after, oui, length)) if after.min(self.tags.len()) == at => {
                let frame = frame.snap_oui([0, 0, oui]);
                length.map_or(frame.clone(), |length| frame.llc_length(length))
            }
            _ => frame,
        };
        for (at, &(ether_type, tci)) in self.tags.iter().enumerate() {
            frame = snap(frame, at).tag(ether_type, tci);
        }
        frame = snap(frame, self.tags.len());
        for &(kind, units) in &self.extensions {
            if self.ipv6 || kind == 51 {
                frame = frame.extension(kind, units * 8);
            }
        }
        if self.ipv6 && self.atomic {
            frame = frame.fragment(0, false);
        }
        if self.ipv6 { frame.ipv6() } else { frame }
    }
}

/// At most `tags_max` tags; longer chains than the box looks through, too.
fn dress(tags_max: usize) -> impl Strategy<Value = Dress> {
    let tag = (prop::sample::select(&portcullis::testkit::ETHERTYPES_OF_TAGS[..]), any::<u16>());
    let snap = (0..3usize, prop::sample::select(&[0u8, 0xf8][..]), prop::option::of(0..0x600u16));
    let kinds = prop::sample::select(&[0u8, 43, 51, 60, 135, 139, 140][..]);
    (
        any::<bool>(),
        prop::collection::vec(tag, 0..=tags_max),
        prop::option::of(snap),
        (0..=10usize).prop_flat_map(|words| prop::collection::vec(any::<u8>(), words * 4)),
        prop::collection::vec((kinds, 1..12usize), 0..11),
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..60),
        any::<u8>(),
    )
        .prop_map(|(ipv6, tags, snap, options, extensions, atomic, padding, flags)| Dress {
            ipv6,
            tags,
            snap,
            options,
            extensions,
            atomic,
            padding,
            flags,
        })
}
