//! Moments of the calendar, as people and programs write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A moment, to the second, from 1970 to the year 9999. As text RFC 3339: `2026-12-01T10:00:00Z`; with another offset it is read
/// too, and a fraction of a second is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct Moment(u64);

impl Moment {
    /// So many seconds after the beginning of 1970 (UTC); the last moment that can be written, if that is later.
    #[must_use]
    pub fn of_unix(seconds: u64) -> Self {
        Self(seconds.min(jiff::Timestamp::MAX.as_second().unsigned_abs()))
    }

    /// Seconds since the beginning of 1970 (UTC).
    #[must_use]
    pub const fn unix(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = i64::try_from(self.0).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        match timestamp {
            Some(timestamp) => write!(f, "{timestamp}"),
            None => write!(f, "{} seconds after 1970", self.0), // None is made so late.
        }
    }
}

/// Text that names no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a moment after 1970 as RFC 3339 writes it; write 2026-12-01T10:00:00Z")]
pub struct MomentError(String);

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let error = || MomentError(text.chars().take(64).collect());
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| error())?;
        u64::try_from(timestamp.as_second()).map(Self).map_err(|_| error())
    }
}

impl TryFrom<Cow<'_, str>> for Moment {
    type Error = MomentError;

    fn try_from(text: Cow<'_, str>) -> Result<Self, MomentError> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_rfc_3339_has_it() {
        for (text, written) in [
            ("2026-12-01T10:00:00Z", "2026-12-01T10:00:00Z"),
            ("2026-12-01t10:00:00z", "2026-12-01T10:00:00Z"),
            ("2026-12-01 10:00:00+00:00", "2026-12-01T10:00:00Z"),
            ("2026-12-01T12:00:00+02:00", "2026-12-01T10:00:00Z"),
            ("2026-12-01T10:00:00.999Z", "2026-12-01T10:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("9999-12-30T00:00:00Z", "9999-12-30T00:00:00Z"),
        ] {
            let moment: Moment = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(moment.to_string(), written, "{text}");
            assert_eq!(Moment::of_unix(moment.unix()), moment);
        }
        assert_eq!("1970-01-02T00:00:01Z".parse().map(Moment::unix), Ok(86_401));
        let last = Moment::of_unix(u64::MAX);
        assert_eq!(last.to_string().parse(), Ok(last));
    }

    #[test]
    fn what_is_no_moment_is_refused_with_an_example() {
        for text in ["", "2h", "tomorrow", "2026-12-01", "2026-12-01T10:00:00", "1969-12-31T23:59:59Z", "1764583200"] {
            let error = text.parse::<Moment>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("2026-12-01T10:00:00Z"), "{error}");
        }
    }
}
