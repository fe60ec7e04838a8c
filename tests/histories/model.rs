//! What the box must be like: a few VMs and a policy as plain values, and what each operation makes of them.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::testkit::Station;
use serde_json::{Value, json};

/// The VMs that there can be.
pub(crate) const IDS: [&str; 4] = ["a", "b", "c", "d"];
/// Slots: a MAC and an IPv4 address that go together, from which mail comes all the time.
pub(crate) const SLOTS: u8 = 6;

/// The station at a slot.
pub(crate) const fn station(slot: u8) -> Station {
    Station::vm("slot", slot + 1)
}

pub(crate) type Id = &'static str;
type Slots = BTreeSet<u8>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vm {
    pub(crate) slots: Slots,
    pub(crate) public: bool,
    pub(crate) class: Option<&'static str>,
    pub(crate) monitor: bool,
}

/// All that may be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) vms: BTreeMap<Id, Vm>,
    /// The box is in monitor mode.
    pub(crate) monitor: bool,
    /// The class `mta-only` closes port 25.
    pub(crate) mta_closed: bool,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Set(Id, Slots, bool),
    Patch(Id, Part),
    Delete(Id),
    Monitor(bool),
    MtaClosed(bool),
    Txn(Vec<Op>, Option<u64>),
    Confirm,
    Rollback,
    /// An inventory: these VMs and no others.
    Sync(BTreeMap<Id, (Slots, bool)>),
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Slots(Slots),
    Public(bool),
    Class(Option<&'static str>),
    Monitor(bool),
}

/// What may come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Made,
    Same,
    /// Made or the same, and not in force yet: a worker did not get its CPU in time.
    Late,
    Refused(&'static str),
}

/// A change that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    before: Truth,
    vms: BTreeSet<Id>,
    policy: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) truth: Truth,
    pub(crate) revision: u64,
    waiting: Option<Waiting>,
}

impl Truth {
    /// What an operation would make of it, whoever owns what.
    fn after(&self, op: &Op) -> Result<Self, &'static str> {
        let mut next = self.clone();
        match op {
            Op::Set(id, slots, public) => next.set(id, slots, *public),
            Op::Patch(id, part) => {
                let vm = next.vms.get_mut(id).ok_or("not_found")?;
                match part {
                    Part::Slots(slots) => vm.slots.clone_from(slots),
                    Part::Public(public) => vm.public = *public,
                    Part::Class(class) => vm.class = *class,
                    Part::Monitor(monitor) => vm.monitor = *monitor,
                }
            }
            Op::Delete(id) => drop(next.vms.remove(id)),
            Op::Monitor(monitor) => next.monitor = *monitor,
            Op::MtaClosed(closed) => next.mta_closed = *closed,
            Op::Txn(ops, _) => {
                for op in ops {
                    next = next.after(op)?;
                }
            }
            Op::Sync(inventory) => {
                next.vms.retain(|id, _| inventory.contains_key(id));
                inventory.iter().for_each(|(id, (slots, public))| next.set(id, slots, *public));
            }
            Op::Confirm | Op::Rollback => {}
        }
        Ok(next)
    }

    fn set(&mut self, id: Id, slots: &Slots, public: bool) {
        let vm = self.vms.entry(id).or_insert(Vm { slots: Slots::new(), public, class: None, monitor: false });
        vm.slots.clone_from(slots);
        vm.public = public;
    }

    /// A slot is of two VMs.
    fn clashes(&self) -> bool {
        let all: Vec<u8> = self.vms.values().flat_map(|vm| vm.slots.iter().copied()).collect();
        all.iter().collect::<BTreeSet<_>>().len() < all.len()
    }

    fn owner(&self, slot: u8) -> Option<(Id, &Vm)> {
        self.vms.iter().find(|(_, vm)| vm.slots.contains(&slot)).map(|(id, vm)| (*id, vm))
    }

    /// Under whose name mail from a slot counts, and as what.
    pub(crate) fn verdict(&self, slot: u8) -> (Option<Id>, &'static str) {
        let Some((id, vm)) = self.owner(slot) else {
            return (None, if self.monitor { "would_deny" } else { "denied" });
        };
        let closed = match (vm.class, vm.public) {
            (Some("unrestricted"), _) | (None, true) => false,
            (Some("mta-only"), _) => self.mta_closed,
            _ => true,
        };
        let tally = match (closed, self.monitor || vm.monitor) {
            (false, _) => "allowed",
            (true, true) => "would_deny",
            (true, false) => "denied",
        };
        (Some(id), tally)
    }
}

