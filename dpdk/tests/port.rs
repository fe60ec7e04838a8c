//! Ports and queues over DPDK's virtual devices. One process per test: see `support::alone`.

mod support;

use dpdk::{Burst, Error, Port, PortConfig, PortInfo, PortNote, lcore};
use support::{CONFIG, Lab, alone, bytes, frame, read_pcap, write_pcap};

#[test]
fn a_ring_gives_back_what_was_sent_in_order() {
    if !alone("a_ring_gives_back_what_was_sent_in_order") {
        return;
    }
    let lab = Lab::new(&["net_ring0"]);
    let pool = lab.pool(255, 256);
    let (port, mut queues) = lab.port("net_ring0", CONFIG, &pool);
    let (rx, tx) = &mut queues[0];
    let mut burst = Burst::new(&lab.eal);
    assert_eq!(rx.receive(&mut burst), 0, "nothing was sent yet");
    for number in 0..40 {
        assert!(burst.push_copy(&pool, &frame(number, 60 + number as usize * 10)));
    }
    assert_eq!(tx.send(&mut burst), 40);
    assert!(burst.is_empty());
    let mut small = Burst::with_limit(&lab.eal, 32);
    assert_eq!(rx.receive(&mut small), 32, "as many as there is room for");
    assert_eq!(rx.receive(&mut small), 0, "a full burst takes nothing");
    assert_eq!(rx.receive(&mut burst), 8);
    for number in 0..40_u32 {
        let at = number as usize;
        let found = if at < 32 { bytes(&small, at) } else { bytes(&burst, at - 32) };
        assert_eq!(found, frame(number, 60 + at * 10), "{number}");
    }
    let stats = port.stats().expect("counts");
    assert_eq!((stats.rx_frames, stats.tx_frames), (40, 40));
    drop((burst, small));
    port.close(queues).expect("closes");
    assert_eq!(pool.available(), 255);
}

#[test]
fn receive_appends_behind_what_the_burst_holds() {
    if !alone("receive_appends_behind_what_the_burst_holds") {
        return;
    }
    let lab = Lab::new(&["net_ring0"]);
    let pool = lab.pool(255, 256);
    let (_port, mut queues) = lab.port("net_ring0", CONFIG, &pool);
    let (rx, tx) = &mut queues[0];
    let mut burst = Burst::new(&lab.eal);
    assert!(burst.push_copy(&pool, &frame(1, 60)));
    assert_eq!(tx.send(&mut burst), 1);
    assert!(burst.push_copy(&pool, &frame(2, 60)));
    assert_eq!(rx.receive(&mut burst), 1);
    assert_eq!((burst.head(0), burst.head(1)), (&frame(2, 60)[..], &frame(1, 60)[..]));
}

#[test]
fn what_a_full_queue_refuses_stays_in_the_burst_in_order() {
    if !alone("what_a_full_queue_refuses_stays_in_the_burst_in_order") {
        return;
    }
    let lab = Lab::new(&["net_ring0"]);
    let pool = lab.pool(2047, 64);
    let (port, mut queues) = lab.port("net_ring0", CONFIG, &pool);
    let (rx, tx) = &mut queues[0];
    let mut burst = Burst::with_limit(&lab.eal, 48);
    let (mut next, mut sent) = (0, 0);
    while burst.is_empty() {
        while burst.push_copy(&pool, &frame(next, 60)) {
            next += 1;
        }
        sent += tx.send(&mut burst);
    }
    assert_eq!(sent + burst.len(), next as usize);
    assert!(sent >= 1000 && !burst.is_empty(), "{sent} sent, {} refused", burst.len());
    for at in 0..burst.len() {
        assert_eq!(burst.head(at), frame(u32::try_from(sent + at).expect("small"), 60), "refused frame {at}");
    }
    assert_eq!(tx.send(&mut burst), 0, "still full");

    let mut back = Burst::new(&lab.eal);
    let mut seen = 0;
    while rx.receive(&mut back) > 0 {
        for at in 0..back.len() {
            assert_eq!(back.head(at), frame(seen, 60));
            seen += 1;
        }
        back.clear();
        tx.send(&mut burst);
    }
    assert_eq!(seen, next, "with room again the refused ones follow");
    assert_eq!(pool.available(), 2047);
    port.close(queues).expect("closes");
}

#[test]
fn frames_left_in_a_ring_come_back_when_the_port_closes_or_eal_ends() {
    if !alone("frames_left_in_a_ring_come_back_when_the_port_closes_or_eal_ends") {
        return;
    }
    let lab = Lab::new(&["net_ring0"]);
    let pool = lab.pool(255, 64);
    let (port, mut queues) = lab.port("net_ring0", CONFIG, &pool);
    let mut burst = Burst::new(&lab.eal);
    while burst.push_copy(&pool, &[0; 60]) {}
    queues[0].1.send(&mut burst);
    drop(pool); // the ring holds frames of it; they must stay valid
    drop(port);
    let mut back = Burst::new(&lab.eal);
    assert_eq!(queues[0].0.receive(&mut back), 64, "queues keep the device running without its Port");
    assert_eq!(back.head(63), [0; 60]);
}

