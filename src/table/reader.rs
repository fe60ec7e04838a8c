//! A worker's side of the table.

use std::net::IpAddr;
use std::sync::Arc;

use super::bucket::{IPV4, Narrow, WideKey};
use super::lengths::InUse;
use super::store::{Sought, View};
use super::{Generation, Table, VmState, ipv4_word, ipv6_words, mac_word, valid_in};
use crate::model::{Family, IpWords, MacAddr, Scope, VmIndex};
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
        let address = address.into();
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
    pub fn seek_ip(self, scope: Scope, address: IpWords) -> Prefix {
        let lengths = self.table.lengths.in_use(address.family, self.valid);
        let full = match address.family {
            Family::Ipv4 => 32,
            Family::Ipv6 => 128,
        };
        if lengths.full { self.seek_prefix(scope, address, full) } else { self.seek_below(scope, address, lengths) }
    }

    /// The VM that lists an address, by the longest prefix. `prefix` is what [`seek_ip`](Self::seek_ip) found for it.
    #[inline(always)]
    #[must_use]
    pub fn vm_within(self, scope: Scope, address: IpWords, mut prefix: Prefix) -> Option<VmIndex> {
        let table = self.table;
        loop {
            let Prefix { home, length, tag } = prefix;
            let vm = match address.family {
                _ if length == Prefix::NONE.length => return None,
                Family::Ipv4 => {
                    let key = ipv4_word(scope, address, length);
                    table.narrow.view().find(Sought { key, home }, self.valid | IPV4)
                }
                Family::Ipv6 => {
                    let (address, meta) = ipv6_words(scope, address, length);
                    let key = WideKey { address, meta: meta | u32::from(tag) };
                    table.wide.view().find(Sought { key, home }, self.valid)
                }
            };
            let rest = table.lengths.in_use(address.family, self.valid).below(length);
            if vm.is_some() || rest.is_empty() {
                return vm;
            }
            prefix = self.seek_below(scope, address, rest);
        }
    }

    #[inline(always)]
    fn seek_prefix(self, scope: Scope, address: IpWords, length: u8) -> Prefix {
        let table = self.table;
        match address.family {
            Family::Ipv4 => {
                let sought = table.narrow.view().seek(table.ipv4(ipv4_word(scope, address, length)));
                Prefix { home: sought.home, length, tag: 0 }
            }
            Family::Ipv6 => {
                let sought = table.wide.view().seek(table.ipv6(ipv6_words(scope, address, length)));
                Prefix { home: sought.home, length, tag: (sought.key.meta & 0xff) as u8 }
            }
        }
    }

    /// The longest prefix of these lengths that may be listed.
    #[inline(always)]
    fn seek_below(self, scope: Scope, address: IpWords, lengths: InUse) -> Prefix {
        let table = self.table;
        let length = lengths.first(
            |length| table.filter.may_hold(table.mark(scope, address, length)),
            |group| table.filter.may_hold(table.group_mark(scope, address, group)),
        );
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

/// The longest prefix that an address may be listed with, on its way to be looked up. Its key is made anew from the address
/// then: to keep it would cost more.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    /// Number of the first bucket.
    home: u32,
    length: u8,
    /// The bits of the hash that stand in a wide key.
    tag: u8,
}

impl Default for Prefix {
    fn default() -> Self {
        Self::NONE
    }
}

impl Prefix {
    /// Of an address that is certainly nobody's. No prefix has this length.
    pub const NONE: Self = Self { home: 0, length: u8::MAX, tag: 0 };

    #[cfg(all(test, loom))]
    pub(super) fn is_none(self) -> bool {
        self.length == Self::NONE.length
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
