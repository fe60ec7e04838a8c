//! What the table promises, one sentence a test.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

mod room;

const A: VmIndex = VmIndex(1);
const B: VmIndex = VmIndex(2);
const S0: Scope = Scope(0);
const S1: Scope = Scope(1);

fn new(capacity: Capacity) -> (Writer, Reader) {
    let (writer, mut readers) = Table::create_with(capacity, 1, &Secret::from_seed(7)).unwrap();
    (writer, readers.remove(0))
}

fn small() -> (Writer, Reader) {
    new(Capacity { vms: 8, keys: 1000 })
}

fn mac(n: u32) -> MacAddr {
    let [a, b, c, d] = n.to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}

fn mac_key(n: u32) -> Key {
    Key::Mac(S0, mac(n))
}

fn net(text: &str) -> Key {
    Key::Prefix(S0, text.parse().unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One batch. It settles when the next begins: the test has taken its snapshot by then, or is offline.
fn change<T>(writer: &mut Writer, edit: impl FnOnce(&mut Batch<'_>) -> T) -> T {
    let mut batch = writer.begin().unwrap();
    let result = edit(&mut batch);
    batch.publish();
    let _ = writer.try_settle();
    result
}

#[test]
fn what_was_inserted_is_found_and_nothing_else() {
    let (mut writer, mut reader) = small();
    change(&mut writer, |batch| {
        batch.insert(mac_key(1), A).unwrap();
        batch.insert(net("192.0.2.1/32"), A).unwrap();
        batch.insert(net("2001:db8::1/128"), B).unwrap();
    });
    let snapshot = reader.snapshot();
    assert_eq!(snapshot.generation(), Generation(1));
    assert_eq!(snapshot.vm_by_mac(S0, mac(1)), Some(A));
    assert_eq!(snapshot.vm_by_mac(S0, mac(2)), None);
    assert_eq!(snapshot.vm_by_ip(S0, ip("192.0.2.1")), Some(A));
    assert_eq!(snapshot.vm_by_ip(S0, ip("192.0.2.2")), None);
    assert_eq!(snapshot.vm_by_ip(S0, ip("2001:db8::1")), Some(B));
    assert_eq!(snapshot.vm_by_ip(S0, ip("2001:db8::2")), None);
    assert_eq!(snapshot.vm_by_ip(S0, ip("2001:db9::1")), None);
    assert_eq!(snapshot.vm_by_ip(S0, ip("::ffff:192.0.2.1")), None, "a mapped address is another address");
    let used = writer.used();
    assert_eq!((used.narrow_keys, used.wide_keys, used.ipv4_lengths, used.ipv6_lengths), (2, 1, 1, 1));
}

#[test]
fn a_mac_sought_first_and_found_later_is_the_same_vm() {
    let (mut writer, mut reader) = small();
    change(&mut writer, |batch| {
        batch.insert(Key::Mac(S0, mac(1)), A).unwrap();
        batch.insert(Key::Mac(S1, mac(1)), B).unwrap();
        batch.insert(net("0.0.0.0/0"), B).unwrap();
    });
    let snapshot = reader.snapshot();
    for scope in [S0, S1] {
        let stations = snapshot.stations(scope);
        let macs = [mac(1), mac(2), MacAddr([0; 6]), MacAddr::BROADCAST];
        let sought = macs.map(|mac| stations.seek(mac));
        let found = sought.map(|station| stations.vm(station));
        assert_eq!(found, macs.map(|mac| snapshot.vm_by_mac(scope, mac)));
        assert_eq!(found, [Some(if scope == S0 { A } else { B }), None, None, None]);
    }
}

#[test]
fn scopes_are_worlds_apart() {
    let (mut writer, mut reader) = small();
    let keys = |scope| {
        let prefix = |text: &str| Key::Prefix(scope, text.parse().unwrap());
        [Key::Mac(scope, mac(1)), prefix("10.0.0.0/8"), prefix("2001:db8::/32")]
    };
    change(&mut writer, |batch| {
        for (key0, key1) in keys(S0).into_iter().zip(keys(S1)) {
            batch.insert(key0, A).unwrap();
            batch.insert(key1, B).unwrap();
        }
    });
    let snapshot = reader.snapshot();
    for (scope, vm) in [(S0, Some(A)), (S1, Some(B)), (Scope(2), None)] {
        assert_eq!(snapshot.vm_by_mac(scope, mac(1)), vm);
        assert_eq!(snapshot.vm_by_ip(scope, ip("10.1.2.3")), vm);
        assert_eq!(snapshot.vm_by_ip(scope, ip("2001:db8::77")), vm);
    }
}

#[test]
fn a_mac_and_a_prefix_with_the_same_bits_are_different_keys() {
    // 10.0.0.0/8 in scope 0 and the MAC 0a:00:00:00:00:00 in scope 8 fill their words alike.
    let (mut writer, mut reader) = small();
    let (prefix, mac) = (net("10.0.0.0/8"), Key::Mac(Scope(8), MacAddr([10, 0, 0, 0, 0, 0])));
    change(&mut writer, |batch| {
        batch.insert(prefix, A).unwrap();
        assert_eq!(batch.owner(mac), None);
        batch.insert(mac, B).unwrap();
    });
    assert_eq!(reader.snapshot().vm_by_mac(Scope(8), MacAddr([10, 0, 0, 0, 0, 0])), Some(B));
    assert_eq!(reader.snapshot().vm_by_ip(S0, ip("10.9.9.9")), Some(A));
}

#[test]
fn the_longest_prefix_wins() {
    let (mut writer, mut reader) = small();
    change(&mut writer, |batch| {
        for (vm, text) in (0..).zip(["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1/32"]) {
            batch.insert(net(text), VmIndex(vm)).unwrap();
        }
        for (vm, text) in (0..).zip(["::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:1::/64"]) {
            batch.insert(net(text), VmIndex(vm)).unwrap();
        }
    });
    let expected = [("10.1.1.1", 4), ("10.1.1.2", 3), ("10.1.2.1", 2), ("10.2.1.1", 1), ("11.1.1.1", 0)];
    let expected6 = [("2001:db8:1:1::9", 3), ("2001:db8:1:2::", 2), ("2001:db8:2::", 1), ("2001:db9::", 0)];
    for (address, vm) in expected.into_iter().chain(expected6) {
        assert_eq!(reader.snapshot().vm_by_ip(S0, ip(address)), Some(VmIndex(vm)), "{address}");
    }

    change(&mut writer, |batch| assert_eq!(batch.remove(net("10.1.1.0/24")), Some(VmIndex(3))));
    assert_eq!(reader.snapshot().vm_by_ip(S0, ip("10.1.1.2")), Some(VmIndex(2)), "the next longest takes over");
    assert_eq!(writer.owner(net("10.1.1.0/24")), None, "the owner of a key is that of the very key");
    assert_eq!(writer.owner(net("10.1.0.0/16")), Some(VmIndex(2)));
}

#[test]
fn host_bits_of_a_prefix_do_not_count() {
    let (mut writer, mut reader) = small();
    change(&mut writer, |batch| batch.insert(net("10.1.2.3/8"), A).unwrap());
    assert_eq!(writer.owner(net("10.0.0.0/8")), Some(A));
    assert_eq!(reader.snapshot().vm_by_ip(S0, ip("10.200.0.1")), Some(A));
}

#[test]
fn a_batch_is_invisible_until_it_is_published() {
    let (mut writer, mut reader) = small();
    change(&mut writer, |batch| batch.insert(mac_key(1), A).unwrap());
    let mut batch = writer.begin().unwrap();
    batch.remove(mac_key(1)).unwrap();
    batch.insert(mac_key(1), B).unwrap();
    batch.insert(net("10.0.0.0/8"), B).unwrap();
    assert_eq!(batch.owner(mac_key(1)), Some(B));
    let before = reader.snapshot();
    assert_eq!((before.vm_by_mac(S0, mac(1)), before.vm_by_ip(S0, ip("10.0.0.1"))), (Some(A), None));

    let generation = batch.publish();
    assert_eq!((before.vm_by_mac(S0, mac(1)), before.vm_by_ip(S0, ip("10.0.0.1"))), (Some(A), None), "still");
    assert_eq!(writer.owner(mac_key(1)), Some(B), "the writer reads the newest");
    assert_eq!(writer.snapshot().vm_by_ip(S0, ip("10.0.0.1")), Some(B));

    let after = reader.snapshot();
    assert_eq!(after.generation(), generation);
    assert_eq!((after.vm_by_mac(S0, mac(1)), after.vm_by_ip(S0, ip("10.0.0.1"))), (Some(B), Some(B)));
}

#[test]
fn the_next_batch_waits_for_the_last_worker() {
    let (mut writer, mut readers) = Table::create_with(Capacity { vms: 2, keys: 5 }, 3, &Secret::from_seed(1)).unwrap();
    readers[0].go_online();
    readers[2].go_online();
    let mut batch = writer.begin().unwrap();
    batch.insert(mac_key(1), A).unwrap();
    let generation = batch.publish();
    let waiting = |workers: &[usize]| NotSettled { generation, workers: workers.to_vec() };
    assert_eq!(writer.begin().err(), Some(waiting(&[0, 2])));
    let _ = readers[2].snapshot();
    assert_eq!(writer.settle(Instant::now() + Duration::from_millis(5)), Err(waiting(&[0])));
    assert_eq!(writer.grace().seen(0), Some(Generation(0)));
    readers[0].go_offline();
    assert!(writer.settle(Instant::now()).is_ok(), "what sleeps is not waited for");
    assert_eq!(writer.settle(Instant::now()), Ok(Duration::ZERO), "once settled, settled");
    assert!(writer.begin().is_ok());
}

#[test]
fn keys_move_between_vms_in_one_batch_and_back() {
    let (mut writer, mut reader) = small();
    let keys = [mac_key(1), net("192.0.2.1/32"), net("2001:db8::/64")];
    change(&mut writer, |batch| keys.iter().for_each(|&key| batch.insert(key, A).unwrap()));
    for round in 0..100 {
        let (from, to) = if round % 2 == 0 { (A, B) } else { (B, A) };
        let mut batch = writer.begin().unwrap();
        for key in keys {
            assert_eq!(batch.insert(key, to), Err(TableError::Taken { by: from }));
            assert_eq!(batch.remove(key), Some(from));
            assert_eq!(batch.remove(key), None);
            batch.insert(key, to).unwrap();
            batch.insert(key, to).unwrap();
        }
        let owner = |snapshot: VmSnapshot<'_>| {
            let ips = [ip("192.0.2.1"), ip("2001:db8::5")].map(|ip| snapshot.vm_by_ip(S0, ip));
            assert_eq!([snapshot.vm_by_mac(S0, mac(1)); 2], ips);
            ips[0]
        };
        let old = reader.snapshot();
        batch.publish();
        assert_eq!((owner(old), owner(writer.snapshot())), (Some(from), Some(to)));
        let _ = reader.snapshot();
        assert!(writer.try_settle());
        assert_eq!(owner(reader.snapshot()), Some(to));
    }
    assert_eq!((writer.used().narrow_keys, writer.used().wide_keys), (2, 1));
}

#[test]
fn a_key_given_away_and_taken_back_in_one_batch_has_not_moved() {
    let (mut writer, mut reader) = small();
    change(&mut writer, |batch| batch.insert(mac_key(1), A).unwrap());
    change(&mut writer, |batch| {
        for vm in [B, A, B, A] {
            batch.remove(mac_key(1)).unwrap();
            batch.insert(mac_key(1), vm).unwrap();
        }
        batch.insert(mac_key(2), A).unwrap();
        batch.remove(mac_key(2)).unwrap();
    });
    assert_eq!(reader.snapshot().vm_by_mac(S0, mac(1)), Some(A));
    assert_eq!(reader.snapshot().vm_by_mac(S0, mac(2)), None);
    assert_eq!(writer.used().narrow_keys, 1);
    change(&mut writer, |batch| assert_eq!(batch.remove(mac_key(1)), Some(A)));
    assert_eq!(reader.snapshot().vm_by_mac(S0, mac(1)), None, "no second copy was left behind");
}

#[test]
fn a_state_is_part_of_the_snapshot() {
    let (mut writer, mut reader) = small();
    let unknown = VmState {
        class: ClassId::RESTRICTED,
        mode: Mode::Enforce,
        lists_macs: false,
        lists_ipv4: false,
        lists_ipv6: false,
        has_exceptions: false,
        ipv4: Ipv4Addr::UNSPECIFIED,
    };
    let all = VmState {
        class: ClassId(255),
        mode: Mode::Monitor,
        lists_macs: true,
        lists_ipv4: true,
        lists_ipv6: true,
        has_exceptions: true,
        ipv4: Ipv4Addr::BROADCAST,
    };
    for state in [
        VmState { lists_macs: true, ..unknown },
        VmState { lists_ipv4: true, ..unknown },
        VmState { lists_ipv6: true, ..unknown },
        VmState { has_exceptions: true, ..unknown },
        VmState { mode: Mode::Monitor, ..unknown },
        VmState { ipv4: Ipv4Addr::new(10, 0, 0, 5), ..unknown },
        VmState { class: ClassId::UNRESTRICTED, ..unknown },
        all,
    ] {
        change(&mut writer, |batch| batch.set_state(A, state).unwrap());
        assert_eq!(reader.snapshot().state(A), state);
    }
    assert_eq!(reader.snapshot().state(B), unknown, "the neighbour has none");
    assert_eq!(reader.snapshot().state(VmIndex(u32::MAX)), unknown, "nor has who cannot exist");

    let mut batch = writer.begin().unwrap();
    batch.set_state(A, unknown).unwrap();
    let old = reader.snapshot();
    assert_eq!(old.state(A), all);
    batch.publish();
    assert_eq!((old.state(A), writer.snapshot().state(A)), (all, unknown));
}

#[test]
fn a_batch_that_is_dropped_leaves_no_trace() {
    let (mut writer, mut reader) = new(Capacity { vms: 8, keys: 20 });
    change(&mut writer, |batch| {
        (0..10).for_each(|n| batch.insert(mac_key(n), A).unwrap());
        batch.insert(net("10.0.0.0/8"), A).unwrap();
    });
    let (used, state) = (writer.used(), writer.snapshot().state(B));
    // More often than there are overflow buckets.
    for round in 0..1000 {
        let mut batch = writer.begin().unwrap();
        (0..10).for_each(|n| assert_eq!(batch.remove(mac_key(n)), Some(A)));
        (0..18).for_each(|n| batch.insert(mac_key(n + round), B).unwrap());
        batch.remove(net("10.0.0.0/8"));
        batch.insert(net("10.0.0.0/9"), B).unwrap();
        batch.set_state(B, VmState { class: ClassId(9), ..state }).unwrap();
        if round % 2 == 0 {
            drop(batch);
        } else {
            std::mem::forget(batch); // The next batch finds it.
        }
    }
    drop(writer.begin().unwrap());
    assert_eq!(writer.used(), used);
    for settled in [false, true] {
        let snapshot = reader.snapshot();
        for n in 0..1018 {
            assert_eq!(snapshot.vm_by_mac(S0, mac(n)), (n < 10).then_some(A), "MAC {n}, settled {settled}");
        }
        assert_eq!(snapshot.vm_by_ip(S0, ip("10.0.0.1")), Some(A));
        assert_eq!(snapshot.state(B), state);
        change(&mut writer, |_| ()); // Once more in the other parity.
    }
}

#[test]
fn errors_speak_to_operators() {
    let error = TableError::PrefixLengths { family: Family::Ipv4, length: 9, in_use: vec![8, 32] };
    assert_eq!(
        error.to_string(),
        "IPv4 prefixes of 16 different lengths are in use (/8 /32) and /9 would be one more; cover the range with those"
    );
    assert!(TableError::KeysFull { capacity: 5 }.to_string().contains("`table.keys`"));
    let refused = Table::create(Capacity { vms: 0, keys: 1 }, 1).map(|_| ()).unwrap_err();
    assert!(refused.to_string().starts_with("`table.vms` = 0 and `table.keys` = 1 cannot be"), "{refused}");
    assert!(Table::create(Capacity { vms: 1, keys: u32::MAX }, 1).is_err());
}

/// Says that the writer is gone, also if it failed: readers would wait for its last batch for ever.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_see_batches_whole_while_the_writer_runs_at_full_speed() {
    const PAIRS: u32 = 16;
    const BATCHES: u64 = 20_000;
    let (mut writer, readers) =
        Table::create_with(Capacity { vms: 2 * PAIRS, keys: 8 * PAIRS }, 2, &Secret::from_seed(5)).unwrap();
    // In odd generations pair p of MAC, IPv4 and IPv6 is VM 2p's, in even ones VM 2p+1's.
    let v4 = |p: u32| Ipv4Addr::from(0x0a00_0000 + p * 256);
    let v6 = |p: u32| Ipv6Addr::from((0x2001_0db8 << 96) | u128::from(p));
    let keys = |p: u32| [mac_key(p), Key::address(S0, v4(p).into()), Key::address(S0, v6(p).into())];
    let check = |snapshot: VmSnapshot<'_>| {
        let generation = snapshot.generation().0;
        let half = u32::from(generation.is_multiple_of(2));
        for p in 0..PAIRS {
            let owner = (generation > 0).then_some(VmIndex(2 * p + half));
            assert_eq!(snapshot.vm_by_mac(S0, mac(p)), owner, "MAC {p}, generation {generation}");
            assert_eq!(snapshot.vm_by_ip(S0, v4(p).into()), owner, "IPv4 {p}, generation {generation}");
            assert_eq!(snapshot.vm_by_ip(S0, v6(p).into()), owner, "IPv6 {p}, generation {generation}");
            if let Some(owner) = owner {
                assert_eq!(u64::from(snapshot.state(owner).class.0), generation & 0xff);
            }
        }
        generation
    };
    let gone = AtomicBool::new(false);
    thread::scope(|scope| {
        for mut reader in readers {
            let gone = &gone;
            scope.spawn(move || {
                let mut turns = 0u32;
                while check(reader.snapshot()) < BATCHES && !gone.load(Ordering::Relaxed) {
                    turns += 1;
                    if turns.is_multiple_of(1000) {
                        reader.go_offline(); // A nap.
                        thread::yield_now();
                    }
                }
            });
        }
        let _end = EndOf(&gone);
        let mut state = writer.snapshot().state(VmIndex(0));
        for generation in 1..=BATCHES {
            // A reader that failed is offline. One that has not had the CPU yet is waited for, however long.
            while writer.settle(Instant::now()).is_err() {}
            let mut batch = writer.begin().unwrap();
            let half = u32::from(generation.is_multiple_of(2));
            state.class = ClassId((generation & 0xff) as u8);
            for p in 0..PAIRS {
                for key in keys(p) {
                    batch.remove(key);
                    batch.insert(key, VmIndex(2 * p + half)).unwrap();
                }
                batch.set_state(VmIndex(2 * p + half), state).unwrap();
            }
            batch.publish();
        }
    });
}
