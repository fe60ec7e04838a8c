//! The one writer of everything that workers read: the VMs and the settings.
//!
//! A change goes through steps, each with a name:
//!
//! 1. *drafted*: all its edits are checked together, and nothing is touched (`draft`);
//! 2. *staged*: it is true here and written into the open batch of the table, which no worker sees;
//! 3. *committed*: the journal has it ([`Journal`]);
//! 4. *published*: workers see it from their next turn on;
//! 5. *in force*: no worker reads what was before ([`Registry::settle`]). Only then is it answered.
//!
//! Many changes may be staged before they are published together; each has its own revision and its own refusal. A change
//! is taken whole or refused whole, and a refused one leaves no trace.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::confirm::Unconfirmed;
use super::draft::{self, Draft};
use super::edit::{Change, Edit, EditError};
use super::journal::{Committed, Journal, JournalReport, NoJournal, VmChange, WayBack};
use super::record::{ExceptionName, Vm, VmId};
use super::truth::Truth;
use crate::model::{Address, ClassId, Key, Revision, Scope, VmIndex};
use crate::policy::{Reader, Rules, Settings, Snapshot};
use crate::sync::published::Published;
use crate::table::{Batch, Capacity, CreateError, NotSettled, Secret, Table, TableError, Usage, VmState, Writer};

/// Every VM the box knows, and the settings.
#[derive(Debug)]
pub struct Registry {
    /// Staged changes included.
    truth: Truth,
    /// Changes that are staged and not published, in order.
    staged: Vec<Committed>,
    /// The change that is undone unless somebody confirms it.
    unconfirmed: Option<Unconfirmed>,
    writer: Writer,
    rules: Published<Rules>,
    journal: Box<dyn Journal>,
}

impl Registry {
    /// An empty registry over a new table, and a reader for each worker in the order of their numbers. Exceptions end by `clock`.
    ///
    /// # Errors
    /// There can be no such table.
    pub fn create(
        capacity: Capacity,
        workers: usize,
        settings: Settings,
        clock: Clock,
    ) -> Result<(Self, Vec<Reader>), CreateError> {
        let (writer, readers) = Table::create_with(capacity, workers, &Secret::random()?)?;
        let truth = Truth::new(Arc::new(settings), clock);
        let rules = Published::new(truth.rules());
        let readers = readers.into_iter().map(|vms| Reader::new(vms, rules.subscribe())).collect();
        let journal = Box::new(NoJournal::default());
        Ok((Self { truth, staged: Vec::new(), unconfirmed: None, writer, rules, journal }, readers))
    }

    /// From now on changes are committed to `journal`, which holds what is true now as `revision`.
    #[must_use]
    pub fn with_journal(mut self, journal: impl Journal + 'static, revision: Revision) -> Self {
        self.journal = Box::new(journal);
        self.truth.revision = revision;
        self
    }

    /// How the journal is, if there is one.
    #[must_use]
    pub fn journal(&self) -> Option<JournalReport> {
        self.journal.report()
    }

