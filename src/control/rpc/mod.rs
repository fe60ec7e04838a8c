//! The wire contract: bytes of a line → [`Request`] → [`Call`], and [`Answer`] or [`RpcError`] → bytes of a line. Pure.
//!
//! JSON-RPC 2.0 over a Unix stream socket, one JSON value per line (LF) in both directions.
//!
//! - *Order* of replies is the order of requests on each connection. A request without `id` (a notification) gets no
//!   reply, not even an error. A batch (an array) is answered by one array; its elements happen in their order, each on its
//!   own: a refused one does not take back the ones before. Changes that follow each other come into force together.
//! - *Strict.* `jsonrpc` is `"2.0"`, `params` an object or absent; unknown members and members given twice are
//!   refused, because a misspelt `public_ipv4` would otherwise leave a customer closed in silence. Blank lines are
//!   skipped. What is not ended by LF is not done.
//! - *`id`* is a string, number or null, and comes back as it was written, byte for byte. At most [`ID_BYTES_MAX`].
//! - *Limits*: [`LINE_BYTES_MAX`], [`BATCH_MAX`]. Nesting costs no stack here: parts are skipped, then read as their
//!   types, none of which is recursive.
//! - *Errors* have the standard codes for what JSON-RPC defines and -32000… for ours; programs look at `data.kind`
//!   ([`Kind`]), people at `message`. Neither repeats more of a request than a line's worth, nor control characters.
//!
//! Methods and errors stand in `docs/control.md`.
//!
//! A change is answered once it is in force on every worker. If that takes too long the answer is the error
//! `not_in_force` with `{"revision","waiting_for","applied"}`: `applied` true means that the change was made, stays, and
//! comes into force as soon as those workers go on; false, that an earlier change is still on its way and this one was
//! not made. `if_revision` makes a change only if nothing was changed since that revision; it is checked first, for
//! changes that would change nothing too.

mod answer;
mod dropped;
mod error;
mod request;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::answer::{
    Answer, Applied, Difference, ExceptionEntry, ExceptionsAnswer, ExplainAnswer, HealthAnswer, LookupAnswer, Made,
    Match, MethodsAnswer, Notification, PolicyAnswer, Rehearsed, Reloaded, Remark, Response, VersionAnswer, VmAnswer,
    VmEntry, VmsAnswer, Waiting, WatchAnswer,
};
pub use self::dropped::{
    DenialEntry, DropEntry, DropsAnswer, FrameEntry, UnknownAnswer, UnknownEntry, WantedDrops, WouldDropEntry,
    WouldDropsAnswer,
};
pub(in crate::control) use self::error::{ECHO_CHARS_MAX, explained};
pub use self::error::{Kind, RpcError};
pub use self::request::{Batch, Id, Line, Request, parse_line};
use super::handler::Verdict;
use super::history::Recall;
use super::inventory::SyncCall;
pub use super::params::METHODS;
use crate::model::{Address, Boot, Direction, Mode, Revision, Role, Scope};
use crate::policy::Tally;
use crate::vm::connection::Connection;
use crate::vm::edit::Edit;
use crate::vm::policy::PolicyEdit;
use crate::vm::record::{Etag, Exception, ExceptionName, VmId, VmPatch, VmSet};

/// Version of this contract: grows when something is removed or changes its meaning.
pub const PROTOCOL: u32 = 1;
/// Longest line, its LF not counted.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Most requests in one batch.
pub const BATCH_MAX: usize = 10_000;
/// Longest `id` as written, quotes included.
pub const ID_BYTES_MAX: usize = 128;
/// VMs in one answer of `vm.list` unless asked otherwise.
pub const LIST_LIMIT_DEFAULT: usize = 1_000;
/// Most VMs that a statistics document has by their rank.
pub const TOP_MAX: usize = 1_000;
/// Entries in one answer of `history` unless asked otherwise.
pub const HISTORY_LIMIT_DEFAULT: usize = 100;
/// Most entries in one answer of `history`.
pub const HISTORY_LIMIT_MAX: usize = 1_000;
/// Drops in one answer of `drop.list`, `would_drop.list` and `unknown.list` unless asked otherwise.
pub const DROPS_LIMIT_DEFAULT: usize = 100;
/// Most of them.
pub const DROPS_LIMIT_MAX: usize = 1_000;
/// Longest that a change waits to be confirmed, in seconds: a day.
pub const CONFIRM_SECONDS_MAX: u64 = 86_400;
/// Most frames of one `explain`: a change waits for all of them.
pub const EXPLAIN_MAX: usize = 100;
/// Most VMs in one answer of `vm.list`.
pub const LIST_LIMIT_MAX: usize = 10_000;

