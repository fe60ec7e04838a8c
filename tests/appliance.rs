//! The real binary over DPDK, driven as an operator drives it: command lines in, exit codes, documents and captures out.
//!
//! - `activation`: a control socket that somebody else listens at
//! - `authority`: who may do what over the control socket, and what is written down of it (root only)
//! - `clients`: the programs of `docs/clients.md` that talk to the box
//! - `completions`: what a shell offers at Tab
//! - `doctor`: what is wrong with this machine, and what mends it
//! - `exceptions`: what a single VM may do all the same, and its end
//! - `explain`: why frames are forwarded or dropped, and what lifts
//! - `replay`: captures through the box, every byte and every counter
//! - `captures`: captures of every kind, by file and by pipe, and where they go
//! - `input`: what cannot be is refused, with the offender's name and the documented exit code
//! - `daemon`: `run` and the commands that talk to it
//! - `life`: signals, threads that stand still, and what a supervisor hears
//! - `links`: a port that loses its link
//! - `metrics`: what Prometheus is told, and what its own tools make of it
//! - `policy`: policy that changes while frames flow
//! - `store`: what outlasts the process
//! - `telemetry`: DPDK's telemetry socket, with commands of our own
//! - `words`: what commands print, for people in any width and for programs
//! - `writing`: what wants to write and cannot, which stops nothing
//! - `netns`: real TCP through the box, between network namespaces (root only)
//! - `netns_policy`: what real hosts make of a strict box, and of one that rejects (root only)
//!
//! Nothing here depends on how long something takes: tests wait for conditions, with generous limits. Where frames
//! flow, a test ends with the balance, computed from the document and not only read from its `balanced`.
//!
//! Devices are DPDK's virtual ones, so neither a NIC nor huge pages are needed, and root only where it is said.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]

#[path = "appliance/activation.rs"]
mod activation;
#[path = "appliance/authority.rs"]
mod authority;
#[path = "appliance/captures.rs"]
mod captures;
#[path = "appliance/clients.rs"]
mod clients;
#[path = "appliance/completions.rs"]
mod completions;
#[path = "appliance/daemon.rs"]
mod daemon;
#[path = "appliance/doctor.rs"]
mod doctor;
#[path = "appliance/drops.rs"]
mod drops;
#[path = "appliance/exceptions.rs"]
mod exceptions;
#[path = "appliance/explain.rs"]
mod explain;
#[path = "support/mod.rs"]
mod files;
#[path = "appliance/input.rs"]
mod input;
#[path = "appliance/inventory.rs"]
mod inventory;
#[path = "appliance/life.rs"]
mod life;
#[path = "appliance/links.rs"]
mod links;
#[path = "appliance/metrics.rs"]
mod metrics;
#[path = "appliance/netns.rs"]
mod netns;
#[path = "appliance/netns_policy.rs"]
mod netns_policy;
#[path = "appliance/policy.rs"]
mod policy;
#[path = "appliance/replay.rs"]
mod replay;
#[path = "appliance/store.rs"]
mod store;
#[path = "appliance/support.rs"]
mod support;
#[path = "appliance/telemetry.rs"]
mod telemetry;
#[path = "appliance/words.rs"]
mod words;
#[path = "appliance/writing.rs"]
mod writing;
