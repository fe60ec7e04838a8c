//! "Strict": every frame that comes in by an inside port must be who it says it is.

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis::model::{Direction, MacAddr};
use portcullis::policy::DropReason::{self, *};
use portcullis::policy::{IdentityLevel, Observed};
use portcullis::testkit::{
    Answer, FrameBuilder, NOBODY, PEER, RELAY, ROUTER_MAC, Station, VM_A, VM_B, VM_C, VM_D, World, WorldBuilder,
    allowed, denied, drops, excepted, frame, passes, world, would_deny,
};

use super::{MAIL_PORTS, both_families};

/// Restricted.
pub(super) const A: Station = VM_A;
/// Unrestricted, and has a second MAC.
pub(super) const B: Station = VM_B;
pub(super) const SECOND_MAC_OF_B: MacAddr = MacAddr([0x52, 0x54, 0, 0, 1, 2]);
/// Lists no IPv6 address.
pub(super) const ONLY_IPV4: Station = VM_C;
/// Known by MAC alone.
pub(super) const MAC_ONLY: Station = VM_D;
/// Known by addresses alone.
pub(super) const IP_ONLY: Station = Station::vm("ip-only", 6);

pub(super) const ROUTER: Station = NOBODY.with_mac(ROUTER_MAC);
pub(super) const UNSPECIFIED: Station = Station { ipv4: Ipv4Addr::UNSPECIFIED, ipv6: Ipv6Addr::UNSPECIFIED, ..A };
pub(super) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

