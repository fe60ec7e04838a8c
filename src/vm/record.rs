//! A VM as people and programs write it: inventory (from the hosting grid) and what the operator adds.
//!
//! Reading a record checks everything that can be checked without knowing other VMs. Conflicts between VMs are the
//! [`registry`](super::registry)'s business.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{MacAddr, Mode, Scope};

/// Most MACs of one VM.
pub const MACS_MAX: usize = 8;
/// Most addresses and prefixes of one VM, both families together, its public address included.
pub const IPS_MAX: usize = 64;
/// Most bytes of a note.
pub const NOTE_BYTES_MAX: usize = 1024;

/// Name of a VM: 1 to 64 of `A-Za-z0-9._:-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "std::borrow::Cow<'_, str>", into = "String")]
pub struct VmId(Box<str>);

impl VmId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VmId {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(RecordError::Id(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<std::borrow::Cow<'_, str>> for VmId {
    type Error = RecordError;

    fn try_from(text: std::borrow::Cow<'_, str>) -> Result<Self, RecordError> {
        text.parse()
    }
}

impl From<VmId> for String {
    fn from(id: VmId) -> Self {
        id.0.into()
    }
}

/// An address, or a prefix whose host bits are zero, that a VM may have. As text: `10.0.0.5`, `2001:db8:5::/64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "std::borrow::Cow<'_, str>", into = "String")]
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

impl TryFrom<std::borrow::Cow<'_, str>> for VmPrefix {
    type Error = RecordError;

    fn try_from(text: std::borrow::Cow<'_, str>) -> Result<Self, RecordError> {
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
fn not_public(address: Ipv4Addr) -> Option<&'static str> {
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

/// Why a record is refused, whatever other VMs there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a name.
    #[error("`{0}` is not a VM id; use 1 to 64 of A-Z a-z 0-9 . _ : -")]
    Id(String),
    /// Not an address or prefix.
    #[error("`{0}` is not an IP address or prefix; write 10.0.0.5, 10.0.0.0/24, 2001:db8::5 or 2001:db8:5::/64")]
    Prefix(String),
    /// Bits behind the prefix length are set.
    #[error("`{text}` has bits set behind its prefix length; did you mean {network} or the single address?")]
    HostBits {
        /// As written.
        text: String,
        /// The prefix it lies in.
        network: IpNet,
    },
    /// Nobody's address.
    #[error("`{text}` cannot belong to a VM: it covers {what}")]
    Unassignable {
        /// As written.
        text: String,
        /// What it covers.
        what: &'static str,
    },
    /// A public address that is none.
    #[error(
        "public_ipv4 {address} of VM {id} is not a public address: it is {what}; leave `public_ipv4` out, or allow any in a \
         laboratory (`policy.public_ipv4 = \"any\"`)"
    )]
    NotPublic {
        /// Whose.
        id: VmId,
        /// As written.
        address: Ipv4Addr,
        /// What it is instead.
        what: &'static str,
    },
    /// A MAC that names no single station.
    #[error("MAC {0} cannot belong to a VM: it is {1}")]
    GroupMac(MacAddr, &'static str),
    /// Nothing to recognise the VM by.
    #[error("VM {0} has neither MAC nor IP address; give at least one")]
    NoKey(VmId),
    /// Too many MACs.
    #[error("VM {id} has {count} MACs; at most {MACS_MAX} are possible")]
    TooManyMacs {
        /// Whose.
        id: VmId,
        /// How many.
        count: usize,
    },
    /// Too many addresses.
    #[error("VM {id} has {count} addresses and prefixes (its public one included); at most {IPS_MAX} are possible")]
    TooManyIps {
        /// Whose.
        id: VmId,
        /// How many.
        count: usize,
    },
    /// A note that is a book.
    #[error("the note of VM {id} has {bytes} bytes; at most {NOTE_BYTES_MAX} are possible")]
    LongNote {
        /// Whose.
        id: VmId,
        /// How long.
        bytes: usize,
    },
}

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
    /// The operator's override of its class.
    pub class: Option<String>,
    /// The operator's mode for this VM.
    pub mode: Mode,
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
            id => match self.note.as_ref().map_or(0, String::len) {
                bytes if bytes > NOTE_BYTES_MAX => Err(RecordError::LongNote { id, bytes }),
                _ => Ok(self),
            },
        }
    }
}

/// A VM line, and the parameters of `vm.set`: the inventory replaces what was there; an absent field of the operator's
/// stays as it is, `null` clears it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSet {
    /// Which VM; made if there is none.
    pub id: VmId,
    /// At most [`MACS_MAX`].
    #[serde(default, deserialize_with = "or_default")]
    pub macs: Vec<MacAddr>,
    /// At most [`IPS_MAX`].
    #[serde(default, deserialize_with = "or_default")]
    pub ips: Vec<VmPrefix>,
    /// Makes the VM `unrestricted`.
    #[serde(default)]
    pub public_ipv4: Option<Ipv4Addr>,
    /// 0 unless the configuration maps VLANs to scopes.
    #[serde(default, deserialize_with = "or_default")]
    pub scope: Scope,
    /// Override of the class.
    #[serde(default, deserialize_with = "given")]
    pub class: Option<Option<String>>,
    /// The VM's own mode.
    #[serde(default, deserialize_with = "given")]
    pub mode: Option<Option<Mode>>,
    /// A remark.
    #[serde(default, deserialize_with = "given")]
    pub note: Option<Option<String>>,
}

