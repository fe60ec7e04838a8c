//! Mail ports, and only mail ports, whatever stands around the segment.

use portcullis::model::Direction;
use portcullis::policy::{Decision, Observed, Verdict};
use portcullis::testkit::{PEER, Station, VM_A, VM_B, frame};
use proptest::prelude::*;

use super::{a_world, dress};

const MAIL_PORTS: [u16; 3] = [25, 465, 587];

proptest! {
    #[test]
    fn mail_of_a_restricted_vm_is_dropped_in_every_dress(
        dress in dress(5),
        port in prop::sample::select(&MAIL_PORTS[..]),
        source in any::<u16>(),
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let smtp = dress.put_on(frame().from(VM_A).to(PEER).tcp_ports(source, port).data(&data));
        let world = a_world();
        for (direction, frame) in [(Direction::Egress, smtp.clone()), (Direction::Ingress, smtp.reversed())] {
            let answer = world.answer(direction, &frame.bytes());
            prop_assert!(matches!(answer.verdict, Verdict::Drop(_)), "{} {answer:?}", direction.name());
        }
    }

    #[test]
    fn answers_to_mail_of_a_restricted_vm_are_dropped_in_every_dress(
        dress in dress(5),
        port in prop::sample::select(&MAIL_PORTS[..]),
        destination in any::<u16>(),
    ) {
        let answer = dress.put_on(frame().from(PEER).to(VM_A).tcp_ports(port, destination));
        prop_assert!(matches!(a_world().ingress(&answer).verdict, Verdict::Drop(_)));
    }

    // Two tags at most: behind three the addresses cannot be read, and evidence is missing.
    #[test]
    fn the_same_frames_of_an_unrestricted_vm_are_forwarded(
        dress in dress(2),
        port in prop::sample::select(&MAIL_PORTS[..]),
        source in any::<u16>(),
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let smtp = dress.put_on(frame().from(VM_B).to(PEER).tcp_ports(source, port).data(&data));
        let world = a_world();
        for (direction, frame) in [(Direction::Egress, smtp.clone()), (Direction::Ingress, smtp.reversed())] {
            let answer = world.answer(direction, &frame.bytes());
            prop_assert_eq!(answer.verdict, Verdict::Forward, "{} {:?}", direction.name(), answer);
        }
    }
}

/// 65,536 ports x {TCP, UDP} x {IPv4, IPv6} x {restricted, unrestricted} x {egress, ingress} against the plain rule,
/// and every source port of ingress against rule 8.
#[test]
fn every_port_follows_the_plain_rule() {
    let world = a_world();
    let mut frames = 0;
    for (vm, restricted) in [(VM_A, true), (VM_B, false)] {
        for ipv6 in [false, true] {
            for (tcp, from_port) in [(true, false), (true, true), (false, false)] {
                for direction in Direction::ALL {
                    let template = template(vm, direction, ipv6, tcp);
                    let at = 14 + if ipv6 { 40 } else { 20 } + if from_port { 0 } else { 2 };
                    for port in 0..=u16::MAX {
                        let mut bytes = template.clone();
                        bytes[at..at + 2].copy_from_slice(&port.to_be_bytes());
                        let decision = world.decide(direction, &bytes);

                        let mail = MAIL_PORTS.contains(&port) && (!from_port || direction == Direction::Ingress);
                        let drops = tcp && mail && restricted;
                        assert_eq!(matches!(decision.verdict(), Verdict::Drop(_)), drops, "{port} {decision:?}");
                        let judged = matches!(decision, Decision::Judged(..));
                        assert_eq!(judged, tcp && mail, "{port} {decision:?}");
                        let udp_mail = matches!(decision, Decision::Settled(_, Some(Observed::UdpMail)));
                        assert_eq!(udp_mail, !tcp && mail, "{port} {decision:?}");
                        frames += 1;
                    }
                }
            }
        }
    }
    assert_eq!(frames, 65536 * 2 * 2 * 3 * 2);
}

fn template(vm: Station, direction: Direction, ipv6: bool, tcp: bool) -> Vec<u8> {
    let frame = frame().from(vm).to(PEER);
    let frame = if tcp { frame.tcp_ports(40000, 40000) } else { frame.udp_ports(40000, 40000) };
    let frame = if ipv6 { frame.ipv6() } else { frame };
    match direction {
        Direction::Egress => frame.bytes(),
        Direction::Ingress => frame.reversed().bytes(),
    }
}
