//! `vm set --file` and `vm import`: one record, or many.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Read as _, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::inventory;
use super::remote::Remote;
use crate::control::rpc::{Applied, Kind};
use crate::failure::{Cause, Failure};
use crate::model::Revision;
use crate::text::plain;
use crate::vm::lines;
use crate::vm::record::VmId;

/// Most complaints that are repeated in words; a program gets all.
const NAMED_MAX: usize = 100;

/// Records that are sent in one line, and most bytes of them together; a record by itself may be longer.
const TOGETHER: usize = 512;
pub(super) const BYTES_TOGETHER: usize = 256 << 10;

/// How often the daemon is asked again while it waits for its workers, and for how long in all; before that its watchdog
/// ends it.
const A_WHILE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);

/// What a file holds.
pub(super) enum Records {
    /// One object, over however many lines.
    One(Map<String, Value>),
    /// One a line.
    Many(Lines),
}

/// Records, one a line.
pub(super) struct Lines {
    path: PathBuf,
    /// JSON, with the numbers of their lines.
    numbered: Vec<(usize, String)>,
    /// What is no record.
    complaints: Vec<Complaint>,
    /// As JSON, and not as something that was made JSON of.
    written: bool,
}

/// What is wrong with a record: the number of its line, words, and what else the daemon says.
type Complaint = (usize, String, Map<String, Value>);

impl Records {
    /// Reads a file, or standard input for `-`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = read(path)?;
        let wrong = |message: String| Err(Failure::new(Cause::Configuration, format!("{}: {message}", path.display())));
        let whole = match serde_json::from_str(&text) {
            Ok(Value::Object(record)) => return Ok(Self::One(record)),
            Ok(_) => return wrong("a VM record is a JSON object, and several stand one a line".into()),
            Err(error) => error,
        };
        let lines = Lines::of_json(path, &text);
        // One object that is broken is not as many records as it has lines.
        if !lines.numbered.iter().any(|(_, line)| record(line).is_ok()) {
            let none = lines.numbered.is_empty();
            return wrong(if none { "there is no record in it".into() } else { whole.to_string() });
        }
        Ok(Self::Many(lines))
    }
}

const BYTE_ORDER_MARK: char = '\u{feff}';

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::io(Cause::Usage, &error, format_args!("{}: {error}", path.display())))?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.remove(0);
    }
    Ok(text)
}

/// A line as the object it should be, members unread.
fn record(line: &str) -> Result<&RawValue, String> {
    let value: &RawValue = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if value.get().starts_with('{') { Ok(value) } else { Err("a VM record is a JSON object".into()) }
}

impl Lines {
    /// An inventory: JSON Lines, or CSV with named columns. Columns called as in `ignore` are left out.
    pub(super) fn of_inventory(path: &Path, ignore: &[String]) -> Result<Self, Failure> {
        let text = read(path)?;
        if text.trim_start().starts_with('{') {
            return Ok(Self::of_json(path, &text));
        }
        let wrong = |what| Failure::new(Cause::Configuration, format_args!("{}: {what}", path.display()));
        let mut lines = Self { path: path.to_owned(), numbered: Vec::new(), complaints: Vec::new(), written: false };
        for (line, row) in inventory::parse(&text, ignore).map_err(wrong)? {
            match row {
                Ok(record) => lines.numbered.push((line, record)),
                Err(message) => lines.complaints.push((line, message, Map::new())),
            }
        }
        Ok(lines)
    }

    /// Every record as it is written, if all can be and no two are of one VM.
    ///
    /// # Errors
    /// Every line that cannot be.
    pub(super) fn whole(self) -> Result<Vec<Box<RawValue>>, Failure> {
        let Self { path, numbered, mut complaints, written } = self;
        let parse = if written { lines::parse_line } else { lines::parse_made };
        let count = numbered.len() + complaints.len();
        let mut records = Vec::with_capacity(numbered.len());
        let mut seen: HashMap<VmId, usize> = HashMap::with_capacity(numbered.len());
        for (number, line) in numbered {
            let checked = record(&line).and_then(|raw| {
                let set = parse(line.as_bytes())?;
                let id = set.id.clone();
                set.onto(None).map_err(|error| error.to_string())?;
                match seen.insert(id.clone(), number) {
                    Some(first) => Err(format!("VM {id} is in line {first} already")),
                    None => Ok(raw.to_owned()),
                }
            });
            match checked {
                Ok(raw) => records.push(raw),
                Err(message) => complaints.push((number, message, Map::new())),
            }
        }
        if complaints.is_empty() {
            return Ok(records);
        }
        let words = format!("{} of {count} records cannot be, so nothing was sent", complaints.len());
        Err(refuse(&path, words, complaints))
    }

    fn of_json(path: &Path, text: &str) -> Self {
        let numbered = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let numbered = numbered.map(|(number, line)| (number, line.to_owned())).collect();
        Self { path: path.to_owned(), numbered, complaints: Vec::new(), written: true }
    }

    /// Sets each for itself, and says what became of all.
    pub(super) fn set(mut self, remote: &Remote) -> Result<(), Failure> {
        let complaints = std::mem::take(&mut self.complaints);
        let count = self.numbered.len() + complaints.len();
        let mut outcome = Outcome { count, complaints, ..Outcome::default() };
        let progress = progress(outcome.count);
        let sent = self.send(remote, &mut outcome, &progress);
        progress.finish_and_clear();
        sent?;
        if !outcome.complaints.is_empty() {
            return Err(outcome.failure(&self.path));
        }
        outcome.late.take().map_or_else(|| super::out::print(&outcome.success(remote.json)), Err)
    }

