//! Where committed changes are written before any worker sees them.
//!
//! The registry hands over what it is about to publish, a whole group of changes at once, so that a store can make them
//! durable by one sync. Without a store nothing is written, which is [`NoJournal`].

use std::fmt;
use std::sync::Arc;

use super::record::{Vm, VmId};
use crate::model::{Moment, Revision, VmIndex};
use crate::policy::Settings;

/// One change as it is committed: what each VM was and is, in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The revision that it makes.
    pub revision: Revision,
    /// Every VM that differs.
    pub vms: Vec<VmChange>,
    /// The settings before and after, if they differ.
    pub settings: Option<[Arc<Settings>; 2]>,
    /// What it does to the way back from an unconfirmed change.
    pub way_back: WayBack,
}

/// What a change does to the way back that is kept, if one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WayBack {
    /// Nothing.
    #[default]
    Same,
    /// What was before this change is kept: it is undone unless it is confirmed.
    Kept,
    /// It was gone, or is not needed any more.
    Dropped,
}

/// What became of one VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmChange {
    /// Its name.
    pub id: VmId,
    /// Its number.
    pub index: VmIndex,
    /// What it was; none if it is new.
    pub old: Option<Arc<Vm>>,
    /// What it is; none if it is forgotten.
    pub new: Option<Arc<Vm>>,
    /// Its number was that of a VM which the same group of changes deletes.
    pub(super) reused: bool,
}

#[cfg(test)]
impl VmChange {
    /// What became of a VM.
    pub fn new(id: VmId, index: VmIndex, old: Option<Arc<Vm>>, new: Option<Arc<Vm>>) -> Self {
        Self { id, index, old, new, reused: false }
    }
}

/// Writes changes down.
pub trait Journal: fmt::Debug + Send {
    /// Writes down what time it is, and waits for nobody: exceptions must not last longer because a clock was set back
    /// while the process was not there.
    fn note(&mut self, now: Moment);
    /// Writes these changes, in order, and what time it is. Whether they outlast the process from now on; what cannot be written now is written
    /// later, if it can be. Nobody who may send spam goes on because a disk is full.
    fn commit(&mut self, changes: &[Committed], now: Moment) -> bool;

    /// How it is; nothing if nothing is ever written.
    fn report(&self) -> Option<JournalReport>;
}

/// How a journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalReport {
    /// Whether every change so far outlasts the process.
    pub durable: bool,
    /// Up to which revision they do.
    pub revision: Revision,
    /// How many files have them.
    pub copies: u32,
    /// What is wrong, in words.
    pub trouble: Option<String>,
}

/// Writes nothing: what the box knows ends with the process.
#[derive(Clone, Debug, Default)]
pub struct NoJournal {
    /// Why, if it should have been written.
    pub trouble: Option<String>,
}

impl Journal for NoJournal {
    fn note(&mut self, _: Moment) {}

    fn commit(&mut self, _: &[Committed], _: Moment) -> bool {
        false
    }

    fn report(&self) -> Option<JournalReport> {
        let trouble = Some(self.trouble.clone()?);
        Some(JournalReport { durable: false, revision: Revision(0), copies: 0, trouble })
    }
}
