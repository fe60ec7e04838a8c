//! What judging adds to forwarding, measured inside one process.
//!
//! Two processes forward the same capture at rates that differ by 15 % for no reason, so `run.py`, which compares the box
//! with testpmd, does not see a nanosecond. This does: one worker, on one CPU, over the same devices as there (`net_pcap`
//! with `infinite_rx`, `net_null`), changes every millisecond between *io* (receive and send, unjudged) and *filter* (the
//! worker's own turn). A hundred of each are a pair; the ratio of a pair knows no disturbance that lasts longer.
//!
//! Printed are the medians over all pairs, with a 95 % interval of the median by bootstrap. An interval wider than
//! ±0.03 is called what it is: not resolved. A fast wrong answer does not count: the share that was dropped must be the
//! share that the policy drops of the capture.
//!
//! Needs the CPU to itself: `cargo bench --bench pairs -- --vms 1000`; `-- --help` has the rest.
#![allow(clippy::print_stdout, reason = "a report is what it is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clap::Parser;
use crossbeam::utils::CachePadded;
use dpdk::{Burst, Eal, Mempool, Port, PortConfig, RxQueue, Started, TxQueue};
use portcullis::app::vms::{self, BadLines};
use portcullis::capture;
use portcullis::config::Config;
use portcullis::dataplane::{LinkQueues, QueuePair, Worker};
use portcullis::host::eal;
use portcullis::host::memory::{self, Layout, MBUF_CACHE};
use portcullis::model::{self, Direction, LinkIndex};
use portcullis::policy::{self, Reader, Snapshot, Verdict};
use portcullis::telemetry::counters::Block;

const EGRESS: model::Way = model::Way { link: LinkIndex(0), direction: Direction::Egress };
/// Room for a frame in one packet buffer.
const ROOM_BYTES: u16 = 2048;
/// How long one way of forwarding lasts before the other takes its turn.
const SLICE: Duration = Duration::from_millis(1);
/// Turns between two looks at the clock.
const TURNS: usize = 64;
/// Medians that the interval is drawn from.
const RESAMPLES: usize = 10_000;

#[derive(Parser)]
#[command(about = "What judging adds to forwarding, in pairs inside one process", version)]
struct Args {
    /// VMs in the table and in the capture
    #[arg(long, default_value_t = 1000)]
    vms: u32,
    /// Frames of the capture (by default 4 a VM, at least 4000)
    #[arg(long)]
    frames: Option<u32>,
    /// Keys that the table has room for (by default as many as the box has)
    #[arg(long)]
    table_keys: Option<u32>,
    /// Share of frames to mail ports
    #[arg(long, default_value = "0.05")]
    mail_share: String,
    /// Share of frames of VMs that nobody lists
    #[arg(long, default_value = "0")]
    unknown_share: String,
    /// Share of IPv6 frames
    #[arg(long, default_value = "0")]
    ipv6_share: String,
    /// Percent of the VMs that are restricted
    #[arg(long, default_value_t = 50)]
    restricted: u32,
    /// Bytes of a frame without its checksum, or imix
    #[arg(long, default_value = "60")]
    size: String,
    /// Frames that the worker takes at once
    #[arg(long, default_value_t = 64)]
    burst: usize,
    /// Pairs to measure
    #[arg(long, default_value_t = 31)]
    pairs: usize,
    /// Slices of a millisecond of each way in a pair
    #[arg(long, default_value_t = 100)]
    slices: u32,
    /// CPU to run on
    #[arg(long, default_value_t = 1)]
    cpu: u32,
    /// Use huge pages, as a gateway does (reserve them first: echo 300 > /proc/sys/vm/nr_hugepages)
    #[arg(long)]
    huge: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let frames = args.frames.unwrap_or((4 * args.vms).max(4000));
    let folder = tempfile::tempdir()?;
    let input = Input::make(&args, frames, folder.path())?;

    let mut config = Config::default();
    config.table.keys = args.table_keys.unwrap_or(config.table.keys);
    let settings = config.policy()?;
    let (mut registry, mut readers) = vms::create(&config, &settings, 1)?;
    vms::read(&input.vms, &config, &settings, BadLines::Refuse, &mut Vec::new())?.load(&mut registry)?;
    let policy_drops = input.share_dropped(registry.snapshot())?;

    // The capture's frames live in the pool, beside rings and caches.
    let mbufs = (frames + 8192).next_power_of_two() * 2 - 1;
    let session = eal::init(
        &eal_arguments(&args, &input.capture, mbufs),
        eal::Ending { last_words: |words| portcullis::app::log::last_words(words), exit_code: |_| 1 },
    )?;
    let eal = &session.eal;
    // As the box lays them out for these devices.
    let pool = Mempool::packed(eal, "frames", mbufs, MBUF_CACHE, ROOM_BYTES)?;
    let (_inside, inside) = start(eal, &pool, "net_pcap0")?;
    let (_outside, outside) = start(eal, &pool, "net_null1")?;
    let block = Block::new(1, config.table.vms as usize);
    let turns = CachePadded::new(AtomicU64::new(0));
    let burst = || Burst::with_limit(eal, args.burst);
    let mut bench = Bench {
        worker: Worker::new(&block, &turns),
        // The other way brings nothing, but asking costs, as it does testpmd.
        link: LinkQueues { index: EGRESS.link, inside, outside, burst: burst(), replies: burst() },
        reader: readers.remove(0),
    };

