//! What was counted, put together for whoever asks: the sums of all workers, what the ports say of themselves, and what
//! each VM's counters started from.
//!
//! A [`Ledger`] is shared and read from any thread without a lock; workers never wait for it. Numbers of VMs are given
//! out again, so a VM's count is what was counted under its number less what had been counted before it came: its
//! *start*, which [`Starts`] keeps for the one who gives numbers out. A reader takes number and start together, sums
//! without haste, and then asks [`Ledger::retired`] whether some number has changed hands meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::counters::{Block, LaneCounts};
use super::denials::DenialCounts;
use super::report::{Both, Judged, LinkReport, Named, PortReport, PortState, Report, SCHEMA};
use crate::model::{Direction, LinkIndex, Revision, VmIndex, Way};
use crate::policy::{DropReason, Observed};

/// What the ports of a link say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPorts {
    /// The inside port.
    pub inside: PortState,
    /// The outside port.
    pub outside: PortState,
}

type Ports = Box<dyn Fn(LinkIndex) -> LinkPorts + Send + Sync>;

/// The counters of every worker, and the names of what they count.
pub struct Ledger {
    /// One of each worker.
    blocks: Vec<Arc<Block>>,
    /// Names, in the order of the configuration.
    links: Vec<String>,
    ports: Ports,
    log_lines_lost: fn() -> u64,
    /// How often numbers of VMs were given back.
    retired: AtomicU64,
}

impl Ledger {
    /// Over the counters of each worker, and the names of the links.
    #[must_use]
    pub fn new(blocks: Vec<Arc<Block>>, links: Vec<String>) -> Self {
        Self {
            blocks,
            links,
            ports: Box::new(|_| LinkPorts::default()),
            log_lines_lost: || 0,
            retired: AtomicU64::new(0),
        }
    }

    /// Where to ask the ports about themselves; nobody unless said.
    #[must_use]
    pub fn with_ports(mut self, ports: impl Fn(LinkIndex) -> LinkPorts + Send + Sync + 'static) -> Self {
        self.ports = Box::new(ports);
        self
    }

    /// Where to ask how many lines of the log were lost; none unless said.
    #[must_use]
    pub fn with_log(mut self, lines_lost: fn() -> u64) -> Self {
        self.log_lines_lost = lines_lost;
        self
    }

    /// The statistics document of this moment, without VMs.
    #[must_use]
    pub fn report(&self, revision: Revision) -> Report {
        let mut totals = Both::<LaneCounts>::default();
        let mut balanced = true;
        let links = self.links.iter().enumerate().map(|(at, name)| {
            let by_worker = Both::of(|direction| self.lanes(Way { link: LinkIndex(at), direction }));
            let lanes = Both::of(|direction| sum(by_worker.way(direction)));
            balanced &= lanes.egress.is_balanced() && lanes.ingress.is_balanced();
            totals.egress.add(&lanes.egress);
            totals.ingress.add(&lanes.ingress);
            // What enters by one port leaves by the other: egress is received inside and sent outside.
            let port = |entering: Direction, leaving: Direction, device| PortReport {
                rx: lanes.way(entering).rx,
                tx: lanes.way(leaving).tx,
                device,
                rx_by_worker: by_worker.way(entering).iter().map(|lane| lane.rx).collect(),
            };
            let LinkPorts { inside, outside } = (self.ports)(LinkIndex(at));
            let inside = port(Direction::Egress, Direction::Ingress, inside);
            let outside = port(Direction::Ingress, Direction::Egress, outside);
            (name.clone(), LinkReport { inside, outside })
        });
        let links = links.collect();
        Report {
            schema: SCHEMA,
            revision,
            daemon: None,
            links,
            workers: self.blocks.iter().map(|block| block.load().read()).collect(),
            reasons: Both::of(|way| {
                DropReason::ALL.into_iter().map(|reason| (reason.name(), totals.way(way).dropped(reason))).collect()
            }),
            would_deny: Both::of(|way| {
                DropReason::ALL.into_iter().map(|reason| (reason.name(), totals.way(way).spared(reason))).collect()
            }),
            observed: Both::of(|way| {
                Observed::ALL.into_iter().map(|seen| (seen.name(), totals.way(way).seen(seen))).collect()
            }),
            vms: Named::default(),
            unknown: self.counted(None),
            log_lines_lost: (self.log_lines_lost)(),
            balanced,
        }
    }

    /// All workers together.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn lane(&self, way: Way) -> LaneCounts {
        sum(&self.lanes(way))
    }

    /// Each worker by itself.
    fn lanes(&self, way: Way) -> Vec<LaneCounts> {
        self.blocks.iter().map(|block| block.lane(way)).collect()
    }

    /// All workers together, since start-up: under a VM's number, or for no VM.
    #[must_use]
    pub fn counted(&self, index: Option<VmIndex>) -> Judged {
        let mut sum = Judged::default();
        for block in &self.blocks {
            sum.add(Both::of(|direction| block.judged(index, direction)));
        }
        sum
    }

    /// Denied frames of all workers together, since start-up, kind by kind: under a VM's number, or of no VM.
    #[must_use]
    pub fn denied(&self, index: Option<VmIndex>) -> DenialCounts {
        let mut sum = DenialCounts::default();
        self.blocks.iter().for_each(|block| block.denied(index, &mut sum));
        sum
    }

    /// How often numbers were given back. A reader that finds it where it was when numbers and starts were taken has
    /// summed what belongs to those VMs.
    #[must_use]
    pub fn retired(&self) -> u64 {
        fence(Ordering::Acquire);
        self.retired.load(Ordering::Acquire)
    }
}

