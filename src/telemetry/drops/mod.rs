//! Dropped frames as people want to see them: the last ones, those of a VM, and who sends most of what nobody lists.
//!
//! Workers give samples away ([`feed`]) and never wait; [`Drops`] takes them, ten times a second and when somebody asks. How
//! often something happened is counted elsewhere and exactly; here is what it looked like.

pub mod busiest;
mod distinct;
pub mod feed;
pub mod of_vm;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lru::LruCache;

use self::busiest::Busiest;
use self::distinct::Distinct;
use self::feed::{Feed, Outlet, Sample};
use self::of_vm::{Kind, OfVm};
use crate::model::{Direction, LinkIndex, MacAddr, Moment, VmIndex};
use crate::policy::DropReason;

/// How often samples are taken. What is told of one sender in that time is limited.
pub const ROUND: Duration = Duration::from_millis(100);
/// How many of the last drops are kept in all.
pub const LATEST_MAX: usize = 1_000;
/// Of how many VMs the last drops are kept; of those that were denied something last.
const VMS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// All of them take no more than this.
const VMS_MIB_MAX: usize = 40;
const _: () = assert!(VMS_MAX.get() * of_vm::LATEST_MAX * size_of::<Seen>() <= VMS_MIB_MAX << 20);
/// How many MACs are remembered that spoke for addresses of others.
const SUSPECTS_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// How many unknown senders are told apart by MAC, and as many by address.
const STRANGERS_MAX: usize = 256;

/// A dropped frame, or one that was only watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Counted from 1 on.
    pub number: u64,
    /// When, to a tenth of a second: milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// What it was.
    pub sample: Sample,
}

impl Seen {
    /// When, to a second.
    #[must_use]
    pub fn at(&self) -> Moment {
        Moment::of_unix(self.at_ms / 1000)
    }
}

/// A MAC that speaks for addresses of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Where.
    pub link: LinkIndex,
    /// Whose.
    pub mac: MacAddr,
    /// For how many addresses, about.
    pub addresses: u32,
}

/// Everything that is kept of dropped frames.
#[derive(Debug)]
pub struct Drops {
    round: Arc<AtomicU64>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    outlets: Vec<Outlet>,
    count: u64,
    latest: VecDeque<Seen>,
    vms: LruCache<VmIndex, OfVm>,
    macs: Busiest<MacAddr>,
    addresses: Busiest<IpAddr>,
    /// Addresses that a MAC was denied to speak for.
    spoofed: LruCache<(LinkIndex, MacAddr), Distinct>,
}

impl Default for Drops {
    fn default() -> Self {
        Self::new(0).0
    }
}

impl Drops {
    /// With a feed for each worker.
    #[must_use]
    pub fn new(workers: usize) -> (Self, Vec<Feed>) {
        let round = Arc::new(AtomicU64::new(1));
        let (feeds, outlets) = (0..workers).map(|_| feed::channel(&round)).unzip();
        let kept = Kept {
            outlets,
            count: 0,
            latest: VecDeque::with_capacity(LATEST_MAX),
            vms: LruCache::new(VMS_MAX),
            macs: Busiest::new(STRANGERS_MAX),
            addresses: Busiest::new(STRANGERS_MAX),
            spoofed: LruCache::new(SUSPECTS_MAX),
        };
        (Self { round, kept: Mutex::new(kept) }, feeds)
    }

    /// Takes what workers have given, as of now. To be called once a [`ROUND`].
    pub fn next_round(&self) {
        drop(self.taken());
        self.round.fetch_add(1, Ordering::Relaxed);
    }

    fn taken(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take(now_ms());
        kept
    }

    /// The last drops that `wanted` wants, last first.
    #[must_use]
    pub fn latest(&self, limit: usize, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let kept = self.taken();
        kept.latest.iter().rev().filter(|seen| wanted(seen)).take(limit).copied().collect()
    }

    /// The last drops of a VM, last first; and when each kind of its denials was seen last, and towards whom.
    #[must_use]
    pub fn of_vm(&self, vm: VmIndex) -> (Vec<Seen>, Vec<Kind>) {
        let kept = self.taken();
        kept.vms.peek(&vm).map(|of_vm| (of_vm.latest().collect(), of_vm.kinds().to_vec())).unwrap_or_default()
    }

    /// Who sends most of what nobody lists and is denied, by MAC and by address.
    #[must_use]
    pub fn strangers(&self) -> (Vec<busiest::Sender<MacAddr>>, Vec<busiest::Sender<IpAddr>>) {
        let kept = self.taken();
        (kept.macs.ranked(), kept.addresses.ranked())
    }

    /// MACs that were denied to speak for addresses of others, most addresses first.
    #[must_use]
    pub fn suspects(&self) -> Vec<Suspect> {
        let kept = self.taken();
        let suspect = |(&(link, mac), addresses): (&(LinkIndex, MacAddr), &Distinct)| Suspect {
            link,
            mac,
            addresses: addresses.count(),
        };
        let mut suspects: Vec<Suspect> = kept.spoofed.iter().map(suspect).collect();
        suspects.sort_by_key(|suspect| (std::cmp::Reverse(suspect.addresses), suspect.mac));
        suspects
    }

    /// Frames of which no sample could be kept for want of room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.taken().outlets.iter().map(Outlet::lost).sum()
    }

    /// These VMs are gone, and no worker tells of them any more. To be called before others can have their numbers.
    pub fn forget(&self, numbers: &[VmIndex]) {
        if numbers.is_empty() {
            return;
        }
        let mut kept = self.taken();
        let gone: HashSet<&VmIndex> = numbers.iter().collect();
        for vm in &gone {
            kept.vms.pop(*vm);
        }
        kept.latest.retain(|seen| seen.sample.vm.is_none_or(|vm| !gone.contains(&vm)));
    }
}

