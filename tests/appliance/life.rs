//! What ends the daemon and what does not: signals, and threads that stand still; and what its supervisor hears.
//!
//! A single thread is frozen from outside by ptrace, which is no part of the box.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::{UnixDatagram, UnixStream};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::daemon::demo;
use crate::support::{Daemon, Ended, LIMIT, Lab, assert_balance, cpus, number, wait_for};

/// A thread that stands still until this is dropped, or the process ends.
pub(crate) struct Frozen(nix::unistd::Pid);

impl Frozen {
    /// The thread of this name; the main one has the program's.
    pub(crate) fn thread(daemon: &Daemon<'_>, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid().as_raw_nonzero())).unwrap();
        let id = tasks
            .map(|task| task.unwrap())
            .find(|task| fs::read_to_string(task.path().join("comm")).unwrap().trim_end() == name)
            .unwrap_or_else(|| panic!("no thread is called {name}"));
        let id = nix::unistd::Pid::from_raw(id.file_name().to_str().unwrap().parse().unwrap());
        ptrace::seize(id, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(id).unwrap();
        let stopped = waitpid(id, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(stopped, WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)), "{stopped:?}");
        Self(id)
    }

    /// It goes on.
    pub(crate) fn release(self) {
        ptrace::detach(self.0, None).unwrap();
    }

    /// Its process ends: code or signal, and what it said. A frozen thread that has died is ours to bury first.
    pub(crate) fn end(self, daemon: &mut Daemon<'_>) -> (Option<i32>, Ended) {
        let main = self.0.as_raw() == daemon.pid().as_raw_nonzero().get();
        wait_for("the process ends", || {
            if !main {
                let _ = waitpid(self.0, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
            }
            daemon.ended()
        })
    }
}

/// The final counters: the first line; how it ended stands in the next one, if it did not end well.
pub(crate) fn json(text: &str) -> Value {
    let counters = text.lines().next().unwrap_or_default();
    serde_json::from_str(counters).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn flowing<'a>(lab: &'a Lab) -> Daemon<'a> {
    let metrics = format!("[metrics]\nlisten = {:?}", lab.text("metrics.sock"));
    let daemon = Daemon::start(lab, &demo(lab).and(&metrics));
    daemon.stats_when("frames flow", |stats| number(&stats["links"]["uplink"]["inside"]["tx"]) > 1000);
    daemon
}

#[test]
fn signals_that_mean_nothing_here_change_nothing() {
    let lab = Lab::new();
    let mut daemon = flowing(&lab);
    let named = [
        Signal::USR1,
        Signal::USR2,
        Signal::PIPE,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::STKFLT,
        Signal::XCPU,
        Signal::XFSZ,
        Signal::TRAP,
        Signal::SYS,
        Signal::CHILD,
        Signal::CONT,
        Signal::URG,
        Signal::WINCH,
    ];
    named.into_iter().for_each(|signal| daemon.signal(signal));
    let pid = nix::unistd::Pid::from_raw(daemon.pid().as_raw_nonzero().get());
    let real_time = 34..=64;
    for number in real_time.clone() {
        // nix has no names for them.
        let sent = std::process::Command::new("kill").args([format!("-{number}"), pid.to_string()]).status().unwrap();
        assert!(sent.success(), "signal {number}");
    }
    for word in ["SIGUSR1", "SIGXFSZ", "signal 34 ", "signal 64 "] {
        wait_for(&format!("the log speaks of {word}"), || daemon.log().contains(word).then_some(()));
    }
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    daemon.stop(Signal::QUIT);
}

#[test]
fn a_thread_that_the_box_needs_and_that_stands_still_ends_it_in_order_by_name() {
    for name in ["control", "control-accept", "watch"] {
        let lab = Lab::new();
        let mut daemon = flowing(&lab);
        let (_, ended) = Frozen::thread(&daemon, name).end(&mut daemon);
        assert_eq!(ended.code, Some(75), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("thread `{name}` has not gone round for 4 s")), "{}", ended.stderr);
        assert_balance(&json(&ended.stdout));
        assert!(!lab.path("control.sock").exists(), "{name}: the socket is gone");
    }
}

#[test]
fn a_main_thread_that_stands_still_is_noticed_by_another_which_prints_the_counters() {
    let lab = Lab::new();
    let mut daemon = flowing(&lab);
    let (_, ended) = Frozen::thread(&daemon, "portcullis").end(&mut daemon);
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    assert!(ended.stderr.contains("thread `main` has not gone round for 4 s"), "{}", ended.stderr);
    assert_balance(&json(&ended.stdout));
}

#[test]
fn a_worker_that_stands_still_ends_the_process_at_once() {
    let lab = Lab::new();
    let mut daemon = flowing(&lab);
    let worker = worker(&daemon);
    let (signal, ended) = Frozen::thread(&daemon, &worker).end(&mut daemon);
    assert_eq!((signal, ended.code), (Some(Signal::ABORT.as_raw()), None), "{}", ended.stderr);
    assert!(ended.stderr.contains("thread `worker 0` has not gone round for 4 s"), "{}", ended.stderr);
}

/// The name that EAL gives the first worker's thread; it differs between releases.
fn worker(daemon: &Daemon<'_>) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid().as_raw_nonzero())).unwrap();
    let mut names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    names.find(|name| name.contains("worker")).expect("EAL names workers so").trim_end().to_owned()
}