    /// The revision of the last change, staged ones included.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.truth.revision
    }

    /// How many VMs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.truth.ids.len()
    }

    /// Whether no VM is known.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.truth.ids.is_empty()
    }

    /// A VM and its number.
    #[must_use]
    pub fn get(&self, id: &VmId) -> Option<(VmIndex, &Arc<Vm>)> {
        self.truth.get(id)
    }

    /// The VM that has a number.
    #[must_use]
    pub fn by_index(&self, index: VmIndex) -> Option<&Arc<Vm>> {
        self.truth.by_index(index)
    }

    /// Whose an address is, as workers see it: in one scope, or in each that some VM is in.
    pub fn owners(&self, address: Address, scope: Option<Scope>) -> Vec<(VmIndex, &Arc<Vm>)> {
        let vms = self.snapshot().vms;
        let scopes: Vec<Scope> = scope.map_or_else(|| self.truth.scopes().collect(), |scope| vec![scope]);
        let owner = |scope| match address {
            Address::Mac(mac) => vms.vm_by_mac(scope, mac),
            Address::Ip(ip) => vms.vm_by_ip(scope, ip),
        };
        scopes.into_iter().filter_map(owner).filter_map(|index| Some((index, self.by_index(index)?))).collect()
    }

    /// VMs in the order of their ids, from behind `after`.
    pub fn iter_after<'a>(&'a self, after: Option<&VmId>) -> impl Iterator<Item = (VmIndex, &'a Arc<Vm>)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        self.truth.ids.range((from, Bound::Unbounded)).filter_map(|(_, &index)| Some((index, self.by_index(index)?)))
    }

    /// VMs with exceptions in the order of their ids, from behind `after`.
    pub fn excepted_after<'a>(
        &'a self,
        after: Option<&VmId>,
    ) -> impl Iterator<Item = (VmIndex, &'a Arc<Vm>)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        self.truth.excepted.range((from, Bound::Unbounded)).filter_map(|id| self.truth.get(id))
    }

    /// What decides beside the VMs, staged changes included.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.truth.settings
    }

    /// What is published, for look-ups between changes.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        let Rules { settings, grants } = self.rules.newest();
        Snapshot { vms: self.writer.snapshot(), settings, grants }
    }

    /// The clock by which exceptions end.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.truth.clock
    }

    /// Writes down what time it is, if some exception ends at some time.
    pub fn note_time(&mut self) {
        if self.truth.awaits_an_end() {
            self.journal.note(self.truth.clock.now());
        }
    }

    /// VMs with exceptions that are over, `limit` at most, and which. Workers have ended them already.
    #[must_use]
    pub fn over(&self, limit: usize) -> Vec<(VmId, Vec<ExceptionName>)> {
        self.truth.over(limit)
    }

    /// How full the table is, staged changes included.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.writer.used()
    }

    /// How much the table can hold.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.writer.capacity()
    }

    /// Stages and publishes a change by itself.
    ///
    /// # Errors
    /// As [`stage`](Self::stage).
    pub fn apply(&mut self, edits: impl IntoIterator<Item = Edit>) -> Result<Change, (usize, EditError)> {
        let change = self.stage(edits)?;
        self.publish();
        Ok(change)
    }

    /// The change that waits to be confirmed, staged ones included.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<&Unconfirmed> {
        self.unconfirmed.as_ref()
    }

    /// Stages the confirmation of the change that waits for one: a revision of its own, so that the journal has it.
    ///
    /// # Errors
    /// An earlier change is still on its way.
    pub fn stage_confirmation(&mut self) -> Result<Change, (usize, EditError)> {
        self.stage_as([], WayBack::Dropped)
    }

    /// Stages the way back from the change that waits to be confirmed.
    ///
    /// # Errors
    /// An earlier change is still on its way.
    pub fn stage_rollback(&mut self) -> Result<Change, (usize, EditError)> {
        let way_back: Vec<Edit> = self.unconfirmed.iter().flat_map(Unconfirmed::way_back).collect();
        self.stage_as(way_back, WayBack::Dropped)
    }

    /// Drafts a change and stages it: true for whoever asks the registry, seen by no worker yet.
    ///
    /// # Errors
    /// The position of the edit that cannot be, and why; nothing of this change is left, and others that are staged stay.
    pub fn stage(&mut self, edits: impl IntoIterator<Item = Edit>) -> Result<Change, (usize, EditError)> {
        self.stage_as(edits, WayBack::Same)
    }

    /// As [`stage`](Self::stage). With [`WayBack::Kept`] the change, if it is one, waits from now on to be confirmed; with
    /// [`WayBack::Dropped`] none does any more, and there is a new revision in any case.
    ///
    /// # Errors
    /// As [`stage`](Self::stage); or it stands in the way back from a change that waits to be confirmed.
    pub fn stage_as(
        &mut self,
        edits: impl IntoIterator<Item = Edit>,
        way_back: WayBack,
    ) -> Result<Change, (usize, EditError)> {
        let revision = self.revision();
        let Some(mut committed) = self.attempt(edits, way_back, |staged, _, _| staged.committed)? else {
            return Ok(Change { revision, changed: false, deleted: Vec::new() });
        };
        committed.way_back = way_back;
        match way_back {
            WayBack::Same => {}
            WayBack::Kept => self.unconfirmed = Some(Unconfirmed::of(&committed)),
            WayBack::Dropped => self.unconfirmed = None,
        }
        let gone = committed.vms.iter().filter(|change| change.new.is_none());
        let deleted = gone.map(|change| change.index).collect();
        let change = Change { revision: committed.revision, changed: true, deleted };
        self.staged.push(committed);
        Ok(change)
    }

    /// What a change would do, and whether it can be: it is staged as ever and then taken back.
    ///
    /// # Errors
    /// As [`stage_as`](Self::stage_as).
    pub fn rehearse(
        &mut self,
        edits: impl IntoIterator<Item = Edit>,
        way_back: WayBack,
    ) -> Result<Committed, (usize, EditError)> {
        let revision = self.revision();
        let would = self.attempt(edits, way_back, Staged::take_back)?;
        let way_back = WayBack::Same;
        Ok(would.unwrap_or(Committed { revision, vms: Vec::new(), settings: None, way_back }))
    }

    /// Drafts a change, makes it true and writes it into the batch, and lets `end` say what becomes of it; nothing if nothing
    /// would differ.
    fn attempt(
        &mut self,
        edits: impl IntoIterator<Item = Edit>,
        way_back: WayBack,
        end: impl FnOnce(Staged, &mut Truth, &mut Batch<'_>) -> Committed,
    ) -> Result<Option<Committed>, (usize, EditError)> {
        self.try_settle();
        let capacity = self.writer.capacity().vms;
        let mut batch = self.writer.resume().map_err(|error| (0, error.into()))?;
        let truth = &mut self.truth;
        let outcome =
            Draft::new(truth, &batch, capacity, edits).and_then(|draft| match (&self.unconfirmed, way_back) {
                (_, WayBack::Dropped) => stage(truth, &mut batch, capacity, draft, true).map(Some),
                _ if draft.is_empty() => Ok(None),
                (None, _) => stage(truth, &mut batch, capacity, draft, false).map(Some),
                (Some(Unconfirmed { revision, .. }), WayBack::Kept) => {
                    Err((draft.at(), EditError::UnconfirmedAlready { revision: *revision }))
                }
                (Some(unconfirmed), WayBack::Same) => {
                    stage_beside(truth, &mut batch, capacity, draft, unconfirmed).map(Some)
                }
            });
        let outcome = outcome.map(|staged| staged.map(|staged| end(staged, truth, &mut batch)));
        batch.pause();
        outcome
    }

    /// Commits what is staged, and makes it what workers see from their next turn on. What that was, and whether all that is
    /// true outlasts the process.
    pub fn publish(&mut self) -> (Vec<Committed>, bool) {
        let Ok(batch) = self.writer.resume() else { return (Vec::new(), false) }; // Nothing can be staged then.
        if self.staged.is_empty() {
            return (Vec::new(), self.journal.report().is_some_and(|report| report.durable));
        }
        let durable = self.journal.commit(&self.staged, self.truth.clock.now());
        if !self.truth.is_published(self.rules.newest()) {
            self.rules.publish(batch.next_generation(), self.truth.rules());
        }
        batch.publish();
        (std::mem::take(&mut self.staged), durable)
    }

    /// Waits until what was published last is in force on every worker; how long that took from its publication, nothing
    /// if it had settled before.
    ///
    /// # Errors
    /// It is not by `deadline`; it stays, and later changes wait for it.
    pub fn settle(&mut self, deadline: Instant) -> Result<Duration, NotSettled> {
        let took = self.writer.settle(deadline)?;
        self.settled();
        Ok(took)
    }

    fn try_settle(&mut self) {
        // With changes staged the last publication has settled already, and numbers may be leaving anew.
        if self.staged.is_empty() && self.writer.try_settle() {
            self.settled();
        }
    }

    fn settled(&mut self) {
        if self.staged.is_empty() {
            self.truth.settle();
            self.rules.settle();
        }
    }
}

