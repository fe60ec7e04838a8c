//! What calls do: the one owner of the registry. No sockets, no threads.
//!
//! `changes` makes changes, many together; `expiry` makes those of time; what is read is put together by whoever asks, from [`Rows`] that are taken here
//! (see [`reading`]).

mod changes;
mod expiry;
mod refusals;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

pub use self::changes::{Asked, Verdict, Wanted};
use self::expiry::Expiry;
use super::audit::Audit;
use super::explain;
use super::history::{Entry, History, Place, Recall, Watched, Who};
use super::inventory::collector::Collector;
#[cfg(feature = "testkit")]
use super::inventory::{self, Changer};
use super::reading::{self, Only, Overview, Row, Rows, Source, Take};
use super::reload::Reload;
use super::roles::Roles;
#[cfg(feature = "testkit")]
use super::rpc::{Answer, Call, Made, Reloaded, WatchAnswer};
use super::rpc::{ExplainAnswer, Kind, Question, RpcError, Waiting, Watch};
#[cfg(feature = "testkit")]
use crate::model::Role;
use crate::model::{Boot, Revision, VmIndex};
use crate::policy::Tally;
use crate::table::NotSettled;
use crate::telemetry::denials::DenialCounts;
use crate::telemetry::drops::Drops;
use crate::telemetry::ledger::{Ledger, Starts};
use crate::telemetry::report::{ChangesReport, DaemonReport, Report, StoreReport, TableReport};
use crate::vm::journal::JournalReport;
use crate::vm::registry::Registry;

/// How long a change waits for every worker.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// How many of a hundred VMs a sync may remove unless it is configured.
const SYNC_REMOVE_MAX_PERCENT: u8 = 20;
/// Longest time in force that is told apart, in microseconds.
const LONGEST_US: u64 = 60_000_000;
/// Most VMs in the final counters.
const FINAL_VMS_MAX: usize = 1_000;

/// Everything the control plane knows and may change.
#[derive(Debug)]
pub struct State {
    registry: Registry,
    ledger: Arc<Ledger>,
    drops: Arc<Drops>,
    dpdk: Option<String>,
    reload: Option<Reload>,
    roles: Arc<Roles>,
    history: History,
    collector: Arc<Collector>,
    patience: Duration,
    starts: Starts,
    /// When the change that waits to be confirmed is undone, and who made it.
    undo_at: Option<(Instant, Who)>,
    /// When it is looked again for exceptions that are over, and when the time is written down again.
    expiry: Expiry,
    /// Numbers of deleted VMs under which workers may be counting still.
    leaving: Vec<VmIndex>,
    boot: Boot,
    since: Instant,
    /// From the arrival of a change until it was in force, in microseconds.
    in_force: Histogram<u64>,
}

impl State {
    /// Over a registry and what is counted for its VMs.
    ///
    /// # Panics
    /// Never: the bounds of the histogram are constants that fit.
    #[must_use]
    pub fn new(registry: Registry, ledger: Arc<Ledger>) -> Self {
        let revision = registry.revision();
        let collector = Arc::new(Collector::new(registry.capacity().vms, SYNC_REMOVE_MAX_PERCENT));
        Self {
            registry,
            collector,
            ledger,
            drops: Arc::default(),
            dpdk: None,
            reload: None,
            roles: Arc::default(),
            history: History::since(revision),
            patience: PATIENCE,
            starts: Starts::default(),
            undo_at: None,
            expiry: Expiry::default(),
            leaving: Vec::new(),
            // Without randomness there would be no registry: its table has a secret.
            boot: Boot(getrandom::u32().unwrap_or_else(|_| std::process::id())),
            since: Instant::now(),
            in_force: Histogram::new_with_bounds(1, LONGEST_US, 3).expect("1 us to a minute, 3 digits"),
        }
    }

    /// What workers tell of dropped frames; nothing unless said.
    #[must_use]
    pub fn with_drops(mut self, drops: Arc<Drops>) -> Self {
        self.drops = drops;
        self
    }

    /// What `version` says of DPDK.
    #[must_use]
    pub fn with_dpdk_version(mut self, version: impl Into<String>) -> Self {
        self.dpdk = Some(version.into());
        self
    }

    /// How many of a hundred VMs a sync may remove unless forced; 20 unless said.
    #[must_use]
    pub fn with_sync_remove_max_percent(mut self, percent: u8) -> Self {
        self.collector = Arc::new(Collector::new(self.registry.capacity().vms, percent));
        self
    }

