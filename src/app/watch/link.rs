//! What the two ports of a link should be: a function of what is known, not of what has just happened.
//!
//! A switch or router behind the box should notice that the way through is interrupted. So while one port has no link,
//! the other is kept down, and brought up again when the link is back. Each poll takes readings, believes what has been
//! read for long enough, works out from that alone what each port should be, and compares it with what its driver was
//! last told *successfully*. So whatever failed or was missed is put right by the next poll.
//!
//! What is believed:
//!
//! - A reading counts once it has stayed the same for [`HOLD`]: drivers flap while they start. That a port which has not
//!   been up yet has no link counts after [`SLOW_HOLD`] only: links take their time to come up.
//! - A query that failed is no reading.
//! - A port that receives frames is not down. One that did so after it had been believed down cannot be believed when
//!   it reads down, until it has read up once.
//! - What a port reads that the box keeps down says nothing about its link.
//!
//! At most one of the two is kept down, and only while the other, which is not, is believed to have no link.
//! Forwarding itself never stops because a link reads down.

use std::time::{Duration, Instant};

/// How long a reading must stay the same before it counts.
pub const HOLD: Duration = Duration::from_secs(3);
/// The same for "down" of a port that has not been up since it was started or brought up.
pub const SLOW_HOLD: Duration = Duration::from_secs(30);
/// Pause after a first failed attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Which port of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the VMs.
    Inside,
    /// Towards the uplink.
    Outside,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inside, Self::Outside];

    /// As people know it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Inside => Self::Outside,
            Self::Outside => Self::Inside,
        }
    }
}

/// What a port was found to be. What could not be asked is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whether the driver reports a link.
    pub up: Option<bool>,
    /// Frames that have arrived so far.
    pub received: Option<u64>,
}

/// What came of telling a driver to take a port down or bring it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It did.
    Done,
    /// It never can.
    Unsupported,
    /// It did not this time.
    Failed(String),
}

/// Something to say about a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Its link is believed to be up (or not).
    Link(bool),
    /// It reads down and receives frames, so it is not down.
    ReceivesThoughDown,
    /// The box brought it up (or took it down).
    Set(bool),
    /// The box could not, for this reason, and goes on trying.
    NotSet(bool, String),
    /// Its driver can neither take it down nor bring it up.
    CannotBeSet,
}

/// What a driver was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Up,
    Down,
    /// It has not been told yet, or an attempt failed.
    Unsure,
}

#[derive(Clone, Copy, Debug)]
struct Port {
    set: Set,
    /// Whether the driver can be told at all.
    settable: bool,
    /// The last reading, and since when it has been so.
    reading: Option<(bool, Instant)>,
    received: Option<u64>,
    /// What is believed of its link.
    link: Option<bool>,
    /// It has read up since it was started or brought up.
    has_been_up: bool,
    /// It has received frames while it was believed down.
    lies: bool,
    /// Failed attempts to make it so, and when to try again.
    failed: Option<(bool, u32, Instant)>,
}

impl Port {
    const fn new(set: Set) -> Self {
        Self {
            set,
            settable: true,
            reading: None,
            received: None,
            link: None,
            has_been_up: false,
            lies: false,
            failed: None,
        }
    }

    /// Takes a reading; what follows from it for what is believed.
    fn observe(&mut self, now: Instant, reading: Reading) -> Option<News> {
        let received = reading.received.or(self.received);
        let arrives = self.received.is_some_and(|before| received > Some(before));
        self.received = received;
        let up = reading.up?;
        let before = self.reading.filter(|&(same, _)| same == up).map(|(_, since)| since);
        let quiet_since = before.filter(|_| up || !arrives).unwrap_or(now);
        self.reading = Some((up, quiet_since));
        if up {
            (self.has_been_up, self.lies) = (true, false);
        } else if before.is_some() && arrives && self.link == Some(false) {
            (self.link, self.lies) = (Some(true), true);
            return Some(News::ReceivesThoughDown);
        }
        let hold = if up || self.has_been_up { HOLD } else { SLOW_HOLD };
        if self.link == Some(up) || (self.lies && !up) || now.duration_since(quiet_since) < hold {
            return None;
        }
        self.link = Some(up);
        Some(News::Link(up))
    }

