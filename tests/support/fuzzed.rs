//! What is fuzzed: a function for each kind of bytes that somebody else chooses. The targets of `tests/fuzz` feed them
//! what libFuzzer thinks up, `tests/corpus_replay.rs` what it found worth keeping. They panic when a promise is broken.
#![allow(dead_code, reason = "each program uses a part")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use portcullis::config::Config;
use portcullis::control::client::Client;
use portcullis::control::handler::State;
use portcullis::control::rpc::{self, Id, Line, Request, Response};
use portcullis::control::server::Server;
use portcullis::control::socket::Socket;
use portcullis::model::{Direction, LinkIndex, Way};
use portcullis::packet::{Packet, Refusal};
use portcullis::policy::{Reader, Settings, Verdict, decide};
use portcullis::port::memory::Frame;
use portcullis::table::Capacity;
use portcullis::telemetry::ledger::Ledger;
use portcullis::testkit::{VM_A, VM_B, VM_C, World, world};
use portcullis::vm::clock::Clock;
use portcullis::vm::edit::Edit;
use portcullis::vm::record::VmSet;
use portcullis::vm::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

/// Each with its name, which is that of its fuzz target and of its directory in `tests/corpus`.
pub(crate) const TARGETS: [(&str, Target); 5] =
    [("parser", parser), ("vm_line", vm_line), ("config", config), ("rpc", rpc), ("connection", connection)];

/// Takes any bytes.
type Target = fn(&[u8]);

const GOLDEN_CONFIG: &str = include_str!("../pcaps/golden.toml");
const GOLDEN_VMS: &str = include_str!("../pcaps/golden-vms.jsonl");
const STRICT_CONFIG: &str = include_str!("../pcaps/strict.toml");

thread_local! {
    /// At mail, and at strict; there who is denied is told, by ICMP where it fits.
    static WORLDS: [World; 2] = {
        let told = "reject_ipv4 = \"198.51.100.254\"\nreject_ipv6 = \"2001:db8:ffff::254\"\n\n[policy]\ndeny = \"reject\"\n";
        let strict = STRICT_CONFIG.replace("[policy]\n", told);
        [World::read(GOLDEN_CONFIG, GOLDEN_VMS), World::read(&strict, GOLDEN_VMS)]
    };
}

/// A byte, then a frame. The lowest bit of the byte is the direction; the others say where the frame is cut.
///
/// Pure function and data plane agree, in one piece and in several, the balance holds, and what is forwarded is
/// unchanged (`World::answer`). A head shorter than its frame is decided too, without panic. Where who sent it is told, the answer
/// goes back to him, whole, and is nothing that would be answered in turn.
pub(crate) fn parser(data: &[u8]) {
    let Some((&how, frame)) = data.split_first() else { return };
    let direction = if how & 1 == 0 { Direction::Egress } else { Direction::Ingress };
    let cut = usize::from(how >> 1);
    WORLDS.with(|worlds| worlds.iter().for_each(|world| frame_in(world, direction, frame, cut)));
}

fn frame_in(world: &World, direction: Direction, frame: &[u8], cut: usize) {
    let whole = world.answer(direction, frame);
    let run = world.run(direction, [Frame::segmented(frame, cut.max(1))], usize::MAX);
    match whole.verdict {
        Verdict::Forward | Verdict::WouldDrop(_) => assert_eq!(run.sent, [frame], "in segments of {cut} bytes"),
        Verdict::Drop(reason) => assert_eq!(run.lane.dropped(reason), 1, "in segments of {cut} bytes"),
    }
    for (head, length) in [(frame.get(..cut).unwrap_or(frame), frame.len()), (frame, frame.len() + cut), (frame, cut)] {
        let _ = decide(world.snapshot(), Way { link: LinkIndex(0), direction }, head, length);
    }
    for reply in world.replies([Frame::from(frame)]).replied {
        assert_eq!((reply.get(..6), reply.get(6..12)), (frame.get(6..12), frame.get(..6)), "back to its sender");
        assert!(
            reply.len() >= 60
                && Packet::parse(&reply, reply.len()).is_ok_and(|packet| packet.network.addresses().is_some())
        );
        assert!(Refusal::of(&reply).is_none(), "no conversation of refusals");
    }
}

/// VM lines, as `vm sync` and the store have them.
///
/// What is taken is found by its id, its keys lead to it, and taking it again changes nothing. What is refused changes
/// nothing either.
pub(crate) fn vm_line(data: &[u8]) {
    let mut world = world().class("mta-only", &[25]).build();
    for line in data.split(|&byte| byte == b'\n').take(100) {
        let set = match serde_json::from_slice::<VmSet>(line) {
            Ok(set) => set,
            Err(error) => {
                let _ = error.to_string();
                continue;
            }
        };
        let (before, count) = (world.registry.revision(), world.registry.len());
        match world.registry.apply([Edit::Set(set.clone())]) {
            Ok(_) => {
                let (index, vm) = world.registry.get(&set.id).expect("what was taken is there");
                let snapshot = world.snapshot().vms;
                for &mac in &vm.macs {
                    assert_eq!(snapshot.vm_by_mac(vm.scope, mac), Some(index), "{mac} of {}", vm.id);
                }
                for prefix in vm.prefixes().filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len()) {
                    assert_eq!(snapshot.vm_by_ip(vm.scope, prefix.addr()), Some(index), "{prefix} of {}", vm.id);
                }
                let privileged = vm.public_ipv4.is_some() || vm.class.as_deref() == Some("unrestricted");
                assert!(
                    portcullis::vm::registry::class(world.registry.settings(), vm).1 != "unrestricted" || privileged,
                    "{} for nothing",
                    vm.id
                );
                let again = world.registry.apply([Edit::Set(set)]).expect("what was taken can be taken again");
                assert!(!again.changed, "and is the same");
            }
            Err((at, error)) => {
                let _ = error.to_string();
                assert_eq!(
                    (at, world.registry.revision(), world.registry.len()),
                    (0, before, count),
                    "nothing changed"
                );
            }
        }
    }
}

