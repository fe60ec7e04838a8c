//! What can be seen of the box from outside.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::Client;
use crate::model::{Id, Model, SLOTS, Truth, Vm, policy_of, vm_of};
use crate::support::{LIMIT, assert_balance, number, wait_for};

/// What the box says is true, and at which revision.
pub(crate) fn truth(client: &mut Client) -> (Truth, u64) {
    let listed = client.ask("vm.list", &json!({}));
    let vms = listed["vms"].as_array().unwrap().iter().map(|entry| vm_of(&entry["vm"])).collect();
    let policy = client.ask("policy.get", &json!({}));
    let (monitor, mta_closed) = policy_of(&policy["document"]);
    (Truth { vms, monitor, mta_closed }, number(&listed["revision"]))
}

/// Mail of every slot is judged as it must be: from now on each count that must grow grows, and no other does.
pub(crate) fn frames_obey(client: &mut Client, truth: &Truth) {
    let expected: BTreeMap<Option<Id>, &str> = (0..SLOTS).map(|slot| truth.verdict(slot)).collect();
    // What workers have begun to judge by an earlier state is judged: the change was answered before this is asked.
    let before = client.ask("stats.get", &json!({}));
    let of = |stats: &Value, who: Option<Id>, tally: &str| {
        let judged = who.map_or(&stats["unknown"], |id| &stats["vms"][id]);
        number(&judged["egress"][tally])
    };
    let after = wait_for("mail of every slot is judged", || {
        let after = client.ask("stats.get", &json!({}));
        let grown = |(who, tally): (&Option<Id>, &&str)| of(&after, *who, tally) > of(&before, *who, tally);
        expected.iter().all(grown).then_some(after)
    });
    for (who, tally) in expected {
        for other in ["allowed", "denied", "excepted", "would_deny"].into_iter().filter(|other| *other != tally) {
            assert_eq!(of(&after, who, other), of(&before, who, other), "{who:?} is {tally}, not {other}: {truth:#?}");
        }
    }
    assert_balance(&after);
}

/// The history has every revision of this run of the daemon, once.
pub(crate) fn history_agrees(client: &mut Client, begun: u64, model: &Model) {
    let history = client.ask("history", &json!({"limit": 1000}));
    let mut revisions: Vec<u64> =
        history["entries"].as_array().unwrap().iter().map(|it| number(&it["revision"])).collect();
    revisions.dedup();
    revisions.reverse();
    assert_eq!(revisions, (begun + 1..=model.revision).collect::<Vec<_>>());
}

/// Is told of changes, and keeps a copy of what is true by that alone.
pub(crate) struct Watcher {
    stream: UnixStream,
    told: Receiver<Value>,
    thread: JoinHandle<()>,
    vms: BTreeMap<Id, Vm>,
    policy: (bool, bool),
    revision: u64,
}

impl Watcher {
    pub(crate) fn begin(socket: &Path, client: &mut Client) -> Self {
        let (Truth { vms, monitor, mta_closed }, revision) = truth(client);
        let mut watching = Client::connect(socket);
        let answer = watching.ask("watch", &json!({"from_revision": revision}));
        assert_eq!(number(&answer["revision"]), revision);
        let stream = watching.0.get_ref().try_clone().unwrap();
        stream.set_read_timeout(None).unwrap();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let Client(lines) = watching;
            read(lines, |line| tell.send(line).is_ok());
        });
        Self { stream, told, thread, vms, policy: (monitor, mta_closed), revision }
    }

    /// Hears of everything up to the model's revision, and knows what it knows then.
    pub(crate) fn catch_up(&mut self, model: &Model) {
        while self.revision < model.revision {
            let told = self.told.recv_timeout(LIMIT).expect("a change is told");
            assert_eq!(told["method"], "change", "{told}");
            let change = &told["params"];
            assert_eq!((number(&change["revision"]), &change["more"]), (self.revision + 1, &json!(false)), "{told}");
            self.revision += 1;
            change["entries"].as_array().unwrap().iter().for_each(|entry| self.hear(entry));
        }
        assert_eq!((self.revision, &self.vms), (model.revision, &model.truth.vms));
        assert_eq!(self.policy, (model.truth.monitor, model.truth.mta_closed));
        assert!(self.told.try_recv().is_err(), "more is told than was changed");
    }

    fn hear(&mut self, entry: &Value) {
        let [before, after] = ["before", "after"].map(|when| &entry[when]);
        if entry["vm"].is_null() {
            if !after.is_null() {
                assert_eq!(policy_of(before), self.policy, "{entry}");
                self.policy = policy_of(after);
            }
            return;
        }
        let known = |record: &Value| (!record.is_null()).then(|| vm_of(record));
        let (id, vm) = known(after).or_else(|| known(before)).unwrap();
        assert_eq!(entry["vm"], id);
        assert_eq!(known(before).map(|(_, vm)| vm), self.vms.get(id).cloned(), "{entry}");
        match after.is_null() {
            true => drop(self.vms.remove(id)),
            false => drop(self.vms.insert(id, vm)),
        }
    }

    pub(crate) fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.thread.join().unwrap();
    }
}

/// Lines, until there are no more or nobody wants them.
fn read(mut lines: BufReader<UnixStream>, mut tell: impl FnMut(Value) -> bool) {
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|_| line.ends_with('\n')) && tell(serde_json::from_str(&line).unwrap()) {
        line.clear();
    }
}
