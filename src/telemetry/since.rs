//! What was counted between two readings of the statistics.

use super::load::LoadReport;
use super::report::{Both, Judged, LinkReport, Named, PortLosses, PortReport, PortState, Report};

impl Report {
    /// What was counted since `mark` was read. What is no count (link state, how full the table is) is as it is now.
    #[must_use]
    pub fn since(self, mark: &Self) -> Self {
        let named = |now: Both<Named<u64>>, then: &Both<Named<u64>>| Both {
            egress: counts(now.egress, &then.egress),
            ingress: counts(now.ingress, &then.ingress),
        };
        let load = |(at, now): (usize, LoadReport)| match mark.workers.get(at) {
            Some(then) => worker(now, then),
            None => now,
        };
        Self {
            links: each(self.links, &mark.links, link),
            workers: self.workers.into_iter().enumerate().map(load).collect(),
            reasons: named(self.reasons, &mark.reasons),
            would_deny: named(self.would_deny, &mark.would_deny),
            observed: named(self.observed, &mark.observed),
            vms: each(self.vms, &mark.vms, |now: Judged, then| now.since(*then)),
            unknown: self.unknown.since(mark.unknown),
            log_lines_lost: self.log_lines_lost.saturating_sub(mark.log_lines_lost),
            schema: self.schema,
            revision: self.revision,
            daemon: self.daemon,
            balanced: self.balanced,
        }
    }
}

/// Each member less what it was; one that is new is as it is.
fn each<T>(now: Named<T>, then: &Named<T>, since: impl Fn(T, &T) -> T) -> Named<T> {
    let then: std::collections::HashMap<&str, &T> = then.iter().collect();
    let member = |(name, value): (String, T)| match then.get(name.as_str()) {
        Some(then) => (name, since(value, then)),
        None => (name, value),
    };
    now.0.into_iter().map(member).collect()
}

fn counts(now: Named<u64>, then: &Named<u64>) -> Named<u64> {
    each(now, then, |now, then| now.saturating_sub(*then))
}

fn link(now: LinkReport, then: &LinkReport) -> LinkReport {
    LinkReport { inside: port(now.inside, &then.inside), outside: port(now.outside, &then.outside) }
}

fn port(now: PortReport, then: &PortReport) -> PortReport {
    let (state, was) = (now.device, &then.device);
    let before = then.rx_by_worker.iter().copied().chain(std::iter::repeat(0));
    PortReport {
        rx: now.rx.saturating_sub(then.rx),
        tx: now.tx.saturating_sub(then.tx),
        device: PortState {
            losses: losses(state.losses, was.losses),
            rx_tags_restored: state.rx_tags_restored.saturating_sub(was.rx_tags_restored),
            link: state.link,
            driver: counts(state.driver, &was.driver),
        },
        rx_by_worker: now.rx_by_worker.into_iter().zip(before).map(|(now, then)| now.saturating_sub(then)).collect(),
    }
}

fn losses(now: PortLosses, then: PortLosses) -> PortLosses {
    PortLosses {
        rx_missed: now.rx_missed.saturating_sub(then.rx_missed),
        rx_no_mbuf: now.rx_no_mbuf.saturating_sub(then.rx_no_mbuf),
        rx_errors: now.rx_errors.saturating_sub(then.rx_errors),
        tx_errors: now.tx_errors.saturating_sub(then.tx_errors),
        rx_too_long: now.rx_too_long.saturating_sub(then.rx_too_long),
        rx_tags_lost: now.rx_tags_lost.saturating_sub(then.rx_tags_lost),
    }
}

fn worker(now: LoadReport, then: &LoadReport) -> LoadReport {
    LoadReport {
        turns: now.turns.saturating_sub(then.turns),
        turns_empty: now.turns_empty.saturating_sub(then.turns_empty),
        busy_ns: now.busy_ns.saturating_sub(then.busy_ns),
        bursts: counts(now.bursts, &then.bursts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A document in which every count is `number`, and there are `vms`.
    fn document(number: u64, vms: &[&str]) -> Report {
        let judged = json!({ "allowed": number, "denied": number, "excepted": number, "would_deny": number });
        let both = json!({ "egress": judged, "ingress": judged });
        let named = json!({ "egress": { "a": number }, "ingress": { "b": number } });
        let port = json!({
            "rx": number, "tx": number, "rx_missed": number, "rx_no_mbuf": number, "rx_errors": number,
            "tx_errors": number, "rx_too_long": number, "rx_tags_lost": number, "rx_tags_restored": number,
            "link": { "up": true, "speed_mbps": 10, "can_be_set": null, "kept_down": false },
            "driver": { "x": number }, "rx_by_worker": [number, number],
        });
        let load = json!({ "turns": number, "turns_empty": number, "busy_ns": number, "bursts": { "1": number } });
        let vms: Value =
            vms.iter().map(|vm| ((*vm).to_owned(), both.clone())).collect::<serde_json::Map<_, _>>().into();
        let document = json!({
            "schema": 1, "revision": 7, "links": { "uplink": { "inside": port, "outside": port } },
            "workers": [load, load], "reasons": named, "would_deny": named, "observed": named, "vms": vms,
            "unknown": both, "log_lines_lost": number, "balanced": true,
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn every_count_is_what_came_since_and_what_is_new_is_all_of_it() {
        assert_eq!(document(9, &["web1"]).since(&document(2, &["web1", "gone"])), document(7, &["web1"]));
        assert_eq!(document(9, &["web1"]).since(&document(9, &[])).vms, document(9, &["web1"]).vms);
    }
}
