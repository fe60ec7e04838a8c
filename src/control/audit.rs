//! The audit log: a line of JSON for every change and every refusal, in a file of its own.
//!
//! Whoever changes something hands a record over and never waits: a thread of its own makes lines of records and writes them.
//! When it cannot keep up, or the disk takes nothing, records are lost; they are counted, `health` says so, and so does the log
//! itself at the place where they are missing. The file may be renamed or truncated at any time, as logrotate does it. One that
//! cannot be opened is tried again every second: a box that does not start for want of a folder would cut everybody off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::fs::OFlags;
use serde::Serialize;
use tracing::{error, info};

use super::history::{Entry, HistoryEntry, Who, now_ms};
use super::rpc::RpcError;
use crate::model::Boot;
use crate::telemetry::heartbeat::{Heartbeat, PERIOD};
use crate::telemetry::report::AuditReport;

/// Records that may wait: more than a change of as many VMs as one can have makes.
const RECORDS_MAX: usize = 1 << 17;
/// Records that are written together.
const TOGETHER: usize = 1_000;
/// Who may read the file: its owner and its group.
const MODE: u32 = 0o640;

/// Takes records; anybody may have one.
#[derive(Clone, Debug)]
pub struct Audit {
    records: Sender<Record>,
    shared: Arc<Shared>,
}

/// Something to be written down.
#[derive(Debug)]
enum Record {
    /// Something was changed.
    Made(Boot, Entry),
    /// Somebody asked for what he does not get.
    Refused { boot: Boot, at_ms: u64, who: Who, method: &'static str, error: RpcError },
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    lost: AtomicU64,
    /// Why nothing can be written at the moment.
    trouble: Mutex<Option<String>>,
    ending: AtomicBool,
    heart: Arc<Heartbeat>,
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// Something was changed.
    pub(super) fn made(&self, boot: Boot, entry: Entry) {
        self.take(Record::Made(boot, entry));
    }

    /// Somebody is refused something.
    pub(super) fn refused(&self, boot: Boot, who: Who, method: &'static str, error: RpcError) {
        self.take(Record::Refused { boot, at_ms: now_ms(), who, method, error });
    }

    fn take(&self, record: Record) {
        if self.records.try_send(record).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How it goes.
    #[must_use]
    pub fn report(&self) -> AuditReport {
        AuditReport { records_lost: self.shared.lost.load(Ordering::Relaxed), trouble: self.shared.trouble().clone() }
    }
}

/// The audit log and the thread that writes it.
#[derive(Debug)]
pub struct AuditLog {
    audit: Audit,
    thread: JoinHandle<()>,
}

impl AuditLog {
    /// Goes on with the file at `path`, or begins it; if that cannot be, the log says so and it is tried again.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(path: &Path) -> io::Result<Self> {
        let mut target = Target::default();
        let trouble = target.open(path).err().map(|error| error.to_string());
        if let Some(trouble) = &trouble {
            error!("the audit log {} (`control.audit`) cannot be written: {trouble}", path.display());
        }
        let shared = Shared {
            path: path.to_owned(),
            lost: AtomicU64::new(0),
            trouble: Mutex::new(trouble),
            ending: AtomicBool::new(false),
            heart: Arc::new(Heartbeat::new("audit")),
        };
        let (records, waiting) = bounded(RECORDS_MAX);
        let audit = Audit { records, shared: Arc::new(shared) };
        let shared = Arc::clone(&audit.shared);
        let thread = thread::Builder::new().name("audit".into()).spawn(move || write(&waiting, target, &shared))?;
        Ok(Self { audit, thread })
    }

    /// Takes records for it.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.audit.clone()
    }

    /// The heart of the thread.
    #[must_use]
    pub fn heart(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.audit.shared.heart)
    }

    /// Writes what is waiting, and ends.
    pub fn close(self) {
        self.audit.shared.ending.store(true, Ordering::Release);
        let _ = self.thread.join();
    }
}

