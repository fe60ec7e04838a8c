//! The statistics document: one shape for `replay --json`, `stats --json` and `stats.get`.
//!
//! Shape (schema 1), every reason and observation present, zeros too:
//!
//! ```json
//! {"schema":1,"revision":7,
//!  "links":{"NAME":{"inside":{"rx":9,"tx":4,"rx_missed":0,"rx_no_mbuf":0,"rx_errors":0,"tx_errors":0},"outside":{}}},
//!  "reasons":{"egress":{"port_closed":1},"ingress":{}},
//!  "observed":{"egress":{"udp_mail":0},"ingress":{}},
//!  "vms":{"web1":{"egress":{"allowed":0,"denied":1,"excepted":0,"would_deny":0},"ingress":{}}},
//!  "unknown":{"egress":{},"ingress":{}},
//!  "balanced":true}
//! ```
//!
//! `rx` of a port is what its driver handed to a worker, `tx` what its driver took. What a driver lost before (`rx_missed`:
//! no descriptor, `rx_no_mbuf`: no packet buffer) stands apart; it never was in the box's hands.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::counters::{LaneCounts, VmCounts};
use crate::model::Direction;
use crate::policy::{DropReason, Observed};

/// Version of the document's shape.
pub const SCHEMA: u32 = 1;

/// The document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of the VMs and the policy.
    pub revision: u64,
    /// Every link, in the order of the configuration.
    pub links: Vec<LinkReport>,
    /// VMs, in the order of their ids.
    pub vms: Vec<(String, Judged)>,
    /// Judged frames that no VM answers for.
    pub unknown: Judged,
}

/// Frames of one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkReport {
    /// Its name.
    pub name: String,
    /// From inside to outside.
    pub egress: LaneCounts,
    /// From outside to inside.
    pub ingress: LaneCounts,
    /// What the driver of the inside port lost.
    pub inside: PortLosses,
    /// What the driver of the outside port lost.
    pub outside: PortLosses,
}

/// Frames that a driver reports as lost; outside the balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortLosses {
    /// Arrived when no receive descriptor was free.
    pub rx_missed: u64,
    /// Arrived when no packet buffer was free.
    pub rx_no_mbuf: u64,
    /// Arrived damaged.
    pub rx_errors: u64,
    /// Failed on the way out.
    pub tx_errors: u64,
}

/// Judged frames of one VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// From the VM.
    pub egress: VmCounts,
    /// To the VM.
    pub ingress: VmCounts,
}

impl Report {
    /// All links together, one direction.
    #[must_use]
    pub fn total(&self, direction: Direction) -> LaneCounts {
        let mut total = LaneCounts::default();
        for link in &self.links {
            total.add(match direction {
                Direction::Egress => &link.egress,
                Direction::Ingress => &link.ingress,
            });
        }
        total
    }

    /// Whether every link accounts for every frame, in both directions.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.links.iter().all(|link| link.egress.is_balanced() && link.ingress.is_balanced())
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let both = Direction::ALL.map(|direction| (direction, self.total(direction)));
        let reasons = Map(|| both.iter().map(|(direction, lane)| (direction.name(), Reasons(lane))));
        let observed = Map(|| both.iter().map(|(direction, lane)| (direction.name(), Observations(lane))));
        let mut map = serializer.serialize_map(Some(8))?;
        map.serialize_entry("schema", &SCHEMA)?;
        map.serialize_entry("revision", &self.revision)?;
        map.serialize_entry("links", &Map(|| self.links.iter().map(|link| (link.name.as_str(), Ports(link)))))?;
        map.serialize_entry("reasons", &reasons)?;
        map.serialize_entry("observed", &observed)?;
        map.serialize_entry("vms", &Map(|| self.vms.iter().map(|(id, judged)| (id.as_str(), judged))))?;
        map.serialize_entry("unknown", &self.unknown)?;
        map.serialize_entry("balanced", &self.is_balanced())?;
        map.end()
    }
}

/// An object whose members keep their order.
struct Map<F>(F);

impl<F, I, K, V> Serialize for Map<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (K, V)>,
    K: Serialize,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

struct Reasons<'a>(&'a LaneCounts);

impl Serialize for Reasons<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(DropReason::ALL.map(|reason| (reason.name(), self.0.dropped(reason))))
    }
}

struct Observations<'a>(&'a LaneCounts);

impl Serialize for Observations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Observed::ALL.map(|observed| (observed.name(), self.0.seen(observed))))
    }
}

/// What enters by one port leaves by the other: egress is received inside and sent outside.
struct Ports<'a>(&'a LinkReport);

impl Serialize for Ports<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Port {
            rx: u64,
            tx: u64,
            #[serde(flatten)]
            losses: PortLosses,
        }
        let Self(LinkReport { egress, ingress, inside, outside, .. }) = self;
        let inside = Port { rx: egress.rx, tx: ingress.tx, losses: *inside };
        let outside = Port { rx: ingress.rx, tx: egress.tx, losses: *outside };
        serializer.collect_map([("inside", inside), ("outside", outside)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_its_shape_and_its_order() {
        let mut link = LinkReport { name: "uplink".into(), ..LinkReport::default() };
        (link.egress.rx, link.egress.tx, link.egress.drops[0]) = (9, 8, 1);
        (link.ingress.rx, link.ingress.tx) = (4, 4);
        let judged = Judged { egress: VmCounts { denied: 1, ..VmCounts::default() }, ..Judged::default() };
        let report =
            Report { revision: 7, links: vec![link], vms: vec![("web1".into(), judged)], unknown: Judged::default() };
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.starts_with(
            r#"{"schema":1,"revision":7,"links":{"uplink":{"inside":{"rx":9,"tx":4,"rx_missed":0,"rx_no_mbuf":0,"rx_errors":0,"tx_errors":0},"outside":{"rx":4,"tx":8,"#
        ), "{json}");
        assert!(json.contains(r#""reasons":{"egress":{"port_closed":1,"reply_closed":0,"#), "{json}");
        assert!(
            json.contains(r#""vms":{"web1":{"egress":{"allowed":0,"denied":1,"excepted":0,"would_deny":0},"#),
            "{json}"
        );
        assert!(json.ends_with(r#""balanced":true}"#), "{json}");
    }

    #[test]
    fn one_frame_unaccounted_for_breaks_the_balance() {
        let mut link = LinkReport::default();
        link.ingress.rx = 1;
        let report = Report { revision: 0, links: vec![link], vms: vec![], unknown: Judged::default() };
        assert!(!report.is_balanced());
    }
}
