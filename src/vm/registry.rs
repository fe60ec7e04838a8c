//! The writable truth about VMs, and the one place that changes the [`table`](super::table).
//!
//! A change is a list of edits that is taken whole or not at all: a refused edit leaves registry, table and revision as
//! they were. What was taken is published at once and *in force* when [`Registry::settle`] says so; until then the next
//! change waits.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::record::{RecordError, Vm, VmId, VmPatch, VmSet};
use crate::model::{ClassId, Key, MacAddr, Revision, Scope, VmIndex};
use crate::policy::{Settings, Snapshot};
use crate::table::{Batch, NotSettled, TableError, VmState, Writer};

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Makes or replaces a VM.
    Set(VmSet),
    /// Changes parts of a VM.
    Patch(VmId, VmPatch),
    /// Forgets a VM; nothing happens if there is none.
    Delete(VmId),
}

impl Edit {
    /// The VM it is about.
    #[must_use]
    pub fn id(&self) -> &VmId {
        match self {
            Self::Set(set) => &set.id,
            Self::Patch(id, _) | Self::Delete(id) => id,
        }
    }
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision that it made, or the current one when nothing was different.
    pub revision: Revision,
    /// Whether anything was different.
    pub changed: bool,
    /// VMs that are new; their numbers may have been another's before.
    pub created: Vec<VmIndex>,
}

/// Why a change was refused; nothing of it was applied.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The record itself.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A key that is another VM's.
    #[error("VM {vm}: {} belongs to VM {other} already{}", KeyText(*key), in_scope(*key))]
    Conflict {
        /// Who asks.
        vm: VmId,
        /// For what.
        key: Key,
        /// Whose it is.
        other: VmId,
    },
    /// A MAC that is a router's.
    #[error("VM {vm}: {mac} is a router's (`policy.via`); behind a router a VM is known by its IP addresses")]
    Router {
        /// Who asks.
        vm: VmId,
        /// For what.
        mac: MacAddr,
    },
    /// No class of that name.
    #[error("VM {vm}: there is no class `{class}`; the configuration has {}", known.join(", "))]
    UnknownClass {
        /// Whose.
        vm: VmId,
        /// As asked.
        class: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A patch for nobody.
    #[error("there is no VM {0}")]
    NotFound(VmId),
    /// As many VMs as there is room for.
    #[error("VM {vm}: the table is full, it holds {capacity} VMs (`table.vms`)")]
    VmsFull {
        /// Who asks.
        vm: VmId,
        /// `table.vms`.
        capacity: u32,
    },
    /// No room for a key.
    #[error("VM {vm}: {source}")]
    Table {
        /// Who asks.
        vm: VmId,
        /// What is full.
        source: TableError,
    },
    /// The change before is still on its way to some worker.
    #[error(transparent)]
    NotSettled(#[from] NotSettled),
}

/// A key as people write it.
struct KeyText(Key);

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Key::Mac(_, mac) => write!(f, "MAC {mac}"),
            Key::Prefix(_, net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr()),
            Key::Prefix(_, net) => write!(f, "{net}"),
        }
    }
}

fn in_scope(key: Key) -> String {
    match key {
        Key::Mac(Scope(0), _) | Key::Prefix(Scope(0), _) => String::new(),
        Key::Mac(Scope(scope), _) | Key::Prefix(Scope(scope), _) => format!(" in scope {scope}"),
    }
}

/// Every VM the box knows.
#[derive(Debug)]
pub struct Registry {
    writer: Writer,
    revision: Revision,
    ids: BTreeMap<VmId, VmIndex>,
    /// By [`VmIndex`].
    vms: Vec<Option<Vm>>,
    /// Numbers that no VM has and no worker can see.
    free: Vec<VmIndex>,
    /// Numbers of VMs deleted by the change that has not settled yet.
    leaving: Vec<VmIndex>,
    settings: Arc<Settings>,
}

