//! Pools and bursts. One process per test: see `support::alone`.

mod support;

use dpdk::{BURST_FRAMES_MAX, Burst, Error, Mempool};
use support::{Lab, alone, bytes, frame};

#[test]
fn a_pool_runs_out_and_is_full_again_afterwards() {
    if !alone("a_pool_runs_out_and_is_full_again_afterwards") {
        return;
    }
    let lab = Lab::new(&[]);
    let pool = lab.pool(31, 256);
    let mut burst = Burst::new(&lab.eal);
    for number in 0..31 {
        assert!(burst.push_copy(&pool, &frame(number, 60)));
    }
    assert_eq!((pool.capacity(), pool.available(), pool.in_use()), (31, 0, 31));
    assert!(!burst.push_copy(&pool, &[0; 60]), "the pool is empty");
    assert_eq!(burst.len(), 31);
    burst.clear();
    assert!(burst.is_empty());
    assert_eq!(pool.available(), 31);

    assert!(burst.push_copy(&pool, &vec![1; 256 * 31]), "one frame of all buffers");
    assert_eq!(pool.available(), 0);
    burst.clear();
    assert!(!burst.push_copy(&pool, &vec![1; 256 * 31 + 1]), "one byte more than the pool can hold");
    assert_eq!(pool.available(), 31, "a frame that did not fit leaves nothing behind");

    assert!(burst.push_copy(&pool, &[1; 60]));
    drop(burst);
    assert_eq!(pool.available(), 31, "a dropped burst frees its frames");
}

#[test]
fn a_burst_outlives_every_other_handle() {
    if !alone("a_burst_outlives_every_other_handle") {
        return;
    }
    let lab = Lab::new(&[]);
    let pool = lab.pool(31, 256);
    let mut burst = Burst::new(&lab.eal);
    assert!(burst.push_copy(&pool, &frame(7, 60)));
    drop(pool);
    drop(lab);
    assert_eq!(burst.head(0), frame(7, 60));
    std::thread::spawn(move || drop(burst)).join().expect("the last owner, on another thread, ends EAL");
}

#[test]
fn keep_frees_exactly_the_others_and_holds_the_order() {
    if !alone("keep_frees_exactly_the_others_and_holds_the_order") {
        return;
    }
    let lab = Lab::new(&[]);
    let pool = lab.pool(127, 256);
    let mut burst = Burst::new(&lab.eal);
    // Every mask for short bursts, then patterns and pseudo-random masks for all lengths.
    let mut masks: Vec<(u32, u64)> = (0..=6).flat_map(|len| (0..1 << len).map(move |mask| (len, mask))).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for len in 0..=64 {
        masks.extend([0, u64::MAX, 0xaaaa_aaaa_aaaa_aaaa, 0x5555_5555_5555_5555, 1, 1 << 63].map(|mask| (len, mask)));
        for _ in 0..50 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            masks.push((len, random));
        }
    }
    for (len, mask) in masks {
        for number in 0..len {
            assert!(burst.push_copy(&pool, &frame(number, 20)));
        }
        burst.keep(mask);
        let expected: Vec<_> = (0..len).filter(|i| mask >> i & 1 == 1).map(|i| frame(i, 20)).collect();
        let found: Vec<_> = (0..burst.len()).map(|i| burst.head(i).to_vec()).collect();
        assert_eq!(found, expected, "{len} frames, mask {mask:#x}");
        assert_eq!(pool.in_use() as usize, expected.len(), "{len} frames, mask {mask:#x}");
        burst.clear();
        assert_eq!(pool.available(), 127);
    }
}

