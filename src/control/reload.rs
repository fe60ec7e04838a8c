//! `config.reload`: the policy of the configuration file, as it is now, in the place of what is in force.

use std::fmt;
use std::sync::Arc;

use super::handler::Wanted;
use super::history::{By, Who};
use super::rpc::{Guard, Kind, RpcError};
use crate::failure::Failure;
use crate::policy::document::Document;
use crate::vm::edit::Edit;

/// What the configuration file says now.
#[derive(Clone, Debug)]
pub struct Reread {
    /// Its policy.
    pub document: Document,
    /// Keys whose values are not those that the process was started with, and that only a restart changes.
    pub needs_restart: Vec<String>,
}

/// Reads the configuration file of the process anew.
#[derive(Clone)]
pub struct Reload(Arc<dyn Fn() -> Result<Reread, Failure> + Send + Sync>);

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload(..)")
    }
}

impl Reload {
    /// By this.
    pub fn new(read: impl Fn() -> Result<Reread, Failure> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The change that a box with these links is to make, and the keys that need a restart.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn read(&self, links: &[String], guard: Guard, who: Who) -> Result<(Wanted, Vec<String>), RpcError> {
        let refused = |message: String| {
            let message = format!("nothing was changed: {}", message.replace('\n', "; "));
            RpcError::new(Kind::Configuration, message)
        };
        let Reread { mut document, needs_restart } = (self.0)().map_err(|failure| refused(failure.message))?;
        // A link that is not there yet comes with the restart.
        document.links.retain(|name, _| links.contains(name));
        let settings = document
            .settings(links)
            .map_err(|faults| refused(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        let by = By { who, method: "config.reload" };
        Ok((Wanted::new(Edit::Settings(Arc::new(settings)), guard, by), needs_restart))
    }
}
