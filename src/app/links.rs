//! Link state: polled, and carried over from one side of a link to the other.
//!
//! A switch or router behind the box should notice that the way through is interrupted. So when a port loses its link,
//! the other port of the pair is taken down, and brought up again when the link is back. What a port says is believed
//! only after it has said so for [`HOLD`]: drivers flap while they start, and some say "down" all the time (those never
//! had a link to lose). Forwarding itself never stops because a link reads down.

use std::time::{Duration, Instant};

/// How long a reading must stay the same before it counts.
pub const HOLD: Duration = Duration::from_secs(3);

/// Which port of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the VMs.
    Inside,
    /// Towards the uplink.
    Outside,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Inside => Self::Outside,
            Self::Outside => Self::Inside,
        }
    }
}

/// What to do, or to say, about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A port's link is up (`true`) or down and has been so for [`HOLD`].
    Changed(Side, bool),
    /// Take the port down: the other one has lost its link.
    TakeDown(Side),
    /// Bring the port up again: the other one has its link back.
    BringUp(Side),
}

/// A port's link as polled.
#[derive(Clone, Copy, Debug)]
struct Polled {
    /// The last reading, and since when it has been so.
    reading: Option<(bool, Instant)>,
    /// What counts.
    held: Option<bool>,
}

/// The state of one link.
#[derive(Clone, Debug)]
pub struct LinkWatch {
    propagate: bool,
    polled: [Polled; 2],
    /// The side that the box itself took down.
    taken_down: Option<Side>,
}

impl LinkWatch {
    /// A link of which nothing is known.
    #[must_use]
    pub fn new(propagate: bool) -> Self {
        Self { propagate, polled: [Polled { reading: None, held: None }; 2], taken_down: None }
    }

    /// What is held of a side: up, down, or not known yet.
    #[must_use]
    pub fn held(&self, side: Side) -> Option<bool> {
        self.side(side).held
    }

    /// Takes a reading of both sides; what follows from it, in order.
    pub fn poll(&mut self, now: Instant, inside_up: bool, outside_up: bool) -> Vec<Event> {
        let mut events = Vec::new();
        for (side, up) in [(Side::Inside, inside_up), (Side::Outside, outside_up)] {
            // A port that the box took down reads down: that says nothing about its link.
            if self.taken_down == Some(side) {
                continue;
            }
            let Some(before) = self.observe(side, now, up) else { continue };
            events.push(Event::Changed(side, up));
            let other = side.other();
            match (before, up) {
                (Some(true), false)
                    if self.propagate && self.taken_down.is_none() && self.held(other) == Some(true) =>
                {
                    self.taken_down = Some(other);
                    events.push(Event::TakeDown(other));
                }
                (_, true) if self.taken_down == Some(other) => {
                    self.taken_down = None;
                    // Its link comes up when it can; until then the reading starts anew.
                    *self.side_mut(other) = Polled { reading: None, held: None };
                    events.push(Event::BringUp(other));
                }
                _ => {}
            }
        }
        events
    }

    /// A port could not be taken down or brought up: carry on without propagation.
    pub fn give_up(&mut self) {
        self.propagate = false;
        self.taken_down = None;
    }

    /// The side that is down because the box took it down.
    #[must_use]
    pub fn taken_down(&self) -> Option<Side> {
        self.taken_down
    }

    /// Notes a reading; what was held before, when it has now been replaced.
    fn observe(&mut self, side: Side, now: Instant, up: bool) -> Option<Option<bool>> {
        let polled = self.side_mut(side);
        let since = match polled.reading {
            Some((same, since)) if same == up => since,
            _ => now,
        };
        polled.reading = Some((up, since));
        if polled.held == Some(up) || now.duration_since(since) < HOLD {
            return None;
        }
        Some(polled.held.replace(up))
    }

    fn side(&self, side: Side) -> &Polled {
        let [inside, outside] = &self.polled;
        match side {
            Side::Inside => inside,
            Side::Outside => outside,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut Polled {
        let [inside, outside] = &mut self.polled;
        match side {
            Side::Inside => inside,
            Side::Outside => outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Event::{BringUp, Changed, TakeDown};
    use super::Side::{Inside, Outside};
    use super::*;

    /// Polls once a second from second `from` until before second `to`; what happened, with the second.
    fn run(
        watch: &mut LinkWatch,
        start: Instant,
        seconds: std::ops::Range<u64>,
        up: (bool, bool),
    ) -> Vec<(u64, Event)> {
        let at = |second| start + Duration::from_secs(second);
        seconds.flat_map(|s| watch.poll(at(s), up.0, up.1).into_iter().map(move |event| (s, event))).collect()
    }

    #[test]
    fn a_lost_link_takes_the_other_side_down_after_three_seconds() {
        let (mut watch, start) = (LinkWatch::new(true), Instant::now());
        assert_eq!(
            run(&mut watch, start, 0..10, (true, true)),
            [(3, Changed(Inside, true)), (3, Changed(Outside, true))]
        );
        assert_eq!(
            run(&mut watch, start, 10..20, (false, true)),
            [(13, Changed(Inside, false)), (13, TakeDown(Outside))]
        );
        assert_eq!(run(&mut watch, start, 20..30, (false, false)), [], "the side that the box took down says nothing");
        assert_eq!(
            run(&mut watch, start, 30..34, (true, false)),
            [(33, Changed(Inside, true)), (33, BringUp(Outside))]
        );
        assert_eq!(run(&mut watch, start, 34..40, (true, true)), [(37, Changed(Outside, true))]);
    }

    #[test]
    fn a_flapping_link_changes_nothing() {
        let (mut watch, start) = (LinkWatch::new(true), Instant::now());
        run(&mut watch, start, 0..10, (true, true));
        for second in 10..40 {
            assert_eq!(run(&mut watch, start, second..second + 1, (second % 3 == 0, true)), []);
        }
    }

    #[test]
    fn a_port_that_never_had_a_link_has_none_to_lose() {
        let (mut watch, start) = (LinkWatch::new(true), Instant::now());
        assert_eq!(
            run(&mut watch, start, 0..60, (false, true)),
            [(3, Changed(Inside, false)), (3, Changed(Outside, true))]
        );
    }

    #[test]
    fn two_lost_links_do_not_lock_each_other() {
        let (mut watch, start) = (LinkWatch::new(true), Instant::now());
        run(&mut watch, start, 0..10, (true, true));
        let events = run(&mut watch, start, 10..20, (false, false));
        assert_eq!(events, [(13, Changed(Inside, false)), (13, TakeDown(Outside))]);
        let events = run(&mut watch, start, 20..30, (true, true));
        assert_eq!(events, [(23, Changed(Inside, true)), (23, BringUp(Outside)), (26, Changed(Outside, true))]);
    }

    #[test]
    fn propagation_can_be_switched_off() {
        let (mut watch, start) = (LinkWatch::new(false), Instant::now());
        run(&mut watch, start, 0..10, (true, true));
        assert_eq!(run(&mut watch, start, 10..20, (true, false)), [(13, Changed(Outside, false))]);
    }
}
