use proptest::prelude::*;

use super::Side::{Inside, Outside};
use super::*;

const POLL: Duration = Duration::from_millis(500);

/// Two ports with cables and drivers, polled by the box.
struct Lab {
    link: Link,
    now: Instant,
    start: Instant,
    /// Whether the cable has a link, by side.
    cable: [bool; 2],
    /// What the driver was told with success.
    up: [bool; 2],
    /// Polls that a port takes until its link is up, and how many it has had.
    slow: [u32; 2],
    waited: [u32; 2],
    received: [u64; 2],
    /// Frames arrive, whatever the port reads.
    arrives: [bool; 2],
    /// It reads down, whatever there is.
    reads_down: [bool; 2],
    deaf: bool,
    refuses: bool,
    news: Vec<(u64, Side, News)>,
}

impl Lab {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            link: Link::new(true),
            now: start,
            start,
            cable: [true; 2],
            up: [true; 2],
            slow: [0; 2],
            waited: [0; 2],
            received: [0; 2],
            arrives: [false; 2],
            reads_down: [false; 2],
            deaf: false,
            refuses: false,
            news: Vec::new(),
        }
    }

    fn poll(&mut self) {
        let second = self.now.duration_since(self.start).as_secs();
        for (at, side) in Side::ALL.into_iter().enumerate() {
            let linked = self.cable[at] && self.up[at];
            self.waited[at] = if linked { self.waited[at] + 1 } else { 0 };
            self.received[at] += u64::from(self.arrives[at] && self.up[at]);
            let up = linked && self.waited[at] > self.slow[at] && !self.reads_down[at];
            let reading = Reading { up: (!self.deaf).then_some(up), received: Some(self.received[at]) };
            self.news.extend(self.link.observe(self.now, side, reading).map(|news| (second, side, news)));
        }
        for (at, side) in Side::ALL.into_iter().enumerate() {
            if let Some(up) = self.link.due(self.now, side) {
                let outcome = if self.refuses { Told::Failed("no".into()) } else { Told::Done };
                if outcome == Told::Done {
                    self.up[at] = up;
                }
                self.news.extend(self.link.told(self.now, side, up, outcome).map(|news| (second, side, news)));
            }
            assert_ne!(self.up, [false; 2], "never both");
        }
        self.now += POLL;
    }

    fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.poll();
        }
    }

    /// The news of so many seconds.
    fn news_of(&mut self, seconds: u64) -> Vec<(u64, Side, News)> {
        self.news.clear();
        self.seconds(seconds);
        std::mem::take(&mut self.news)
    }

    /// What the cables demand, once nothing has changed for long enough.
    fn demand(&self) {
        match self.cable {
            [true, true] => assert_eq!(self.up, [true, true], "both have a link"),
            [true, false] => assert_eq!(self.up, [false, true], "outside has none, so inside shows it"),
            [false, true] => assert_eq!(self.up, [true, false], "inside has none, so outside shows it"),
            [false, false] => assert_ne!(self.up, [false, false], "none would ever come up"),
        }
    }
}

#[test]
fn a_lost_link_takes_the_other_side_down_after_three_seconds_and_brings_it_back() {
    let mut lab = Lab::new();
    assert_eq!(lab.news_of(10), [(3, Inside, News::Link(true)), (3, Outside, News::Link(true))]);
    lab.cable = [false, true];
    assert_eq!(lab.news_of(10), [(13, Inside, News::Link(false)), (13, Outside, News::Set(false))]);
    assert_eq!(lab.news_of(10), [], "the side that the box keeps down says nothing");
    lab.cable = [true, true];
    assert_eq!(lab.news_of(4), [(33, Inside, News::Link(true)), (33, Outside, News::Set(true))]);
    assert_eq!(lab.news_of(6), [(36, Outside, News::Link(true))]);
}

#[test]
fn a_side_that_dies_while_the_other_is_coming_up_is_not_missed() {
    let mut lab = Lab::new();
    lab.slow = [0, 40]; // Outside takes 20 s to come up.
    lab.seconds(25);
    lab.cable[0] = false;
    lab.seconds(10);
    assert!(!lab.up[1]);
    lab.cable[0] = true;
    lab.seconds(4);
    assert!(lab.up[1], "brought up again, and slow");
    lab.cable[0] = false;
    lab.seconds(24);
    assert!(!lab.up[1], "it came up late, behind a side that is dead");
    lab.demand();
}

