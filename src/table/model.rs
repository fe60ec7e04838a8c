//! Random histories against a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

const VMS: u32 = 6;

/// A state of the table: a map, and a linear search for the longest prefix.
#[derive(Clone, Default)]
struct Model {
    keys: BTreeMap<Key, VmIndex>,
    classes: BTreeMap<VmIndex, u8>,
}

impl Model {
    fn by_ip(&self, scope: Scope, address: IpAddr) -> Option<VmIndex> {
        let matching = self.keys.iter().filter_map(|(key, &vm)| match key {
            Key::Prefix(of, net) if *of == scope && net.contains(&address) => Some((net.prefix_len(), vm)),
            _ => None,
        });
        matching.max_by_key(|&(length, _)| length).map(|(_, vm)| vm)
    }

    fn check(&self, snapshot: VmSnapshot<'_>) {
        for scope in [Scope(0), Scope(1)] {
            for n in 0..MACS {
                let owner = self.keys.get(&Key::Mac(scope, mac(n))).copied();
                assert_eq!(snapshot.vm_by_mac(scope, mac(n)), owner);
            }
            for n in 0..ADDRESSES {
                for address in [v4(n), v6(n)] {
                    assert_eq!(snapshot.vm_by_ip(scope, address), self.by_ip(scope, address), "{address}");
                }
            }
        }
        for vm in (0..VMS).map(VmIndex) {
            assert_eq!(snapshot.state(vm).class.0, self.classes.get(&vm).copied().unwrap_or(0));
        }
    }
}

const MACS: u8 = 24;
const ADDRESSES: u8 = 32;

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// Addresses that differ in few and in many leading bits.
fn v4(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, n % 2, n / 2 % 2, n / 4))
}

fn v6(n: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, (n % 2).into(), (n / 2 % 2).into(), 0, 0, 0, (n / 4).into()))
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Key, VmIndex),
    Remove(Key),
    Move(Key, VmIndex),
    SetClass(VmIndex, u8),
}

#[derive(Clone, Debug)]
struct Step {
    ops: Vec<Op>,
    publish: bool,
    nap: bool,
}

fn key() -> impl Strategy<Value = Key> {
    let scope = (0..2u16).prop_map(Scope);
    let prefix = |address: IpAddr, length: u8| IpNet::new(address, length).unwrap().trunc();
    prop_oneof![
        (scope.clone(), 0..MACS).prop_map(|(scope, n)| Key::Mac(scope, mac(n))),
        (scope.clone(), 0..ADDRESSES, 0..=32u8)
            .prop_map(move |(scope, n, length)| Key::Prefix(scope, prefix(v4(n), length))),
        (scope.clone(), 0..ADDRESSES, 0..=128u8)
            .prop_map(move |(scope, n, length)| Key::Prefix(scope, prefix(v6(n), length))),
        (scope, 0..ADDRESSES).prop_map(|(scope, n)| Key::address(scope, v4(n))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let vm = || (0..VMS).prop_map(VmIndex);
    let op = prop_oneof![
        4 => (key(), vm()).prop_map(|(key, vm)| Op::Insert(key, vm)),
        2 => key().prop_map(Op::Remove),
        2 => (key(), vm()).prop_map(|(key, vm)| Op::Move(key, vm)),
        1 => (vm(), any::<u8>()).prop_map(|(vm, class)| Op::SetClass(vm, class)),
    ];
    let ops = proptest::collection::vec(op, 0..40);
    (ops, proptest::bool::weighted(0.8), proptest::bool::weighted(0.2)).prop_map(|(ops, publish, nap)| Step {
        ops,
        publish,
        nap,
    })
}

fn family(key: &Key) -> Option<(bool, u8)> {
    match key {
        Key::Mac(..) => None,
        Key::Prefix(_, net) => Some((net.addr().is_ipv4(), net.prefix_len())),
    }
}

fn insert(batch: &mut Batch<'_>, model: &mut Model, capacity: Capacity, key: Key, vm: VmIndex) {
    let result = batch.insert(key, vm);
    let lengths = |of: bool| {
        let mut lengths: Vec<u8> =
            model.keys.keys().filter_map(family).filter(|f| f.0 == of).map(|(_, length)| length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    };
    let is_ipv6 = |key: &Key| family(key).is_some_and(|(ipv4, _)| !ipv4);
    let expected = match (model.keys.get(&key), family(&key)) {
        (Some(&by), _) if by == vm => Ok(()),
        (Some(&by), _) => Err(TableError::Taken { by }),
        _ if model.keys.len() >= capacity.keys as usize => Err(TableError::KeysFull { capacity: capacity.keys }),
        _ if is_ipv6(&key) && model.keys.keys().filter(|key| is_ipv6(key)).count() >= capacity.ipv6_keys() as usize => {
            Err(TableError::Ipv6KeysFull { capacity: capacity.ipv6_keys() })
        }
        (None, Some((ipv4, length))) if lengths(ipv4).len() >= 16 && !lengths(ipv4).contains(&length) => {
            let family = if ipv4 { Family::Ipv4 } else { Family::Ipv6 };
            Err(TableError::PrefixLengths { family, length, in_use: lengths(ipv4) })
        }
        (None, _) => Ok(()),
    };
    assert_eq!(result, expected, "{key:?} for {vm:?}");
    if result.is_ok() {
        model.keys.insert(key, vm);
    }
}

fn run(seed: u64, capacity: Capacity, steps: Vec<Step>) {
    let (mut writer, mut readers) = Table::create_with(capacity, 1, &Secret::from_seed(seed)).unwrap();
    let mut reader = readers.remove(0);
    let mut published = Model::default();
    for step in steps {
        let old = reader.snapshot();
        let mut staged = published.clone();
        let mut batch = writer.begin().unwrap();
        for op in step.ops {
            match op {
                Op::Insert(key, vm) => insert(&mut batch, &mut staged, capacity, key, vm),
                Op::Remove(key) => assert_eq!(batch.remove(key), staged.keys.remove(&key)),
                Op::Move(key, vm) => {
                    assert_eq!(batch.owner(key), staged.keys.get(&key).copied());
                    assert_eq!(batch.remove(key), staged.keys.remove(&key));
                    insert(&mut batch, &mut staged, capacity, key, vm);
                }
                Op::SetClass(vm, class) => {
                    let state = VmState { class: ClassId(class), ..unpack(0, 0) };
                    batch.set_state(vm, state).unwrap();
                    staged.classes.insert(vm, class);
                }
            }
        }
        published.check(old); // Nothing shows before the publication.
        if step.publish {
            batch.publish();
            published.check(old); // Nor after it, in an old snapshot.
            assert!(!writer.try_settle(), "the reader may still read the old state");
            published = staged;
        } else {
            drop(batch);
        }
        published.check(writer.snapshot());
        if step.nap {
            reader.go_offline();
        } else {
            published.check(reader.snapshot());
        }
        assert!(writer.try_settle());
        published.check(writer.snapshot());
        published.check(reader.snapshot());
        let used = writer.used();
        assert_eq!((used.narrow_keys + used.wide_keys) as usize, published.keys.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_agree_with_a_map(seed: u64, steps in proptest::collection::vec(step(), 1..30)) {
        run(seed, Capacity { vms: VMS, keys: 1000 }, steps);
    }

    #[test]
    fn random_histories_in_a_table_that_is_always_full_agree_with_a_map(
        seed: u64,
        steps in proptest::collection::vec(step(), 1..30),
    ) {
        run(seed, Capacity { vms: VMS, keys: 20 }, steps);
    }
}
