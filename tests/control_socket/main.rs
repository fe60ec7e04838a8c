//! The control socket from outside: a real server over a real registry and table, clients that behave and clients that
//! do not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]

mod watch;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis::control::State;
use portcullis::control::client::{Client, ClientError};
use portcullis::control::server::{Limits, Server};
use portcullis::control::socket::Socket;
use portcullis::failure::Cause;
use portcullis::model::Revision;
use portcullis::policy::{Reader, Settings};
use portcullis::table::Capacity;
use portcullis::telemetry::ledger::Ledger;
use portcullis::vm::clock::Clock;
use portcullis::vm::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Served {
    _folder: TempDir,
    path: PathBuf,
    server: Server,
    _readers: Vec<Reader>,
}

fn start() -> Served {
    start_with(Limits::default())
}

fn start_with(limits: Limits) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (registry, readers) =
        Registry::create(Capacity { vms: 1000, keys: 4000 }, 1, Settings::default(), Clock::default()).unwrap();
    let state = State::new(registry, ledger());
    let server = Server::start_with(Socket::take(&path).unwrap(), state, limits).unwrap();
    Served { _folder: folder, path, server, _readers: readers }
}

fn ledger() -> Arc<Ledger> {
    Arc::new(Ledger::new(Vec::new(), vec!["uplink".into()]))
}

impl Served {
    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    fn raw(&self) -> Raw {
        Raw(BufReader::new(UnixStream::connect(&self.path).unwrap()))
    }

    fn revision(&self) -> u64 {
        self.server.handle().run(|state| state.registry().revision().0).unwrap()
    }
}

/// A client that sends what it likes.
struct Raw(BufReader<UnixStream>);

