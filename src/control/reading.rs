//! What is read: put together by the thread of the connection that asked, a page at a time.
//!
//! The thread that owns the registry is asked only for [`Rows`]: which VMs there are, and what their counters started from. The
//! sums over all workers are made here, from shared blocks, while changes go on. Numbers of VMs change hands when VMs are
//! deleted; a page during which that happened is taken again, and in the end summed by the owner itself.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

use super::dropped;
use super::health;
use super::history::{Entry, HistoryAnswer, Recall};
use super::rpc::{
    self, Answer, Call, ExceptionEntry, ExceptionsAnswer, ExplainAnswer, Filter, Kind, LookupAnswer, Match,
    MethodsAnswer, PolicyAnswer, Question, Remark, RpcError, VersionAnswer, VmAnswer, VmEntry, VmsAnswer, Waiting,
    Wish,
};
use crate::model::{Address, Boot, Mode, Moment, Revision, Scope, VmIndex};
use crate::policy::document::{Document, Wrong};
use crate::policy::{Settings, Tally};
use crate::telemetry::denials::DenialCounts;
use crate::telemetry::drops::Drops;
use crate::telemetry::ledger::Ledger;
use crate::telemetry::report::{self, DaemonReport, Judged, Named};
use crate::vm::record::{Etag, Vm, VmId};
use crate::vm::registry;

/// VMs that are taken at once for a long answer.
const PAGE: usize = 1_000;
/// How often a page is summed here before its owner does it.
const ATTEMPTS: usize = 3;

/// Where what is read comes from: the state, or the thread that owns it.
pub trait Source {
    /// What there is beside VMs.
    ///
    /// # Errors
    /// The server is about to stop.
    fn overview(&self) -> Result<Overview, RpcError>;

    /// VMs.
    ///
    /// # Errors
    /// The server is about to stop.
    fn rows(&self, take: Take) -> Result<Rows, RpcError>;

    /// What becomes of frames.
    ///
    /// # Errors
    /// There is no such link, VM or frame; or the server is about to stop.
    fn explain(&self, question: Question) -> Result<ExplainAnswer, RpcError>;

    /// What was changed, and whether more is remembered.
    ///
    /// # Errors
    /// The server is about to stop.
    fn history(&self, recall: Recall) -> Result<(Vec<Entry>, bool), RpcError>;
}

/// What there is beside VMs.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Of VMs and policy.
    pub revision: Revision,
    /// The process itself.
    pub daemon: DaemonReport,
    /// Version of DPDK.
    pub dpdk: Option<String>,
    /// What decides beside the VMs.
    pub settings: Arc<Settings>,
    /// What was counted.
    pub ledger: Arc<Ledger>,
    /// What was dropped of late.
    pub drops: Arc<Drops>,
    /// What waits to be confirmed.
    pub unconfirmed: Option<Waiting>,
}

/// Which VMs are wanted.
#[derive(Clone, Debug, Default)]
pub struct Take {
    /// These and no others.
    pub only: Option<Only>,
    /// Those behind it, in the order of ids.
    pub after: Option<VmId>,
    /// So many at most.
    pub limit: usize,
    /// With their sums instead of where these start.
    pub summed: bool,
    /// With what was denied to them, too.
    pub denied: bool,
}

/// VMs that are asked for.
#[derive(Clone, Debug)]
pub enum Only {
    /// By its name.
    Vm(VmId),
    /// By what frames have of it, in one scope or in all.
    At(Address, Option<Scope>),
    /// Those with exceptions.
    Excepted,
    /// Those that have these numbers.
    Numbered(Vec<VmIndex>),
}

/// A VM as it was taken.
#[derive(Clone, Debug)]
pub struct Row {
    /// Under which it is counted.
    pub index: VmIndex,
    /// Its record.
    pub vm: Arc<Vm>,
    /// Its sums, or where they start.
    pub counters: Judged,
    /// The same of its denied frames, kind by kind, if that is wanted.
    pub denied: DenialCounts,
}

