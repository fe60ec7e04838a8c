//! What is explained is what happens: a worker's verdict on every frame of every capture in the repository, and the words for it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use portcullis::capture;
use portcullis::model::{Direction, LinkIndex, Way};
use portcullis::policy::IdentityLevel::{Observe, Strict};
use portcullis::policy::Verdict;
use portcullis::testkit::{FrameBuilder, NOBODY, PEER, RELAY, VM_A, VM_B, VM_C, World, WorldBuilder, frame, world};
use portcullis::vm::connection::Connection;
use portcullis::vm::explanation::{Becomes, Explanation};
use portcullis::vm::record::VmId;

fn explain(world: &World, direction: Direction, bytes: &[u8]) -> Explanation {
    Explanation::of(&world.registry, Way { link: LinkIndex(0), direction }, bytes)
}

/// A worker and the explanation about the same frame. The rule that was named.
fn agree(world: &World, direction: Direction, bytes: &[u8]) -> u8 {
    let answer = world.answer(direction, bytes);
    let said = explain(world, direction, bytes);
    let (becomes, reason) = match answer.verdict {
        Verdict::Forward => (Becomes::Forwarded, None),
        Verdict::Drop(reason) => (Becomes::Dropped, Some(reason.name())),
        Verdict::WouldDrop(reason) => (Becomes::Watched, Some(reason.name())),
    };
    assert_eq!((said.verdict, said.reason.as_deref()), (becomes, reason), "{said:?}");
    let counted = answer.tally.as_ref().map(|(vm, tally)| (vm.as_str(), tally.name()));
    let unknown = said.tally.as_ref().map(|_| "unknown");
    let vm = said.vm.as_ref().map(VmId::as_str).or(unknown);
    assert_eq!(vm.zip(said.tally.as_deref()), counted, "{said:?}");
    assert!(!said.steps.is_empty() && said.steps.iter().all(|step| step.ends_with('.')), "{said:?}");
    assert_eq!(said.lift.is_some(), said.tally.is_some() && becomes != Becomes::Forwarded, "{said:?}");
    // What the rule says stands in the contract.
    let expected: &[u8] = match (said.reason.as_deref(), said.tally.as_deref()) {
        (Some("runt" | "scope_refused"), _) => &[1],
        (Some("arp_guard" | "nd_guard" | "ra_guard" | "dhcp_guard"), _) => &[2],
        (Some("port_closed"), _) => &[7],
        (Some("reply_closed"), _) => &[8],
        (Some(name), _) if name.starts_with("opaque_") => &[2, 7],
        (Some("spoof_ip" | "spoof_mac"), _) => &[2, 7, 8],
        (Some("missing_evidence"), _) => &[7, 8],
        (Some(other), _) => panic!("{other}"),
        (None, Some("excepted")) => &[6],
        (None, Some(_)) => &[9],
        (None, None) => &[3, 4],
    };
    assert!(expected.contains(&said.rule), "{said:?}");
    said.rule
}

/// Every capture under `tests/pcaps`, whatever its kind.
fn captures() -> Vec<PathBuf> {
    let folders = ["pcaps", "pcaps/kinds"].map(support::path);
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let is_capture = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(".pcap");
    let mut captures: Vec<PathBuf> = files.filter(is_capture).collect();
    captures.sort();
    captures
}

#[test]
fn every_frame_of_every_capture_is_explained_as_it_is_judged() {
    let [golden, strict] = ["golden", "strict"].map(|name| support::text(&format!("pcaps/{name}.toml")));
    let watched = golden.replace("[policy]\n", "[policy]\nmode = \"monitor\"\n");
    let one_way = golden.replace("[policy]\n", "[policy]\ndirections = [\"ingress\"]\n");
    let observing = strict.replace("identity = \"strict\"", "identity = \"observe\"");
    let vms = |name: &str| support::text(&format!("pcaps/{name}-vms.jsonl"));
    let worlds = [
        World::read(&golden, &vms("golden")),
        World::read(&golden, &vms("excepted")),
        World::read(&strict, &vms("golden")),
        World::read(&watched, &vms("golden")),
        World::read(&observing, &vms("golden")),
        World::read(&one_way, &vms("golden")),
    ];
    let (mut frames, mut rules) = (0, BTreeSet::new());
    for path in captures() {
        for (number, world) in worlds.iter().enumerate() {
            for direction in Direction::ALL {
                let mut visit = |bytes: &[u8]| {
                    frames += 1;
                    rules.insert(agree(world, direction, bytes));
                };
                let read = capture::read(&path, |captured| {
                    visit(captured.bytes);
                    true
                });
                // Some of the kinds are damaged on purpose; what came before that was explained.
                assert!(read.is_ok() || path.to_str().unwrap().contains("kinds"), "{}, world {number}", path.display());
            }
        }
    }
    assert!(frames > 50_000, "{frames}");
    assert_eq!(rules, (1..=9).filter(|rule| *rule != 5).collect(), "the fifth only says whose it is");
}

