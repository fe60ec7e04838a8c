//! Ethernet addresses (IEEE 802).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 48-bit Ethernet address, in the order it has on the wire. As text: `52:54:00:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "std::borrow::Cow<'_, str>", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`, every station of the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the address names a group of stations (multicast or broadcast): the I/G bit of its first byte.
    #[inline]
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The address as a number below 2^48, first byte most significant.
    #[inline]
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        // Two loads and two swaps; eight bytes at once would be put together one by one.
        (u32::from_be_bytes([a, b, c, d]) as u64) << 16 | u16::from_be_bytes([e, f]) as u64
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, a4, a5] = self.0;
        write!(f, "{a0:02x}:{a1:02x}:{a2:02x}:{a3:02x}:{a4:02x}:{a5:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not an Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address; write six bytes in hexadecimal, as 52:54:00:00:00:01")]
pub struct MacAddrError(String);

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Twelve hexadecimal digits in either case: pairs separated by `:` or, throughout, by `-`; fours separated by `.`; or
    /// none separated.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MacAddrError(text.chars().take(64).collect());
        let (separator, together) = match text.as_bytes() {
            [_, _, separator @ (b':' | b'-'), ..] => (Some(*separator), 2),
            [_, _, _, _, b'.', ..] => (Some(b'.'), 4),
            _ => (None, 12),
        };
        let mut bytes = [0u8; 6];
        let mut groups = 0;
        for group in text.as_bytes().split(|byte| Some(*byte) == separator) {
            if group.len() != together || !group.iter().all(u8::is_ascii_hexdigit) {
                return Err(error());
            }
            let from = groups * together / 2;
            for (byte, pair) in bytes.iter_mut().skip(from).zip(group.chunks(2)) {
                let pair = std::str::from_utf8(pair).map_err(|_| error())?;
                *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
            }
            groups += 1;
        }
        if groups * together == 12 { Ok(Self(bytes)) } else { Err(error()) }
    }
}

impl TryFrom<std::borrow::Cow<'_, str>> for MacAddr {
    type Error = MacAddrError;

    fn try_from(text: std::borrow::Cow<'_, str>) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_either_case_and_every_common_spelling() {
        let mac = MacAddr([0x52, 0x54, 0, 0, 0xAB, 1]);
        for text in ["52:54:00:00:ab:01", "52:54:00:00:AB:01", "52-54-00-00-ab-01", "5254.0000.AB01", "52540000ab01"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "52:54:00:00:ab:01");
        assert_eq!(mac.to_u64(), 0x5254_0000_ab01);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "52:54",
            "52:54:00:00:00:01:02",
            "52:54:00:00:00:0g",
            "5:254:00:00:00:01",
            "+1:54:00:00:00:01",
            "52:54:00:00:00:01:",
            "5254.0000",
            "5254.0000.0001.0002",
            "5254.00000001",
            "5254000000011",
            "52540000000",
            "0x5254000001",
            "5254:0000:0001",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
        assert!("52:54:00-00:00:01".parse::<MacAddr>().is_err(), "separators do not mix");
    }

    #[test]
    fn group_addresses_have_the_lowest_bit_of_the_first_byte() {
        assert!(MacAddr::BROADCAST.is_group());
        assert!(MacAddr([0x33, 0x33, 0, 0, 0, 1]).is_group());
        assert!(!MacAddr([0x52, 0x54, 0, 0, 0, 1]).is_group());
    }
}
