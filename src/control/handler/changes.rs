//! Changes, many together: each is staged by itself, with its own revision or its own refusal; then all are published at once,
//! and answered when they are in force on every worker.
//!
//! When a worker stands still, the thread that owns the [`State`] is busy for up to its patience (100 ms), and calls wait
//! with it. Changes then pile up no further than that: those that come after are refused until the earlier ones are in
//! force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::State;
use crate::control::history::{By, Who};
use crate::control::inventory::collector::Inventory;
use crate::control::inventory::{SyncCall, edits};
use crate::control::roles::forbidden;
use crate::control::rpc::{Applied, Call, Difference, Guard, Kind, Made, Rehearsed, RpcError, Watch};
use crate::model::{Boot, Revision, Role, VmIndex};
use crate::policy::Settings;
use crate::policy::document::Document;
use crate::table::NotSettled;
use crate::vm::edit::{Change, Edit, EditError};
use crate::vm::journal::{Committed, WayBack};
use crate::vm::record::VmId;
use crate::vm::registry::Registry;

/// A change that somebody wants made.
#[derive(Clone, Debug)]
pub struct Wanted {
    act: Act,
    guard: Guard,
    /// It has numbered steps.
    is_txn: bool,
    asked: Instant,
    by: By,
}

/// What is to be done.
#[derive(Clone, Debug)]
enum Act {
    /// These edits, together.
    Make(Vec<Edit>),
    /// Nothing but to say what they would do.
    Try(Vec<Edit>, WayBack),
    /// These edits, to be undone after so long unless they are confirmed.
    MakeUnconfirmed(Vec<Edit>, Duration),
    /// To end the wait for a confirmation, in a role.
    End(Verdict, Role),
    /// To make VMs as an inventory has them: these, and those that were changed since a revision.
    Sync(Arc<Inventory>, Vec<VmId>, Option<Revision>),
}

/// What becomes of a change that waited to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Confirmed,
    /// It is undone.
    RolledBack,
}

impl Verdict {
    /// How that is called.
    pub(in crate::control) fn method(self) -> &'static str {
        match self {
            Self::Confirmed => "txn.confirm",
            Self::RolledBack => "txn.rollback",
        }
    }
}

/// What a call is.
#[derive(Clone, Debug)]
pub enum Asked {
    /// To change something.
    Change(Wanted),
    /// To read the configuration file, and to change what it says.
    Reload(Guard, Who),
    /// To collect an inventory, and to make it what is true.
    Sync(SyncCall, Who),
    /// To be told of changes from now on.
    Watch(Watch),
    /// To tell something.
    Question(Box<Call>),
}

impl Wanted {
    /// Asked for at this moment.
    #[must_use]
    pub fn new(edit: Edit, guard: Guard, by: By) -> Self {
        Self { act: Act::Make(vec![edit]), guard, is_txn: false, asked: Instant::now(), by }
    }

    /// By which call.
    pub(in crate::control) fn method(&self) -> &'static str {
        self.by.method
    }

    /// To make VMs as an inventory has them, at this moment: `ids`, and those that were changed since `as_of`.
    pub(in crate::control) fn sync(
        inventory: &Arc<Inventory>,
        ids: Vec<VmId>,
        as_of: Option<Revision>,
        guard: Guard,
        by: By,
    ) -> Self {
        let act = Act::Sync(Arc::clone(inventory), ids, as_of);
        Self { act, guard, is_txn: false, asked: Instant::now(), by }
    }

    /// To say what that would do.
    pub(in crate::control) fn try_sync(inventory: &Inventory, ids: &[VmId], guard: Guard, by: By) -> Self {
        let act = Act::Try(edits(inventory, ids).collect(), WayBack::Same);
        Self { act, guard, is_txn: false, asked: Instant::now(), by }
    }
}

