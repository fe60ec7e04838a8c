//! The table: what workers read of the VMs.
//!
//! Fixed capacity, one [`Writer`], a [`Reader`] per worker. A reader takes a [`VmSnapshot`] per burst and asks it as
//! often as it likes: nothing it does waits, retries, allocates or writes to shared memory (but one word a turn that
//! is its own). The writer changes the table in batches; a reader sees all of a batch or none of it. The table knows
//! keys, VM numbers and states; what they mean, whether a change is wise and which number is free is the registry's
//! business.
//!
//! # The protocol
//!
//! Published states are [`Generation`]s, and at most two exist, told apart by parity. The value of an entry carries a
//! mark for each parity under which it is valid; a VM's state has a half, and the list of prefix lengths a copy, for
//! each. While generation G is the published one, a batch
//!
//! 1. writes what the parity of G + 1 selects and nothing else: keys first, then the value (Release);
//! 2. publishes G + 1 with one Release store;
//! 3. waits for the grace period: every worker that is online has said that it reads G + 1 (see
//!    [`quiescent`](crate::sync::quiescent));
//! 4. gives the parity of G the same contents and frees the slots that neither selects.
//!
//! Only then may the next batch begin. So when a batch begins, nobody reads the parity it writes, and both say the
//! same.
//!
//! A reader loads the generation once (Acquire) and looks only at what its parity selects:
//!
//! - *It sees a batch whole.* All of 1. was written before the store it loaded, so it is visible; and until the
//!   reader says that it reads a later generation, nobody changes what its parity selects: 1. and 4. write the other
//!   parity, and 4. frees only what this one does not select.
//! - *Keys cannot tear*, though they have up to three words and nothing guards them. That a key is equal counts
//!   only if the value, loaded before it (Acquire), said that the slot is valid for the reader's parity. That mark was
//!   published after the key was complete, and the key is not written again before the slot is free, which takes a
//!   batch that removes it and the grace period of that batch: this reader must have moved on. So nothing is
//!   re-checked.
//! - *Neighbours do not disturb.* Two values share a word, which the writer stores whole; the half it did not mean to
//!   change is repeated, since no one else writes.
//! - *Buckets of overflow* are recycled by the same waiting: see `store.rs`; bits of the filter too: see `filter.rs`.
//!
//! A batch that is dropped unpublished is rolled back: it wrote only what nobody reads.
//!
//! A VM number may be given to another VM by the batch that removes the first one: old keys lead to the old half of
//! the state, new keys to the new half. Whatever else is counted under that number mixes both, so the registry
//! may prefer to wait.
//!
//! # Memory and cost
//!
//! Two stores, of narrow keys (MAC, IPv4 prefix) and wide ones (IPv6 prefix), as hash tables of cache-line buckets
//! with chains of overflow buckets (`bucket.rs`, `store.rs`, `hash.rs`). A probe of a narrow key touches one cache line in the common
//! case, a probe of a wide key one to miss and two to hit; the state is one more. Most prefixes below full length that nobody
//! lists are known by a bit in the CPU's caches and probe no bucket at all (`filter.rs`). A removed key leaves no tombstone and chains are kept as short as their keys allow, so look-ups cost the same after any history. Memory is
//! taken untouched from the operating system and becomes resident as it is used.
//!
//! Where this differs from the sketch it came from: values and states are halves of `AtomicU64` words, because only
//! such words can be had lazily zeroed and cache-line aligned without `unsafe` (`bucket.rs` says more); VM numbers
//! have 29 bits, because the 30th tells an IPv4 prefix from a MAC.

mod bucket;
mod filter;
mod hash;
mod lengths;
mod reader;
mod store;
mod writer;

#[cfg(test)]
#[cfg(loom)]
mod check_loom;
#[cfg(test)]
#[cfg(shuttle)]
mod check_shuttle;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod model;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests;

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use self::bucket::{INDEX, IPV4, Narrow, Probe, VALID_EVEN, VALID_ODD, Wide, WideKey};
use self::filter::{Filter, Mark};
use self::hash::{FilterSecret, Hash};
use self::lengths::{Lengths, group};
use self::store::{Size, Store};
use crate::model::{ClassId, Family, IpWords, Key, MacAddr, Mode, Scope, VmIndex};
use crate::sync::quiescent::{Generation, Grace};
use crate::sync::{AtomicU64, Ordering, in_huge_pages, zeroed};

