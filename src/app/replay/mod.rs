//! `replay`: captures through the real pipeline, until every frame is accounted for.
//!
//! The captures become `net_pcap` devices. DPDK does not say when one is drained, so each is counted when it is read, and
//! the replay ends when as many frames have been received.

mod files;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use self::files::{FRAME_BYTES_MAX, Input, Output, Scratch};
use super::engine::{Engine, ledger};
use super::log;
use super::vms::{self, BadLines};
use crate::config::{Config, Device, Dpdk, Hugepages, Link};
use crate::failure::{Cause, Failure};
use crate::host::cores::Cores;
use crate::host::eal::{self, Ending};
use crate::host::memory::{self, Layout, Plan};
use crate::model::{Direction, LinkIndex, Moment, Way};
use crate::policy::Observed;
use crate::telemetry::drops::Drops;
use crate::telemetry::ledger::LinkPorts;
use crate::telemetry::report::Report;
use crate::vm::clock::Clock;
use crate::vm::explanation::{Becomes, Explanation};
use crate::vm::registry::Registry;

/// What to replay.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// VM lines.
    pub vms: Option<PathBuf>,
    /// Configuration; its classes, relays, scopes and table count, its devices are replaced by the captures.
    pub config: Option<PathBuf>,
    /// Which of the configuration's links; the first unless said.
    pub link: Option<String>,
    /// Frames from VMs.
    pub inside: Option<PathBuf>,
    /// Frames to VMs.
    pub outside: Option<PathBuf>,
    /// Where frames go that leave by the inside port.
    pub inside_out: Option<PathBuf>,
    /// Where frames go that leave by the outside port.
    pub outside_out: Option<PathBuf>,
    /// What becomes of VM lines that cannot be.
    pub bad_lines: BadLines,
    /// What time it is; now unless said.
    pub at: Option<Moment>,
    /// Refuse captures that end in the middle of a record.
    pub strict: bool,
    /// More EAL options.
    pub eal: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The statistics document.
    pub report: Report,
    /// The first dropped frame explained.
    pub why: Option<Why>,
    /// Things worth knowing about the input.
    pub warnings: Vec<String>,
}

/// One dropped frame, explained.
#[derive(Clone, Debug)]
pub struct Why {
    /// Which capture.
    pub capture: PathBuf,
    /// Which frame of it, from 1.
    pub frame: u64,
    /// One sentence each.
    pub lines: Vec<String>,
}

/// How long the replay waits for the next frame before it says that some are lost.
const PATIENCE: Duration = Duration::from_secs(20);

impl Replay {
    /// Runs the replay. Should EAL end the process, it returns what `exit_code` says.
    ///
    /// # Errors
    /// Bad input of any kind, before anything runs; or frames that DPDK did not hand over.
    pub fn run(&self, exit_code: fn(Cause) -> i32) -> Result<Replayed, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        let scratch = Scratch::new()?;
        let mut warnings = Vec::new();
        let mut read = |path: &Option<PathBuf>, name| {
            let path = path.as_deref();
            path.map(|path| Input::read(path, &scratch, name, self.strict, &mut warnings)).transpose()
        };
        let inputs = [read(&self.inside, "inside.pcap")?, read(&self.outside, "outside.pcap")?];
        let outputs = self.prepare_outputs(&scratch)?;
        self.replace_devices(&mut config, &inputs, &outputs)?;
        let settings = config.policy().map_err(|error| Failure::new(Cause::Configuration, error))?;

        warnings.extend(config.remarks().iter().map(ToString::to_string));
        let vms = match &self.vms {
            Some(path) => Some(vms::read(path, &config, &settings, self.bad_lines, &mut warnings)?),
            None => None,
        };

