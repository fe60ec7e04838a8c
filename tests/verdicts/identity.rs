//! "Whose frame is it?" at `identity = "mail"`: "An exemption needs them to agree; silence counts as "restricted"."
//!
//! Rows are read with the source on egress and with the destination on ingress, so every row is asked both ways.

use std::net::Ipv6Addr;

use portcullis::policy::DropReason::{self, *};
use portcullis::policy::Observed;
use portcullis::testkit::{
    NOBODY, PEER, ROUTER_MAC, Station, VM_A, VM_B, VM_C, VM_D, World, WorldBuilder, allowed, denied, drops, frame,
    passes, world, would_drop,
};

use super::{MAIL_PORTS, both_families, each_way, this_family_each_way};

/// Restricted.
const A: Station = VM_A;
/// Unrestricted.
const B: Station = VM_B;
/// Unrestricted, and lists no IPv6 address.
const ONLY_IPV4: Station = Station { id: "only-ipv4", ..VM_C };
/// Unrestricted, and lists no IPv4 address.
const ONLY_IPV6: Station = Station { id: "only-ipv6", ..VM_D };
/// Unrestricted, known by MAC alone.
const MAC_ONLY: Station = Station::vm("mac-only", 5);
/// Unrestricted, known by address alone.
const IP_ONLY: Station = Station::vm("ip-only", 6);
/// Restricted, inventory by IP only.
const IP_ONLY_CLOSED: Station = Station::vm("ip-only-closed", 7);
/// Closes 2525, which `restricted` leaves open, and none of the mail ports.
const ODD: Station = Station::vm("odd", 8);

