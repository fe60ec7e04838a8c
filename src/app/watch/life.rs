//! Watches every thread, and whether the end comes.
//!
//! The watching thread looks at all the others, the main thread at the watching one. A worker that stands still ends the
//! process at once, since nothing passes meanwhile; any other thread that must turn ends it by the orderly stop. The main
//! thread makes that stop, so when it is the one that stands still, the watching thread says so, prints the counters as far
//! as they are known, and ends the process itself.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::{error, info, warn};

use super::notify::{Message, Notifier};
use super::pulse::{Pulse, STALLED, STALLED_IN_A_DRIVER, TICK, Ticks};
use super::steps::within;
use crate::app::log;
use crate::telemetry::heartbeat::{Heartbeat, PERIOD};

/// How long a start may go on after it was told to stop.
const START: Ticks = Ticks(100);
/// How long the process may last after everything was stopped.
const END: Ticks = Ticks(100);
/// How often the supervisor is told how it goes, if that has changed.
const STATUS: Ticks = Ticks(10);
/// How long the counters may take when there is no time for an orderly stop.
const LAST_COUNTERS: Duration = Duration::from_secs(2);

/// What follows when a thread stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The process ends at once.
    Abort,
    /// The process stops in order.
    Stop,
    /// It is said.
    Say,
}

/// A thread to watch.
pub struct Thread {
    name: String,
    beats: Box<dyn Fn() -> u64 + Send>,
    limit: Ticks,
    then: Then,
    pulse: Pulse,
    stalled: bool,
}

impl Thread {
    /// A worker, by its turns.
    pub fn worker(number: usize, turns: impl Fn() -> u64 + Send + 'static) -> Self {
        Self::new(format!("worker {number}"), turns, STALLED, Then::Abort)
    }

    /// One that the box cannot do without.
    #[must_use]
    pub fn needed(heart: Arc<Heartbeat>) -> Self {
        Self::new(heart.name().into(), move || heart.beats(), STALLED, Then::Stop)
    }

    /// The one that talks to drivers.
    #[must_use]
    pub fn in_a_driver(heart: Arc<Heartbeat>) -> Self {
        Self::new(heart.name().into(), move || heart.beats(), STALLED_IN_A_DRIVER, Then::Stop)
    }

    /// One whose silence costs words and nothing else.
    #[must_use]
    pub fn dispensable(heart: impl Deref<Target = Heartbeat> + Send + 'static) -> Self {
        Self::new(heart.name().into(), move || heart.beats(), STALLED, Then::Say)
    }

    fn new(name: String, beats: impl Fn() -> u64 + Send + 'static, limit: Ticks, then: Then) -> Self {
        Self { name, beats: Box::new(beats), limit, then, pulse: Pulse::default(), stalled: false }
    }

    /// It has gone round not long ago: a period that any thread may wait, and as much again.
    fn is_fresh(&self) -> bool {
        self.pulse.still() <= Ticks::of(2 * PERIOD)
    }

    /// One tick. Whether it has just come to be stalled.
    fn tick(&mut self) -> bool {
        let before = std::mem::replace(&mut self.stalled, self.pulse.tick((self.beats)()) >= self.limit);
        if before && !self.stalled {
            warn!("{} goes on again", self.name);
        }
        self.stalled && !before
    }
}

/// What is watched while frames flow.
pub struct Running {
    /// Every thread but the main one.
    pub threads: Vec<Thread>,
    /// How it goes, in a line.
    pub status: Box<dyn Fn() -> String + Send>,
    /// The counters as far as they are known without anybody's help, to be printed.
    pub counters: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Where the main thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Starting,
    Running,
    Stopping,
    Ended,
}

struct Shared {
    main: Heartbeat,
    watch: Heartbeat,
    stage: AtomicU8,
    /// Somebody asked for the end.
    stop: Arc<AtomicBool>,
    /// Why it must end though nobody asked.
    fault: OnceLock<String>,
    running: Mutex<Option<Running>>,
    notifier: Notifier,
    /// What the process returns when something stood still.
    exit_code: i32,
}

/// The main thread's side of it.
pub struct Life {
    shared: Arc<Shared>,
    /// Of the watching thread.
    pulse: Pulse,
}

