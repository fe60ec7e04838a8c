//! `sync.*`: a whole inventory, sent a chunk at a time over one or more connections, then made what is true.
//!
//! | file | what it is |
//! |---|---|
//! | [`collector`] | what was sent so far |
//! | `plan` | where the box differs from it |
//!
//! Nothing is changed before the commit. That compares every VM, a page at a time, in the thread of the connection that asks
//! and while changes go on, and hands over only VMs that differ; those that others changed meanwhile are compared again where
//! nothing can change any more.

pub mod collector;
mod plan;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::collector::{Collector, SyncId};
use self::plan::Plan;
pub(super) use self::plan::edits;
use super::handler::Wanted;
use super::history::{By, Who};
use super::reading::Source;
use super::rpc::{Applied, Difference, Guard, Kind, Made, RpcError};
use crate::model::{Boot, Revision};
use crate::vm::record::{Vm, VmId, VmSet};

/// Most VMs that differ and are made the same in one change; more would hold other changes up for too long.
pub const TOGETHER_MAX: usize = 100_000;
/// VMs of one change where more differ.
const STEP: usize = 10_000;
/// Most differences that a dry run shows.
pub const SHOWN_MAX: usize = 1_000;

/// What a client asks of a sync.
#[derive(Clone, Debug, PartialEq)]
pub enum SyncCall {
    /// `sync.begin`
    Begin,
    /// `sync.chunk`
    Chunk {
        /// Of which sync.
        sync: SyncId,
        /// How many records were sent before these.
        at: u64,
        /// Records.
        vms: Vec<VmSet>,
    },
    /// `sync.status`
    Status(SyncId),
    /// `sync.commit`
    Commit(Commit),
    /// `sync.abort`
    Abort(SyncId),
}

impl SyncCall {
    /// How it is called.
    pub(in crate::control) fn method(&self) -> &'static str {
        match self {
            Self::Begin => "sync.begin",
            Self::Chunk { .. } => "sync.chunk",
            Self::Status(_) => "sync.status",
            Self::Commit(_) => "sync.commit",
            Self::Abort(_) => "sync.abort",
        }
    }
}

/// `sync.commit`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Which sync.
    pub sync: SyncId,
    /// Only to say what would be.
    pub dry_run: bool,
    /// However many VMs go.
    pub force: bool,
    /// Only then.
    pub guard: Guard,
}

/// Answer of `sync.begin`, `sync.chunk`, `sync.status` and `sync.abort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncProgress {
    /// Which sync.
    pub sync: SyncId,
    /// How many records there are: `at` of the next chunk.
    pub received: u64,
    /// Most records that there can be.
    pub vms_max: u32,
}

/// VMs that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// New ones.
    pub created: u64,
    /// Those that are other than they were.
    pub replaced: u64,
    /// Those that are gone.
    pub removed: u64,
}

/// Answer of `sync.commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// The last change that it took.
    #[serde(flatten)]
    pub applied: Applied,
    /// How many VMs differed, and how.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many changes it took: more than one only if more than [`TOGETHER_MAX`] VMs differed.
    pub changes: u64,
}

/// Answer of `sync.commit` that only tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldSync {
    /// Always true: nothing was changed.
    pub dry_run: bool,
    /// How many VMs differ, and how.
    #[serde(flatten)]
    pub counts: Counts,
    /// Whether it would be refused without `force`.
    pub needs_force: bool,
    /// The first [`SHOWN_MAX`] VMs that differ, in the order of their ids.
    pub vms: Vec<Difference<Vm>>,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// What is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum SyncAnswer {
    /// Of whatever only collects.
    Progress(SyncProgress),
    /// Of a commit.
    Synced(Synced),
    /// Of a commit that was only tried.
    Would(Box<WouldSync>),
}

/// Who can be asked for changes, too.
pub trait Changer: Source {
    /// Makes one change, and waits until it is in force.
    ///
    /// # Errors
    /// As the change is refused.
    fn change_one(&mut self, wanted: Wanted) -> Result<Made, RpcError>;
}

