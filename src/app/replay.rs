//! `replay`: captures through the real pipeline, until every frame is accounted for.
//!
//! The captures become `net_pcap` devices. DPDK does not say when one is drained, so each is counted before, and the
//! replay ends when as many frames have been received.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::engine::{Engine, ledger};
use super::vms;
use crate::capture::{self, Summary};
use crate::config::{Config, Device, Dpdk, Hugepages, Link};
use crate::exit::{Exit, Failure};
use crate::host::cores::Cores;
use crate::host::eal;
use crate::host::memory::{self, Layout, Plan};
use crate::model::{Direction, LinkIndex, Way};
use crate::policy::{self, ClassBecause, Decision, Verdict, VmFacts};
use crate::telemetry::ledger::LinkPorts;
use crate::telemetry::report::Report;
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

/// Longest frame that fits in one packet buffer. Longer ones would be chained, and `net_pcap` cuts long chained frames
/// silently when it writes them.
const FRAME_BYTES_MAX: usize = 65_407;

/// How long the replay waits for the next frame before it says that some are lost.
const PATIENCE: Duration = Duration::from_secs(20);

impl Replay {
    /// Runs the replay.
    ///
    /// # Errors
    /// Bad input of any kind, before anything runs; or frames that DPDK did not hand over.
    pub fn run(&self) -> Result<Replayed, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        let inside = self.inside.as_deref().map(capture::summarise).transpose()?;
        let outside = self.outside.as_deref().map(capture::summarise).transpose()?;
        let mut warnings = Vec::new();
        for (path, summary) in [(&self.inside, inside), (&self.outside, outside)] {
            if let (Some(path), Some(summary)) = (path, summary) {
                check(path, summary, &mut warnings)?;
            }
        }
        self.replace_devices(&mut config, inside, outside)?;
        let settings = config.policy().map_err(|error| Failure::new(Exit::Configuration, error))?;

        // Everything that the VM lines can have wrong is found before EAL starts.
        let (mut registry, _) = vms::create(&config, &settings, 0)?;
        if let Some(path) = &self.vms {
            vms::load(&mut registry, path)?;
        }
        drop(registry);

        let longest = [inside, outside].into_iter().flatten().map(|summary| summary.longest_bytes).max().unwrap_or(0);
        let plan = plan(longest);
        let cores = cores(&config)?;
        let arguments = eal::arguments(&config, &cores, plan, &self.eal)?;
        // Last, because it empties files: a replay that is refused leaves them as they were.
        self.prepare_outputs()?;
        let session = eal::init(&arguments)?;
        let eal = &session.eal;
        let (mut registry, readers) = vms::create(&config, &settings, eal.worker_lcores().len())?;
        if readers.is_empty() {
            return Err(Failure::new(Exit::Configuration, "EAL has no worker lcore, so nothing would be forwarded"));
        }
        if let Some(path) = &self.vms {
            vms::load(&mut registry, path)?;
        }
        let vms = config.table.vms as usize;
        let mut engine = Engine::start(eal, &config, plan, readers, vms)?;
        let expected = [inside, outside].map(|summary| summary.map_or(0, |summary| summary.frames));
        let drained = wait(&engine, expected);
        engine.halt();

        let report = {
            let ledger = ledger(&config, &engine.shared);
            let judged = registry.iter_after(None).map(|(at, vm)| (vm.id.to_string(), ledger.counted(Some(at))));
            ledger.report(registry.revision()).with_vms(judged.collect())
        };
        let why = self.why(&registry)?;
        let stopped = engine.stop();

