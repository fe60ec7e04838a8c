//! Which scope a VLAN of a link belongs to.

use crate::model::{Scope, VlanId};

/// The scopes of a link's VLANs; none of a VLAN whose frames are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanScopes {
    /// Ascending.
    listed: Vec<(VlanId, Option<Scope>)>,
    /// Of VLANs 1 to 4095 that are not listed.
    rest: Option<Scope>,
    refuses: bool,
}

impl Default for VlanScopes {
    fn default() -> Self {
        Self { listed: Vec::new(), rest: Some(Scope(0)), refuses: false }
    }
}

impl VlanScopes {
    /// What is said of single VLANs, and of the rest. Untagged frames, which [`VlanId`] 0 stands for, are scope 0 unless they
    /// are listed, and never refused.
    #[must_use]
    pub fn new(listed: impl IntoIterator<Item = (VlanId, Option<Scope>)>, rest: Option<Scope>) -> Self {
        let mut listed: Vec<_> = listed.into_iter().collect();
        listed.sort_by_key(|(vlan, _)| vlan.0);
        let refuses = rest.is_none() || listed.iter().any(|(_, scope)| scope.is_none());
        Self { listed, rest, refuses }
    }

    /// What is said of single VLANs, ascending.
    #[must_use]
    pub fn listed(&self) -> &[(VlanId, Option<Scope>)] {
        &self.listed
    }

    /// What is said of VLANs from 1 to 4095 that are not listed.
    #[must_use]
    pub fn rest(&self) -> Option<Scope> {
        self.rest
    }

    /// Whether frames of any VLAN are refused.
    #[inline]
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.refuses
    }

    /// Scope of a VLAN, or of untagged frames; none if it is refused.
    #[inline]
    #[must_use]
    pub fn get(&self, vlan: VlanId) -> Option<Scope> {
        let rest = if vlan == VlanId(0) { Some(Scope(0)) } else { self.rest };
        if self.listed.is_empty() {
            return rest;
        }
        let found = self.listed.binary_search_by_key(&vlan.0, |(vlan, _)| vlan.0);
        found.ok().and_then(|at| self.listed.get(at)).map_or(rest, |&(_, scope)| scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_has_its_scope_or_that_of_the_rest_or_is_refused() {
        let of = |scopes: &VlanScopes| [0, 1, 100, 200, 4095].map(|vlan| scopes.get(VlanId(vlan)).map(|scope| scope.0));
        let listed = [(VlanId(200), None), (VlanId(100), Some(Scope(7)))];
        assert_eq!(of(&VlanScopes::default()), [Some(0); 5]);
        assert_eq!(of(&VlanScopes::new(listed, Some(Scope(3)))), [Some(0), Some(3), Some(7), None, Some(3)]);
        assert_eq!(of(&VlanScopes::new(listed, None)), [Some(0), None, Some(7), None, None]);
        assert_eq!(of(&VlanScopes::new([(VlanId(0), Some(Scope(9)))], None)), [Some(9), None, None, None, None]);
        assert_eq!(of(&VlanScopes::new([], None)), [Some(0), None, None, None, None]);
    }
}
