//! Captures of every kind, built byte by byte.
#![allow(clippy::cast_possible_truncation, reason = "frames of a test are short")]

use std::io::Write as _;

use super::bytes::Order;
use super::*;

const FRAMES: [&[u8]; 3] = [&[1; 60], &[2; 14], &[3; 150]];

fn u32_of(order: Order, number: u32) -> [u8; 4] {
    match order {
        Order::Big => number.to_be_bytes(),
        Order::Little => number.to_le_bytes(),
    }
}

fn words(order: Order, numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|&number| u32_of(order, number)).collect()
}

fn pcap(order: Order, magic: u32, snap: u32, link_type: u32) -> Vec<u8> {
    let version = if order == Order::Big { 0x0002_0004 } else { 0x0004_0002 };
    let mut file = words(order, &[magic, version, 0, 0, snap, link_type]);
    for frame in FRAMES {
        file.extend(words(order, &[7, 8, frame.len() as u32, frame.len() as u32]));
        if magic == 0xa1b2_cd34 {
            file.extend([9; 8]);
        }
        file.extend(frame);
    }
    file
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = body.len() as u32 + 12;
    [words(order, &[kind, length]), body, words(order, &[length])].concat()
}

fn section(order: Order) -> Vec<u8> {
    let version = if order == Order::Big { 0x0001_0000 } else { 1 };
    block(order, 0x0a0d_0d0a, &words(order, &[0x1a2b_3c4d, version, u32::MAX, u32::MAX]))
}

fn interface(order: Order, link_type: u16, snap: u32, options: &[u8]) -> Vec<u8> {
    let link_type = if order == Order::Big { u32::from(link_type) << 16 } else { link_type.into() };
    block(order, 1, &[words(order, &[link_type, snap]), options.to_vec()].concat())
}

fn enhanced(order: Order, interface: u32, frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut body = words(order, &[interface, 0, 0, frame.len() as u32, frame.len() as u32]);
    body.extend(frame);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend(options);
    block(order, 6, &body)
}

fn pcapng(order: Order) -> Vec<u8> {
    let packets = FRAMES.iter().flat_map(|frame| enhanced(order, 0, frame, &[]));
    section(order).into_iter().chain(interface(order, 1, 0, &[])).chain(packets).collect()
}

/// The frames that are read, and how it ends.
fn frames(file: &[u8]) -> (Vec<Vec<u8>>, Result<End, String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    std::fs::write(&path, file).unwrap();
    let mut frames = Vec::new();
    let end = read(&path, |captured| {
        frames.push(captured.bytes.to_vec());
        true
    });
    let prefix = format!("{}: ", path.display());
    (frames, end.map_err(|error| error.to_string().strip_prefix(&prefix).unwrap().to_owned()))
}

#[track_caller]
fn all_are_read(file: &[u8]) {
    assert_eq!(frames(file), (FRAMES.map(<[u8]>::to_vec).to_vec(), Ok(End::Whole)));
}

const BOTH: [Order; 2] = [Order::Big, Order::Little];

#[test]
fn pcap_of_either_byte_order_and_any_resolution_is_read() {
    for order in BOTH {
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34] {
            all_are_read(&pcap(order, magic, 262_144, 1));
        }
    }
}

#[test]
fn flags_above_the_link_type_and_a_short_snap_length_are_no_matter() {
    for order in BOTH {
        all_are_read(&pcap(order, 0xa1b2_c3d4, 262_144, 0x3000_0001));
        all_are_read(&pcap(order, 0xa1b2_c3d4, 262_144, 0xf400_0001));
        all_are_read(&pcap(order, 0xa1b2_c3d4, 96, 1));
    }
}

#[test]
fn sections_of_both_byte_orders_are_read_one_after_the_other() {
    for order in BOTH {
        all_are_read(&pcapng(order));
    }
    let mixed = [pcapng(Order::Little), pcapng(Order::Big)].concat();
    let (read, end) = frames(&mixed);
    assert_eq!((read.len(), end), (6, Ok(End::Whole)));
    assert_eq!(read[3..], FRAMES.map(<[u8]>::to_vec));
}

#[test]
fn options_are_passed_over_whatever_they_say() {
    let latin1 = [&[1, 0, 4, 0][..], b"M\xfcnc", &[0; 4]].concat();
    let endless = [9, 0, 1, 0, 6, 0, 0, 0];
    let beyond = [1, 0, 0xff, 0xff, 0, 0, 0, 0];
    for options in [&latin1[..], &endless, &beyond] {
        let order = Order::Little;
        let mut file = [section(order), interface(order, 1, 0, options)].concat();
        FRAMES.iter().for_each(|frame| file.extend(enhanced(order, 0, frame, options)));
        all_are_read(&file);
    }
}

