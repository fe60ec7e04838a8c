//! Relays: peers that every VM may reach.

use ipnet::IpNet;

use super::PortSet;

/// A peer that every VM may reach, as the provider's smarthost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Unique; for people.
    pub name: String,
    /// Where it is.
    pub prefix: IpNet,
    /// The ports it may be reached on.
    pub ports: PortSet,
}
