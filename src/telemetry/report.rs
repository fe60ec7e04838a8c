//! The statistics document: one type for who writes it (`stats.get`, `replay --json`, `run --json`) and who reads it.
//!
//! Shape (schema 1), every reason and observation present, zeros too:
//!
//! ```json
//! {"schema":1,"revision":7,
//!  "daemon":{"boot":"5f3a0c21","uptime_s":86400,"mode":"enforce",
//!    "table":{"vms":1,"vms_max":1000000,"keys":3,"ipv6_keys":1,"keys_max":4194304},
//!    "changes":{"count":7,"p50_us":11,"p99_us":40,"max_us":52}},
//!  "links":{"NAME":{"inside":{"rx":9,"tx":4,"rx_missed":0,"rx_no_mbuf":0,"rx_errors":0,"tx_errors":0,
//!    "rx_too_long":0,"rx_tags_lost":0,"rx_tags_restored":0,"link":{"up":true,"speed_mbps":10000,"can_be_set":true,"kept_down":false},
//!    "rx_by_worker":[9]},"outside":{}}},
//!  "workers":[{"turns":1000,"turns_empty":991,"busy_ns":1800,"bursts":{"1":9,"2":0,"4":0,"8":0,"16":0,"32":0,"64":0}}],
//!  "reasons":{"egress":{"port_closed":1},"ingress":{}},
//!  "would_deny":{"egress":{"port_closed":0},"ingress":{}},
//!  "observed":{"egress":{"udp_mail":0},"ingress":{}},
//!  "vms":{"web1":{"egress":{"allowed":0,"denied":1,"excepted":0,"would_deny":0},"ingress":{}}},
//!  "unknown":{"egress":{},"ingress":{}},
//!  "log_lines_lost":0,
//!  "balanced":true}
//! ```
//!
//! `rx` of a port is what its driver handed to a worker, `tx` what its driver took. What a driver lost before (`rx_missed`:
//! no descriptor, `rx_no_mbuf`: no packet buffer) stands apart; it never was in the box's hands.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::counters::VmCounts;
use super::load::LoadReport;
use crate::model::{Boot, Direction, Mode, Revision};
use crate::policy::Tally;

/// Version of the document's shape.
pub const SCHEMA: u32 = 1;

/// The document. `V` is whatever becomes the object of the VMs: a list that is there, or one that comes while it is
/// written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report<V = Named<Judged>> {
    /// [`SCHEMA`]
    pub schema: u32,
    /// Of the VMs and the policy.
    pub revision: Revision,
    /// The process that answers; not where there is none (`replay`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<DaemonReport>,
    /// Every link, in the order of the configuration.
    pub links: Named<LinkReport>,
    /// How busy each worker was, in the order of their numbers; not of a capture, which takes no time of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<LoadReport>,
    /// Dropped frames by reason, all links together.
    pub reasons: Both<Named<u64>>,
    /// Frames that were forwarded because somebody only watches, by the reason they would have been dropped for, all links
    /// together.
    #[serde(default)]
    pub would_deny: Both<Named<u64>>,
    /// Frames on which something was seen, all links together.
    pub observed: Both<Named<u64>>,
    /// VMs, in the order of their ids.
    pub vms: V,
    /// Judged frames that no VM answers for.
    pub unknown: Judged,
    /// Lines of the process's log that could not be written.
    #[serde(default)]
    pub log_lines_lost: u64,
    /// Whether every link accounts for every frame, in both directions.
    pub balanced: bool,
}

/// The process that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonReport {
    /// Which run of it.
    pub boot: Boot,
    /// Seconds since it began to serve the control socket.
    pub uptime_s: u64,
    /// `monitor` if the box denies nothing and only counts.
    #[serde(default)]
    pub mode: Mode,
    /// How full the VM table is.
    pub table: TableReport,
    /// How long changes took.
    pub changes: ChangesReport,
    /// What keeps changes on disk; none if there is no store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreReport>,
    /// How the audit log goes; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditReport>,
}

/// How the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Records that could not be written, since the start.
    pub records_lost: u64,
    /// Why nothing can be written now, in words.
    pub trouble: Option<String>,
}

/// What keeps changes on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Whether every change so far outlasts the process.
    pub durable: bool,
    /// Up to which revision they do.
    pub revision: Revision,
    /// How many of its two files are written.
    pub copies: u32,
    /// What is wrong, in words.
    pub trouble: Option<String>,
}

