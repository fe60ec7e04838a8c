//! Classes: named sets of closed TCP ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Deny;
use crate::model::{ClassId, Mode};
use crate::packet::{self, Mark};

/// The ports that are closed to VMs without a public IPv4 address unless the configuration says otherwise: SMTP,
/// submission over TLS (RFC 8314) and submission (RFC 6409).
pub(super) const MAIL_PORTS: [u16; 3] = [25, 465, 587];

/// Name of the built-in class of VMs without a public IPv4 address.
pub const RESTRICTED: &str = "restricted";
/// Name of the built-in class of VMs with one.
pub const UNRESTRICTED: &str = "unrestricted";

/// A set of TCP ports: one bit each, 8 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet(Box<[u64; 1024]>);

impl PortSet {
    /// No port at all.
    #[must_use]
    pub fn empty() -> Self {
        Self(Box::new([0; 1024]))
    }

    /// Whether `port` is in the set.
    #[inline]
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.get(usize::from(port >> 6)).is_some_and(|word| word >> (port & 63) & 1 == 1)
    }

    /// Whether no port is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Adds the ports of `range`.
    pub fn insert(&mut self, range: PortRange) {
        for port in range.first..=range.last {
            if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
                *word |= 1 << (port & 63);
            }
        }
    }

    /// The ports as the fewest ranges, ascending.
    pub fn ranges(&self) -> Vec<PortRange> {
        let mut ranges: Vec<PortRange> = Vec::new();
        for port in (0..=u16::MAX).filter(|&port| self.contains(port)) {
            match ranges.last_mut() {
                Some(range) if u32::from(range.last) + 1 == u32::from(port) => range.last = port,
                _ => ranges.push(PortRange { first: port, last: port }),
            }
        }
        ranges
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut set = Self::empty();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl fmt::Display for PortSet {
    /// `25, 465, 587` or, for the empty set, `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<String> = self.ranges().iter().map(ToString::to_string).collect();
        f.write_str(if ranges.is_empty() { "none".into() } else { ranges.join(", ") }.as_str())
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortSet({self})")
    }
}

/// One port or several in a row; as text `25` or `2000-2010`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "PortText", into = "PortText")]
pub struct PortRange {
    /// Smallest port.
    pub first: u16,
    /// Largest port, not below `first`.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

/// Text that names no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a TCP port or a range of them; write \"25\" or \"2000-2010\" (0 to 65535, smaller first)")]
pub struct PortRangeError(String);

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PortRangeError(text.chars().take(32).collect());
        // `u16::from_str` takes a leading `+`; ports are digits only.
        let port = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse::<u16>().map_err(|_| error()),
            false => Err(error()),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: port(first)?, last: port(last)? };
        if range.first <= range.last { Ok(range) } else { Err(error()) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

impl From<PortRange> for PortText {
    fn from(range: PortRange) -> Self {
        if range.first == range.last { Self::Number(range.first) } else { Self::Text(range.to_string()) }
    }
}

/// A port as people write it: `25` or `"2000-2010"`.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a TCP port (25) or a range of them (\"2000-2010\")")]
enum PortText {
    Number(u16),
    Text(String),
}

impl TryFrom<PortText> for PortRange {
    type Error = PortRangeError;

    fn try_from(port: PortText) -> Result<Self, Self::Error> {
        match port {
            PortText::Number(port) => Ok(port.into()),
            PortText::Text(text) => text.parse(),
        }
    }
}

/// A named set of closed TCP ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Unique; what a VM's `class` refers to.
    pub name: String,
    /// The closed ports.
    pub ports: PortSet,
    /// Whether VMs of this class are enforced or only watched.
    pub mode: Mode,
    /// What becomes of frames that this class denies; as the box does if it is not said.
    pub deny: Option<Deny>,
}

/// The classes of a configuration: the two built-in ones, then its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// [`ClassId`] is the position here. A number that no class has now was one's that is gone, or keeps clear of it.
    list: Vec<Option<Class>>,
    /// For each port its [`Mark`]s, of which one is whether any class closes it: a byte each, since every frame asks and few
    /// ports are asked for. In the order of [`at`], so that a port is looked up as it lies in a frame.
    marks: Box<[u8; 1 << 16]>,
}

/// More classes than a VM's state word can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} classes are configured; at most 256 fit")]
pub struct TooManyClasses(usize);

impl Classes {
    /// `restricted` first, then `unrestricted` (always empty), then `others`, whose names differ from these and each
    /// other.
    ///
    /// # Errors
    /// More than 256 classes.
    pub fn new(restricted: Class, others: impl IntoIterator<Item = Class>) -> Result<Self, TooManyClasses> {
        let unrestricted =
            Class { name: UNRESTRICTED.into(), ports: PortSet::empty(), mode: Mode::Enforce, deny: None };
        Self::numbered([restricted, unrestricted].into_iter().chain(others).map(Some).collect())
    }