#[test]
fn gather_reads_over_segments_and_stops_where_the_slice_or_the_frame_does() {
    if !alone("gather_reads_over_segments_and_stops_where_the_slice_or_the_frame_does") {
        return;
    }
    let lab = Lab::new(&[]);
    let pool = lab.pool(127, 16);
    let mut burst = Burst::new(&lab.eal);
    for length in [0, 1, 15, 16, 17, 31, 32, 33, 160, 1514] {
        let original = frame(3, length);
        assert!(burst.push_copy(&pool, &original));
        assert_eq!(burst.length(0), length);
        assert_eq!(burst.head(0), &original[..length.min(16)], "the head is the first buffer");
        assert_eq!(bytes(&burst, 0), original);
        for room in [0, 1, 15, 16, 17, 40, length + 9] {
            let mut into = vec![0xee; room];
            let copied = burst.gather(0, &mut into);
            assert_eq!(copied, room.min(length));
            assert_eq!(into[..copied], original[..copied]);
            assert!(into[copied..].iter().all(|&byte| byte == 0xee), "beyond the frame nothing is written");
        }
        burst.clear();
        assert_eq!(pool.available(), 127);
    }
}

#[test]
fn an_index_beyond_the_burst_reads_nothing() {
    if !alone("an_index_beyond_the_burst_reads_nothing") {
        return;
    }
    let lab = Lab::new(&[]);
    let pool = lab.pool(31, 256);
    let mut burst = Burst::new(&lab.eal);
    assert!(burst.push_copy(&pool, &frame(1, 60)) && burst.push_copy(&pool, &frame(2, 60)));
    burst.keep(0b01);
    for index in [1, 2, 63, 64, usize::MAX] {
        assert_eq!((burst.head(index), burst.length(index)), (&[][..], 0), "{index}");
        assert_eq!(burst.gather(index, &mut [0; 8]), 0);
    }
}

#[test]
fn a_burst_takes_no_more_than_its_limit() {
    if !alone("a_burst_takes_no_more_than_its_limit") {
        return;
    }
    let lab = Lab::new(&[]);
    let pool = lab.pool(127, 256);
    for (asked, had) in [(0, 1), (1, 1), (32, 32), (64, BURST_FRAMES_MAX), (65, BURST_FRAMES_MAX)] {
        let mut burst = Burst::with_limit(&lab.eal, asked);
        while burst.push_copy(&pool, &[0; 60]) {}
        assert_eq!(burst.len(), had);
    }
    assert_eq!(pool.available(), 127);
}

#[test]
fn packed_buffers_do_without_a_page_each_and_are_as_good() {
    if !alone("packed_buffers_do_without_a_page_each_and_are_as_good") {
        return;
    }
    let lab = Lab::new(&[]);
    // 64 MiB of ordinary pages hold 16,000 buffers of a page each, or 27,000 packed ones.
    assert!(matches!(Mempool::new(&lab.eal, "dma", 20_000, 0, 2048).unwrap_err(), Error::Pool { .. }));
    let pool = Mempool::packed(&lab.eal, "packed", 20_000, 0, 2048).expect("fits");
    let mut bursts: Vec<Burst> = (0..20_000 / 64).map(|_| Burst::new(&lab.eal)).collect();
    for (number, burst) in (0..).zip(&mut bursts) {
        while burst.len() < 32 {
            assert!(burst.push_copy(&pool, &frame(number, 2048)) && burst.push_copy(&pool, &frame(!number, 60)));
        }
        assert!(burst.push_copy(&pool, &frame(number, 9000)), "a chain");
    }
    for (number, burst) in (0..).zip(&bursts) {
        for index in 0..16 {
            assert_eq!(bytes(burst, 2 * index), frame(number, 2048), "no buffer reaches into another");
            assert_eq!(bytes(burst, 2 * index + 1), frame(!number, 60));
        }
        assert_eq!(bytes(burst, 32), frame(number, 9000));
    }
    drop(bursts);
    assert_eq!(pool.available(), 20_000);
    assert!(matches!(Mempool::packed(&lab.eal, "packed", 31, 0, 256).unwrap_err(), Error::Pool { .. }), "name taken");
}

