//! What the table promises, one sentence a test.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::*;

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
        ipv4: Ipv4Addr::UNSPECIFIED,
    };
    let all = VmState {
        class: ClassId(255),
        mode: Mode::Monitor,
        lists_macs: true,
        lists_ipv4: true,
        lists_ipv6: true,
        ipv4: Ipv4Addr::BROADCAST,
    };
    for state in [
        VmState { lists_macs: true, ..unknown },
        VmState { lists_ipv4: true, ..unknown },
        VmState { lists_ipv6: true, ..unknown },
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
fn a_full_table_refuses_one_more_key_and_keeps_what_it_has() {
    let capacity = Capacity { vms: 1, keys: 4000 };
    let (mut writer, mut reader) = new(capacity);
    let vm = VmIndex(0);
    let address = |n: u32| Key::address(S0, IpAddr::V6(Ipv6Addr::from(u128::from(n))));
    change(&mut writer, |batch| {
        (0..2000).for_each(|n| batch.insert(address(n), vm).unwrap());
        assert_eq!(batch.insert(address(2000), vm), Err(TableError::Ipv6KeysFull { capacity: 2000 }));
        (0..2000).for_each(|n| batch.insert(mac_key(n), vm).unwrap());
        for n in 2000..3000 {
            assert_eq!(batch.insert(mac_key(n), vm), Err(TableError::KeysFull { capacity: 4000 }));
        }
        assert_eq!(batch.insert(mac_key(1), vm), Ok(()), "what is there may be inserted again");
        assert_eq!(batch.insert(mac_key(1), VmIndex(1)), Err(TableError::VmsFull { vm: VmIndex(1), capacity: 1 }));
    });
    let all_there = |snapshot: VmSnapshot<'_>| {
        (0..2000).all(|n| {
            snapshot.vm_by_mac(S0, mac(n)) == Some(vm)
                && snapshot.vm_by_ip(S0, Ipv6Addr::from(u128::from(n)).into()) == Some(vm)
        })
    };
    assert!(all_there(reader.snapshot()));
    assert!((2000..3000).all(|n| reader.snapshot().vm_by_mac(S0, mac(n)).is_none()));

    change(&mut writer, |batch| {
        batch.remove(mac_key(7)).unwrap();
        batch.insert(mac_key(4000), vm).unwrap();
    });
    assert_eq!(reader.snapshot().vm_by_mac(S0, mac(4000)), Some(vm), "one goes, one comes, in the same batch");
}

#[test]
fn narrow_keys_alone_may_fill_the_table() {
    for seed in 0..5 {
        let capacity = Capacity { vms: 1, keys: 100_000 };
        let (mut writer, _) = Table::create_with(capacity, 0, &Secret::from_seed(seed)).unwrap();
        change(&mut writer, |batch| (0..capacity.keys).for_each(|n| batch.insert(mac_key(n), VmIndex(0)).unwrap()));
        assert_eq!(writer.used().narrow_keys, capacity.keys, "seed {seed}");
    }
}

#[test]
fn a_move_too_large_for_the_spare_slots_is_refused_and_rolled_back() {
    let capacity = Capacity { vms: 2, keys: 10_000 };
    let (mut writer, mut reader) = new(capacity);
    change(&mut writer, |batch| (0..10_000).for_each(|n| batch.insert(mac_key(n), VmIndex(0)).unwrap()));
    let used = writer.used();
    let mut batch = writer.begin().unwrap();
    let refused = (0..10_000).try_for_each(|n| {
        batch.remove(mac_key(n));
        batch.insert(mac_key(n), VmIndex(1))
    });
    assert_eq!(refused, Err(TableError::Crowded { capacity: 10_000 }));
    drop(batch);
    assert_eq!(writer.used(), used);
    assert!((0..10_000).all(|n| reader.snapshot().vm_by_mac(S0, mac(n)) == Some(VmIndex(0))));
    let _ = reader.snapshot();

    for part in 0..100 {
        change(&mut writer, |batch| {
            for n in part * 100..(part + 1) * 100 {
                batch.remove(mac_key(n)).unwrap();
                batch.insert(mac_key(n), VmIndex(1)).unwrap();
            }
        });
        let _ = reader.snapshot();
    }
    assert!((0..10_000).all(|n| writer.owner(mac_key(n)) == Some(VmIndex(1))), "in smaller parts it works");
}

