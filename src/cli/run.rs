//! `portcullis run`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::layout::Page;
use super::render::Rank;
use super::{exit, render};
use crate::app::boot::{Asked, Prepared};
use crate::app::run::{Ended, Run};
use crate::app::vms::BadLines;
use crate::config::DEFAULT_CONFIG;
use crate::failure::{Cause, Failure};
use crate::host::eal;
use crate::telemetry::report::Report;

/// How long who reads the final counters may take nothing of them.
const PRINTING: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis run --config /etc/portcullis/portcullis.toml
  portcullis run --config portcullis.toml --vms vms.jsonl --dry-run
  portcullis run --config portcullis.toml -- --log-level pmd:debug

SIGTERM, SIGINT and SIGQUIT stop it in order; other signals but SIGKILL change nothing. The final counters go to standard
output, the log to standard error (PORTCULLIS_LOG=debug for more of it).")]
pub(super) struct RunArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// VM records to start with, one JSON object a line
    #[arg(long, value_name = "VMS.jsonl")]
    vms: Option<PathBuf>,
    /// Path of the control socket [default: `control.socket` of the configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Do not start with a file of VM lines that has bad ones, instead of leaving those out with an alarm
    #[arg(long)]
    strict: bool,
    /// Check as `check` does, print EAL's arguments and the port map, and start nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the final counters (or the dry run) as one JSON object
    #[arg(long)]
    json: bool,
    /// More options for DPDK's EAL
    #[arg(last = true, value_name = "EAL options")]
    eal: Vec<String>,
}

impl RunArgs {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        crate::app::log::start("info");
        let (dry_run, json) = (self.dry_run, self.json);
        // A dry run is a check, and says what `check` says.
        let bad_lines = if dry_run || self.strict { BadLines::Refuse } else { BadLines::LeaveOut };
        let asked = Asked { config: self.config, vms: self.vms, bad_lines, socket: self.socket, eal: self.eal };
        if dry_run {
            let preview = asked.prepare()?;
            preview.alarms.iter().for_each(|alarm| tracing::warn!("{alarm}"));
            return super::out::print(&if json { preview_json(&preview) } else { preview_text(&preview) });
        }
        let show: fn(&Report) -> String = if json { as_json } else { as_text };
        let Ended { report, fault } = Run { asked }.run(show, exit::code)?;
        let printed = match report {
            Some(report) => super::out::print_within(&show(&report), PRINTING),
            None => Ok(()),
        };
        match fault {
            Some(fault) => Err(Failure::new(Cause::Stuck, fault)),
            None => printed,
        }
    }
}

fn as_json(report: &Report) -> String {
    // Neither can fail: a report is numbers under names.
    serde_json::to_string(report).unwrap_or_default()
}

fn as_text(report: &Report) -> String {
    render::report(report, None, Rank::default(), Page::default())
}

fn preview_text(preview: &Prepared) -> String {
    let Prepared { eal_arguments, cores, plan, config, .. } = preview;
    let mut text = format!("EAL arguments: {}\n", eal_arguments.join(" "));
    let _ = writeln!(text, "Cores: {cores}");
    let _ = writeln!(
        text,
        "Memory: {} packet buffers of {} bytes, {} MiB in all; table for {} VMs and {} keys",
        plan.mbufs, plan.room_bytes, plan.memory_mib, config.table.vms, config.table.keys
    );
    for link in &config.links {
        let queues =
            link.queues.map_or_else(|| "a queue for each worker".into(), |queues| format!("{queues} queue(s)"));
        let _ = writeln!(
            text,
            "Link {}: inside {} <-> outside {}, MTU {}, {queues}",
            link.name, link.inside, link.outside, link.mtu
        );
    }
    let _ = writeln!(text, "Control socket: {}", config.control.socket.display());
    for obstacle in eal::obstacles(config) {
        let _ = writeln!(text, "Would fail: {obstacle}");
    }
    text
}

fn preview_json(preview: &Prepared) -> String {
    let Prepared { eal_arguments, cores, plan, config, .. } = preview;
    let links: Vec<_> = config
        .links
        .iter()
        .map(|link| {
            serde_json::json!({
                "name": link.name, "inside": link.inside.to_string(), "outside": link.outside.to_string(),
                "mtu": link.mtu, "queues": link.queues,
            })
        })
        .collect();
    serde_json::json!({
        "eal_arguments": eal_arguments,
        "cores": { "main": cores.main, "workers": cores.workers },
        "mbufs": plan.mbufs, "mbuf_bytes": plan.room_bytes, "memory_mib": plan.memory_mib,
        "links": links, "socket": config.control.socket, "obstacles": eal::obstacles(config),
    })
    .to_string()
}
