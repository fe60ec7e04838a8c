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

mod lab;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use dpdk::Mempool;
use portcullis::config::Config;
use portcullis::dataplane::{LinkQueues, Rejecter, Sampler, Worker};
use portcullis::host::eal;
use portcullis::host::memory::MBUF_CACHE;
use portcullis::policy::Reader;
use portcullis::telemetry::counters::Block;

use self::lab::{Bridge, EGRESS, Input, Median, ROOM_BYTES};

/// How long one way of forwarding lasts before the other takes its turn.
const SLICE: Duration = Duration::from_millis(1);
/// Turns between two looks at the clock.
const TURNS: usize = 64;

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
    /// Prefix lengths in use, of each family
    #[arg(long, default_value_t = 1)]
    lengths: u32,
    /// Extension headers of an IPv6 frame
    #[arg(long, default_value_t = 0)]
    extensions: u32,
    /// What is no mail: tcp, udp, or hosting (as a gateway of a hosting network sees it)
    #[arg(long, default_value = "tcp")]
    mix: String,
    /// A VLAN tag of every frame; twice for two
    #[arg(long)]
    vlan: Vec<u16>,
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
    let input = args.input(frames, folder.path())?;

    let mut config = Config::default();
    config.table.keys = args.table_keys.unwrap_or(config.table.keys);
    let (registry, reader) = input.registry(&config)?;
    let policy_drops = input.share_dropped(registry.snapshot())?;

    // The capture's frames live in the pool, beside rings and caches.
    let mbufs = (frames + 8192).next_power_of_two() * 2 - 1;
    let session = eal::init(
        &lab::eal_arguments("pairs", args.cpu, args.huge, &[&input.capture], mbufs),
        eal::Ending { last_words: |words| portcullis::app::log::last_words(words), exit_code: |_| 1 },
    )?;
    let eal = &session.eal;
    // As the box lays them out for these devices.
    let pool = Mempool::packed(eal, "frames", mbufs, MBUF_CACHE, ROOM_BYTES)?;
    let bridge = Bridge::start(eal, &pool, 0, args.burst)?;
    let block = Block::new(1, config.table.vms as usize);
    let worker = Worker::new(&block, lab::pipeline(config.table.vms)?);
    let mut bench = Bench { worker, bridge, reader };

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

impl Args {
    fn input(&self, frames: u32, folder: &Path) -> Result<Input, Box<dyn Error>> {
        let (count, frames, restricted) = (self.vms.to_string(), frames.to_string(), self.restricted.to_string());
        let (lengths, extensions) = (self.lengths.to_string(), self.extensions.to_string());
        let arguments = [
            ["--vms", &count],
            ["--frames", &frames],
            ["--restricted", &restricted],
            ["--mail-share", &self.mail_share],
            ["--size", &self.size],
            ["--unknown-share", &self.unknown_share],
            ["--ipv6-share", &self.ipv6_share],
            ["--lengths", &lengths],
            ["--extensions", &extensions],
            ["--mix", &self.mix],
        ];
        let tags: Vec<String> = self.vlan.iter().map(ToString::to_string).collect();
        let arguments: Vec<&str> =
            arguments.into_iter().chain(tags.iter().map(|tag| ["--vlan", tag])).flatten().collect();
        Input::make(folder, "bench", &arguments)
    }
}

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
    worker: Worker<'a, Sampler, Rejecter>,
    bridge: Bridge,
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
        let LinkQueues { inside, outside, burst, .. } = &mut self.bridge.link;
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
        self.worker.turn(&mut self.bridge.link, snapshot)
    }
}
