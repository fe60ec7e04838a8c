//! What more than one test program needs beside `portcullis::testkit`: files of the tree, captures, and
//! what the caller wants left out.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file below `tests/`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The text of a file below `tests/`.
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("tests/{name}: {error}"))
}

/// The frames of a capture: classic pcap, little-endian, Ethernet, as `pcapfile.py` and DPDK write it.
pub(crate) fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    // Microseconds, or nanoseconds, as DPDK writes them.
    assert!(matches!(u32_at(0), 0xa1b2_c3d4 | 0xa1b2_3c4d), "{}: not a pcap of this machine", path.display());
    assert_eq!(u32_at(20), 1, "{}: not Ethernet", path.display());
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

/// Debian's, because scapy is Debian's too.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Whether the caller said, by `PORTCULLIS_SKIP`, that something is to be left out. Without that a missing means is a
/// failure: a test that passes without having looked is worse than none.
#[allow(clippy::print_stdout, reason = "nextest shows it with the test")]
pub(crate) fn is_left_out(name: &str, because: &str) -> bool {
    let skip = std::env::var("PORTCULLIS_SKIP").unwrap_or_default();
    let left_out = skip.split([',', ' ']).any(|word| word == name);
    if left_out {
        println!("left out: PORTCULLIS_SKIP lists {name}, so {because}");
    }
    left_out
}

/// Whether the independent judge is left out; without that it must be there.
pub(crate) fn scapy_is_left_out() -> bool {
    if is_left_out("scapy", "the box is not compared with the independent judge") {
        return true;
    }
    let found = Command::new(PYTHON).args(["-c", "import scapy"]).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "{PYTHON} with scapy is needed to judge frames independently: run `make setup` (it installs python3-scapy), or \
         set PORTCULLIS_SKIP=scapy to go without"
    );
    false
}
