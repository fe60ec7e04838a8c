//! One width of buckets: the words that readers probe, and the one writer's books about them.
//!
//! Home buckets come first, one for each value of the scaled hash; then a pool of overflow buckets. A home bucket
//! whose slots are taken is continued by overflow buckets, each linked from the one before. Entries never move in place: a relocation is a
//! copy, valid in the next generation, and the old entry stays until nobody reads it.
//!
//! # Chains are as short as their keys allow
//!
//! Removals leave holes. Insertions fill the first hole of a chain, and [`Clerk::compact`] moves the entries of the
//! last bucket into holes before it as soon as they fit; then the bucket goes back to the pool. So what a look-up
//! costs depends on the keys there are, not on those that were.
//!
//! # Why a reader in an overflow bucket is safe
//!
//! An overflow bucket changes chains in two ways only.
//!
//! *Emptied*: [`Clerk::settle`] finds all its slots empty and unlinks it. A reader may stand in it, having loaded the
//! link before; it goes on by the bucket's own link, which stays as it was and leads to the rest of the chain. The
//! bucket waits in `retired` until the grace period of the next generation is over. Then every reader has loaded a
//! generation published after the unlinking, so nobody stands in the bucket when it is handed out again.
//!
//! *Never published*: [`Clerk::roll_back`] takes back what the batch had appended, at once. Such a bucket was the
//! tail of its chain, and holds nothing valid for any reader. A reader in it has passed every entry that is valid for
//! it. If the bucket is appended to another chain meanwhile, the reader follows into buckets that this or a later
//! unpublished batch appended, whose entries are not valid for it either: it finds nothing, which is the right answer
//! at that point of its chain. It cannot go round for ever, since hops are bounded.

use super::bucket::{Bucket, IPV4, Probe, SLOTS, WORDS_MAX, vm};
use super::hash::scale;
use crate::model::VmIndex;
use crate::sync::{AtomicU64, in_huge_pages, zeroed_in_huge_pages};

/// Longest chain, home bucket included; what bounds a reader's hops. That is 80 keys that meet in one bucket, where by
/// chance the fullest bucket of a full table of a million has about 20.
pub(super) const CHAIN_BUCKETS_MAX: u32 = 16;

/// Overflow buckets beside the share that chance needs, so that small tables have room for a bad hand.
const POOL_MIN: u32 = if cfg!(any(loom, shuttle)) { 2 } else { 60 };

/// How many buckets a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) homes: u32,
    pub(super) pool: u32,
}

impl Size {
    /// Room for `keys` keys. A home bucket is full on average when all are in use (5 keys for 5 slots); the keys that
    /// chance puts elsewhere need 0.08 overflow buckets a key (Poisson, mean 5, varying by a thousandth of that in a table
    /// of a million), so 7/80 leaves a tenth to spare. A batch that moves keys takes a slot for the old and for the new
    /// owner until it settles, from the same spare.
    pub(super) fn of(keys: u32) -> Self {
        Self { homes: keys.div_ceil(5).max(1), pool: keys.div_ceil(10) - keys / 80 + POOL_MIN }
    }

    pub(super) fn buckets(self) -> u32 {
        self.homes + self.pool
    }
}

/// The shared part.
pub(super) struct Store<B> {
    words: Box<[AtomicU64]>,
    /// Words before the first bucket, so that buckets are cache lines.
    offset: usize,
    size: Size,
    width: std::marker::PhantomData<fn() -> B>,
}

impl<B: Bucket> Store<B> {
    /// Empty; nothing if the memory is not to be had.
    pub(super) fn new(size: Size) -> Option<Self> {
        let words = zeroed_in_huge_pages(size.buckets() as usize * B::WORDS + WORDS_MAX - 1)?;
        let line = WORDS_MAX * 8;
        let offset = match words.as_ptr().addr() % line {
            _ if cfg!(any(loom, shuttle)) => 0,
            past => (line - past) % line / 8,
        };
        Some(Self { words, offset, size, width: std::marker::PhantomData })
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// So many keys are in it now. Keys fall anywhere, so at two for each page of the system's nearly every page was
    /// touched, and larger ones cost nothing more. Whether it has just come to that.
    pub(super) fn filled_to(&self, keys: u32) -> bool {
        const WORDS_PER_PAGE: usize = 4096 / 8;
        let filled = keys as usize == self.words.len() / WORDS_PER_PAGE * 2;
        if filled {
            in_huge_pages(&self.words);
        }
        filled
    }

    /// A bucket by its number; `None` beyond the last.
    #[inline]
    fn bucket(&self, number: u32) -> Option<&B> {
        self.view().buckets.get(number as usize)
    }

    fn value(&self, bucket: u32, slot: u8) -> u32 {
        let values = self.bucket(bucket).map(|bucket| bucket.values().slots);
        values.and_then(|slots| slots.get(usize::from(slot)).copied()).unwrap_or(0)
    }

    /// All buckets, for many look-ups in a row.
    #[inline]
    pub(super) fn view(&self) -> View<'_, B> {
        let end = self.offset + self.size.buckets() as usize * B::WORDS;
        let words = self.words.get(self.offset..end).unwrap_or_default();
        View { buckets: B::all(words), homes: self.size.homes }
    }

