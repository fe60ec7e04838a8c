//! `portcullis check`

use std::path::PathBuf;

use clap::Args;

use super::out::print;
use crate::app::vms::BadLines;
use crate::config::{Config, DEFAULT_CONFIG};
use crate::failure::Failure;
use crate::policy::Settings;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis check --config /etc/portcullis/portcullis.toml
  portcullis check --config portcullis.toml --vms vms.jsonl -- --log-level pmd:debug

What `run` would refuse with the same arguments on this machine is refused, every fault of it.")]
pub(super) struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// VM records to start with, one JSON object a line
    #[arg(long, value_name = "VMS.jsonl")]
    vms: Option<PathBuf>,
    /// Leave bad lines of --vms out, with a warning, instead of refusing the file
    #[arg(long)]
    lenient: bool,
    /// Print one JSON object instead of a sentence
    #[arg(long)]
    json: bool,
    /// More options for DPDK's EAL
    #[arg(last = true, value_name = "EAL options")]
    eal: Vec<String>,
}

impl CheckArgs {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        crate::app::log::start("warn");
        let bad_lines = if self.lenient { BadLines::LeaveOut } else { BadLines::Refuse };
        let path = self.config.clone();
        let json = self.json;
        let (config, settings, alarms) = self.prepare(bad_lines)?;
        alarms.iter().for_each(|alarm| tracing::warn!("{alarm}"));
        let (links, classes) = (config.links.len(), settings.classes.iter().count());
        if json {
            let classes: Vec<_> = settings.classes.iter().map(|class| class.name.as_str()).collect();
            let links: Vec<_> = config.links.iter().map(|link| link.name.as_str()).collect();
            let document = serde_json::json!({ "valid": true, "links": links, "classes": classes, "warnings": alarms });
            return print(&document.to_string());
        }
        print(&format!("{}: fine; {links} link(s), {classes} classes", path.display()))
    }

    #[cfg(feature = "dpdk")]
    fn prepare(self, bad_lines: BadLines) -> Result<(Config, Settings, Vec<String>), Failure> {
        let asked =
            crate::app::boot::Asked { config: self.config, vms: self.vms, bad_lines, socket: None, eal: self.eal };
        let prepared = asked.prepare()?;
        Ok((prepared.config, prepared.settings, prepared.alarms))
    }

    /// Without DPDK nothing can be run, and what only a start needs is not looked at.
    #[cfg(not(feature = "dpdk"))]
    fn prepare(self, bad_lines: BadLines) -> Result<(Config, Settings, Vec<String>), Failure> {
        let config = Config::load(&self.config)?;
        let settings = config.policy().map_err(|error| Failure::new(crate::failure::Cause::Configuration, error))?;
        let mut alarms: Vec<String> =
            config.remarks().iter().map(|remark| format!("{}: {remark}", self.config.display())).collect();
        if let Some(path) = &self.vms {
            crate::app::vms::read(path, &config, &settings, bad_lines, &mut alarms)?;
        }
        Ok((config, settings, alarms))
    }
}
