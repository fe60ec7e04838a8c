//! `portcullis sync`: an inventory that replaces all the box knows.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::apply::vm_line;
use super::records::{BYTES_TOGETHER, Lines, progress};
use super::remote::Remote;
use crate::control::client::Client;
use crate::control::inventory::collector::SyncId;
use crate::control::inventory::{Counts, SyncProgress, Synced, WouldSync};
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
The file is JSON Lines or CSV, as `vm import` takes it. Every VM that is not in it goes, every VM that is in it becomes as it says;
class, mode and note of a VM stay where the file does not speak of them. If any line cannot be, nothing is changed.

Examples:
  portcullis sync --dry-run inventory.csv       what would change
  portcullis sync inventory.csv                 a nightly job
  portcullis sync inventory.csv --force         though more VMs go than `control.sync_remove_max_percent` allows")]
pub(super) struct SyncArgs {
    #[command(flatten)]
    remote: Remote,
    /// The inventory; - is standard input
    file: PathBuf,
    /// Change nothing, and show what would change
    #[arg(long)]
    dry_run: bool,
    /// Remove however many VMs are not in the file
    #[arg(long)]
    force: bool,
    /// Leave a column of a CSV file out; repeat for more
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
}

/// How long a commit of a million VMs may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Serialize)]
struct Chunk<'a> {
    sync: SyncId,
    at: u64,
    vms: &'a [Box<RawValue>],
}

impl SyncArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let records = Lines::of_inventory(&self.file, &self.ignore)?.whole()?;
        let mut client = self.remote.connect_with(PATIENCE)?;
        let SyncProgress { sync, .. } = self.remote.ask(&mut client, "sync.begin", &json!({}))?;
        let committed = self.send(&mut client, sync, &records).and_then(|()| {
            let params = json!({"sync": sync, "dry_run": self.dry_run, "force": self.force});
            self.remote.call(&mut client, "sync.commit", &params)
        });
        if self.dry_run || committed.is_err() {
            // It holds memory; if the daemon is gone, none.
            let _ = self.remote.call(&mut client, "sync.abort", &json!({ "sync": sync }));
        }
        let count = records.len();
        match self.dry_run {
            true => self.remote.answer(committed?, would),
            false => self.remote.answer(committed?, |synced| did(count, synced)),
        }
    }

    fn send(&self, client: &mut Client, sync: SyncId, records: &[Box<RawValue>]) -> Result<(), Failure> {
        let bar = progress(records.len());
        let mut at = 0;
        let mut rest = records;
        while !rest.is_empty() {
            let sizes = rest.iter().scan(0, |bytes, record| {
                *bytes += record.get().len();
                Some(*bytes)
            });
            let fit = sizes.take_while(|bytes| *bytes <= BYTES_TOGETHER).count();
            let (vms, later) = rest.split_at(fit.max(1));
            let answer: Value = self.remote.call(client, "sync.chunk", &Chunk { sync, at, vms })?;
            at = self.remote.understand::<SyncProgress>(answer)?.received;
            rest = later;
            bar.set_position(at);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

fn counted(Counts { created, replaced, removed }: Counts) -> String {
    format!("{created} created, {replaced} replaced, {removed} removed")
}

fn did(count: usize, synced: &Synced) -> String {
    let (revision, counts) = (synced.applied.revision.0, counted(synced.counts));
    match synced.applied.changed {
        true => format!("{count} VMs: {counts}; revision {revision}, in force on every worker"),
        false => format!("{count} VMs: all as they were, revision {revision}"),
    }
}

fn would(would: &WouldSync) -> String {
    let mut lines: Vec<String> = would.vms.iter().map(vm_line).collect();
    let Counts { created, replaced, removed } = would.counts;
    let more = (created + replaced + removed).saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let force = if would.needs_force { "; that many are removed by --force only" } else { "" };
    lines.push(format!("nothing was changed (--dry-run); {}{force}", counted(would.counts)));
    lines.join("\n")
}
