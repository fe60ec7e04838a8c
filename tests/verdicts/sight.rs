//! "What the box can see": every row of the table, from a restricted VM, which shows what the box saw, and from an
//! unrestricted one, whom nothing of it may cost a frame.

use portcullis::model::{Direction, MacAddr};
use portcullis::policy::DropReason::{self, *};
use portcullis::policy::Observed::{
    self, LaterFragment, TunnelEsp, TunnelEtherIp, TunnelGeneve, TunnelGre, TunnelGtpU, TunnelIpip, TunnelL2tp,
    TunnelMacsec, TunnelMpls, TunnelOther, TunnelPppoe, TunnelSixInFour, TunnelTeredo, TunnelVxlan, TunnelWireguard,
};
use portcullis::policy::Verdict;
use portcullis::port::memory::Frame;
use portcullis::testkit::{
    Answer, ETHERTYPES_OF_TAGS, FrameBuilder, NOBODY, PEER, Station, VM_A, VM_B, VM_C, World, allowed, denied, drops,
    frame, passes, world,
};

use super::{MAIL_PORTS, both_directions, each_way, this_family_each_way};

/// Unrestricted, and known by its MAC alone.
const MAC_ONLY: Station = VM_C;

fn a_world() -> World {
    let mac_only = format!(r#"{{"id":"{}","macs":["{}"],"class":"unrestricted"}}"#, MAC_ONLY.id, MAC_ONLY.mac);
    world().restricted(VM_A).unrestricted(VM_B).vm(&mac_only).build()
}

/// The box finds the ports: closed ones are closed, others are open, and an unrestricted VM keeps its mail.
#[track_caller]
fn looked_through(shape: impl Fn(FrameBuilder) -> FrameBuilder) {
    let world = a_world();
    for port in MAIL_PORTS {
        this_family_each_way(&world, &shape(frame().from(VM_A).to(PEER).tcp(port)), &denied(VM_A, PortClosed));
        this_family_each_way(&world, &shape(frame().from(VM_B).to(PEER).tcp(port)), &allowed(VM_B));
        this_family_each_way(&world, &shape(frame().from(NOBODY).to(PEER).tcp(port)), &denied(NOBODY, PortClosed));
    }
    this_family_each_way(&world, &shape(frame().from(VM_A).to(PEER).tcp(443)), &passes());
}

/// The same for the IPv4 frame and its IPv6 twin.
#[track_caller]
fn looked_through_in_both_families(shape: impl Fn(FrameBuilder) -> FrameBuilder) {
    looked_through(&shape);
    looked_through(|frame| shape(frame).ipv6());
}

/// "an opaque frame is dropped (`opaque_*`) if anything at all is closed", whatever the port.
#[track_caller]
fn opaque(reason: DropReason, shape: impl Fn(FrameBuilder) -> FrameBuilder) {
    let world = a_world();
    for port in [25, 443] {
        this_family_each_way(&world, &shape(frame().from(VM_A).to(PEER).tcp(port)), &denied(VM_A, reason));
        this_family_each_way(&world, &shape(frame().from(NOBODY).to(PEER).tcp(port)), &denied(NOBODY, reason));
        this_family_each_way(&world, &shape(frame().from(VM_B).to(PEER).tcp(port)), &allowed(VM_B));
        this_family_each_way(&world, &shape(frame().from(MAC_ONLY).to(PEER).tcp(port)), &allowed(MAC_ONLY));
    }
}

/// Opaque, and the addresses cannot be read: "A if A lists no address, else A and `restricted` together".
#[track_caller]
fn opaque_without_addresses(reason: DropReason, shape: impl Fn(FrameBuilder) -> FrameBuilder) {
    let world = a_world();
    for port in [25, 443] {
        this_family_each_way(&world, &shape(frame().from(VM_A).to(PEER).tcp(port)), &denied(VM_A, reason));
        this_family_each_way(&world, &shape(frame().from(NOBODY).to(PEER).tcp(port)), &denied(NOBODY, reason));
        this_family_each_way(&world, &shape(frame().from(VM_B).to(PEER).tcp(port)), &denied(VM_B, MissingEvidence));
        this_family_each_way(&world, &shape(frame().from(MAC_ONLY).to(PEER).tcp(port)), &allowed(MAC_ONLY));
    }
}

/// Certainly not TCP: it passes for everybody, and is counted under `observed` if that has a name for it.
#[track_caller]
fn other(frame: &FrameBuilder, observed: Option<Observed>) {
    let expected: Answer = observed.map_or_else(passes, |observed| passes().observing(observed));
    for station in [VM_A, VM_B, NOBODY] {
        this_family_each_way(&a_world(), &frame.clone().from(station).to(PEER), &expected);
    }
}

#[test]
fn up_to_two_tags_of_any_type_and_id_are_looked_through() {
    for outer in ETHERTYPES_OF_TAGS {
        for tci in [0x0000, 0x0001, 0x0fff, 0xe000, 0xf007] {
            looked_through_in_both_families(|frame| frame.tag(outer, tci));
        }
        for inner in ETHERTYPES_OF_TAGS {
            looked_through_in_both_families(|frame| frame.tag(outer, 0).tag(inner, 0));
            looked_through_in_both_families(|frame| frame.tag(outer, 7).tag(inner, 4095));
        }
    }
}

#[test]
fn a_third_tag_hides_everything_arp_too() {
    for third in ETHERTYPES_OF_TAGS {
        opaque_without_addresses(OpaqueVlanDepth, |frame| frame.vlan(0).vlan(0).tag(third, 0));
        opaque_without_addresses(OpaqueVlanDepth, |frame| frame.tag(0x88a8, 7).vlan(7).tag(third, 7).ipv6());
        opaque_without_addresses(OpaqueVlanDepth, |frame| {
            frame.vlan(7).tag(0x9100, 7).tag(third, 7).ether(0x0806, &[])
        });
    }
    for depth in 3..=8 {
        opaque_without_addresses(OpaqueVlanDepth, |frame| (0..depth).fold(frame, |frame, _| frame.vlan(0)));
    }
}

#[test]
fn other_types_hide_what_they_announce_and_are_counted() {
    // Neighbours of the tags' types, types of which some switches make tags, 802.1ah, 802.1BR, VN-Tag, NSH, TRILL, DSA:
    // "of any type that no row above names, be it another's tag".
    for ether_type in [
        0x8101, 0x88a9, 0x9101, 0x9202, 0x8200, 0x9a00, 0x88e7, 0x893f, 0x8926, 0x894f, 0x22f3, 0xdada, 0xc028, 0x0600,
        0xffff, 0x8870,
    ] {
        other(&frame().tag(ether_type, 7).tcp(25), Some(TunnelOther));
        other(&frame().vlan(7).tag(ether_type, 7).tcp(25), Some(TunnelOther));
        other(&frame().snap().tag(ether_type, 7).tcp(25), Some(TunnelOther));
    }
}

#[test]
fn ip_in_802_3_is_looked_through() {
    // "is 802.3 with an LLC/SNAP header (OUI 00-00-00 or 00-00-F8) or SAP 06 in front of IP or a tag, whatever its length
    // field claims"
    for oui in [[0, 0, 0], [0, 0, 0xf8]] {
        looked_through_in_both_families(|frame| frame.snap_oui(oui));
        looked_through_in_both_families(|frame| frame.snap_oui(oui).vlan(7));
        looked_through_in_both_families(|frame| frame.snap_oui(oui).vlan(0).tag(0x88a8, 7));
        looked_through_in_both_families(|frame| frame.vlan(0).snap_oui(oui));
        looked_through_in_both_families(|frame| frame.vlan(0).vlan(0).snap_oui(oui));
        looked_through_in_both_families(|frame| frame.vlan(7).snap_oui(oui).vlan(8).snap_oui(oui));
        for length in [0, 1, 43, 0x05dc, 0x05ff] {
            looked_through_in_both_families(|frame| frame.snap_oui(oui).llc_length(length));
            looked_through_in_both_families(|frame| frame.vlan(7).snap_oui(oui).llc_length(length));
        }
    }
    for source_sap in [6, 0, 0xaa] {
        looked_through_in_both_families(|frame| frame.llc([6, source_sap, 3]));
        looked_through_in_both_families(|frame| frame.vlan(0).llc([6, source_sap, 3]).llc_length(0));
    }
}

#[test]
fn three_tags_are_too_many_wherever_snap_stands_between_them() {
    opaque_without_addresses(OpaqueVlanDepth, |frame| frame.vlan(0).snap().vlan(0).vlan(0));
    opaque_without_addresses(OpaqueVlanDepth, |frame| frame.snap().vlan(0).snap().vlan(0).snap().vlan(0));
}

#[test]
fn other_802_3_frames_are_not_ip() {
    // STP, NetBIOS, SNAP of Cisco's (CDP) and of nobody's, SNAP with ARP, SNAP that is not unnumbered information.
    for llc in [[0x42, 0x42, 3], [0xf0, 0xf0, 3], [0xaa, 0xaa, 0x13], [0xab, 0xaa, 3], [6, 6, 0x13], [0xe0, 0xe0, 3]] {
        other(&frame().llc(llc).tcp(25), None);
    }
    for oui in [[0, 0, 0x0c], [0, 0, 1], [1, 0, 0], [0x08, 0, 0x07]] {
        other(&frame().snap_oui(oui).tcp(25), Some(TunnelOther));
    }
    other(&frame().snap().ether(0x0806, &[0; 28]), None);
    other(&frame().snap().snap().tcp(25), Some(TunnelOther)); // "or with a number below 0600"
}

#[test]
fn ports_stand_at_the_true_header_length() {
    // "ports are read where the header really ends". The options look like TCP to 443, or to 25.
    let decoy_443 = [1, 1, 1, 0xbb].repeat(10);
    let decoy_25 = [0, 25, 0, 25].repeat(10);
    for words in 1..=10 {
        looked_through(|frame| frame.options(&decoy_443[..words * 4]));
        looked_through(|frame| frame.options(&decoy_25[..words * 4]));
    }
}

#[test]
fn impossible_ipv4_headers_are_malformed() {
    for words in 0..5 {
        opaque(OpaqueMalformed, |frame| frame.ihl(words)); // shorter than a header
    }
    opaque(OpaqueMalformed, |frame| frame.ihl(15)); // 60 bytes, and there are 40
    opaque(OpaqueMalformed, |frame| frame.ihl(11).total_length(40)); // ends behind the packet
    for length in [0, 1, 19] {
        opaque(OpaqueMalformed, |frame| frame.total_length(length)); // shorter than its header
    }
    opaque(OpaqueMalformed, |frame| frame.options(&[1; 8]).total_length(27));
    opaque(OpaqueMalformed, |frame| frame.total_length(41)); // longer than the frame
    opaque(OpaqueMalformed, |frame| frame.total_length(65535));
    for version in (0..16).filter(|&version| version != 4) {
        opaque_without_addresses(OpaqueMalformed, |frame| frame.version(version));
    }
}

#[test]
fn impossible_ipv6_headers_are_malformed() {
    opaque(OpaqueMalformed, |frame| frame.ipv6().payload_length(21)); // longer than the frame
    opaque(OpaqueMalformed, |frame| frame.ipv6().payload_length(65535));
    for version in (0..16).filter(|&version| version != 6) {
        opaque_without_addresses(OpaqueMalformed, |frame| frame.ipv6().version(version));
    }
}

#[test]
fn headers_and_tags_cut_short_are_malformed() {
    for bytes in 14..34 {
        opaque_without_addresses(OpaqueMalformed, |frame| frame.cut(bytes));
    }
    for bytes in 34..54 {
        opaque(OpaqueMalformed, |frame| frame.cut(bytes)); // the header is whole, so it says that more should follow
    }
    for bytes in 14..54 {
        opaque_without_addresses(OpaqueMalformed, |frame| frame.ipv6().cut(bytes));
    }
    for bytes in 14..18 {
        opaque_without_addresses(OpaqueMalformed, |frame| frame.vlan(7).cut(bytes));
    }
    for bytes in 18..22 {
        opaque_without_addresses(OpaqueMalformed, |frame| frame.vlan(7).vlan(7).cut(bytes));
    }
    for bytes in 14..22 {
        opaque_without_addresses(OpaqueMalformed, |frame| frame.snap().cut(bytes));
    }
}

#[test]
fn a_wrong_version_behind_sap_06_is_malformed() {
    for version in (0..16).filter(|version| ![4, 6].contains(version)) {
        opaque_without_addresses(OpaqueMalformed, |frame| frame.sap_06().version(version));
    }
}

#[test]
fn a_type_that_lies_about_the_version_is_malformed() {
    opaque_without_addresses(OpaqueMalformed, |frame| frame.ipv6().set(12, &[0x08, 0x00]));
    opaque_without_addresses(OpaqueMalformed, |frame| frame.set(12, &[0x86, 0xdd]));
}

#[test]
fn bytes_behind_the_packet_are_ignored() {
    looked_through_in_both_families(|frame| frame.padding(&[25; 6]));
    looked_through_in_both_families(|frame| frame.padding(&[0xff; 1400]));
    // Three bytes of TCP; the fourth, behind the packet, would make the port 443.
    opaque(OpaqueMalformed, |frame| frame.tcp(443).segment_bytes(3).padding(&[0xbb, 0, 0]));
    opaque(OpaqueMalformed, |frame| frame.tcp(443).segment_bytes(3).padding(&[0xbb, 0, 0]).ipv6());
}

#[test]
fn every_header_between_ip_and_tcp_is_looked_through() {
    const ROUTING: u8 = 43;
    // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
    for kind in [0, ROUTING, 60, 135, 139, 140] {
        for bytes in [8, 16, 24, 248, 256] {
            looked_through(|frame| frame.ipv6().extension(kind, bytes));
        }
    }
    for bytes in [8, 12, 24, 44, 256] {
        looked_through_in_both_families(|frame| frame.extension(51, bytes));
    }
    looked_through(|frame| frame.ipv6().routing(0));
    looked_through(|frame| frame.ipv6().routing(1));
    looked_through(|frame| frame.ipv6().fragment(0, false));
}

#[test]
fn at_most_8_headers_and_256_bytes() {
    let chain = |frame: FrameBuilder, count: usize| (0..count).fold(frame, |frame, _| frame.extension(60, 8));
    looked_through(|frame| chain(frame.ipv6(), 8));
    for count in [9, 10, 33, 100] {
        opaque(OpaqueHeaderChain, |frame| chain(frame.ipv6(), count));
    }
    looked_through(|frame| frame.ipv6().extension(0, 128).extension(60, 128));
    opaque(OpaqueHeaderChain, |frame| frame.ipv6().extension(0, 128).extension(60, 136));
    opaque(OpaqueHeaderChain, |frame| frame.ipv6().extension(0, 2048)); // VPP-1529 died of it
    looked_through(|frame| frame.extension(51, 128).extension(51, 128));
    opaque(OpaqueHeaderChain, |frame| frame.extension(51, 128).extension(51, 132));
}

#[test]
fn a_second_fragment_header_is_too_many() {
    // CVE-2023-4809: pf let them pass.
    opaque(OpaqueHeaderChain, |frame| frame.ipv6().fragment(0, false).fragment(0, false));
    opaque(OpaqueHeaderChain, |frame| frame.ipv6().fragment(0, true).fragment(0, true));
    opaque(OpaqueHeaderChain, |frame| frame.ipv6().fragment(0, false).extension(60, 8).fragment(0, false));
}

#[test]
fn whichever_defect_the_walk_meets_first_names_it() {
    let long = |frame: FrameBuilder| frame.ipv6().extension(60, 2048);
    opaque(OpaqueMalformed, |frame| long(frame).payload_length(255)); // it is cut before the limit is reached
    opaque(OpaqueHeaderChain, |frame| long(frame).payload_length(256));
    opaque(OpaqueFragment, |frame| frame.ipv6().fragment(0, true).extension(60, 64).payload_length(40));
    opaque(OpaqueHeaderChain, |frame| frame.ipv6().fragment(0, true).extension(60, 2048));
}

#[test]
fn payload_length_0_ends_with_the_frame() {
    looked_through(|frame| frame.ipv6().payload_length(0));
    looked_through(|frame| frame.ipv6().extension(0, 8).payload_length(0));
    // Nothing there at all: no TCP header either.
    opaque(OpaqueMalformed, |frame| frame.ipv6().segment_bytes(0));
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    looked_through(|frame| frame.ipv6().fragment(0, false));
    opaque(OpaqueMalformed, |frame| frame.ipv6().fragment(0, false).segment_bytes(3));
    looked_through(|frame| frame.ipv6().fragment(0, false).segment_bytes(4)); // no first fragment, so 4 bytes will do
}

#[test]
fn a_first_fragment_needs_20_bytes_of_tcp() {
    // RFC 1858, 7112
    for bytes in 0..20 {
        opaque(OpaqueFragment, |frame| frame.fragment(0, true).segment_bytes(bytes));
        opaque(OpaqueFragment, |frame| frame.ipv6().fragment(0, true).segment_bytes(bytes));
    }
    looked_through_in_both_families(|frame| frame.fragment(0, true));
    looked_through_in_both_families(|frame| frame.fragment(0, true).data(&[0; 4]));
}

#[test]
fn a_first_fragment_needs_its_whole_chain() {
    for (kind, bytes) in [(60, 24), (51, 24), (43, 24)] {
        for length in 8..8 + bytes + 20 {
            let length = u16::try_from(length).unwrap();
            opaque(OpaqueFragment, |frame| {
                frame.ipv6().fragment(0, true).extension(kind, bytes).payload_length(length)
            });
        }
    }
    looked_through(|frame| frame.ipv6().fragment(0, true).extension(60, 24));
    for length in 20..20 + 24 + 20 {
        opaque(OpaqueFragment, |frame| frame.fragment(0, true).extension(51, 24).total_length(length));
    }
    looked_through(|frame| frame.fragment(0, true).extension(51, 24));
}

#[test]
fn a_first_fragment_whose_chain_ends_in_something_else_is_not_tcp() {
    other(&frame().fragment(0, true).udp(53), None);
    other(&frame().fragment(0, true).udp(53).segment_bytes(0), None);
    other(&frame().ipv6().fragment(0, true).extension(60, 8).udp(53).segment_bytes(0), None);
}

#[test]
fn early_later_fragments_can_bring_or_overwrite_ports() {
    // "is a later IPv4 TCP fragment at offset 8 or 16 bytes"; "is a later fragment behind IPv4 AH, or any in IPv6, below
    // offset 280 bytes"
    for more in [false, true] {
        for offset in [1, 2] {
            opaque(OpaqueFragment, |frame| frame.fragment(offset, more));
        }
        for offset in [1, 2, 3, 34] {
            opaque(OpaqueFragment, |frame| frame.fragment(offset, more).extension(51, 24));
            opaque(OpaqueFragment, |frame| frame.ipv6().fragment(offset, more));
            opaque(OpaqueFragment, |frame| frame.ipv6().fragment(offset, more).udp(53));
            opaque(OpaqueFragment, |frame| frame.ipv6().fragment(offset, more).protocol(58, &[0; 8]));
            opaque(OpaqueFragment, |frame| frame.ipv6().extension(0, 8).fragment(offset, more));
        }
    }
}

#[test]
fn any_other_later_fragment_is_forwarded_whatever_its_bytes_look_like() {
    // All 13 bits of the offset count.
    for more in [false, true] {
        for offset in [3, 4, 34, 35, 256, 257, 4096, 4097, 4098, 8189, 8191] {
            other(&frame().fragment(offset, more).tcp(25), Some(LaterFragment));
        }
        for offset in [1, 2, 34, 8191] {
            other(&frame().fragment(offset, more).udp(25), Some(LaterFragment));
        }
        for offset in [35, 256, 4097, 8191] {
            other(&frame().fragment(offset, more).extension(51, 24).tcp(25), Some(LaterFragment));
            other(&frame().ipv6().fragment(offset, more).tcp(25), Some(LaterFragment));
            other(&frame().ipv6().fragment(offset, more).extension(60, 8).tcp(25), Some(LaterFragment));
        }
    }
}

#[test]
fn a_whole_packet_needs_4_bytes_of_tcp() {
    // VPP-687: a stump of 4 to 7 bytes read as port 0.
    for bytes in 0..4 {
        opaque(OpaqueMalformed, |frame| frame.segment_bytes(bytes));
        opaque(OpaqueMalformed, |frame| frame.ipv6().segment_bytes(bytes));
    }
    for bytes in 4..20 {
        looked_through_in_both_families(|frame| frame.segment_bytes(bytes));
    }
}

#[test]
fn other_protocols_are_not_tcp() {
    // ICMP, IGMP, ICMPv6, no next header, OSPF, SCTP, DCCP, experimental, reserved.
    for protocol in [1, 2, 58, 59, 89, 132, 33, 253, 255] {
        other(&frame().protocol(protocol, &[0, 25, 0, 25]), None);
        other(&frame().ipv6().protocol(protocol, &[0, 25, 0, 25]), None);
    }
    // IPv6's own headers are nothing special behind IPv4.
    for protocol in [0, 43, 44, 60, 135, 139, 140] {
        other(&frame().protocol(protocol, &[6, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0, 25]), None);
    }
}

#[test]
fn tunnels_are_counted_by_kind_and_their_inside_is_not_judged() {
    let smtp = frame().from(VM_A).tcp(25).bytes();
    let (inner_frame, inner_packet) = (&smtp[..], &smtp[14..]);
    for (protocol, kind) in [
        (4, TunnelIpip),
        (41, TunnelSixInFour),
        (47, TunnelGre),
        (50, TunnelEsp),
        (97, TunnelEtherIp),
        (115, TunnelL2tp),
        (137, TunnelMpls),
        (55, TunnelOther),
        (143, TunnelOther),
        (145, TunnelOther),
    ] {
        other(&frame().protocol(protocol, inner_packet), Some(kind));
        other(&frame().ipv6().extension(60, 8).protocol(protocol, inner_packet), Some(kind));
        other(&frame().fragment(0, true).protocol(protocol, inner_packet), Some(kind));
    }
    for (port, kind) in [
        (1701, TunnelL2tp),
        (2152, TunnelGtpU),
        (3544, TunnelTeredo),
        (4500, TunnelEsp),
        (4789, TunnelVxlan),
        (8472, TunnelVxlan),
        (6081, TunnelGeneve),
        (51820, TunnelWireguard),
        (4790, TunnelOther),
        (6635, TunnelOther),
    ] {
        other(&frame().udp(port).data(&[8, 0, 0, 0, 0, 0, 1, 0]).data(inner_frame), Some(kind));
        other(&frame().ipv6().udp(port).data(&[8, 0, 0, 0, 0, 0, 1, 0]).data(inner_frame), Some(kind));
        other(&frame().udp_ports(port, 53).data(inner_frame), None); // the destination port tells
    }
    for (ether_type, kind) in
        [(0x8864, TunnelPppoe), (0x8847, TunnelMpls), (0x8848, TunnelMpls), (0x88e5, TunnelMacsec)]
    {
        other(&frame().ether(ether_type, inner_packet), Some(kind));
        other(&frame().vlan(7).tag(0x88a8, 7).ether(ether_type, inner_packet), Some(kind));
    }
}

#[test]
fn types_that_announce_no_packet_pass_uncounted() {
    // "is of a type that announces no packet", in the order of that row.
    for ether_type in [0x0806, 0x8035, 0x0842, 0x8808, 0x8809, 0x8863, 0x888e, 0x88cc, 0x88f7, 0x8902, 0x9000] {
        other(&frame().ether(ether_type, &frame().tcp(25).bytes()[14..]), None);
        other(&frame().vlan(7).ether(ether_type, &[]), None);
    }
}

#[test]
fn frames_of_fewer_than_14_bytes_are_runts() {
    let whole = frame().from(VM_B).to(PEER).tcp(25);
    for bytes in 0..14 {
        for (direction, frame) in both_directions(&whole) {
            assert_eq!(a_world().answer(direction, &frame.cut(bytes).bytes()), drops(Runt), "{bytes} bytes");
        }
    }
}

#[test]
fn a_header_split_over_segments_is_gathered() {
    // A tag, SNAP, options, AH and TCP in pieces of every size; the properties do this for everything.
    let world = a_world();
    for station in [VM_A, VM_B] {
        let frame = frame().from(station).vlan(7).snap().options(&[1; 40]).extension(51, 24).tcp(25).bytes();
        let whole = world.answer(Direction::Egress, &frame).verdict;
        for bytes in 1..=frame.len() {
            let run = world.run(Direction::Egress, [Frame::segmented(&frame, bytes)], usize::MAX);
            let verdict = if run.sent.is_empty() { Verdict::Drop(PortClosed) } else { Verdict::Forward };
            assert_eq!(verdict, whole, "segments of {bytes} bytes");
        }
    }
}

#[test]
fn what_is_to_everybody_is_judged_by_who_sent_it() {
    let everybody = Station { mac: MacAddr::BROADCAST, ..PEER };
    let world = a_world();
    for frame in [frame().to(everybody).tcp(25), frame().to(everybody).ipv6().tcp(25)] {
        assert_eq!(world.egress(frame.clone().from(VM_A)), denied(VM_A, PortClosed));
        assert_eq!(world.egress(frame.from(VM_B)), allowed(VM_B));
    }
    each_way(&world, frame().from(VM_A).to(PEER).tcp(80), &passes());
}
