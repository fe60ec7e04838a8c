//! "In this order; the first that applies decides.": the rules, then monitor mode, directions, classes and counting.

use portcullis::model::Direction::{self, Egress, Ingress};
use portcullis::policy::DropReason::*;
use portcullis::policy::{Observed, Tally, Verdict};
use portcullis::port::memory::Frame;
use portcullis::testkit::{
    NOBODY, PEER, Station, VM_A, VM_B, VM_C, VM_D, World, allowed, denied, drops, frame, passes, world, would_deny,
};

use super::{MAIL_PORTS, both_directions, both_families, each_way};

fn a_world() -> World {
    world().restricted(VM_A).unrestricted(VM_B).build()
}

#[test]
fn a_restricted_vm_cannot_reach_mail_ports_and_cannot_be_reached_there() {
    for port in MAIL_PORTS {
        each_way(&a_world(), frame().from(VM_A).to(PEER).tcp(port), &denied(VM_A, PortClosed));
    }
}

#[test]
fn an_unrestricted_vm_can() {
    for port in MAIL_PORTS {
        each_way(&a_world(), frame().from(VM_B).to(PEER).tcp(port), &allowed(VM_B));
    }
}

#[test]
fn every_other_port_is_forwarded_without_looking_the_vm_up() {
    // Neighbours, swapped bytes (25 is 0x0019), 0 and 65535.
    for port in [0, 1, 24, 26, 80, 443, 464, 466, 586, 588, 2525, 0x1900, 0xd101, 0x4b02, 25 + 256, 65535] {
        for station in [VM_A, VM_B, NOBODY, VM_A.with_ips_of(VM_B)] {
            each_way(&a_world(), frame().from(station).to(PEER).tcp(port), &passes());
        }
    }
}

#[test]
fn tcp_flags_never_matter() {
    // "every segment is judged, so taking a permission away cuts running sessions at their next segment"
    for flags in 0..=255 {
        each_way(&a_world(), frame().from(VM_A).to(PEER).tcp(25).flags(flags), &denied(VM_A, PortClosed));
        let answer = frame().from(PEER).to(VM_A).tcp_from(25).flags(flags);
        for answer in both_families(answer) {
            assert_eq!(a_world().ingress(&answer), denied(VM_A, ReplyClosed), "flags {flags:#04x}");
        }
    }
}

#[test]
fn what_comes_in_from_a_closed_port_is_an_answer_that_is_closed() {
    // "Rule 8 is against triangular spam"
    for port in MAIL_PORTS {
        for answer in both_families(frame().from(PEER).to(VM_A).tcp_from(port)) {
            assert_eq!(a_world().ingress(answer), denied(VM_A, ReplyClosed));
        }
        for answer in both_families(frame().from(PEER).to(VM_B).tcp_from(port)) {
            assert_eq!(a_world().ingress(answer), allowed(VM_B));
        }
        for answer in both_families(frame().from(PEER).to(NOBODY).tcp_from(port)) {
            assert_eq!(a_world().ingress(answer), denied(NOBODY, ReplyClosed));
        }
    }
}

#[test]
fn what_leaves_from_a_closed_port_passes() {
    // "Relevant is the destination port and, on ingress, the source port too."
    for port in MAIL_PORTS {
        for frame in both_families(frame().from(VM_A).to(PEER).tcp_from(port)) {
            assert_eq!(a_world().egress(frame), passes());
        }
    }
}

#[test]
fn the_destination_is_asked_before_the_source() {
    for frame in both_families(frame().from(PEER).to(VM_A).tcp_ports(465, 587)) {
        assert_eq!(a_world().ingress(frame), denied(VM_A, PortClosed));
    }
}

#[test]
fn on_ingress_a_contradiction_closes_the_answer_too() {
    for answer in both_families(frame().from(PEER).to(VM_B.with_ips_of(VM_A)).tcp_from(25)) {
        assert_eq!(a_world().ingress(answer), denied(VM_B, SpoofIp));
    }
}

