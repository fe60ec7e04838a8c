//! A VM as people and programs write it: inventory (from the hosting grid) and what the operator adds.
//!
//! Reading a record checks everything that can be checked without knowing other VMs. Conflicts between VMs are the
//! [`registry`](super::registry)'s business.

mod address;
mod edits;
mod error;
mod etag;
mod exception;
mod id;
mod lists;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::address::VmPrefix;
use self::address::not_public;
pub use self::edits::{VmPatch, VmSet};
pub use self::error::RecordError;
pub use self::etag::{Etag, EtagError};
pub use self::exception::{EXCEPTIONS_MAX, Exception, ExceptionName, Opens};
pub use self::id::VmId;

use crate::model::{Address, MacAddr, Mode, Scope};

/// Most MACs of one VM.
pub const MACS_MAX: usize = 8;
/// Most addresses and prefixes of one VM, both families together, its public address included.
pub const IPS_MAX: usize = 64;
/// Most bytes of the label of a tenant.
pub const TENANT_BYTES_MAX: usize = 128;
/// Most bytes of a note.
pub const NOTE_BYTES_MAX: usize = 1024;

/// A whole VM, as the registry keeps it and `vm.get` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Its name.
    pub id: VmId,
    /// Station addresses of its NICs, ascending.
    pub macs: Vec<MacAddr>,
    /// Addresses and prefixes, ascending; `public_ipv4` need not be repeated here.
    pub ips: Vec<VmPrefix>,
    /// Its public IPv4 address: having one makes it `unrestricted`.
    pub public_ipv4: Option<Ipv4Addr>,
    /// Where its addresses are looked up.
    pub scope: Scope,
    /// Whose it is: what VMs of one tenant have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The operator's override of its class.
    pub class: Option<String>,
    /// The operator's mode for this VM.
    pub mode: Mode,
    /// What the operator lets it do all the same, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
    /// The operator's remark.
    pub note: Option<String>,
}

impl Vm {
    /// Every address and prefix, the public one included, without repetition.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        let public = self.public_ipv4.map(|address| IpNet::from(IpAddr::V4(address)));
        let listed = self.ips.iter().map(|prefix| prefix.net());
        listed.chain(public.filter(|public| !self.ips.iter().any(|prefix| prefix.net() == *public)))
    }

    /// Every class that it speaks of, without repetition.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        let excepted = self.exceptions.iter().filter_map(|exception| match &exception.opens {
            Opens::Class(class) => Some(class),
            Opens::Ports(_) => None,
        });
        let mut classes: Vec<&str> = self.class.iter().chain(excepted).map(String::as_str).collect();
        classes.sort_unstable();
        classes.dedup();
        classes.into_iter()
    }

    /// What it lists an address by: the MAC, or the longest prefix that the address is in.
    #[must_use]
    pub fn lists(&self, address: Address) -> Option<String> {
        match address {
            Address::Mac(mac) => self.macs.contains(&mac).then(|| mac.to_string()),
            Address::Ip(ip) => {
                let longest = self.prefixes().filter(|net| net.contains(&ip)).max_by_key(IpNet::prefix_len)?;
                let full = longest.prefix_len() == longest.max_prefix_len();
                Some(if full { ip.to_string() } else { longest.to_string() })
            }
        }
    }

    /// Whether its public address, if it has one, is public.
    ///
    /// # Errors
    /// [`RecordError::NotPublic`]
    pub fn check_public_address(&self) -> Result<(), RecordError> {
        match self.public_ipv4.and_then(|address| Some((address, not_public(address)?))) {
            Some((address, what)) => Err(RecordError::NotPublic { id: self.id.clone(), address, what }),
            None => Ok(()),
        }
    }

    /// Checks what [`VmSet`] and [`VmPatch`] cannot express in types, and sorts the lists.
    fn checked(mut self) -> Result<Self, RecordError> {
        self.macs.sort_unstable();
        self.macs.dedup();
        self.ips.sort_unstable();
        self.ips.dedup();
        self.exceptions.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(name) = self.exceptions.windows(2).find_map(same_name) {
            return Err(RecordError::SameException { id: self.id, name });
        }
        for &mac in &self.macs {
            match mac {
                MacAddr::BROADCAST => return Err(RecordError::GroupMac(mac, "the broadcast address")),
                MacAddr([0, 0, 0, 0, 0, 0]) => return Err(RecordError::GroupMac(mac, "the zero address")),
                _ if mac.is_group() => return Err(RecordError::GroupMac(mac, "a group address (multicast)")),
                _ => {}
            }
        }
        if let Some(public) = self.public_ipv4 {
            VmPrefix::try_from(IpNet::from(IpAddr::V4(public)))?;
        }
        let ips = self.prefixes().count();
        match self.id.clone() {
            id if self.macs.is_empty() && ips == 0 => Err(RecordError::NoKey(id)),
            id if self.macs.len() > MACS_MAX => Err(RecordError::TooManyMacs { id, count: self.macs.len() }),
            id if ips > IPS_MAX => Err(RecordError::TooManyIps { id, count: ips }),
            id if self.exceptions.len() > EXCEPTIONS_MAX => {
                Err(RecordError::TooManyExceptions { id, count: self.exceptions.len() })
            }
            id if self.tenant.as_ref().is_some_and(|tenant| !(1..=TENANT_BYTES_MAX).contains(&tenant.len())) => {
                Err(RecordError::Tenant { id, bytes: self.tenant.map_or(0, |tenant| tenant.len()) })
            }
            id => match self.note.as_ref().map_or(0, String::len) {
                bytes if bytes > NOTE_BYTES_MAX => Err(RecordError::LongNote { id, bytes }),
                _ => Ok(self),
            },
        }
    }
}

fn same_name(two: &[Exception]) -> Option<ExceptionName> {
    match two {
        [one, other] if one.name == other.name => Some(one.name.clone()),
        _ => None,
    }
}
