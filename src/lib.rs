//! Portcullis: a mail-port firewall between a hosting grid's virtual machines and the uplink.
//!
//! Two planes that meet only in [`app`] and never import each other:
//!
//! ```text
//!      control thread, off the workers               worker: one per lcore, run to completion
//!  socket ─▶ server ─▶ rpc ─▶ handler        ┌──────────────────────────────────────────────────────┐
//!                              │ edits       │  rx ──▶ parse ──▶ [port closed by any class?] ─no─▶ tx │
//!                              ▼             │ burst   packet          │yes                     burst │
//!                    vm::registry (truth)    │                         ▼                              │
//!                              │ writes      │              identify ─▶ class ─▶ verdict ─▶ drop      │
//!                              ▼             └───────▲──────────────────────────┬─────────────────────┘
//!                    table (shared) ─────────────────┘ reads, wait-free         ▼ own
//!                              │                                     telemetry::counters
//!                              └── grace period: every worker has passed ──▶ reply
//! ```
//!
//! What each part is, who may use whom, and why: `docs/design.md`, which `tests/contract` holds to the code. How a frame and a
//! change travel through it: `docs/life.md`. What the words mean: `docs/glossary.md`.
#![deny(unsafe_code)]
#![cfg_attr(not(feature = "dpdk"), allow(dead_code, unused_imports, reason = "the commands that use it are not there"))]
#![cfg_attr(not(feature = "testkit"), allow(unreachable_pub, reason = "what is public is so for the other modules"))]

pub mod cli;

// The program shows its command line and nothing else, so the compiler says what nobody uses. Tests, benchmarks and fuzz
// targets see the modules too, and have builders for what they need.
#[cfg(feature = "testkit")]
pub mod testkit;

#[cfg(not(feature = "testkit"))]
mod app;
#[cfg(feature = "testkit")]
pub mod app;
#[cfg(not(feature = "testkit"))]
mod capture;
#[cfg(feature = "testkit")]
pub mod capture;
#[cfg(not(feature = "testkit"))]
mod config;
#[cfg(feature = "testkit")]
pub mod config;
#[cfg(not(feature = "testkit"))]
mod control;
#[cfg(feature = "testkit")]
pub mod control;
#[cfg(not(feature = "testkit"))]
mod cpu;
#[cfg(feature = "testkit")]
pub mod cpu;
#[cfg(not(feature = "testkit"))]
mod dataplane;
#[cfg(feature = "testkit")]
pub mod dataplane;
#[cfg(not(feature = "testkit"))]
mod failure;
#[cfg(feature = "testkit")]
pub mod failure;
#[cfg(not(feature = "testkit"))]
mod host;
#[cfg(feature = "testkit")]
pub mod host;
#[cfg(not(feature = "testkit"))]
mod metrics;
#[cfg(feature = "testkit")]
pub mod metrics;
#[cfg(not(feature = "testkit"))]
mod model;
#[cfg(feature = "testkit")]
pub mod model;
#[cfg(not(feature = "testkit"))]
mod packet;
#[cfg(feature = "testkit")]
pub mod packet;
#[cfg(not(feature = "testkit"))]
mod policy;
#[cfg(feature = "testkit")]
pub mod policy;
#[cfg(not(feature = "testkit"))]
mod port;
#[cfg(feature = "testkit")]
pub mod port;
#[cfg(not(feature = "testkit"))]
mod store;
#[cfg(feature = "testkit")]
pub mod store;
#[cfg(not(feature = "testkit"))]
mod sync;
#[cfg(feature = "testkit")]
pub mod sync;
#[cfg(not(feature = "testkit"))]
mod table;
#[cfg(feature = "testkit")]
pub mod table;
#[cfg(not(feature = "testkit"))]
mod telemetry;
#[cfg(feature = "testkit")]
pub mod telemetry;
#[cfg(not(feature = "testkit"))]
mod text;
#[cfg(feature = "testkit")]
pub mod text;
#[cfg(not(feature = "testkit"))]
mod vm;
#[cfg(feature = "testkit")]
pub mod vm;

/// The program's version and, if it was built from a git checkout, the commit.
pub const VERSION: &str = env!("PORTCULLIS_VERSION");
