//! Policy that changes while frames flow: over the socket, by the configuration file read again, and over restarts.

use portcullis::testkit::VM_A;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{egress, mail_of};

use crate::support::{Daemon, Lab, number, wait_for};

/// Frames of VM A that were let through and those that were not.
fn tallies(stats: &Value) -> [u64; 3] {
    ["allowed", "denied", "would_deny"].map(|tally| number(&stats["vms"][VM_A.id]["egress"][tally]))
}

/// What grows between two readings, once something does.
#[track_caller]
fn grows(daemon: &Daemon<'_>) -> [bool; 3] {
    let before = tallies(&daemon.stats());
    let after = daemon.stats_when("more frames are judged", |stats| tallies(stats) != before);
    std::array::from_fn(|at| tallies(&after)[at] > before[at])
}

const ALLOWED: [bool; 3] = [true, false, false];
const DENIED: [bool; 3] = [false, true, false];
const WOULD_DENY: [bool; 3] = [false, false, true];

fn known(daemon: &Daemon<'_>) {
    let [mac, ipv4, ipv6] = [VM_A.mac.to_string(), VM_A.ipv4.to_string(), VM_A.ipv6.to_string()];
    daemon.change(&["vm", "set", VM_A.id, "--mac", &mac, "--ip", &ipv4, "--ip", &ipv6]);
}

