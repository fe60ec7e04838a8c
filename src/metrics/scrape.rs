//! What is shown, of one moment.

use crate::config::Shown;
use crate::control::health;
use crate::control::reading::{self, Source};
use crate::control::rpc::{HealthAnswer, RpcError};
use crate::policy::Tally;
use crate::telemetry::report::{Named, Report};

/// What is shown, of one moment.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The statistics document, with those VMs that are shown.
    pub report: Report,
    /// How it goes.
    pub health: HealthAnswer,
    /// Version of DPDK.
    pub dpdk: Option<String>,
}

impl Scrape {
    /// As it is now.
    ///
    /// # Errors
    /// The server is about to stop.
    pub fn take(source: &impl Source, shown: Shown) -> Result<Self, RpcError> {
        let overview = source.overview()?;
        let vms = match shown {
            // Nobody is looked at to rank nobody.
            Shown::Top(0) => Named::default(),
            Shown::Top(count) => reading::top(source, &overview.ledger, count as usize, Tally::Denied)?,
            Shown::All => reading::judged(source, &overview.ledger)?,
        };
        let health = health::answer(&overview);
        let report = overview.ledger.report(overview.revision).with_daemon(overview.daemon).with_vms(vms);
        Ok(Self { report, health, dpdk: overview.dpdk })
    }
}
