//! Who may do what over the control socket, and what is written down of it. Root only: it takes a second user.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::demo;
use crate::support::{Daemon, Ended, Lab, is_root, number};

/// The user `nobody`, by whom commands of a stranger are.
const NOBODY: u64 = 65_534;

/// A box at whose socket everybody gets in, and where nobody has a role.
struct Guarded<'a> {
    lab: &'a Lab,
    daemon: Daemon<'a>,
}

impl<'a> Guarded<'a> {
    fn start(lab: &'a Lab, roles: &str) -> Self {
        assert!(is_root(), "another user is made by root: run `make test` as root");
        let audit = lab.text("audit.jsonl");
        let daemon = Daemon::start(lab, &demo(lab).and(&format!("audit = {audit:?}\n[control.roles]\n{roles}")));
        fs::set_permissions(lab.path("control.sock"), fs::Permissions::from_mode(0o666)).unwrap();
        Self { lab, daemon }
    }

    /// A command of nobody's.
    fn nobody(&self, args: &[&str]) -> Ended {
        let socket = self.lab.text("control.sock");
        self.lab.finish(&mut self.lab.command_of_nobody(&[args, &["--socket", &socket]].concat()))
    }

    /// Stops it; what the audit log says: who did what, what came of it, and the lines.
    fn stop(self) -> (Vec<String>, Vec<Value>) {
        self.daemon.stop(Signal::TERM);
        let text = fs::read_to_string(self.lab.path("audit.jsonl")).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let words = |line: &Value| {
            let came = match line["outcome"].as_str().unwrap() {
                "made" => format!("revision {}", line["revision"]),
                _ => line["error"]["data"]["kind"].as_str().unwrap().to_owned(),
            };
            let who = if number(&line["uid"]) == NOBODY { "nobody" } else { "root" };
            assert!(number(&line["pid"]) > 0 && number(&line["at_ms"]) > 0 && line["boot"].is_string(), "{line}");
            format!("{who} {}: {came}", line["method"].as_str().unwrap())
        };
        (lines.iter().map(words).collect(), lines)
    }
}

#[test]
fn who_may_only_ask_is_answered_and_changes_nothing() {
    let lab = Lab::new();
    let guarded = Guarded::start(&lab, "read = [\"nobody\"]");
    guarded.daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    let policy = lab.write("policy.toml", "[policy]\nmode = \"monitor\"\n");
    for question in [&["vm", "list"][..], &["stats"], &["health"], &["history"], &["vm", "lookup", "10.0.0.5"]] {
        guarded.nobody(question).done();
    }
    guarded.nobody(&["policy", "apply", &policy]).fails(77, &["`policy.set` needs the role `admin`"]);
    let refused = guarded.nobody(&["vm", "set", "web2", "--ip", "10.0.0.6"]);
    refused.fails(77, &["`vm.set` needs the role `write` and user 65534 has `read`", "`control.roles`"]);
    let refused = guarded.nobody(&["vm", "delete", "web1", "--json"]);
    let error: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((refused.code, &error["error"]["kind"]), (Some(77), &json!("forbidden")), "{error}");
    assert_eq!((&error["error"]["needs"], &error["error"]["role"]), (&json!("write"), &json!("read")));
    let inventory = lab.write("inventory.csv", "id,ip\nweb1,10.0.0.7\n");
    guarded.nobody(&["sync", &inventory]).fails(77, &["`sync.begin` needs the role `write`"]);
    guarded.nobody(&["reload"]).fails(77, &["`config.reload` needs the role `admin`"]);
    guarded.daemon.command(&["vm", "set", "web2", "--ip", "10.0.0.5"]).fails(65, &["belongs to VM web1"]);
    assert_eq!(number(&guarded.daemon.ask(&["health"])["revision"]), 1);

    let (words, lines) = guarded.stop();
    assert_eq!(
        words,
        [
            "root vm.set: revision 1",
            "nobody policy.set: forbidden",
            "nobody vm.set: forbidden",
            "nobody vm.delete: forbidden",
            "nobody sync.begin: forbidden",
            "nobody config.reload: forbidden",
            "root vm.set: conflict",
        ]
    );
    assert_eq!((&lines[0]["before"], &lines[0]["after"]["ips"]), (&Value::Null, &json!(["10.0.0.5"])));
    let mode = fs::metadata(lab.path("audit.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn who_may_change_vms_changes_no_policy_not_even_by_undoing_another_ones() {
    let lab = Lab::new();
    let guarded = Guarded::start(&lab, "write = [\"@nogroup\"]");
    guarded.nobody(&["vm", "set", "web1", "--ip", "10.0.0.5"]).done();
    let txn = |method: &str, params: Value| {
        let text = json!([{"method": method, "params": params}]).to_string();
        lab.write(&format!("{method}.json"), text)
    };
    let policy = txn("policy.patch", json!({"policy": {"mode": "monitor"}}));
    guarded.nobody(&["apply", &policy]).fails(77, &["`txn` needs the role `admin` and user 65534 has `write`"]);
    guarded.daemon.change(&["apply", &policy, "--confirm", "600"]);
    guarded.nobody(&["confirm"]).fails(77, &["`txn.confirm` of a change of policy needs the role `admin`"]);
    guarded.nobody(&["rollback"]).fails(77, &["`txn.rollback` of a change of policy needs the role `admin`"]);
    assert_eq!(guarded.daemon.ask(&["policy", "show"])["document"]["policy"]["mode"], "monitor");
    guarded.daemon.change(&["rollback"]);
    assert_eq!(guarded.daemon.ask(&["policy", "show"])["document"]["policy"]["mode"], "enforce");

    // A change of VMs that waits is theirs.
    let vms = txn("vm.delete", json!({"id": "web1"}));
    guarded.daemon.change(&["apply", &vms, "--confirm", "600"]);
    guarded.nobody(&["rollback"]).done();
    guarded.daemon.ask(&["vm", "show", "web1"]);
    let (words, lines) = guarded.stop();
    assert_eq!(
        words,
        [
            "nobody vm.set: revision 1",
            "nobody txn: forbidden",
            "root txn: revision 2",
            "nobody txn.confirm: forbidden",
            "nobody txn.rollback: forbidden",
            "root txn.rollback: revision 3",
            "root txn: revision 4",
            "nobody txn.rollback: revision 5",
        ]
    );
    let mode = |line: &Value, when: &str| line[when]["policy"]["mode"].clone();
    assert_eq!([mode(&lines[2], "before"), mode(&lines[2], "after")], ["enforce", "monitor"], "{}", lines[2]);
}

#[test]
fn a_user_without_a_role_is_told_so() {
    let lab = Lab::new();
    let guarded = Guarded::start(&lab, "admin = [\"@no-such-group\"]");
    guarded.nobody(&["vm", "list"]).fails(77, &["`vm.list` needs the role `read` and user 65534 has none"]);
    let (words, _) = guarded.stop();
    assert_eq!(words, ["nobody vm.list: forbidden"]);
}