/// Until the end: takes what is waiting, and writes it.
fn write(waiting: &Receiver<Record>, mut target: Target, shared: &Shared) {
    let mut lines = Lines::default();
    loop {
        shared.heart.beat();
        // Asked first: what is handed over before it is true is taken below.
        let ending = shared.ending.load(Ordering::Acquire);
        let first = match ending {
            true => waiting.try_recv().ok(),
            false => match waiting.recv_timeout(PERIOD) {
                Ok(record) => Some(record),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            },
        };
        match first {
            Some(first) => {
                std::iter::once(first)
                    .chain(waiting.try_iter().take(TOGETHER - 1))
                    .for_each(|record| lines.add(record));
            }
            None if ending => return,
            // What could not be written is tried, so that somebody who mends it sees that it is mended.
            None if shared.trouble().is_some() => {}
            None => continue,
        }
        let lost = shared.lost.load(Ordering::Relaxed);
        let unwritten = target.put(&shared.path, std::mem::take(&mut lines), lost);
        let mut trouble = shared.trouble();
        match unwritten {
            Ok(()) if trouble.take().is_some() => info!("the audit log {} is written again", shared.path.display()),
            Ok(()) => {}
            Err((unwritten, error)) => {
                shared.lost.fetch_add(unwritten, Ordering::Relaxed);
                let error = error.to_string();
                if trouble.as_ref() != Some(&error) {
                    error!("the audit log {} cannot be written, records are lost: {error}", shared.path.display());
                }
                *trouble = Some(error);
            }
        }
    }
}

/// Lines of JSON.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    count: u64,
}

#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Line {
    Made {
        boot: Boot,
        #[serde(flatten)]
        entry: HistoryEntry,
    },
    Refused {
        boot: Boot,
        at_ms: u64,
        uid: u32,
        pid: u32,
        method: &'static str,
        error: RpcError,
    },
    Lost {
        at_ms: u64,
        records: u64,
    },
}

impl Lines {
    fn add(&mut self, record: Record) {
        self.line(&match record {
            Record::Made(boot, entry) => Line::Made { boot, entry: entry.into() },
            Record::Refused { boot, at_ms, who: Who { uid, pid }, method, error } => {
                Line::Refused { boot, at_ms, uid, pid, method, error }
            }
        });
    }

    fn line(&mut self, line: &Line) {
        let before = self.text.len();
        if serde_json::to_writer(&mut self.text, line).is_err() {
            self.text.truncate(before); // No record has what JSON has not.
            return;
        }
        self.text.push(b'\n');
        self.count += 1;
    }
}

/// The file.
#[derive(Debug, Default)]
struct Target {
    file: Option<File>,
    /// Lost records that the file speaks of.
    told: u64,
}

impl Target {
    /// The file at `path`, from now on.
    fn open(&mut self, path: &Path) -> io::Result<&mut File> {
        // A pipe that nobody reads must not keep us here.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(MODE).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        // Who was ended in the middle of a line left it without its end.
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        Ok(self.file.insert(file))
    }

    /// The file to which the path leads now.
    fn at(&mut self, path: &Path) -> io::Result<&mut File> {
        let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.as_ref().and_then(|file| file.metadata().ok()).map(id);
        match self.file.take_if(|_| std::fs::metadata(path).ok().map(id) == ours) {
            Some(file) => Ok(self.file.insert(file)),
            None => self.open(path),
        }
    }

