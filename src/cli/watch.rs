//! `portcullis watch`: changes of a running daemon, as they are made.

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::change::AtRevision;
use super::history::line;
use super::out::{Reader, print, print_more};
use super::remote::{Remote, failure};
use crate::control::history::{Compacted, HistoryEntry};
use crate::control::rpc::WatchAnswer;
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis watch                              until Ctrl-C
  portcullis watch --from 42@5f3a0c21           what was changed since then, first
  portcullis watch --json | jq -c 'select(.method == \"change\") | .params.entries[]'

A line that begins with `compacted` means that more was changed than the daemon remembers: read what there is anew
(`vm list`, `policy show`). It ends when the daemon does (exit code 69).")]
pub(super) struct WatchArgs {
    #[command(flatten)]
    remote: Remote,
    /// From this revision on, of this run of the daemon if its boot id is given; else from now on
    #[arg(long, value_name = "N[@BOOT]")]
    from: Option<AtRevision>,
}

/// What people are told of; the rest is for programs.
#[derive(Deserialize)]
struct Change {
    entries: Vec<HistoryEntry>,
}

impl WatchArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let mut params = Map::new();
        if let Some(from) = self.from {
            from.put("from_revision", &mut params);
        }
        let mut client = self.remote.connect()?;
        let answer = self.remote.call(&mut client, "watch", &params)?;
        match self.remote.json {
            true => print(&answer.to_string())?,
            false => {
                let WatchAnswer { revision, boot } = self.remote.understand(answer)?;
                print(&format!("watching, revision {}@{boot}", revision.0))?;
            }
        }
        loop {
            let told = client.next_notification().map_err(failure)?;
            let text = if self.remote.json { told.to_string() } else { self.words(&told)? };
            if !text.is_empty() && print_more(&text)? == Reader::Gone {
                return Ok(());
            }
        }
    }

    /// What people are told; nothing of what a later daemon tells.
    fn words(&self, told: &Value) -> Result<String, Failure> {
        let params = told.get("params").cloned().unwrap_or_default();
        match told.get("method").and_then(Value::as_str) {
            Some("change") => {
                let Change { entries } = self.remote.understand(params)?;
                Ok(entries.iter().map(line).collect::<Vec<_>>().join("\n"))
            }
            Some("compacted") => {
                let Compacted { revision, boot } = self.remote.understand(params)?;
                let revision = revision.0;
                Ok(format!("compacted: something was changed that is not remembered; now at {revision}@{boot}"))
            }
            _ => Ok(String::new()),
        }
    }
}
