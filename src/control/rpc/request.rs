//! What comes in: bytes of a line → [`Request`] → [`Call`].

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::unplaced;
use super::{BATCH_MAX, Call, ID_BYTES_MAX, Kind, RpcError, explained};
use crate::control::params::call;

/// What a request is recognised by: JSON text of a string, number or null.
#[derive(Clone, Debug, Serialize)]
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
            None => return refused(or_null(id), "`method` is missing; `rpc.methods` says which there are"),
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
