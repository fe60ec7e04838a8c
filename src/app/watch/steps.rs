//! The stop, step by step, each with an end.

use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, bounded};
use tracing::error;

use super::pulse::{TICK, Ticks};
use crate::telemetry::heartbeat::Heartbeat;

/// How long a step may take: 2 s.
const STEP: Ticks = Ticks(20);

/// Takes steps on behalf of a thread that goes on beating meanwhile.
#[derive(Debug)]
pub struct Steps<'a> {
    heart: &'a Heartbeat,
    /// What did not end in time.
    pub left: Vec<&'static str>,
}

impl<'a> Steps<'a> {
    /// None taken yet.
    #[must_use]
    pub fn new(heart: &'a Heartbeat) -> Self {
        Self { heart, left: Vec::new() }
    }

    /// Does `work` on another thread and waits for it; nothing if it does not end in time. It is left alone then, with all
    /// that it holds.
    pub fn take<R: Send + 'static>(
        &mut self,
        what: &'static str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Option<R> {
        self.take_within(STEP, what, work)
    }

    fn take_within<R: Send + 'static>(
        &mut self,
        limit: Ticks,
        what: &'static str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Option<R> {
        let (done, result) = bounded(1);
        let work = move || {
            let _ = done.send(work()); // Nobody may be waiting any more.
        };
        if let Err(error) = std::thread::Builder::new().name("stop".into()).spawn(work) {
            error!("stopping: no thread for {what}: {error}");
            self.left.push(what);
            return None;
        }
        for _ in 0..limit.0 {
            self.heart.beat();
            match result.recv_timeout(TICK) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        error!("stopping: {what} did not end within {limit}; it is left as it is");
        self.left.push(what);
        None
    }
}

/// What `work` answers, unless it takes longer than `patience`.
pub fn within<R: Send + 'static>(patience: Duration, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (done, result) = bounded(1);
    let work = move || {
        let _ = done.send(work()); // Nobody may be waiting any more.
    };
    std::thread::Builder::new().name("stop".into()).spawn(work).ok()?;
    result.recv_timeout(patience).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_step_that_does_not_end_is_named_and_left_and_the_next_one_is_taken() {
        let heart = Heartbeat::new("main");
        let mut steps = Steps::new(&heart);
        let (release, held) = channel::<()>();
        assert_eq!(steps.take_within(Ticks(2), "the workers", move || held.recv().is_ok()), None);
        assert_eq!(steps.take("the ports", || 7), Some(7));
        assert_eq!(steps.left, ["the workers"]);
        assert_eq!(heart.beats(), 3, "whoever waits goes on beating");
        drop(release);
    }

    #[test]
    fn what_takes_too_long_has_no_answer() {
        let (release, held) = channel::<()>();
        assert_eq!(within(Duration::from_millis(1), move || held.recv().is_ok()), None);
        assert_eq!(within(Duration::from_secs(3600), || 7), Some(7));
        drop(release);
    }
}