impl Kept {
    fn take(&mut self, at_ms: u64) {
        let Self { outlets, count, latest, vms, macs, addresses, spoofed } = self;
        for sample in outlets.iter_mut().flat_map(Outlet::samples) {
            *count += 1;
            let seen = Seen { number: *count, at_ms, sample };
            if latest.len() == LATEST_MAX {
                latest.pop_front();
            }
            latest.push_back(seen);
            if let (DropReason::SpoofIp | DropReason::SpoofMac, Direction::Egress, Some(mac), Some(address)) =
                (sample.reason, sample.way.direction, sample.mac, sample.address)
            {
                spoofed.get_or_insert_mut((sample.way.link, mac), Distinct::default).add(address);
            }
            match sample.vm {
                Some(vm) => vms.get_or_insert_mut(vm, OfVm::default).add(seen),
                None if sample.judged && sample.way.direction == Direction::Egress => {
                    sample.mac.into_iter().for_each(|mac| macs.add(mac, seen));
                    sample.address.into_iter().for_each(|address| addresses.add(address, seen));
                }
                None => {}
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::drops::feed::tests::{SAMPLE, STRANGER};

    fn ports(seen: &[Seen]) -> Vec<u16> {
        seen.iter().filter_map(|seen| Some(seen.sample.ports?.1)).collect()
    }

    #[test]
    fn the_last_come_first_in_all_and_of_each_vm() {
        let (drops, mut feeds) = Drops::new(2);
        let (mail, other) = (SAMPLE, Sample { vm: Some(VmIndex(7)), ..SAMPLE });
        feeds[0].give(mail);
        drops.next_round();
        feeds[1].give(Sample { ports: Some((40_000, 465)), ..SAMPLE });
        assert_eq!(ports(&drops.latest(10, |_| true)), [465, 25]);
        assert_eq!(ports(&drops.latest(1, |_| true)), [465]);
        feeds[1].give(other);
        assert_eq!(drops.latest(10, |seen| seen.sample.vm == other.vm).len(), 1);
        let (seen, kinds) = drops.of_vm(SAMPLE.vm.unwrap());
        assert_eq!((ports(&seen), kinds.len()), (vec![465, 25], 2));
        assert!(seen[0].at() >= Moment::of_unix(1_700_000_000), "{}", seen[0].at());
        assert_eq!(drops.lost(), 0);
    }

    #[test]
    fn a_number_that_is_given_out_again_has_no_past() {
        let (drops, mut feeds) = Drops::new(1);
        let other = Sample { vm: Some(VmIndex(7)), ..SAMPLE };
        [SAMPLE, other].into_iter().for_each(|sample| feeds[0].give(sample));
        drops.forget(&[SAMPLE.vm.unwrap()]);
        assert_eq!(drops.of_vm(SAMPLE.vm.unwrap()), (Vec::new(), Vec::new()));
        assert_eq!(drops.latest(10, |_| true).len(), 1, "the other VM's");
        assert_eq!(drops.of_vm(VmIndex(7)).0.len(), 1);
    }

    #[test]
    fn strangers_are_ranked_by_what_they_are_denied_from_inside() {
        let (drops, mut feeds) = Drops::new(1);
        let busy = MacAddr([2, 0, 0, 0, 0, 9]);
        let ingress = crate::model::Way { direction: Direction::Ingress, ..SAMPLE.way };
        for sample in [
            Sample { frames: 3, ..STRANGER },
            Sample { mac: Some(busy), frames: 40, ..STRANGER },
            Sample { mac: Some(busy), frames: 2, address: None, ..STRANGER },
            Sample { frames: 1000, way: ingress, ..STRANGER },
            Sample { frames: 1000, judged: false, ..STRANGER },
            SAMPLE,
        ] {
            feeds[0].give(sample);
        }
        let (macs, addresses) = drops.strangers();
        let ranked: Vec<_> = macs.iter().map(|sender| (sender.who, sender.frames, sender.over)).collect();
        assert_eq!(ranked, [(busy, 42, 0), (STRANGER.mac.unwrap(), 3, 0)]);
        assert_eq!((addresses.len(), addresses[0].frames), (1, 43));
    }

    #[test]
    fn who_speaks_for_many_addresses_is_suspected_to_route() {
        let (drops, mut feeds) = Drops::new(1);
        let router = MacAddr([2, 0, 0, 0, 0, 7]);
        let spoof = Sample { reason: DropReason::SpoofMac, ..SAMPLE };
        let ingress = crate::model::Way { direction: Direction::Ingress, ..SAMPLE.way };
        for address in 0..20 {
            let address = Some([10, 0, 1, address].into());
            feeds[0].give(Sample { mac: Some(router), address, ..spoof });
            feeds[0].give(Sample { address, ..SAMPLE });
            feeds[0].give(Sample { way: ingress, address, ..spoof });
        }
        feeds[0].give(spoof);
        let suspects = drops.suspects();
        let brief: Vec<_> = suspects.iter().map(|suspect| (suspect.mac, suspect.addresses > 15)).collect();
        assert_eq!(brief, [(router, true), (SAMPLE.mac.unwrap(), false)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (drops, mut feeds) = Drops::new(1);
        for number in 0..20_000 {
            feeds[0].give(Sample { vm: Some(VmIndex(number)), ..SAMPLE });
            if number % 100 == 0 {
                drops.next_round();
            }
        }
        assert_eq!(drops.latest(usize::MAX, |_| true).len(), LATEST_MAX);
        assert_eq!(drops.of_vm(VmIndex(0)).0.len(), 0, "the first is forgotten");
        assert_eq!(drops.of_vm(VmIndex(19_999)).0.len(), 1);
        assert_eq!(drops.lost(), 0);
    }
}
