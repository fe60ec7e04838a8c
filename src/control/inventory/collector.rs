//! What was sent of an inventory so far. One sync at a time: who begins another ends the one before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::SyncProgress;
use super::plan::Plan;
use crate::control::rpc::{Kind, RpcError};
use crate::vm::record::{VmId, VmSet};

/// How long a sync is kept of which nothing is heard.
pub const IDLE: Duration = Duration::from_secs(600);

/// Every VM that there should be.
pub type Inventory = BTreeMap<VmId, VmSet>;

/// Which sync: drawn at random, so that none of an earlier process is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SyncId(pub u32);

/// What is collected, for whichever connection goes on with it.
#[derive(Debug)]
pub struct Collector {
    now: Mutex<Option<Collected>>,
    vms_max: u32,
    remove_max_percent: u8,
}

#[derive(Debug)]
struct Collected {
    sync: SyncId,
    vms: Arc<Inventory>,
    heard: Instant,
}

impl Collector {
    /// Of at most `vms_max` records, which may remove `remove_max_percent` of a hundred VMs unless forced.
    #[must_use]
    pub fn new(vms_max: u32, remove_max_percent: u8) -> Self {
        Self { now: Mutex::new(None), vms_max, remove_max_percent }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Collected>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self, collected: &Collected) -> SyncProgress {
        SyncProgress { sync: collected.sync, received: collected.vms.len() as u64, vms_max: self.vms_max }
    }

    pub(super) fn begin(&self) -> Result<SyncProgress, RpcError> {
        let sync = getrandom::u32().map_err(|error| RpcError::new(Kind::Internal, error.to_string()))?;
        let begun = Collected { sync: SyncId(sync), vms: Arc::default(), heard: Instant::now() };
        let progress = self.progress(&begun);
        let before = self.lock().replace(begun);
        drop(before); // Outside of the lock: it may be large.
        Ok(progress)
    }

    pub(super) fn take(&self, sync: SyncId, at: u64, vms: Vec<VmSet>) -> Result<SyncProgress, RpcError> {
        let mut now = self.lock();
        let collected = of(&mut now, sync)?;
        let received = collected.vms.len() as u64;
        let end = at.saturating_add(vms.len() as u64);
        if at < received && end <= received {
            return Ok(self.progress(collected)); // Sent again: the answer was lost.
        }
        let refuse = |path: &str, message: String| {
            let error = RpcError::new(Kind::InvalidParams, format!("{path}: {message}")).with("path", path);
            Err(error.with("received", received))
        };
        if at != received {
            return refuse(
                "at",
                format!("{received} records are here, so the next chunk begins at {received}, not {at}"),
            );
        }
        if end > u64::from(self.vms_max) {
            let message = format!("vms: the table holds {} VMs (`table.vms`), these would be {end}", self.vms_max);
            return Err(RpcError::new(Kind::TableFull, message).with("limit", "table.vms"));
        }
        let mut new = Inventory::new();
        for (place, set) in vms.into_iter().enumerate() {
            let path = format!("vms[{place}]");
            if let Err(error) = set.clone().onto(None) {
                return refuse(&path, error.to_string());
            }
            let id = set.id.clone();
            if collected.vms.contains_key(&id) || new.insert(id.clone(), set).is_some() {
                return refuse(&path, format!("VM {id} is in this inventory already"));
            }
        }
        let Some(vms) = Arc::get_mut(&mut collected.vms) else {
            return Err(RpcError::new(Kind::Conflict, "this sync is being committed; nothing can be added meanwhile"));
        };
        vms.extend(new);
        Ok(self.progress(collected))
    }

    pub(super) fn status(&self, sync: SyncId) -> Result<SyncProgress, RpcError> {
        of(&mut self.lock(), sync).map(|collected| self.progress(collected))
    }

    pub(super) fn inventory(&self, sync: SyncId) -> Result<Arc<Inventory>, RpcError> {
        of(&mut self.lock(), sync).map(|collected| collected.vms.clone())
    }

    pub(super) fn end(&self, sync: SyncId) -> Result<SyncProgress, RpcError> {
        let mut now = self.lock();
        let progress = self.progress(of(&mut now, sync)?);
        let ended = now.take();
        drop(now);
        drop(ended); // Outside of the lock: it may be large.
        Ok(progress)
    }

    /// Forgets a sync of which nothing was heard for long.
    pub fn expire(&self, now: Instant) {
        let old = self.lock().take_if(|collected| now.saturating_duration_since(collected.heard) > IDLE);
        drop(old);
    }

    /// Whether so many VMs would go that somebody should look first.
    pub(super) fn too_many_removed(&self, plan: &Plan) -> bool {
        plan.counts.removed.saturating_mul(100) > plan.vms.saturating_mul(self.remove_max_percent.into())
    }

    pub(super) fn refuse_removal(&self, plan: &Plan) -> RpcError {
        let (removed, vms, percent) = (plan.counts.removed, plan.vms, self.remove_max_percent);
        let message = format!(
            "{removed} of {vms} VMs would be removed, more than {percent} % (`control.sync_remove_max_percent`); \
             nothing was changed; `dry_run` shows them, `force` removes them"
        );
        let error = RpcError::new(Kind::TooManyRemoved, message).with("removed", removed);
        error.with("vms", vms).with("limit_percent", percent)
    }
}

/// The sync that is meant, heard of now.
fn of(now: &mut Option<Collected>, sync: SyncId) -> Result<&mut Collected, RpcError> {
    match now.as_mut().filter(|collected| collected.sync == sync) {
        Some(collected) => {
            collected.heard = Instant::now();
            Ok(collected)
        }
        None => {
            let message = format!("there is no sync {}: it ended, or another was begun since; begin anew", sync.0);
            Err(RpcError::new(Kind::NotFound, message))
        }
    }
}
