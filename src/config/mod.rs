//! The configuration file: TOML, every key documented in `docs/configuration.md`, unknown keys refused.
//!
//! Reading happens in two steps. The types here say what may be written; [`Config::policy`] and the checks of
//! [`Config::parse`] say what makes sense together. What only a device can know (queues, MTU) is checked when it is set
//! up.

mod device;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

pub use device::{Device, DeviceError};

use crate::model::{Direction, MacAddr, Mode, Scope, VlanId};
use crate::policy::{Class, Classes, PortRange, PublicIpv4, RESTRICTED, Relay, Settings, UNRESTRICTED, VlanScopes};
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
    /// Scope of each VLAN; `"0"` stands for untagged frames.
    #[serde(default)]
    pub scopes: BTreeMap<VlanKey, Scope>,
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

/// A VLAN id as a TOML key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct VlanKey(u16);

impl TryFrom<String> for VlanKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<u16>() {
            Ok(id) if id <= 4095 => Ok(Self(id)),
            _ => Err(format!("`{text}` is not a VLAN id; write \"1\" to \"4095\", or \"0\" for untagged frames")),
        }
    }
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
    #[error("{path}: {key}: {message}")]
    Meaning {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// What is wrong and what to write instead.
        message: String,
    },
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
        config.check().map_err(|Wrong(key, message)| ConfigError::Meaning { path: path.to_owned(), key, message })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Wrong> {
        self.policy()?;
        let mut names: Vec<&str> = Vec::new();
        let mut devices: BTreeMap<&str, String> = BTreeMap::new();
        for (at, link) in self.links.iter().enumerate() {
            let key = |field: &str| format!("link[{at}].{field}");
            if link.name.is_empty() || link.name.len() > 64 {
                return wrong(key("name"), "a link's name has 1 to 64 characters");
            }
            if names.contains(&link.name.as_str()) {
                return wrong(key("name"), format!("two links are called `{}`", link.name));
            }
            names.push(&link.name);
            for (field, device) in [("inside", &link.inside), ("outside", &link.outside)] {
                if let Some(other) = devices.insert(device.name(), key(field)) {
                    let message = format!("`{}` is also {other}; each port needs a device of its own", device.name());
                    return wrong(key(field), message);
                }
            }
            if link.queues == Some(0) {
                return wrong(key("queues"), "a port needs at least one queue");
            }
            if !(68..=9600).contains(&link.mtu) {
                return wrong(key("mtu"), format!("{} is not between 68 and 9600 bytes", link.mtu));
            }
            for (field, count) in [("rx_descriptors", link.rx_descriptors), ("tx_descriptors", link.tx_descriptors)] {
                if !(32..=16384).contains(&count) {
                    return wrong(key(field), format!("{count} is not between 32 and 16384"));
                }
            }
        }
        if !(1..=1 << 28).contains(&self.table.vms) {
            return wrong("table.vms", format!("{} is not between 1 and {}", self.table.vms, 1 << 28));
        }
        if !(1..=1 << 28).contains(&self.table.keys) {
            return wrong("table.keys", format!("{} is not between 1 and {}", self.table.keys, 1 << 28));
        }
        if self.dpdk.file_prefix.is_empty() || self.dpdk.file_prefix.contains(['/', '%', ' ']) {
            return wrong("dpdk.file_prefix", "a name without `/`, `%` and blanks is needed");
        }
        Ok(())
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
        let mut via = self.policy.via.clone();
        via.sort_unstable();
        if let Some(group) = via.iter().find(|mac| mac.is_group()) {
            return wrong("policy.via", format!("{group} is a group address; a router has one of its own"));
        }
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
            via,
            relays: self.policy.relays.iter().map(relay).collect(),
            scopes: self.links.iter().map(Link::vlan_scopes).collect(),
        })
    }
}

impl Link {
    fn vlan_scopes(&self) -> VlanScopes {
        self.scopes.iter().map(|(&VlanKey(vlan), &scope)| (VlanId(vlan), scope)).collect()
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
    const LATER: [&str; 8] = [
        "unknown variant `strict`",
        "unknown variant `reject`",
        "unknown field `store`",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClassId;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("portcullis.toml")).map_err(|error| error.to_string())
    }

    const LINK: &str = "[[link]]\nname = \"a\"\ninside = \"net_null0\"\noutside = \"net_null1\"\n";

