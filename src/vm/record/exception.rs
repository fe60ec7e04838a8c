//! What an operator lets a single VM do though its class closes it, as it is written.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{RecordError, Vm};
use crate::model::{Moment, Peer};
use crate::policy::PortRange;
use crate::text::is_name;

/// Most exceptions of one VM.
pub const EXCEPTIONS_MAX: usize = 16;
/// Most ports and ranges of one exception.
const PORTS_MAX: usize = 32;
/// Most bytes of the reason of an exception, and of its ticket.
const REASON_BYTES_MAX: usize = 256;

/// What one VM may do though its class closes it, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Exception {
    /// Unique among those of its VM.
    pub name: ExceptionName,
    /// The other end that it is about; all of them if nothing is said.
    pub peer: Option<Peer>,
    /// What it opens.
    pub opens: Opens,
    /// When it is over; never if nothing is said.
    pub until: Option<Moment>,
    /// Why it was made.
    pub reason: Option<String>,
    /// What it was made for.
    pub ticket: Option<String>,
}

/// What an exception opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opens {
    /// These TCP ports.
    Ports(Vec<PortRange>),
    /// Whatever this class does not close.
    Class(String),
}

impl fmt::Display for Opens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports(ports) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                f.write_str(&ports.join(", "))
            }
            Self::Class(class) => write!(f, "what class {class} does not close"),
        }
    }
}

/// Name of an exception: 1 to 64 of `A-Za-z0-9._:-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct ExceptionName(Box<str>);

impl ExceptionName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExceptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ExceptionName {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        match is_name(text) {
            true => Ok(Self(text.into())),
            false => Err(RecordError::ExceptionName(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<Cow<'_, str>> for ExceptionName {
    type Error = RecordError;

    fn try_from(text: Cow<'_, str>) -> Result<Self, RecordError> {
        text.parse()
    }
}

impl From<ExceptionName> for String {
    fn from(name: ExceptionName) -> Self {
        name.0.into()
    }
}

/// As JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: ExceptionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<Peer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<Vec<PortRange>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Moment>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    permanent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
}

impl TryFrom<Text> for Exception {
    type Error = RecordError;

    fn try_from(text: Text) -> Result<Self, RecordError> {
        let Text { name, peer, ports, class, until, permanent, reason, ticket } = text;
        let refused = |what: String| RecordError::Exception { name: name.clone(), what };
        let opens = match (ports, class) {
            (Some(ports), None) if ports.is_empty() => return Err(refused("without ports it opens nothing".into())),
            (Some(ports), None) if ports.len() > PORTS_MAX => {
                let count = ports.len();
                return Err(refused(format!("it has {count} ports and ranges; at most {PORTS_MAX} are possible")));
            }
            (Some(ports), None) => Opens::Ports(ports),
            (None, Some(class)) => Opens::Class(class),
            (None, None) => {
                return Err(refused("say what it opens: `ports`, or the `class` whose ports alone stay closed".into()));
            }
            (Some(_), Some(_)) => {
                return Err(refused("it opens `ports` or what a `class` does not close, not both".into()));
            }
        };
        if until.is_some() == permanent {
            return Err(refused("say when it ends (`until`), or that it does not (`permanent`), and not both".into()));
        }
        for (member, text) in [("reason", &reason), ("ticket", &ticket)] {
            let bytes = text.as_ref().map_or(0, String::len);
            if bytes > REASON_BYTES_MAX {
                return Err(refused(format!(
                    "its {member} has {bytes} bytes; at most {REASON_BYTES_MAX} are possible"
                )));
            }
        }
        Ok(Self { name, peer, opens, until, reason, ticket })
    }
}

impl From<Exception> for Text {
    fn from(exception: Exception) -> Self {
        let Exception { name, peer, opens, until, reason, ticket } = exception;
        let (ports, class) = match opens {
            Opens::Ports(ports) => (Some(ports), None),
            Opens::Class(class) => (None, Some(class)),
        };
        Self { name, peer, ports, class, until, permanent: until.is_none(), reason, ticket }
    }
}

/// The exceptions that a patch makes: those that come replace others of their names.
pub(super) fn changed(
    old: &Vm,
    whole: Option<Option<Vec<Exception>>>,
    add: &[Exception],
    delete: &[ExceptionName],
) -> Result<Vec<Exception>, RecordError> {
    match whole {
        Some(_) if !add.is_empty() || !delete.is_empty() => {
            Err(RecordError::WholeAndPart { id: old.id.clone(), list: "exceptions" })
        }
        Some(whole) => Ok(whole.unwrap_or_default()),
        None => {
            let goes = |one: &Exception| delete.contains(&one.name) || add.iter().any(|new| new.name == one.name);
            let stay = old.exceptions.iter().filter(|one| !goes(one)).cloned();
            Ok(stay.chain(add.iter().cloned()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Exception, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn an_exception_comes_back_as_it_was_written() {
        for json in [
            r#"{"name":"T-4711","ports":[25],"until":"2026-12-01T10:00:00Z"}"#,
            r#"{"name":"a","peer":"192.0.2.25","ports":[25,"2000-2010"],"permanent":true,"reason":"invoices","ticket":"7"}"#,
            r#"{"name":"b","peer":"2001:db8::/64","class":"mta-only","permanent":true}"#,
        ] {
            assert_eq!(serde_json::to_string(&read(json).unwrap()).unwrap(), json);
        }
        let lenient = read(
            r#"{"name":"a","ports":[25],"class":null,"peer":null,"until":"2026-12-01T12:00:00+02:00","permanent":false}"#,
        );
        assert_eq!(lenient.unwrap().until.unwrap().to_string(), "2026-12-01T10:00:00Z");
    }

    #[test]
    fn half_an_exception_is_refused_with_what_is_missing() {
        let long = "x".repeat(257);
        for (members, words) in [
            (r#""permanent":true"#, "say what it opens"),
            (r#""ports":[],"permanent":true"#, "without ports"),
            (r#""ports":[25],"class":"mta-only","permanent":true"#, "not both"),
            (r#""ports":[25]"#, "say when it ends"),
            (r#""ports":[25],"permanent":false"#, "say when it ends"),
            (r#""ports":[25],"until":"2026-12-01T10:00:00Z","permanent":true"#, "not both"),
            (r#""ports":[25],"until":"tomorrow""#, "`tomorrow` is not a moment"),
            (r#""ports":[25],"permanent":true,"peer":"192.0.2.1/24""#, "192.0.2.0/24"),
            (r#""ports":[25],"permanent":true,"peer":"mail""#, "192.0.2.0/24"),
            (r#""ports":[70000],"permanent":true"#, "expected"),
            (r#""port":[25],"permanent":true"#, "unknown field `port`"),
            (&format!(r#""ports":[25],"permanent":true,"reason":"{long}""#), "its reason has 257 bytes"),
            (&format!(r#""ports":[25],"permanent":true,"ticket":"{long}""#), "its ticket has 257 bytes"),
        ] {
            let error = read(&format!(r#"{{"name":"a",{members}}}"#)).unwrap_err();
            assert!(error.contains(words), "{members}: {error}");
        }
        let many = format!(r#"{{"name":"a","permanent":true,"ports":[{}25]}}"#, "25,".repeat(32));
        assert!(read(&many).unwrap_err().contains("33 ports and ranges"));
        assert!(read(r#"{"name":"a b","ports":[25],"permanent":true}"#).unwrap_err().contains("`a b`"));
        assert!(read(r#"{"ports":[25],"permanent":true}"#).unwrap_err().contains("missing field `name`"));
    }
}