impl VmSet {
    /// The record that results when `old` was there before.
    ///
    /// # Errors
    /// What no VM may be, see [`RecordError`].
    pub fn onto(self, old: Option<&Vm>) -> Result<Vm, RecordError> {
        Vm {
            id: self.id,
            macs: self.macs,
            ips: self.ips,
            public_ipv4: self.public_ipv4,
            scope: self.scope,
            class: self.class.unwrap_or_else(|| old.and_then(|old| old.class.clone())),
            mode: self.mode.map_or_else(|| old.map_or(Mode::default(), |old| old.mode), Option::unwrap_or_default),
            note: self.note.unwrap_or_else(|| old.and_then(|old| old.note.clone())),
        }
        .checked()
    }
}

/// The parameters of `vm.patch`: what is absent stays; `null` clears.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VmPatch {
    /// Replaces the MACs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs: Option<Vec<MacAddr>>,
    /// Replaces the addresses and prefixes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ips: Option<Vec<VmPrefix>>,
    /// Replaces or clears the public address.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub public_ipv4: Option<Option<Ipv4Addr>>,
    /// Moves the VM to another scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Replaces or clears the override of the class.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub class: Option<Option<String>>,
    /// Replaces the mode; `null` is `enforce`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub mode: Option<Option<Mode>>,
    /// Replaces or clears the remark.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub note: Option<Option<String>>,
}

impl VmPatch {
    /// The record that results.
    ///
    /// # Errors
    /// What no VM may be, see [`RecordError`].
    pub fn onto(self, old: &Vm) -> Result<Vm, RecordError> {
        Vm {
            id: old.id.clone(),
            macs: self.macs.unwrap_or_else(|| old.macs.clone()),
            ips: self.ips.unwrap_or_else(|| old.ips.clone()),
            public_ipv4: self.public_ipv4.unwrap_or(old.public_ipv4),
            scope: self.scope.unwrap_or(old.scope),
            class: self.class.unwrap_or_else(|| old.class.clone()),
            mode: self.mode.map_or(old.mode, Option::unwrap_or_default),
            note: self.note.unwrap_or_else(|| old.note.clone()),
        }
        .checked()
    }
}