/// Does what is asked.
///
/// # Errors
/// There is no such sync, a record cannot be, too many VMs would go, or one cannot be as the inventory says.
pub fn answer(
    site: &mut impl Changer,
    collector: &Collector,
    call: SyncCall,
    who: Who,
) -> Result<SyncAnswer, RpcError> {
    match call {
        SyncCall::Begin => collector.begin(),
        SyncCall::Chunk { sync, at, vms } => collector.take(sync, at, vms),
        SyncCall::Status(sync) => collector.status(sync),
        SyncCall::Abort(sync) => collector.end(sync),
        SyncCall::Commit(asked) if asked.dry_run => return rehearse(site, collector, asked, who),
        SyncCall::Commit(asked) => return commit(site, collector, asked, who),
    }
    .map(SyncAnswer::Progress)
}

/// Makes the inventory what is true. Where it is refused, the sync stays, and can be committed again.
fn commit(
    site: &mut impl Changer,
    collector: &Collector,
    Commit { sync, force, mut guard, .. }: Commit,
    who: Who,
) -> Result<SyncAnswer, RpcError> {
    let by = By { who, method: "sync.commit" };
    let inventory = collector.inventory(sync)?;
    let mut plan = Plan::make(site, &inventory)?;
    let counts = plan.counts;
    if !force && collector.too_many_removed(&plan) {
        return Err(collector.refuse_removal(&plan));
    }
    let mut changes = 0;
    if plan.differing.len() > TOGETHER_MAX {
        for step in plan.differing.chunks(STEP) {
            match site.change_one(Wanted::sync(&inventory, step.to_vec(), None, guard, by)).and_then(applied) {
                Ok(applied) => {
                    changes += u64::from(applied.changed);
                    guard.revision = None; // It was the current one when this began.
                }
                // What another VM still has is free when all steps are made.
                Err(error) if error.kind == Kind::Conflict => {}
                Err(error) => return Err(error.with("changes", changes)),
            }
        }
        plan = Plan::make(site, &inventory)?;
    }
    let last = Wanted::sync(&inventory, plan.differing, Some(plan.as_of), guard, by);
    let applied = site.change_one(last).and_then(applied).map_err(|error| match changes {
        0 => error,
        changes => error.with("changes", changes),
    })?;
    changes += u64::from(applied.changed);
    let _ = collector.end(sync); // Another may have been begun meanwhile.
    let applied = Applied { changed: changes > 0, ..applied };
    Ok(SyncAnswer::Synced(Synced { applied, counts, changes }))
}

fn applied(made: Made) -> Result<Applied, RpcError> {
    match made {
        Made::Applied(applied) => Ok(applied),
        Made::Rehearsed(_) => Err(RpcError::new(Kind::Internal, "a sync was only tried")),
    }
}

/// Says what a commit would do, and, unless it would take several changes, whether it can be.
fn rehearse(
    site: &mut impl Changer,
    collector: &Collector,
    Commit { sync, guard, .. }: Commit,
    who: Who,
) -> Result<SyncAnswer, RpcError> {
    let by = By { who, method: "sync.commit" };
    let inventory = collector.inventory(sync)?;
    let plan = Plan::make(site, &inventory)?;
    let needs_force = collector.too_many_removed(&plan);
    let tried: &[VmId] = if plan.differing.len() > TOGETHER_MAX { &[] } else { &plan.differing };
    let Made::Rehearsed(tried) = site.change_one(Wanted::try_sync(&inventory, tried, guard, by))? else {
        return Err(RpcError::new(Kind::Internal, "a sync was made instead of tried"));
    };
    let (revision, boot) = (tried.revision, tried.boot);
    let would = WouldSync { dry_run: true, counts: plan.counts, needs_force, vms: plan.shown, revision, boot };
    Ok(SyncAnswer::Would(Box::new(would)))
}
