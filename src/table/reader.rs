//! A worker's side of the table.

use std::net::IpAddr;
use std::sync::Arc;

use super::bucket::Narrow;
use super::lengths::InUse;
use super::store::{Sought, View};
use super::{Family, Generation, Table, VmState, ipv4_word, ipv6_words, mac_word, valid_in};
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
    #[cfg(feature = "testkit")]
    generation: Generation,
    /// The mark of entries that this snapshot looks at.
    valid: u32,
}

impl<'a> VmSnapshot<'a> {
    #[inline]
    pub(super) fn new(table: &'a Table, generation: Generation) -> Self {
        Self {
            table,
            #[cfg(feature = "testkit")]
            generation,
            valid: valid_in(generation),
        }
    }

    /// Which state this is.
    #[cfg(feature = "testkit")]
    #[inline]
    #[must_use]
    pub fn generation(self) -> Generation {
        self.generation
    }

    /// The VM that lists a MAC.
    #[cfg(feature = "testkit")]
    #[inline(always)]
    #[must_use]
    pub fn vm_by_mac(self, scope: Scope, mac: MacAddr) -> Option<VmIndex> {
        self.vm_at(self.seek_mac(scope, mac)?)
    }

    /// The VM that lists an address, by the longest prefix. An IPv4-mapped IPv6 address is an IPv6 address.
    #[cfg(feature = "testkit")]
    #[inline]
    #[must_use]
    pub fn vm_by_ip(self, scope: Scope, address: IpAddr) -> Option<VmIndex> {
        self.vm_within(scope, address, self.seek_ip(scope, address))
    }

    /// Asks the CPU for what [`vm_at`](Self::vm_at) will look at; nothing if certainly no VM lists this MAC.
    #[inline(always)]
    #[must_use]
    pub fn seek_mac(self, scope: Scope, mac: MacAddr) -> Option<Station> {
        let (table, word) = (self.table, mac_word(scope, mac));
        let may = table.filter.may_hold(table.filter.mac(word));
        may.then(|| Station(table.narrow.view().seek(table.mac(word))))
    }

    /// The VM that lists a MAC.
    #[inline(always)]
    #[must_use]
    pub fn vm_at(self, station: Station) -> Option<VmIndex> {
        self.table.narrow.view().find(station.0, self.valid)
    }

    /// Asks the CPU for what [`vm_within`](Self::vm_within) will look at first. Of most addresses that nobody lists it is
    /// certain that there is nothing to look at.
    #[inline(always)]
    #[must_use]
    pub fn seek_ip(self, scope: Scope, address: IpAddr) -> Prefixes {
        let family = if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        self.seek_among(scope, address, self.table.lengths.in_use(family, self.valid))
    }

    #[inline(always)]
    fn seek_among(self, scope: Scope, address: IpAddr, lengths: InUse) -> Prefixes {
        let table = self.table;
        let (first, rest) = match address {
            IpAddr::V4(address) => lengths.first(
                |length| table.filter.may_hold(table.filter.ipv4(ipv4_word(scope, address, length))),
                |group| table.filter.may_hold(table.ipv4_group(scope, address, group)),
            ),
            IpAddr::V6(address) => lengths.first(
                |length| table.filter.may_hold(table.filter.ipv6(ipv6_words(scope, address, length))),
                |group| table.filter.may_hold(table.ipv6_group(scope, address, group)),
            ),
        };
        match (first, address) {
            (None, _) => {}
            (Some(length), IpAddr::V4(address)) => {
                let _ = table.narrow.view().seek(table.ipv4(ipv4_word(scope, address, length)));
            }
            (Some(length), IpAddr::V6(address)) => {
                let _ = table.wide.view().seek(table.ipv6(ipv6_words(scope, address, length)));
            }
        }
        Prefixes { first, rest }
    }

    /// The VM that lists an address, by the longest of the prefixes that [`seek_ip`](Self::seek_ip) left for it.
    #[inline(always)]
    #[must_use]
    pub fn vm_within(self, scope: Scope, address: IpAddr, mut prefixes: Prefixes) -> Option<VmIndex> {
        loop {
            let (table, length) = (self.table, prefixes.first?);
            let vm = match address {
                IpAddr::V4(address) => table.narrow.find(table.ipv4(ipv4_word(scope, address, length)), self.valid),
                IpAddr::V6(address) => table.wide.find(table.ipv6(ipv6_words(scope, address, length)), self.valid),
            };
            if vm.is_some() {
                return vm;
            }
            // A prefix that nobody lists is seldom taken for one that somebody does.
            prefixes = self.seek_among(scope, address, prefixes.rest);
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

/// Prefix lengths that an address may be listed with: the longest, and others that were not asked about.
#[derive(Clone, Copy, Debug)]
pub struct Prefixes {
    first: Option<u8>,
    rest: InUse,
}

/// A MAC on its way to be looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Station(Sought<u64>);

impl Stations<'_> {
    /// Hashes a MAC and asks the CPU for its line. The filter is not asked: nearly all of these are listed.
    #[inline(always)]
    #[must_use]
    pub fn seek(&self, mac: MacAddr) -> Station {
        Station(self.store.seek(self.snapshot.table.mac(mac_word(self.scope, mac))))
    }

    /// As [`VmSnapshot::vm_by_mac`].
    #[inline(always)]
    #[must_use]
    pub fn vm(&self, station: Station) -> Option<VmIndex> {
        self.store.find(station.0, self.snapshot.valid)
    }
}
