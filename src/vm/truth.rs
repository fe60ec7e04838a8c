//! What is true of the VMs and settings, staged changes included: plain collections, no table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::clock::Clock;
use super::journal::VmChange;
use super::record::{self, ExceptionName, Vm, VmId};
use crate::model::{ClassId, Moment, Peer, Revision, Scope, VmIndex};
use crate::policy::{
    Exception, Exceptions, Grants, Members, Opens, Parted, Relay, RelayAt, RelayInForce, Rules, Settings,
};

/// Everything that is true.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) revision: Revision,
    pub(super) settings: Arc<Settings>,
    /// What workers know of exceptions and relays.
    grants: Arc<Grants>,
    /// VMs of each tenant.
    tenants: HashMap<String, BTreeSet<VmIndex>>,
    /// VMs that have exceptions.
    pub(super) excepted: BTreeSet<VmId>,
    /// When exceptions end, and whose.
    ends: BTreeSet<(Moment, VmIndex)>,
    pub(super) clock: Clock,
    pub(super) ids: BTreeMap<VmId, VmIndex>,
    /// By [`VmIndex`].
    vms: Vec<Option<Arc<Vm>>>,
    /// How many VMs speak of each class.
    classes: HashMap<String, usize>,
    /// How many VMs are in each scope.
    scopes: BTreeMap<Scope, usize>,
    /// Numbers that no VM has and no worker can see.
    free: Vec<VmIndex>,
    /// Numbers of VMs that were deleted since the last grace period.
    leaving: Vec<VmIndex>,
}

impl Truth {
    pub(super) fn new(settings: Arc<Settings>, clock: Clock) -> Self {
        let exceptions = Exceptions::none(clock.steady().clone());
        let mut truth = Self {
            revision: Revision::default(),
            settings,
            grants: Arc::new(Grants { exceptions, relays: Vec::new() }),
            tenants: HashMap::new(),
            excepted: BTreeSet::new(),
            ends: BTreeSet::new(),
            clock,
            ids: BTreeMap::new(),
            vms: Vec::new(),
            classes: HashMap::new(),
            scopes: BTreeMap::new(),
            free: Vec::new(),
            leaving: Vec::new(),
        };
        truth.place_relays();
        truth
    }

    /// Makes these the settings; what they were.
    pub(super) fn replace_settings(&mut self, settings: Arc<Settings>) -> Arc<Settings> {
        let old = std::mem::replace(&mut self.settings, settings);
        self.place_relays();
        old
    }

    /// Looks anew where relays are, and whom they serve.
    fn place_relays(&mut self) {
        if !self.settings.relays.is_empty() || !self.grants.relays.is_empty() {
            let relays = self.settings.relays.iter().map(|relay| self.placed(relay)).collect();
            Arc::make_mut(&mut self.grants).relays = relays;
        }
    }

    pub(super) fn by_index(&self, index: VmIndex) -> Option<&Arc<Vm>> {
        self.vms.get(index.0 as usize)?.as_ref()
    }

    pub(super) fn get(&self, id: &VmId) -> Option<(VmIndex, &Arc<Vm>)> {
        let index = *self.ids.get(id)?;
        Some((index, self.by_index(index)?))
    }

    /// How many VMs speak of a class, as theirs or in an exception.
    pub(super) fn uses(&self, class: &str) -> usize {
        self.classes.get(class).copied().unwrap_or(0)
    }

    /// What is published beside the table.
    pub(super) fn rules(&self) -> Rules {
        Rules { settings: Arc::clone(&self.settings), grants: Arc::clone(&self.grants) }
    }

    /// Whether it is what was published.
    pub(super) fn is_published(&self, Rules { settings, grants }: &Rules) -> bool {
        Arc::ptr_eq(settings, &self.settings) && Arc::ptr_eq(grants, &self.grants)
    }

    /// VMs with exceptions that are over now, `limit` at most, and which.
    pub(super) fn over(&self, limit: usize) -> Vec<(VmId, Vec<ExceptionName>)> {
        let Some((first, _)) = self.ends.first() else { return Vec::new() };
        let now = self.clock.now();
        if *first > now {
            return Vec::new();
        }
        let ended = self.ends.iter().take_while(|(end, _)| *end <= now).map(|(_, vm)| *vm);
        let vms: BTreeSet<VmIndex> = ended.take(limit).collect();
        let of = |vm: &Arc<Vm>| {
            let over = vm.exceptions.iter().filter(|one| one.until.is_some_and(|until| until <= now));
            (vm.id.clone(), over.map(|one| one.name.clone()).collect())
        };
        vms.into_iter().filter_map(|vm| self.by_index(vm)).map(of).collect()
    }

    /// Whether some exception ends at some time.
    pub(super) fn awaits_an_end(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Scopes that some VM is in.
    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope> + '_ {
        self.scopes.keys().copied()
    }

    /// How many new VMs there are numbers for, in a table of `capacity`, when `deleted` VMs go in the same change.
    pub(super) fn room(&self, capacity: u32, deleted: usize) -> usize {
        (capacity as usize).saturating_sub(self.vms.len()) + self.free.len() + self.leaving.len() + deleted
    }

    /// A number for a new VM, and whether workers may still see it as another's. One of those is taken only when there
    /// is no other: its counters would mix both VMs' until the change is in force.
    pub(super) fn allocate(&mut self, capacity: u32) -> Option<(VmIndex, bool)> {
        if let Some(index) = self.free.pop() {
            return Some((index, false));
        }
        match u32::try_from(self.vms.len()) {
            Ok(next) if next < capacity => {
                self.vms.push(None);
                Some((VmIndex(next), false))
            }
            _ => self.leaving.pop().map(|index| (index, true)),
        }
    }

