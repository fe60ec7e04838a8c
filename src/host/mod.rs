//! What the machine has, and what to ask of it: CPUs, memory, EAL and its arguments.

pub mod cores;
pub mod doctor;
#[cfg(feature = "dpdk")]
pub mod eal;
pub mod eal_args;
#[cfg(feature = "dpdk")]
mod eal_noise;
pub mod hugepages;
pub mod memory;
pub mod pci;
