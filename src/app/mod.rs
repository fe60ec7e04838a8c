//! The assembly: the only place that names both planes.

#[cfg(feature = "dpdk")]
pub mod boot;
#[cfg(feature = "dpdk")]
pub mod engine;
pub mod explain;
pub mod log;
#[cfg(feature = "dpdk")]
pub mod ports;
#[cfg(feature = "dpdk")]
pub mod reload;
#[cfg(feature = "dpdk")]
pub mod replay;
#[cfg(feature = "dpdk")]
pub mod run;
#[cfg(feature = "dpdk")]
pub mod store;
#[cfg(feature = "dpdk")]
pub mod telemetry;
pub mod vms;
pub mod watch;
