//! A control socket at which a service manager listens: sd_listen_fds(3).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::daemon::demo;
use crate::support::{BINARY, Killed, LIMIT, Lab, number, wait_for};

/// `portcullis run` as a service manager starts it that listens at `listener` for it.
fn activated(lab: &Lab, config: &str, listener: &UnixListener, number: u8) -> Command {
    // The number of the process is known to nobody before it is there.
    let script = "exec 3<&0 4<&0 </dev/null; export LISTEN_PID=$$; exec \"$0\" run --json --config \"$1\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, BINARY, config]).env("LISTEN_FDS", number.to_string());
    command.env("RUNTIME_DIRECTORY", lab.path(""));
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())));
    command
}

#[test]
fn who_connects_while_the_box_restarts_is_answered_when_it_is_there() {
    let lab = Lab::new();
    let config = lab.write("portcullis.toml", demo(&lab).toml());
    let listener = UnixListener::bind(lab.path("control.sock")).unwrap();
    for revision in [1, 1] {
        let mut early = BufReader::new(UnixStream::connect(lab.path("control.sock")).unwrap());
        early.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
        let request =
            json!({"jsonrpc": "2.0", "id": 1, "method": "vm.set", "params": {"id": "a", "ips": ["10.0.0.5"]}});
        writeln!(early.get_mut(), "{request}").unwrap();

        let null = || Stdio::null();
        let spawned = activated(&lab, &config, &listener, 1).stdout(null()).stderr(null()).spawn().unwrap();
        let mut daemon = Killed(spawned);
        let mut answer = String::new();
        early.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(number(&answer["result"]["revision"]), revision, "{answer}");

        kill_process(Pid::from_child(&daemon.0), Signal::TERM).unwrap();
        assert!(wait_for("the daemon ends", || daemon.0.try_wait().unwrap()).success());
        assert!(lab.path("control.sock").exists(), "the name is the service manager's");
    }
}

#[test]
fn a_socket_that_is_not_the_configured_one_is_refused() {
    let lab = Lab::new();
    let config = lab.write("portcullis.toml", demo(&lab).toml());
    let listener = UnixListener::bind(lab.path("other.sock")).unwrap();
    for (number, words) in [(1, "other.sock, and `control.socket` says"), (2, "2 sockets were handed over")] {
        let ended = lab.finish(&mut activated(&lab, &config, &listener, number));
        assert_eq!(ended.code, Some(78), "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}
