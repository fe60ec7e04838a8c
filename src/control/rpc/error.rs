//! Why a request is refused, and how that is put into words.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::text::{plain, suggestion};

/// What kind of error: a stable name for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Not JSON.
    ParseError,
    /// JSON, but not a JSON-RPC 2.0 request.
    InvalidRequest,
    /// No such method.
    UnknownMethod,
    /// Not what the method takes, or not what a VM can be.
    InvalidParams,
    /// Our fault.
    Internal,
    /// No such VM.
    NotFound,
    /// A MAC or address is another's.
    Conflict,
    /// No room.
    TableFull,
    /// `if_revision` is not the current revision.
    RevisionMismatch,
    /// Not in force on every worker in time.
    NotInForce,
    /// A line or batch beyond the limit.
    TooLarge,
    /// As many clients as may be connected.
    TooManyConnections,
    /// The configuration has no such class.
    UnknownClass,
    /// The process is about to end; nothing was done.
    ShuttingDown,
    /// The configuration file cannot be used.
    Configuration,
    /// A change that waits to be confirmed is in the way.
    PendingConfirm,
    /// A sync would remove more VMs than it may.
    TooManyRemoved,
    /// The role of who asks does not allow it.
    Forbidden,
    /// `if_etag` is not that of the VM's record.
    EtagMismatch,
}

impl Kind {
    /// All there are, in the order of the enum.
    #[cfg(test)]
    pub(in crate::control) const ALL: [Self; 19] = [
        Self::ParseError,
        Self::InvalidRequest,
        Self::UnknownMethod,
        Self::InvalidParams,
        Self::Internal,
        Self::NotFound,
        Self::Conflict,
        Self::TableFull,
        Self::RevisionMismatch,
        Self::NotInForce,
        Self::TooLarge,
        Self::TooManyConnections,
        Self::UnknownClass,
        Self::ShuttingDown,
        Self::Configuration,
        Self::PendingConfirm,
        Self::TooManyRemoved,
        Self::Forbidden,
        Self::EtagMismatch,
    ];

    /// The name in `data.kind`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ParseError => "parse_error",
            Self::InvalidRequest => "invalid_request",
            Self::UnknownMethod => "unknown_method",
            Self::InvalidParams => "invalid_params",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TableFull => "table_full",
            Self::RevisionMismatch => "revision_mismatch",
            Self::NotInForce => "not_in_force",
            Self::TooLarge => "too_large",
            Self::TooManyConnections => "too_many_connections",
            Self::UnknownClass => "unknown_class",
            Self::ShuttingDown => "shutting_down",
            Self::Configuration => "configuration",
            Self::PendingConfirm => "pending_confirm",
            Self::TooManyRemoved => "too_many_removed",
            Self::Forbidden => "forbidden",
            Self::EtagMismatch => "etag_mismatch",
        }
    }

    /// The number in `code`.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::ParseError => -32700,
            Self::InvalidRequest => -32600,
            Self::UnknownMethod => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::NotFound => -32000,
            Self::Conflict => -32001,
            Self::TableFull => -32002,
            Self::RevisionMismatch => -32003,
            Self::NotInForce => -32004,
            Self::TooLarge => -32005,
            Self::TooManyConnections => -32006,
            Self::UnknownClass => -32007,
            Self::ShuttingDown => -32008,
            Self::Configuration => -32009,
            Self::PendingConfirm => -32010,
            Self::TooManyRemoved => -32011,
            Self::Forbidden => -32012,
            Self::EtagMismatch => -32013,
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// For programs.
    pub kind: Kind,
    /// For people: what is wrong, with the value, and what to do.
    pub message: String,
    /// Members of `data` beside `kind`.
    pub data: Vec<(&'static str, Value)>,
}

impl RpcError {
    /// An error; `message` is made fit to be printed.
    #[must_use]
    pub fn new(kind: Kind, message: impl AsRef<str>) -> Self {
        Self { kind, message: plain(message.as_ref(), MESSAGE_CHARS_MAX), data: Vec::new() }
    }

    /// Whether it was done all the same.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.data.iter().any(|(name, value)| *name == "applied" && *value == Value::Bool(true))
    }

    /// Adds a member to `data`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.data.push((name, value.into()));
        self
    }
}

impl Serialize for RpcError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Data<'a>(&'a RpcError);
        impl Serialize for Data<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(1 + self.0.data.len()))?;
                map.serialize_entry("kind", self.0.kind.name())?;
                for (name, value) in &self.0.data {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("code", &self.kind.code())?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("data", &Data(self))?;
        map.end()
    }
}

/// Most characters of a request's that a message repeats.
pub(in crate::control) const ECHO_CHARS_MAX: usize = 120;
/// Most characters of a message.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Serde's message without its position (which counts from the start of a part), cut, with a suggestion.
pub(in crate::control) fn explained(message: &str, more_names: &[&str]) -> String {
    let message = unplaced(message);
    format!("{}{}", plain(message, 2 * ECHO_CHARS_MAX), suggestion(message, more_names))
}

pub(super) fn unplaced(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_listed() {
        // Whoever adds one writes its name into `name`, where the compiler asks for it.
        let arms = include_str!("error.rs")
            .lines()
            .filter(|line| line.trim_start().starts_with("Self::") && line.contains("=> -32"));
        assert_eq!(arms.count(), Kind::ALL.len());
    }
}