/// How full the VM table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// VMs.
    pub vms: u32,
    /// Most VMs: `table.vms`.
    pub vms_max: u32,
    /// MACs, addresses and prefixes of all VMs.
    pub keys: u32,
    /// Those of IPv6 among them.
    pub ipv6_keys: u32,
    /// Most of them: `table.keys`; half of that for IPv6.
    pub keys_max: u32,
}

/// How long changes took, from their arrival until they were in force on every worker. To three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesReport {
    /// Changes that changed something and came into force in time.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// The two ports of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Towards the VMs.
    pub inside: PortReport,
    /// Towards the uplink.
    pub outside: PortReport,
}

/// Frames of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// Handed over by the driver.
    pub rx: u64,
    /// Taken by the driver.
    pub tx: u64,
    /// What the device says of itself.
    #[serde(flatten)]
    pub device: PortState,
    /// `rx`, worker by worker: whether the device spreads what arrives over its queues.
    #[serde(default)]
    pub rx_by_worker: Vec<u64>,
}

/// What a device says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortState {
    /// Lost by the driver.
    #[serde(flatten)]
    pub losses: PortLosses,
    /// Frames that got a VLAN tag back which the device had taken off unasked.
    pub rx_tags_restored: u64,
    /// Its link, where it can be read.
    pub link: Option<LinkState>,
    /// What the driver counts of lost and wrong frames by names of its own, where it is not 0. Parts of this may be in the
    /// counters above as well.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub driver: Named<u64>,
}

/// A port's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Whether there is one.
    pub up: bool,
    /// Its speed, where the device knows.
    pub speed_mbps: Option<u32>,
    /// Whether the box can take it down and up, thus pass on the other side's state; not asked where the configuration
    /// does not want it.
    pub can_be_set: Option<bool>,
    /// Whether the box keeps it down, because the other side of the link has none.
    #[serde(default)]
    pub kept_down: bool,
}

/// Frames that a driver reports as lost; outside the balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortLosses {
    /// Arrived when no receive descriptor was free.
    pub rx_missed: u64,
    /// Arrived when no packet buffer was free.
    pub rx_no_mbuf: u64,
    /// Arrived damaged.
    pub rx_errors: u64,
    /// Failed on the way out.
    pub tx_errors: u64,
    /// Longer than the port takes, as far as the driver tells; mostly among `rx_errors` too.
    pub rx_too_long: u64,
    /// Came without a VLAN tag that the device had taken off, and had no room to get it back.
    pub rx_tags_lost: u64,
}

impl PortLosses {
    /// Each, by its name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("rx_missed", self.rx_missed),
            ("rx_no_mbuf", self.rx_no_mbuf),
            ("rx_errors", self.rx_errors),
            ("tx_errors", self.tx_errors),
            ("rx_too_long", self.rx_too_long),
            ("rx_tags_lost", self.rx_tags_lost),
        ]
    }
}

/// Something for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both<T> {
    /// From VMs.
    pub egress: T,
    /// To VMs.
    pub ingress: T,
}

/// Judged frames of one VM.
pub type Judged = Both<VmCounts>;

impl<V> Report<V> {
    /// Frames sent on all links, one direction.
    #[must_use]
    pub fn sent(&self, direction: Direction) -> u64 {
        let sent = |link: &LinkReport| match direction {
            Direction::Egress => link.outside.tx,
            Direction::Ingress => link.inside.tx,
        };
        self.links.iter().map(|(_, link)| sent(link)).sum()
    }

    /// Frames that one worker received, on all links.
    #[must_use]
    pub fn received_by(&self, worker: usize) -> u64 {
        let ports = self.links.iter().flat_map(|(_, link)| [&link.inside, &link.outside]);
        ports.filter_map(|port| port.rx_by_worker.get(worker)).sum()
    }

    /// The same with other VMs.
    #[must_use]
    pub fn with_vms<W>(self, vms: W) -> Report<W> {
        let Self {
            schema,
            revision,
            daemon,
            links,
            workers,
            reasons,
            would_deny,
            observed,
            vms: _,
            unknown,
            log_lines_lost,
            balanced,
        } = self;
        Report {
            schema,
            revision,
            daemon,
            links,
            workers,
            reasons,
            would_deny,
            observed,
            vms,
            unknown,
            log_lines_lost,
            balanced,
        }
    }

    /// The same of a process that serves.
    #[must_use]
    pub fn with_daemon(self, daemon: DaemonReport) -> Self {
        Self { daemon: Some(daemon), ..self }
    }
}