    /// The same classes as what comes after `previous`, see [`Settings::following`](super::Settings::following).
    pub(super) fn following(&self, previous: &Self) -> Result<Self, TooManyClasses> {
        let mut list: Vec<Option<Class>> = Vec::new();
        let mut put = |at: usize, class: &Class| {
            if list.len() <= at {
                list.resize(at + 1, None);
            }
            if let Some(place) = list.get_mut(at) {
                *place = Some(class.clone());
            }
        };
        let kept = |class: &Class| previous.find(&class.name).map(|id| usize::from(id.0));
        let mut new = Vec::new();
        for class in self.iter() {
            match kept(class) {
                Some(at) => put(at, class),
                None => new.push(class),
            }
        }
        let unused = (0..).filter(|&at| previous.list.get(at).is_none_or(Option::is_none));
        for (class, at) in new.into_iter().zip(unused) {
            put(at, class);
        }
        Self::numbered(list)
    }

    fn numbered(list: Vec<Option<Class>>) -> Result<Self, TooManyClasses> {
        if list.len() > 256 {
            return Err(TooManyClasses(list.len()));
        }
        let mut marks = Box::new([0; 1 << 16]);
        for port in 0..=u16::MAX {
            if let Some(marks) = marks.get_mut(at(port)) {
                let closed = list.iter().flatten().any(|class| class.ports.contains(port));
                *marks |= if closed { Mark::WANTED } else { 0 };
                *marks |= if packet::udp_tunnel(port).is_some() { Mark::TUNNEL } else { 0 };
            }
        }
        Ok(Self { list, marks })
    }

    /// The class at `id`. An id that no class has (which no caller makes) is answered with `restricted`: fail closed.
    #[inline]
    #[must_use]
    pub fn get(&self, id: ClassId) -> &Class {
        match self.list.get(usize::from(id.0)) {
            Some(Some(class)) => class,
            _ => self.list.iter().flatten().next().expect("the built-in classes are always there"),
        }
    }

    /// The id of the class called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ClassId> {
        let has = |class: &Option<Class>| class.as_ref().is_some_and(|class| class.name == name);
        self.list.iter().position(has).and_then(|at| u8::try_from(at).ok()).map(ClassId)
    }

    /// Every class, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = &Class> {
        self.list.iter().flatten()
    }

    /// Whether any class closes `port`.
    #[inline]
    #[must_use]
    pub fn any_closes(&self, port: u16) -> bool {
        self.marks(port) & Mark::WANTED != 0
    }

    /// Why a frame with this port cannot be settled at a glance.
    #[inline(always)]
    #[must_use]
    pub fn marks(&self, port: u16) -> u8 {
        self.marks.get(at(port)).copied().unwrap_or(Mark::ALL)
    }
}

/// Where a port stands in [`Classes::marks`]. With the swap that makes a number of the two bytes in a frame it cancels out.
#[inline(always)]
fn at(port: u16) -> usize {
    usize::from(port.to_be())
}

impl Default for Classes {
    fn default() -> Self {
        let ports = MAIL_PORTS.into_iter().map(PortRange::from).collect();
        let restricted = Class { name: RESTRICTED.into(), ports, mode: Mode::Enforce, deny: None };
        Self::new(restricted, []).expect("two classes fit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_classes_close_the_mail_ports_and_nothing() {
        let classes = Classes::default();
        for port in 0..=u16::MAX {
            let mail = matches!(port, 25 | 465 | 587);
            assert_eq!(classes.get(ClassId::RESTRICTED).ports.contains(port), mail, "{port}");
            assert!(!classes.get(ClassId::UNRESTRICTED).ports.contains(port), "{port}");
            assert_eq!(classes.any_closes(port), mail, "{port}");
        }
    }

    #[test]
    fn a_port_matters_when_any_class_closes_it() {
        let own = Class {
            name: "games".into(),
            ports: [PortRange { first: 2000, last: 2010 }].into_iter().collect(),
            mode: Mode::Enforce,
            deny: None,
        };
        let classes = Classes::new(Classes::default().get(ClassId::RESTRICTED).clone(), [own]).unwrap();
        assert_eq!(classes.find("games"), Some(ClassId(2)));
        assert!(classes.any_closes(2005) && classes.any_closes(25) && !classes.any_closes(2011));
    }

    #[test]
    fn ranges_are_read_and_written_alike() {
        for text in ["0", "25", "2000-2010", "65535", "0-65535"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
        }
        for text in ["", "-", "25-", "-25", "65536", "+25", "2010-2000", "25,26", " 25", "smtp"] {
            assert!(text.parse::<PortRange>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_set_prints_its_fewest_ranges() {
        let set: PortSet = [587.into(), 25.into(), PortRange { first: 26, last: 30 }].into_iter().collect();
        assert_eq!(set.to_string(), "25-30, 587");
        assert_eq!(PortSet::empty().to_string(), "none");
        assert_eq!([PortRange { first: 0, last: 65535 }].into_iter().collect::<PortSet>().to_string(), "0-65535");
    }

    #[test]
    fn an_unknown_id_fails_closed() {
        assert_eq!(Classes::default().get(ClassId(200)).name, RESTRICTED);
    }
}
