//! What the benchmarks of one process share: a capture and who is known, DPDK over devices of memory, medians.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dpdk::{Burst, Eal, Mempool, Port, PortConfig, RxQueue, Started, TxQueue};
use portcullis::app::vms::{self, BadLines};
use portcullis::capture;
use portcullis::config::Config;
use portcullis::dataplane::{LinkQueues, Pipeline, QueuePair, Rejecter, Sampler};
use portcullis::host::memory::{self, Layout};
use portcullis::model::{self, Direction, LinkIndex};
use portcullis::policy::{self, Reader, Snapshot, Verdict};
use portcullis::telemetry::drops::{Drops, ROUND};
use portcullis::vm::clock::Clock as VmClock;
use portcullis::vm::registry::Registry;
use quanta::Clock;

/// The way that every frame of a benchmark goes.
pub(crate) const EGRESS: model::Way = model::Way { link: LinkIndex(0), direction: Direction::Egress };
/// Room for a frame in one packet buffer.
pub(crate) const ROOM_BYTES: u16 = 2048;
/// Medians that the interval is drawn from.
const RESAMPLES: usize = 10_000;

/// What is forwarded, and who is known.
pub(crate) struct Input {
    pub(crate) capture: PathBuf,
    vms: PathBuf,
}

impl Input {
    /// Made by `bench_capture.py` with these arguments, in files of this name.
    pub(crate) fn make(folder: &Path, name: &str, arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        let (capture, vms) = (folder.join(format!("{name}.pcap")), folder.join(format!("{name}.jsonl")));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/bench_capture.py");
        let mut command = Command::new("/usr/bin/python3");
        let made = command.arg(script).args([&capture, &vms]).args(arguments).stdout(Stdio::null()).status()?;
        made.success().then_some(Self { capture, vms }).ok_or_else(|| format!("{script} failed").into())
    }

    /// A registry that knows who is known, and a worker's reader.
    pub(crate) fn registry(&self, config: &Config) -> Result<(Registry, Reader), Box<dyn Error>> {
        let settings = config.policy()?;
        let (mut registry, mut readers) = vms::create(config, &settings, 1, VmClock::default())?;
        vms::read(&self.vms, config, &settings, BadLines::Refuse, &mut Vec::new())?.load(&mut registry)?;
        Ok((registry, readers.remove(0)))
    }

    /// The share of the frames that the policy drops.
    pub(crate) fn share_dropped(&self, snapshot: Snapshot<'_>) -> Result<f64, Box<dyn Error>> {
        let (mut frames, mut dropped) = (0, 0);
        capture::read(&self.capture, |captured| {
            frames += 1;
            let decision = policy::decide(snapshot, EGRESS, captured.bytes, captured.bytes.len());
            dropped += u32::from(decision.verdict() != Verdict::Forward);
            true
        })?;
        Ok(f64::from(dropped) / f64::from(frames))
    }
}

/// EAL's arguments for a device `net_pcap<n>` for each capture, which brings it for ever, and a `net_null<n>` behind each.
pub(crate) fn eal_arguments(name: &str, cpu: u32, huge: bool, captures: &[&Path], mbufs: u32) -> Vec<String> {
    let mut arguments: Vec<String> = vec![
        name.to_owned(),
        "--lcores".to_owned(),
        format!("0@{cpu}"),
        "--file-prefix".to_owned(),
        format!("portcullis-{name}-{}", std::process::id()),
        if huge { "--huge-unlink" } else { "--no-huge" }.to_owned(),
        "-m".to_owned(),
        memory::memory_mib(mbufs, ROOM_BYTES, Layout::Packed).to_string(),
        "--no-pci".to_owned(),
        "--no-telemetry".to_owned(),
        "--log-level".to_owned(),
        "error".to_owned(),
    ];
    for (at, capture) in captures.iter().enumerate() {
        let pcap = format!("net_pcap{at},rx_pcap={},infinite_rx=1", capture.display());
        let null = format!("net_null{at},size=64,no-rx=1");
        arguments.extend(["--vdev".to_owned(), pcap, "--vdev".to_owned(), null]);
    }
    arguments
}

/// Two ports in service, and their queues as a link.
pub(crate) struct Bridge {
    pub(crate) link: LinkQueues<RxQueue, TxQueue>,
    _ports: [Port<Started>; 2],
}

impl Bridge {
    /// From the capture of this number to what swallows it.
    pub(crate) fn start(eal: &Eal, pool: &Mempool, at: usize, burst: usize) -> Result<Self, Box<dyn Error>> {
        let (inside_port, inside) = start(eal, pool, &format!("net_pcap{at}"))?;
        let (outside_port, outside) = start(eal, pool, &format!("net_null{at}"))?;
        let burst = || Burst::with_limit(eal, burst);
        // The other way brings nothing, but asking costs, as it does testpmd.
        let link = LinkQueues { index: EGRESS.link, inside, outside, burst: burst(), replies: burst() };
        Ok(Self { link, _ports: [inside_port, outside_port] })
    }
}

fn start(eal: &Eal, pool: &Mempool, name: &str) -> Result<(Port<Started>, Queue), Box<dyn Error>> {
    let id = eal.port_by_name(name).ok_or_else(|| format!("EAL found no {name}"))?;
    let asked = PortConfig { queues: 1, mtu: 1500, tag_room: 0, rx_descriptors: 1024, tx_descriptors: 1024 };
    let (port, mut queues) = Port::configure(eal, id, &asked, pool)?.start()?;
    let (rx, tx) = queues.pop().ok_or("no queue")?;
    Ok((port, QueuePair { rx, tx }))
}

/// The one queue of a port.
type Queue = QueuePair<RxQueue, TxQueue>;

/// A median, and where 95 % of the medians of samples like these lie.
pub(crate) struct Median {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Median {
    pub(crate) fn of(samples: impl Iterator<Item = f64>) -> Self {
        let samples: Vec<f64> = samples.collect();
        // Xorshift (Marsaglia 2003), the same draw every time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = usize::try_from(state >> 33).unwrap_or_default() % samples.len();
            samples.get(at).copied().unwrap_or_default()
        };
        let mut medians: Vec<f64> =
            (0..RESAMPLES).map(|_| median((0..samples.len()).map(|_| draw()).collect())).collect();
        medians.sort_by(f64::total_cmp);
        let at = |share: usize| medians.get(RESAMPLES * share / 1000).copied().unwrap_or_default();
        Self { value: median(samples), low: at(25), high: at(975) }
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

impl std::fmt::Display for Median {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "{:.digits$} ({:.digits$} to {:.digits$})", self.value, self.low, self.high)
    }
}

/// Who is told of dropped frames, and what answers where the box rejects, as the box has them.
pub(crate) fn pipeline(vms: u32) -> Result<Pipeline<Sampler, Rejecter>, &'static str> {
    let rejecter = Rejecter::create(1, vms as usize, Clock::new()).ok_or("no memory for a bucket for each VM")?;
    let (drops, feeds) = Drops::new(1);
    let feed = feeds.into_iter().next().ok_or("no feed for the worker")?;
    // As long as the process lasts.
    std::thread::spawn(move || {
        loop {
            drops.next_round();
            std::thread::sleep(ROUND);
        }
    });
    let sampler = Sampler::create(feed, vms as usize).ok_or("no memory for what was told of each VM")?;
    Ok(Pipeline::new(sampler, rejecter))
}
