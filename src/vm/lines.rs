//! VM records as JSON Lines: one [`VmSet`] a line, blank lines skipped.

use std::collections::HashMap;

use super::record::{VmId, VmSet};
use crate::text::suggestion;

/// Most bytes of one line; a full record has some 5 KiB.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct LineError {
    /// From 1.
    pub line: usize,
    /// Field, problem, remedy.
    pub message: String,
}

/// Reads one line.
///
/// # Errors
/// Field, problem and remedy.
pub fn parse_line(line: &[u8]) -> Result<VmSet, String> {
    // The line number inside a line is always 1; the column helps.
    read(line, |message| message.replace(" at line 1 column ", ", column "))
}

/// Reads a record that nobody wrote as JSON, so that places in it say nothing.
///
/// # Errors
/// Field, problem and remedy.
pub fn parse_made(json: &[u8]) -> Result<VmSet, String> {
    read(json, |message| message.rsplit_once(" at line ").map_or(message, |(message, _)| message).to_owned())
}

fn read(line: &[u8], placed: impl Fn(&str) -> String) -> Result<VmSet, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line has {} bytes; at most {LINE_BYTES_MAX} are possible", line.len()));
    }
    let mut json = serde_json::Deserializer::from_slice(line);
    let set: VmSet = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, inner) = (error.path().to_string(), placed(&error.inner().to_string()));
        let field = if path == "." { String::new() } else { format!("{path}: ") };
        format!("{field}{inner}{}", suggestion(&inner, &[]))
    })?;
    json.end().map_err(|_| "there is more behind the record; write one record a line".to_owned())?;
    Ok(set)
}

/// Reads every line of a file: what is good of it, with numbers, and what is wrong with the others. An id may stand there
/// once; where it stands again, that line is wrong.
#[must_use]
pub fn parse(text: &[u8]) -> (Vec<(usize, VmSet)>, Vec<LineError>) {
    let (mut sets, mut errors) = (Vec::new(), Vec::new());
    let mut seen: HashMap<VmId, usize> = HashMap::new();
    for (at, bytes) in text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).split(|&byte| byte == b'\n').enumerate() {
        let (line, bytes) = (at + 1, bytes.trim_ascii());
        if bytes.is_empty() {
            continue;
        }
        match parse_line(bytes) {
            Ok(set) => match seen.get(&set.id) {
                Some(first) => {
                    let message = format!("VM {} stands in line {first} already", set.id);
                    errors.push(LineError { line, message });
                }
                None => {
                    seen.insert(set.id.clone(), line);
                    sets.push((line, set));
                }
            },
            Err(message) => errors.push(LineError { line, message }),
        }
    }
    (sets, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(text: &[u8]) -> Vec<(usize, VmSet)> {
        let (sets, errors) = parse(text);
        assert_eq!(errors, []);
        sets
    }

    #[test]
    fn blank_lines_and_line_ends_of_both_kinds_are_fine() {
        let sets = good(b"{\"id\":\"a\",\"ips\":[\"10.0.0.5\"]}\r\n\n  \n{\"id\":\"b\",\"ips\":[\"10.0.0.6\"]}");
        assert_eq!(sets.iter().map(|(line, set)| (*line, set.id.as_str())).collect::<Vec<_>>(), [(1, "a"), (4, "b")]);
        assert_eq!(good(b""), []);
        let marked = good(b"\xef\xbb\xbf{\"id\":\"a\",\"ips\":[\"10.0.0.5\"]}\r\n");
        assert_eq!(marked.len(), 1, "a byte order mark is no part of the first line");
        assert_eq!(good(b"\xef\xbb\xbf"), []);
    }

    #[test]
    fn an_error_names_line_field_and_remedy() {
        for (text, part) in [
            (r#"{"id":"a","macs":["52:54:00:00:00:01","x"]}"#, "line 2: macs[1]: `x` is not a MAC address"),
            (r#"{"id":"a","ip":["10.0.0.5"]}"#, "did you mean `ips`?"),
            (r#"{"id":"a","ips":["10.0.0.5/24"]}"#, "line 2: ips[0]: `10.0.0.5/24` has bits set"),
            (r#"{"id":"a b"}"#, "line 2: id: `a b` is not a VM id"),
            (r#"{"id":"a"} {"id":"b"}"#, "one record a line"),
            (r#"{"id":"a","id":"b"}"#, "duplicate field `id`"),
            (r#"{"id":"a""#, "line 2: "),
            (r#"{"macs":[]}"#, "missing field `id`"),
            (r#"{"id":"first","ips":["10.0.0.6"]}"#, "line 2: VM first stands in line 1 already"),
            (r#"{"id":"a","scope":65536}"#, "line 2: scope: "),
            (r#"{"id":"a","mode":"monitr"}"#, "did you mean `monitor`?"),
            ("\"a\u{0}\"", "line 2: "),
            ("[1e999]", "line 2: "),
        ] {
            let file = format!("{{\"id\":\"first\",\"ips\":[\"10.0.0.1\"]}}\n{text}\n");
            let (good, errors) = parse(file.as_bytes());
            let [error] = errors.as_slice() else { panic!("{text} gave {errors:?}") };
            let error = error.to_string();
            assert_eq!(good.len(), 1, "the first line is good all the same");
            assert!(error.contains(part), "{text} gave {error}");
        }
        assert_eq!(parse(b"\xff\xfe").1.len(), 1, "not UTF-8");
    }

    #[test]
    fn depth_is_limited() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.get(..60_000).unwrap().as_bytes()).1.len(), 1);
        assert!(parse(deep.as_bytes()).1[0].message.contains("at most"));
    }
}
