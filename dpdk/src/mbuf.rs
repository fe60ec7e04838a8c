//! Frames and the memory they live in: [`Mempool`] and [`Burst`].
//!
//! A burst owns its frames and frees them when dropped. Reading a frame is inlined Rust over the offsets the C shim
//! computed; only freeing, receiving and sending cross into C, once per burst.
//!
//! **When is a pool freed?** Three schemes were considered. Counting our handles is unsound: a frame of pool A, sent by
//! port P into a ring, comes back through port Q which has never heard of A. Freeing at the last handle if the pool
//! is full again is unsound too: another thread may be inside the call that returns its last mbuf. So a pool lives
//! as long as EAL: the handle is a pointer, and `rte_eal_cleanup` gives the memory back. The appliance makes one pool
//! at start and keeps it, so nothing is lost by this.
//!
//! Refuses to know: what the bytes mean.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::ffi::CString;

use crate::error::Errno;
use crate::{Eal, Error, sys};

/// Frames a [`Burst`] can hold at most: one bit each in [`Burst::keep`]'s mask, and what a mempool cache likes best.
pub const BURST_FRAMES_MAX: usize = 64;

/// A handle to a pool of packet buffers. Clones are handles to the same pool, which lives until EAL ends.
#[derive(Clone, Debug)]
pub struct Mempool {
    raw: NonNull<sys::rte_mempool>,
    mbufs: u32,
    _eal: Eal,
}

// SAFETY: the pool is never freed while `_eal` is held, and DPDK's mempools may be used from every thread: lcores
// have a cache each, all other threads go to the (multi-producer, multi-consumer) ring.
unsafe impl Send for Mempool {}
// SAFETY: as above; no method changes the handle.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool of `mbufs` buffers, each with room for `data_room` bytes of frame (headroom comes on top).
    ///
    /// `cache` buffers are kept near each lcore: at most 512, and at most two thirds of the pool. The best sizes are
    /// a power of two less one.
    pub fn new(eal: &Eal, name: &str, mbufs: u32, cache: u32, data_room: u16) -> Result<Self, Error> {
        Self::create(eal, name, (mbufs, cache, data_room), sys::SHIM_LAYOUT_DMA)
    }

    /// As [`new`](Mempool::new), for ports whose drivers copy every frame with the CPU (`net_pcap`, `net_null`,
    /// `net_ring`, `net_af_packet`, `net_tap`): buffers lie one behind the other. No device could reach a buffer that
    /// straddles two pages, so a pool for devices spends a page on each where there are no huge pages, which is nearly
    /// twice the memory; and buffers a page apart share a few sets of the CPU's first-level cache. On huge pages both are
    /// the same.
    pub fn packed(eal: &Eal, name: &str, mbufs: u32, cache: u32, data_room: u16) -> Result<Self, Error> {
        Self::create(eal, name, (mbufs, cache, data_room), sys::SHIM_LAYOUT_PACKED)
    }

    fn create(
        eal: &Eal,
        name: &str,
        (mbufs, cache, data_room): (u32, u32, u16),
        layout: sys::shim_layout,
    ) -> Result<Self, Error> {
        let refuse = |why: String| Error::PoolShape { name: name.to_owned(), why };
        let raw_name = CString::new(name).map_err(|_| refuse("its name holds a NUL byte".into()))?;
        let headroom =
            u16::try_from(sys::SHIM_MBUF_HEADROOM).map_err(|_| refuse("no headroom is that large".into()))?;
        let room = data_room.checked_add(headroom).ok_or_else(|| {
            refuse(format!("{data_room} bytes a frame and {headroom} of headroom are more than {}", u16::MAX))
        })?;
        let cache_max = (mbufs / 3 * 2).min(sys::SHIM_MEMPOOL_CACHE_MAX);
        if mbufs == 0 || data_room == 0 {
            return Err(refuse("it would hold nothing".into()));
        }
        if cache > cache_max {
            return Err(refuse(format!("a cache of {cache} is more than the {cache_max} that {mbufs} mbufs allow")));
        }
        let _claims = eal.claims();
        // SAFETY: EAL runs while `eal` exists; the name is NUL-terminated and copied by DPDK.
        let raw = unsafe { sys::shim_pool_create(raw_name.as_ptr(), mbufs, cache, room, layout) };
        NonNull::new(raw).map(|raw| Self { raw, mbufs, _eal: eal.clone() }).ok_or_else(|| {
            let cause = Errno::last();
            // SAFETY: plain arithmetic on the two numbers and EAL's page size; EAL runs while `eal` exists.
            let bytes = unsafe { sys::shim_pool_bytes(mbufs, room, layout) };
            Error::Pool { name: name.to_owned(), mbufs, bytes, cause }
        })
    }

    /// Buffers in all.
    pub fn capacity(&self) -> u32 {
        self.mbufs
    }

    /// Buffers nobody uses, those in lcores' caches included. Walks every cache: not for the hot path.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool exists as long as `self._eal`. The counts of other lcores' caches are read racily, which
        // yields a number that may be old but nothing worse.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Buffers in a burst, in a device's ring or wherever else.
    pub fn in_use(&self) -> u32 {
        // SAFETY: as in `available`.
        unsafe { sys::rte_mempool_in_use_count(self.raw.as_ptr()) }
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }
}

