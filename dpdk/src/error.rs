//! What can go wrong with DPDK, one variant per cause, with the offending value in it.
//!
//! Only set-up and upkeep fail: receiving, sending and freeing cannot. Nothing here is made per frame.

use core::ffi::CStr;
use core::fmt;

use crate::{LcoreId, PortId, sys};

/// An errno as DPDK reports it, shown with its text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// There is no such device.
    pub const NODEV: Self = Self(libc::ENODEV);
    /// An argument is invalid.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// The driver cannot do that.
    pub const NOTSUP: Self = Self(libc::ENOTSUP);

    /// The calling thread's `rte_errno`, which DPDK sets where it answers NULL.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer that exists as long as the library is mapped.
        Self(unsafe { sys::shim_errno() })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: rte_strerror answers a NUL-terminated text, constant or in the calling thread's own buffer; it is
        // read before anything else on this thread could call rte_strerror again.
        let text = unsafe { CStr::from_ptr(sys::rte_strerror(self.0)) };
        write!(f, "{} (errno {})", text.to_string_lossy(), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why DPDK, or this crate on its behalf, refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// EAL starts once per process, whether that went well or not.
    #[error("DPDK's EAL was already started in this process; it can be started only once")]
    EalStartedBefore,
    /// The library is of another release than what this was compiled for.
    #[error(
        "this binary was built for DPDK {}.{:02} and has been given {found}; functions and structures differ, so build it \
         where it runs", built.0, built.1
    )]
    Release {
        /// Year and month that the build saw.
        built: (u32, u32),
        /// What the library says of itself.
        found: String,
    },
    /// A command that DPDK's telemetry does not take.
    #[error("DPDK's telemetry does not take the command {command:?}")]
    Telemetry {
        /// The command.
        command: String,
    },
    /// An EAL argument that is refused before DPDK sees it.
    #[error("EAL argument {argument:?} refused: {why}")]
    EalArgument {
        /// The argument.
        argument: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `rte_eal_init` failed; its reasons are in the log.
    #[error("DPDK's EAL did not start: {cause} (arguments: {arguments})")]
    EalInit {
        /// What EAL reported.
        cause: Errno,
        /// All arguments, as one line.
        arguments: String,
    },
    /// The pool's shape is impossible, whatever the memory.
    #[error("mempool {name:?} refused: {why}")]
    PoolShape {
        /// The pool's name.
        name: String,
        /// The bound that was crossed.
        why: String,
    },
    /// The pool could not be made, mostly for want of memory.
    #[error("mempool {name:?} of {mbufs} mbufs, {bytes} bytes in all, was not made: {cause}")]
    Pool {
        /// The pool's name.
        name: String,
        /// Mbufs asked for.
        mbufs: u32,
        /// Bytes that many mbufs take.
        bytes: u64,
        /// What DPDK reported.
        cause: Errno,
    },
    /// No such port, or it was closed.
    #[error("there is no port {0}")]
    NoSuchPort(PortId),
    /// Somebody in this process owns the port already.
    #[error("port {0} is in use already")]
    PortInUse(PortId),
    /// A port needs at least one queue.
    #[error("port {0} was asked for no queue at all")]
    NoQueues(PortId),
    /// The device has fewer queues than were asked for.
    #[error("{port} has at most {rx_queues_max} receive and {tx_queues_max} transmit queues, {asked} were asked for")]
    TooManyQueues {
        /// The device's name.
        port: String,
        /// Queues asked for, in each direction.
        asked: u16,
        /// The device's limit for receiving.
        rx_queues_max: u16,
        /// The device's limit for transmitting.
        tx_queues_max: u16,
    },
    /// A call on a port failed.
    #[error("{port}: cannot {action}: {cause}")]
    Port {
        /// The device's name, or its number where the name is not known.
        port: String,
        /// What was tried.
        action: &'static str,
        /// What DPDK or the driver reported.
        cause: Errno,
    },
    /// A port cannot be closed while queue handles of it are elsewhere.
    #[error("{port}: not closed yet, since some of its queues are still held elsewhere; the last holder closes it")]
    QueuesHeld {
        /// The device's name.
        port: String,
    },
    /// Jobs run on worker lcores only.
    #[error("lcore {0} is not a worker lcore of this process")]
    NotAWorker(LcoreId),
    /// One job per lcore, until it was waited for.
    #[error("lcore {0} has a job already")]
    LcoreBusy(LcoreId),
    /// `rte_eal_remote_launch` failed.
    #[error("no job could be started on lcore {lcore}: {cause}")]
    Launch {
        /// The lcore.
        lcore: LcoreId,
        /// What DPDK reported.
        cause: Errno,
    },
    /// A thread could not be moved off its CPU.
    #[error("the thread's CPU affinity could not be set: {0}")]
    Affinity(Errno),
    /// The log could not be routed.
    #[error("DPDK's log could not be routed: {0}")]
    Log(Errno),
}

/// 0 or more is success; a negative answer is an errno.
pub(crate) fn check(answer: i32) -> Result<i32, Errno> {
    if answer < 0 { Err(Errno(answer.saturating_neg())) } else { Ok(answer) }
}
