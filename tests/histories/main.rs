//! Long random histories of the real daemon, against a simple model of what must be true.
//!
//! Several clients change VMs and policy, one by one, two at a time, many in a line; now and then the daemon is killed,
//! often while a change is under way, or ended in order, and started anew. All the time frames of every MAC pass. After each
//! answer everything that can be asked must say what the model says: the answer itself, the lists, who is told of changes as
//! they are made, the history, and the counters of the frames that pass. Revisions neither repeat nor skip.
//!
//! `PORTCULLIS_HISTORIES_KILLS` says how often the daemon ends (`make soak`: 500), `PORTCULLIS_HISTORIES_SEED` repeats a history.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]

mod choice;
mod model;
mod sight;
#[path = "../appliance/support.rs"]
#[allow(dead_code, reason = "the tests of the appliance need more of it")]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use portcullis::testkit::{PEER, frame};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::choice::Choice;
use crate::model::{Came, Model, Op, SLOTS, station};
use crate::sight::Watcher;
use crate::support::{Config, Daemon, LIMIT, Lab, number, pcap, wait_for};

/// How often the daemon ends.
const ENDS: u64 = 50;
/// Clients that are connected.
const CLIENTS: usize = 3;

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A box that keeps what it is told, and through which mail from every slot passes for ever.
fn config(lab: &Lab) -> Config {
    let mail: Vec<Vec<u8>> = (0..SLOTS).map(|slot| frame().from(station(slot)).to(PEER).tcp(25).into()).collect();
    let capture = lab.write("mail.pcap", pcap(&mail));
    lab.config(&format!("net_pcap0,rx_pcap={capture},infinite_rx=1"), "net_null0,no-rx=1")
        .and(&format!("[class.mta-only]\nports = [465]\n[store]\npath = {:?}", lab.text("state.redb")))
}

/// A connection.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, line: &Value) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    /// A line; nothing if the daemon is gone.
    fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(_) if line.ends_with('\n') => Some(serde_json::from_str(&line).unwrap()),
            Ok(_) => None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.send(&request(method, params));
        self.receive().expect("an answer")
    }

    /// The result of what cannot be refused.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = self.call(method, params);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }
}

