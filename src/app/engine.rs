//! The running data plane: EAL, one pool, the ports of every link, a worker on each worker lcore.
//!
//! Queue q of both ports of every link belongs to worker q. No verdict depends on another frame, so it does not matter
//! which queue a flow lands on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use dpdk::{Burst, Eal, Mempool, Port, PortConfig, PortId, PortInfo, Queues, RxQueue, TxQueue, lcore};
use quanta::Clock;
use rustix::io::Errno;
use tracing::warn;

use super::ports::{self, WatchedPort};
use super::watch::link::{Reading, Side, Told};
use super::watch::links;
use crate::config::{Config, Device};
use crate::dataplane::{self, Pipeline, QueuePair, Rejecter, Sampler, Worker};
use crate::failure::{Cause, Failure};
use crate::host::eal;
use crate::host::memory::{Layout, MBUF_CACHE, Plan};
use crate::model::{LinkIndex, Way};
use crate::policy::Reader;
use crate::telemetry::counters::{Block, LaneCounts};
use crate::telemetry::drops::feed::Feed;
use crate::telemetry::ledger::{Ledger, LinkPorts};
use crate::telemetry::report::PortState;

/// Frames a worker takes at once: as many as fit in the pool's per-core cache with room to spare, so that what is spent
/// once a burst is spent seldom.
const BURST_FRAMES: usize = 64;

/// Why the data plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What DPDK says.
    #[error(transparent)]
    Dpdk(#[from] dpdk::Error),
    /// A device that EAL did not find.
    #[error("link `{link}`: there is no device {device}; EAL found {found}. {advice}")]
    NoDevice {
        /// Whose.
        link: String,
        /// As configured.
        device: String,
        /// Ports there are.
        found: String,
        /// What is known of it.
        advice: String,
    },
    /// The packet buffers do not fit.
    #[error("{source}; lower `dpdk.mbufs`, or raise `dpdk.memory_mib`, or leave both out")]
    Pool {
        /// What DPDK says.
        source: dpdk::Error,
    },
    /// The counters of so many VMs do not fit.
    #[error(
        "no memory for the counters of {vms} VMs and {workers} workers, {mib} MiB of address space; lower `table.vms` (or \
         `dpdk.cores`)"
    )]
    Counters {
        /// As configured.
        vms: usize,
        /// As there are.
        workers: usize,
        /// Of all workers together.
        mib: usize,
    },
    /// Queues that nobody would serve.
    #[error("link `{link}`: {queues} queues need as many workers, there are {workers}; see `dpdk.cores`")]
    TooManyQueues {
        /// Whose.
        link: String,
        /// As configured.
        queues: u16,
        /// As there are.
        workers: usize,
    },
    /// A port that cannot have what its link asks for.
    #[error("link `{link}`, {side} port {device}: {source}")]
    Port {
        /// Whose.
        link: String,
        /// `inside` or `outside`.
        side: &'static str,
        /// As configured.
        device: String,
        /// What DPDK says.
        source: dpdk::Error,
    },
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let cause = match &error {
            EngineError::NoDevice { .. } => Cause::Unavailable,
            EngineError::TooManyQueues { .. } => Cause::Configuration,
            EngineError::Port { source: dpdk::Error::TooManyQueues { .. }, .. } => Cause::Configuration,
            EngineError::Port { .. }
            | EngineError::Dpdk(_)
            | EngineError::Counters { .. }
            | EngineError::Pool { .. } => Cause::Os,
        };
        Self::new(cause, error)
    }
}

/// The two ports of a link.
#[derive(Debug)]
struct Ports {
    inside: WatchedPort,
    outside: WatchedPort,
}

/// A worker's part of a link.
type LinkQueues = dataplane::LinkQueues<RxQueue, TxQueue>;

/// Shared by the workers and whoever watches them.
#[derive(Debug)]
pub struct Shared {
    /// One for each worker.
    pub blocks: Vec<Arc<Block>>,
    stop: AtomicBool,
    links: Vec<Ports>,
}

impl Shared {
    /// How often a worker has gone round.
    #[must_use]
    pub fn turns(&self, worker: usize) -> u64 {
        self.blocks.get(worker).map_or(0, |block| block.load().turns())
    }

    /// All workers together, one way.
    #[must_use]
    pub fn lane(&self, way: Way) -> LaneCounts {
        let mut total = LaneCounts::default();
        for block in &self.blocks {
            total.add(&block.lane(way));
        }
        total
    }

    /// What the ports of a link say of themselves.
    #[must_use]
    pub fn ports(&self, link: LinkIndex) -> LinkPorts {
        let of = |ports: &Ports| LinkPorts { inside: ports.inside.state(), outside: ports.outside.state() };
        self.links.get(link.0).map(of).unwrap_or_default()
    }

    fn port(&self, link: LinkIndex, side: Side) -> Option<&WatchedPort> {
        self.links.get(link.0).map(|ports| match side {
            Side::Inside => &ports.inside,
            Side::Outside => &ports.outside,
        })
    }
}