/// Settles, compacts as long as there is something to, and checks that each chain is as short as its keys allow.
fn assert_chains_are_short(writer: &mut Writer) {
    (0..20).for_each(|_| change(writer, |_| ()));
    for (buckets, entries) in writer.table.narrow.chains().into_iter().chain(writer.table.wide.chains()) {
        assert_eq!(buckets, entries.div_ceil(5).max(1), "{entries} entries");
    }
}

#[test]
fn churn_does_not_lengthen_chains() {
    let keys = 20_000;
    let (mut writer, _) = Table::create_with(Capacity { vms: 1, keys }, 0, &Secret::from_seed(11)).unwrap();
    let vm = VmIndex(0);
    let filled = keys * 3 / 4;
    let buckets = |writer: &Writer| writer.table.narrow.chains().into_iter().map(|(buckets, _)| buckets).sum::<usize>();
    change(&mut writer, |batch| (0..filled).for_each(|n| batch.insert(mac_key(n), vm).unwrap()));
    let before = buckets(&writer);
    for round in 0..200_000 {
        change(&mut writer, |batch| {
            batch.remove(mac_key(round)).unwrap();
            batch.insert(mac_key(round + filled), vm).unwrap();
        });
    }
    // Every key was replaced 13 times; the keys that are there now fall into buckets by chance as the first ones did.
    let after = buckets(&writer);
    assert!(after * 100 <= before * 103, "{before} buckets, then {after}");
    assert_chains_are_short(&mut writer);

    change(&mut writer, |batch| {
        (200_000..200_000 + filled).for_each(|n| assert!(batch.remove(mac_key(n)).is_some()));
    });
    assert_chains_are_short(&mut writer);
    assert_eq!(writer.used(), Usage::default(), "empty, it is as new");
}

#[test]
fn churn_of_ipv6_keys_loses_none() {
    let (mut writer, _) = Table::create_with(Capacity { vms: 3, keys: 400 }, 0, &Secret::from_seed(2)).unwrap();
    let address = |n: u32| Key::address(S0, IpAddr::V6(Ipv6Addr::from(u128::from(n) << 60)));
    for n in 0..50_000u32 {
        change(&mut writer, |batch| {
            batch.insert(address(n), VmIndex(n % 3)).unwrap();
            if let Some(gone) = n.checked_sub(150) {
                assert_eq!(batch.remove(address(gone)), Some(VmIndex(gone % 3)));
            }
        });
        for age in [0, 1, 75, 149].into_iter().filter(|&age| age <= n) {
            assert_eq!(writer.owner(address(n - age)), Some(VmIndex((n - age) % 3)));
        }
    }
    assert_chains_are_short(&mut writer);
    assert!((49_850..50_000).all(|n| writer.owner(address(n)) == Some(VmIndex(n % 3))));
    assert_eq!(writer.used().wide_keys, 150);
}

#[test]
fn deleting_and_adding_the_same_keys_changes_nothing() {
    let (mut writer, _) = small();
    change(&mut writer, |batch| (0..600).for_each(|n| batch.insert(mac_key(n), A).unwrap()));
    let before = writer.table.narrow.chains();
    for round in 0..200_000u32 {
        let key = mac_key(round % 600);
        match round / 600 % 2 {
            0 => change(&mut writer, |batch| assert_eq!(batch.remove(key), Some(A))),
            _ => change(&mut writer, |batch| batch.insert(key, A).unwrap()),
        }
    }
    change(&mut writer, |batch| (0..600).for_each(|n| batch.insert(mac_key(n), A).unwrap()));
    assert_chains_are_short(&mut writer);
    assert_eq!(writer.table.narrow.chains(), before);
}

