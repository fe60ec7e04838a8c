//! "To lift" must lift: what is printed of a denied frame is typed, through the command line's own grammar, and then exactly
//! that frame passes. Every denied frame of the golden captures, and worlds that they do not have.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use portcullis::cli;
use portcullis::model::{Direction, LinkIndex, Way};
use portcullis::policy::{Case, Decision, Tally, Verdict};
use portcullis::testkit::{FrameBuilder, NOBODY, PEER, Station, VM_A, VM_B, World, frame, world};
use portcullis::vm::edit::Edit;
use portcullis::vm::lift::{Lift, lift};

/// What the box would advise; nothing if the frame is not denied, or by no VM's class.
fn advice(world: &World, direction: Direction, bytes: &[u8]) -> Option<Lift> {
    let Decision::Judged(judgement) = world.decide(direction, bytes) else { return None };
    let Verdict::Drop(_) = judgement.verdict else { return None };
    let way = Way { link: LinkIndex(0), direction };
    let case = Case::find(world.snapshot(), way, bytes).unwrap();
    Some(lift(&world.registry, &case, &judgement))
}

/// Types a command.
fn apply(world: &mut World, command: &str) {
    let (method, mut params) = cli::call_of(command.split(' ')).unwrap_or_else(|error| panic!("{command}: {error}"));
    let edit = match method {
        "vm.set" => Edit::Set(serde_json::from_value(params).unwrap()),
        "vm.patch" => {
            let id = params.as_object_mut().unwrap().remove("id").unwrap();
            Edit::Patch(serde_json::from_value(id).unwrap(), serde_json::from_value(params).unwrap())
        }
        "exception.add" => {
            let vm = params.as_object_mut().unwrap().remove("vm").unwrap();
            Edit::except(serde_json::from_value(vm).unwrap(), serde_json::from_value(params).unwrap())
        }
        "vm.delete" => Edit::Delete(serde_json::from_value(params["id"].clone()).unwrap()),
        method => panic!("{method}"),
    };
    world.registry.apply([edit]).unwrap_or_else(|(_, error)| panic!("{command}: {error}"));
}

/// Takes the advice: the frame passes. What was printed.
#[track_caller]
fn lifted(read: impl Fn() -> World, direction: Direction, bytes: &[u8]) -> String {
    let mut world = read();
    let lift = advice(&world, direction, bytes).expect("it is denied");
    let said = lift.to_string();
    let Lift::Commands { commands, or_exception, .. } = lift else { return said };
    if let Some(command) = or_exception {
        assert!(said.contains(&format!("`{command}`")), "{said}");
        let mut world = read();
        // Until a time from now, while the world's time stands still.
        apply(&mut world, &command.replace("2h", "2099-01-01T00:00:00Z"));
        let decision = world.decide(direction, bytes);
        assert!(matches!(decision, Decision::Judged(judgement) if judgement.tally == Tally::Excepted), "{said}");
    }
    for command in &commands {
        assert!(said.contains(&format!("`{command}`")), "{said}");
        apply(&mut world, command);
    }
    let decision = world.decide(direction, bytes);
    assert_eq!(decision.verdict(), Verdict::Forward, "{said}: {decision:?}");
    said
}

#[test]
fn every_denied_golden_frame_passes_after_what_is_advised() {
    let read = || World::read(&support::text("pcaps/golden.toml"), &support::text("pcaps/golden-vms.jsonl"));
    let world = read();
    let mut tried = BTreeSet::new();
    let mut nothing: BTreeMap<String, usize> = BTreeMap::new();
    for (name, direction) in [("inside", Direction::Egress), ("outside", Direction::Ingress)] {
        for bytes in support::read_pcap(&support::path(&format!("pcaps/golden-{name}.pcap"))) {
            let Some(advice) = advice(&world, direction, &bytes) else { continue };
            match &advice {
                Lift::Nothing { because } => *nothing.entry(because.to_string()).or_default() += 1,
                Lift::Commands { .. } if !tried.insert((direction == Direction::Egress, advice.to_string())) => {}
                Lift::Commands { .. } => _ = lifted(read, direction, &bytes),
            }
        }
    }
    assert!(tried.len() > 30, "{tried:#?}");
    // What cannot be lifted is what nobody could vouch for.
    let reasons: Vec<&str> = nothing.keys().map(String::as_str).collect();
    let expected = [
        "since it shows neither a MAC nor an address that a VM can have",
        "since its MAC is a router's of another link or VLAN (`via`)",
        "since its MAC is no station's",
        "since its addresses cannot be read, so nothing confirms them",
        "since no VM can have that address",
    ];
    assert_eq!(reasons, expected, "{nothing:#?}");
}

