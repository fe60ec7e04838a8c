//! VM records to start with.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::policy::{Reader, Settings};
use crate::table::Capacity;
use crate::vm::edit::Edit;
use crate::vm::lines;
use crate::vm::record::VmSet;
use crate::vm::registry::Registry;

/// A table as large as configured, and the registry that writes it.
///
/// # Errors
/// Not enough memory for the table.
pub fn create(config: &Config, settings: &Settings, workers: usize) -> Result<(Registry, Vec<Reader>), Failure> {
    let capacity = Capacity { vms: config.table.vms, keys: config.table.keys };
    Registry::create(capacity, workers, settings.clone()).map_err(|error| Failure::new(Exit::Os, error))
}

/// A file of VM lines, read once: it may be a pipe.
#[derive(Clone, Debug)]
pub struct VmFile {
    path: PathBuf,
    /// Each with the number of its line.
    sets: Vec<(usize, VmSet)>,
}

impl VmFile {
    /// Reads a file, all of it.
    ///
    /// # Errors
    /// The file, or the first line that is no VM.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read(path)
            .map_err(|error| Failure::io(Exit::Usage, &error, format_args!("{}: {error}", path.display())))?;
        let sets = lines::parse(&text)
            .map_err(|error| Failure::new(Exit::Configuration, format_args!("{}, {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), sets })
    }

    /// Takes all of it, or nothing.
    ///
    /// # Errors
    /// The first line that cannot be beside the others.
    pub fn load(&self, registry: &mut Registry) -> Result<(), Failure> {
        registry.apply(self.sets.iter().map(|(_, set)| Edit::Set(set.clone()))).map_err(|(at, error)| {
            let line = self.sets.get(at).map_or(0, |(line, _)| *line);
            Failure::new(Exit::Configuration, format_args!("{}, line {line}: {error}", self.path.display()))
        })?;
        Ok(())
    }
}
