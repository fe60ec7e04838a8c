//! Starting EAL.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk::{Eal, Errno, log};
use rustix::process::Pid;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use tracing::{debug, error, info, warn};

use super::cores::Cores;
use super::eal_args::EalArgs;
use super::eal_noise;
use super::hugepages::{Choice, HugePages};
use super::memory::Plan;
use super::pci::Pci;
use crate::config::{Config, Device, Hugepages};
use crate::failure::{Cause, Failure};

/// The CPUs this process may run on, ascending.
#[must_use]
pub fn available_cpus() -> Vec<u32> {
    match sched_getaffinity(None) {
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
    match HugePages::look().choose(dpdk.hugepages, plan.memory_mib) {
        Choice::Huge => args.set(&["--huge-unlink"], "dpdk.hugepages", dpdk.hugepages == Hugepages::On),
        Choice::Ordinary => args.set(&["--no-huge"], "dpdk.hugepages", true),
        Choice::TooFew(why) => {
            args.set(&["--no-huge"], "dpdk.hugepages", false);
            // Hardware may do without, behind an IOMMU; it is slower, and bound to uio it is not found at all.
            if config.links.iter().flat_map(|link| [&link.inside, &link.outside]).any(is_hardware) {
                warn!(
                    "ordinary pages are used (`dpdk.hugepages = \"auto\"`): {why}. Devices that are bound to uio need huge ones"
                );
            } else {
                info!("ordinary pages are used (`dpdk.hugepages = \"auto\"`): {why}");
            }
        }
    }
    args.set(&["-m", &plan.memory_mib.to_string()], "dpdk.memory_mib", dpdk.memory_mib.is_some());
    for link in &config.links {
        args.device(&link.inside);
        args.device(&link.outside);
    }
    let extra: Vec<String> = dpdk.extra_args.iter().chain(extra).cloned().collect();
    args.finish("portcullis", &extra).map_err(|error| Failure::new(Cause::Configuration, error))
}

fn is_hardware(device: &Device) -> bool {
    matches!(device, Device::Pci { .. })
}

/// What is known of a device that EAL has not found, or will not find: who has it, and what to do.
#[must_use]
pub fn advice(device: &Device) -> String {
    match device {
        Device::Pci { name, .. } => Pci::look(name).to_string(),
        Device::Virtual { .. } => {
            "check its driver's name, whether the driver is installed (librte-net-...), and its arguments (EAL's log above)"
                .to_owned()
        }
    }
}

/// What keeps DPDK from having a link's devices as they are now, a sentence each.
#[must_use]
pub fn obstacles(config: &Config) -> Vec<String> {
    let devices = config.links.iter().flat_map(|link| [(link, &link.inside), (link, &link.outside)]);
    let obstacle = |(link, device): (&crate::config::Link, &Device)| match device {
        Device::Pci { name, .. } => {
            let pci = Pci::look(name);
            pci.is_out_of_reach().then(|| format!("link `{}`, device {name}: {pci}", link.name))
        }
        Device::Virtual { .. } => None,
    };
    devices.filter_map(obstacle).collect()
}

/// A running EAL that leaves nothing behind: its run directory goes with it.
#[derive(Debug)]
pub struct Session {
    /// The handle.
    pub eal: Eal,
    /// The threads there were before EAL, the one that started it among them.
    threads: Vec<Pid>,
    // Dropped after `eal`, so after DPDK has let go of the directory.
    _run_dir: RunDir,
}

impl Session {
    /// Lets this thread, those it starts from now on, and those there were before EAL run on every CPU that no worker
    /// has. Until then whatever this thread starts shares the main lcore's CPU with it, though others be idle, and what
    /// was there before EAL may come into a worker's way.
    pub fn leave_cpus_to_workers(&self) {
        let ours = self.eal.unpin_thread().map_err(|error| error.to_string());
        match ours.and_then(|()| sched_getaffinity(None).map_err(|error| error.to_string())) {
            // A thread that has ended meanwhile is in nobody's way.
            Ok(cpus) => self.threads.iter().for_each(|&thread| _ = sched_setaffinity(Some(thread), &cpus)),
            Err(error) => warn!("threads beside the workers stay where they are: {error}"),
        }
    }
}

/// The threads of this process.
fn threads() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| Pid::from_raw(task.file_name().to_str()?.parse().ok()?)).collect()
}

