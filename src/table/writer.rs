//! The one writer's side of the table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bucket::VALID_EVEN;
use super::lengths::{Counts, LENGTHS_MAX};
use super::store::{Clerk, Inserted, Marks};
use super::{Capacity, Generation, KeyProbe, Table, VmSnapshot, VmState, filter, pack, valid_in};
use crate::model::{Family, Key, VmIndex};
use crate::sync::{Ordering, hint, sleep, thread};
use ipnet::IpNet;

/// Why a batch cannot take a change. The batch is as it was before the call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// As many keys as were asked for when the table was made.
    #[error("the table is full: it holds {capacity} MACs and addresses (`table.keys`)")]
    KeysFull {
        /// `table.keys`.
        capacity: u32,
    },
    /// As many IPv6 keys as a table has room for.
    #[error("the table is full of IPv6 addresses: it holds {capacity}, half of `table.keys`")]
    Ipv6KeysFull {
        /// Half of `table.keys`.
        capacity: u32,
    },
    /// The space for keys that meet in one bucket, or that a batch holds twice until it is in force, is used up.
    #[error(
        "no slot is left for this key though fewer than {capacity} (`table.keys`) are in use: make the change in \
         smaller parts, or raise `table.keys`"
    )]
    Crowded {
        /// `table.keys`.
        capacity: u32,
    },
    /// One more prefix length than a look-up probes.
    #[error(
        "{family} prefixes of {LENGTHS_MAX} different lengths are in use ({}) and /{length} would be one more; \
         cover the range with those",
        list(in_use)
    )]
    PrefixLengths {
        /// Of which family.
        family: Family,
        /// The length that was refused.
        length: u8,
        /// The lengths that keys have, ascending.
        in_use: Vec<u8>,
    },
    /// The key is another VM's.
    #[error("this key belongs to VM number {} already", by.0)]
    Taken {
        /// Whose.
        by: VmIndex,
    },
    /// A VM number beyond the table.
    #[error("VM number {} is beyond `table.vms` = {capacity}", vm.0)]
    VmsFull {
        /// The number.
        vm: VmIndex,
        /// `table.vms`.
        capacity: u32,
    },
}

fn list(lengths: &[u8]) -> String {
    lengths.iter().map(|length| format!("/{length}")).collect::<Vec<_>>().join(" ")
}

/// A generation is published but not yet in force on every worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("generation {generation} is not in force on every core yet; waiting for workers {workers:?}")]
pub struct NotSettled {
    /// Which.
    pub generation: Generation,
    /// Numbers of the workers that may still read the one before.
    pub workers: Vec<usize>,
}

/// How full the table is, an unpublished batch included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// MACs and IPv4 prefixes.
    pub narrow_keys: u32,
    /// IPv6 prefixes.
    pub wide_keys: u32,
    /// Overflow buckets of narrow keys: a measure of collisions.
    pub narrow_overflow: u32,
    /// Overflow buckets of wide keys.
    pub wide_overflow: u32,
    /// Different IPv4 prefix lengths, each a probe per look-up.
    pub ipv4_lengths: u32,
    /// Different IPv6 prefix lengths.
    pub ipv6_lengths: u32,
}

/// What a rollback restores.
#[derive(Clone)]
struct Books {
    narrow_keys: u32,
    wide_keys: u32,
    lengths: Counts,
}

/// The one who changes the table. Lives on the control thread.
pub struct Writer {
    pub(super) table: Arc<Table>,
    generation: Generation,
    /// When the published generation was published; none once it has settled.
    published_at: Option<Instant>,
    narrow: Clerk,
    wide: Clerk,
    filter: filter::Clerk,
    /// VMs whose state the open or unsettled batch has set.
    states: Vec<VmIndex>,
    books: Books,
    /// `books` as published, while a batch is open.
    saved: Option<Books>,
}

/// Room for VMs that the list of a batch keeps.
const KEPT_MAX: usize = 1 << 16;