    /// What `sync.*` collects.
    #[must_use]
    pub fn collector(&self) -> Arc<Collector> {
        Arc::clone(&self.collector)
    }

    /// How `config.reload` reads the configuration file.
    #[must_use]
    pub fn with_reload(mut self, reload: Reload) -> Self {
        self.reload = Some(reload);
        self
    }

    /// How the configuration file is read.
    #[must_use]
    pub fn reload(&self) -> Option<&Reload> {
        self.reload.as_ref()
    }

    /// Who may do what; everybody everything unless said.
    #[must_use]
    pub fn with_roles(mut self, roles: Roles) -> Self {
        self.roles = Arc::new(roles);
        self
    }

    /// Who may do what.
    #[must_use]
    pub fn roles(&self) -> &Arc<Roles> {
        &self.roles
    }

    /// Writes down what is changed and refused.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        self.history.audited_by(audit, self.boot);
        self
    }

    /// Where that is written down, and as of which run of the process.
    #[must_use]
    pub fn audit(&self) -> Option<&(Audit, Boot)> {
        self.history.audit()
    }

    /// How long a change waits for every worker; [`PATIENCE`] unless said.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Which run this is; drawn at random unless said.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn with_boot(mut self, boot: Boot) -> Self {
        self.boot = boot;
        self
    }

    /// What is known of VMs.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Does what a call asks.
    ///
    /// # Errors
    /// It is refused, and nothing changed; or it is done but not in force yet (`not_in_force` with `applied` true).
    #[cfg(feature = "testkit")]
    pub fn handle(&mut self, call: Call) -> Result<Answer<'_>, RpcError> {
        match Asked::of(call, Who::default(), Role::Admin) {
            Asked::Change(wanted) => self.change(vec![wanted]).remove(0).map(Answer::from),
            Asked::Reload(guard, who) => {
                let links = self.registry.settings().links.clone();
                let reload = self.reload.clone().ok_or_else(no_file)?;
                let (wanted, needs_restart) = reload.read(&links, guard, who)?;
                let made = self.change(vec![wanted]).remove(0)?;
                Reloaded::new(made, needs_restart).map(Answer::Reloaded)
            }
            Asked::Sync(call, who) => inventory::answer(self, &self.collector(), call, who).map(Answer::Sync),
            Asked::Watch(watch) => {
                let (_, revision, boot) = self.watch(watch);
                Ok(Answer::Watching(WatchAnswer { revision, boot }))
            }
            Asked::Question(call) => reading::answer(self, *call),
        }
    }

    /// The statistics of this moment, for an end: with those VMs only of which most was denied, 1000 at most.
    #[must_use]
    pub fn final_report(&self) -> Report {
        let Overview { daemon, revision, ledger, .. } = self.overview_now();
        let mut report = ledger.report(revision).with_daemon(daemon);
        // Nobody but us could refuse.
        report.vms = reading::top(self, &ledger, FINAL_VMS_MAX, Tally::Denied).unwrap_or_default();
        report
    }

    /// Where a watcher begins: behind a revision, or now; nothing if not everything since is remembered.
    #[must_use]
    pub fn watch(&self, Watch { from, boot }: Watch) -> (Option<Place>, Revision, Boot) {
        let same_run = boot.is_none_or(|boot| boot == self.boot);
        let place = match from {
            Some(revision) if same_run => self.history.place(revision),
            Some(_) => None,
            None => Some(self.history.end()),
        };
        (place, self.registry.revision(), self.boot)
    }

    /// Where what is remembered ends.
    #[must_use]
    pub fn history_end(&self) -> Place {
        self.history.end()
    }

    /// What a watcher is told next.
    #[must_use]
    pub fn watched(&self, place: Option<Place>, limit: usize) -> Watched {
        self.history.watched(place, limit)
    }

    fn overview_now(&self) -> Overview {
        let (usage, capacity) = (self.registry.usage(), self.registry.capacity());
        let changes = ChangesReport {
            count: self.in_force.len(),
            p50_us: self.in_force.value_at_quantile(0.5),
            p99_us: self.in_force.value_at_quantile(0.99),
            max_us: self.in_force.max(),
        };
        let table = TableReport {
            vms: u32::try_from(self.registry.len()).unwrap_or(u32::MAX),
            vms_max: capacity.vms,
            keys: usage.narrow_keys.saturating_add(usage.wide_keys),
            ipv6_keys: usage.wide_keys,
            keys_max: capacity.keys,
        };
        let store = self.registry.journal().map(|journal| {
            let JournalReport { durable, revision, copies, trouble } = journal;
            StoreReport { durable, revision, copies, trouble }
        });
        let mode = self.registry.settings().mode;
        let uptime_s = self.since.elapsed().as_secs();
        let audit = self.audit().map(|(audit, _)| audit.report());
        let daemon = DaemonReport { boot: self.boot, uptime_s, mode, table, changes, store, audit };
        let (revision, dpdk) = (self.registry.revision(), self.dpdk.clone());
        let settings = Arc::clone(self.registry.settings());
        let (drops, unconfirmed) = (Arc::clone(&self.drops), self.unconfirmed());
        Overview { revision, daemon, dpdk, settings, ledger: Arc::clone(&self.ledger), drops, unconfirmed }
    }

    /// What waits to be confirmed.
    fn unconfirmed(&self) -> Option<Waiting> {
        let (at, _) = self.undo_at?;
        let revision = self.registry.unconfirmed()?.revision;
        let left = at.saturating_duration_since(Instant::now());
        Some(Waiting { revision, left_s: left.as_secs() + u64::from(left.subsec_nanos() > 0) })
    }

    fn rows_now(&self, take: &Take) -> Rows {
        let row = |(index, vm): (VmIndex, &Arc<_>)| {
            let counters = match take.summed {
                true => self.starts.judged(&self.ledger, index),
                false => self.starts.of(index),
            };
            let denied = match (take.denied, take.summed) {
                (false, _) => DenialCounts::default(),
                (true, true) => self.starts.denied(&self.ledger, index),
                (true, false) => self.starts.of_denied(index),
            };
            Row { index, vm: Arc::clone(vm), counters, denied }
        };
        let (rows, more) = match &take.only {
            Some(Only::Vm(id)) => (self.registry.get(id).map(row).into_iter().collect(), false),
            Some(Only::At(address, scope)) => {
                (self.registry.owners(*address, *scope).into_iter().map(row).collect(), false)
            }
            Some(Only::Numbered(numbers)) => {
                let known = |&index| Some((index, self.registry.by_index(index)?));
                (numbers.iter().filter_map(known).map(row).collect(), false)
            }
            Some(Only::Excepted) => page(self.registry.excepted_after(take.after.as_ref()).map(row), take.limit),
            None => page(self.registry.iter_after(take.after.as_ref()).map(row), take.limit),
        };
        Rows {
            rows,
            more,
            summed: take.summed,
            revision: self.registry.revision(),
            boot: self.boot,
            settings: Arc::clone(self.registry.settings()),
            now: self.registry.clock().now(),
            retired: self.ledger.retired(),
        }
    }

    /// Waits for the last change. A deleted VM's count is final then and not before, and no other VM can have its number
    /// earlier: so this is the moment to remember what the next one starts from.
    fn settle(&mut self, deadline: Instant) -> Result<Duration, NotSettled> {
        let took = self.registry.settle(deadline)?;
        let gone = std::mem::take(&mut self.leaving);
        self.drops.forget(&gone);
        self.starts.retire(&self.ledger, gone);
        Ok(took)
    }
}

/// The first of them, and whether there are more.
fn page(mut rows: impl Iterator<Item = Row>, limit: usize) -> (Vec<Row>, bool) {
    let first = rows.by_ref().take(limit).collect();
    (first, rows.next().is_some())
}

/// Nobody said where the configuration is.
pub fn no_file() -> RpcError {
    RpcError::new(Kind::Configuration, "nothing was changed: this process has no configuration file")
}

#[cfg(feature = "testkit")]
impl Changer for State {
    fn change_one(&mut self, wanted: Wanted) -> Result<Made, RpcError> {
        self.change(vec![wanted]).remove(0)
    }
}

impl Source for State {
    fn overview(&self) -> Result<Overview, RpcError> {
        Ok(self.overview_now())
    }

    fn rows(&self, take: Take) -> Result<Rows, RpcError> {
        Ok(self.rows_now(&take))
    }

    fn explain(&self, question: Question) -> Result<ExplainAnswer, RpcError> {
        let explanations = explain::answer(&self.registry, &question)?;
        Ok(ExplainAnswer { explanations, revision: self.registry.revision(), boot: self.boot })
    }

    fn history(&self, recall: Recall) -> Result<(Vec<Entry>, bool), RpcError> {
        Ok(self.history.recall(&recall))
    }
}
