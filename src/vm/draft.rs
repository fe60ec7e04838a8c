//! A change that is checked and not yet made: what each VM would be, and whether that can be.
//!
//! All edits of a change are looked at together. What counts is what each VM is before and after, not the way there: so
//! two VMs may swap their addresses, and a change that ends where it began is none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::edit::{Edit, EditError};
use super::record::{Etag, Exception, Vm, VmId, VmPatch};
use super::truth::Truth;
use crate::model::{Address, ClassId, Key, VmIndex};
use crate::policy::{PublicIpv4, Settings};
use crate::table::{Batch, TableError};

/// What becomes of one VM.
#[derive(Debug)]
pub(super) struct Step {
    /// The last edit that was about it.
    pub(super) at: usize,
    pub(super) id: VmId,
    /// Its number and record, if there is one.
    pub(super) old: Option<(VmIndex, Arc<Vm>)>,
    /// What it will be.
    pub(super) new: Option<Arc<Vm>>,
}

impl Step {
    /// Keys that it loses.
    pub(super) fn removed(&self) -> impl Iterator<Item = Key> + '_ {
        let stays = |key: &Key| self.new.as_ref().is_some_and(|new| keys(new).any(|kept| kept == *key));
        self.old.iter().flat_map(|(_, old)| keys(old)).filter(move |key| !stays(key))
    }

    /// Keys that it gains.
    pub(super) fn added(&self) -> impl Iterator<Item = Key> + '_ {
        let was = |key: &Key| self.old.as_ref().is_some_and(|(_, old)| keys(old).any(|had| had == *key));
        self.new.iter().flat_map(|new| keys(new)).filter(move |key| !was(key))
    }
}

/// A change that can be made, but for the room in the table.
#[derive(Debug)]
pub(super) struct Draft {
    /// Only VMs that will differ; those that go first, then in the order of their ids.
    pub(super) steps: Vec<Step>,
    /// Only if they differ, and what edit said so.
    pub(super) settings: Option<(usize, Arc<Settings>)>,
}

/// The position of the edit that cannot be, and why.
type Refusal = (usize, EditError);

impl Draft {
    /// Checks a change against what is true and what the open batch of the table says.
    pub(super) fn new(
        truth: &Truth,
        batch: &Batch<'_>,
        capacity: u32,
        edits: impl IntoIterator<Item = Edit>,
    ) -> Result<Self, Refusal> {
        let mut vms: BTreeMap<VmId, (usize, Option<Arc<Vm>>)> = BTreeMap::new();
        let mut settings: Option<(usize, Arc<Settings>)> = None;
        for (at, edit) in edits.into_iter().enumerate() {
            let edit = match edit {
                Edit::If(etag, edit) => {
                    let now = edit.id().and_then(|id| truth.get(id)).map(|(_, vm)| Etag::of(vm));
                    if let Some(id) = edit.id().filter(|_| now != etag) {
                        return Err((at, EditError::Etag { vm: id.clone(), now }));
                    }
                    *edit
                }
                edit => edit,
            };
            let id = match edit {
                Edit::Settings(new) => {
                    settings = Some((at, new));
                    continue;
                }
                Edit::Policy(edit) => {
                    let now = settings.as_ref().map_or(&truth.settings, |(_, settings)| settings);
                    let new = edit.onto(now, &truth.settings).map_err(|faults| (at, EditError::Policy(faults)))?;
                    settings = Some((at, Arc::new(new)));
                    continue;
                }
                Edit::Set(_) | Edit::Patch(..) | Edit::Delete(_) | Edit::Restore(..) => edit.id().cloned(),
                Edit::If(..) => None, // Not twice.
            };
            let Some(id) = id else { continue };
            let now = match vms.get(&id) {
                Some((_, now)) => now.as_ref(),
                None => truth.get(&id).map(|(_, vm)| vm),
            };
            let new = match edit {
                Edit::Restore(_, vm) => {
                    vms.insert(id, (at, vm));
                    continue;
                }
                Edit::Set(set) => Some(set.onto(now.map(Arc::as_ref)).map_err(|error| (at, error.into()))?),
                Edit::Patch(id, patch) => match now {
                    Some(now) => {
                        not_over(truth, &id, &patch).map_err(|error| (at, error))?;
                        Some(patch.onto(now).map_err(|error| (at, error.into()))?)
                    }
                    None => return Err((at, EditError::NotFound(id))),
                },
                Edit::Delete(_) | Edit::Policy(_) | Edit::Settings(_) | Edit::If(..) => None,
            };
            vms.insert(id, (at, new.map(Arc::new)));
        }
        let step = |(id, (at, new)): (VmId, (usize, Option<Arc<Vm>>))| {
            let old = truth.get(&id).map(|(index, vm)| (index, vm.clone()));
            let differs = old.as_ref().map(|(_, old)| old) != new.as_ref();
            differs.then_some(Step { at, id, old, new })
        };
        let mut steps: Vec<Step> = vms.into_iter().filter_map(step).collect();
        steps.sort_by_key(|step| step.new.is_some());

        let settings = match settings {
            Some((at, new)) => {
                let new = new.following(&truth.settings).map_err(|error| (at, error.into()))?;
                (new != *truth.settings).then(|| (at, Arc::new(new)))
            }
            None => None,
        };
        let draft = Self { steps, settings };
        draft.check_classes(truth)?;
        draft.check_public(truth)?;
        draft.check_routers(truth, batch)?;
        draft.check_refusal_sources(truth)?;
        draft.check_keys(truth, batch)?;
        draft.check_room(truth, capacity)?;
        Ok(draft)
    }