impl Writer {
    pub(super) fn new(table: Arc<Table>, filter: filter::Clerk) -> Self {
        let (narrow, wide) = (Clerk::new(table.narrow.size()), Clerk::new(table.wide.size()));
        Self {
            table,
            generation: Generation::default(),
            published_at: None,
            narrow,
            wide,
            filter,
            states: Vec::new(),
            books: Books { narrow_keys: 0, wide_keys: 0, lengths: Counts::new() },
            saved: None,
        }
    }

    /// What the table was made for.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.table.capacity
    }

    /// The published generation.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Who reads what: for the watchdog, from any thread.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn grace(&self) -> Arc<super::Grace> {
        self.table.grace.clone()
    }

    /// The published state, for look-ups on the writer's thread. What a paused batch holds is no part of it.
    #[must_use]
    pub fn snapshot(&self) -> VmSnapshot<'_> {
        VmSnapshot::new(&self.table, self.generation)
    }

    /// The VM that lists exactly this key (not a longer or shorter prefix), as published.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn owner(&self, key: Key) -> Option<VmIndex> {
        self.table.find(key, valid_in(self.generation))
    }

    /// How full the table is.
    #[must_use]
    pub fn used(&self) -> Usage {
        let lengths = |family| u32::try_from(self.books.lengths.in_use(family).count()).unwrap_or(u32::MAX);
        Usage {
            narrow_keys: self.books.narrow_keys,
            wide_keys: self.books.wide_keys,
            narrow_overflow: self.narrow.overflow_in_use(self.table.narrow.size()),
            wide_overflow: self.wide.overflow_in_use(self.table.wide.size()),
            ipv4_lengths: lengths(Family::Ipv4),
            ipv6_lengths: lengths(Family::Ipv6),
        }
    }

    /// Begins a batch.
    ///
    /// # Errors
    /// The batch before is not in force on every worker yet.
    pub fn begin(&mut self) -> Result<Batch<'_>, NotSettled> {
        if !self.try_settle() {
            return Err(self.not_settled());
        }
        if self.saved.is_some() {
            self.roll_back(); // Of a batch that was leaked.
        }
        self.saved = Some(self.books.clone());
        Ok(Batch { writer: self })
    }

    /// Goes on with the batch that was [paused](Batch::pause), or begins one.
    ///
    /// # Errors
    /// The batch before is not in force on every worker yet.
    pub fn resume(&mut self) -> Result<Batch<'_>, NotSettled> {
        match self.saved {
            Some(_) => Ok(Batch { writer: self }),
            None => self.begin(),
        }
    }

    /// Ends the published batch if its grace period is over. Whether none is pending any more.
    pub fn try_settle(&mut self) -> bool {
        if self.published_at.is_none() {
            return true;
        }
        let over = self.table.grace.is_over(self.generation);
        if over {
            self.finish();
        }
        over
    }

    /// Ends the published batch: its grace period is over.
    fn finish(&mut self) {
        self.published_at = None;
        let marks = Marks { old: valid_in(Generation(self.generation.0 ^ 1)), new: valid_in(self.generation) };
        self.narrow.settle(&self.table.narrow, marks);
        self.wide.settle(&self.table.wide, marks);
        self.filter.settle(&self.table.filter);
        self.table.lengths.store(marks.old, &self.books.lengths);
        self.level_states(marks.new);
    }

    /// Waits until the published batch is in force on every worker, and returns how long that took from its
    /// publication: nothing if it had settled before.
    ///
    /// # Errors
    /// It is not by `deadline`. The batch stays published.
    pub fn settle(&mut self, deadline: Instant) -> Result<Duration, NotSettled> {
        let Some(published_at) = self.published_at else { return Ok(Duration::ZERO) };
        let mut looks = 0u32;
        while !self.table.grace.is_over(self.generation) {
            if Instant::now() >= deadline {
                return Err(self.not_settled());
            }
            looks = looks.saturating_add(1);
            match looks {
                0..1_000 => hint::spin_loop(),
                1_000..1_100 => thread::yield_now(),
                _ => sleep(Duration::from_micros(50)),
            }
        }
        let in_force = published_at.elapsed();
        self.finish(); // Not `try_settle`, which asks again: a worker that comes online just now would say no.
        Ok(in_force)
    }

    fn not_settled(&self) -> NotSettled {
        NotSettled { generation: self.generation, workers: self.table.grace.waiting_for(self.generation) }
    }

    /// The marks of an open batch.
    fn marks(&self) -> Marks {
        Marks { old: valid_in(self.generation), new: valid_in(self.generation.next()) }
    }

    fn roll_back(&mut self) {
        let marks = self.marks();
        self.narrow.roll_back(&self.table.narrow, marks);
        self.wide.roll_back(&self.table.wide, marks);
        self.filter.roll_back(&self.table.filter);
        self.level_states(marks.old);
        if let Some(saved) = self.saved.take() {
            self.books = saved;
        }
    }

    /// Makes both halves of every state that was set say what the half `from` says.
    fn level_states(&mut self, from: u32) {
        for word in self.states.drain(..).filter_map(|vm| self.table.state_words(vm)).flatten() {
            let state = word.load(Ordering::Relaxed);
            let half = if from == VALID_EVEN { state & 0xffff_ffff } else { state >> 32 };
            word.store(half << 32 | half, Ordering::Release);
        }
        self.states.shrink_to(KEPT_MAX);
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("table", &self.table).field("used", &self.used()).finish_non_exhaustive()
    }
}

