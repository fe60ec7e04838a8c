//! The counters for Prometheus, and how it goes for whoever asks by HTTP: nothing is changed here, and no worker waits.
//!
//! [`Scrape`] is what is shown, taken from the statistics document and from `health`; `exposition` writes it as text;
//! `http` serves that. What each metric means: `docs/metrics.md`, which a test holds to `exposition`.

mod exposition;
mod families;
// Under loom tokio has no network, and no model looks at this.
#[cfg(not(loom))]
pub mod http;
mod process;
mod scrape;

pub use self::scrape::Scrape;