fn a_world() -> WorldBuilder {
    let Station { id, mac, ipv4, .. } = ONLY_IPV4;
    let only_ipv4 = format!(r#"{{"id":"{id}","macs":["{mac}"],"public_ipv4":"{ipv4}"}}"#);
    let Station { id, mac, ipv6, .. } = ONLY_IPV6;
    let only_ipv6 = format!(r#"{{"id":"{id}","macs":["{mac}"],"ips":["{ipv6}"],"class":"unrestricted"}}"#);
    let Station { id, mac, .. } = MAC_ONLY;
    let mac_only = format!(r#"{{"id":"{id}","macs":["{mac}"],"class":"unrestricted"}}"#);
    let Station { id, ipv4, ipv6, .. } = IP_ONLY;
    let ip_only = format!(r#"{{"id":"{id}","ips":["{ipv6}"],"public_ipv4":"{ipv4}"}}"#);
    let Station { id, ipv4, ipv6, .. } = IP_ONLY_CLOSED;
    let ip_only_closed = format!(r#"{{"id":"{id}","ips":["{ipv4}","{ipv6}"]}}"#);
    world()
        .restricted(A)
        .unrestricted(B)
        .vm(&only_ipv4)
        .vm(&only_ipv6)
        .vm(&mac_only)
        .vm(&ip_only)
        .vm(&ip_only_closed)
        .class("odd", &[2525])
        .of_class(ODD, "odd")
        .via(ROUTER_MAC)
}

/// fe80::/10, with a host part of nobody's.
fn link_local(vm: Station) -> Station {
    vm.with_ipv6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 1))
}

/// Mail is denied, 443 passes unasked, and what only `odd` closes is forwarded, but observed. From inside it is denied for
/// this reason; from outside it is so only if the VMs named are not all restricted.
#[track_caller]
fn contradiction(world: &World, station: Station, counted_for: Station, reason: DropReason, observed: Observed) {
    contradiction_named(world, station, counted_for, [reason, reason], observed);
}

/// The same, with the reasons of both directions.
#[track_caller]
fn contradiction_named(
    world: &World,
    station: Station,
    counted_for: Station,
    [egress, ingress]: [DropReason; 2],
    observed: Observed,
) {
    for port in MAIL_PORTS {
        for frame in both_families(frame().from(station).to(PEER).tcp(port)) {
            assert_eq!(world.egress(&frame), denied(counted_for, egress), "{frame:?}");
            assert_eq!(world.ingress(frame.clone().reversed()), denied(counted_for, ingress), "to {frame:?}");
        }
    }
    each_way(world, frame().from(station).to(PEER).tcp(443), &passes());
    each_way(world, frame().from(station).to(PEER).tcp(2525), &allowed(counted_for).observing(observed));
}

#[test]
fn mac_and_ip_of_one_vm_are_that_vm() {
    // | A | A | A's |
    let world = a_world().build();
    each_way(&world, frame().from(A).to(PEER).tcp(25), &denied(A, PortClosed));
    each_way(&world, frame().from(B).to(PEER).tcp(25), &allowed(B));
    each_way(&world, frame().from(ODD).to(PEER).tcp(25), &allowed(ODD));
    each_way(&world, frame().from(ODD).to(PEER).tcp(2525), &denied(ODD, PortClosed));
}

#[test]
fn the_class_belongs_to_the_vm_whichever_of_its_nics_and_addresses_it_uses() {
    // "One class covers every NIC and both address families of its VM."
    let second = Station { id: B.id, ..Station::vm("", 0x22) };
    let line = format!(
        r#"{{"id":"{}","macs":["{}","{}"],"ips":["{}","{}","{}"],"public_ipv4":"{}"}}"#,
        B.id, B.mac, second.mac, B.ipv6, second.ipv4, second.ipv6, B.ipv4
    );
    let world = world().vm(&line).build();
    for station in [B, second, B.with_ips_of(second), second.with_ips_of(B)] {
        each_way(&world, frame().from(station).to(PEER).tcp(25), &allowed(B));
    }
}

#[test]
fn the_mac_of_one_vm_with_the_ip_of_another_is_a_contradiction() {
    // | A | B (another VM) | contradiction, `spoof_ip` |
    let world = a_world().build();
    contradiction(&world, A.with_ips_of(B), A, SpoofIp, Observed::SpoofIp);
    contradiction(&world, B.with_ips_of(A), B, SpoofIp, Observed::SpoofIp);
    contradiction(&world, B.with_ips_of(IP_ONLY), B, SpoofIp, Observed::SpoofIp);
    contradiction(&world, MAC_ONLY.with_ips_of(B), MAC_ONLY, SpoofIp, Observed::SpoofIp);
}

#[test]
fn the_mac_of_a_vm_that_lists_addresses_with_the_ip_of_nobody_is_a_contradiction() {
    // | A | nobody; A lists addresses of this family | contradiction, `spoof_ip` |
    let world = a_world().build();
    contradiction_named(&world, A.with_ips_of(NOBODY), A, [SpoofIp, PortClosed], Observed::SpoofIp);
    contradiction(&world, B.with_ips_of(NOBODY), B, SpoofIp, Observed::SpoofIp);
}

#[test]
fn a_family_of_which_the_vm_lists_nothing_is_missing_evidence() {
    // | A | nobody; A lists addresses of the other family only | A's and `restricted`'s ports closed, `missing_evidence` |
    let world = a_world().build();
    let (v6_of_v4, v4_of_v6) = (frame().ipv6().from(ONLY_IPV4).to(PEER), frame().from(ONLY_IPV6).to(PEER));
    for (frame, vm) in [(v6_of_v4, ONLY_IPV4), (v4_of_v6, ONLY_IPV6)] {
        for port in MAIL_PORTS {
            this_family_each_way(&world, &frame.clone().tcp(port), &denied(vm, MissingEvidence));
        }
        this_family_each_way(&world, &frame.clone().tcp(443), &passes());
        let forwarded = allowed(vm).observing(Observed::MissingEvidence);
        this_family_each_way(&world, &frame.clone().tcp(2525), &forwarded);
    }
    // In the family that it lists it is itself.
    this_family_each_way(&world, &frame().from(ONLY_IPV4).to(PEER).tcp(25), &allowed(ONLY_IPV4));
    this_family_each_way(&world, &frame().ipv6().from(ONLY_IPV6).to(PEER).tcp(25), &allowed(ONLY_IPV6));
}

#[test]
fn a_link_local_address_is_missing_evidence_for_whoever_lists_addresses() {
    // "or it is link-local (fe80::/10)"
    let world = a_world().build();
    for vm in [B, ONLY_IPV4, ONLY_IPV6] {
        let frame = frame().ipv6().from(link_local(vm)).to(PEER);
        this_family_each_way(&world, &frame.clone().tcp(25), &denied(vm, MissingEvidence));
        this_family_each_way(&world, &frame.tcp(2525), &allowed(vm).observing(Observed::MissingEvidence));
    }
    // The whole of fe80::/10, and not its neighbours.
    for (first, reason) in [(0xfe80, MissingEvidence), (0xfebf, MissingEvidence), (0xfe7f, SpoofIp), (0xfec0, SpoofIp)]
    {
        let address = Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 1);
        let frame = frame().ipv6().from(B.with_ipv6(address)).to(PEER).tcp(25);
        this_family_each_way(&world, &frame, &denied(B, reason));
    }
}

#[test]
fn missing_evidence_names_only_the_drop_that_rests_on_it() {
    // "if the VM's own class and mode would have let it pass": the class of A closes 25 anyway.
    let mta = Station::vm("mta", 9);
    let world = a_world().class("mta-only", &[25]).of_class(mta, "mta-only").build();
    let frame = || frame().ipv6().from(link_local(mta)).to(PEER);
    this_family_each_way(&world, &frame().tcp(25), &denied(mta, PortClosed));
    this_family_each_way(&world, &frame().tcp(587), &denied(mta, MissingEvidence));
    assert_eq!(world.ingress(frame().reversed().tcp_from(25)), denied(mta, ReplyClosed));
    assert_eq!(world.ingress(frame().reversed().tcp_from(587)), denied(mta, MissingEvidence));
    // From 25 to 587: the destination is closed for want of evidence, but the class denies the reply anyway.
    assert_eq!(world.ingress(frame().reversed().tcp_ports(25, 587)), denied(mta, ReplyClosed));
    this_family_each_way(&world, &frame().fragment(1, false), &denied(mta, OpaqueFragment));
}

#[test]
fn a_vm_that_lists_no_address_is_known_by_its_mac() {
    // | A | nobody; A lists no address at all | A's (inventory by MAC only) |
    let world = a_world().build();
    each_way(&world, frame().from(MAC_ONLY).to(PEER).tcp(25), &allowed(MAC_ONLY));
    each_way(&world, frame().from(MAC_ONLY.with_ips_of(NOBODY)).to(PEER).tcp(25), &allowed(MAC_ONLY));
    this_family_each_way(&world, &frame().ipv6().from(link_local(MAC_ONLY)).to(PEER).tcp(25), &allowed(MAC_ONLY));
}

#[test]
fn behind_a_router_only_the_ip_identifies_the_vm() {
    // | router | B / nobody | B's / the `unknown` class |
    let world = a_world().build();
    for (vm, expected) in
        [(A, denied(A, PortClosed)), (B, allowed(B)), (IP_ONLY, allowed(IP_ONLY)), (NOBODY, denied(NOBODY, PortClosed))]
    {
        each_way(&world, frame().from(vm.with_mac(ROUTER_MAC)).to(PEER).tcp(25), &expected);
    }
    // Without `via` the same MAC is nobody's.
    let without = world_without_router();
    each_way(&without, frame().from(B.with_mac(ROUTER_MAC)).to(PEER).tcp(25), &denied(B, SpoofMac));
}

fn world_without_router() -> World {
    world().restricted(A).unrestricted(B).build()
}

#[test]
fn the_mac_of_nobody_with_the_ip_of_a_vm_that_lists_macs_is_a_contradiction() {
    // | nobody | B; B lists MACs | contradiction, `spoof_mac` |
    let world = a_world().build();
    contradiction(&world, NOBODY.with_ips_of(B), B, SpoofMac, Observed::SpoofMac);
    contradiction_named(&world, NOBODY.with_ips_of(A), A, [SpoofMac, PortClosed], Observed::SpoofMac);
}

#[test]
fn what_comes_in_with_a_contradiction_is_a_spoof_only_where_a_vm_that_it_names_would_have_been_let_have_it() {
    // "On ingress nobody forges by being sent something": a router's neighbour table is out of date.
    let (mta, other) = (Station::vm("mta", 9), Station { id: "other", ..Station::vm("", 10) });
    let world = a_world().class("mta-only", &[25]).of_class(mta, "mta-only").restricted(other).build();
    let to = |station| frame().from(PEER).to(station);
    for (station, counted_for, reason) in [
        (A.with_ips_of(other), A, PortClosed),
        (A.with_ips_of(mta), A, PortClosed),
        (A.with_ips_of(NOBODY), A, PortClosed),
        (NOBODY.with_ips_of(A), A, PortClosed),
        (A.with_ips_of(B), A, SpoofIp),
        (B.with_ips_of(A), B, SpoofIp),
        (B.with_ips_of(NOBODY), B, SpoofIp),
        (NOBODY.with_ips_of(B), B, SpoofMac),
    ] {
        for frame in both_families(to(station).tcp(25)) {
            assert_eq!(world.ingress(&frame), denied(counted_for, reason), "{frame:?}");
        }
        let answered = if reason == PortClosed { ReplyClosed } else { reason };
        for frame in both_families(to(station).tcp_from(25)) {
            assert_eq!(world.ingress(&frame), denied(counted_for, answered), "{frame:?}");
        }
        for frame in both_families(to(station).fragment(1, false)) {
            let hidden = if reason == PortClosed { OpaqueFragment } else { reason };
            assert_eq!(world.ingress(&frame), denied(counted_for, hidden), "{frame:?}");
        }
    }
    // The contradiction closes all the same, and for whom it is counted says the reason.
    for frame in both_families(to(mta.with_ips_of(A)).tcp(587)) {
        assert_eq!(world.ingress(frame), denied(mta, SpoofIp));
    }
    for frame in both_families(to(mta.with_ips_of(A)).tcp_ports(25, 465)) {
        assert_eq!(world.ingress(frame), denied(mta, ReplyClosed));
    }
    for frame in both_families(to(A.with_ips_of(mta)).tcp_ports(25, 465)) {
        assert_eq!(world.ingress(frame), denied(A, PortClosed));
    }
    for frame in both_families(frame().from(A.with_ips_of(other)).to(PEER).tcp(25)) {
        assert_eq!(world.egress(frame), denied(A, SpoofIp), "from inside it is one");
    }
}

#[test]
fn a_vm_that_lists_no_mac_is_known_by_its_ip() {
    // | nobody | B; B lists no MAC | B's (inventory by IP only) |
    let world = a_world().build();
    each_way(&world, frame().from(IP_ONLY).to(PEER).tcp(25), &allowed(IP_ONLY));
    each_way(&world, frame().from(NOBODY.with_ips_of(IP_ONLY)).to(PEER).tcp(25), &allowed(IP_ONLY));
    each_way(&world, frame().from(IP_ONLY_CLOSED).to(PEER).tcp(25), &denied(IP_ONLY_CLOSED, PortClosed));
}

#[test]
fn whom_nothing_names_is_unknown() {
    // "Their class is `policy.unknown_class`, `restricted` by default."
    for port in MAIL_PORTS {
        each_way(&a_world().build(), frame().from(NOBODY).to(PEER).tcp(port), &denied(NOBODY, PortClosed));
    }
    let generous = a_world().unknown_class("unrestricted").build();
    each_way(&generous, frame().from(NOBODY).to(PEER).tcp(25), &allowed(NOBODY));
    let odd = a_world().unknown_class("odd").build();
    each_way(&odd, frame().from(NOBODY).to(PEER).tcp(25), &allowed(NOBODY));
    each_way(&odd, frame().from(NOBODY).to(PEER).tcp(2525), &denied(NOBODY, PortClosed));
}

#[test]
fn no_vm_known_closes_mail_for_everyone_and_lets_the_rest_flow_at_once() {
    let world = world().build();
    for station in [A, B, NOBODY] {
        each_way(&world, frame().from(station).to(PEER).tcp(25), &denied(NOBODY, PortClosed));
        each_way(&world, frame().from(station).to(PEER).tcp(443), &passes());
    }
}

#[test]
fn opaque_frames_are_read_with_the_same_table() {
    // Addresses that can be read: an early later fragment.
    let world = a_world().build();
    let hidden = |station: Station| frame().from(station).to(PEER).fragment(1, true).tcp(443);
    each_way(&world, hidden(A), &denied(A, OpaqueFragment));
    each_way(&world, hidden(B), &allowed(B));
    each_way(&world, hidden(A.with_ips_of(B)), &denied(A, SpoofIp));
    each_way(&world, hidden(B.with_ips_of(A)), &denied(B, SpoofIp));
    each_way(&world, hidden(B.with_ips_of(NOBODY)), &denied(B, SpoofIp));
    each_way(&world, hidden(NOBODY.with_ips_of(B)), &denied(B, SpoofMac));
    each_way(&world, hidden(B.with_mac(ROUTER_MAC)), &allowed(B));
    each_way(&world, hidden(NOBODY), &denied(NOBODY, OpaqueFragment));
    this_family_each_way(&world, &hidden(ONLY_IPV4).ipv6(), &denied(ONLY_IPV4, MissingEvidence));
    this_family_each_way(&world, &hidden(link_local(B)).ipv6(), &denied(B, MissingEvidence));
}

#[test]
fn opaque_frames_without_addresses_are_believed_only_where_the_mac_is_all_there_is() {
    // | any; opaque frame whose addresses cannot be read | - | A's if A lists no address at all, else `missing_evidence` |
    let world = a_world().build();
    let hidden = |station: Station| frame().from(station).to(PEER).vlan(0).vlan(0).vlan(0).tcp(443);
    each_way(&world, hidden(A), &denied(A, OpaqueVlanDepth));
    each_way(&world, hidden(B), &denied(B, MissingEvidence));
    each_way(&world, hidden(ONLY_IPV4), &denied(ONLY_IPV4, MissingEvidence));
    each_way(&world, hidden(ODD), &denied(ODD, OpaqueVlanDepth)); // its own class closes a port
    each_way(&world, hidden(MAC_ONLY), &allowed(MAC_ONLY));
    each_way(&world, hidden(NOBODY), &denied(NOBODY, OpaqueVlanDepth));
    each_way(&world, hidden(B.with_mac(ROUTER_MAC)), &denied(NOBODY, OpaqueVlanDepth));
    // An unknown class that closes nothing does not open them either: nobody confirms who it is.
    let generous = a_world().unknown_class("unrestricted").build();
    each_way(&generous, hidden(NOBODY), &denied(NOBODY, MissingEvidence));
}

#[test]
fn what_is_neither_ip_nor_opaque_is_not_judged() {
    // | any; not IP and not opaque | - | not judged |
    let arp = |station: Station| frame().from(station).to(PEER).ether(0x0806, &[0; 28]);
    for station in [A, B, NOBODY, A.with_mac(ROUTER_MAC)] {
        each_way(&a_world().build(), arp(station), &passes());
    }
}

#[test]
fn a_contradiction_never_gains() {
    // "a port is closed if any of them closes it: contradicting oneself never opens anything"
    let world = a_world().build();
    for (station, counted_for) in [(ODD.with_ips_of(B), ODD), (B.with_ips_of(ODD), B)] {
        for port in [25, 465, 587, 2525] {
            each_way(&world, frame().from(station).to(PEER).tcp(port), &denied(counted_for, SpoofIp));
        }
    }
    for (station, egress) in [(ODD.with_ips_of(NOBODY), SpoofIp), (NOBODY.with_ips_of(ODD), SpoofMac)] {
        for (port, ingress) in [(25, egress), (465, egress), (587, egress), (2525, PortClosed)] {
            for frame in both_families(frame().from(station).to(PEER).tcp(port)) {
                assert_eq!(world.egress(&frame), denied(ODD, egress), "{frame:?}");
                assert_eq!(world.ingress(frame.clone().reversed()), denied(ODD, ingress), "to {frame:?}");
            }
        }
    }
}

#[test]
fn no_pair_of_mac_and_ip_opens_25_but_those_that_agree() {
    // Robustness: every pair of MACs and IPs, both directions.
    let world = a_world().build();
    let macs = [A, B, ONLY_IPV4, ONLY_IPV6, MAC_ONLY, ODD, NOBODY, NOBODY.with_mac(ROUTER_MAC)];
    let mapped = |v4: std::net::Ipv4Addr| v4.to_ipv6_mapped();
    let [a, b, c, d] = B.ipv4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let lookalikes = [
        mapped(B.ipv4),                                  // ::ffff:a.b.c.d
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),      // IPv4-compatible
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1), // 6to4
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2),      // B's host part, link-local
        Ipv6Addr::UNSPECIFIED,
    ]
    .map(|address| Station { ipv4: std::net::Ipv4Addr::UNSPECIFIED, ipv6: address, ..NOBODY });
    let ips = [A, B, ONLY_IPV4, ONLY_IPV6, IP_ONLY, IP_ONLY_CLOSED, ODD, NOBODY].into_iter().chain(lookalikes);
    for ip in ips {
        for mac in macs {
            for ipv6 in [false, true] {
                let listed = if ipv6 { ip.ipv6 == B.ipv6 } else { ip.ipv4 == B.ipv4 };
                let of_b = listed && (mac.mac == B.mac || mac.mac == ROUTER_MAC);
                let of_ip_only = ip == IP_ONLY && (mac.mac == NOBODY.mac || mac.mac == ROUTER_MAC);
                let of_mac_only = mac == MAC_ONLY && !is_listed(ip, ipv6);
                let of_odd = ip == ODD && (mac == ODD || mac.mac == ROUTER_MAC);
                let of_only_ipv4 = !ipv6 && ip == ONLY_IPV4 && (mac == ONLY_IPV4 || mac.mac == ROUTER_MAC);
                let of_only_ipv6 = ipv6 && ip == ONLY_IPV6 && (mac == ONLY_IPV6 || mac.mac == ROUTER_MAC);
                let opens = of_b || of_ip_only || of_mac_only || of_odd || of_only_ipv4 || of_only_ipv6;
                let frame = frame().from(mac.with_ips_of(ip).with_ipv6(ip.ipv6)).to(PEER).tcp(25);
                let frame = if ipv6 { frame.ipv6() } else { frame };
                for answer in [world.egress(&frame), world.ingress(frame.clone().reversed())] {
                    let forwarded = answer.verdict == portcullis::policy::Verdict::Forward;
                    assert_eq!(forwarded, opens, "MAC of {}, IP of {}, IPv6 {ipv6}: {answer:?}", mac.id, ip.id);
                }
            }
        }
    }
}