        let plan = plan(inputs.iter().flatten().map(|input| input.longest_bytes).max().unwrap_or(0));
        let cores = cores(&config)?;
        let arguments = eal::arguments(&config, &cores, plan, &self.eal)?;
        let session = eal::init(&arguments, Ending { last_words: |words| log::last_words(words), exit_code })?;
        let eal = &session.eal;
        // Captures have no speed, so time stands still: as many answers as a bucket holds, and no more come.
        let (steady, _) = quanta::Clock::mock();
        let at = self.at.unwrap_or_else(|| Clock::default().now());
        let workers = eal.worker_lcores().len();
        let (mut registry, readers) = vms::create(&config, &settings, workers, Clock::at(at, steady.clone()))?;
        if readers.is_empty() {
            return Err(Failure::new(Cause::Configuration, "EAL has no worker lcore, so nothing would be forwarded"));
        }
        if let Some(vms) = &vms {
            vms.load(&mut registry)?;
        }
        // Nobody asks a replay for single frames.
        let (_, feeds) = Drops::new(readers.len());
        let mut engine = Engine::start(eal, &config, plan, readers, feeds, &steady)?;
        let expected = inputs.each_ref().map(|input| input.as_ref().map_or(0, |input| input.frames));
        let drained = wait(&engine, expected);
        engine.halt();

        let report = {
            let ledger = ledger(&config, &engine.shared);
            let judged = registry.iter_after(None).map(|(at, vm)| (vm.id.to_string(), ledger.counted(Some(at))));
            Report { workers: Vec::new(), ..ledger.report(registry.revision()).with_vms(judged.collect()) }
        };
        let why = why(&registry, &inputs)?;
        let stopped = engine.stop();

        drained?;
        verify(&report, &outputs, stopped.mbufs_in_use)?;
        outputs.into_iter().flatten().try_for_each(Output::finish)?;
        Ok(Replayed { report, why, warnings })
    }

    /// Makes sure that outputs can be written and overwrite neither an input nor each other: by the inside port, by the
    /// outside port.
    fn prepare_outputs(&self, scratch: &Scratch) -> Result<[Option<Output>; 2], Failure> {
        let inputs = [
            ("what is replayed to the inside port", &self.inside),
            ("what is replayed to the outside port", &self.outside),
            ("the file of VM lines", &self.vms),
            ("the configuration", &self.config),
        ];
        let input = |(what, path): (&'static str, &Option<PathBuf>)| Some((what, files::place(path.as_deref()?).ok()?));
        let mut others: Vec<_> = inputs.into_iter().filter_map(input).collect();
        let prepare = |path: &Option<PathBuf>, name, others: &[_]| {
            path.as_deref().map(|path| Output::prepare(path, scratch, name, others)).transpose()
        };
        let inside = prepare(&self.inside_out, "inside-out.pcap", &others)?;
        others.extend(inside.as_ref().map(|inside| ("what leaves by the inside port", inside.target().to_owned())));
        let outside = prepare(&self.outside_out, "outside-out.pcap", &others)?;
        Ok([inside, outside])
    }

    /// Puts the captures in the place of the chosen link's devices; other links do not take part.
    fn replace_devices(
        &self,
        config: &mut Config,
        inputs: &[Option<Input>; 2],
        outputs: &[Option<Output>; 2],
    ) -> Result<(), Failure> {
        let chosen = match &self.link {
            Some(name) => config.links.iter().find(|link| link.name == *name).cloned().map(Some).ok_or_else(|| {
                let names: Vec<&str> = config.links.iter().map(|link| link.name.as_str()).collect();
                let message = format!("the configuration has no link `{name}`; it has: {}", names.join(", "));
                Failure::new(Cause::Usage, message)
            })?,
            None => config.links.first().cloned(),
        };
        let [inside, outside] = [0, 1].map(|side: usize| {
            let (input, output) =
                (inputs.get(side).and_then(Option::as_ref), outputs.get(side).and_then(Option::as_ref));
            // net_pcap cannot open a capture without a record; nothing comes from it either way.
            let input = input.filter(|input| input.frames > 0).map(|input| &input.copy);
            let mut vdev = match (input, output) {
                // It wants at least one file.
                (None, None) => format!("net_null{side},no-rx=1"),
                _ => format!("net_pcap{side}"),
            };
            for (key, path) in [("rx_pcap", input), ("tx_pcap", output.map(|output| &output.copy))] {
                if let Some(path) = path {
                    vdev += &format!(",{key}={}", path.display());
                }
            }
            Device::try_from(vdev).map_err(|error| Failure::new(Cause::Bug, error))
        });
        let link = Link {
            inside: inside?,
            outside: outside?,
            queues: Some(1),
            link_propagation: false,
            ..chosen.unwrap_or_else(|| Link::named("link0"))
        };
        config.links = vec![link];
        config.dpdk = Dpdk {
            file_prefix: format!("portcullis-replay-{}", std::process::id()),
            hugepages: Hugepages::Off,
            mbufs: None,
            memory_mib: None,
            extra_args: vec!["--no-telemetry".into()],
            ..std::mem::take(&mut config.dpdk)
        };
        Ok(())
    }
}

