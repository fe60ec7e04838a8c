//! The protocol under every interleaving (up to a number of preemptions) and every stale value that the memory model
//! allows:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --lib --target-dir target/loom loom_
//! ```
//!
//! Each of these changes to the code makes it fail, as it should: to settle before the grace period is over; to free
//! a removed slot at once; to hand an emptied overflow bucket out at once; to publish Relaxed; to leave out the fence
//! of a worker that comes online, or the writer's; to erase at once what compaction copies; to set the filter's bits after
//! the publication, or to clear them before the batch has settled. One does not: to store `seen` Relaxed, since loom has no loads that return what is
//! stored later.

use std::net::{IpAddr, Ipv4Addr};

use loom::thread;

use super::*;

const MAC: Key = Key::Mac(Scope(0), MacAddr([2, 0, 0, 0, 0, 1]));
const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn ip() -> Key {
    Key::address(Scope(0), IpAddr::V4(IP))
}

fn state(class: u8) -> VmState {
    // Class and address lie in different words: they must not tear.
    let ipv4 = Ipv4Addr::from_bits(class.into());
    VmState {
        class: ClassId(class),
        mode: Mode::Enforce,
        lists_macs: true,
        lists_ipv4: true,
        lists_ipv6: false,
        has_exceptions: false,
        ipv4,
    }
}

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// A table for two VMs whose MAC, address and state are those of VM 0 in generation 1, settled.
fn table(workers: usize) -> (Writer, Vec<Reader>) {
    let (mut writer, readers) =
        Table::create_with(Capacity { vms: 2, keys: 5 }, workers, &Secret::from_seed(1)).unwrap();
    change(&mut writer, |batch| {
        batch.insert(MAC, VmIndex(0)).unwrap();
        batch.insert(ip(), VmIndex(0)).unwrap();
        batch.set_state(VmIndex(0), state(1)).unwrap();
    });
    (writer, readers)
}

fn change(writer: &mut Writer, edit: impl FnOnce(&mut Batch<'_>)) {
    let mut batch = writer.begin().unwrap();
    edit(&mut batch);
    batch.publish();
    while !writer.try_settle() {
        thread::yield_now();
    }
}

/// Gives both keys to a VM, whose class becomes the generation that says so.
fn give(writer: &mut Writer, vm: u32) {
    let class = u8::try_from(writer.generation().0).unwrap() + 1;
    change(writer, |batch| {
        batch.remove(MAC).unwrap();
        batch.remove(ip()).unwrap();
        batch.insert(ip(), VmIndex(vm)).unwrap();
        batch.insert(MAC, VmIndex(vm)).unwrap();
        batch.set_state(VmIndex(vm), state(class)).unwrap();
    });
}

/// In odd generations VM 0 owns both keys, in even ones VM 1; the owner's class is the generation.
fn check(snapshot: VmSnapshot<'_>) {
    let generation = snapshot.generation().0;
    let owner = Some(VmIndex(u32::from(generation % 2 == 0)));
    assert_eq!(snapshot.vm_by_mac(Scope(0), MacAddr([2, 0, 0, 0, 0, 1])), owner, "generation {generation}");
    assert_eq!(snapshot.vm_by_ip(Scope(0), IP.into()), owner, "generation {generation}");
    assert_eq!(u64::from(snapshot.state(owner.unwrap()).class.0), generation);
}

#[test]
fn loom_a_batch_is_seen_whole_while_slots_are_reused() {
    explore(2, || {
        let (mut writer, mut readers) = table(1);
        let mut reader = readers.pop().unwrap();
        reader.go_online();
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                check(reader.snapshot());
            }
        });
        give(&mut writer, 1);
        give(&mut writer, 0); // In the slots that the change before freed.
        worker.join().unwrap();
    });
}

#[test]
fn loom_a_worker_may_sleep_and_wake_at_any_time() {
    explore(2, || {
        let (mut writer, mut readers) = table(1);
        let mut reader = readers.pop().unwrap();
        let worker = thread::spawn(move || {
            check(reader.snapshot());
            reader.go_offline();
            reader.go_online();
            check(reader.snapshot());
        });
        give(&mut writer, 1);
        give(&mut writer, 0);
        worker.join().unwrap();
    });
}

#[test]
fn loom_every_worker_is_waited_for() {
    explore(1, || {
        let (mut writer, readers) = table(2);
        let worker = |mut reader: Reader| thread::spawn(move || check(reader.snapshot()));
        let workers: Vec<_> = readers.into_iter().map(worker).collect();
        give(&mut writer, 1);
        give(&mut writer, 0);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn loom_in_force_means_that_no_older_state_is_read_afterwards() {
    explore(2, || {
        let (mut writer, mut readers) = table(1);
        let mut reader = readers.pop().unwrap();
        reader.go_online();
        let answered = std::sync::Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let asked = answered.clone();
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                // Relaxed: the promise must not need the client's own synchronisation.
                let before = asked.load(loom::sync::atomic::Ordering::Relaxed);
                let snapshot = reader.snapshot();
                assert!(!before || snapshot.generation() >= Generation(2));
                check(snapshot);
            }
        });
        give(&mut writer, 1);
        answered.store(true, loom::sync::atomic::Ordering::Relaxed);
        worker.join().unwrap();
    });
}

