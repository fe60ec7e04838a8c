//! The other end of a VM's connections.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An address, or a prefix whose host bits are zero, beyond a VM. As text: `192.0.2.25`, `2001:db8::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct Peer(IpNet);

impl Peer {
    /// The prefix; an address is one of full length.
    #[must_use]
    pub fn net(self) -> IpNet {
        self.0
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => write!(f, "{}", self.0.addr()),
            false => write!(f, "{}", self.0),
        }
    }
}

/// Text that names no other end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Not an address or prefix.
    #[error("`{0}` is not an IP address or prefix; write 192.0.2.25, 192.0.2.0/24 or 2001:db8::/64")]
    Text(String),
    /// Bits behind the prefix length are set.
    #[error("{0} has host bits set; did you mean {network}?", network = .0.trunc())]
    HostBits(IpNet),
}

impl FromStr for Peer {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let net = address.or_else(|_| text.parse::<IpNet>());
        let net = net.map_err(|_| PeerError::Text(text.chars().take(64).collect()))?;
        if net.trunc() == net { Ok(Self(net)) } else { Err(PeerError::HostBits(net)) }
    }
}

impl TryFrom<Cow<'_, str>> for Peer {
    type Error = PeerError;

    fn try_from(text: Cow<'_, str>) -> Result<Self, PeerError> {
        text.parse()
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> Self {
        peer.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_or_a_prefix() {
        for text in ["192.0.2.25", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::25", "2001:db8::/64"] {
            assert_eq!(text.parse::<Peer>().map(|peer| peer.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "mail", "192.0.2", "192.0.2.0/33", " 192.0.2.25", "192.0.2.25:25"] {
            assert!(matches!(text.parse::<Peer>(), Err(PeerError::Text(_))), "{text}");
        }
        let error = "192.0.2.25/24".parse::<Peer>().unwrap_err().to_string();
        assert_eq!(error, "192.0.2.25/24 has host bits set; did you mean 192.0.2.0/24?");
    }
}