impl links::Ports for Arc<Shared> {
    fn read(&self, link: LinkIndex, side: Side) -> Reading {
        let port = self.port(link, side);
        let up = port.and_then(|port| port.link().ok()).map(|link| link.up);
        // What found no descriptor has arrived all the same.
        let received = port.and_then(|port| port.stats().ok()).map(|stats| stats.rx_frames + stats.rx_missed);
        Reading { up, received }
    }

    fn state(&self, link: LinkIndex, side: Side) -> PortState {
        self.port(link, side).map(WatchedPort::state).unwrap_or_default()
    }

    fn set(&self, link: LinkIndex, side: Side, up: bool) -> Told {
        match self.port(link, side).map(|port| port.set_link(up)) {
            None | Some(Ok(())) => Told::Done,
            Some(Err(dpdk::Error::Port { cause, .. })) if cause.0 == Errno::NOTSUP.raw_os_error() => Told::Unsupported,
            Some(Err(error)) => Told::Failed(error.to_string()),
        }
    }
}

/// What is counted: by the workers, and by the drivers of the ports, which stay open as long as it lives.
#[must_use]
pub fn ledger(config: &Config, shared: &Arc<Shared>) -> Ledger {
    let watched = Arc::clone(shared);
    let names = config.links.iter().map(|link| link.name.clone()).collect();
    Ledger::new(shared.blocks.clone(), names).with_ports(move |link| watched.ports(link))
}

/// The data plane at work. Dropping it stops it.
#[derive(Debug)]
pub struct Engine {
    /// What others may look at while it runs.
    pub shared: Arc<Shared>,
    jobs: Vec<lcore::Job>,
    /// What workers that have stopped had of each link.
    stopped: Receiver<Vec<LinkQueues>>,
    pool: Mempool,
}

/// What a stopped data plane leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Packet buffers that were not given back; anything but 0 is a leak.
    pub mbufs_in_use: u32,
}

impl Engine {
    /// Sets every port up and starts a worker on each of EAL's worker lcores. There is one reader for each of those; they
    /// read the time from `clock`, and tell of what they drop by one of `feeds` each.
    ///
    /// # Errors
    /// [`EngineError`]
    pub fn start(
        eal: &Eal,
        config: &Config,
        plan: Plan,
        readers: Vec<Reader>,
        feeds: Vec<Feed>,
        clock: &Clock,
    ) -> Result<Self, EngineError> {
        let (workers, vms) = (readers.len(), config.table.vms as usize);
        let make_pool = match plan.layout {
            Layout::Dma => Mempool::new,
            Layout::Packed => Mempool::packed,
        };
        let pool = make_pool(eal, "frames", plan.mbufs, MBUF_CACHE, plan.room_bytes)
            .map_err(|source| EngineError::Pool { source })?;
        let mut links = Vec::new();
        let mut parts: Vec<Vec<LinkQueues>> = (0..workers).map(|_| Vec::new()).collect();
        for (at, link) in config.links.iter().enumerate() {
            let sides = [("inside", &link.inside), ("outside", &link.outside)];
            let find = |device: &Device| {
                eal.port_by_name(device.name()).ok_or_else(|| EngineError::NoDevice {
                    link: link.name.clone(),
                    device: device.to_string(),
                    found: found(eal),
                    advice: eal::advice(device),
                })
            };
            let ids = [find(&link.inside)?, find(&link.outside)?];
            let queues = queues(eal, link, ids, workers)?;
            let asked = |device: &Device| PortConfig {
                queues,
                mtu: link.mtu,
                tag_room: ports::tag_room(device),
                rx_descriptors: link.rx_descriptors,
                tx_descriptors: link.tx_descriptors,
            };
            let mut started = Vec::new();
            for ((side, device), id) in sides.into_iter().zip(ids) {
                let port = Port::configure(eal, id, &asked(device), &pool).and_then(Port::start);
                let (port, queues) = port.map_err(|source| EngineError::Port {
                    link: link.name.clone(),
                    side,
                    device: device.to_string(),
                    source,
                })?;
                let port = WatchedPort::new(port, device, link.link_propagation);
                port.announce(&link.name, side);
                started.push((port, queues));
            }
            let (Some((outside, outside_queues)), Some((inside, inside_queues))) = (started.pop(), started.pop())
            else {
                unreachable!("a link has two sides");
            };
            links.push(Ports { inside, outside });
            let queues = inside_queues.into_iter().zip(outside_queues);
            for (worker, ((rx, tx), (outside_rx, outside_tx))) in parts.iter_mut().zip(queues) {
                worker.push(LinkQueues {
                    index: LinkIndex(at),
                    inside: QueuePair { rx, tx },
                    outside: QueuePair { rx: outside_rx, tx: outside_tx },
                    burst: Burst::with_limit(eal, BURST_FRAMES),
                    replies: Burst::with_limit(eal, BURST_FRAMES),
                });
            }
        }

        let shared = Arc::new(Shared {
            blocks: counters(workers, config.links.len(), vms)?,
            stop: AtomicBool::new(false),
            links,
        });
        let (sender, stopped) = channel();
        let mut engine = Self { shared, jobs: Vec::new(), stopped, pool };
        let workers_of = eal.worker_lcores().into_iter().zip(readers).zip(parts).zip(feeds);
        for (number, (((lcore, reader), links), feed)) in workers_of.enumerate() {
            let rejecter = Rejecter::create(config.links.len(), vms, clock.clone());
            let rejecter = rejecter.ok_or_else(|| no_memory(workers, vms))?;
            let sampler = Sampler::create(feed, vms).ok_or_else(|| no_memory(workers, vms))?;
            let work = Work { number, reader, links, sampler, rejecter, clock: clock.clone() };
            engine.jobs.push(launch(eal, lcore, &engine.shared, work, sender.clone())?);
        }
        Ok(engine)
    }