#[test]
fn a_side_that_is_dead_from_the_start_is_shown_when_it_has_had_its_time() {
    let mut lab = Lab::new();
    lab.cable = [false, true];
    lab.seconds(29);
    assert_eq!(lab.up, [true, true], "links take their time to come up");
    lab.seconds(3);
    lab.demand();
    lab.cable = [true, true];
    lab.seconds(8);
    lab.demand();
}

#[test]
fn slow_ports_at_start_are_not_taken_down() {
    for slow in [[50, 4], [4, 50], [50, 50]] {
        let mut lab = Lab::new();
        lab.slow = slow;
        lab.seconds(60);
        let set = lab.news.iter().filter(|(.., news)| matches!(news, News::Set(_))).count();
        assert_eq!(set, 0, "{slow:?}: {:?}", lab.news);
    }
}

#[test]
fn a_port_that_is_brought_up_has_time_to_come_up() {
    let mut lab = Lab::new();
    lab.slow = [20, 20];
    lab.seconds(20);
    lab.cable[0] = false;
    lab.seconds(10);
    lab.cable[0] = true;
    let news = lab.news_of(120);
    let set: Vec<_> = news.iter().filter(|(.., news)| matches!(news, News::Set(_))).collect();
    assert_eq!(set.len(), 1, "once, and no going to and fro: {news:?}");
    lab.demand();
}

#[test]
fn a_flapping_link_changes_nothing() {
    let mut lab = Lab::new();
    lab.seconds(10);
    lab.news.clear();
    for second in 0..60 {
        lab.cable[0] = second % 3 == 0;
        lab.seconds(1);
    }
    assert_eq!(lab.news, []);
}

#[test]
fn two_lost_links_do_not_lock_each_other() {
    let mut lab = Lab::new();
    lab.seconds(10);
    lab.cable = [false, false];
    lab.seconds(600);
    assert_eq!(lab.up, [true, true], "neither has a link to lose");
    lab.cable = [true, true];
    lab.seconds(10);
    lab.demand();
}

#[test]
fn a_query_that_fails_cuts_nobody() {
    let mut lab = Lab::new();
    lab.seconds(10);
    lab.deaf = true;
    assert_eq!(lab.news_of(3600), []);
    lab.deaf = false;
    lab.cable[0] = false;
    lab.seconds(4);
    lab.demand();
}

#[test]
fn a_failed_bring_up_is_tried_again_until_it_works_and_spoken_of_once() {
    let mut lab = Lab::new();
    lab.seconds(10);
    lab.cable[0] = false;
    lab.seconds(5);
    (lab.cable[0], lab.refuses) = (true, true);
    let news = lab.news_of(600);
    assert_eq!(news, [(18, Inside, News::Link(true)), (18, Outside, News::NotSet(true, "no".into()))]);
    lab.refuses = false;
    let news = lab.news_of(6);
    assert!(matches!(news[..], [(_, Outside, News::Set(true)), ..]), "{news:?}");
    lab.seconds(5);
    lab.demand();
}

#[test]
fn a_take_down_that_half_worked_is_undone() {
    let mut lab = Lab::new();
    lab.seconds(10);
    (lab.cable[0], lab.refuses) = (false, true);
    lab.seconds(10);
    lab.up[1] = false; // The driver said no, and did it.
    (lab.cable[0], lab.refuses) = (true, false);
    lab.seconds(10);
    lab.demand();
}

#[test]
fn a_port_that_receives_is_not_down_whatever_it_reads() {
    let mut lab = Lab::new();
    (lab.reads_down[0], lab.arrives[0]) = (true, true);
    lab.seconds(120);
    assert_eq!(lab.up, [true, true]);
    // It falls silent, is believed down, and its first frame shows that it was not.
    lab.arrives[0] = false;
    lab.seconds(31);
    assert_eq!(lab.up, [true, false]);
    lab.arrives[0] = true;
    lab.seconds(1);
    assert!(lab.news.iter().any(|(_, side, news)| (*side, news) == (Inside, &News::ReceivesThoughDown)));
    assert_eq!(lab.up, [true, true], "at once");
    lab.arrives[0] = false;
    lab.seconds(3600);
    assert_eq!(lab.up, [true, true], "nobody falls for it twice");
    lab.reads_down[0] = false;
    lab.seconds(5);
    lab.cable[0] = false;
    lab.seconds(5);
    assert_eq!(lab.up, [true, false], "it has read up, so its word counts again");
}

