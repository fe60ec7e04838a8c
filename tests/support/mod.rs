//! What more than one test program needs beside `portcullis::testkit`: files of the tree, and captures.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

/// A file below `tests/`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The text of a file below `tests/`.
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("tests/{name}: {error}"))
}

/// The frames of a capture: classic pcap, little-endian microseconds, Ethernet, as `pcapfile.py` writes it.
pub(crate) fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((u32_at(0), u32_at(20)), (0xa1b2_c3d4, 1), "{}: not the pcap we write", path.display());
    let mut frames = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let (captured, length) = (u32_at(at + 8), u32_at(at + 12));
        assert_eq!(captured, length, "{}: frame {} was cut", path.display(), frames.len() + 1);
        at += 16 + captured as usize;
        frames.push(bytes[at - captured as usize..at].to_vec());
    }
    frames
}
