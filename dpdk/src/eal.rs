//! DPDK's Environment Abstraction Layer: started once, ended by whoever lets go of it last.
//!
//! [`Eal`] is a handle. Everything else in this crate holds a clone, so `rte_eal_cleanup` runs after the last port,
//! pool, burst and job is gone, in whatever order a program drops them. What DPDK asks callers to serialise (calls
//! that configure, query or close ports, and launches) goes through one lock here; frames never do.
//!
//! Refuses to know: what the arguments mean. They are the caller's, built from its configuration.

use core::ffi::{CStr, c_char, c_int};
use core::fmt;
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{Errno, check};
use crate::{Error, sys};

/// A logical core of EAL: one thread, pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(pub u32);

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A port's number in DPDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A running EAL. Cheap to clone; the last clone ends it.
///
/// A process that leaves through `std::process::exit` ends EAL without cleanup: files that a driver writes
/// (`net_pcap`) are then not flushed, and EAL's run directory stays.
#[derive(Clone)]
pub struct Eal {
    inner: Arc<Inner>,
}

struct Inner {
    claims: Mutex<Claims>,
}

/// As far as `rte_eal_init` got; empty before it made one.
fn runtime_dir() -> PathBuf {
    // SAFETY: answers a NUL-terminated text in a static buffer that is written once, by `rte_eal_init`, on the thread that
    // asks or before it had a handle to ask with.
    let path = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

/// What has an owner. Whoever holds the lock is the only one inside DPDK's control calls.
#[derive(Default)]
pub(crate) struct Claims {
    /// Ports with a `Port` or queue handles.
    pub(crate) ports: BTreeSet<PortId>,
    /// Lcores with a `Job` that was not waited for.
    pub(crate) lcores: BTreeSet<LcoreId>,
}

/// DPDK's name and version, as the library has them.
fn version() -> String {
    // SAFETY: answers a NUL-terminated text in a static buffer, the same at every call.
    unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy().into_owned()
}

/// Structs and inline functions of the release that was built for are compiled in. The loader takes any library of the same
/// file name; it must also be of the same year and month.
fn same_release(built: (u32, u32), found: String) -> Result<(), Error> {
    let number = found.rsplit(' ').next().unwrap_or_default();
    let mut parts = number.split(['.', '-']).map(|part| part.parse().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(year), Some(month)) if (year, month) == built => Ok(()),
        _ => Err(Error::Release { built, found }),
    }
}

static STARTED: AtomicBool = AtomicBool::new(false);

/// What to say, and with what to end, if EAL ends the process while it starts.
pub type Ended = fn(i32) -> i32;

static ENDED: OnceLock<Ended> = OnceLock::new();

/// Has `ended` called if DPDK ends the process instead of answering an error from [`Eal::init`], as newer releases do for an
/// option they do not know. It is told the status that DPDK chose and answers the one to end with; it must not call into
/// DPDK. The first one stays.
pub fn if_ended_while_starting(ended: Ended) {
    let _ = ENDED.set(ended);
}

/// What the shim calls then. `extern "C"`: a panic aborts here and never unwinds into C.
unsafe extern "C" fn ended(status: c_int) -> c_int {
    ENDED.get().map_or(status, |ended| ended(status))
}

