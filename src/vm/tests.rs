//! The registry, change by change.

use super::clock::Clock;
use super::edit::{Edit, EditError};
use super::journal::{Committed, Journal, JournalReport};
use super::policy::PolicyEdit;
use super::registry::Registry;
use crate::model::{ClassId, Mode, Moment, Revision, Scope};
use crate::policy::{Class, Classes, PublicIpv4, Routers, Settings};
use crate::table::Capacity;
use std::sync::Arc;

fn settings() -> Settings {
    let restricted = Classes::default().get(ClassId::RESTRICTED).clone();
    let ports = [25.into()].into_iter().collect();
    let mta_only = Class { name: "mta-only".into(), ports, mode: Mode::Enforce, deny: None };
    let via = vec!["52:54:00:ff:ff:01".parse().unwrap()];
    Settings {
        classes: Classes::new(restricted, [mta_only]).unwrap(),
        via: Routers::new(via, Vec::new()),
        ..Settings::default()
    }
}

fn registry(vms: u32) -> Registry {
    Registry::create(Capacity { vms, keys: vms * 4 }, 0, settings(), Clock::default()).unwrap().0
}

fn set(json: &str) -> Edit {
    Edit::Set(serde_json::from_str(json).unwrap())
}

fn patch(id: &str, json: &str) -> Edit {
    Edit::Patch(id.parse().unwrap(), serde_json::from_str(json).unwrap())
}

fn delete(id: &str) -> Edit {
    Edit::Delete(id.parse().unwrap())
}

