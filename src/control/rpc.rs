//! The wire contract: bytes of a line → [`Request`] → [`Call`], and [`Answer`] or [`RpcError`] → bytes of a line. Pure.
//!
//! JSON-RPC 2.0 over a Unix stream socket, one JSON value per line (LF) in both directions.
//!
//! - *Order* of replies is the order of requests on each connection. A request without `id` (a notification) gets no
//!   reply, not even an error. A batch (an array) is answered by one array; its elements happen one after the other,
//!   each on its own: other clients' calls may come between, and a refused one does not take back the ones before.
//! - *Strict.* `jsonrpc` is `"2.0"`, `params` an object or absent; unknown members and members given twice are
//!   refused, because a misspelt `public_ipv4` would otherwise leave a customer closed in silence. Blank lines are
//!   skipped. What is not ended by LF is not done.
//! - *`id`* is a string, number or null, and comes back as it was written, byte for byte. At most [`ID_BYTES_MAX`].
//! - *Limits*: [`LINE_BYTES_MAX`], [`BATCH_MAX`]. Nesting costs no stack here: parts are skipped, then read as their
//!   types, none of which is recursive.
//! - *Errors* have the standard codes for what JSON-RPC defines and -32000… for ours; programs look at `data.kind`
//!   ([`Kind`]), people at `message`. Neither repeats more of a request than a line's worth, nor control characters.
//!
//! | method | params | result |
//! |---|---|---|
//! | `vm.set` | a VM ([`VmSet`]), `if_revision`? | `{"revision","changed","applied_us"}` |
//! | `vm.patch` | `id`, fields of [`VmPatch`], `if_revision`? | the same |
//! | `vm.delete` | `id`, `if_revision`? | the same; deleting what is not there changes nothing |
//! | `vm.get` | `id` | `{"vm","effective_class","counters":{"egress","ingress"},"revision"}`; `vm` is what `vm.set` takes |
//! | `vm.list` | `after`?, `limit`? (1000, at most 10000) | `{"vms":[{"vm","effective_class","counters"}],"next","revision"}` in the order of ids; `next` is the `after` of the next page or null |
//! | `stats.get` | `vms`? (true) | the document of [`telemetry::report`](crate::telemetry::report) |
//! | `version` | | `{"version","protocol","schema","dpdk"?}` |
//!
//! | `data.kind` | `code` | beside it in `data` |
//! |---|---|---|
//! | `parse_error`, `invalid_request`, `unknown_method` | -32700, -32600, -32601 | |
//! | `invalid_params` | -32602 | `path`? of the member, as `macs[1]` |
//! | `internal` | -32603 | |
//! | `not_found` | -32000 | |
//! | `conflict` | -32001 | `other`: the VM that has it, or `router`: the MAC |
//! | `table_full` | -32002 | `limit`: `table.vms`, `table.keys` or `prefix_lengths` |
//! | `revision_mismatch` | -32003 | `revision`: the current one |
//! | `not_in_force` | -32004 | `revision`, `waiting_for` (numbers of workers), `applied` |
//! | `too_large` | -32005 | a line's ends the connection, a batch's does not |
//! | `too_many_connections` | -32006 | ends the connection |
//! | `unknown_class`, `shutting_down` | -32007, -32008 | |
//!
//! A change is answered once it is in force on every worker. If that takes too long the answer is the error
//! `not_in_force` with `{"revision","waiting_for","applied"}`: `applied` true means that the change was made, stays, and
//! comes into force as soon as those workers go on; false, that an earlier change is still on its way and this one was
//! not made. `if_revision` makes a change only if nothing was changed since that revision; it is checked first, for
//! changes that would change nothing too.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