    /// The VM whose key this is, for readers of the generations that `valid` (one bit) stands for.
    #[inline]
    pub(super) fn find(&self, probe: Probe<B::Key>, valid: u32) -> Option<VmIndex> {
        let view = self.view();
        view.find(view.place(probe), valid | probe.kind)
    }

    /// For each chain: its buckets, and its entries.
    #[cfg(test)]
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn chains(&self) -> Vec<(usize, usize)> {
        let entries = |(_, bucket): (u32, &B)| bucket.values().slots.into_iter().filter(|&value| value != 0).count();
        let count = |home| (self.chain(home).count(), self.chain(home).map(entries).sum());
        (0..self.size.homes).map(count).collect()
    }

    /// Where the first bucket lies.
    #[cfg(test)]
    #[cfg(not(any(loom, shuttle)))]
    pub(super) fn first_address(&self) -> usize {
        self.words.get(self.offset).map_or(1, |word| std::ptr::from_ref(word).addr())
    }

    /// The buckets of a chain with their numbers.
    fn chain(&self, home: u32) -> impl Iterator<Item = (u32, &B)> {
        let mut next = Some(home);
        std::iter::from_fn(move || {
            let number = next?;
            let bucket = self.bucket(number)?;
            let link = bucket.values().link;
            next = (link != 0).then_some(link);
            Some((number, bucket))
        })
    }
}

/// A key, and the bucket where its chain begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sought<K> {
    pub(super) key: K,
    /// Its number.
    pub(super) home: u32,
}

/// All buckets of a store.
#[derive(Debug)]
pub(super) struct View<'a, B> {
    buckets: &'a [B],
    homes: u32,
}

impl<B> Clone for View<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for View<'_, B> {}

impl<B: Bucket> View<'_, B> {
    #[inline(always)]
    fn place(&self, probe: Probe<B::Key>) -> Sought<B::Key> {
        Sought { key: probe.key, home: scale(probe.hash, self.homes) }
    }

    /// Where to look for a key; asks the CPU for that bucket.
    #[inline(always)]
    pub(super) fn seek(&self, probe: Probe<B::Key>) -> Sought<B::Key> {
        let sought = self.place(probe);
        if let Some(bucket) = self.buckets.get(sought.home as usize) {
            bucket.prefetch();
        }
        sought
    }

    /// The VM whose key this is. `wanted` is the mark of who asks, and the kind of the key.
    #[inline(always)]
    pub(super) fn find(&self, sought: Sought<B::Key>, wanted: u32) -> Option<VmIndex> {
        let mask = wanted | IPV4;
        let mut bucket = self.buckets.get(sought.home as usize)?;
        for _ in 0..CHAIN_BUCKETS_MAX {
            let values = bucket.values();
            for (slot, value) in values.slots.into_iter().enumerate() {
                if cfg!(loom) && value & mask != wanted {
                    continue; // Loom need not branch on loads whose result is thrown away.
                }
                // The key first: the CPU foresees that it differs, but not which slots are in use.
                if bucket.holds(slot, sought.key) && value & mask == wanted {
                    return Some(vm(value));
                }
            }
            if values.link == 0 {
                return None;
            }
            bucket = self.buckets.get(values.link as usize)?;
        }
        None
    }
}

/// A slot that the open batch has written.
#[derive(Clone, Copy)]
struct Touch {
    home: u32,
    bucket: u32,
    slot: u8,
}

/// What an overflow bucket was appended to.
struct Appended {
    bucket: u32,
    after: u32,
}

/// Keys, at most, that a batch's lists keep room for after it.
const KEPT_MAX: usize = 1 << 16;

/// The writer's part: which overflow buckets are free, and what the open batch has done.
pub(super) struct Clerk {
    /// The first overflow bucket that was never used; all after it are as new.
    fresh: u32,
    end: u32,
    free: Vec<u32>,
    /// Unlinked when the published generation settled; free when the next one has.
    retired: Vec<u32>,
    touched: Vec<Touch>,
    appended: Vec<Appended>,
    /// Home buckets of chains where slots came free that may take in the last bucket.
    slack: Vec<u32>,
}

