//! "Relays": peers that every VM may reach, or every VM of a tenant.

use portcullis::model::Scope;
use portcullis::policy::DropReason::{OpaqueFragment, OpaqueMalformed, PortClosed, ReplyClosed, SpoofIp, SpoofMac};
use portcullis::policy::Observed;
use portcullis::testkit::{
    NOBODY, PEER, RELAY, ROUTER_MAC, Station, VM_A, VM_B, VM_C, VM_D, World, WorldBuilder, denied, excepted, frame,
    world,
};
use portcullis::vm::edit::Edit;
use portcullis::vm::journal::WayBack;
use portcullis::vm::policy::PolicyEdit;

use super::{both_families, each_way};

fn a_world_with_relay() -> World {
    let mta = world().class("mta-only", &[25]).of_class(VM_C, "mta-only").class("submission", &[587]);
    mta.restricted(VM_A).unrestricted(VM_B).relay(RELAY, &[587]).via(ROUTER_MAC).build()
}

#[test]
fn every_vm_may_reach_a_relay_on_its_ports() {
    let world = a_world_with_relay();
    for vm in [VM_A, VM_B, VM_C, NOBODY, VM_A.with_mac(ROUTER_MAC)] {
        for smtp in both_families(frame().from(vm).to(RELAY).tcp(587)) {
            assert_eq!(world.egress(smtp), excepted(vm), "{vm:?}");
        }
        for answer in both_families(frame().from(RELAY).to(vm).tcp_from(587)) {
            assert_eq!(world.ingress(answer), excepted(vm), "{vm:?}");
        }
    }
}

#[test]
fn a_relay_covers_its_own_ports_and_address_only() {
    let world = a_world_with_relay();
    for port in [25, 465] {
        each_way(&world, frame().from(VM_A).to(RELAY).tcp(port), &denied(VM_A, PortClosed));
    }
    each_way(&world, frame().from(VM_A).to(PEER).tcp(587), &denied(VM_A, PortClosed));
    for answer in both_families(frame().from(PEER).to(VM_A).tcp_from(587)) {
        assert_eq!(world.ingress(answer), denied(VM_A, ReplyClosed));
    }
}

#[test]
fn on_ingress_a_relay_covers_its_answers_only() {
    // "on ingress the source address and port, and then only rule 8 is lifted"
    let world = a_world_with_relay();
    for smtp in both_families(frame().from(RELAY).to(VM_A).tcp(587)) {
        assert_eq!(world.ingress(smtp), denied(VM_A, PortClosed));
    }
    for smtp in both_families(frame().from(RELAY).to(VM_A).tcp_ports(587, 25)) {
        assert_eq!(world.ingress(smtp), denied(VM_A, PortClosed));
    }
    for answer in both_families(frame().from(RELAY).to(VM_A).tcp_from(25)) {
        assert_eq!(world.ingress(answer), denied(VM_A, ReplyClosed));
    }
}

#[test]
fn a_relay_does_not_apply_where_identity_is_contradicted() {
    let world = a_world_with_relay();
    each_way(&world, frame().from(VM_A.with_ips_of(VM_B)).to(RELAY).tcp(587), &denied(VM_A, SpoofIp));
    each_way(&world, frame().from(NOBODY.with_ips_of(VM_B)).to(RELAY).tcp(587), &denied(VM_B, SpoofMac));
    for answer in both_families(frame().from(RELAY).to(VM_B.with_ips_of(VM_A)).tcp_from(587)) {
        assert_eq!(world.ingress(answer), denied(VM_B, SpoofIp));
    }
}

#[test]
fn a_relay_applies_where_evidence_is_only_missing() {
    let link_local = VM_A.with_ipv6("fe80::1".parse().unwrap());
    let answer = a_world_with_relay().egress(frame().ipv6().from(link_local).to(RELAY).tcp(587));
    assert_eq!(answer, excepted(VM_A).observing(Observed::MissingEvidence));
}

