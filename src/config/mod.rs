//! The configuration file: TOML, every key documented in `docs/configuration.md`, unknown keys refused.
//!
//! Reading happens in two steps. The types here say what may be written; [`Config::policy`] and the checks of
//! [`Config::parse`] say what makes sense together. What only a device can know (queues, MTU) is checked when it is set
//! up.

mod check;
mod device;
mod metrics;
mod reload;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use device::Device;
pub use metrics::{Listen, Metrics, Shown};

use crate::failure::{Cause, Failure};
use crate::model::Principal;
use crate::policy::Settings;
use crate::policy::document::{ClassSection, Document, LinkSection, PolicySection, Via, VlanKey, VlanScope, Wrong};
use crate::text::suggestion;

/// Everything the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Cores, memory, EAL.
    pub dpdk: Dpdk,
    /// Pairs of ports.
    #[serde(rename = "link")]
    pub links: Vec<Link>,
    /// What decides beside the VMs.
    pub policy: PolicySection,
    /// Named sets of closed ports.
    #[serde(rename = "class")]
    pub classes: BTreeMap<String, ClassSection>,
    /// Capacity of the VM table.
    pub table: Table,
    /// The control socket.
    pub control: Control,
    /// What is kept on disk.
    pub store: Store,
    /// Where counters are served.
    pub metrics: Metrics,
}

/// `[dpdk]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dpdk {
    /// CPUs of the workers, one worker each: `"1-4,6"`. Default: every CPU but `main_core`; on a machine with one CPU,
    /// that one.
    pub cores: Option<String>,
    /// CPU of everything that is not a worker.
    pub main_core: Option<u32>,
    /// Whether memory comes from huge pages.
    pub hugepages: Hugepages,
    /// Packet buffers, all ports together. Default: computed from queues and descriptors.
    pub mbufs: Option<u32>,
    /// Memory for DPDK in MiB. Default: computed from the packet buffers.
    pub memory_mib: Option<u32>,
    /// Name of this process among DPDK processes.
    pub file_prefix: String,
    /// EAL options, as they would stand on a command line.
    pub extra_args: Vec<String>,
}

impl Default for Dpdk {
    fn default() -> Self {
        Self {
            cores: None,
            main_core: None,
            hugepages: Hugepages::Auto,
            mbufs: None,
            memory_mib: None,
            file_prefix: "portcullis".into(),
            extra_args: Vec::new(),
        }
    }
}

/// Where DPDK's memory comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hugepages {
    /// Huge pages when enough are free, else ordinary pages.
    #[default]
    Auto,
    /// Huge pages; without them start-up fails.
    On,
    /// Ordinary pages (fine for virtual devices; physical ones need huge pages or an IOMMU).
    Off,
}

/// `[[link]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Unique; in statistics and logs.
    pub name: String,
    /// Port towards the VMs.
    pub inside: Device,
    /// Port towards the uplink.
    pub outside: Device,
    /// Receive and transmit queues of each port. Default: one for each worker, as far as the devices have them.
    #[serde(default)]
    pub queues: Option<u16>,
    /// Largest IP packet in bytes.
    #[serde(default = "Link::default_mtu")]
    pub mtu: u16,
    /// Receive descriptors of each queue.
    #[serde(default = "Link::default_descriptors")]
    pub rx_descriptors: u16,
    /// Transmit descriptors of each queue.
    #[serde(default = "Link::default_descriptors")]
    pub tx_descriptors: u16,
    /// Whether a port that loses its link takes the other side of the link down.
    #[serde(default = "yes")]
    pub link_propagation: bool,
    /// Scope of each VLAN; `"0"` stands for untagged frames, `"*"` for VLANs that are not listed.
    #[serde(default)]
    pub scopes: BTreeMap<VlanKey, VlanScope>,
    /// Routers between VMs and box on this link.
    #[serde(default)]
    pub via: Vec<Via>,
    /// Gateways' addresses, which only routers of this link claim, where `policy.identity` is `strict` or `observe`.
    #[serde(default)]
    pub protect: Vec<IpAddr>,
    /// What the box answers denied frames from, where `deny` is `reject`; without it, by TCP resets alone.
    #[serde(default)]
    pub reject_ipv4: Option<Ipv4Addr>,
    /// The same of IPv6.
    #[serde(default)]
    pub reject_ipv6: Option<Ipv6Addr>,
}

