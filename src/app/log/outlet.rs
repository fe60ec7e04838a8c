//! Writing to a descriptor without being held up for longer than one is willing to wait.
//!
//! Standard output and error are shared with whoever started us, so they stay blocking; whether there is room is asked
//! before each piece. A pipe that reports room has it for [`PIECE_BYTES`].

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a pipe takes whole once it reports room: `PIPE_BUF`.
pub const PIECE_BYTES: usize = 4096;

/// How long to wait for room before looking at the clock again.
const LOOK: Duration = Duration::from_secs(1);

/// Where bytes go.
pub trait Outlet {
    /// Waits for room; false if there was none in time. An outlet that is broken has room: writing says what is wrong.
    fn room(&mut self, patience: Duration) -> bool;

    /// Writes a piece; how much of it was taken.
    ///
    /// # Errors
    /// What the system says.
    fn write(&mut self, piece: &[u8]) -> io::Result<usize>;
}

/// A descriptor.
#[derive(Debug)]
pub struct Descriptor<F>(pub F);

impl<F: AsFd> Outlet for Descriptor<F> {
    fn room(&mut self, patience: Duration) -> bool {
        let timeout = Timespec::try_from(patience).unwrap_or_default();
        match poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&timeout)) {
            Ok(ready) => ready > 0,
            Err(error) => error != rustix::io::Errno::INTR,
        }
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.0, piece) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(0),
            written => Ok(written?),
        }
    }
}

/// Writes everything, unless nothing is taken for as long as `patience`.
///
/// # Errors
/// `TimedOut`, or what the system says.
pub fn write_all(outlet: &mut impl Outlet, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
    let mut moved = Instant::now();
    while !bytes.is_empty() {
        if outlet.room(patience.saturating_sub(moved.elapsed()).min(LOOK)) {
            let (piece, _) = bytes.split_at(bytes.len().min(PIECE_BYTES));
            let written = outlet.write(piece)?;
            if written > 0 {
                moved = Instant::now();
                bytes = bytes.get(written..).unwrap_or_default();
            }
        }
        if moved.elapsed() >= patience && !bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_pipe_that_nobody_reads_is_given_up_and_one_that_is_read_gets_every_byte() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let error = write_all(&mut Descriptor(&writer), &bytes, SHORT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            read
        });
        write_all(&mut Descriptor(&writer), &bytes, Duration::from_secs(60)).unwrap();
        drop(writer);
        let read = reading.join().unwrap();
        assert!(read.ends_with(&bytes));
    }

    #[test]
    fn a_socket_that_nobody_reads_is_given_up_too() {
        let (writer, _reader) = UnixStream::pair().unwrap();
        let error = write_all(&mut Descriptor(&writer), &vec![0; 10 << 20], SHORT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_is_broken_says_so_at_once() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let patience = Duration::from_secs(3600);
        let error = write_all(&mut Descriptor(&writer), b"words", patience).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = write_all(&mut Descriptor(&full), b"words", patience).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