pub(super) fn a_world() -> WorldBuilder {
    let Station { id, mac, ipv4, ipv6 } = B;
    let b = format!(r#"{{"id":"{id}","macs":["{mac}","{SECOND_MAC_OF_B}"],"ips":["{ipv6}"],"public_ipv4":"{ipv4}"}}"#);
    let Station { id, mac, ipv4, .. } = ONLY_IPV4;
    let only_ipv4 = format!(r#"{{"id":"{id}","macs":["{mac}"],"ips":["{ipv4}"]}}"#);
    let mac_only = format!(r#"{{"id":"{}","macs":["{}"]}}"#, MAC_ONLY.id, MAC_ONLY.mac);
    let Station { id, ipv4, ipv6, .. } = IP_ONLY;
    let ip_only = format!(r#"{{"id":"{id}","ips":["{ipv4}","{ipv6}"]}}"#);
    world().restricted(A).vm(&b).vm(&only_ipv4).vm(&mac_only).vm(&ip_only).via(ROUTER_MAC)
}

pub(super) fn strict() -> World {
    a_world().identity(IdentityLevel::Strict).build()
}

/// The same frame at every level: dropped for this reason at `strict`, counted at `observe`, and let alone at `mail`, on
/// ingress, and where the box is in monitor mode.
#[track_caller]
pub(super) fn only_strict_drops(frame: &FrameBuilder, counted_for: Station, reason: DropReason, beside: &[Observed]) {
    assert_eq!(strict().egress(frame), denied(counted_for, reason), "{frame:?}");
    let unasked = beside.iter().fold(passes(), |answer, &observed| answer.observing(observed));
    assert_eq!(a_world().build().egress(frame), unasked, "at mail: {frame:?}");
    let finding = match reason {
        SpoofIp => Some(Observed::SpoofIp),
        SpoofMac => Some(Observed::SpoofMac),
        _ => None,
    };
    let watched = beside.iter().chain(&finding).fold(would_deny(counted_for, reason), |it, &seen| it.observing(seen));
    for world in [a_world().identity(IdentityLevel::Observe), a_world().identity(IdentityLevel::Strict).box_monitors()]
    {
        assert_eq!(world.build().egress(frame), watched, "{frame:?}");
    }
    assert_eq!(strict().ingress(frame), unasked, "on ingress: {frame:?}");
}

/// At every level and both ways: forwarded, for nobody.
#[track_caller]
pub(super) fn always_passes(frame: &FrameBuilder) {
    for level in [IdentityLevel::Mail, IdentityLevel::Observe, IdentityLevel::Strict] {
        for direction in Direction::ALL {
            let answer = a_world().identity(level).build().answer(direction, &frame.bytes());
            let forwarded = Answer { observed: answer.observed.clone(), ..passes() };
            assert_eq!(answer, forwarded, "{level:?}, {}: {frame:?}", direction.name());
        }
    }
}

pub(super) fn web(from: Station) -> [FrameBuilder; 2] {
    both_families(frame().from(from).to(PEER).tcp(443))
}

// The identity table.

#[test]
fn whoever_is_who_he_says_he_is_passes() {
    for vm in [A, B, B.with_mac(SECOND_MAC_OF_B), MAC_ONLY, NOBODY, ROUTER] {
        for frame in web(vm) {
            always_passes(&frame);
            always_passes(&frame.clone().udp(53));
            always_passes(&frame.clone().fragment(100, true));
            always_passes(&frame.clone().protocol(1, &[8, 0, 0, 0]));
            always_passes(&frame.vlan(100).vlan(7));
        }
    }
    for frame in
        [web(ROUTER.with_ips_of(A)), web(NOBODY.with_ips_of(IP_ONLY)), web(MAC_ONLY.with_ips_of(PEER))].concat()
    {
        always_passes(&frame);
    }
    always_passes(&web(ONLY_IPV4)[0]);
}

#[test]
fn a_contradiction_is_dropped_whatever_the_frame_wants() {
    for (station, counted_for, reason) in [
        (A.with_ips_of(B), A, SpoofIp),
        (B.with_ips_of(A), B, SpoofIp),
        (A.with_ips_of(NOBODY), A, SpoofIp),
        (MAC_ONLY.with_ips_of(A), MAC_ONLY, SpoofIp),
        (NOBODY.with_ips_of(A), A, SpoofMac),
        (NOBODY.with_ips_of(B), B, SpoofMac),
    ] {
        for frame in web(station) {
            only_strict_drops(&frame, counted_for, reason, &[]);
            only_strict_drops(&frame.clone().vlan(7).vlan(8), counted_for, reason, &[]);
            only_strict_drops(&frame.clone().udp(25), counted_for, reason, &[Observed::UdpMail]);
            only_strict_drops(&frame.clone().udp(4789), counted_for, reason, &[Observed::TunnelVxlan]);
            only_strict_drops(&frame.clone().protocol(1, &[8]), counted_for, reason, &[]);
            only_strict_drops(&frame.clone().fragment(100, true), counted_for, reason, &[Observed::LaterFragment]);
            only_strict_drops(&frame.snap(), counted_for, reason, &[]);
        }
    }
}

#[test]
fn missing_evidence_closes_mail_ports_and_nothing_else() {
    for frame in [&web(ONLY_IPV4)[1], &web(A.with_ipv6(LINK_LOCAL))[1]] {
        always_passes(frame);
        let vm = if format!("{frame:?}").contains(ONLY_IPV4.id) { ONLY_IPV4 } else { A };
        assert_eq!(strict().egress(frame.clone().tcp(25)), denied(vm, PortClosed));
    }
    let link_local = frame().ipv6().from(B.with_ipv6(LINK_LOCAL)).to(PEER).tcp(25);
    assert_eq!(strict().egress(link_local), denied(B, MissingEvidence));
    // 169.254/16 has no such exemption.
    let self_assigned = Station { ipv4: Ipv4Addr::new(169, 254, 1, 1), ..A };
    only_strict_drops(&web(self_assigned)[0], A, SpoofIp, &[]);
}

#[test]
fn a_forged_mail_frame_is_a_spoof_and_an_honest_one_is_judged_as_ever() {
    for port in MAIL_PORTS {
        for frame in both_families(frame().from(A.with_ips_of(B)).to(PEER).tcp(port)) {
            assert_eq!(strict().egress(frame), denied(A, SpoofIp));
        }
        for frame in both_families(frame().from(A).to(PEER).tcp(port)) {
            assert_eq!(strict().egress(frame), denied(A, PortClosed));
        }
        for frame in both_families(frame().from(B).to(PEER).tcp(port)) {
            assert_eq!(strict().egress(frame), allowed(B));
        }
    }
    let relayed = || a_world().relay(RELAY, &[587]).identity(IdentityLevel::Strict);
    for frame in both_families(frame().from(A).to(RELAY).tcp(587)) {
        assert_eq!(relayed().build().egress(frame), excepted(A));
    }
    for frame in both_families(frame().from(A.with_ips_of(B)).to(RELAY).tcp(587)) {
        assert_eq!(relayed().build().egress(frame), denied(A, SpoofIp));
    }
}

#[test]
fn at_observe_the_later_rules_are_enforced() {
    let world = a_world().identity(IdentityLevel::Observe).build();
    for frame in both_families(frame().from(A.with_ips_of(B)).to(PEER).tcp(25)) {
        assert_eq!(world.egress(frame), denied(A, SpoofIp), "as at mail");
    }
    // Both named VMs leave 2525 open, but some class closes it, so the frame is judged.
    let world = a_world().class("odd", &[2525]).identity(IdentityLevel::Observe).build();
    for frame in both_families(frame().from(A.with_ips_of(B)).to(PEER).tcp(2525)) {
        assert_eq!(world.egress(frame), would_deny(A, SpoofIp).observing(Observed::SpoofIp));
    }
}

#[test]
fn directions_do_not_switch_rule_2() {
    for directions in [&[][..], &[Direction::Ingress]] {
        let world = a_world().identity(IdentityLevel::Strict).directions(directions).build();
        assert_eq!(world.egress(web(A.with_ips_of(B))[0].clone()), denied(A, SpoofIp));
        assert_eq!(world.egress(frame().from(A).to(PEER).tcp(25)), passes(), "no class is asked");
        let arp = frame().from(A).arp(A.mac, B.ipv4, PEER.ipv4);
        assert_eq!(world.egress(arp), denied(A, ArpGuard));
    }
}

#[test]
fn monitor_mode_of_a_vm_or_class_does_not_cover_rule_2() {
    let world = a_world().vm(r#"{"id":"watched","macs":["52:54:00:00:00:09"],"ips":["192.0.2.9"],"mode":"monitor"}"#);
    let world = world.identity(IdentityLevel::Strict).build();
    let watched = Station::vm("watched", 9);
    assert_eq!(world.egress(web(watched.with_ips_of(B))[0].clone()), denied(watched, SpoofIp));
    assert_eq!(world.egress(frame().from(watched).to(PEER).tcp(25)), would_deny(watched, PortClosed));
    assert_eq!(world.egress(frame().from(watched).arp(watched.mac, B.ipv4, PEER.ipv4)), denied(watched, ArpGuard));
}

#[test]
fn who_has_no_address_yet_claims_none() {
    let from = || frame().from(UNSPECIFIED).to(PEER);
    for asks in [
        from().udp_ports(68, 67).data(&[1]),
        from().protocol(2, &[0x16, 0]),
        from().ipv6().protocol(58, &[130]),
        from().ipv6().protocol(58, &[131]),
        from().ipv6().protocol(58, &[132]),
        from().ipv6().extension(0, 8).protocol(58, &[143]),
        from().router_solicitation(&[]),
        from().neighbour(135, A.ipv6, &[]),
    ] {
        always_passes(&asks);
    }
    for other in [
        from().tcp(443),
        from().udp_ports(68, 53),
        from().udp_ports(67, 67),
        from().protocol(1, &[8]),
        from().ipv6().tcp(443),
        from().ipv6().protocol(2, &[0x16, 0]),
        from().ipv6().protocol(58, &[128]),
        from().ipv6().udp_ports(68, 67),
    ] {
        assert_eq!(strict().egress(&other), denied(A, SpoofIp), "{other:?}");
    }
}

#[test]
fn what_is_no_ip_is_not_asked_whose_it_is() {
    for ether_type in [0x8035, 0x88cc, 0x8863, 0x9999] {
        always_passes(&frame().from(A).ether(ether_type, &[0; 60]));
    }
    assert_eq!(strict().egress(frame().from(MAC_ONLY).vlan(1).vlan(2).vlan(3)), denied(MAC_ONLY, OpaqueVlanDepth));
    assert_eq!(strict().egress(frame().cut(13)), drops(Runt));
}
