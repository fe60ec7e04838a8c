//! What signals do: nothing but KILL and STOP ends the box without the orderly stop.
//!
//! | signals | what follows |
//! |---|---|
//! | TERM, INT, QUIT | the orderly stop |
//! | HUP | the configuration file is read again, and its policy is in force |
//! | USR1, USR2, ALRM, VTALRM, PROF, IO, PWR, STKFLT, XCPU, XFSZ, TRAP, SYS, real-time ones | a line in the log |
//! | PIPE | nothing; whoever writes is told by his write |
//! | CHLD, CONT, URG, WINCH | nothing, as in every program |
//! | TSTP, TTIN, TTOU | suspend it, as in every program that has a terminal |
//! | ABRT, BUS, FPE, ILL, SEGV | end it at once: the process is broken, and must not go on for the time of a stop |
//!
//! A handler only sets a flag, which the main thread reads.

use std::ffi::c_int;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts as signal;

/// Those that ask for the end.
const ENDS: [c_int; 3] = [signal::SIGTERM, signal::SIGINT, signal::SIGQUIT];

/// Those that are answered by a line in the log, apart from real-time ones.
const NOTED: [c_int; 11] = [
    signal::SIGUSR1,
    signal::SIGUSR2,
    signal::SIGALRM,
    signal::SIGVTALRM,
    signal::SIGPROF,
    signal::SIGIO,
    signal::SIGXCPU,
    signal::SIGXFSZ,
    signal::SIGTRAP,
    signal::SIGSYS,
    signal::SIGPIPE,
];

/// SIGSTKFLT and SIGPWR, which signal-hook has no names for. Numbers of Linux on x86-64 and ARM.
const NOTED_BY_NUMBER: [c_int; 2] = [16, 30];

/// The real-time signals that the C library leaves to programs.
const REAL_TIME: RangeInclusive<c_int> = 34..=64;

/// Signals that have arrived and have not been read.
#[derive(Debug)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    noted: Vec<(c_int, Arc<AtomicBool>)>,
}

impl Signals {
    /// Takes over every signal that would end the process, but for real-time ones.
    ///
    /// # Errors
    /// The system refuses one.
    pub fn take_over() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for number in ENDS {
            signal_hook::flag::register(number, Arc::clone(&stop))?;
        }
        let reload = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal::SIGHUP, Arc::clone(&reload))?;
        let mut signals = Self { stop, reload, noted: Vec::new() };
        signals.note(NOTED.into_iter().chain(NOTED_BY_NUMBER))?;
        Ok(signals)
    }

    /// Takes over the real-time signals that nobody has a use for. To be called when devices run: `net_tap` looks for free
    /// ones to hear of frames by.
    ///
    /// # Errors
    /// The system refuses one.
    pub fn take_over_real_time(&mut self) -> io::Result<()> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let caught = caught(&status);
        self.note(REAL_TIME.filter(|number| caught & (1 << (number - 1)) == 0))
    }

    fn note(&mut self, numbers: impl IntoIterator<Item = c_int>) -> io::Result<()> {
        for number in numbers {
            let arrived = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(number, Arc::clone(&arrived))?;
            self.noted.push((number, arrived));
        }
        Ok(())
    }

    /// Whether it was asked to end, for whoever needs to know.
    #[must_use]
    pub fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// Whether the configuration file is to be read again, since this was asked last.
    #[must_use]
    pub fn wants_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }

    /// A sentence for each other signal that has arrived since this was asked last; several of one kind are one.
    pub fn arrived(&self) -> impl Iterator<Item = String> + '_ {
        let arrived = self.noted.iter().filter(|(_, arrived)| arrived.swap(false, Ordering::Relaxed));
        arrived.filter(|&&(number, _)| number != signal::SIGPIPE).map(|&(number, _)| sentence(number))
    }
}

/// Which signals have a handler, a bit each, as the kernel tells in `/proc/self/status`.
fn caught(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn sentence(number: c_int) -> String {
    match (number, signal_hook::low_level::signal_name(number)) {
        (signal::SIGXFSZ, _) => "SIGXFSZ: a file has reached the limit of its size; what does not fit is lost".into(),
        (_, Some(name)) => format!("{name} changes nothing"),
        (_, None) => format!("signal {number} changes nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_which_signals_have_a_handler() {
        assert_eq!(caught("Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000200000440\n"), 0x2_0000_0440);
        assert_eq!(caught(""), 0);
    }

    #[test]
    fn signals_are_noted_once_and_ends_are_told_apart() {
        let mut signals = Signals::take_over().unwrap();
        signals.take_over_real_time().unwrap();
        assert_eq!(signals.arrived().count(), 0);
        assert!(!signals.wants_reload());
        for number in [signal::SIGHUP, signal::SIGUSR1, signal::SIGUSR1, signal::SIGPIPE, 64] {
            signal_hook::low_level::raise(number).unwrap();
        }
        let said: Vec<String> = signals.arrived().collect();
        assert_eq!(said, ["SIGUSR1 changes nothing", "signal 64 changes nothing"]);
        assert!(signals.wants_reload());
        assert!(!signals.wants_reload(), "once");
        assert_eq!(signals.arrived().count(), 0, "each is spoken of once");
        assert!(!signals.stop().load(Ordering::Relaxed));
        signal_hook::low_level::raise(signal::SIGQUIT).unwrap();
        assert!(signals.stop().load(Ordering::Relaxed));
    }
}
