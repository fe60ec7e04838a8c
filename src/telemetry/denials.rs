//! What was denied to each VM: how often, in which direction, for which reason, to which port.
//!
//! Few VMs are denied anything, and those that are mostly few kinds of it. So kinds lie in one array, each VM's from its own
//! place on and where that is full in its neighbours'; what nobody needs touches no memory. A kind that finds no room is
//! counted without its port, and if there is none for that either, under the VM's tally alone.

use super::counters::add;
use crate::model::{Direction, VmIndex};
use crate::policy::DropReason;
use crate::sync::{AtomicU64, Ordering, zeroed};

/// One kind of denied frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// From the VM, or to it.
    pub direction: Direction,
    /// It was forwarded, because somebody only watches.
    pub watched: bool,
    /// Why.
    pub reason: DropReason,
    /// The closed port, where it can be read and is what the denial is about.
    pub port: Option<u16>,
}

/// Frames of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenialCounts(pub Vec<(Denial, u64)>);

impl DenialCounts {
    /// Adds frames of a kind.
    pub fn add(&mut self, kind: Denial, frames: u64) {
        match self.0.iter_mut().find(|(counted, _)| *counted == kind) {
            Some((_, sum)) => *sum += frames,
            None => self.0.push((kind, frames)),
        }
    }

    /// What was counted since `base` was read, most frames first.
    #[must_use]
    pub fn since(mut self, base: &Self) -> Self {
        for (kind, frames) in &mut self.0 {
            let before = base.0.iter().find_map(|(counted, before)| (counted == kind).then_some(*before));
            *frames = frames.saturating_sub(before.unwrap_or(0));
        }
        self.0.retain(|(_, frames)| *frames > 0);
        self.0.sort_by_key(|(_, frames)| std::cmp::Reverse(*frames));
        self
    }
}

/// Kinds for which there is a place of one's own.
const OWN: usize = 4;
/// How many places a VM's kinds may take from its first on. The unknown one has as many to itself, in front of all.
const REACH: usize = 48;
/// The same where its port is told apart: the rest is kept for the others, which are few.
const REACH_WITH_PORT: usize = 24;

/// One worker's.
#[derive(Debug)]
pub struct Denials {
    /// A kind, and its frames. Nothing is ever taken out, so whoever looks for a kind has it or comes to the place for it.
    slots: Box<[AtomicU64]>,
}

impl Denials {
    /// For a table of `vms` VMs; nothing if the memory is not to be had.
    #[must_use]
    pub fn create(vms: usize) -> Option<Self> {
        let places = vms.checked_mul(OWN)?.checked_add(2 * REACH)?;
        Some(Self { slots: zeroed(places.checked_mul(2)?)? })
    }

    /// Bytes of address space that a VM takes.
    pub const BYTES_PER_VM: usize = OWN * 2 * size_of::<AtomicU64>();

    /// Counts a frame of a VM, or of the unknown one. For the worker that owns them.
    #[inline(always)]
    pub fn add(&self, vm: Option<VmIndex>, kind: Denial) {
        let wanted = pack(vm, kind);
        // Where the mail ports fall apart, and what has no port is in front: the first look is nearly always the last.
        let first = usize::from(kind.port.unwrap_or(0) >> 3) % OWN;
        if let Some([kind, frames]) = self.places(vm).get(first)
            && kind.load(Ordering::Relaxed) == wanted
        {
            add(frames, 1);
        } else {
            self.add_within_reach(vm, kind, first);
        }
    }

    #[inline(never)]
    fn add_within_reach(&self, vm: Option<VmIndex>, kind: Denial, first: usize) {
        let reach = if kind.port.is_some() { REACH_WITH_PORT } else { REACH };
        let wanted = pack(vm, kind);
        for [kind, frames] in self.places(vm).iter().take(reach).skip(first) {
            match kind.load(Ordering::Relaxed) {
                0 => {
                    frames.store(1, Ordering::Relaxed);
                    kind.store(wanted, Ordering::Release);
                    return;
                }
                other if other == wanted => {
                    add(frames, 1);
                    return;
                }
                _ => {}
            }
        }
        if kind.port.is_some() {
            self.add_within_reach(vm, Denial { port: None, ..kind }, 0);
        }
    }

    /// Where kinds of a VM may lie.
    #[inline]
    fn places(&self, vm: Option<VmIndex>) -> &[[AtomicU64; 2]] {
        let first = vm.map_or(0, |vm| REACH + vm.0 as usize * OWN);
        let (places, _) = self.slots.get(first * 2..(first + REACH) * 2).unwrap_or_default().as_chunks();
        places
    }

    /// Adds what was counted of a VM, or of the unknown one.
    pub fn read(&self, vm: Option<VmIndex>, sum: &mut DenialCounts) {
        for [kind, frames] in self.places(vm) {
            let packed = kind.load(Ordering::Acquire);
            if packed != 0
                && packed >> NUMBER_SHIFT == number(vm)
                && let Some(kind) = unpack(packed)
            {
                sum.add(kind, frames.load(Ordering::Relaxed));
            }
        }
    }
}