#[derive(Debug)]
struct RunDir(PathBuf);

impl Drop for RunDir {
    fn drop(&mut self) {
        // Nothing is lost if it stays: the next process of this name uses it again.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What follows should DPDK end the process.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Takes the last words.
    pub last_words: fn(&str),
    /// What the process returns for a cause.
    pub exit_code: fn(Cause) -> i32,
}

/// Starts EAL; its log goes where ours goes. Should EAL end the process meanwhile, `ending` is asked.
///
/// # Errors
/// What EAL says.
pub fn init(args: &[String], ending: Ending) -> Result<Session, Failure> {
    let _ = ENDING.set(ending);
    dpdk::if_ended_while_starting(ended);
    log::set_level(log::Level::Notice);
    if let Err(error) = log::route(forward) {
        warn!("EAL's log goes to standard error as it is: {error}");
    }
    info!("EAL arguments: {}", args.join(" "));
    let threads = threads();
    let eal = Eal::init(args).map_err(|error| Failure::new(cause(&error), explain(&error, args)))?;
    debug!("{}", eal.version());
    let _run_dir = RunDir(eal.runtime_dir());
    Ok(Session { eal, threads, _run_dir })
}

static ENDING: OnceLock<Ending> = OnceLock::new();

/// What EAL says, in its log alone, when a process of the same file prefix runs: its errno is that of a wrong argument.
const PREFIX_TAKEN: &str = "Is another primary process running?";

/// Whether EAL has said so.
static PREFIX_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// DPDK has ended the process: with the negative of an errno, cut to what a status holds.
fn ended(status: i32) -> i32 {
    let cause = if status & 0xff == -Errno::INVAL.0 & 0xff { Cause::Configuration } else { Cause::Os };
    let Some(ending) = ENDING.get() else { return status };
    (ending.last_words)(&format!(
        "portcullis: DPDK's EAL ended the process while it started (status {status}); its reason stands above. Check the \
             EAL options behind `--` and in `dpdk.extra_args`"
    ));
    (ending.exit_code)(cause)
}

/// What EAL says, and what it does not say: whether there are huge pages at all.
fn explain(error: &dpdk::Error, args: &[String]) -> String {
    let ordinary = args.iter().any(|word| word == "--no-huge");
    match error {
        dpdk::Error::EalInit { .. } if PREFIX_IS_TAKEN.load(Ordering::Relaxed) => {
            "DPDK's EAL did not start: another process runs with the same `dpdk.file_prefix`; stop it, or choose another prefix"
                .to_owned()
        }
        dpdk::Error::EalInit { .. } if !ordinary => {
            let asked = args.windows(2).find(|pair| pair.first().is_some_and(|word| word == "-m"));
            let asked = asked.and_then(|pair| pair.get(1)).map_or_else(String::new, |mib| format!(" {mib} MiB of"));
            format!(
                "{error}. It was to use{asked} huge pages; there are {}. See \"Huge pages\" in docs/operate.md, or set \
                 `dpdk.hugepages`",
                HugePages::look()
            )
        }
        _ => error.to_string(),
    }
}

/// A virtual device whose driver there is not keeps EAL from starting; a device that its driver cannot start does not.
/// Either way it is a device that is missing. What EAL calls invalid are its arguments.
fn cause(error: &dpdk::Error) -> Cause {
    match error {
        dpdk::Error::EalInit { cause, .. } if *cause == Errno::NODEV => Cause::Unavailable,
        dpdk::Error::EalInit { .. } if PREFIX_IS_TAKEN.load(Ordering::Relaxed) => Cause::Os,
        dpdk::Error::EalInit { cause, .. } if *cause == Errno::INVAL => Cause::Configuration,
        dpdk::Error::EalArgument { .. } => Cause::Configuration,
        _ => Cause::Os,
    }
}

fn forward(level: log::Level, text: &str) {
    let text = text.trim_end();
    if text.contains(PREFIX_TAKEN) {
        PREFIX_IS_TAKEN.store(true, Ordering::Relaxed);
    }
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
