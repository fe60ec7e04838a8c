//! What is said of dropped frames, and to whom they are told to belong.

use super::*;
use crate::model::{LinkIndex, MacAddr, VlanId, Way};
use crate::policy::DropReason;
use crate::telemetry::denials::Denial;
use crate::telemetry::drops::feed::{Feed, Head, Sample};

const MAIL: Denial =
    Denial { direction: Direction::Egress, watched: false, reason: DropReason::PortClosed, port: Some(25) };
const WATCHED: Denial = Denial { watched: true, port: Some(587), ..MAIL };

/// A box whose one worker tells of what it drops.
fn told() -> (State, Vec<Reader>, Vec<Arc<Block>>, Feed) {
    let (state, readers, blocks) = state();
    let (drops, mut feeds) = Drops::new(1);
    (state.with_drops(Arc::new(drops)), readers, blocks, feeds.remove(0))
}

/// A frame as the worker counts and tells of it.
fn deny(blocks: &[Arc<Block>], feed: &mut Feed, vm: Option<VmIndex>, kind: Denial, peer: u8) {
    let tally = if kind.watched { Tally::WouldDeny } else { Tally::Denied };
    blocks[0].add_judged(vm, kind.direction, tally);
    blocks[0].add_denied(vm, kind);
    feed.give(sample(vm, kind, peer));
}

fn sample(vm: Option<VmIndex>, kind: Denial, peer: u8) -> Sample {
    Sample {
        way: Way { link: LinkIndex(0), direction: kind.direction },
        reason: kind.reason,
        watched: kind.watched,
        judged: true,
        vm,
        mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
        vlan: VlanId(0),
        address: Some([10, 0, 0, 5].into()),
        peer: Some([192, 0, 2, peer].into()),
        ports: kind.port.map(|port| (40_000, port)),
        bytes: 74,
        head: Head::of(&[peer; 54]),
        frames: 1,
    }
}

fn index(state: &State, id: &str) -> VmIndex {
    state.registry().get(&id.parse().unwrap()).unwrap().0
}