impl<T> Both<T> {
    /// From a value for each direction.
    pub fn of(mut value: impl FnMut(Direction) -> T) -> Self {
        Self { egress: value(Direction::Egress), ingress: value(Direction::Ingress) }
    }

    /// One direction's.
    #[must_use]
    pub fn way(&self, direction: Direction) -> &T {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }
}

impl Judged {
    /// Adds another reading.
    pub fn add(&mut self, other: Self) {
        self.egress.add(other.egress);
        self.ingress.add(other.ingress);
    }

    /// What was counted since `base` was read.
    #[must_use]
    pub fn since(self, base: Self) -> Self {
        Self { egress: self.egress.since(base.egress), ingress: self.ingress.since(base.ingress) }
    }

    /// Frames under one tally, both directions together.
    #[must_use]
    pub fn tallied(&self, tally: Tally) -> u64 {
        self.egress.tallied(tally).saturating_add(self.ingress.tallied(tally))
    }

    /// Frames of each direction and tally.
    pub fn each(&self) -> impl Iterator<Item = (Direction, Tally, u64)> + '_ {
        let ways = Direction::ALL.into_iter().flat_map(|way| Tally::ALL.map(|tally| (way, tally)));
        ways.map(|(way, tally)| (way, tally, self.way(way).tallied(tally)))
    }

    /// Whether nothing was judged.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// An object whose members are named by data and keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T>(pub Vec<(String, T)>);

impl<T> Named<T> {
    /// Members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The member of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.iter().find_map(|(member, value)| (member == name).then_some(value))
    }

    /// How many members there are.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Into<String>, T> FromIterator<(K, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(members: I) -> Self {
        Self(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Named(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let judged = Judged { egress: VmCounts { denied: 1, ..VmCounts::default() }, ..Judged::default() };
        let inside = PortReport { rx: 9, tx: 4, rx_by_worker: vec![4, 5], ..PortReport::default() };
        let losses = PortLosses { rx_missed: 3, ..PortLosses::default() };
        let driver = [("rx_crc_errors", 2)].into_iter().collect();
        let link = Some(LinkState { up: true, speed_mbps: None, can_be_set: Some(false), kept_down: true });
        let device = PortState { losses, driver, link, ..PortState::default() };
        let outside = PortReport { rx: 4, tx: 8, device, ..PortReport::default() };
        Report {
            schema: SCHEMA,
            revision: Revision(7),
            daemon: None,
            links: [("uplink", LinkReport { inside, outside })].into_iter().collect(),
            workers: vec![LoadReport { turns: 7, ..LoadReport::default() }],
            reasons: Both::of(|_| [("port_closed", 1), ("reply_closed", 0)].into_iter().collect()),
            would_deny: Both::default(),
            observed: Both::default(),
            vms: [("web1", judged)].into_iter().collect(),
            unknown: Judged::default(),
            log_lines_lost: 0,
            balanced: true,
        }
    }

    #[test]
    fn the_document_has_its_shape_and_its_order() {
        let json = serde_json::to_string(&report()).unwrap();
        assert!(json.starts_with(
            r#"{"schema":1,"revision":7,"links":{"uplink":{"inside":{"rx":9,"tx":4,"rx_missed":0,"rx_no_mbuf":0,"rx_errors":0,"tx_errors":0,"rx_too_long":0,"rx_tags_lost":0,"rx_tags_restored":0,"link":null,"rx_by_worker":[4,5]},"outside":{"rx":4,"tx":8,"#
        ), "{json}");
        assert!(json.contains(r#""reasons":{"egress":{"port_closed":1,"reply_closed":0},"ingress""#), "{json}");
        assert!(
            json.contains(r#""vms":{"web1":{"egress":{"allowed":0,"denied":1,"excepted":0,"would_deny":0},"#),
            "{json}"
        );
        assert!(
            json.contains(r#""link":{"up":true,"speed_mbps":null,"can_be_set":false,"kept_down":true},"driver":{"rx_crc_errors":2}"#),
            "{json}"
        );
        assert!(json.ends_with(r#""log_lines_lost":0,"balanced":true}"#), "{json}");
    }

    #[test]
    fn who_reads_it_gets_what_was_written() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
        let newer = json.replace(r#""rx":9"#, r#""rx_of_tomorrow":1,"rx":9"#);
        assert_eq!(serde_json::from_str::<Report>(&newer).unwrap(), report(), "members may join");
    }

    #[test]
    fn what_enters_by_one_port_leaves_by_the_other() {
        assert_eq!(Direction::ALL.map(|direction| report().sent(direction)), [8, 4]);
    }
}
