//! The configuration file: TOML, every key documented in `docs/configuration.md`, unknown keys refused.
//!
//! Reading happens in two steps. The types here say what may be written; [`Config::policy`] and the checks of
//! [`Config::parse`] say what makes sense together. What only a device can know (queues, MTU) is checked when it is set
//! up.

mod check;
mod device;
#[cfg(test)]
mod tests;
mod vlan;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

pub use device::Device;
pub use vlan::{Via, VlanKey, VlanScope};

use crate::failure::{Cause, Failure};
use crate::model::{Direction, MacAddr, Mode};
use crate::policy::{Class, Classes, PortRange, PublicIpv4, RESTRICTED, Relay, Routers, Settings, UNRESTRICTED};
use crate::text::{did_you_mean, suggestion};

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

/// `[policy]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// When identity matters.
    pub identity: IdentityLevel,
    /// What happens to a denied frame.
    pub deny: Deny,
    /// Which directions are judged.
    pub directions: Vec<Direction>,
    /// Class of frames that no VM answers for.
    pub unknown_class: String,
    /// `monitor`: deny nothing, count what would be denied.
    pub mode: Mode,
    /// `any`: a VM's public address may be a private one.
    pub public_ipv4: PublicIpv4,
    /// MACs of routers between VMs and box.
    pub via: Vec<MacAddr>,
    /// Peers that every VM may reach.
    #[serde(rename = "relay")]
    pub relays: Vec<RelaySection>,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self {
            identity: IdentityLevel::Mail,
            deny: Deny::Drop,
            directions: Direction::ALL.to_vec(),
            unknown_class: RESTRICTED.into(),
            mode: Mode::Enforce,
            public_ipv4: PublicIpv4::Public,
            via: Vec::new(),
            relays: Vec::new(),
        }
    }
}

/// `policy.identity`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityLevel {
    /// Where a mail port or an opaque frame is judged.
    Mail,
}

/// `policy.deny`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deny {
    /// Silently.
    Drop,
}

/// `[[policy.relay]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelaySection {
    /// Unique; for people.
    pub name: String,
    /// An address or prefix.
    #[serde(deserialize_with = "device::address_or_prefix")]
    pub prefix: IpNet,
    /// The ports it may be reached on.
    pub ports: Vec<PortRange>,
}

/// `[class.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSection {
    /// The closed TCP ports.
    pub ports: Vec<PortRange>,
    /// `monitor`: VMs of this class are watched, not enforced.
    #[serde(default)]
    pub mode: Mode,
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
        Self { socket: DEFAULT_SOCKET.into() }
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

    /// What workers need of it.
    ///
    /// # Errors
    /// A class or relay that cannot be.
    pub fn policy(&self) -> Result<Settings, Wrong> {
        let restricted = match self.classes.get(RESTRICTED) {
            Some(section) => class(RESTRICTED, section),
            None => Classes::default().get(crate::model::ClassId::RESTRICTED).clone(),
        };
        if self.classes.contains_key(UNRESTRICTED) {
            return wrong("class.unrestricted", "the built-in class closes no port and cannot be changed; add another");
        }
        for name in self.classes.keys() {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
                return wrong(format!("class.{name}"), "a class's name has 1 to 64 of A-Z a-z 0-9 . _ -");
            }
        }
        let own = self.classes.iter().filter(|(name, _)| *name != RESTRICTED);
        let classes = Classes::new(restricted, own.map(|(name, section)| class(name, section)))
            .map_err(|error| Wrong("class".into(), error.to_string()))?;
        let Some(unknown_class) = classes.find(&self.policy.unknown_class) else {
            let message = format!(
                "there is no class `{}`{}",
                self.policy.unknown_class,
                did_you_mean(&self.policy.unknown_class, classes.iter().map(|class| class.name.as_str()))
            );
            return wrong("policy.unknown_class", message);
        };
        for (at, relay) in self.policy.relays.iter().enumerate() {
            if relay.ports.is_empty() {
                return wrong(format!("policy.relay[{at}].ports"), "a relay without ports covers nothing");
            }
            if relay.prefix.trunc() != relay.prefix {
                let message = format!("{} has host bits set; did you mean {}?", relay.prefix, relay.prefix.trunc());
                return wrong(format!("policy.relay[{at}].prefix"), message);
            }
        }
        Ok(Settings {
            classes,
            unknown_class,
            mode: self.policy.mode,
            public_ipv4: self.policy.public_ipv4,
            judge_egress: self.policy.directions.contains(&Direction::Egress),
            judge_ingress: self.policy.directions.contains(&Direction::Ingress),
            via: Routers::new(self.policy.via.clone(), self.links.iter().map(Link::routers).collect()),
            relays: self.policy.relays.iter().map(relay).collect(),
            scopes: self.links.iter().map(Link::vlan_scopes).collect(),
        })
    }
}

/// A key, and what is wrong with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String, pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

impl std::error::Error for Wrong {}

fn wrong<T>(key: impl Into<String>, message: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(key.into(), message.into()))
}

/// A remark on what the documentation plans and this version refuses.
fn later(message: &str) -> &'static str {
    const LATER: [&str; 7] = [
        "unknown variant `strict`",
        "unknown variant `reject`",
        "unknown field `metrics`",
        "unknown field `events`",
        "unknown field `reject_ipv4`",
        "unknown field `reject_ipv6`",
        "unknown field `deny`",
    ];
    if LATER.iter().any(|unknown| message.starts_with(unknown)) { "; not in this version" } else { "" }
}

fn class(name: &str, section: &ClassSection) -> Class {
    Class { name: name.into(), ports: section.ports.iter().copied().collect(), mode: section.mode }
}

fn relay(section: &RelaySection) -> Relay {
    Relay { name: section.name.clone(), prefix: section.prefix, ports: section.ports.iter().copied().collect() }
}
