//! Every method, and what is wrong with parameters.

use super::*;
use crate::control::rpc::Guard;
use crate::model::{Boot, Mode, Revision, Role};
use crate::vm::edit::Edit;
use crate::vm::record::{VmPatch, VmSet};
use serde_json::Value;

fn refusal(method: &str, params: &str) -> RpcError {
    call(method, params).unwrap_err()
}

#[test]
fn every_method_becomes_its_call() {
    let id: VmId = "web1".parse().unwrap();
    let set = VmSet {
        id: id.clone(),
        macs: vec!["52:54:00:00:00:01".parse().unwrap()],
        ips: vec!["10.0.0.5".parse().unwrap()],
        public_ipv4: None,
        scope: crate::model::Scope(0),
        tenant: None,
        class: Some(None),
        mode: Some(Some(Mode::Monitor)),
        exceptions: None,
        note: None,
    };
    let patch = VmPatch { public_ipv4: Some(None), ..VmPatch::default() };
    for (method, params, expected) in [
        (
            "vm.set",
            r#"{"if_revision":7,"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"],"class":null,"mode":"monitor"}"#,
            Call::VmSet { set, guard: Guard { revision: Some(Revision(7)), ..Guard::default() } },
        ),
        (
            "vm.patch",
            r#"{"public_ipv4":null,"id":"web1"}"#,
            Call::VmPatch { id: id.clone(), patch, guard: Guard::default() },
        ),
        (
            "vm.delete",
            r#"{"id":"web1","if_revision":0,"if_boot":"0000001f"}"#,
            Call::VmDelete {
                id: id.clone(),
                guard: Guard { revision: Some(Revision(0)), boot: Some(Boot(0x1f)), ..Guard::default() },
            },
        ),
        ("vm.get", r#"{"id":"web1"}"#, Call::VmGet { id: id.clone() }),
        ("vm.list", "{}", Call::VmList { after: None, limit: 1000, filter: None }),
        (
            "vm.list",
            r#"{"after":"web1","limit":10000}"#,
            Call::VmList { after: Some(id.clone()), limit: 10_000, filter: None },
        ),
        ("stats.get", r#"{"vm":"web1"}"#, Call::StatsGet { vms: Wish::One(id.clone()) }),
        ("stats.get", "{}", Call::StatsGet { vms: Wish::All }),
        ("stats.get", r#"{"vms":false}"#, Call::StatsGet { vms: Wish::None }),
        ("stats.get", r#"{"top":5}"#, Call::StatsGet { vms: Wish::Top { count: 5, by: Tally::Denied } }),
        (
            "stats.get",
            r#"{"top":1000,"by":"would_deny","vms":true}"#,
            Call::StatsGet { vms: Wish::Top { count: 1000, by: Tally::WouldDeny } },
        ),
        ("version", "{}", Call::Version),
    ] {
        assert_eq!(call(method, params), Ok(expected), "{method} {params}");
    }
}

#[test]
fn a_transaction_has_steps_that_are_changes() {
    let step = |method: &str, params: &str| format!(r#"{{"method":"{method}","params":{params}}}"#);
    let txn = |steps: &[String], more: &str| call("txn", &format!(r#"{{"operations":[{}]{more}}}"#, steps.join(",")));
    let delete = step("vm.delete", r#"{"id":"a"}"#);
    let expected = Call::Txn {
        edits: vec![Edit::Delete("a".parse().unwrap())],
        dry_run: true,
        confirm: None,
        guard: Guard { revision: Some(Revision(7)), ..Guard::default() },
    };
    assert_eq!(txn(std::slice::from_ref(&delete), r#","dry_run":true,"if_revision":7"#), Ok(expected));
    let patch = step("policy.patch", r#"{"policy":{"mode":"monitor"}}"#);
    assert!(
        matches!(txn(&[delete.clone(), patch], ""), Ok(Call::Txn { edits, dry_run: false, .. }) if edits.len() == 2)
    );
    for (bad, words) in [
        (step("vm.get", r#"{"id":"a"}"#), "operations[1]: `vm.get` is no step"),
        (step("txn", r#"{"operations":[]}"#), "operations[1]: operations: 1 to 10000"),
        (step("vm.delete", r#"{"id":"a","if_revision":1}"#), "stand beside `operations`"),
        (step("vm.delet", r#"{"id":"a"}"#), "did you mean `vm.delete`?"),
        (step("vm.delete", r#"{"id":5}"#), "operations[1]: id: "),
    ] {
        let error = txn(&[delete.clone(), bad.clone()], "").unwrap_err();
        assert!(error.message.contains(words), "{bad}: {error}");
        assert_eq!(error.data.first(), Some(&("operation", Value::from(1))), "{bad}");
    }
    assert!(txn(&[], "").unwrap_err().message.contains("1 to 10000 are possible, not 0"));
    assert!(
        txn(&[r#"{"method":"vm.delete","parms":{}}"#.into()], "")
            .unwrap_err()
            .message
            .contains("did you mean `params`?")
    );
}

#[test]
fn an_unknown_method_is_answered_with_the_nearest() {
    let error = refusal("vm.sett", "{}");
    assert_eq!(error.kind, Kind::UnknownMethod);
    assert!(error.message.contains("`vm.sett`") && error.message.contains("did you mean `vm.set`?"), "{error}");
    assert!(!refusal("nothing.like.it", "{}").message.contains("did you mean"));
}

#[test]
fn wrong_parameters_are_named() {
    for (method, params, path, words) in [
        ("vm.set", r#"{"id":"a","macs":["52:54:00:00:00:01","zz"]}"#, "macs[1]", "`zz` is not a MAC address"),
        ("vm.set", r#"{"id":"a","ips":["10.0.0.5/24"]}"#, "ips[0]", "did you mean 10.0.0.0/24"),
        ("vm.set", r#"{"id":"a b"}"#, "id", "`a b` is not a VM id"),
        ("vm.set", r#"{"id":"a","macs":7}"#, "macs", "expected a sequence"),
        ("vm.set", r#"{"id":"a","mode":"monitr"}"#, "mode", "did you mean `monitor`?"),
        ("vm.set", r#"{"id":"a","scope":70000}"#, "scope", "70000"),
        ("vm.set", r#"{"id":"a","if_revision":1e3}"#, "if_revision", "expected u64"),
        ("vm.set", r#"{"id":"a","if_revision":-1}"#, "if_revision", "-1"),
        ("vm.set", r#"{"id":"a","if_revision":null}"#, "if_revision", "null"),
        ("vm.set", r#"{"id":"a","if_revision":99999999999999999999}"#, "if_revision", "expected u64"),
        ("vm.patch", r#"{"id":5}"#, "id", "expected"),
        ("vm.list", r#"{"limit":10001}"#, "limit", "10001"),
        ("vm.set", r#"{"id":"a","if_boot":"1"}"#, "if_boot", "eight hexadecimal digits"),
        ("stats.get", r#"{"vms":1}"#, "vms", "expected a boolean"),
        ("stats.get", r#"{"top":0}"#, "top", "1 to 1000, not 0"),
        ("stats.get", r#"{"top":1001}"#, "top", "1001"),
        ("stats.get", r#"{"by":"denied"}"#, "by", "`top` must say"),
        ("stats.get", r#"{"top":1,"vms":false}"#, "top", "`vms` is false"),
        ("stats.get", r#"{"top":1,"by":"deny"}"#, "by", "did you mean `denied`?"),
    ] {
        let error = refusal(method, params);
        assert_eq!(error.kind, Kind::InvalidParams, "{params}");
        assert_eq!(error.data, [("path", Value::from(path))], "{params}: {error}");
        assert!(error.message.starts_with(&format!("{path}: ")) && error.message.contains(words), "{error}");
        assert!(!error.message.contains(" at line "), "{error}");
    }
}

#[test]
fn parameters_are_an_object_of_known_members_each_given_once() {
    for (method, params, words) in [
        ("vm.set", r#"{"id":"a","pubic_ipv4":"203.0.113.5"}"#, "did you mean `public_ipv4`?"),
        ("vm.set", r#"{"id":"a","if_revison":1}"#, "did you mean `if_revision`?"),
        ("vm.patch", r#"{"id":"a","clas":"x"}"#, "did you mean `class`?"),
        ("vm.set", r#"{"id":"a","id":"b"}"#, "duplicate field `id`"),
        ("vm.set", r#"{"id":"a","if_revision":1,"if_revision":1}"#, "duplicate field `if_revision`"),
        ("vm.patch", r#"{"id":"a","note":"x","id":"a"}"#, "duplicate field `id`"),
        ("vm.patch", r#"{"note":"x"}"#, "missing field `id`"),
        ("vm.set", r#"{}"#, "missing field `id`"),
        ("vm.set", r#"["a"]"#, "expected an object"),
        ("vm.set", "null", "expected an object"),
        ("version", "[]", "expected an object"),
        ("version", r#"{"x":1}"#, "unknown field `x`"),
    ] {
        let error = refusal(method, params);
        assert_eq!(error.kind, Kind::InvalidParams, "{params}");
        assert!(error.message.contains(words), "{params}: {error}");
    }
}

/// The methods that each role adds to those before, as `docs/control.md` has them; and what each method takes, in short.
#[test]
fn each_method_needs_the_role_that_the_documentation_says() {
    let docs = include_str!("../../../docs/control.md");
    let row = |role: Role| {
        let begin = format!("| `{role}` | ");
        docs.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_else(|| panic!("no row of {role}"))
    };
    for (method, params) in
        METHODS.into_iter().flat_map(|method| samples(method).iter().map(move |params| (method, params)))
    {
        let call = call(method, params).unwrap_or_else(|error| panic!("{method} {params}: {error}"));
        assert_eq!(call.method(), method);
        let about_policy = params.contains("policy.patch");
        let words = match method {
            "txn" if about_policy => "`txn` with an operation on policy".to_owned(),
            "txn" => "`txn` of VMs".to_owned(),
            method if method.starts_with("sync.") && method != "sync.status" => "`sync.*`".to_owned(),
            method => format!("`{method}`"),
        };
        let least = Role::ALL.into_iter().find(|&role| row(role).contains(&words));
        assert_eq!(least, Some(call.needs()), "{method} {params}");
    }
}

fn samples(method: &str) -> &'static [&'static str] {
    match method {
        "vm.set" | "vm.patch" | "vm.delete" | "vm.get" => &[r#"{"id":"a"}"#],
        "vm.lookup" => &[r#"{"ip":"10.0.0.5"}"#],
        "exception.add" => &[r#"{"vm":"a","name":"b","ports":[25],"permanent":true}"#],
        "explain" => &[r#"{"frame":"00"}"#, r#"{"connection":{"vm":"a","destination_port":25}}"#],
        "exception.remove" => &[r#"{"vm":"a","name":"b"}"#],
        "txn" => &[
            r#"{"operations":[{"method":"vm.delete","params":{"id":"a"}}]}"#,
            r#"{"operations":[{"method":"vm.delete","params":{"id":"a"}},{"method":"policy.patch","params":{}}],"dry_run":true}"#,
        ],
        "sync.chunk" => &[r#"{"sync":1,"at":0,"vms":[]}"#],
        "sync.status" | "sync.commit" | "sync.abort" => &[r#"{"sync":1}"#],
        _ => &["{}"],
    }
}

#[test]
fn every_method_and_every_kind_of_error_stands_in_the_documentation() {
    let docs = include_str!("../../../docs/control.md");
    // A row may be about several methods.
    let methods = docs.split_once("| Method | Parameters").unwrap().1.split_once("\n\n").unwrap().0;
    let named: Vec<&str> =
        methods.lines().filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split(", ")).collect();
    let named: std::collections::BTreeSet<&str> =
        named.into_iter().filter_map(|it| it.trim().strip_prefix('`')?.strip_suffix('`')).collect();
    assert_eq!(named, METHODS.into_iter().collect());

    let kinds = docs.split_once("| `data.kind` | `code` |").unwrap().1.split_once("\n\n").unwrap().0;
    let rows = kinds.lines().filter_map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let kind = cells.nth(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((kind, cells.next()?.parse::<i32>().ok()?))
    });
    let rows: std::collections::BTreeSet<(&str, i32)> = rows.collect();
    assert_eq!(rows, Kind::ALL.into_iter().map(|kind| (kind.name(), kind.code())).collect());
    let codes: std::collections::BTreeSet<i32> = Kind::ALL.into_iter().map(Kind::code).collect();
    assert_eq!(codes.len(), Kind::ALL.len(), "no two have one code");
}