impl Registry {
    /// An empty registry over a new table's writer.
    pub fn new(writer: Writer, settings: Arc<Settings>) -> Self {
        Self {
            writer,
            revision: Revision::default(),
            ids: BTreeMap::new(),
            vms: Vec::new(),
            free: Vec::new(),
            leaving: Vec::new(),
            settings,
        }
    }

    /// The revision of the last committed change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many VMs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no VM is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// A VM and its number.
    #[must_use]
    pub fn get(&self, id: &VmId) -> Option<(VmIndex, &Vm)> {
        let index = *self.ids.get(id)?;
        Some((index, self.by_index(index)?))
    }

    /// The VM that has a number.
    #[must_use]
    pub fn by_index(&self, index: VmIndex) -> Option<&Vm> {
        self.vms.get(index.0 as usize)?.as_ref()
    }

    /// VMs in the order of their ids, from behind `after`.
    pub fn iter_after<'a>(&'a self, after: Option<&VmId>) -> impl Iterator<Item = (VmIndex, &'a Vm)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        self.ids.range((from, Bound::Unbounded)).filter_map(|(_, &index)| Some((index, self.by_index(index)?)))
    }

    /// What decides beside the VMs.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What is published, for look-ups between changes.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { vms: self.writer.snapshot(), settings: &self.settings }
    }

    /// The class a VM is judged by, and its name: the override, else what its public address says.
    #[must_use]
    pub fn class<'a>(&self, vm: &'a Vm) -> (ClassId, &'a str) {
        let (id, name) = match (&vm.class, vm.public_ipv4) {
            (Some(name), _) => (self.settings.classes.find(name), name.as_str()),
            (None, Some(_)) => (Some(ClassId::UNRESTRICTED), "unrestricted"),
            (None, None) => (Some(ClassId::RESTRICTED), "restricted"),
        };
        (id.unwrap_or(ClassId::RESTRICTED), name)
    }

    /// Takes a change whole, or refuses it whole with the position of the edit that cannot be.
    ///
    /// # Errors
    /// The position and [`EditError`]; nothing was applied.
    pub fn apply(&mut self, edits: impl IntoIterator<Item = Edit>) -> Result<Change, (usize, EditError)> {
        if self.writer.try_settle() {
            self.free.append(&mut self.leaving);
        }
        let vms_max = self.writer.capacity().vms;
        let batch = self.writer.begin().map_err(|error| (0, error.into()))?;
        let mut draft = Draft {
            batch,
            ids: &mut self.ids,
            vms: &mut self.vms,
            free: &mut self.free,
            settings: &self.settings,
            vms_max,
            undo: Vec::new(),
            created: Vec::new(),
            leaving: Vec::new(),
        };
        for (at, edit) in edits.into_iter().enumerate() {
            if let Err(error) = draft.edit(edit) {
                draft.undo();
                return Err((at, error));
            }
        }
        if draft.undo.is_empty() {
            return Ok(Change { revision: self.revision, changed: false, created: Vec::new() });
        }
        let Draft { batch, created, leaving, .. } = draft;
        batch.publish();
        self.leaving = leaving;
        self.revision.0 += 1;
        Ok(Change { revision: self.revision, changed: true, created })
    }

    /// Waits until the last change is in force on every worker; how long that took from its publication.
    ///
    /// # Errors
    /// It is not by `deadline`; it stays, and later ones wait for it.
    pub fn settle(&mut self, deadline: Instant) -> Result<Duration, NotSettled> {
        let took = self.writer.settle(deadline)?;
        self.free.append(&mut self.leaving);
        Ok(took)
    }
}

/// A change in the making: the registry is changed at once and put back if the change is refused.
struct Draft<'r> {
    batch: Batch<'r>,
    ids: &'r mut BTreeMap<VmId, VmIndex>,
    vms: &'r mut Vec<Option<Vm>>,
    free: &'r mut Vec<VmIndex>,
    settings: &'r Settings,
    /// `table.vms`.
    vms_max: u32,
    /// What was there before each edit that changed something.
    undo: Vec<(VmIndex, Option<Vm>)>,
    created: Vec<VmIndex>,
    leaving: Vec<VmIndex>,
}

