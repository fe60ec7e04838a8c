//! What a VM is found by.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{MacAddr, Scope};

/// What a VM is found by. Equal keys belong to one VM; nested prefixes are different keys (the longest wins).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A station address within a scope.
    Mac(Scope, MacAddr),
    /// An address (a prefix of full length) or prefix within a scope; host bits are zero.
    Prefix(Scope, IpNet),
}

impl Key {
    /// The key of one address: its prefix of full length.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn address(scope: Scope, address: IpAddr) -> Self {
        Self::Prefix(scope, IpNet::from(address))
    }
}

/// What a frame has of a station, and somebody asks whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Its station address.
    Mac(MacAddr),
    /// Its IP address.
    Ip(IpAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}
