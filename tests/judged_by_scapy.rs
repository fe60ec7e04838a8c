//! The box against the independent judge of `tests/peers`: two readings of one policy, by different authors in different
//! languages. Any difference names its frame.
//!
//! The golden captures have a frame for every clause; the fuzz captures have what nobody thought of. Both go through the
//! data plane on memory ports, one frame at a time (for verdict, reason, VM, tally and observations of each) and all
//! together (for order, bytes and counters).
//!
//! What a fuzz capture shows becomes a row of `golden.py`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end in a panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis::model::Direction;
use portcullis::policy::{DropReason, Observed, Tally, Verdict};
use portcullis::port::memory::Frame;
use portcullis::telemetry::counters::VmCounts;
use portcullis::testkit::{NOW, World};
use serde::Deserialize;
use support::PYTHON;

#[derive(Deserialize)]
struct Report {
    inside: Side,
    outside: Side,
    vms: BTreeMap<String, BTreeMap<String, Counts>>,
    unknown: BTreeMap<String, Counts>,
}

#[derive(Deserialize)]
struct Side {
    rx: u64,
    /// Numbers of the forwarded frames, from 1.
    forward: Vec<usize>,
    drops: BTreeMap<String, u64>,
    observed: BTreeMap<String, u64>,
    rulings: Vec<Ruling>,
    /// What their senders are told, in hexadecimal.
    replies: Vec<Option<String>>,
}

/// What is said of one frame, by either.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Ruling {
    drop: Option<String>,
    vm: Option<String>,
    tally: Option<String>,
    observed: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Counts {
    allowed: u64,
    denied: u64,
    excepted: u64,
    would_deny: u64,
}

impl From<VmCounts> for Counts {
    fn from(VmCounts { allowed, denied, excepted, would_deny }: VmCounts) -> Self {
        Self { allowed, denied, excepted, would_deny }
    }
}

#[test]
fn every_golden_frame_is_ruled_alike() {
    if support::scapy_is_left_out() {
        return;
    }
    let captures = ["pcaps/golden-inside.pcap", "pcaps/golden-outside.pcap"].map(support::path);
    for level in [Level::Mail, Level::Strict, Level::Observe, Level::Resets, Level::Icmp, Level::Excepted] {
        judge(level, &captures[0], &captures[1]);
    }
}

#[test]
fn whatever_neighbours_tell_each_other_is_ruled_alike() {
    if support::scapy_is_left_out() {
        return;
    }
    let outside = support::path("pcaps/golden-outside.pcap");
    for level in [Level::Strict, Level::Observe, Level::SomeGuards, Level::Mail] {
        judge(level, &support::path("pcaps/strict-inside.pcap"), &outside);
    }
}

#[test]
fn runts_and_every_size_are_ruled_alike() {
    if support::scapy_is_left_out() {
        return;
    }
    judge(Level::Mail, &support::path("pcaps/runts-inside.pcap"), &support::path("pcaps/sizes-inside.pcap"));
}

#[test]
fn frames_that_nobody_thought_of_are_ruled_alike() {
    judge_fuzz("1");
}

#[test]
fn and_others_with_another_seed() {
    judge_fuzz("2");
}

#[test]
fn and_others_with_the_seed_that_somebody_asks_for() {
    // PORTCULLIS_FUZZ_SEED=1234 cargo test --test judged_by_scapy
    if let Ok(seed) = std::env::var("PORTCULLIS_FUZZ_SEED") {
        judge_fuzz(&seed);
    }
}

fn judge_fuzz(seed: &str) {
    if support::scapy_is_left_out() {
        return;
    }
    let [inside, outside] = ["inside", "outside"].map(|side| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{seed}-{side}.pcap"));
        let script = support::path("peers/fuzz_capture.py");
        run(Command::new(PYTHON).arg(script).arg(&path).args(["--side", side, "--frames", "20000", "--seed", seed]));
        path
    });
    for level in
        [Level::Mail, Level::Strict, Level::Observe, Level::SomeGuards, Level::Resets, Level::Icmp, Level::Excepted]
    {
        judge(level, &inside, &outside);
    }
}

