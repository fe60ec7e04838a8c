//! Captures as input: what must be known of one before DPDK replays it, and its frames for explanations.
//!
//! `net_pcap` says nothing of the end of a file, of a damaged record or of a link type. So a capture is read once
//! before: a replay knows how many frames to wait for, and refuses what it could not replay faithfully.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

/// What a replay must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many frames there are.
    pub frames: u64,
    /// Bytes of the longest one.
    pub longest_bytes: usize,
    /// Frames of which the capture holds only the first part (a snap length cut them).
    pub cut_frames: u64,
}

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Not there, not readable.
    #[error("{path}: {source}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Neither pcap nor pcapng.
    #[error("{0} is not a capture (neither pcap nor pcapng)")]
    NotACapture(PathBuf),
    /// A record that ends behind the file, or makes no sense.
    #[error("{path}: the capture is damaged or cut off behind frame {frames}: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Whole frames before.
        frames: u64,
        /// What the reader says.
        reason: String,
    },
    /// Not Ethernet.
    #[error("{path} holds frames of link type {link_type:?}; only Ethernet can be replayed")]
    NotEthernet {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        link_type: DataLink,
    },
}

/// Reads the whole file once.
///
/// # Errors
/// [`CaptureError`]
pub fn summarise(path: &Path) -> Result<Summary, CaptureError> {
    let mut summary = Summary::default();
    for_each_frame(path, |frame, true_bytes| {
        summary.frames += 1;
        summary.longest_bytes = summary.longest_bytes.max(frame.len());
        summary.cut_frames += u64::from((frame.len() as u64) < true_bytes);
        true
    })?;
    Ok(summary)
}

/// Calls `visit` with each frame and its length on the wire until it says `false`.
///
/// # Errors
/// [`CaptureError`]
pub fn for_each_frame(path: &Path, mut visit: impl FnMut(&[u8], u64) -> bool) -> Result<(), CaptureError> {
    let open = |source| CaptureError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    let metadata = file.metadata().map_err(open)?;
    if metadata.is_dir() {
        return Err(open(std::io::ErrorKind::IsADirectory.into()));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Ok(()); // a capture that was stopped before its header was written
    }
    match PcapReader::new(BufReader::new(file)) {
        Ok(reader) => read_pcap(path, reader, visit),
        Err(_) => {
            let file = File::open(path).map_err(open)?;
            let reader = PcapNgReader::new(BufReader::new(file));
            let reader = reader.map_err(|_| CaptureError::NotACapture(path.to_owned()))?;
            read_pcapng(path, reader, &mut visit)
        }
    }
}

fn read_pcap(
    path: &Path,
    mut reader: PcapReader<BufReader<File>>,
    mut visit: impl FnMut(&[u8], u64) -> bool,
) -> Result<(), CaptureError> {
    ethernet(path, reader.header().datalink)?;
    let mut frames = 0;
    while let Some(packet) = reader.next_raw_packet() {
        let packet = packet.map_err(|error| damaged(path, frames, &error))?;
        frames += 1;
        if !visit(&packet.data, u64::from(packet.orig_len)) {
            break;
        }
    }
    Ok(())
}

fn read_pcapng(
    path: &Path,
    mut reader: PcapNgReader<BufReader<File>>,
    visit: &mut impl FnMut(&[u8], u64) -> bool,
) -> Result<(), CaptureError> {
    let mut frames = 0;
    while let Some(block) = reader.next_block() {
        let (data, true_bytes) = match block.map_err(|error| damaged(path, frames, &error))? {
            Block::InterfaceDescription(interface) => {
                ethernet(path, interface.linktype)?;
                continue;
            }
            Block::EnhancedPacket(packet) => (packet.data, packet.original_len),
            Block::SimplePacket(packet) => (packet.data, packet.original_len),
            Block::Packet(packet) => (packet.data, packet.original_len),
            _ => continue,
        };
        frames += 1;
        if !visit(&data, u64::from(true_bytes)) {
            break;
        }
    }
    Ok(())
}

fn ethernet(path: &Path, link_type: DataLink) -> Result<(), CaptureError> {
    match link_type {
        DataLink::ETHERNET => Ok(()),
        link_type => Err(CaptureError::NotEthernet { path: path.to_owned(), link_type }),
    }
}

fn damaged(path: &Path, frames: u64, error: &pcap_file::PcapError) -> CaptureError {
    CaptureError::Damaged { path: path.to_owned(), frames, reason: error.to_string() }
}