#[test]
fn loom_overflow_buckets_are_reused_without_losing_an_entry() {
    // One home bucket of five slots, and two overflow buckets in the pool.
    let key = |n: u8| Key::Mac(Scope(0), MacAddr([2, 0, 0, 0, 1, n]));
    explore(2, move || {
        let (mut writer, mut readers) =
            Table::create_with(Capacity { vms: 2, keys: 5 }, 1, &Secret::from_seed(1)).unwrap();
        change(&mut writer, |batch| (0..5).for_each(|n| batch.insert(key(n), VmIndex(0)).unwrap()));
        let mut reader = readers.pop().unwrap();
        reader.go_online();
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                let snapshot = reader.snapshot();
                let owner = VmIndex(u32::from(snapshot.generation().0 >= 2));
                assert_eq!(snapshot.vm_by_mac(Scope(0), MacAddr([2, 0, 0, 0, 1, 4])), Some(owner));
            }
        });
        // The fifth key moves into an overflow bucket, after a batch that took one and was rolled back.
        let mut batch = writer.begin().unwrap();
        batch.remove(key(0));
        batch.insert(key(0), VmIndex(1)).unwrap();
        drop(batch);
        change(&mut writer, |batch| {
            batch.remove(key(4));
            batch.insert(key(4), VmIndex(1)).unwrap();
        });
        // The next batch, whatever it is, moves it back into the home bucket.
        change(&mut writer, |_| ());
        worker.join().unwrap();
    });
}

#[test]
fn loom_no_key_of_a_readers_generation_is_denied_by_the_filter() {
    explore(2, || {
        let capacity = Capacity { vms: 1, keys: filter::KEYS_MIN };
        let (mut writer, mut readers) = Table::create_with(capacity, 1, &Secret::from_seed(1)).unwrap();
        let prefix = Key::Prefix(Scope(0), "10.0.0.0/24".parse().unwrap());
        change(&mut writer, |batch| batch.insert(prefix, VmIndex(0)).unwrap());
        let mut reader = readers.pop().unwrap();
        reader.go_online();
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                let snapshot = reader.snapshot();
                // The key is there in odd generations, and nothing else keeps its bits.
                let sought = snapshot.seek_ip(Scope(0), IpWords::ipv4(0x0a00_0007));
                assert!(snapshot.generation().0 % 2 == 0 || !sought.is_none());
            }
        });
        change(&mut writer, |batch| assert_eq!(batch.remove(prefix), Some(VmIndex(0))));
        assert!(writer.snapshot().seek_ip(Scope(0), IpWords::ipv4(0x0a00_0007)).is_none(), "its bits are cleared");
        change(&mut writer, |batch| batch.insert(prefix, VmIndex(0)).unwrap());
        worker.join().unwrap();
    });
}

#[test]
fn loom_an_emptied_bucket_is_not_handed_out_under_a_reader() {
    explore(2, move || {
        let (mut writer, mut readers) =
            Table::create_with(Capacity { vms: 1, keys: 17 }, 1, &Secret::from_seed(1)).unwrap();
        let home = |mac| hash::scale(writer.table.mac(mac_word(Scope(0), mac)).hash, writer.table.narrow.size().homes);
        let of = |bucket| (0..=255).map(|n| MacAddr([2, 0, 0, 0, 0, n])).filter(move |&mac| home(mac) == bucket);
        // Home bucket 0 is full and continued by two more; home bucket 1 is full.
        let (first, second): (Vec<_>, Vec<_>) = (of(0).take(11).collect(), of(1).take(6).collect());
        let key = |mac| Key::Mac(Scope(0), mac);
        let vm = VmIndex(0);
        change(&mut writer, |batch| {
            first.iter().chain(&second[..5]).for_each(|&mac| batch.insert(key(mac), vm).unwrap());
        });
        assert_eq!(writer.used().narrow_overflow, 2);

        let mut reader = readers.pop().unwrap();
        reader.go_online();
        let last = first[10];
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(reader.snapshot().vm_by_mac(Scope(0), last), Some(vm), "the key that stays");
            }
        });
        // The bucket in the middle empties; then the other chain needs one.
        change(&mut writer, |batch| first[5..10].iter().for_each(|&mac| assert_eq!(batch.remove(key(mac)), Some(vm))));
        change(&mut writer, |batch| batch.insert(key(second[5]), vm).unwrap());
        worker.join().unwrap();
    });
}