impl Draft<'_> {
    fn edit(&mut self, edit: Edit) -> Result<(), EditError> {
        let index = self.ids.get(edit.id()).copied();
        let old = index.and_then(|index| self.vms.get(index.0 as usize)).and_then(Option::as_ref);
        let id = edit.id().clone();
        let new = match edit {
            Edit::Set(set) => Some(set.onto(old)?),
            Edit::Patch(id, patch) => Some(patch.onto(old.ok_or(EditError::NotFound(id))?)?),
            Edit::Delete(_) => None,
        };
        if old == new.as_ref() {
            return Ok(());
        }
        let old = old.cloned();
        // From here on the slot of the VM holds what `undo` cannot miss.
        let index = match index {
            Some(index) => index,
            None => self.allocate(&id)?,
        };
        self.undo.push((index, old.clone()));
        self.put(index, new.clone());
        if let Some(old) = &old {
            for key in keys(old) {
                self.batch.remove(key);
            }
        }
        match (&old, &new) {
            (_, Some(new)) => {
                let state = self.state(new)?;
                for key in keys(new) {
                    self.insert(key, index, &new.id)?;
                }
                let table = |source| EditError::Table { vm: new.id.clone(), source };
                self.batch.set_state(index, state).map_err(table)?;
                if old.is_none() {
                    self.created.push(index);
                }
            }
            (Some(_), None) => self.leaving.push(index),
            (None, None) => {}
        }
        Ok(())
    }

    /// A number for a new VM.
    fn allocate(&mut self, id: &VmId) -> Result<VmIndex, EditError> {
        if let Some(index) = self.free.pop() {
            return Ok(index);
        }
        let capacity = self.vms_max;
        match u32::try_from(self.vms.len()) {
            Ok(next) if next < capacity => {
                self.vms.push(None);
                Ok(VmIndex(next))
            }
            _ => Err(EditError::VmsFull { vm: id.clone(), capacity }),
        }
    }

    fn put(&mut self, index: VmIndex, vm: Option<Vm>) {
        let Some(slot) = self.vms.get_mut(index.0 as usize) else { return };
        if let Some(old) = slot.take() {
            self.ids.remove(&old.id);
        }
        if let Some(vm) = &vm {
            self.ids.insert(vm.id.clone(), index);
        }
        *slot = vm;
    }

    fn insert(&mut self, key: Key, index: VmIndex, vm: &VmId) -> Result<(), EditError> {
        if let Key::Mac(_, mac) = key
            && self.settings.via.binary_search(&mac).is_ok()
        {
            return Err(EditError::Router { vm: vm.clone(), mac });
        }
        self.batch.insert(key, index).map_err(|error| match error {
            TableError::Taken { by } => match self.vms.get(by.0 as usize).and_then(Option::as_ref) {
                Some(other) => EditError::Conflict { vm: vm.clone(), key, other: other.id.clone() },
                None => EditError::Table { vm: vm.clone(), source: TableError::Taken { by } },
            },
            source => EditError::Table { vm: vm.clone(), source },
        })
    }

    fn state(&self, vm: &Vm) -> Result<VmState, EditError> {
        let class = match (&vm.class, vm.public_ipv4) {
            (Some(name), _) => self.settings.classes.find(name).ok_or_else(|| {
                let mut known: Vec<String> = self.settings.classes.iter().map(|class| class.name.clone()).collect();
                known.sort_unstable();
                EditError::UnknownClass { vm: vm.id.clone(), class: name.chars().take(64).collect(), known }
            })?,
            (None, Some(_)) => ClassId::UNRESTRICTED,
            (None, None) => ClassId::RESTRICTED,
        };
        let own = vm.prefixes().find_map(|net| match net {
            IpNet::V4(net) if net.prefix_len() == 32 => Some(net.addr()),
            _ => None,
        });
        Ok(VmState {
            class,
            mode: vm.mode,
            lists_macs: !vm.macs.is_empty(),
            lists_ipv4: vm.prefixes().any(|net| matches!(net, IpNet::V4(_))),
            lists_ipv6: vm.prefixes().any(|net| matches!(net, IpNet::V6(_))),
            ipv4: own.unwrap_or(Ipv4Addr::UNSPECIFIED),
        })
    }

    /// Puts the registry back; the batch is rolled back when it is dropped.
    fn undo(mut self) {
        for (index, old) in std::mem::take(&mut self.undo).into_iter().rev() {
            let created = old.is_none();
            self.put(index, old);
            if created {
                self.free.push(index);
            }
        }
    }
}

