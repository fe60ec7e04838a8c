//! `portcullis confirm` and `portcullis rollback`: what becomes of a change that `apply --confirm` made.

use clap::Args;
use serde_json::Map;

use super::change::Only;
use super::remote::Remote;
use crate::control::rpc::Applied;
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
`portcullis apply --confirm` makes a change that is undone by itself; `portcullis health` says which one waits, and how long.
If none waits the exit code is 65.")]
pub(super) struct EndArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    only: Only,
}

impl EndArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn confirm(self) -> Result<(), Failure> {
        self.end("txn.confirm", "confirmed, it stays")
    }

    pub(super) fn roll_back(self) -> Result<(), Failure> {
        self.end("txn.rollback", "rolled back, all is as it was")
    }

    fn end(self, method: &str, outcome: &str) -> Result<(), Failure> {
        let mut params = Map::new();
        self.only.put(&mut params);
        let answer = self.remote.call(&mut self.remote.connect()?, method, &params)?;
        self.remote.answer(answer, |applied: &Applied| format!("{outcome}: revision {}", applied.revision.0))
    }
}