/// The two marks of a batch.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    /// Valid for who reads the published generation.
    pub(super) old: u32,
    /// Valid for who will read the batch.
    pub(super) new: u32,
}

impl Marks {
    /// What is left of a value that the batch removes: nothing if the batch itself inserted it.
    fn without_new(self, value: u32) -> u32 {
        if value & self.old == 0 { 0 } else { value & !self.new }
    }
}

/// Where a key stands in the open batch.
struct Place {
    home: u32,
    /// Valid in the batch.
    live: Option<(u32, u8, VmIndex)>,
    /// Removed by the batch, valid in the published generation.
    leaving: Option<(u32, u8, VmIndex)>,
    vacant: Option<(u32, u8)>,
    tail: u32,
    buckets: u32,
}

/// What became of an insertion.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// The key is valid now and was not before.
    Added,
    /// It was there, for this VM.
    Already,
    /// It is there, for another VM. Nothing changed.
    Taken(VmIndex),
    /// No slot is left where it belongs. Nothing changed.
    NoRoom,
}

impl Clerk {
    pub(super) fn new(size: Size) -> Self {
        Self {
            fresh: size.homes,
            end: size.buckets(),
            free: Vec::new(),
            retired: Vec::new(),
            touched: Vec::new(),
            appended: Vec::new(),
            slack: Vec::new(),
        }
    }

    fn place<B: Bucket>(store: &Store<B>, probe: Probe<B::Key>, marks: Marks) -> Place {
        let home = scale(probe.hash, store.size.homes);
        let mut place = Place { home, live: None, leaving: None, vacant: None, tail: home, buckets: 0 };
        for (number, bucket) in store.chain(home) {
            place.tail = number;
            place.buckets += 1;
            for (slot, value) in (0u8..).zip(bucket.values().slots) {
                if value == 0 {
                    place.vacant = place.vacant.or(Some((number, slot)));
                } else if value & IPV4 == probe.kind && bucket.holds(usize::from(slot), probe.key) {
                    let found = Some((number, slot, vm(value)));
                    match value & marks.new {
                        0 => place.leaving = found,
                        _ => place.live = found,
                    }
                }
            }
        }
        place
    }

    /// Makes a key valid in the batch. Keys first, value last. Unless `may_add`, only asks whether it is.
    pub(super) fn insert<B: Bucket>(
        &mut self,
        store: &Store<B>,
        probe: Probe<B::Key>,
        owner: VmIndex,
        marks: Marks,
        may_add: bool,
    ) -> Inserted {
        let place = Self::place(store, probe, marks);
        if let Some((_, _, by)) = place.live {
            return if by == owner { Inserted::Already } else { Inserted::Taken(by) };
        }
        if !may_add {
            return Inserted::NoRoom;
        }
        let value = owner.0 | probe.kind | marks.new;
        if let Some((number, slot, vm)) = place.leaving
            && vm == owner
        {
            self.touch(store, place.home, (number, slot), value | marks.old);
            return Inserted::Added;
        }
        let vacant = match place.vacant {
            Some(vacant) => vacant,
            None if place.buckets >= CHAIN_BUCKETS_MAX => return Inserted::NoRoom,
            None => match self.append(store, place.tail) {
                Some(number) => (number, 0),
                None => return Inserted::NoRoom,
            },
        };
        if let Some(bucket) = store.bucket(vacant.0) {
            bucket.write_key(usize::from(vacant.1), probe.key);
        }
        self.touch(store, place.home, vacant, value);
        Inserted::Added
    }

    /// Makes a key invalid in the batch; whose it was.
    pub(super) fn remove<B: Bucket>(
        &mut self,
        store: &Store<B>,
        probe: Probe<B::Key>,
        marks: Marks,
    ) -> Option<VmIndex> {
        let place = Self::place(store, probe, marks);
        let (number, slot, owner) = place.live?;
        let value = store.value(number, slot);
        self.touch(store, place.home, (number, slot), marks.without_new(value));
        Some(owner)
    }

    fn touch<B: Bucket>(&mut self, store: &Store<B>, home: u32, (number, slot): (u32, u8), value: u32) {
        if let Some(bucket) = store.bucket(number) {
            bucket.set_value(usize::from(slot), value);
            self.touched.push(Touch { home, bucket: number, slot });
        }
    }