/// Up to [`BURST_FRAMES_MAX`] frames, in order, owned.
///
/// Make one per worker and reuse it. Not `Clone`, since each frame is freed exactly once.
///
/// Invariant: `slots[..len]` are valid mbuf chains that nobody else has; `len <= limit <= BURST_FRAMES_MAX`.
#[derive(Debug)]
pub struct Burst {
    len: usize,
    limit: usize,
    slots: [*mut sys::rte_mbuf; BURST_FRAMES_MAX],
    _eal: Eal, // frames go back to a pool, and pools live as long as EAL
}

// SAFETY: the burst is the sole owner of its frames, and mbufs may be freed on any thread (see `Mempool`).
unsafe impl Send for Burst {}
// SAFETY: through `&Burst` frames are only read, and nobody else holds them.
unsafe impl Sync for Burst {}

impl Burst {
    /// An empty burst for [`BURST_FRAMES_MAX`] frames.
    pub fn new(eal: &Eal) -> Self {
        Self::with_limit(eal, BURST_FRAMES_MAX)
    }

    /// An empty burst for `frames` frames at most (from 1 to [`BURST_FRAMES_MAX`]; other numbers are clamped).
    pub fn with_limit(eal: &Eal, frames: usize) -> Self {
        let limit = frames.clamp(1, BURST_FRAMES_MAX);
        Self { len: 0, limit, slots: [core::ptr::null_mut(); BURST_FRAMES_MAX], _eal: eal.clone() }
    }

    /// Frames in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no frame.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of frame `index` that lie in its first buffer: all of them, unless the frame is chained
    /// (then [`Burst::length`] is larger). Empty when there is no such frame: a mistake in an index must not be able
    /// to end the process.
    #[inline]
    pub fn head(&self, index: usize) -> &[u8] {
        match self.mbuf(index) {
            Some(mbuf) => mbuf.bytes(),
            None => &[],
        }
    }

    /// The [`head`](Burst::head) of every frame, in order.
    #[inline]
    pub fn heads(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        // SAFETY: slots[..len] are valid mbufs (invariant of `Burst`), ours for as long as `self` is borrowed.
        self.slots.get(..self.len).unwrap_or_default().iter().map(|&raw| unsafe { Mbuf::new(raw) }.bytes())
    }

    /// The whole length of frame `index` over all its buffers; 0 when there is no such frame.
    #[inline]
    pub fn length(&self, index: usize) -> usize {
        self.mbuf(index).map_or(0, Mbuf::frame_length)
    }

