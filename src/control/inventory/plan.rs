//! Where the box differs from an inventory.

use std::sync::Arc;

use super::collector::Inventory;
use super::{Counts, SHOWN_MAX};
use crate::control::reading::{Source, Take};
use crate::control::rpc::{Difference, RpcError};
use crate::model::Revision;
use crate::vm::edit::{Edit, EditError};
use crate::vm::record::{Vm, VmId};

/// VMs that are compared at a time.
const PAGE: usize = 1_000;

/// VMs that differ, and what would become of them.
pub(super) struct Plan {
    /// In the order of their ids.
    pub(super) differing: Vec<VmId>,
    pub(super) counts: Counts,
    /// The first of them.
    pub(super) shown: Vec<Difference<Vm>>,
    /// How many VMs there are.
    pub(super) vms: u64,
    /// What was changed since this revision may not have been seen.
    pub(super) as_of: Revision,
}

impl Plan {
    /// Compares all VMs, both sides in the order of their ids.
    pub(super) fn make(source: &impl Source, inventory: &Inventory) -> Result<Self, RpcError> {
        let as_of = source.overview()?.revision;
        let mut plan = Self { differing: Vec::new(), counts: Counts::default(), shown: Vec::new(), vms: 0, as_of };
        let mut wanted = inventory.iter().peekable();
        let mut after = None;
        loop {
            let page = source.rows(Take { after, limit: PAGE, ..Take::default() })?;
            for row in &page.rows {
                let (id, vm) = (&row.vm.id, &row.vm);
                while let Some((_, new)) = wanted.next_if(|(new, _)| *new < id) {
                    plan.add(None, Some(new.clone().onto(None).map_err(EditError::from)?));
                }
                match wanted.next_if(|(new, _)| *new == id) {
                    Some((_, new)) => {
                        let new = new.clone().onto(Some(vm)).map_err(EditError::from)?;
                        if new != **vm {
                            plan.add(Some(vm), Some(new));
                        }
                    }
                    None => plan.add(Some(vm), None),
                }
                plan.vms += 1;
            }
            after = page.next();
            if after.is_none() {
                break;
            }
        }
        for (_, new) in wanted {
            plan.add(None, Some(new.clone().onto(None).map_err(EditError::from)?));
        }
        Ok(plan)
    }

    fn add(&mut self, before: Option<&Arc<Vm>>, after: Option<Vm>) {
        let Some(id) = before.map(|vm| &vm.id).or(after.as_ref().map(|vm| &vm.id)) else { return };
        self.differing.push(id.clone());
        *match (before, &after) {
            (None, _) => &mut self.counts.created,
            (_, Some(_)) => &mut self.counts.replaced,
            (_, None) => &mut self.counts.removed,
        } += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(Difference { before: before.cloned(), after: after.map(Arc::new) });
        }
    }
}

/// What makes VMs as the inventory says.
pub(in crate::control) fn edits<'a>(
    inventory: &'a Inventory,
    ids: impl IntoIterator<Item = &'a VmId> + 'a,
) -> impl Iterator<Item = Edit> + 'a {
    ids.into_iter().map(|id| inventory.get(id).map_or_else(|| Edit::Delete(id.clone()), |set| Edit::Set(set.clone())))
}