#[test]
fn a_million_bursts_leak_nothing() {
    if !alone("a_million_bursts_leak_nothing") {
        return;
    }
    // The short form; `make soak` runs longer. A quarter of the frames is dropped on the way, and the full ring
    // refuses some.
    let lab = Lab::new(&["net_null0,size=64", "net_null1,no-rx=1"]);
    let pool = dpdk::Mempool::new(&lab.eal, "pool", 511, 64, 2048).expect("a small pool");
    let (source, mut from) = lab.port("net_null0", CONFIG, &pool);
    let (sink, mut to) = lab.port("net_null1", CONFIG, &pool);
    let eal = lab.eal.clone();
    let job = lcore::launch(&lab.eal, lab.worker(), move || {
        let mut burst = Burst::with_limit(&eal, 32);
        let mut lengths = 0;
        for turn in 0..1_000_000_u64 {
            from[0].0.receive(&mut burst);
            for at in 0..burst.len() {
                lengths += burst.head(at).len();
            }
            burst.keep(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x5555_5555);
            to[0].1.send(&mut burst);
            burst.clear();
        }
        assert_eq!(lengths, 1_000_000 * 32 * 64);
    });
    job.expect("launches").wait();
    assert_eq!(pool.available(), 511);
    assert_eq!(source.stats().expect("counts").rx_frames, 32_000_000);
    let forwarded = sink.stats().expect("counts").tx_frames;
    assert!((16_000_000..32_000_000).contains(&forwarded), "{forwarded}");
}

#[test]
fn an_empty_pool_stops_receiving_until_frames_come_back() {
    if !alone("an_empty_pool_stops_receiving_until_frames_come_back") {
        return;
    }
    let lab = Lab::new(&["net_null0,size=64"]);
    let pool = lab.pool(63, 256);
    let (_port, mut queues) = lab.port("net_null0", CONFIG, &pool);
    let mut held = Burst::with_limit(&lab.eal, 60);
    let mut burst = Burst::with_limit(&lab.eal, 32);
    assert_eq!(queues[0].0.receive(&mut held), 60);
    assert_eq!(queues[0].0.receive(&mut burst), 0, "three buffers are too few for a bulk of 32");
    held.clear();
    assert_eq!(queues[0].0.receive(&mut burst), 32);
    drop((burst, held));
    assert_eq!(pool.available(), 63);
}

#[test]
fn captures_go_through_byte_for_byte_chained_or_not() {
    if !alone("captures_go_through_byte_for_byte_chained_or_not") {
        return;
    }
    let folder = Lab::prepare();
    let lengths = [1, 13, 14, 15, 59, 60, 63, 64, 65, 127, 128, 129, 1514, 1518, 2047, 2048, 2049, 9018];
    let frames: Vec<_> = lengths.iter().zip(1..).map(|(&length, number)| frame(number, length)).collect();
    write_pcap(&folder.join("in.pcap"), &frames);
    let lab = Lab::new(&["net_pcap0,rx_pcap=DIR/in.pcap,tx_pcap=DIR/out.pcap"]);
    let pool = lab.pool(1023, 64);
    let (port, mut queues) = lab.port("net_pcap0", CONFIG, &pool);
    let mut burst = Burst::new(&lab.eal);
    while queues[0].0.receive(&mut burst) > 0 {}
    assert_eq!(burst.len(), frames.len());
    for (at, original) in frames.iter().enumerate() {
        assert_eq!(&bytes(&burst, at), original);
        assert_eq!(burst.head(at), &original[..original.len().min(64)], "chained beyond 64 bytes");
    }
    assert_eq!(queues[0].1.send(&mut burst), frames.len());
    let stats = port.close(queues).expect("closes, and writes the file out");
    assert_eq!((stats.rx_frames, stats.tx_frames, stats.tx_errors), (18, 18, 0));
    assert_eq!(read_pcap(&lab.folder().join("out.pcap")), frames);
    assert_eq!(pool.available(), 1023);
}

#[test]
fn more_queues_than_the_device_has_is_an_error_with_its_limit() {
    if !alone("more_queues_than_the_device_has_is_an_error_with_its_limit") {
        return;
    }
    let lab = Lab::new(&["net_ring0", "net_null0"]);
    let pool = lab.pool(255, 2048);
    let id = lab.eal.port_by_name("net_ring0").expect("exists");
    let info = PortInfo::query(&lab.eal, id).expect("answers");
    assert_eq!((info.name.as_str(), info.driver.as_str()), ("net_ring0", "net_ring"));
    let asked = info.max_rx_queues + 1;
    let error = Port::configure(&lab.eal, id, &PortConfig { queues: asked, ..CONFIG }, &pool).unwrap_err();
    let expected = Error::TooManyQueues {
        port: "net_ring0".into(),
        asked,
        rx_queues_max: info.max_rx_queues,
        tx_queues_max: info.max_tx_queues,
    };
    assert_eq!(error, expected);
    let none = Port::configure(&lab.eal, id, &PortConfig { queues: 0, ..CONFIG }, &pool).unwrap_err();
    assert_eq!(none, Error::NoQueues(id));
    let port = Port::configure(&lab.eal, id, &CONFIG, &pool).expect("with fewer queues it can be had");
    assert_eq!(Port::configure(&lab.eal, id, &CONFIG, &pool).unwrap_err(), Error::PortInUse(id));
    drop(port);
    Port::configure(&lab.eal, id, &CONFIG, &pool).expect("a port that never ran can be had again");
}