        drained?;
        self.verify(&report, stopped.mbufs_in_use)?;
        Ok(Replayed { report, why, warnings })
    }

    /// Makes sure that outputs can be written and overwrite no input.
    fn prepare_outputs(&self) -> Result<(), Failure> {
        let inputs: Vec<PathBuf> = [&self.inside, &self.outside, &self.vms, &self.config]
            .into_iter()
            .flatten()
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        let mut outputs: Vec<PathBuf> = Vec::new();
        for path in [&self.inside_out, &self.outside_out].into_iter().flatten() {
            if path.canonicalize().is_ok_and(|path| inputs.contains(&path)) {
                let message = format!("{} is an input too; it would be overwritten", path.display());
                return Err(Failure::new(Exit::Usage, message));
            }
            std::fs::File::create(path).map_err(|error| {
                Failure::io(Exit::Os, &error, format_args!("{}: cannot be written: {error}", path.display()))
            })?;
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            if outputs.contains(&path) {
                return Err(Failure::new(Exit::Usage, format_args!("{}: two outputs need two files", path.display())));
            }
            outputs.push(path);
        }
        Ok(())
    }

    /// Puts the captures in the place of the chosen link's devices; other links do not take part.
    fn replace_devices(
        &self,
        config: &mut Config,
        inside: Option<Summary>,
        outside: Option<Summary>,
    ) -> Result<(), Failure> {
        let chosen = match &self.link {
            Some(name) => config.links.iter().find(|link| link.name == *name).cloned().map(Some).ok_or_else(|| {
                let names: Vec<&str> = config.links.iter().map(|link| link.name.as_str()).collect();
                let message = format!("the configuration has no link `{name}`; it has: {}", names.join(", "));
                Failure::new(Exit::Usage, message)
            })?,
            None => config.links.first().cloned(),
        };
        let device = |number: u8, input: Option<&Path>, output: Option<&Path>| {
            let mut vdev = match (input, output) {
                // net_pcap wants at least one file.
                (None, None) => format!("net_null{number},no-rx=1"),
                _ => format!("net_pcap{number}"),
            };
            for (key, path) in [("rx_pcap", input), ("tx_pcap", output)] {
                if let Some(path) = path {
                    vdev += &format!(",{key}={}", plain(path)?);
                }
            }
            Device::try_from(vdev).map_err(|error| Failure::new(Exit::Bug, error))
        };
        // A file without any record, not even a header, cannot be opened by net_pcap; nothing comes from it either way.
        let readable = |path: &Option<PathBuf>, summary: Option<Summary>| {
            path.clone().filter(|_| summary.is_some_and(|summary| summary.frames > 0))
        };
        let (inside, outside) = (readable(&self.inside, inside), readable(&self.outside, outside));
        let link = Link {
            inside: device(0, inside.as_deref(), self.inside_out.as_deref())?,
            outside: device(1, outside.as_deref(), self.outside_out.as_deref())?,
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

    /// Explains the first frame that was dropped, from inside if there is one.
    fn why(&self, registry: &Registry) -> Result<Option<Why>, Failure> {
        let sides = [(Direction::Egress, &self.inside), (Direction::Ingress, &self.outside)];
        for (direction, path) in sides {
            let Some(path) = path else { continue };
            let (mut frame, mut found) = (0, None);
            let way = Way { link: LinkIndex(0), direction };
            capture::for_each_frame(path, |bytes, _| {
                frame += 1;
                let snapshot = registry.snapshot();
                let decision = policy::decide(snapshot, way, bytes, bytes.len());
                let judged = matches!(decision, Decision::Judged(..));
                if judged && matches!(decision.verdict(), Verdict::Drop(_)) {
                    found = Some(policy::explain(snapshot.settings, way, bytes, decision, |vm| facts(registry, vm)));
                }
                found.is_none()
            })?;
            if let Some(lines) = found {
                return Ok(Some(Why { capture: path.clone(), frame, lines }));
            }
        }
        Ok(None)
    }

    /// What must be so after a replay that drained its input.
    fn verify(&self, report: &Report, mbufs_in_use: u32) -> Result<(), Failure> {
        if !report.balanced {
            return Err(Failure::new(Exit::Bug, "the balance does not hold: some frame was neither sent nor counted"));
        }
        if mbufs_in_use != 0 {
            return Err(Failure::new(Exit::Bug, format_args!("{mbufs_in_use} packet buffers were not given back")));
        }
        let sent =
            [(&self.outside_out, report.sent(Direction::Egress)), (&self.inside_out, report.sent(Direction::Ingress))];
        for (path, sent) in sent {
            let Some(path) = path else { continue };
            let written = capture::summarise(path)?.frames;
            if written != sent {
                let message = format!("{}: {sent} frames were sent but {written} are in the file", path.display());
                return Err(Failure::new(Exit::Os, message));
            }
        }
        Ok(())
    }
}

/// What an explanation says of a VM.
fn facts(registry: &Registry, vm: crate::model::VmIndex) -> VmFacts {
    let Some(vm) = registry.by_index(vm) else {
        return VmFacts { id: format!("VM number {}", vm.0), class_because: ClassBecause::NoPublicIpv4 };
    };
    let class_because = match (&vm.class, vm.public_ipv4) {
        (Some(_), _) => ClassBecause::Override,
        (None, Some(_)) => ClassBecause::PublicIpv4,
        (None, None) => ClassBecause::NoPublicIpv4,
    };
    VmFacts { id: vm.id.to_string(), class_because }
}

fn check(path: &Path, summary: Summary, warnings: &mut Vec<String>) -> Result<(), Failure> {
    if summary.longest_bytes > FRAME_BYTES_MAX {
        let message = format!(
            "{}: the longest frame has {} bytes; at most {FRAME_BYTES_MAX} can be replayed (capture with segmentation \
             offload switched off)",
            path.display(),
            summary.longest_bytes
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    if summary.frames == 0 {
        warnings.push(format!("{}: the capture is empty", path.display()));
    }
    if summary.cut_frames > 0 {
        warnings.push(format!(
            "{}: {} frames were cut by the capture's snap length; they are judged as they are, cut short (capture with \
             `-s 0`)",
            path.display(),
            summary.cut_frames
        ));
    }
    Ok(())
}

/// A path that can stand in a vdev string.
fn plain(path: &Path) -> Result<&str, Failure> {
    match path.to_str() {
        Some(text) if !text.contains([',', '=', '"', '\'', '[', ']']) && !text.is_empty() => Ok(text),
        _ => Err(Failure::new(
            Exit::Usage,
            format_args!(
                "{}: DPDK takes no path with a comma, `=`, quotes or brackets; rename the file",
                path.display()
            ),
        )),
    }
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
        .map_err(|error| Failure::new(Exit::Configuration, error))?;
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
            return Err(Failure::new(Exit::Unavailable, message));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