    #[test]
    fn an_empty_file_is_a_configuration() {
        let config = parse("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.policy().unwrap().classes, Classes::default());
    }

    #[test]
    fn the_shipped_configuration_is_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/portcullis.toml");
        Config::load(&path).unwrap();
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        for (text, suggestion) in [
            ("[dpdk]\ncors = \"1\"", "did you mean `cores`?"),
            ("[polcy]", "did you mean `policy`?"),
            ("[policy]\nunknown_clas = \"x\"", "did you mean `unknown_class`?"),
            ("[policy]\nidentity = \"mial\"", "did you mean `mail`?"),
            ("[policy]\nunknown_class = \"restrictd\"", "did you mean `restricted`?"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(suggestion), "{text:?} gave {error}");
        }
    }

    #[test]
    fn what_a_later_version_brings_is_refused_as_such() {
        for text in ["[policy]\nidentity = \"strict\"", "[policy]\ndeny = \"reject\"", "[store]\npath = \"x\""] {
            assert!(parse(text).unwrap_err().ends_with("not in this version"), "{text}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        let error = parse("[table]\nvms = 5\nkeys = \"many\"").unwrap_err();
        assert!(error.contains("line 3"), "{error}");
    }

    #[test]
    fn a_link_needs_two_devices_of_its_own() {
        assert!(
            parse("[[link]]\nname = \"a\"\ninside = \"net_null0\"").unwrap_err().contains("missing field `outside`")
        );
        let same = "[[link]]\nname = \"a\"\ninside = \"net_null0\"\noutside = \"net_null0,size=64\"";
        assert!(parse(same).unwrap_err().contains("link[0].inside"), "one device twice in a link");
        let shared = format!("{LINK}[[link]]\nname = \"b\"\ninside = \"net_null2\"\noutside = \"net_null1\"");
        let error = parse(&shared).unwrap_err();
        assert!(error.contains("link[1].outside") && error.contains("link[0].outside"), "{error}");
    }

    #[test]
    fn classes_relays_and_scopes_reach_the_policy() {
        let config = parse(&format!(
            "{LINK}scopes = {{ \"100\" = 1, \"0\" = 7 }}\n[policy]\nunknown_class = \"mta-only\"\ndirections = [\"egress\"]\n\
             via = [\"52:54:00:ff:ff:01\"]\n[[policy.relay]]\nname = \"smarthost\"\nprefix = \"198.51.100.25\"\nports = [587]\n\
             [class.mta-only]\nports = [25, \"2000-2010\"]\nmode = \"monitor\"\n[class.restricted]\nports = [\"25\"]"
        ))
        .unwrap();
        let policy = config.policy().unwrap();
        assert_eq!(policy.classes.get(ClassId::RESTRICTED).ports.to_string(), "25");
        assert_eq!(policy.classes.get(policy.unknown_class).ports.to_string(), "25, 2000-2010");
        assert_eq!(policy.classes.get(policy.unknown_class).mode, Mode::Monitor);
        assert!(policy.judge_egress && !policy.judge_ingress);
        assert_eq!(policy.scopes[0].get(VlanId(100)), Scope(1));
        assert_eq!(policy.scopes[0].get(VlanId(0)), Scope(7));
        assert_eq!(policy.scopes[0].get(VlanId(5)), Scope(0));
        assert!(policy.relay("198.51.100.25".parse().unwrap(), 587).is_some());
        assert!(policy.relay("198.51.100.25".parse().unwrap(), 25).is_none());
        assert!(policy.relay("198.51.100.26".parse().unwrap(), 587).is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_key() {
        for (text, key) in [
            ("[class.unrestricted]\nports = [25]".to_owned(), "class.unrestricted"),
            ("[class.\"a b\"]\nports = [25]".to_owned(), "class.a b"),
            ("[class.a]\nports = [\"30-20\"]".to_owned(), "30-20"),
            ("[class.a]\nports = [70000]".to_owned(), "expected a TCP port"),
            ("[policy]\nvia = [\"01:00:5e:00:00:01\"]".to_owned(), "policy.via"),
            (
                "[[policy.relay]]\nname = \"x\"\nprefix = \"198.51.100.25/24\"\nports = [25]".to_owned(),
                "policy.relay[0].prefix",
            ),
            (
                "[[policy.relay]]\nname = \"x\"\nprefix = \"198.51.100.0/24\"\nports = []".to_owned(),
                "policy.relay[0].ports",
            ),
            (format!("{LINK}mtu = 20"), "link[0].mtu"),
            (format!("{LINK}queues = 0"), "link[0].queues"),
            (format!("{LINK}rx_descriptors = 1"), "link[0].rx_descriptors"),
            (format!("{LINK}scopes = {{ \"5000\" = 1 }}"), "5000"),
            ("[table]\nvms = 0".to_owned(), "table.vms"),
            ("[dpdk]\nfile_prefix = \"a/b\"".to_owned(), "dpdk.file_prefix"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(key), "{text:?} gave {error}");
        }
    }
}
