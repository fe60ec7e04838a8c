//! `history`: who changed what, and when. In memory, as much as fits; what is older, or was before this process, is gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::info;

use super::audit::Audit;
use crate::model::{Boot, Revision};
use crate::policy::Settings;
use crate::policy::document::Document;
use crate::vm::journal::Committed;
use crate::vm::record::{Vm, VmId};

/// Changes of a VM, or of policy, that are remembered.
pub const REMEMBERED: usize = 10_000;

/// Who asks, as the kernel says of his end of the socket (SO_PEERCRED).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Whose process.
    pub uid: u32,
    /// Which process, when it connected.
    pub pid: u32,
}

impl Who {
    /// This process.
    #[must_use]
    pub fn ourselves() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), pid: std::process::id() }
    }
}

/// What somebody did, by which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub who: Who,
    /// The method.
    pub method: &'static str,
}

/// One VM's change, or policy's.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Counts from 0 at the start of the process.
    pub number: u64,
    /// The revision that it made, perhaps with others.
    pub revision: Revision,
    /// Milliseconds since 1970, when it was published.
    pub at_ms: u64,
    /// Who did it, and how.
    pub by: By,
    /// What it was and is.
    pub what: What,
}

/// What was changed.
#[derive(Clone, Debug)]
pub enum What {
    /// A VM: before and after.
    Vm(VmId, [Option<Arc<Vm>>; 2]),
    /// What decides beside the VMs: before and after.
    Policy([Arc<Settings>; 2]),
    /// Nothing: a change that had been made was confirmed.
    Nothing,
}

/// Where a watcher is: behind which entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

/// What a watcher is told next.
#[derive(Clone, Debug)]
pub enum Watched {
    /// These changes, the oldest first; none if there is nothing new.
    Changes {
        /// Whole revisions, but perhaps for the last one.
        entries: Vec<Entry>,
        /// Behind them.
        next: Place,
        /// Whether the revision of the last one goes on.
        more: bool,
    },
    /// Not everything since is remembered.
    Compacted {
        /// The newest revision.
        revision: Revision,
        /// From there it goes on.
        next: Place,
    },
}

/// `change`, as a watcher is told.
#[derive(Debug, Serialize)]
pub struct Changed<'a> {
    /// The revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
    /// What it changed.
    pub entries: &'a [HistoryEntry],
    /// Whether the next `change` is of this revision, too.
    pub more: bool,
}

/// `compacted`, as a watcher is told: what came before is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// What is read now is of this revision or of a later one, and every later change will be told.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// What is remembered, the oldest first.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    next: u64,
    /// The newest revision of which something is forgotten.
    forgotten: Revision,
    newest: Revision,
    /// Where everything is written down as well, and as of which run of the process.
    audit: Option<(Audit, Boot)>,
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(since).unwrap_or(u64::MAX)
}

/// Which entries are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Of this VM only.
    pub vm: Option<VmId>,
    /// Older than the entry of this number.
    pub before: Option<u64>,
    /// So many at most.
    pub limit: usize,
}

impl History {
    /// Of what comes after `revision`.
    #[must_use]
    pub fn since(revision: Revision) -> Self {
        Self { forgotten: revision, newest: revision, ..Self::default() }
    }

    /// Writes everything down as well, of this run of the process.
    pub fn audited_by(&mut self, audit: Audit, boot: Boot) {
        self.audit = Some((audit, boot));
    }

    /// Where everything is written down.
    #[must_use]
    pub fn audit(&self) -> Option<&(Audit, Boot)> {
        self.audit.as_ref()
    }

    /// Remembers a change that is published now.
    pub fn remember(&mut self, change: Committed, by: By) {
        let at_ms = now_ms();
        let Committed { revision, vms, settings, .. } = change;
        if let Some(settings) = settings {
            let By { who: Who { uid, pid }, method } = by;
            info!("policy: revision {}, by {method} of uid {uid}, pid {pid}", revision.0);
            self.put(revision, at_ms, by, What::Policy(settings));
        }
        if vms.is_empty() && self.newest < revision {
            self.put(revision, at_ms, by, What::Nothing);
        }
        for vm in vms {
            self.put(revision, at_ms, by, What::Vm(vm.id, [vm.old, vm.new]));
        }
    }

