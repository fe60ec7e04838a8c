//! What a sender can make a worker pay: frames that take the long way, against plain ones, inside one process.
//!
//! A restricted VM may send what it likes. So the dearest frames are measured: mail of MACs and addresses that nobody lists,
//! over IPv4 and IPv6, with one prefix length in use and with all sixteen, and IPv6 with eight extension headers. One worker
//! takes a slice of a millisecond of each by turns, and a *round* is a hundred such slices; printed are the medians over
//! all rounds of the cost of a frame in all (received, judged, sent or freed), and of its ratio to a plain frame's in the
//! same round: to the web, of VMs that are known. No row may cost more than [`BOUND`] times as much, or the exit status is 1.
//!
//! Needs the CPU to itself: `cargo bench --bench slow -- --huge`; `-- --help` has the rest.
#![allow(clippy::print_stdout, reason = "a report is what it is for")]

mod lab;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use dpdk::Mempool;
use portcullis::config::Config;
use portcullis::dataplane::{Rejecter, Sampler, Worker};
use portcullis::host::eal;
use portcullis::host::memory::MBUF_CACHE;
use portcullis::policy::Reader;
use portcullis::telemetry::counters::Block;

use self::lab::{Bridge, EGRESS, Input, Median, ROOM_BYTES};

/// What the dearest frame may cost, in plain frames.
const BOUND: f64 = 8.0;
/// How long a row is forwarded before the next takes its turn.
const SLICE: Duration = Duration::from_millis(1);
/// Turns between two looks at the clock.
const TURNS: usize = 16;

#[derive(Parser)]
#[command(about = "What frames that take the long way cost, against plain ones in the same process", version)]
struct Args {
    /// VMs in the table and in the captures
    #[arg(long, default_value_t = 1000)]
    vms: u32,
    /// Frames of each capture
    #[arg(long, default_value_t = 4000)]
    frames: u32,
    /// Rounds to measure
    #[arg(long, default_value_t = 31)]
    rounds: usize,
    /// Slices of a millisecond of each row in a round
    #[arg(long, default_value_t = 20)]
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

/// A kind of frame: what the capture is made of beside the defaults.
struct Kind {
    name: &'static str,
    arguments: &'static [&'static str],
}

/// The first is the plain one.
const KINDS: [Kind; 7] = [
    Kind { name: "plain, to the web", arguments: &["--mail-share", "0"] },
    Kind { name: "mail of known VMs", arguments: &["--mail-share", "1"] },
    Kind { name: "mail of known VMs, IPv6", arguments: &["--mail-share", "1", "--ipv6-share", "1"] },
    Kind { name: "mail of nobody", arguments: &["--mail-share", "1", "--unknown-share", "1"] },
    Kind {
        name: "mail of nobody, IPv6",
        arguments: &["--mail-share", "1", "--unknown-share", "1", "--ipv6-share", "1"],
    },
    Kind {
        name: "web, 8 extension headers",
        arguments: &["--mail-share", "0", "--ipv6-share", "1", "--extensions", "8"],
    },
    Kind {
        name: "mail of nobody, 8 extension headers",
        arguments: &["--mail-share", "1", "--unknown-share", "1", "--ipv6-share", "1", "--extensions", "8"],
    },
];

/// Prefix lengths in use, of each family.
const LENGTHS: [&str; 2] = ["1", "16"];

