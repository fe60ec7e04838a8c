//! The sections of a policy document.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use super::super::{Guard, IdentityLevel, PortRange, PublicIpv4, RESTRICTED};
use super::vlan::{Via, VlanKey, VlanScope};
use crate::model::{Direction, MacAddr, Mode};

/// `policy`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// When it matters who a frame says it is.
    pub identity: IdentityLevel,
    /// Who looks at what VMs tell their neighbours, where `identity` is `strict` or `observe`; all if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guards: Option<Vec<Guard>>,
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
    /// MACs of routers between VMs and box, on every link.
    pub via: Vec<MacAddr>,
    /// Peers that every VM may reach.
    #[serde(rename = "relay")]
    pub relays: Vec<RelaySection>,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self {
            identity: IdentityLevel::Mail,
            guards: None,
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

/// `policy.deny`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deny {
    /// Silently.
    Drop,
}

/// One of `policy.relay`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelaySection {
    /// Unique; for people.
    pub name: String,
    /// An address or prefix.
    #[serde(deserialize_with = "address_or_prefix")]
    pub prefix: IpNet,
    /// The ports it may be reached on.
    pub ports: Vec<PortRange>,
}

/// `class.NAME`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSection {
    /// The closed TCP ports.
    pub ports: Vec<PortRange>,
    /// `monitor`: VMs of this class are watched, not enforced.
    #[serde(default)]
    pub mode: Mode,
}

/// `link.NAME`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSection {
    /// Scope of each VLAN; `"0"` stands for untagged frames, `"*"` for VLANs that are not listed.
    pub scopes: BTreeMap<VlanKey, VlanScope>,
    /// Routers between VMs and box on this link.
    pub via: Vec<Via>,
    /// Gateways' addresses, which only those routers claim, where `policy.identity` is `strict` or `observe`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<IpAddr>,
}

/// `10.0.0.5` as well as `10.0.0.0/24`.
fn address_or_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
        serde::de::Error::custom(format!(
            "`{text}` is not an IP address or prefix; write 198.51.100.25 or 2001:db8::/64"
        ))
    })
}
