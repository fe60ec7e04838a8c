//! What calls do: the one owner of the registry. No sockets, no threads.
//!
//! A change waits for its grace period here, so the thread that owns a [`State`] is busy for up to its patience (100
//! ms) when a worker stands still, and other clients' calls wait with it. Changes then pile up no further than that:
//! each waits for the one before it, and is refused when its own patience is over.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rpc::{self, Answer, Applied, Call, Kind, RpcError, VersionAnswer, VmAnswer, VmEntry, VmsAnswer};
use crate::model::{Revision, VmIndex};
use crate::table::{NotSettled, TableError};
use crate::telemetry::ledger::{Ledger, Starts};
use crate::telemetry::report::{self, Named, Report};
use crate::vm::edit::{Edit, EditError};
use crate::vm::record::{Vm, VmId};
use crate::vm::registry::Registry;

/// How long a change waits for every worker.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// Everything the control plane knows and may change.
#[derive(Debug)]
pub struct State {
    registry: Registry,
    ledger: Arc<Ledger>,
    dpdk: Option<String>,
    patience: Duration,
    starts: Starts,
    /// Numbers of deleted VMs under which workers may be counting still.
    leaving: Vec<VmIndex>,
}

impl State {
    /// Over a registry and what is counted for its VMs.
    #[must_use]
    pub fn new(registry: Registry, ledger: Arc<Ledger>) -> Self {
        Self { registry, ledger, dpdk: None, patience: PATIENCE, starts: Starts::default(), leaving: Vec::new() }
    }

    /// What `version` says of DPDK.
    #[must_use]
    pub fn with_dpdk_version(mut self, version: impl Into<String>) -> Self {
        self.dpdk = Some(version.into());
        self
    }

    /// How long a change waits for every worker; [`PATIENCE`] unless said.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What is known of VMs.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Does what a call asks.
    ///
    /// # Errors
    /// It is refused, and nothing changed; or it is done but not in force yet (`not_in_force` with `applied` true).
    pub fn handle(&mut self, call: Call) -> Result<Answer, RpcError> {
        match call {
            Call::VmSet { set, if_revision } => self.change(vec![Edit::Set(set)], if_revision),
            Call::VmPatch { id, patch, if_revision } => self.change(vec![Edit::Patch(id, patch)], if_revision),
            Call::VmDelete { id, if_revision } => self.change(vec![Edit::Delete(id)], if_revision),
            Call::VmGet { id } => self.vm(&id),
            Call::VmList { after, limit } => Ok(Answer::Vms(self.vms(after.as_ref(), limit))),
            Call::StatsGet { vms } => Ok(Answer::Stats(Box::new(self.report(vms)))),
            Call::Version => Ok(Answer::Version(self.version())),
        }
    }

