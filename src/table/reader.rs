//! A worker's side of the table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::bucket::Narrow;
use super::store::{Sought, View};
use super::{Family, Generation, Table, VmState, valid_in};
use crate::model::{MacAddr, Scope, VmIndex};
use crate::sync::quiescent::Pass;

/// The handle of one worker: made once per worker, moved to its thread, never shared.
///
/// Offline at first: grace periods do not wait for it. The writer's next change waits for a reader that is online and
/// takes no snapshot, so a worker that sleeps or stops says [`go_offline`](Reader::go_offline).
#[derive(Debug)]
pub struct Reader {
    table: Arc<Table>,
    pass: Pass,
}

impl Reader {
    pub(super) fn new(table: Arc<Table>, pass: Pass) -> Self {
        Self { table, pass }
    }

    /// From now on changes wait for this reader. [`snapshot`](Reader::snapshot) does it too where it has to.
    pub fn go_online(&mut self) {
        self.pass.go_online();
    }

    /// From now on changes do not wait for this reader. It has no snapshot now: the borrow says so.
    pub fn go_offline(&mut self) {
        self.pass.go_offline();
    }

    /// Whether changes wait for this reader.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.pass.is_online()
    }

    /// The newest state. Gives up the one before, which therefore must be gone: a snapshot borrows its reader until
    /// its last use.
    ///
    /// ```compile_fail,E0499
    /// # use portcullis::table::{Capacity, Table};
    /// let (_writer, mut readers) = Table::create(Capacity { vms: 1, keys: 1 }, 1).unwrap();
    /// let old = readers[0].snapshot();
    /// let new = readers[0].snapshot();
    /// assert!(old.generation() <= new.generation()); // `old` is used after it was given up
    /// ```
    #[cfg(feature = "testkit")]
    #[inline]
    pub fn snapshot(&mut self) -> VmSnapshot<'_> {
        self.snapshot_with(|_| ())
    }

    /// As [`snapshot`](Self::snapshot). What else belongs to the generation is brought to it by `prepare`, before the
    /// writer is told that nothing older is read.
    #[inline]
    pub fn snapshot_with(&mut self, prepare: impl FnOnce(Generation)) -> VmSnapshot<'_> {
        VmSnapshot::new(&self.table, self.pass.turn_with(prepare))
    }
}

/// One state of the table, whole, for as long as the borrow lasts.
#[derive(Clone, Copy, Debug)]
pub struct VmSnapshot<'a> {
    table: &'a Table,
    generation: Generation,
    /// The mark of entries that this snapshot looks at.
    valid: u32,
}

impl<'a> VmSnapshot<'a> {
    #[inline]
    pub(super) fn new(table: &'a Table, generation: Generation) -> Self {
        Self { table, generation, valid: valid_in(generation) }
    }

    /// Which state this is.
    #[cfg(feature = "testkit")]
    #[inline]
    #[must_use]
    pub fn generation(self) -> Generation {
        self.generation
    }

    /// The VM that lists a MAC.
    #[inline(always)]
    #[must_use]
    pub fn vm_by_mac(self, scope: Scope, mac: MacAddr) -> Option<VmIndex> {
        self.table.narrow.find(self.table.mac(scope, mac), self.valid)
    }

    /// The VM that lists an address, by the longest prefix.
    #[inline(always)]
    #[must_use]
    pub fn vm_by_ipv4(self, scope: Scope, address: Ipv4Addr) -> Option<VmIndex> {
        let lengths = self.table.lengths.in_use(Family::Ipv4, self.valid);
        let probe = |length| self.table.narrow.find(self.table.ipv4(scope, address, length), self.valid);
        lengths.into_iter().find_map(probe)
    }

    /// The VM that lists an address, by the longest prefix.
    #[inline]
    #[must_use]
    pub fn vm_by_ipv6(self, scope: Scope, address: Ipv6Addr) -> Option<VmIndex> {
        let mut lengths = self.table.lengths.in_use(Family::Ipv6, self.valid);
        lengths.find_map(|length| self.table.wide.find(self.table.ipv6(scope, address, length), self.valid))
    }

    /// The VM that lists an address, by the longest prefix. An IPv4-mapped IPv6 address is an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub fn vm_by_ip(self, scope: Scope, address: IpAddr) -> Option<VmIndex> {
        match address {
            IpAddr::V4(address) => self.vm_by_ipv4(scope, address),
            IpAddr::V6(address) => self.vm_by_ipv6(scope, address),
        }
    }

    /// Asks the CPU for what [`vm_by_mac`](Self::vm_by_mac) will look at.
    #[inline]
    pub fn seek_mac(self, scope: Scope, mac: MacAddr) {
        let _ = self.table.narrow.view().seek(self.table.mac(scope, mac));
    }

    /// Asks the CPU for what [`vm_by_ip`](Self::vm_by_ip) will look at, for every prefix length at once.
    #[inline]
    pub fn seek_ip(self, scope: Scope, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let view = self.table.narrow.view();
                for length in self.table.lengths.in_use(Family::Ipv4, self.valid) {
                    let _ = view.seek(self.table.ipv4(scope, address, length));
                }
            }
            IpAddr::V6(address) => {
                let view = self.table.wide.view();
                for length in self.table.lengths.in_use(Family::Ipv6, self.valid) {
                    let _ = view.seek(self.table.ipv6(scope, address, length));
                }
            }
        }
    }

    /// What is known of a VM. Restricted, enforced and listing nothing, if nothing is.
    #[inline]
    #[must_use]
    pub fn state(self, vm: VmIndex) -> VmState {
        self.table.state(vm, self.valid)
    }

    /// Looks up many MACs of one scope.
    #[inline]
    #[must_use]
    pub fn stations(self, scope: Scope) -> Stations<'a> {
        Stations { snapshot: self, scope, store: self.table.narrow.view() }
    }
}

/// Looks up many MACs in two steps, so that the first can be taken for all of them before the second is taken for any.
#[derive(Clone, Copy, Debug)]
pub struct Stations<'a> {
    snapshot: VmSnapshot<'a>,
    scope: Scope,
    store: View<'a, Narrow>,
}

/// A MAC on its way to be looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Station(Sought<u64>);

impl Stations<'_> {
    /// Hashes a MAC and asks the CPU for its line.
    #[inline(always)]
    #[must_use]
    pub fn seek(&self, mac: MacAddr) -> Station {
        Station(self.store.seek(self.snapshot.table.mac(self.scope, mac)))
    }

    /// As [`VmSnapshot::vm_by_mac`].
    #[inline(always)]
    #[must_use]
    pub fn vm(&self, station: Station) -> Option<VmIndex> {
        self.store.find(station.0, self.snapshot.valid)
    }
}