/// The class a VM is judged by, and its name: the override, else what its public address says.
#[must_use]
pub fn class<'a>(settings: &Settings, vm: &'a Vm) -> (ClassId, &'a str) {
    let id = draft::class(settings, vm).unwrap_or(ClassId::RESTRICTED);
    let name = match (&vm.class, vm.public_ipv4) {
        (Some(name), _) => name.as_str(),
        (None, Some(_)) => crate::policy::UNRESTRICTED,
        (None, None) => crate::policy::RESTRICTED,
    };
    (id, name)
}

/// A change that is true and in the batch, as far as it came, and what it took to bring it there.
struct Staged {
    committed: Committed,
    /// The revision before it.
    before: Revision,
    /// Keys that led to a VM before.
    lost: Vec<(Key, VmIndex)>,
    /// Keys that lead to a VM now.
    gained: Vec<Key>,
}

impl Staged {
    /// Takes it back, as if it had never been. Nothing else may have been staged since.
    fn take_back(self, truth: &mut Truth, batch: &mut Batch<'_>) -> Committed {
        // Keys come back into the slots that they left, which nobody has taken since, so there is room for them.
        self.gained.into_iter().for_each(|key| _ = batch.remove(key));
        let back: Result<(), TableError> = self.lost.into_iter().try_for_each(|(key, owner)| batch.insert(key, owner));
        debug_assert!(back.is_ok(), "{back:?}");
        // First the settings, whose classes the records speak of.
        if let Some([old, _]) = &self.committed.settings {
            truth.replace_settings(old.clone());
        }
        for change in self.committed.vms.iter().rev() {
            truth.undo(change);
        }
        for change in &self.committed.vms {
            if let Some(old) = &change.old {
                let back = batch.set_state(change.index, state(&truth.settings, old));
                debug_assert!(back.is_ok(), "{back:?}");
            }
        }
        truth.revision = self.before;
        self.committed
    }
}