#[test]
fn a_relay_does_not_apply_to_a_frame_that_goes_elsewhere_afterwards() {
    // "to a frame with an IPv4 source route or an IPv6 routing header with segments left"
    let world = a_world_with_relay();
    let smtp = || frame().from(VM_A).to(RELAY).tcp(587);
    let loose = [131, 7, 4, 198, 51, 100, 7, 0];
    let strict = [137, 7, 4, 198, 51, 100, 7, 0];
    let after_no_operations = [1, 1, 1, 131, 7, 4, 198, 51, 100, 7, 0, 0];
    let unreadable = [148, 0, 0, 0]; // it may hide one
    for options in [&loose[..], &strict, &after_no_operations, &unreadable] {
        assert_eq!(world.egress(smtp().options(options)), denied(VM_A, PortClosed), "{options:?}");
        let answer = frame().from(RELAY).to(VM_A).tcp_from(587).options(options);
        assert_eq!(world.ingress(answer), denied(VM_A, ReplyClosed), "{options:?}");
    }
    for options in [&[7, 7, 4, 0, 0, 0, 0, 0][..], &[148, 4, 0, 0], &[0, 131, 7, 4]] {
        assert_eq!(world.egress(smtp().options(options)), excepted(VM_A), "{options:?}");
    }
    assert_eq!(world.egress(smtp().ipv6().routing(1)), denied(VM_A, PortClosed));
    assert_eq!(world.egress(smtp().ipv6().routing(0)), excepted(VM_A));
}

#[test]
fn a_relay_does_not_apply_to_an_opaque_frame() {
    let world = a_world_with_relay();
    each_way(&world, frame().from(VM_A).to(RELAY).tcp(587).segment_bytes(3), &denied(VM_A, OpaqueMalformed));
    each_way(&world, frame().from(VM_A).to(RELAY).tcp(587).fragment(2, true), &denied(VM_A, OpaqueFragment));
}

/// A line of a VM at its station's addresses, its IPv4 address public or not, of a tenant or of none.
fn line(vm: Station, public: bool, tenant: Option<&str>) -> String {
    let Station { id, mac, ipv4, ipv6 } = vm;
    let public = public.then_some(ipv4);
    let ips = [ipv4.to_string(), ipv6.to_string()];
    serde_json::json!({"id": id, "macs": [mac], "ips": ips, "public_ipv4": public, "tenant": tenant}).to_string()
}

/// VM D is a tenant's mail server; A is of its tenant, B of another, C of none.
fn of_tenants() -> WorldBuilder {
    let tenants = [(VM_A, Some("blue")), (VM_B, Some("red")), (VM_C, None)];
    let world = tenants.into_iter().fold(world(), |world, (vm, tenant)| world.vm(&line(vm, false, tenant)));
    world.vm(&line(VM_D, true, Some("blue")))
}

fn edit(world: &mut World, edit: Edit) {
    world.registry.apply([edit]).unwrap();
}

fn patch(world: &mut World, vm: Station, json: &str) {
    edit(world, Edit::Patch(vm.id.parse().unwrap(), serde_json::from_str(json).unwrap()));
}

#[test]
fn a_vm_can_be_the_relay_of_everybody() {
    let world = of_tenants().relay_vm(VM_D, &[25], false).build();
    for vm in [VM_A, VM_B, VM_C, NOBODY] {
        for smtp in both_families(frame().from(vm).to(VM_D).tcp(25)) {
            assert_eq!(world.egress(smtp), excepted(vm), "{vm:?}");
        }
        for answer in both_families(frame().from(VM_D).to(vm).tcp_from(25)) {
            assert_eq!(world.ingress(answer), excepted(vm), "{vm:?}");
        }
        for smtp in both_families(frame().from(vm).to(VM_D).tcp(587)) {
            assert_eq!(world.egress(smtp), denied(vm, PortClosed), "{vm:?}");
        }
    }
}

#[test]
fn or_of_the_vms_of_its_tenant() {
    let world = of_tenants().relay_vm(VM_D, &[25], true).build();
    each_way_egress(&world, VM_A, true);
    for vm in [VM_B, VM_C, NOBODY] {
        each_way_egress(&world, vm, false);
    }
    for smtp in both_families(frame().from(VM_B.with_ips_of(VM_A)).to(VM_D).tcp(25)) {
        assert_eq!(world.egress(smtp), denied(VM_B, SpoofIp), "who contradicts himself is of no tenant");
    }
}