    /// Makes a change, whole or not at all, and waits until it is in force on every worker.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub fn apply(&mut self, edits: Vec<Edit>, if_revision: Option<Revision>) -> Result<Applied, RpcError> {
        let current = self.registry.revision();
        if let Some(wanted) = if_revision
            && wanted != current
        {
            let message = format!(
                "the revision is {}, not {}: something was changed meanwhile; read again, then decide",
                current.0, wanted.0
            );
            return Err(RpcError::new(Kind::RevisionMismatch, message).with("revision", current.0));
        }
        let deadline = Instant::now() + self.patience;
        self.settle(deadline).map_err(|late| self.not_in_force(&late, false))?;
        let change = match self.registry.apply(edits) {
            Ok(change) => change,
            Err((_, EditError::NotSettled(late))) => return Err(self.not_in_force(&late, false)),
            Err((_, error)) => return Err(error.into()),
        };
        if !change.changed {
            return Ok(Applied { revision: change.revision, changed: false, applied_us: 0 });
        }
        self.leaving = change.deleted;
        let took = self.settle(deadline).map_err(|late| self.not_in_force(&late, true))?;
        let applied_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Ok(Applied { revision: change.revision, changed: true, applied_us })
    }

    /// The statistics document, of this moment.
    #[must_use]
    pub fn report(&self, with_vms: bool) -> Report {
        let report = self.ledger.report(self.registry.revision());
        let judged = |(at, vm): (VmIndex, &Arc<Vm>)| (vm.id.to_string(), self.starts.judged(&self.ledger, at));
        match with_vms {
            true => report.with_vms(self.registry.iter_after(None).map(judged).collect()),
            false => report.with_vms(Named::default()),
        }
    }

    fn change(&mut self, edits: Vec<Edit>, if_revision: Option<Revision>) -> Result<Answer, RpcError> {
        self.apply(edits, if_revision).map(Answer::Applied)
    }

    fn vm(&self, id: &VmId) -> Result<Answer, RpcError> {
        let Some((index, _)) = self.registry.get(id) else {
            return Err(RpcError::new(Kind::NotFound, format!("there is no VM {id}")));
        };
        let entry = self.entry(index).ok_or_else(|| RpcError::new(Kind::Internal, format!("VM {id} has no record")))?;
        Ok(Answer::Vm(Box::new(VmAnswer { entry, revision: self.registry.revision() })))
    }

    fn vms(&self, after: Option<&VmId>, limit: usize) -> VmsAnswer {
        let mut following = self.registry.iter_after(after);
        let vms: Vec<VmEntry> = following.by_ref().take(limit).filter_map(|(index, _)| self.entry(index)).collect();
        let next = following.next().and_then(|_| vms.last()).map(|last| last.vm.id.clone());
        VmsAnswer { vms, next, revision: self.registry.revision() }
    }

    fn entry(&self, index: VmIndex) -> Option<VmEntry> {
        let vm = self.registry.by_index(index)?;
        let (_, class) = self.registry.class(vm);
        Some(VmEntry {
            vm: Vm::clone(vm),
            effective_class: class.into(),
            counters: self.starts.judged(&self.ledger, index),
        })
    }

    fn version(&self) -> VersionAnswer {
        VersionAnswer {
            version: Cow::Borrowed(crate::VERSION),
            protocol: rpc::PROTOCOL,
            schema: report::SCHEMA,
            dpdk: self.dpdk.clone(),
        }
    }

    /// Waits for the last change. A deleted VM's count is final then and not before, and no other VM can have its number
    /// earlier: so this is the moment to remember what the next one starts from.
    fn settle(&mut self, deadline: Instant) -> Result<Duration, NotSettled> {
        let took = self.registry.settle(deadline)?;
        self.starts.retire(&self.ledger, std::mem::take(&mut self.leaving));
        Ok(took)
    }

    fn not_in_force(&self, late: &NotSettled, applied: bool) -> RpcError {
        let (revision, workers) = (self.registry.revision().0, &late.workers);
        let patience = self.patience.as_millis();
        let message = match applied {
            true => format!(
                "revision {revision} is made but workers {workers:?} do not use it after {patience} ms; it stays, and \
                 comes into force when they go on"
            ),
            false => format!(
                "nothing was changed: revision {revision}, an earlier change, still waits for workers {workers:?} after \
                 {patience} ms; try again"
            ),
        };
        RpcError::new(Kind::NotInForce, message)
            .with("revision", revision)
            .with("waiting_for", workers.clone())
            .with("applied", applied)
    }
}

impl From<EditError> for RpcError {
    fn from(error: EditError) -> Self {
        let message = error.to_string();
        match error {
            EditError::Record(_) => Self::new(Kind::InvalidParams, message),
            EditError::Conflict { other, .. } => Self::new(Kind::Conflict, message).with("other", other.to_string()),
            EditError::Router { mac, .. } => Self::new(Kind::Conflict, message).with("router", mac.to_string()),
            EditError::UnknownClass { class, known, .. } => {
                let nearest = crate::text::did_you_mean(&class, known.iter().map(String::as_str));
                Self::new(Kind::UnknownClass, format!("{}{nearest}", crate::text::plain(&message, MESSAGE_CHARS_MAX)))
            }
            EditError::ClassInUse { vm, .. } => Self::new(Kind::Conflict, message).with("other", vm.to_string()),
            EditError::Classes(_) => Self::new(Kind::InvalidParams, message),
            EditError::Journal(_) => Self::new(Kind::Internal, message),
            EditError::NotFound(_) => Self::new(Kind::NotFound, message),
            EditError::VmsFull { .. } => Self::new(Kind::TableFull, message).with("limit", "table.vms"),
            EditError::Table { source, .. } => match source {
                TableError::KeysFull { .. } | TableError::Ipv6KeysFull { .. } | TableError::Crowded { .. } => {
                    Self::new(Kind::TableFull, message).with("limit", "table.keys")
                }
                TableError::PrefixLengths { .. } => Self::new(Kind::TableFull, message).with("limit", "prefix_lengths"),
                TableError::VmsFull { .. } => Self::new(Kind::TableFull, message).with("limit", "table.vms"),
                TableError::Taken { .. } => Self::new(Kind::Internal, message),
            },
            EditError::NotSettled(late) => {
                Self::new(Kind::NotInForce, message).with("waiting_for", late.workers).with("applied", false)
            }
        }
    }
}

