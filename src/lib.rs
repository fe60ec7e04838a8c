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

pub mod app;
pub mod capture;
pub mod cli;
pub mod config;
pub mod control;
pub mod cpu;
pub mod dataplane;
pub mod exit;
pub mod host;
pub mod model;
pub mod packet;
pub mod policy;
pub mod port;
pub mod sync;
pub mod table;
pub mod telemetry;
#[doc(hidden)]
pub mod testkit;
pub mod text;
pub mod vm;

/// The program's version and, if it was built from a git checkout, the commit.
pub const VERSION: &str = env!("PORTCULLIS_VERSION");
