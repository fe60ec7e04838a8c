//! "Guards": nobody says of an address or a MAC that is not his where it is, and nobody but routers and servers says what only
//! they say.

use std::net::{IpAddr, Ipv4Addr};

use portcullis::model::MacAddr;
use portcullis::policy::DropReason::*;
use portcullis::policy::{Guard, IdentityLevel};
use portcullis::testkit::{
    NOBODY, PEER, ROUTER_MAC, Station, WorldBuilder, allowed, denied, frame, link_layer_option, passes, would_deny,
};

use super::both_families;
use super::strict::{
    A, B, IP_ONLY, LINK_LOCAL, MAC_ONLY, ONLY_IPV4, ROUTER, SECOND_MAC_OF_B, UNSPECIFIED, a_world, always_passes,
    only_strict_drops, strict, web,
};

// ARP.

#[test]
fn arp_of_own_addresses_passes() {
    for (from, mac, address) in [
        (A, A.mac, A.ipv4),
        (B, SECOND_MAC_OF_B, B.ipv4),
        (B.with_mac(SECOND_MAC_OF_B), B.mac, B.ipv4),
        (MAC_ONLY, MAC_ONLY.mac, PEER.ipv4),
        (NOBODY, NOBODY.mac, NOBODY.ipv4),
        (NOBODY, NOBODY.mac, IP_ONLY.ipv4),
        (ROUTER, ROUTER_MAC, B.ipv4),
        (ROUTER, ROUTER_MAC, PEER.ipv4),
    ] {
        for about in [PEER.ipv4, B.ipv4, address] {
            let arp = frame().from(from).arp(mac, address, about);
            always_passes(&arp);
            always_passes(&arp.clone().vlan(7));
            always_passes(&arp.clone().padding(&[0; 18]));
            always_passes(&arp.snap());
        }
    }
}

#[test]
fn arp_of_others_does_not() {
    for (from, mac, address) in [
        (A, A.mac, B.ipv4),
        (A, A.mac, NOBODY.ipv4),
        (A, B.mac, A.ipv4),
        (A, B.mac, B.ipv4),
        (A, NOBODY.mac, A.ipv4),
        (A, A.mac, Ipv4Addr::new(169, 254, 1, 1)),
        (A, ROUTER_MAC, A.ipv4),
        (MAC_ONLY, MAC_ONLY.mac, A.ipv4),
        (NOBODY.with_ips_of(A), NOBODY.mac, A.ipv4),
        (NOBODY, A.mac, NOBODY.ipv4),
        (NOBODY, MacAddr([0x52, 0x54, 0, 0xdd, 0xdd, 2]), NOBODY.ipv4),
        (ROUTER, A.mac, NOBODY.ipv4),
    ] {
        let arp = frame().from(from).arp(mac, address, PEER.ipv4);
        // For the VM of the MAC, else for that of the sender's address.
        let counted_for = match from.mac {
            mac if mac == NOBODY.mac && address == A.ipv4 => A,
            mac if mac == NOBODY.mac || mac == ROUTER_MAC => NOBODY,
            _ => from,
        };
        only_strict_drops(&arp, counted_for, ArpGuard, &[]);
        only_strict_drops(&arp.clone().vlan(7).vlan(8), counted_for, ArpGuard, &[]);
        only_strict_drops(&arp.snap(), counted_for, ArpGuard, &[]);
    }
}

#[test]
fn an_arp_probe_claims_the_address_it_asks_about() {
    let probe = |from: Station, about| frame().from(from).arp(from.mac, Ipv4Addr::UNSPECIFIED, about);
    for (from, about) in [
        (A, A.ipv4),
        (A, NOBODY.ipv4),
        (A, Ipv4Addr::new(169, 254, 7, 7)),
        (MAC_ONLY, PEER.ipv4),
        (NOBODY, NOBODY.ipv4),
        (NOBODY, IP_ONLY.ipv4),
        (ROUTER, A.ipv4),
    ] {
        always_passes(&probe(from, about));
    }
    only_strict_drops(&probe(A, B.ipv4), A, ArpGuard, &[]);
    only_strict_drops(&probe(MAC_ONLY, IP_ONLY.ipv4), MAC_ONLY, ArpGuard, &[]);
    only_strict_drops(&probe(NOBODY, B.ipv4), NOBODY, ArpGuard, &[]);
}

