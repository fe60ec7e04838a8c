//! Methods and their parameters: JSON text → [`Call`].

mod dropped;
mod explain;
mod members;
mod sync;
#[cfg(test)]
mod tests;
mod txn;

use std::net::IpAddr;

use serde::Deserialize;

use self::members::{IdAndIf, If, IfVm, Nothing, Params, VmAndIf, read};
use self::txn::{Txn, confirm_wait};
use super::handler::Verdict;
use super::history::Recall;
use super::rpc::{
    BATCH_MAX, Call, ECHO_CHARS_MAX, Filter, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, Kind, LIST_LIMIT_DEFAULT,
    LIST_LIMIT_MAX, RpcError, TOP_MAX, Watch, Wish,
};
use crate::model::{Address, Boot, MacAddr, Revision, Scope};
use crate::policy::Tally;
use crate::text::{did_you_mean, plain};
use crate::vm::policy::PolicyEdit;
use crate::vm::record::{ExceptionName, VmId};

pub(in crate::control) use self::explain::question;

/// Every method there is.
pub const METHODS: [&str; 31] = [
    "version",
    "health",
    "history",
    "watch",
    "rpc.methods",
    "vm.set",
    "vm.patch",
    "vm.delete",
    "vm.get",
    "vm.list",
    "vm.lookup",
    "exception.add",
    "exception.remove",
    "exception.list",
    "explain",
    "drop.list",
    "would_drop.list",
    "unknown.list",
    "txn",
    "txn.confirm",
    "txn.rollback",
    "sync.begin",
    "sync.chunk",
    "sync.status",
    "sync.commit",
    "sync.abort",
    "policy.get",
    "policy.set",
    "policy.patch",
    "config.reload",
    "stats.get",
];

