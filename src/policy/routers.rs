//! Routers between VMs and box: behind one only the address identifies a VM. Where a router is not, its MAC is nobody's.

use crate::model::{LinkIndex, MacAddr, VlanId};

/// A router of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRouter {
    /// Its station address.
    pub mac: MacAddr,
    /// The VLAN that it is in; everywhere on the link if none is said, untagged frames included.
    pub vlan: Option<VlanId>,
}

/// Every router there is, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routers {
    /// On every link, ascending.
    everywhere: Vec<MacAddr>,
    /// By the link's index; few.
    links: Vec<Vec<LinkRouter>>,
}

impl Routers {
    /// Those of every link, and those of each.
    #[must_use]
    pub fn new(mut everywhere: Vec<MacAddr>, links: Vec<Vec<LinkRouter>>) -> Self {
        everywhere.sort_unstable();
        Self { everywhere, links }
    }

    /// Whether a router of this MAC stands behind this VLAN of this link.
    #[inline]
    #[must_use]
    pub fn stands(&self, link: LinkIndex, vlan: VlanId, mac: MacAddr) -> bool {
        let here = |router: &LinkRouter| router.mac == mac && router.vlan.is_none_or(|of| of == vlan);
        self.everywhere.binary_search(&mac).is_ok() || self.links.get(link.0).is_some_and(|all| all.iter().any(here))
    }

    /// Those that stand on every link.
    #[must_use]
    pub fn everywhere(&self) -> &[MacAddr] {
        &self.everywhere
    }

    /// Those that stand on this link only.
    #[must_use]
    pub fn of(&self, link: LinkIndex) -> &[LinkRouter] {
        self.links.get(link.0).map_or(&[], Vec::as_slice)
    }

    /// Every router's MAC, wherever it stands.
    pub fn macs(&self) -> impl Iterator<Item = MacAddr> + '_ {
        self.everywhere.iter().copied().chain(self.links.iter().flatten().map(|router| router.mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_stands_where_it_was_said_to() {
        let [one, two, three] = [1, 2, 3].map(|last| MacAddr([2, 0, 0, 0, 0, last]));
        let second = vec![LinkRouter { mac: two, vlan: None }, LinkRouter { mac: three, vlan: Some(VlanId(100)) }];
        let routers = Routers::new(vec![one], vec![Vec::new(), second]);
        let stands = |link, vlan| [one, two, three].map(|mac| routers.stands(LinkIndex(link), VlanId(vlan), mac));
        assert_eq!(stands(0, 0), [true, false, false]);
        assert_eq!(stands(0, 100), [true, false, false]);
        assert_eq!(stands(1, 0), [true, true, false]);
        assert_eq!(stands(1, 100), [true, true, true]);
        assert_eq!(stands(1, 101), [true, true, false]);
        assert_eq!(stands(2, 100), [true, false, false]);
        assert_eq!(routers.macs().collect::<Vec<_>>(), [one, two, three]);
    }
}
