//! "Exceptions": what a single VM may do though its class closes it.

use std::time::Duration;

use portcullis::model::Mode;
use portcullis::policy::DropReason::{OpaqueFragment, PortClosed, ReplyClosed, SpoofIp, SpoofMac};
use portcullis::policy::Observed;
use portcullis::testkit::{
    Answer, FrameBuilder, NOBODY, NOW, PEER, RELAY, ROUTER_MAC, Station, VM_A, VM_B, WorldBuilder, allowed, denied,
    excepted, frame, passes, world, would_deny,
};

use super::{both_families, each_way, this_family_each_way};

/// VM A may do what these say, as JSON.
fn a_world(exceptions: &str) -> WorldBuilder {
    world().restricted_but(VM_A, exceptions).restricted(VM_B)
}

const SUBMISSION: &str = r#"[{"name":"submission","ports":[587],"permanent":true}]"#;

fn to(port: u16) -> FrameBuilder {
    frame().from(VM_A).to(PEER).tcp(port)
}

#[test]
fn an_exception_opens_its_ports_for_its_vm_and_no_other() {
    let world = a_world(SUBMISSION).build();
    each_way(&world, to(587), &excepted(VM_A));
    each_way(&world, to(25), &denied(VM_A, PortClosed));
    each_way(&world, frame().from(VM_B).to(PEER).tcp(587), &denied(VM_B, PortClosed));
    each_way(&world, to(443), &passes());
}

#[test]
fn it_works_both_ways_so_answers_come_back() {
    let world = a_world(SUBMISSION).build();
    for answer in both_families(frame().from(PEER).to(VM_A).tcp_ports(587, 40000)) {
        assert_eq!(world.ingress(answer), excepted(VM_A));
    }
    for answer in both_families(frame().from(PEER).to(VM_A).tcp_ports(25, 40000)) {
        assert_eq!(world.ingress(answer), denied(VM_A, ReplyClosed));
    }
}

#[test]
fn each_closed_port_of_a_frame_must_be_opened() {
    // Else who sends from an excepted port could reach the others.
    let world = a_world(SUBMISSION).build();
    for (from, to, expected) in [
        (587, 25, denied(VM_A, PortClosed)),
        (25, 587, denied(VM_A, PortClosed)),
        (587, 587, excepted(VM_A)),
        (587, 40000, excepted(VM_A)),
        (40000, 587, excepted(VM_A)),
    ] {
        for frame in both_families(frame().from(PEER).to(VM_A).tcp_ports(from, to)) {
            assert_eq!(world.ingress(frame), expected, "{from} to {to}");
        }
    }
    // Several open together what none of them opens alone.
    let both = r#"[{"name":"a","ports":[587],"permanent":true},{"name":"b","ports":["20-30"],"permanent":true}]"#;
    for frame in both_families(frame().from(PEER).to(VM_A).tcp_ports(587, 25)) {
        assert_eq!(a_world(both).build().ingress(frame), excepted(VM_A));
    }
    // A relay opens its answers, an exception the VM's own port.
    let with_relay = a_world(SUBMISSION).relay(RELAY, &[25]).build();
    for frame in both_families(frame().from(RELAY).to(VM_A).tcp_ports(25, 587)) {
        assert_eq!(with_relay.ingress(frame), excepted(VM_A));
    }
}

#[test]
fn its_peer_is_the_other_end() {
    let exceptions = r#"[{"name":"v4","ports":[25],"peer":"198.51.100.0/28","permanent":true},
                         {"name":"v6","ports":[25],"peer":"2001:db8:ffff::7","permanent":true}]"#;
    let world = a_world(exceptions).build();
    each_way(&world, to(25), &excepted(VM_A));
    each_way(&world, frame().from(VM_A).to(RELAY).tcp(25), &denied(VM_A, PortClosed));
}

#[test]
fn a_class_in_it_leaves_closed_what_it_closes() {
    // "whatever a `class` does not close"
    let exceptions = r#"[{"name":"a","class":"mta-only","permanent":true}]"#;
    let world = a_world(exceptions).class("mta-only", &[25]).build();
    each_way(&world, to(25), &denied(VM_A, PortClosed));
    each_way(&world, to(465), &excepted(VM_A));
    each_way(&world, to(587), &excepted(VM_A));
}

#[test]
fn an_exception_opens_and_never_closes() {
    let world = world()
        .vm(r#"{"id":"vm-a","macs":["52:54:00:00:00:01"],"ips":["192.0.2.1","2001:db8::1"],"class":"unrestricted",
                "exceptions":[{"name":"a","class":"restricted","permanent":true}]}"#)
        .build();
    each_way(&world, to(25), &allowed(VM_A));
}