#[test]
fn arp_of_another_shape_or_cut_short_does_not_pass_and_rarp_does() {
    let arp = frame().from(A).arp(A.mac, A.ipv4, PEER.ipv4);
    for at in [16, 17, 18, 19] {
        only_strict_drops(&arp.clone().set(at, &[0x7f]), A, ArpGuard, &[]);
    }
    for bytes in 14..42 {
        only_strict_drops(&arp.clone().cut(bytes), A, ArpGuard, &[]);
    }
    for at in [14, 15, 20, 21] {
        always_passes(&arp.clone().set(at, &[0x7f])); // hardware type and opcode
    }
    let mut forged = arp.bytes();
    forged[12..14].copy_from_slice(&[0x80, 0x35]);
    assert_eq!(strict().egress(forged), passes());
}

// DHCP.

#[test]
fn dhcp_clients_pass_and_servers_do_not() {
    let udp = |from: Station, source, destination, first: &[u8]| {
        both_families(frame().from(from).to(PEER).udp_ports(source, destination).data(first))
    };
    for (from, source, destination, first) in [
        (A, 68, 67, &[1][..]),
        (A, 67, 67, &[1]),
        (A, 546, 547, &[1]),
        (A, 547, 547, &[12]),
        (A, 40000, 67, &[]),
        (ROUTER, 67, 68, &[2]),
        (ROUTER, 547, 546, &[2]),
        (ROUTER, 67, 67, &[2]),
    ] {
        for frame in udp(from, source, destination, first) {
            always_passes(&frame);
        }
    }
    for (source, destination, first) in [
        (67, 68, &[2][..]),
        (40000, 68, &[1]),
        (40000, 68, &[]),
        (67, 67, &[2]),
        (547, 546, &[2]),
        (40000, 546, &[77]),
        (547, 547, &[2]),
        (547, 547, &[7]),
        (547, 547, &[10]),
        (547, 547, &[13]),
    ] {
        for (from, counted_for) in [(A, A), (NOBODY, NOBODY), (A.with_ips_of(B), A)] {
            for frame in udp(from, source, destination, first) {
                only_strict_drops(&frame, counted_for, DhcpGuard, &[]);
                only_strict_drops(&frame.clone().fragment(0, true), counted_for, DhcpGuard, &[]);
                only_strict_drops(&frame.vlan(3).snap(), counted_for, DhcpGuard, &[]);
            }
        }
    }
    // The rest may tell.
    for destination in [67, 547] {
        for frame in udp(A, 40000, destination, &[]) {
            only_strict_drops(&frame.fragment(0, true), A, DhcpGuard, &[]);
        }
    }
}

// Neighbour discovery.

