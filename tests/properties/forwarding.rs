//! "A forwarded frame is byte-identical, in order", however it lies in memory, and every frame is accounted for.

use std::collections::HashMap;

use portcullis::model::Direction;
use portcullis::policy::{Decision, DropReason, Tally, Verdict};
use portcullis::port::memory::Frame;
use portcullis::telemetry::counters::VmCounts;
use portcullis::testkit::{NOBODY, PEER, RELAY, VM_A, VM_B, VM_C, VM_D, World, frame, world};
use proptest::prelude::*;

use super::{a_world, dress};

/// Frames of both VMs to ports that matter and that do not, dressed at random, some damaged.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let vm = prop::sample::select(&[VM_A, VM_B][..]);
    let port = prop::sample::select(&[25u16, 465, 587, 443, 80][..]);
    let data = prop::collection::vec(any::<u8>(), 0..1400);
    let dressed = (dress(3), vm, port, data)
        .prop_map(|(dress, vm, port, data)| dress.put_on(frame().from(vm).to(PEER).tcp(port).data(&data)).bytes());
    let cut = (dressed, prop::option::weighted(0.2, any::<prop::sample::Index>())).prop_map(|(mut bytes, cut)| {
        bytes.truncate(cut.map_or(usize::MAX, |cut| cut.index(bytes.len() + 1)));
        bytes
    });
    prop_oneof![9 => cut, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn is_forwarded(world: &World, direction: Direction, bytes: &[u8]) -> bool {
    world.decide(direction, bytes).verdict() == Verdict::Forward
}

/// Plain mail of whom and from where one likes: what a burst answers all at once.
fn plain_mail() -> impl Strategy<Value = Vec<u8>> {
    let station = || prop::sample::select(&[VM_A, VM_B, VM_C, VM_D, NOBODY][..]);
    let peer = prop::sample::select(&[PEER, RELAY][..]);
    let port = || prop::sample::select(&[25u16, 587, 443, 2000][..]);
    (station(), station(), any::<bool>(), peer, port(), port(), any::<[bool; 2]>()).prop_map(
        |(mac, ip, honest, peer, from, to, [ipv6, ingress])| {
            let vm = if honest { ip } else { ip.with_mac(mac.mac) };
            let mut frame = frame().from(vm).to(peer).tcp_ports(from, to);
            if ingress {
                frame = frame.reversed();
            }
            if ipv6 { frame.ipv6().bytes() } else { frame.bytes() }
        },
    )
}

proptest! {
    #[test]
    fn a_burst_is_judged_as_its_frames_are_one_by_one(
        frames in prop::collection::vec(plain_mail(), 0..200),
        relay in any::<bool>(),
        ingress in any::<bool>(),
    ) {
        let several = r#"{"id":"vm-d","macs":["52:54:00:00:00:04"],"ips":["192.0.2.128/25","192.0.2.4","192.0.2.44"]}"#;
        let mut world = world().restricted(VM_A).unrestricted(VM_B).monitored(VM_C).vm(several);
        if relay {
            world = world.relay(RELAY, &[587]);
        }
        let (world, direction) = (world.build(), if ingress { Direction::Ingress } else { Direction::Egress });
        let run = world.run(direction, frames.iter().map(|bytes| Frame::from(bytes.as_slice())), usize::MAX);

        let (mut drops, mut tallies, mut sent) = (HashMap::new(), HashMap::new(), Vec::new());
        for bytes in &frames {
            let decision = world.decide(direction, bytes);
            match decision.verdict() {
                Verdict::Forward | Verdict::WouldDrop(_) => sent.push(bytes.clone()),
                Verdict::Drop(reason) => *drops.entry(reason).or_insert(0) += 1,
            }
            if let Decision::Judged(judgement) = decision {
                *tallies.entry((judgement.identity.vm, judgement.tally)).or_insert(0) += 1;
            }
        }
        prop_assert_eq!(&run.sent, &sent);
        for reason in DropReason::ALL {
            prop_assert_eq!(run.lane.dropped(reason), drops.get(&reason).copied().unwrap_or(0), "{:?}", reason);
        }
        for vm in world.registry.iter_after(None).map(|(vm, _)| Some(vm)).chain([None]) {
            let of = |tally| tallies.get(&(vm, tally)).copied().unwrap_or(0);
            let expected = VmCounts {
                allowed: of(Tally::Allowed),
                denied: of(Tally::Denied),
                excepted: of(Tally::Excepted),
                would_deny: of(Tally::WouldDeny),
            };
            prop_assert_eq!(run.judged(vm), expected, "{:?}", vm);
        }
    }

    #[test]
    fn a_frame_cut_into_segments_at_every_point_gets_the_decision_of_the_whole_one(
        bytes in any_frame(),
        ingress in any::<bool>(),
    ) {
        let world = a_world();
        let direction = if ingress { Direction::Ingress } else { Direction::Egress };
        let whole = world.answer(direction, &bytes);
        // Behind the head nothing is read; the cuts there are tried now and then.
        for segment_bytes in (1..bytes.len().min(520)).chain([600, 1000]) {
            let run = world.run(direction, [Frame::segmented(&bytes, segment_bytes)], usize::MAX);
            match whole.verdict {
                Verdict::Forward | Verdict::WouldDrop(_) => prop_assert_eq!(run.sent.as_slice(), std::slice::from_ref(&bytes), "segments of {}", segment_bytes),
                Verdict::Drop(reason) => {
                    prop_assert_eq!(run.lane.dropped(reason), 1, "segments of {}", segment_bytes);
                }
            }
        }
    }

    #[test]
    fn what_is_forwarded_is_identical_and_in_order_and_every_frame_is_accounted_for(
        frames in prop::collection::vec((any_frame(), 1..300usize), 0..200),
        capacity in prop_oneof![Just(usize::MAX), 0..200usize],
        ingress in any::<bool>(),
    ) {
        let world = a_world();
        let direction = if ingress { Direction::Ingress } else { Direction::Egress };
        let allowed: Vec<_> =
            frames.iter().map(|(bytes, _)| bytes).filter(|bytes| is_forwarded(&world, direction, bytes)).cloned().collect();
        let segmented = frames.iter().map(|(bytes, segment_bytes)| Frame::segmented(bytes, *segment_bytes));
        // `run` asserts the balance after every burst.
        let run = world.run(direction, segmented, capacity);

        let sent = allowed.len().min(capacity);
        prop_assert_eq!(&run.sent, &allowed[..sent]);
        prop_assert_eq!(run.lane.rx, frames.len() as u64);
        prop_assert_eq!(run.lane.dropped(DropReason::TxFull), (allowed.len() - sent) as u64);
        let judged_drops: u64 =
            DropReason::ALL.into_iter().filter(|&r| r != DropReason::TxFull).map(|r| run.lane.dropped(r)).sum();
        prop_assert_eq!(judged_drops, (frames.len() - allowed.len()) as u64);
    }
}

#[test]
fn every_length_is_forwarded_unchanged_both_ways() {
    // 14 to 9216 bytes, each once.
    let world = a_world();
    let frames: Vec<Vec<u8>> = (14..=9216usize)
        .map(|length| {
            let mut bytes = frame().from(VM_A).to(PEER).tcp(443).bytes();
            bytes.extend((bytes.len()..length).map(|at| u8::try_from(at * 7 % 251).unwrap()));
            bytes.truncate(length);
            if length < 54 {
                bytes[12..14].copy_from_slice(&[0x88, 0xcc]); // too short for TCP: LLDP, then
            }
            bytes
        })
        .collect();
    for direction in Direction::ALL {
        let segmented = frames.iter().map(|bytes| Frame::segmented(bytes, 2048));
        let run = world.run(direction, segmented, usize::MAX);
        assert!(run.sent == frames, "{}: altered, lost or out of order", direction.name());
    }
}