/// Makes a draft true beside a change that waits to be confirmed, if that can be undone afterwards.
fn stage_beside(
    truth: &mut Truth,
    batch: &mut Batch<'_>,
    capacity: u32,
    draft: Draft,
    unconfirmed: &Unconfirmed,
) -> Result<Staged, (usize, EditError)> {
    unconfirmed.check(&draft)?;
    let at = draft.at();
    let staged = stage(truth, batch, capacity, draft, false)?;
    let tried = Draft::new(truth, batch, capacity, unconfirmed.way_back())
        .and_then(|back| stage(truth, batch, capacity, back, false))
        .map(|back| back.take_back(truth, batch));
    match tried {
        Ok(_) => Ok(staged),
        Err((_, why)) => {
            staged.take_back(truth, batch);
            Err((at, EditError::NoWayBack { revision: unconfirmed.revision, why: Box::new(why) }))
        }
    }
}

/// Makes a draft true and writes it into the batch; what is left of it is nothing if the table has no room. `counts`: it has a
/// revision of its own even if nothing differs.
fn stage(
    truth: &mut Truth,
    batch: &mut Batch<'_>,
    capacity: u32,
    draft: Draft,
    counts: bool,
) -> Result<Staged, (usize, EditError)> {
    let Draft { steps, settings } = draft;
    let (before, way_back) = (truth.revision, WayBack::Same);
    let committed = Committed { revision: before, vms: Vec::with_capacity(steps.len()), settings: None, way_back };
    let mut staged = Staged { committed, before, lost: Vec::new(), gained: Vec::new() };
    // First what goes, whosever it is, so that somebody else can have it.
    for key in steps.iter().flat_map(draft::Step::removed) {
        staged.lost.extend(batch.remove(key).map(|owner| (key, owner)));
    }
    if let Some((_, new)) = settings {
        staged.committed.settings = Some([truth.replace_settings(new.clone()), new]);
    }
    for step in &steps {
        let number = match &step.old {
            Some((index, _)) => Some((*index, false)),
            None => truth.allocate(capacity),
        };
        let Some((index, reused)) = number else {
            staged.take_back(truth, batch);
            return Err((step.at, EditError::VmsFull { vm: step.id.clone(), capacity }));
        };
        let old = step.old.as_ref().map(|(_, old)| old.clone());
        let change = VmChange { id: step.id.clone(), index, old, new: step.new.clone(), reused };
        truth.apply(&change);
        staged.committed.vms.push(change);
        let insert = |key| batch.insert(key, index).map(|()| staged.gained.push(key));
        let written = step.added().try_for_each(insert).and_then(|()| match &step.new {
            Some(new) => batch.set_state(index, state(&truth.settings, new)),
            None => Ok(()),
        });
        if let Err(source) = written {
            staged.take_back(truth, batch);
            return Err((step.at, draft::no_room(&step.id, source)));
        }
    }
    if counts || !staged.committed.vms.is_empty() || staged.committed.settings.is_some() {
        truth.revision.0 += 1;
    }
    staged.committed.revision = truth.revision;
    Ok(staged)
}

/// What workers know of a VM. Its class was checked.
fn state(settings: &Settings, vm: &Vm) -> VmState {
    VmState {
        class: draft::class(settings, vm).unwrap_or(ClassId::RESTRICTED),
        mode: vm.mode,
        lists_macs: !vm.macs.is_empty(),
        lists_ipv4: vm.prefixes().any(|net| matches!(net, ipnet::IpNet::V4(_))),
        lists_ipv6: vm.prefixes().any(|net| matches!(net, ipnet::IpNet::V6(_))),
        has_exceptions: !vm.exceptions.is_empty(),
        ipv4: draft::own_ipv4(vm).unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
    }
}