/// The call that a method and the JSON text of its parameters stand for.
pub(in crate::control) fn call(method: &str, params: &str) -> Result<Call, RpcError> {
    match method {
        "vm.set" => {
            let Params { extra: IfVm { guard }, own: set } = read(params)?;
            Ok(Call::VmSet { set, guard })
        }
        "vm.patch" => {
            let Params { extra: IdAndIf { id, guard }, own: patch } = read(params)?;
            let id = id.ok_or_else(|| RpcError::new(Kind::InvalidParams, "missing field `id`"))?;
            Ok(Call::VmPatch { id, patch, guard })
        }
        "vm.delete" => {
            let Params { extra: IfVm { guard }, own: OfVm { id } } = read(params)?;
            Ok(Call::VmDelete { id, guard })
        }
        "vm.get" => {
            let Params { extra: Nothing, own: OfVm { id } } = read(params)?;
            Ok(Call::VmGet { id })
        }
        "vm.list" => {
            let Params { extra: Nothing, own: List { after, limit, filter } } = read(params)?;
            let limit = within(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
            Ok(Call::VmList { after, limit, filter })
        }
        "history" => {
            let Params { extra: Nothing, own: Past { vm, before, limit } } = read(params)?;
            let limit = within(limit, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX)?;
            Ok(Call::History(Recall { vm, before, limit }))
        }
        "watch" => {
            let Params { extra: Nothing, own: From { from_revision, if_boot } } = read(params)?;
            if if_boot.is_some() && from_revision.is_none() {
                let message = "if_boot: says of which run `from_revision` is, which is missing";
                return Err(RpcError::new(Kind::InvalidParams, message).with("path", "if_boot"));
            }
            Ok(Call::Watch(Watch { from: from_revision, boot: if_boot }))
        }
        "vm.lookup" => {
            let Params { extra: Nothing, own: Lookup { mac, ip, scope } } = read(params)?;
            let scope = scope.map(Scope);
            match (mac, ip) {
                (Some(mac), None) => Ok(Call::VmLookup { address: Address::Mac(mac), scope }),
                (None, Some(ip)) => Ok(Call::VmLookup { address: Address::Ip(ip), scope }),
                _ => Err(RpcError::new(Kind::InvalidParams, "params: one of `mac` and `ip` is needed")),
            }
        }
        "exception.add" => {
            let Params { extra: VmAndIf { vm, guard }, own: exception } = read(params)?;
            let vm = vm.ok_or_else(|| RpcError::new(Kind::InvalidParams, "missing field `vm`"))?;
            Ok(Call::ExceptionAdd { vm, exception: Box::new(exception), guard })
        }
        "exception.remove" => {
            let Params { extra: VmAndIf { vm, guard }, own: OfName { name } } = read(params)?;
            let vm = vm.ok_or_else(|| RpcError::new(Kind::InvalidParams, "missing field `vm`"))?;
            Ok(Call::ExceptionRemove { vm, name, guard })
        }
        "exception.list" => {
            let Params { extra: Nothing, own: Excepted { vm, after, limit } } = read(params)?;
            let limit = within(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
            Ok(Call::ExceptionList { vm, after, limit })
        }
        "drop.list" => dropped::wanted(params).map(Call::DropList),
        "would_drop.list" => dropped::limit(params).map(|limit| Call::WouldDropList { limit }),
        "unknown.list" => dropped::limit(params).map(|limit| Call::UnknownList { limit }),
        "explain" => explain::question(params).map(Call::Explain),
        "health" => {
            let Params { extra: Nothing, own: Empty {} } = read(params)?;
            Ok(Call::Health)
        }
        "rpc.methods" => {
            let Params { extra: Nothing, own: Empty {} } = read(params)?;
            Ok(Call::Methods)
        }
        "txn" => {
            let Params { extra: If { guard }, own: Txn { operations, dry_run, confirm_s } } = read(params)?;
            let count = operations.len();
            if count == 0 || count > BATCH_MAX {
                let message = format!("operations: 1 to {BATCH_MAX} are possible, not {count}");
                return Err(RpcError::new(Kind::InvalidParams, message).with("path", "operations"));
            }
            let edits =
                operations.iter().enumerate().map(|(at, operation)| operation.edit(at)).collect::<Result<_, _>>()?;
            let confirm = confirm_s.map(confirm_wait).transpose()?;
            Ok(Call::Txn { edits, dry_run, confirm, guard })
        }
        "txn.confirm" => {
            let Params { extra: If { guard }, own: Empty {} } = read(params)?;
            Ok(Call::TxnEnd { verdict: Verdict::Confirmed, guard })
        }
        "txn.rollback" => {
            let Params { extra: If { guard }, own: Empty {} } = read(params)?;
            Ok(Call::TxnEnd { verdict: Verdict::RolledBack, guard })
        }
        "sync.begin" | "sync.chunk" | "sync.status" | "sync.commit" | "sync.abort" => {
            sync::call(method, params).map(Call::Sync)
        }
        "policy.get" => {
            let Params { extra: Nothing, own: Empty {} } = read(params)?;
            Ok(Call::PolicyGet)
        }
        "policy.set" => {
            let Params { extra: If { guard }, own: document } = read(params)?;
            Ok(Call::PolicyChange { edit: Box::new(PolicyEdit::Set(document)), guard })
        }
        "policy.patch" => {
            let Params { extra: If { guard }, own: patch } = read(params)?;
            Ok(Call::PolicyChange { edit: Box::new(PolicyEdit::Patch(patch)), guard })
        }
        "config.reload" => {
            let Params { extra: If { guard }, own: Empty {} } = read(params)?;
            Ok(Call::ConfigReload { guard })
        }
        "stats.get" => {
            let Params { extra: Nothing, own: stats } = read::<_, Stats>(params)?;
            stats.wish().map(|vms| Call::StatsGet { vms })
        }
        "version" => {
            let Params { extra: Nothing, own: Empty {} } = read(params)?;
            Ok(Call::Version)
        }
        unknown => {
            let suggestion = did_you_mean(unknown, METHODS);
            let unknown = plain(unknown, ECHO_CHARS_MAX);
            let message = format!("there is no method `{unknown}`; `rpc.methods` says which there are{suggestion}");
            Err(RpcError::new(Kind::UnknownMethod, message))
        }
    }
}

/// How many are wanted.
fn within(limit: Option<u64>, default: usize, most: usize) -> Result<usize, RpcError> {
    match limit.map_or(Ok(default), usize::try_from) {
        Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
        _ => {
            let message = format!("limit: must be 1 to {most}, not {}", limit.unwrap_or(0));
            Err(RpcError::new(Kind::InvalidParams, message).with("path", "limit"))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    #[serde(default)]
    vm: Option<VmId>,
    #[serde(default)]
    before: Option<u64>,
    #[serde(default)]
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    #[serde(default)]
    from_revision: Option<Revision>,
    #[serde(default)]
    if_boot: Option<Boot>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfVm {
    id: VmId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfName {
    name: ExceptionName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Excepted {
    #[serde(default)]
    vm: Option<VmId>,
    #[serde(default)]
    after: Option<VmId>,
    #[serde(default)]
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lookup {
    #[serde(default)]
    mac: Option<MacAddr>,
    #[serde(default)]
    ip: Option<IpAddr>,
    #[serde(default)]
    scope: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    after: Option<VmId>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    filter: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stats {
    #[serde(default)]
    vm: Option<VmId>,
    #[serde(default)]
    vms: Option<bool>,
    #[serde(default)]
    top: Option<u64>,
    #[serde(default)]
    by: Option<String>,
}

impl Stats {
    fn wish(self) -> Result<Wish, RpcError> {
        let Self { vm, vms, top, by } = self;
        let refuse = |path: &str, message: String| {
            Err(RpcError::new(Kind::InvalidParams, format!("{path}: {message}")).with("path", path))
        };
        if let Some(id) = vm {
            return match (vms, top, by) {
                (None, None, None) => Ok(Wish::One(id)),
                _ => refuse("vm", "is about one VM, so `vms`, `top` and `by` have no place beside it".into()),
            };
        }
        let Some(top) = top else {
            return match by {
                Some(_) => refuse("by", "ranks VMs, so `top` must say how many are wanted".into()),
                None => Ok(if vms.unwrap_or(true) { Wish::All } else { Wish::None }),
            };
        };
        if vms == Some(false) {
            return refuse("top", "names VMs, and `vms` is false".into());
        }
        let Some(count) = usize::try_from(top).ok().filter(|count| (1..=TOP_MAX).contains(count)) else {
            return refuse("top", format!("must be 1 to {TOP_MAX}, not {top}"));
        };
        let name = by.as_deref().unwrap_or(Tally::Denied.name());
        match Tally::ALL.into_iter().find(|tally| tally.name() == name) {
            Some(by) => Ok(Wish::Top { count, by }),
            None => {
                let names = Tally::ALL.map(Tally::name);
                let nearest = did_you_mean(name, names);
                let name = plain(name, ECHO_CHARS_MAX);
                refuse("by", format!("`{name}` is no tally; there are {}{nearest}", names.join(", ")))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}
