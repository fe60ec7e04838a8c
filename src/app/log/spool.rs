//! Lines between those who log and the thread that writes: bounded, so that nobody waits and nothing grows.
//!
//! Whoever logs hands a line over or, when too many are waiting, counts it as lost. The writing thread counts those that
//! the outlet refuses. When lines can be written again it says how many are missing, at the place where they are missing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::outlet::{Outlet, PIECE_BYTES};
use crate::telemetry::heartbeat::Heartbeat;

/// Lines that may wait.
const LINES_MAX: usize = 1024;

struct Line {
    text: Vec<u8>,
    /// How many were lost before it.
    lost: u64,
}

/// Takes lines.
pub(super) struct Spool {
    lines: Sender<Line>,
    taken: AtomicU64,
    settled: AtomicU64,
    lost: AtomicU64,
    heart: Heartbeat,
}

impl Spool {
    /// A spool, and who empties it.
    pub(super) fn new(notice: fn(u64) -> String) -> (Self, Writer) {
        let (lines, waiting) = bounded(LINES_MAX);
        let (taken, settled, lost) = Default::default();
        let spool = Self { lines, taken, settled, lost, heart: Heartbeat::new("log") };
        (spool, Writer { waiting, pending: None, torn: false, told: 0, notice })
    }

    /// Takes a line if there is room for it, without waiting.
    pub(super) fn take(&self, text: &[u8]) {
        let line = Line { text: text.to_vec(), lost: self.lost() };
        match self.lines.try_send(line) {
            Ok(()) => self.taken.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.lost.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// How many lines were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The heart of the thread that writes.
    pub(super) fn heart(&self) -> &Heartbeat {
        &self.heart
    }

    /// Waits until every line is written or lost, but no longer than `patience` for any one of them.
    pub(super) fn flush(&self, patience: Duration) {
        let (mut moved, mut before) = (Instant::now(), 0);
        loop {
            let settled = self.settled.load(Ordering::Relaxed);
            if settled >= self.taken.load(Ordering::Relaxed) {
                return;
            }
            if settled != before {
                (moved, before) = (Instant::now(), settled);
            }
            if moved.elapsed() >= patience {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Empties a spool into an outlet; lives on a thread of its own.
pub(super) struct Writer {
    waiting: Receiver<Line>,
    pending: Option<Pending>,
    /// The last thing written has no line end.
    torn: bool,
    /// Lost lines that have been spoken of.
    told: u64,
    /// Words for so many lost lines.
    notice: fn(u64) -> String,
}

/// What is being written: a line, or the notice that some are missing, or the one after the other.
struct Pending {
    text: Vec<u8>,
    written: usize,
    lines: u64,
    /// Lost lines that are spoken of once it is written.
    tells: u64,
}

impl Writer {
    /// One turn: takes a line if none is pending, and writes a piece if there is room. Each waits for `wait` at most.
    pub(super) fn turn(&mut self, spool: &Spool, outlet: &mut impl Outlet, wait: Duration) {
        spool.heart.beat();
        let Some(mut pending) = self.pending.take().or_else(|| self.next(spool, wait)) else { return };
        if !outlet.room(wait) {
            self.pending = Some(pending);
            return;
        }
        let rest = pending.text.get(pending.written..).unwrap_or_default();
        let (piece, _) = rest.split_at(rest.len().min(PIECE_BYTES));
        match outlet.write(piece) {
            Ok(written) => {
                pending.written += written;
                self.torn = pending.written < pending.text.len();
                if self.torn {
                    self.pending = Some(pending);
                    return;
                }
                self.told = pending.tells;
            }
            Err(_) => {
                spool.lost.fetch_add(pending.lines, Ordering::Relaxed);
            }
        }
        spool.settled.fetch_add(pending.lines, Ordering::Relaxed);
    }

    fn next(&self, spool: &Spool, wait: Duration) -> Option<Pending> {
        let line = self.waiting.recv_timeout(wait).ok();
        let tells = line.as_ref().map_or_else(|| spool.lost(), |line| line.lost);
        let mut text = Vec::new();
        if tells > self.told {
            if self.torn {
                text.push(b'\n');
            }
            text.extend((self.notice)(tells - self.told).as_bytes());
        }
        let lines = u64::from(line.is_some());
        text.extend(line.into_iter().flat_map(|line| line.text));
        (!text.is_empty()).then_some(Pending { text, written: 0, lines, tells })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Takes lines, refuses them, or has no room, as told.
    #[derive(Default)]
    struct Fake {
        full: bool,
        broken: bool,
        most: Option<usize>,
        text: String,
    }

    impl Outlet for Fake {
        fn room(&mut self, _: Duration) -> bool {
            !self.full
        }

        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            if self.broken {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let piece = &piece[..piece.len().min(self.most.unwrap_or(PIECE_BYTES))];
            self.text += std::str::from_utf8(piece).unwrap();
            Ok(piece.len())
        }
    }

    fn spool() -> (Spool, Writer) {
        Spool::new(|lost| format!("({lost} missing)\n"))
    }

    /// Turns until nothing more can happen.
    fn turn(spool: &Spool, writer: &mut Writer, fake: &mut Fake) {
        for _ in 0..3 * LINES_MAX {
            writer.turn(spool, fake, Duration::ZERO);
        }
    }

    #[test]
    fn lines_come_out_whole_and_in_order_however_little_is_taken_at_a_time() {
        let ((spool, mut writer), mut fake) = (spool(), Fake { most: Some(3), ..Fake::default() });
        let long = "x".repeat(2 * PIECE_BYTES) + "\n";
        for line in ["one\n", &long, "two\n"] {
            spool.take(line.as_bytes());
        }
        for _ in 0..2 {
            turn(&spool, &mut writer, &mut fake);
        }
        assert_eq!(fake.text, format!("one\n{long}two\n"));
        assert_eq!(spool.lost(), 0);
        spool.flush(Duration::from_secs(3600)); // Nothing is waiting, so this returns.
    }

    #[test]
    fn what_finds_no_room_is_lost_and_spoken_of_where_it_is_missing() {
        let ((spool, mut writer), mut fake) = (spool(), Fake { full: true, ..Fake::default() });
        for line in 0..LINES_MAX + 10 {
            spool.take(format!("{line}\n").as_bytes());
        }
        turn(&spool, &mut writer, &mut fake);
        assert_eq!((spool.lost(), &*fake.text), (10, ""));
        spool.flush(Duration::ZERO); // Nobody takes it; this returns all the same.

        fake.full = false;
        turn(&spool, &mut writer, &mut fake);
        spool.take(b"afterwards\n");
        turn(&spool, &mut writer, &mut fake);
        let lines: Vec<&str> = fake.text.lines().collect();
        assert_eq!(lines[..2], ["0", "1"]);
        assert_eq!(lines[LINES_MAX - 1..], ["1023", "(10 missing)", "afterwards"]);
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_spoken_of_once_writing_works_again() {
        let ((spool, mut writer), mut fake) = (spool(), Fake { broken: true, ..Fake::default() });
        for _ in 0..3 {
            spool.take(b"lost\n");
            turn(&spool, &mut writer, &mut fake);
        }
        assert_eq!((spool.lost(), &*fake.text), (3, ""));
        fake.broken = false;
        spool.take(b"written\n");
        turn(&spool, &mut writer, &mut fake);
        turn(&spool, &mut writer, &mut fake);
        assert_eq!(fake.text, "(3 missing)\nwritten\n");
        assert_eq!(spool.lost(), 3, "the count stays");
    }

    #[test]
    fn a_line_that_is_torn_off_does_not_swallow_the_next() {
        let ((spool, mut writer), mut fake) = (spool(), Fake { most: Some(4), ..Fake::default() });
        spool.take(b"torn line\n");
        writer.turn(&spool, &mut fake, Duration::ZERO);
        fake.broken = true;
        turn(&spool, &mut writer, &mut fake);
        fake.broken = false;
        turn(&spool, &mut writer, &mut fake);
        assert_eq!(fake.text, "torn\n(1 missing)\n");
    }

    #[test]
    fn turning_is_beating_even_when_nobody_reads() {
        let ((spool, mut writer), mut fake) = (spool(), Fake { full: true, ..Fake::default() });
        spool.take(b"line\n");
        let before = spool.heart().beats();
        turn(&spool, &mut writer, &mut fake);
        assert_eq!(spool.heart().beats(), before + 3 * LINES_MAX as u64);
    }
}
