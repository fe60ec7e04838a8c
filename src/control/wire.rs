//! Answers as a client reads them: the types that `docs/control.md` describes, with room for members of tomorrow.

use serde::Deserialize;

use crate::model::{Mode, Revision};
use crate::telemetry::report::Judged;
use crate::vm::record::{Vm, VmId};

/// A VM, and what the box makes of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Its record.
    pub vm: Vm,
    /// The class it is judged by.
    pub effective_class: String,
    /// Whether denials are enforced, VM, class and box considered.
    pub effective_mode: Option<Mode>,
    /// Its judged frames.
    pub counters: Judged,
}

impl Entry {
    /// How seriously a denial is meant, as far as the daemon says.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.effective_mode.unwrap_or(self.vm.mode)
    }
}

/// A page of `vm.list`.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// In the order of their ids.
    pub vms: Vec<Entry>,
    /// `after` of the next page.
    pub next: Option<VmId>,
    /// The current revision.
    pub revision: Revision,
}