impl Raw {
    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    fn kind(&mut self) -> String {
        let line = self.line();
        line["error"]["data"]["kind"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// Whether the server has closed the connection; what it has not read of ours makes that a reset.
    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

fn set(id: &str, ip: &str) -> Value {
    json!({"id": id, "ips": [ip]})
}

fn line(id: u64, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string() + "\n"
}

#[test]
fn a_client_changes_and_reads() {
    let server = start();
    let mut client = server.client();
    assert_eq!(client.call("vm.set", &set("web1", "10.0.0.5")).unwrap()["revision"], 1);
    assert_eq!(client.call("vm.get", &json!({"id": "web1"})).unwrap()["effective_class"], "restricted");
    match client.call("vm.get", &json!({"id": "web2"})).unwrap_err() {
        ClientError::Refused(refusal) => assert_eq!((refusal.kind(), refusal.code), ("not_found", -32000)),
        other => panic!("{other}"),
    }
    let stats = client.call("stats.get", &json!({})).unwrap();
    assert_eq!((&stats["schema"], &stats["balanced"]), (&json!(1), &json!(true)), "a refusal ends nothing");
}

#[test]
fn a_client_that_finds_nobody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = Client::connect(&folder.path().join("control.sock")).unwrap_err();
    assert_eq!(error.cause(), Cause::Unavailable, "{error}");
    assert!(error.to_string().contains("is it running?"), "{error}");
}

#[test]
fn the_state_comes_back_when_the_server_stops() {
    let Served { path, server, _folder, _readers } = start();
    let mut client = Client::connect(&path).unwrap();
    client.call("vm.set", &set("web1", "10.0.0.5")).unwrap();
    let handle = server.handle();
    let state = server.stop();
    assert_eq!(state.registry().len(), 1);
    assert!(!path.exists(), "the socket is gone");
    assert!(matches!(client.call("version", &json!({})), Err(ClientError::Closed { .. } | ClientError::Io { .. })));
    assert!(handle.run(|state| state.registry().revision()).is_none());

    let again = Server::start(Socket::take(&path).unwrap(), state).unwrap();
    assert_eq!(again.handle().run(|state| state.registry().revision()), Some(Revision(1)));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = start();
    let mut raw = server.raw();
    let mut all = String::new();
    for n in 0..500 {
        all += &line(
            n,
            if n % 7 == 0 { "nonsense" } else { "vm.set" },
            &set("web1", &format!("10.0.{}.{}", n / 250, 1 + n % 250)),
        );
    }
    raw.send(all.as_bytes());
    for n in 0..500 {
        let reply = raw.line();
        assert_eq!(reply["id"], n);
        assert_eq!(reply["error"].is_object(), n % 7 == 0, "{reply}");
    }
}

#[test]
fn a_batch_is_answered_together_and_a_notification_not_at_all() {
    let server = start();
    let mut raw = server.raw();
    raw.send(b"\n");
    raw.send(br#"{"jsonrpc":"2.0","method":"vm.set","params":{"id":"a","ips":["10.0.0.1"]}}"#);
    raw.send(b"\n");
    raw.send(br#"[{"jsonrpc":"2.0","method":"vm.set","params":{"id":"b","ips":["10.0.0.2"]}},{"jsonrpc":"2.0","method":"x"}]"#);
    raw.send(b"\n");
    raw.send(
        br#"[1,{"jsonrpc":"2.0","id":"x","method":"vm.set","params":{"id":"c","ips":["10.0.0.2"]}},
            {"jsonrpc":"2.0","method":"version"},{"jsonrpc":"2.0","id":"y","method":"vm.list"}]"#
            .map(|byte| if byte == b'\n' { b' ' } else { byte })
            .as_slice(),
    );
    raw.send(b"\n");
    let reply = raw.line();
    let replies = reply.as_array().unwrap();
    assert_eq!(replies.len(), 3, "{reply}");
    assert_eq!((&replies[0]["id"], &replies[0]["error"]["code"]), (&Value::Null, &json!(-32600)));
    assert_eq!((&replies[1]["id"], &replies[1]["error"]["data"]["other"]), (&json!("x"), &json!("b")));
    assert_eq!((&replies[2]["id"], replies[2]["result"]["vms"].as_array().unwrap().len()), (&json!("y"), 2));
}

#[test]
fn many_clients_with_arrays_of_changes_end_where_a_map_ends() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 20;
    let server = start();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut raw = server.raw();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let id = |n: usize| format!("c{client}-{n}");
                    let changes: Vec<String> = (0..10)
                        .map(|n| match (round + n) % 3 {
                            0 => line(n as u64, "vm.delete", &json!({"id": id(n)})),
                            _ => line(n as u64, "vm.set", &set(&id(n), &format!("10.{client}.{round}.{n}"))),
                        })
                        .chain([line(10, "vm.list", &json!({"after": format!("c{client}"), "limit": 1}))])
                        .collect();
                    raw.send(format!("[{}]\n", changes.join(",").replace('\n', "")).as_bytes());
                    let answers = raw.line();
                    let answers = answers.as_array().unwrap();
                    assert_eq!(answers.len(), 11);
                    let revisions: Vec<_> = answers
                        .iter()
                        .map(|answer| answer["result"]["revision"].as_u64().expect("no refusal"))
                        .collect();
                    assert!(revisions.is_sorted(), "{revisions:?}");
                }
            });
        }
    });
    let (last, mut kept) = (ROUNDS - 1, BTreeMap::new());
    for client in 0..CLIENTS {
        for n in (0..10).filter(|n| (last + n) % 3 != 0) {
            kept.insert(format!("c{client}-{n}"), json!([format!("10.{client}.{last}.{n}")]));
        }
    }
    let listed = server.client().call("vm.list", &json!({"limit": 1000})).unwrap();
    let listed: BTreeMap<String, Value> = listed["vms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["vm"]["id"].as_str().unwrap().to_owned(), entry["vm"]["ips"].clone()))
        .collect();
    assert_eq!(listed, kept);
    let stats = server.client().call("stats.get", &json!({})).unwrap();
    assert_eq!(stats["vms"].as_object().unwrap().len(), kept.len());
    assert_eq!(stats["balanced"], true);
}

#[test]
fn statistics_of_many_pages_have_every_vm_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (registry, _readers) =
        Registry::create(Capacity { vms: 3000, keys: 3000 }, 1, Settings::default(), Clock::default()).unwrap();
    let _server = Server::start(Socket::take(&path).unwrap(), State::new(registry, ledger())).unwrap();
    let mut raw = Raw(BufReader::new(UnixStream::connect(&path).unwrap()));
    let sets: Vec<String> = (0..2500u32)
        .map(|n| line(0, "vm.set", &set(&format!("vm{n}"), &format!("10.0.{}.{}", n / 250, n % 250))))
        .collect();
    raw.send(format!("[{}]\n", sets.join(",").replace('\n', "")).as_bytes());
    assert!(raw.line().as_array().unwrap().iter().all(|answer| answer["result"]["changed"] == true));
    let stats = Client::connect(&path).unwrap().call("stats.get", &json!({})).unwrap();
    assert_eq!(stats["vms"].as_object().unwrap().len(), 2500);
    assert_eq!((&stats["daemon"]["table"]["vms"], &stats["daemon"]["changes"]["count"]), (&json!(2500), &json!(2500)));
}