pub use self::hash::Secret;
pub use self::reader::{Prefix, Reader, Station, Stations, VmSnapshot};
pub use self::writer::{Batch, NotSettled, TableError, Usage, Writer};

/// How much a table can hold, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// VMs: their numbers are below this.
    pub vms: u32,
    /// Keys of all kinds together; at most half of them (rounded up) IPv6.
    pub keys: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { vms: 1 << 20, keys: 1 << 22 }
    }
}

impl Capacity {
    /// Most VMs that a table can be made for.
    pub const VMS_MAX: u32 = INDEX + 1;
    /// Most keys that a table can be made for.
    pub const KEYS_MAX: u32 = 1 << 30;

    /// IPv6 keys at most.
    #[must_use]
    pub const fn ipv6_keys(self) -> u32 {
        self.keys.div_ceil(2)
    }

    /// Address space of the table, which becomes resident as it fills.
    #[must_use]
    pub fn bytes(self) -> u64 {
        let narrow = u64::from(Size::of(self.keys).buckets()) * size_of::<Narrow>() as u64;
        let wide = u64::from(Size::of(self.ipv6_keys()).buckets()) * size_of::<Wide>() as u64;
        let filter = filter::Size::of(self.keys).bytes();
        u64::from(self.vms) * size_of::<[AtomicU64; 2]>() as u64 + narrow + wide + filter
    }
}

/// Why there is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A size of nothing, or beyond what numbers in the table can say.
    #[error(
        "`table.vms` = {} and `table.keys` = {} cannot be: they must be at least 1 and at most {} and {}",
        .0.vms, .0.keys, Capacity::VMS_MAX, Capacity::KEYS_MAX
    )]
    Capacity(Capacity),
    /// The operating system refused the memory.
    #[error("no memory for a table of {} MiB; lower `table.vms` or `table.keys`", .0.bytes() >> 20)]
    Memory(Capacity),
    /// The operating system has no random numbers.
    #[error("no random numbers for the table's secret: {0}")]
    Random(#[from] getrandom::Error),
}

/// What workers know of a VM beside its keys: enough to judge a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmState {
    /// Effective class: the override, or what the public address says.
    pub class: ClassId,
    /// The VM's own mode.
    pub mode: Mode,
    /// The inventory lists at least one MAC.
    pub lists_macs: bool,
    /// The inventory lists at least one IPv4 address or prefix.
    pub lists_ipv4: bool,
    /// The inventory lists at least one IPv6 address or prefix.
    pub lists_ipv6: bool,
    /// It has exceptions, over or not.
    pub has_exceptions: bool,
    /// An IPv4 address that the inventory lists in full length, so that a frame which comes from it needs no look-up by
    /// address; 0.0.0.0, which no inventory lists, if there is none.
    pub ipv4: Ipv4Addr,
}

/// What writer and readers share. Made by [`Table::create`], used through [`Writer`] and [`VmSnapshot`].
pub struct Table {
    hash: Hash,
    lengths: CachePadded<Lengths>,
    narrow: Store<Narrow>,
    wide: Store<Wide>,
    filter: Filter,
    /// Two words per VM, flags and address: in each the half for even generations low, for odd ones high.
    states: Box<[AtomicU64]>,
    grace: Arc<Grace>,
    capacity: Capacity,
}

impl Table {
    /// An empty table with its one writer and a reader for each worker, in the order of their numbers.
    ///
    /// ```
    /// # use portcullis::model::MacAddr;
    /// # use portcullis::table::{Capacity, Table};
    /// # use portcullis::model::{Key, Scope, VmIndex};
    /// let (mut writer, mut readers) = Table::create(Capacity { vms: 10, keys: 100 }, 1).unwrap();
    /// let mac = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
    ///
    /// let mut batch = writer.begin().unwrap();
    /// batch.insert(Key::Mac(Scope(0), mac), VmIndex(7)).unwrap();
    /// assert_eq!(readers[0].snapshot().vm_by_mac(Scope(0), mac), None);
    /// batch.publish();
    /// assert_eq!(readers[0].snapshot().vm_by_mac(Scope(0), mac), Some(VmIndex(7)));
    /// assert!(writer.try_settle(), "the one worker has seen it");
    /// ```
    ///
    /// # Errors
    /// The capacity is out of range, or the operating system has no memory or no random numbers for it.
    #[cfg(feature = "testkit")]
    pub fn create(capacity: Capacity, workers: usize) -> Result<(Writer, Vec<Reader>), CreateError> {
        Self::create_with(capacity, workers, &Secret::random()?)
    }

