//! Frames with words beside them: pcapng, with a comment for each, as Wireshark shows it (draft-ietf-opsawg-pcapng).
//!
//! Written by ourselves, since no kept library writes it: four kinds of fields, two kinds of blocks.

use std::io::{self, Write};

use super::LINK_TYPE_ETHERNET;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

/// Options: of any block, of a section, of an interface, of a packet.
const COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
/// Times are of milliseconds: 10^-3 seconds.
const MILLISECONDS: u8 = 3;
/// The packet was received.
const INBOUND: u32 = 1;

/// A frame that is written down.
#[derive(Clone, Copy, Debug)]
pub struct Annotated<'a> {
    /// Where it came in.
    pub interface: &'a str,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// Its first bytes.
    pub head: &'a [u8],
    /// How long it was.
    pub bytes: u32,
    /// What is said of it.
    pub comment: &'a str,
}

/// A capture in the making.
#[derive(Debug)]
pub struct Annotator<W> {
    out: W,
    /// Names of interfaces, by their number.
    interfaces: Vec<String>,
}

impl<W: Write> Annotator<W> {
    /// A new capture without frames, and what is said of it as a whole.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(mut out: W, application: &str, comment: &str) -> io::Result<Self> {
        let mut body = Vec::new();
        for word in [0x1a2b_3c4d_u32, u32::from_ne_bytes(version())] {
            body.extend(word.to_ne_bytes());
        }
        // How long the section is, nobody knows yet.
        body.extend(u64::MAX.to_ne_bytes());
        option(&mut body, SECTION_APPLICATION, application.as_bytes());
        option(&mut body, COMMENT, comment.as_bytes());
        block(&mut out, SECTION_HEADER, &body)?;
        Ok(Self { out, interfaces: Vec::new() })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, frame: &Annotated<'_>) -> io::Result<()> {
        let interface = self.interface(frame.interface)?;
        let mut body = Vec::with_capacity(frame.head.len() + 64);
        let head_bytes = u32::try_from(frame.head.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let halves = [(frame.at_ms >> 32) as u32, (frame.at_ms & 0xffff_ffff) as u32];
        for word in [interface, halves[0], halves[1], head_bytes, frame.bytes.max(head_bytes)] {
            body.extend(word.to_ne_bytes());
        }
        padded(&mut body, frame.head);
        option(&mut body, PACKET_FLAGS, &INBOUND.to_ne_bytes());
        option(&mut body, COMMENT, frame.comment.as_bytes());
        block(&mut self.out, ENHANCED_PACKET, &body)
    }

    /// Writes out what is held back.
    ///
    /// # Errors
    /// What the system says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The number of an interface, which is described before its first frame.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        let known = self.interfaces.iter().position(|other| other == name);
        let number = known.unwrap_or(self.interfaces.len());
        if known.is_none() {
            let mut body = Vec::new();
            body.extend(LINK_TYPE_ETHERNET.to_ne_bytes());
            body.extend([0; 2]);
            // No limit that is the same for all.
            body.extend(0_u32.to_ne_bytes());
            option(&mut body, INTERFACE_NAME, name.as_bytes());
            option(&mut body, INTERFACE_RESOLUTION, &[MILLISECONDS]);
            block(&mut self.out, INTERFACE_DESCRIPTION, &body)?;
            self.interfaces.push(name.to_owned());
        }
        u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

/// Version 1.0.
fn version() -> [u8; 4] {
    let [major, minor] = [1_u16.to_ne_bytes(), 0_u16.to_ne_bytes()];
    [major[0], major[1], minor[0], minor[1]]
}

/// A block: its type, its length before and after it. Options end with an empty one.
fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let bytes = u32::try_from(body.len() + 16).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    out.write_all(&kind.to_ne_bytes())?;
    out.write_all(&bytes.to_ne_bytes())?;
    out.write_all(body)?;
    out.write_all(&[0; 4])?;
    out.write_all(&bytes.to_ne_bytes())
}

/// An option, cut off where its length would not fit.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_ne_bytes());
    body.extend(length.to_ne_bytes());
    padded(body, value.get(..usize::from(length)).unwrap_or(value));
}

/// To a multiple of 4 bytes.
fn padded(body: &mut Vec<u8>, value: &[u8]) {
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drops.pcapng");
        let mut annotator = Annotator::begin(std::fs::File::create(&path).unwrap(), "portcullis", "all").unwrap();
        let frames = [(&[1_u8; 61][..], 61), (&[2; 128], 1514), (&[], 0)];
        for (at, (head, bytes)) in frames.iter().enumerate() {
            let interface = if at == 1 { "uplink, outside" } else { "uplink, inside" };
            let comment = "x".repeat(at * 40_000);
            annotator.add(&Annotated { interface, at_ms: 7, head, bytes: *bytes, comment: &comment }).unwrap();
        }
        annotator.flush().unwrap();
        let mut read = Vec::new();
        let end = capture::read(&path, |captured| {
            read.push((captured.bytes.to_vec(), captured.wire_bytes));
            true
        });
        assert_eq!(end.unwrap(), capture::End::Whole);
        let expected = frames.map(|(head, bytes)| (head.to_vec(), u64::from(bytes)));
        assert_eq!(read, expected);
    }
}
