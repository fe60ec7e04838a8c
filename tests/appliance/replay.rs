//! `portcullis replay`: captures through the real pipeline over `net_pcap`.

use std::path::Path;
use std::process::Command;

use portcullis::dataplane::{Pipeline, filter_burst};
use portcullis::model::{Direction, LinkIndex, Way};
use portcullis::policy::{DropReason, Observed};
use portcullis::port::memory::Frame;
use portcullis::telemetry::counters::{Block, BurstCounts, LaneCounts};
use portcullis::testkit::World;
use serde_json::{Value, json};

use crate::files::{self, PYTHON};
use crate::support::{Lab, assert_balance, helper, number, pcap};

/// A file of `tests/pcaps`.
fn kept(name: &str) -> String {
    files::path("pcaps").join(name).to_str().unwrap().to_owned()
}

/// A replay with `--json`, balanced, nothing left behind.
#[track_caller]
fn replay(lab: &Lab, args: &[&str]) -> Value {
    let stats = lab.run(&[&["replay", "--json"], args].concat()).json();
    assert_balance(&stats);
    lab.assert_no_run_dir();
    stats
}

/// The counters that are not zero.
fn counted(counters: &Value) -> Value {
    let counters = counters.as_object().unwrap();
    counters.iter().filter(|(_, count)| number(count) > 0).map(|(name, count)| (name.clone(), count.clone())).collect()
}

#[test]
fn the_demo_counts_what_the_readme_shows() {
    let lab = Lab::new();
    let [vms, inside, outside] = ["demo-vms.jsonl", "demo-inside.pcap", "demo-outside.pcap"].map(kept);
    let stats = replay(&lab, &["--vms", &vms, "--inside", &inside, "--outside", &outside]);
    let link = &stats["links"]["link0"];
    assert_eq!((&link["inside"]["rx"], &link["outside"]["tx"]), (&json!(64), &json!(41)));
    assert_eq!((&link["outside"]["rx"], &link["inside"]["tx"]), (&json!(31), &json!(27)));
    assert_eq!(
        counted(&stats["reasons"]["egress"]),
        json!({
            "port_closed": 15, "opaque_malformed": 1, "opaque_fragment": 3, "opaque_vlan_depth": 1, "spoof_ip": 2,
            "spoof_mac": 1,
        })
    );
    assert_eq!(counted(&stats["reasons"]["ingress"]), json!({ "port_closed": 2, "reply_closed": 2 }));
    assert_eq!(counted(&stats["observed"]["egress"]), json!({ "udp_mail": 1, "later_fragment": 1 }));
    assert_eq!(counted(&stats["observed"]["ingress"]), json!({}));
    let judged = |allowed, denied| json!({"allowed": allowed, "denied": denied, "excepted": 0, "would_deny": 0});
    assert_eq!(
        stats["vms"],
        json!({
            "mail1": { "egress": judged(11, 1), "ingress": judged(14, 0) },
            "web1": { "egress": judged(0, 21), "ingress": judged(0, 4) },
        })
    );
    assert_eq!(stats["unknown"], json!({ "egress": judged(0, 1), "ingress": judged(0, 0) }));
}

