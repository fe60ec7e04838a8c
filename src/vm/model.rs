//! The registry against a slow, obvious model: a map of records and a list of settings, checked by looking at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::clock::Clock;
use super::draft::keys;
use super::edit::Edit;
use super::journal::WayBack;
use super::record::{Exception, Opens, Vm, VmId, VmPatch, VmSet};
use super::registry::Registry;
use crate::model::{ClassId, Key, MacAddr, Mode, Revision, Scope};
use crate::policy::{Class, Classes, Reader, Routers, Settings, Snapshot, Wanted};
use crate::table::Capacity;

const CAPACITY: Capacity = Capacity { vms: 4, keys: 400 };

/// What ought to be so.
#[derive(Clone)]
struct Model {
    vms: BTreeMap<VmId, Vm>,
    /// Ports of each class by name, built-in ones included.
    classes: BTreeMap<String, u16>,
    routers: BTreeSet<MacAddr>,
    revision: u64,
    /// What the change that waits to be confirmed would take back.
    before: Option<Before>,
}

/// What was before a change.
#[derive(Clone)]
struct Before {
    vms: BTreeMap<VmId, Option<Vm>>,
    policy: Option<(BTreeMap<String, u16>, BTreeSet<MacAddr>)>,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Change,
    Unconfirmed,
    Confirm,
    RollBack,
}

/// One edit, in terms that the model understands.
#[derive(Clone, Debug)]
enum Step {
    Set { vm: u8, macs: Vec<u8>, ips: Vec<u8>, public: bool, scope: u16, class: Option<u8>, but: Option<u8> },
    Class { vm: u8, class: Option<u8> },
    Delete { vm: u8 },
    Settings { classes: Vec<u8>, port: u16, router: Option<u8> },
}

fn id(vm: u8) -> VmId {
    format!("vm{vm}").parse().unwrap()
}

fn mac(number: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 0, number])
}

fn class_name(class: u8) -> String {
    format!("class{class}")
}

/// Lets a VM do what a class does not close.
fn exception(class: u8) -> Exception {
    serde_json::from_value(serde_json::json!({"name": "a", "class": class_name(class), "permanent": true})).unwrap()
}

fn excepted(vm: &Vm) -> Option<&String> {
    vm.exceptions.first().map(|exception| match &exception.opens {
        Opens::Class(class) => class,
        Opens::Ports(_) => unreachable!("no step makes one"),
    })
}

fn settings(classes: &[u8], port: u16, router: Option<u8>) -> Settings {
    let restricted = Classes::default().get(ClassId::RESTRICTED).clone();
    let own = classes.iter().map(|&class| Class {
        deny: None,
        name: class_name(class),
        ports: [(port + u16::from(class)).into()].into_iter().collect(),
        mode: Mode::Enforce,
    });
    let via = Routers::new(router.map(mac).into_iter().collect(), Vec::new());
    Settings { classes: Classes::new(restricted, own).unwrap(), via, ..Settings::default() }
}

impl Step {
    fn edit(&self) -> Edit {
        match self {
            Self::Set { vm, macs, ips, public, scope, class, but } => {
                let ips = ips.iter().map(|ip| format!("10.0.0.{ip}").parse().unwrap()).collect();
                Edit::Set(VmSet {
                    id: id(*vm),
                    macs: macs.iter().copied().map(mac).collect(),
                    ips,
                    public_ipv4: public.then(|| [203, 0, 113, *vm].into()),
                    scope: Scope(*scope),
                    tenant: None,
                    class: Some(class.map(class_name)),
                    mode: None,
                    exceptions: Some(Some(but.iter().map(|&class| exception(class)).collect())),
                    note: None,
                })
            }
            Self::Class { vm, class } => {
                Edit::Patch(id(*vm), VmPatch { class: Some(class.map(class_name)), ..VmPatch::default() })
            }
            Self::Delete { vm } => Edit::Delete(id(*vm)),
            Self::Settings { classes, port, router } => Edit::Settings(Arc::new(settings(classes, *port, *router))),
        }
    }
}

impl Model {
    /// What is after a change by itself; nothing if it cannot be.
    fn after(&self, steps: &[Step]) -> Option<Self> {
        let mut next = self.clone();
        for step in steps {
            match step.edit() {
                Edit::Set(set) => {
                    let vm = set.clone().onto(next.vms.get(&set.id)).ok()?;
                    next.vms.insert(set.id, vm);
                }
                Edit::Patch(id, patch) => {
                    let vm = patch.onto(next.vms.get(&id)?).ok()?;
                    next.vms.insert(id, vm);
                }
                Edit::Delete(id) => _ = next.vms.remove(&id),
                Edit::Policy(_) | Edit::Restore(..) | Edit::If(..) => unreachable!("no step makes one"),
                Edit::Settings(settings) => {
                    let port = |class: &Class| class.ports.ranges().first().map_or(0, |range| range.first);
                    next.classes = settings.classes.iter().map(|class| (class.name.clone(), port(class))).collect();
                    next.routers = settings.via.macs().collect();
                }
            }
        }
        next.revision += u64::from(!next.same(self));
        next.can_be().then_some(next)
    }

