//! The assembly: the only place that names both planes.

pub mod cores;
pub mod eal_args;
pub mod memory;
