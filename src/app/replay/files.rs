//! Files of a replay: captures that come in, each read once, and captures that go out, none touched before its time.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, TempPath};

use crate::capture::{self, CaptureError, End, Writer};
use crate::failure::{Cause, Failure};

/// Longest frame that fits in one packet buffer. Longer ones would be chained, and `net_pcap` cuts long chained frames
/// silently when it writes them.
pub(super) const FRAME_BYTES_MAX: usize = 65_407;

/// Where captures lie while `net_pcap` reads and writes them; gone afterwards, whatever happens.
pub(super) struct Scratch(TempDir);

impl Scratch {
    pub(super) fn new() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("portcullis-replay-").tempdir();
        folder.map(Self).map_err(|error| {
            let at = std::env::temp_dir();
            Failure::io(
                Cause::Os,
                &error,
                format_args!("{}: no room for captures: {error}; TMPDIR names another place", at.display()),
            )
        })
    }

    fn file(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.0.path().join(name);
        match path.to_str() {
            Some(text) if !text.contains([',', '=', '"', '\'', '[', ']']) => Ok(path),
            _ => Err(Failure::new(
                Cause::Usage,
                format_args!("TMPDIR: DPDK takes no path with a comma, `=`, quotes or brackets: {}", path.display()),
            )),
        }
    }
}

/// A capture that was read, and lies in [`Scratch`] as `net_pcap` reads it without a second thought.
///
/// `net_pcap` tells nobody of the end of a file, of a damaged record or of a link type, knows no gzip, cuts what is longer
/// than the snap length, and reads the file a second time, which a pipe does not allow. So it always gets a plain copy.
pub(super) struct Input {
    /// As it was named.
    pub(super) named: PathBuf,
    /// The copy.
    pub(super) copy: PathBuf,
    /// Frames in it.
    pub(super) frames: u64,
    /// Bytes of the longest one.
    pub(super) longest_bytes: usize,
}

impl Input {
    /// Reads a capture. What is worth knowing about it goes to `warnings`; with `strict` an unfinished one is refused.
    pub(super) fn read(
        named: &Path,
        scratch: &Scratch,
        name: &str,
        strict: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Failure> {
        let copy = scratch.file(name)?;
        let full = |error: std::io::Error| {
            Failure::io(
                Cause::Os,
                &error,
                format_args!(
                    "{}: {error} while {} was copied; TMPDIR names another place",
                    copy.display(),
                    named.display()
                ),
            )
        };
        let mut writer = Writer::create(&copy).map_err(full)?;
        let (mut frames, mut longest_bytes, mut cut_frames, mut failed) = (0, 0, 0_u64, None);
        let end = capture::read(named, |captured| {
            frames += 1;
            longest_bytes = longest_bytes.max(captured.bytes.len());
            cut_frames += u64::from((captured.bytes.len() as u64) < captured.wire_bytes);
            let fits = captured.bytes.len() <= FRAME_BYTES_MAX;
            failed = if fits { writer.add(captured.bytes).err() } else { None };
            fits && failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(full(error));
        }
        writer.finish().map_err(full)?;
        let name = named.display();
        if longest_bytes > FRAME_BYTES_MAX {
            let message = format!(
                "{name}: packet {frames} has {longest_bytes} bytes; at most {FRAME_BYTES_MAX} can be replayed (capture with \
                 segmentation offload switched off)"
            );
            return Err(Failure::new(Cause::Usage, message));
        }
        if end == End::CutOff {
            let what = format!("{name}: the capture ends in the middle of a record behind packet {frames}");
            if strict {
                return Err(Failure::new(Cause::Usage, format!("{what}, which --strict refuses")));
            }
            warnings.push(format!("{what}: cut off, or still being written; what is whole is judged"));
        }
        if frames == 0 {
            warnings.push(format!("{name}: the capture is empty"));
        }
        if cut_frames > 0 {
            warnings.push(format!(
                "{name}: {cut_frames} frames were cut by the capture's snap length; they are judged as they are, cut short \
                 (capture with `-s 0`)"
            ));
        }
        Ok(Self { named: named.to_owned(), copy, frames, longest_bytes })
    }

    /// Calls `visit` with each frame until it answers `false`.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&[u8]) -> bool) -> Result<(), CaptureError> {
        capture::read(&self.copy, |captured| visit(captured.bytes)).map(drop)
    }
}

/// A capture to be written. The file that it is named after is touched when the replay has succeeded, not before.
pub(super) struct Output {
    /// As it was named.
    pub(super) named: PathBuf,
    /// Where `net_pcap` writes.
    pub(super) copy: PathBuf,
    /// What is replaced in the end.
    target: PathBuf,
    /// A place beside the target, which proves that one can write there; none if the target is no ordinary file.
    beside: Option<TempPath>,
}

impl Output {
    /// Makes sure that it can be written, and is none of `others`, each with what it is.
    pub(super) fn prepare(
        named: &Path,
        scratch: &Scratch,
        name: &str,
        others: &[(&str, PathBuf)],
    ) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::io(Cause::Os, &error, format_args!("{}: cannot be written: {error}", named.display()))
        };
        let target = place(named).map_err(cannot)?;
        if let Some((what, other)) = others.iter().find(|(_, other)| *other == target) {
            let message = format!("{}: {what} is the same file ({})", named.display(), other.display());
            return Err(Failure::new(Cause::Usage, message));
        }
        let ordinary = match fs::metadata(&target) {
            Ok(metadata) if metadata.is_dir() => return Err(cannot(std::io::ErrorKind::IsADirectory.into())),
            Ok(metadata) => metadata.is_file(),
            Err(_) => true,
        };
        let beside = match target.parent().filter(|_| ordinary) {
            Some(folder) => {
                let file = tempfile::Builder::new().prefix(".portcullis-").tempfile_in(folder).map_err(cannot)?;
                Some(file.into_temp_path())
            }
            None => None,
        };
        Ok(Self { named: named.to_owned(), copy: scratch.file(name)?, target, beside })
    }

    /// Where it will be, to be compared with others.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// How many frames were written.
    pub(super) fn frames(&self) -> Result<u64, CaptureError> {
        let mut frames = 0;
        capture::read(&self.copy, |_| {
            frames += 1;
            true
        })?;
        Ok(frames)
    }

    /// Puts it where it belongs.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Self { named, copy, target, beside } = self;
        let done = match beside {
            // Another file system cannot be renamed to.
            Some(beside) => fs::rename(&copy, &beside)
                .or_else(|_| fs::copy(&copy, &beside).map(drop))
                .and_then(|()| beside.persist(&target).map_err(|error| error.error)),
            None => fs::File::open(&copy).and_then(|mut from| {
                let mut to = fs::OpenOptions::new().write(true).open(&target)?;
                std::io::copy(&mut from, &mut to).map(drop)
            }),
        };
        done.map_err(|error| Failure::io(Cause::Os, &error, format_args!("{}: {error}", named.display())))
    }
}

/// The absolute path of a file that may not be there yet, links followed.
pub(super) fn place(path: &Path) -> std::io::Result<PathBuf> {
    if let Ok(there) = path.canonicalize() {
        return Ok(there);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
    Ok(folder.canonicalize()?.join(name))
}