fn mail() -> FrameBuilder {
    frame().from(VM_A).to(PEER).tcp(25)
}

#[test]
fn the_other_family_is_added_and_what_was_listed_stays() {
    let line = format!(r#"{{"id":"a","macs":["{}"],"ips":["{}"],"public_ipv4":"203.0.113.77"}}"#, VM_A.mac, VM_A.ipv4);
    let said = lifted(|| world().vm(&line).build(), Direction::Egress, &mail().ipv6().bytes());
    assert_eq!(said, format!("To lift, if this is not forged: `portcullis vm patch a --add-ip {}`.", VM_A.ipv6));
}

#[test]
fn an_override_on_a_vm_with_a_public_address_is_ended() {
    let line = format!(r#"{{"id":"a","macs":["{}"],"public_ipv4":"{}","class":"restricted"}}"#, VM_A.mac, VM_A.ipv4);
    let said = lifted(|| world().vm(&line).build(), Direction::Egress, &mail().bytes());
    let peer = PEER.ipv4;
    let except = format!("portcullis exception add a --ports 25 --peer {peer} --until 2h --name NAME");
    let expected =
        format!("To lift: `portcullis vm patch a --no-class`; for a time, and towards this peer: `{except}`.");
    assert_eq!(said, expected);
}

#[test]
fn a_restricted_vm_gets_a_class_or_an_address() {
    let said = lifted(|| world().restricted(VM_A).build(), Direction::Egress, &mail().bytes());
    let id = VM_A.id;
    let expected = format!(
        "To lift: `portcullis vm patch {id} --class unrestricted`, or give it its public address (--public-ipv4 ADDRESS); for \
         a time, and towards this peer: `portcullis exception add {id} --ports 25 --peer {peer} --until 2h --name NAME`.",
        peer = PEER.ipv4
    );
    assert_eq!(said, expected);
}

#[test]
fn an_address_of_another_vm_is_taken_from_it_first() {
    let spoofed = frame().from(Station { ipv4: VM_B.ipv4, ..VM_A }).to(PEER).tcp(25).bytes();
    let said = lifted(|| world().unrestricted(VM_A).restricted(VM_B).build(), Direction::Egress, &spoofed);
    let (a, b, ip) = (VM_A.id, VM_B.id, VM_B.ipv4);
    let commands = format!("`portcullis vm patch {b} --del-ip {ip}`, then `portcullis vm patch {a} --add-ip {ip}`.");
    assert_eq!(said, format!("To lift, if this is not forged: {commands}"));

    // One that has nothing else is gone, and one that has it by a prefix keeps that.
    let only = format!(r#"{{"id":"b","ips":["{ip}"]}}"#);
    let said = lifted(|| world().unrestricted(VM_A).vm(&only).build(), Direction::Egress, &spoofed);
    assert!(said.contains("`portcullis vm delete b`, then "), "{said}");
    let wide = format!(r#"{{"id":"b","ips":["{}/24"]}}"#, std::net::Ipv4Addr::from(u32::from(ip) & !0xff));
    let said = lifted(|| world().unrestricted(VM_A).vm(&wide).build(), Direction::Egress, &spoofed);
    assert!(!said.contains("del-ip") && !said.contains("delete"), "{said}");
}

#[test]
fn a_mac_that_a_vm_does_not_list_is_added() {
    let foreign = frame().from(Station { mac: NOBODY.mac, ..VM_A }).to(PEER).tcp(25).bytes();
    let said = lifted(|| world().restricted(VM_A).build(), Direction::Egress, &foreign);
    let (id, mac) = (VM_A.id, NOBODY.mac);
    let command = format!("`portcullis vm patch {id} --add-mac {mac} --class unrestricted`");
    assert_eq!(said, format!("To lift, if this is not forged: {command}."));
}

#[test]
fn what_nobody_answers_for_becomes_a_vm_of_its_scope() {
    let said = lifted(|| world().scope(100, 7).build(), Direction::Egress, &mail().vlan(100).bytes());
    let (mac, ip) = (VM_A.mac, VM_A.ipv4);
    let command = format!("`portcullis vm set NAME --mac {mac} --ip {ip} --scope 7 --class unrestricted`");
    assert_eq!(said, format!("To lift: {command}."));
    // Behind a router only the address tells a VM.
    let said = lifted(|| world().via(VM_A.mac).build(), Direction::Egress, &mail().bytes());
    assert_eq!(said, format!("To lift: `portcullis vm set NAME --ip {ip} --class unrestricted`."));
}