#[test]
fn who_is_silent_for_too_long_is_cut_off() {
    let server = start_with(Limits { idle: Duration::from_millis(20), ..Limits::default() });
    let mut silent = server.raw();
    assert!(silent.is_closed());
    let mut half = server.raw();
    half.send(b"{\"jsonrpc\":");
    assert!(half.is_closed());
}

#[test]
fn half_a_request_is_not_done() {
    let server = start();
    let whole = line(1, "vm.set", &set("web1", "10.0.0.5"));
    let batch = format!("[{},{}]\n", whole.trim(), whole.trim().replace("web1", "web2"));
    for text in [&whole, &batch] {
        for length in 0..text.len() {
            let mut raw = server.raw();
            raw.send(&text.as_bytes()[..length]);
            raw.0.get_ref().shutdown(Shutdown::Write).unwrap();
            match length {
                0 => assert!(raw.is_closed()),
                _ => assert_eq!(raw.kind(), "parse_error", "{length}"),
            }
        }
    }
    assert_eq!(server.revision(), 0);
}

#[test]
fn what_is_no_request_is_refused_and_the_connection_stays() {
    let server = start();
    let mut raw = server.raw();
    let bomb = format!("{}\n", "[".repeat(100_000));
    let object_bomb = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vm.set\",\"params\":{}1{}}}\n",
        "{\"id\":".repeat(50_000),
        "}".repeat(50_000)
    );
    for (bytes, kind) in [
        (&b"hello\n"[..], "parse_error"),
        (b"\0\n", "parse_error"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}\n", "parse_error"),
        (bomb.as_bytes(), "parse_error"),
        (object_bomb.as_bytes(), "invalid_params"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vm.get\",\"params\":{\"id\":\"\\ud800\"}}\n", "invalid_params"),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vm.get\",\"params\":{\"id\":\"a\",\"id\":\"b\"}}\n",
            "invalid_params",
        ),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"version\"}\n", "invalid_request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vm.list\",\"params\":{\"limit\":1e999}}\n", "invalid_params"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vm.list\",\"params\":{\"limit\":-0}}\n", "invalid_params"),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vm.list\",\"params\":{\"limit\":18446744073709551616}}\n",
            "invalid_params",
        ),
    ] {
        raw.send(bytes);
        assert_eq!(raw.kind(), kind, "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(100)]));
    }
    raw.send(line(7, "version", &json!({})).as_bytes());
    assert_eq!(raw.line()["result"]["protocol"], 1);
    assert_eq!(server.revision(), 0);
}

#[test]
fn a_line_beyond_the_limit_ends_the_connection_only_then() {
    let server = start();
    let mut raw = server.raw();
    let mut request = line(1, "version", &json!({}));
    request.insert_str(0, &" ".repeat((1 << 20) + 1 - request.len()));
    assert_eq!(request.len(), (1 << 20) + 1, "1 MiB and its LF");
    raw.send(request.as_bytes());
    assert_eq!(raw.line()["id"], 1);

    request.insert(0, ' ');
    let _ = raw.0.get_mut().write_all(request.as_bytes());
    assert_eq!(raw.kind(), "too_large");
    assert!(raw.is_closed());

    let mut endless = server.raw();
    let chunk = vec![b'x'; 1 << 16];
    while endless.0.get_mut().write_all(&chunk).is_ok() {}
    assert_eq!(endless.kind(), "too_large");
    assert!(endless.is_closed());
}

