//! VM records to start with.

use std::path::Path;

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::policy::{Reader, Settings};
use crate::table::Capacity;
use crate::vm::edit::Edit;
use crate::vm::lines;
use crate::vm::registry::Registry;

/// A table as large as configured, and the registry that writes it.
///
/// # Errors
/// Not enough memory for the table.
pub fn create(config: &Config, settings: &Settings, workers: usize) -> Result<(Registry, Vec<Reader>), Failure> {
    let capacity = Capacity { vms: config.table.vms, keys: config.table.keys };
    Registry::create(capacity, workers, settings.clone()).map_err(|error| Failure::new(Exit::Os, error))
}

/// Reads a file of VM lines and takes all of it, or nothing.
///
/// # Errors
/// The file, or the first line that cannot be.
pub fn load(registry: &mut Registry, path: &Path) -> Result<(), Failure> {
    let text = std::fs::read(path)
        .map_err(|error| Failure::io(Exit::Usage, &error, format_args!("{}: {error}", path.display())))?;
    let sets = lines::parse(&text)
        .map_err(|error| Failure::new(Exit::Configuration, format_args!("{}, {error}", path.display())))?;
    let (numbers, edits): (Vec<usize>, Vec<Edit>) = sets.into_iter().map(|(line, set)| (line, Edit::Set(set))).unzip();
    registry.apply(edits).map_err(|(at, error)| {
        let line = numbers.get(at).copied().unwrap_or_default();
        Failure::new(Exit::Configuration, format_args!("{}, line {line}: {error}", path.display()))
    })?;
    Ok(())
}
