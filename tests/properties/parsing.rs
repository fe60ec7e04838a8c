//! The parser never panics and never reads past what the headers say.

use portcullis::model::{Direction, LinkIndex, Way};
use portcullis::packet::{Opaque, Outcome, Packet};
use portcullis::policy::decide;
use portcullis::testkit::frame;
use proptest::prelude::*;

use super::{a_world, dress};

/// Decides about a head that may be shorter than its frame, both ways.
fn decide_both_ways(head: &[u8], length: usize) {
    let world = a_world();
    for direction in Direction::ALL {
        let _ = decide(world.snapshot(), Way { link: LinkIndex(0), direction }, head, length);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decided_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), more in 0..2000usize) {
        decide_both_ways(&bytes, bytes.len());
        decide_both_ways(&bytes, bytes.len() + more);
        decide_both_ways(&bytes, bytes.len().saturating_sub(more)); // a length below the head's is believed
    }

    #[test]
    fn frames_with_some_bytes_changed_are_decided_without_panic(
        dress in dress(3),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = dress.put_on(frame().tcp(25)).bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        decide_both_ways(&bytes, bytes.len());
        decide_both_ways(&bytes[..cut.index(bytes.len())], bytes.len());
    }
}

/// IHL x version x total length x frame length: 1.7 million frames against ten lines of model.
#[test]
fn every_combination_of_ipv4_lengths_is_read_as_rfc_791_says() {
    // Every byte that could be taken for a port pair is distinct.
    let pattern: Vec<u8> = (0..80u8).map(|n| 100 + n).collect();
    for frame_bytes in 0..=80usize {
        for total_bytes in 0..=80u8 {
            for version_ihl in 0..=255u8 {
                let mut bytes = [&frame().bytes()[..14], &pattern[..frame_bytes]].concat();
                let header = [version_ihl, 0, 0, total_bytes, 0, 0, 0, 0, 64, 6];
                for (byte, header) in bytes[14..].iter_mut().zip(header) {
                    *byte = header;
                }
                let (version, ihl, total) =
                    (version_ihl >> 4, usize::from(version_ihl & 15) * 4, usize::from(total_bytes));
                let is_possible =
                    frame_bytes >= 20 && version == 4 && ihl >= 20 && ihl <= total && total <= frame_bytes;
                let outcome = Packet::parse(&bytes, bytes.len()).unwrap().outcome;
                match outcome {
                    Outcome::Tcp(ports) => {
                        assert!(is_possible && total - ihl >= 4, "{version_ihl:#x} {total} {frame_bytes}");
                        let at = 14 + ihl;
                        assert_eq!(ports.source.to_be_bytes(), bytes[at..at + 2]);
                        assert_eq!(ports.destination.to_be_bytes(), bytes[at + 2..at + 4]);
                    }
                    Outcome::Opaque(Opaque::Malformed) => {
                        assert!(!is_possible || total - ihl < 4, "{version_ihl:#x} {total} {frame_bytes}");
                    }
                    other => panic!("{other:?} for {version_ihl:#x} {total} {frame_bytes}"),
                }
            }
        }
    }
}
