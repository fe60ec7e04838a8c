//! `vm set --file`: one record, or many.

use std::io::{IsTerminal as _, Read as _, stderr};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::remote::Remote;
use crate::control::rpc::Applied;
use crate::failure::{Cause, Failure};
use crate::model::Revision;
use crate::text::plain;

/// Most complaints that are repeated in words; a program gets all.
const NAMED_MAX: usize = 100;

/// What a file holds.
pub(super) enum Records {
    /// One object, over however many lines.
    One(Map<String, Value>),
    /// One a line.
    Many(Lines),
}

type Read = Result<Map<String, Value>, String>;

/// Records, one a line.
pub(super) struct Lines {
    path: PathBuf,
    /// The line's number, and its record or what is wrong with it.
    lines: Vec<(usize, Read)>,
}

impl Records {
    /// Reads a file, or standard input for `-`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let mut text = String::new();
        let read = match path.to_str() {
            Some("-") => std::io::stdin().read_to_string(&mut text),
            _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
        };
        read.map_err(|error| Failure::io(Cause::Usage, &error, format_args!("{}: {error}", path.display())))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let wrong = |message: String| Err(Failure::new(Cause::Configuration, format!("{}: {message}", path.display())));
        let whole = match serde_json::from_str(text) {
            Ok(Value::Object(record)) => return Ok(Self::One(record)),
            Ok(_) => return wrong("a VM record is a JSON object, and several stand one a line".into()),
            Err(error) => error,
        };
        let lines: Vec<_> = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()).collect();
        // One object that is broken is not as many records as it has lines.
        let whole_lines = lines.iter().filter(|(line, _)| serde_json::from_str::<Map<String, Value>>(line).is_ok());
        if whole_lines.count() == 0 {
            return wrong(if lines.is_empty() { "there is no record in it".into() } else { whole.to_string() });
        }
        let read = |line: &str| match serde_json::from_str(line) {
            Ok(Value::Object(record)) => Ok(record),
            Ok(_) => Err("a VM record is a JSON object".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let lines = lines.into_iter().map(|(line, number)| (number, read(line))).collect();
        Ok(Self::Many(Lines { path: path.to_owned(), lines }))
    }
}

impl Lines {
    /// Sets each for itself, and says what became of all.
    pub(super) fn set(self, remote: &Remote) -> Result<(), Failure> {
        let Self { path, lines } = self;
        let mut client = remote.connect()?;
        let count = lines.len();
        let progress = if stderr().is_terminal() { ProgressBar::new(count as u64) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} VMs, {eta} to go") {
            progress.set_style(style);
        }
        let (mut changed, mut same, mut revision) = (0, 0, Revision(0));
        let mut complaints: Vec<(usize, String, Map<String, Value>)> = Vec::new();
        for (number, record) in lines {
            progress.inc(1);
            let record = match record {
                Ok(record) => record,
                Err(message) => {
                    complaints.push((number, message, Map::new()));
                    continue;
                }
            };
            match remote.ask::<Applied>(&mut client, "vm.set", &record) {
                Ok(applied) => {
                    if applied.changed {
                        changed += 1;
                    } else {
                        same += 1;
                    }
                    revision = applied.revision;
                }
                Err(failure) if failure.data.is_empty() => {
                    // Nobody is there any more: the rest would fail alike.
                    progress.finish_and_clear();
                    let done = changed + same + complaints.len();
                    let message =
                        format!("{}:{number}: {failure}; {done} of {count} were done with before", path.display());
                    return Err(Failure { message, ..failure });
                }
                Err(failure) => complaints.push((number, failure.message, failure.data)),
            }
        }
        progress.finish_and_clear();
        let refused = complaints.len();
        if refused == 0 {
            return super::out::print(&if remote.json {
                json!({ "records": count, "changed": changed, "unchanged": same, "revision": revision }).to_string()
            } else {
                format!("{count} records: {changed} changed, {same} as they were; revision {}", revision.0)
            });
        }
        let mut words =
            format!("{refused} of {count} records were not set, {changed} changed, {same} are as they were");
        for (number, message, _) in complaints.iter().take(NAMED_MAX) {
            words += &format!("\n{}:{number}: {}", path.display(), plain(message, 400));
        }
        if refused > NAMED_MAX {
            words += &format!("\nand {} more; --json has them all", refused - NAMED_MAX);
        }
        let errors: Vec<Value> = complaints
            .into_iter()
            .map(|(line, message, mut data)| {
                data.insert("line".into(), line.into());
                data.insert("message".into(), message.into());
                data.into()
            })
            .collect();
        let mut failure = Failure::new(Cause::Refused, words);
        failure.data = Map::from_iter([
            ("kind".to_owned(), json!("records_refused")),
            ("changed".to_owned(), json!(changed)),
            ("unchanged".to_owned(), json!(same)),
            ("errors".to_owned(), json!(errors)),
        ]);
        Err(failure)
    }
}
