//! `portcullis apply`: a transaction, many changes of VMs and policy that are made together or not at all.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::change::Only;
use super::history::difference;
use super::remote::Remote;
use crate::control::rpc::{Applied, CONFIRM_SECONDS_MAX, Difference, Rehearsed};
use crate::failure::{Cause, Failure};
use crate::vm::record::Vm;

#[derive(Debug, Args)]
#[command(after_help = "\
A file has one operation a line, or is one JSON array of them:
  {\"method\":\"vm.patch\",\"params\":{\"id\":\"web1\",\"public_ipv4\":null}}
  {\"method\":\"vm.set\",\"params\":{\"id\":\"web2\",\"ips\":[\"10.0.0.6\"],\"public_ipv4\":\"203.0.113.5\"}}
  {\"method\":\"policy.patch\",\"params\":{\"class\":{\"mta-only\":{\"ports\":[465,587]}}}}

Operations are vm.set, vm.patch, vm.delete, policy.set and policy.patch, at most 10000. They are checked together: what
counts is what is true in the end, so two VMs may swap an address. One that cannot be refuses all (exit code 65).

Examples:
  portcullis apply --dry-run changes.jsonl      what would change, and whether it can
  portcullis apply changes.jsonl --confirm 60   undone by itself after a minute, unless `portcullis confirm` comes first
  portcullis apply changes.jsonl --if-revision 42@5f3a0c21")]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    remote: Remote,
    /// The operations; - is standard input
    file: PathBuf,
    /// Change nothing, and show what would change
    #[arg(long)]
    dry_run: bool,
    /// Undo it after this time unless `portcullis confirm` comes first: 60, 90s, 15m, 2h; a day at most
    #[arg(long, value_name = "TIME", value_parser = time)]
    confirm: Option<Duration>,
    #[command(flatten)]
    only: Only,
}

/// A time as people type it: seconds, or with a unit.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs).ok();
    let time = seconds.map_or_else(|| humantime::parse_duration(text), Ok).map_err(|error| error.to_string())?;
    match time.subsec_nanos() == 0 && (1..=CONFIRM_SECONDS_MAX).contains(&time.as_secs()) {
        true => Ok(time),
        false => Err("whole seconds, from 1s to 24h, are possible".into()),
    }
}

impl ApplyArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let operations = read(&self.file)?;
        let count = operations.len();
        let mut params = Map::from_iter([("operations".to_owned(), json!(operations))]);
        if self.dry_run {
            params.insert("dry_run".into(), true.into());
        }
        if let Some(wait) = self.confirm {
            params.insert("confirm_s".into(), wait.as_secs().into());
        }
        self.only.put(&mut params);
        let answer = self.remote.call(&mut self.remote.connect()?, "txn", &params)?;
        if self.dry_run {
            return self.remote.answer(answer, would);
        }
        self.remote.answer(answer, |applied: &Applied| {
            let &Applied { revision, changed, applied_us, confirm_s, .. } = applied;
            let revision = revision.0;
            let mut said = match changed {
                true => {
                    format!("{count} operation(s): revision {revision}, in force on every worker after {applied_us} us")
                }
                false => format!("{count} operation(s): nothing to change, revision {revision}"),
            };
            if let Some(seconds) = confirm_s {
                let wait = humantime::format_duration(Duration::from_secs(seconds));
                said += &format!("\nit is undone in {wait} unless `portcullis confirm` comes first");
            }
            said
        })
    }
}

/// What would change: `+` comes, `-` goes, `~` is other.
fn would(rehearsed: &Rehearsed) -> String {
    let mut lines: Vec<String> = rehearsed.vms.iter().map(vm_line).collect();
    if let Some(Difference { before, after }) = &rehearsed.policy {
        let text = |document: &Option<_>| toml::to_string(document).unwrap_or_default();
        let (before, after) = (text(before), text(after));
        let diff = similar::TextDiff::from_lines(&before, &after);
        lines.push("~ policy".to_owned());
        lines.push(diff.unified_diff().context_radius(1).to_string().trim_end().to_owned());
    }
    let revision = rehearsed.revision.0;
    lines.push(match rehearsed.changed {
        true => format!("nothing was changed (--dry-run); it can be, from revision {revision}@{}", rehearsed.boot),
        false => format!("nothing would change, revision {revision}"),
    });
    lines.join("\n")
}

pub(super) fn vm_line(Difference { before, after }: &Difference<Vm>) -> String {
    let (sign, vm) = match (before, after) {
        (None, Some(vm)) => ('+', vm),
        (Some(vm), None) => ('-', vm),
        (Some(_), Some(vm)) => ('~', vm),
        (None, None) => return String::new(),
    };
    format!("{sign} {}: {}", vm.id, difference(&json!(before), &json!(after)))
}

/// Operations as they are written; what they mean is the daemon's to judge.
fn read(file: &Path) -> Result<Vec<Value>, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|error| Failure::io(Cause::Usage, &error, format_args!("{}: {error}", file.display())))?;
    parse(&text).map_err(|what| Failure::new(Cause::Configuration, format_args!("{}{what}", file.display())))
}

fn parse(text: &str) -> Result<Vec<Value>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| format!(": {error}"));
    }
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let operations: Result<Vec<Value>, String> = lines
        .map(|(number, line)| serde_json::from_str(line).map_err(|error| format!(", line {number}: not JSON: {error}")))
        .collect();
    match operations? {
        none if none.is_empty() => Err(": there is no operation in it".into()),
        operations => Ok(operations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::record::VmSet;

    #[test]
    fn operations_are_lines_or_an_array() {
        let one = r#"{"method":"vm.delete","params":{"id":"a"}}"#;
        let operation: Value = serde_json::from_str(one).unwrap();
        assert_eq!(parse(&format!("{one}\n\n{one}\r\n")).unwrap(), [operation.clone(), operation.clone()]);
        assert_eq!(parse(&format!("[{one},\n{one}]")).unwrap(), [operation.clone(), operation]);
        assert_eq!(parse(" \n").unwrap_err(), ": there is no operation in it");
        assert!(parse(&format!("{one}\n{{")).unwrap_err().starts_with(", line 2: not JSON"));
    }

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        for (text, seconds) in [("60", 60), ("90s", 90), ("15m", 900), ("1h 30m", 5400), ("24h", 86_400)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "-1", "1.5", "500ms", "25h", "x", "18446744073709551615"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_change_is_said_by_member() {
        let vm =
            |json: &str| Some(std::sync::Arc::new(serde_json::from_str::<VmSet>(json).unwrap().onto(None).unwrap()));
        let (a, b) = (vm(r#"{"id":"a","ips":["10.0.0.5"]}"#), vm(r#"{"id":"a","ips":["10.0.0.5"],"class":"x"}"#));
        let line = |before, after| vm_line(&Difference { before, after });
        assert_eq!(line(a.clone(), b.clone()), r#"~ a: class: null -> "x""#);
        assert_eq!(line(a, None), "- a: deleted");
        assert!(line(None, b).starts_with(r#"+ a: new {"class":"x","ips":["10.0.0.5"]"#));
    }
}