    /// Whether nothing would differ.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.settings.is_none()
    }

    /// The place of the first edit that makes a difference.
    pub(super) fn at(&self) -> usize {
        let settings = self.settings.iter().map(|(at, _)| *at);
        self.steps.iter().map(|step| step.at).chain(settings).min().unwrap_or(0)
    }

    /// The settings after the change.
    fn settings<'a>(&'a self, truth: &'a Truth) -> &'a Settings {
        self.settings.as_ref().map_or(&truth.settings, |(_, settings)| settings)
    }

    /// Every VM's class is there, and no class goes that some VM has.
    fn check_classes(&self, truth: &Truth) -> Result<(), Refusal> {
        let settings = self.settings(truth);
        for step in &self.steps {
            if let Some(new) = &step.new {
                class(settings, new).map_err(|error| (step.at, error))?;
                new.classes()
                    .try_for_each(|name| find(settings, new, name).map(drop))
                    .map_err(|error| (step.at, error))?;
            }
        }
        let Some((at, new)) = &self.settings else { return Ok(()) };
        let changed: HashSet<&VmId> = self.steps.iter().map(|step| &step.id).collect();
        for gone in truth.settings.classes.iter().filter(|old| new.classes.find(&old.name).is_none()) {
            // VMs that this change touches were checked above.
            let speaks = |vm: &Vm| vm.classes().any(|class| class == gone.name);
            let touched = |step: &&Step| step.old.as_ref().is_some_and(|(_, vm)| speaks(vm));
            let count = truth.uses(&gone.name) - self.steps.iter().filter(touched).count();
            if count > 0 {
                let has = |(id, _): &(&VmId, &VmIndex)| {
                    !changed.contains(id) && truth.get(id).is_some_and(|(_, vm)| speaks(vm))
                };
                if let Some((vm, _)) = truth.ids.iter().find(has) {
                    return Err((*at, EditError::ClassInUse { class: gone.name.clone(), vm: vm.clone(), count }));
                }
            }
        }
        Ok(())
    }

    /// What stands as a public address is one, unless the settings allow any.
    fn check_public(&self, truth: &Truth) -> Result<(), Refusal> {
        if self.settings(truth).public_ipv4 == PublicIpv4::Any {
            return Ok(());
        }
        let check = |at: usize, vm: &Vm| vm.check_public_address().map_err(|error| (at, error.into()));
        for step in &self.steps {
            step.new.as_ref().map_or(Ok(()), |new| check(step.at, new))?;
        }
        match self.settings {
            Some((at, _)) if truth.settings.public_ipv4 == PublicIpv4::Any => {
                // VMs that this change touches were checked above.
                let changed: HashSet<&VmId> = self.steps.iter().map(|step| &step.id).collect();
                let others =
                    truth.ids.iter().filter(|(id, _)| !changed.contains(id)).filter_map(|(id, _)| truth.get(id));
                others.map(|(_, vm)| vm).try_for_each(|vm| check(at, vm))
            }
            _ => Ok(()),
        }
    }

    /// No VM has a router's MAC.
    fn check_routers(&self, truth: &Truth, batch: &Batch<'_>) -> Result<(), Refusal> {
        let settings = self.settings(truth);
        for step in &self.steps {
            for mac in step.new.iter().flat_map(|new| &new.macs) {
                if settings.via.macs().any(|router| router == *mac) {
                    return Err((step.at, EditError::Router { vm: step.id.clone(), mac: *mac }));
                }
            }
        }
        let Some((at, new)) = &self.settings else { return Ok(()) };
        for mac in new.via.macs() {
            for scope in truth.scopes() {
                let owner = batch.owner(Key::Mac(scope, mac)).and_then(|index| truth.by_index(index));
                if let Some(owner) = owner.filter(|owner| !self.steps.iter().any(|step| step.id == owner.id)) {
                    return Err((*at, EditError::Router { vm: owner.id.clone(), mac }));
                }
            }
        }
        Ok(())
    }

    /// No VM has an address that the box itself answers from.
    fn check_refusal_sources(&self, truth: &Truth) -> Result<(), Refusal> {
        let sources = self.settings(truth).refusal_addresses();
        let check = |at: usize, vm: &Vm| match sources.iter().find(|&&source| vm.lists(Address::Ip(source)).is_some()) {
            Some(&address) => Err((at, EditError::RefusalSource { vm: vm.id.clone(), address })),
            None => Ok(()),
        };
        if sources.is_empty() {
            return Ok(());
        }
        self.steps
            .iter()
            .filter_map(|step| Some((step.at, step.new.as_ref()?)))
            .try_for_each(|(at, vm)| check(at, vm))?;
        match self.settings {
            Some((at, _)) if sources != truth.settings.refusal_addresses() => {
                // VMs that this change touches were checked above.
                let changed: HashSet<&VmId> = self.steps.iter().map(|step| &step.id).collect();
                let others = truth.ids.keys().filter(|id| !changed.contains(id)).filter_map(|id| truth.get(id));
                others.map(|(_, vm)| vm).try_for_each(|vm| check(at, vm))
            }
            _ => Ok(()),
        }
    }

    /// Every key has one owner.
    fn check_keys(&self, truth: &Truth, batch: &Batch<'_>) -> Result<(), Refusal> {
        let conflict = |step: &Step, key, other: &VmId| {
            Err((step.at, EditError::Conflict { vm: step.id.clone(), key, other: other.clone() }))
        };
        let by_index: HashMap<VmIndex, &Step> =
            self.steps.iter().filter_map(|step| Some((step.old.as_ref()?.0, step))).collect();
        let mut claimed: HashMap<Key, &VmId> = HashMap::new();
        for step in &self.steps {
            for key in step.added() {
                if let Some(index) = batch.owner(key)
                    && let Some(owner) = truth.by_index(index)
                    && !by_index.get(&index).is_some_and(|other| other.removed().any(|gone| gone == key))
                {
                    return conflict(step, key, &owner.id);
                }
                // One VM's keys differ from each other.
                if self.steps.len() > 1
                    && let Some(other) = claimed.insert(key, &step.id)
                {
                    return conflict(step, key, other);
                }
            }
        }
        Ok(())
    }

    /// There are numbers for the new VMs.
    fn check_room(&self, truth: &Truth, capacity: u32) -> Result<(), Refusal> {
        let deleted = self.steps.iter().filter(|step| step.new.is_none()).count();
        let mut created = self.steps.iter().filter(|step| step.old.is_none());
        match created.nth(truth.room(capacity, deleted)) {
            Some(step) => Err((step.at, EditError::VmsFull { vm: step.id.clone(), capacity })),
            None => Ok(()),
        }
    }
}

