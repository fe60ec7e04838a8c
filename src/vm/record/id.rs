//! The name of a VM.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RecordError;
use crate::text::is_name;

/// Name of a VM: 1 to 64 of `A-Za-z0-9._:-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct VmId(Box<str>);

impl VmId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VmId {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(RecordError::Id(text.chars().take(80).collect())) }
    }
}

impl TryFrom<Cow<'_, str>> for VmId {
    type Error = RecordError;

    fn try_from(text: Cow<'_, str>) -> Result<Self, RecordError> {
        text.parse()
    }
}

impl From<VmId> for String {
    fn from(id: VmId) -> Self {
        id.0.into()
    }
}