#[test]
fn each_denial_is_told_of_and_counted_for_its_vm() {
    let (mut state, _readers, blocks, mut feed) = told();
    ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    ask(&mut state, "vm.set", &json!({"id": "web2", "ips": ["10.0.0.6"]})).unwrap();
    let [web1, web2] = ["web1", "web2"].map(|id| Some(index(&state, id)));
    for (vm, kind, peer) in [(web1, MAIL, 1), (web1, MAIL, 2), (web2, WATCHED, 3), (None, MAIL, 4), (None, WATCHED, 5)]
    {
        deny(&blocks, &mut feed, vm, kind, peer);
    }
    // Workers are added up.
    blocks[1].add_denied(web1, MAIL);

    let vm = ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap();
    assert_eq!(
        vm["denials"],
        json!([{"direction": "egress", "verdict": "dropped", "reason": "port_closed", "port": 25, "frames": 3}])
    );
    let last = ask(&mut state, "drop.list", &json!({"vm": "web1", "limit": 1})).unwrap();
    let mut drop = last["drops"][0].clone();
    assert!(drop["at"].as_str().unwrap().starts_with("20"), "{drop}");
    drop["at"] = Value::Null;
    assert_eq!(
        drop,
        json!({"number": 2, "at": null, "link": null, "direction": "egress", "verdict": "dropped",
               "reason": "port_closed", "vm": "web1", "mac": "02:00:00:00:00:01", "vlan": 0, "ip": "10.0.0.5",
               "peer": "192.0.2.2", "source_port": 40000, "destination_port": 25, "bytes": 74}),
        "no frame that nobody asked for"
    );
    let last = ask(&mut state, "drop.list", &json!({"vm": "web1", "limit": 1, "frames": true})).unwrap();
    let frame = &last["drops"][0]["frame"];
    assert_eq!(frame["head"], json!("02".repeat(54)));
    assert!(frame["at_ms"].as_u64().unwrap() > 1_700_000_000_000, "{frame}");
    for (params, numbers) in [
        (json!({}), &[5, 4, 3, 2, 1][..]),
        (json!({"limit": 2}), &[5, 4]),
        (json!({"after": 3}), &[5, 4]),
        (json!({"verdict": "watched"}), &[5, 3]),
        (json!({"vm": "web1"}), &[2, 1]),
        (json!({"vm": "web1", "after": 1}), &[2]),
        (json!({"mac": "02:00:00:00:00:01", "reason": "port_closed", "ip": "10.0.0.5"}), &[5, 4, 3, 2, 1]),
        (json!({"mac": "02:00:00:00:00:02"}), &[]),
        (json!({"ip": "10.0.0.6"}), &[]),
        (json!({"reason": "spoof_ip"}), &[]),
    ] {
        let answer = ask(&mut state, "drop.list", &params).unwrap();
        let listed: Vec<_> = answer["drops"].as_array().unwrap().iter().map(|drop| drop["number"].clone()).collect();
        assert_eq!(listed, numbers, "{params}");
        assert_eq!(answer["lost"], 0);
    }

    let watched = ask(&mut state, "would_drop.list", &json!({})).unwrap();
    let lines = watched["would_drop"].as_array().unwrap();
    let brief: Vec<_> =
        lines.iter().map(|line| (&line["vm"], &line["port"], &line["frames"], &line["peers"])).collect();
    let (none, one, port) = (Value::Null, json!(1), json!(587));
    assert_eq!(brief, [(&none, &port, &one, &none), (&json!("web2"), &port, &one, &one)]);
    assert_eq!((lines[0]["last"].is_null(), lines[1]["last"].is_string()), (true, true));
    let one = ask(&mut state, "would_drop.list", &json!({"limit": 1})).unwrap();
    assert_eq!((one["would_drop"].as_array().unwrap().len(), &one["more"]), (1, &json!(true)));

    let unknown = ask(&mut state, "unknown.list", &json!({})).unwrap();
    assert_eq!(unknown["denials"].as_array().unwrap().len(), 2);
    assert_eq!((&unknown["macs"][0]["who"], &unknown["macs"][0]["frames"]), (&json!("02:00:00:00:00:01"), &json!(2)));
    assert_eq!(
        (&unknown["ips"][0]["who"], &unknown["ips"][0]["last"]["peer"]),
        (&json!("10.0.0.5"), &json!("192.0.2.5"))
    );
}