    /// Stops the workers. From here on the counters are final.
    pub fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.jobs.drain(..).for_each(lcore::Job::wait);
    }

    /// Stops the workers, closes the ports and counts the packet buffers. Nobody else may hold [`Engine::shared`] then:
    /// ports that somebody watches stay open until he lets go.
    pub fn stop(mut self) -> Stopped {
        self.halt();
        let mut queues: Vec<(Queues, Queues)> = Vec::new();
        for link in self.stopped.try_iter().flatten() {
            let at = link.index.0;
            if queues.len() <= at {
                queues.resize_with(at + 1, Default::default);
            }
            if let Some((inside, outside)) = queues.get_mut(at) {
                inside.push((link.inside.rx, link.inside.tx));
                outside.push((link.outside.rx, link.outside.tx));
            }
        }
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            let ports = std::mem::take(&mut shared.links);
            for (ports, (inside, outside)) in ports.into_iter().zip(queues) {
                for (port, queues) in [(ports.inside, inside), (ports.outside, outside)] {
                    let name = port.info().name.clone();
                    if let Err(error) = port.into_inner().close(queues) {
                        warn!("{name}: {error}");
                    }
                }
            }
        }
        Stopped { mbufs_in_use: self.pool.in_use() }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.halt();
    }
}

fn counters(workers: usize, links: usize, vms: usize) -> Result<Vec<Arc<Block>>, EngineError> {
    let blocks: Option<_> = (0..workers).map(|_| Block::create(links, vms).map(Arc::new)).collect();
    blocks.ok_or_else(|| no_memory(workers, vms))
}

fn no_memory(workers: usize, vms: usize) -> EngineError {
    let mib = (Block::vm_bytes(vms) >> 20).saturating_mul(workers);
    EngineError::Counters { vms, workers, mib }
}

/// What a worker takes with it.
struct Work {
    number: usize,
    reader: Reader,
    links: Vec<LinkQueues>,
    sampler: Sampler,
    rejecter: Rejecter,
    clock: Clock,
}

/// How many queues both ports of a link get: as configured, else one for each worker as far as the devices have them.
fn queues(eal: &Eal, link: &crate::config::Link, ids: [PortId; 2], workers: usize) -> Result<u16, EngineError> {
    if let Some(queues) = link.queues {
        if usize::from(queues) > workers {
            return Err(EngineError::TooManyQueues { link: link.name.clone(), queues, workers });
        }
        return Ok(queues);
    }
    let mut queues = u16::try_from(workers).unwrap_or(u16::MAX);
    for id in ids {
        let info = PortInfo::query(eal, id)?;
        let most = info.max_rx_queues.min(info.max_tx_queues).max(1);
        if most < queues {
            warn!(
                "link {}: {} has {most} queues for {workers} workers; the others stay idle here",
                link.name, info.name
            );
            queues = most;
        }
    }
    Ok(queues)
}

fn launch(
    eal: &Eal,
    lcore: dpdk::LcoreId,
    shared: &Arc<Shared>,
    work: Work,
    stopped: Sender<Vec<LinkQueues>>,
) -> Result<lcore::Job, dpdk::Error> {
    let Work { number, mut reader, mut links, sampler, rejecter, clock } = work;
    let shared = Arc::clone(shared);
    lcore::launch(eal, lcore, move || {
        if let Some(block) = shared.blocks.get(number) {
            let mut worker = Worker::new(block, Pipeline::new(sampler, rejecter));
            worker.run(&mut links, &mut reader, &clock, &shared.stop);
        }
        drop(shared);
        // Nobody listens any more only when the engine was dropped without being stopped.
        let _ = stopped.send(links);
    })
}

fn found(eal: &Eal) -> String {
    let names = eal.ports().into_iter().filter_map(|port| PortInfo::query(eal, port).ok());
    let names: Vec<String> = names.map(|info| info.name).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