    /// Copies frame `index` from its start, over all its buffers, until `into` is full or the frame ends; answers how
    /// many bytes were copied.
    pub fn gather(&self, index: usize, into: &mut [u8]) -> usize {
        let mut rest = into;
        let mut copied = 0;
        let mut at = self.mbuf(index);
        while let Some(mbuf) = at {
            let bytes = mbuf.bytes();
            let part = bytes.len().min(rest.len());
            let (target, beyond) = rest.split_at_mut(part);
            target.copy_from_slice(bytes.get(..part).unwrap_or_default());
            copied += part;
            rest = beyond;
            at = if rest.is_empty() { None } else { mbuf.next() };
        }
        copied
    }

    /// Keeps the frames whose bit in `mask` is 1, in order, and frees the others. Bits beyond the burst mean nothing.
    #[inline]
    pub fn keep(&mut self, mask: u64) {
        let unwanted = !mask & low_bits(self.len);
        if unwanted != 0 {
            self.sift(unwanted);
        }
    }

    /// Moves the frames whose bit in `mask` is 1 behind those of `target`, in order, as far as it has room; answers the mask
    /// of those. The others keep their order.
    pub fn move_to(&mut self, mask: u64, target: &mut Self) -> u64 {
        let (mut stay, mut moved) = (0, 0);
        for at in 0..self.len {
            let Some(&frame) = self.slots.get(at) else { break };
            let moves = mask >> at & 1 == 1 && target.len < target.limit;
            let (slots, count) =
                if moves { (&mut target.slots, &mut target.len) } else { (&mut self.slots, &mut stay) };
            if let Some(slot) = slots.get_mut(*count) {
                *slot = frame;
                *count += 1;
            }
            moved |= u64::from(moves) << at;
        }
        self.len = stay;
        moved
    }

    /// The bytes of frame `index`, to be written anew, after giving it `length` of them: those it had, then zeros. `None`,
    /// and nothing changed, when there is no such frame, or it is chained, shared with somebody else, or has no room.
    pub fn rewrite(&mut self, index: usize, length: usize) -> Option<&mut [u8]> {
        let &raw = self.slots.get(..self.len)?.get(index)?;
        let length = u16::try_from(length).ok()?;
        // SAFETY: the mbuf is valid and ours (invariant of `Burst`); `&mut self` keeps every reader away meanwhile.
        let bytes = unsafe { sys::shim_frame_resize(raw, length) };
        // SAFETY: the shim answers null, or where `length` bytes of the buffer begin which are this frame's alone; they stay
        // so while `self` is borrowed. They are written: those the frame had by whoever made it, the others by the shim.
        (!bytes.is_null()).then(|| unsafe { core::slice::from_raw_parts_mut(bytes, usize::from(length)) })
    }

    /// Frees all frames.
    #[inline]
    pub fn clear(&mut self) {
        self.free_from(0);
    }

    /// Appends a copy of `bytes` as a frame from `pool`, chained where one buffer is too small. False, and nothing
    /// changed, when the burst is full or the pool has too few buffers.
    pub fn push_copy(&mut self, pool: &Mempool, bytes: &[u8]) -> bool {
        let Ok(length) = u32::try_from(bytes.len()) else { return false };
        if self.len >= self.limit {
            return false;
        }
        // SAFETY: the pool exists as long as the handle; `bytes` is `length` readable bytes.
        let mbuf = unsafe { sys::shim_frame_copy(pool.as_ptr(), bytes.as_ptr(), length) };
        match self.slots.get_mut(self.len) {
            Some(slot) if !mbuf.is_null() => {
                *slot = mbuf;
                self.len += 1;
                true
            }
            _ => false, // the slot exists (len < limit), so there was no mbuf to lose
        }
    }