#[test]
fn whatever_is_no_worker_keeps_off_the_workers_cpus() {
    let lab = Lab::new();
    let cpus = cpus();
    // The main lcore and a worker share a CPU; what starts from the main thread must not stay with them.
    let shared = cpus[0];
    let config = lab.config("net_null0", "net_null1");
    let config = config.cores(&shared.to_string()).dpdk(&format!("main_core = {shared}"));
    let daemon = Daemon::start(&lab, &config);
    let stays_connected = UnixStream::connect(lab.path("control.sock")).unwrap();
    daemon.stats();
    let mut others: Vec<usize> = cpus.into_iter().filter(|&cpu| cpu != shared).collect();
    if others.is_empty() {
        others.push(shared);
    }
    let mut seen = BTreeSet::new();
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid().as_raw_nonzero())).unwrap() {
        let task = task.unwrap();
        // A client's thread may end meanwhile.
        let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
        let tid = Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap());
        let Ok(may) = rustix::thread::sched_getaffinity(tid) else { continue };
        let may: Vec<usize> = (0..1024).filter(|&cpu| may.is_set(cpu)).collect();
        let expected = if name.contains("worker") { &vec![shared] } else { &others };
        assert_eq!(&may, expected, "{name}");
        seen.insert(name.trim_end().to_owned());
    }
    for name in ["portcullis", "control", "control-accept", "control-client", "links", "watch", "log"] {
        assert!(seen.contains(name), "{name} is among {seen:?}");
    }
    drop(stays_connected);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_stop_ends_whatever_stands_still() {
    for (name, words) in [
        ("worker", "the workers did not end within 2 s"),
        ("control", "the control socket did not end within 2 s"),
        ("control-accept", "the control socket did not end within 2 s"),
        ("links", "the links did not end within 2 s"),
        ("metrics", "the metrics did not end within 2 s"),
        ("portcullis", "thread `main` has not gone round for 4 s"),
        ("watch", ""),
        ("log", ""),
    ] {
        let lab = Lab::new();
        let mut daemon = flowing(&lab);
        let name = if name == "worker" { worker(&daemon) } else { name.into() };
        let frozen = Frozen::thread(&daemon, &name);
        daemon.signal(Signal::TERM);
        let (_, ended) = frozen.end(&mut daemon);
        let code = if words.is_empty() { 0 } else { 75 };
        assert_eq!(ended.code, Some(code), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{name}: {}", ended.stderr);
        let counters = json(&ended.stdout);
        assert!(number(&counters["links"]["uplink"]["inside"]["rx"]) > 1000, "{name}: {counters}");
    }
}

#[test]
fn a_log_that_stands_still_costs_words_and_nothing_else() {
    let lab = Lab::new();
    let daemon = flowing(&lab);
    let frozen = Frozen::thread(&daemon, "log");
    daemon.signal(Signal::HUP);
    daemon.change(&["vm", "set", "web1", "--ip", "10.0.0.5"]);
    let stats = daemon.stats();
    daemon.stats_when("frames flow on", |now| {
        number(&now["links"]["uplink"]["inside"]["rx"]) > number(&stats["links"]["uplink"]["inside"]["rx"])
    });
    ptrace::detach(frozen.0, None).unwrap();
    daemon.stop(Signal::TERM);
}

#[test]
fn lines_that_could_not_be_written_are_counted_and_spoken_of_later() {
    let lab = Lab::new();
    let mut daemon = flowing(&lab);
    let pid: Pid = daemon.pid();
    let limit = |bytes| prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    limit(Some(1)); // The log is longer, so nothing can be added to it.
    let lost = |daemon: &Daemon<'_>| number(&daemon.stats()["log_lines_lost"]);
    assert_eq!(lost(&daemon), 0);
    daemon.signal(Signal::USR1);
    wait_for("a line is lost", || (lost(&daemon) > 0).then_some(()));
    limit(None);
    daemon.signal(Signal::USR2);
    wait_for("the log speaks of it", || daemon.log().contains("of the log could not be written here").then_some(()));
    let log = daemon.log();
    assert!(!log.contains("SIGUSR1") && log.contains("forwarding; 0 VMs known"), "{log}");
    daemon.stop(Signal::TERM);
}

#[test]
fn a_supervisor_hears_that_it_is_ready_alive_how_it_goes_and_that_it_stops() {
    let lab = Lab::new();
    let path = lab.path("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(LIMIT)).unwrap();
    let heard = || {
        let mut message = [0; 4096];
        let length = supervisor.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let daemon = Daemon::spawn(&lab, &demo(&lab), &[], |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000").spawn()
    });
    assert_eq!(heard(), "READY=1\n");
    let mut messages = Vec::new();
    while messages.iter().filter(|message| *message == "WATCHDOG=1\n").count() < 3 {
        messages.push(heard());
    }
    assert!(messages.contains(&"STATUS=forwarding on 1 worker(s)\n".to_owned()), "{messages:?}");
    daemon.stop(Signal::TERM);
    wait_for("it hears that it stops", || (heard() == "STOPPING=1\n").then_some(()));
}

#[test]
fn a_supervisor_that_hears_nothing_more_of_it_keeps_nobody_waiting() {
    let lab = Lab::new();
    let path = lab.path("notify");
    let _deaf = UnixDatagram::bind(&path).unwrap(); // Nobody reads; it is full after a few.
    let daemon = Daemon::spawn(&lab, &demo(&lab), &[], |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").spawn()
    });
    let stats = daemon.stats();
    daemon.stats_when("frames flow", |now| {
        let rx = |stats: &Value| number(&stats["links"]["uplink"]["inside"]["rx"]);
        rx(now) > rx(&stats) + 1000
    });
    daemon.stop(Signal::TERM);
}
