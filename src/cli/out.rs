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

/// Who reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// As far as is known.
    There,
    /// Nothing more needs to be printed.
    Gone,
}

/// As [`print`], for what goes on until nobody reads it any more.
pub(super) fn print_more(text: &str) -> Result<Reader, Failure> {
    let mut out = io::stdout().lock();
    read(writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()))
}

/// The same, given up when nobody has read anything of it for so long.
#[cfg(feature = "dpdk")]
pub(super) fn print_within(text: &str, patience: std::time::Duration) -> Result<(), Failure> {
    printed(crate::app::log::print(text, patience))
}

/// What became of something that was printed.
pub(super) fn printed(outcome: io::Result<()>) -> Result<(), Failure> {
    read(outcome).map(|_| ())
}

fn read(outcome: io::Result<()>) -> Result<Reader, Failure> {
    match outcome {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::new(Cause::Os, format_args!("standard output: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_away_is_no_error() {
        assert_eq!(printed(Ok(())), Ok(()));
        assert_eq!(printed(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        assert_eq!(read(Err(io::ErrorKind::BrokenPipe.into())), Ok(Reader::Gone));
        let failure = printed(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(failure.cause, Cause::Os);
        assert!(failure.message.starts_with("standard output: "), "{failure}");
    }
}
