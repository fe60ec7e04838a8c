//! One state of the box: the VMs and the settings that are in force together.

use std::sync::Arc;

use super::{Grants, Settings};
use crate::sync::published::Subscriber;
use crate::table::{self, VmSnapshot};

/// One state, whole, for as long as the borrow lasts: all that a decision needs beside the frame.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The VMs.
    pub vms: VmSnapshot<'a>,
    /// What decides beside them.
    pub settings: &'a Settings,
    /// What may let frames pass all the same.
    pub grants: &'a Grants,
}

/// What is published beside the VMs' table.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What decides beside the VMs.
    pub settings: Arc<Settings>,
    /// What may let frames pass all the same.
    pub grants: Arc<Grants>,
}

/// What a worker reads by: made once per worker, moved to its thread, never shared.
#[derive(Debug)]
pub struct Reader {
    vms: table::Reader,
    rules: Subscriber<Rules>,
}

impl Reader {
    /// Of a table and the rules that are published with it.
    #[must_use]
    pub fn new(vms: table::Reader, rules: Subscriber<Rules>) -> Self {
        Self { vms, rules }
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
        let Self { vms, rules } = self;
        let vms = vms.snapshot_with(|generation| rules.advance(generation));
        let Rules { settings, grants } = rules.value();
        Snapshot { vms, settings, grants }
    }
}
