//! How much there is room for, and what it costs.

use ipnet::IpNet;

use super::*;

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
