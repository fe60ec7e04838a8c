//! Builders for tests, benches and fuzzing, so that a case reads as a sentence:
//!
//! ```
//! use portcullis::policy::DropReason::PortClosed;
//! use portcullis::testkit::{PEER, VM_A, VM_B, allowed, denied, frame, world};
//!
//! let world = world().restricted(VM_A).unrestricted(VM_B).build();
//! assert_eq!(world.egress(frame().from(VM_A).to(PEER).tcp(25)), denied(VM_A, PortClosed));
//! assert_eq!(world.egress(frame().from(VM_B).to(PEER).vlan(7).ipv6().tcp(25)), allowed(VM_B));
//! ```
//!
//! Frames are put together byte by byte from the RFCs, with nothing of the parser's, so that one misreading cannot
//! sit on both sides. Nothing here is for production: mistakes of the caller panic.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, clippy::panic, reason = "a test's mistake ends the test")]

mod frame;
mod neighbours;
mod station;
mod world;

pub use frame::{ETHERTYPES_OF_TAGS, FrameBuilder, frame};
pub use neighbours::link_layer_option;
pub use station::{GATEWAY_MAC, NOBODY, PEER, RELAY, ROUTER_MAC, Station, VM_A, VM_B, VM_C, VM_D};
pub use world::{
    Answer, NOW, Run, World, WorldBuilder, allowed, denied, drops, excepted, passes, world, would_deny, would_drop,
};