#[test]
fn a_vm_that_was_denied_something_long_ago_is_told_of_it_beside_what_is_new() {
    let (mut state, _readers, blocks, mut feed) = told();
    for (id, ip) in [("web1", "10.0.0.5"), ("web2", "10.0.0.6")] {
        ask(&mut state, "vm.set", &json!({"id": id, "ips": [ip]})).unwrap();
    }
    let [web1, web2] = ["web1", "web2"].map(|id| Some(index(&state, id)));
    deny(&blocks, &mut feed, web1, MAIL, 1);
    for _ in 0..1_000 {
        deny(&blocks, &mut feed, web2, MAIL, 2);
    }
    deny(&blocks, &mut feed, web1, MAIL, 3);
    let mut numbers = |params: Value| {
        let answer = ask(&mut state, "drop.list", &params).unwrap();
        answer["drops"].as_array().unwrap().iter().map(|drop| drop["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(json!({"vm": "web1"})), [1_002, 1], "the first is no more among the last 1,000");
    assert_eq!(numbers(json!({"vm": "web1", "limit": 1})), [1_002]);
    assert_eq!(numbers(json!({"vm": "web1", "after": 1})), [1_002]);
    assert_eq!(numbers(json!({"vm": "web2", "limit": 1000})).len(), 999);
}

#[test]
fn what_is_watched_for_no_port_is_told_of_with_its_last() {
    let (mut state, _readers, blocks, mut feed) = told();
    ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    let web1 = Some(index(&state, "web1"));
    let spoof = Denial { reason: DropReason::SpoofIp, watched: true, port: None, ..MAIL };
    blocks[0].add_judged(web1, spoof.direction, Tally::WouldDeny);
    blocks[0].add_denied(web1, spoof);
    // The worker did not count the port of the segment; who looks at the sample sees it.
    feed.give(Sample { ports: Some((40_000, 443)), ..sample(web1, spoof, 1) });
    let watched = ask(&mut state, "would_drop.list", &json!({})).unwrap();
    let line = &watched["would_drop"][0];
    assert_eq!((&line["port"], &line["frames"], &line["peers"]), (&Value::Null, &json!(1), &json!(1)));
    assert!(line["last"].is_string(), "{line}");
}

#[test]
fn a_vm_that_has_the_number_of_another_has_none_of_its_past() {
    let (mut state, _readers, blocks, mut feed) = told();
    ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
    let number = index(&state, "web1");
    deny(&blocks, &mut feed, Some(number), WATCHED, 1);
    deny(&blocks, &mut feed, Some(number), MAIL, 2);
    ask(&mut state, "vm.delete", &json!({"id": "web1"})).unwrap();
    ask(&mut state, "vm.set", &json!({"id": "web2", "ips": ["10.0.0.5"]})).unwrap();
    assert_eq!(index(&state, "web2"), number, "what is tested");
    assert_eq!(ask(&mut state, "vm.get", &json!({"id": "web2"})).unwrap()["denials"], json!([]));
    for params in [json!({}), json!({"vm": "web2"})] {
        assert_eq!(ask(&mut state, "drop.list", &params).unwrap()["drops"], json!([]), "{params}");
    }
    assert_eq!(ask(&mut state, "would_drop.list", &json!({})).unwrap()["would_drop"], json!([]));
    deny(&blocks, &mut feed, Some(number), MAIL, 3);
    assert_eq!(ask(&mut state, "vm.get", &json!({"id": "web2"})).unwrap()["denials"][0]["frames"], 1);
    assert_eq!(ask(&mut state, "drop.list", &json!({"vm": "web2"})).unwrap()["drops"][0]["peer"], "192.0.2.3");
}

#[test]
fn a_mac_that_speaks_for_many_addresses_is_worth_a_hint_and_no_problem() {
    let (mut state, _readers, _blocks, mut feed) = told();
    let spoof = Denial { reason: DropReason::SpoofMac, ..MAIL };
    let mut give = |addresses: std::ops::Range<u8>| {
        for address in addresses {
            feed.give(Sample { address: Some([10, 0, 1, address].into()), ..sample(None, spoof, 1) });
        }
    };
    give(0..3);
    assert_eq!(ask(&mut state, "health", &json!({})).unwrap()["hints"], json!([]));
    give(3..40);
    let health = ask(&mut state, "health", &json!({})).unwrap();
    assert_eq!((&health["healthy"], &health["problems"]), (&json!(true), &json!([])));
    let hint = &health["hints"][0];
    assert_eq!((&hint["kind"], &hint["mac"]), (&json!("router_suspected"), &json!("02:00:00:00:00:01")));
    assert!((30..=50).contains(&hint["addresses"].as_u64().unwrap()), "{hint}");
    assert!(hint["message"].as_str().unwrap().contains("list it in `via`"), "{hint}");
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let (mut state, ..) = told();
    for (method, params, kind, words) in [
        ("drop.list", json!({"vm": "nobody"}), "not_found", "there is no VM nobody"),
        ("drop.list", json!({"reason": "spoof_mca"}), "invalid_params", "did you mean `spoof_mac`?"),
        ("drop.list", json!({"verdict": "forwarded"}), "invalid_params", "`dropped` or `watched`"),
        ("drop.list", json!({"limit": 0}), "invalid_params", "1 to 1000, not 0"),
        ("drop.list", json!({"limit": 1001}), "invalid_params", "1 to 1000, not 1001"),
        ("would_drop.list", json!({"limit": 1001}), "invalid_params", "1 to 1000, not 1001"),
        ("unknown.list", json!({"vm": "web1"}), "invalid_params", "vm"),
    ] {
        let error = ask(&mut state, method, &params).unwrap_err();
        assert_eq!(error["data"]["kind"], kind, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
}