    fn same(&self, other: &Self) -> bool {
        (&self.vms, &self.classes, &self.routers) == (&other.vms, &other.classes, &other.routers)
    }

    fn can_be(&self) -> bool {
        let mut owners: BTreeMap<Key, &VmId> = BTreeMap::new();
        let own = self.vms.values().all(|vm| {
            let mut mine = keys(vm).map(|key| owners.insert(key, &vm.id).is_none_or(|other| *other == vm.id));
            mine.all(|mine| mine)
                && vm.class.as_ref().is_none_or(|class| self.classes.contains_key(class))
                && excepted(vm).is_none_or(|class| self.classes.contains_key(class))
                && !vm.macs.iter().any(|mac| self.routers.contains(mac))
        });
        own && self.vms.len() <= CAPACITY.vms as usize
    }

    /// What was where this differs.
    fn before(&self, after: &Self) -> Before {
        let all: BTreeSet<&VmId> = self.vms.keys().chain(after.vms.keys()).collect();
        let differ = all.into_iter().filter(|id| self.vms.get(id) != after.vms.get(id));
        let policy = (self.classes.clone(), self.routers.clone());
        let same = (&self.classes, &self.routers) == (&after.classes, &after.routers);
        Before {
            vms: differ.map(|id| (id.clone(), self.vms.get(id).cloned())).collect(),
            policy: (!same).then_some(policy),
        }
    }

    /// After the way back, which makes a revision in any case.
    fn back(&self, Before { vms, policy }: &Before) -> Self {
        let mut next = self.clone();
        for (id, vm) in vms {
            match vm {
                Some(vm) => _ = next.vms.insert(id.clone(), vm.clone()),
                None => _ = next.vms.remove(id),
            }
        }
        if let Some((classes, routers)) = policy {
            (next.classes, next.routers) = (classes.clone(), routers.clone());
        }
        next.revision += 1;
        next.before = None;
        next
    }

    /// What is after an event; nothing if it cannot be.
    fn happen(&self, event: Event, steps: &[Step]) -> Option<Self> {
        match (event, &self.before) {
            (Event::Confirm, _) => Some(Self { before: None, revision: self.revision + 1, ..self.clone() }),
            (Event::RollBack, Some(before)) => Some(self.back(before)),
            (Event::RollBack, None) => Some(Self { revision: self.revision + 1, ..self.clone() }),
            (Event::Change | Event::Unconfirmed, waits) => {
                let mut next = self.after(steps)?;
                match (event, waits) {
                    _ if next.same(self) => {}
                    (Event::Unconfirmed, None) => next.before = Some(self.before(&next)),
                    (Event::Unconfirmed, Some(_)) => return None,
                    (_, None) => {}
                    (_, Some(before)) => {
                        let did = self.before(&next);
                        let about_it = did.vms.keys().any(|id| before.vms.contains_key(id));
                        if about_it || did.policy.is_some() || !next.back(before).can_be() {
                            return None;
                        }
                    }
                }
                Some(next)
            }
        }
    }

