//! `portcullis history`: who changed what on a running daemon.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::{Map, Value, json};

use super::completions;
use super::remote::Remote;
use crate::control::history::{HistoryAnswer, HistoryEntry};
use crate::failure::Failure;
use crate::text::plain;
use crate::vm::record::VmId;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis history web1                          who changed web1, and when
  portcullis history --json | jq -c '.entries[] | select(.uid != 0)'

The daemon remembers the last 10000 changes of VMs and policy since its start.")]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    remote: Remote,
    /// Of this VM only
    #[arg(add = completions::vm())]
    vm: Option<VmId>,
    /// So many changes, the newest
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Older than the change of this number
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
}

impl HistoryArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let mut params = Map::from_iter([("limit".to_owned(), json!(self.limit))]);
        params.extend(self.vm.as_ref().map(|vm| ("vm".to_owned(), json!(vm))));
        params.extend(self.before.map(|before| ("before".to_owned(), json!(before))));
        let answer = self.remote.call(&mut self.remote.connect()?, "history", &params)?;
        self.remote.answer(answer, shown)
    }
}

/// Oldest first, so that the newest is where the prompt is.
fn shown(answer: &HistoryAnswer) -> String {
    let mut lines: Vec<String> = answer.entries.iter().rev().map(line).collect();
    if let Some(next) = answer.next {
        lines.insert(0, format!("(older ones: --before {next})"));
    }
    if lines.is_empty() {
        lines.push("nothing that is remembered".to_owned());
    }
    lines.join("\n")
}

pub(super) fn line(entry: &HistoryEntry) -> String {
    let HistoryEntry { revision, at_ms, uid, pid, method, vm, before, after, .. } = entry;
    let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(*at_ms));
    let whose = match vm {
        Some(vm) => vm.to_string(),
        None if before.is_null() && after.is_null() => "nothing".to_owned(),
        None => "policy".to_owned(),
    };
    let method = plain(method, 32);
    format!("{at} revision {} {method} (uid {uid}, pid {pid}) {whose}: {}", revision.0, difference(before, after))
}

/// What is other, member by member.
pub(super) fn difference(before: &Value, after: &Value) -> String {
    let parts = match (before, after) {
        (Value::Null, Value::Null) => Vec::new(),
        (Value::Null, after) => vec![format!("new {}", without_id(after))],
        (_, Value::Null) => vec!["deleted".to_owned()],
        (before, after) => changed("", before, after),
    };
    plain(&parts.join(", "), CHARS_MAX)
}

/// Most characters of what a change did.
const CHARS_MAX: usize = 2_000;

fn without_id(vm: &Value) -> Value {
    let mut vm = vm.clone();
    if let Some(members) = vm.as_object_mut() {
        members.remove("id");
    }
    vm
}

fn changed(path: &str, before: &Value, after: &Value) -> Vec<String> {
    match (before, after) {
        (before, after) if before == after => Vec::new(),
        (Value::Object(before), Value::Object(after)) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort_unstable();
            names.dedup();
            let dot = if path.is_empty() { "" } else { "." };
            let of = |name: &&String| {
                let member = |object: &Map<String, Value>| object.get(*name).cloned().unwrap_or_default();
                changed(&format!("{path}{dot}{name}"), &member(before), &member(after))
            };
            names.iter().flat_map(of).collect()
        }
        (before, after) => vec![format!("{path}: {before} -> {after}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_who_and_what() {
        let entry: HistoryEntry = serde_json::from_value(json!({
            "number": 3, "revision": 7, "at_ms": 1_764_236_400_123_u64, "uid": 0, "pid": 12, "method": "vm.patch", "vm": "web1",
            "before": {"id": "web1", "class": null, "ips": ["10.0.0.5"]}, "after": {"id": "web1", "class": "x", "ips": ["10.0.0.5"]},
        }))
        .unwrap();
        assert_eq!(line(&entry), "2025-11-27T09:40:00Z revision 7 vm.patch (uid 0, pid 12) web1: class: null -> \"x\"");
    }

    #[test]
    fn what_is_other_is_said_by_member() {
        let one = json!({"id": "a", "ips": []});
        assert_eq!(difference(&Value::Null, &one), r#"new {"ips":[]}"#);
        assert_eq!(difference(&one, &Value::Null), "deleted");
        let (was, is) =
            (json!({"class": {"x": {"ports": [1]}}, "p": 1}), json!({"class": {"y": {"ports": [2]}}, "p": 1}));
        assert_eq!(difference(&was, &is), r#"class.x: {"ports":[1]} -> null, class.y: null -> {"ports":[2]}"#);
    }
}