impl Waiting {
    /// What is true when it is undone.
    fn undone(&self, now: &Truth) -> Truth {
        let mut truth = now.clone();
        for id in &self.vms {
            match self.before.vms.get(id) {
                Some(vm) => drop(truth.vms.insert(id, vm.clone())),
                None => drop(truth.vms.remove(id)),
            }
        }
        if self.policy {
            (truth.monitor, truth.mta_closed) = (self.before.monitor, self.before.mta_closed);
        }
        truth
    }
}

impl Model {
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    fn made(&self, truth: Truth, waiting: Option<Waiting>) -> (Came, Self) {
        (Came::Made, Self { truth, revision: self.revision + 1, waiting })
    }

    /// What may come of an operation that is to be made only at a revision. It is one thing but for the order in which
    /// reasons for a refusal are looked at.
    pub(crate) fn outcomes(&self, op: &Op, only_at: Option<u64>) -> Vec<(Came, Self)> {
        let refused = |kind| (Came::Refused(kind), self.clone());
        if only_at.is_some_and(|revision| revision != self.revision) {
            return vec![refused("revision_mismatch")];
        }
        if let Op::Confirm | Op::Rollback = op {
            let Some(waiting) = &self.waiting else { return vec![refused("not_found")] };
            let truth = match op {
                Op::Rollback => waiting.undone(&self.truth),
                _ => self.truth.clone(),
            };
            return vec![self.made(truth, None)];
        }
        let next = self.truth.after(op).and_then(|next| if next.clashes() { Err("conflict") } else { Ok(next) });
        let (vms, policy) = match &next {
            Ok(next) => self.difference(next),
            Err(_) => (BTreeSet::new(), false),
        };
        let to_confirm = matches!(op, Op::Txn(_, Some(_)));
        let mut outcomes = Vec::new();
        // What is refused for two reasons may be refused for either.
        if let Some(waiting) = &self.waiting {
            let in_the_way = match &next {
                Ok(next) => {
                    let touches = policy || vms.iter().any(|id| waiting.vms.contains(id));
                    touches || to_confirm || waiting.undone(next).clashes()
                }
                Err(_) => true,
            };
            // Whether an operation that changes nothing is in the way is not promised.
            if in_the_way || next.as_ref() == Ok(&self.truth) {
                outcomes.push(refused("pending_confirm"));
            }
            if in_the_way && next.is_ok() && (policy || !vms.is_empty()) {
                return outcomes;
            }
        }
        match next {
            Err(kind) => {
                outcomes.push(refused(kind));
                if matches!(op, Op::Txn(..)) {
                    outcomes.extend(["conflict", "not_found"].into_iter().filter(|other| *other != kind).map(refused));
                }
            }
            Ok(next) if next == self.truth => outcomes.push((Came::Same, self.clone())),
            Ok(next) => {
                let waiting = if to_confirm {
                    Some(Waiting { before: self.truth.clone(), vms, policy })
                } else {
                    self.waiting.clone()
                };
                outcomes.push(self.made(next, waiting));
            }
        }
        outcomes
    }

    /// The VMs that are others, and whether policy is.
    fn difference(&self, next: &Truth) -> (BTreeSet<Id>, bool) {
        let ids = IDS.into_iter().filter(|id| self.truth.vms.get(id) != next.vms.get(id)).collect();
        let policy = (self.truth.monitor, self.truth.mta_closed) != (next.monitor, next.mta_closed);
        (ids, policy)
    }

    /// What is true when the process has ended, however it did, and another one has started.
    pub(crate) fn started_anew(&self) -> Self {
        match &self.waiting {
            Some(waiting) => self.made(waiting.undone(&self.truth), None).1,
            None => self.clone(),
        }
    }
}

