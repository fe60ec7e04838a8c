//! A change of policy: a whole document, or a part of one laid over what is true.

use serde_json::Value;

use crate::policy::document::{Document, Wrong};
use crate::policy::{Origin, Settings};
use crate::text::suggestion;

/// What policy is to be.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyEdit {
    /// This, and nothing of what it was.
    Set(Document),
    /// What it was with this laid over it: a JSON merge patch (RFC 7396). `null` takes away, lists are replaced whole.
    Patch(Value),
}

impl PolicyEdit {
    /// The settings after it. `before` are those before the change that it is a part of.
    ///
    /// # Errors
    /// Everything that cannot be.
    pub(super) fn onto(self, now: &Settings, before: &Settings) -> Result<Settings, Vec<Wrong>> {
        let document = match self {
            Self::Set(document) => document,
            Self::Patch(patch) => {
                let mut whole = serde_json::to_value(Document::of(now)).unwrap_or_default();
                json_patch::merge(&mut whole, &patch);
                serde_path_to_error::deserialize(whole).map_err(|error| {
                    let path = error.path().to_string();
                    let message = error.into_inner().to_string();
                    vec![Wrong(path, format!("{message}{}", suggestion(&message, &[])))]
                })?
            }
        };
        let new = document.settings(&now.links)?;
        // Who says what is true already has not said anything new.
        let document = Document::of(&new);
        let same = [before, now].into_iter().find(|known| Document::of(known) == document);
        Ok(same.cloned().unwrap_or(Settings { origin: Origin::Socket, ..new }))
    }
}