/// When it matters who a frame says it is, in a configuration that is the same else.
#[derive(Clone, Copy, Debug)]
enum Level {
    Mail,
    Observe,
    Strict,
    /// Strict, and two of the four guards look.
    SomeGuards,
    /// At mail, and who is denied is told by resets; but for one class.
    Resets,
    /// At strict, and by ICMP where it fits.
    Icmp,
    /// At mail, and some VMs have exceptions, and tenants relays.
    Excepted,
}

impl Level {
    fn config(self) -> String {
        let strict = support::text("pcaps/strict.toml");
        let level = "identity = \"strict\"";
        assert!(strict.contains(level), "strict.toml is strict");
        let from =
            "reject_ipv4 = \"198.51.100.254\"\nreject_ipv6 = \"2001:db8:ffff::254\"\n\n[policy]\ndeny = \"reject\"\n";
        let mta = "[class.mta-only]\n";
        assert!(strict.contains(mta));
        match self {
            Self::Resets => {
                let golden = support::text("pcaps/golden.toml").replace("[policy]\n", "[policy]\ndeny = \"reject\"\n");
                golden.replace(mta, "[class.mta-only]\ndeny = \"drop\"\n")
            }
            Self::Icmp => strict.replace("[policy]\n", from),
            Self::Mail => support::text("pcaps/golden.toml"),
            Self::Excepted => {
                let relay = |name, vm, more| format!("[[policy.relay]]\nname = \"{name}\"\nvm = \"{vm}\"\n{more}\n\n");
                let relays = relay("tenants", "tenants-mail", "tenant = true\nports = [25, 465]")
                    + &relay("nobody's", "not-there", "ports = [587]")
                    + &relay("web1's", "web1", "ports = [587]");
                support::text("pcaps/golden.toml").replace(mta, &(relays + mta))
            }
            Self::Observe => strict.replace(level, "identity = \"observe\""),
            Self::Strict => strict,
            Self::SomeGuards => strict.replace(level, "identity = \"strict\"\nguards = [\"nd\", \"arp\"]"),
        }
    }
}

impl Level {
    /// The VM lines that are judged by, under `tests/`.
    fn vms(self) -> &'static str {
        match self {
            Self::Excepted => "pcaps/excepted-vms.jsonl",
            _ => "pcaps/golden-vms.jsonl",
        }
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Has both captures judged by `judge.py` and by the box.
fn judge(level: Level, inside: &Path, outside: &Path) {
    let name = format!("{level:?}-{}.toml", inside.file_stem().unwrap().display());
    let (config, vms) = (Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), support::path(level.vms()));
    std::fs::write(&config, level.config()).unwrap();
    let json = run(Command::new(PYTHON)
        .arg(support::path("peers/judge.py"))
        .args(["--rulings", "--at", NOW])
        .args([Path::new("--vms"), &vms, Path::new("--config"), &config])
        .args([Path::new("--inside"), inside, Path::new("--outside"), outside]));
    let report: Report = serde_json::from_slice(&json).expect("judge.py prints its report as JSON");
    let world = World::read(&level.config(), &support::text(level.vms()));

