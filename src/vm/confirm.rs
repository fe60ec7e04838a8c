//! A change that is undone by itself unless somebody confirms it: what was before, and what may not happen meanwhile.
//!
//! While one waits, other changes are made as ever, but none that stands in the way back: none of a VM that it is about, none
//! of policy, and none after which the way back could not be gone any more, which is tried each time
//! (see [`Registry::stage_as`](super::registry::Registry::stage_as)).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Draft;
use super::edit::{Edit, EditError};
use super::journal::Committed;
use super::record::{Vm, VmId};
use crate::model::Revision;
use crate::policy::Settings;

/// A change that waits to be confirmed.
#[derive(Clone, Debug, PartialEq)]
pub struct Unconfirmed {
    /// The revision that it made.
    pub revision: Revision,
    /// What each VM that it is about was before; none if there was none.
    vms: BTreeMap<VmId, Option<Arc<Vm>>>,
    /// The settings before, if it changed them.
    settings: Option<Arc<Settings>>,
}

impl Unconfirmed {
    pub(super) fn of(change: &Committed) -> Self {
        Self {
            revision: change.revision,
            vms: change.vms.iter().map(|vm| (vm.id.clone(), vm.old.clone())).collect(),
            settings: change.settings.as_ref().map(|[old, _]| old.clone()),
        }
    }

    /// Whether it changed more than VMs.
    #[must_use]
    pub fn is_about_policy(&self) -> bool {
        self.settings.is_some()
    }

    /// What makes it undone.
    pub(super) fn way_back(&self) -> impl Iterator<Item = Edit> + '_ {
        let vms = self.vms.iter().map(|(id, vm)| Edit::Restore(id.clone(), vm.clone()));
        vms.chain(self.settings.iter().cloned().map(Edit::Settings))
    }

    /// Whether another change is about the same; the place of the edit that is, if so.
    pub(super) fn check(&self, draft: &Draft) -> Result<(), (usize, EditError)> {
        if let Some(step) = draft.steps.iter().find(|step| self.vms.contains_key(&step.id)) {
            return Err((step.at, EditError::UnconfirmedVm { vm: step.id.clone(), revision: self.revision }));
        }
        match draft.settings {
            Some((at, _)) => Err((at, EditError::UnconfirmedPolicy { revision: self.revision })),
            None => Ok(()),
        }
    }
}
