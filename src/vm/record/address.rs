//! An address or prefix of a VM, and which ones no VM can have.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::RecordError;

/// An address, or a prefix whose host bits are zero, that a VM may have. As text: `10.0.0.5`, `2001:db8:5::/64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct VmPrefix(IpNet);

impl VmPrefix {
    /// The prefix; an address is one of full length.
    #[must_use]
    pub fn net(self) -> IpNet {
        self.0
    }
}

impl TryFrom<IpNet> for VmPrefix {
    type Error = RecordError;

    fn try_from(net: IpNet) -> Result<Self, RecordError> {
        let text = || VmPrefix(net).to_string();
        if net.trunc() != net {
            return Err(RecordError::HostBits { text: text(), network: net.trunc() });
        }
        match unassignable(net) {
            Some(what) => Err(RecordError::Unassignable { text: text(), what }),
            None => Ok(Self(net)),
        }
    }
}

impl FromStr for VmPrefix {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let net = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse().map_err(|_| RecordError::Prefix(text.chars().take(80).collect()))?,
        };
        Self::try_from(net)
    }
}

impl TryFrom<Cow<'_, str>> for VmPrefix {
    type Error = RecordError;

    fn try_from(text: Cow<'_, str>) -> Result<Self, RecordError> {
        text.parse()
    }
}

impl fmt::Display for VmPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => write!(f, "{}", self.0.addr()),
            false => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for VmPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<VmPrefix> for String {
    fn from(prefix: VmPrefix) -> Self {
        prefix.to_string()
    }
}

/// Why no VM can have any address of this prefix, or not all of them.
fn unassignable(net: IpNet) -> Option<&'static str> {
    let overlaps = |special: &str| match (net, special.parse::<IpNet>()) {
        (net, Ok(special)) => net.contains(&special) || special.contains(&net),
        (_, Err(_)) => false,
    };
    match net {
        IpNet::V4(_) if overlaps("0.0.0.0/32") => Some("0.0.0.0"),
        IpNet::V4(_) if overlaps("127.0.0.0/8") => Some("loopback (127.0.0.0/8)"),
        IpNet::V4(_) if overlaps("224.0.0.0/4") => Some("multicast (224.0.0.0/4)"),
        IpNet::V4(_) if overlaps("255.255.255.255/32") => Some("broadcast (255.255.255.255)"),
        IpNet::V6(_) if overlaps("::/128") => Some("the unspecified address (::)"),
        IpNet::V6(_) if overlaps("::1/128") => Some("loopback (::1)"),
        IpNet::V6(_) if overlaps("::ffff:0:0/96") => Some("IPv4-mapped addresses (::ffff:0:0/96)"),
        IpNet::V6(_) if overlaps("ff00::/8") => Some("multicast (ff00::/8)"),
        _ => None,
    }
}

/// Why an address is not a public one. Ranges of documentation count as public: examples are written with them.
pub(super) fn not_public(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("\"this network\" (0.0.0.0/8, RFC 791)"),
        [10, ..] => Some("private (10.0.0.0/8, RFC 1918)"),
        [100, 64..=127, ..] => Some("shared behind a carrier's NAT (100.64.0.0/10, RFC 6598)"),
        [127, ..] => Some("loopback (127.0.0.0/8)"),
        [169, 254, ..] => Some("link-local (169.254.0.0/16, RFC 3927)"),
        [172, 16..=31, ..] => Some("private (172.16.0.0/12, RFC 1918)"),
        [192, 168, ..] => Some("private (192.168.0.0/16, RFC 1918)"),
        [224..=239, ..] => Some("multicast (224.0.0.0/4)"),
        [240..=255, ..] => Some("reserved (240.0.0.0/4, RFC 1112)"),
        _ => None,
    }
}
