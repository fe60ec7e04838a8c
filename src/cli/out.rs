//! Printing results on standard output.
//!
//! A reader that has gone away (`| head`) is no error; output that cannot be kept (a full disk) is one, and has an exit
//! code. Neither is ever a panic.

use std::io::{self, Write as _};

use crate::failure::{Cause, Failure};

/// Prints a text and ends its line.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    printed(writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()))
}

/// The same, given up when nobody has read anything of it for so long.
#[cfg(feature = "dpdk")]
pub(super) fn print_within(text: &str, patience: std::time::Duration) -> Result<(), Failure> {
    printed(crate::app::log::print(text, patience))
}

/// What became of something that was printed.
pub(super) fn printed(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Cause::Os, format_args!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_away_is_no_error() {
        assert_eq!(printed(Ok(())), Ok(()));
        assert_eq!(printed(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        let failure = printed(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(failure.cause, Cause::Os);
        assert!(failure.message.starts_with("standard output: "), "{failure}");
    }
}
