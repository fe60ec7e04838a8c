//! VM records to start with.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::failure::{Cause, Failure};
use crate::policy::{Reader, Settings};
use crate::table::Capacity;
use crate::vm::clock::Clock;
use crate::vm::edit::Edit;
use crate::vm::lines::{self, LineError};
use crate::vm::record::VmSet;
use crate::vm::registry::Registry;

/// Bad lines that are named one by one; of more only the number is said.
const NAMED_LINES: usize = 20;

/// A table as large as configured, and the registry that writes it; exceptions end by `clock`.
///
/// # Errors
/// Not enough memory for the table.
pub fn create(
    config: &Config,
    settings: &Settings,
    workers: usize,
    clock: Clock,
) -> Result<(Registry, Vec<Reader>), Failure> {
    let capacity = Capacity { vms: config.table.vms, keys: config.table.keys };
    Registry::create(capacity, workers, settings.clone(), clock).map_err(|error| Failure::new(Cause::Os, error))
}

/// What becomes of VM lines that cannot be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadLines {
    /// Nothing starts.
    #[default]
    Refuse,
    /// They are left out, and there is an alarm.
    LeaveOut,
}

/// A file of VM lines, read once: it may be a pipe. Every line has been tried beside those before it.
#[derive(Clone, Debug)]
pub struct VmFile {
    path: PathBuf,
    good: Vec<VmSet>,
    bad: Vec<LineError>,
}

impl VmFile {
    /// Reads a file, all of it, and tries its lines in a registry of their own.
    ///
    /// # Errors
    /// The file itself; what is wrong with lines is kept.
    fn read(path: &Path, config: &Config, settings: &Settings) -> Result<Self, Failure> {
        let text = std::fs::read(path)
            .map_err(|error| Failure::io(Cause::Usage, &error, format_args!("{}: {error}", path.display())))?;
        let (sets, mut bad) = lines::parse(&text);
        drop(text);
        let (mut registry, _) = create(config, settings, 0, Clock::default())?;
        let mut good = Vec::with_capacity(sets.len());
        for (line, set) in sets {
            // In the order of the lines, so that of two that contradict each other the later one is the bad one.
            match registry.stage([Edit::Set(set.clone())]) {
                Ok(_) => good.push(set),
                Err((_, error)) => bad.push(LineError { line, message: error.to_string() }),
            }
        }
        bad.sort_by_key(|error| error.line);
        Ok(Self { path: path.to_owned(), good, bad })
    }

    /// Every bad line, or as many as anybody reads, each with the name of the file.
    fn complaints(&self) -> Vec<String> {
        let path = self.path.display();
        let mut lines: Vec<String> =
            self.bad.iter().take(NAMED_LINES).map(|error| format!("{path}, {error}")).collect();
        if let Some(more) = self.bad.len().checked_sub(NAMED_LINES).filter(|&more| more > 0) {
            lines.push(format!("{path}: {more} more lines are bad"));
        }
        lines
    }

    /// What starting with the good lines alone leaves out; `None` if every line is good.
    fn alarm(&self) -> Option<String> {
        let (bad, all) = (self.bad.len(), self.bad.len() + self.good.len());
        let words = "their VMs are not known, and treated as such until the lines are mended";
        (bad > 0).then(|| format!("{}: {bad} of {all} lines are bad and left out; {words}", self.path.display()))
    }

    /// Whether it holds lines, and none of them is a VM: then it is another kind of file.
    fn is_no_vm_file(&self) -> bool {
        self.good.is_empty() && !self.bad.is_empty()
    }

    /// Takes every good line.
    ///
    /// # Errors
    /// One of them cannot be taken, though it could when it was tried.
    pub fn load(&self, registry: &mut Registry) -> Result<(), Failure> {
        registry
            .apply(self.good.iter().cloned().map(Edit::Set))
            .map_err(|(_, error)| Failure::new(Cause::Bug, format_args!("{}: {error}", self.path.display())))?;
        Ok(())
    }
}

/// Reads VM lines and decides about bad ones; an alarm says what is left out.
///
/// # Errors
/// The file itself, or its bad lines.
pub fn read(
    path: &Path,
    config: &Config,
    settings: &Settings,
    bad_lines: BadLines,
    alarms: &mut Vec<String>,
) -> Result<VmFile, Failure> {
    let vms = VmFile::read(path, config, settings)?;
    let Some(alarm) = vms.alarm() else { return Ok(vms) };
    if bad_lines == BadLines::Refuse || vms.is_no_vm_file() {
        return Err(Failure::new(Cause::Configuration, vms.complaints().join("\n")));
    }
    alarms.extend(vms.complaints());
    alarms.push(alarm);
    Ok(vms)
}