#[track_caller]
fn each_way_egress(world: &World, vm: Station, opens: bool) {
    for smtp in both_families(frame().from(vm).to(VM_D).tcp(25)) {
        assert_eq!(world.egress(smtp), if opens { excepted(vm) } else { denied(vm, PortClosed) }, "{vm:?}");
    }
}

#[test]
fn it_follows_its_vm_and_its_tenant() {
    let mut world = of_tenants().relay_vm(VM_D, &[25], true).build();
    // Whoever comes to the tenant, and goes.
    patch(&mut world, VM_B, r#"{"tenant":"blue"}"#);
    each_way_egress(&world, VM_B, true);
    patch(&mut world, VM_A, r#"{"tenant":null}"#);
    each_way_egress(&world, VM_A, false);
    // The relay goes to another tenant, and to none.
    patch(&mut world, VM_D, r#"{"tenant":"red"}"#);
    each_way_egress(&world, VM_B, false);
    patch(&mut world, VM_C, r#"{"tenant":"red"}"#);
    each_way_egress(&world, VM_C, true);
    patch(&mut world, VM_D, r#"{"tenant":null}"#);
    for vm in [VM_A, VM_B, VM_C] {
        each_way_egress(&world, vm, false);
    }
    // Other addresses.
    patch(&mut world, VM_D, r#"{"tenant":"red","public_ipv4":null,"ips":["192.0.2.200"]}"#);
    each_way_egress(&world, VM_C, false);
    let moved = Station { ipv4: "192.0.2.200".parse().unwrap(), ..PEER };
    assert_eq!(world.egress(frame().from(VM_C).to(moved).tcp(25)), excepted(VM_C));
    // It goes, and comes again.
    edit(&mut world, Edit::Delete(VM_D.id.parse().unwrap()));
    assert_eq!(world.egress(frame().from(VM_C).to(moved).tcp(25)), denied(VM_C, PortClosed));
    edit(&mut world, Edit::Set(serde_json::from_str(&line(VM_D, true, Some("red"))).unwrap()));
    each_way_egress(&world, VM_C, true);
}

#[test]
fn a_change_that_is_only_tried_moves_no_relay() {
    let mut world = of_tenants().relay_vm(VM_D, &[25], true).build();
    let moves: [Vec<Edit>; 3] = [
        vec![Edit::Delete(VM_D.id.parse().unwrap())],
        vec![Edit::Patch(VM_D.id.parse().unwrap(), serde_json::from_str(r#"{"tenant":"red"}"#).unwrap())],
        vec![Edit::Policy(Box::new(PolicyEdit::Patch(serde_json::json!({"policy": {"relay": []}}))))],
    ];
    for edits in moves {
        let would = world.registry.rehearse(edits, WayBack::Same).unwrap();
        assert!(!would.vms.is_empty() || would.settings.is_some());
        // So that workers see all that is true.
        patch(&mut world, VM_C, r#"{"note":"x"}"#);
        patch(&mut world, VM_C, r#"{"note":null}"#);
        each_way_egress(&world, VM_A, true);
        each_way_egress(&world, VM_B, false);
    }
}

#[test]
fn in_another_scope_only_its_public_address_is_its_own() {
    let in_scope = |vm: Station| line(vm, false, None).replace(&format!("\"{}\"", vm.id), "\"elsewhere\"");
    let elsewhere = in_scope(VM_A).replace("\"tenant\":null", "\"tenant\":null,\"scope\":7");
    let world = of_tenants().relay_vm(VM_D, &[25], false).vm(&elsewhere).scope(100, 7).build();
    assert_eq!(world.registry.get(&"elsewhere".parse().unwrap()).unwrap().1.scope, Scope(7));
    let name = Station { id: "elsewhere", ..VM_A };
    let smtp = || frame().from(VM_A).to(VM_D).vlan(100).tcp(25);
    assert_eq!(world.egress(smtp()), excepted(name));
    assert_eq!(world.egress(smtp().ipv6()), denied(name, PortClosed), "somebody else may have that address there");
}