/// Changes that readers will see all at once, or never: dropped unpublished, it is rolled back.
///
/// An error of one call leaves the batch as it was before that call; whether to go on is the caller's choice.
#[must_use = "a batch that is dropped is rolled back"]
pub struct Batch<'a> {
    writer: &'a mut Writer,
}

impl Batch<'_> {
    /// Makes a key lead to a VM. Nothing happens if it does already. Host bits of a prefix do not count.
    ///
    /// # Errors
    /// The key is another VM's, or there is no room for it.
    pub fn insert(&mut self, key: Key, vm: VmIndex) -> Result<(), TableError> {
        self.check(vm)?;
        let room = self.room(key);
        let marks = self.writer.marks();
        let Writer { table, narrow, wide, filter, books, .. } = &mut *self.writer;
        let may_add = room.is_ok();
        let inserted = match table.probe(key) {
            KeyProbe::Narrow(key) => {
                let inserted = narrow.insert(&table.narrow, key, vm, marks, may_add);
                if inserted == Inserted::Added {
                    books.narrow_keys += 1;
                    if table.narrow.filled_to(books.narrow_keys) {
                        table.filter.in_huge_pages();
                    }
                }
                inserted
            }
            KeyProbe::Wide(key) => {
                let inserted = wide.insert(&table.wide, key, vm, marks, may_add);
                if inserted == Inserted::Added {
                    books.wide_keys += 1;
                    if table.wide.filled_to(books.wide_keys) {
                        table.filter.in_huge_pages();
                    }
                }
                inserted
            }
        };
        match inserted {
            Inserted::Already => Ok(()),
            Inserted::Taken(by) => Err(TableError::Taken { by }),
            Inserted::NoRoom => Err(room.err().unwrap_or(TableError::Crowded { capacity: table.capacity.keys })),
            Inserted::Added => {
                table.marks(key).into_iter().flatten().for_each(|mark| filter.add(&table.filter, mark));
                if let Some((family, length)) = prefix(key) {
                    books.lengths.add(family, length);
                }
                Ok(())
            }
        }
    }

    /// Makes a key lead nowhere; the VM it led to.
    pub fn remove(&mut self, key: Key) -> Option<VmIndex> {
        let marks = self.writer.marks();
        let Writer { table, narrow, wide, filter, books, .. } = &mut *self.writer;
        let (removed, count) = match table.probe(key) {
            KeyProbe::Narrow(probe) => (narrow.remove(&table.narrow, probe, marks)?, &mut books.narrow_keys),
            KeyProbe::Wide(probe) => (wide.remove(&table.wide, probe, marks)?, &mut books.wide_keys),
        };
        *count -= 1;
        table.marks(key).into_iter().flatten().for_each(|mark| filter.remove(mark));
        if let Some((family, length)) = prefix(key) {
            books.lengths.subtract(family, length);
        }
        Some(removed)
    }

    /// Sets what workers know of a VM.
    ///
    /// # Errors
    /// The number is beyond the table.
    pub fn set_state(&mut self, vm: VmIndex, state: VmState) -> Result<(), TableError> {
        self.check(vm)?;
        let words = self.writer.table.state_words(vm).into_iter().flatten();
        for (word, half) in words.zip(pack(state).map(u64::from)) {
            let old = word.load(Ordering::Relaxed);
            let new = match self.writer.marks().new {
                VALID_EVEN => old & !0xffff_ffff | half,
                _ => old & 0xffff_ffff | half << 32,
            };
            word.store(new, Ordering::Release);
        }
        self.writer.states.push(vm);
        Ok(())
    }

    /// The VM that lists exactly this key, this batch's changes included.
    #[must_use]
    pub fn owner(&self, key: Key) -> Option<VmIndex> {
        self.writer.table.find(key, self.writer.marks().new)
    }

    /// Leaves the batch open, neither published nor rolled back: [`Writer::resume`] goes on with it.
    pub fn pause(self) {
        std::mem::forget(self);
    }

    /// The generation that publishing will make.
    #[must_use]
    pub fn next_generation(&self) -> Generation {
        self.writer.generation.next()
    }

    /// Makes the batch what every later snapshot sees. [`Writer::settle`] tells when no earlier one is left.
    pub fn publish(self) -> Generation {
        let writer = &mut *self.writer;
        let marks = writer.marks();
        writer.narrow.compact(&writer.table.narrow, marks);
        writer.wide.compact(&writer.table.wide, marks);
        let generation = writer.generation.next();
        writer.table.lengths.store(marks.new, &writer.books.lengths);
        writer.saved = None;
        writer.generation = generation;
        writer.published_at = Some(Instant::now());
        writer.table.grace.publish(generation);
        generation
    }

    fn check(&self, vm: VmIndex) -> Result<(), TableError> {
        let capacity = self.writer.table.capacity.vms;
        if vm.0 < capacity { Ok(()) } else { Err(TableError::VmsFull { vm, capacity }) }
    }

    /// Whether one more key like this is within the limits.
    fn room(&self, key: Key) -> Result<(), TableError> {
        let (books, capacity) = (&self.writer.books, self.writer.table.capacity);
        if books.narrow_keys + books.wide_keys >= capacity.keys {
            return Err(TableError::KeysFull { capacity: capacity.keys });
        }
        let Some((family, length)) = prefix(key) else { return Ok(()) };
        if family == Family::Ipv6 && books.wide_keys >= capacity.ipv6_keys() {
            return Err(TableError::Ipv6KeysFull { capacity: capacity.ipv6_keys() });
        }
        if !books.lengths.has_room(family, length) {
            let in_use = books.lengths.in_use(family).collect();
            return Err(TableError::PrefixLengths { family, length, in_use });
        }
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.writer.saved.is_some() {
            self.writer.roll_back();
        }
    }
}

fn prefix(key: Key) -> Option<(Family, u8)> {
    match key {
        Key::Mac(..) => None,
        Key::Prefix(_, IpNet::V4(net)) => Some((Family::Ipv4, net.prefix_len())),
        Key::Prefix(_, IpNet::V6(net)) => Some((Family::Ipv6, net.prefix_len())),
    }
}
