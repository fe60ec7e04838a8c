//! What goes out: the answer of a call, and the reply that carries it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::dropped::{DenialEntry, DropsAnswer, UnknownAnswer, WouldDropsAnswer};
use super::{Id, Kind, RpcError};
use crate::control::health::Problem;
use crate::control::hint::Hint;
use crate::control::history::HistoryAnswer;
use crate::control::inventory::SyncAnswer;
use crate::control::reading::ReportedVms;
use crate::model::{Boot, Mode, Moment, Revision};
use crate::policy::Origin;
use crate::policy::document::Document;
use crate::telemetry::report::{Judged, Report};
use crate::vm::explanation::Explanation;
use crate::vm::record::{Etag, Exception, Vm, VmId};

/// What a call that was not refused is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer<'a> {
    /// Of whatever changes something.
    Applied(Applied),
    /// Of `txn` that was only tried.
    Rehearsed(Box<Rehearsed>),
    /// Of `sync.*`.
    Sync(SyncAnswer),
    /// Of `vm.get`.
    Vm(Box<VmAnswer>),
    /// Of `vm.list`.
    Vms(VmsAnswer),
    /// Of `vm.lookup`.
    Matches(LookupAnswer),
    /// Of `exception.list`.
    Exceptions(ExceptionsAnswer),
    /// Of `explain`.
    Explained(ExplainAnswer),
    /// Of `drop.list`.
    Drops(DropsAnswer),
    /// Of `would_drop.list`.
    WouldDrops(WouldDropsAnswer),
    /// Of `unknown.list`.
    Unknown(UnknownAnswer),
    /// Of `watch`.
    Watching(WatchAnswer),
    /// Of `history`.
    History(HistoryAnswer),
    /// Of `health`.
    Health(HealthAnswer),
    /// Of `rpc.methods`.
    Methods(MethodsAnswer),
    /// Of `policy.get`.
    Policy(Box<PolicyAnswer>),
    /// Of `config.reload`.
    Reloaded(Reloaded),
    /// Of `stats.get`.
    Stats(Box<Report<ReportedVms<'a>>>),
    /// Of `version`.
    Version(VersionAnswer),
}

/// A change that is in force on every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The revision that it made, or the current one if it changed nothing.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
    /// Whether anything was different.
    pub changed: bool,
    /// From its publication until the last worker used it.
    pub applied_us: u64,
    /// Whether it outlasts the process: it is on disk. Never without a store.
    pub durable: bool,
    /// In how many seconds it is undone unless it is confirmed; absent if it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_s: Option<u64>,
}

/// A change that waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// That it made.
    pub revision: Revision,
    /// Seconds until it is undone.
    pub left_s: u64,
}

/// Answer of `policy.get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// As `policy.set` takes it.
    pub document: Document,
    /// Who said so.
    pub origin: Origin,
    /// What is allowed and should be known.
    pub remarks: Vec<Remark>,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// What should be known of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// Which.
    pub key: String,
    /// What.
    pub message: String,
}

/// Answer of `config.reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The change of policy.
    #[serde(flatten)]
    pub applied: Applied,
    /// Keys whose new values wait for a restart.
    pub needs_restart: Vec<String>,
}

impl Reloaded {
    /// Of what became of the change.
    ///
    /// # Errors
    /// It was only tried, which nobody asks for.
    pub fn new(made: Made, needs_restart: Vec<String>) -> Result<Self, RpcError> {
        match made {
            Made::Applied(applied) => Ok(Self { applied, needs_restart }),
            Made::Rehearsed(_) => Err(RpcError::new(Kind::Internal, "a reload was only tried")),
        }
    }
}

/// What becomes of a change.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Made {
    /// It was made.
    Applied(Applied),
    /// It was only tried.
    Rehearsed(Box<Rehearsed>),
}

impl From<Made> for Answer<'_> {
    fn from(made: Made) -> Self {
        match made {
            Made::Applied(applied) => Self::Applied(applied),
            Made::Rehearsed(rehearsed) => Self::Rehearsed(rehearsed),
        }
    }
}

/// What a change would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// Always true: nothing was changed.
    pub dry_run: bool,
    /// Whether anything would be different.
    pub changed: bool,
    /// Every VM that would be different, in the order of their ids.
    pub vms: Vec<Difference<Vm>>,
    /// The policy, if it would be different.
    pub policy: Option<Difference<Document>>,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// What something is, and what it would be; `null` where there is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference<T> {
    /// Now.
    pub before: Option<Arc<T>>,
    /// Then.
    pub after: Option<Arc<T>>,
}

/// A VM, and what the box makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmEntry {
    /// As `vm.set` takes it.
    pub vm: Arc<Vm>,
    /// By which `if_etag` recognises it.
    pub etag: Etag,
    /// The class it is judged by.
    pub effective_class: String,
    /// Whether what its class closes is dropped, or only counted: `monitor` if the VM, its class or the box is in that mode.
    pub effective_mode: Mode,
    /// Its judged frames.
    pub counters: Judged,
}

