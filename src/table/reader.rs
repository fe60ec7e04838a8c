//! A worker's side of the table.

use std::net::IpAddr;
use std::sync::Arc;

use super::bucket::{IPV4, Narrow, WideKey};
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
    #[inline(always)]
    #[must_use]
    pub fn vm_by_mac(self, scope: Scope, mac: MacAddr) -> Option<VmIndex> {
        self.vm_at(self.seek_mac(scope, mac))
    }

    /// The VM that lists an address, by the longest prefix. An IPv4-mapped IPv6 address is an IPv6 address.
    #[inline]
    #[must_use]
    pub fn vm_by_ip(self, scope: Scope, address: IpAddr) -> Option<VmIndex> {
        self.vm_within(scope, address, self.seek_ip(scope, address))
    }

    /// Asks the CPU for what [`vm_at`](Self::vm_at) will look at.
    #[inline(always)]
    #[must_use]
    pub fn seek_mac(self, scope: Scope, mac: MacAddr) -> Station {
        let table = self.table;
        Station(table.narrow.view().seek(table.mac(mac_word(scope, mac))))
    }

    /// The VM that lists a MAC.
    #[inline(always)]
    #[must_use]
    pub fn vm_at(self, station: Station) -> Option<VmIndex> {
        self.table.narrow.view().find(station.0, self.valid)
    }

    /// Asks the CPU for what [`vm_within`](Self::vm_within) will look at first.
    ///
    /// A full address is looked at without a question, since nearly all of them are listed. Of most shorter prefixes that
    /// nobody lists the filter says that there is nothing to look at.
    #[inline(always)]
    #[must_use]
    pub fn seek_ip(self, scope: Scope, address: IpAddr) -> Prefix {
        let (lengths, full) = match address {
            IpAddr::V4(_) => (self.table.lengths.in_use(Family::Ipv4, self.valid), 32),
            IpAddr::V6(_) => (self.table.lengths.in_use(Family::Ipv6, self.valid), 128),
        };
        if lengths.full { self.seek_prefix(scope, address, full) } else { self.seek_below(scope, address, lengths) }
    }

    /// The VM that lists an address, by the longest prefix. `prefix` is what [`seek_ip`](Self::seek_ip) found for it.
    #[inline(always)]
    #[must_use]
    pub fn vm_within(self, scope: Scope, address: IpAddr, mut prefix: Prefix) -> Option<VmIndex> {
        loop {
            let (vm, rest) = match prefix.0 {
                Listed::Nowhere => return None,
                Listed::Ipv4(sought, length) => (
                    self.table.narrow.view().find(sought, self.valid | IPV4),
                    self.table.lengths.in_use(Family::Ipv4, self.valid).below(length),
                ),
                Listed::Ipv6(sought, length) => (
                    self.table.wide.view().find(sought, self.valid),
                    self.table.lengths.in_use(Family::Ipv6, self.valid).below(length),
                ),
            };
            if vm.is_some() || rest.is_empty() {
                return vm;
            }
            prefix = self.seek_below(scope, address, rest);
        }
    }

    #[inline(always)]
    fn seek_prefix(self, scope: Scope, address: IpAddr, length: u8) -> Prefix {
        let table = self.table;
        Prefix(match address {
            IpAddr::V4(address) => {
                Listed::Ipv4(table.narrow.view().seek(table.ipv4(ipv4_word(scope, address, length))), length)
            }
            IpAddr::V6(address) => {
                Listed::Ipv6(table.wide.view().seek(table.ipv6(ipv6_words(scope, address, length))), length)
            }
        })
    }

    /// The longest prefix of these lengths that may be listed.
    #[inline(always)]
    fn seek_below(self, scope: Scope, address: IpAddr, lengths: InUse) -> Prefix {
        let table = self.table;
        let length = match address {
            IpAddr::V4(address) => lengths.first(
                |length| table.filter.may_hold(table.filter.ipv4(ipv4_word(scope, address, length))),
                |group| table.filter.may_hold(table.ipv4_group(scope, address, group)),
            ),
            IpAddr::V6(address) => lengths.first(
                |length| table.filter.may_hold(table.filter.ipv6(ipv6_words(scope, address, length))),
                |group| table.filter.may_hold(table.ipv6_group(scope, address, group)),
            ),
        };
        length.map_or(Prefix::NONE, |length| self.seek_prefix(scope, address, length))
    }

    /// Asks the CPU for what [`state`](Self::state) will look at.
    #[inline(always)]
    pub fn seek_state(self, vm: VmIndex) {
        if let Some(words) = self.table.state_words(vm) {
            crate::cpu::prefetch(words);
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

/// The longest prefix that an address may be listed with, on its way to be looked up.
#[derive(Clone, Copy, Debug)]
pub struct Prefix(Listed);

/// Where a prefix may be listed, and its length.
#[derive(Clone, Copy, Debug)]
enum Listed {
    Nowhere,
    Ipv4(Sought<u64>, u8),
    Ipv6(Sought<WideKey>, u8),
}

impl Prefix {
    /// Of an address that is certainly nobody's.
    pub const NONE: Self = Self(Listed::Nowhere);

    #[cfg(all(test, loom))]
    pub(super) fn is_none(self) -> bool {
        matches!(self.0, Listed::Nowhere)
    }
}

/// A MAC on its way to be looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Station(Sought<u64>);

impl Stations<'_> {
    /// Hashes a MAC and asks the CPU for its line.
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
