//! The writable truth about the virtual machines the box knows, and about the settings: one state, one revision.
//!
//! | file | what it is |
//! |---|---|
//! | [`record`], [`lines`] | a VM as people and programs write it, alone and by the file |
//! | [`registry`] | the one writer: stages changes, publishes them, knows when they are in force |
//! | [`clock`] | what time it is, for what ends at a moment |
//! | [`confirm`] | a change that is undone by itself unless somebody confirms it |
//! | [`connection`] | a connection that somebody asks about, as a frame |
//! | [`edit`] | what a change is made of, and why one is refused |
//! | [`policy`] | a change of policy |
//! | `draft` | a change that is checked and not yet made |
//! | `truth` | what is true, in plain collections |
//! | [`explanation`] | why a frame is forwarded or dropped, and how it could pass |
//! | [`lift`] | what would let a denied frame through |
//! | [`journal`] | where changes are written before any worker sees them |

pub mod clock;
pub mod confirm;
pub mod connection;
mod draft;
pub mod edit;
pub mod explanation;
pub mod journal;
pub mod lift;
pub mod lines;
pub mod policy;
pub mod record;
pub mod registry;
mod truth;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
