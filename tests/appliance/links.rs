//! A port that loses its link, on a device that can be told so from outside: `net_tap` reads down when its interface is,
//! and takes it down when it is told to.

use rustix::process::Signal;
use serde_json::Value;

use crate::netns::{Namespace, ip, is_skipped};
use crate::support::{Daemon, Lab, wait_for};

fn is_up(namespace: &Namespace, interface: &str) -> bool {
    let shown: Value = serde_json::from_str(&ip(&["-n", &namespace.0, "-j", "link", "show", interface])).unwrap();
    shown[0]["flags"].as_array().unwrap().iter().any(|flag| flag == "UP")
}

/// Of the inside and the outside port: whether it has a link, whether the box keeps it down.
fn links(stats: &Value) -> [(bool, bool); 2] {
    ["inside", "outside"].map(|side| {
        let link = &stats["links"]["uplink"][side]["link"];
        (link["up"].as_bool().unwrap_or_default(), link["kept_down"].as_bool().unwrap_or_default())
    })
}

const UP: (bool, bool) = (true, false);
const DOWN: (bool, bool) = (false, false);
const KEPT_DOWN: (bool, bool) = (false, true);

#[test]
fn netns_a_lost_link_takes_the_other_side_down_until_it_is_back_and_a_stop_leaves_none_down() {
    if is_skipped() {
        return;
    }
    let (lab, gateway) = (Lab::new(), Namespace::new("gw"));
    let config = lab.config("net_tap0,iface=tapin", "net_tap1,iface=tapout");
    let mut daemon = Daemon::spawn(&lab, &config, &[], |command| gateway.enter(|| command.spawn()));
    for words in ["inside is up", "outside is up"] {
        wait_for("both have a link that is believed", || daemon.log().contains(words).then_some(()));
    }
    let log = daemon.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "nothing is wrong: {log}");

    for round in 0..2 {
        ip(&["-n", &gateway.0, "link", "set", "tapin", "down"]);
        daemon.stats_when("outside is kept down", |stats| links(stats) == [DOWN, KEPT_DOWN]);
        assert!(!is_up(&gateway, "tapout"), "its neighbour can see it");
        ip(&["-n", &gateway.0, "link", "set", "tapin", "up"]);
        daemon.stats_when("both have a link again", |stats| links(stats) == [UP, UP]);
        assert!(is_up(&gateway, "tapout"));
        for words in ["inside is up", "outside is up"] {
            // Before it is believed, there is no link to lose.
            let believed = |daemon: &mut Daemon<'_>| daemon.log().matches(words).count() == round + 2;
            wait_for("both are believed again", || believed(&mut daemon).then_some(()));
        }
    }

    ip(&["-n", &gateway.0, "link", "set", "tapout", "down"]);
    daemon.stats_when("inside is kept down", |stats| links(stats) == [KEPT_DOWN, DOWN]);
    let before = daemon.log();
    wait_for("the log says so", || before.contains("inside is taken down").then_some(()));
    let ended = daemon.end(Signal::TERM).done();
    assert!(ended.stderr[before.len()..].contains("inside is brought up again"), "{}", ended.stderr);
}
