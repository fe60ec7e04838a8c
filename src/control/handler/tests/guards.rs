//! Changes that are made under circumstances only.

use super::*;

#[test]
fn a_revision_of_another_run_fits_nothing() {
    let (mut state, _readers, _) = state();
    let set = |boot: &str| json!({"id": "a", "ips": ["10.0.0.1"], "if_revision": 0, "if_boot": boot});
    let error = ask(&mut state, "vm.set", &set("0000b008")).unwrap_err();
    assert_eq!(error["data"], json!({"kind": "revision_mismatch", "revision": 0, "boot": "0000b007"}));
    assert!(error["message"].as_str().unwrap().contains("started anew"), "{error}");
    assert_eq!(ask(&mut state, "vm.set", &set("0000b007")).unwrap()["boot"], "0000b007");
}

#[test]
fn a_change_of_one_vm_may_be_made_only_if_nobody_else_has_changed_it() {
    let (mut state, _readers, _) = state();
    let set = |etag: Value, note: &str| json!({"id": "a", "ips": ["10.0.0.1"], "note": note, "if_etag": etag});
    ask(&mut state, "vm.set", &set(Value::Null, "x")).unwrap();
    let error = ask(&mut state, "vm.set", &set(Value::Null, "y")).unwrap_err();
    let etag = ask(&mut state, "vm.get", &json!({"id": "a"})).unwrap()["etag"].clone();
    assert_eq!(error["data"], json!({"kind": "etag_mismatch", "etag": etag}));
    ask(&mut state, "vm.set", &json!({"id": "b", "ips": ["10.0.0.2"]})).unwrap();
    assert_eq!(
        ask(&mut state, "vm.set", &set(etag.clone(), "y")).unwrap()["revision"],
        3,
        "another VM's change is none"
    );
    let patch = |etag: &Value| json!({"id": "a", "note": "z", "if_etag": etag});
    assert_eq!(kind(ask(&mut state, "vm.patch", &patch(&etag))), "etag_mismatch");
    assert_eq!(kind(ask(&mut state, "vm.delete", &json!({"id": "a", "if_etag": etag}))), "etag_mismatch");

    // In a transaction the etag is that before it, and the operation is named.
    let listed = ask(&mut state, "vm.list", &json!({"filter": {"id_prefix": "a"}})).unwrap();
    let now = listed["vms"][0]["etag"].clone();
    let step = |etag: &Value| json!({"method": "vm.patch", "params": patch(etag)});
    let error = ask(&mut state, "txn", &json!({"operations": [step(&now), step(&etag)]})).unwrap_err();
    assert_eq!(error["data"], json!({"kind": "etag_mismatch", "etag": now, "operation": 1}));
    assert_eq!(ask(&mut state, "txn", &json!({"operations": [step(&now), step(&now)]})).unwrap()["revision"], 4);
    let error = ask(&mut state, "vm.delete", &json!({"id": "gone", "if_etag": now})).unwrap_err();
    assert_eq!(error["data"], json!({"kind": "etag_mismatch", "etag": null}));
}
