//! The version stamp of the final binary: `PORTCULLIS_VERSION`, the package's version and, in a git checkout, what
//! `git describe` calls the commit.
//!
//! The binary needs no link arguments of its own. DPDK is linked dynamically, and the `dpdk` crate's `rustc-link-lib`
//! and `rustc-link-search` do reach it; only `rustc-link-arg` would have to be repeated here. EAL loads the
//! drivers itself.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // HEAD names the branch; its log grows with every commit. In a work tree both lie elsewhere than in `.git`.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = git(&["describe", "--always", "--tags"]);
    let stamp = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=PORTCULLIS_VERSION={stamp}");
}

/// What git answers, if there is git, a checkout and an answer.
fn git(question: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(question).output().ok().filter(|answer| answer.status.success())?;
    let answer = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
    (!answer.is_empty()).then_some(answer)
}