    /// Links an empty bucket to the end of a chain.
    fn append<B: Bucket>(&mut self, store: &Store<B>, after: u32) -> Option<u32> {
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.fresh < self.end => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        store.bucket(number)?.set_link(0);
        store.bucket(after)?.set_link(number);
        self.appended.push(Appended { bucket: number, after });
        Some(number)
    }

    /// As the last part of a batch: where slots came free, moves the entries of a chain's last bucket into them, so
    /// that settling empties it. A move is what it would be between VMs: a copy that the batch makes valid, and the
    /// old entry until nobody reads it any more.
    ///
    /// Without this, a bucket stays in its chain until chance empties it, and churn makes chains longer than their
    /// keys need (16 % more buckets to visit in a table that is three quarters full). With it, a chain has as many
    /// buckets as its keys need as soon as changes pause. The work is at most that of the batch before.
    pub(super) fn compact<B: Bucket>(&mut self, store: &Store<B>, marks: Marks) {
        while let Some(home) = self.slack.pop() {
            let Some((last, bucket)) = store.chain(home).last() else { continue };
            let values = bucket.values().slots;
            let moving = || (0u8..).zip(values).filter(|(_, value)| value & marks.new != 0);
            let before = || store.chain(home).take_while(|&(number, _)| number != last);
            let vacant = || {
                before().flat_map(|(number, bucket)| {
                    let slots = (0u8..).zip(bucket.values().slots);
                    slots.filter(|&(_, value)| value == 0).map(move |(slot, _)| (number, slot))
                })
            };
            if vacant().count() < moving().count() {
                continue;
            }
            for ((from, value), to) in moving().zip(vacant()) {
                let (Some(key), Some(target)) = (bucket.key(usize::from(from)), store.bucket(to.0)) else { continue };
                target.write_key(usize::from(to.1), key);
                self.touch(store, home, to, value & !marks.old);
                self.touch(store, home, (last, from), marks.without_new(value));
            }
        }
        self.slack.shrink_to(KEPT_MAX);
    }

    /// After the grace period of the batch: gives the old mark what the new mark selects, and frees what neither does.
    pub(super) fn settle<B: Bucket>(&mut self, store: &Store<B>, marks: Marks) {
        self.level(store, marks.new, marks.old);
        self.appended.clear();
        self.appended.shrink_to(KEPT_MAX);
        self.free.append(&mut self.retired);
        // Backwards, so that a chain that empties is cut from its end.
        while let Some(Touch { home, bucket, .. }) = self.touched.pop() {
            if bucket >= store.size.homes {
                self.unlink_if_empty(store, home, bucket);
            }
            let is_chain = store.bucket(home).is_some_and(|home| home.values().link != 0);
            if is_chain && self.slack.last() != Some(&home) {
                self.slack.push(home);
            }
        }
        self.touched.shrink_to(KEPT_MAX);
    }

    /// Takes a batch back that was not published.
    pub(super) fn roll_back<B: Bucket>(&mut self, store: &Store<B>, marks: Marks) {
        self.level(store, marks.old, marks.new);
        self.touched.clear();
        self.touched.shrink_to(KEPT_MAX);
        while let Some(Appended { bucket, after }) = self.appended.pop() {
            if let Some(after) = store.bucket(after) {
                after.set_link(0);
            }
            self.free.push(bucket);
        }
        self.appended.shrink_to(KEPT_MAX);
    }

    /// Makes both marks of every touched slot say what `from` says. Of the touched, those stay that are empty now.
    fn level<B: Bucket>(&mut self, store: &Store<B>, from: u32, to: u32) {
        self.touched.retain(|touch| {
            let Some(bucket) = store.bucket(touch.bucket) else { return false };
            let value = store.value(touch.bucket, touch.slot);
            let value = if value & from == 0 { 0 } else { value | to };
            bucket.set_value(usize::from(touch.slot), value);
            value == 0
        });
    }

    fn unlink_if_empty<B: Bucket>(&mut self, store: &Store<B>, home: u32, number: u32) {
        let Some(bucket) = store.bucket(number) else { return };
        let values = bucket.values();
        if values.slots != [0; SLOTS] {
            return;
        }
        // Not found if an earlier touch of the same bucket has unlinked it.
        let before = store.chain(home).find(|(_, before)| before.values().link == number);
        if let Some((_, before)) = before {
            before.set_link(values.link);
            self.retired.push(number);
        }
    }

    /// Overflow buckets in chains, or waiting to be free.
    pub(super) fn overflow_in_use(&self, size: Size) -> u32 {
        let free = u32::try_from(self.free.len()).unwrap_or(u32::MAX);
        (self.fresh - size.homes).saturating_sub(free)
    }
}
