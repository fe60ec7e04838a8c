//! Tables for people, from the same documents that programs get.

use comfy_table::TableComponent::{
    HorizontalLines, LeftBorderIntersections, MiddleIntersections, RightBorderIntersections,
};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::policy::{DropReason, Observed};
use crate::text::plain;

const TALLIES: [&str; 4] = ["allowed", "denied", "excepted", "would_deny"];

/// The statistics document as tables.
pub(super) fn report(document: &Value) -> String {
    let mut text = links(document);
    text += &reasons(document);
    text += &observed(document);
    text += &vms(document);
    text += match at(document, &["balanced"]).as_bool() {
        Some(true) => "\nEvery received frame was forwarded or counted under one reason.\n",
        _ => "\nNOT BALANCED: some received frame was neither forwarded nor counted.\n",
    };
    text
}

fn links(document: &Value) -> String {
    let mut table = table(&["link", "received", "forwarded", "dropped"]);
    for (name, link) in members(at(document, &["links"])) {
        for (way, from, to) in [("from VMs", "inside", "outside"), ("to VMs", "outside", "inside")] {
            let (rx, tx) = (number(at(link, &[from, "rx"])), number(at(link, &[to, "tx"])));
            row(&mut table, &format!("{name}, {way}"), &[rx, tx, rx.saturating_sub(tx)]);
        }
    }
    let mut text = format!("Frames\n{table}\n");
    for (name, link) in members(at(document, &["links"])) {
        for side in ["inside", "outside"] {
            let lost = ["rx_missed", "rx_no_mbuf", "rx_errors", "tx_errors", "rx_too_long", "rx_tags_lost"];
            let lost: Vec<_> =
                lost.iter().map(|&key| (key, number(at(link, &[side, key])))).filter(|&(_, n)| n > 0).collect();
            for (key, frames) in lost {
                text += &format!("{name}, {side}: {frames} frames lost by the driver ({key})\n");
            }
        }
    }
    text
}

fn reasons(document: &Value) -> String {
    let reasons = at(document, &["reasons"]);
    let mut table = table(&["dropped because", "from VMs", "to VMs", "meaning"]);
    let mut any = false;
    for reason in DropReason::ALL {
        let counts = both(reasons, reason.name());
        if counts.iter().any(|&n| n > 0) {
            any = true;
            row_with(&mut table, reason.name(), &counts, reason.meaning());
        }
    }
    if any { format!("\n{table}\n") } else { "\nNothing was dropped.\n".into() }
}

fn observed(document: &Value) -> String {
    let mut table = table(&["forwarded, but noted", "from VMs", "to VMs", "meaning"]);
    let mut any = false;
    for observed in Observed::ALL {
        let counts = both(at(document, &["observed"]), observed.name());
        if counts.iter().any(|&n| n > 0) {
            any = true;
            row_with(&mut table, observed.name(), &counts, observed.meaning());
        }
    }
    if any { format!("\n{table}\n") } else { String::new() }
}

/// VMs of which some frame was judged; the unknown one last.
fn vms(document: &Value) -> String {
    const LISTED_MAX: usize = 40;
    let mut table = table(&["judged frames of", "allowed", "denied", "excepted", "would deny"]);
    let (mut listed, mut more) = (0, 0);
    let unknown = [("(unknown VMs)", at(document, &["unknown"]))];
    let known = members(at(document, &["vms"]));
    for (id, judged) in known.iter().map(|(id, judged)| (id.as_str(), *judged)).chain(unknown) {
        for (way, direction) in [("from", "egress"), ("to", "ingress")] {
            let counts =
                ["allowed", "denied", "excepted", "would_deny"].map(|key| number(at(judged, &[direction, key])));
            if counts.iter().all(|&n| n == 0) {
                continue;
            }
            if listed == LISTED_MAX {
                more += 1;
                continue;
            }
            listed += 1;
            row(&mut table, &format!("{way} {id}"), &counts);
        }
    }
    match (listed, more) {
        (0, _) => "\nNo frame had to be judged by its VM.\n".into(),
        (_, 0) => format!("\n{table}\n"),
        (_, more) => format!("\n{table}\n… and {more} more rows; --json has them all.\n"),
    }
}

/// What stands at a path of members; `null` when nothing does.
fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(value, |value, name| value.get(name)).unwrap_or(&Value::Null)
}

/// One VM: record, class, counters.
pub(super) fn vm(answer: &Value) -> String {
    let record = at(answer, &["vm"]);
    let mut text = String::new();
    for (name, value) in members(record) {
        if !value.is_null() {
            text += &format!("{name:12} {}\n", words(value));
        }
    }
    text += &format!("{:12} {}\n", "judged by", words(at(answer, &["effective_class"])));
    let mut table = table(&["judged frames", "allowed", "denied", "excepted", "would deny"]);
    for (way, direction) in [("from it", "egress"), ("to it", "ingress")] {
        let counts = TALLIES.map(|key| number(at(answer, &["counters", direction, key])));
        row(&mut table, way, &counts);
    }
    text + &format!("\n{table}\n")
}

/// VMs, one a row.
pub(super) fn vms_listed(answer: &Value) -> String {
    let mut table = table(&["VM", "class", "MACs", "addresses", "public", "scope", "mode", "denied"]);
    let vms = at(answer, &["vms"]).as_array().map(Vec::as_slice).unwrap_or_default();
    for entry in vms {
        let field = |name: &str| words(at(entry, &["vm", name]));
        let denied: u64 = ["egress", "ingress"].iter().map(|way| number(at(entry, &["counters", way, "denied"]))).sum();
        let class = words(at(entry, &["effective_class"]));
        table.add_row([
            field("id"),
            class,
            field("macs"),
            field("ips"),
            field("public_ipv4"),
            field("scope"),
            field("mode"),
            denied.to_string(),
        ]);
    }
    format!("{table}\n{} VM(s), revision {}\n", vms.len(), number(at(answer, &["revision"])))
}

/// A value as people read it, safe for a terminal.
fn words(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => plain(text, 200),
        Value::Array(values) if values.is_empty() => "-".into(),
        Value::Array(values) => values.iter().map(words).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}

fn members(object: &Value) -> Vec<(&String, &Value)> {
    object.as_object().into_iter().flatten().collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn both(object: &Value, name: &str) -> [u64; 2] {
    ["egress", "ingress"].map(|direction| number(at(object, &[direction, name])))
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    // Lines around the table and under the header only.
    for line in [HorizontalLines, MiddleIntersections, LeftBorderIntersections, RightBorderIntersections] {
        table.remove_style(line);
    }
    table.set_header(header);
    table
}

fn row(table: &mut Table, name: &str, counts: &[u64]) {
    row_with(table, name, counts, "");
}

fn row_with(table: &mut Table, name: &str, counts: &[u64], meaning: &str) {
    let mut cells = vec![Cell::new(name)];
    cells.extend(counts.iter().map(|&n| Cell::new(n).set_alignment(CellAlignment::Right)));
    if !meaning.is_empty() {
        cells.push(Cell::new(meaning));
    }
    table.add_row(cells);
}
