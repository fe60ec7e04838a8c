//! Where committed changes are written before any worker sees them.
//!
//! The registry hands over what it is about to publish, a whole group of changes at once, so that a store can make them
//! durable by one sync. Without a store nothing is written, which is [`NoJournal`].

use std::fmt;
use std::sync::Arc;

use super::record::{Vm, VmId};
use crate::model::{Revision, VmIndex};
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

/// Why changes could not be made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change could not be written: {0}; nothing was changed")]
pub struct JournalError(pub String);

/// Writes changes down.
pub trait Journal: fmt::Debug + Send {
    /// Writes these changes, in order, all of them or none. Who returns `Ok` has them for good.
    ///
    /// # Errors
    /// None of them is written.
    fn commit(&mut self, changes: &[Committed]) -> Result<(), JournalError>;
}

/// Writes nothing: what the box knows ends with the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn commit(&mut self, _: &[Committed]) -> Result<(), JournalError> {
        Ok(())
    }
}
