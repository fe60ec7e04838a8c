//! The log, and last words: lines on standard error that never hold anybody up and never fail.
//!
//! Who reads the log is not in our hands: a pipe that nobody empties, a full disk, a reader that has gone away. None of
//! them may stop a frame, a change, or the end of the process. So lines are handed over (`spool`) to a thread that
//! writes when there is room ([`outlet`]); what cannot be written is counted ([`lines_lost`]) and spoken of later.

pub mod outlet;
mod spool;

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer as FormatWriter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use self::outlet::{Descriptor, write_all};
use self::spool::Spool;
use crate::telemetry::heartbeat::{Heartbeat, PERIOD};

/// How long the end of the process waits for who does not read.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// There is one standard error, so there is one log.
static SPOOL: OnceLock<Spool> = OnceLock::new();

/// Sends the log to standard error: what `PORTCULLIS_LOG` asks for (`info`, `debug`, ...), else from `level` on. A second
/// start changes nothing.
pub fn start(level: &str) {
    use std::io::IsTerminal as _;
    let (spool, mut writer) = Spool::new(notice);
    if SPOOL.set(spool).is_err() {
        return;
    }
    let write = move || {
        while let Some(spool) = SPOOL.get() {
            writer.turn(spool, &mut Descriptor(io::stderr()), PERIOD);
        }
    };
    // Without the thread lines are counted as lost once the spool is full, and everything else works.
    let _ = std::thread::Builder::new().name("log".into()).spawn(write);
    let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Spooled)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .try_init();
}

/// How many lines could not be written so far.
#[must_use]
pub fn lines_lost() -> u64 {
    SPOOL.get().map_or(0, Spool::lost)
}

/// The heart of the thread that writes the log, if it has been started.
#[must_use]
pub fn heartbeat() -> Option<&'static Heartbeat> {
    SPOOL.get().map(Spool::heart)
}

/// Waits until the log is written, as far as somebody takes it.
pub fn flush() {
    if let Some(spool) = SPOOL.get() {
        spool.flush(PATIENCE);
    }
}

/// Says something on standard error after everything logged so far, without the log's thread. Who does not read it does
/// not keep us.
pub fn last_words(words: impl fmt::Display) {
    flush();
    let _ = write_all(&mut Descriptor(io::stderr()), format!("{words}\n").as_bytes(), PATIENCE);
}

/// Prints a text on standard output, as far as somebody takes it.
///
/// # Errors
/// As [`write_all`].
pub fn print(text: &str, patience: Duration) -> io::Result<()> {
    write_all(&mut Descriptor(io::stdout()), format!("{}\n", text.trim_end()).as_bytes(), patience)
}

/// A panic says what it has to say like [`last_words`]. The usual way, a full pipe would keep a process that is about to
/// end from ending.
pub fn say_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        last_words(format_args!("portcullis: thread `{}` {panic}", thread.name().unwrap_or("without a name")));
    }));
}

fn notice(lost: u64) -> String {
    let mut text = String::new();
    // A clock that cannot be read leaves the time out.
    let _ = SystemTime.format_time(&mut FormatWriter::new(&mut text));
    text + &format!("  WARN portcullis::app::log: {lost} line(s) of the log could not be written here and are lost\n")
}

/// Hands each line to the spool; writing to it cannot fail.
struct Spooled;

impl<'a> MakeWriter<'a> for Spooled {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl io::Write for Spooled {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(spool) = SPOOL.get() {
            spool.take(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
