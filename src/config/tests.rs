//! Files that are fine, and files that are not.

use super::*;
use crate::model::{ClassId, Mode, Scope, VlanId};
use crate::policy::{Classes, RelayAt};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("portcullis.toml")).map_err(|error| error.to_string())
}

const LINK: &str = "[[link]]\nname = \"a\"\ninside = \"net_null0\"\noutside = \"net_null1\"\n";

#[test]
fn an_empty_file_is_a_configuration() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.policy().unwrap().classes, Classes::default());
}

#[test]
fn the_shipped_configuration_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/portcullis.toml");
    Config::load(&path).unwrap();
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    for (text, suggestion) in [
        ("[dpdk]\ncors = \"1\"", "did you mean `cores`?"),
        ("[polcy]", "did you mean `policy`?"),
        ("[policy]\nunknown_clas = \"x\"", "did you mean `unknown_class`?"),
        ("[policy]\nidentity = \"mial\"", "did you mean `mail`?"),
        ("[policy]\nunknown_class = \"restrictd\"", "did you mean `restricted`?"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(suggestion), "{text:?} gave {error}");
    }
}

#[test]
fn what_a_later_version_brings_is_refused_as_such() {
    assert!(parse("[events]").unwrap_err().contains("not in this version"));
}

#[test]
fn metrics_have_ends_of_their_own() {
    let good = "[metrics]\nlisten = [\"127.0.0.1:9753\", \"/run/x/metrics.sock\"]\nvms = 5";
    assert_eq!(parse(good).unwrap().metrics.vms, Shown::Top(5));
    for (listen, key, words) in [
        ("\"127.0.0.1:1\", \"127.0.0.1:1\"", "metrics.listen[1]", "there twice"),
        ("\"/run/portcullis/control.sock\"", "metrics.listen[0]", "of its own"),
        ("\"/\"", "metrics.listen[0]", "of its own"),
        ("\"localhost:1\"", "listen = [", "`localhost:1` is neither"),
    ] {
        let error = parse(&format!("[metrics]\nlisten = [{listen}]")).unwrap_err();
        assert!(error.contains(key) && error.contains(words), "{error}");
    }
}

#[test]
fn the_store_is_a_file_of_its_own() {
    assert_eq!(
        parse("[store]\npath = \"/var/lib/x/state.redb\"").unwrap().store.path,
        Some("/var/lib/x/state.redb".into())
    );
    for text in ["[store]\npath = \"\"", "[store]\npath = \"..\"", "[control]\nsocket = \"a\"\n[store]\npath = \"a\""] {
        assert!(parse(text).unwrap_err().contains("store.path"), "{text}");
    }
}

#[test]
fn errors_name_the_line() {
    let error = parse("[table]\nvms = 5\nkeys = \"many\"").unwrap_err();
    assert!(error.contains("line 3"), "{error}");
}

#[test]
fn a_link_needs_two_devices_of_its_own() {
    assert!(parse("[[link]]\nname = \"a\"\ninside = \"net_null0\"").unwrap_err().contains("missing field `outside`"));
    let same = "[[link]]\nname = \"a\"\ninside = \"net_null0\"\noutside = \"net_null0,size=64\"";
    assert!(parse(same).unwrap_err().contains("link[0].inside"), "one device twice in a link");
    let shared = format!("{LINK}[[link]]\nname = \"b\"\ninside = \"net_null2\"\noutside = \"net_null1\"");
    let error = parse(&shared).unwrap_err();
    assert!(error.contains("link[1].outside") && error.contains("link[0].outside"), "{error}");
}