/// Under which circumstances only a change is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Nothing was changed since this revision.
    pub revision: Option<Revision>,
    /// The process has not been started anew.
    pub boot: Option<Boot>,
    /// The VM's record is this one; or there is none.
    pub etag: Option<Option<Etag>>,
}

impl Guard {
    /// What is to be done about a VM, under its circumstances.
    #[must_use]
    pub fn about_vm(self, edit: Edit) -> Edit {
        match self.etag {
            Some(etag) => Edit::If(etag, Box::new(edit)),
            None => edit,
        }
    }
}

/// Which VMs are wanted: those for which all of it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Judged by this class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// In this mode in the end, VM, class and box considered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// In this scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Of this tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whose ids begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_prefix: Option<String>,
    /// With this address, listed or within a prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl Filter {
    /// Whether a VM is wanted.
    #[must_use]
    pub fn takes(&self, VmEntry { vm, effective_class, effective_mode, .. }: &VmEntry) -> bool {
        self.class.as_ref().is_none_or(|class| class == effective_class)
            && self.mode.is_none_or(|mode| mode == *effective_mode)
            && self.scope.is_none_or(|scope| scope == vm.scope)
            && self.tenant.as_ref().is_none_or(|tenant| Some(tenant) == vm.tenant.as_ref())
            && self.id_prefix.as_ref().is_none_or(|prefix| vm.id.as_str().starts_with(prefix))
            && self.ip.is_none_or(|ip| vm.prefixes().any(|prefix| prefix.contains(&ip)))
    }
}

/// From where a watcher wants to be told of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// What came after this revision; what comes from now on if nothing is said.
    pub from: Option<Revision>,
    /// Of which run of the process that is.
    pub boot: Option<Boot>,
}

/// Whose counters a statistics document has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Of no VM.
    None,
    /// Of every VM.
    All,
    /// Of this one.
    One(VmId),
    /// Of those that lead.
    Top {
        /// How many, 1 to [`TOP_MAX`].
        count: usize,
        /// By which tally.
        by: Tally,
    },
}

/// Frames that somebody asks about.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The link that they come in by; the first unless said.
    pub link: Option<String>,
    /// By which port.
    pub direction: Direction,
    /// Which.
    pub about: Frames,
}

/// What somebody asks about.
#[derive(Clone, Debug, PartialEq)]
pub enum Frames {
    /// These, 1 to [`EXPLAIN_MAX`].
    Bytes(Vec<Vec<u8>>),
    /// The one that begins a connection.
    Connection(Box<Connection>),
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// `vm.set`
    VmSet {
        /// The VM.
        set: VmSet,
        /// Only then.
        guard: Guard,
    },
    /// `vm.patch`
    VmPatch {
        /// Which VM.
        id: VmId,
        /// What to change.
        patch: VmPatch,
        /// Only then.
        guard: Guard,
    },
    /// `vm.delete`
    VmDelete {
        /// Which VM.
        id: VmId,
        /// Only then.
        guard: Guard,
    },
    /// `vm.get`
    VmGet {
        /// Which VM.
        id: VmId,
    },
    /// `vm.lookup`
    VmLookup {
        /// Whose it is.
        address: Address,
        /// Where it is looked up; everywhere if nothing is said.
        scope: Option<Scope>,
    },
    /// `vm.list`
    VmList {
        /// Only VMs whose ids come after it.
        after: Option<VmId>,
        /// How many at most, 1 to [`LIST_LIMIT_MAX`].
        limit: usize,
        /// Only these, if not all.
        filter: Option<Filter>,
    },
    /// `exception.add`
    ExceptionAdd {
        /// Whose.
        vm: VmId,
        /// In place of another of its name.
        exception: Box<Exception>,
        /// Only then.
        guard: Guard,
    },
    /// `exception.remove`
    ExceptionRemove {
        /// Whose.
        vm: VmId,
        /// Which.
        name: ExceptionName,
        /// Only then.
        guard: Guard,
    },
    /// `exception.list`
    ExceptionList {
        /// Whose; everybody's if nothing is said.
        vm: Option<VmId>,
        /// Only of VMs whose ids come after it.
        after: Option<VmId>,
        /// Of how many VMs at most, 1 to [`LIST_LIMIT_MAX`].
        limit: usize,
    },
    /// `explain`
    Explain(Question),
    /// `drop.list`
    DropList(WantedDrops),
    /// `would_drop.list`
    WouldDropList {
        /// How many at most, 1 to [`DROPS_LIMIT_MAX`].
        limit: usize,
    },
    /// `unknown.list`
    UnknownList {
        /// How many at most by MAC, and by address, 1 to [`DROPS_LIMIT_MAX`].
        limit: usize,
    },
    /// `txn`
    Txn {
        /// What is to be done, all of it or nothing.
        edits: Vec<Edit>,
        /// Only to say what would be.
        dry_run: bool,
        /// It is undone after so long, unless it is confirmed.
        confirm: Option<Duration>,
        /// Only then.
        guard: Guard,
    },
    /// `txn.confirm` and `txn.rollback`
    TxnEnd {
        /// What becomes of the change that waits.
        verdict: Verdict,
        /// Only then.
        guard: Guard,
    },
    /// `sync.*`
    Sync(SyncCall),
    /// `policy.get`
    PolicyGet,
    /// `policy.set` and `policy.patch`
    PolicyChange {
        /// What it is to be.
        edit: Box<PolicyEdit>,
        /// Only then.
        guard: Guard,
    },
    /// `config.reload`
    ConfigReload {
        /// Only then.
        guard: Guard,
    },
    /// `stats.get`
    StatsGet {
        /// Whose counters too.
        vms: Wish,
    },
    /// `history`
    History(Recall),
    /// `watch`
    Watch(Watch),
    /// `health`
    Health,
    /// `rpc.methods`
    Methods,
    /// `version`
    Version,
}