/// `null` where there is nothing to clear means the same as a field that is absent.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Tells a field that is `null` (`Some(None)`) from one that is absent (`None`, by `default`).
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(json: &str) -> Result<Vm, String> {
        let set: VmSet = serde_json::from_str(json).map_err(|e| e.to_string())?;
        set.onto(None).map_err(|e| e.to_string())
    }

    #[test]
    fn a_full_line_is_read() {
        let vm = set(r#"{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5","2001:DB8::5"],
                "public_ipv4":"203.0.113.5","class":"restricted","scope":0}"#)
        .unwrap();
        assert_eq!(vm.ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.5", "2001:db8::5"]);
        assert_eq!(vm.prefixes().count(), 3, "the public address counts among the addresses");
        assert_eq!(vm.class.as_deref(), Some("restricted"));
    }

    #[test]
    fn addresses_that_no_vm_can_have_are_refused() {
        for ip in [
            "0.0.0.0",
            "0.0.0.0/0",
            "0.0.0.0/8",
            "127.0.0.1",
            "127.0.0.0/8",
            "126.0.0.0/7",
            "224.0.0.1",
            "239.255.255.255",
            "224.0.0.0/4",
            "128.0.0.0/1",
            "255.255.255.255",
            "10.0.0.5/24",
            "10.0.0.1/31",
            "::",
            "::/0",
            "::1",
            "::ffff:10.0.0.5",
            "::ffff:0:0/96",
            "::/64",
            "ff02::1",
            "ff00::/8",
            "f000::/4",
            "2001:db8::5/64",
            "10.0.0",
            "10.0.0.0/33",
            "2001:db8::/129",
            "10.0.0.5 ",
            " 10.0.0.5",
            "010.0.0.5",
            "10.0.0.5/",
            "10.0.0.0/+8",
            "2001:db8::g",
            "fe80::1%eth0",
            "",
            "web1",
        ] {
            let json = format!(r#"{{"id":"a","ips":["{ip}"]}}"#);
            assert!(set(&json).is_err(), "{ip}");
        }
        for ip in [
            "10.0.0.5",
            "10.0.0.0/24",
            "1.0.0.0/8",
            "2001:db8::5",
            "2001:0DB8::0005",
            "2001:db8:5::/64",
            "fe80::5",
            "169.254.1.1",
        ] {
            let json = format!(r#"{{"id":"a","ips":["{ip}"]}}"#);
            assert!(set(&json).is_ok(), "{ip}");
        }
        for ip in ["0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255"] {
            assert!(set(&format!(r#"{{"id":"a","public_ipv4":"{ip}"}}"#)).is_err(), "public {ip}");
        }
    }

    #[test]
    fn null_is_like_absent() {
        let vm = set(r#"{"id":"a","macs":null,"ips":["10.0.0.5"],"public_ipv4":null,"scope":null,"class":null,
                "mode":null,"note":null}"#);
        assert_eq!(vm, set(r#"{"id":"a","ips":["10.0.0.5"]}"#));
        assert!(set(r#"{"id":null,"ips":["10.0.0.5"]}"#).is_err(), "a VM has a name");
    }

    #[test]
    fn a_public_address_is_told_from_others() {
        let refused = |address: &str| {
            let vm = set(&format!(r#"{{"id":"a","public_ipv4":"{address}"}}"#)).unwrap();
            vm.check_public_address().map_err(|error| error.to_string())
        };
        for (address, what) in [
            ("0.0.0.1", "RFC 791"),
            ("0.255.255.255", "RFC 791"),
            ("10.0.0.0", "10.0.0.0/8"),
            ("10.255.255.255", "10.0.0.0/8"),
            ("100.64.0.9", "RFC 6598"),
            ("100.127.255.255", "RFC 6598"),
            ("169.254.0.1", "link-local"),
            ("172.16.0.1", "172.16.0.0/12"),
            ("172.31.255.255", "172.16.0.0/12"),
            ("192.168.255.1", "192.168.0.0/16"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.254", "reserved"),
        ] {
            let error = refused(address).unwrap_err();
            assert!(error.contains(address) && error.contains(what) && error.contains("policy.public_ipv4"), "{error}");
        }
        for address in [
            "1.0.0.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "192.169.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.5",
            "223.255.255.255",
        ] {
            assert_eq!(refused(address), Ok(()), "{address}");
        }
    }

    #[test]
    fn macs_that_name_no_single_station_are_refused() {
        for mac in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "00:00:00:00:00:00"] {
            assert!(set(&format!(r#"{{"id":"a","macs":["{mac}"]}}"#)).is_err(), "{mac}");
        }
    }

    #[test]
    fn ids_have_1_to_64_plain_characters() {
        let long = "a".repeat(64);
        for id in ["a", "web1.example:eth0_A-9", &long] {
            assert!(id.parse::<VmId>().is_ok(), "{id}");
        }
        for id in ["", "a b", "é", "a/b", "a\n", &"a".repeat(65)] {
            assert!(id.parse::<VmId>().is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_vm_needs_a_key_and_has_limits() {
        assert!(set(r#"{"id":"a"}"#).unwrap_err().contains("neither MAC nor IP"));
        let many = |count: usize, text: fn(usize) -> String| (0..count).map(text).collect::<Vec<_>>().join(",");
        let macs =
            |count| format!(r#"{{"id":"a","macs":[{}]}}"#, many(count, |n| format!("\"52:54:00:00:00:{n:02x}\"")));
        assert!(set(&macs(8)).is_ok() && set(&macs(9)).unwrap_err().contains("9 MACs"));
        let ips = |count| format!(r#"{{"id":"a","ips":[{}]}}"#, many(count, |n| format!("\"10.0.0.{}\"", n + 1)));
        assert!(set(&ips(64)).is_ok() && set(&ips(65)).unwrap_err().contains("65 addresses"));
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        assert!(set(r#"{"id":"a","macs":[],"pubic_ipv4":"203.0.113.5"}"#).unwrap_err().contains("pubic_ipv4"));
    }

    #[test]
    fn what_the_operator_said_stays_unless_set_says_otherwise() {
        let old =
            set(r#"{"id":"a","ips":["10.0.0.5"],"class":"mta-only","mode":"monitor","note":"ticket 7"}"#).unwrap();
        let again = |json: &str| serde_json::from_str::<VmSet>(json).unwrap().onto(Some(&old)).unwrap();
        let synced = again(r#"{"id":"a","ips":["10.0.0.6"]}"#);
        assert_eq!(
            (synced.class.as_deref(), synced.mode, synced.note.as_deref()),
            (Some("mta-only"), Mode::Monitor, Some("ticket 7"))
        );
        let cleared = again(r#"{"id":"a","ips":["10.0.0.6"],"class":null,"mode":null,"note":null}"#);
        assert_eq!((cleared.class, cleared.mode, cleared.note), (None, Mode::Enforce, None));
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let old = set(r#"{"id":"a","ips":["10.0.0.5"],"public_ipv4":"203.0.113.5","class":"mta-only"}"#).unwrap();
        let patch = |json: &str| serde_json::from_str::<VmPatch>(json).unwrap().onto(&old);
        assert_eq!(patch("{}").unwrap(), old);
        assert_eq!(patch(r#"{"public_ipv4":null}"#).unwrap().public_ipv4, None);
        assert_eq!(patch(r#"{"class":null}"#).unwrap().class, None);
        assert!(patch(r#"{"public_ipv4":null,"ips":[]}"#).is_err(), "nothing to recognise it by");
    }
}
