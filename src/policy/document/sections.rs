//! The sections of a policy document.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use super::super::{Deny, Guard, IdentityLevel, PortRange, PublicIpv4, RESTRICTED, RejectRate};
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
    /// What happens to a denied frame, where its class does not say.
    pub deny: Deny,
    /// How many answers one VM, or all unknown senders of a link, may cause a second on each worker.
    pub reject_rate: u32,
    /// How many at once.
    pub reject_burst: u32,
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
    /// Peers that VMs may reach.
    #[serde(rename = "relay")]
    pub relays: Vec<RelaySection>,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self {
            identity: IdentityLevel::Mail,
            guards: None,
            deny: Deny::Drop,
            reject_rate: RejectRate::default().per_second,
            reject_burst: RejectRate::default().burst,
            directions: Direction::ALL.to_vec(),
            unknown_class: RESTRICTED.into(),
            mode: Mode::Enforce,
            public_ipv4: PublicIpv4::Public,
            via: Vec::new(),
            relays: Vec::new(),
        }
    }
}

/// One of `policy.relay`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelaySection {
    /// Unique; for people.
    pub name: String,
    /// An address or prefix; or `vm` instead.
    #[serde(default, deserialize_with = "address_or_prefix", skip_serializing_if = "Option::is_none")]
    pub prefix: Option<IpNet>,
    /// The VM whose addresses it has, whatever they are at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// Only VMs of its tenant may reach that VM.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tenant: bool,
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
    /// What happens to what this class denies; as `policy.deny` says if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Deny>,
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
    /// What the box answers from, where `deny` is `reject`; without it, by TCP resets alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_ipv4: Option<Ipv4Addr>,
    /// The same of IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_ipv6: Option<Ipv6Addr>,
}

/// `10.0.0.5` as well as `10.0.0.0/24`.
fn address_or_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse::<IpNet>()).map(Some).map_err(|_| {
        serde::de::Error::custom(format!(
            "`{text}` is not an IP address or prefix; write 198.51.100.25 or 2001:db8::/64"
        ))
    })
}