#[test]
fn udp_to_mail_ports_passes_and_is_counted() {
    for port in MAIL_PORTS {
        for station in [VM_A, VM_B, NOBODY] {
            let udp = frame().from(station).to(PEER).udp(port);
            each_way(&a_world(), udp, &passes().observing(Observed::UdpMail));
        }
    }
    each_way(&a_world(), frame().from(VM_A).to(PEER).udp(53), &passes());
    each_way(&a_world(), frame().from(VM_A).to(PEER).udp_ports(25, 53), &passes());
}

#[test]
fn there_is_no_automatic_pass_for_private_destinations() {
    let neighbour = Station { ipv4: "10.0.0.9".parse().unwrap(), ipv6: "fd00::9".parse().unwrap(), ..PEER };
    each_way(&a_world(), frame().from(VM_A).to(neighbour).tcp(25), &denied(VM_A, PortClosed));
}

#[test]
fn a_runt_is_dropped_whatever_else_is_configured() {
    let everything_open =
        world().unrestricted(VM_B).unknown_class("unrestricted").box_monitors().directions(&[]).build();
    for direction in Direction::ALL {
        assert_eq!(everything_open.answer(direction, &frame().from(VM_B).cut(13).bytes()), drops(Runt));
    }
}

// Classes.

#[test]
fn a_class_of_its_own_closes_its_own_ports_and_no_others() {
    let world = world().class("mta-only", &[25]).class("games", &[2000, 2525]);
    let world = world.of_class(VM_A, "mta-only").of_class(VM_B, "games").restricted(VM_C).build();
    for (vm, closed) in [(VM_A, &[25][..]), (VM_B, &[2000, 2525]), (VM_C, &MAIL_PORTS)] {
        for port in [25, 465, 587, 2000, 2525] {
            let expected = if closed.contains(&port) { denied(vm, PortClosed) } else { allowed(vm) };
            each_way(&world, frame().from(vm).to(PEER).tcp(port), &expected);
        }
        each_way(&world, frame().from(vm).to(PEER).tcp(443), &passes());
    }
}

#[test]
fn the_ports_of_restricted_are_configured() {
    // "the configuration may change its ports"
    let world = world().class("restricted", &[25]).restricted(VM_A).build();
    each_way(&world, frame().from(VM_A).to(PEER).tcp(25), &denied(VM_A, PortClosed));
    each_way(&world, frame().from(VM_A).to(PEER).tcp(587), &passes());
}