#[test]
fn classes_relays_and_scopes_reach_the_policy() {
    let config = parse(&format!(
        "{LINK}scopes = {{ \"100\" = 1, \"0\" = 7 }}\n[policy]\nunknown_class = \"mta-only\"\ndirections = [\"egress\"]\n\
         via = [\"52:54:00:ff:ff:01\"]\n[[policy.relay]]\nname = \"smarthost\"\nprefix = \"198.51.100.25\"\nports = [587]\n\
         [[policy.relay]]\nname = \"own\"\nvm = \"mail1\"\ntenant = true\nports = [25, 587]\n\
         [class.mta-only]\nports = [25, \"2000-2010\"]\nmode = \"monitor\"\n[class.restricted]\nports = [\"25\"]"
    ))
    .unwrap();
    let policy = config.policy().unwrap();
    assert_eq!(policy.classes.get(ClassId::RESTRICTED).ports.to_string(), "25");
    assert_eq!(policy.classes.get(policy.unknown_class).ports.to_string(), "25, 2000-2010");
    assert_eq!(policy.classes.get(policy.unknown_class).mode, Mode::Monitor);
    assert!(policy.judge_egress && !policy.judge_ingress);
    assert_eq!(policy.scopes[0].get(VlanId(100)), Some(Scope(1)));
    assert_eq!(policy.scopes[0].get(VlanId(0)), Some(Scope(7)));
    assert_eq!(policy.scopes[0].get(VlanId(5)), Some(Scope(0)));
    let [smarthost, own] = &policy.relays[..] else { panic!("{:?}", policy.relays) };
    assert_eq!(smarthost.at, RelayAt::Prefix("198.51.100.25/32".parse().unwrap()));
    assert!(smarthost.ports.contains(587) && !smarthost.ports.contains(25));
    assert_eq!(own.at, RelayAt::Vm { id: "mail1".into(), tenant: true });
}

#[test]
fn what_makes_no_sense_is_refused_by_key() {
    for (text, key) in [
        ("[class.unrestricted]\nports = [25]".to_owned(), "class.unrestricted"),
        ("[class.\"a b\"]\nports = [25]".to_owned(), "class.a b"),
        ("[class.a]\nports = [\"30-20\"]".to_owned(), "30-20"),
        ("[class.a]\nports = [70000]".to_owned(), "expected a TCP port"),
        ("[policy]\nvia = [\"01:00:5e:00:00:01\"]".to_owned(), "policy.via"),
        (
            "[[policy.relay]]\nname = \"x\"\nprefix = \"198.51.100.25/24\"\nports = [25]".to_owned(),
            "policy.relay[0].prefix",
        ),
        (
            "[[policy.relay]]\nname = \"x\"\nprefix = \"198.51.100.0/24\"\nports = []".to_owned(),
            "policy.relay[0].ports",
        ),
        ("[[policy.relay]]\nname = \"x\"\nports = [25]".to_owned(), "policy.relay[0].prefix"),
        (
            "[[policy.relay]]\nname = \"x\"\nprefix = \"198.51.100.25\"\nvm = \"mail1\"\nports = [25]".to_owned(),
            "policy.relay[0].vm",
        ),
        ("[[policy.relay]]\nname = \"x\"\nvm = \"mail 1\"\nports = [25]".to_owned(), "policy.relay[0].vm"),
        (
            "[[policy.relay]]\nname = \"x\"\nprefix = \"198.51.100.25\"\ntenant = true\nports = [25]".to_owned(),
            "policy.relay[0].tenant",
        ),
        (format!("{LINK}mtu = 20"), "link[0].mtu"),
        (format!("{LINK}queues = 0"), "link[0].queues"),
        (format!("{LINK}rx_descriptors = 1"), "link[0].rx_descriptors"),
        (format!("{LINK}scopes = {{ \"5000\" = 1 }}"), "5000"),
        (format!("{LINK}scopes = {{ \"0100\" = 1 }}"), "`0100` is not a VLAN id"),
        (format!("{LINK}scopes = {{ \"+7\" = 1 }}"), "`+7` is not a VLAN id"),
        (format!("{LINK}scopes = {{ \"0\" = \"refuse\" }}"), "untagged frames cannot be refused"),
        (format!("{LINK}scopes = {{ \"7\" = \"refused\" }}"), "or \"refuse\""),
        (format!("{LINK}scopes = {{ \"7\" = 65536 }}"), "0 to 65535"),
        (format!("{LINK}via = [\"00:00:00:00:00:00\"]"), "link[0].via"),
        (format!("{LINK}via = [{{ mac = \"52:54:00:00:00:01\", vlan = 0 }}]"), "0 is not a VLAN id from 1 to 4095"),
        (format!("{LINK}via = [\"52:54:00:00:00:01\", \"52:54:00:00:00:01\"]"), "listed twice"),
        (format!("{LINK}via = [{{ mac = \"52:54:00:00:00:01\", vlans = 1 }}]"), "vlans"),
        ("[policy]\nvia = [\"00:00:00:00:00:00\"]".to_owned(), "nobody's address"),
        ("[policy]\nguards = [\"arp\"]".to_owned(), "policy.guards"),
        ("[policy]\nidentity = \"strict\"\nguards = [\"rap\"]".to_owned(), "rap"),
        (format!("{LINK}reject_ipv4 = \"224.0.0.1\""), "link[0].reject_ipv4"),
        (format!("{LINK}reject_ipv6 = \"::\""), "link[0].reject_ipv6"),
        (format!("{LINK}reject_ipv6 = \"192.0.2.1\""), "reject_ipv6"),
        ("[policy]\nreject_rate = 0".to_owned(), "policy.reject_rate: 0 is not from 1 to 1000000"),
        ("[policy]\nreject_burst = 10001".to_owned(), "policy.reject_burst: 10001 is not from 1 to 10000"),
        (format!("{LINK}protect = [\"ff02::1\"]"), "link[0].protect"),
        (format!("{LINK}protect = [\"0.0.0.0\"]"), "no station's address"),
        (format!("{LINK}protect = [\"192.0.2.1\", \"192.0.2.1\"]"), "listed twice"),
        (format!("{LINK}protect = [\"192.0.2.1/24\"]"), "192.0.2.1/24"),
        ("[policy]\ndirections = []".to_owned(), "policy.directions"),
        (
            ["25", "26"]
                .map(|last| format!("[[policy.relay]]\nname = \"x\"\nprefix = \"198.51.100.{last}\"\nports = [25]\n"))
                .concat(),
            "policy.relay[1].name: two relays are called `x`",
        ),
        ("[table]\nvms = 0".to_owned(), "table.vms"),
        ("[dpdk]\nfile_prefix = \"a/b\"".to_owned(), "dpdk.file_prefix"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(key), "{text:?} gave {error}");
    }
}