#[test]
fn simple_and_obsolete_packets_and_unknown_blocks_are_read_too() {
    for order in BOTH {
        let mut file = [section(order), block(order, 0x0bad, &[1, 2, 3]), interface(order, 1, 60, &[])].concat();
        file.extend(block(order, 3, &[u32_of(order, 60).to_vec(), FRAMES[0].to_vec()].concat()));
        file.extend(block(order, 2, &[words(order, &[0, 0, 0, 14, 14]), FRAMES[1].to_vec()].concat()));
        file.extend(block(order, 3, &[u32_of(order, 150).to_vec(), FRAMES[2][..60].to_vec()].concat()));
        let (read, end) = frames(&file);
        assert_eq!((read, end), (vec![vec![1; 60], vec![2; 14], vec![3; 60]], Ok(End::Whole)), "{order:?}");
    }
}

#[test]
fn gzip_is_looked_through() {
    for file in [pcap(Order::Big, 0xa1b2_c3d4, 0, 1), pcapng(Order::Little)] {
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(&file).unwrap();
        let zipped = zip.finish().unwrap();
        all_are_read(&zipped);
        let (read, end) = frames(&zipped[..zipped.len() - 12]);
        assert!(read.len() <= 3);
        assert_eq!(end, Ok(End::CutOff));
    }
}

#[test]
fn what_is_cut_off_anywhere_gives_the_whole_packets_before() {
    for file in [pcap(Order::Little, 0xa1b2_c3d4, 0, 1), pcapng(Order::Big)] {
        let mut ends_whole = 0;
        for length in 0..=file.len() {
            let (read, end) = frames(&file[..length]);
            let expected: Vec<_> = FRAMES.iter().take(read.len()).map(|frame| frame.to_vec()).collect();
            assert_eq!(read, expected, "{length} bytes");
            match end {
                Ok(End::Whole) => ends_whole += 1,
                Ok(End::CutOff) => {}
                Err(error) => panic!("{length} bytes: {error}"),
            }
        }
        assert!((5..=6).contains(&ends_whole), "empty, the header, each record: {ends_whole}");
    }
}

#[test]
fn the_packet_that_makes_no_sense_is_named() {
    let order = Order::Little;
    let with = |last: Vec<u8>| [pcapng(order), last].concat();
    let mut odd_length = enhanced(order, 0, FRAMES[0], &[]);
    let at = odd_length.len() - 4;
    odd_length[at] ^= 4;
    let mut too_long = enhanced(order, 0, FRAMES[1], &[]);
    too_long[20..24].copy_from_slice(&u32_of(order, 5000));
    let mut huge = pcap(order, 0xa1b2_c3d4, 0, 1);
    huge.extend(words(order, &[0, 0, u32::MAX, 60]));
    for (file, packet, what) in [
        (with(enhanced(order, 7, FRAMES[0], &[])), 4, "interface 7, and the section describes 1"),
        (
            with([section(order), enhanced(order, 0, FRAMES[0], &[])].concat()),
            4,
            "interface 0, and the section describes 0",
        ),
        (with(odd_length), 4, "begins with length"),
        (with(too_long), 4, "claims to have 5000 bytes"),
        (with(words(order, &[6, 8])), 4, "claims to have 8 bytes"),
        (huge, 4, "claims to hold 4294967295 bytes"),
        (pcap(order, 0xa1b2_c3d4, 0, 113), 1, "its link type is 113, not Ethernet"),
        ([section(order), interface(order, 113, 0, &[]), enhanced(order, 0, FRAMES[0], &[])].concat(), 1, "113"),
    ] {
        let (read, end) = frames(&file);
        let error = end.unwrap_err();
        assert!(error.starts_with(&format!("packet {packet}: ")) && error.contains(what), "{error}");
        assert_eq!(read.len() + 1, packet, "those before it are read");
    }
}

#[test]
fn what_is_no_capture_is_told_what_it_is() {
    for (file, what) in [
        (&b"{\"id\":\"web1\"}\n"[..], "is not a capture (neither pcap nor pcapng)"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0, 0], "compressed with zstd"),
        (&[0x04, 0x22, 0x4d, 0x18, 0, 0], "compressed with lz4"),
    ] {
        assert!(frames(file).1.unwrap_err().contains(what));
    }
    assert_eq!(frames(b""), (vec![], Ok(End::Whole)), "stopped before its header was written");
    let error = read(Path::new("/nonexistent/c"), |_| true).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/c: "));
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.pcap");
    let mut writer = Writer::create(&path).unwrap();
    FRAMES.iter().for_each(|frame| writer.add(frame).unwrap());
    writer.finish().unwrap();
    all_are_read(&std::fs::read(&path).unwrap());
}
