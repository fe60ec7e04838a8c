//! What a shell offers at Tab.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::daemon::demo;
use crate::support::{BINARY, Daemon, Lab, helper, wait_for};

/// What bash offers for the last word, as it asks.
fn offered(lab: &Lab, words: &[&str]) -> Vec<String> {
    const SCRIPT: &str = r#"
        . "$0"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_portcullis portcullis "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null
        printf '%s\n' "${COMPREPLY[@]}""#;
    let script = lab.write("completions", lab.run(&["completions", "bash"]).done().stdout);
    let path = format!("{}:{}", lab.text("bin"), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-c", SCRIPT, &script, "portcullis"]).args(words);
    bash.env("PATH", path).env("PORTCULLIS_SOCKET", lab.path("control.sock"));
    helper(&mut bash).lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// A daemon that does not get its CPU in time is not waited for at a prompt; so it is asked again.
#[track_caller]
fn wait_until_offered(lab: &Lab, words: &[&str], expected: &[&str]) {
    wait_for(&format!("{expected:?} are offered for {words:?}"), || (offered(lab, words) == expected).then_some(()));
}

#[test]
fn a_shell_completes_commands_and_the_names_of_vms() {
    let lab = Lab::new();
    fs::create_dir(lab.path("bin")).unwrap();
    std::os::unix::fs::symlink(BINARY, lab.path("bin/portcullis")).unwrap();
    assert_eq!(offered(&lab, &["vm", "sh"]), ["show"]);
    assert_eq!(offered(&lab, &["vm", "show", "w"]), [""; 0], "nobody can be asked");
    let daemon = Daemon::start(&lab, &demo(&lab));
    for id in ["web1", "web2", "mail1"] {
        daemon.change(&[
            "vm",
            "set",
            id,
            "--mac",
            &format!("02:00:00:00:01:{:02x}", id.as_bytes()[id.len() - 1] + id.as_bytes()[0]),
        ]);
    }
    assert_eq!(offered(&lab, &["rpc", "vm.lo"]), ["vm.lookup"]);
    for command in ["show", "patch", "delete", "set"] {
        wait_until_offered(&lab, &["vm", command, "w"], &["web1", "web2"]);
    }
    wait_until_offered(&lab, &["history", "m"], &["mail1"]);
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = lab.run(&["completions", shell]).done().stdout;
        assert!(script.contains("portcullis"), "{shell}: {script}");
    }
    lab.run(&["completions", "ksh"]).fails(64, &["ksh", "bash"]);
    daemon.stop(Signal::TERM);
}