/// VMs of one moment.
#[derive(Clone, Debug)]
pub struct Rows {
    /// In the order of their ids.
    pub rows: Vec<Row>,
    /// Whether there are more behind them.
    pub more: bool,
    /// Whether `counters` are sums.
    pub summed: bool,
    /// The revision of this moment.
    pub revision: Revision,
    /// Of which run.
    pub boot: Boot,
    /// What decides beside the VMs.
    pub settings: Arc<Settings>,
    /// What time it is, by the clock by which exceptions end.
    pub now: Moment,
    /// How often numbers had been given back.
    pub retired: u64,
}

impl Rows {
    /// The last one, if there are more behind it.
    #[must_use]
    pub fn next(&self) -> Option<VmId> {
        self.rows.last().filter(|_| self.more).map(|last| last.vm.id.clone())
    }

    fn entries(&self) -> impl Iterator<Item = VmEntry> {
        self.rows.iter().map(|row| {
            let (class, name) = registry::class(&self.settings, &row.vm);
            let watched =
                [row.vm.mode, self.settings.classes.get(class).mode, self.settings.mode].contains(&Mode::Monitor);
            VmEntry {
                etag: Etag::of(&row.vm),
                vm: Arc::clone(&row.vm),
                effective_class: name.into(),
                effective_mode: if watched { Mode::Monitor } else { Mode::Enforce },
                counters: row.counters,
            }
        })
    }
}

/// What a call that reads is answered.
///
/// # Errors
/// There is no such VM, or the server is about to stop.
///
/// # Panics
/// Never: calls that change something are not given here.
pub fn answer(source: &impl Source, call: Call) -> Result<Answer<'_>, RpcError> {
    let overview = source.overview()?;
    let ledger = &overview.ledger;
    match call {
        Call::VmGet { id } => {
            let only = Some(Only::Vm(id.clone()));
            let page = summed(source, ledger, Take { only, denied: true, ..Take::default() })?;
            let Some(entry) = page.entries().next() else {
                return Err(no_vm(&id));
            };
            let denials = page.rows.first().map(dropped::denials).unwrap_or_default();
            Ok(Answer::Vm(Box::new(VmAnswer { entry, denials, revision: page.revision, boot: page.boot })))
        }
        Call::VmList { after, limit, filter: None } => {
            let page = summed(source, ledger, Take { after, limit, ..Take::default() })?;
            let vms = page.entries().collect();
            Ok(Answer::Vms(VmsAnswer { vms, next: page.next(), revision: page.revision, boot: page.boot }))
        }
        Call::VmList { after, limit, filter: Some(filter) } => filtered(source, ledger, after, limit, &filter),
        Call::VmLookup { address, scope } => {
            let page = summed(source, ledger, Take { only: Some(Only::At(address, scope)), ..Take::default() })?;
            let by = |entry: VmEntry| Match { key: entry.vm.lists(address).unwrap_or_default(), entry };
            let matches = page.entries().map(by).collect();
            Ok(Answer::Matches(LookupAnswer { matches, revision: page.revision, boot: page.boot }))
        }
        Call::ExceptionList { vm, after, limit } => {
            let only = vm.clone().map_or(Only::Excepted, Only::Vm);
            let page = source.rows(Take { only: Some(only), after, limit, ..Take::default() })?;
            match (vm, page.rows.is_empty()) {
                (Some(vm), true) => Err(no_vm(&vm)),
                _ => Ok(Answer::Exceptions(exceptions(&page))),
            }
        }
        Call::DropList(wanted) => dropped::list(source, &overview, &wanted).map(Answer::Drops),
        Call::WouldDropList { limit } => dropped::would_drop(source, &overview, limit).map(Answer::WouldDrops),
        Call::UnknownList { limit } => Ok(Answer::Unknown(dropped::unknown(&overview, limit))),
        Call::Explain(question) => source.explain(question).map(Answer::Explained),
        Call::History(recall) => {
            let (entries, more) = source.history(recall)?;
            let next = entries.last().filter(|_| more).map(|entry| entry.number);
            let entries = entries.into_iter().map(Into::into).collect();
            let (revision, boot) = (overview.revision, overview.daemon.boot);
            Ok(Answer::History(HistoryAnswer { entries, next, revision, boot }))
        }
        Call::Health => Ok(Answer::Health(health::answer(&overview))),
        Call::Methods => Ok(Answer::Methods(MethodsAnswer { methods: &rpc::METHODS, protocol: rpc::PROTOCOL })),
        Call::PolicyGet => {
            let document = Document::of(&overview.settings);
            let remarks = document.remarks(|name| format!("link.{name}"));
            let remark = |Wrong(key, message)| Remark { key, message };
            Ok(Answer::Policy(Box::new(PolicyAnswer {
                document,
                origin: overview.settings.origin,
                remarks: remarks.into_iter().map(remark).collect(),
                revision: overview.revision,
                boot: overview.daemon.boot,
            })))
        }
        Call::StatsGet { vms } => {
            let report = ledger.report(overview.revision).with_daemon(overview.daemon.clone());
            let vms = match vms {
                Wish::One(id) => {
                    let page = summed(source, ledger, Take { only: Some(Only::Vm(id.clone())), ..Take::default() })?;
                    let Some(row) = page.rows.first() else { return Err(no_vm(&id)) };
                    ReportedVms::Listed(Named::from_iter([(id.as_str().to_owned(), row.counters)]))
                }
                Wish::None => ReportedVms::Listed(Named::default()),
                Wish::All => ReportedVms::Paged(Pages { source, ledger: Arc::clone(ledger) }),
                Wish::Top { count, by } => ReportedVms::Listed(top(source, ledger, count, by)?),
            };
            Ok(Answer::Stats(Box::new(report.with_vms(vms))))
        }
        Call::Version => Ok(Answer::Version(VersionAnswer {
            version: Cow::Borrowed(crate::VERSION),
            protocol: rpc::PROTOCOL,
            schema: report::SCHEMA,
            dpdk: overview.dpdk,
            boot: overview.daemon.boot,
        })),
        Call::VmSet { .. }
        | Call::VmPatch { .. }
        | Call::VmDelete { .. }
        | Call::ExceptionAdd { .. }
        | Call::ExceptionRemove { .. }
        | Call::Txn { .. }
        | Call::TxnEnd { .. }
        | Call::Sync(_)
        | Call::Watch(_)
        | Call::PolicyChange { .. }
        | Call::ConfigReload { .. } => Err(RpcError::new(Kind::Internal, "a change was taken for a question")),
    }
}