    fn put(&mut self, revision: Revision, at_ms: u64, by: By, what: What) {
        if self.entries.len() == REMEMBERED
            && let Some(oldest) = self.entries.pop_front()
        {
            self.forgotten = oldest.revision;
        }
        self.newest = revision;
        let entry = Entry { number: self.next, revision, at_ms, by, what };
        if let Some((audit, boot)) = &self.audit {
            audit.made(*boot, entry.clone());
        }
        self.entries.push_back(entry);
        self.next += 1;
    }

    /// VMs that were changed since a revision; nothing if that is not known any more.
    #[must_use]
    pub fn changed_since(&self, revision: Revision) -> Option<impl Iterator<Item = &VmId>> {
        let known = self.forgotten <= revision;
        let newer = self.entries.iter().rev().take_while(move |entry| entry.revision > revision);
        known.then(|| {
            newer.filter_map(|entry| match &entry.what {
                What::Vm(id, _) => Some(id),
                What::Policy(_) | What::Nothing => None,
            })
        })
    }

    /// Where a watcher begins who knows what was true at a revision; nothing if not everything since is remembered.
    #[must_use]
    pub fn place(&self, revision: Revision) -> Option<Place> {
        let known = (self.forgotten..=self.newest).contains(&revision);
        let newer = self.entries.partition_point(|entry| entry.revision <= revision);
        known.then(|| Place(self.entries.get(newer).map_or(self.next, |entry| entry.number)))
    }

    /// Where a watcher begins who wants to know what comes.
    #[must_use]
    pub fn end(&self) -> Place {
        Place(self.next)
    }

    /// What a watcher is told next, `limit` entries at most.
    #[must_use]
    pub fn watched(&self, place: Option<Place>, limit: usize) -> Watched {
        let oldest = self.entries.front().map_or(self.next, |entry| entry.number);
        let Some(Place(place)) = place.filter(|place| place.0 >= oldest) else {
            return Watched::Compacted { revision: self.newest, next: self.end() };
        };
        let skipped = usize::try_from(place - oldest).unwrap_or(usize::MAX);
        let mut newer = self.entries.iter().skip(skipped);
        let entries: Vec<Entry> = newer.by_ref().take(limit).cloned().collect();
        let more = match (entries.last(), newer.next()) {
            (Some(last), Some(next)) => last.revision == next.revision,
            _ => false,
        };
        Watched::Changes { next: Place(place + entries.len() as u64), entries, more }
    }

    /// The newest first, and whether there are more.
    #[must_use]
    pub fn recall(&self, Recall { vm, before, limit }: &Recall) -> (Vec<Entry>, bool) {
        let mut wanted = self.entries.iter().rev().filter(|entry| {
            let is_about = |vm: &VmId| matches!(&entry.what, What::Vm(id, _) if id == vm);
            before.is_none_or(|before| entry.number < before) && vm.as_ref().is_none_or(is_about)
        });
        let entries = wanted.by_ref().take(*limit).cloned().collect();
        (entries, wanted.next().is_some())
    }
}

/// Answer of `history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryAnswer {
    /// The newest first.
    pub entries: Vec<HistoryEntry>,
    /// `before` of the next page; none if nothing older is remembered.
    pub next: Option<u64>,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// An entry on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Counts from 0 at the start of the process.
    pub number: u64,
    /// The revision that the change made.
    pub revision: Revision,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Whose process asked for it.
    pub uid: u32,
    /// Which process.
    pub pid: u32,
    /// By which call.
    pub method: String,
    /// The VM; none if it is about policy, or confirms a change.
    pub vm: Option<VmId>,
    /// The VM or the policy document before; `null` if there was none.
    pub before: Value,
    /// The same after.
    pub after: Value,
}

