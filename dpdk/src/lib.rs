//! Safe owners over the part of DPDK that Portcullis uses, and the home of its `unsafe` code.
//!
//! ```text
//! Eal ◀── Mempool ◀── Port<Configured> ──start──▶ Port<Started> + one (RxQueue, TxQueue) per worker
//!  ▲                                                                 │ receive      ▲ send
//!  └── lcore::Job (runs the worker)                                  └───▶ Burst ───┘
//! ```
//!
//! Promises: nothing here is undefined behaviour in safe hands, whatever is dropped first; every frame is freed exactly
//! once; the boundary to C is crossed once per burst; reading a frame is inlined Rust. Frames reach the wire as they
//! came: no offload that changes one is ever on.
//!
//! Refuses to know: packets, policy, configuration. DPDK structs whose layout differs between releases are read by the C
//! shim (`shim.h`), so the same source serves DPDK 22.11 and the long-term releases after it.

#[cfg(test)]
extern crate self as dpdk; // so that tests inside and outside share their support

mod eal;
mod error;
pub mod lcore;
pub mod log;
mod mbuf;
mod port;
mod sys;
pub mod telemetry;
#[cfg(test)]
mod tests;

pub use eal::{Eal, Ended, LcoreId, PortId, if_ended_while_starting};
pub use error::{Errno, Error};
pub use mbuf::{BURST_FRAMES_MAX, Burst, Mempool};
pub use port::{
    Configured, Link, Port, PortConfig, PortInfo, PortNote, PortStats, Queues, RxQueue, Started, Traffic, Trouble,
    TxQueue,
};