impl Asked {
    /// By which method something would be changed; none if nothing would be.
    pub(in crate::control) fn changes_by(&self) -> Option<&'static str> {
        match self {
            Self::Change(wanted) => Some(wanted.method()),
            Self::Reload(..) => Some("config.reload"),
            Self::Sync(call, _) => Some(call.method()),
            Self::Watch(_) | Self::Question(_) => None,
        }
    }

    /// What somebody asks for, at this moment, in a role that [allows](Call::needs) it.
    #[must_use]
    pub fn of(call: Call, who: Who, role: Role) -> Self {
        let by = By { who, method: call.method() };
        let (act, guard, is_txn) = match call {
            Call::VmSet { set, guard } => (Act::Make(vec![guard.about_vm(Edit::Set(set))]), guard, false),
            Call::VmPatch { id, patch, guard } => {
                (Act::Make(vec![guard.about_vm(Edit::Patch(id, patch))]), guard, false)
            }
            Call::VmDelete { id, guard } => (Act::Make(vec![guard.about_vm(Edit::Delete(id))]), guard, false),
            Call::ExceptionAdd { vm, exception, guard } => {
                (Act::Make(vec![guard.about_vm(Edit::except(vm, *exception))]), guard, false)
            }
            Call::ExceptionRemove { vm, name, guard } => {
                (Act::Make(vec![guard.about_vm(Edit::no_more(vm, vec![name]))]), guard, false)
            }
            Call::PolicyChange { edit, guard } => (Act::Make(vec![Edit::Policy(edit)]), guard, false),
            Call::Txn { edits, dry_run, confirm, guard } => {
                let act = match (dry_run, confirm) {
                    (true, None) => Act::Try(edits, WayBack::Same),
                    (true, Some(_)) => Act::Try(edits, WayBack::Kept),
                    (false, None) => Act::Make(edits),
                    (false, Some(wait)) => Act::MakeUnconfirmed(edits, wait),
                };
                (act, guard, true)
            }
            Call::TxnEnd { verdict, guard } => (Act::End(verdict, role), guard, false),
            Call::ConfigReload { guard } => return Self::Reload(guard, who),
            Call::Sync(call) => return Self::Sync(call, who),
            Call::Watch(watch) => return Self::Watch(watch),
            call @ (Call::VmGet { .. }
            | Call::VmList { .. }
            | Call::VmLookup { .. }
            | Call::ExceptionList { .. }
            | Call::Explain(_)
            | Call::DropList(_)
            | Call::WouldDropList { .. }
            | Call::UnknownList { .. }
            | Call::Health
            | Call::History(_)
            | Call::Methods
            | Call::PolicyGet
            | Call::StatsGet { .. }
            | Call::Version) => {
                return Self::Question(Box::new(call));
            }
        };
        Self::Change(Wanted { act, guard, is_txn, asked: Instant::now(), by })
    }
}

impl State {
    /// Makes changes in their order, each whole or not at all, and waits until all of them are in force on every worker.
    /// What became of each.
    pub fn change(&mut self, wanted: Vec<Wanted>) -> Vec<Result<Made, RpcError>> {
        let deadline = Instant::now() + self.patience;
        let late = self.settle(deadline).err();
        let outcomes = Vec::with_capacity(wanted.len());
        let mut group = Group {
            state: self,
            deadline,
            late,
            outcomes,
            waiting: Vec::new(),
            staged: Vec::new(),
            deleted: Vec::new(),
        };
        for wanted in wanted {
            group.add(wanted);
        }
        group.bring_into_force();
        group.outcomes
    }

    /// Undoes the change that waits to be confirmed, if it has waited long enough. Until that can be, it is tried again.
    pub fn undo_unconfirmed(&mut self, now: Instant) {
        let Some((_, who)) = self.undo_at.filter(|(at, _)| *at <= now) else { return };
        let unconfirmed = self.registry.unconfirmed().map(|change| change.revision.0).unwrap_or_default();
        let verdict = Verdict::RolledBack;
        let by = By { who, method: verdict.method() };
        let undo =
            Wanted { act: Act::End(verdict, Role::Admin), guard: Guard::default(), is_txn: false, asked: now, by };
        for outcome in self.change(vec![undo]) {
            match outcome {
                Ok(_) => warn!("nobody confirmed revision {unconfirmed}: it is undone"),
                Err(error) => error!("nobody confirmed revision {unconfirmed}, and it is not undone yet: {error}"),
            }
        }
    }

    /// What makes these VMs as the inventory has them, and those that were changed since `as_of`.
    fn sync_edits(&self, inventory: &Inventory, ids: Vec<VmId>, as_of: Option<Revision>) -> Vec<Edit> {
        let Some(as_of) = as_of else { return edits(inventory, &ids).collect() };
        let Some(changed) = self.history.changed_since(as_of) else {
            // More than is remembered: so all of them.
            let known = self.registry.iter_after(None).map(|(_, vm)| &vm.id);
            let all: BTreeSet<&VmId> = known.chain(inventory.keys()).collect();
            return edits(inventory, all).collect();
        };
        let all: BTreeSet<&VmId> = ids.iter().chain(changed).collect();
        edits(inventory, all).collect()
    }