#[test]
fn a_pool_that_cannot_be_made_says_why() {
    if !alone("a_pool_that_cannot_be_made_says_why") {
        return;
    }
    let lab = Lab::new(&[]);
    let error = Mempool::new(&lab.eal, "large", 1 << 20, 256, 2048).unwrap_err();
    let Error::Pool { bytes, .. } = &error else { panic!("{error}") };
    assert!(*bytes > (1 << 20) * 2048, "{error}");
    assert!(error.to_string().contains(&bytes.to_string()), "{error}");

    let _first = lab.pool(31, 256);
    assert!(matches!(Mempool::new(&lab.eal, "pool", 31, 0, 256).unwrap_err(), Error::Pool { .. }), "the name is taken");
    for (mbufs, cache, room) in [(0, 0, 256), (31, 0, 0), (31, 0, u16::MAX), (31, 31, 256), (8191, 513, 64)] {
        let error = Mempool::new(&lab.eal, "shape", mbufs, cache, room).unwrap_err();
        assert!(matches!(error, Error::PoolShape { .. }), "{error}");
    }
    assert!(matches!(Mempool::new(&lab.eal, "a\0b", 31, 0, 256).unwrap_err(), Error::PoolShape { .. }));
}

#[test]
fn frames_move_to_another_burst_and_none_is_lost() {
    if !alone("frames_move_to_another_burst_and_none_is_lost") {
        return;
    }
    let lab = Lab::new(&[]);
    let pool = lab.pool(127, 256);
    let all = |burst: &Burst| (0..burst.len()).map(|index| bytes(burst, index)).collect::<Vec<_>>();
    for (count, mask, limit) in [(5, 0b10010, 64), (64, 0xf0f0_0f0f_aaaa_5555, 64), (64, u64::MAX, 3), (3, 0, 8)] {
        let (mut from, mut to) = (Burst::new(&lab.eal), Burst::with_limit(&lab.eal, limit));
        assert!(to.push_copy(&pool, &frame(99, 60)));
        for number in 0..count {
            assert!(from.push_copy(&pool, &frame(number, 60)));
        }
        let moved = from.move_to(mask, &mut to);
        let wanted = (0..count).filter(|number| mask >> number & 1 == 1).take(limit - 1);
        assert_eq!(moved, wanted.clone().fold(0, |set, number| set | 1 << number), "as far as there is room");
        let stayed: Vec<_> =
            (0..count).filter(|number| moved >> number & 1 == 0).map(|number| frame(number, 60)).collect();
        assert_eq!(all(&from), stayed);
        let arrived: Vec<_> = std::iter::once(99).chain(wanted).map(|number| frame(number, 60)).collect();
        assert_eq!(all(&to), arrived);
        drop((from, to));
        assert_eq!(pool.available(), 127, "each is freed once");
    }
}

#[test]
fn a_frame_is_written_anew_where_it_is_one_piece() {
    if !alone("a_frame_is_written_anew_where_it_is_one_piece") {
        return;
    }
    let lab = Lab::new(&[]);
    let pool = lab.pool(31, 256);
    let mut burst = Burst::new(&lab.eal);
    assert!(burst.push_copy(&pool, b"portcullis") && burst.push_copy(&pool, &[7; 600]));
    let bytes = burst.rewrite(0, 14).expect("it is one piece and has room");
    assert_eq!(bytes, b"portcullis\0\0\0\0");
    bytes[..4].copy_from_slice(b"PORT");
    assert_eq!((burst.head(0), burst.length(0)), (&b"PORTcullis\0\0\0\0"[..], 14));
    assert_eq!(burst.rewrite(0, 4).map(|bytes| bytes.to_vec()), Some(b"PORT".to_vec()));
    assert_eq!(burst.rewrite(0, 6).map(|bytes| bytes.to_vec()), Some(b"PORT\0\0".to_vec()), "what was cut off is gone");
    assert!(burst.rewrite(0, 257).is_none() && burst.rewrite(0, usize::MAX).is_none(), "no room");
    assert!(burst.rewrite(1, 60).is_none(), "chained");
    assert!(burst.rewrite(2, 60).is_none(), "not there");
    assert_eq!((burst.length(0), burst.length(1)), (6, 600), "what is refused changes nothing");
}