#[test]
fn neighbour_discovery_of_own_addresses_passes() {
    let source = |mac| link_layer_option(1, mac);
    let target = |mac| link_layer_option(2, mac);
    let from = |station| frame().from(station).to(PEER);
    for passing in [
        from(A).neighbour(135, PEER.ipv6, &[source(A.mac)]),
        from(A).neighbour(135, B.ipv6, &[]),
        from(A.with_ipv6(LINK_LOCAL)).neighbour(135, B.ipv6, &[source(A.mac)]),
        from(A).neighbour(136, A.ipv6, &[target(A.mac)]),
        from(A).neighbour(136, LINK_LOCAL, &[target(A.mac)]),
        from(B).neighbour(136, B.ipv6, &[target(SECOND_MAC_OF_B), target(B.mac)]),
        from(ONLY_IPV4.with_ipv6(LINK_LOCAL)).neighbour(136, PEER.ipv6, &[target(ONLY_IPV4.mac)]),
        from(MAC_ONLY).neighbour(136, PEER.ipv6, &[]),
        from(NOBODY).neighbour(136, NOBODY.ipv6, &[target(NOBODY.mac)]),
        from(NOBODY).neighbour(136, IP_ONLY.ipv6, &[target(NOBODY.mac)]),
        from(ROUTER).neighbour(136, B.ipv6, &[target(ROUTER_MAC)]),
        from(A).router_solicitation(&[source(A.mac)]),
        from(UNSPECIFIED).neighbour(135, A.ipv6, &[]),
        from(UNSPECIFIED).neighbour(135, LINK_LOCAL, &[vec![14, 1, 1, 2, 3, 4, 5, 6]]),
        from(A).neighbour(135, PEER.ipv6, &[vec![14, 1, 0, 0, 0, 0, 0, 0], source(A.mac)]).padding(&[1, 1]),
        from(A).extension(60, 16).neighbour(136, A.ipv6, &[]),
    ] {
        always_passes(&passing);
        always_passes(&passing.clone().vlan(7));
    }
}

#[test]
fn neighbour_discovery_of_others_does_not() {
    let source = |mac| link_layer_option(1, mac);
    let target = |mac| link_layer_option(2, mac);
    let from = |station| frame().from(station).to(PEER);
    for (frame, counted_for) in [
        (from(A).neighbour(136, B.ipv6, &[target(A.mac)]), A),
        (from(A).neighbour(136, PEER.ipv6, &[]), A),
        (from(A).neighbour(136, A.ipv6, &[target(B.mac)]), A),
        (from(A).neighbour(136, A.ipv6, &[target(A.mac), target(NOBODY.mac)]), A),
        (from(A).neighbour(135, PEER.ipv6, &[source(B.mac)]), A),
        (from(A).neighbour(135, PEER.ipv6, &[target(B.mac)]), A),
        (from(A).router_solicitation(&[source(ROUTER_MAC)]), A),
        (from(UNSPECIFIED).neighbour(135, B.ipv6, &[]), A),
        (from(UNSPECIFIED).neighbour(135, PEER.ipv6, &[]), A),
        (from(NOBODY).neighbour(136, B.ipv6, &[]), NOBODY),
        (from(NOBODY).neighbour(136, NOBODY.ipv6, &[target(A.mac)]), NOBODY),
        (from(ROUTER).neighbour(136, NOBODY.ipv6, &[target(A.mac)]), NOBODY),
        (from(A).neighbour(135, PEER.ipv6, &[vec![1, 0, 0, 0, 0, 0, 0, 0]]), A),
        (from(A).neighbour(136, A.ipv6, &[vec![2]]), A),
        (from(A).neighbour(136, A.ipv6, &[vec![2, 2, 0, 0, 0, 0, 0, 0]]), A),
        (from(A).ipv6().protocol(58, &[136, 0, 0, 0, 0, 0, 0, 0]), A),
        (from(A).ipv6().protocol(58, &[135]), A),
        (from(A).extension(0, 8).neighbour(136, B.ipv6, &[]), A),
    ] {
        only_strict_drops(&frame, counted_for, NdGuard, &[]);
        only_strict_drops(&frame.vlan(7).vlan(8), counted_for, NdGuard, &[]);
    }
}

#[test]
fn neighbour_discovery_does_not_come_in_fragments() {
    for kind in [133, 134, 135, 136, 137, 148] {
        for more in [false, true] {
            let fragment = frame().from(A).fragment(0, more).neighbour(kind, A.ipv6, &[]);
            only_strict_drops(&fragment, A, NdGuard, &[]);
            let of_router = frame().from(ROUTER).fragment(0, more).neighbour(kind, A.ipv6, &[]);
            only_strict_drops(&of_router, NOBODY, NdGuard, &[]);
        }
    }
    always_passes(&frame().from(A).fragment(0, false).neighbour(128, A.ipv6, &[]));
    always_passes(&frame().from(A).neighbour(148, A.ipv6, &[]));
}

