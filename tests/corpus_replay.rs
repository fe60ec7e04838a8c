//! Replays `tests/corpus`: seeds, and whatever fuzzing found, through the functions that are fuzzed.
//!
//! A file that made a target panic is put there under a name that says what it was (`parser/snap-in-third-tag`), and
//! stays.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end in a panic")]
#![allow(clippy::print_stdout, reason = "which file it is")]

#[path = "support/fuzzed.rs"]
mod fuzzed;
mod support;

use std::fs;

#[test]
fn nothing_that_was_ever_found_is_found_again() {
    for (name, target) in fuzzed::TARGETS {
        let directory = support::path("corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no seeds", directory.display());
        for file in files {
            println!("{}", file.display()); // the last one printed is the one that panicked
            target(&fs::read(&file).unwrap());
        }
    }
}

/// The golden captures are a corpus, too: too large to be kept a second time, and quick enough.
#[test]
fn golden_frames_hold_what_is_promised_to_the_fuzzer() {
    for (capture, direction) in [("golden-inside", 0), ("golden-outside", 1), ("runts-inside", 0), ("sizes-inside", 0)]
    {
        for (at, frame) in
            support::read_pcap(&support::path("pcaps").join(capture).with_extension("pcap")).iter().enumerate()
        {
            let cut = u8::try_from(at % 128).unwrap();
            fuzzed::parser(&[&[direction | cut << 1], &frame[..]].concat());
        }
    }
}