impl Call {
    /// How it is called.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::VmSet { .. } => "vm.set",
            Self::VmPatch { .. } => "vm.patch",
            Self::VmDelete { .. } => "vm.delete",
            Self::VmGet { .. } => "vm.get",
            Self::VmLookup { .. } => "vm.lookup",
            Self::VmList { .. } => "vm.list",
            Self::ExceptionAdd { .. } => "exception.add",
            Self::ExceptionRemove { .. } => "exception.remove",
            Self::ExceptionList { .. } => "exception.list",
            Self::Explain(_) => "explain",
            Self::DropList(_) => "drop.list",
            Self::WouldDropList { .. } => "would_drop.list",
            Self::UnknownList { .. } => "unknown.list",
            Self::Txn { .. } => "txn",
            Self::TxnEnd { verdict, .. } => verdict.method(),
            Self::Sync(call) => call.method(),
            Self::PolicyGet => "policy.get",
            Self::PolicyChange { edit, .. } => match **edit {
                PolicyEdit::Set(_) => "policy.set",
                PolicyEdit::Patch(_) => "policy.patch",
            },
            Self::ConfigReload { .. } => "config.reload",
            Self::StatsGet { .. } => "stats.get",
            Self::History(_) => "history",
            Self::Watch(_) => "watch",
            Self::Health => "health",
            Self::Methods => "rpc.methods",
            Self::Version => "version",
        }
    }

    /// The least role that may make it. A rehearsal takes what the change itself would.
    #[must_use]
    pub fn needs(&self) -> Role {
        match self {
            Self::VmGet { .. }
            | Self::VmLookup { .. }
            | Self::VmList { .. }
            | Self::ExceptionList { .. }
            | Self::Explain(_)
            | Self::DropList(_)
            | Self::WouldDropList { .. }
            | Self::UnknownList { .. }
            | Self::Sync(SyncCall::Status(_))
            | Self::PolicyGet
            | Self::StatsGet { .. }
            | Self::History(_)
            | Self::Watch(_)
            | Self::Health
            | Self::Methods
            | Self::Version => Role::Read,
            Self::Txn { edits, .. } if edits.iter().any(|edit| edit.id().is_none()) => Role::Admin,
            Self::VmSet { .. }
            | Self::VmPatch { .. }
            | Self::VmDelete { .. }
            | Self::ExceptionAdd { .. }
            | Self::ExceptionRemove { .. }
            | Self::Txn { .. }
            | Self::TxnEnd { .. }
            | Self::Sync(_) => Role::Write,
            Self::PolicyChange { .. } | Self::ConfigReload { .. } => Role::Admin,
        }
    }
}
