//! How the program ends: sysexits-like codes, one message.

use std::fmt;
use std::io;

/// Why the program ends unsuccessfully.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 64: the command line, or a file it names, cannot be.
    Usage = 64,
    /// 69: something needed is not there (the daemon, a device).
    Unavailable = 69,
    /// 70: a promise of this program is broken; please report it.
    Bug = 70,
    /// 71: the system refused (memory, a system call).
    Os = 71,
    /// 75: a thread of the daemon stood still, or a step of its stop did not end. Trying again is right.
    Stuck = 75,
    /// 77: not allowed.
    Permission = 77,
    /// 78: the configuration, or a VM record, cannot be.
    Configuration = 78,
}

/// The end of an unsuccessful run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the process returns.
    pub exit: Exit,
    /// What went wrong and what to do.
    pub message: String,
}

impl Failure {
    /// An end with this code and message.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// `exit` unless the system says that permission is what is missing.
    pub fn io(exit: Exit, error: &io::Error, message: impl fmt::Display) -> Self {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        Self::new(if denied { Exit::Permission } else { exit }, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        match &error {
            crate::config::ConfigError::Read { source, .. } => Self::io(Exit::Configuration, source, &error),
            _ => Self::new(Exit::Configuration, error),
        }
    }
}

impl From<crate::capture::CaptureError> for Failure {
    fn from(error: crate::capture::CaptureError) -> Self {
        match &error {
            crate::capture::CaptureError::Read { source, .. } => Self::io(Exit::Usage, source, &error),
            _ => Self::new(Exit::Usage, error),
        }
    }
}

#[cfg(feature = "dpdk")]
impl From<crate::app::engine::EngineError> for Failure {
    fn from(error: crate::app::engine::EngineError) -> Self {
        use crate::app::engine::EngineError;
        let exit = match &error {
            EngineError::NoDevice { .. } => Exit::Unavailable,
            EngineError::TooManyQueues { .. } => Exit::Configuration,
            EngineError::Port { source: dpdk::Error::TooManyQueues { .. }, .. } => Exit::Configuration,
            EngineError::Port { .. }
            | EngineError::Dpdk(_)
            | EngineError::Counters { .. }
            | EngineError::Pool { .. } => Exit::Os,
        };
        Self::new(exit, error)
    }
}