impl Eal {
    /// Starts EAL with `args`, of which the first is the program's name.
    ///
    /// Call it early, on the thread that is to be the main lcore: EAL pins that thread to the main lcore's CPU, and
    /// threads started from it later inherit the pin (see [`Eal::unpin_thread`]). While EAL starts, anything any
    /// thread prints on stdout goes to stderr, because EAL prints its usage there.
    ///
    /// A DPDK that ends the process here instead of answering is dealt with by [`if_ended_while_starting`].
    ///
    /// Once per process: a second call is an error, also after a failure or after EAL has ended.
    pub fn init(args: &[String]) -> Result<Self, Error> {
        let refuse = |argument: &str, why| Err(Error::EalArgument { argument: argument.to_owned(), why });
        let Some((_, options)) = args.split_first() else { return refuse("", "the program's name is missing") };
        for argument in options {
            match argument.as_str() {
                // "--h", "--he" and "--hel" too, since getopt completes them.
                help if help == "-h" || (help.starts_with("--h") && "--help".starts_with(help)) => {
                    return refuse(help, "DPDK would print its usage and end the process");
                }
                "--" => return refuse("--", "only EAL's own arguments belong here"),
                "" => return refuse("", "it is empty"),
                _ => {}
            }
        }
        let mut owned = Vec::with_capacity(args.len());
        for argument in args {
            let Ok(text) = CString::new(argument.as_bytes()) else { return refuse(argument, "it holds a NUL byte") };
            owned.push(text);
        }
        same_release((sys::SHIM_RELEASE_YEAR, sys::SHIM_RELEASE_MONTH), version())?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Error::EalStartedBefore);
        }
        // DPDK may keep and reorder these, so they live as long as the process: a few hundred bytes, once.
        let mut argv: Vec<*mut c_char> = owned.into_iter().map(CString::into_raw).collect();
        argv.push(core::ptr::null_mut());
        let argv = argv.leak();
        let argc = c_int::try_from(args.len()).unwrap_or(c_int::MAX);
        // SAFETY: argv holds argc NUL-terminated texts and a final NULL, never freed (leaked above); `STARTED` makes
        // this the only call in the process.
        let parsed = check(unsafe { sys::shim_eal_init(argc, argv.as_mut_ptr(), Some(ended)) }).map_err(|cause| {
            // An empty directory would be left for each failed start; one that holds anything is somebody's.
            let _ = std::fs::remove_dir(runtime_dir());
            Error::EalInit { cause, arguments: options.join(" ") }
        })?;
        let eal = Self { inner: Arc::new(Inner { claims: Mutex::default() }) };
        // getopt has moved to the end what it took for no option. EAL would ignore it silently.
        let parsed = usize::try_from(parsed).unwrap_or(0);
        if let Some(&left) = argv.get(parsed + 1).filter(|left| !left.is_null()) {
            // SAFETY: not NULL, so it is one of the leaked texts above (getopt only permutes them).
            let left = unsafe { CStr::from_ptr(left) };
            return refuse(&left.to_string_lossy(), "EAL knows no such argument");
        }
        Ok(eal)
    }

    /// The lcore of the thread that started EAL.
    pub fn main_lcore(&self) -> LcoreId {
        // SAFETY: EAL runs while `self` exists, and the main lcore never changes.
        LcoreId(unsafe { sys::rte_get_main_lcore() })
    }

    /// The other lcores, in ascending order.
    pub fn worker_lcores(&self) -> Vec<LcoreId> {
        let mut found = Vec::new();
        let mut at = u32::MAX; // "before the first", as DPDK's own loops start
        loop {
            // SAFETY: EAL runs while `self` exists; the call reads its table of lcores, fixed since the start.
            at = unsafe { sys::rte_get_next_lcore(at, 1, 0) };
            if at >= sys::SHIM_LCORES_MAX {
                return found;
            }
            found.push(LcoreId(at));
        }
    }

    /// The ports that no other part of DPDK (a bond, a failsafe device) has taken, closed ones excepted.
    pub fn ports(&self) -> Vec<PortId> {
        let _claims = self.claims();
        let mut found = Vec::new();
        let mut at = 0_u16;
        loop {
            // SAFETY: EAL runs while `self` exists, and `_claims` keeps others from closing a port meanwhile.
            let next = unsafe { sys::rte_eth_find_next_owned_by(at, 0) };
            match u16::try_from(next) {
                Ok(port) if u32::from(port) < sys::SHIM_PORTS_MAX => {
                    found.push(PortId(port));
                    at = port + 1;
                }
                _ => return found,
            }
        }
    }

    /// The port of this name: a PCI address, or a virtual device's name.
    pub fn port_by_name(&self, name: &str) -> Option<PortId> {
        let name = CString::new(name).ok()?;
        let mut port = 0_u16;
        let _claims = self.claims();
        // SAFETY: `name` is NUL-terminated, `port` outlives the call, EAL runs while `self` exists.
        let found = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut port) };
        (found == 0).then_some(PortId(port))
    }

    /// DPDK's name and version, as in `DPDK 22.11.11`.
    pub fn version(&self) -> String {
        version()
    }

    /// The directory where EAL keeps this process's run-time files, its telemetry socket among them. It outlives the
    /// process; removing it afterwards is the caller's business.
    pub fn runtime_dir(&self) -> PathBuf {
        runtime_dir()
    }

    /// Lets the calling thread run on the CPUs the process had before EAL started, except the worker lcores'; if
    /// none is left, on the main lcore's. EAL's own control threads follow the same rule.
    ///
    /// A thread started from the main lcore's thread is pinned to that CPU until it calls this. Not for lcore
    /// threads: a worker that calls it loses its own CPU.
    pub fn unpin_thread(&self) -> Result<(), Error> {
        // SAFETY: EAL runs while `self` exists, so its lcore table is set up; only the calling thread changes.
        check(unsafe { sys::shim_thread_unpin() }).map(drop).map_err(Error::Affinity)
    }

    /// Who owns what, and the lock over DPDK's control calls.
    pub(crate) fn claims(&self) -> MutexGuard<'_, Claims> {
        // A panic while holding it leaves the sets whole: each change of them is one call.
        self.inner.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eal").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: every port, pool, burst and job holds an `Eal`, so none of them is left: nobody can call into DPDK
        // any more, no job runs, and `STARTED` keeps EAL from being started again.
        let _ = unsafe { sys::rte_eal_cleanup() };
    }
}

/// The lcore the calling thread is, if EAL made it one.
pub fn current_lcore() -> Option<LcoreId> {
    // SAFETY: reads a thread-local integer that DPDK initialises statically.
    let lcore = unsafe { sys::shim_lcore_id() };
    (lcore != u32::MAX).then_some(LcoreId(lcore))
}

impl Errno {
    /// Names the port in an error about it.
    pub(crate) fn on_port(self, port: &str, action: &'static str) -> Error {
        Error::Port { port: port.to_owned(), action, cause: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_of_another_release_is_refused_in_words() {
        for same in ["DPDK 22.11.11", "DPDK 22.11.0", "DPDK 22.11.0-rc2"] {
            assert_eq!(same_release((22, 11), same.into()), Ok(()), "{same}");
        }
        assert_eq!(same_release((24, 3), "DPDK 24.03.0".into()), Ok(()));
        for other in ["DPDK 23.03.0", "DPDK 22.07.2", "DPDK", ""] {
            let error = same_release((22, 11), other.into()).unwrap_err().to_string();
            assert!(error.contains("built for DPDK 22.11 and has been given"), "{error}");
        }
    }
}