    /// As [`Table::create`], with the hash drawn from `secret`: for tests and benches.
    ///
    /// # Errors
    /// The capacity is out of range, or the operating system has no memory for it.
    pub fn create_with(
        capacity: Capacity,
        workers: usize,
        secret: &Secret,
    ) -> Result<(Writer, Vec<Reader>), CreateError> {
        let Capacity { vms, keys } = capacity;
        if vms == 0 || vms > Capacity::VMS_MAX || keys == 0 || keys > Capacity::KEYS_MAX {
            return Err(CreateError::Capacity(capacity));
        }
        let memory = || CreateError::Memory(capacity);
        let (grace, passes) = Grace::new(workers);
        let states = zeroed(vms as usize * 2).ok_or_else(memory)?;
        in_huge_pages(&states); // numbers are given out from the lowest on
        let filter = filter::Size::of(keys);
        let clerk = filter::Clerk::new(filter).ok_or_else(memory)?;
        let table = Arc::new(Self {
            hash: Hash::new(secret),
            lengths: CachePadded::new(Lengths::new()),
            narrow: Store::new(Size::of(keys)).ok_or_else(memory)?,
            wide: Store::new(Size::of(capacity.ipv6_keys())).ok_or_else(memory)?,
            filter: Filter::new(filter, FilterSecret::new(secret)).ok_or_else(memory)?,
            states,
            grace,
            capacity,
        });
        let readers = passes.into_iter().map(|pass| Reader::new(table.clone(), pass)).collect();
        Ok((Writer::new(table, clerk), readers))
    }

    #[inline]
    fn mac(&self, word: u64) -> Probe<u64> {
        Probe { key: word, hash: self.hash.mac(word), kind: 0 }
    }

    #[inline]
    fn ipv4(&self, word: u64) -> Probe<u64> {
        Probe { key: word, hash: self.hash.ipv4(word), kind: IPV4 }
    }

    #[inline]
    fn ipv6(&self, (address, meta): ([u64; 2], u32)) -> Probe<WideKey> {
        let [upper, lower] = address;
        let hash = self.hash.ipv6([upper, lower, u64::from(meta)]);
        let tag = (hash & 0xff) as u32;
        Probe { key: WideKey { address, meta: meta | tag }, hash, kind: 0 }
    }

    fn probe(&self, key: Key) -> KeyProbe {
        match key {
            Key::Mac(scope, mac) => KeyProbe::Narrow(self.mac(mac_word(scope, mac))),
            Key::Prefix(scope, net) => {
                let (address, length) = (IpWords::from(net.addr()), net.prefix_len());
                match address.family {
                    Family::Ipv4 => KeyProbe::Narrow(self.ipv4(ipv4_word(scope, address, length))),
                    Family::Ipv6 => KeyProbe::Wide(self.ipv6(ipv6_words(scope, address, length))),
                }
            }
        }
    }

    /// The bits of a prefix shorter than an address: its own, and that of the group of its length.
    fn marks(&self, key: Key) -> Option<[Mark; 2]> {
        match key {
            Key::Prefix(scope, net) if net.prefix_len() < net.max_prefix_len() => {
                let (address, length) = (IpWords::from(net.addr()), net.prefix_len());
                Some([self.mark(scope, address, length), self.group_mark(scope, address, group(length))])
            }
            Key::Mac(..) | Key::Prefix(..) => None,
        }
    }

    /// The bit of the prefix of `length` that an address is in.
    #[inline(always)]
    fn mark(&self, scope: Scope, address: IpWords, length: u8) -> Mark {
        match address.family {
            Family::Ipv4 => self.filter.ipv4(ipv4_word(scope, address, length)),
            Family::Ipv6 => self.filter.ipv6(ipv6_words(scope, address, length)),
        }
    }

    /// The bit of the prefixes of a group of lengths that begin as the address does.
    #[inline(always)]
    fn group_mark(&self, scope: Scope, address: IpWords, group: u8) -> Mark {
        match address.family {
            Family::Ipv4 => self.filter.ipv4(ipv4_word(scope, address, group) | GROUP),
            Family::Ipv6 => {
                let (address, meta) = ipv6_words(scope, address, group);
                self.filter.ipv6((address, meta | 1))
            }
        }
    }

