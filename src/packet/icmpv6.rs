//! ICMPv6 (RFC 4443), and in it neighbour discovery (RFC 4861).

use std::net::Ipv6Addr;

use super::Rest;
use crate::model::MacAddr;

/// Router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation.
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect.
pub const REDIRECT: u8 = 137;
/// Certification path solicitation (RFC 3971).
pub const CERTIFICATION_PATH_SOLICITATION: u8 = 148;

/// Source link-layer address, and target link-layer address (RFC 4861, 4.6.1).
const OPTIONS_WITH_MAC: [u8; 2] = [1, 2];

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6<'f> {
    /// Its type.
    pub kind: u8,
    /// Behind a fragment header, be it of a packet that is whole (RFC 6980).
    pub is_fragment: bool,
    /// From its type on, to the end of the packet.
    message: Rest<'f>,
}

impl<'f> Icmpv6<'f> {
    /// Nothing where not even the type is there.
    pub(super) fn read(message: Rest<'f>, is_fragment: bool) -> Option<Self> {
        let &[kind] = message.peek::<1>()?;
        Some(Self { kind, is_fragment, message })
    }

    /// The target of a neighbour solicitation or advertisement; nothing if it is cut short.
    #[must_use]
    pub fn target(&self) -> Option<Ipv6Addr> {
        let (_, target) = self.message.split::<8>()?;
        target.peek::<16>().map(|&target| target.into())
    }

    /// The link-layer addresses that the options of a solicitation or advertisement give, each of several; nothing for what
    /// cannot be walked to its end, which ends it.
    pub fn stations(&self) -> impl Iterator<Item = Option<MacAddr>> + use<'f> {
        let fixed_bytes = if self.kind == ROUTER_SOLICITATION { 8 } else { 24 };
        let mut options = Options(self.message.skip(fixed_bytes));
        std::iter::from_fn(move || {
            loop {
                match options.next()? {
                    Some((kind, mac)) if OPTIONS_WITH_MAC.contains(&kind) => return Some(Some(mac)),
                    Some(_) => {}
                    None => return Some(None),
                }
            }
        })
    }
}

/// What is left of the options; none if they cannot be walked.
struct Options<'f>(Option<Rest<'f>>);

impl Iterator for Options<'_> {
    /// The type and its first six bytes; nothing for what cannot be walked, which is the last.
    type Item = Option<(u8, MacAddr)>;

    fn next(&mut self) -> Option<Self::Item> {
        const END: Rest<'_> = Rest { bytes: &[], length: 0 };
        let rest = self.0.take();
        if rest.is_some_and(|rest| rest.length == 0) {
            return None;
        }
        let option = rest.and_then(|rest| {
            // Type, and length in units of eight bytes; the first unit is all that is looked at.
            let &[kind, units, m0, m1, m2, m3, m4, m5] = rest.peek::<8>()?;
            let behind = (units > 0).then(|| rest.skip(usize::from(units) * 8)).flatten()?;
            Some((kind, MacAddr([m0, m1, m2, m3, m4, m5]), behind))
        });
        self.0 = Some(option.map_or(END, |(_, _, behind)| behind));
        Some(option.map(|(kind, mac, _)| (kind, mac)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn stations(kind: u8, options: &[u8]) -> Vec<Option<MacAddr>> {
        let mut message = vec![kind; if kind == ROUTER_SOLICITATION { 8 } else { 24 }];
        message.extend(options);
        Icmpv6::read(Rest::new(&message, message.len()), false).unwrap().stations().collect()
    }

    fn option(kind: u8, units: u8) -> Vec<u8> {
        let mut option = vec![kind, units];
        option.extend(MAC);
        option.resize(usize::from(units.max(1)) * 8, 0);
        option
    }

    #[test]
    fn a_neighbour_message_has_a_target() {
        let mut message = [NEIGHBOUR_SOLICITATION; 24];
        let target: Ipv6Addr = "2001:db8::1".parse().unwrap();
        message[8..].copy_from_slice(&target.octets());
        for bytes in 1..=24 {
            let read = Icmpv6::read(Rest::new(&message[..bytes], bytes), false).unwrap();
            assert_eq!(read.target(), (bytes == 24).then_some(target), "{bytes} bytes");
        }
        assert!(Icmpv6::read(Rest::new(&[], 0), false).is_none());
    }

    #[test]
    fn every_station_of_the_options_is_found_and_others_are_walked_over() {
        let mac = Some(MacAddr(MAC));
        for kind in [ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT] {
            assert_eq!(stations(kind, &[]), []);
            assert_eq!(stations(kind, &option(1, 1)), [mac]);
            assert_eq!(stations(kind, &[option(14, 1), option(2, 2), option(3, 4), option(1, 1)].concat()), [mac, mac]);
        }
    }

    #[test]
    fn what_cannot_be_walked_is_said_once() {
        let mac = Some(MacAddr(MAC));
        assert_eq!(stations(NEIGHBOUR_SOLICITATION, &option(1, 0)), [None]);
        assert_eq!(stations(NEIGHBOUR_SOLICITATION, &[1]), [None]);
        assert_eq!(stations(NEIGHBOUR_SOLICITATION, &[option(2, 1), vec![1, 1, 0]].concat()), [mac, None]);
        assert_eq!(stations(NEIGHBOUR_SOLICITATION, &option(1, 3)[..16]), [None]);
        let cut = [NEIGHBOUR_SOLICITATION; 23];
        assert_eq!(Icmpv6::read(Rest::new(&cut, 23), false).unwrap().stations().collect::<Vec<_>>(), [None]);
        // The frame is longer than what is at hand.
        let long = [&[NEIGHBOUR_SOLICITATION; 24][..], &option(1, 1)].concat();
        let read = Icmpv6::read(Rest { bytes: &long, length: long.len() + 8 }, false).unwrap();
        assert_eq!(read.stations().collect::<Vec<_>>(), [mac, None]);
    }
}