/// 0 is the unknown one.
#[inline]
fn number(vm: Option<VmIndex>) -> u64 {
    vm.map_or(0, |vm| u64::from(vm.0) + 1)
}

const NUMBER_SHIFT: u32 = 25;
const INGRESS: u64 = 1 << 24;
const WATCHED: u64 = 1 << 23;
const REASON_SHIFT: u32 = 18;
/// Above the port, which may be 0 itself.
const HAS_PORT: u64 = 1 << 17;
/// So that no kind looks like a free place.
const TAKEN: u64 = 1 << 16;

#[inline]
fn pack(vm: Option<VmIndex>, Denial { direction, watched, reason, port }: Denial) -> u64 {
    const { assert!(DropReason::ALL.len() <= 1 << (WATCHED.trailing_zeros() - REASON_SHIFT), "a reason has its bits") };
    let flag = |is_set: bool, bit| if is_set { bit } else { 0 };
    number(vm) << NUMBER_SHIFT
        | flag(direction == Direction::Ingress, INGRESS)
        | flag(watched, WATCHED)
        | (reason as u64) << REASON_SHIFT
        | flag(port.is_some(), HAS_PORT)
        | TAKEN
        | u64::from(port.unwrap_or(0))
}

fn unpack(packed: u64) -> Option<Denial> {
    let reason = (packed & (WATCHED - 1)) >> REASON_SHIFT;
    Some(Denial {
        direction: if packed & INGRESS == 0 { Direction::Egress } else { Direction::Ingress },
        watched: packed & WATCHED != 0,
        reason: *DropReason::ALL.get(usize::try_from(reason).ok()?)?,
        port: u16::try_from(packed & 0xffff).ok().filter(|_| packed & HAS_PORT != 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: Denial =
        Denial { direction: Direction::Egress, watched: false, reason: DropReason::PortClosed, port: Some(25) };
    const VM: Option<VmIndex> = Some(VmIndex(2));

    fn read(denials: &Denials, vm: Option<VmIndex>) -> Vec<(Denial, u64)> {
        let mut sum = DenialCounts::default();
        denials.read(vm, &mut sum);
        sum.0
    }

    #[test]
    fn every_kind_is_what_it_was_when_it_is_read_again() {
        for vm in [None, Some(VmIndex(0)), Some(VmIndex(u32::MAX))] {
            for reason in DropReason::ALL {
                for (direction, watched) in Direction::ALL.into_iter().zip([true, false]) {
                    for port in [None, Some(0), Some(25), Some(u16::MAX)] {
                        let kind = Denial { direction, watched, reason, port };
                        let packed = pack(vm, kind);
                        assert_eq!((unpack(packed), packed >> NUMBER_SHIFT), (Some(kind), number(vm)));
                        assert_ne!(packed, 0);
                    }
                }
            }
        }
    }

    #[test]
    fn each_vm_has_its_own_and_the_unknown_one_too() {
        let denials = Denials::create(3).unwrap();
        let reply = Denial { direction: Direction::Ingress, reason: DropReason::ReplyClosed, ..MAIL };
        for (vm, kind) in [(VM, MAIL), (None, MAIL), (VM, reply), (VM, MAIL)] {
            denials.add(vm, kind);
        }
        let mut own = read(&denials, VM);
        own.sort_by_key(|(_, frames)| *frames);
        assert_eq!(own, [(reply, 1), (MAIL, 2)]);
        assert_eq!(read(&denials, None), [(MAIL, 1)]);
        assert_eq!(read(&denials, Some(VmIndex(1))), []);
        denials.add(Some(VmIndex(1 << 20)), MAIL); // Beyond the table: counted nowhere, and no panic.
        assert_eq!(read(&denials, Some(VmIndex(1 << 20))), []);
    }

    #[test]
    fn who_tries_every_port_is_counted_and_his_neighbours_are_too() {
        let denials = Denials::create(8).unwrap();
        for port in 0..=u16::MAX {
            denials.add(VM, Denial { port: Some(port), ..MAIL });
        }
        let own = read(&denials, VM);
        assert_eq!(own.iter().map(|(_, frames)| frames).sum::<u64>(), 1 << 16);
        assert!(own.contains(&(Denial { port: Some(0), ..MAIL }, 1)));
        assert!(own.iter().any(|(kind, frames)| kind.port.is_none() && *frames > 65_000));
        denials.add(Some(VmIndex(3)), MAIL);
        assert_eq!(read(&denials, Some(VmIndex(3))), [(MAIL, 1)], "behind its neighbour's");
    }

    #[test]
    fn what_is_new_stands_with_what_there_is_most_of_in_front() {
        let other = Denial { port: Some(465), ..MAIL };
        let now = DenialCounts(vec![(MAIL, 7), (other, 9), (Denial { port: None, ..MAIL }, 3)]);
        let base = DenialCounts(vec![(MAIL, 2), (Denial { port: None, ..MAIL }, 3)]);
        assert_eq!(now.since(&base).0, [(other, 9), (MAIL, 5)]);
    }
}