    fn find(&self, key: Key, valid: u32) -> Option<VmIndex> {
        match self.probe(key) {
            KeyProbe::Narrow(probe) => self.narrow.find(probe, valid),
            KeyProbe::Wide(probe) => self.wide.find(probe, valid),
        }
    }

    #[inline]
    fn state(&self, vm: VmIndex, valid: u32) -> VmState {
        let half = |word: &AtomicU64| {
            let word = word.load(Ordering::Acquire);
            let half = if valid == VALID_EVEN { word & 0xffff_ffff } else { word >> 32 };
            (half & 0xffff_ffff) as u32
        };
        let [flags, ipv4] = self.state_words(vm).map_or([0; 2], |words| words.each_ref().map(half));
        unpack(flags, ipv4)
    }

    /// The words of a VM's state; nothing of a VM beyond the table.
    #[inline]
    fn state_words(&self, vm: VmIndex) -> Option<&[AtomicU64; 2]> {
        self.states.as_chunks().0.get(vm.0 as usize)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("capacity", &self.capacity).field("grace", &self.grace).finish_non_exhaustive()
    }
}

/// Tells a group of prefixes from the prefix of its shortest length, where the filter takes both.
const GROUP: u64 = 1 << 8;

/// A MAC as the word that is compared.
#[inline(always)]
const fn mac_word(scope: Scope, mac: MacAddr) -> u64 {
    mac.to_u64() << 16 | scope.0 as u64
}

/// The prefix of `length` that `address` is in, as the word that is compared.
#[inline(always)]
const fn ipv4_word(scope: Scope, address: IpWords, length: u8) -> u64 {
    // No length is above 32; the mask of the shift is there so that none could panic.
    let mask = u64::MAX << (32u8.wrapping_sub(length) & 63);
    (address.lower & mask) << 32 | (scope.0 as u64) << 16 | length as u64
}

/// The prefix of `length` that `address` is in, as the words that are compared: the address, and scope and length.
#[inline(always)]
fn ipv6_words(scope: Scope, address: IpWords, length: u8) -> ([u64; 2], u32) {
    let mask = |bits: u8| u64::MAX.checked_shl(64u32.saturating_sub(u32::from(bits))).unwrap_or(0);
    let address = [address.upper & mask(length), address.lower & mask(length.saturating_sub(64))];
    (address, u32::from(scope.0) << 16 | u32::from(length) << 8)
}

/// A key of either width.
enum KeyProbe {
    Narrow(Probe<u64>),
    Wide(Probe<WideKey>),
}

/// The mark of what readers of a generation look at.
#[inline]
const fn valid_in(generation: Generation) -> u32 {
    if generation.0 & 1 == 0 { VALID_EVEN } else { VALID_ODD }
}

const MONITOR: u32 = 1 << 8;
const LISTS_MACS: u32 = 1 << 9;
const LISTS_IPV4: u32 = 1 << 10;
const LISTS_IPV6: u32 = 1 << 11;
const HAS_EXCEPTIONS: u32 = 1 << 12;

/// One half of each state word. What was never set is 0: restricted, enforced, listing nothing.
fn pack(state: VmState) -> [u32; 2] {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let flags = u32::from(state.class.0)
        | flag(state.mode == Mode::Monitor, MONITOR)
        | flag(state.lists_macs, LISTS_MACS)
        | flag(state.lists_ipv4, LISTS_IPV4)
        | flag(state.lists_ipv6, LISTS_IPV6)
        | flag(state.has_exceptions, HAS_EXCEPTIONS);
    [flags, state.ipv4.to_bits()]
}

#[inline]
fn unpack(flags: u32, ipv4: u32) -> VmState {
    VmState {
        class: ClassId((flags & 0xff) as u8),
        mode: if flags & MONITOR == 0 { Mode::Enforce } else { Mode::Monitor },
        lists_macs: flags & LISTS_MACS != 0,
        lists_ipv4: flags & LISTS_IPV4 != 0,
        lists_ipv6: flags & LISTS_IPV6 != 0,
        has_exceptions: flags & HAS_EXCEPTIONS != 0,
        ipv4: Ipv4Addr::from_bits(ipv4),
    }
}