#[test]
fn the_document_has_the_documented_shape_and_every_name_in_it() {
    #[track_caller]
    fn assert_members(object: &Value, names: &[&str]) {
        let mut expected = names.to_vec();
        expected.sort_unstable();
        let mut found: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
    let lab = Lab::new();
    let [vms, inside] = ["demo-vms.jsonl", "demo-inside.pcap"].map(kept);
    let stats = replay(&lab, &["--vms", &vms, "--inside", &inside]);
    assert_members(
        &stats,
        &[
            "schema",
            "revision",
            "links",
            "reasons",
            "would_deny",
            "observed",
            "vms",
            "unknown",
            "log_lines_lost",
            "balanced",
        ],
    );
    assert_eq!((&stats["schema"], &stats["revision"]), (&json!(1), &json!(1)));
    assert_members(&stats["links"], &["link0"]);
    assert_members(&stats["links"]["link0"], &["inside", "outside"]);
    for side in ["inside", "outside"] {
        let counters = [
            "rx",
            "tx",
            "rx_missed",
            "rx_no_mbuf",
            "rx_errors",
            "tx_errors",
            "rx_too_long",
            "rx_tags_lost",
            "rx_tags_restored",
            "link",
            "rx_by_worker",
        ];
        assert_members(&stats["links"]["link0"][side], &counters);
    }
    assert_members(&stats["vms"], &["mail1", "web1"]);
    for way in ["egress", "ingress"] {
        assert_members(&stats["reasons"][way], &DropReason::ALL.map(DropReason::name));
        assert_members(&stats["would_deny"][way], &DropReason::ALL.map(DropReason::name));
        assert_members(&stats["observed"][way], &Observed::ALL.map(Observed::name));
        for judged in [&stats["vms"]["web1"][way], &stats["unknown"][way]] {
            assert_members(judged, &["allowed", "denied", "excepted", "would_deny"]);
        }
    }
}

#[test]
fn people_read_tables_and_a_worked_why_without_colours() {
    let lab = Lab::new();
    let [vms, inside, outside] = ["demo-vms.jsonl", "demo-inside.pcap", "demo-outside.pcap"].map(kept);
    let ended = lab.run(&["replay", "--vms", &vms, "--inside", &inside, "--outside", &outside]).done();
    assert!(!ended.stdout.contains('\x1b') && !ended.stderr.contains('\x1b'), "no terminal, no colours");
    assert_eq!(ended.stderr, "", "nothing is worth a warning");
    let (tables, why) = ended.stdout.split_once("\nWhy, for example, frame 33 of ").expect("the first judged drop");
    assert!(why.starts_with(&inside), "{why}");
    assert!(tables.contains("port_closed               15        2"), "{tables}");
    assert!(tables.contains("Every received frame was forwarded or counted under one reason."), "{tables}");
    let steps: Vec<&str> = why.lines().skip(1).map(|line| line.trim_start().split(':').next().unwrap()).collect();
    assert_eq!(steps, ["Frame", "Whose", "Class", "Verdict", "To lift"], "{why}");
    assert!(why.contains("`portcullis vm patch web1 --class unrestricted`") && why.contains("198.51.100.7"), "{why}");
}

#[test]
fn golden_captures_leave_as_the_independent_judge_expects() {
    let [inside, outside] = ["golden-inside.pcap", "golden-outside.pcap"].map(kept);
    as_the_judge_expects(&inside, Some(&outside));
}

#[test]
fn runts_are_dropped_and_the_frames_around_them_pass() {
    let stats = as_the_judge_expects(&kept("runts-inside.pcap"), None);
    let Some(stats) = stats else { return };
    assert_eq!(counted(&stats["reasons"]["egress"]), json!({ "runt": 14 }), "0 to 13 bytes");
}

#[test]
fn frames_of_every_size_to_9018_bytes_leave_byte_for_byte() {
    as_the_judge_expects(&kept("sizes-inside.pcap"), None);
}

#[test]
fn frames_of_14_to_9018_bytes_that_are_no_mail_all_pass_unchanged() {
    let lab = Lab::new();
    // An experimental type (IEEE 802, 88b5), so that no length is impossible.
    let frame = |length: usize| -> Vec<u8> {
        let head = [0x52, 0x54, 0, 0xee, 0xee, 1, 0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5];
        head.into_iter().chain((14..length).map(|at| u8::try_from((at * 7 + length) % 251).unwrap())).collect()
    };
    let lengths = (14..=1600).chain((1601..9018).step_by(97)).chain([2047, 2048, 2049, 4096, 9017, 9018]);
    let frames: Vec<Vec<u8>> = lengths.map(frame).collect();
    let (inside, out) = (lab.write("in.pcap", pcap(&frames)), lab.text("out.pcap"));
    replay(&lab, &["--inside", &inside, "--outside-out", &out]);
    assert_eq!(files::read_pcap(Path::new(&out)), frames);
}

/// Replays captures with the golden configuration, and has the judge say whether exactly the right frames left,
/// unchanged and in order. `None`: the judge is left out.
#[track_caller]
fn as_the_judge_expects(inside: &str, outside: Option<&str>) -> Option<Value> {
    if files::scapy_is_left_out() {
        return None;
    }
    let lab = Lab::new();
    let [config, vms] = ["golden.toml", "golden-vms.jsonl"].map(kept);
    let mut args = vec!["--config", &config, "--vms", &vms, "--inside", inside];
    let (left_outside, left_inside) = (lab.text("left-by-outside.pcap"), lab.text("left-by-inside.pcap"));
    args.extend(outside.iter().flat_map(|outside| ["--outside", outside]));
    let mut judge = Command::new(PYTHON);
    judge.arg(files::path("peers/judge.py")).arg("--json").args(&args).args(["--compare-outside", &left_outside]);
    let mut outs = vec!["--outside-out", &left_outside];
    if outside.is_some() {
        outs.extend(["--inside-out", &left_inside]);
        judge.args(["--compare-inside", &left_inside]);
    }
    let stats = replay(&lab, &[args, outs].concat());

    let said = helper(&mut judge);
    // The sentences about the comparisons, then the judge's own counters.
    let report: Value = serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap();
    for (way, side) in [("egress", "inside"), ("ingress", "outside")] {
        if report[side].is_object() {
            assert_eq!(counted(&stats["reasons"][way]), counted(&report[side]["drops"]), "{way}");
            assert_eq!(counted(&stats["observed"][way]), counted(&report[side]["observed"]), "{way}");
        }
    }
    assert_eq!((&stats["vms"], &stats["unknown"]), (&report["vms"], &report["unknown"]));
    Some(stats)
}

#[test]
fn a_capture_of_more_frames_than_there_are_packet_buffers_goes_through() {
    let lab = Lab::new();
    let (inside, vms, out) = (lab.text("in.pcap"), lab.text("vms.jsonl"), lab.text("out.pcap"));
    helper(
        Command::new(PYTHON)
            .arg(files::path("peers/bench_capture.py"))
            .args([&inside, &vms])
            .args(["--frames", "50000", "--vms", "50", "--size", "imix", "--mail-share", "0.2"])
            .args(["--unknown-share", "0.05", "--ipv6-share", "0.3"]),
    );
    let stats = replay(&lab, &["--vms", &vms, "--inside", &inside, "--outside-out", &out]);
    assert_eq!(stats["links"]["link0"]["inside"]["rx"], 50_000);

    let world = World::read("", &std::fs::read_to_string(vms).unwrap());
    let frames = files::read_pcap(Path::new(&inside));
    let expected = world.run(Direction::Egress, frames.iter().map(|frame| Frame::from(&frame[..])), usize::MAX);
    assert!(expected.lane.dropped(DropReason::PortClosed) > 1000 && expected.sent.len() > 40_000);
    assert!(files::read_pcap(Path::new(&out)) == expected.sent, "every other frame, unchanged and in order");
    let port_closed = &stats["reasons"]["egress"]["port_closed"];
    assert_eq!(number(port_closed), expected.lane.dropped(DropReason::PortClosed));
}

#[test]
fn a_capture_without_frames_is_replayed_and_remarked_upon() {
    let lab = Lab::new();
    for (name, content) in [("header-only.pcap", pcap(&[])), ("nothing.pcap", Vec::new())] {
        let (inside, out) = (lab.write(name, content), lab.text("out.pcap"));
        for args in [
            &["--inside", &inside] as &[&str],
            &["--outside", &inside],
            &["--inside", &inside, "--outside-out", &out, "--outside", &inside, "--inside-out", &lab.text("out2.pcap")],
        ] {
            let ended = lab.run(&[&["replay", "--json"], args].concat());
            assert!(ended.stderr.contains(name) && ended.stderr.contains("the capture is empty"), "{}", ended.stderr);
            let stats = ended.json();
            assert_balance(&stats);
            assert_eq!(stats["links"]["link0"]["inside"]["rx"], 0);
        }
        assert_eq!(files::read_pcap(Path::new(&out)).len(), 0, "a capture, though without frames");
    }
}

#[test]
fn one_side_alone_can_be_replayed() {
    let lab = Lab::new();
    let [vms, inside, outside] = ["demo-vms.jsonl", "demo-inside.pcap", "demo-outside.pcap"].map(kept);
    let (rx, tx) = (json!(64), json!(41));
    for more in [&[] as &[&str], &["--outside-out", &lab.text("out.pcap")]] {
        let stats = replay(&lab, &[&["--vms", &vms, "--inside", &inside], more].concat());
        let link = &stats["links"]["link0"];
        assert_eq!((&link["inside"]["rx"], &link["outside"]["tx"], &link["outside"]["rx"]), (&rx, &tx, &json!(0)));
    }
    let (rx, tx) = (json!(31), json!(27));
    for more in [&[] as &[&str], &["--inside-out", &lab.text("out.pcap")]] {
        let stats = replay(&lab, &[&["--vms", &vms, "--outside", &outside], more].concat());
        let link = &stats["links"]["link0"];
        assert_eq!((&link["outside"]["rx"], &link["inside"]["tx"], &link["inside"]["rx"]), (&rx, &tx, &json!(0)));
    }
}

#[test]
fn without_vms_everybody_is_unknown_and_restricted() {
    let lab = Lab::new();
    let stats = replay(&lab, &["--inside", &kept("demo-inside.pcap")]);
    assert_eq!(stats["vms"], json!({}));
    let unknown = &stats["unknown"]["egress"];
    assert_eq!((&unknown["allowed"], number(&unknown["denied"]) > 0), (&json!(0), true));
}

#[test]
fn pcapng_is_read_as_pcap_is() {
    let lab = Lab::new();
    let [vms, pcap] = ["demo-vms.jsonl", "demo-inside.pcap"].map(kept);
    let frames = files::read_pcap(Path::new(&pcap));
    let (pcapng, out) = (lab.write("in.pcapng", pcapng(&frames)), lab.text("out.pcap"));
    let stats = replay(&lab, &["--vms", &vms, "--inside", &pcapng, "--outside-out", &out]);
    let other = lab.text("other.pcap");
    assert_eq!(stats, replay(&lab, &["--vms", &vms, "--inside", &pcap, "--outside-out", &other]));
    assert_eq!(files::read_pcap(Path::new(&out)), files::read_pcap(Path::new(&other)));
}

/// Section header, one Ethernet interface, an enhanced packet block for each frame (draft-ietf-opsawg-pcapng).
fn pcapng(frames: &[Vec<u8>]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = u32::try_from(padded + 12).unwrap().to_le_bytes();
        let mut block = [&kind.to_le_bytes(), &length, body].concat();
        block.resize(padded + 8, 0);
        [&block[..], &length].concat()
    };
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let mut out = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    out.extend(block(1, &words(&[1, 0])));
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap();
        out.extend(block(6, &[words(&[0, 0, 0, length, length]), frame.clone()].concat()));
    }
    out
}

