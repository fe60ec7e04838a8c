//! A VM as its bytes on disk: a checksum, then the record as JSON, as `vm.set` takes it. The policy likewise, and what was before an
//! unconfirmed change.
//!
//! The database has checksums of its own, over pages. This one is over what is believed: a record under another's name, or
//! one that a fault of ours wrote in part, is none.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::policy::document::Document;
use crate::policy::{Origin, Settings};
use crate::vm::journal::Committed;
use crate::vm::record::{Vm, VmId, VmSet};

/// What is wrong with the bytes of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// They are not what was written.
    #[error("the record of VM {0} is damaged: its checksum is wrong")]
    Checksum(String),
    /// They are, and this program cannot read them.
    #[error("the record of VM {id} cannot be read: {what}")]
    Json {
        /// Whose.
        id: String,
        /// What the reader says.
        what: String,
    },
    /// The policy's bytes are not what was written.
    #[error("the policy is damaged: its checksum is wrong")]
    PolicyChecksum,
    /// They are, and this program cannot read them.
    #[error("the policy cannot be read: {0}")]
    Policy(String),
    /// The bytes of what was before an unconfirmed change are not what was written.
    #[error("what was before an unconfirmed change is damaged: its checksum is wrong")]
    BeforeChecksum,
    /// They are, and this program cannot read them.
    #[error("what was before an unconfirmed change cannot be read: {0}")]
    Before(String),
}

/// What was before a change that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Each VM that it is about; none if there was none.
    pub vms: BTreeMap<VmId, Option<Arc<Vm>>>,
    /// The policy, if it is about policy.
    pub policy: Option<PolicyBefore>,
}

/// The policy that was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyBefore {
    /// The configuration's.
    Configuration,
    /// One that somebody set over the socket.
    Document(Box<Document>),
}

impl Before {
    /// What was before this change.
    #[must_use]
    pub fn of(change: &Committed) -> Self {
        let policy = |before: &Settings| match before.origin {
            Origin::Configuration => PolicyBefore::Configuration,
            Origin::Socket => PolicyBefore::Document(Box::new(Document::of(before))),
        };
        Self {
            vms: change.vms.iter().map(|vm| (vm.id.clone(), vm.old.clone())).collect(),
            policy: change.settings.as_ref().map(|[before, _]| policy(before)),
        }
    }
}

/// CRC-32 (IEEE 802.3) over the name and the JSON.
const CHECKSUM_BYTES: usize = 4;

/// The bytes of a VM: CRC-32 over name and JSON, little-endian, then the JSON.
#[must_use]
pub fn encode(vm: &Vm) -> Vec<u8> {
    seal(vm.id.as_str(), vm)
}

/// The bytes of a policy, as those of a VM that has no name.
#[must_use]
pub fn encode_policy(policy: &Document) -> Vec<u8> {
    seal("", policy)
}

/// A policy from its bytes.
///
/// # Errors
/// They are not what [`encode_policy`] made.
pub fn decode_policy(bytes: &[u8]) -> Result<Document, Unreadable> {
    let json = unseal("", bytes).ok_or(Unreadable::PolicyChecksum)?;
    serde_json::from_slice(json).map_err(|error| Unreadable::Policy(error.to_string()))
}

/// The bytes of what was before an unconfirmed change.
#[must_use]
pub fn encode_before(before: &Before) -> Vec<u8> {
    seal(BEFORE, before)
}

/// What was before an unconfirmed change, from its bytes.
///
/// # Errors
/// They are not what [`encode_before`] made.
pub fn decode_before(bytes: &[u8]) -> Result<Before, Unreadable> {
    let json = unseal(BEFORE, bytes).ok_or(Unreadable::BeforeChecksum)?;
    serde_json::from_slice(json).map_err(|error| Unreadable::Before(error.to_string()))
}

/// No VM can be called that.
const BEFORE: &str = "(before)";

/// The VM of a name from its bytes.
///
/// # Errors
/// They are not what [`encode`] made of a VM of that name.
pub fn decode(id: &str, bytes: &[u8]) -> Result<VmSet, Unreadable> {
    let damaged = || Unreadable::Checksum(crate::text::plain(id, 64));
    let json = unseal(id, bytes).ok_or_else(damaged)?;
    let set: VmSet = serde_json::from_slice(json)
        .map_err(|error| Unreadable::Json { id: crate::text::plain(id, 64), what: error.to_string() })?;
    if set.id.as_str() == id { Ok(set) } else { Err(damaged()) }
}

fn seal(name: &str, value: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = vec![0; CHECKSUM_BYTES];
    // Nothing in a record can fail to be written: strings, numbers, lists and maps of them.
    let _ = serde_json::to_writer(&mut bytes, value);
    let (checksum, json) = bytes.split_at_mut(CHECKSUM_BYTES);
    checksum.copy_from_slice(&sum(name, json).to_le_bytes());
    bytes
}

/// The JSON, if the checksum is right.
fn unseal<'a>(name: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (checksum, json) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
    (u32::from_le_bytes(*checksum) == sum(name, json)).then_some(json)
}

fn sum(id: &str, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(id.as_bytes());
    hasher.update(json);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(json: &str) -> Vm {
        serde_json::from_str::<VmSet>(json).unwrap().onto(None).unwrap()
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        for json in [
            r#"{"id":"a","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5","2001:db8::/64"],"public_ipv4":"203.0.113.5"}"#,
            r#"{"id":"b","ips":["10.0.0.6"],"scope":7,"class":"mta","mode":"monitor","note":"\u0000 \" é"}"#,
        ] {
            let vm = vm(json);
            // Read over another record of that name, every field is the written one.
            let other = serde_json::from_value(serde_json::json!({
                "id": vm.id, "ips": ["10.9.9.9"], "class": "x", "mode": "monitor", "note": "x",
            }));
            let other = serde_json::from_value::<VmSet>(other.unwrap()).unwrap().onto(None).unwrap();
            assert_eq!(decode(vm.id.as_str(), &encode(&vm)).unwrap().onto(Some(&other)).unwrap(), vm);
        }
    }

    #[test]
    fn bytes_that_were_changed_are_no_record() {
        let bytes = encode(&vm(r#"{"id":"a","ips":["10.0.0.5"]}"#));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(decode("a", &changed), Err(Unreadable::Checksum("a".into())), "bit {bit} of byte {at}");
            }
            assert!(decode("a", &bytes[..at]).is_err(), "cut to {at}");
        }
        assert!(decode("b", &bytes).is_err(), "it is another VM's");
        let bytes = encode_policy(&Document::default());
        assert_eq!(decode_policy(&bytes), Ok(Document::default()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(decode_policy(&changed), Err(Unreadable::PolicyChecksum), "byte {at}");
        }
    }
}
