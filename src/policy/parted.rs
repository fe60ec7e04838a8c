//! Something of few VMs, in parts that are shared by who has an earlier state: a change copies the part that it is about.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::VmIndex;

/// How many parts there are.
const PARTS: usize = 256;

/// A value for each of some VMs.
#[derive(Clone, Debug)]
pub struct Parted<V> {
    parts: Box<[Arc<HashMap<VmIndex, V>>]>,
}

impl<V> Default for Parted<V> {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Arc::default()).collect() }
    }
}

impl<V: Clone> Parted<V> {
    /// A VM's, if it has one.
    #[must_use]
    pub fn get(&self, vm: VmIndex) -> Option<&V> {
        self.parts.get(vm.0 as usize % PARTS)?.get(&vm)
    }

    /// Makes this a VM's; or nothing.
    pub fn put(&mut self, vm: VmIndex, value: Option<V>) {
        let Some(part) = self.parts.get_mut(vm.0 as usize % PARTS) else { return };
        match value {
            Some(value) => _ = Arc::make_mut(part).insert(vm, value),
            None if part.contains_key(&vm) => _ = Arc::make_mut(part).remove(&vm),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_an_earlier_state_keeps_it() {
        let mut now = Parted::default();
        now.put(VmIndex(300), Some(1));
        let before = now.clone();
        now.put(VmIndex(44), Some(2));
        now.put(VmIndex(300), None);
        now.put(VmIndex(7), None);
        let of = |state: &Parted<u8>| [300, 44, 7].map(|vm| state.get(VmIndex(vm)).copied());
        assert_eq!((of(&before), of(&now)), ([Some(1), None, None], [None, Some(2), None]));
    }
}