#[test]
fn a_replay_needs_no_privilege() {
    let lab = Lab::new();
    let folder = lab.open_folder();
    let [vms, inside] = ["demo-vms.jsonl", "demo-inside.pcap"].map(|name| {
        let copy = folder.join(name);
        std::fs::copy(kept(name), &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    });
    let out = folder.join("out.pcap");
    let mut command = lab.command_of_nobody(&["replay", "--json", "--vms", &vms, "--inside", &inside]);
    command.arg("--outside-out").arg(&out).env("RUNTIME_DIRECTORY", &folder);
    let stats = lab.finish(&mut command).json();
    assert_balance(&stats);
    assert_eq!(files::read_pcap(&out).len(), 41);
}

/// DPDK's EAL starts in this process, once: no other test here may start it.
#[test]
fn headers_that_lie_in_many_packet_buffers_are_judged_as_in_one() {
    const BUFFERS: u32 = 8191;
    let world = World::read(&files::text("pcaps/golden.toml"), &files::text("pcaps/golden-vms.jsonl"));
    let sides = [(Direction::Egress, "golden-inside.pcap"), (Direction::Ingress, "golden-outside.pcap")];
    // Bytes of a frame in the first buffer and in each further one: 14 ends behind the Ethernet header, 16 and 18
    // within and behind a tag, 34 and 54 behind the headers of IPv4 and IPv6, 36 and 38 within and behind ports.
    let rooms = [14, 16, 17, 18, 20, 34, 36, 37, 38, 54, 56, 58, 64, 100, 2048];

    let lab = Lab::new();
    let mut args = ["test", "--no-huge", "--no-pci", "--no-telemetry", "-m", "512", "--lcores", "0@0"].to_vec();
    let prefix = format!("--file-prefix=lab-{}", std::process::id());
    args.push(&prefix);
    let devices: Vec<String> = (0..rooms.len() * sides.len())
        .map(|at| format!("--vdev=net_pcap{at},rx_pcap={}", kept(sides[at % sides.len()].1)))
        .collect();
    let args: Vec<String> = args.into_iter().map(str::to_owned).chain(devices).collect();
    let eal = dpdk::Eal::init(&args).unwrap();
    let _run_dir = RunDir(eal.runtime_dir());

    for (at, room) in rooms.into_iter().enumerate() {
        let pool = dpdk::Mempool::new(&eal, &format!("room-{room}"), BUFFERS, 0, room).unwrap();
        for (side, (direction, capture)) in sides.into_iter().enumerate() {
            let way = Way { link: LinkIndex(0), direction };
            let frames = files::read_pcap(&files::path("pcaps").join(capture));
            let expected = world.run(direction, frames.iter().map(|frame| Frame::from(&frame[..])), usize::MAX);

            let id = eal.port_by_name(&format!("net_pcap{}", at * sides.len() + side)).unwrap();
            let config = dpdk::PortConfig { queues: 1, mtu: 1500, tag_room: 0, rx_descriptors: 64, tx_descriptors: 64 };
            let (port, mut queues) = dpdk::Port::configure(&eal, id, &config, &pool).unwrap().start().unwrap();
            let mut burst = dpdk::Burst::with_limit(&eal, 32);
            let (block, mut counts, mut pipeline) =
                (Block::new(1, 64), BurstCounts::default(), Pipeline::<(), ()>::default());
            let mut replies = dpdk::Burst::with_limit(&eal, 32);
            let (mut received, mut kept) = (0, Vec::new());
            while received < frames.len() {
                received += queues[0].0.receive(&mut burst);
                filter_burst(&mut pipeline, world.snapshot(), way, &mut burst, &mut replies, &mut counts, &block);
                for index in 0..burst.len() {
                    let mut bytes = vec![0; burst.length(index)];
                    assert_eq!(burst.gather(index, &mut bytes), bytes.len());
                    assert!(burst.head(index).len() <= usize::from(room), "the first buffer holds no more");
                    kept.push(bytes);
                }
                burst.clear();
            }
            counts.received(received as u64);
            counts.sent(kept.len() as u64);
            block.add_burst(way, &mut counts);
            let lane = block.lane(way);
            for (number, (kept, expected)) in kept.iter().zip(&expected.sent).enumerate() {
                assert_eq!(kept, expected, "{capture} in buffers of {room} bytes: kept frame {}", number + 1);
            }
            assert_eq!(kept.len(), expected.sent.len(), "{capture} in buffers of {room} bytes");
            assert_eq!(said(&lane), said(&expected.lane), "{capture} in buffers of {room} bytes");
            assert!(lane.is_balanced() && lane.rx == frames.len() as u64);
            port.close(queues).unwrap();
        }
        assert_eq!(pool.in_use(), 0, "every buffer is given back");
    }
    drop(lab);
}

/// What a lane counted, by name.
fn said(lane: &LaneCounts) -> Vec<(&'static str, u64)> {
    let drops = DropReason::ALL.into_iter().map(|reason| (reason.name(), lane.dropped(reason)));
    drops.chain(Observed::ALL.into_iter().map(|observed| (observed.name(), lane.seen(observed)))).collect()
}

/// EAL's run directory, gone after the test.
struct RunDir(std::path::PathBuf);

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