fn is_listed(ip: Station, ipv6: bool) -> bool {
    let (ipv4s, ipv6s) =
        ([A, B, ONLY_IPV4, IP_ONLY, IP_ONLY_CLOSED, ODD], [A, B, ONLY_IPV6, IP_ONLY, IP_ONLY_CLOSED, ODD]);
    if ipv6 { ipv6s.iter().any(|vm| vm.ipv6 == ip.ipv6) } else { ipv4s.iter().any(|vm| vm.ipv4 == ip.ipv4) }
}

#[test]
fn the_longest_prefix_wins() {
    let net = r#"{"id":"net","ips":["192.0.2.0/24","2001:db8::/64"],"class":"unrestricted"}"#;
    let inner = r#"{"id":"inner","ips":["192.0.2.0/28","2001:db8::/120"]}"#;
    let world = world().vm(net).vm(inner).unrestricted(B).build();
    let (net, inner) = (Station { id: "net", ..Station::vm("", 0x33) }, Station { id: "inner", ..Station::vm("", 3) });
    each_way(&world, frame().from(B).to(PEER).tcp(25), &allowed(B)); // a full address inside both
    this_family_each_way(&world, &frame().from(net).to(PEER).tcp(25), &allowed(net));
    each_way(&world, frame().from(inner).to(PEER).tcp(25), &denied(inner, PortClosed));
}