    bench.slice(Way::Filter, 500 * SLICE);
    let counted = block.lane(EGRESS);
    let pairs: Vec<Pair> = (0..args.pairs).map(|_| bench.pair(args.slices)).collect();
    let after = block.lane(EGRESS);
    // A part of the capture at the end of the last slice is all that the two shares may differ by.
    let dropped = 1.0 - (after.tx - counted.tx) as f64 / (after.rx - counted.rx) as f64;
    if (dropped - policy_drops).abs() > 0.002 {
        return Err(
            format!("refused: {dropped:.4} of the frames were dropped, the policy drops {policy_drops:.4}").into()
        );
    }
    let io = Median::of(pairs.iter().map(|pair| pair.io_ns));
    let filter = Median::of(pairs.iter().map(|pair| pair.filter_ns));
    let cost = Median::of(pairs.iter().map(|pair| pair.filter_ns - pair.io_ns));
    let ratio = Median::of(pairs.iter().map(|pair| pair.io_ns / pair.filter_ns));
    println!("io     {io} ns a frame");
    println!("filter {filter} ns a frame, {:.1} % dropped, as the policy says", 100.0 * policy_drops);
    println!("cost   {cost} ns a frame");
    let resolved = if ratio.high - ratio.low > 0.06 { ": not resolved" } else { "" };
    println!("ratio  {ratio}{resolved}");
    Ok(())
}

/// What is forwarded, and who is known.
struct Input {
    capture: PathBuf,
    vms: PathBuf,
}

impl Input {
    fn make(args: &Args, frames: u32, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let (capture, vms) = (folder.join("bench.pcap"), folder.join("vms.jsonl"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/bench_capture.py");
        let (count, frames, restricted) = (args.vms.to_string(), frames.to_string(), args.restricted.to_string());
        let made = Command::new("/usr/bin/python3")
            .arg(script)
            .args([&capture, &vms])
            .args(["--vms", &count, "--frames", &frames, "--restricted", &restricted])
            .args(["--mail-share", &args.mail_share, "--size", &args.size])
            .args(["--unknown-share", &args.unknown_share, "--ipv6-share", &args.ipv6_share])
            .stdout(Stdio::null())
            .status()?;
        made.success().then_some(Self { capture, vms }).ok_or_else(|| format!("{script} failed").into())
    }

    fn share_dropped(&self, snapshot: Snapshot<'_>) -> Result<f64, Box<dyn Error>> {
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

fn eal_arguments(args: &Args, capture: &Path, mbufs: u32) -> Vec<String> {
    let pages = if args.huge { "--huge-unlink" } else { "--no-huge" };
    let cpu = format!("0@{}", args.cpu);
    let prefix = format!("portcullis-pairs-{}", std::process::id());
    let memory = memory::memory_mib(mbufs, ROOM_BYTES, Layout::Packed).to_string();
    let pcap = format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display());
    [
        "pairs",
        "--lcores",
        &cpu,
        "--file-prefix",
        &prefix,
        pages,
        "-m",
        &memory,
        "--no-pci",
        "--no-telemetry",
        "--log-level",
        "error",
        "--vdev",
        &pcap,
        "--vdev",
        "net_null1,size=64,no-rx=1",
    ]
    .map(str::to_owned)
    .to_vec()
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

/// Two ways of forwarding.
#[derive(Clone, Copy)]
enum Way {
    Io,
    Filter,
}

/// Nanoseconds a frame of both ways, side by side.
struct Pair {
    io_ns: f64,
    filter_ns: f64,
}

struct Bench<'a> {
    worker: Worker<'a>,
    link: LinkQueues<RxQueue, TxQueue>,
    reader: Reader,
}

impl Bench<'_> {
    fn pair(&mut self, slices: u32) -> Pair {
        let mut sums = [(0.0, 0.0); 2];
        for _ in 0..slices {
            for (way, (frames, nanos)) in [Way::Io, Way::Filter].into_iter().zip(&mut sums) {
                let (more, took) = self.slice(way, SLICE);
                *frames += more;
                *nanos += took;
            }
        }
        let [io_ns, filter_ns] = sums.map(|(frames, nanos)| nanos / frames);
        Pair { io_ns, filter_ns }
    }

    /// Forwards one way for a while: frames, nanoseconds.
    fn slice(&mut self, way: Way, length: Duration) -> (f64, f64) {
        let start = Instant::now();
        let mut frames = 0_usize;
        loop {
            for _ in 0..TURNS {
                frames += match way {
                    Way::Io => self.io(),
                    Way::Filter => self.filter(),
                };
            }
            let took = start.elapsed();
            if took >= length {
                return (frames as f64, took.as_nanos() as f64);
            }
        }
    }

    #[inline(never)]
    fn io(&mut self) -> usize {
        let LinkQueues { inside, outside, burst, .. } = &mut self.link;
        let mut received = 0;
        for (rx, tx) in [(&mut inside.rx, &mut outside.tx), (&mut outside.rx, &mut inside.tx)] {
            received += rx.receive(burst);
            if !burst.is_empty() {
                tx.send(burst);
                burst.clear();
            }
        }
        received
    }

    #[inline(never)]
    fn filter(&mut self) -> usize {
        let snapshot = self.reader.snapshot();
        self.worker.turn(&mut self.link, snapshot)
    }
}

/// A median, and where 95 % of the medians of samples like these lie.
struct Median {
    value: f64,
    low: f64,
    high: f64,
}

impl Median {
    fn of(samples: impl Iterator<Item = f64>) -> Self {
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
        write!(f, "{:.3} ({:.3} to {:.3})", self.value, self.low, self.high)
    }
}
