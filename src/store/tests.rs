//! The store against what happens to disks and processes.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, File, FileError};
use super::open::{Examined, Opened, copy_of, open};
use super::writer::Store;
use crate::model::{Mode, Moment, Revision, VmIndex};
use crate::policy::document::Document;
use crate::policy::{Origin, Settings};
use crate::vm::journal::{Committed, Journal, VmChange, WayBack};
use crate::vm::record::{Vm, VmId, VmSet};

/// When changes are committed here.
fn at() -> Moment {
    Moment::of_unix(1_000)
}

fn vm(id: &str, class: &str) -> Arc<Vm> {
    let json = format!(r#"{{"id":"{id}","ips":["10.0.0.{}"],"class":"{class}"}}"#, id.len());
    Arc::new(serde_json::from_str::<VmSet>(&json).unwrap().onto(None).unwrap())
}

fn change(revision: u64, id: &str, new: Option<Arc<Vm>>) -> Committed {
    let change = VmChange::new(id.parse().unwrap(), VmIndex(0), None, new);
    Committed { revision: Revision(revision), vms: vec![change], settings: None, way_back: WayBack::Same }
}

/// As the daemon examines, in this process: what makes the database panic is damaged.
fn examine(path: &Path) -> Examined {
    catch_unwind(AssertUnwindSafe(|| file::examine(path).into()))
        .unwrap_or_else(|_| Examined::Damaged(format!("{} is damaged: a panic", path.display())))
}

/// A store that is served, and how it began.
fn begin(path: &Path) -> (Store, BTreeMap<VmId, Vm>, Opened) {
    let mut opened = open(path, examine);
    let store = Store::start(opened.files.take().unwrap(), opened.revision).unwrap();
    (store, known(&opened), opened)
}

fn known(opened: &Opened) -> BTreeMap<VmId, Vm> {
    opened.vms.iter().map(|set| (set.id.clone(), set.clone().onto(None).unwrap())).collect()
}

fn classes(known: &BTreeMap<VmId, Vm>) -> Vec<(&str, &str)> {
    known.iter().map(|(id, vm)| (id.as_str(), vm.class.as_deref().unwrap())).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("state.redb")
    }

    /// Names of what lies in it.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Three VMs at revision 4: one changed, one forgotten.
fn written(path: &Path) {
    let (mut store, ..) = begin(path);
    assert!(store.commit(&[change(1, "a", Some(vm("a", "x"))), change(2, "bb", Some(vm("bb", "x")))], at()));
    assert!(store.commit(&[change(3, "a", Some(vm("a", "restricted")))], at()));
    assert!(store.commit(&[change(4, "ccc", Some(vm("ccc", "x"))), change(5, "bb", None)], at()));
}

const WRITTEN: [(&str, &str); 2] = [("a", "restricted"), ("ccc", "x")];

#[test]
fn what_was_committed_is_there_at_the_next_start() {
    let folder = Folder::new();
    written(&folder.store());
    for _ in 0..2 {
        let (store, known, opened) = begin(&folder.store());
        assert_eq!((classes(&known), opened.revision, &opened.alarms), (WRITTEN.to_vec(), Revision(5), &vec![]));
        let report = store.report().unwrap();
        assert_eq!((report.durable, report.revision, report.copies, report.trouble), (true, Revision(5), 2, None));
    }
    assert_eq!(folder.names(), ["state.redb", "state.redb.copy"]);
}

#[test]
fn the_latest_time_that_was_seen_is_there_at_the_next_start() {
    let folder = Folder::new();
    written(&folder.store());
    for seconds in [1_000, 2_000, 2_060] {
        let (mut store, _, opened) = begin(&folder.store());
        assert_eq!((opened.clock, opened.revision), (Some(Moment::of_unix(seconds)), Revision(5)));
        // Also without a change.
        store.note(Moment::of_unix(if seconds == 1_000 { 2_000 } else { 2_060 }));
        drop(store);
        for path in [folder.store(), copy_of(&folder.store())] {
            assert_eq!(file::examine(&path).unwrap().revision, Revision(5), "{}", path.display());
        }
    }
    std::fs::remove_file(folder.store()).unwrap();
    assert_eq!(open(&folder.store(), examine).clock, Some(Moment::of_unix(2_060)), "either file has it");
}

#[test]
fn the_file_with_the_higher_revision_is_believed_and_copied() {
    for behind in [folder_path as fn(&Path) -> PathBuf, copy_of] {
        let folder = Folder::new();
        written(&folder.store());
        let old = std::fs::read(behind(&folder.store())).unwrap();
        let (mut store, ..) = begin(&folder.store());
        assert!(store.commit(&[change(6, "a", None)], at()));
        drop(store);
        std::fs::write(behind(&folder.store()), &old).unwrap();
        let (_store, known, opened) = begin(&folder.store());
        assert_eq!((classes(&known), opened.revision), (vec![("ccc", "x")], Revision(6)));
        drop(_store);
        for path in [folder.store(), copy_of(&folder.store())] {
            assert_eq!(file::examine(&path).unwrap().revision, Revision(6), "{}", path.display());
        }
    }
}

fn folder_path(path: &Path) -> PathBuf {
    path.to_owned()
}

/// Puts `damage` in the place of one file, then of both, and starts.
fn starts_with(damage: &[u8], what: &str) {
    let template = Folder::new();
    written(&template.store());
    for (first, second) in [(true, false), (false, true), (true, true)] {
        let folder = Folder::new();
        let paths = [folder.store(), copy_of(&folder.store())];
        for (path, damaged) in paths.iter().zip([first, second]) {
            match damaged {
                true => std::fs::write(path, damage).unwrap(),
                false => _ = std::fs::copy(template.store(), path).unwrap(),
            }
        }
        let opened = open(&folder.store(), examine);
        let known = known(&opened);
        assert!(opened.files.is_some(), "{what}: {:?}", opened.alarms);
        let lost = first && second;
        // Either what was acknowledged last, or nothing: never a part of it, never an earlier state.
        match known.is_empty() {
            false => assert_eq!((classes(&known), opened.revision), (WRITTEN.to_vec(), Revision(5)), "{what}"),
            true => assert!(lost && opened.revision == Revision(0) && !opened.alarms.is_empty(), "{what}"),
        }
        // And from here it goes on.
        let mut store = Store::start(opened.files.unwrap(), opened.revision).unwrap();
        assert!(store.commit(&[change(opened.revision.0 + 1, "dddd", Some(vm("dddd", "x")))], at()), "{what}");
        drop(store);
        let again = open(&folder.store(), examine);
        assert_eq!((again.vms.len(), again.alarms.len()), (known.len() + 1, 0), "{what}");
    }
}

/// Quiet, since panics of the database are what these tests are about.
fn quietly(test: impl FnOnce() + Send + 'static) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ended = std::thread::spawn(test).join();
    std::panic::set_hook(hook);
    if let Err(panic) = ended {
        panic!("{}", panic.downcast_ref::<String>().map_or("a panic", |words| words));
    }
}

#[test]
fn what_a_killed_process_leaves_behind_is_good() {
    let folder = Folder::new();
    let path = folder.store();
    let settings = |socket: bool| {
        let origin = if socket { Origin::Socket } else { Origin::Configuration };
        Arc::new(Settings { origin, ..Settings::default() })
    };
    let (mut revision, mut random) = (0, 1u64);
    for life in 0..60 {
        let (mut store, _, opened) = begin(&path);
        assert_eq!((opened.revision, &opened.alarms[..]), (Revision(revision), &[][..]), "life {life}");
        let mut killed = Vec::new();
        for _ in 0..7 {
            revision += 1;
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [kind, which, way_back] = [random >> 60, random >> 40 & 7, random >> 50 & 7];
            let id = "x".repeat(1 + usize::try_from(which).unwrap());
            let mut change = change(revision, &id, (kind > 4).then(|| vm(&id, "restricted")));
            change.settings = (kind < 3).then(|| [settings(kind > 1), settings(kind < 2)]);
            change.way_back = [WayBack::Same, WayBack::Kept, WayBack::Dropped][usize::try_from(way_back % 3).unwrap()];
            assert!(store.commit(&[change], at()));
            // The files as they are at this moment; the first is written before the second.
            killed = [path.clone(), copy_of(&path)].map(|path| std::fs::read(path).unwrap()).to_vec();
            assert_eq!(examine_bytes(&folder, &killed[0]), Some(revision), "life {life}");
        }
        drop(store);
        for (path, bytes) in [path.clone(), copy_of(&path)].into_iter().zip(killed) {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// The revision of a file with these bytes, if it is good.
fn examine_bytes(folder: &Folder, bytes: &[u8]) -> Option<u64> {
    let path = folder.0.path().join("bytes.redb");
    std::fs::write(&path, bytes).unwrap();
    match examine(&path) {
        Examined::Good(summary) => Some(summary.revision.0),
        other => panic!("{other:?}"),
    }
}

/// What a killed process left behind at revision 225: a file without a free page.
const FULL: &[u8] = include_bytes!("../../tests/corpus/store/killed-full.redb.gz");

#[test]
fn a_full_file_that_a_killed_process_left_behind_is_good_and_a_damaged_one_is_not_believed() {
    quietly(|| {
        let mut good = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(FULL), &mut good).unwrap();
        let start = |first: &[u8], second: &[u8]| {
            let folder = Folder::new();
            std::fs::write(folder.store(), first).unwrap();
            std::fs::write(copy_of(&folder.store()), second).unwrap();
            let opened = open(&folder.store(), examine);
            (opened.revision, known(&opened), opened.alarms)
        };
        let (revision, vms, alarms) = start(&good, &good);
        assert_eq!((revision, alarms), (Revision(225), vec![]));
        assert!(!vms.is_empty());
        for at in (0..good.len()).step_by(397) {
            let mut damaged = good.clone();
            damaged[at] ^= 0xff;
            let (revision, known, _) = start(&damaged, &good);
            assert_eq!((revision, &known), (Revision(225), &vms), "byte {at}");
        }
    });
}

#[test]
fn a_damaged_file_is_set_aside_and_the_other_goes_on() {
    quietly(|| {
        let folder = Folder::new();
        written(&folder.store());
        let good = std::fs::read(folder.store()).unwrap();
        // All of the header and of what is written, spread over its bytes; `make soak` takes every one.
        let used: Vec<usize> = good.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
        let step = if std::env::var_os("PORTCULLIS_SOAK").is_some() { 1 } else { used.len() / 40 + 1 };
        for &at in used.iter().step_by(step) {
            let mut damaged = good.clone();
            damaged[at] ^= 0xff;
            starts_with(&damaged, &format!("byte {at} flipped"));
        }
        for length in (0..good.len()).step_by(good.len() / 12 + 1) {
            starts_with(&good[..length], &format!("cut to {length}"));
        }
        starts_with(b"not a database at all", "a text");
    });
}

#[test]
fn damaged_files_are_kept_but_not_without_end() {
    let folder = Folder::new();
    for round in 1..=6 {
        written(&folder.store());
        std::fs::write(folder.store(), b"damaged").unwrap();
        let opened = open(&folder.store(), examine);
        let kept = folder.names().iter().filter(|name| name.starts_with("state.redb.damaged-")).count();
        assert_eq!((kept, opened.alarms.len()), (round.min(3), 2), "{:?}", opened.alarms);
        assert!(opened.alarms[0].contains("is kept as") && opened.alarms[1].contains("state.redb.copy, revision"));
        drop(opened);
        std::fs::remove_file(folder.store()).unwrap();
        std::fs::remove_file(copy_of(&folder.store())).unwrap();
    }
}

#[test]
fn a_file_of_another_format_is_not_read() {
    let folder = Folder::new();
    written(&folder.store());
    for path in [folder.store(), copy_of(&folder.store())] {
        File::open(&path).unwrap().set_format(file::FORMAT + 1);
        let error = file::examine(&path).unwrap_err();
        assert!(matches!(error, FileError::Format { format, .. } if format == file::FORMAT + 1), "{error}");
    }
    let opened = open(&folder.store(), examine);
    assert_eq!((opened.vms.len(), opened.revision, opened.alarms.len()), (0, Revision(0), 3));
    assert!(opened.alarms[0].contains("start the version that wrote it"), "{:?}", opened.alarms);
    assert!(opened.files.unwrap().iter().all(|place| place.file.is_some()));
}

#[test]
fn what_cannot_be_got_at_is_not_written_over() {
    let folder = Folder::new();
    written(&folder.store());
    let before = std::fs::read(folder.store()).unwrap();
    let opened = open(&folder.store(), |_| Examined::OutOfReach("input/output error".into()));
    assert!(opened.files.is_none() && opened.vms.is_empty());
    assert_eq!(std::fs::read(folder.store()).unwrap(), before);
    // One is enough, and the other one is made anew.
    let copy = copy_of(&folder.store());
    let opened = open(&folder.store(), |path| match path == copy {
        true => examine(path),
        false => Examined::OutOfReach("input/output error".into()),
    });
    assert_eq!((opened.vms.len(), opened.revision), (2, Revision(5)));
    assert!(opened.files.unwrap().iter().all(|place| place.file.is_some()));
}

#[test]
fn a_policy_is_kept_until_it_is_the_configurations_again() {
    let folder = Folder::new();
    let policy = |revision, origin| {
        let settings = Arc::new(Settings { mode: Mode::Monitor, origin, ..Settings::default() });
        let (revision, settings) = (Revision(revision), Some([Arc::default(), settings]));
        Committed { revision, vms: Vec::new(), settings, way_back: WayBack::Same }
    };
    let kept = Document::of(&Settings { mode: Mode::Monitor, ..Settings::default() });
    let (mut store, ..) = begin(&folder.store());
    // In one group with what comes after it.
    assert!(store.commit(&[policy(1, Origin::Socket), change(2, "a", Some(vm("a", "x")))], at()));
    drop(store);
    let (mut store, _, opened) = begin(&folder.store());
    assert_eq!((opened.policy, opened.revision), (Some(kept), Revision(2)));
    assert!(store.commit(&[change(3, "a", None)], at()), "what is not about it leaves it alone");
    drop(store);
    assert!(file::examine(&folder.store()).unwrap().policy);
    let (mut store, ..) = begin(&folder.store());
    assert!(store.commit(&[policy(4, Origin::Configuration)], at()));
    drop(store);
    assert_eq!(begin(&folder.store()).2.policy, None);
}

#[test]
fn somebody_elses_file_is_in_use() {
    let folder = Folder::new();
    written(&folder.store());
    let _open = File::open(&folder.store()).unwrap();
    assert!(matches!(file::examine(&folder.store()).unwrap_err(), FileError::InUse { .. }));
    assert!(matches!(File::create(&folder.store()).unwrap_err(), FileError::Io { .. }));
}

#[test]
fn without_a_folder_changes_are_not_durable_until_there_is_one() {
    let folder = Folder::new();
    let path = folder.0.path().join("later").join("state.redb");
    let mut opened = open(&path, examine);
    assert_eq!(opened.alarms.len(), 2);
    let mut store = Store::start(opened.files.take().unwrap(), opened.revision).unwrap();
    assert!(!store.commit(&[change(1, "a", Some(vm("a", "x")))], at()));
    let report = store.report().unwrap();
    assert_eq!((report.durable, report.copies), (false, 0));
    assert!(report.trouble.is_some());
    std::fs::create_dir(folder.0.path().join("later")).unwrap();
    // It tries again by itself, and at the latest when it ends.
    drop(store);
    assert_eq!(classes(&begin(&path).1), [("a", "x")]);
}

/// Files that earlier versions wrote, by their format. A new format comes with a new one here, and with whatever reads the old.
const EARLIER: [(u64, &[u8]); 3] = [
    (1, include_bytes!("../../tests/corpus/store/format-1.redb.gz")),
    (2, include_bytes!("../../tests/corpus/store/format-2.redb.gz")),
    (3, include_bytes!("../../tests/corpus/store/format-3.redb.gz")),
];

#[test]
fn every_format_so_far_is_read() {
    for (format, packed) in EARLIER {
        let folder = Folder::new();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut bytes).unwrap();
        std::fs::write(folder.store(), bytes).unwrap();
        let (mut store, known, opened) = begin(&folder.store());
        assert_eq!((opened.revision, opened.alarms.len()), (Revision(3), 0), "format {format}");
        let expected = [
            r#"{"id":"b:2","ips":["10.0.0.6"],"class":"restricted","mode":"monitor","note":"ticket 4711 é","scope":7}"#,
            r#"{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5","2001:db8::/64"],"public_ipv4":"203.0.113.5"}"#,
        ];
        let expected = expected.map(|json| serde_json::from_str::<VmSet>(json).unwrap().onto(None).unwrap());
        assert_eq!(known.into_values().collect::<Vec<_>>(), expected, "format {format}");
        assert_eq!((opened.policy.is_some(), opened.before), (format > 1, None), "format {format}");
        assert!(store.commit(&[change(4, "web1", None)], at()), "format {format}");
    }
    assert_eq!(EARLIER.last().unwrap().0 + 1, file::FORMAT, "the present one is read all the time");
}
