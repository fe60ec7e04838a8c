//! `run`: the daemon.
//!
//! Start-up order: configuration, VM records, control socket (so that a second daemon stops before it touches a device),
//! EAL, table, ports, workers, and only then does the socket answer. Stopping goes the other way: no more commands, then
//! no more frames, then the ports. [`watch`](super::watch) sees to it that every thread goes round, and that the stop ends.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use dpdk::telemetry::Served;
use listenfd::ListenFd;
use tracing::{error, info, warn};

use super::boot::{Asked, Prepared};
use super::engine::{Engine, Shared};
use super::log;
use super::reload;
use super::store;
use super::telemetry;
use super::vms;
use super::watch::life::{Life, Running, Stop, Thread};
use super::watch::link::Side;
use super::watch::links::{Links, Named};
use super::watch::signals::Signals;
use super::watch::steps::Steps;
use crate::config::{self, Config};
use crate::control::State;
use crate::control::audit::AuditLog;
use crate::control::roles::Roles;
use crate::control::server::Server;
use crate::control::socket::{Socket, SocketError};
use crate::failure::{Cause, Failure};
use crate::host::eal::{self, Ending, Session};
use crate::host::memory::Plan;
use crate::metrics::http;
use crate::model::{LinkIndex, Revision};
use crate::telemetry::board::Board;
use crate::telemetry::drops::{Drops, ROUND};
use crate::telemetry::heartbeat::Heartbeat;
use crate::telemetry::ledger::{Ledger, LinkPorts};
use crate::telemetry::report::Report;
use crate::vm::clock::Clock;

/// What to run.
#[derive(Clone, Debug)]
pub struct Run {
    /// All there is to it.
    pub asked: Asked,
}

impl Run {
    /// Runs until a signal asks for the end, or a thread stands still. `show` makes the counters a text, for an end that
    /// leaves no time to return them, and `exit_code` what the process returns then.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub fn run(&self, show: fn(&Report) -> String, exit_code: fn(Cause) -> i32) -> Result<Ended, Failure> {
        let refused = |error: io::Error| Failure::new(Cause::Os, error);
        let mut signals = Signals::take_over().map_err(refused)?;
        let mut life = Life::begin(Arc::clone(signals.stop()), exit_code(Cause::Stuck)).map_err(refused)?;
        let Prepared { eal_arguments, cores, plan, config, settings, vms, alarms } = self.asked.prepare()?;
        alarms.iter().for_each(|alarm| error!("{alarm}"));
        let socket = socket(&config.control.socket)?;
        let audit = config.control.audit.as_deref().map(AuditLog::start).transpose().map_err(refused)?;
        // Nobody else has the store from now on.
        let stored = store::open(config.store.path.as_deref(), exit_code);
        info!("{cores}");
        let Plan { mbufs, room_bytes, memory_mib, .. } = plan;
        info!("{mbufs} packet buffers of {room_bytes} bytes, {memory_mib} MiB");

        let session = eal::init(&eal_arguments, Ending { last_words: |words| log::last_words(words), exit_code })?;
        let eal = &session.eal;
        let clock = quanta::Clock::new();
        let workers = eal.worker_lcores().len();
        let (registry, readers) = vms::create(&config, &settings, workers, Clock::system(clock.clone()))?;
        if readers.is_empty() {
            let message =
                "EAL has no worker lcore (`dpdk.cores`, or `-l` among the EAL options): nothing would be forwarded";
            return Err(Failure::new(Cause::Configuration, message));
        }
        let mut registry = store::load(stored, registry)?;
        if let Some(vms) = &vms {
            vms.load(&mut registry)?;
        }
        let known = registry.len();
        let (drops, feeds) = Drops::new(readers.len());
        let drops = Arc::new(drops);
        let engine = Engine::start(eal, &config, plan, readers, feeds, &clock)?;
        session.leave_cpus_to_workers();
        signals.take_over_real_time().map_err(refused)?;
        let board = Arc::new(Board::new(config.links.len()));
        let ledger = Arc::new(ledger(&config, &engine.shared, &board));
        let roles = roles(&config);
        roles.unknown().iter().for_each(|unknown| warn!("{unknown}"));
        let mut state = State::new(registry, Arc::clone(&ledger))
            .with_drops(Arc::clone(&drops))
            .with_dpdk_version(eal.version())
            .with_sync_remove_max_percent(config.control.sync_remove_max_percent)
            .with_reload(reload::of(self.asked.config.clone(), config.clone()))
            .with_roles(roles);
        if let Some(audit) = &audit {
            state = state.with_audit(audit.audit());
        }
        let server = Server::start(socket, state)
            .map_err(|error| Failure::new(Cause::Os, format_args!("the control socket cannot be served: {error}")))?;
        let links = self::links(&config, &engine.shared, &board).map_err(refused)?;
        let drops = self::drops(drops).map_err(refused)?;
        let metrics = metrics(&config, &server);
        let served = telemetry::serve(eal, server.handle()).map_err(|error| error!("{error}; it says nothing of ours"));
        life.running(Running {
            threads: threads(&engine.shared, &server, [&links, &drops], audit.as_ref(), metrics.as_ref()),
            status: Box::new(status(&config, engine.shared.blocks.len(), board)),
            counters: {
                let ledger = Arc::clone(&ledger);
                Arc::new(move || show(&ledger.report(Revision(0))))
            },
        });
        info!("forwarding; {known} VMs known; control socket {}", config.control.socket.display());

