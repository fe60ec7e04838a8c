//! `portcullis doctor`: what of this machine keeps the box from working, or from being fast, and what mends it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::json;

use super::layout::Page;
use super::out::print;
use crate::config::{Config, DEFAULT_CONFIG};
use crate::failure::{Cause, Failure};
use crate::host::cores::Cores;
use crate::host::doctor::{CHECKS, Finding, Level, Machine};
use crate::host::{eal, memory};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis doctor                      before the first start, and when it is slow
  portcullis doctor --json | jq '.findings[] | select(.level != \"fine\")'
  sudo portcullis doctor --fix           asks before each command
  portcullis doctor --check huge_pages --check driver

Looked at: huge pages, pinned memory, isolated CPUs, SMT siblings, CPU frequency, interrupts, NUMA, driver binding,
IOMMU, interfaces of the kernel, DPDK's drivers, and the folders of store and audit log. A running box is asked by
`portcullis health`. Commands last until the machine starts anew; what shall last longer belongs into its set-up.

Exit codes: 0 all is fine, 1 there are warnings, 2 it will not work.")]
pub(super) struct DoctorArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Look at this only; may be given several times
    #[arg(long, value_name = "CHECK", value_parser = CHECKS)]
    check: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Run the commands that mend something, each only if you say so
    #[arg(long, conflicts_with = "json")]
    fix: bool,
    /// With --fix: run all of them without asking
    #[arg(long, requires = "fix")]
    yes: bool,
}

impl DoctorArgs {
    pub(super) fn json(&self) -> bool {
        // The answer itself says what is wrong.
        false
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        if self.fix && !self.yes && !io::stdin().is_terminal() {
            let message = "--fix asks, and standard input is no terminal; add --yes to run every command unasked";
            return Err(Failure::new(Cause::Usage, message));
        }
        let config = Config::load(&self.config)?;
        let cores = Cores::choose(config.dpdk.cores.as_deref(), config.dpdk.main_core, &eal::available_cpus())
            .map_err(|error| Failure::new(Cause::Configuration, error))?;
        let workers = u32::try_from(cores.workers.len()).unwrap_or(u32::MAX);
        let plan = memory::plan(&config, workers);
        let is_wanted =
            |finding: &Finding| self.check.is_empty() || self.check.iter().any(|check| check == finding.check);
        let examine = || -> Vec<Finding> {
            Machine::here().examine(&config, &cores, plan).into_iter().filter(is_wanted).collect()
        };
        let mut findings = examine();
        if self.fix {
            let fixes = findings.iter().filter_map(|finding| Some((finding, finding.fix.as_ref()?)));
            let ran = fixes.map(|(finding, fix)| self.mend(finding, fix)).collect::<Result<Vec<bool>, _>>()?;
            if ran.contains(&true) {
                findings = examine();
            }
        }
        let [failures, warnings] = [Level::Failure, Level::Warning]
            .map(|level| findings.iter().filter(|finding| finding.level == level).count());
        print(&match self.json {
            true => json!({ "findings": findings, "failures": failures, "warnings": warnings }).to_string(),
            false => findings.iter().map(|finding| told(finding, Page::of_stdout())).collect(),
        })?;
        let summary = format!("{failures} thing(s) will not work, {warnings} could be better");
        match (failures, warnings) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::new(Cause::Warned, summary)),
            _ => Err(Failure::new(Cause::Unfit, summary)),
        }
    }

    /// Runs a command if it is wanted; whether it was run.
    fn mend(&self, finding: &Finding, fix: &str) -> Result<bool, Failure> {
        let mut out = io::stdout().lock();
        let refused = |error: io::Error| Failure::new(Cause::Os, format_args!("standard output: {error}"));
        write!(out, "{}: {}\n  {fix}\n", finding.check, finding.message).map_err(refused)?;
        if !self.yes {
            write!(out, "Run this? [y/N] ").and_then(|()| out.flush()).map_err(refused)?;
            let mut answer = String::new();
            let read = io::stdin().lock().read_line(&mut answer);
            if read.is_err() || !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
                return Ok(false);
            }
        }
        let status = Command::new("sh").args(["-c", fix]).stdin(Stdio::null()).status();
        let said = match status {
            Ok(status) if status.success() => return Ok(true),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        writeln!(out, "  that failed: {said}").map_err(refused)?;
        Ok(true)
    }
}

/// A finding in a line or more.
fn told(Finding { check, level, message, fix }: &Finding, page: Page) -> String {
    let word = match level {
        Level::Fine => "fine",
        Level::Warning => "warning",
        Level::Failure => "FAILURE",
    };
    let line = page.wrapped(&format!("{word:8} {check}: {message}"), 9);
    let line = match level {
        Level::Fine => line,
        Level::Warning => page.notice(&line),
        Level::Failure => page.alarm(&line),
    };
    // Not wrapped: it is copied.
    let fix = fix.as_ref().map(|fix| format!("         to mend: {fix}\n")).unwrap_or_default();
    format!("{line}\n{fix}")
}
