//! What a record is recognised by, so that a change can be made only if nobody else has changed it meanwhile.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use super::Vm;

/// A digest of a whole record: the same record has the same one, also after a restart. Sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag(u64);

impl Etag {
    /// Of this record.
    #[must_use]
    pub fn of(vm: &Vm) -> Self {
        // No record fails to be written; if one did, it would be like no other.
        Self(xxh3_64(&serde_json::to_vec(vm).unwrap_or_default()))
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Not sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an etag is sixteen hexadecimal digits, as `vm.get` answers it")]
pub struct EtagError;

impl FromStr for Etag {
    type Err = EtagError;

    fn from_str(text: &str) -> Result<Self, EtagError> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(EtagError)
    }
}

impl Serialize for Etag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Etag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::record::VmSet;

    fn vm(json: &str) -> Vm {
        serde_json::from_str::<VmSet>(json).unwrap().onto(None).unwrap()
    }

    #[test]
    fn an_etag_is_of_every_field_and_of_no_spelling() {
        let of = |json| Etag::of(&vm(json));
        let web1 = of(r#"{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"]}"#);
        assert_eq!(web1, of(r#"{"ips":["10.0.0.5"],"macs":["5254.0000.0001"],"id":"web1","class":null}"#));
        // Of this version and the next: clients keep it.
        assert_eq!(web1.to_string(), "f7be87af1dfda3f5");
        for other in [
            r#"{"id":"web2","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"]}"#,
            r#"{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"],"note":""}"#,
            r#"{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"],"mode":"monitor"}"#,
            r#"{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"],"scope":1}"#,
        ] {
            assert_ne!(of(other), web1, "{other}");
        }
        assert_eq!(web1.to_string().parse(), Ok(web1));
        for text in ["", "b98d52f5a4b0a4a", "b98d52f5a4b0a4a2a", "g98d52f5a4b0a4a2", "+98d52f5a4b0a4a2"] {
            assert_eq!(text.parse::<Etag>(), Err(EtagError), "{text}");
        }
    }
}