    /// Whether a change may be made now.
    fn admit(&self, guard: Guard) -> Result<(), RpcError> {
        let (revision, boot) = (self.registry.revision(), self.boot);
        let mismatch = |message| {
            Err(RpcError::new(Kind::RevisionMismatch, message)
                .with("revision", revision.0)
                .with("boot", boot.to_string()))
        };
        match (guard.boot, guard.revision) {
            (Some(wanted), _) if wanted != boot => mismatch(format!(
                "the daemon was started anew: this is boot {boot}, not {wanted}; its revisions are others; read again, then decide"
            )),
            (_, Some(wanted)) if wanted != revision => mismatch(format!(
                "the revision is {}, not {}: something was changed meanwhile; read again, then decide",
                revision.0, wanted.0
            )),
            _ => Ok(()),
        }
    }

    /// `applied`: the revision that was made but is not used yet; else nothing was changed.
    fn not_in_force(&self, late: &NotSettled, applied: Option<Revision>) -> RpcError {
        let revision = applied.unwrap_or_else(|| self.registry.revision()).0;
        let (workers, patience) = (&late.workers, self.patience.as_millis());
        let message = match applied {
            Some(_) => format!(
                "revision {revision} is made but workers {workers:?} do not use it after {patience} ms; it stays, and \
                 comes into force when they go on"
            ),
            None => format!(
                "nothing was changed: revision {revision}, an earlier change, still waits for workers {workers:?} after \
                 {patience} ms; try again"
            ),
        };
        RpcError::new(Kind::NotInForce, message)
            .with("revision", revision)
            .with("boot", self.boot.to_string())
            .with("waiting_for", workers.clone())
            .with("applied", applied.is_some())
    }
}

/// Changes that are on their way together.
struct Group<'a> {
    state: &'a mut State,
    deadline: Instant,
    /// Whom the last publication waits for in vain; nothing more is changed then.
    late: Option<NotSettled>,
    /// Of those added so far.
    outcomes: Vec<Result<Made, RpcError>>,
    /// What is true only once the open changes are in force: places among the outcomes, and when each was asked for.
    waiting: Vec<(usize, Instant)>,
    /// Who staged each of the open changes.
    staged: Vec<By>,
    /// Numbers of VMs that the open changes delete.
    deleted: Vec<VmIndex>,
}