#[test]
fn an_opaque_frame_passes_if_the_class_in_it_closes_nothing_for_all_peers() {
    let opaque = || frame().from(VM_A).to(PEER).fragment(0, true).segment_bytes(8);
    for (exceptions, expected) in [
        (r#"[{"name":"a","class":"unrestricted","permanent":true}]"#, excepted(VM_A)),
        (r#"[{"name":"a","class":"mta-only","permanent":true}]"#, denied(VM_A, OpaqueFragment)),
        (r#"[{"name":"a","ports":["0-65535"],"permanent":true}]"#, denied(VM_A, OpaqueFragment)),
        (
            r#"[{"name":"a","class":"unrestricted","peer":"198.51.100.0/24","permanent":true}]"#,
            denied(VM_A, OpaqueFragment),
        ),
    ] {
        let world = a_world(exceptions).class("mta-only", &[25]).build();
        each_way(&world, opaque(), &expected);
    }
}

#[test]
fn it_is_over_at_its_end_by_the_clock_of_the_workers() {
    // Nobody but the worker looks at the time here: no control plane is at work.
    assert_eq!(NOW, "2026-12-01T10:00:00Z");
    let exceptions = r#"[{"name":"a","ports":[25],"until":"2026-12-01T12:00:00Z"}]"#;
    let world = a_world(exceptions).build();
    for (after, expected) in [(0, excepted(VM_A)), (7199, excepted(VM_A)), (1, denied(VM_A, PortClosed))] {
        world.wait(Duration::from_secs(after));
        each_way(&world, to(25), &expected);
    }
    each_way(&world, to(443), &passes());
}

#[test]
fn what_was_over_before_it_was_known_opens_nothing() {
    let exceptions = r#"[{"name":"a","ports":[25],"until":"2026-12-01T10:00:00Z"}]"#;
    each_way(&a_world(exceptions).build(), to(25), &denied(VM_A, PortClosed));
}

#[test]
fn it_needs_evidence_that_agrees() {
    // "a privilege of its VM": it takes what an exemption takes.
    let everything = r#"[{"name":"a","class":"unrestricted","permanent":true}]"#;
    let world = a_world(everything).via(ROUTER_MAC).build();
    for (vm, egress) in [
        (VM_A.with_ips_of(VM_B), denied(VM_A, SpoofIp)),
        (VM_B.with_ips_of(VM_A), denied(VM_B, SpoofIp)),
        (VM_A.with_ips_of(NOBODY), denied(VM_A, SpoofIp)),
        (VM_A.with_mac(NOBODY.mac), denied(VM_A, SpoofMac)),
        (VM_A.with_mac(ROUTER_MAC), excepted(VM_A)),
    ] {
        for frame in both_families(frame().from(vm).to(PEER).tcp(25)) {
            assert_eq!(world.egress(frame), egress, "{vm:?}");
        }
    }
    let link_local = Station { ipv6: "fe80::9".parse().unwrap(), ..VM_A };
    let answer = world.egress(frame().ipv6().from(link_local).to(PEER).tcp(25));
    assert_eq!(answer, denied(VM_A, PortClosed), "nothing confirms the address");
}

#[test]
fn it_does_not_apply_to_a_frame_that_goes_elsewhere_afterwards() {
    let world = a_world(SUBMISSION).build();
    let loose = to(587).options(&[131, 7, 4, 10, 0, 0, 1, 0]);
    assert_eq!(world.egress(loose), denied(VM_A, PortClosed));
    assert_eq!(world.egress(to(587).ipv6().routing(1)), denied(VM_A, PortClosed));
    this_family_each_way(&world, &to(587).ipv6().routing(0), &excepted(VM_A));
}

#[test]
fn what_it_does_not_cover_is_watched_or_denied_as_ever() {
    let line = |mode: Mode| {
        let mode = serde_json::to_string(&mode).unwrap();
        format!(
            r#"{{"id":"vm-a","macs":["{}"],"ips":["{}","{}"],"mode":{mode},"exceptions":{SUBMISSION}}}"#,
            VM_A.mac, VM_A.ipv4, VM_A.ipv6
        )
    };
    let watched = world().vm(&line(Mode::Monitor)).build();
    each_way(&watched, to(25), &would_deny(VM_A, PortClosed));
    each_way(&watched, to(587), &excepted(VM_A));
    let boxed = world().vm(&line(Mode::Enforce)).box_monitors().build();
    each_way(&boxed, to(587), &excepted(VM_A));
    let one_way = world().vm(&line(Mode::Enforce)).build();
    let answer: Answer = one_way.ingress(frame().from(PEER).to(VM_A).udp(587));
    assert_eq!(answer, passes().observing(Observed::UdpMail));
}
