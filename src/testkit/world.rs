//! Who is known to the box, what is configured, and what becomes of a frame in that world.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::station::Station;
use crate::config::{Config, Link};
use crate::dataplane::{LinkQueues, Pipeline, QueuePair, Rejecter, Responder, Witness, Worker};
use crate::model::{Direction, LinkIndex, MacAddr, Mode, Scope, VmIndex, Way};
use crate::policy::document::{ClassSection, RelaySection, Via, VlanKey, VlanScope};
use crate::policy::{
    self, Decision, Deny, DropReason, Guard, IdentityLevel, Observed, PortRange, Settings, Snapshot, Tally, Verdict,
};
use crate::port::memory::{Burst, Frame, Sink, Source};
use crate::table::Capacity;
use crate::telemetry::counters::{Block, LaneCounts, VmCounts};
use crate::telemetry::denials::DenialCounts;
use crate::vm::clock::Clock;
use crate::vm::edit::Edit;
use crate::vm::record::VmSet;
use crate::vm::registry::Registry;

const LINK: LinkIndex = LinkIndex(0);
const VMS_MAX: u32 = 64;
/// When a world begins.
pub const NOW: &str = "2026-12-01T10:00:00Z";

/// A world in the making: configuration and VMs.
#[derive(Clone, Debug)]
pub struct WorldBuilder {
    config: Config,
    vms: Vec<VmSet>,
}

/// A world of one link, without VMs, with the configuration's defaults.
#[must_use]
pub fn world() -> WorldBuilder {
    let link = "[[link]]\nname = \"link0\"\ninside = \"net_null0\"\noutside = \"net_null1\"\n";
    WorldBuilder { config: Config::parse(link, Path::new("testkit")).unwrap(), vms: Vec::new() }
}