impl Op {
    /// As the wire has it; not of a sync, which is several calls.
    pub(crate) fn request(&self) -> (&'static str, Value) {
        let slots = |slots: &Slots| {
            let stations: Vec<Station> = slots.iter().map(|&slot| station(slot)).collect();
            let macs: Vec<String> = stations.iter().map(|station| station.mac.to_string()).collect();
            let ips: Vec<String> = stations.iter().map(|station| station.ipv4.to_string()).collect();
            (macs, ips)
        };
        match self {
            Self::Set(id, of, public) => {
                let (macs, ips) = slots(of);
                ("vm.set", json!({"id": id, "macs": macs, "ips": ips, "public_ipv4": public_ipv4(id, *public)}))
            }
            Self::Patch(id, part) => {
                let mut params = json!({ "id": id });
                match part {
                    Part::Slots(of) => {
                        (params["macs"], params["ips"]) = {
                            let (macs, ips) = slots(of);
                            (json!(macs), json!(ips))
                        }
                    }
                    Part::Public(public) => params["public_ipv4"] = json!(public_ipv4(id, *public)),
                    Part::Class(class) => params["class"] = json!(class),
                    Part::Monitor(monitor) => params["mode"] = json!(monitor.then_some("monitor")),
                }
                ("vm.patch", params)
            }
            Self::Delete(id) => ("vm.delete", json!({ "id": id })),
            Self::Monitor(monitor) => {
                ("policy.patch", json!({"policy": {"mode": if *monitor { "monitor" } else { "enforce" }}}))
            }
            Self::MtaClosed(closed) => {
                let ports: &[u16] = if *closed { &[25, 465] } else { &[465] };
                ("policy.patch", json!({"class": {"mta-only": {"ports": ports}}}))
            }
            Self::Txn(ops, confirm) => {
                let operations: Vec<Value> = ops
                    .iter()
                    .map(|op| {
                        let (method, params) = op.request();
                        json!({"method": method, "params": params})
                    })
                    .collect();
                let mut params = json!({ "operations": operations });
                if let Some(seconds) = confirm {
                    params["confirm_s"] = json!(seconds);
                }
                ("txn", params)
            }
            Self::Confirm => ("txn.confirm", json!({})),
            Self::Rollback => ("txn.rollback", json!({})),
            Self::Sync(inventory) => {
                let vms =
                    inventory.iter().map(|(id, (slots, public))| Self::Set(id, slots.clone(), *public).request().1);
                ("sync.chunk", json!({ "vms": vms.collect::<Vec<_>>() }))
            }
        }
    }
}

/// Each VM has one of its own.
fn public_ipv4(id: Id, public: bool) -> Option<String> {
    public.then(|| format!("203.0.113.{}", 1 + IDS.iter().position(|other| *other == id).unwrap()))
}

/// A VM's record, back from the wire.
pub(crate) fn vm_of(record: &Value) -> (Id, Vm) {
    let id = IDS.into_iter().find(|id| record["id"] == *id).unwrap_or_else(|| panic!("{record}"));
    let listed = |field: &str, text: fn(Station) -> String| -> Slots {
        let all: Vec<&str> = record[field].as_array().into_iter().flatten().map(|it| it.as_str().unwrap()).collect();
        let slots: Slots = (0..SLOTS).filter(|&slot| all.contains(&&*text(station(slot)))).collect();
        assert_eq!(slots.len(), all.len(), "{record}");
        slots
    };
    let slots = listed("macs", |station| station.mac.to_string());
    assert_eq!(slots, listed("ips", |station| station.ipv4.to_string()), "half a change: {record}");
    let public = record["public_ipv4"].as_str();
    assert!(public.is_none_or(|address| Some(address.to_owned()) == public_ipv4(id, true)), "{record}");
    let class = record["class"].as_str();
    let class =
        class.map(|class| ["restricted", "unrestricted", "mta-only"].into_iter().find(|it| *it == class).unwrap());
    let monitor = record["mode"].as_str().is_some_and(|mode| mode == "monitor");
    (id, Vm { slots, public: public.is_some(), class, monitor })
}

/// Monitor mode, and whether `mta-only` closes port 25, of a policy document.
pub(crate) fn policy_of(document: &Value) -> (bool, bool) {
    let ports = document["class"]["mta-only"]["ports"].as_array().unwrap_or_else(|| panic!("{document}"));
    (document["policy"]["mode"] == "monitor", ports.contains(&json!(25)))
}