// Routers.

#[test]
fn only_routers_advertise_and_redirect() {
    let ipv6 = |from, kind| frame().from(from).to(PEER).neighbour(kind, PEER.ipv6, &[]);
    let ipv4 = |from, kind| frame().from(from).to(PEER).protocol(1, &[kind, 0, 0, 0]);
    for (frame, of_router) in [134, 137]
        .map(|kind| (ipv6(A, kind), ipv6(ROUTER, kind)))
        .into_iter()
        .chain([5, 9].map(|kind| (ipv4(A, kind), ipv4(ROUTER, kind))))
    {
        only_strict_drops(&frame, A, RaGuard, &[]);
        only_strict_drops(&frame.extension(51, 16), A, RaGuard, &[]);
        always_passes(&of_router);
    }
    for kind in [0, 3, 8, 11, 12] {
        always_passes(&ipv4(A, kind));
    }
    for kind in [1, 2, 128, 129, 149, 200] {
        always_passes(&ipv6(A, kind));
    }
}

#[test]
fn a_router_of_one_vlan_is_none_elsewhere() {
    let world = a_world().via_in(100, NOBODY.mac).identity(IdentityLevel::Strict).build();
    let advertisement = frame().from(NOBODY).to(PEER).neighbour(134, PEER.ipv6, &[]);
    assert_eq!(world.egress(advertisement.clone().vlan(100)), passes());
    assert_eq!(world.egress(advertisement.clone().vlan(101)), denied(NOBODY, RaGuard));
    assert_eq!(world.egress(advertisement), denied(NOBODY, RaGuard));
}

// Gateways.

