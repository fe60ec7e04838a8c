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
//!                    vm::table (shared) ─────────────┘ reads, wait-free         ▼ own
//!                              │                                     telemetry::counters
//!                              └── grace period: every worker has passed ──▶ reply
//! ```
//!
//! The map, from the bytes up (a module uses only what stands above it here):
//!
//! | module | what it is |
//! |---|---|
//! | [`packet`] | bytes → what the box can see; no policy, no panic, no allocation |
//! | [`vm`] | VM records, the registry (writable truth), the table (what workers read) and its grace periods |
//! | [`policy`] | classes, identity, verdicts; the one pure function that decides, and its explanation in words |
//! | [`port`] | receive and transmit queues as traits; in memory for tests, over DPDK for real |
//! | [`telemetry`] | counters that workers write, and the statistics document |
//! | [`dataplane`] | one burst through the policy; the loop of one worker |
//! | [`control`] | the control socket: wire contract, handler, server, client |
//! | [`config`] | the configuration file |
//! | [`app`] | the assembly: EAL, memory, links, watchdog, `run` and `replay` |
//! | [`cli`] | what may be typed and what is printed |
//!
//! Beside them stand three leaves: [`cpu`] (the only `unsafe` of this crate), [`exit`] and [`suggest`].
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