fn request(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// An operation, made only at a revision.
fn line(op: &Op, only_at: Option<u64>) -> Value {
    let (method, mut params) = op.request();
    if let Some(revision) = only_at {
        params["if_revision"] = json!(revision);
    }
    request(method, &params)
}

/// What came of an operation, as it was answered, and of which revision the answer is.
fn came(answer: &Value) -> (Came, Option<u64>) {
    let result = &answer["result"];
    if let Some(changed) = result["changed"].as_bool() {
        assert_eq!(result["durable"], true, "{answer}");
        return (if changed { Came::Made } else { Came::Same }, Some(number(&result["revision"])));
    }
    let data = &answer["error"]["data"];
    if data["kind"] == "not_in_force" && data["applied"] == true {
        return (Came::Late, Some(number(&data["revision"])));
    }
    let kind = data["kind"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let known = ["conflict", "not_found", "pending_confirm", "revision_mismatch", "not_in_force"];
    (Came::Refused(known.into_iter().find(|known| *known == kind).unwrap_or_else(|| panic!("{answer}"))), None)
}

/// Where an operation leads from a model, if it may be answered so.
fn led(model: &Model, op: &Op, only_at: Option<u64>, answer: &(Came, Option<u64>)) -> Option<Model> {
    let (came, revision) = answer;
    let fits = |outcome: &Came| match came {
        Came::Late => !matches!(outcome, Came::Refused(_)),
        came => outcome == came,
    };
    let outcomes = model.outcomes(op, only_at).into_iter();
    let mut fitting = outcomes.filter(|(outcome, next)| fits(outcome) && revision.is_none_or(|it| it == next.revision));
    fitting.next().map(|(_, next)| next)
}

/// One run of the daemon.
struct Life<'a> {
    daemon: Daemon<'a>,
    clients: Vec<Client>,
    watcher: Watcher,
    /// The revision that it began with.
    begun: u64,
}

impl<'a> Life<'a> {
    /// Starts the daemon; it knows one of these.
    fn begin(lab: &'a Lab, config: &Config, expected: &[Model]) -> (Self, Model) {
        let daemon = Daemon::start(lab, config);
        let socket = lab.path("control.sock");
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(&socket)).collect();
        let (truth, revision) = sight::truth(&mut clients[0]);
        let mut fitting = expected.iter().filter(|model| model.truth == truth && model.revision == revision);
        let Some(model) = fitting.next().cloned() else {
            panic!("after the start there is, at revision {revision}, {truth:#?}\nwhich is none of {expected:#?}");
        };
        let watcher = Watcher::begin(&socket, &mut clients[0]);
        (Self { daemon, clients, watcher, begun: revision }, model)
    }

    /// Makes an operation, until a worker that did not get its CPU in time does not keep it from being made.
    fn one(&mut self, client: usize, op: &Op, only_at: Option<u64>) -> (Came, Option<u64>) {
        wait_for("the change may be made", || {
            let answer = match op {
                Op::Sync(_) => self.sync(client, op),
                op => {
                    self.clients[client].send(&line(op, only_at));
                    self.clients[client].receive().expect("an answer")
                }
            };
            Some(came(&answer)).filter(|(came, _)| *came != Came::Refused("not_in_force"))
        })
    }

    fn sync(&mut self, client: usize, op: &Op) -> Value {
        let client = &mut self.clients[client];
        let sync = client.ask("sync.begin", &json!({}))["sync"].take();
        let (_, mut chunk) = op.request();
        (chunk["sync"], chunk["at"]) = (sync.clone(), json!(0));
        client.ask("sync.chunk", &chunk);
        let answer = client.call("sync.commit", &json!({"sync": sync, "force": true}));
        if !answer["error"].is_null() {
            client.ask("sync.abort", &json!({ "sync": sync }));
        }
        answer
    }

    /// Some operations, and what is true then.
    fn step(&mut self, choice: &mut Choice, model: &Model) -> Model {
        let next = match choice.below(10) {
            0..6 => {
                let op = choice.op(model);
                let only_at = match op {
                    Op::Sync(_) => None,
                    _ => choice.guard(model.revision),
                };
                let answer = self.one(choice.below_usize(CLIENTS), &op, only_at);
                led(model, &op, only_at, &answer)
                    .unwrap_or_else(|| panic!("{op:?} at {only_at:?} was answered {answer:?}; {model:#?}"))
            }
            6..8 => self.two_at_a_time(choice, model),
            _ => self.many_in_a_line(choice, model),
        };
        self.check(choice, &next);
        next
    }

    /// Two clients at once: it is as if one had come first.
    fn two_at_a_time(&mut self, choice: &mut Choice, model: &Model) -> Model {
        let ops = [choice.single(model), choice.single(model)];
        for (client, op) in ops.iter().enumerate() {
            self.clients[client].send(&line(op, None));
        }
        let answers: Vec<_> = (0..2).map(|client| came(&self.clients[client].receive().expect("an answer"))).collect();
        let mut fitting = [[0, 1], [1, 0]].into_iter().filter_map(|[first, second]| {
            let between = led_or_late(model, &ops[first], &answers[first])?;
            led_or_late(&between, &ops[second], &answers[second])
        });
        fitting.next().unwrap_or_else(|| panic!("{ops:?} at once were answered {answers:?}; {model:#?}"))
    }

    /// Each for itself, in their order.
    fn many_in_a_line(&mut self, choice: &mut Choice, model: &Model) -> Model {
        let ops: Vec<Op> = (0..2 + choice.below(4)).map(|_| choice.single(model)).collect();
        let client = choice.below_usize(CLIENTS);
        self.clients[client].send(&Value::Array(ops.iter().map(|op| line(op, None)).collect()));
        let answers = self.clients[client].receive().expect("an answer");
        let answers: Vec<_> = answers.as_array().unwrap().iter().map(came).collect();
        assert_eq!(answers.len(), ops.len());
        let mut now = model.clone();
        for (op, answer) in ops.iter().zip(&answers) {
            now = led_or_late(&now, op, answer)
                .unwrap_or_else(|| panic!("of {ops:?} in a line, {op:?} was answered {answer:?}; {now:#?}"));
        }
        now
    }

    /// An answer may have been that a change is not in force yet.
    fn wait_until_in_force(&mut self) {
        wait_for("every change is in force", || {
            let answer = self.clients[0].call("vm.delete", &json!({"id": "nobody"}));
            answer["error"].is_null().then_some(())
        });
    }

    /// Everything that can be asked says what the model says.
    fn check(&mut self, choice: &mut Choice, model: &Model) {
        self.wait_until_in_force();
        self.watcher.catch_up(model);
        let client = choice.below_usize(CLIENTS);
        let client = &mut self.clients[client];
        if choice.below(3) == 0 {
            assert_eq!(sight::truth(client), (model.truth.clone(), model.revision));
        }
        if choice.below(3) == 0 {
            sight::frames_obey(client, &model.truth);
        }
        if choice.below(6) == 0 {
            sight::history_agrees(client, self.begun, model);
        }
    }

    /// Ends it somehow; what may be true then.
    fn end(mut self, choice: &mut Choice, model: &Model) -> Vec<Model> {
        if choice.below(6) == 0 {
            self.watcher.close();
            drop(self.clients);
            self.daemon.stop(Signal::TERM);
            return vec![model.started_anew()];
        }
        let mut possible = vec![model.clone()];
        if choice.below(3) > 0 {
            let op = choice.single(model);
            let client = &mut self.clients[0];
            client.send(&line(&op, None));
            // Somewhere between the arrival of the line and the answer.
            let order = choice.below(18);
            (0..choice.below(1 << order)).for_each(|_| std::hint::spin_loop());
            self.daemon.end(Signal::KILL);
            match client.receive() {
                Some(answer) => {
                    let answer = came(&answer);
                    possible = vec![led_or_late(model, &op, &answer).unwrap_or_else(|| panic!("{op:?}: {answer:?}"))];
                }
                None => possible.extend(model.outcomes(&op, None).into_iter().map(|(_, next)| next)),
            }
        } else {
            self.daemon.end(Signal::KILL);
        }
        self.watcher.close();
        possible.iter().map(Model::started_anew).collect()
    }
}

/// As [`led`]; what could not be made because a worker did not get its CPU in time changes nothing.
fn led_or_late(model: &Model, op: &Op, answer: &(Came, Option<u64>)) -> Option<Model> {
    match answer {
        (Came::Refused("not_in_force"), _) => Some(model.clone()),
        answer => led(model, op, None, answer),
    }
}

#[test]
fn whatever_happens_everything_agrees_with_what_was_answered() {
    let seed = asked("PORTCULLIS_HISTORIES_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    let ends = asked("PORTCULLIS_HISTORIES_KILLS").unwrap_or(ENDS);
    let mut choice = Choice::from(seed);
    let lab = Lab::new();
    let config = config(&lab);
    let mut expected = vec![Model::default()];
    for end in 0..=ends {
        say(&format!("PORTCULLIS_HISTORIES_SEED={seed}, run {end} of the daemon"));
        let (mut life, mut model) = Life::begin(&lab, &config, &expected);
        for _ in 0..3 + choice.below(20) {
            model = life.step(&mut choice, &model);
        }
        expected = life.end(&mut choice, &model);
    }
}

#[allow(clippy::print_stdout, reason = "nextest shows it with the failed test")]
fn say(words: &str) {
    println!("{words}");
}