pub(super) fn no_vm(id: &VmId) -> RpcError {
    RpcError::new(Kind::NotFound, format!("there is no VM {id}"))
}

fn exceptions(page: &Rows) -> ExceptionsAnswer {
    let Rows { revision, boot, now, .. } = *page;
    let left = |until: Moment| until.unix().saturating_sub(now.unix());
    let of_vm = |row: &Row| {
        let vm = Arc::clone(&row.vm);
        (0..vm.exceptions.len()).filter_map(move |at| {
            let exception = vm.exceptions.get(at)?.clone();
            Some(ExceptionEntry { vm: vm.id.clone(), left_s: exception.until.map(left), exception })
        })
    };
    let exceptions = page.rows.iter().flat_map(of_vm).collect();
    ExceptionsAnswer { exceptions, now, next: page.next(), revision, boot }
}

/// A page of those VMs that a filter takes: all of them are looked at, a page at a time, until it is full.
fn filtered(
    source: &impl Source,
    ledger: &Ledger,
    mut after: Option<VmId>,
    limit: usize,
    filter: &Filter,
) -> Result<Answer<'static>, RpcError> {
    let mut vms = Vec::new();
    loop {
        let page = summed(source, ledger, Take { after, limit: PAGE, ..Take::default() })?;
        let (revision, boot, behind) = (page.revision, page.boot, page.next());
        let mut taken = page.entries().filter(|entry| filter.takes(entry));
        vms.extend(taken.by_ref().take(limit - vms.len()));
        let is_full = vms.len() == limit;
        if is_full || behind.is_none() {
            let more = is_full && (taken.next().is_some() || behind.is_some());
            let next = vms.last().filter(|_| more).map(|last| last.vm.id.clone());
            return Ok(Answer::Vms(VmsAnswer { vms, next, revision, boot }));
        }
        after = behind;
    }
}

