//! `portcullis manual`: a man page for each command, for who makes a package.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::Cli;
use crate::failure::{Cause, Failure};

#[derive(Debug, Args)]
pub(super) struct ManualArgs {
    /// The folder that they are written into
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
}

impl ManualArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let folder = self.to.display();
        std::fs::create_dir_all(&self.to)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.to))
            .map_err(|error| Failure::io(Cause::Os, &error, format_args!("{folder}: {error}")))
    }
}