#[test]
fn the_operators_class_overrides_the_public_address() {
    // "a record that names none means `unrestricted` if it holds a public IPv4 address, else `restricted`"
    let Station { id, mac, ipv4, ipv6 } = VM_A;
    let line = |more: &str| format!(r#"{{"id":"{id}","macs":["{mac}"],"ips":["{ipv6}","{ipv4}"]{more}}}"#);
    let public = format!(r#","public_ipv4":"{ipv4}""#);
    for (more, expected) in [
        (String::new(), denied(VM_A, PortClosed)),
        (public.clone(), allowed(VM_A)),
        (format!(r#"{public},"class":"restricted""#), denied(VM_A, PortClosed)),
        (r#","class":"unrestricted""#.to_owned(), allowed(VM_A)),
    ] {
        let world = world().vm(&line(&more)).build();
        each_way(&world, frame().from(VM_A).to(PEER).tcp(25), &expected);
    }
}

#[test]
fn an_opaque_frame_is_judged_as_if_it_went_to_a_mail_port() {
    // "an opaque frame is dropped (`opaque_*`) if anything at all is closed": 2525 will do.
    let world = world().class("games", &[2525]).class("nothing", &[]);
    let world = world.of_class(VM_A, "games").of_class(VM_B, "nothing").build();
    each_way(&world, frame().from(VM_A).to(PEER).fragment(1, true), &denied(VM_A, OpaqueFragment));
    each_way(&world, frame().from(VM_B).to(PEER).fragment(1, true), &allowed(VM_B));
}

// Monitor mode.

#[test]
fn a_monitored_vm_is_forwarded_and_counted() {
    let world = world().monitored(VM_A).restricted(VM_B).build();
    for port in MAIL_PORTS {
        each_way(&world, frame().from(VM_A).to(PEER).tcp(port), &would_deny(VM_A, PortClosed));
        each_way(&world, frame().from(VM_B).to(PEER).tcp(port), &denied(VM_B, PortClosed)); // "no other VM"
    }
    for answer in both_families(frame().from(PEER).to(VM_A).tcp_from(25)) {
        assert_eq!(world.ingress(answer), would_deny(VM_A, ReplyClosed));
    }
    each_way(&world, frame().from(VM_A).to(PEER).fragment(1, true), &would_deny(VM_A, OpaqueFragment)); // opaque too
    each_way(&world, frame().from(VM_A).to(PEER).tcp(443), &passes());
}

#[test]
fn a_monitored_class_is_forwarded_and_counted() {
    let world = world().monitored_class("watch", &[25]).of_class(VM_A, "watch").restricted(VM_B).build();
    each_way(&world, frame().from(VM_A).to(PEER).tcp(25), &would_deny(VM_A, PortClosed));
    each_way(&world, frame().from(VM_A).to(PEER).tcp(587), &allowed(VM_A)); // it closes 25 only
    each_way(&world, frame().from(VM_B).to(PEER).tcp(25), &denied(VM_B, PortClosed));
}

#[test]
fn the_unknown_may_be_watched_by_their_class() {
    let world = world().monitored_class("watch", &[25]).unknown_class("watch").build();
    each_way(&world, frame().from(NOBODY).to(PEER).tcp(25), &would_deny(NOBODY, PortClosed));
}

#[test]
fn a_monitored_vm_or_class_is_not_an_invitation_to_borrow_its_name() {
    // "On a VM or a class it applies only to frames without any finding"
    let world = world().monitored(VM_A).monitored_class("watch", &[25]).of_class(VM_B, "watch").restricted(VM_C);
    let world = world.unrestricted(VM_D).build();
    for watched in [VM_A, VM_B] {
        each_way(&world, frame().from(watched.with_ips_of(VM_C)).to(PEER).tcp(25), &denied(watched, SpoofIp));
        each_way(&world, frame().from(VM_C.with_ips_of(watched)).to(PEER).tcp(25), &denied(VM_C, SpoofIp));
        each_way(&world, frame().from(NOBODY.with_ips_of(watched)).to(PEER).tcp(25), &denied(watched, SpoofMac));
        let link_local = frame().ipv6().from(watched.with_ipv6("fe80::1".parse().unwrap())).to(PEER);
        // By its mode alone it would have passed: it is for want of evidence that it does not.
        assert_eq!(world.egress(link_local.tcp(25)), denied(watched, MissingEvidence));
    }
}

#[test]
fn the_boxs_monitor_mode_covers_contradictions_too() {
    let world = world().restricted(VM_A).unrestricted(VM_B).box_monitors().build();
    each_way(&world, frame().from(VM_A).to(PEER).tcp(25), &would_deny(VM_A, PortClosed));
    each_way(&world, frame().from(NOBODY).to(PEER).tcp(25), &would_deny(NOBODY, PortClosed));
    each_way(&world, frame().from(VM_B).to(PEER).tcp(25), &allowed(VM_B));
    let spoofed = frame().from(VM_A.with_ips_of(VM_B)).to(PEER).tcp(25);
    each_way(&world, spoofed, &would_deny(VM_A, SpoofIp).observing(Observed::SpoofIp));
    let spoofed = frame().from(NOBODY.with_ips_of(VM_B)).to(PEER).tcp(25);
    each_way(&world, spoofed, &would_deny(VM_B, SpoofMac).observing(Observed::SpoofMac));
    // "It never covers `runt`, `tx_full` and `shutdown`."
    assert_eq!(world.egress(frame().cut(13)), drops(Runt));
    let run = world.run(Egress, [Frame::from(&frame().tcp(443).bytes()[..])], 0);
    assert_eq!((run.sent.len(), run.lane.dropped(TxFull)), (0, 1));
}

// Directions.

#[test]
fn a_direction_that_is_not_judged_forwards_everything_but_runts() {
    for (judged, free) in [(Egress, Ingress), (Ingress, Egress)] {
        let world = world().restricted(VM_A).directions(&[judged]).build();
        for frame in both_families(frame().from(VM_A).to(PEER).tcp(25)) {
            for (direction, frame) in both_directions(&frame) {
                let expected = if direction == judged { denied(VM_A, PortClosed) } else { passes() };
                assert_eq!(world.answer(direction, &frame.bytes()), expected);
            }
        }
        let opaque = frame().from(VM_A).to(PEER).fragment(1, true);
        for (direction, frame) in both_directions(&opaque) {
            let expected = if direction == judged { denied(VM_A, OpaqueFragment) } else { passes() };
            assert_eq!(world.answer(direction, &frame.bytes()), expected);
        }
        assert_eq!(world.answer(free, &frame().cut(5).bytes()), drops(Runt));
        let udp = frame().udp(25).bytes();
        assert_eq!(world.answer(free, &udp), passes().observing(Observed::UdpMail)); // seen all the same
    }
}

// Counting.

#[test]
fn each_drop_has_one_reason_and_the_balance_holds() {
    let world = a_world();
    let frames = [
        frame().from(VM_A).tcp(25).bytes(),
        frame().from(VM_A).tcp(443).bytes(),
        frame().from(VM_A).fragment(1, true).bytes(),
        frame().from(VM_A).vlan(0).vlan(0).vlan(0).bytes(),
        frame().from(VM_A.with_ips_of(VM_B)).tcp(25).bytes(),
        frame().from(NOBODY.with_ips_of(VM_B)).tcp(25).bytes(),
        frame().from(VM_B).vlan(0).vlan(0).vlan(0).bytes(),
        frame().cut(13).bytes(),
        frame().from(VM_A).ipv6().extension(60, 264).bytes(),
        frame().from(VM_A).segment_bytes(1).bytes(),
        frame().from(VM_B).tcp(25).bytes(),
    ];
    let run = world.run(Egress, frames.iter().map(|frame| Frame::from(&frame[..])), usize::MAX);
    assert_eq!((run.lane.rx, run.lane.tx), (11, 2));
    for reason in [
        PortClosed,
        OpaqueFragment,
        OpaqueVlanDepth,
        SpoofIp,
        SpoofMac,
        MissingEvidence,
        Runt,
        OpaqueHeaderChain,
        OpaqueMalformed,
    ] {
        assert_eq!(run.lane.dropped(reason), 1, "{}", reason.name());
    }
    assert!(run.lane.is_balanced());
}

#[test]
fn per_vm_only_judged_frames_are_counted_per_direction() {
    let world = a_world();
    let (index, _) = world.registry.get(&VM_A.id.parse().unwrap()).unwrap();
    let frames = [25, 443, 587, 80, 25].map(|port| Frame::from(&frame().from(VM_A).tcp(port).bytes()[..]));
    let counts = world.run(Egress, frames, usize::MAX).judged(Some(index));
    assert_eq!((counts.denied, counts.allowed, counts.excepted, counts.would_deny), (3, 0, 0, 0));
    assert_eq!(world.ingress(frame().from(PEER).to(VM_A).tcp(443)).tally, None);
}

#[test]
fn a_full_queue_drops_what_was_allowed_and_says_so() {
    // The VM's frame was judged and allowed; that the queue then refused it is the lane's business.
    let world = a_world();
    let (index, _) = world.registry.get(&VM_B.id.parse().unwrap()).unwrap();
    let frames = (0..5).map(|_| Frame::from(&frame().from(VM_B).tcp(25).bytes()[..]));
    let run = world.run(Egress, frames, 2);
    assert_eq!((run.lane.rx, run.lane.tx, run.lane.dropped(TxFull)), (5, 2, 3));
    assert_eq!(run.judged(Some(index)).allowed, 5);
}

#[test]
fn an_answer_reads_as_it_should() {
    // The helpers of this file: a mistake there would make every row say nothing.
    let answer = a_world().egress(frame().from(VM_A).to(PEER).tcp(25));
    assert_eq!(answer.verdict, Verdict::Drop(PortClosed));
    assert_eq!(answer.tally, Some((VM_A.id.to_owned(), Tally::Denied)));
    assert_eq!(answer.observed, []);
    assert_ne!(answer, denied(VM_B, PortClosed));
    assert_ne!(answer, allowed(VM_A));
}