    /// What a worker must see: whose each key is, and which port its class closes first.
    fn hold(&self, registry: &Registry, snapshot: Snapshot<'_>) {
        let closed = |class: ClassId| snapshot.settings.classes.get(class).ports.ranges().first().map(|r| r.first);
        for scope in 0..2 {
            let scope = Scope(scope);
            for number in 0..6 {
                let owner = |key: Key| self.vms.values().find(|vm| keys(vm).any(|k| k == key));
                let address = std::net::IpAddr::from([10, 0, 0, number]);
                for (key, found) in [
                    (Key::Mac(scope, mac(number)), snapshot.vms.vm_by_mac(scope, mac(number))),
                    (Key::address(scope, address), snapshot.vms.vm_by_ip(scope, address)),
                ] {
                    let owner = owner(key);
                    assert_eq!(found.and_then(|at| registry.by_index(at)).map(|vm| &**vm), owner, "{key:?}");
                    if let (Some(at), Some(vm)) = (found, owner) {
                        let port = match (&vm.class, vm.public_ipv4) {
                            (Some(class), _) => self.classes.get(class).copied(),
                            (None, Some(_)) => None,
                            (None, None) => Some(25),
                        };
                        assert_eq!(closed(snapshot.vms.state(at).class), port, "class of {}", vm.id);
                        let but = excepted(vm).and_then(|class| self.classes.get(class).copied());
                        assert_eq!(snapshot.vms.state(at).has_exceptions, but.is_some(), "exceptions of {}", vm.id);
                        let opened = [1000, 1001, 1002, 1003, 1004].map(|port| {
                            let wanted = Wanted::Port(std::net::Ipv4Addr::LOCALHOST.into(), port);
                            snapshot.grants.exceptions.opening(at, &snapshot.settings.classes, wanted).is_some()
                        });
                        let expected =
                            [1000, 1001, 1002, 1003, 1004].map(|port| but.is_some_and(|closed| closed != port));
                        assert_eq!(opened, expected, "exceptions of {}", vm.id);
                    }
                }
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || proptest::collection::vec(0u8..6, 0..3);
    let class = || proptest::option::of(0u8..3);
    let step = prop_oneof![
        6 => (0u8..6, some(), some(), any::<bool>(), 0u16..2, class(), class()).prop_map(
            |(vm, macs, ips, public, scope, class, but)| Step::Set { vm, macs, ips, public, scope, class, but }
        ),
        2 => (0u8..6, class()).prop_map(|(vm, class)| Step::Class { vm, class }),
        2 => (0u8..6).prop_map(|vm| Step::Delete { vm }),
        2 => (proptest::collection::btree_set(0u8..3, 0..4), 1000u16..1003, proptest::option::of(0u8..6)).prop_map(
            |(classes, port, router)| Step::Settings { classes: classes.into_iter().collect(), port, router }
        ),
    ];
    proptest::collection::vec(step, 1..5)
}

/// Changes, each with the question whether it is published at once or with the next one.
fn history() -> impl Strategy<Value = Vec<(Event, Vec<Step>, bool)>> {
    let event = prop_oneof![
        8 => Just(Event::Change),
        2 => Just(Event::Unconfirmed),
        1 => Just(Event::Confirm),
        1 => Just(Event::RollBack),
    ];
    proptest::collection::vec((event, steps(), any::<bool>()), 1..40)
}

fn check(history: &[(Event, Vec<Step>, bool)]) {
    let (mut registry, mut readers): (_, Vec<Reader>) =
        Registry::create(CAPACITY, 1, settings(&[], 0, None), Clock::default()).unwrap();
    let mut model = Model {
        vms: BTreeMap::new(),
        classes: [("restricted".to_owned(), 25), ("unrestricted".to_owned(), 0)].into(),
        routers: BTreeSet::new(),
        revision: 0,
        before: None,
    };
    let reader = &mut readers[0];
    for (event, steps, publish) in history {
        let edits = || steps.iter().map(Step::edit);
        let way_back = if matches!(event, Event::Unconfirmed) { WayBack::Kept } else { WayBack::Same };
        // To try it first leaves no trace.
        let tried = match event {
            Event::Change | Event::Unconfirmed => Some(registry.rehearse(edits(), way_back)),
            Event::Confirm | Event::RollBack => None,
        };
        assert_eq!(registry.revision(), Revision(model.revision), "{steps:?}");
        assert!(registry.iter_after(None).map(|(_, vm)| &**vm).eq(model.vms.values()), "{steps:?}");
        let outcome = match event {
            Event::Change | Event::Unconfirmed => registry.stage_as(edits(), way_back),
            Event::Confirm => registry.stage_confirmation(),
            Event::RollBack => registry.stage_rollback(),
        };
        if let Some(tried) = &tried {
            assert_eq!(tried.is_ok(), outcome.is_ok(), "{steps:?}");
        }
        match model.happen(*event, steps) {
            Some(next) => {
                let change = outcome.unwrap_or_else(|(at, error)| panic!("{steps:?}, edit {at}: {error}"));
                assert_eq!(change.changed, next.revision != model.revision, "{steps:?}");
                if let Some(would) = tried.map(Result::unwrap) {
                    assert_eq!(change.changed, !would.vms.is_empty() || would.settings.is_some(), "{steps:?}");
                    for change in would.vms {
                        let old = change.old.as_deref();
                        assert_eq!(old, model.vms.get(&change.id), "{steps:?}");
                        assert_eq!(change.new.as_deref(), next.vms.get(&change.id), "{steps:?}");
                    }
                }
                model = next;
            }
            None => assert!(outcome.is_err(), "{steps:?} cannot be, but was taken"),
        }
        assert_eq!(registry.revision(), Revision(model.revision));
        assert_eq!(registry.unconfirmed().is_some(), model.before.is_some(), "{steps:?}");
        assert!(registry.iter_after(None).map(|(_, vm)| &**vm).eq(model.vms.values()), "{steps:?}");
        if *publish {
            registry.publish();
            model.hold(&registry, registry.snapshot());
            model.hold(&registry, reader.snapshot());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_is_what_a_map_would_be(history in history()) {
        check(&history);
    }
}
