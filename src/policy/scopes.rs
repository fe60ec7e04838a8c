//! Which scope a VLAN of a link belongs to.

use crate::model::{Scope, VlanId};

/// The scopes of a link's VLANs; 0 where the configuration says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VlanScopes(Vec<(VlanId, Scope)>);

impl VlanScopes {
    /// Scope of a VLAN; [`VlanId`] 0 stands for untagged frames.
    #[inline]
    #[must_use]
    pub fn get(&self, vlan: VlanId) -> Scope {
        if self.0.is_empty() {
            return Scope(0);
        }
        let found = self.0.binary_search_by_key(&vlan.0, |(vlan, _)| vlan.0);
        found.ok().and_then(|at| self.0.get(at)).map_or(Scope(0), |&(_, scope)| scope)
    }
}

impl FromIterator<(VlanId, Scope)> for VlanScopes {
    fn from_iter<I: IntoIterator<Item = (VlanId, Scope)>>(scopes: I) -> Self {
        let mut list: Vec<_> = scopes.into_iter().collect();
        list.sort_by_key(|(vlan, _)| vlan.0);
        Self(list)
    }
}