/// Answer of `vm.get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmAnswer {
    /// The VM.
    #[serde(flatten)]
    pub entry: VmEntry,
    /// What was denied to it, kind by kind, most frames first.
    #[serde(default)]
    pub denials: Vec<DenialEntry>,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// Answer of `vm.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmsAnswer {
    /// In the order of their ids.
    pub vms: Vec<VmEntry>,
    /// `after` of the next page; none if this was the last one.
    pub next: Option<VmId>,
    /// The current revision: a page of another revision may not fit this one.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// Answer of `vm.lookup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupAnswer {
    /// One of each scope at most, in the order of the scopes.
    pub matches: Vec<Match>,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// A VM whose an address is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The MAC, address or prefix that it lists.
    pub key: String,
    /// The VM.
    #[serde(flatten)]
    pub entry: VmEntry,
}

/// Answer of `exception.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionsAnswer {
    /// In the order of the VMs' ids, then of their names.
    pub exceptions: Vec<ExceptionEntry>,
    /// What time it is by the box's clock, by which they end.
    pub now: Moment,
    /// `after` of the next page; none if this was the last one.
    pub next: Option<VmId>,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// Answer of `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainAnswer {
    /// One of each frame, in their order.
    pub explanations: Vec<Explanation>,
    /// The revision that they are of.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// What one VM may do though its class closes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionEntry {
    /// Whose.
    pub vm: VmId,
    /// What.
    pub exception: Exception,
    /// Seconds until it is over; 0 if it is, none if it stays.
    pub left_s: Option<u64>,
}

/// Answer of `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthAnswer {
    /// Whether there is no problem.
    pub healthy: bool,
    /// What somebody should look at.
    pub problems: Vec<Problem>,
    /// What is no problem and might be worth a look.
    #[serde(default)]
    pub hints: Vec<Hint>,
    /// The change that is undone unless somebody confirms it, if there is one.
    pub unconfirmed: Option<Waiting>,
    /// Seconds since the process began to serve the control socket.
    pub uptime_s: u64,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// Answer of `watch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchAnswer {
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// Answer of `rpc.methods`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MethodsAnswer {
    /// Every method there is.
    pub methods: &'static [&'static str],
    /// [`PROTOCOL`](super::PROTOCOL)
    pub protocol: u32,
}

/// Answer of `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionAnswer {
    /// Of the program.
    pub version: Cow<'static, str>,
    /// [`PROTOCOL`](super::PROTOCOL)
    pub protocol: u32,
    /// Of the statistics document.
    pub schema: u32,
    /// Of DPDK, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpdk: Option<String>,
    /// Of which run of the process its revisions are.
    pub boot: Boot,
}

/// A reply: one element of the answer to a line.
#[derive(Debug)]
pub struct Response<'a> {
    /// Of the request.
    pub id: &'a Id,
    /// Its outcome.
    pub outcome: &'a Result<Answer<'a>, RpcError>,
}

impl Serialize for Response<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("jsonrpc", "2.0")?;
        map.serialize_entry("id", self.id)?;
        match self.outcome {
            Ok(answer) => map.serialize_entry("result", answer)?,
            Err(error) => map.serialize_entry("error", error)?,
        }
        map.end()
    }
}

/// Something that is told without having been asked for: a line of its own.
#[derive(Debug)]
pub struct Notification<'a, P> {
    /// What it is.
    pub method: &'static str,
    /// The rest.
    pub params: &'a P,
}

impl<P: Serialize> Serialize for Notification<'_, P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("jsonrpc", "2.0")?;
        map.serialize_entry("method", self.method)?;
        map.serialize_entry("params", self.params)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Line, parse_line};
    use super::*;

    #[test]
    fn a_reply_has_the_shape_of_json_rpc() {
        let Line::One(request) = parse_line(br#"{"jsonrpc":"2.0","id":"a","method":"version"}"#) else {
            panic!("a request")
        };
        let id = request.id.unwrap();
        let applied = Applied {
            revision: Revision(7),
            boot: Boot(0x1f),
            changed: true,
            applied_us: 12,
            durable: false,
            confirm_s: None,
        };
        let json = |outcome| serde_json::to_string(&Response { id: &id, outcome: &outcome }).unwrap();
        assert_eq!(
            json(Ok(Answer::Applied(applied))),
            r#"{"jsonrpc":"2.0","id":"a","result":{"revision":7,"boot":"0000001f","changed":true,"applied_us":12,"durable":false}}"#
        );
        assert_eq!(
            json(Err(RpcError::new(Kind::RevisionMismatch, "no").with("revision", 7))),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32003,"message":"no","data":{"kind":"revision_mismatch","revision":7}}}"#
        );
    }
}