fn sum(lanes: &[LaneCounts]) -> LaneCounts {
    let mut sum = LaneCounts::default();
    lanes.iter().for_each(|lane| sum.add(lane));
    sum
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("workers", &self.blocks.len())
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

/// What had been counted under a number before it was its present VM's.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Judged frames.
    pub judged: Judged,
    /// Denied ones.
    pub denied: DenialCounts,
}

/// What had been counted under each number before it was its present VM's. Kept by who gives the numbers out.
#[derive(Debug, Default)]
pub struct Starts(HashMap<VmIndex, Start>);

impl Starts {
    /// Where the count of the VM that has this number starts.
    #[must_use]
    pub fn of(&self, index: VmIndex) -> Judged {
        self.0.get(&index).map(|start| start.judged).unwrap_or_default()
    }

    /// The same of each kind of denial.
    #[must_use]
    pub fn of_denied(&self, index: VmIndex) -> DenialCounts {
        self.0.get(&index).map(|start| start.denied.clone()).unwrap_or_default()
    }

    /// What was counted for the VM that has this number.
    #[must_use]
    pub fn judged(&self, ledger: &Ledger, index: VmIndex) -> Judged {
        ledger.counted(Some(index)).since(self.of(index))
    }

    /// Which of its frames were denied.
    #[must_use]
    pub fn denied(&self, ledger: &Ledger, index: VmIndex) -> DenialCounts {
        ledger.denied(Some(index)).since(&self.of_denied(index))
    }

    /// These VMs are gone, and no worker counts for them any more: the next VM of the number starts here. To be called
    /// before there can be one.
    pub fn retire(&mut self, ledger: &Ledger, numbers: impl IntoIterator<Item = VmIndex>) {
        let mut any = false;
        for index in numbers {
            any = true;
            match ledger.counted(Some(index)) {
                none if none.is_zero() => self.0.remove(&index),
                judged => self.0.insert(index, Start { judged, denied: ledger.denied(Some(index)) }),
            };
        }
        if any {
            ledger.retired.fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::PortLosses;
    use super::*;
    use crate::policy::Tally;
    use crate::telemetry::counters::BurstCounts;

    const EGRESS: Way = Way { link: LinkIndex(0), direction: Direction::Egress };

    fn ledger() -> (Ledger, Vec<Arc<Block>>) {
        let blocks: Vec<_> = (0..2).map(|_| Arc::new(Block::new(1, 4))).collect();
        (Ledger::new(blocks.clone(), vec!["uplink".into()]), blocks)
    }

    #[test]
    fn workers_are_added_up_and_each_frame_leaves_by_the_other_port() {
        let (ledger, blocks) = ledger();
        let missed = PortState { losses: PortLosses { rx_missed: 7, ..PortLosses::default() }, ..PortState::default() };
        let says = missed.clone();
        let ledger =
            ledger.with_ports(move |_| LinkPorts { outside: says.clone(), ..LinkPorts::default() }).with_log(|| 3);
        for (block, more) in blocks.iter().zip(0..) {
            let mut burst = BurstCounts::default();
            burst.received(5 + more);
            burst.sent(4 + more);
            burst.dropped(DropReason::PortClosed, 1);
            burst.observed(Observed::UdpMail);
            block.add_burst(EGRESS, &mut burst);
            block.add_judged(None, Direction::Ingress, Tally::Allowed);
        }
        let report = ledger.report(Revision(3));
        let link = report.links.get("uplink").unwrap();
        assert_eq!((link.inside.rx, link.outside.tx, &link.outside.device), (11, 9, &missed));
        assert_eq!((&*link.inside.rx_by_worker, &*link.outside.rx_by_worker), (&[5, 6][..], &[0, 0][..]));
        assert_eq!(report.log_lines_lost, 3);
        assert_eq!(report.reasons.egress.get("port_closed"), Some(&2));
        assert_eq!(report.reasons.ingress.get("port_closed"), Some(&0), "zeros too");
        assert_eq!(report.observed.egress.get("udp_mail"), Some(&2));
        assert_eq!((report.unknown.ingress.allowed, report.sent(Direction::Egress)), (2, 9));
        assert!(report.balanced);
    }

    #[test]
    fn one_frame_unaccounted_for_breaks_the_balance() {
        let (ledger, blocks) = ledger();
        let mut burst = BurstCounts::default();
        burst.received(1);
        blocks[1].add_burst(Way { direction: Direction::Ingress, ..EGRESS }, &mut burst);
        assert!(!ledger.report(Revision(0)).balanced);
    }

    #[test]
    fn a_number_that_is_given_out_again_starts_at_zero_and_readers_notice() {
        let (ledger, blocks) = ledger();
        let (mut starts, vm) = (Starts::default(), VmIndex(2));
        let denied = |starts: &Starts| starts.judged(&ledger, vm).egress.denied;
        blocks[0].add_judged(Some(vm), Direction::Egress, Tally::Denied);
        blocks[1].add_judged(Some(vm), Direction::Egress, Tally::Denied);
        assert_eq!(denied(&starts), 2);
        let before = ledger.retired();
        starts.retire(&ledger, []);
        assert_eq!(ledger.retired(), before);
        starts.retire(&ledger, [vm]);
        assert_ne!(ledger.retired(), before);
        assert_eq!(denied(&starts), 0);
        blocks[1].add_judged(Some(vm), Direction::Egress, Tally::Denied);
        assert_eq!(denied(&starts), 1);
    }
}
