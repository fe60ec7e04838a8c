//! `run`: the daemon.
//!
//! Start-up order: configuration, VM records, control socket (so that a second daemon stops before it touches a device),
//! EAL, table, ports, workers, and only then does the socket answer. Stopping goes the other way: no more commands, then
//! no more frames, then the ports.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{error, info, warn};

use super::engine::{Engine, EngineError, Shared, ledger};
use super::links::{Event, LinkWatch, Side};
use super::log;
use super::vms::{self, VmFile};
use super::watchdog::{TICK, Watchdog};
use crate::config::Config;
use crate::control::State;
use crate::control::server::Server;
use crate::control::socket::{Socket, SocketError};
use crate::exit::{Exit, Failure};
use crate::host::cores::Cores;
use crate::host::eal;
use crate::host::memory::{self, Plan};
use crate::model::LinkIndex;
use crate::telemetry::report::Report;

/// What to run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The configuration file.
    pub config: PathBuf,
    /// VM lines to start with.
    pub vms: Option<PathBuf>,
    /// Path of the control socket, if not the configuration's.
    pub socket: Option<PathBuf>,
    /// More EAL options.
    pub eal: Vec<String>,
}

/// What a run would do.
#[derive(Clone, Debug)]
pub struct Preview {
    /// EAL's argument vector.
    pub eal_arguments: Vec<String>,
    /// CPUs.
    pub cores: Cores,
    /// Memory.
    pub plan: Plan,
    /// The configuration.
    pub config: Config,
}

/// How often ports are asked for their links.
const LINK_POLL: Duration = Duration::from_millis(500);

impl Run {
    /// Works everything out and starts nothing.
    ///
    /// # Errors
    /// A configuration that cannot be.
    pub fn preview(&self) -> Result<Preview, Failure> {
        let mut config = Config::load(&self.config)?;
        if config.links.is_empty() {
            let message = format!(
                "{}: no link is configured, so nothing would be forwarded; add a [[link]] with name, inside and outside",
                self.config.display()
            );
            return Err(Failure::new(Exit::Configuration, message));
        }
        if let Some(socket) = &self.socket {
            config.control.socket.clone_from(socket);
        }
        let cores = Cores::choose(config.dpdk.cores.as_deref(), config.dpdk.main_core, &eal::available_cpus())
            .map_err(|error| Failure::new(Exit::Configuration, format_args!("{}: {error}", self.config.display())))?;
        let workers = u32::try_from(cores.workers.len()).unwrap_or(u32::MAX);
        // With EAL's own `-l` or `--lcores` the number of workers is EAL's; the engine checks again.
        let raw_cores = self
            .eal
            .iter()
            .chain(&config.dpdk.extra_args)
            .any(|word| word.starts_with("-l") || word.starts_with("--lcores"));
        if let Some(link) =
            config.links.iter().find(|link| !raw_cores && link.queues.is_some_and(|queues| u32::from(queues) > workers))
        {
            let (link, queues, workers) = (link.name.clone(), link.queues.unwrap_or_default(), cores.workers.len());
            return Err(EngineError::TooManyQueues { link, queues, workers }.into());
        }
        let plan = memory::plan(&config, workers);
        let eal_arguments = eal::arguments(&config, &cores, plan, &self.eal)?;
        Ok(Preview { eal_arguments, cores, plan, config })
    }

    /// Runs until SIGTERM or SIGINT; the final counters.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub fn run(&self) -> Result<Report, Failure> {
        let Preview { eal_arguments, cores, plan, config } = self.preview()?;
        let settings = config.policy().map_err(|error| Failure::new(Exit::Configuration, error))?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| Failure::new(Exit::Os, error))?;
        }
        let vms = self.vms.as_deref().map(VmFile::read).transpose()?;
        if let Some(vms) = &vms {
            // Everything that the lines can have wrong is found before anything starts.
            let (mut registry, _) = vms::create(&config, &settings, 0)?;
            vms.load(&mut registry)?;
        }
        let socket = Socket::take(&config.control.socket).map_err(socket_failure)?;
        info!("workers on CPUs {:?}, everything else on CPU {}", cores.workers, cores.main);
        let Plan { mbufs, room_bytes, memory_mib, .. } = plan;
        info!("{mbufs} packet buffers of {room_bytes} bytes, {memory_mib} MiB");

        let session = eal::init(&eal_arguments, |words| log::last_words(words))?;
        let eal = &session.eal;
        let (mut registry, readers) = vms::create(&config, &settings, eal.worker_lcores().len())?;
        if readers.is_empty() {
            let message =
                "EAL has no worker lcore (`dpdk.cores`, or `-l` among the EAL options): nothing would be forwarded";
            return Err(Failure::new(Exit::Configuration, message));
        }
        if let Some(vms) = &vms {
            vms.load(&mut registry)?;
        }
        let known = registry.len();
        let mut engine = Engine::start(eal, &config, plan, readers, config.table.vms as usize)?;
        let state = State::new(registry, Arc::new(ledger(&config, &engine.shared))).with_dpdk_version(eal.version());
        let server = Server::start(socket, state)
            .map_err(|error| Failure::new(Exit::Os, format_args!("the control socket cannot be served: {error}")))?;
        info!("forwarding; {known} VMs known; control socket {}", config.control.socket.display());

        watch(&engine.shared, &config, &stop);

        info!("stopping");
        let state = server.stop();
        engine.halt();
        let report = state.report(true);
        drop(state);
        let stopped = engine.stop();
        if stopped.mbufs_in_use != 0 {
            error!("{} packet buffers were not given back", stopped.mbufs_in_use);
        }
        Ok(report)
    }
}

/// Watches workers and links until told to stop.
fn watch(shared: &Arc<Shared>, config: &Config, stop: &AtomicBool) {
    let mut watchdog = Watchdog::new(shared.blocks.len());
    let mut watches: Vec<LinkWatch> = config.links.iter().map(|link| LinkWatch::new(link.link_propagation)).collect();
    let mut polled = None;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        if let Some(worker) = watchdog.tick(shared.turns()) {
            error!("worker {worker} has not gone round for 4 s; ending the process so that it can be started again");
            std::process::abort();
        }
        let now = Instant::now();
        if polled.is_none_or(|polled| now.duration_since(polled) >= LINK_POLL) {
            polled = Some(now);
            for (at, (watch, link)) in watches.iter_mut().zip(&config.links).enumerate() {
                let (inside, outside) = shared.links_up(LinkIndex(at));
                for event in watch.poll(now, inside, outside) {
                    act(shared, LinkIndex(at), &link.name, watch, event);
                }
            }
        }
    }
}

fn act(shared: &Shared, index: LinkIndex, link: &str, watch: &mut LinkWatch, event: Event) {
    let name = |side| match side {
        Side::Inside => "inside",
        Side::Outside => "outside",
    };
    let (side, up) = match event {
        Event::Changed(side, up) => {
            info!("link {link}: {} is {}", name(side), if up { "up" } else { "down" });
            return;
        }
        Event::TakeDown(side) => (side, false),
        Event::BringUp(side) => (side, true),
    };
    let what = if up { "up again: the other side is back" } else { "down: the other side has lost its link" };
    match shared.set_link(index, side == Side::Inside, up) {
        Ok(()) => warn!("link {link}: {} is taken {what}", name(side)),
        Err(error) => {
            warn!("link {link}: link state cannot be propagated: {error}");
            watch.give_up();
        }
    }
}

fn socket_failure(error: SocketError) -> Failure {
    Failure::new(error.exit(), error)
}