/// The configuration file.
///
/// Whatever is not refused makes a policy whose built-in classes are what they must be.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, Path::new("fuzzed.toml")) {
        Ok(config) => {
            let policy = config.policy().expect("a configuration that was not refused makes a policy");
            let unrestricted = policy.classes.find("unrestricted").expect("built in");
            assert!(policy.classes.get(unrestricted).ports.is_empty());
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
}

/// Lines of the control socket.
///
/// Every request that wants a reply gets one: a line of JSON without control characters, with its own `id`.
pub(crate) fn rpc(data: &[u8]) {
    let world = world().class("mta-only", &[25]).restricted(VM_A).unrestricted(VM_B).of_class(VM_C, "mta-only").build();
    let mut state = State::new(world.registry, Arc::new(Ledger::new(Vec::new(), vec!["link0".into()])));
    let mut answer = |request: Request| {
        let outcome = request.call.and_then(|call| state.handle(call));
        if let Some(id) = request.id {
            check_reply(
                &id,
                &serde_json::to_string(&Response { id: &id, outcome: &outcome }).expect("replies are JSON"),
            );
        }
    };
    for line in data.split(|&byte| byte == b'\n').take(100) {
        match rpc::parse_line(line) {
            Line::Blank => {}
            Line::One(request) => answer(*request),
            Line::Batch(batch) => batch.take(100).for_each(&mut answer),
        }
    }
}

/// A box that is served, whoever has asked it for what before.
struct Served {
    path: PathBuf,
    _server: Server,
    _readers: Vec<Reader>,
    _folder: TempDir,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let (registry, readers) =
            Registry::create(Capacity { vms: 1000, keys: 4000 }, 1, Settings::default(), Clock::default())
                .expect("a table");
        let state = State::new(registry, Arc::new(Ledger::new(Vec::new(), vec!["link0".into()])));
        let server = Server::start(Socket::take(&path).expect("a socket"), state).expect("threads");
        Self { path, _server: server, _readers: readers, _folder: folder }
    }
}

/// A byte that says how the rest is cut into pieces, and what a client sends, until it says that nothing follows.
///
/// All that comes back are whole lines of JSON, no more than were asked for, unless it watches; the connection ends, and the
/// next client is served.
pub(crate) fn connection(data: &[u8]) {
    static SERVED: OnceLock<Served> = OnceLock::new();
    let Some((&cut, sent)) = data.split_first() else { return };
    let Served { path, .. } = SERVED.get_or_init(Served::start);
    let mut stream = UnixStream::connect(path).expect("there is room for one more");
    let mut listening = stream.try_clone().expect("a second handle");
    let heard = std::thread::spawn(move || {
        let mut heard = Vec::new();
        // What we had sent and nobody read makes the end a reset.
        let _ = listening.read_to_end(&mut heard);
        heard
    });
    for piece in sent.chunks(1 + 16 * usize::from(cut)) {
        if stream.write_all(piece).is_err() {
            break; // It was told why.
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let heard = String::from_utf8(heard.join().expect("it reads")).expect("replies are text");
    assert!(heard.is_empty() || heard.ends_with('\n'), "the last reply is whole: {heard:?}");
    let mut replies = 0;
    for line in heard.lines() {
        match serde_json::from_str(line).expect("a reply is JSON") {
            Value::Array(all) => all.iter().for_each(check_shape),
            told if told.get("method").is_some() => continue,
            one => check_shape(&one),
        }
        replies += 1;
    }
    assert!(replies <= sent.split(|&byte| byte == b'\n').count(), "{heard:?}");
    Client::connect(path)
        .and_then(|mut other| other.call("version", &serde_json::json!({})))
        .expect("others are served");
}

fn check_shape(reply: &Value) {
    assert_eq!(reply["jsonrpc"], "2.0", "{reply}");
    assert!(reply.get("result").is_some() != reply.get("error").is_some(), "a result or an error: {reply}");
}

fn check_reply(id: &Id, reply: &str) {
    assert!(!reply.bytes().any(|byte| byte < 0x20), "a reply is one printable line: {reply:?}");
    let reply: serde_json::Value = serde_json::from_str(reply).expect("a reply is JSON");
    let id: serde_json::Value = serde_json::from_str(id.as_json()).expect("an id is JSON");
    assert_eq!(reply["id"], id);
    assert!(reply.get("result").is_some() != reply.get("error").is_some(), "a result or an error: {reply}");
}
