//! Captures as input: every kind that wireshark reads is read alike, or refused in words of ours that name the packet.
//!
//! A capture is read once, from front to back, so it may be a pipe. Read are pcap (both byte orders, micro- and nanoseconds,
//! the variant with longer record headers) and pcapng (sections of either byte order), each also compressed with gzip.
//!
//! The reader is our own, and small, because it needs only lengths and bytes: the libraries that were tried also read
//! comments and options and refuse a capture for them, know no packet numbers, and cannot tell a capture that is still
//! being written (its last record is not whole yet) from a damaged one.

mod annotate;
mod bytes;
mod pcap;
mod pcapng;
mod write;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

pub use self::annotate::{Annotated, Annotator};
use self::bytes::Bytes;
pub use self::write::Writer;
use crate::failure::{Cause, Failure};

/// The link type of Ethernet frames.
const LINK_TYPE_ETHERNET: u16 = 1;
/// Most bytes of one record or block. Wireshark takes 256 KiB of a packet.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// One packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'c> {
    /// What the capture holds of it, from the Ethernet header on.
    pub bytes: &'c [u8],
    /// How long it was on the wire.
    pub wire_bytes: u64,
}

/// How a capture ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last record.
    Whole,
    /// In the middle of a record: it is still being written, or was cut off.
    CutOff,
}

/// Why a capture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Not there, not readable.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No kind that is known.
    #[error("{path}: {what}", path = path.display())]
    NotACapture {
        /// Which file.
        path: PathBuf,
        /// What it is instead, as far as can be told.
        what: &'static str,
    },
    /// A record that makes no sense.
    #[error("{path}: packet {packet}: {what}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The number of the packet that could not be read, from 1.
        packet: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl From<CaptureError> for Failure {
    fn from(error: CaptureError) -> Self {
        match &error {
            CaptureError::Read { source, .. } => Self::io(Cause::Usage, source, &error),
            _ => Self::new(Cause::Usage, error),
        }
    }
}

/// What a reader of one format meets.
enum Trouble {
    Read(io::Error),
    Damaged(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Calls `visit` with each packet until it answers `false`.
///
/// # Errors
/// [`CaptureError`], after the packets before it have been visited.
pub fn read(path: &Path, mut visit: impl FnMut(Captured<'_>) -> bool) -> Result<End, CaptureError> {
    let system = |source| CaptureError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(system)?;
    if file.metadata().map_err(system)?.is_dir() {
        return Err(system(io::ErrorKind::IsADirectory.into()));
    }
    let mut packets = 0;
    let visit = |captured: Captured<'_>| {
        packets += 1;
        visit(captured)
    };
    let mut file = BufReader::with_capacity(1 << 18, file);
    let end = match starts_with(&mut file, &[0x1f, 0x8b]) {
        Ok(true) => read_from(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file)), visit),
        Ok(false) => read_from(file, visit),
        Err(error) => Err(Trouble::Read(error).into()),
    };
    end.map_err(|refusal| match refusal {
        Refusal::Kind(what) => CaptureError::NotACapture { path: path.to_owned(), what },
        Refusal::Trouble(Trouble::Read(source)) => system(source),
        Refusal::Trouble(Trouble::Damaged(what)) => {
            CaptureError::Damaged { path: path.to_owned(), packet: packets + 1, what }
        }
    })
}

enum Refusal {
    Kind(&'static str),
    Trouble(Trouble),
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

fn starts_with(source: &mut impl BufRead, magic: &[u8]) -> io::Result<bool> {
    Ok(source.fill_buf()?.starts_with(magic))
}

fn read_from(source: impl BufRead, mut visit: impl FnMut(Captured<'_>) -> bool) -> Result<End, Refusal> {
    let mut bytes = Bytes::new(source);
    let Some(magic) = bytes.array::<4>().map_err(Trouble::Read)? else {
        // Stopped before its header was whole: nothing was captured.
        return Ok(if bytes.taken() == 0 { End::Whole } else { End::CutOff });
    };
    if magic == pcapng::SECTION_HEADER {
        return Ok(pcapng::read(&mut bytes, &mut visit)?);
    }
    if let Some(format) = pcap::Format::of(magic) {
        return Ok(pcap::read(&mut bytes, format, &mut visit)?);
    }
    Err(Refusal::Kind(match magic {
        [0x28, 0xb5, 0x2f, 0xfd] => "is compressed with zstd; unpack it first (`unzstd`)",
        [0x04, 0x22, 0x4d, 0x18] => "is compressed with lz4; unpack it first (`unlz4`)",
        [0xfd, b'7', b'z', b'X'] => "is compressed with xz; unpack it first (`unxz`)",
        _ => "is not a capture (neither pcap nor pcapng)",
    }))
}

/// Refuses what are no Ethernet frames.
fn ethernet(link_type: u16) -> Result<(), Trouble> {
    match link_type {
        LINK_TYPE_ETHERNET => Ok(()),
        other => Err(Trouble::Damaged(format!(
            "its link type is {other}, not Ethernet (1); only Ethernet frames can be judged"
        ))),
    }
}

#[cfg(test)]
mod tests;
