//! The thread that writes. Whoever commits waits for it, but not for ever: a disk that hangs delays a change by
//! [`PATIENCE`] once, and later changes not at all; they are in force and not durable until the disk goes on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::file::{self, Differences, File};
use super::open::Place;
use super::record::Before;
use crate::model::{Moment, Revision};
use crate::policy::Origin;
use crate::policy::document::Document;
use crate::vm::journal::{Committed, Journal, JournalReport, WayBack};

/// How long a change waits for the disk.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long after a failure it is tried again; twice as long after each further one, up to the second value.
const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];
/// How long it waits when nothing is to be done; it is woken.
const IDLE: Duration = Duration::from_secs(3600);

/// A store that is written.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Progress>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// What is to be written, the newest of each VM.
    pending: Differences,
    /// The revision of the newest change.
    wanted: Revision,
    /// The revision that is on disk.
    durable: Revision,
    /// Files that have it.
    copies: u32,
    /// What the disk said last, if it is not well.
    trouble: Option<String>,
    /// Somebody waited in vain, and nothing was written since.
    hangs: bool,
    quit: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Writes to these files, which are at `revision`.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(files: [Place; 2], revision: Revision) -> std::io::Result<Self> {
        let copies = files.iter().filter(|place| place.file.is_some()).count();
        let trouble = (copies < files.len()).then(|| "a file could not be opened".to_owned());
        let copies = u32::try_from(copies).unwrap_or(0);
        let begun = copies > 0;
        let again = trouble.is_some().then(|| (Instant::now(), AGAIN[0]));
        let state = Progress { wanted: revision, durable: revision, copies, trouble, ..Progress::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), moved: Condvar::new() });
        let writer = Writer { files, revision, begun, shared: Arc::clone(&shared), again };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || writer.run())?;
        Ok(Self { shared, thread: Some(thread), patience: PATIENCE })
    }
}

impl Journal for Store {
    fn note(&mut self, now: Moment) {
        self.shared.lock().pending.clock = Some(now);
        self.shared.moved.notify_all();
    }

    fn commit(&mut self, changes: &[Committed], now: Moment) -> bool {
        let Some(newest) = changes.last() else { return self.report().is_some_and(|report| report.durable) };
        let mut state = self.shared.lock();
        for change in changes.iter().flat_map(|change| &change.vms) {
            state.pending.vms.insert(change.id.clone(), change.new.clone());
        }
        if let Some(settings) = changes.iter().rev().find_map(|change| change.settings.as_ref()).map(|[_, new]| new) {
            // The configuration's is read anew at each start.
            let kept = settings.origin == Origin::Socket;
            state.pending.policy = Some(kept.then(|| Document::of(settings)));
        }
        match changes.iter().rev().find(|change| change.way_back != WayBack::Same) {
            Some(change) if change.way_back == WayBack::Kept => state.pending.before = Some(Some(Before::of(change))),
            Some(_) => state.pending.before = Some(None),
            None => {}
        }
        state.wanted = newest.revision;
        state.pending.clock = Some(now);
        self.shared.moved.notify_all();
        let deadline = Instant::now() + self.patience;
        // The disk may be done, have failed, or hang.
        while state.durable < newest.revision && state.copies > 0 && !state.hangs {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.hangs = true;
                error!("the store: the disk has not written a change within {} ms", self.patience.as_millis());
                break;
            }
            state = self.shared.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.durable >= newest.revision
    }

    fn report(&self) -> Option<JournalReport> {
        let state = self.shared.lock();
        Some(JournalReport {
            durable: state.durable >= state.wanted,
            revision: state.durable,
            copies: state.copies,
            trouble: match (&state.trouble, state.hangs) {
                (None, true) => Some("the disk hangs".into()),
                (trouble, _) => trouble.clone(),
            },
        })
    }
}

impl Drop for Store {
    /// Waits for what is being written, unless the disk hangs.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.quit = true;
        let hangs = state.hangs;
        drop(state);
        self.shared.moved.notify_all();
        if let Some(thread) = self.thread.take().filter(|_| !hangs) {
            let _ = thread.join(); // Its panic would have ended the process.
        }
    }
}

struct Writer {
    files: [Place; 2],
    /// What the files that are open hold.
    revision: Revision,
    /// Whether there was a file at any time.
    begun: bool,
    shared: Arc<Shared>,
    /// When to try again, and how long to wait after that.
    again: Option<(Instant, Duration)>,
}

impl Writer {
    fn run(mut self) {
        let mut differences = Differences::default();
        loop {
            let Turn { wanted, quit, mend } = self.wait(&mut differences);
            let mut trouble = None;
            if mend && !self.any_open() {
                self.reopen(&mut trouble);
            }
            let written = self.write(wanted, &differences, &mut trouble);
            if mend && written {
                self.make_whole(&mut trouble);
            }
            if written {
                differences.clear();
            }
            self.tell(wanted, written, trouble, mend);
            if quit {
                return;
            }
        }
    }