    let (mut differences, mut answers) = (Vec::new(), 0);
    for (direction, capture, side) in
        [(Direction::Egress, inside, &report.inside), (Direction::Ingress, outside, &report.outside)]
    {
        let frames = support::read_pcap(capture);
        assert!(!frames.is_empty() && frames.len() == side.rulings.len(), "{}", capture.display());
        let labels = labels(capture);
        for (at, (frame, theirs)) in frames.iter().zip(&side.rulings).enumerate() {
            let told = (direction == Direction::Egress).then(|| told(&world, frame)).flatten();
            let theirs_told = side.replies[at].clone().filter(|_| direction == Direction::Egress);
            if told != theirs_told {
                differences.push(format!("frame {}: box answers {told:?}\n judge {theirs_told:?}", at + 1));
            }
            answers += usize::from(told.is_some());
            let ours = ours(&world, direction, frame);
            if ours != *theirs {
                let label = labels.get(at).map_or("", String::as_str);
                let (file, number) = (capture.file_name().unwrap().display(), at + 1);
                let hex: String = frame.iter().take(200).map(|byte| format!("{byte:02x}")).collect();
                differences
                    .push(format!("{file} frame {number} ({label})\n box   {ours:?}\n judge {theirs:?}\n {hex}"));
            }
        }
    }
    let shown = differences.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{level:?}: {} frames are ruled differently:\n{shown}", differences.len());
    assert_eq!(answers > 10, matches!(level, Level::Resets | Level::Icmp), "{level:?}: {answers} answers");
    all_together(&world, Direction::Egress, &support::read_pcap(inside), &report.inside, &report);
    all_together(&world, Direction::Ingress, &support::read_pcap(outside), &report.outside, &report);
}

/// The lines beside a capture that say what its frames are.
fn labels(capture: &Path) -> Vec<String> {
    let path: PathBuf = capture.with_extension("labels");
    std::fs::read_to_string(path).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

/// What the sender of one frame hears.
fn told(world: &World, frame: &[u8]) -> Option<String> {
    let run = world.replies([Frame::from(frame)]);
    run.replied.first().map(|reply| reply.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn ours(world: &World, direction: Direction, frame: &[u8]) -> Ruling {
    let answer = world.answer(direction, frame);
    let drop = match answer.verdict {
        Verdict::Forward | Verdict::WouldDrop(_) => None,
        Verdict::Drop(reason) => Some(reason.name().to_owned()),
    };
    let (vm, tally) = answer.tally.map(|(vm, tally): (String, Tally)| (vm, tally.name().to_owned())).unzip();
    let observed = answer.observed.iter().map(|observed| observed.name().to_owned()).collect();
    Ruling { drop, vm, tally, observed }
}

/// The whole capture through one worker: exactly the frames that the judge forwards, unchanged and in order, and the
/// judge's counters.
fn all_together(world: &World, direction: Direction, frames: &[Vec<u8>], side: &Side, report: &Report) {
    // Segments of 100 bytes: most headers lie in two.
    let segmented = frames.iter().map(|frame| Frame::segmented(frame, 100));
    let run = world.run(direction, segmented, usize::MAX);
    let expected: Vec<_> = side.forward.iter().map(|number| &frames[number - 1]).collect();
    for (at, (sent, expected)) in run.sent.iter().zip(&expected).enumerate() {
        assert_eq!(&sent, expected, "{} frame {} is not what left", direction.name(), side.forward[at]);
    }
    assert_eq!(run.sent.len(), expected.len(), "{}: frames forwarded", direction.name());
    assert_eq!((run.lane.rx, run.lane.tx), (side.rx, expected.len() as u64));

    let drops = DropReason::ALL.into_iter().map(|reason| (reason.name().to_owned(), run.lane.dropped(reason)));
    assert_eq!(drops.filter(|&(_, count)| count > 0).collect::<BTreeMap<_, _>>(), side.drops);
    let observed = Observed::ALL.into_iter().map(|observed| (observed.name().to_owned(), run.lane.seen(observed)));
    assert_eq!(observed.filter(|&(_, count)| count > 0).collect::<BTreeMap<_, _>>(), side.observed);

    let way = direction.name();
    assert_eq!(Counts::from(run.judged(None)), report.unknown[way], "unknown {way}");
    for (id, counts) in &report.vms {
        let (index, _) = world.registry.get(&id.parse().unwrap()).expect("the judge knows the VMs of the file");
        assert_eq!(Counts::from(run.judged(Some(index))), counts[way], "{id} {way}");
    }
}