#[test]
fn several_queues_are_several_handles_and_missing_rss_is_a_note() {
    if !alone("several_queues_are_several_handles_and_missing_rss_is_a_note") {
        return;
    }
    let folder = Lab::prepare();
    let frames = [vec![frame(1, 60)], vec![frame(2, 60)]];
    write_pcap(&folder.join("0.pcap"), &frames[0]);
    write_pcap(&folder.join("1.pcap"), &frames[1]);
    let lab = Lab::new(&[
        "net_pcap0,rx_pcap=DIR/0.pcap,rx_pcap=DIR/1.pcap,tx_pcap=DIR/2.pcap,tx_pcap=DIR/3.pcap",
        "net_null0",
    ]);
    let pool = lab.pool(255, 2048);
    let (port, mut queues) = lab.port("net_pcap0", PortConfig { queues: 2, ..CONFIG }, &pool);
    assert_eq!(port.queues(), 2);
    assert!(port.notes().contains(&PortNote::RssUnavailable { queues: 2 }), "{:?}", port.notes());
    let mut burst = Burst::new(&lab.eal);
    for (at, (rx, tx)) in queues.iter_mut().enumerate() {
        assert_eq!((usize::from(rx.index()), usize::from(tx.index())), (at, at));
        assert_eq!(rx.receive(&mut burst), 1);
        assert_eq!(burst.head(0), frames[at][0]);
        assert_eq!(tx.send(&mut burst), 1);
    }
    port.close(queues).expect("closes");
    assert_eq!([2, 3].map(|n| read_pcap(&folder.join(format!("{n}.pcap")))), frames);

    let (port, _queues) = lab.port("net_null0", PortConfig { queues: 2, ..CONFIG }, &pool);
    assert!(!port.notes().iter().any(|note| matches!(note, PortNote::RssUnavailable { .. })), "{:?}", port.notes());
}

#[test]
fn an_mtu_the_device_refuses_is_a_note_and_the_port_runs() {
    if !alone("an_mtu_the_device_refuses_is_a_note_and_the_port_runs") {
        return;
    }
    let lab = Lab::new(&["net_null0"]);
    let pool = lab.pool(255, 2048);
    let id = lab.eal.port_by_name("net_null0").expect("exists");
    let port = Port::configure(&lab.eal, id, &PortConfig { mtu: 20, ..CONFIG }, &pool).expect("configures");
    let actual = port.info().mtu;
    assert_ne!(actual, 20);
    assert!(port.notes().contains(&PortNote::MtuRefused { asked: 20, actual }), "{:?}", port.notes());
    port.start().expect("starts");
}

#[test]
fn the_link_can_be_read_and_moved_where_the_driver_can() {
    if !alone("the_link_can_be_read_and_moved_where_the_driver_can") {
        return;
    }
    let lab = Lab::new(&["net_ring0", "net_null0"]);
    let pool = lab.pool(255, 2048);
    let (port, _queues) = lab.port("net_ring0", CONFIG, &pool);
    assert!(port.link().expect("answers").up);
    port.set_link(false).expect("net_ring can");
    assert!(!port.link().expect("answers").up);
    port.set_link(true).expect("net_ring can");
    assert!(port.link().expect("answers").up);
    let (null, _queues) = lab.port("net_null0", CONFIG, &pool);
    let error = null.set_link(false).unwrap_err();
    assert!(error.to_string().starts_with("net_null0: cannot bring the link down: "), "{error}");
}

#[test]
fn a_port_closes_when_its_last_queue_is_gone() {
    if !alone("a_port_closes_when_its_last_queue_is_gone") {
        return;
    }
    let lab = Lab::new(&["net_null0"]);
    let pool = lab.pool(255, 2048);
    let (port, mut queues) = lab.port("net_null0", CONFIG, &pool);
    let id = port.id();
    let (mut rx, tx) = queues.pop().expect("one queue");
    assert_eq!(port.close(queues).unwrap_err(), Error::QueuesHeld { port: "net_null0".into() });
    drop(tx);
    let mut burst = Burst::new(&lab.eal);
    assert_eq!(rx.receive(&mut burst), 64, "still running");
    drop(rx);
    assert_eq!(PortInfo::query(&lab.eal, id).unwrap_err(), Error::NoSuchPort(id), "closed");
    drop(burst);
    assert_eq!(pool.available(), 255);
}