    /// Lets `receive` write frames into the free slots: it gets a pointer to the first of them and how many there
    /// are, and answers how many it filled.
    ///
    /// # Safety
    /// `receive` must write only to those slots, and what it fills must be valid mbuf chains given to us for good.
    #[inline]
    pub(crate) unsafe fn fill(&mut self, receive: impl FnOnce(*mut *mut sys::rte_mbuf, u16) -> u16) -> usize {
        let room = self.limit - self.len;
        #[allow(clippy::cast_possible_truncation, reason = "room is at most BURST_FRAMES_MAX")]
        // SAFETY: len <= BURST_FRAMES_MAX, so the pointer is within the array or one past its end.
        let filled = usize::from(receive(unsafe { self.slots.as_mut_ptr().add(self.len) }, room as u16));
        debug_assert!(filled <= room);
        self.len += filled.min(room);
        filled
    }

    /// Offers all frames to `send`, which answers how many of the first it took. The others stay, in order.
    ///
    /// # Safety
    /// `send` must take over exactly the frames it says it took, and leave the others as they were.
    #[inline]
    pub(crate) unsafe fn drain(&mut self, send: impl FnOnce(*mut *mut sys::rte_mbuf, u16) -> u16) -> usize {
        let offered = self.len;
        #[allow(clippy::cast_possible_truncation, reason = "len is at most BURST_FRAMES_MAX")]
        let taken = usize::from(send(self.slots.as_mut_ptr(), offered as u16)).min(offered);
        self.len = offered - taken;
        if self.len != 0 {
            // SAFETY: slots[taken..offered] lie within the array (taken <= offered <= BURST_FRAMES_MAX); the frames before
            // them are the queue's now, so overwriting those places loses nothing.
            unsafe { core::ptr::copy(self.slots.as_ptr().add(taken), self.slots.as_mut_ptr(), self.len) };
        }
        taken
    }

    /// Takes out and frees the frames whose bit in `unwanted` is 1: one move for each run of frames between two of them,
    /// since nearly always there are few.
    fn sift(&mut self, unwanted: u64) {
        let mut dropped = [MaybeUninit::<*mut sys::rte_mbuf>::uninit(); BURST_FRAMES_MAX];
        let (mut count, mut kept) = (0, unwanted.trailing_zeros() as usize);
        let mut left = unwanted;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let run = (left.trailing_zeros() as usize).min(self.len) - at - 1;
            // SAFETY: at < len <= 64 and at + 1 + run <= len, since bits of `unwanted` are below len; kept <= at; and
            // count < 64, as it is the number of bits seen before this one.
            unsafe {
                let slots = self.slots.as_mut_ptr();
                dropped.get_unchecked_mut(count).write(*slots.add(at));
                core::ptr::copy(slots.add(at + 1), slots.add(kept), run);
            }
            (count, kept) = (count + 1, kept + run);
        }
        self.len = kept;
        // SAFETY: dropped[..count] are written; they were ours (invariant of `Burst`) and are no longer in slots[..len],
        // so each is freed once; their pool exists as long as `_eal`.
        #[allow(clippy::cast_possible_truncation, reason = "count is at most BURST_FRAMES_MAX")]
        unsafe {
            sys::rte_pktmbuf_free_bulk(dropped.as_mut_ptr().cast(), count as u32);
        }
    }

    /// Frees the frames from `first` on.
    #[inline]
    fn free_from(&mut self, first: usize) {
        let Some(count @ 1..) = self.len.checked_sub(first) else { return };
        self.len = first;
        // SAFETY: slots[first..first + count] were ours (invariant of `Burst`) and are beyond `len` from now on, so each
        // is freed once; their pool exists as long as `_eal`.
        #[allow(clippy::cast_possible_truncation, reason = "count is at most BURST_FRAMES_MAX")]
        unsafe {
            sys::rte_pktmbuf_free_bulk(self.slots.as_mut_ptr().add(first), count as u32);
        }
    }

    /// Lets a frame look as if its device had taken tags off: `flags` say which, the rest what they held.
    #[cfg(test)]
    pub(crate) fn pretend_stripped(&mut self, index: usize, flags: sys::shim_stripped, inner: u16, outer: u16) {
        let Some(&frame) = self.slots.get(..self.len).and_then(|frames| frames.get(index)) else { return };
        // SAFETY: slots[..len] are valid mbufs, ours alone (invariant of `Burst`); `uint64_t ol_flags`, `uint16_t vlan_tci`
        // and `uint16_t vlan_tci_outer` lie at the offsets that C computed.
        unsafe {
            let field = |offset: sys::shim_mbuf| frame.cast::<u8>().add(offset as usize);
            *field(sys::SHIM_MBUF_OL_FLAGS).cast::<u64>() |= u64::from(flags);
            field(sys::SHIM_MBUF_VLAN_TCI).cast::<u16>().write(inner);
            field(sys::SHIM_MBUF_VLAN_TCI_OUTER).cast::<u16>().write(outer);
        }
    }

    #[inline]
    fn mbuf(&self, index: usize) -> Option<Mbuf<'_>> {
        // SAFETY: slots[..len] are valid mbufs (invariant of `Burst`), ours for as long as `self` is borrowed.
        self.slots.get(..self.len)?.get(index).map(|&raw| unsafe { Mbuf::new(raw) })
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The lowest `count` bits.
#[inline]
fn low_bits(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// One buffer of a frame in a borrowed burst.
#[derive(Clone, Copy)]
struct Mbuf<'burst> {
    raw: *const u8,
    _burst: core::marker::PhantomData<&'burst Burst>,
}

