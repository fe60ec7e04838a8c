//! The documents are read, and held to the code: `docs/policy.md`, the contract, `docs/design.md`, the map, and the exit codes of
//! `docs/operate.md`.
//!
//! What stands in two places drifts apart unless somebody compares: names and meanings of reasons, rule numbers, quoted
//! sentences, and which part of the crate may use which.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end in a panic")]

mod design;
mod exit;
mod policy;

use std::fs;
use std::path::{Path, PathBuf};

/// The text of a file of the tree.
fn text(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder whose name ends so, with its path from the root.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has files that end with {ending}");
    found
}

/// The lines of a section of a Markdown text, without those of sections below it.
fn section<'t>(text: &'t str, heading: &str) -> Vec<&'t str> {
    let lines: Vec<_> = text.lines().skip_while(|line| *line != heading).skip(1).collect();
    assert!(!lines.is_empty(), "there is a section `{heading}`");
    lines.into_iter().take_while(|line| !line.starts_with('#')).collect()
}

/// The cells of a table's rows, its head left out.
fn table<'t>(lines: &[&'t str]) -> Vec<Vec<&'t str>> {
    let rows = lines.iter().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}