    /// Writes lines whole. How many are not written, and why.
    fn put(&mut self, path: &Path, lines: Lines, lost: u64) -> Result<(), (u64, io::Error)> {
        let refused = |error| (lines.count, error);
        let mut text = Lines::default();
        if lost > self.told {
            text.line(&Line::Lost { at_ms: now_ms(), records: lost - self.told });
        }
        let file = self.at(path).map_err(refused)?;
        let notices = text.count;
        text.text.extend(&lines.text);
        let begin = file.metadata().map_err(refused)?.len();
        let mut rest = &text.text[..];
        let mut error = None;
        while !rest.is_empty() && error.is_none() {
            match file.write(rest) {
                Ok(0) => error = Some(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(refusal) if refusal.kind() == io::ErrorKind::Interrupted => {}
                Err(refusal) => error = Some(refusal),
            }
        }
        let written = text.text.get(..text.text.len() - rest.len()).unwrap_or_default();
        let whole = written.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let count = written.iter().filter(|&&byte| byte == b'\n').count() as u64;
        if error.is_some() {
            // No half line: a file that is shortened has room for that.
            let _ = file.set_len(begin + whole as u64);
        }
        if count >= notices {
            self.told = lost;
        }
        let Some(error) = error else { return Ok(()) };
        Err((lines.count - count.saturating_sub(notices), error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::control::history::{By, What};
    use crate::control::rpc::Kind;
    use crate::model::Revision;

    const WHO: Who = Who { uid: 7, pid: 8 };

    fn entry(number: u64) -> Entry {
        let by = By { who: WHO, method: "vm.delete" };
        let what = What::Vm("web1".parse().unwrap(), [None, None]);
        Entry { number, revision: Revision(number + 1), at_ms: 5, by, what }
    }

    fn lines(path: &Path) -> Vec<Value> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn changes_and_refusals_are_lines_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, "{\"torn\":").unwrap();
        let log = AuditLog::start(&path).unwrap();
        log.audit().made(Boot(1), entry(0));
        log.audit().refused(Boot(1), WHO, "vm.set", RpcError::new(Kind::Forbidden, "no").with("role", "read"));
        log.close();
        let text = fs::read_to_string(&path).unwrap();
        let (torn, text) = text.split_once('\n').unwrap();
        assert_eq!(torn, "{\"torn\":");
        fs::write(&path, text).unwrap();
        let mut lines = lines(&path);
        assert!(lines[1]["at_ms"].take().as_u64() > Some(1_700_000_000_000));
        assert_eq!(
            lines,
            [
                json!({"outcome": "made", "boot": "00000001", "number": 0, "revision": 1, "at_ms": 5, "uid": 7, "pid": 8,
                    "method": "vm.delete", "vm": "web1", "before": null, "after": null}),
                json!({"outcome": "refused", "boot": "00000001", "at_ms": null, "uid": 7, "pid": 8, "method": "vm.set",
                    "error": {"code": -32012, "message": "no", "data": {"kind": "forbidden", "role": "read"}}}),
            ]
        );
    }

    #[test]
    fn a_file_that_was_renamed_is_begun_anew_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let [path, old] = ["audit.jsonl", "audit.jsonl.1"].map(|name| folder.path().join(name));
        let mut target = Target::default();
        let mut put = |number| {
            let mut lines = Lines::default();
            lines.add(Record::Made(Boot(1), entry(number)));
            target.put(&path, lines, 0).unwrap();
        };
        put(0);
        fs::rename(&path, &old).unwrap();
        put(1);
        put(2);
        assert_eq!(lines(&old).len(), 1);
        assert_eq!(lines(&path).iter().map(|line| line["number"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
        // As `copytruncate` does it.
        File::create(&path).unwrap();
        put(3);
        assert_eq!(lines(&path)[0]["number"], 3);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777 & !MODE, 0);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_spoken_of_where_it_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut target = Target::default();
        for (number, lost) in [(0, 0), (1, 5), (2, 5), (3, 6)] {
            let mut lines = Lines::default();
            lines.add(Record::Made(Boot(1), entry(number)));
            target.put(&path, lines, lost).unwrap();
        }
        let told: Vec<_> = lines(&path).iter().map(|line| line["records"].as_u64()).collect();
        assert_eq!(told, [None, Some(5), None, None, Some(1), None]);
    }

    #[test]
    fn records_that_cannot_be_written_are_counted_and_writing_goes_on_when_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub").join("audit.jsonl");
        let mut target = Target::default();
        let some = || {
            let mut lines = Lines::default();
            (0..3).for_each(|number| lines.add(Record::Made(Boot(1), entry(number))));
            lines
        };
        let (unwritten, error) = target.put(&path, some(), 0).unwrap_err();
        assert_eq!((unwritten, error.kind()), (3, io::ErrorKind::NotFound));
        fs::create_dir(path.parent().unwrap()).unwrap();
        target.put(&path, some(), unwritten).unwrap();
        assert_eq!(lines(&path).len(), 4);
        assert_eq!(lines(&path)[0]["outcome"], "lost");
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| Target::default().open(path).map(|_| ()).unwrap_err();
        assert_eq!(open(folder.path()).kind(), io::ErrorKind::IsADirectory);
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        assert_eq!(open(&pipe).to_string(), "it is not a file");
    }
}