impl From<Entry> for HistoryEntry {
    fn from(entry: Entry) -> Self {
        let Entry { number, revision, at_ms, by: By { who: Who { uid, pid }, method }, what } = entry;
        let (vm, [before, after]) = match what {
            What::Vm(id, both) => (Some(id), both.map(|vm| json!(vm))),
            What::Policy(both) => (None, both.map(|settings| json!(Document::of(&settings)))),
            What::Nothing => (None, [Value::Null, Value::Null]),
        };
        Self { number, revision, at_ms, uid, pid, method: method.to_owned(), vm, before, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VmIndex;
    use crate::vm::journal::{VmChange, WayBack};

    fn change(revision: u64, ids: &[&str]) -> Committed {
        let vm = |id: &&str| VmChange::new(id.parse().unwrap(), VmIndex(0), None, None);
        Committed {
            revision: Revision(revision),
            vms: ids.iter().map(vm).collect(),
            settings: None,
            way_back: WayBack::Same,
        }
    }

    const BY: By = By { who: Who { uid: 7, pid: 8 }, method: "vm.set" };

    fn numbers(history: &History, vm: Option<&str>, before: Option<u64>, limit: usize) -> (Vec<u64>, bool) {
        let recall = Recall { vm: vm.map(|vm| vm.parse().unwrap()), before, limit };
        let (entries, more) = history.recall(&recall);
        (entries.iter().map(|entry| entry.number).collect(), more)
    }

    #[test]
    fn the_newest_comes_first_a_page_at_a_time() {
        let mut history = History::default();
        history.remember(change(1, &["a", "b"]), BY);
        history.remember(change(2, &["a"]), BY);
        assert_eq!(numbers(&history, None, None, 2), (vec![2, 1], true));
        assert_eq!(numbers(&history, None, Some(1), 2), (vec![0], false));
        assert_eq!(numbers(&history, Some("a"), None, 9), (vec![2, 0], false));
        assert_eq!(numbers(&history, Some("c"), None, 9), (vec![], false));
        let entry = HistoryEntry::from(history.recall(&Recall { vm: None, before: None, limit: 1 }).0.remove(0));
        assert_eq!((entry.revision, entry.uid, entry.pid, &*entry.method), (Revision(2), 7, 8, "vm.set"));
    }

    /// Revisions that a watcher is told of, and whether the last one goes on; nothing if it is told that something is forgotten.
    fn told(history: &History, place: Option<Place>, limit: usize) -> Option<(Vec<u64>, bool, Place)> {
        match history.watched(place, limit) {
            Watched::Changes { entries, next, more } => {
                Some((entries.iter().map(|entry| entry.revision.0).collect(), more, next))
            }
            Watched::Compacted { .. } => None,
        }
    }

    #[test]
    fn a_watcher_is_told_every_change_once_or_that_some_are_forgotten() {
        let mut history = History::since(Revision(5));
        assert_eq!(history.place(Revision(4)), None, "before this process");
        assert_eq!(history.place(Revision(6)), None, "not yet");
        let begin = history.place(Revision(5));
        assert_eq!(begin, Some(history.end()));
        history.remember(change(6, &["a", "b", "c"]), BY);
        history.remember(change(7, &[]), BY);
        history.remember(change(8, &["a"]), BY);
        let (revisions, more, next) = told(&history, begin, 2).unwrap();
        assert_eq!((revisions, more), (vec![6, 6], true));
        let (revisions, more, next) = told(&history, Some(next), 2).unwrap();
        assert_eq!((revisions, more), (vec![6, 7], false), "a confirmation is a change, too");
        let (revisions, _, next) = told(&history, Some(next), 2).unwrap();
        assert_eq!((revisions, next), (vec![8], history.end()));
        assert_eq!(told(&history, Some(next), 2), Some((vec![], false, next)));
        assert_eq!(told(&history, history.place(Revision(7)), 9).unwrap().0, [8]);
        for revision in 9..9 + REMEMBERED as u64 {
            history.remember(change(revision, &["a"]), BY);
        }
        assert_eq!(told(&history, Some(next), 1).unwrap().0, [9], "just remembered");
        history.remember(change(99_999, &["a"]), BY);
        assert_eq!(told(&history, Some(next), 1), None);
        assert_eq!((history.place(Revision(8)), told(&history, None, 1)), (None, None));
        assert!(history.place(Revision(9)).is_some());
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut history = History::default();
        for revision in 0..=REMEMBERED as u64 {
            history.remember(change(revision, &["a"]), BY);
        }
        assert_eq!(numbers(&history, None, Some(3), 9), (vec![2, 1], false));
        assert_eq!(history.entries.len(), REMEMBERED);
        // Of revision 0, the first, something is forgotten; what came after it is known.
        history.remember(change(REMEMBERED as u64 + 1, &["b"]), BY);
        assert_eq!(history.changed_since(Revision(0)).map(Iterator::count), None);
        assert_eq!(history.changed_since(Revision(1)).map(Iterator::count), Some(REMEMBERED));
        let since: Vec<&str> = history.changed_since(Revision(REMEMBERED as u64)).unwrap().map(VmId::as_str).collect();
        assert_eq!(since, ["b"]);
    }
}