/// Most characters of a refusal before its suggestion: the classes of a configuration can be many.
const MESSAGE_CHARS_MAX: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::rpc::{Line, parse_line};
    use crate::model::{ClassId, Direction};
    use crate::policy::{Class, Classes, Reader, Settings, Tally};
    use crate::table::Capacity;
    use crate::telemetry::counters::Block;
    use serde_json::{Value, json};

    const CAPACITY: Capacity = Capacity { vms: 4, keys: 16 };

    /// A box of two workers and one link, its classes those of an operator who added one.
    fn state() -> (State, Vec<Reader>, Vec<Arc<Block>>) {
        let restricted = Classes::default().get(ClassId::RESTRICTED).clone();
        let mta_only = Class { name: "mta-only".into(), ..restricted.clone() };
        let classes = Classes::new(restricted, [mta_only]).unwrap();
        let via = vec!["52:54:00:ff:ff:01".parse().unwrap()];
        let settings = Settings { classes, via, ..Settings::default() };
        let (registry, readers) = Registry::create(CAPACITY, 2, settings).unwrap();
        let blocks: Vec<_> = (0..2).map(|_| Arc::new(Block::new(1, CAPACITY.vms as usize))).collect();
        let state = State::new(registry, Arc::new(Ledger::new(blocks.clone(), vec!["uplink".into()])))
            .with_patience(Duration::ZERO);
        (state, readers, blocks)
    }

    /// What a client would be answered: the `result`, or the `error`.
    fn ask(state: &mut State, method: &str, params: &Value) -> Result<Value, Value> {
        let line = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let Line::One(request) = parse_line(line.as_bytes()) else { panic!("one request") };
        match request.call.and_then(|call| state.handle(call)) {
            Ok(answer) => Ok(serde_json::to_value(answer).unwrap()),
            Err(error) => Err(serde_json::to_value(error).unwrap()),
        }
    }

    fn kind(outcome: Result<Value, Value>) -> String {
        outcome.unwrap_err()["data"]["kind"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_vm_is_made_changed_and_forgotten() {
        let (mut state, _readers, _) = state();
        let made = ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
        assert_eq!((&made["revision"], &made["changed"]), (&json!(1), &json!(true)));
        assert!(made["applied_us"].is_u64());
        let again = ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
        assert_eq!(again, json!({"revision": 1, "changed": false, "applied_us": 0}));

        let vm = ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap();
        let zero = json!({"allowed": 0, "denied": 0, "excepted": 0, "would_deny": 0});
        assert_eq!(
            vm,
            json!({
                "vm": {"id": "web1", "macs": [], "ips": ["10.0.0.5"], "public_ipv4": null, "scope": 0, "class": null,
                       "mode": "enforce", "note": null},
                "effective_class": "restricted",
                "counters": {"egress": zero, "ingress": zero},
                "revision": 1
            })
        );
        assert_eq!(
            ask(&mut state, "vm.set", &vm["vm"]).unwrap()["changed"],
            false,
            "a record can be set as it was got"
        );

        ask(&mut state, "vm.patch", &json!({"id": "web1", "public_ipv4": "203.0.113.5"})).unwrap();
        assert_eq!(ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap()["effective_class"], "unrestricted");
        ask(&mut state, "vm.patch", &json!({"id": "web1", "class": "mta-only"})).unwrap();
        assert_eq!(ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap()["effective_class"], "mta-only");

        assert_eq!(ask(&mut state, "vm.delete", &json!({"id": "web1"})).unwrap()["changed"], true);
        let gone = ask(&mut state, "vm.delete", &json!({"id": "web1"})).unwrap();
        assert_eq!(gone, json!({"revision": 4, "changed": false, "applied_us": 0}));
        assert_eq!(kind(ask(&mut state, "vm.get", &json!({"id": "web1"}))), "not_found");
        assert_eq!(kind(ask(&mut state, "vm.patch", &json!({"id": "web1"}))), "not_found");
    }

    #[test]
    fn a_refusal_says_why_and_changes_nothing() {
        let (mut state, _readers, _) = state();
        ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
        for (params, kind, words) in [
            (json!({"id": "web2", "ips": ["10.0.0.5"]}), "conflict", "10.0.0.5 belongs to VM web1"),
            (json!({"id": "web2", "macs": ["52:54:00:ff:ff:01"]}), "conflict", "router"),
            (
                json!({"id": "web2", "ips": ["10.0.0.6"], "class": "mta-onyl"}),
                "unknown_class",
                "did you mean `mta-only`?",
            ),
            (json!({"id": "web2"}), "invalid_params", "neither MAC nor IP"),
            (json!({"id": "web2", "macs": ["ff:ff:ff:ff:ff:ff"]}), "invalid_params", "broadcast"),
        ] {
            let error = ask(&mut state, "vm.set", &params).unwrap_err();
            assert_eq!(error["data"]["kind"], kind, "{error}");
            assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        }
        assert_eq!(state.registry().revision(), Revision(1));
        assert_eq!(state.registry().len(), 1);
    }

    #[test]
    fn a_full_table_is_refused_by_the_name_of_its_limit() {
        let (mut state, _readers, _) = state();
        for vm in 1..=4 {
            ask(&mut state, "vm.set", &json!({"id": format!("vm{vm}"), "ips": [format!("10.0.0.{vm}")]})).unwrap();
        }
        let error = ask(&mut state, "vm.set", &json!({"id": "vm5", "ips": ["10.0.0.5"]})).unwrap_err();
        assert_eq!(error["data"], json!({"kind": "table_full", "limit": "table.vms"}));
        let ips: Vec<_> = (10..30).map(|n| format!("10.0.0.{n}")).collect();
        let error = ask(&mut state, "vm.set", &json!({"id": "vm1", "ips": ips})).unwrap_err();
        assert_eq!(error["data"], json!({"kind": "table_full", "limit": "table.keys"}));
    }

    #[test]
    fn if_revision_lets_nobody_overwrite_what_he_has_not_seen() {
        let (mut state, _readers, _) = state();
        ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"], "if_revision": 0})).unwrap();
        for (method, params) in [
            ("vm.set", json!({"id": "web1", "ips": ["10.0.0.6"], "if_revision": 0})),
            ("vm.patch", json!({"id": "web1", "note": "x", "if_revision": 0})),
            ("vm.delete", json!({"id": "web1", "if_revision": 2})),
            ("vm.delete", json!({"id": "nobody", "if_revision": 0})),
        ] {
            let error = ask(&mut state, method, &params).unwrap_err();
            assert_eq!(error["data"], json!({"kind": "revision_mismatch", "revision": 1}), "{method} {params}");
        }
        assert_eq!(ask(&mut state, "vm.delete", &json!({"id": "web1", "if_revision": 1})).unwrap()["revision"], 2);
    }

    #[test]
    fn a_change_is_not_in_force_before_every_worker_uses_it() {
        let (mut state, mut readers, _) = state();
        readers[1].go_online();
        let set = |ip: &str| json!({"id": "web1", "ips": [ip]});

        let error = ask(&mut state, "vm.set", &set("10.0.0.5")).unwrap_err();
        let waiting = json!({"kind": "not_in_force", "revision": 1, "waiting_for": [1], "applied": true});
        assert_eq!(error["data"], waiting);
        assert_eq!(state.registry().len(), 1, "the change stays");

        let error = ask(&mut state, "vm.set", &set("10.0.0.6")).unwrap_err();
        let waiting = json!({"kind": "not_in_force", "revision": 1, "waiting_for": [1], "applied": false});
        assert_eq!(error["data"], waiting, "the next one is not made");
        let vm = ask(&mut state, "vm.get", &json!({"id": "web1"})).unwrap();
        assert_eq!(vm["vm"]["ips"], json!(["10.0.0.5"]));

        readers[1].snapshot();
        let again = ask(&mut state, "vm.set", &set("10.0.0.5")).unwrap();
        assert_eq!(again["changed"], false, "asking again tells that it is in force now");
    }

    #[test]
    fn the_list_comes_in_pages_in_the_order_of_ids() {
        let (mut state, _readers, _) = state();
        for (id, ip) in [("c", "10.0.0.3"), ("a", "10.0.0.1"), ("b", "10.0.0.2")] {
            ask(&mut state, "vm.set", &json!({"id": id, "ips": [ip]})).unwrap();
        }
        let ids =
            |page: &Value| page["vms"].as_array().unwrap().iter().map(|vm| vm["vm"]["id"].clone()).collect::<Vec<_>>();
        let first = ask(&mut state, "vm.list", &json!({"limit": 2})).unwrap();
        assert_eq!(
            (ids(&first), &first["next"], &first["revision"]),
            (vec![json!("a"), json!("b")], &json!("b"), &json!(3))
        );
        let second = ask(&mut state, "vm.list", &json!({"limit": 2, "after": first["next"]})).unwrap();
        assert_eq!((ids(&second), &second["next"]), (vec![json!("c")], &Value::Null));
        let exact = ask(&mut state, "vm.list", &json!({"limit": 3})).unwrap();
        assert_eq!((ids(&exact).len(), &exact["next"]), (3, &Value::Null));
        assert_eq!(ids(&ask(&mut state, "vm.list", &json!({"after": "z"})).unwrap()), [json!(null); 0]);
        for limit in [json!(0), json!(10_001), json!(-1), json!(1e30), json!("5")] {
            assert_eq!(kind(ask(&mut state, "vm.list", &json!({"limit": limit}))), "invalid_params", "{limit}");
        }
    }

    #[test]
    fn all_workers_count_for_a_vm_and_a_new_vm_starts_at_zero() {
        let (mut state, mut readers, blocks) = state();
        ask(&mut state, "vm.set", &json!({"id": "old", "ips": ["10.0.0.5"]})).unwrap();
        let (index, _) = state.registry().get(&"old".parse().unwrap()).unwrap();
        let count = |block: usize| blocks[block].add_judged(Some(index), Direction::Egress, Tally::Denied);
        let denied = |state: &mut State, id: &str| {
            ask(state, "vm.get", &json!({"id": id})).unwrap()["counters"]["egress"]["denied"].as_u64().unwrap()
        };
        count(0);
        count(1);
        assert_eq!(denied(&mut state, "old"), 2);

        readers[0].go_online();
        assert_eq!(kind(ask(&mut state, "vm.delete", &json!({"id": "old"}))), "not_in_force");
        count(0); // The worker has not seen the change yet.
        readers[0].go_offline();
        ask(&mut state, "vm.set", &json!({"id": "new", "ips": ["10.0.0.6"]})).unwrap();
        assert_eq!(state.registry().get(&"new".parse().unwrap()).unwrap().0, index, "the number is used again");
        assert_eq!(denied(&mut state, "new"), 0);
        count(1);
        assert_eq!(denied(&mut state, "new"), 1);
        ask(&mut state, "vm.patch", &json!({"id": "new", "note": "x"})).unwrap();
        assert_eq!(denied(&mut state, "new"), 1, "a changed VM is the same VM");
    }

    #[test]
    fn the_statistics_have_the_vms_unless_they_are_not_wanted() {
        let (mut state, _readers, blocks) = state();
        ask(&mut state, "vm.set", &json!({"id": "web1", "ips": ["10.0.0.5"]})).unwrap();
        blocks[0].add_judged(None, Direction::Ingress, Tally::Allowed);
        let stats = ask(&mut state, "stats.get", &json!({})).unwrap();
        assert_eq!(stats["links"]["uplink"]["inside"]["rx"], 0);
        assert_eq!(stats["unknown"]["ingress"]["allowed"], 1);
        assert_eq!((&stats["revision"], &stats["balanced"]), (&json!(1), &json!(true)));
        assert_eq!(stats["vms"]["web1"]["egress"]["denied"], 0);
        assert_eq!(ask(&mut state, "stats.get", &json!({"vms": false})).unwrap()["vms"], json!({}));
    }

    #[test]
    fn version_tells_program_contract_and_document() {
        let (state, _readers, _) = state();
        let mut state = state.with_dpdk_version("DPDK 22.11.4");
        let version = ask(&mut state, "version", &json!({})).unwrap();
        assert_eq!(version, json!({"version": crate::VERSION, "protocol": 1, "schema": 1, "dpdk": "DPDK 22.11.4"}));
    }
}