pub use super::params::METHODS;
use super::params::call;
use crate::suggest::suggestion;
use crate::telemetry::report::{Judged, Report};
use crate::vm::record::{Vm, VmId, VmPatch, VmSet};
use crate::vm::registry::Revision;

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
/// Most VMs in one answer of `vm.list`.
pub const LIST_LIMIT_MAX: usize = 10_000;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `vm.set`
    VmSet {
        /// The VM.
        set: VmSet,
        /// Only if this is the current revision.
        if_revision: Option<Revision>,
    },
    /// `vm.patch`
    VmPatch {
        /// Which VM.
        id: VmId,
        /// What to change.
        patch: VmPatch,
        /// Only if this is the current revision.
        if_revision: Option<Revision>,
    },
    /// `vm.delete`
    VmDelete {
        /// Which VM.
        id: VmId,
        /// Only if this is the current revision.
        if_revision: Option<Revision>,
    },
    /// `vm.get`
    VmGet {
        /// Which VM.
        id: VmId,
    },
    /// `vm.list`
    VmList {
        /// Only VMs whose ids come after it.
        after: Option<VmId>,
        /// How many at most, 1 to [`LIST_LIMIT_MAX`].
        limit: usize,
    },
    /// `stats.get`
    StatsGet {
        /// Each VM's counters too.
        vms: bool,
    },
    /// `version`
    Version,
}

/// What a call that was not refused is answered.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Of `vm.set`, `vm.patch` and `vm.delete`.
    Applied(Applied),
    /// Of `vm.get`.
    Vm(Box<VmAnswer>),
    /// Of `vm.list`.
    Vms(VmsAnswer),
    /// Of `stats.get`.
    Stats(Box<Report>),
    /// Of `version`.
    Version(VersionAnswer),
}

/// A change that is in force on every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The revision that it made, or the current one if it changed nothing.
    pub revision: Revision,
    /// Whether anything was different.
    pub changed: bool,
    /// From its publication until the last worker used it.
    pub applied_us: u64,
}

/// A VM, and what the box makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmEntry {
    /// As `vm.set` takes it.
    pub vm: Vm,
    /// The class it is judged by.
    pub effective_class: String,
    /// Its judged frames.
    pub counters: Judged,
}

/// Answer of `vm.get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmAnswer {
    /// The VM.
    #[serde(flatten)]
    pub entry: VmEntry,
    /// The current revision.
    pub revision: Revision,
}

/// Answer of `vm.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmsAnswer {
    /// In the order of their ids.
    pub vms: Vec<VmEntry>,
    /// `after` of the next page; none if this was the last one.
    pub next: Option<VmId>,
    /// The current revision: a page of another revision may not fit this one.
    pub revision: Revision,
}

/// Answer of `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionAnswer {
    /// Of the program.
    pub version: Cow<'static, str>,
    /// [`PROTOCOL`]
    pub protocol: u32,
    /// Of the statistics document.
    pub schema: u32,
    /// Of DPDK, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpdk: Option<String>,
}

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
}

impl Kind {
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

/// What a request is recognised by: JSON text of a string, number or null.
#[derive(Clone, Debug)]
pub struct Id(Box<RawValue>);

impl Id {
    /// For errors of which the request is not known.
    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// As it was written.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    fn read(raw: &RawValue) -> Result<Self, String> {
        let text = raw.get();
        if text.len() > ID_BYTES_MAX {
            return Err(format!("`id` has {} bytes; at most {ID_BYTES_MAX} are possible", text.len()));
        }
        match serde_json::from_str(text) {
            Ok(Value::Null | Value::Number(_) | Value::String(_)) => Ok(Self(raw.to_owned())),
            Ok(_) => Err(format!("`id` must be a string, a number or null, not {text}")),
            Err(error) => Err(format!("`id` cannot be read: {}", unplaced(&error.to_string()))),
        }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Id {}

/// One request of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Where the reply goes; a notification has none.
    pub id: Option<Id>,
    /// What is asked, or why that cannot be said.
    pub call: Result<Call, RpcError>,
}

impl Request {
    fn refused(id: Id, error: RpcError) -> Self {
        Self { id: Some(id), call: Err(error) }
    }

