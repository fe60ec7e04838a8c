//! IP addresses as a worker handles them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A family of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// An IP address in two words. An [`IpAddr`] is the same in bytes behind a byte, which the compiler keeps in memory and not in
/// registers, and the CPU waits where it is read otherwise than it was written: that costs more than to judge a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpWords {
    /// Which words count.
    pub family: Family,
    /// The first half of an IPv6 address; 0 of an IPv4 one.
    pub upper: u64,
    /// The second half, or all of an IPv4 address.
    pub lower: u64,
}

impl IpWords {
    /// Of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn ipv4(address: u32) -> Self {
        Self { family: Family::Ipv4, upper: 0, lower: address as u64 }
    }

    /// Of an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn ipv6([upper, lower]: [u64; 2]) -> Self {
        Self { family: Family::Ipv6, upper, lower }
    }
}

impl From<IpAddr> for IpWords {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::ipv4(address.to_bits()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                Self::ipv6([(bits >> 64) as u64, (bits & 0xffff_ffff_ffff_ffff) as u64])
            }
        }
    }
}

impl From<IpWords> for IpAddr {
    fn from(IpWords { family, upper, lower }: IpWords) -> Self {
        match family {
            Family::Ipv4 => Ipv4Addr::from_bits((lower & 0xffff_ffff) as u32).into(),
            Family::Ipv6 => Ipv6Addr::from_bits(u128::from(upper) << 64 | u128::from(lower)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_in_words() {
        for text in ["192.0.2.25", "0.0.0.0", "255.255.255.255", "2001:db8::1:2", "::", "::ffff:192.0.2.25"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(IpWords::from(address)), address);
        }
        assert_eq!(IpWords::from(IpAddr::from([192, 0, 2, 25])), IpWords::ipv4(0xc000_0219));
    }
}
