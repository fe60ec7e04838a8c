//! Records as they are written, good and bad.

use super::*;

fn set(json: &str) -> Result<Vm, String> {
    let set: VmSet = serde_json::from_str(json).map_err(|e| e.to_string())?;
    set.onto(None).map_err(|e| e.to_string())
}

#[test]
fn a_full_line_is_read() {
    let vm = set(r#"{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5","2001:DB8::5"],
            "public_ipv4":"203.0.113.5","class":"restricted","scope":0}"#)
    .unwrap();
    assert_eq!(vm.ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.5", "2001:db8::5"]);
    assert_eq!(vm.prefixes().count(), 3, "the public address counts among the addresses");
    assert_eq!(vm.class.as_deref(), Some("restricted"));
}

#[test]
fn addresses_that_no_vm_can_have_are_refused() {
    for ip in [
        "0.0.0.0",
        "0.0.0.0/0",
        "0.0.0.0/8",
        "127.0.0.1",
        "127.0.0.0/8",
        "126.0.0.0/7",
        "224.0.0.1",
        "239.255.255.255",
        "224.0.0.0/4",
        "128.0.0.0/1",
        "255.255.255.255",
        "10.0.0.5/24",
        "10.0.0.1/31",
        "::",
        "::/0",
        "::1",
        "::ffff:10.0.0.5",
        "::ffff:0:0/96",
        "::/64",
        "ff02::1",
        "ff00::/8",
        "f000::/4",
        "2001:db8::5/64",
        "10.0.0",
        "10.0.0.0/33",
        "2001:db8::/129",
        "10.0.0.5 ",
        " 10.0.0.5",
        "010.0.0.5",
        "10.0.0.5/",
        "10.0.0.0/+8",
        "2001:db8::g",
        "fe80::1%eth0",
        "",
        "web1",
    ] {
        let json = format!(r#"{{"id":"a","ips":["{ip}"]}}"#);
        assert!(set(&json).is_err(), "{ip}");
    }
    for ip in [
        "10.0.0.5",
        "10.0.0.0/24",
        "1.0.0.0/8",
        "2001:db8::5",
        "2001:0DB8::0005",
        "2001:db8:5::/64",
        "fe80::5",
        "169.254.1.1",
    ] {
        let json = format!(r#"{{"id":"a","ips":["{ip}"]}}"#);
        assert!(set(&json).is_ok(), "{ip}");
    }
    for ip in ["0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255"] {
        assert!(set(&format!(r#"{{"id":"a","public_ipv4":"{ip}"}}"#)).is_err(), "public {ip}");
    }
}

#[test]
fn null_is_like_absent() {
    let vm = set(r#"{"id":"a","macs":null,"ips":["10.0.0.5"],"public_ipv4":null,"scope":null,"class":null,
            "mode":null,"note":null}"#);
    assert_eq!(vm, set(r#"{"id":"a","ips":["10.0.0.5"]}"#));
    assert!(set(r#"{"id":null,"ips":["10.0.0.5"]}"#).is_err(), "a VM has a name");
}

#[test]
fn a_public_address_is_told_from_others() {
    let refused = |address: &str| {
        let vm = set(&format!(r#"{{"id":"a","public_ipv4":"{address}"}}"#)).unwrap();
        vm.check_public_address().map_err(|error| error.to_string())
    };
    for (address, what) in [
        ("0.0.0.1", "RFC 791"),
        ("0.255.255.255", "RFC 791"),
        ("10.0.0.0", "10.0.0.0/8"),
        ("10.255.255.255", "10.0.0.0/8"),
        ("100.64.0.9", "RFC 6598"),
        ("100.127.255.255", "RFC 6598"),
        ("169.254.0.1", "link-local"),
        ("172.16.0.1", "172.16.0.0/12"),
        ("172.31.255.255", "172.16.0.0/12"),
        ("192.168.255.1", "192.168.0.0/16"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.254", "reserved"),
    ] {
        let error = refused(address).unwrap_err();
        assert!(error.contains(address) && error.contains(what) && error.contains("policy.public_ipv4"), "{error}");
    }
    for address in [
        "1.0.0.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "169.253.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.0.1",
        "192.169.0.1",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.5",
        "223.255.255.255",
    ] {
        assert_eq!(refused(address), Ok(()), "{address}");
    }
}

#[test]
fn macs_that_name_no_single_station_are_refused() {
    for mac in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "00:00:00:00:00:00"] {
        assert!(set(&format!(r#"{{"id":"a","macs":["{mac}"]}}"#)).is_err(), "{mac}");
    }
}

#[test]
fn ids_have_1_to_64_plain_characters() {
    let long = "a".repeat(64);
    for id in ["a", "web1.example:eth0_A-9", &long] {
        assert!(id.parse::<VmId>().is_ok(), "{id}");
    }
    for id in ["", "a b", "é", "a/b", "a\n", &"a".repeat(65)] {
        assert!(id.parse::<VmId>().is_err(), "{id:?}");
    }
}

#[test]
fn a_vm_needs_a_key_and_has_limits() {
    assert!(set(r#"{"id":"a"}"#).unwrap_err().contains("neither MAC nor IP"));
    let many = |count: usize, text: fn(usize) -> String| (0..count).map(text).collect::<Vec<_>>().join(",");
    let macs = |count| format!(r#"{{"id":"a","macs":[{}]}}"#, many(count, |n| format!("\"52:54:00:00:00:{n:02x}\"")));
    assert!(set(&macs(8)).is_ok() && set(&macs(9)).unwrap_err().contains("9 MACs"));
    let ips = |count| format!(r#"{{"id":"a","ips":[{}]}}"#, many(count, |n| format!("\"10.0.0.{}\"", n + 1)));
    assert!(set(&ips(64)).is_ok() && set(&ips(65)).unwrap_err().contains("65 addresses"));
}

#[test]
fn unknown_fields_are_refused_by_name() {
    assert!(set(r#"{"id":"a","macs":[],"pubic_ipv4":"203.0.113.5"}"#).unwrap_err().contains("pubic_ipv4"));
}

#[test]
fn what_the_operator_said_stays_unless_set_says_otherwise() {
    let old = set(r#"{"id":"a","ips":["10.0.0.5"],"class":"mta-only","mode":"monitor","note":"ticket 7"}"#).unwrap();
    let again = |json: &str| serde_json::from_str::<VmSet>(json).unwrap().onto(Some(&old)).unwrap();
    let synced = again(r#"{"id":"a","ips":["10.0.0.6"]}"#);
    assert_eq!(
        (synced.class.as_deref(), synced.mode, synced.note.as_deref()),
        (Some("mta-only"), Mode::Monitor, Some("ticket 7"))
    );
    let cleared = again(r#"{"id":"a","ips":["10.0.0.6"],"class":null,"mode":null,"note":null}"#);
    assert_eq!((cleared.class, cleared.mode, cleared.note), (None, Mode::Enforce, None));
}

#[test]
fn a_patch_changes_what_it_names() {
    let old = set(r#"{"id":"a","ips":["10.0.0.5"],"public_ipv4":"203.0.113.5","class":"mta-only"}"#).unwrap();
    let patch = |json: &str| serde_json::from_str::<VmPatch>(json).unwrap().onto(&old);
    assert_eq!(patch("{}").unwrap(), old);
    assert_eq!(patch(r#"{"public_ipv4":null}"#).unwrap().public_ipv4, None);
    assert_eq!(patch(r#"{"class":null}"#).unwrap().class, None);
    assert!(patch(r#"{"public_ipv4":null,"ips":[]}"#).is_err(), "nothing to recognise it by");
    let ips = |json: &str| patch(json).map(|vm| vm.ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    assert_eq!(ips(r#"{"add_ips":["2001:db8::5","10.0.0.5"]}"#).unwrap(), "10.0.0.5 2001:db8::5");
    assert_eq!(ips(r#"{"add_ips":["10.0.0.6"],"del_ips":["10.0.0.5","10.0.0.9"]}"#).unwrap(), "10.0.0.6");
    assert_eq!(patch(r#"{"add_macs":["52:54:00:00:00:01"]}"#).unwrap().macs.len(), 1);
    let both = ips(r#"{"ips":["10.0.0.6"],"add_ips":["10.0.0.7"]}"#).unwrap_err().to_string();
    assert_eq!(both, "VM a: `ips` replaces the whole list, `add_ips` and `del_ips` change it; give one or the other");
    assert!(patch(r#"{"del_ips":["10.0.0.5"],"public_ipv4":null}"#).is_err(), "nothing to recognise it by");
}
