//! The thread that asks drivers for links and tells them what to be.
//!
//! Apart from everything else, because a driver may take its time or hang. What it finds goes to the [`Board`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::link::{Link, News, Reading, Side, Told};
use crate::model::LinkIndex;
use crate::telemetry::board::Board;
use crate::telemetry::heartbeat::Heartbeat;
use crate::telemetry::ledger::LinkPorts;
use crate::telemetry::report::PortState;

/// How often ports are asked.
const POLL: Duration = Duration::from_millis(500);

/// The ports of every link.
pub trait Ports {
    /// Reads a port: its link and what arrived.
    fn read(&self, link: LinkIndex, side: Side) -> Reading;

    /// All that a port says of itself; what cannot be read is what it was.
    fn state(&self, link: LinkIndex, side: Side) -> PortState;

    /// Tells a port to be up or down.
    fn set(&self, link: LinkIndex, side: Side, up: bool) -> Told;
}

/// A link as configured.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Whether the loss of one side is shown by the other.
    pub propagate: bool,
}

/// What the thread works on.
pub struct Links<P> {
    ports: P,
    links: Vec<(String, Link)>,
}

impl<P: Ports> Links<P> {
    /// Over these ports, of which nothing is known.
    #[must_use]
    pub fn new(ports: P, links: Vec<Named>) -> Self {
        let link = |named: Named| (named.name, Link::new(named.propagate));
        Self { ports, links: links.into_iter().map(link).collect() }
    }

    /// Polls until told to stop, then brings up what it took down, as far as drivers obey.
    pub fn run(mut self, board: &Board, heart: &Heartbeat, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.poll(board, heart, Instant::now());
            std::thread::park_timeout(POLL);
        }
        self.release();
        while !self.poll(board, heart, Instant::now()) {
            std::thread::sleep(POLL);
        }
    }

    fn release(&mut self) {
        self.links.iter_mut().for_each(|(_, link)| link.release());
    }

    /// One poll of every link; whether nothing is kept down.
    fn poll(&mut self, board: &Board, heart: &Heartbeat, now: Instant) -> bool {
        for (at, (name, link)) in self.links.iter_mut().enumerate() {
            let index = LinkIndex(at);
            for side in Side::ALL {
                heart.beat();
                say(name, side, link.observe(now, side, self.ports.read(index, side)));
            }
            for side in Side::ALL {
                if let Some(up) = link.due(now, side) {
                    heart.beat();
                    let outcome = self.ports.set(index, side, up);
                    say(name, side, link.told(now, side, up, outcome));
                }
            }
            let [inside, outside] = Side::ALL.map(|side| {
                heart.beat();
                let mut state = self.ports.state(index, side);
                if let Some(state) = &mut state.link {
                    state.kept_down = link.is_kept_down(side);
                }
                state
            });
            board.put(index, LinkPorts { inside, outside });
        }
        self.links.iter().all(|(_, link)| link.is_released())
    }
}

fn say(link: &str, side: Side, news: Option<News>) {
    let name = side.name();
    match news {
        // The start has said so.
        None | Some(News::CannotBeSet) => {}
        Some(News::Link(true)) => info!("link {link}: {name} is up"),
        Some(News::Link(false)) => warn!("link {link}: {name} is down"),
        Some(News::ReceivesThoughDown) => {
            warn!("link {link}: {name} reads down but receives frames; it counts as up until it has read up once");
        }
        Some(News::Set(true)) => warn!("link {link}: {name} is brought up again"),
        Some(News::Set(false)) => warn!("link {link}: {name} is taken down: the other side has no link"),
        Some(News::NotSet(up, why)) => {
            let what = if up { "brought up" } else { "taken down" };
            warn!("link {link}: {name} cannot be {what}: {why}; it is tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::telemetry::report::LinkState;

    /// Ports that do as they are told, but for the first few times.
    struct Fake {
        up: RefCell<[bool; 2]>,
        inside_linked: bool,
        refusals: RefCell<u32>,
    }

    impl Ports for &Fake {
        fn read(&self, _: LinkIndex, side: Side) -> Reading {
            let up = self.up.borrow()[side as usize] && (side == Side::Outside || self.inside_linked);
            Reading { up: Some(up), received: None }
        }

        fn state(&self, link: LinkIndex, side: Side) -> PortState {
            let up = self.read(link, side).up.unwrap_or_default();
            let link = Some(LinkState { up, ..LinkState::default() });
            PortState { rx_tags_restored: 3, link, ..PortState::default() }
        }

        fn set(&self, _: LinkIndex, side: Side, up: bool) -> Told {
            let mut refusals = self.refusals.borrow_mut();
            if !up || *refusals == 0 {
                self.up.borrow_mut()[side as usize] = up;
                return Told::Done;
            }
            *refusals -= 1;
            Told::Failed("not now".into())
        }
    }

    #[test]
    fn a_stop_brings_up_what_was_kept_down_though_the_driver_refuses_at_first() {
        let fake = Fake { up: RefCell::new([true; 2]), inside_linked: false, refusals: RefCell::default() };
        let named = Named { name: "uplink".into(), propagate: true };
        let mut links = Links::new(&fake, vec![named]);
        let (board, heart, start) = (Board::new(1), Heartbeat::new("links"), Instant::now());
        for second in 0..40 {
            links.poll(&board, &heart, start + Duration::from_secs(second));
        }
        let LinkPorts { inside, outside } = board.link(LinkIndex(0));
        assert_eq!((inside.rx_tags_restored, outside.rx_tags_restored), (3, 3));
        let kept_down = [inside, outside].map(|port| port.link.is_some_and(|link| link.kept_down));
        assert_eq!(kept_down, [false, true]);
        assert_eq!(*fake.up.borrow(), [true, false]);
        assert!(heart.beats() >= 80, "it beats at each question to a driver");

        *fake.refusals.borrow_mut() = 2;
        links.run(&board, &heart, &AtomicBool::new(true));
        assert_eq!(*fake.up.borrow(), [true, true]);
    }
}