#[test]
fn tenants_in_different_scopes_may_use_the_same_addresses() {
    // "All look-ups are made inside the frame's scope."
    let here = VM_A;
    let there = Station { id: "vm-a-of-scope-1", ..VM_A };
    let line = format!(
        r#"{{"id":"{}","macs":["{}"],"ips":["{}"],"public_ipv4":"{}","scope":1}}"#,
        there.id, there.mac, there.ipv6, there.ipv4
    );
    let world = world().restricted(here).vm(&line).scope(100, 1).build();
    let smtp = || frame().from(VM_A).to(PEER).tcp(25);
    each_way(&world, smtp(), &denied(here, PortClosed));
    each_way(&world, smtp().vlan(101), &denied(here, PortClosed));
    each_way(&world, smtp().vlan(101).vlan(100), &denied(here, PortClosed)); // the outermost
    each_way(&world, smtp().vlan(100), &allowed(there));
    each_way(&world, smtp().tag(0x88a8, 0xf064), &allowed(there)); // priority bits are not the id
    each_way(&world, smtp().vlan(0).vlan(100), &allowed(there)); // whose id is not 0
    each_way(&world, smtp().vlan(100).vlan(101), &allowed(there));
    each_way(&world, smtp().snap().vlan(100), &allowed(there));
}