impl Group<'_> {
    fn add(&mut self, wanted: Wanted) {
        let Wanted { act, guard, is_txn, asked, by } = wanted;
        let refusal = |(at, error): (usize, EditError)| {
            let error = RpcError::from(error);
            if is_txn { error.with("operation", at) } else { error }
        };
        let outcome = match act {
            Act::Try(edits, way_back) => self
                .attempt(edits, guard, refusal, |registry, edits| registry.rehearse(edits, way_back))
                .map(|would| self.rehearsed(would)),
            Act::Make(edits) => {
                self.attempt(edits, guard, refusal, Registry::stage).map(|change| self.staged(change, asked, by, None))
            }
            Act::MakeUnconfirmed(edits, wait) => {
                let stage = |registry: &mut Registry, edits| registry.stage_as(edits, WayBack::Kept);
                self.attempt(edits, guard, refusal, stage).map(|change| {
                    let wait = change.changed.then_some(wait);
                    if let Some(wait) = wait {
                        self.state.undo_at = Some((Instant::now() + wait, by.who));
                    }
                    self.staged(change, asked, by, wait)
                })
            }
            Act::Sync(inventory, ids, as_of) => {
                // So that what was changed is remembered, and seen.
                self.bring_into_force();
                let edits = self.state.sync_edits(&inventory, ids, as_of);
                self.attempt(edits, guard, refusal, Registry::stage).map(|change| self.staged(change, asked, by, None))
            }
            Act::End(verdict, role) => {
                self.end(verdict, role, guard, by).map(|change| self.staged(change, asked, by, None))
            }
        };
        self.outcomes.push(outcome);
    }

    /// Ends the wait for a confirmation.
    fn end(&mut self, verdict: Verdict, role: Role, guard: Guard, by: By) -> Result<Change, RpcError> {
        self.state.admit(guard)?;
        let Some(waiting) = self.state.registry.unconfirmed() else {
            return Err(RpcError::new(Kind::NotFound, "no change waits to be confirmed"));
        };
        if waiting.is_about_policy() && role < Role::Admin {
            let what = format!("`{}` of a change of policy", by.method);
            return Err(forbidden(&what, Role::Admin, Some(role), by.who));
        }
        let change = self.attempt(
            Vec::new(),
            guard,
            |(_, error)| error.into(),
            |registry, _| match verdict {
                Verdict::Confirmed => registry.stage_confirmation(),
                Verdict::RolledBack => registry.stage_rollback(),
            },
        )?;
        self.state.undo_at = None;
        Ok(change)
    }

    /// What is answered of a change that is staged, once it is in force.
    fn staged(&mut self, change: Change, asked: Instant, by: By, wait: Option<Duration>) -> Made {
        let Change { revision, changed, deleted } = change;
        self.deleted.extend(deleted);
        self.staged.extend(changed.then_some(by));
        if changed || !self.waiting.is_empty() {
            self.waiting.push((self.outcomes.len(), asked));
        }
        let durable = self.state.registry.journal().is_some_and(|journal| journal.durable);
        let confirm_s = wait.map(|wait| wait.as_secs());
        Made::Applied(Applied { revision, boot: self.state.boot, changed, applied_us: 0, durable, confirm_s })
    }

    fn rehearsed(&self, would: Committed) -> Made {
        let (revision, boot) = (self.state.registry.revision(), self.state.boot);
        Made::Rehearsed(Box::new(rehearsed(would, revision, boot)))
    }

    /// Does something with edits, once more if there is room only when the open changes are in force.
    fn attempt<T>(
        &mut self,
        edits: Vec<Edit>,
        guard: Guard,
        refusal: impl Fn((usize, EditError)) -> RpcError,
        attempt: impl Fn(&mut Registry, Vec<Edit>) -> Result<T, (usize, EditError)>,
    ) -> Result<T, RpcError> {
        self.state.admit(guard)?;
        self.refuse_if_late()?;
        let again = (!self.waiting.is_empty()).then(|| edits.clone());
        match (attempt(&mut self.state.registry, edits), again) {
            (Ok(done), _) => Ok(done),
            // What the open changes delete makes room only once they are in force.
            (Err((_, error)), Some(edits)) if error.wants_room() => {
                self.bring_into_force();
                self.refuse_if_late()?;
                self.state.admit(guard)?;
                attempt(&mut self.state.registry, edits).map_err(refusal)
            }
            (Err(refused), _) => Err(refusal(refused)),
        }
    }

    fn refuse_if_late(&self) -> Result<(), RpcError> {
        self.late.as_ref().map_or(Ok(()), |late| Err(self.state.not_in_force(late, None)))
    }

    /// Publishes what is staged, waits, and settles what became of it.
    fn bring_into_force(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let deleted = std::mem::take(&mut self.deleted);
        let staged = std::mem::take(&mut self.staged);
        if waiting.is_empty() {
            return;
        }
        let outcomes = waiting.iter().map(|&(at, asked)| (at, asked));
        let (changes, durable) = self.state.registry.publish();
        changes.into_iter().zip(staged).for_each(|(change, by)| self.state.history.remember(change, by));
        self.state.leaving.extend(deleted);
        match self.state.settle(self.deadline) {
            Ok(took) => {
                let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                for (at, asked) in outcomes {
                    let Some(Ok(Made::Applied(applied))) = self.outcomes.get_mut(at) else { continue };
                    applied.durable = durable;
                    if applied.changed {
                        applied.applied_us = took;
                        self.state
                            .in_force
                            .saturating_record(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
                    }
                }
            }
            Err(late) => {
                for (at, _) in outcomes {
                    let revision = match self.outcomes.get(at) {
                        Some(Ok(Made::Applied(applied))) => Some(applied.revision),
                        _ => None,
                    };
                    self.set(at, Err(self.state.not_in_force(&late, revision)));
                }
                self.late = Some(late);
            }
        }
    }

    fn set(&mut self, at: usize, outcome: Result<Made, RpcError>) {
        if let Some(place) = self.outcomes.get_mut(at) {
            *place = outcome;
        }
    }
}

/// What a change would do, for the wire.
fn rehearsed(would: Committed, revision: Revision, boot: Boot) -> Rehearsed {
    let Committed { vms, settings, .. } = would;
    let vms: Vec<_> = vms.into_iter().map(|vm| (vm.id, Difference { before: vm.old, after: vm.new })).collect();
    let vms: BTreeMap<_, _> = vms.into_iter().collect();
    let document = |settings: &Settings| Some(Arc::new(Document::of(settings)));
    let policy = settings.map(|[old, new]| Difference { before: document(&old), after: document(&new) });
    Rehearsed {
        dry_run: true,
        changed: !vms.is_empty() || policy.is_some(),
        vms: vms.into_values().collect(),
        policy,
        revision,
        boot,
    }
}
