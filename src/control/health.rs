//! `health`: what somebody should look at, from what the statistics say.

use serde::{Deserialize, Serialize};

use super::hint;
use super::reading::Overview;
use super::rpc::HealthAnswer;
use crate::telemetry::report::{AuditReport, LinkReport, LinkState, PortReport};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Problem {
    /// A port has no link.
    LinkDown {
        /// Of which link.
        link: String,
        /// `inside` or `outside`.
        side: String,
        /// Whether the box itself keeps it down, because the other side has none.
        kept_down: bool,
        /// For people.
        message: String,
    },
    /// What is changed would not outlast the process, though a store is configured.
    NotDurable {
        /// For people.
        message: String,
    },
    /// The store has lost one of its two files.
    StoreDegraded {
        /// For people.
        message: String,
    },
    /// Lines of the log were lost.
    LogLinesLost {
        /// How many, since the start.
        lines: u64,
        /// For people.
        message: String,
    },
    /// The audit log cannot be written, or records of it were lost.
    AuditDegraded {
        /// How many were lost, since the start.
        records_lost: u64,
        /// For people.
        message: String,
    },
    /// Some frame was neither sent nor dropped for a reason.
    Unbalanced {
        /// For people.
        message: String,
    },
}

impl Problem {
    /// Every kind, by its name.
    pub const KINDS: [&str; 6] =
        ["link_down", "not_durable", "store_degraded", "log_lines_lost", "audit_degraded", "unbalanced"];

    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        let [link_down, not_durable, store_degraded, log_lines_lost, audit_degraded, unbalanced] = Self::KINDS;
        match self {
            Self::LinkDown { .. } => link_down,
            Self::NotDurable { .. } => not_durable,
            Self::StoreDegraded { .. } => store_degraded,
            Self::LogLinesLost { .. } => log_lines_lost,
            Self::AuditDegraded { .. } => audit_degraded,
            Self::Unbalanced { .. } => unbalanced,
        }
    }

    /// In words.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::LinkDown { message, .. }
            | Self::NotDurable { message }
            | Self::StoreDegraded { message }
            | Self::LogLinesLost { message, .. }
            | Self::AuditDegraded { message, .. }
            | Self::Unbalanced { message } => message,
        }
    }
}

/// How it goes.
pub fn answer(overview: &Overview) -> HealthAnswer {
    let report = overview.ledger.report(overview.revision);
    let mut problems: Vec<Problem> = Vec::new();
    for (link, LinkReport { inside, outside }) in report.links.iter() {
        for (side, port) in [("inside", inside), ("outside", outside)] {
            problems.extend(link_down(link, side, port));
        }
    }
    if let Some(store) = &overview.daemon.store {
        let trouble = store.trouble.as_deref().unwrap_or("the disk has not written the last change yet");
        if !store.durable {
            let message = format!("what is changed is not on disk: {trouble}");
            problems.push(Problem::NotDurable { message });
        } else if let Some(trouble) = &store.trouble {
            let message = format!("{} of 2 files of the store are written: {trouble}", store.copies);
            problems.push(Problem::StoreDegraded { message });
        }
    }
    if report.log_lines_lost > 0 {
        let lines = report.log_lines_lost;
        problems.push(Problem::LogLinesLost { lines, message: format!("{lines} line(s) of the log are lost") });
    }
    problems.extend(overview.daemon.audit.as_ref().and_then(audit_degraded));
    if !report.balanced {
        let message = "some frames were neither sent nor dropped for a reason; please report it".to_owned();
        problems.push(Problem::Unbalanced { message });
    }
    HealthAnswer {
        healthy: problems.is_empty(),
        problems,
        hints: hint::hints(overview, &report),
        unconfirmed: overview.unconfirmed,
        uptime_s: overview.daemon.uptime_s,
        revision: overview.revision,
        boot: overview.daemon.boot,
    }
}

fn audit_degraded(AuditReport { records_lost, trouble }: &AuditReport) -> Option<Problem> {
    let cannot = trouble.as_ref().map(|trouble| format!("the audit log cannot be written: {trouble}"));
    let lost = (*records_lost > 0).then(|| format!("{records_lost} record(s) of the audit log are lost"));
    let words: Vec<String> = cannot.into_iter().chain(lost).collect();
    (!words.is_empty()).then(|| Problem::AuditDegraded { records_lost: *records_lost, message: words.join("; ") })
}

fn link_down(link: &str, side: &str, port: &PortReport) -> Option<Problem> {
    let LinkState { kept_down, .. } = port.device.link.filter(|state| !state.up || state.kept_down)?;
    let why = if kept_down { "is kept down, because the other side has no link" } else { "has no link" };
    let message = format!("link {link}: {side} {why}");
    Some(Problem::LinkDown { link: link.to_owned(), side: side.to_owned(), kept_down, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_a_link_is_a_problem_and_one_that_does_not_tell_is_none() {
        let port = |link| {
            let mut port = PortReport::default();
            port.device.link = link;
            link_down("uplink", "inside", &port).map(|problem| serde_json::to_value(problem).unwrap())
        };
        assert_eq!(port(None), None);
        assert_eq!(port(Some(LinkState { up: true, ..LinkState::default() })), None);
        assert_eq!(
            port(Some(LinkState::default())),
            Some(serde_json::json!({
                "kind": "link_down", "link": "uplink", "side": "inside", "kept_down": false,
                "message": "link uplink: inside has no link",
            }))
        );
        let kept = port(Some(LinkState { kept_down: true, ..LinkState::default() })).unwrap();
        assert!(kept["message"].as_str().unwrap().contains("kept down"), "{kept}");
    }
}
