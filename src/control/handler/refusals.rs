//! Why the registry refuses a change, in the words of the wire.

use crate::control::rpc::{Kind, RpcError};
use crate::table::TableError;
use crate::vm::edit::EditError;

impl From<EditError> for RpcError {
    fn from(error: EditError) -> Self {
        let message = error.to_string();
        match error {
            EditError::Record(_) => Self::new(Kind::InvalidParams, message),
            EditError::Over { now, .. } => Self::new(Kind::InvalidParams, message).with("now", now.to_string()),
            EditError::Conflict { other, .. } => Self::new(Kind::Conflict, message).with("other", other.to_string()),
            EditError::Router { mac, .. } => Self::new(Kind::Conflict, message).with("router", mac.to_string()),
            EditError::RefusalSource { vm, .. } => Self::new(Kind::Conflict, message).with("other", vm.to_string()),
            EditError::UnknownClass { class, known, .. } => {
                let nearest = crate::text::did_you_mean(&class, known.iter().map(String::as_str));
                Self::new(Kind::UnknownClass, format!("{}{nearest}", crate::text::plain(&message, MESSAGE_CHARS_MAX)))
            }
            EditError::Policy(faults) => {
                let refusal = Self::new(Kind::InvalidParams, message);
                match faults.first() {
                    Some(first) => refusal.with("path", first.0.as_str()),
                    None => refusal,
                }
            }
            EditError::ClassInUse { vm, .. } => Self::new(Kind::Conflict, message).with("other", vm.to_string()),
            EditError::Classes(_) => Self::new(Kind::InvalidParams, message),
            EditError::Etag { now, .. } => {
                Self::new(Kind::EtagMismatch, message).with("etag", now.map(|etag| etag.to_string()))
            }
            EditError::NotFound(_) => Self::new(Kind::NotFound, message),
            EditError::VmsFull { .. } => Self::new(Kind::TableFull, message).with("limit", "table.vms"),
            EditError::Table { source, .. } => match source {
                TableError::KeysFull { .. } | TableError::Ipv6KeysFull { .. } | TableError::Crowded { .. } => {
                    Self::new(Kind::TableFull, message).with("limit", "table.keys")
                }
                TableError::PrefixLengths { .. } => Self::new(Kind::TableFull, message).with("limit", "prefix_lengths"),
                TableError::VmsFull { .. } => Self::new(Kind::TableFull, message).with("limit", "table.vms"),
                TableError::Taken { .. } => Self::new(Kind::Internal, message),
            },
            EditError::UnconfirmedVm { revision, .. }
            | EditError::UnconfirmedPolicy { revision }
            | EditError::NoWayBack { revision, .. }
            | EditError::UnconfirmedAlready { revision } => {
                let message = format!("{message}; `txn.confirm` and `txn.rollback` end the wait");
                Self::new(Kind::PendingConfirm, message).with("revision", revision.0)
            }
            EditError::NotSettled(late) => {
                Self::new(Kind::NotInForce, message).with("waiting_for", late.workers).with("applied", false)
            }
        }
    }
}

/// Most characters of a refusal before its suggestion: the classes of a configuration can be many.
const MESSAGE_CHARS_MAX: usize = 800;
