//! One state of the box: the VMs and the settings that are in force together.

use std::sync::Arc;

use super::Settings;
use crate::sync::published::Subscriber;
use crate::table::{self, VmSnapshot};

/// One state, whole, for as long as the borrow lasts: all that a decision needs beside the frame.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The VMs.
    pub vms: VmSnapshot<'a>,
    /// What decides beside them.
    pub settings: &'a Settings,
}

/// What a worker reads by: made once per worker, moved to its thread, never shared.
#[derive(Debug)]
pub struct Reader {
    vms: table::Reader,
    settings: Subscriber<Arc<Settings>>,
}

impl Reader {
    /// Of a table and the settings that are published with it.
    #[must_use]
    pub fn new(vms: table::Reader, settings: Subscriber<Arc<Settings>>) -> Self {
        Self { vms, settings }
    }

    /// From now on changes wait for this reader. [`snapshot`](Self::snapshot) does it too where it has to.
    pub fn go_online(&mut self) {
        self.vms.go_online();
    }

    /// From now on changes do not wait for this reader. It has no snapshot now: the borrow says so.
    pub fn go_offline(&mut self) {
        self.vms.go_offline();
    }

    /// The newest state. Gives up the one before, which therefore must be gone.
    #[inline]
    pub fn snapshot(&mut self) -> Snapshot<'_> {
        let Self { vms, settings } = self;
        let vms = vms.snapshot_with(|generation| settings.advance(generation));
        Snapshot { vms, settings: settings.value() }
    }
}
