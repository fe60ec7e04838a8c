//! Where DPDK's log goes and how much of it there is.
//!
//! Unrouted, it goes to stderr and syslog. It never goes to stdout, which belongs to whoever reads our output.
//! Both functions may be called before [`Eal::init`](crate::Eal::init), and should be: EAL logs most while starting.

use std::sync::OnceLock;

use crate::error::check;
use crate::{Error, sys};

/// How grave a message is, gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// The system is unusable.
    Emergency = 1,
    /// Somebody must act at once.
    Alert = 2,
    /// A critical condition.
    Critical = 3,
    /// An error.
    Error = 4,
    /// A warning.
    Warning = 5,
    /// Normal, but worth knowing.
    Notice = 6,
    /// Information.
    Info = 7,
    /// For those who look for a bug.
    Debug = 8,
}

impl Level {
    fn from_dpdk(level: u32) -> Self {
        match level {
            0 | 1 => Self::Emergency,
            2 => Self::Alert,
            3 => Self::Critical,
            4 => Self::Error,
            5 => Self::Warning,
            6 => Self::Notice,
            7 => Self::Info,
            _ => Self::Debug,
        }
    }
}

static SINK: OnceLock<fn(Level, &str)> = OnceLock::new();

/// Sends every message of DPDK to `sink` from now on; the first sink stays, later calls change nothing.
///
/// `sink` gets the message without its line end, on whichever thread logged it, one message at a time. It must not
/// call into DPDK, and a panic in it ends the process.
pub fn route(sink: fn(Level, &str)) -> Result<(), Error> {
    if SINK.set(sink).is_err() {
        return Ok(());
    }
    // SAFETY: `deliver` has the signature the shim asks for and lives as long as the program.
    check(unsafe { sys::shim_log_route(Some(deliver)) }).map(drop).map_err(Error::Log)
}

/// Drops messages less grave than `least`. EAL's own `--log-level` argument overrides this when given.
pub fn set_level(least: Level) {
    // SAFETY: stores an integer in a static that DPDK's constructors have set up before main.
    unsafe { sys::rte_log_set_global_level(least as u32) }
}

/// Called by the C library when DPDK flushes a message. `extern "C"`: a panic aborts and never unwinds into C.
unsafe extern "C" fn deliver(level: u32, text: *const core::ffi::c_char, bytes: usize) {
    let Some(sink) = SINK.get() else { return };
    if text.is_null() {
        return;
    }
    // SAFETY: stdio calls with the `bytes` bytes of its buffer at `text`, which it does not touch until we return.
    let text = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), bytes) };
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end();
    if !text.is_empty() {
        sink(Level::from_dpdk(level), text);
    }
}