fn builder() -> WorldBuilder {
    world()
        .restricted_but(VM_A, r#"[{"name":"submission","ports":[587],"permanent":true}]"#)
        .unrestricted(VM_B)
        .monitored(VM_C)
        .relay(RELAY, &[465])
}

#[track_caller]
fn said(world: &World, direction: Direction, frame: FrameBuilder, rule: u8, words: &[&str]) -> Explanation {
    let said = explain(world, direction, &frame.bytes());
    let text: Vec<String> = said.sentences().collect();
    let text = text.join("\n");
    assert_eq!(said.rule, rule, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
    }
    said
}

#[test]
fn each_rule_has_its_words() {
    use Direction::{Egress, Ingress};
    let world = builder().refuse_the_rest().build();
    let mail = |vm| frame().from(vm).to(PEER).tcp(25);
    said(&world, Egress, mail(VM_A).cut(13), 1, &["Dropped as runt"]);
    said(&world, Egress, mail(VM_A).vlan(9), 1, &["scope_refused"]);
    said(&world, Egress, frame().from(VM_A).to(PEER).udp(53), 3, &["certainly not TCP"]);
    said(&world, Egress, frame().from(VM_A).to(PEER).udp(25), 3, &["udp_mail"]);
    said(&world, Egress, frame().from(VM_A).to(PEER).tcp(443), 4, &["neither a port that any class closes"]);
    said(&world, Egress, frame().from(VM_A).to(PEER).tcp(587), 6, &["exception submission of this VM"]);
    said(&world, Egress, frame().from(VM_A).to(RELAY).tcp(465), 6, &["relay relay-"]);
    said(&world, Egress, mail(VM_A), 7, &["vm-a has no public IPv4 address", "dropped as port_closed", "To lift: "]);
    said(&world, Egress, mail(VM_C), 7, &["only watched", "To lift: "]);
    said(&world, Egress, mail(VM_A.with_ips_of(VM_B)), 7, &["a contradiction", "spoof_ip"]);
    said(&world, Egress, mail(NOBODY), 7, &["no VM has this MAC or this address"]);
    said(&world, Ingress, frame().from(PEER).to(VM_A).tcp_from(25), 8, &["reply_closed"]);
    said(&world, Egress, mail(VM_B), 9, &["nothing that the frame needs is closed"]);
    let one_way = builder().directions(&[Ingress]).build();
    said(&one_way, Egress, mail(VM_A), 4, &["egress is not judged"]);
    for (level, becomes) in [(Strict, "dropped as arp_guard"), (Observe, "else dropped as arp_guard")] {
        let strict = builder().identity(level).build();
        said(&strict, Egress, frame().from(VM_A).arp(VM_A.mac, VM_B.ipv4, PEER.ipv4), 2, &[becomes, "no command can"]);
    }
}

#[test]
fn a_connection_is_the_frame_that_begins_it() {
    let world = builder().build();
    let judged = |json: &str, direction| {
        let connection: Connection = serde_json::from_str(json).unwrap();
        let bytes = connection.frame(&world.registry, direction).map_err(|error| error.to_string())?;
        Ok::<_, String>((explain(&world, direction, &bytes), bytes))
    };
    for (json, direction, like) in [
        (r#"{"vm":"vm-a","destination_port":25}"#, Direction::Egress, frame().from(VM_A).tcp(25)),
        (
            r#"{"vm":"vm-a","destination_port":587,"peer":"2001:db8::7"}"#,
            Direction::Egress,
            frame().from(VM_A).ipv6().tcp(587),
        ),
        (r#"{"vm":"vm-b","destination_port":25,"vlan":7}"#, Direction::Egress, frame().from(VM_B).vlan(7).tcp(25)),
        (r#"{"vm":"vm-a","destination_port":25,"protocol":"udp"}"#, Direction::Egress, frame().from(VM_A).udp(25)),
        (
            r#"{"vm":"vm-a","destination_port":9,"source_port":25}"#,
            Direction::Ingress,
            frame().from(PEER).to(VM_A).tcp_from(25),
        ),
        (
            r#"{"mac":"52:54:00:00:00:01","ip":"192.0.2.2","destination_port":25}"#,
            Direction::Egress,
            frame().from(VM_A.with_ips_of(VM_B)).tcp(25),
        ),
    ] {
        let (said, bytes) = judged(json, direction).unwrap();
        let like = explain(&world, direction, &like.bytes());
        assert_eq!(
            (said.verdict, said.reason, said.rule, said.vm),
            (like.verdict, like.reason, like.rule, like.vm),
            "{json}"
        );
        assert!(bytes.len() >= 42, "{json}");
    }
    for (json, words) in [
        (r#"{"vm":"nobody","destination_port":25}"#, "there is no VM nobody"),
        (r#"{"destination_port":25}"#, "no address"),
        (r#"{"vm":"vm-a","destination_port":25,"vlan":4095}"#, "4095"),
        (r#"{"vm":"vm-a","destination_port":25,"ip":"10.0.0.1","peer":"2001:db8::1"}"#, "two address families"),
    ] {
        let error = judged(json, Direction::Egress).unwrap_err();
        assert!(error.contains(words), "{json}: {error}");
    }
}
