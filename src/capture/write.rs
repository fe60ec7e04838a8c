//! Frames as a plain capture, as libpcap reads it without a second thought: pcap, this machine's byte order, Ethernet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A capture in the making.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
}

impl Writer {
    /// A new capture without frames; an existing file is emptied.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 18, File::create(path)?);
        let (version, snap_bytes, link_type) = ([2u16, 4], 262_144u32, 1u32);
        file.write_all(&0xa1b2_c3d4_u32.to_ne_bytes())?;
        version.iter().try_for_each(|part| file.write_all(&part.to_ne_bytes()))?;
        file.write_all(&[0; 8])?;
        file.write_all(&snap_bytes.to_ne_bytes())?;
        file.write_all(&link_type.to_ne_bytes())?;
        Ok(Self { file })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.file.write_all(&[0; 8])?;
        self.file.write_all(&length.to_ne_bytes())?;
        self.file.write_all(&length.to_ne_bytes())?;
        self.file.write_all(frame)
    }

    /// Writes out what is held back.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()
    }
}