/// Explains the first frame that was dropped, from inside if there is one.
fn why(registry: &Registry, inputs: &[Option<Input>; 2]) -> Result<Option<Why>, Failure> {
    for (direction, input) in Direction::ALL.into_iter().zip(inputs) {
        let Some(input) = input else { continue };
        let (mut frame, mut found) = (0, None);
        let way = Way { link: LinkIndex(0), direction };
        input.for_each(|bytes| {
            frame += 1;
            let explanation = Explanation::of(registry, way, bytes);
            if explanation.verdict == Becomes::Dropped && explanation.tally.is_some() {
                found = Some(explanation.sentences().collect());
            }
            found.is_none()
        })?;
        if let Some(lines) = found {
            return Ok(Some(Why { capture: input.named.clone(), frame, lines }));
        }
    }
    Ok(None)
}

/// What must be so after a replay that drained its input.
fn verify(report: &Report, outputs: &[Option<Output>; 2], mbufs_in_use: u32) -> Result<(), Failure> {
    if !report.balanced {
        return Err(Failure::new(Cause::Bug, "the balance does not hold: some frame was neither sent nor counted"));
    }
    if mbufs_in_use != 0 {
        return Err(Failure::new(Cause::Bug, format_args!("{mbufs_in_use} packet buffers were not given back")));
    }
    // What leaves by the inside port came in by the other, or answers what came in by it.
    for (output, direction) in outputs.iter().zip([Direction::Ingress, Direction::Egress]) {
        let Some(output) = output else { continue };
        let answers = report.observed.way(direction.other()).get(Observed::RejectSent.name()).copied().unwrap_or(0);
        let (sent, written) = (report.sent(direction) + answers, output.frames()?);
        if written != sent {
            let message = format!("{}: {sent} frames were sent but {written} are in the file", output.named.display());
            return Err(Failure::new(Cause::Os, message));
        }
    }
    Ok(())
}

/// A replay needs few buffers, whatever the size of the capture: frames leave before the next ones come.
fn plan(longest_bytes: usize) -> Plan {
    let mbufs = 2047;
    let room = longest_bytes.next_multiple_of(64).clamp(2048, FRAME_BYTES_MAX);
    let room_bytes = u16::try_from(room).unwrap_or(u16::MAX);
    let layout = Layout::Packed; // net_pcap and net_null copy
    Plan { mbufs, room_bytes, layout, memory_mib: memory::memory_mib(mbufs, room_bytes, layout) }
}

/// One worker: a capture has one queue.
fn cores(config: &Config) -> Result<Cores, Failure> {
    let available = eal::available_cpus();
    let mut cores = Cores::choose(config.dpdk.cores.as_deref(), config.dpdk.main_core, &available)
        .map_err(|error| Failure::new(Cause::Configuration, error))?;
    cores.workers.truncate(1);
    Ok(cores)
}

/// Waits until as many frames were received as the captures hold; shows progress where somebody watches.
fn wait(engine: &Engine, expected: [u64; 2]) -> Result<(), Failure> {
    let total = expected.iter().sum();
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} frames, {per_sec}") {
        bar.set_style(style);
    }
    let mut last = (0, Instant::now());
    loop {
        let received = Direction::ALL.map(|direction| engine.shared.lane(Way { link: LinkIndex(0), direction }).rx);
        if received == expected {
            bar.finish_and_clear();
            return Ok(());
        }
        let sum = received.iter().sum();
        bar.set_position(sum);
        if sum != last.0 {
            last = (sum, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            bar.finish_and_clear();
            let LinkPorts { inside, outside } = engine.shared.ports(LinkIndex(0));
            let message = format!(
                "DPDK handed over {sum} of {total} frames and no more came for {} s (no packet buffer: {}); is the capture \
                 being changed meanwhile?",
                PATIENCE.as_secs(),
                inside.losses.rx_no_mbuf + outside.losses.rx_no_mbuf
            );
            return Err(Failure::new(Cause::Unavailable, message));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
