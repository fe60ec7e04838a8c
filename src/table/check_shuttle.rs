//! Long random histories under random schedules:
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test --release --no-default-features --lib --target-dir target/shuttle shuttle_
//! ```

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::*;

const SCHEDULES: usize = 2_000;
const KEYS: u8 = 12;

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn state(class: u64) -> VmState {
    let class = (class & 0xff) as u8;
    // Class and address lie in different words: they must not tear.
    let ipv4 = Ipv4Addr::from_bits(class.into());
    VmState {
        class: ClassId(class),
        mode: Mode::Enforce,
        lists_macs: true,
        lists_ipv4: false,
        lists_ipv6: false,
        has_exceptions: false,
        ipv4,
    }
}

/// Every MAC belongs to VM (generation + n) mod 3, or is gone where that is 2; VM 0's class is the generation.
fn owner(generation: u64, n: u8) -> Option<VmIndex> {
    match (generation + u64::from(n)) % 3 {
        0 => Some(VmIndex(0)),
        1 => Some(VmIndex(1)),
        _ => None,
    }
}

fn check(snapshot: VmSnapshot<'_>) {
    let generation = snapshot.generation().0;
    if generation == 0 {
        return;
    }
    for n in 0..KEYS {
        assert_eq!(snapshot.vm_by_mac(Scope(0), mac(n)), owner(generation, n), "key {n}, generation {generation}");
    }
    assert_eq!(snapshot.state(VmIndex(0)), state(generation));
    let even = (generation % 2 == 0).then_some(VmIndex(1));
    assert_eq!(snapshot.vm_by_ip(Scope(0), Ipv4Addr::new(192, 0, 2, 77).into()), even, "generation {generation}");
}

fn change(writer: &mut Writer) {
    // What has settled is over for good, though a worker comes online before the next batch begins.
    writer.settle(Instant::now() + Duration::from_secs(3600)).unwrap();
    let rolled_back = thread_rng().gen_bool(0.25);
    let next = writer.generation().0 + 1;
    let mut batch = writer.begin().unwrap();
    for n in 0..KEYS {
        let key = Key::Mac(Scope(0), mac(n));
        let was = batch.remove(key);
        assert_eq!(was, if next == 1 { None } else { owner(next - 1, n) });
        if let Some(vm) = owner(next, n) {
            batch.insert(key, vm).unwrap();
        }
    }
    let prefix = Key::Prefix(Scope(0), "192.0.2.0/24".parse().unwrap());
    if next % 2 == 0 {
        batch.insert(prefix, VmIndex(1)).unwrap();
    } else {
        batch.remove(prefix);
    }
    batch.set_state(VmIndex(0), state(next)).unwrap();
    if rolled_back {
        drop(batch);
    } else {
        batch.publish();
    }
}

#[test]
fn shuttle_long_histories_with_sleeping_workers() {
    shuttle::check_random(
        || {
            let capacity = Capacity { vms: 2, keys: 60 };
            let (mut writer, readers) = Table::create_with(capacity, 2, &Secret::from_seed(3)).unwrap();
            let worker = |mut reader: Reader| {
                thread::spawn(move || {
                    for _ in 0..15 {
                        check(reader.snapshot());
                        if thread_rng().gen_bool(0.3) {
                            reader.go_offline();
                        }
                    }
                })
            };
            let workers: Vec<_> = readers.into_iter().map(worker).collect();
            for _ in 0..12 {
                change(&mut writer);
            }
            for worker in workers {
                worker.join().unwrap();
            }
        },
        SCHEDULES,
    );
}

#[test]
fn shuttle_a_crowded_chain_is_cut_and_grown_under_readers() {
    // Two home buckets for ten keys: most batches take an overflow bucket and most give one back.
    shuttle::check_random(
        || {
            let capacity = Capacity { vms: 2, keys: 10 };
            let (mut writer, mut readers) = Table::create_with(capacity, 1, &Secret::from_seed(4)).unwrap();
            let mut reader = readers.pop().unwrap();
            let worker = thread::spawn(move || {
                for _ in 0..12 {
                    let snapshot = reader.snapshot();
                    let generation = snapshot.generation().0;
                    for n in 0..9u8 {
                        let vm = (generation > 0).then(|| VmIndex(u32::from(generation % 2 == 0)));
                        assert_eq!(snapshot.vm_by_mac(Scope(0), mac(n)), vm, "key {n}, generation {generation}");
                    }
                }
            });
            for _ in 0..10 {
                while !writer.try_settle() {
                    thread::yield_now();
                }
                let vm = VmIndex(u32::from(writer.generation().0 % 2 == 1));
                let mut batch = writer.begin().unwrap();
                let moved = (0..9u8).try_for_each(|n| {
                    batch.remove(Key::Mac(Scope(0), mac(n)));
                    batch.insert(Key::Mac(Scope(0), mac(n)), vm)
                });
                match moved {
                    Ok(()) => drop(batch.publish()),
                    Err(error) => assert_eq!(error, TableError::Crowded { capacity: 10 }),
                }
            }
            worker.join().unwrap();
        },
        SCHEDULES,
    );
}