        let fault = loop {
            signals.arrived().for_each(|sentence| warn!("{sentence}"));
            if signals.wants_reload() {
                reload::say(server.reload());
            }
            match life.turn() {
                None => {}
                Some(Stop::Asked) => break None,
                Some(Stop::Fault(fault)) => break Some(fault),
            }
        };
        info!("stopping");
        life.stopping();
        Ok(stop(
            &life,
            Parts { server, metrics, served: served.ok(), audit, engine, helpers: [links, drops], ledger, session },
            fault,
        ))
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The final counters, as far as they could be read.
    pub report: Option<Report>,
    /// What stood still, if it did not end in order.
    pub fault: Option<String>,
}

/// Everything that has to be stopped.
struct Parts {
    server: Server,
    metrics: Option<http::Server>,
    /// On DPDK's telemetry socket.
    served: Option<Served>,
    audit: Option<AuditLog>,
    engine: Engine,
    /// The one that asks drivers for links, and the one that takes samples of dropped frames.
    helpers: [Helper; 2],
    ledger: Arc<Ledger>,
    session: Session,
}

/// The orderly stop. What does not end is left as it is, and everything that does not need it is stopped all the same.
fn stop(life: &Life, parts: Parts, fault: Option<String>) -> Ended {
    let Parts { server, metrics, served, audit, mut engine, helpers, ledger, session } = parts;
    let mut steps = Steps::new(life.heart());
    if let Some(metrics) = metrics {
        steps.take("the metrics", move || metrics.stop());
    }
    drop(served);
    let state = steps.take("the control socket", move || server.stop());
    if let Some(audit) = audit {
        steps.take("the audit log", move || audit.close());
    }
    let engine = steps.take("the workers", move || {
        engine.halt();
        engine
    });
    for helper in helpers {
        steps.take(helper.what, move || helper.stop());
    }
    let report = steps.take("the counters", move || match state {
        Some(state) => state.final_report(),
        None => ledger.report(Revision(0)),
    });
    if let Some(engine) = engine {
        let stopped = steps.take("the ports", move || engine.stop());
        if let Some(in_use) = stopped.map(|stopped| stopped.mbufs_in_use).filter(|&in_use| in_use != 0) {
            error!("{in_use} packet buffers were not given back");
        }
    }
    steps.take("EAL", move || drop(session));
    let left = steps.left;
    let unfinished = (!left.is_empty()).then(|| format!("did not end when it was stopped: {}", left.join(", ")));
    let fault = match (fault, unfinished) {
        (Some(fault), Some(unfinished)) => Some(format!("{fault}; {unfinished}")),
        (fault, unfinished) => fault.or(unfinished),
    };
    Ended { report, fault }
}

