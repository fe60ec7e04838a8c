//! What is no problem and might be worth a look: a router that nobody listed, traffic that nobody looks into.

use serde::{Deserialize, Serialize};

use super::reading::Overview;
use crate::model::{Direction, MacAddr};
use crate::policy::Observed;
use crate::telemetry::drops::Suspect;
use crate::telemetry::report::Report;

/// From how many addresses on a MAC looks like a router's.
const ROUTER_ADDRESSES: u32 = 8;
/// Frames from VMs before shares of them mean anything.
const FRAMES_MIN: u64 = 10_000;
/// From how many of a hundred frames from VMs on tunnels are remarked upon.
const TUNNEL_PERCENT: u64 = 10;

/// Something that might be worth a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Hint {
    /// Mail from many addresses of VMs comes from one MAC that is none of theirs.
    RouterSuspected {
        /// On which link, if links have names.
        link: Option<String>,
        /// The MAC.
        mac: MacAddr,
        /// From how many addresses, about.
        addresses: u32,
        /// For people.
        message: String,
    },
    /// Many frames from VMs are a tunnel's, whose inside is not judged.
    TunnelShare {
        /// The observation that counts them.
        observed: String,
        /// How many of a hundred frames from VMs.
        percent: u64,
        /// For people.
        message: String,
    },
}

impl Hint {
    /// In words.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::RouterSuspected { message, .. } | Self::TunnelShare { message, .. } => message,
        }
    }
}

/// What there is to remark upon.
pub(super) fn hints(overview: &Overview, report: &Report) -> Vec<Hint> {
    let links = &overview.settings.links;
    let suspects = overview.drops.suspects().into_iter().filter(|suspect| suspect.addresses >= ROUTER_ADDRESSES);
    let router = |Suspect { link, mac, addresses }: Suspect| {
        let link = links.get(link.0).cloned();
        let on = link.as_ref().map(|link| format!(" on link {link}")).unwrap_or_default();
        let message = format!(
            "{mac}{on} sent mail from about {addresses} addresses that are not its own: if it is a router's, list it in `via` \
             of the link; if not, it forges them (`portcullis drops --mac {mac}`)"
        );
        Hint::RouterSuspected { link, mac, addresses, message }
    };
    suspects.map(router).chain(tunnels(report)).collect()
}

fn tunnels(report: &Report) -> impl Iterator<Item = Hint> + '_ {
    let received: u64 = report.links.iter().map(|(_, link)| link.inside.rx).sum();
    let seen = |name: &str| report.observed.way(Direction::Egress).get(name).copied().unwrap_or(0);
    let tunnels = Observed::ALL.into_iter().filter(|observed| observed.name().starts_with("tunnel_"));
    tunnels.filter(move |_| received >= FRAMES_MIN).filter_map(move |observed| {
        let percent = seen(observed.name()).saturating_mul(100) / received;
        let message = format!(
            "{percent} % of the frames from VMs are counted as {}: what is inside is not judged",
            observed.name()
        );
        (percent >= TUNNEL_PERCENT).then(|| Hint::TunnelShare { observed: observed.name().into(), percent, message })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::ledger::Ledger;
    use crate::telemetry::report::LinkReport;

    #[test]
    fn tunnels_are_remarked_upon_from_a_tenth_of_the_frames_on() {
        let ledger = Ledger::new(Vec::new(), Vec::new());
        let said = |received: u64, vxlan: u64| {
            let mut report = ledger.report(crate::model::Revision(0));
            let mut link = LinkReport::default();
            link.inside.rx = received;
            report.links.0.push(("uplink".into(), link));
            report.observed.egress = [("tunnel_vxlan", vxlan), ("udp_mail", received)].into_iter().collect();
            tunnels(&report).map(|hint| hint.message().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(said(10_000, 999), Vec::<String>::new());
        assert_eq!(said(9_999, 9_999), Vec::<String>::new(), "too few to say");
        let words = "40 % of the frames from VMs are counted as tunnel_vxlan: what is inside is not judged";
        assert_eq!(said(10_000, 4_000), [words]);
    }
}
