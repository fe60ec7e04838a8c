//! What time it is, for what ends at a moment of the calendar.
//!
//! Two clocks are kept: the calendar's, which somebody may set back, and a steady one, by which the workers go. Between them
//! stands the moment at which the steady one began. What the calendar says may only make that moment later: so a calendar that is set
//! back never lengthens anything, and one that is set forward ends what is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quanta::Instant;

use crate::model::Moment;

/// The time of the calendar, which never goes back, and how it is said to workers.
#[derive(Clone, Debug)]
pub struct Clock {
    steady: quanta::Clock,
    start: Instant,
    /// The calendar's time at `start`, in nanoseconds since 1970. It grows when the calendar runs ahead.
    began: Arc<AtomicU64>,
    calendar: Calendar,
}

/// Who says what day it is.
#[derive(Clone, Debug)]
enum Calendar {
    /// The system, from time to time anew.
    System,
    /// Nobody: what was said at the start goes on with the steady clock.
    Said,
    /// A test.
    #[cfg(test)]
    Set(Arc<AtomicU64>),
}

impl Calendar {
    fn now(&self) -> Option<u64> {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).ok().map(nanoseconds),
            Self::Said => None,
            #[cfg(test)]
            Self::Set(now) => Some(now.load(Ordering::Relaxed)),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock {
    /// The system's calendar, beside the clock that workers go by.
    #[must_use]
    pub fn system(steady: quanta::Clock) -> Self {
        Self::with(steady, 0, Calendar::System)
    }

    /// A calendar that is at `now` and goes on with the clock that workers go by.
    #[must_use]
    pub fn at(now: Moment, steady: quanta::Clock) -> Self {
        Self::with(steady, nanoseconds(Duration::from_secs(now.unix())), Calendar::Said)
    }

    fn with(steady: quanta::Clock, began: u64, calendar: Calendar) -> Self {
        let start = steady.now();
        Self { steady, start, began: Arc::new(AtomicU64::new(began)), calendar }
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
        let elapsed = self.elapsed();
        let began = match self.calendar.now() {
            Some(now) => self.raise(now.saturating_sub(elapsed)),
            None => self.began.load(Ordering::Relaxed),
        };
        Moment::of_unix(Duration::from_nanos(began.saturating_add(elapsed)).as_secs())
    }

    /// When a moment is by the clock that workers go by, as far as is known now. None for what is so far away that it cannot be
    /// counted: centuries.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Option<Instant> {
        let _ = self.now();
        let began = Duration::from_nanos(self.began.load(Ordering::Relaxed));
        match Duration::from_secs(moment.unix()).checked_sub(began) {
            Some(left) => self.start.checked_add(left),
            None => Some(self.start),
        }
    }

    fn elapsed(&self) -> u64 {
        nanoseconds(self.steady.now().duration_since(self.start))
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

    fn moment(seconds: u64) -> Moment {
        Moment::of_unix(seconds)
    }

    #[test]
    fn a_calendar_that_is_set_back_is_not_believed() {
        let (steady, time) = quanta::Clock::mock();
        let calendar = Arc::new(AtomicU64::new(1000 * SECOND));
        let clock = Clock::with(steady, 0, Calendar::Set(Arc::clone(&calendar)));
        assert_eq!(clock.now(), moment(1000));
        let until = clock.instant(moment(1060)).unwrap();
        calendar.store(10 * SECOND, Ordering::Relaxed);
        assert_eq!(clock.now(), moment(1000));
        assert_eq!(clock.instant(moment(1060)), Some(until));
        time.increment(60 * SECOND);
        assert_eq!(clock.now(), moment(1060), "it goes on with the steady one");
        assert!(clock.steady().now() >= until);
    }

    #[test]
    fn a_calendar_that_is_set_forward_is_believed() {
        let calendar = Arc::new(AtomicU64::new(1000 * SECOND));
        let clock = Clock::with(quanta::Clock::mock().0, 0, Calendar::Set(Arc::clone(&calendar)));
        let before = clock.instant(moment(5000)).unwrap();
        calendar.store(4000 * SECOND, Ordering::Relaxed);
        assert_eq!(clock.now(), moment(4000));
        assert_eq!(before.duration_since(clock.instant(moment(5000)).unwrap()), Duration::from_secs(3000));
    }

    #[test]
    fn what_was_written_down_is_believed_more_than_the_calendar() {
        let calendar = Arc::new(AtomicU64::new(1000 * SECOND));
        let clock = Clock::with(quanta::Clock::mock().0, 0, Calendar::Set(calendar));
        assert!(!clock.not_before(moment(900)));
        assert_eq!(clock.now(), moment(1000));
        assert!(clock.not_before(moment(2000)));
        assert_eq!(clock.now(), moment(2000));
    }

    #[test]
    fn what_is_over_or_never_has_an_instant_too() {
        let (steady, _) = quanta::Clock::mock();
        let clock = Clock::at(moment(1000), steady);
        assert_eq!(clock.now(), moment(1000));
        assert!(clock.instant(moment(5)).is_some_and(|over| over <= clock.steady().now()));
        assert!(clock.instant(moment(1000)).is_some_and(|over| over <= clock.steady().now()));
        assert!(clock.instant(moment(1001)).is_some_and(|ends| ends > clock.steady().now()));
        let last = clock.instant(moment(u64::MAX));
        assert!(last.is_none_or(|last| last > clock.steady().now() + Duration::from_secs(3_000_000_000)));
    }
}