/// A thread that does one thing until it is told to stop.
struct Helper {
    /// What is stopped with it, for people.
    what: &'static str,
    heart: Arc<Heartbeat>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Helper {
    fn start(
        what: &'static str,
        name: &'static str,
        work: impl FnOnce(&Heartbeat, &AtomicBool) + Send + 'static,
    ) -> io::Result<Self> {
        let (heart, stop) = (Arc::new(Heartbeat::new(name)), Arc::new(AtomicBool::new(false)));
        let (beats, stops) = (Arc::clone(&heart), Arc::clone(&stop));
        let thread = thread::Builder::new().name(name.into()).spawn(move || work(&beats, &stops))?;
        Ok(Self { what, heart, stop, thread })
    }

    /// Ends it.
    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

/// The thread that asks drivers for links. What it took down is up again when it has ended.
fn links(config: &Config, shared: &Arc<Shared>, board: &Arc<Board>) -> io::Result<Helper> {
    let named = |link: &config::Link| Named { name: link.name.clone(), propagate: link.link_propagation };
    let links = Links::new(Arc::clone(shared), config.links.iter().map(named).collect());
    let board = Arc::clone(board);
    Helper::start("the links", "links", move |heart, stop| links.run(&board, heart, stop))
}

/// The thread that takes the samples of dropped frames.
fn drops(drops: Arc<Drops>) -> io::Result<Helper> {
    Helper::start("the samples of dropped frames", "drops", move |heart, stop| {
        while !stop.load(Ordering::Acquire) {
            heart.beat();
            drops.next_round();
            thread::park_timeout(ROUND);
        }
    })
}

/// Whoever only looks is served here, where that is wanted. Frames pass whether it can be or not.
fn metrics(config: &Config, server: &Server) -> Option<http::Server> {
    let config::Metrics { listen, vms } = &config.metrics;
    if listen.is_empty() {
        return None;
    }
    let started = http::Server::start(listen, *vms, server.handle());
    let (metrics, refused) = started.map_err(|error| error!("no metrics are served: {error}")).ok()?;
    refused.iter().for_each(|refused| error!("{refused}"));
    Some(metrics)
}

/// What is counted. What drivers lost is read where the link thread writes it down, so that nobody waits for a driver.
fn ledger(config: &Config, shared: &Shared, board: &Arc<Board>) -> Ledger {
    let (names, board) = (config.links.iter().map(|link| link.name.clone()).collect(), Arc::clone(board));
    Ledger::new(shared.blocks.clone(), names).with_ports(move |link| board.link(link)).with_log(log::lines_lost)
}

/// Everything that must go round, but for the main thread and the one that watches.
fn threads(
    shared: &Arc<Shared>,
    server: &Server,
    [links, drops]: [&Helper; 2],
    audit: Option<&AuditLog>,
    metrics: Option<&http::Server>,
) -> Vec<Thread> {
    let workers = (0..shared.blocks.len()).map(|worker| {
        let shared = Arc::clone(shared);
        Thread::worker(worker, move || shared.turns(worker))
    });
    let control = server.heartbeats().iter().map(|heart| Thread::needed(Arc::clone(heart)));
    let links = std::iter::once(Thread::in_a_driver(Arc::clone(&links.heart)));
    let drops = std::iter::once(Thread::dispensable(Arc::clone(&drops.heart)));
    let audit = audit.map(|audit| Thread::dispensable(audit.heart()));
    workers
        .chain(control)
        .chain(links)
        .chain(drops)
        .chain(log::heartbeat().map(Thread::dispensable))
        .chain(audit)
        .chain(metrics.map(|metrics| Thread::dispensable(metrics.heart())))
        .collect()
}

/// How it goes, in a line for the supervisor.
fn status(config: &Config, workers: usize, board: Arc<Board>) -> impl Fn() -> String + Send + 'static {
    let names: Vec<String> = config.links.iter().map(|link| link.name.clone()).collect();
    move || {
        let mut status = format!("forwarding on {workers} worker(s)");
        for (at, name) in names.iter().enumerate() {
            let LinkPorts { inside, outside } = board.link(LinkIndex(at));
            for (side, port) in Side::ALL.into_iter().zip([inside, outside]) {
                match port.link {
                    Some(link) if link.kept_down => status += &format!("; link {name}: {} is kept down", side.name()),
                    Some(link) if !link.up => status += &format!("; link {name}: {} is down", side.name()),
                    _ => {}
                }
            }
        }
        match log::lines_lost() {
            0 => status,
            lost => status + &format!("; {lost} line(s) of the log are lost"),
        }
    }
}

/// Who may do what.
fn roles(config: &Config) -> Roles {
    match config.control.roles.clone() {
        Some(config::Roles { read, write, admin }) => Roles::new(read, write, admin),
        None => Roles::default(),
    }
}

/// The socket that the service manager listens at for us (sd_listen_fds(3)), or one of our own.
fn socket(path: &Path) -> Result<Socket, Failure> {
    let refused = |error| Failure::new(Cause::Configuration, format_args!("LISTEN_FDS: {error}"));
    let mut given = ListenFd::from_env();
    let count = given.len();
    if count > 1 {
        let message = format_args!("LISTEN_FDS: {count} sockets were handed over; there is one control socket");
        return Err(Failure::new(Cause::Configuration, message));
    }
    let taken = match given.take_unix_listener(0).map_err(refused)? {
        Some(listener) => Socket::take_over(path, listener),
        None => Socket::take(path),
    };
    taken.map_err(socket_failure)
}

fn socket_failure(error: SocketError) -> Failure {
    Failure::new(error.cause(), error)
}