    fn send(&self, remote: &Remote, outcome: &mut Outcome, progress: &ProgressBar) -> Result<(), Failure> {
        let mut client = remote.connect()?;
        let mut lines = self.numbered.iter().map(|(number, line)| (*number, line.as_str())).peekable();
        // What the daemon would not make while it waited for an earlier change.
        let (mut again, mut waited): (Vec<(usize, &RawValue)>, Duration) = Default::default();
        while !again.is_empty() || lines.peek().is_some() {
            let mut together = std::mem::take(&mut again);
            let mut bytes = together.iter().map(|(_, record)| record.get().len()).sum::<usize>();
            while let Some((number, line)) = lines.next_if(|(_, line)| {
                together.is_empty() || (together.len() < TOGETHER && bytes + line.len() <= BYTES_TOGETHER)
            }) {
                match record(line) {
                    Ok(record) => {
                        together.push((number, record));
                        bytes += line.len();
                    }
                    Err(message) => outcome.complaints.push((number, message, Map::new())),
                }
            }
            let Some((first, _)) = together.first() else { continue };
            let records: Vec<_> = together.iter().map(|(_, record)| record).collect();
            let answers = remote.ask_each::<Applied>(&mut client, "vm.set", &records).map_err(|failure| {
                // Nobody is there any more: the rest would fail alike.
                let (path, done, count) = (self.path.display(), outcome.done(), outcome.count);
                let message = format!("{path}:{first}: {failure}; {done} of {count} were done with before");
                Failure { message, ..failure }
            })?;
            for ((number, record), answer) in together.into_iter().zip(answers) {
                match answer.map_err(|failure| (waits(&failure), failure)) {
                    Ok(applied) => outcome.set(&applied),
                    Err((Some(Waits::ToBeInForce), failure)) => outcome.set_late(failure),
                    Err((Some(Waits::ToBeMade), _)) if waited < PATIENCE => again.push((number, record)),
                    Err((_, failure)) => outcome.complaints.push((number, failure.message, failure.data)),
                }
            }
            if again.is_empty() {
                waited = Duration::ZERO;
            } else {
                std::thread::sleep(A_WHILE);
                waited += A_WHILE;
            }
            progress.set_position(outcome.done() as u64);
        }
        Ok(())
    }
}

/// A bar where somebody looks.
pub(super) fn progress(vms: usize) -> ProgressBar {
    let progress = if stderr().is_terminal() { ProgressBar::new(vms as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} VMs, {eta} to go") {
        progress.set_style(style);
    }
    progress
}

/// What a record waits for while some worker stands still.
enum Waits {
    /// It is set, and comes into force.
    ToBeInForce,
    /// It is not: others come first.
    ToBeMade,
}

fn waits(failure: &Failure) -> Option<Waits> {
    let waits = failure.data.get("kind").and_then(Value::as_str) == Some(Kind::NotInForce.name());
    let made = failure.data.get("applied") == Some(&Value::Bool(true));
    waits.then_some(if made { Waits::ToBeInForce } else { Waits::ToBeMade })
}

/// What became of the records.
#[derive(Default)]
struct Outcome {
    count: usize,
    changed: usize,
    same: usize,
    revision: Revision,
    complaints: Vec<Complaint>,
    /// Said of the newest change, if it is not in force yet.
    late: Option<Failure>,
}

impl Outcome {
    /// Whatever was made earlier is in force by now, too.
    fn set(&mut self, applied: &Applied) {
        *if applied.changed { &mut self.changed } else { &mut self.same } += 1;
        self.revision = applied.revision;
        self.late = None;
    }

    fn set_late(&mut self, failure: Failure) {
        self.changed += 1;
        self.late = Some(failure);
    }

    fn done(&self) -> usize {
        self.changed + self.same + self.complaints.len()
    }

    fn success(&self, as_json: bool) -> String {
        let Self { count, changed, same, revision, .. } = self;
        if as_json {
            return json!({ "records": count, "changed": changed, "unchanged": same, "revision": revision })
                .to_string();
        }
        format!("{count} records: {changed} changed, {same} as they were; revision {}", revision.0)
    }

    fn failure(self, path: &Path) -> Failure {
        let Self { count, changed, same, complaints, .. } = self;
        let refused = complaints.len();
        let words = format!("{refused} of {count} records were not set, {changed} changed, {same} are as they were");
        let mut failure = refuse(path, words, complaints);
        failure.data.insert("changed".into(), changed.into());
        failure.data.insert("unchanged".into(), same.into());
        failure
    }
}

/// What is said of records that cannot be: the first of them in words, all of them for programs.
fn refuse(path: &Path, mut words: String, mut complaints: Vec<Complaint>) -> Failure {
    complaints.sort_unstable_by_key(|(number, ..)| *number);
    let (refused, path) = (complaints.len(), path.display());
    for (number, message, _) in complaints.iter().take(NAMED_MAX) {
        words += &format!("\n{path}:{number}: {}", plain(message, 400));
    }
    if refused > NAMED_MAX {
        words += &format!("\nand {} more; --json has them all", refused - NAMED_MAX);
    }
    let error = |(line, message, mut data): Complaint| {
        data.insert("line".into(), line.into());
        data.insert("message".into(), message.into());
        Value::from(data)
    };
    let errors: Vec<Value> = complaints.into_iter().map(error).collect();
    let mut failure = Failure::new(Cause::Refused, words);
    failure.data.insert("kind".into(), json!("records_refused"));
    failure.data.insert("errors".into(), json!(errors));
    failure
}
