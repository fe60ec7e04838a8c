//! What is kept of one VM's drops: the last of them, and for each kind when it was seen last and towards how many.

use std::collections::VecDeque;

use super::Seen;
use super::distinct::Distinct;
use crate::model::Moment;
use crate::telemetry::denials::Denial;

/// How many of its last drops are kept.
pub const LATEST_MAX: usize = 8;
/// How many kinds are told apart; of more, those that were seen last.
const KINDS_MAX: usize = 8;

/// One VM's.
#[derive(Debug, Default)]
pub struct OfVm {
    latest: VecDeque<Seen>,
    kinds: Vec<Kind>,
}

/// One kind of denial, of those that are told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Which.
    pub denial: Denial,
    /// When a frame of it was seen last.
    pub last: Moment,
    peers: Distinct,
}

impl Kind {
    /// Whether what is counted as this denial is of this kind.
    #[must_use]
    pub fn covers(&self, denial: Denial) -> bool {
        self.denial == told_apart(denial)
    }

    /// Towards how many addresses, about; of those that were seen.
    #[must_use]
    pub fn peers(&self) -> u32 {
        self.peers.count()
    }
}

impl OfVm {
    pub(super) fn add(&mut self, seen: Seen) {
        if self.latest.len() == LATEST_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(seen);
        let denial = kind_of(seen);
        let at = self.kinds.iter().position(|kind| kind.denial == denial).unwrap_or_else(|| {
            if self.kinds.len() == KINDS_MAX {
                let oldest = self.kinds.iter().enumerate().min_by_key(|(_, kind)| kind.last);
                let oldest = oldest.map_or(0, |(at, _)| at);
                self.kinds.swap_remove(oldest);
            }
            self.kinds.push(Kind { denial, last: seen.at(), peers: Distinct::default() });
            self.kinds.len() - 1
        });
        if let Some(kind) = self.kinds.get_mut(at) {
            kind.last = seen.at();
            seen.sample.peer.into_iter().for_each(|peer| kind.peers.add(peer));
        }
    }

    /// Its last drops, last first.
    pub fn latest(&self) -> impl Iterator<Item = Seen> + '_ {
        self.latest.iter().rev().copied()
    }

    /// Every kind that is remembered.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}

/// The kind that a frame is of.
fn kind_of(Seen { sample, .. }: Seen) -> Denial {
    let (direction, reason) = (sample.way.direction, sample.reason);
    let port = sample.ports.and_then(|(source, destination)| reason.port(direction, source, destination));
    told_apart(Denial { direction, watched: sample.watched, reason, port })
}

/// What is not about a port is not told apart by it: where every frame is asked who it says it is, its ports are not counted, and
/// a sample shows them all the same.
fn told_apart(denial: Denial) -> Denial {
    Denial { port: denial.port.filter(|_| denial.reason.is_of_a_port()), ..denial }
}

#[cfg(test)]
mod tests {
    use super::super::feed::Sample;
    use super::super::feed::tests::SAMPLE;
    use super::*;
    use crate::model::Direction;
    use crate::policy::DropReason;

    fn seen(second: u64, sample: Sample) -> Seen {
        Seen { number: second, at_ms: second * 1000, sample }
    }

    #[test]
    fn the_last_are_kept_and_kinds_are_told_apart() {
        let mut of_vm = OfVm::default();
        let ingress = crate::model::Way { direction: Direction::Ingress, ..SAMPLE.way };
        let reply = Sample { reason: DropReason::ReplyClosed, way: ingress, ports: Some((25, 40_000)), ..SAMPLE };
        for second in 0..20 {
            of_vm.add(seen(second, SAMPLE));
            of_vm.add(seen(second, reply));
        }
        let latest: Vec<_> = of_vm.latest().map(|seen| seen.at().unix()).collect();
        assert_eq!(latest, [19, 19, 18, 18, 17, 17, 16, 16]);
        let ports: Vec<_> = of_vm.kinds().iter().map(|kind| (kind.denial.reason, kind.denial.port)).collect();
        assert_eq!(ports, [(DropReason::PortClosed, Some(25)), (DropReason::ReplyClosed, Some(25))]);
        let spoof = |port| Sample { reason: DropReason::SpoofIp, ports: Some((40_000, port)), ..SAMPLE };
        for port in [25, 443] {
            of_vm.add(seen(25, spoof(port)));
        }
        let spoofs = |port| {
            let denial = Denial { direction: Direction::Egress, watched: false, reason: DropReason::SpoofIp, port };
            of_vm.kinds().iter().filter(|kind| kind.covers(denial)).count()
        };
        assert_eq!([None, Some(25), Some(443)].map(spoofs), [1; 3], "whatever port it shows");
        for port in 0..100 {
            of_vm.add(seen(30, Sample { ports: Some((40_000, port)), ..SAMPLE }));
        }
        assert_eq!(of_vm.kinds().len(), KINDS_MAX);
    }
}