#[test]
fn every_fault_is_named() {
    let text = format!(
        "{LINK}mtu = 20\nqueues = 0\n[table]\nvms = 0\n[dpdk]\nfile_prefix = \"a/b\"\n[class.unrestricted]\nports = []"
    );
    let error = parse(&text).unwrap_err();
    for key in ["link[0].mtu", "link[0].queues", "table.vms", "dpdk.file_prefix", "class.unrestricted"] {
        assert_eq!(error.matches(&format!("portcullis.toml: {key}: ")).count(), 1, "{key}: {error}");
    }
    assert_eq!(error.lines().count(), 5, "{error}");
}

#[test]
fn one_interface_or_file_is_no_two_ends() {
    let folder = tempfile::tempdir().unwrap();
    let link = |inside: &str, outside: &str| {
        let text = format!("[[link]]\nname = \"a\"\ninside = \"{inside}\"\noutside = \"{outside}\"\n");
        parse(&text.replace("DIR", folder.path().to_str().unwrap()))
    };
    std::fs::write(folder.path().join("in.pcap"), "").unwrap();
    std::os::unix::fs::symlink(folder.path().join("in.pcap"), folder.path().join("linked.pcap")).unwrap();
    for (inside, outside, named) in [
        ("net_af_packet0,iface=x", "net_af_packet1,iface=x", "`x`"),
        ("net_af_packet0,iface=x", "net_tap0,iface=x", "`x`"),
        ("net_tap0,iface=t,remote=x", "net_af_packet0,iface=x", "`x`"),
        ("net_pcap0,rx_iface=x,tx_iface=y", "net_pcap1,iface=y", "`y`"),
        ("net_pcap0,tx_pcap=DIR/out.pcap", "net_pcap1,tx_pcap=DIR/out.pcap", "out.pcap`"),
        ("net_pcap0,tx_pcap=DIR/out.pcap", "net_pcap1,tx_pcap=DIR/./out.pcap", "out.pcap`"),
        ("net_pcap0,rx_pcap=DIR/in.pcap", "net_pcap1,tx_pcap=DIR/in.pcap", "in.pcap`"),
        ("net_pcap0,tx_pcap=DIR/in.pcap", "net_pcap1,rx_pcap=DIR/linked.pcap", "in.pcap`"),
    ] {
        let error = link(inside, outside).unwrap_err();
        assert!(error.contains("link[0].outside: ") && error.contains("link[0].inside"), "{error}");
        assert!(error.contains(named), "{error}");
    }
    let error = link("net_pcap0,rx_pcap=DIR/in.pcap,tx_pcap=DIR/in.pcap", "net_null0").unwrap_err();
    assert!(error.contains("link[0].inside: ") && error.contains("the same port"), "{error}");
    for (inside, outside) in [
        ("net_af_packet0,iface=x", "net_af_packet1,iface=y"),
        ("net_pcap0,rx_iface=x,tx_iface=x", "net_null0"),
        ("net_pcap0,rx_pcap=DIR/in.pcap,tx_pcap=DIR/a", "net_pcap1,rx_pcap=DIR/in.pcap,tx_pcap=DIR/b"),
    ] {
        link(inside, outside).unwrap();
    }
}