#[test]
fn no_vm_has_an_address_that_the_box_answers_from() {
    let sources = |ipv4: &str| {
        let link = serde_json::json!({"uplink": {"reject_ipv4": ipv4, "reject_ipv6": "2001:db8::fe"}});
        Edit::Policy(Box::new(PolicyEdit::Patch(serde_json::json!({ "link": link }))))
    };
    let settings = Settings { links: vec!["uplink".into()], ..settings() };
    let mut registry = Registry::create(Capacity { vms: 4, keys: 16 }, 0, settings, Clock::default()).unwrap().0;
    registry.apply([set(r#"{"id":"a","ips":["10.0.0.0/24"]}"#)]).unwrap();
    let (at, error) = registry.stage([sources("10.0.0.254")]).unwrap_err();
    assert!(at == 0 && error.to_string().contains("VM a: 10.0.0.254 is the box's own"), "{error}");
    registry.apply([sources("192.0.2.254")]).unwrap();
    for ips in [r#"["192.0.2.254"]"#, r#"["192.0.2.0/24"]"#, r#"["10.0.0.7","2001:db8::/64"]"#] {
        let (_, error) = registry.stage([set(&format!(r#"{{"id":"b","ips":{ips}}}"#))]).unwrap_err();
        assert!(matches!(error, EditError::RefusalSource { .. }), "{error}");
    }
    registry.apply([set(r#"{"id":"b","ips":["192.0.2.253"]}"#)]).unwrap();
    // The one goes as the other comes.
    registry.apply([delete("a"), sources("10.0.0.254")]).unwrap();
}

fn class_of(registry: &Registry, ip: &str) -> Option<ClassId> {
    let snapshot = registry.snapshot().vms;
    snapshot.vm_by_ip(Scope(0), ip.parse().unwrap()).map(|vm| snapshot.state(vm).class)
}

#[test]
fn a_public_address_lifts_the_restriction_and_the_override_wins() {
    let mut registry = registry(4);
    registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"]}"#)]).unwrap();
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::RESTRICTED));
    registry.apply([patch("a", r#"{"public_ipv4":"203.0.113.5"}"#)]).unwrap();
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::UNRESTRICTED));
    assert_eq!(class_of(&registry, "203.0.113.5"), Some(ClassId::UNRESTRICTED), "counted among its addresses");
    registry.apply([patch("a", r#"{"class":"mta-only"}"#)]).unwrap();
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId(2)));
    registry.apply([patch("a", r#"{"class":null,"public_ipv4":null}"#)]).unwrap();
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::RESTRICTED));
    assert_eq!(class_of(&registry, "203.0.113.5"), None);
}

#[test]
fn a_conflict_names_the_other_vm_and_changes_nothing() {
    let mut registry = registry(4);
    registry.apply([set(r#"{"id":"a","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5","2001:db8::/64"]}"#)]).unwrap();
    for (json, key) in [
        (r#"{"id":"b","ips":["10.0.0.6","10.0.0.5"]}"#, "10.0.0.5"),
        (r#"{"id":"b","macs":["52:54:00:00:00:01"]}"#, "MAC 52:54:00:00:00:01"),
        (r#"{"id":"b","ips":["2001:db8::/64"]}"#, "2001:db8::/64"),
    ] {
        let (at, error) = registry.apply([set(r#"{"id":"c","ips":["10.0.0.9"]}"#), set(json)]).unwrap_err();
        assert_eq!((at, error.to_string()), (1, format!("VM b: {key} belongs to VM a already")));
    }
    assert_eq!((registry.len(), registry.revision()), (1, Revision(1)));
    assert_eq!(class_of(&registry, "10.0.0.9"), None, "the edit before the refused one is gone too");
    assert!(registry.apply([set(r#"{"id":"b","ips":["10.0.0.5"],"scope":1}"#)]).is_ok(), "another scope");
    assert!(registry.apply([set(r#"{"id":"c","ips":["2001:db8::/65"]}"#)]).is_ok(), "nested prefixes are fine");
}

#[test]
fn an_address_moves_between_vms_in_one_change() {
    let mut registry = registry(4);
    registry
        .apply([
            set(r#"{"id":"a","ips":["10.0.0.5"]}"#),
            set(r#"{"id":"b","ips":["10.0.0.6"],"class":"unrestricted"}"#),
        ])
        .unwrap();
    registry
        .apply([
            set(r#"{"id":"a","ips":["10.0.0.7"]}"#),
            set(r#"{"id":"b","ips":["10.0.0.5"]}"#),
            set(r#"{"id":"a","ips":["10.0.0.6"]}"#),
        ])
        .unwrap();
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::UNRESTRICTED));
    assert_eq!(class_of(&registry, "10.0.0.6"), Some(ClassId::RESTRICTED));
    assert_eq!(class_of(&registry, "10.0.0.7"), None);
    assert_eq!(registry.revision(), Revision(2), "a transaction is one revision");
}

#[test]
fn what_changes_nothing_makes_no_revision() {
    let mut registry = registry(4);
    let line = r#"{"id":"a","ips":["10.0.0.5"],"macs":["52:54:00:00:00:02","52:54:00:00:00:01"]}"#;
    assert!(registry.apply([set(line)]).unwrap().changed);
    let again = registry.apply([set(line), delete("nobody")]).unwrap();
    assert_eq!((again.changed, again.revision), (false, Revision(1)));
    assert!(matches!(registry.apply([patch("nobody", "{}")]), Err((0, EditError::NotFound(_)))));
}

#[test]
fn a_deleted_vm_is_unknown_and_its_number_is_used_again() {
    let mut registry = registry(2);
    for round in 0..10 {
        let change = registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"]}"#), set(r#"{"id":"b","ips":["10.0.0.6"]}"#)]);
        assert!(change.unwrap().changed, "round {round}");
        let (_, error) = registry.apply([set(r#"{"id":"c","ips":["10.0.0.7"]}"#)]).unwrap_err();
        assert!(error.to_string().contains("table.vms"), "{error}");
        registry.apply([delete("a"), delete("b")]).unwrap();
        assert_eq!(class_of(&registry, "10.0.0.5"), None);
        assert!(registry.is_empty());
    }
}

#[test]
fn a_refused_change_gives_its_numbers_back() {
    let mut registry = registry(2);
    for _ in 0..5 {
        let edits = [set(r#"{"id":"a","ips":["10.0.0.5"]}"#), set(r#"{"id":"b","ips":["10.0.0.5"]}"#)];
        assert!(registry.apply(edits).is_err());
    }
    assert!(registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"]}"#), set(r#"{"id":"b","ips":["10.0.0.6"]}"#)]).is_ok());
    let edits =
        [delete("a"), set(r#"{"id":"b","ips":["10.0.0.5"]}"#), set(r#"{"id":"b","class":"none","ips":["10.0.0.5"]}"#)];
    let (at, error) = registry.apply(edits).unwrap_err();
    assert_eq!((at, error.to_string().contains("mta-only, restricted, unrestricted")), (2, true), "{error}");
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::RESTRICTED));
    assert_eq!(registry.iter_after(None).map(|(_, vm)| vm.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_routers_mac_belongs_to_no_vm() {
    let (_, error) = registry(2).apply([set(r#"{"id":"a","macs":["52:54:00:ff:ff:01"]}"#)]).unwrap_err();
    assert!(error.to_string().contains("(`via`)"), "{error}");
}

#[test]
fn two_vms_swap_their_addresses_in_one_change() {
    let mut registry = registry(4);
    registry
        .apply([
            set(r#"{"id":"a","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5","2001:db8::/64"]}"#),
            set(r#"{"id":"b","macs":["52:54:00:00:00:02"],"ips":["10.0.0.6"],"class":"unrestricted"}"#),
        ])
        .unwrap();
    let swap = [
        patch("a", r#"{"ips":["10.0.0.6"],"macs":["52:54:00:00:00:02"]}"#),
        patch("b", r#"{"ips":["10.0.0.5","2001:db8::/64"],"macs":["52:54:00:00:00:01"]}"#),
    ];
    assert_eq!(registry.apply(swap).unwrap().revision, Revision(2));
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::UNRESTRICTED));
    assert_eq!(class_of(&registry, "2001:db8::9"), Some(ClassId::UNRESTRICTED));
    assert_eq!(class_of(&registry, "10.0.0.6"), Some(ClassId::RESTRICTED));
}

#[test]
fn a_change_that_ends_where_it_began_is_none() {
    let mut registry = registry(4);
    registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"]}"#)]).unwrap();
    let there_and_back = [
        patch("a", r#"{"class":"mta-only"}"#),
        set(r#"{"id":"b","ips":["10.0.0.6"]}"#),
        delete("b"),
        patch("a", r#"{"class":null}"#),
    ];
    let change = registry.apply(there_and_back).unwrap();
    assert_eq!((change.changed, change.revision), (false, Revision(1)));
}

#[test]
fn a_full_table_takes_one_vm_for_another() {
    let mut registry = registry(2);
    registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"]}"#), set(r#"{"id":"b","ips":["10.0.0.6"]}"#)]).unwrap();
    for (gone, new) in [("a", "c"), ("c", "a"), ("a", "c")] {
        let line = format!(r#"{{"id":"{new}","ips":["10.0.0.5"],"class":"unrestricted"}}"#);
        let change = registry.apply([delete(gone), set(&line)]).unwrap();
        assert_eq!(change.deleted.len(), 1, "whose counters start anew");
        assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::UNRESTRICTED));
        assert_eq!(registry.len(), 2);
    }
    let (at, error) = registry
        .apply([delete("b"), set(r#"{"id":"d","ips":["10.0.0.7"]}"#), set(r#"{"id":"e","ips":["10.0.0.8"]}"#)])
        .unwrap_err();
    assert_eq!((at, error.to_string().contains("table.vms")), (2, true), "{error}");
    assert_eq!(registry.iter_after(None).map(|(_, vm)| vm.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn staged_changes_are_seen_together_and_each_has_its_revision() {
    let (mut registry, mut readers) =
        Registry::create(Capacity { vms: 4, keys: 16 }, 1, settings(), Clock::default()).unwrap();
    let reader = &mut readers[0];
    let mut sees = |ip: &str| reader.snapshot().vms.vm_by_ip(Scope(0), ip.parse().unwrap()).is_some();
    assert_eq!(registry.stage([set(r#"{"id":"a","ips":["10.0.0.5"]}"#)]).unwrap().revision, Revision(1));
    assert!(registry.stage([set(r#"{"id":"b","ips":["10.0.0.5"]}"#)]).is_err(), "staged is true for who comes later");
    assert_eq!(registry.stage([set(r#"{"id":"b","ips":["10.0.0.6"]}"#)]).unwrap().revision, Revision(2));
    assert!(!sees("10.0.0.5") && !sees("10.0.0.6"), "nothing is published yet");
    registry.publish();
    assert!(sees("10.0.0.5") && sees("10.0.0.6"));
}

#[test]
fn classes_keep_their_numbers_and_those_in_use_stay() {
    let mut registry = registry(4);
    registry.apply([set(r#"{"id":"a","ips":["10.0.0.5"],"class":"mta-only"}"#)]).unwrap();
    let with = |names: &[&str]| {
        let restricted = Classes::default().get(ClassId::RESTRICTED).clone();
        let class = |name: &&str| Class { name: (*name).into(), ..restricted.clone() };
        let classes = Classes::new(restricted.clone(), names.iter().map(class)).unwrap();
        let unknown_class = classes.find(names.first().copied().unwrap_or("restricted")).unwrap();
        Edit::Settings(Arc::new(Settings { classes, unknown_class, ..settings() }))
    };
    registry.apply([with(&["a-first", "mta-only", "z-last"])]).unwrap();
    let number = |registry: &Registry, name| registry.settings().classes.find(name);
    assert_eq!(number(&registry, "mta-only"), Some(ClassId(2)), "as before, though another comes first by name");
    assert_eq!(registry.settings().unknown_class, number(&registry, "a-first").unwrap());
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId(2)));

    let (_, error) = registry.apply([with(&["a-first"])]).unwrap_err();
    assert_eq!(error.to_string(), "class `mta-only` cannot be removed: VM a has it");
    registry.apply([with(&["a-first"]), patch("a", r#"{"class":"a-first"}"#)]).unwrap();
    assert_eq!(class_of(&registry, "10.0.0.5"), number(&registry, "a-first"));
    let before = number(&registry, "a-first");
    registry.apply([with(&["new", "a-first"])]).unwrap();
    assert_eq!(number(&registry, "a-first"), before);
}

#[test]
fn a_router_cannot_be_where_a_vm_is() {
    let mut registry = registry(4);
    registry.apply([set(r#"{"id":"a","macs":["52:54:00:00:00:01"],"scope":3}"#)]).unwrap();
    let routed = Settings { via: Routers::new(vec!["52:54:00:00:00:01".parse().unwrap()], Vec::new()), ..settings() };
    let change = || Edit::Settings(Arc::new(routed.clone()));
    let (_, error) = registry.apply([change()]).unwrap_err();
    assert!(error.to_string().starts_with("VM a: 52:54:00:00:00:01 is a router's"), "{error}");
    registry.apply([change(), delete("a")]).unwrap();
    assert_eq!(**registry.settings(), routed);
}

/// A journal that takes so many groups and then no more.
#[derive(Debug)]
struct Full(usize, std::sync::mpsc::Sender<Vec<u64>>);

impl Journal for Full {
    fn note(&mut self, _: Moment) {}

    fn commit(&mut self, changes: &[Committed], _: Moment) -> bool {
        self.1.send(changes.iter().map(|change| change.revision.0).collect()).unwrap();
        let durable = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        durable
    }

    fn report(&self) -> Option<JournalReport> {
        Some(JournalReport { durable: self.0 > 0, revision: Revision(0), copies: 0, trouble: None })
    }
}

#[test]
fn a_change_is_made_though_the_disk_is_full_and_is_not_called_durable() {
    let (sender, written) = std::sync::mpsc::channel();
    let mut registry = registry(2).with_journal(Full(1, sender), Revision(40));
    registry.stage([set(r#"{"id":"a","ips":["10.0.0.5"],"class":"unrestricted"}"#)]).unwrap();
    registry.stage([set(r#"{"id":"b","ips":["10.0.0.6"]}"#)]).unwrap();
    assert!(registry.publish().1);
    registry.stage([patch("a", r#"{"class":null}"#)]).unwrap();
    assert!(!registry.publish().1);
    assert_eq!((registry.revision(), class_of(&registry, "10.0.0.5")), (Revision(43), Some(ClassId::RESTRICTED)));
    assert!(!registry.publish().1, "nothing is staged, and what is true is not durable still");
    assert_eq!(written.try_iter().collect::<Vec<_>>(), [vec![41, 42], vec![43]], "one group by one write");
}

#[test]
fn a_private_public_address_frees_nobody_unless_the_settings_say_so() {
    let mut registry = registry(4);
    let private = || set(r#"{"id":"a","ips":["10.0.0.5"],"public_ipv4":"100.64.0.9"}"#);
    let (at, error) = registry.apply([set(r#"{"id":"b","ips":["10.0.0.6"]}"#), private()]).unwrap_err();
    assert_eq!(at, 1);
    assert!(error.to_string().starts_with("public_ipv4 100.64.0.9 of VM a is not a public address"), "{error}");
    assert!(registry.is_empty());

    let any = || Edit::Settings(Arc::new(Settings { public_ipv4: PublicIpv4::Any, ..settings() }));
    let strict = || Edit::Settings(Arc::new(settings()));
    registry.apply([any(), private()]).unwrap();
    assert_eq!(class_of(&registry, "100.64.0.9"), Some(ClassId::UNRESTRICTED));
    assert_eq!(registry.apply([strict()]).unwrap_err().0, 0, "it is there already");
    registry.apply([strict(), patch("a", r#"{"public_ipv4":null}"#)]).unwrap();
    assert_eq!(class_of(&registry, "10.0.0.5"), Some(ClassId::RESTRICTED));
    assert!(registry.apply([patch("a", r#"{"public_ipv4":"192.168.0.1"}"#)]).is_err());
}