    fn read(raw: &RawValue) -> Self {
        let refused = |id, message: &str| Self::refused(id, RpcError::new(Kind::InvalidRequest, message));
        let envelope: Envelope<'_> = match serde_json::from_str(raw.get()) {
            Ok(envelope) => envelope,
            Err(_) if !raw.get().starts_with('{') => {
                let message = "a request is an object: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}";
                return refused(Id::null(), message);
            }
            Err(error) => {
                let only: Option<OnlyId<'_>> = serde_json::from_str(raw.get()).ok();
                let id = only.and_then(|only| Id::read(only.id?).ok()).unwrap_or_else(Id::null);
                return refused(id, &explained(&error.to_string(), &[]));
            }
        };
        let id = match envelope.id.map(Id::read).transpose() {
            Ok(id) => id,
            Err(message) => return refused(Id::null(), &message),
        };
        let or_null = |id: Option<Id>| id.unwrap_or_else(Id::null);
        match envelope.jsonrpc.map(|raw| serde_json::from_str::<Cow<'_, str>>(raw.get())) {
            Some(Ok(version)) if version == "2.0" => {}
            Some(_) => return refused(or_null(id), "`jsonrpc` must be \"2.0\""),
            None => return refused(or_null(id), "`jsonrpc` is missing; write \"jsonrpc\":\"2.0\""),
        }
        let method = match envelope.method.map(|raw| serde_json::from_str::<String>(raw.get())) {
            Some(Ok(method)) => method,
            Some(Err(_)) => return refused(or_null(id), "`method` must be a string"),
            None => return refused(or_null(id), &format!("`method` is missing; there are {}", METHODS.join(", "))),
        };
        Self { id, call: call(&method, envelope.params.map_or("{}", RawValue::get)) }
    }
}

/// A line, read.
#[derive(Debug)]
pub enum Line<'a> {
    /// Nothing but white space.
    Blank,
    /// A request, or what a line that is none is answered.
    One(Box<Request>),
    /// Several, to be answered together.
    Batch(Batch<'a>),
}

/// The requests of a batch, each read when its turn comes.
#[derive(Debug)]
pub struct Batch<'a>(std::vec::IntoIter<&'a RawValue>);

impl Iterator for Batch<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.0.next().map(Request::read)
    }
}

/// Reads a line, with or without its LF. Never fails: what cannot be read is a request that is refused.
#[must_use]
pub fn parse_line(line: &[u8]) -> Line<'_> {
    let refuse = |kind, message: &str| Line::One(Box::new(Request::refused(Id::null(), RpcError::new(kind, message))));
    let text = match std::str::from_utf8(line) {
        Ok(text) => text.trim_matches([' ', '\t', '\r', '\n']),
        Err(error) => {
            return refuse(Kind::ParseError, &format!("not UTF-8 from byte {} on", error.valid_up_to() + 1));
        }
    };
    if text.is_empty() {
        return Line::Blank;
    }
    // The whole line is known to be JSON before any part of it is judged.
    let raw: &RawValue = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => return refuse(Kind::ParseError, &format!("not JSON: {error}")),
    };
    if !text.starts_with('[') {
        return Line::One(Box::new(Request::read(raw)));
    }
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(batch) if batch.is_empty() => refuse(Kind::InvalidRequest, "an empty batch asks for nothing"),
        Ok(batch) if batch.len() > BATCH_MAX => {
            let message = format!("a batch of {} requests; at most {BATCH_MAX} are possible", batch.len());
            refuse(Kind::TooLarge, &message)
        }
        Ok(batch) => Line::Batch(Batch(batch.into_iter())),
        Err(error) => refuse(Kind::ParseError, &format!("not JSON: {error}")),
    }
}

/// A reply: one element of the answer to a line.
#[derive(Debug)]
pub struct Response<'a> {
    /// Of the request.
    pub id: &'a Id,
    /// Its outcome.
    pub outcome: &'a Result<Answer, RpcError>,
}

impl Serialize for Response<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("jsonrpc", "2.0")?;
        map.serialize_entry("id", &self.id.0)?;
        match self.outcome {
            Ok(answer) => map.serialize_entry("result", answer)?,
            Err(error) => map.serialize_entry("error", error)?,
        }
        map.end()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OnlyId<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// `null` is present too.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Most characters of a request's that a message repeats.
pub(super) const ECHO_CHARS_MAX: usize = 120;
/// Most characters of a message.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Serde's message without its position (which counts from the start of a part), cut, with a suggestion.
pub(super) fn explained(message: &str, more_names: &[&str]) -> String {
    let message = unplaced(message);
    format!("{}{}", plain(message, 2 * ECHO_CHARS_MAX), suggestion(message, more_names))
}

