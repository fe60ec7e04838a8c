//! `portcullis replay`

use std::path::PathBuf;

use clap::Args;

use super::layout::Page;
use super::render::{self, Rank};
use crate::app::replay::{Replay, Replayed};
use crate::app::vms::BadLines;
use crate::failure::{Cause, Failure};
use crate::model::Moment;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis replay --vms vms.jsonl --inside from-vms.pcap
  portcullis replay --vms vms.jsonl --inside in.pcap --outside-out out.pcap --json | jq .reasons
  portcullis replay --vms vms.jsonl --inside in.pcap --outside in2.pcap --config portcullis.toml -- -m 512

A VM line: {\"id\":\"web1\",\"macs\":[\"52:54:00:00:00:01\"],\"ips\":[\"10.0.0.5\",\"2001:db8::5\"]}")]
pub(super) struct ReplayArgs {
    /// VM records, one JSON object a line; without it every frame is an unknown VM's
    #[arg(long, value_name = "VMS.jsonl")]
    vms: Option<PathBuf>,
    /// Capture of frames from VMs: pcap or pcapng, also gzipped, Ethernet; may be a pipe
    #[arg(long, value_name = "IN.pcap", required_unless_present = "outside")]
    inside: Option<PathBuf>,
    /// Write what leaves towards the uplink
    #[arg(long, value_name = "OUT.pcap")]
    outside_out: Option<PathBuf>,
    /// Capture of frames to VMs
    #[arg(long, value_name = "IN2.pcap")]
    outside: Option<PathBuf>,
    /// Write what leaves towards the VMs
    #[arg(long, value_name = "OUT2.pcap")]
    inside_out: Option<PathBuf>,
    /// Configuration: its classes, relays and scopes count, its devices do not
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which link of the configuration to be [default: the first]
    #[arg(long, value_name = "NAME")]
    link: Option<String>,
    /// Judge exceptions by this time, e.g. 2026-12-01T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
    /// Refuse a capture that ends in the middle of a record, instead of judging what is whole
    #[arg(long)]
    strict: bool,
    /// Leave bad lines of --vms out, with a warning, instead of refusing the file
    #[arg(long)]
    lenient: bool,
    /// Print one JSON object on standard output and nothing else
    #[arg(long)]
    json: bool,
    /// More options for DPDK's EAL
    #[arg(last = true, value_name = "EAL options")]
    eal: Vec<String>,
}

impl ReplayArgs {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        crate::app::log::start("warn");
        let json = self.json;
        let replay = Replay {
            vms: self.vms,
            config: self.config,
            link: self.link,
            inside: self.inside,
            outside: self.outside,
            inside_out: self.inside_out,
            outside_out: self.outside_out,
            bad_lines: if self.lenient { BadLines::LeaveOut } else { BadLines::Refuse },
            at: self.at,
            strict: self.strict,
            eal: self.eal,
        };
        let Replayed { report, why, warnings } = replay.run(super::exit::code)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if json {
            return super::out::print(
                &serde_json::to_string(&report).map_err(|error| Failure::new(Cause::Bug, error))?,
            );
        }
        let mut text = render::report(&report, None, Rank::default(), Page::of_stdout());
        if let Some(why) = why {
            text += &format!("\nWhy, for example, frame {} of {}?\n", why.frame, why.capture.display());
            for line in why.lines {
                text += &format!("  {line}\n");
            }
        }
        super::out::print(&text)
    }
}