impl Life {
    /// Begins to watch. `stop` says that somebody asked for the end; `exit_code` is what the process returns when the main
    /// thread is the one that stands still.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin(stop: Arc<AtomicBool>, exit_code: i32) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            main: Heartbeat::new("main"),
            watch: Heartbeat::new("watch"),
            stage: AtomicU8::new(Stage::Starting as u8),
            stop,
            fault: OnceLock::new(),
            running: Mutex::new(None),
            notifier: Notifier::start(),
            exit_code,
        });
        let watched = Arc::clone(&shared);
        std::thread::Builder::new().name("watch".into()).spawn(move || watch(&watched))?;
        Ok(Self { shared, pulse: Pulse::default() })
    }

    /// The main thread's heart.
    #[must_use]
    pub fn heart(&self) -> &Heartbeat {
        &self.shared.main
    }

    /// Frames flow, and the socket answers.
    pub fn running(&self, running: Running) {
        *self.shared.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        self.stage(Stage::Running);
        self.shared.notifier.tell(Message::Ready);
    }

    /// One turn of the main thread; why it must stop, if it must.
    pub fn turn(&mut self) -> Option<Stop> {
        std::thread::sleep(TICK);
        self.shared.main.beat();
        if let Some(fault) = self.shared.fault.get() {
            return Some(Stop::Fault(fault.clone()));
        }
        if self.pulse.tick(self.shared.watch.beats()) >= STALLED {
            return Some(Stop::Fault(stands_still("watch", STALLED)));
        }
        self.shared.stop.load(Ordering::Relaxed).then_some(Stop::Asked)
    }

    /// The orderly stop begins: from now on only the main thread has to go round, and what the others showed is let go of.
    pub fn stopping(&self) {
        self.stage(Stage::Stopping);
        if let Some(running) = &mut *self.shared.running.lock().unwrap_or_else(PoisonError::into_inner) {
            running.threads.clear();
        }
        self.shared.notifier.tell(Message::Stopping);
    }

    fn stage(&self, stage: Stage) {
        self.shared.stage.store(stage as u8, Ordering::Release);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stage(Stage::Ended);
    }
}

/// Why the box stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A signal asked for it.
    Asked,
    /// A thread stands still.
    Fault(String),
}

fn stands_still(name: &str, limit: Ticks) -> String {
    format!("thread `{name}` has not gone round for {limit}")
}

/// The watching thread.
fn watch(shared: &Shared) {
    let (mut main, mut ticks, mut told) = (Pulse::default(), 0_u32, None);
    let (mut since_stop, mut since_end) = (Ticks(0), Ticks(0));
    loop {
        std::thread::sleep(TICK);
        shared.watch.beat();
        ticks = ticks.wrapping_add(1);
        match shared.stage.load(Ordering::Acquire) {
            stage if stage == Stage::Starting as u8 => {
                since_stop.0 += u32::from(shared.stop.load(Ordering::Relaxed));
                if since_stop >= START {
                    end_now(shared, &format!("told to stop {START} ago while starting, and the start does not end"));
                }
            }
            stage if stage == Stage::Running as u8 => {
                look(shared, ticks, &mut told);
                if main.tick(shared.main.beats()) >= STALLED {
                    end_now(shared, &stands_still("main", STALLED));
                }
            }
            stage if stage == Stage::Stopping as u8 => {
                if main.tick(shared.main.beats()) >= STALLED {
                    end_now(shared, &format!("while stopping, {}", stands_still("main", STALLED)));
                }
            }
            _ => {
                since_end.0 += 1;
                if since_end >= END {
                    end_now(shared, &format!("everything was stopped {END} ago, and the process does not end"));
                }
            }
        }
    }
}

/// One look at every thread while the box runs.
fn look(shared: &Shared, ticks: u32, told: &mut Option<String>) {
    let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(running) = &mut *running else { return };
    for thread in &mut running.threads {
        if !thread.tick() {
            continue;
        }
        let words = stands_still(&thread.name, thread.limit);
        match thread.then {
            Then::Abort => {
                log::last_words(format_args!(
                    "portcullis: {words}, and nothing passes it; ending the process so that it can be started again"
                ));
                std::process::abort();
            }
            Then::Stop => {
                error!("{words}; stopping, so that the process can be started again");
                let _ = shared.fault.set(words); // The first is enough.
            }
            Then::Say => warn!("{words}"),
        }
    }
    let alive = running.threads.iter().filter(|thread| thread.then != Then::Say).all(Thread::is_fresh);
    let period = shared.notifier.watchdog.map(|watchdog| Ticks::of(watchdog / 4));
    if alive && period.is_some_and(|period| ticks.is_multiple_of(period.0)) {
        shared.notifier.tell(Message::Alive);
    }
    if ticks.is_multiple_of(STATUS.0) {
        let status = (running.status)();
        if told.as_ref() != Some(&status) {
            shared.notifier.tell(Message::Status(status.clone()));
            *told = Some(status);
        }
    }
}

/// Ends the process without the main thread.
fn end_now(shared: &Shared, why: &str) -> ! {
    log::last_words(format_args!("portcullis: {why}; ending the process without an orderly stop"));
    let counters = shared.running.lock().unwrap_or_else(PoisonError::into_inner).take().map(|running| running.counters);
    if let Some(text) = counters.and_then(|counters| within(LAST_COUNTERS, move || counters())) {
        info!("the counters as far as they are known, without VMs, are on standard output");
        let _ = log::print(&text, LAST_COUNTERS); // Who does not read them does not want them.
    }
    log::flush();
    signal_hook::low_level::exit(shared.exit_code)
}
