//! "Denied frames": where `deny = "reject"`, who sends from inside is told at once.

use portcullis::model::MacAddr;
use portcullis::policy::{Deny, DropReason, IdentityLevel, Observed};
use portcullis::port::memory::Frame;
use portcullis::testkit::{
    FrameBuilder, GATEWAY_MAC, NOBODY, PEER, RELAY, ROUTER_MAC, Station, VM_A, VM_B, VM_C, World, WorldBuilder, frame,
    world,
};

use super::{MAIL_PORTS, both_families};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What the box answers from.
const BOX: Station = Station::vm("box", 254);

fn a_world() -> WorldBuilder {
    world().restricted(VM_A).unrestricted(VM_B).rejects()
}

/// The answer to one frame, if there is one.
#[track_caller]
fn reply(world: &World, frame: &FrameBuilder) -> Option<Vec<u8>> {
    let run = world.replies([Frame::from(&frame.bytes()[..])]);
    let [sent, suppressed] = [Observed::RejectSent, Observed::RejectSuppressed].map(|seen| run.lane.seen(seen));
    assert_eq!((sent, suppressed), (run.replied.len() as u64, 0), "{frame:?}");
    run.replied.into_iter().next()
}

#[track_caller]
fn no_reply(world: &World, frame: &FrameBuilder) {
    assert_eq!(reply(world, frame), None, "{frame:?}");
}

fn mail() -> FrameBuilder {
    frame().from(VM_A).to(PEER).tcp_ports(40000, 25)
}

