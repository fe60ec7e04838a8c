//! What a list and the statistics are narrowed to.

use super::*;

#[test]
fn a_list_is_of_those_that_a_filter_takes() {
    let (mut state, _readers, _) = state();
    for vm in [
        json!({"id": "a1", "ips": ["10.0.1.0/24"], "class": "mta-only"}),
        json!({"id": "a2", "ips": ["10.0.2.0/24"], "public_ipv4": "203.0.113.9", "scope": 7}),
        json!({"id": "b1", "ips": ["10.0.3.0/24"], "mode": "monitor"}),
        json!({"id": "b2", "ips": ["10.0.2.128/25"], "class": "mta-only", "scope": 7}),
    ] {
        ask(&mut state, "vm.set", &vm).unwrap();
    }
    let mut ids = |params: Value| {
        let answer = ask(&mut state, "vm.list", &params).unwrap();
        let ids = answer["vms"].as_array().unwrap().iter().map(|entry| entry["vm"]["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>().join(" "), answer["next"].clone())
    };
    for (filter, expected) in [
        (json!({}), "a1 a2 b1 b2"),
        (json!({"class": "mta-only"}), "a1 b2"),
        (json!({"class": "mta-only", "scope": 0}), "a1"),
        (json!({"class": "unrestricted"}), "a2"),
        (json!({"mode": "monitor"}), "b1"),
        (json!({"id_prefix": "b"}), "b1 b2"),
        (json!({"ip": "10.0.2.200"}), "a2 b2"),
        (json!({"ip": "203.0.113.9"}), "a2"),
        (json!({"class": "none"}), ""),
    ] {
        assert_eq!(ids(json!({ "filter": filter })), (expected.to_owned(), Value::Null), "{filter}");
    }
    let class = json!({"class": "mta-only"});
    assert_eq!(ids(json!({"filter": class, "limit": 1})), ("a1".into(), json!("a1")));
    assert_eq!(ids(json!({"filter": class, "limit": 1, "after": "a1"})), ("b2".into(), Value::Null));
    assert_eq!(kind(ask(&mut state, "vm.list", &json!({"filter": {"clas": "x"}}))), "invalid_params");
    let stats = ask(&mut state, "stats.get", &json!({"vm": "b1"})).unwrap();
    assert_eq!(stats["vms"].as_object().unwrap().keys().collect::<Vec<_>>(), ["b1"]);
    assert_eq!(kind(ask(&mut state, "stats.get", &json!({"vm": "c"}))), "not_found");
    assert_eq!(kind(ask(&mut state, "stats.get", &json!({"vm": "b1", "top": 1}))), "invalid_params");
}
