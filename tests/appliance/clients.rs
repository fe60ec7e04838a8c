//! The examples of `docs/clients.md`, as they stand there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::daemon::demo;
use crate::support::{BINARY, Daemon, Lab, helper, number};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name)
}

/// What an example prints that finds the box at this lab's socket.
#[track_caller]
fn run(lab: &Lab, name: &str) -> String {
    helper(Command::new(example(name)).arg(lab.path("control.sock")))
}

#[test]
fn a_session_of_nc_and_jq_changes_and_reads() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    assert_eq!(
        run(&lab, "session.sh"),
        "{\"revision\":1,\"changed\":true}\n{\"revision\":2,\"changed\":true}\nunrestricted\n\
         {\"method\":\"vm.patch\",\"revision\":2,\"note\":\"ticket 4711\"}\n"
    );
    // Refused, it fails and says why.
    daemon.change(&["vm", "set", "other", "--mac", "52:54:00:00:00:01", "--scope", "7"]);
    daemon.change(&["vm", "delete", "web1"]);
    daemon.change(&["vm", "patch", "other", "--scope", "0"]);
    let ended = Command::new(example("session.sh")).arg(lab.path("control.sock")).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && said.contains("belongs to VM other already"), "{said}");
    daemon.stop(Signal::TERM);
}

#[test]
fn clients_in_python_and_perl_need_nothing_of_ours() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    let text = fs::read_to_string(example("client.py")).unwrap();
    assert_eq!(text.lines().count(), 37, "docs/clients.md says so");
    assert_eq!(run(&lab, "client.py"), "restricted\n");
    for (id, class) in [("a", "restricted"), ("b", "unrestricted"), ("c", "restricted")] {
        daemon.change(&[
            "vm",
            "set",
            id,
            "--mac",
            &format!("02:00:00:00:01:{:02x}", id.as_bytes()[0]),
            "--class",
            class,
        ]);
    }
    assert_eq!(run(&lab, "client.pl"), "a\nc\nweb1\n");
    daemon.stop(Signal::TERM);
}

#[test]
fn a_libvirt_hook_tells_of_vms_that_start_and_go() {
    const DOMAIN: &str = r#"<domain type="kvm"><name>web1</name>
        <metadata><portcullis:vm xmlns:portcullis="urn:portcullis"><portcullis:ip>10.0.0.5</portcullis:ip>
          <portcullis:ip>2001:db8:5::/64</portcullis:ip></portcullis:vm></metadata>
        <devices><interface type="bridge"><mac address="52:54:00:00:00:01"/></interface>
          <interface type="bridge"><mac address="52:54:00:00:00:02"/></interface></devices></domain>"#;
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    let socket = lab.text("control.sock");
    let hook = |arguments: [&str; 4], socket: &str| {
        let mut child = Command::new(example("libvirt-hook"))
            .args(arguments)
            .env("PORTCULLIS", BINARY)
            .env("PORTCULLIS_SOCKET", socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A hook that does not read is gone before we have written.
        let _ = child.stdin.take().unwrap().write_all(DOMAIN.as_bytes());
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success() && ended.stdout.is_empty(), "{ended:?}");
        String::from_utf8(ended.stderr).unwrap()
    };
    let known = || number(&daemon.stats()["daemon"]["table"]["vms"]);
    assert_eq!(hook(["web1", "start", "begin", "-"], &socket), "");
    let vm = daemon.ask(&["vm", "show", "web1"])["vm"].clone();
    assert_eq!(vm["macs"], json!(["52:54:00:00:00:01", "52:54:00:00:00:02"]));
    assert_eq!((&vm["ips"], &vm["public_ipv4"]), (&json!(["10.0.0.5", "2001:db8:5::/64"]), &json!(null)));
    for reason in ["migrated", "-"] {
        assert_eq!(hook(["web1", "release", "end", reason], &socket), "");
        assert_eq!(known(), 1, "{reason}");
    }
    assert_eq!(hook(["web1", "release", "end", "shutdown"], &socket), "");
    assert_eq!(known(), 0);
    // It says so, and the VM starts all the same.
    assert!(hook(["web1", "start", "begin", "-"], "/nowhere").contains("portcullis: "));
    let mut alone = Command::new(example("libvirt-hook"));
    alone.args(["web1", "release", "end", "shutdown"]).env("PORTCULLIS", "/nowhere").stdin(Stdio::null());
    let ended = lab.finish(&mut alone);
    assert!(ended.code == Some(0) && ended.stderr.contains("portcullis: "), "{ended:?}");
    daemon.stop(Signal::TERM);
}

#[test]
fn a_nightly_job_makes_the_box_equal_to_the_inventory() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab, &demo(&lab));
    // As `portcullis`, in a folder of its own.
    fs::create_dir(lab.path("bin")).unwrap();
    std::os::unix::fs::symlink(BINARY, lab.path("bin/portcullis")).unwrap();
    let path = format!("{}:{}", lab.text("bin"), std::env::var("PATH").unwrap());
    let night = |csv: &str| {
        let file = lab.write("inventory.csv", csv);
        let mut job = Command::new(example("nightly-inventory"));
        job.arg(file).env("PATH", &path).env("PORTCULLIS_SOCKET", lab.path("control.sock")).stdin(Stdio::null());
        lab.finish(&mut job)
    };
    let all = "name,mac,ip,owner\nweb1,52:54:00:00:00:01,10.0.0.5,alice\nweb2,52:54:00:00:00:02,10.0.0.6,bob\n";
    let first = night(all).done().stdout;
    assert!(first.contains("2 VMs: 2 created, 0 replaced, 0 removed; revision 1"), "{first}");
    assert!(night(all).done().stdout.contains("2 VMs: all as they were, revision 1"));
    let cut = night("name,mac,ip,owner\n");
    assert_eq!(cut.code, Some(65), "{}{}", cut.stdout, cut.stderr);
    assert!(cut.stderr.contains("would be removed") && cut.stderr.contains("nothing was changed"), "{}", cut.stderr);
    daemon.stop(Signal::TERM);
}
