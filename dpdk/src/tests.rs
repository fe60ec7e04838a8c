//! What only the inside of this crate can show: frames whose device has taken something off, and devices that nobody has.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may end with a panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use support::{CONFIG, Lab, bytes, frame};

use crate::{Burst, PortConfig, PortNote, sys};

/// The frame with tags (type, TCI) between its addresses and its type.
fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let tags = tags.iter().flat_map(|(kind, tci)| [kind.to_be_bytes(), tci.to_be_bytes()]).flatten();
    addresses.iter().copied().chain(tags).chain(rest.iter().copied()).collect()
}

#[test]
fn tags_that_a_device_took_off_are_put_back_and_never_forgotten() {
    if !support::alone("tests::tags_that_a_device_took_off_are_put_back_and_never_forgotten") {
        return;
    }
    const INNER: sys::shim_stripped = sys::SHIM_STRIPPED_TAG;
    const OUTER: sys::shim_stripped = sys::SHIM_STRIPPED_OUTER_TAG;
    let lab = Lab::new(&["net_ring0"]);
    let pool = lab.pool(255, 2048);
    let (port, mut queues) = lab.port("net_ring0", CONFIG, &pool);
    let (rx, tx) = &mut queues[0];
    let mut burst = Burst::new(&lab.eal);
    // The chained one's first buffer is full; the last is too short to have had a tag where it says.
    for (number, length) in [(0, 60), (1, 60), (2, 60), (3, 60), (4, 3000), (5, 11)] {
        assert!(burst.push_copy(&pool, &frame(number, length)));
    }
    for (at, flags) in [(1, INNER), (2, OUTER), (3, INNER | OUTER), (4, INNER), (5, INNER)] {
        burst.pretend_stripped(at, flags, 0x6064, 0x00c8);
    }
    let expected = [
        frame(0, 60),
        tagged(&frame(1, 60), &[(0x8100, 0x6064)]),
        tagged(&frame(2, 60), &[(0x88a8, 0x00c8)]),
        tagged(&frame(3, 60), &[(0x88a8, 0x00c8), (0x8100, 0x6064)]),
        tagged(&frame(4, 3000), &[(0x8100, 0x6064)]),
    ];
    assert_eq!(tx.send(&mut burst), 6);
    for round in 0..2 {
        // The second time nothing is stripped any more.
        assert_eq!(rx.receive(&mut burst), expected.len(), "{round}");
        for (at, expected) in expected.iter().enumerate() {
            assert_eq!(&bytes(&burst, at), expected, "frame {at}, round {round}");
        }
        let stats = port.stats().unwrap();
        assert_eq!((stats.rx_tags_restored, stats.rx_tags_lost), (4, 1));
        if round == 0 {
            assert_eq!(tx.send(&mut burst), expected.len());
        }
    }
    drop(burst);
    port.close(queues).unwrap();
    assert_eq!(pool.available(), 255);
}

#[test]
fn a_tag_that_finds_no_room_costs_the_frame_and_is_counted() {
    if !support::alone("tests::a_tag_that_finds_no_room_costs_the_frame_and_is_counted") {
        return;
    }
    let lab = Lab::new(&["net_ring0"]);
    let pool = lab.pool(255, 2048);
    let (port, mut queues) = lab.port("net_ring0", CONFIG, &pool);
    let (rx, tx) = &mut queues[0];
    let mut burst = Burst::new(&lab.eal);
    assert!(burst.push_copy(&pool, &frame(0, 60)));
    let rounds = u64::from(sys::SHIM_MBUF_HEADROOM / 4);
    for round in 0..=rounds {
        burst.pretend_stripped(0, sys::SHIM_STRIPPED_TAG, 1, 0);
        tx.send(&mut burst);
        assert_eq!(rx.receive(&mut burst), usize::from(round < rounds));
    }
    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_tags_restored, stats.rx_tags_lost), (rounds, 1));
    assert_eq!(pool.available(), 255);
}

/// Hash functions as drivers offer them, by the bits of `RTE_ETH_RSS_*`.
mod offers {
    pub(super) const IPV4: u64 = 1 << 2;
    pub(super) const FRAG_IPV4: u64 = 1 << 3;
    pub(super) const TCP_IPV4: u64 = 1 << 4;
    pub(super) const UDP_IPV4: u64 = 1 << 5;
    pub(super) const OTHER_IPV4: u64 = 1 << 7;
    pub(super) const IPV6: u64 = 1 << 8;
    pub(super) const TCP_IPV6: u64 = 1 << 10;
    pub(super) const UDP_IPV6: u64 = 1 << 11;
    pub(super) const VXLAN: u64 = 1 << 19;
}