impl<'burst> Mbuf<'burst> {
    /// # Safety
    /// `raw` is a valid mbuf that stays so, unchanged, for `'burst`.
    #[inline]
    unsafe fn new(raw: *const sys::rte_mbuf) -> Self {
        Self { raw: raw.cast(), _burst: core::marker::PhantomData }
    }

    /// Reads the field of type `T` at `offset`.
    ///
    /// # Safety
    /// `offset` is one of the shim's `SHIM_MBUF_...` and `T` that field's type.
    #[inline]
    unsafe fn field<T: Copy>(self, offset: sys::shim_mbuf) -> T {
        // SAFETY: the mbuf is valid (`new`), and offset and type are the field's (our caller), so this is aligned,
        // initialised and inside the mbuf.
        unsafe { self.raw.add(offset as usize).cast::<T>().read() }
    }

    /// The bytes in this buffer.
    #[inline]
    fn bytes(self) -> &'burst [u8] {
        // SAFETY: `void *buf_addr`, `uint16_t data_off`, `uint16_t data_len`, at the offsets C computed. The driver, or
        // the shim's copy, has set them so that the bytes lie inside the buffer, written, and nobody else has them.
        unsafe {
            let buffer: *const u8 = self.field(sys::SHIM_MBUF_BUF_ADDR);
            let offset: u16 = self.field(sys::SHIM_MBUF_DATA_OFF);
            let length: u16 = self.field(sys::SHIM_MBUF_DATA_LEN);
            core::slice::from_raw_parts(buffer.add(usize::from(offset)), usize::from(length))
        }
    }

    /// The whole frame's length; meaningful in its first buffer only.
    #[inline]
    fn frame_length(self) -> usize {
        // SAFETY: `uint32_t pkt_len`, at the offset C computed.
        let length: u32 = unsafe { self.field(sys::SHIM_MBUF_PKT_LEN) };
        length as usize
    }

    /// The frame's next buffer.
    #[inline]
    fn next(self) -> Option<Self> {
        // SAFETY: `struct rte_mbuf *next`, at the offset C computed.
        let next: *const sys::rte_mbuf = unsafe { self.field(sys::SHIM_MBUF_NEXT) };
        // SAFETY: a chain's buffers belong to the same frame, so they are ours for as long as its first.
        (!next.is_null()).then(|| unsafe { Self::new(next) })
    }
}
