//! The control plane: the one way to change the box while it runs, and to ask it what it knows.
//!
//! A command travels `server` (bytes of a Unix socket) → [`rpc`] (typed call) → [`handler`] (the registry and the
//! counters) and its answer back the same way. The wire contract stands in [`rpc`]. One thread owns the [`State`], so
//! calls of all clients happen one after the other; each connection has a thread that reads, parses and writes, so a
//! slow client holds up nobody but itself.
//!
//! Knows nothing of packets, ports or workers: `applied` is what the table's grace period says.

pub mod handler;
pub mod rpc;

pub use handler::State;
pub use rpc::{Call, Kind, RpcError};