/// A reset as the RFC has it, from the peer, as a frame without a tag. Sequence and acknowledgement are as they stand.
fn reset(ipv6: bool, sequence: u32, acknowledgement: u32, flags: u8) -> Vec<u8> {
    let mut tcp = vec![0, 25, 0x9c, 0x40];
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledgement.to_be_bytes());
    tcp.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    let answer = frame().from(PEER).to(VM_A).protocol(6, &tcp);
    let mut bytes = if ipv6 { answer.ipv6().bytes() } else { answer.set(18, &[0, 0, 0x40, 0]).bytes() };
    if !ipv6 {
        // Another identification and "don't fragment": the header's sum again.
        bytes[24..26].fill(0);
        let sum = bytes[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u32>();
        let sum = (sum & 0xffff) + (sum >> 16);
        bytes[24..26].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
    }
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// With another sequence number and acknowledgement.
fn numbered(frame: FrameBuilder, ipv6: bool, sequence: u32, acknowledgement: u32) -> FrameBuilder {
    let at = 14 + if ipv6 { 40 } else { 20 } + 4;
    let frame = if ipv6 { frame.ipv6() } else { frame };
    frame.set(at, &sequence.to_be_bytes()).set(at + 4, &acknowledgement.to_be_bytes())
}

#[test]
fn a_reset_answers_what_was_sent() {
    let world = a_world().build();
    for ipv6 in [false, true] {
        for (flags, data, expected) in [
            (SYN, 0, (0, 1001, RST | ACK)),
            (SYN | FIN, 0, (0, 1002, RST | ACK)),
            (SYN, 7, (0, 1008, RST | ACK)),
            (0, 7, (0, 1007, RST | ACK)),
            (FIN, 7, (0, 1008, RST | ACK)),
            (ACK, 0, (5000, 0, RST)),
            (ACK | FIN, 30, (5000, 0, RST)),
            (SYN | ACK, 0, (5000, 0, RST)),
        ] {
            let (sequence, acknowledgement, answer) = expected;
            let segment = mail().flags(flags).data(&vec![0xaa; data]);
            let got = reply(&world, &numbered(segment, ipv6, 1000, 5000)).unwrap();
            assert_eq!(
                got,
                reset(ipv6, sequence, acknowledgement, answer),
                "IPv6: {ipv6}, flags {flags:#x}, {data} bytes"
            );
        }
        let last = numbered(mail().flags(SYN), ipv6, u32::MAX, 0);
        assert_eq!(reply(&world, &last).unwrap(), reset(ipv6, 0, 0, RST | ACK), "numbers begin again");
    }
}

#[test]
fn padding_is_no_data_and_a_first_fragment_counts_what_it_holds() {
    let world = a_world().build();
    let padded = numbered(mail().flags(SYN).padding(&[1; 30]), false, 1000, 0);
    assert_eq!(reply(&world, &padded).unwrap(), reset(false, 0, 1001, RST | ACK));
    let first = numbered(mail().flags(0).data(&[7; 12]).fragment(0, true), false, 1000, 0);
    assert_eq!(reply(&world, &first).unwrap(), reset(false, 0, 1012, RST | ACK));
    let options = mail().flags(SYN).set(14 + 20 + 12, &[0x60]).data(&[1, 1, 1, 1, 9]);
    assert_eq!(reply(&world, &numbered(options, false, 1000, 0)).unwrap(), reset(false, 0, 1002, RST | ACK));
}

#[test]
fn a_syn_hears_icmp_where_the_box_has_an_address() {
    let world = world().restricted(VM_A).rejects_from(BOX).build();
    let [v4, v6] = both_families(mail().data(&[0xab; 900])).map(|frame| frame.padding(&[0x77; 9]));
    let got = reply(&world, &v4).unwrap();
    let original = v4.bytes();
    assert_eq!(got[..14], [&VM_A.mac.0[..], &GATEWAY_MAC.0, &[8, 0]].concat());
    assert_eq!((&got[26..30], &got[30..34]), (&BOX.ipv4.octets()[..], &VM_A.ipv4.octets()[..]));
    assert_eq!((got[14], got[22], got[23], &got[34..36]), (0x45, 64, 1, &[3, 13][..]));
    assert_eq!(got[16..18], [2, 64], "576 bytes");
    assert_eq!((got.len(), &got[42..]), (14 + 576, &original[14..14 + 548]), "as much as fits");
    let got = reply(&world, &v6).unwrap();
    let original = v6.bytes();
    assert_eq!((&got[22..38], &got[38..54]), (&BOX.ipv6.octets()[..], &VM_A.ipv6.octets()[..]));
    assert_eq!((got[20], got[21], &got[54..56]), (58, 64, &[1, 1][..]));
    assert_eq!(got[62..], original[14..14 + 40 + 20 + 900], "the packet, and not what stands behind it");
    // A short one: the packet alone.
    let [v4, _] = both_families(mail().padding(&[0x77; 9]));
    assert_eq!(reply(&world, &v4).unwrap()[42..], v4.bytes()[14..54]);
    // The rest of a conversation is reset.
    for flags in [ACK, SYN | ACK, FIN, FIN | ACK, 0] {
        assert_eq!(reply(&world, &mail().flags(flags)).unwrap()[23], 6, "{flags:#x}");
    }
    assert_eq!(reply(&world, &mail().flags(SYN | FIN)).unwrap()[23], 1);
}

#[test]
fn tags_come_back_as_they_were() {
    for from in [None, Some(BOX)] {
        let build = || world().restricted(VM_A).rejects();
        let world = from.map_or_else(build, |from| build().rejects_from(from)).build();
        for frame in both_families(mail()) {
            let plain = reply(&world, &frame).unwrap();
            for (tagged, tags) in [
                (frame.clone().tag(0x8100, 0xe007), vec![0x81, 0, 0xe0, 7]),
                (frame.clone().tag(0x88a8, 0x3005).vlan(9), vec![0x88, 0xa8, 0x30, 5, 0x81, 0, 0, 9]),
                (frame.clone().vlan(0), vec![0x81, 0, 0, 0]),
            ] {
                let got = reply(&world, &tagged).unwrap();
                assert_eq!(got[12..12 + tags.len()], tags);
                let untagged = [&got[..12], &got[12 + tags.len()..]].concat();
                let (bytes, padding) = untagged.split_at(untagged.len().min(plain.len()));
                assert_eq!(bytes, &plain[..bytes.len()], "but for the tags it is the same");
                assert!(padding.is_empty() && plain[bytes.len()..].iter().all(|&byte| byte == 0));
            }
        }
    }
}

#[test]
fn whoever_sends_from_inside_is_told() {
    let world = a_world().restricted(VM_C).build();
    for station in [VM_A, VM_C, NOBODY] {
        for port in MAIL_PORTS {
            for frame in both_families(frame().from(station).to(PEER).tcp(port)) {
                assert!(reply(&world, &frame).is_some(), "{frame:?}");
                assert!(reply(&world, &frame.vlan(3)).is_some());
            }
        }
    }
    let link_local = frame().ipv6().from(VM_B.with_ipv6("fe80::1".parse().unwrap())).to(PEER).tcp(25);
    assert!(reply(&world, &link_local).is_some(), "evidence that is missing is no forgery");
    for frame in both_families(frame().from(VM_A).to(PEER).extension(51, 16).tcp(25)) {
        assert!(reply(&world, &frame).is_some(), "behind AH: {frame:?}");
    }
}

#[test]
fn some_are_never_told() {
    let world = a_world().restricted(VM_C).build();
    for frame in both_families(mail()) {
        for silent in [
            frame.clone().flags(RST),
            frame.clone().flags(RST | SYN),
            frame.clone().flags(RST | ACK),
            frame.clone().snap(),
            frame.clone().snap().vlan(4),
            frame.clone().segment_bytes(19),
            frame.clone().from(VM_A.with_ips_of(VM_C)),
            frame.clone().from(NOBODY.with_ips_of(VM_A)),
            frame.clone().to(Station { mac: MacAddr::BROADCAST, ..PEER }),
            frame.clone().to(Station { mac: MacAddr([1, 0, 0x5e, 0, 0, 1]), ..PEER }),
            frame.clone().vlan(1).vlan(2).vlan(3),
        ] {
            no_reply(&world, &silent);
        }
        let at = 14 + if frame.clone().bytes()[12] == 8 { 20 } else { 40 } + 12;
        for offset in [0x00, 0x40, 0x60, 0xf0] {
            no_reply(&world, &frame.clone().set(at, &[offset]));
        }
    }
    no_reply(&world, &mail().options(&[131, 3, 4, 0]));
    no_reply(&world, &mail().ipv6().routing(1));
    assert!(reply(&world, &mail().ipv6().routing(0)).is_some());
    no_reply(&world, &mail().fragment(1, true));
    for source in [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255, 255, 255, 255]] {
        no_reply(&world, &frame().from(Station { ipv4: source.into(), ..NOBODY }).to(PEER).tcp(25));
    }
    for source in ["::", "::1", "ff02::1"] {
        no_reply(&world, &frame().ipv6().from(NOBODY.with_ipv6(source.parse().unwrap())).to(PEER).tcp(25));
    }
    for destination in [[224, 0, 0, 1], [239, 255, 255, 255], [255, 255, 255, 255]] {
        no_reply(&world, &mail().to(Station { ipv4: destination.into(), ..PEER }));
    }
    no_reply(&world, &mail().ipv6().to(PEER.with_ipv6("ff02::1".parse().unwrap())));
    let group = NOBODY.with_mac(MacAddr([0x53, 0x54, 0, 0, 0, 1]));
    no_reply(&world, &frame().from(group).to(PEER).tcp(25));
}