/// Nobody adds an exception that is over already: that is a slip.
fn not_over(truth: &Truth, vm: &VmId, patch: &VmPatch) -> Result<(), EditError> {
    let ends = |one: &Exception| Some((one.name.clone(), one.until?));
    let mut ends = patch.add_exceptions.iter().filter_map(ends).peekable();
    if ends.peek().is_none() {
        return Ok(());
    }
    let now = truth.clock.now();
    match ends.find(|(_, until)| *until <= now) {
        Some((name, until)) => Err(EditError::Over { vm: vm.clone(), name, until, now }),
        None => Ok(()),
    }
}

/// The class of a VM under these settings.
pub(super) fn class(settings: &Settings, vm: &Vm) -> Result<ClassId, EditError> {
    match (&vm.class, vm.public_ipv4) {
        (Some(name), _) => find(settings, vm, name),
        (None, Some(_)) => Ok(ClassId::UNRESTRICTED),
        (None, None) => Ok(ClassId::RESTRICTED),
    }
}

/// The class of a name that a VM speaks of.
fn find(settings: &Settings, vm: &Vm, name: &str) -> Result<ClassId, EditError> {
    settings.classes.find(name).ok_or_else(|| {
        let mut known: Vec<String> = settings.classes.iter().map(|class| class.name.clone()).collect();
        known.sort_unstable();
        EditError::UnknownClass { vm: vm.id.clone(), class: name.chars().take(64).collect(), known }
    })
}

/// What leads to a VM.
pub(super) fn keys(vm: &Vm) -> impl Iterator<Item = Key> + '_ {
    let macs = vm.macs.iter().map(|&mac| Key::Mac(vm.scope, mac));
    macs.chain(vm.prefixes().map(|net| Key::Prefix(vm.scope, net)))
}

/// The table has no room for a key of this VM.
pub(super) fn no_room(vm: &VmId, source: TableError) -> EditError {
    EditError::Table { vm: vm.clone(), source }
}

/// An address that needs no look-up, see [`VmState`](crate::table::VmState).
pub(super) fn own_ipv4(vm: &Vm) -> Option<std::net::Ipv4Addr> {
    let listed = || {
        vm.prefixes().find_map(|net| match net {
            IpNet::V4(net) if net.prefix_len() == 32 => Some(net.addr()),
            _ => None,
        })
    };
    vm.public_ipv4.or_else(listed)
}