    fn any_open(&self) -> bool {
        self.files.iter().any(|place| place.file.is_some())
    }

    /// Until there is something to do; takes what is to be written.
    fn wait(&self, differences: &mut Differences) -> Turn {
        let mut state = self.shared.lock();
        loop {
            let now = Instant::now();
            let due = self.again.map(|(at, _)| at.saturating_duration_since(now));
            let mend = due.is_some_and(|left| left.is_zero()) || state.quit;
            let asked = state.wanted > self.revision || state.pending.clock.is_some();
            if mend || (asked && self.any_open()) {
                differences.append(&mut state.pending);
                return Turn { wanted: state.wanted, quit: state.quit, mend };
            }
            let left = due.unwrap_or(IDLE);
            state = self.shared.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Opens what can be opened and holds what was written last, or begins.
    fn reopen(&mut self, trouble: &mut Option<String>) {
        for place in &mut self.files {
            let opened = match (place.path.exists(), self.begun) {
                (true, _) => File::open(&place.path),
                (false, false) => File::create(&place.path),
                (false, true) => continue, // The other one is the newer.
            };
            match opened.and_then(|file| Ok((file.summary()?.revision, file))) {
                Ok((revision, file)) if revision == self.revision => {
                    place.file = Some(file);
                    self.begun = true;
                }
                Ok((revision, _)) => *trouble = Some(format!("{} is at revision {}", place.path.display(), revision.0)),
                Err(error) => *trouble = Some(error.to_string()),
            }
        }
    }

    /// Brings what is open to a revision. Whether anything is.
    fn write(&mut self, wanted: Revision, differences: &Differences, trouble: &mut Option<String>) -> bool {
        let mut behind = [false; 2];
        if wanted > self.revision || differences.clock.is_some() {
            for (place, behind) in self.files.iter_mut().zip(&mut behind) {
                let Some(file) = &mut place.file else { continue };
                if let Err(error) = file.write(differences, wanted) {
                    // It takes nothing more until it is opened again.
                    place.file = None;
                    *behind = true;
                    *trouble = Some(error.to_string());
                }
            }
        }
        if !self.any_open() {
            return false;
        }
        for (place, _) in self.files.iter().zip(behind).filter(|(_, behind)| *behind) {
            // What it says is old from now on. If it cannot go, the start still prefers the other one.
            let _ = std::fs::remove_file(&place.path);
        }
        self.revision = self.revision.max(wanted);
        true
    }

    /// Makes the file that is not there from the one that is.
    fn make_whole(&mut self, trouble: &mut Option<String>) {
        let [first, second] = &mut self.files;
        let (good, lost) = match (&first.file, &second.file) {
            (Some(_), None) => (first, second),
            (None, Some(_)) => (second, first),
            _ => return,
        };
        // Nobody writes the good one meanwhile but this thread.
        let made = file::copy(&good.path, &lost.path).map_err(|error| format!("{}: {error}", lost.path.display()));
        match made.and_then(|()| File::open(&lost.path).map_err(|error| error.to_string())) {
            Ok(file) => lost.file = Some(file),
            Err(error) => *trouble = Some(error),
        }
    }

    /// Says what came of it, and decides when to try again.
    fn tell(&mut self, wanted: Revision, written: bool, trouble: Option<String>, mended: bool) {
        let mut state = self.shared.lock();
        state.copies = u32::try_from(self.files.iter().filter(|place| place.file.is_some()).count()).unwrap_or(0);
        state.hangs = false;
        if written {
            state.durable = wanted;
        }
        let was = state.trouble.take();
        // Until it is mended, what was wrong is wrong still.
        let trouble = if mended || trouble.is_some() { trouble } else { was.clone() };
        if trouble != was {
            match (&trouble, written) {
                (Some(trouble), true) => error!("the store has one file left and goes on with it: {trouble}"),
                (Some(trouble), false) => {
                    error!("the store cannot be written, so changes end with the process: {trouble}");
                }
                (None, _) => info!("the store is whole again, at revision {}", wanted.0),
            }
        }
        let [shortest, longest] = AGAIN;
        let after = |wait| Some((Instant::now() + wait, wait));
        self.again = match (&trouble, self.again) {
            (None, _) => None,
            (Some(_), None) => after(shortest),
            (Some(_), Some((_, wait))) if mended => after((wait * 2).min(longest)),
            (Some(_), again) => again,
        };
        state.trouble = trouble;
        self.shared.moved.notify_all();
    }
}

/// What there is to do.
struct Turn {
    /// The newest revision.
    wanted: Revision,
    /// This is the last.
    quit: bool,
    /// What is not well is to be tried again.
    mend: bool,
}
