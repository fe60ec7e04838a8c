//! Numbers, each of a type of its own.

use std::fmt;
use std::str::FromStr;

/// Position of a VM in the table, from 0; below the table's capacity. Given out by the registry, reused after a VM
/// is deleted and no worker can see it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmIndex(pub u32);

/// Tenants on different VLANs may use the same addresses: every look-up is (scope, address). The configuration maps
/// a link's VLANs to scopes; 0 unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Scope(pub u16);

/// Position of a class in the configuration's list of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u8);

impl ClassId {
    /// The built-in class of VMs without a public IPv4 address.
    pub const RESTRICTED: Self = Self(0);
    /// The built-in class of VMs with one: no port is closed.
    pub const UNRESTRICTED: Self = Self(1);
}

/// The id of a VLAN, 1..=4095; 0 for none (a priority tag alone names no VLAN).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanId(pub u16);

/// Position of a link in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkIndex(pub usize);

/// How many changes were committed since start-up: VMs and policy alike, a transaction counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// Which run of the process a revision is of: revisions start at 0 with each, so a number alone could fit by chance. Drawn at
/// random; eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Boot(pub u32);

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Not eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a boot id is eight hexadecimal digits, as answers have it in `boot`")]
pub struct BootError;

impl FromStr for Boot {
    type Err = BootError;

    fn from_str(text: &str) -> Result<Self, BootError> {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u32::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(BootError)
    }
}

impl serde::Serialize for Boot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Boot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_eight_digits() {
        for boot in [0, 1, 0xdead_beef, u32::MAX].map(Boot) {
            assert_eq!(boot.to_string().parse(), Ok(boot));
            assert_eq!(serde_json::from_str::<Boot>(&serde_json::to_string(&boot).unwrap()).unwrap(), boot);
        }
        for text in ["", "1", "0000000", "000000000", "+0000001", "0x000001", "0000000g"] {
            assert_eq!(text.parse::<Boot>(), Err(BootError), "{text}");
        }
    }
}