    /// Gives back what [`allocate`](Self::allocate) gave.
    fn release(&mut self, index: VmIndex, reused: bool) {
        if reused { self.leaving.push(index) } else { self.free.push(index) }
    }

    /// The grace period is over: numbers of deleted VMs can be had again.
    pub(super) fn settle(&mut self) {
        self.free.append(&mut self.leaving);
    }

    /// Takes a VM's change. The number of a new one was allocated before.
    pub(super) fn apply(&mut self, change: &VmChange) {
        if let (Some(_), None) = (&change.old, &change.new) {
            self.leaving.push(change.index);
        }
        self.put(change, change.old.as_deref(), change.new.clone());
    }

    /// Takes a VM's change back. Changes are taken back in the reverse of their order, so that numbers are, too.
    pub(super) fn undo(&mut self, change: &VmChange) {
        self.put(change, change.new.as_deref(), change.old.clone());
        match (&change.old, &change.new) {
            (Some(_), None) => _ = self.leaving.pop(),
            (None, Some(_)) => self.release(change.index, change.reused),
            _ => {}
        }
    }

    fn put(&mut self, change: &VmChange, was: Option<&Vm>, is: Option<Arc<Vm>>) {
        if let Some(was) = was {
            was.classes().for_each(|class| count_down(&mut self.classes, class));
            for end in was.exceptions.iter().filter_map(|one| one.until) {
                self.ends.remove(&(end, change.index));
            }
            if let std::collections::btree_map::Entry::Occupied(mut entry) = self.scopes.entry(was.scope) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
        match &is {
            Some(is) => {
                for class in is.classes() {
                    *self.classes.entry(class.to_owned()).or_default() += 1;
                }
                self.ends.extend(is.exceptions.iter().filter_map(|one| Some((one.until?, change.index))));
                *self.scopes.entry(is.scope).or_default() += 1;
                if was.is_none() {
                    self.ids.insert(change.id.clone(), change.index);
                }
            }
            None => _ = self.ids.remove(&change.id),
        }
        let [from, to] = [was, is.as_deref()].map(|vm| vm.and_then(|vm| vm.tenant.as_deref()));
        if from != to {
            self.move_tenant(change.index, from, to);
        }
        let had = was.map_or(&[][..], |was| &was.exceptions);
        let has = is.as_ref().map_or(&[][..], |is| &is.exceptions);
        if had != has {
            match has.is_empty() {
                true => _ = self.excepted.remove(&change.id),
                false => _ = self.excepted.insert(change.id.clone()),
            }
            let has = has.iter().map(|one| self.in_force(one)).collect();
            Arc::make_mut(&mut self.grants).exceptions.put(change.index, has);
        }
        if let Some(slot) = self.vms.get_mut(change.index.0 as usize) {
            *slot = is;
        }
        let is_relay = |relay: &Relay| matches!(&relay.at, RelayAt::Vm { id, .. } if *id == change.id.as_str());
        if self.settings.relays.iter().any(is_relay) {
            self.place_relays();
        }
    }

    /// A VM is of another tenant now.
    fn move_tenant(&mut self, vm: VmIndex, from: Option<&str>, to: Option<&str>) {
        if let Some(from) = from
            && let Some(vms) = self.tenants.get_mut(from)
        {
            vms.remove(&vm);
            if vms.is_empty() {
                self.tenants.remove(from);
            }
        }
        if self.grants.relays.iter().any(|relay| relay.members.is_some()) {
            let members = Arc::make_mut(&mut self.grants).relays.iter_mut().filter_map(|relay| relay.members.as_mut());
            for Members { tenant, vms } in members {
                vms.put(vm, (to.is_some() && tenant.as_deref() == to).then_some(()));
            }
        }
        if let Some(to) = to {
            self.tenants.entry(to.to_owned()).or_default().insert(vm);
        }
    }

    /// A relay as workers have it: where its VM is now, if it is one.
    fn placed(&self, relay: &Relay) -> RelayInForce {
        let vm = match &relay.at {
            RelayAt::Prefix(_) => None,
            RelayAt::Vm { id, .. } => id.parse().ok().and_then(|id| self.get(&id)).map(|(_, vm)| vm),
        };
        let tenant = vm.and_then(|vm| vm.tenant.as_deref());
        let fellows = || {
            let mut vms = Parted::default();
            let of_tenant = tenant.and_then(|tenant| self.tenants.get(tenant));
            of_tenant.into_iter().flatten().for_each(|&vm| vms.put(vm, Some(())));
            Members { tenant: tenant.map(Into::into), vms }
        };
        let public = vm.and_then(|vm| vm.public_ipv4).map(|address| IpNet::from(IpAddr::V4(address)));
        RelayInForce {
            name: relay.name.as_str().into(),
            anywhere: match relay.at {
                RelayAt::Prefix(prefix) => vec![prefix],
                RelayAt::Vm { .. } => public.into_iter().collect(),
            },
            within: vm.map(|vm| (vm.scope, vm.prefixes().collect())),
            ports: Arc::new(relay.ports.clone()),
            members: matches!(relay.at, RelayAt::Vm { tenant: true, .. }).then(fellows),
        }
    }

    /// An exception as workers have it. Its class was checked.
    fn in_force(&self, exception: &record::Exception) -> Exception {
        Exception {
            name: exception.name.as_str().into(),
            peer: exception.peer.map(Peer::net),
            opens: match &exception.opens {
                record::Opens::Ports(ports) => Opens::Ports(ports.clone().into()),
                record::Opens::Class(class) => {
                    Opens::AllBut(self.settings.classes.find(class).unwrap_or(ClassId::RESTRICTED))
                }
            },
            until: exception.until.and_then(|until| self.clock.instant(until)),
        }
    }
}

fn count_down(counts: &mut HashMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}
