//! Bytes of a stream, piece by piece, with an eye on its end.

use std::io::{self, BufRead, Read};

/// A stream that is read from front to back.
pub(super) struct Bytes<R> {
    source: R,
    taken: u64,
}

impl<R: BufRead> Bytes<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, taken: 0 }
    }

    /// How many bytes were taken so far, those of an unfinished piece included.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// The next `N` bytes; nothing if the stream ends before.
    pub(super) fn array<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let mut array = [0; N];
        Ok((self.fill(&mut array)? == N).then_some(array))
    }

    /// The next `count` bytes into `buffer`, which holds nothing else then; false if the stream ends before.
    pub(super) fn take(&mut self, count: usize, buffer: &mut Vec<u8>) -> io::Result<bool> {
        buffer.clear();
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        // Grows with what is there, not with what a length field claims.
        let read = match self.source.by_ref().take(limit).read_to_end(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => buffer.len(),
            read => read?,
        };
        self.taken += read as u64;
        Ok(read == count)
    }

    fn fill(&mut self, array: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest @ [_, ..]) = array.get_mut(filled..) {
            match self.source.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A compressed stream that was cut off.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        self.taken += filled as u64;
        Ok(filled)
    }
}

/// Which byte comes first in the numbers of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }

    /// The number at a place, 0 if the bytes end before.
    pub(super) fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |&bytes| self.u32(bytes))
    }
}