#[test]
fn sixteen_prefix_lengths_are_in_use_at_most() {
    let (mut writer, mut reader) = small();
    let v4 = |length: u8| Key::Prefix(S0, IpNet::new(ip("10.0.0.0"), length).unwrap());
    let v6 = |length: u8| Key::Prefix(S0, IpNet::new(ip("2001:db8::"), length).unwrap());
    change(&mut writer, |batch| {
        (8..24).for_each(|length| batch.insert(v4(length), A).unwrap());
        (32..48).for_each(|length| batch.insert(v6(length), B).unwrap());
        let refused = |family, length, in_use: std::ops::Range<u8>| {
            Err(TableError::PrefixLengths { family, length, in_use: in_use.collect() })
        };
        assert_eq!(batch.insert(v4(24), A), refused(Family::Ipv4, 24, 8..24));
        assert_eq!(batch.insert(v6(64), B), refused(Family::Ipv6, 64, 32..48));
        batch.insert(net("11.0.0.0/8"), A).unwrap();

        batch.remove(v4(8)).unwrap();
        assert!(batch.insert(v4(24), A).is_err(), "11.0.0.0/8 has that length still");
        batch.remove(net("11.0.0.0/8")).unwrap();
        batch.insert(v4(24), A).unwrap();
    });
    assert_eq!(writer.used().ipv4_lengths, 16);
    assert_eq!(reader.snapshot().vm_by_ip(S0, ip("10.0.0.1")), Some(A));
    assert_eq!(reader.snapshot().vm_by_ip(S0, ip("10.255.0.1")), None);
    assert_eq!(reader.snapshot().vm_by_ip(S0, ip("2001:db8::1")), Some(B));
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

#[test]
fn a_vm_with_three_keys_costs_at_most_144_bytes() {
    for vms in [1 << 10, 100_000, 1 << 20, 1 << 24] {
        let capacity = Capacity { vms, keys: 3 * vms };
        // What the writer's list of free overflow buckets may come to.
        let pools = u64::from(Size::of(capacity.keys).pool + Size::of(capacity.ipv6_keys()).pool);
        let bytes = capacity.bytes() + pools * 4;
        // Below some thousand VMs the fixed part shows (60 spare overflow buckets a store, and what is rounded up).
        let fixed = 3 * 64 * 64 + 2 * 64 * 4;
        assert!(bytes <= u64::from(vms) * 144 + fixed, "{} bytes a VM, {vms} VMs", bytes / u64::from(vms));
    }
    let default = Capacity::default();
    assert!(default.bytes() < 200 << 20, "{} MiB", default.bytes() >> 20);
}

#[test]
fn buckets_lie_on_cache_lines() {
    for keys in [1, 5, 1000, 100_000] {
        let (writer, _) = new(Capacity { vms: 1, keys });
        assert_eq!(writer.table.narrow.first_address() % 128, 0);
        assert_eq!(writer.table.wide.first_address() % 128, 0);
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
    thread::scope(|scope| {
        for mut reader in readers {
            scope.spawn(move || {
                let mut turns = 0u32;
                while check(reader.snapshot()) < BATCHES {
                    turns += 1;
                    if turns.is_multiple_of(1000) {
                        reader.go_offline(); // A nap.
                        thread::yield_now();
                    }
                }
            });
        }
        let mut state = writer.snapshot().state(VmIndex(0));
        for generation in 1..=BATCHES {
            writer.settle(Instant::now() + Duration::from_secs(60)).unwrap();
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

/// Bytes of real memory in the mapping that holds this address.
#[cfg(target_os = "linux")]
fn resident_kib(address: usize) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in maps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-') {
            let hex = |text| usize::from_str_radix(text, 16).unwrap();
            inside = (hex(from)..hex(to)).contains(&address);
        } else if let Some(rest) = line.strip_prefix("Rss:").filter(|_| inside) {
            return rest.trim().trim_end_matches(" kB").parse().unwrap();
        }
    }
    panic!("no mapping holds {address:x}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_generous_number_of_keys_costs_memory_only_as_they_come() {
    let (mut writer, _reader) = new(Capacity { vms: 8, keys: 1 << 26 });
    change(&mut writer, |batch| (0..2000).for_each(|n| batch.insert(mac_key(n), A).unwrap()));
    let resident = resident_kib(writer.table.narrow.first_address() + (1 << 20));
    assert!((1_000..64_000).contains(&resident), "{resident} KiB for 2000 keys of a table of 900 MiB");
}
