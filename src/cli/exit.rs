//! How the process ends: codes in the manner of sysexits.

use crate::failure::Cause;

/// What an unsuccessful process returns. `docs/operate.md` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// `doctor`: it works, and could be better.
    Warned = 1,
    /// `doctor`: it will not work.
    Unfit = 2,
    /// The command line, or a file it names, cannot be.
    Usage = 64,
    /// The daemon says no.
    Refused = 65,
    /// Something needed is not there.
    Unavailable = 69,
    /// A promise of this program is broken.
    Bug = 70,
    /// The system refused.
    Os = 71,
    /// Something stood still.
    Stuck = 75,
    /// Not allowed.
    Permission = 77,
    /// The configuration, or a VM record, cannot be.
    Configuration = 78,
}

impl From<Cause> for Exit {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Usage => Self::Usage,
            Cause::Refused => Self::Refused,
            Cause::Unavailable => Self::Unavailable,
            Cause::Bug => Self::Bug,
            Cause::Os => Self::Os,
            Cause::Stuck => Self::Stuck,
            Cause::Permission => Self::Permission,
            Cause::Configuration => Self::Configuration,
            Cause::Warned => Self::Warned,
            Cause::Unfit => Self::Unfit,
        }
    }
}

/// The number of a cause, for who ends the process without coming back to the command line.
pub(super) fn code(cause: Cause) -> i32 {
    Exit::from(cause) as i32
}