#[test]
fn a_stop_leaves_no_port_down() {
    let mut lab = Lab::new();
    lab.seconds(10);
    lab.cable[0] = false;
    lab.seconds(10);
    assert!(!lab.up[1] && !lab.link.is_released());
    lab.refuses = true;
    lab.link.release();
    lab.poll();
    assert!(!lab.link.is_released());
    lab.refuses = false;
    lab.poll();
    assert!(lab.link.is_released(), "no pause keeps a stop from trying again");
    assert_eq!(lab.up, [true, true]);
}

#[test]
fn a_driver_that_cannot_is_asked_once_and_said_so() {
    let mut link = Link::new(true);
    let now = Instant::now();
    for side in Side::ALL {
        assert_eq!(link.due(now, side), Some(true), "undoes what another process left, and shows what can be done");
        assert_eq!(link.told(now, side, true, Told::Unsupported), Some(News::CannotBeSet));
        assert_eq!(link.due(now, side), None);
        assert!(!link.can_propagate(side));
    }
    for second in 0..600 {
        let now = now + Duration::from_secs(second);
        for (side, up) in [(Inside, second < 10), (Outside, true)] {
            link.observe(now, side, Reading { up: Some(up), received: None });
            assert_eq!(link.due(now, side), None);
        }
    }
    assert_eq!((link.link(Inside), link.link(Outside)), (Some(false), Some(true)), "its link is known all the same");
}

#[test]
fn without_propagation_ports_are_left_alone() {
    let mut lab = Lab::new();
    lab.link = Link::new(false);
    lab.seconds(10);
    lab.cable = [true, false];
    assert_eq!(lab.news_of(60), [(13, Outside, News::Link(false))]);
    assert_eq!(lab.up, [true, true]);
    lab.link.release();
    assert!(lab.link.is_released());
}

/// Each sequence of five states of two cables, each for a time that matters.
#[test]
fn whatever_happened_constant_cables_are_shown_in_the_end() {
    let states = [[true, true], [true, false], [false, true], [false, false]];
    for seconds in [2, 4, 35] {
        for path in 0..4_usize.pow(5) {
            let mut lab = Lab::new();
            lab.slow = [0, 3];
            for step in 0..5 {
                lab.cable = states[path / 4_usize.pow(step) % 4];
                lab.seconds(seconds);
            }
            lab.seconds(80);
            lab.demand();
        }
    }
}

#[derive(Clone, Debug)]
struct Phase {
    seconds: u64,
    cable: [bool; 2],
    arrives: [bool; 2],
    reads_down: [bool; 2],
    deaf: bool,
    refuses: bool,
}

fn phase() -> impl Strategy<Value = Phase> {
    let pair = || any::<[bool; 2]>();
    let seldom = || prop::bool::weighted(0.2);
    let lies = (seldom(), seldom()).prop_map(|(inside, outside)| [inside, outside]);
    (1..60_u64, pair(), pair(), lies, seldom(), seldom()).prop_map(
        |(seconds, cable, arrives, reads_down, deaf, refuses)| Phase {
            seconds,
            cable,
            arrives,
            reads_down,
            deaf,
            refuses,
        },
    )
}

proptest! {
    /// Slow ports, failed queries, refused commands, drivers that lie: once all that is over and the cables stay as they
    /// are, the ports are what the cables demand, and nothing more is done.
    #[test]
    fn whatever_happened_the_ports_are_what_constant_readings_demand(
        phases in prop::collection::vec(phase(), 0..12),
        slow in [0..55_u32, 0..55_u32],
        cable in any::<[bool; 2]>(),
    ) {
        let mut lab = Lab::new();
        lab.slow = slow;
        for phase in phases {
            let Phase { seconds, cable, arrives, reads_down, deaf, refuses } = phase;
            lab.cable = cable;
            // Frames arrive through a cable that has a link only.
            lab.arrives = [arrives[0] && cable[0], arrives[1] && cable[1]];
            (lab.reads_down, lab.deaf, lab.refuses) = (reads_down, deaf, refuses);
            lab.seconds(seconds);
        }
        lab.cable = cable;
        (lab.arrives, lab.reads_down, lab.deaf, lab.refuses) = ([false; 2], [false; 2], false, false);
        lab.seconds(120);
        // A port that was caught lying is not believed before it has read up once.
        let caught = lab.link.ports.iter().any(|port| port.lies);
        if !caught {
            lab.demand();
            let news = lab.news_of(60);
            prop_assert!(news.is_empty(), "it has come to rest: {:?}", news);
        }
        lab.link.release();
        lab.poll();
        prop_assert_eq!(lab.up, [true, true]);
    }
}
