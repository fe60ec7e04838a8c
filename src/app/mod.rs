//! The assembly: the only place that names both planes.

pub mod capture;
pub mod cores;
pub mod eal_args;
#[cfg(feature = "dpdk")]
pub mod engine;
pub mod links;
pub mod memory;
pub mod watchdog;
