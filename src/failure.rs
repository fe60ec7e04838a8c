//! Why something does not go on: a cause for programs, a message for people.
//!
//! A leaf: whoever has an error says here what it comes down to, and knows nothing of processes. What a cause means as an
//! exit code is known by `cli` alone.

use std::fmt;
use std::io;

use serde_json::{Map, Value};

/// What it comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The command line, or a file it names, cannot be.
    Usage,
    /// The daemon understood, and says no.
    Refused,
    /// Something needed is not there (the daemon, a device).
    Unavailable,
    /// A promise of this program is broken; please report it.
    Bug,
    /// The system refused (memory, a system call).
    Os,
    /// A thread of the daemon stood still, or a step of its stop did not end. Trying again is right.
    Stuck,
    /// Not allowed.
    Permission,
    /// The configuration, or a VM record, cannot be.
    Configuration,
    /// `doctor`: it works, and could be better.
    Warned,
    /// `doctor`: it will not work.
    Unfit,
}

/// Why something does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it comes down to.
    pub cause: Cause,
    /// What went wrong and what to do.
    pub message: String,
    /// More for programs, if anything.
    pub data: Map<String, Value>,
}

impl Cause {
    /// The name for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Bug => "internal",
            Self::Os => "os",
            Self::Stuck => "stuck",
            Self::Permission => "permission",
            Self::Configuration => "configuration",
            Self::Warned => "warned",
            Self::Unfit => "unfit",
        }
    }
}

impl Failure {
    /// A failure of this cause and message.
    pub fn new(cause: Cause, message: impl fmt::Display) -> Self {
        Self { cause, message: message.to_string(), data: Map::new() }
    }

    /// `cause` unless the system says that permission is what is missing.
    pub fn io(cause: Cause, error: &io::Error, message: impl fmt::Display) -> Self {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        Self::new(if denied { Cause::Permission } else { cause }, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
