//! `portcullis store`: the files that keep VMs, without a daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::json;

use super::out::print;
use crate::failure::{Cause, Failure};
use crate::store::file::{self, FileError};

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
    /// Print one JSON object; an error too, as {"error":{...}}
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Examine a file of the store that no daemon has open: every page, every record
    #[command(after_help = "\
Examples:
  portcullis store check /var/lib/portcullis/state.redb

The daemon does so by itself at every start. Exit code 78 means that the file is damaged.")]
    Check {
        /// The file: `store.path`, or its copy
        file: PathBuf,
    },
    /// Print every VM of a file of the store that no daemon has open, one JSON object a line, as `vm set --file` takes it
    Export {
        /// The file: `store.path`, or its copy
        file: PathBuf,
    },
}

impl StoreArgs {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            StoreCommand::Check { file } => {
                limit_memory();
                let summary = file::examine(&file).map_err(failure)?;
                if self.json {
                    return print(&json!(summary).to_string());
                }
                let (vms, revision) = (summary.vms, summary.revision.0);
                print(&format!("{}: fine; {vms} VMs, revision {revision}", file.display()))
            }
            StoreCommand::Export { file } => {
                file::examine(&file).map_err(failure)?;
                let mut lines = String::new();
                file::File::open(&file)
                    .and_then(|opened| {
                        opened.each(|set| {
                            if let Ok(vm) = set.onto(None) {
                                lines += &json!(vm).to_string();
                                lines.push('\n');
                            }
                        })
                    })
                    .map_err(failure)?;
                print(lines.trim_end())
            }
        }
    }
}

/// A damaged length must not take the machine's memory: what asks for more than this ends here.
fn limit_memory() {
    let limit = Rlimit { current: Some(MEMORY_BYTES), maximum: Some(MEMORY_BYTES) };
    let _ = setrlimit(Resource::As, limit); // Without the limit it works as well.
}

/// Far more than an examination takes: its cache has 32 MiB.
const MEMORY_BYTES: u64 = 2 << 30;

fn failure(error: FileError) -> Failure {
    match &error {
        FileError::Io { source, .. } => Failure::io(Cause::Os, source, &error),
        FileError::InUse { .. } => Failure::new(Cause::Unavailable, error),
        FileError::Damaged { .. } | FileError::Format { .. } => Failure::new(Cause::Configuration, error),
    }
}