/// The VMs of which most frames count under a tally, most first; none of which no frame was judged.
///
/// # Errors
/// The server is about to stop.
pub fn top(source: &impl Source, ledger: &Ledger, count: usize, by: Tally) -> Result<Named<Judged>, RpcError> {
    let mut best: Vec<(u64, VmId, Judged)> = Vec::new();
    let rank = |best: &mut Vec<(u64, VmId, Judged)>| {
        best.sort_by(|(a, first, _), (b, second, _)| b.cmp(a).then_with(|| first.cmp(second)));
        best.truncate(count);
    };
    each_page(source, ledger, false, |page| {
        let judged = page.rows.iter().filter(|row| !row.counters.is_zero());
        best.extend(judged.map(|row| (row.counters.tallied(by), row.vm.id.clone(), row.counters)));
        if best.len() > 2 * count {
            rank(&mut best);
        }
        Ok::<_, RpcError>(())
    })?;
    rank(&mut best);
    Ok(best.into_iter().map(|(_, id, judged)| (id.as_str().to_owned(), judged)).collect())
}

/// Every VM of which some frame was judged.
///
/// # Errors
/// The server is about to stop.
pub fn judged(source: &impl Source, ledger: &Ledger) -> Result<Named<Judged>, RpcError> {
    let mut all = Vec::new();
    each_page(source, ledger, false, |page| {
        let judged = page.rows.iter().filter(|row| !row.counters.is_zero());
        all.extend(judged.map(|row| (row.vm.id.as_str().to_owned(), row.counters)));
        Ok::<_, RpcError>(())
    })?;
    Ok(Named(all))
}

/// Every VM, a page at a time; with what was denied to it, too, if that is wanted.
pub(super) fn each_page<E: From<RpcError>>(
    source: &(impl Source + ?Sized),
    ledger: &Ledger,
    denied: bool,
    mut visit: impl FnMut(&Rows) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = None;
    loop {
        let page = summed(source, ledger, Take { after, limit: PAGE, denied, ..Take::default() })?;
        visit(&page)?;
        after = page.next();
        if after.is_none() {
            return Ok(());
        }
    }
}

/// VMs with their sums.
pub(super) fn summed(source: &(impl Source + ?Sized), ledger: &Ledger, take: Take) -> Result<Rows, RpcError> {
    for _ in 0..ATTEMPTS {
        let mut page = source.rows(take.clone())?;
        for row in &mut page.rows {
            row.counters = ledger.counted(Some(row.index)).since(row.counters);
            if take.denied {
                row.denied = ledger.denied(Some(row.index)).since(&row.denied);
            }
        }
        page.summed = true;
        if ledger.retired() == page.retired {
            return Ok(page);
        }
    }
    source.rows(Take { summed: true, ..take })
}

/// The VMs of a statistics document.
#[derive(Debug)]
pub enum ReportedVms<'a> {
    /// Those that are wanted.
    Listed(Named<Judged>),
    /// All of them, taken while they are written.
    Paged(Pages<'a>),
}

/// VMs that are taken while they are written.
pub struct Pages<'a> {
    source: &'a dyn Source,
    ledger: Arc<Ledger>,
}

impl fmt::Debug for Pages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

impl Serialize for ReportedVms<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Listed(vms) => vms.serialize(serializer),
            Self::Paged(Pages { source, ledger }) => {
                let mut map = serializer.serialize_map(None)?;
                each_page(*source, ledger, false, |page| {
                    page.rows
                        .iter()
                        .try_for_each(|row| map.serialize_entry(row.vm.id.as_str(), &row.counters))
                        .map_err(Cut::Written)
                })
                .map_err(|cut| match cut {
                    Cut::Written(error) => error,
                    Cut::Taken(error) => S::Error::custom(error),
                })?;
                map.end()
            }
        }
    }
}

/// Why an answer ends in its middle.
enum Cut<E> {
    /// It cannot be written.
    Written(E),
    /// There is nothing to write any more.
    Taken(RpcError),
}

impl<E> From<RpcError> for Cut<E> {
    fn from(error: RpcError) -> Self {
        Self::Taken(error)
    }
}
