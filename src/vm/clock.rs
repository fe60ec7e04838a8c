//! What time it is, for what ends at a moment of the calendar.
//!
//! Three clocks are at work: the calendar's, which somebody may set back; one of the system's that nobody sets, and that goes as fast as the
//! calendar does; and the CPU's counter, by which workers go, which may be some seconds a day too fast or too slow. The time is what the
//! second counts from the moment at which it began. The calendar may only make that moment later: so a calendar that is set back
//! never lengthens anything, and one that is set forward ends what is over. To workers an end is said as so much time from
//! now, so that a counter's fault grows with that time and not with the age of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Monotonic, SystemTime, UNIX_EPOCH};

use quanta::Instant;

use crate::model::Moment;

/// The time of the calendar, which never goes back, and how it is said to workers.
#[derive(Clone, Debug)]
pub struct Clock {
    steady: quanta::Clock,
    /// What time it was when `source` began to count, in nanoseconds since 1970. It grows when the calendar runs ahead.
    began: Arc<AtomicU64>,
    source: Source,
}

/// Who says how much time has passed, and what day it is.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The system, both.
    System(Monotonic),
    /// The clock of the workers, and nobody: what was said at the start goes on.
    Steady(Instant),
    /// A test.
    #[cfg(test)]
    Set(&'static tests::Times),
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock {
    /// The system's, beside the clock that workers go by.
    #[must_use]
    pub fn system(steady: quanta::Clock) -> Self {
        Self::with(steady, 0, Source::System(Monotonic::now()))
    }

    /// One that is at `now` and goes on with the clock that workers go by.
    #[must_use]
    pub fn at(now: Moment, steady: quanta::Clock) -> Self {
        let start = steady.now();
        Self::with(steady, nanoseconds(Duration::from_secs(now.unix())), Source::Steady(start))
    }

    fn with(steady: quanta::Clock, began: u64, source: Source) -> Self {
        Self { steady, began: Arc::new(AtomicU64::new(began)), source }
    }

    /// The clock that workers go by.
    #[must_use]
    pub fn steady(&self) -> &quanta::Clock {
        &self.steady
    }

    /// It is no earlier than this; whether that is news, as the calendar was set back since somebody wrote it down.
    pub fn not_before(&self, moment: Moment) -> bool {
        let behind = self.now() < moment;
        let elapsed = self.elapsed();
        self.raise(nanoseconds(Duration::from_secs(moment.unix())).saturating_sub(elapsed));
        behind
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::of_unix(self.since_1970().as_secs())
    }

    /// When a moment is by the clock that workers go by, as far as is known now. None for what is so far away that it cannot be
    /// counted: centuries.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Option<Instant> {
        let left = Duration::from_secs(moment.unix()).saturating_sub(self.since_1970());
        self.steady.now().checked_add(left)
    }

    fn since_1970(&self) -> Duration {
        let elapsed = self.elapsed();
        let began = match self.calendar() {
            Some(now) => self.raise(now.saturating_sub(elapsed)),
            None => self.began.load(Ordering::Relaxed),
        };
        Duration::from_nanos(began.saturating_add(elapsed))
    }

    /// In nanoseconds.
    fn elapsed(&self) -> u64 {
        match self.source {
            Source::System(start) => nanoseconds(start.elapsed()),
            Source::Steady(start) => nanoseconds(self.steady.now().duration_since(start)),
            #[cfg(test)]
            Source::Set(times) => times.elapsed.load(Ordering::Relaxed),
        }
    }

    /// In nanoseconds since 1970.
    fn calendar(&self) -> Option<u64> {
        match self.source {
            Source::System(_) => SystemTime::now().duration_since(UNIX_EPOCH).ok().map(nanoseconds),
            Source::Steady(_) => None,
            #[cfg(test)]
            Source::Set(times) => Some(times.calendar.load(Ordering::Relaxed)),
        }
    }

    fn raise(&self, began: u64) -> u64 {
        self.began.fetch_max(began, Ordering::Relaxed).max(began)
    }
}

impl Default for Clock {
    /// The system's.
    fn default() -> Self {
        Self::system(quanta::Clock::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// What a test says of the time.
    #[derive(Debug, Default)]
    pub(super) struct Times {
        pub(super) elapsed: AtomicU64,
        pub(super) calendar: AtomicU64,
    }

    impl Times {
        /// So many seconds since 1970, and none have passed; and a clock that hears it.
        fn at(seconds: u64) -> (&'static Self, Clock, Arc<quanta::Mock>) {
            let times: &'static Self = Box::leak(Box::default());
            times.set(seconds);
            let (steady, counter) = quanta::Clock::mock();
            (times, Clock::with(steady, 0, Source::Set(times)), counter)
        }

        fn set(&self, seconds: u64) {
            self.calendar.store(seconds * SECOND, Ordering::Relaxed);
        }

        fn pass(&self, seconds: u64) {
            self.elapsed.fetch_add(seconds * SECOND, Ordering::Relaxed);
        }
    }

    fn moment(seconds: u64) -> Moment {
        Moment::of_unix(seconds)
    }

    /// How long workers would think that it is to a moment.
    fn left(clock: &Clock, seconds: u64) -> u64 {
        clock.instant(moment(seconds)).unwrap().duration_since(clock.steady().now()).as_secs()
    }

    #[test]
    fn a_calendar_that_is_set_back_is_not_believed() {
        let (times, clock, _) = Times::at(1000);
        assert_eq!((clock.now(), left(&clock, 1060)), (moment(1000), 60));
        times.set(10);
        assert_eq!((clock.now(), left(&clock, 1060)), (moment(1000), 60));
        times.pass(60);
        assert_eq!((clock.now(), left(&clock, 1060)), (moment(1060), 0), "it goes on all the same");
    }

    #[test]
    fn a_calendar_that_is_set_forward_is_believed() {
        let (times, clock, _) = Times::at(1000);
        assert_eq!(left(&clock, 5000), 4000);
        times.set(4000);
        assert_eq!((clock.now(), left(&clock, 5000)), (moment(4000), 1000));
    }

    #[test]
    fn what_was_written_down_is_believed_more_than_the_calendar() {
        let (_, clock, _) = Times::at(1000);
        assert!(!clock.not_before(moment(900)));
        assert_eq!(clock.now(), moment(1000));
        assert!(clock.not_before(moment(2000)));
        assert_eq!(clock.now(), moment(2000));
    }

    #[test]
    fn a_counter_that_goes_too_fast_makes_the_day_no_shorter() {
        // A year, in which the counter of the workers gains an hour.
        let (times, clock, counter) = Times::at(1000);
        let year = 365 * 86_400;
        times.pass(year);
        times.set(1000 + year);
        counter.increment((year + 3600) * SECOND);
        assert_eq!(clock.now(), moment(1000 + year));
        assert_eq!(left(&clock, 1000 + year + 300), 300, "five minutes are five minutes");
    }

    #[test]
    fn what_is_over_or_never_has_an_instant_too() {
        let (steady, counter) = quanta::Clock::mock();
        let clock = Clock::at(moment(1000), steady);
        assert_eq!(clock.now(), moment(1000));
        for over in [5, 1000] {
            assert!(clock.instant(moment(over)).is_some_and(|over| over <= clock.steady().now()), "{over}");
        }
        assert_eq!(left(&clock, 1001), 1);
        counter.increment(SECOND);
        assert_eq!((clock.now(), left(&clock, 1001)), (moment(1001), 0));
        let last = clock.instant(moment(u64::MAX));
        assert!(last.is_none_or(|last| last > clock.steady().now() + Duration::from_secs(3_000_000_000)));
    }
}