#[test]
fn what_is_for_laboratories_is_said() {
    assert_eq!(parse("").unwrap().remarks(), []);
    let remarks = parse("[policy]\npublic_ipv4 = \"any\"").unwrap().remarks();
    assert_eq!(remarks.iter().map(|Wrong(key, _)| key.as_str()).collect::<Vec<_>>(), ["policy.public_ipv4"]);
    assert!(parse("[policy]\npublic_ipv4 = \"an\"").unwrap_err().contains("did you mean `any`?"));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_file() {
    parse("\u{feff}[table]\r\nvms = 5\r\n").unwrap();
}

#[test]
fn what_may_be_a_mistake_is_remarked_on() {
    let remarks = |text: &str| parse(text).unwrap().remarks().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(
        remarks("[policy]\nunknown_class = \"unrestricted\"")[0].starts_with("policy.unknown_class: `unrestricted`")
    );
    assert!(
        remarks(&format!("{LINK}scopes = {{ \"100\" = 1 }}"))[0]
            .starts_with("link[0].scopes: VLANs that are not listed")
    );
    assert!(remarks("[policy]\nmode = \"monitor\"")[0].starts_with("policy.mode: `monitor`: no rule is enforced"));
    assert!(remarks("[class.a]\nports = [25]\nmode = \"monitor\"")[0].starts_with("class.a.mode: `monitor`"));
    assert!(remarks("[policy]\nidentity = \"observe\"")[0].starts_with("policy.identity: `observe`"));
    let open = "[policy]\nidentity = \"strict\"\nunknown_class = \"unrestricted\"";
    assert!(
        remarks(open).iter().any(|remark| remark.starts_with("policy.identity: `strict` with")),
        "{:?}",
        remarks(open)
    );
    assert_eq!(remarks("[policy]\nidentity = \"strict\"\ndeny = \"reject\""), [] as [String; 0]);
    for of_class in [
        "[policy]\ndirections = [\"ingress\"]\ndeny = \"reject\"",
        "[policy]\ndirections = [\"ingress\"]\n[class.a]\nports = [1]\ndeny = \"reject\"",
    ] {
        assert!(remarks(of_class)[0].starts_with("policy.deny: `reject` answers"), "{of_class}");
    }
    assert!(
        remarks(&format!("{LINK}protect = [\"192.0.2.1\"]"))[0].starts_with("link[0].protect: nothing is protected")
    );
    for rest in ["0", "\"refuse\""] {
        assert_eq!(remarks(&format!("{LINK}scopes = {{ \"100\" = 1, \"*\" = {rest} }}")), [] as [String; 0]);
    }
}

#[test]
fn routers_and_vlans_of_a_link_are_read() {
    let text = format!(
        "{LINK}scopes = {{ \"*\" = \"refuse\", \"100\" = 3 }}\nvia = [\"52:54:00:00:00:01\", {{ vlan = 7, mac = \"52:54:00:00:00:02\" }}]"
    );
    let policy = parse(&text).unwrap().policy().unwrap();
    assert_eq!([0, 7, 100].map(|vlan| policy.scopes[0].get(VlanId(vlan))), [Some(Scope(0)), None, Some(Scope(3))]);
    let [one, two] = [1, 2].map(|last| crate::model::MacAddr([0x52, 0x54, 0, 0, 0, last]));
    let stands = |vlan| [one, two].map(|mac| policy.via.stands(crate::model::LinkIndex(0), VlanId(vlan), mac));
    assert_eq!([stands(0), stands(7)], [[true, false], [true, true]]);
}