/// What is measured: a kind of frame among so many prefix lengths.
struct Row<'a> {
    kind: &'static Kind,
    lengths: &'static str,
    bridge: Bridge,
    /// Which of the two tables.
    table: usize,
    worker: Worker<'a, Sampler, Rejecter>,
    block: &'a Block,
    /// The share that the policy drops.
    drops: f64,
    /// Nanoseconds a frame, a value for each round.
    nanos: Vec<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let config = Config::default();
    let mut inputs = Vec::new();
    for lengths in LENGTHS {
        for kind in &KINDS {
            inputs.push((lengths, kind, input(&args, folder.path(), lengths, kind)?));
        }
    }
    // Who is known does not depend on the kind, but for the IPv6 addresses: those of a kind that has them.
    let mut tables: Vec<Reader> = Vec::new();
    let mut registries = Vec::new();
    for lengths in LENGTHS {
        let (_, _, all) = inputs
            .iter()
            .find(|(of, kind, _)| *of == lengths && kind.arguments.contains(&"--ipv6-share"))
            .ok_or("no kind has IPv6")?;
        let (registry, reader) = all.registry(&config)?;
        registries.push(registry);
        tables.push(reader);
    }

    let captures: Vec<&Path> = inputs.iter().map(|(_, _, input)| input.capture.as_path()).collect();
    let count = u32::try_from(inputs.len())?;
    let mbufs = (count * (args.frames + 4096)).next_power_of_two() * 2 - 1;
    let arguments = lab::eal_arguments("slow", args.cpu, args.huge, &captures, mbufs);
    let ending = eal::Ending { last_words: |words| portcullis::app::log::last_words(words), exit_code: |_| 1 };
    let session = eal::init(&arguments, ending)?;
    let eal = &session.eal;
    let pool = Mempool::packed(eal, "frames", mbufs, MBUF_CACHE, ROOM_BYTES)?;
    let blocks: Vec<Block> = inputs.iter().map(|_| Block::new(1, config.table.vms as usize)).collect();
    let mut rows = Vec::new();
    for (at, ((lengths, kind, input), block)) in inputs.iter().zip(&blocks).enumerate() {
        let table = LENGTHS.iter().position(|of| of == lengths).unwrap_or_default();
        let registry = registries.get(table).ok_or("a table for each number of lengths")?;
        let drops = input.share_dropped(registry.snapshot())?;
        let bridge = Bridge::start(eal, &pool, at, 64)?;
        let worker = Worker::new(block, lab::pipeline(config.table.vms)?);
        rows.push(Row { kind, lengths, bridge, table, worker, block, drops, nanos: Vec::new() });
    }

    for round in 0..=args.rounds {
        let mut sums = vec![(0.0, 0.0); rows.len()];
        for _ in 0..args.slices {
            for (row, (frames, nanos)) in rows.iter_mut().zip(&mut sums) {
                let reader = tables.get_mut(row.table).ok_or("a table for each row")?;
                let (more, took) = row.slice(reader);
                *frames += more;
                *nanos += took;
            }
        }
        // The first round only warms up.
        for (row, (frames, nanos)) in rows.iter_mut().zip(sums).filter(|_| round > 0) {
            row.nanos.push(nanos / frames);
        }
    }
    report(&rows)
}

fn input(args: &Args, folder: &Path, lengths: &str, kind: &Kind) -> Result<Input, Box<dyn Error>> {
    let (vms, frames) = (args.vms.to_string(), args.frames.to_string());
    let common = ["--vms", &vms, "--frames", &frames, "--lengths", lengths];
    let name = format!("{lengths}-{}", kind.name.replace([' ', ','], "-"));
    Input::make(folder, &name, &[&common, kind.arguments].concat())
}

impl Row<'_> {
    /// Forwards for a while: frames, nanoseconds.
    fn slice(&mut self, reader: &mut Reader) -> (f64, f64) {
        let start = Instant::now();
        let mut frames = 0_usize;
        loop {
            for _ in 0..TURNS {
                frames += self.worker.turn(&mut self.bridge.link, reader.snapshot());
            }
            let took = start.elapsed();
            if took >= SLICE {
                return (frames as f64, took.as_nanos() as f64);
            }
        }
    }

    /// The share that was dropped since the start. All but a part of the capture is exactly what the policy says.
    fn dropped(&self) -> f64 {
        let lane = self.block.lane(EGRESS);
        1.0 - lane.tx as f64 / lane.rx as f64
    }
}

fn report(rows: &[Row<'_>]) -> Result<(), Box<dyn Error>> {
    let mut too_dear = false;
    println!("{:>7}  {:36} {:>24}  ratio to plain", "lengths", "frames", "ns a frame");
    for row in rows {
        if (row.dropped() - row.drops).abs() > 0.002 {
            let (name, dropped, drops) = (row.kind.name, row.dropped(), row.drops);
            return Err(format!("refused: {name}: {dropped:.4} were dropped, the policy drops {drops:.4}").into());
        }
        let plain = rows.iter().find(|plain| plain.table == row.table).ok_or("a plain row")?;
        let ratio = Median::of(row.nanos.iter().zip(&plain.nanos).map(|(this, plain)| this / plain));
        too_dear |= ratio.value > BOUND;
        let nanos = Median::of(row.nanos.iter().copied());
        println!("{:>7}  {:36} {:>24}  {ratio:.2}", row.lengths, row.kind.name, format!("{nanos:.1}"));
    }
    match too_dear {
        true => Err(format!("some frames cost more than {BOUND} plain ones").into()),
        false => Ok(()),
    }
}