fn unplaced(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message)
}

/// Text fit to be printed on a terminal or into a log: one line, nothing that steers, the middle left out if it is
/// longer than `chars_max`.
#[must_use]
pub fn plain(text: &str, chars_max: usize) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let visible = |c: char| if steers(c) { char::REPLACEMENT_CHARACTER } else { c };
    let count = text.chars().count();
    if count <= chars_max {
        return text.chars().map(visible).collect();
    }
    let half = chars_max / 2;
    let head = text.chars().take(half).map(visible);
    head.chain(" … ".chars()).chain(text.chars().skip(count - half).map(visible)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &[u8]) -> Request {
        match parse_line(line) {
            Line::One(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn request(method: &str, params: &str) -> Request {
        one(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#).as_bytes())
    }

    fn refusal(method: &str, params: &str) -> RpcError {
        request(method, params).call.unwrap_err()
    }

    #[test]
    fn an_id_comes_back_as_it_was_written() {
        for id in [r#""a""#, r#""\u00e9\"""#, "1", "-0", "1.50", "12345678901234567890123", "null", r#""""#] {
            let read = one(format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"version"}}"#).as_bytes());
            assert_eq!(read.id.unwrap().as_json(), id);
            assert_eq!(read.call, Ok(Call::Version), "{id}");
        }
        let long = format!("\"{}\"", "a".repeat(ID_BYTES_MAX));
        for id in ["true", "[1]", "{}", r#""\ud800""#, "1e999", &long] {
            let read = one(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"version"}}"#).as_bytes());
            assert_eq!(read.id, Some(Id::null()), "{id}");
            assert_eq!(read.call.unwrap_err().kind, Kind::InvalidRequest, "{id}");
        }
    }

    #[test]
    fn params_may_be_absent() {
        assert_eq!(one(br#" {"method":"version","id":1,"jsonrpc":"2.0"} "#).call, Ok(Call::Version));
    }

    #[test]
    fn a_notification_has_no_id() {
        let read = one(br#"{"jsonrpc":"2.0","method":"version"}"#);
        assert_eq!(read, Request { id: None, call: Ok(Call::Version) });
        let read = one(br#"{"jsonrpc":"2.0","method":"vm.get","params":{}}"#);
        assert!(read.id.is_none() && read.call.is_err(), "not even its error is answered");
    }

    #[test]
    fn what_is_not_json_is_a_parse_error() {
        let bomb = "[".repeat(100_000);
        for line in [
            &b"{"[..],
            b"hello",
            b"\0",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\0",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"} {}",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ver\xffsion\"}",
            b"{\"jsonrpc\":\"2.0\",\"unknown\":1,",
            b"[1,",
            b"\xef\xbb\xbf{}",
            bomb.as_bytes(),
        ] {
            let read = one(line);
            assert_eq!((read.id, read.call.unwrap_err().kind), (Some(Id::null()), Kind::ParseError), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_an_invalid_request() {
        for (line, id, words) in [
            ("1", "null", "a request is an object"),
            ("\"version\"", "null", "a request is an object"),
            ("{}", "null", "`jsonrpc` is missing"),
            (r#"{"jsonrpc":"1.0","id":4,"method":"version"}"#, "4", "must be \"2.0\""),
            (r#"{"jsonrpc":2.0,"id":4,"method":"version"}"#, "4", "must be \"2.0\""),
            (r#"{"jsonrpc":"2.0","id":4}"#, "4", "`method` is missing"),
            (r#"{"jsonrpc":"2.0","id":4,"method":null}"#, "4", "`method` must be a string"),
            (r#"{"jsonrpc":"2.0","id":4,"method":"\ud800"}"#, "4", "`method` must be a string"),
            (r#"{"jsonrpc":"2.0","id":4,"method":"version","parms":{}}"#, "4", "did you mean `params`?"),
            (r#"{"jsonrpc":"2.0","id":4,"method":"version","method":"x"}"#, "4", "duplicate field `method`"),
            (r#"{"jsonrpc":"2.0","id":4,"id":5,"method":"version"}"#, "null", "duplicate field `id`"),
        ] {
            let read = one(line.as_bytes());
            let error = read.call.unwrap_err();
            assert_eq!((read.id.unwrap().as_json(), error.kind), (id, Kind::InvalidRequest), "{line}");
            assert!(error.message.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn an_error_repeats_little_and_nothing_that_steers_a_terminal() {
        let long = "x".repeat(100_000);
        let steering = r"\u001b[2J\n\u202e\u0085";
        for text in [long.as_str(), steering] {
            for error in [
                refusal(text, "{}"),
                refusal("vm.set", &format!(r#"{{"{text}":1}}"#)),
                refusal("vm.set", &format!(r#"{{"id":"{text}"}}"#)),
                refusal("vm.set", &format!(r#"{{"id":"a","macs":"{text}"}}"#)),
                refusal("vm.set", &format!(r#"{{"id":"a","mode":"{text}"}}"#)),
                one(format!(r#"{{"jsonrpc":"2.0","{text}":1}}"#).as_bytes()).call.unwrap_err(),
                one(format!(r#"{{"jsonrpc":"2.0","id":["{text}"]}}"#).as_bytes()).call.unwrap_err(),
            ] {
                assert!(error.message.chars().count() < 400, "{error}");
                assert!(!error.message.contains(['\u{1b}', '\n', '\u{202e}', '\u{85}']), "{error:?}");
            }
        }
    }

    #[test]
    fn a_batch_is_read_one_by_one() {
        let Line::Batch(batch) = parse_line(
            br#"[1, {"jsonrpc":"2.0","id":2,"method":"version"}, {"jsonrpc":"2.0","method":"version"}, [], {"a":1}]"#,
        ) else {
            panic!("a batch")
        };
        let kinds: Vec<_> = batch.map(|read| (read.id.map(|id| id.as_json().to_owned()), read.call.is_ok())).collect();
        let null = Some("null".to_owned());
        assert_eq!(
            kinds,
            [(null.clone(), false), (Some("2".into()), true), (None, true), (null.clone(), false), (null, false)]
        );
        assert_eq!(one(b"[]").call.unwrap_err().kind, Kind::InvalidRequest);
        let many = format!("[{}1]", "1,".repeat(BATCH_MAX));
        assert_eq!(one(many.as_bytes()).call.unwrap_err().kind, Kind::TooLarge);
    }

    #[test]
    fn blank_lines_ask_for_nothing() {
        for line in [&b""[..], b"\n", b" \t\r\n"] {
            assert!(matches!(parse_line(line), Line::Blank));
        }
    }

    #[test]
    fn a_reply_has_the_shape_of_json_rpc() {
        let id = one(br#"{"jsonrpc":"2.0","id":"a","method":"version"}"#).id.unwrap();
        let applied = Applied { revision: Revision(7), changed: true, applied_us: 12 };
        let json = |outcome| serde_json::to_string(&Response { id: &id, outcome: &outcome }).unwrap();
        assert_eq!(
            json(Ok(Answer::Applied(applied))),
            r#"{"jsonrpc":"2.0","id":"a","result":{"revision":7,"changed":true,"applied_us":12}}"#
        );
        assert_eq!(
            json(Err(RpcError::new(Kind::RevisionMismatch, "no").with("revision", 7))),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32003,"message":"no","data":{"kind":"revision_mismatch","revision":7}}}"#
        );
    }

    fn read_all(line: &[u8]) {
        match parse_line(line) {
            Line::Batch(batch) => batch.for_each(drop),
            Line::Blank | Line::One(_) => {}
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            read_all(&line);
        }

        #[test]
        fn no_damage_to_a_request_makes_the_reader_panic(at in 0usize..120, byte: u8, cut in 0usize..120) {
            let mut line = br#"[{"jsonrpc":"2.0","id":1,"method":"vm.set","params":{"id":"a","ips":["10.0.0.0/24"],"class":null}}]"#.to_vec();
            if let Some(slot) = line.get_mut(at) {
                *slot = byte;
            }
            line.truncate(line.len().saturating_sub(cut));
            read_all(&line);
        }
    }
}