#[test]
fn policy_is_shown_changed_and_in_force_while_frames_flow() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1));
    known(&daemon);
    assert_eq!(grows(&daemon), DENIED);

    let shown = daemon.ask(&["policy", "show"]);
    assert_eq!((&shown["origin"], &shown["revision"]), (&json!("configuration"), &json!(1)));
    assert_eq!(shown["document"]["class"], json!({"restricted": {"ports": [25, 465, 587], "mode": "enforce"}}));

    let answer = daemon.change(&["policy", "patch", r#"{"policy": {"mode": "monitor"}}"#]);
    assert_eq!((&answer["revision"], &answer["changed"]), (&json!(2), &json!(true)));
    assert_eq!(grows(&daemon), WOULD_DENY);
    let shown = daemon.ask(&["policy", "show"]);
    assert_eq!((&shown["origin"], &shown["remarks"][0]["key"]), (&json!("socket"), &json!("policy.mode")));
    let again = daemon.change(&["policy", "patch", r#"{"policy": {"mode": "monitor"}}"#]);
    assert_eq!((&again["revision"], &again["changed"]), (&json!(2), &json!(false)));

    // A class of its own, that other ports are closed to.
    daemon.change(&[
        "policy",
        "patch",
        r#"{"policy": {"mode": "enforce"}, "class": {"games": {"ports": ["2000-2010"]}}}"#,
    ]);
    daemon.change(&["vm", "patch", VM_A.id, "--class", "games"]);
    assert_eq!(grows(&daemon), ALLOWED);
    // Its ports change under the VM's feet.
    daemon.change(&["policy", "patch", r#"{"class": {"games": {"ports": [25, 587]}}}"#]);
    assert_eq!(grows(&daemon), DENIED);

    // As people read and write it.
    let file = lab.write("p.toml", &daemon.command(&["policy", "show"]).done().stdout);
    assert_eq!(daemon.command(&["policy", "diff", &file]).done().stdout, format!("{file}: nothing would change\n"));
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("[class.games]\nports = [25, 587]", "[class.games]\nports = [2525]");
    lab.write("p.toml", text);
    let diff = daemon.command(&["policy", "diff", &file]).done().stdout;
    assert!(diff.contains("-ports = [25, 587]") && diff.contains("+ports = [2525]"), "{diff}");
    assert_eq!(grows(&daemon), DENIED, "a look changes nothing");
    daemon.change(&["policy", "apply", &file]);
    assert_eq!(grows(&daemon), ALLOWED);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_transaction_of_vms_and_policy_is_in_force_as_one_change() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1));
    known(&daemon);
    let file = lab.write(
        "changes.jsonl",
        format!(
            "{}\n\n{}\n",
            json!({"method": "policy.set", "params": {"class": {"games": {"ports": [2000]}}}}),
            json!({"method": "vm.patch", "params": {"id": VM_A.id, "class": "games"}}),
        ),
    );
    let words = daemon.command(&["apply", "--dry-run", &file]).done().stdout;
    assert!(words.contains(&format!("~ {}: class: null -> \"games\"", VM_A.id)), "{words}");
    assert!(words.contains("+[class.games]") && words.contains("nothing was changed (--dry-run)"), "{words}");
    assert_eq!(grows(&daemon), DENIED);
    let answer = daemon.change(&["apply", &file]);
    assert_eq!((&answer["revision"], &answer["changed"]), (&json!(2), &json!(true)));
    assert_eq!(grows(&daemon), ALLOWED);
    assert_eq!(daemon.change(&["apply", &file])["changed"], false);

    // Who did it.
    let history = daemon.ask(&["history"]);
    let told = |at: usize| {
        let entry = &history["entries"][at];
        (&entry["revision"], &entry["method"], &entry["vm"])
    };
    assert_eq!(told(0), (&json!(2), &json!("txn"), &json!(VM_A.id)));
    assert_eq!(told(1), (&json!(2), &json!("txn"), &Value::Null));
    assert_eq!(told(2), (&json!(1), &json!("vm.set"), &json!(VM_A.id)));
    let uid = u64::from(rustix::process::geteuid().as_raw());
    assert!(
        history["entries"].as_array().unwrap().iter().all(|entry| entry["uid"] == uid && entry["pid"] != 0),
        "{history}"
    );
    let words = daemon.command(&["history", VM_A.id, "--limit", "1"]).done().stdout;
    assert!(words.starts_with("(older ones: --before 2)\n") && words.contains("class: null -> \"games\""), "{words}");

    let file = lab.write(
        "bad.jsonl",
        r#"[{"method":"vm.delete","params":{"id":"vm-a"}},{"method":"vm.patch","params":{"id":"x"}}]"#,
    );
    daemon.command(&["apply", &file]).fails(65, &["there is no VM x"]);
    daemon.command(&["apply", &lab.write("no.jsonl", "{")]).fails(78, &["no.jsonl, line 1: not JSON"]);
    assert_eq!(grows(&daemon), ALLOWED);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_policy_that_cannot_be_changes_nothing() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &mail_of(&lab, VM_A, 1).and("[class.games]\nports = [2000]\n"));
    known(&daemon);
    daemon.change(&["vm", "patch", VM_A.id, "--class", "games"]);
    let before = daemon.ask(&["policy", "show"]);
    for (patch, words) in [
        (r#"{"class": {"games": null}}"#, "class `games` cannot be removed: VM "),
        (r#"{"class": {"games": {"ports": [70000]}}}"#, "class.games.ports[0]"),
        (r#"{"clas": {}}"#, "did you mean `class`?"),
        (r#"{"policy": {"unknown_class": "game"}}"#, "did you mean `games`?"),
        (r#"{"policy": {"directions": []}}"#, "policy.directions: no direction would be judged"),
        (r#"{"link": {"uplnik": {"via": []}}}"#, "link.uplnik: there is no such link; did you mean `uplink`?"),
        (r#"{"policy": {"via": ["52:54:00:00:00:0a"]}}"#, "is a router's"),
    ] {
        let patch = patch.replace("52:54:00:00:00:0a", &VM_A.mac.to_string());
        daemon.command(&["policy", "patch", &patch]).fails(65, &[words]);
    }
    daemon.command(&["policy", "patch", "[]"]).fails(64, &["no JSON object"]);
    daemon.command(&["policy", "patch", "{}", "--if-revision", "1"]).fails(65, &["the revision is 2, not 1"]);
    let file = lab.write("bad.toml", "[policy]\nmode = \"monitr\"\n");
    daemon.command(&["policy", "apply", &file]).fails(78, &["bad.toml", "unknown variant `monitr`"]);
    assert_eq!(daemon.ask(&["policy", "show"]), before);
    assert_eq!(grows(&daemon), ALLOWED);
    daemon.stop(Signal::TERM);
}

#[test]
fn the_configuration_file_is_read_again_by_command_and_by_sighup() {
    let lab = Lab::new();
    let config = mail_of(&lab, VM_A, 1);
    let mut daemon = Daemon::start(&lab, &config);
    known(&daemon);
    let same = daemon.change(&["reload"]);
    assert_eq!((&same["changed"], &same["needs_restart"]), (&json!(false), &json!([])));

    lab.write("portcullis.toml", config.clone().and("[policy]\nmode = \"monitor\"\n[table]\nvms = 77\n").toml());
    let answer = daemon.change(&["reload"]);
    assert_eq!((&answer["changed"], &answer["needs_restart"]), (&json!(true), &json!(["table.vms"])));
    assert_eq!(grows(&daemon), WOULD_DENY);

    // A file that cannot be used changes nothing, and says why.
    lab.write("portcullis.toml", config.clone().and("[policy]\nmode = \"off\"\n").toml());
    daemon.command(&["reload"]).fails(65, &["nothing was changed", "unknown variant `off`"]);
    daemon.signal(Signal::HUP);
    wait_for("the log says so", || daemon.log().contains("SIGHUP: nothing was changed").then_some(()));
    assert_eq!(grows(&daemon), WOULD_DENY);

    lab.write("portcullis.toml", config.toml());
    daemon.signal(Signal::HUP);
    wait_for("the log says so", || daemon.log().contains("SIGHUP: the policy of the configuration").then_some(()));
    assert_eq!(grows(&daemon), DENIED);

    // What was set over the socket gives way.
    daemon.change(&["policy", "patch", r#"{"policy": {"mode": "monitor"}}"#]);
    assert_eq!(grows(&daemon), WOULD_DENY);
    daemon.change(&["reload"]);
    assert_eq!(daemon.ask(&["policy", "show"])["origin"], "configuration");
    assert_eq!(grows(&daemon), DENIED);
    daemon.stop(Signal::TERM);
}

#[test]
fn what_was_set_over_the_socket_is_there_after_a_kill_and_until_a_reload() {
    let lab = Lab::new();
    let config = mail_of(&lab, VM_A, 1).and(&format!("[store]\npath = \"{}\"", lab.path("state.redb").display()));
    let mut daemon = Daemon::start(&lab, &config);
    known(&daemon);
    daemon.change(&["policy", "patch", r#"{"class": {"games": {"ports": [2000]}}}"#]);
    let change = daemon.change(&["vm", "patch", VM_A.id, "--class", "games"]);
    assert_eq!(change["durable"], true);
    let before = daemon.ask(&["policy", "show"])["document"].clone();
    daemon.end(Signal::KILL);

    let mut daemon = Daemon::start(&lab, &config);
    assert!(daemon.log().contains("the policy is the one that was set over the control socket"), "{}", daemon.log());
    let shown = daemon.ask(&["policy", "show"]);
    assert_eq!((&shown["document"], &shown["origin"], &shown["revision"]), (&before, &json!("socket"), &json!(3)));
    assert_eq!(daemon.ask(&["vm", "show", VM_A.id])["effective_class"], "games");
    assert_eq!(grows(&daemon), ALLOWED);
    daemon.command(&["reload"]).fails(65, &["class `games` cannot be removed", VM_A.id]);
    daemon.change(&["vm", "patch", VM_A.id, "--no-class"]);
    assert_eq!(daemon.change(&["reload"])["durable"], true);
    daemon.end(Signal::KILL);

    let daemon = Daemon::start(&lab, &config);
    assert_eq!(daemon.ask(&["policy", "show"])["origin"], "configuration");
    let stats = daemon.stats_when("its mail is denied", |stats| egress(stats, "port_closed") > 0);
    assert_eq!(stats["revision"], 5);
    daemon.stop(Signal::TERM);
    let file = lab.text("state.redb");
    assert_eq!(lab.run(&["store", "check", &file, "--json"]).json()["policy"], false);
}
