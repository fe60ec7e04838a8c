//! What a VM is found by.

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
    pub fn address(scope: Scope, address: std::net::IpAddr) -> Self {
        Self::Prefix(scope, IpNet::from(address))
    }
}