#[test]
fn untagged_frames_may_have_a_scope_of_their_own() {
    let line = format!(r#"{{"id":"{}","macs":["{}"],"class":"unrestricted","scope":7}}"#, MAC_ONLY.id, MAC_ONLY.mac);
    let world = world().vm(&line).scope(0, 7).build();
    each_way(&world, frame().from(MAC_ONLY).to(PEER).tcp(25), &allowed(MAC_ONLY));
    each_way(&world, frame().from(MAC_ONLY).to(PEER).vlan(0).tcp(25), &allowed(MAC_ONLY));
    each_way(&world, frame().from(MAC_ONLY).to(PEER).vlan(9).tcp(25), &denied(NOBODY, PortClosed));
}

#[test]
fn a_refused_vlan_is_shut_to_everybody_and_everything() {
    // "A frame of a refused VLAN is dropped, whatever it is and whichever way it goes"
    let refused = drops(DropReason::ScopeRefused);
    let build = || world().unrestricted(VM_B).scope(100, 0).refuse_the_rest();
    let web = frame().from(VM_B).to(PEER).tcp(443);
    for frame in [web.clone(), web.clone().tcp(25), web.clone().udp(53), web.clone().ether(0x0806, &[0; 28])] {
        for refuses in [build().build(), build().directions(&[]).build()] {
            each_way(&refuses, frame.clone().vlan(7), &refused);
            each_way(&refuses, frame.clone().vlan(0).vlan(7), &refused);
            each_way(&refuses, frame.clone().vlan(7).vlan(100), &refused);
            each_way(&refuses, frame.clone().vlan(7).vlan(8).vlan(9), &refused);
        }
        let watched = build().box_monitors().build();
        each_way(&watched, frame.clone().vlan(7), &would_drop(DropReason::ScopeRefused));
    }
    for frame in [web.clone(), web.clone().vlan(0), web.clone().vlan(100), web.vlan(100).vlan(7)] {
        each_way(&build().build(), frame, &passes());
    }
}

#[test]
fn a_router_of_one_vlan_is_nobody_elsewhere() {
    // "Elsewhere its MAC is nobody's"
    let world = world().unrestricted(VM_B).via_in(200, ROUTER_MAC).build();
    let routed = frame().from(VM_B.with_mac(ROUTER_MAC)).to(PEER).tcp(25);
    each_way(&world, routed.clone().vlan(200), &allowed(VM_B));
    each_way(&world, routed.clone().vlan(200).vlan(5), &allowed(VM_B));
    for elsewhere in [routed.clone(), routed.clone().vlan(201), routed.vlan(5).vlan(200)] {
        each_way(&world, elsewhere, &denied(VM_B, DropReason::SpoofMac));
    }
}