#[test]
fn nobody_outside_is_told() {
    let world = a_world().build();
    for frame in both_families(frame().from(PEER).to(VM_A).tcp(25)) {
        let decision = world.decide(portcullis::model::Direction::Ingress, &frame.bytes());
        assert!(matches!(decision.verdict().reason(), Some(DropReason::PortClosed)) && !decision.rejects());
    }
}

#[test]
fn what_is_forwarded_or_only_watched_is_not_answered() {
    let world = a_world().relay(RELAY, &[587]).monitored(VM_C).build();
    for frame in [mail().tcp(443), mail().to(RELAY).tcp(587), mail().from(VM_B), mail().from(VM_C), mail().udp(25)] {
        no_reply(&world, &frame);
    }
    no_reply(&a_world().box_monitors().build(), &mail());
    let strict = a_world().identity(IdentityLevel::Strict).build();
    assert!(reply(&strict, &mail()).is_some());
    no_reply(&strict, &mail().from(VM_A.with_ips_of(VM_B)));
    no_reply(&strict, &mail().tcp(443).from(VM_A.with_ips_of(VM_B)));
}

#[test]
fn every_class_that_closes_the_port_must_want_it() {
    let of = |deny, class_deny| {
        let world = world().class_that("own", &[25, 2525], class_deny).of_class(VM_A, "own");
        let world = if deny == Deny::Reject { world.rejects() } else { world };
        world.build()
    };
    // VM_A's own address, and one that nothing confirms: then what `restricted` closes is closed too, by the box's word.
    let unconfirmed = |port| frame().ipv6().from(VM_A.with_ipv6("fe80::1".parse().unwrap())).to(PEER).tcp(port);
    for (deny, class_deny, own, both, own_alone) in [
        (Deny::Drop, Deny::Drop, false, false, false),
        (Deny::Drop, Deny::Reject, true, false, true),
        (Deny::Reject, Deny::Drop, false, false, false),
        (Deny::Reject, Deny::Reject, true, true, true),
    ] {
        let world = of(deny, class_deny);
        for (frame, expected) in [(mail(), own), (unconfirmed(25), both), (unconfirmed(2525), own_alone)] {
            assert_eq!(reply(&world, &frame).is_some(), expected, "{deny:?} {class_deny:?} {frame:?}");
        }
        assert_eq!(reply(&world, &unconfirmed(587)).is_some(), deny == Deny::Reject, "`restricted` alone");
    }
}

#[test]
fn a_sender_hears_his_burst_and_others_theirs() {
    let world = a_world().restricted(VM_C).via(ROUTER_MAC).build();
    let strangers = (0..50u8).map(|last| {
        let stranger = NOBODY.with_mac(MacAddr([2, 0, 0, 0, 0, last]));
        frame().from(stranger).to(PEER).tcp(25).bytes()
    });
    let frames =
        [VM_A, VM_C].into_iter().flat_map(|vm| vec![frame().from(vm).to(PEER).tcp(25).bytes(); 50]).chain(strangers);
    let run = world.replies(frames.map(|bytes| Frame::from(&bytes[..])));
    let to = |mac: MacAddr| run.replied.iter().filter(|reply| reply[..6] == mac.0).count();
    assert_eq!((to(VM_A.mac), to(VM_C.mac), run.replied.len()), (20, 20, 60), "all strangers share one");
    assert_eq!((run.lane.seen(Observed::RejectSent), run.lane.seen(Observed::RejectSuppressed)), (60, 90));
    assert_eq!(run.lane.dropped(DropReason::PortClosed), 150);
    assert!(run.lane.is_balanced());
}

#[test]
fn a_frame_in_several_buffers_is_dropped_in_silence() {
    let run = a_world().build().replies([Frame::segmented(&mail().data(&[1; 200]).bytes(), 100)]);
    assert_eq!((run.replied.len(), run.lane.dropped(DropReason::PortClosed)), (0, 1));
}