    /// Believed to have no link, and nothing says otherwise.
    fn is_dead(&self) -> bool {
        self.set == Set::Up && self.link == Some(false) && self.reading.is_some_and(|(up, _)| !up)
    }
}

/// A link.
#[derive(Clone, Debug)]
pub struct Link {
    propagate: bool,
    released: bool,
    ports: [Port; 2],
}

impl Link {
    /// A link of which nothing is known. Its ports are told to be up first, which undoes what a process before us that was
    /// killed may have left, and shows whether their drivers can be told. Without `propagate` they are left alone.
    #[must_use]
    pub fn new(propagate: bool) -> Self {
        let set = if propagate { Set::Unsure } else { Set::Up };
        Self { propagate, released: false, ports: [Port::new(set); 2] }
    }

    /// Takes a reading of a port.
    pub fn observe(&mut self, now: Instant, side: Side, reading: Reading) -> Option<News> {
        let port = self.port_mut(side);
        // Whoever was not told to be up may be down for that reason.
        if port.set == Set::Up { port.observe(now, reading) } else { None }
    }

    /// What to tell a port now, if it is not what it should be.
    #[must_use]
    pub fn due(&self, now: Instant, side: Side) -> Option<bool> {
        let (port, wanted) = (self.port(side), self.should_be_up(side));
        let is = match port.set {
            Set::Up => Some(true),
            Set::Down => Some(false),
            Set::Unsure => None,
        };
        if !port.settable || is == Some(wanted) {
            return None;
        }
        match port.failed {
            Some((same, _, next)) if same == wanted && now < next && !self.released => None,
            _ => Some(wanted),
        }
    }

    /// What came of telling it.
    pub fn told(&mut self, now: Instant, side: Side, up: bool, outcome: Told) -> Option<News> {
        let port = self.port_mut(side);
        match outcome {
            Told::Done => {
                // Its link comes up when it can; what was read before says nothing about that.
                let received = port.received;
                let news = port.set != Set::Unsure || port.failed.is_some();
                let lies = port.lies;
                *port = Port { received, lies, ..Port::new(if up { Set::Up } else { Set::Down }) };
                news.then_some(News::Set(up))
            }
            Told::Unsupported => {
                (port.settable, port.set, port.failed) = (false, Set::Up, None);
                Some(News::CannotBeSet)
            }
            Told::Failed(why) => {
                port.set = Set::Unsure;
                let times = port.failed.filter(|&(same, ..)| same == up).map_or(0, |(_, times, _)| times);
                let pause = PAUSE.saturating_mul(1 << times.min(8)).min(PAUSE_MAX);
                port.failed = Some((up, times + 1, now + pause));
                (times == 0).then_some(News::NotSet(up, why))
            }
        }
    }

    /// From now on no port is to be kept down: the box stops.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// Whether every port is as the box found it: none is kept down, nor may one be by an attempt that failed.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.ports.iter().all(|port| port.set == Set::Up || !port.settable)
    }

    /// What is believed of a port's link; nothing of one that the box keeps down.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn link(&self, side: Side) -> Option<bool> {
        self.port(side).link
    }

    /// Whether the box keeps a port down.
    #[must_use]
    pub fn is_kept_down(&self, side: Side) -> bool {
        self.port(side).set == Set::Down
    }

    /// Whether the loss of one port's link can be shown by the other.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn can_propagate(&self, to: Side) -> bool {
        self.propagate && self.port(to).settable
    }

    fn should_be_up(&self, side: Side) -> bool {
        let (port, other) = (self.port(side), self.port(side.other()));
        if !self.propagate || self.released {
            return true;
        }
        match port.set {
            Set::Down => other.link == Some(true),
            Set::Up | Set::Unsure => !(other.is_dead() && port.link == Some(true)),
        }
    }

    fn port(&self, side: Side) -> &Port {
        let [inside, outside] = &self.ports;
        match side {
            Side::Inside => inside,
            Side::Outside => outside,
        }
    }

    fn port_mut(&mut self, side: Side) -> &mut Port {
        let [inside, outside] = &mut self.ports;
        match side {
            Side::Inside => inside,
            Side::Outside => outside,
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
