//! Starting EAL.

use std::path::PathBuf;

use dpdk::{Eal, log};
use rustix::io::Errno;
use tracing::{debug, error, info, warn};

use super::cores::Cores;
use super::eal_args::EalArgs;
use super::eal_noise;
use super::memory::{self, Plan};
use crate::config::{Config, Hugepages};
use crate::exit::{Exit, Failure};

/// The CPUs this process may run on, ascending.
#[must_use]
pub fn available_cpus() -> Vec<u32> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..1024u32).filter(|&cpu| set.is_set(cpu as usize)).collect(),
        Err(_) => vec![0],
    }
}

/// EAL's arguments for a configuration.
///
/// # Errors
/// Raw options that contradict it.
pub fn arguments(config: &Config, cores: &Cores, plan: Plan, extra: &[String]) -> Result<Vec<String>, Failure> {
    let dpdk = &config.dpdk;
    let mut args = EalArgs::default();
    args.set(&["--lcores", &cores.lcores()], "dpdk.cores", dpdk.cores.is_some());
    args.set(&["--main-lcore", "0"], "dpdk.main_core", dpdk.main_core.is_some());
    args.set(&["--file-prefix", &dpdk.file_prefix], "dpdk.file_prefix", dpdk.file_prefix != "portcullis");
    if memory::use_hugepages(dpdk.hugepages, plan.memory_mib) {
        args.set(&["--huge-unlink"], "dpdk.hugepages", dpdk.hugepages == Hugepages::On);
    } else {
        args.set(&["--no-huge"], "dpdk.hugepages", dpdk.hugepages == Hugepages::Off);
    }
    args.set(&["-m", &plan.memory_mib.to_string()], "dpdk.memory_mib", dpdk.memory_mib.is_some());
    for link in &config.links {
        args.device(&link.inside);
        args.device(&link.outside);
    }
    let extra: Vec<String> = dpdk.extra_args.iter().chain(extra).cloned().collect();
    args.finish("portcullis", &extra).map_err(|error| Failure::new(Exit::Configuration, error))
}

/// A running EAL that leaves nothing behind: its run directory goes with it.
#[derive(Debug)]
pub struct Session {
    /// The handle.
    pub eal: Eal,
    // Dropped after `eal`, so after DPDK has let go of the directory.
    _run_dir: RunDir,
}

#[derive(Debug)]
struct RunDir(PathBuf);

impl Drop for RunDir {
    fn drop(&mut self) {
        // Nothing is lost if it stays: the next process of this name uses it again.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts EAL; its log goes where ours goes.
///
/// # Errors
/// What EAL says.
pub fn init(args: &[String]) -> Result<Session, Failure> {
    log::set_level(log::Level::Notice);
    if let Err(error) = log::route(forward) {
        warn!("EAL's log goes to standard error as it is: {error}");
    }
    info!("EAL arguments: {}", args.join(" "));
    let eal = Eal::init(args).map_err(|error| Failure::new(exit(&error), error))?;
    debug!("{}", eal.version());
    let _run_dir = RunDir(eal.runtime_dir());
    Ok(Session { eal, _run_dir })
}

/// A virtual device whose driver there is not keeps EAL from starting; a device that its driver cannot start does not.
/// Either way it is a device that is missing.
fn exit(error: &dpdk::Error) -> Exit {
    match error {
        dpdk::Error::EalInit { cause, .. } if cause.0 == Errno::NODEV.raw_os_error() => Exit::Unavailable,
        _ => Exit::Os,
    }
}

fn forward(level: log::Level, text: &str) {
    let text = text.trim_end();
    if eal_noise::is_harmless(text) {
        debug!(target: "eal", "{text}");
        return;
    }
    match level {
        log::Level::Emergency | log::Level::Alert | log::Level::Critical | log::Level::Error => {
            error!(target: "eal", "{text}");
        }
        log::Level::Warning => warn!(target: "eal", "{text}"),
        log::Level::Notice => info!(target: "eal", "{text}"),
        log::Level::Info | log::Level::Debug => debug!(target: "eal", "{text}"),
    }
}
