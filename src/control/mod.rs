//! The control plane: the one way to change the box while it runs, and to ask it what it knows.
//!
//! A command travels [`server`] (bytes of a Unix socket) → [`rpc`] (typed call) → [`handler`] (the registry) for a change,
//! [`reading`] for a question, and its answer back the same way; [`client`] is the other end. The wire contract stands in
//! [`rpc`], who may have the socket in [`socket`], who may do what in [`roles`], and what is written down of that in [`audit`]; `dropped` says what was denied of late, and to whom. One thread owns the [`State`]; each connection has a thread that reads,
//! parses, sums and writes, so a slow client holds up nobody but itself.
//!
//! Knows nothing of packets, ports or workers: a change is in force when the table's grace period says so.

pub mod audit;
pub mod client;
mod dropped;
pub mod explain;
pub mod handler;
pub mod health;
pub mod hint;
pub mod history;
pub mod inventory;
mod params;
pub mod reading;
pub mod reload;
pub mod roles;
pub mod rpc;
pub mod server;
pub mod socket;

pub use handler::State;