impl Link {
    /// A link with every default and no device yet worth the name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let device = |name: &str| Device::Virtual { name: name.into(), vdev: name.into() };
        Self {
            name: name.into(),
            inside: device("net_null0"),
            outside: device("net_null1"),
            queues: None,
            mtu: Self::default_mtu(),
            rx_descriptors: Self::default_descriptors(),
            tx_descriptors: Self::default_descriptors(),
            link_propagation: yes(),
            scopes: BTreeMap::new(),
            via: Vec::new(),
            protect: Vec::new(),
            reject_ipv4: None,
            reject_ipv6: None,
        }
    }

    const fn default_mtu() -> u16 {
        1500
    }

    const fn default_descriptors() -> u16 {
        1024
    }
}

const fn yes() -> bool {
    true
}

/// `[table]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// Most VMs.
    pub vms: u32,
    /// Most MACs, addresses and prefixes, all VMs together.
    pub keys: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self { vms: 1 << 20, keys: 1 << 22 }
    }
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Path of the control socket.
    pub socket: PathBuf,
    /// How many of a hundred VMs a `sync` may remove unless forced.
    pub sync_remove_max_percent: u8,
    /// Who may do what; whoever may connect may do everything if nothing is said.
    pub roles: Option<Roles>,
    /// The file where every change and refusal is written down.
    pub audit: Option<PathBuf>,
}

/// `[control.roles]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roles {
    /// Who may ask.
    pub read: Vec<Principal>,
    /// Who may change VMs, too.
    pub write: Vec<Principal>,
    /// Who may change policy, too.
    pub admin: Vec<Principal>,
}

/// `[store]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The file that keeps what is changed; its copy has the same name and `.copy`. Without it nothing outlasts the process.
    pub path: Option<PathBuf>,
}

/// The configuration file unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/portcullis/portcullis.toml";
/// Where the daemon listens and the commands connect unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/portcullis/control.sock";

impl Default for Control {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into(), sync_remove_max_percent: 20, roles: None, audit: None }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not TOML, or not these keys and values.
    #[error("{path}: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what, with a suggestion.
        message: String,
    },
    /// Each value is fine, together they are not.
    #[error("{}", listed(path, faults))]
    Meaning {
        /// Which file.
        path: PathBuf,
        /// Every key, what is wrong and what to write instead.
        faults: Vec<Wrong>,
    },
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match &error {
            ConfigError::Read { source, .. } => Self::io(Cause::Configuration, source, &error),
            _ => Self::new(Cause::Configuration, error),
        }
    }
}

/// A line for each fault.
fn listed(path: &Path, faults: &[Wrong]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect();
    lines.join("\n")
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: format!(
                "{}{}{}",
                error.to_string().trim_end(),
                suggestion(error.message(), &[]),
                later(error.message())
            ),
        })?;
        match config.faults() {
            faults if faults.is_empty() => Ok(config),
            faults => Err(ConfigError::Meaning { path: path.to_owned(), faults }),
        }
    }

    /// What it says of policy.
    #[must_use]
    pub fn document(&self) -> Document {
        let links = self.links.iter().map(|link| {
            let Link { scopes, via, protect, reject_ipv4, reject_ipv6, .. } = link.clone();
            (link.name.clone(), LinkSection { scopes, via, protect, reject_ipv4, reject_ipv6 })
        });
        Document { policy: self.policy.clone(), classes: self.classes.clone(), links: links.collect() }
    }

    /// How its links are called, by their index.
    #[must_use]
    pub fn link_names(&self) -> Vec<String> {
        self.links.iter().map(|link| link.name.clone()).collect()
    }

    /// What workers need of it. A configuration that was not refused has it.
    ///
    /// # Errors
    /// A class or relay that cannot be.
    pub fn policy(&self) -> Result<Settings, Wrong> {
        let nothing = || Wrong("policy".into(), "it cannot be".into());
        let first = |faults: Vec<Wrong>| faults.into_iter().next().unwrap_or_else(nothing);
        self.document().settings(&self.link_names()).map_err(first)
    }
}

/// A remark on what the documentation plans and this version refuses.
fn later(message: &str) -> &'static str {
    if message.starts_with("unknown field `events`") { "; not in this version" } else { "" }
}