#[test]
fn there_is_room_for_so_many_clients_and_for_another_when_one_leaves() {
    let server = start_with(Limits { reserved: 0, ..Limits::default() });
    let mut clients: Vec<_> = (0..256).map(|_| server.client()).collect();
    for client in &mut clients {
        client.call("version", &json!({})).unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.call("vm.set", &set(&format!("vm{n}"), &format!("10.0.{n}.1"))).unwrap();
    }
    let mut excess = server.raw();
    assert_eq!(excess.kind(), "too_many_connections");
    assert!(excess.is_closed());
    let error = server.client().call("version", &json!({})).unwrap_err();
    assert_eq!(error.cause(), Cause::Unavailable, "{error}");

    clients.pop();
    while server.client().call("version", &json!({})).is_err() {}
    for client in &mut clients {
        client.call("version", &json!({})).unwrap();
    }
    drop(clients);
    while server.server.connections() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_disturbs_nobody() {
    let server = start_with(Limits { write_timeout: Duration::from_millis(50), ..Limits::default() });
    let mut deaf = UnixStream::connect(&server.path).unwrap();
    let request = line(1, "stats.get", &json!({}));
    while deaf.write_all(request.as_bytes()).is_ok() {}
    let mut client = server.client();
    client.call("vm.set", &set("web1", "10.0.0.5")).unwrap();
    drop(client);
    while server.server.connections() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn stopping_does_not_wait_for_who_does_not_read() {
    let server = start_with(Limits {
        write_timeout: Duration::from_secs(3600),
        goodbye: Duration::from_millis(10),
        ..Limits::default()
    });
    let mut deaf = UnixStream::connect(&server.path).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let request = line(1, "stats.get", &json!({}));
    while deaf.write_all(request.as_bytes()).is_ok() {}
    let _silent = server.raw();
    let state = server.server.stop();
    assert_eq!(state.registry().len(), 0);
}

#[test]
fn two_writers_with_if_revision_never_overwrite_each_other() {
    const CHANGES: u64 = 200;
    let server = start();
    server.client().call("vm.set", &set("web1", "10.0.0.5")).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let mut client = server.client();
            scope.spawn(move || {
                let mut made = 0;
                while made < CHANGES {
                    let now = client.call("vm.get", &json!({"id": "web1"})).unwrap();
                    let count = now["vm"]["note"]
                        .as_str()
                        .map_or(0, |note| note.split(' ').next().unwrap().parse::<u64>().unwrap());
                    let note = format!("{} by {writer}", count + 1);
                    let patch = json!({"id": "web1", "note": note, "if_revision": now["revision"]});
                    match client.call("vm.patch", &patch) {
                        Ok(_) => made += 1,
                        Err(ClientError::Refused(refusal)) => assert_eq!(refusal.kind(), "revision_mismatch"),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    let last = server.client().call("vm.get", &json!({"id": "web1"})).unwrap();
    let note = last["vm"]["note"].as_str().unwrap().to_owned();
    assert!(note.starts_with(&format!("{} by ", 2 * CHANGES)), "no change was lost: {note}");
    assert_eq!(last["revision"], 1 + 2 * CHANGES);
}

#[test]
fn a_worker_that_stands_still_makes_changes_late_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (registry, mut readers) =
        Registry::create(Capacity { vms: 10, keys: 10 }, 1, Settings::default(), Clock::default()).unwrap();
    let state = State::new(registry, ledger());
    let _server = Server::start(Socket::take(&path).unwrap(), state).unwrap();
    let mut client = Client::connect(&path).unwrap();
    readers[0].go_online();
    for (ip, applied) in [("10.0.0.5", true), ("10.0.0.6", false)] {
        match client.call("vm.set", &set("web1", ip)).unwrap_err() {
            ClientError::Refused(refusal) => {
                let mut data = refusal.data;
                let boot = data.remove("boot").unwrap();
                assert_eq!(boot.as_str().map(str::len), Some(8), "{boot}");
                let expected = json!({"kind": "not_in_force", "revision": 1, "waiting_for": [0], "applied": applied});
                assert_eq!(Value::Object(data), expected);
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(client.call("vm.get", &json!({"id": "web1"})).unwrap()["vm"]["ips"], json!(["10.0.0.5"]));
    readers[0].snapshot();
    assert_eq!(client.call("vm.set", &set("web1", "10.0.0.5")).unwrap()["changed"], false, "in force now");
}

#[test]
fn idle_threads_beat_and_one_that_hangs_does_not() {
    let served = start();
    let hearts = served.server.heartbeats().to_vec();
    let [control, accept] = &hearts[..] else { panic!("two threads are watched") };
    let later = |heart: &portcullis::telemetry::heartbeat::Heartbeat, beats: u64| {
        while heart.beats() < beats {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    later(control, 3); // Nobody asks for anything.
    later(accept, 3);

    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = std::sync::mpsc::channel();
    let handle = served.server.handle();
    let stuck = std::thread::spawn(move || {
        handle.run(move |_| {
            begun.send(()).unwrap();
            held.recv().unwrap();
        })
    });
    begins.recv().unwrap();
    let beats = control.beats();
    later(accept, accept.beats() + 2);
    assert_eq!(control.beats(), beats, "a control thread that hangs shows it");
    release.send(()).unwrap();
    stuck.join().unwrap().unwrap();
    later(control, beats + 1);
}
