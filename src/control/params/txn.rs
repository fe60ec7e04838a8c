//! `txn`: steps that are calls of their own elsewhere.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::call;
use crate::control::rpc::{CONFIRM_SECONDS_MAX, Call, ECHO_CHARS_MAX, Kind, RpcError};
use crate::text::plain;
use crate::vm::edit::Edit;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Txn<'a> {
    #[serde(borrow)]
    pub(super) operations: Vec<Operation<'a>>,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) confirm_s: Option<u64>,
}

/// How long a change waits to be confirmed.
pub(super) fn confirm_wait(seconds: u64) -> Result<Duration, RpcError> {
    if (1..=CONFIRM_SECONDS_MAX).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    let message = format!("confirm_s: must be 1 to {CONFIRM_SECONDS_MAX} seconds, not {seconds}");
    Err(RpcError::new(Kind::InvalidParams, message).with("path", "confirm_s"))
}

/// One step of a transaction, as a request of its own would have it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Operation<'a> {
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl Operation<'_> {
    pub(super) fn edit(&self, at: usize) -> Result<Edit, RpcError> {
        let refuse = |kind, message: String| {
            let path = format!("operations[{at}]");
            Err(RpcError::new(kind, format!("{path}: {message}")).with("operation", at).with("path", path))
        };
        let call = match call(&self.method, self.params.map_or("{}", RawValue::get)) {
            Ok(call) => call,
            Err(RpcError { kind, message, .. }) => return refuse(kind, message),
        };
        match call {
            Call::VmSet { guard, .. }
            | Call::VmPatch { guard, .. }
            | Call::VmDelete { guard, .. }
            | Call::ExceptionAdd { guard, .. }
            | Call::ExceptionRemove { guard, .. }
            | Call::PolicyChange { guard, .. }
                if guard.revision.is_some() || guard.boot.is_some() =>
            {
                let message = "`if_revision` and `if_boot` stand beside `operations`, for all of them".to_owned();
                refuse(Kind::InvalidParams, message)
            }
            Call::VmSet { set, guard } => Ok(guard.about_vm(Edit::Set(set))),
            Call::VmPatch { id, patch, guard } => Ok(guard.about_vm(Edit::Patch(id, patch))),
            Call::VmDelete { id, guard } => Ok(guard.about_vm(Edit::Delete(id))),
            Call::ExceptionAdd { vm, exception, guard } => Ok(guard.about_vm(Edit::except(vm, *exception))),
            Call::ExceptionRemove { vm, name, guard } => Ok(guard.about_vm(Edit::no_more(vm, vec![name]))),
            Call::PolicyChange { edit, .. } => Ok(Edit::Policy(edit)),
            _ => {
                let method = plain(&self.method, ECHO_CHARS_MAX);
                let message = format!("`{method}` is no step of a transaction; these are: {}", STEPS.join(", "));
                refuse(Kind::InvalidParams, message)
            }
        }
    }
}

/// Methods that can be steps of a transaction.
const STEPS: [&str; 7] =
    ["vm.set", "vm.patch", "vm.delete", "exception.add", "exception.remove", "policy.set", "policy.patch"];