#[test]
fn protected_addresses_are_claimed_by_routers_only() {
    let gateway = Ipv4Addr::new(192, 0, 2, 254);
    let source = |mac| link_layer_option(1, mac);
    let world = |level| a_world().protect(gateway.into()).protect(LINK_LOCAL.into()).identity(level).build();
    let (strict, mail) = (world(IdentityLevel::Strict), world(IdentityLevel::Mail));
    for station in [MAC_ONLY, NOBODY, ROUTER] {
        let from = || frame().from(station).to(PEER);
        let claims = [
            (from().arp(station.mac, gateway, PEER.ipv4), ArpGuard),
            (from().arp(station.mac, Ipv4Addr::UNSPECIFIED, gateway), ArpGuard),
            (from().neighbour(136, LINK_LOCAL, &[]), NdGuard),
        ];
        let unspecified = Station { mac: station.mac, ..UNSPECIFIED };
        let link_local = frame().from(station.with_ipv6(LINK_LOCAL)).to(PEER);
        let more = [
            (frame().from(unspecified).to(PEER).neighbour(135, LINK_LOCAL, &[]), NdGuard),
            (link_local.clone().neighbour(135, PEER.ipv6, &[source(station.mac)]), NdGuard),
            (link_local.router_solicitation(&[source(station.mac)]), NdGuard),
        ];
        for (frame, reason) in claims.into_iter().chain(more) {
            let expected = if station == ROUTER { passes() } else { denied(station, reason) };
            assert_eq!(strict.egress(&frame), expected, "{frame:?}");
            assert_eq!(mail.egress(&frame), passes(), "{frame:?}");
            assert_eq!(strict.ingress(&frame), passes(), "{frame:?}");
        }
        for asks in [from().arp(station.mac, PEER.ipv4, gateway), from().neighbour(135, LINK_LOCAL, &[])] {
            assert_eq!(strict.egress(&asks), passes(), "{asks:?}");
        }
    }
    let listed = |address: IpAddr| format!(r#"{{"id":"vm-x","macs":["52:54:00:00:00:0a"],"ips":["{address}"]}}"#);
    let world = world_with(&listed(gateway.into())).protect(gateway.into()).build();
    let owner = Station::vm("vm-x", 10);
    let arp = frame().from(owner).arp(owner.mac, gateway, PEER.ipv4);
    assert_eq!(world.egress(arp), denied(owner, ArpGuard), "though it lists the address");
}

fn world_with(vm: &str) -> WorldBuilder {
    a_world().vm(vm).identity(IdentityLevel::Strict)
}

// What hides.

#[test]
fn ipv6_that_hides_what_it_carries_is_dropped_whatever_the_class() {
    let from = |station| frame().from(station).to(PEER).ipv6();
    for (frame, reason) in [
        ((0..9).fold(from(B), |frame, _| frame.extension(60, 8)).protocol(58, &[134]), OpaqueHeaderChain),
        (from(B).fragment(0, true).fragment(0, true), OpaqueHeaderChain),
        (from(B).fragment(1, true), OpaqueFragment),
        (from(B).fragment(0, true).header(60, &[0, 4, 0, 0, 0, 0, 0, 0]).protocol(58, &[]), OpaqueFragment),
        (from(B).payload_length(2000), OpaqueMalformed),
        (from(B).header(60, &[0, 7, 0, 0, 0, 0, 0, 0]).protocol(58, &[]), OpaqueMalformed),
    ] {
        assert_eq!(strict().egress(&frame), denied(B, reason), "{frame:?}");
        assert_eq!(a_world().build().egress(&frame), allowed(B), "{frame:?}");
        let observed = a_world().identity(IdentityLevel::Observe).build().egress(&frame);
        assert_eq!(observed, would_deny(B, reason), "{frame:?}");
        assert_eq!(strict().ingress(frame.reversed()), allowed(B));
    }
    // Its headers are read: it is TCP.
    for tcp in [from(B).tcp(443).segment_bytes(3), from(B).fragment(0, true).tcp(443).segment_bytes(19)] {
        assert_eq!(strict().egress(&tcp), allowed(B), "{tcp:?}");
    }
    let ipv4 = frame().from(B).to(PEER).fragment(1, true);
    assert_eq!(strict().egress(ipv4), allowed(B));
}

// Each alone.

#[test]
fn each_guard_can_be_switched_alone() {
    let from = || frame().from(A).to(PEER);
    let offences = [
        (Guard::Arp, from().arp(A.mac, B.ipv4, PEER.ipv4), ArpGuard),
        (Guard::Dhcp, from().udp_ports(67, 68), DhcpGuard),
        (Guard::Nd, from().neighbour(136, B.ipv6, &[]), NdGuard),
        (Guard::Ra, from().neighbour(134, PEER.ipv6, &[]), RaGuard),
    ];
    for on in 0..16 {
        let is_on = |guard: Guard| on & 1 << Guard::ALL.iter().position(|&it| it == guard).unwrap() != 0;
        let guards: Vec<Guard> = Guard::ALL.into_iter().filter(|&guard| is_on(guard)).collect();
        let world = a_world().identity(IdentityLevel::Strict).guards(&guards).build();
        for (guard, frame, reason) in &offences {
            let expected = if is_on(*guard) { denied(A, *reason) } else { passes() };
            assert_eq!(world.egress(frame), expected, "{guards:?} {frame:?}");
        }
        let hidden = frame().from(B).to(PEER).ipv6().fragment(1, true);
        let looks = guards.iter().any(|&guard| guard != Guard::Arp);
        let expected = if looks { denied(B, OpaqueFragment) } else { allowed(B) };
        assert_eq!(world.egress(hidden), expected, "{guards:?}");
        assert_eq!(world.egress(web(A.with_ips_of(B))[0].clone()), denied(A, SpoofIp), "{guards:?}");
    }
}
