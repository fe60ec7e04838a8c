//! The assembly: the only place that names both planes.

pub mod capture;
pub mod cores;
#[cfg(feature = "dpdk")]
pub mod eal;
pub mod eal_args;
#[cfg(feature = "dpdk")]
pub mod engine;
pub mod links;
pub mod memory;
#[cfg(feature = "dpdk")]
pub mod replay;
#[cfg(feature = "dpdk")]
pub mod run;
pub mod vms;
pub mod watchdog;