impl WorldBuilder {
    /// A VM without a public IPv4 address.
    #[must_use]
    pub fn restricted(self, vm: Station) -> Self {
        self.vm(&format!(r#"{{"id":"{}","macs":["{}"],"ips":["{}","{}"]}}"#, vm.id, vm.mac, vm.ipv4, vm.ipv6))
    }

    /// A VM with one.
    #[must_use]
    pub fn unrestricted(self, vm: Station) -> Self {
        let Station { id, mac, ipv4, ipv6 } = vm;
        self.vm(&format!(r#"{{"id":"{id}","macs":["{mac}"],"ips":["{ipv6}"],"public_ipv4":"{ipv4}"}}"#))
    }

    /// A VM whose class the operator set.
    #[must_use]
    pub fn of_class(self, vm: Station, class: &str) -> Self {
        let Station { id, mac, ipv4, ipv6 } = vm;
        self.vm(&format!(r#"{{"id":"{id}","macs":["{mac}"],"ips":["{ipv4}","{ipv6}"],"class":"{class}"}}"#))
    }

    /// A VM without a public IPv4 address that is only watched.
    #[must_use]
    pub fn monitored(self, vm: Station) -> Self {
        let Station { id, mac, ipv4, ipv6 } = vm;
        self.vm(&format!(r#"{{"id":"{id}","macs":["{mac}"],"ips":["{ipv4}","{ipv6}"],"mode":"monitor"}}"#))
    }

    /// A VM without a public IPv4 address that may do some things all the same: exceptions, as JSON.
    #[must_use]
    pub fn restricted_but(self, vm: Station, exceptions: &str) -> Self {
        let Station { id, mac, ipv4, ipv6 } = vm;
        self.vm(&format!(r#"{{"id":"{id}","macs":["{mac}"],"ips":["{ipv4}","{ipv6}"],"exceptions":{exceptions}}}"#))
    }

    /// Any VM, as a line of JSON.
    #[must_use]
    pub fn vm(mut self, line: &str) -> Self {
        self.vms.push(serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")));
        self
    }

    /// A class of the configuration, or other ports for `restricted`.
    #[must_use]
    pub fn class(self, name: &str, ports: &[u16]) -> Self {
        self.class_in_mode(name, ports, Mode::Enforce)
    }

    /// A class whose VMs are only watched.
    #[must_use]
    pub fn monitored_class(self, name: &str, ports: &[u16]) -> Self {
        self.class_in_mode(name, ports, Mode::Monitor)
    }

    fn class_in_mode(mut self, name: &str, ports: &[u16], mode: Mode) -> Self {
        let ports = ports.iter().copied().map(PortRange::from).collect();
        self.config.classes.insert(name.to_owned(), ClassSection { ports, mode, deny: None });
        self
    }

    /// A class that says itself what becomes of what it denies.
    #[must_use]
    pub fn class_that(mut self, name: &str, ports: &[u16], deny: Deny) -> Self {
        self = self.class(name, ports);
        self.config.classes.get_mut(name).unwrap().deny = Some(deny);
        self
    }

    /// `policy.deny = "reject"`
    #[must_use]
    pub fn rejects(mut self) -> Self {
        self.config.policy.deny = Deny::Reject;
        self
    }

    /// Both addresses of a station are what the box answers from.
    #[must_use]
    pub fn rejects_from(mut self, station: Station) -> Self {
        let link = self.config.links.first_mut().unwrap();
        (link.reject_ipv4, link.reject_ipv6) = (Some(station.ipv4), Some(station.ipv6));
        self.rejects()
    }

    /// `policy.unknown_class`
    #[must_use]
    pub fn unknown_class(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.policy.unknown_class);
        self
    }

    /// `policy.mode = "monitor"`
    #[must_use]
    pub fn box_monitors(mut self) -> Self {
        self.config.policy.mode = Mode::Monitor;
        self
    }

    /// `policy.identity`
    #[must_use]
    pub fn identity(mut self, level: IdentityLevel) -> Self {
        self.config.policy.identity = level;
        self
    }

    /// `policy.guards`
    #[must_use]
    pub fn guards(mut self, guards: &[Guard]) -> Self {
        self.config.policy.guards = Some(guards.to_vec());
        self
    }

    /// A gateway's address, which only routers of the link claim.
    #[must_use]
    pub fn protect(mut self, address: IpAddr) -> Self {
        self.config.links.first_mut().unwrap().protect.push(address);
        self
    }

    /// `policy.directions`
    #[must_use]
    pub fn directions(mut self, directions: &[Direction]) -> Self {
        self.config.policy.directions = directions.to_vec();
        self
    }

    /// `policy.via`
    #[must_use]
    pub fn via(mut self, router: MacAddr) -> Self {
        self.config.policy.via.push(router);
        self
    }

    /// A relay, at both addresses of a station.
    #[must_use]
    pub fn relay(mut self, station: Station, ports: &[u16]) -> Self {
        for prefix in [IpAddr::V4(station.ipv4).into(), IpAddr::V6(station.ipv6).into()] {
            let ports = ports.iter().copied().map(PortRange::from).collect();
            self.config.policy.relays.push(RelaySection {
                name: format!("relay-{prefix}"),
                prefix: Some(prefix),
                vm: None,
                tenant: false,
                ports,
            });
        }
        self
    }

    /// A VM as a relay, for all or for its tenant.
    #[must_use]
    pub fn relay_vm(mut self, vm: Station, ports: &[u16], tenant: bool) -> Self {
        let ports = ports.iter().copied().map(PortRange::from).collect();
        let (name, vm) = (format!("relay-{}", vm.id), Some(vm.id.to_owned()));
        self.config.policy.relays.push(RelaySection { name, prefix: None, vm, tenant, ports });
        self
    }

    /// The scope of a VLAN; 0 stands for untagged frames.
    #[must_use]
    pub fn scope(mut self, vlan: u16, scope: u16) -> Self {
        let link: &mut Link = self.config.links.first_mut().unwrap();
        link.scopes.insert(vlan.to_string().try_into().unwrap(), VlanScope::Scope(Scope(scope)));
        self
    }

    /// VLANs that are not given a scope are refused.
    #[must_use]
    pub fn refuse_the_rest(mut self) -> Self {
        self.config.links.first_mut().unwrap().scopes.insert(VlanKey::Rest, VlanScope::Refuse);
        self
    }

    /// A router of the link, in one VLAN.
    #[must_use]
    pub fn via_in(mut self, vlan: u16, router: MacAddr) -> Self {
        self.config.links.first_mut().unwrap().via.push(Via { mac: router, vlan: Some(vlan) });
        self
    }

    /// The world.
    #[must_use]
    pub fn build(self) -> World {
        World::new(&self.config, self.vms)
    }
}

/// Configuration and VMs, as the box has them.
#[derive(Debug)]
pub struct World {
    /// The VMs, and what decides beside them.
    pub registry: Registry,
    /// Its clock, which stands still unless somebody moves it.
    time: Arc<quanta::Mock>,
}

/// What became of one frame, everything the box says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Forward, or drop and why.
    pub verdict: Verdict,
    /// For whom it was counted and how, if it was judged.
    pub tally: Option<(String, Tally)>,
    /// What was counted beside, in the order of [`Observed::ALL`].
    pub observed: Vec<Observed>,
}

/// What became of many frames that went through a worker.
#[derive(Debug)]
pub struct Run {
    /// What left by the other port.
    pub sent: Vec<Vec<u8>>,
    /// What left by the port that frames came in by.
    pub replied: Vec<Vec<u8>>,
    /// The lane's counters.
    pub lane: LaneCounts,
    block: Block,
    direction: Direction,
}

impl Run {
    /// Judged frames of one VM, or of the unknown one.
    #[must_use]
    pub fn judged(&self, vm: Option<VmIndex>) -> VmCounts {
        self.block.judged(vm, self.direction)
    }

    /// Denied frames of one VM, or of the unknown one, kind by kind.
    #[must_use]
    pub fn denied(&self, vm: Option<VmIndex>) -> DenialCounts {
        let mut sum = DenialCounts::default();
        self.block.denied(vm, &mut sum);
        sum
    }
}

impl World {
    /// What these texts say: `portcullis.toml` and VM lines.
    #[must_use]
    pub fn read(config: &str, vms: &str) -> Self {
        let config = Config::parse(config, Path::new("testkit")).unwrap_or_else(|error| panic!("{error}"));
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        Self::new(&config, vms.lines().map(line).collect())
    }

    fn new(config: &Config, vms: Vec<VmSet>) -> Self {
        let mut config = config.clone();
        // A file cannot say that nothing is judged; a world can.
        let judged = std::mem::replace(&mut config.policy.directions, Direction::ALL.to_vec());
        let settings: Settings = config.policy().unwrap_or_else(|error| panic!("{error}"));
        let settings = Settings {
            judge_egress: judged.contains(&Direction::Egress),
            judge_ingress: judged.contains(&Direction::Ingress),
            ..settings
        };
        let capacity = Capacity { vms: VMS_MAX, keys: VMS_MAX * 8 };
        let (steady, time) = quanta::Clock::mock();
        let clock = Clock::at(NOW.parse().unwrap(), steady);
        let (mut registry, _) = Registry::create(capacity, 0, settings, clock).unwrap();
        registry.apply(vms.into_iter().map(Edit::Set)).unwrap_or_else(|(at, error)| panic!("VM {at}: {error}"));
        Self { registry, time }
    }

    /// Lets time pass.
    pub fn wait(&self, time: Duration) {
        self.time.increment(time);
    }

    /// What decides.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        self.registry.snapshot()
    }

    /// What the one pure function says.
    #[must_use]
    pub fn decide(&self, direction: Direction, bytes: &[u8]) -> Decision {
        policy::decide(self.snapshot(), Way { link: LINK, direction }, bytes, bytes.len())
    }

    /// What becomes of a frame received on the inside port.
    #[must_use]
    pub fn egress(&self, frame: impl Into<Vec<u8>>) -> Answer {
        self.answer(Direction::Egress, &frame.into())
    }

    /// What becomes of a frame received on the outside port.
    #[must_use]
    pub fn ingress(&self, frame: impl Into<Vec<u8>>) -> Answer {
        self.answer(Direction::Ingress, &frame.into())
    }

    /// Sends one frame through a worker and reads every counter. The pure function must say the same, and a forwarded
    /// frame must come out as it went in.
    #[must_use]
    pub fn answer(&self, direction: Direction, bytes: &[u8]) -> Answer {
        let run = self.run(direction, [Frame::from(bytes)], usize::MAX);
        let verdict = match run.sent.as_slice() {
            [] => {
                let mut reasons = DropReason::ALL.into_iter().filter(|&reason| run.lane.dropped(reason) > 0);
                Verdict::Drop(reasons.next().expect("the balance holds, so the drop has a reason"))
            }
            [sent] if sent == bytes => {
                let mut reasons = DropReason::ALL.into_iter().filter(|&reason| run.lane.spared(reason) > 0);
                reasons.next().map_or(Verdict::Forward, Verdict::WouldDrop)
            }
            _ => panic!("forwarded, but altered"),
        };
        let tally = self.counted(&run);
        let observed = Observed::ALL.into_iter().filter(|&observed| run.lane.seen(observed) > 0).collect();

        let decision = self.decide(direction, bytes);
        assert_eq!(decision.verdict(), verdict, "the pure function decides otherwise than the data plane");
        let decided = match decision {
            Decision::Settled(..) => None,
            Decision::Judged(judgement) => Some((self.name(judgement.identity.vm), judgement.tally)),
        };
        assert_eq!(decided, tally, "the pure function counts otherwise than the data plane");
        Answer { verdict, tally, observed }
    }

    /// Sends frames through a worker, in bursts, to a queue that takes `capacity` of them in all. The balance holds
    /// after every burst.
    #[must_use]
    pub fn run(&self, direction: Direction, frames: impl IntoIterator<Item = Frame>, capacity: usize) -> Run {
        self.run_with(direction, frames, capacity, Pipeline::<(), ()>::default()).0
    }

    /// As [`run`](Self::run), with somebody who looks or answers.
    #[must_use]
    pub fn run_with<W: Witness, R: Responder>(
        &self,
        direction: Direction,
        frames: impl IntoIterator<Item = Frame>,
        capacity: usize,
        pipeline: Pipeline<W, R>,
    ) -> (Run, (W, R)) {
        let block = Block::new(1, VMS_MAX as usize);
        let way = Way { link: LINK, direction };
        let from = QueuePair { rx: Source::new(frames), tx: Sink::default() };
        let to = QueuePair { rx: Source::default(), tx: Sink { capacity, ..Sink::default() } };
        let (inside, outside) = match direction {
            Direction::Egress => (from, to),
            Direction::Ingress => (to, from),
        };
        let mut link = LinkQueues { index: LINK, inside, outside, burst: Burst::default(), replies: Burst::default() };
        let mut worker = Worker::new(&block, pipeline);
        while worker.turn(&mut link, self.snapshot()) > 0 {
            let counts = block.lane(way);
            assert!(counts.is_balanced(), "rx = tx + drops: {counts:?}");
        }
        let LinkQueues { inside, outside, .. } = link;
        let (from, to) = match direction {
            Direction::Egress => (inside, outside),
            Direction::Ingress => (outside, inside),
        };
        assert_eq!(from.rx.waiting(), 0, "everything was received");
        let bytes = |sink: Sink| sink.frames.iter().map(Frame::bytes).collect::<Vec<_>>();
        let (sent, replied, lane) = (bytes(to.tx), bytes(from.tx), block.lane(way));
        assert_eq!(lane.tx, sent.len() as u64, "tx is what left");
        assert_eq!(lane.seen(Observed::RejectSent), replied.len() as u64, "answers are counted apart");
        let hooks = worker.into_hooks();
        (Run { sent, replied, lane, block, direction }, hooks)
    }

    /// What those hear that sent frames from inside, at one moment, all of which are denied or forwarded as if nobody heard.
    #[must_use]
    pub fn replies(&self, frames: impl IntoIterator<Item = Frame>) -> Run {
        let frames: Vec<Frame> = frames.into_iter().collect();
        let silent = self.run(Direction::Egress, frames.iter().cloned(), usize::MAX);
        let rejecter = Rejecter::create(1, VMS_MAX as usize, quanta::Clock::mock().0).unwrap();
        let pipeline = Pipeline::new((), rejecter);
        let (run, _) = self.run_with(Direction::Egress, frames, usize::MAX, pipeline);
        assert_eq!((&run.sent, run.lane.drops), (&silent.sent, silent.lane.drops), "answers change nothing else");
        run
    }

    /// For whom the one frame of a run was counted.
    fn counted(&self, run: &Run) -> Option<(String, Tally)> {
        let vms = self.registry.iter_after(None).map(|(index, _)| Some(index));
        let mut counted = vms.chain([None]).flat_map(|vm| {
            let VmCounts { allowed, denied, excepted, would_deny } = run.judged(vm);
            let counts = [allowed, denied, excepted, would_deny];
            Tally::ALL.into_iter().zip(counts).filter(|&(_, count)| count > 0).map(move |(tally, _)| (vm, tally))
        });
        let first = counted.next();
        assert_eq!(counted.next(), None, "one frame is counted once");
        first.map(|(vm, tally)| (self.name(vm), tally))
    }

    /// The id of a VM, or `unknown`.
    #[must_use]
    pub fn name(&self, vm: Option<VmIndex>) -> String {
        vm.map_or_else(|| "unknown".into(), |vm| self.registry.by_index(vm).unwrap().id.to_string())
    }
}

/// Forwarded without asking whose it is.
#[must_use]
pub fn passes() -> Answer {
    Answer { verdict: Verdict::Forward, tally: None, observed: Vec::new() }
}

/// Dropped without asking whose it is.
#[must_use]
pub fn drops(reason: DropReason) -> Answer {
    Answer { verdict: Verdict::Drop(reason), ..passes() }
}

/// Judged, and forwarded.
#[must_use]
pub fn allowed(vm: Station) -> Answer {
    Answer { tally: Some((vm.id.into(), Tally::Allowed)), ..passes() }
}

/// Judged, and dropped.
#[must_use]
pub fn denied(vm: Station, reason: DropReason) -> Answer {
    Answer { tally: Some((vm.id.into(), Tally::Denied)), ..drops(reason) }
}

/// Covered by a relay or an exception.
#[must_use]
pub fn excepted(vm: Station) -> Answer {
    Answer { tally: Some((vm.id.into(), Tally::Excepted)), ..passes() }.observing(Observed::Excepted)
}

/// Forwarded by monitor mode.
#[must_use]
pub fn would_deny(vm: Station, reason: DropReason) -> Answer {
    Answer { tally: Some((vm.id.into(), Tally::WouldDeny)), ..would_drop(reason) }
}

/// Forwarded without asking whose it is, by monitor mode.
#[must_use]
pub fn would_drop(reason: DropReason) -> Answer {
    Answer { verdict: Verdict::WouldDrop(reason), ..passes() }.observing(Observed::WouldDeny)
}

impl Answer {
    /// The same, with something counted beside.
    #[must_use]
    pub fn observing(mut self, observed: Observed) -> Self {
        self.observed.push(observed);
        self.observed.sort_unstable();
        self
    }
}