fn wanted(offered: u64) -> u64 {
    // SAFETY: plain arithmetic on a number.
    unsafe { sys::shim_rss_wanted(offered) }
}

fn uncovered(functions: u64) -> String {
    // SAFETY: as above.
    let traffic = crate::Traffic::from_raw(unsafe { sys::shim_rss_uncovered(functions) });
    traffic.map(|traffic| traffic.to_string()).unwrap_or_default()
}

#[test]
fn every_hash_that_spreads_tcp_and_udp_is_asked_for() {
    use offers::{FRAG_IPV4, IPV4, IPV6, OTHER_IPV4, TCP_IPV4, TCP_IPV6, UDP_IPV4, UDP_IPV6, VXLAN};
    // A device that has one function for each protocol, and none for "IPv4, whatever it carries" (i40e).
    let each = FRAG_IPV4 | TCP_IPV4 | UDP_IPV4 | OTHER_IPV4 | TCP_IPV6 | UDP_IPV6;
    assert_eq!(wanted(each | VXLAN), each);
    assert_eq!(uncovered(wanted(each)), "");
    assert_eq!(uncovered(FRAG_IPV4 | OTHER_IPV4), "TCP over IPv4, UDP over IPv4, TCP over IPv6, UDP over IPv6");
    // One that has addresses alone.
    assert_eq!(uncovered(wanted(IPV4 | IPV6)), "");
    assert_eq!(uncovered(wanted(IPV4 | TCP_IPV6)), "UDP over IPv6");
}

#[test]
fn traffic_that_stays_on_one_queue_is_said() {
    let note = PortNote::RssPartial(crate::Traffic::from_raw(sys::SHIM_TRAFFIC_UDP_IPV6).unwrap());
    assert_eq!(note.to_string(), "no RSS for UDP over IPv6: all of that goes to one queue, thus to one worker");
    if !support::alone("tests::traffic_that_stays_on_one_queue_is_said") {
        return;
    }
    let lab = Lab::new(&["net_null0"]);
    let pool = lab.pool(255, 2048);
    let (port, _queues) = lab.port("net_null0", PortConfig { queues: 2, ..CONFIG }, &pool);
    assert!(!port.notes().iter().any(|note| matches!(note, PortNote::RssPartial(_))), "{:?}", port.notes());
}

#[test]
fn room_for_tags_is_asked_for_and_not_reported_as_mtu() {
    if !support::alone("tests::room_for_tags_is_asked_for_and_not_reported_as_mtu") {
        return;
    }
    let lab = Lab::new(&["net_null0"]);
    let pool = lab.pool(255, 2048);
    let (port, _queues) = lab.port("net_null0", PortConfig { tag_room: 8, ..CONFIG }, &pool);
    let (info, in_force) = (port.info().clone(), port.mtu().unwrap());
    assert_eq!(info.mtu, 1500);
    assert_eq!(in_force, 1500 + info.tag_room, "what the device was given");
    let short = port.notes().iter().any(|note| matches!(note, PortNote::TagRoomRefused { asked: 8, .. }));
    assert_eq!(short, info.tag_room != 8, "{:?}", port.notes());
}

#[test]
fn what_a_driver_counts_as_trouble_is_told_by_its_own_name() {
    let counter = |name: &str| {
        let mut raw = sys::shim_xstat { value: 3, ..sys::shim_xstat::default() };
        raw.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from.cast_signed());
        crate::Trouble::from_raw(&raw)
    };
    for name in ["rx_oversize_errors", "rx_jabber_errors", "rx_oversize_pkts_phy"] {
        assert!(counter(name).unwrap().is_too_long(), "{name}");
    }
    for name in ["rx_crc_errors", "rx_undersize_errors", "tx_dropped", "tx_oversize_errors", "rx_q0_errors"] {
        assert!(!counter(name).unwrap().is_too_long(), "{name}");
    }
    for name in ["rx_good_packets", "rx_missed_errors", "rx_errors", "tx_q0_bytes"] {
        assert!(counter(name).is_none(), "{name} is no trouble, or has a place of its own");
    }
}

#[test]
fn a_port_without_trouble_reports_none() {
    if !support::alone("tests::a_port_without_trouble_reports_none") {
        return;
    }
    let lab = Lab::new(&["net_null0"]);
    let pool = lab.pool(255, 2048);
    let (port, _queues) = lab.port("net_null0", CONFIG, &pool);
    assert_eq!(port.troubles().unwrap(), []);
}