fn keys(vm: &Vm) -> impl Iterator<Item = Key> + '_ {
    let macs = vm.macs.iter().map(|&mac| Key::Mac(vm.scope, mac));
    macs.chain(vm.prefixes().map(|net| Key::Prefix(vm.scope, net)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mode;
    use crate::policy::{Class, Classes};
    use crate::table::{Capacity, Table};

    fn settings() -> Settings {
        let restricted = Classes::default().get(ClassId::RESTRICTED).clone();
        let ports = [25.into()].into_iter().collect();
        let mta_only = Class { name: "mta-only".into(), ports, mode: Mode::Enforce };
        let via = vec!["52:54:00:ff:ff:01".parse().unwrap()];
        Settings { classes: Classes::new(restricted, [mta_only]).unwrap(), via, ..Settings::default() }
    }

    fn registry(vms: u32) -> Registry {
        let (writer, _) = Table::create(Capacity { vms, keys: vms * 4 }, 0).unwrap();
        Registry::new(writer, Arc::new(settings()))
    }

    fn set(json: &str) -> Edit {
        Edit::Set(serde_json::from_str(json).unwrap())
    }

    fn patch(id: &str, json: &str) -> Edit {
        Edit::Patch(id.parse().unwrap(), serde_json::from_str(json).unwrap())
    }

    fn delete(id: &str) -> Edit {
        Edit::Delete(id.parse().unwrap())
    }

    fn class_of(registry: &Registry, ip: &str) -> Option<ClassId> {
        let snapshot = registry.snapshot().vms;
        snapshot.vm_by_ip(Scope(0), ip.parse().unwrap()).map(|vm| snapshot.state(vm).class)
    }

    #[test]
    fn a_public_address_lifts_the_restriction_and_the_override_wins() {
        let mut registry = registry(4);
        registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"]}"#)]).unwrap();
        assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::RESTRICTED));
        registry.apply([patch("a", r#"{"public_ipv4":"203.0.113.5"}"#)]).unwrap();
        assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::UNRESTRICTED));
        assert_eq!(class_of(&registry, "203.0.113.5"), Some(ClassId::UNRESTRICTED), "counted among its addresses");
        registry.apply([patch("a", r#"{"class":"mta-only"}"#)]).unwrap();
        assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId(2)));
        registry.apply([patch("a", r#"{"class":null,"public_ipv4":null}"#)]).unwrap();
        assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::RESTRICTED));
        assert_eq!(class_of(&registry, "203.0.113.5"), None);
    }

    #[test]
    fn a_conflict_names_the_other_vm_and_changes_nothing() {
        let mut registry = registry(4);
        registry.apply([set(r#"{"id":"a","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5","2001:db8::/64"]}"#)]).unwrap();
        for (json, key) in [
            (r#"{"id":"b","ips":["10.0.0.6","10.0.0.5"]}"#, "10.0.0.5"),
            (r#"{"id":"b","macs":["52:54:00:00:00:01"]}"#, "MAC 52:54:00:00:00:01"),
            (r#"{"id":"b","ips":["2001:db8::/64"]}"#, "2001:db8::/64"),
        ] {
            let (at, error) = registry.apply([set(r#"{"id":"c","ips":["10.0.0.9"]}"#), set(json)]).unwrap_err();
            assert_eq!((at, error.to_string()), (1, format!("VM b: {key} belongs to VM a already")));
        }
        assert_eq!((registry.len(), registry.revision()), (1, Revision(1)));
        assert_eq!(class_of(&registry, "10.0.0.9"), None, "the edit before the refused one is gone too");
        assert!(registry.apply([set(r#"{"id":"b","ips":["10.0.0.5"],"scope":1}"#)]).is_ok(), "another scope");
        assert!(registry.apply([set(r#"{"id":"c","ips":["2001:db8::/65"]}"#)]).is_ok(), "nested prefixes are fine");
    }

    #[test]
    fn an_address_moves_between_vms_in_one_change() {
        let mut registry = registry(4);
        registry
            .apply([
                set(r#"{"id":"a","ips":["10.0.0.5"]}"#),
                set(r#"{"id":"b","ips":["10.0.0.6"],"class":"unrestricted"}"#),
            ])
            .unwrap();
        registry
            .apply([
                set(r#"{"id":"a","ips":["10.0.0.7"]}"#),
                set(r#"{"id":"b","ips":["10.0.0.5"]}"#),
                set(r#"{"id":"a","ips":["10.0.0.6"]}"#),
            ])
            .unwrap();
        assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::UNRESTRICTED));
        assert_eq!(class_of(&registry, "10.0.0.6"), Some(ClassId::RESTRICTED));
        assert_eq!(class_of(&registry, "10.0.0.7"), None);
        assert_eq!(registry.revision(), Revision(2), "a transaction is one revision");
    }

    #[test]
    fn what_changes_nothing_makes_no_revision() {
        let mut registry = registry(4);
        let line = r#"{"id":"a","ips":["10.0.0.5"],"macs":["52:54:00:00:00:02","52:54:00:00:00:01"]}"#;
        assert!(registry.apply([set(line)]).unwrap().changed);
        let again = registry.apply([set(line), delete("nobody")]).unwrap();
        assert_eq!((again.changed, again.revision), (false, Revision(1)));
        assert!(matches!(registry.apply([patch("nobody", "{}")]), Err((0, EditError::NotFound(_)))));
    }

    #[test]
    fn a_deleted_vm_is_unknown_and_its_number_is_used_again() {
        let mut registry = registry(2);
        for round in 0..10 {
            let change =
                registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"]}"#), set(r#"{"id":"b","ips":["10.0.0.6"]}"#)]);
            assert_eq!(change.unwrap().created.len(), 2, "round {round}");
            let (_, error) = registry.apply([set(r#"{"id":"c","ips":["10.0.0.7"]}"#)]).unwrap_err();
            assert!(error.to_string().contains("table.vms"), "{error}");
            registry.apply([delete("a"), delete("b")]).unwrap();
            assert_eq!(class_of(&registry, "10.0.0.5"), None);
            assert!(registry.is_empty());
        }
    }

    #[test]
    fn a_refused_change_gives_its_numbers_back() {
        let mut registry = registry(2);
        for _ in 0..5 {
            let edits = [set(r#"{"id":"a","ips":["10.0.0.5"]}"#), set(r#"{"id":"b","ips":["10.0.0.5"]}"#)];
            assert!(registry.apply(edits).is_err());
        }
        assert!(
            registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"]}"#), set(r#"{"id":"b","ips":["10.0.0.6"]}"#)]).is_ok()
        );
        let edits = [
            delete("a"),
            set(r#"{"id":"b","ips":["10.0.0.5"]}"#),
            set(r#"{"id":"b","class":"none","ips":["10.0.0.5"]}"#),
        ];
        let (at, error) = registry.apply(edits).unwrap_err();
        assert_eq!((at, error.to_string().contains("mta-only, restricted, unrestricted")), (2, true), "{error}");
        assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::RESTRICTED));
        assert_eq!(registry.iter_after(None).map(|(_, vm)| vm.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_routers_mac_belongs_to_no_vm() {
        let (_, error) = registry(2).apply([set(r#"{"id":"a","macs":["52:54:00:ff:ff:01"]}"#)]).unwrap_err();
        assert!(error.to_string().contains("policy.via"), "{error}");
    }
}
