//! Sentences and tables for people, from the same types that programs get as JSON.

use std::time::Duration;

use super::layout::{Grid, Page};
use crate::control::rpc::{DenialEntry, VmEntry};
use crate::model::{Direction, Mode, Revision};
use crate::policy::{DropReason, Observed, Tally};
use crate::telemetry::counters::VmCounts;
use crate::telemetry::report::{AuditReport, Both, DaemonReport, Judged, LinkReport, Named, PortReport, Report};
use crate::text::plain;
use crate::vm::explanation::Becomes;
use crate::vm::record::Exception;

/// Which VMs come first, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    /// Rows at most.
    pub(super) top: usize,
    /// By what.
    pub(super) by: Tally,
}

impl Default for Rank {
    fn default() -> Self {
        Self { top: 20, by: Tally::Denied }
    }
}

/// An earlier reading, and how long ago it was.
pub(super) type Before<'a> = Option<(&'a Report, Duration)>;

/// The statistics document as tables.
pub(super) fn report(report: &Report, before: Before<'_>, rank: Rank, page: Page) -> String {
    let mut text = if report.balanced {
        String::new()
    } else {
        page.alarm(&page.wrapped("NOT BALANCED: some received frame was neither forwarded nor counted.", 0)) + "\n\n"
    };
    if let Some(daemon) = &report.daemon {
        text += &(page.wrapped(&serving(daemon), 0) + "\n\n");
        if daemon.mode == Mode::Monitor {
            let words =
                "The box is in monitor mode: no rule is enforced, what would be denied is only counted (would_deny).";
            text += &(page.notice(&page.wrapped(words, 0)) + "\n\n");
        }
        if let Some(trouble) = daemon.store.as_ref().and_then(|store| store.trouble.as_ref()) {
            text += &(page.notice(&page.wrapped(&format!("The store: {}", plain(trouble, 400)), 0)) + "\n\n");
        }
        if let Some(AuditReport { records_lost, trouble }) = &daemon.audit
            && (*records_lost > 0 || trouble.is_some())
        {
            let trouble = trouble.as_ref().map(|trouble| format!(": {}", plain(trouble, 400))).unwrap_or_default();
            let words = format!("The audit log has lost {records_lost} record(s){trouble}");
            text += &(page.notice(&page.wrapped(&words, 0)) + "\n\n");
        }
    }
    text += &links(report, before, page);
    if let Some((before, ago)) = before {
        text += &workers(report, before, ago, page);
    }
    let meanings = DropReason::ALL.map(|it| (it.name(), it.meaning()));
    text += &counted("dropped because", &report.reasons, &meanings, page)
        .unwrap_or_else(|| "\nNothing was dropped.\n".into());
    text +=
        &counted("forwarded, but would be dropped because", &report.would_deny, &meanings, page).unwrap_or_default();
    text +=
        &counted("forwarded, but noted", &report.observed, &Observed::ALL.map(|it| (it.name(), it.meaning())), page)
            .unwrap_or_default();
    text += &vms(report, rank, page);
    if report.log_lines_lost > 0 {
        text += &page.notice(&format!("\n{} lines of the log could not be written.\n", report.log_lines_lost));
    }
    if report.balanced {
        text += &format!("\n{}\n", page.wrapped("Every received frame was forwarded or counted under one reason.", 0));
    }
    text
}

/// The daemon itself, in a sentence.
fn serving(daemon: &DaemonReport) -> String {
    let DaemonReport { boot, uptime_s, table, changes, store, mode: _, audit: _ } = daemon;
    let mut text = format!("Up {}, boot {boot}; ", duration(*uptime_s));
    text += &format!("{} of {} VMs, {} of {} keys", table.vms, table.vms_max, table.keys, table.keys_max);
    if changes.count > 0 {
        text +=
            &format!("; {} changes, in force after {} us (99 %: {} us)", changes.count, changes.p50_us, changes.p99_us);
    }
    text += match store {
        Some(store) if store.durable => "; all of it on disk",
        Some(_) => "; NOT all of it on disk",
        None => "; nothing on disk (no `store.path`)",
    };
    text + "."
}

/// `3 d 4 h`, `4 h 5 min`, `5 min`, `6 s`.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// What entered and what left, one direction of a link.
fn flow(link: &LinkReport, direction: Direction) -> (u64, u64) {
    match direction {
        Direction::Egress => (link.inside.rx, link.outside.tx),
        Direction::Ingress => (link.outside.rx, link.inside.tx),
    }
}

fn links(report: &Report, before: Before<'_>, page: Page) -> String {
    let header = ["link", "received", "forwarded", "dropped", "received/s", "dropped/s"];
    let mut grid = Grid::new(if before.is_some() { &header } else { &header[..4] }, 1..header.len());
    for (name, link) in report.links.iter() {
        let name = plain(name, 64);
        for (way, direction) in [("from VMs", Direction::Egress), ("to VMs", Direction::Ingress)] {
            let (rx, tx) = flow(link, direction);
            let mut cells =
                vec![format!("{name}, {way}"), rx.to_string(), tx.to_string(), rx.saturating_sub(tx).to_string()];
            if let Some((before, ago)) = before {
                let earlier =
                    before.links.iter().find(|(other, _)| *other == name).map(|(_, link)| flow(link, direction));
                let (rx_then, tx_then) = earlier.unwrap_or((rx, tx));
                let dropped = rx.saturating_sub(tx).saturating_sub(rx_then.saturating_sub(tx_then));
                cells.extend([rx.saturating_sub(rx_then), dropped].map(|frames| rate(frames, ago)));
            }
            grid.row(cells);
        }
    }
    let mut text = format!("Frames\n{}\n", grid.show(page));
    for (name, link) in report.links.iter() {
        for (side, port) in [("inside", &link.inside), ("outside", &link.outside)] {
            text += &port_lines(&format!("{}, {side}", plain(name, 64)), port, page);
        }
    }
    text
}

/// How busy each worker was between two readings.
fn workers(report: &Report, before: &Report, ago: Duration, page: Page) -> String {
    let mut grid = Grid::new(&["worker", "busy", "received/s", "frames a burst", "ns a frame"], 1..5);
    for (at, (now, then)) in report.workers.iter().zip(&before.workers).enumerate() {
        let [busy_ns, frames, bursts] = [
            now.busy_ns.saturating_sub(then.busy_ns),
            report.received_by(at).saturating_sub(before.received_by(at)),
            now.bursts().saturating_sub(then.bursts()),
        ];
        let percent = (u128::from(busy_ns) * 100 / ago.as_nanos().max(1)).min(100);
        let each = |sum: u64, count: u64| match count {
            0 => "-".to_owned(),
            count => format!("{:.1}", sum as f64 / count as f64),
        };
        grid.row([
            at.to_string(),
            format!("{percent} %"),
            rate(frames, ago),
            each(frames, bursts),
            each(busy_ns, frames),
        ]);
    }
    if grid.is_empty() { String::new() } else { format!("\n{}\n", grid.show(page)) }
}

/// Frames in a second.
fn rate(frames: u64, time: Duration) -> String {
    let micros = time.as_micros().max(1);
    (u128::from(frames) * 1_000_000 / micros).to_string()
}

/// Its link, and what its driver lost.
fn port_lines(name: &str, port: &PortReport, page: Page) -> String {
    let mut text = String::new();
    if let Some(link) = port.device.link {
        let speed = link.speed_mbps.map_or_else(String::new, |mbps| format!(", {mbps} Mb/s"));
        text += &match (link.up, link.kept_down) {
            (true, _) => format!("{name}: link up{speed}"),
            (false, true) => {
                page.notice(&page.wrapped(&format!("{name}: link kept down, because the other side has none"), 2))
            }
            (false, false) => page.alarm(&format!("{name}: no link")),
        };
        text.push('\n');
    }
    for (counter, frames) in port.device.losses.named() {
        if frames > 0 {
            text += &page.notice(&page.wrapped(&format!("{name}: {frames} frames lost by the driver ({counter})"), 2));
            text.push('\n');
        }
    }
    text
}

/// What is not 0, with its meaning.
fn counted(title: &'static str, counts: &Both<Named<u64>>, names: &[(&str, &str)], page: Page) -> Option<String> {
    let mut grid = Grid::new(&[title, "from VMs", "to VMs", "meaning"], 1..3).with_prose();
    let number = |direction, name: &str| {
        counts.way(direction).iter().find_map(|(other, &count)| (other == name).then_some(count)).unwrap_or(0)
    };
    for &(name, meaning) in names {
        let frames = Direction::ALL.map(|direction| number(direction, name));
        if frames.iter().any(|&frames| frames > 0) {
            grid.row([name.into(), frames[0].to_string(), frames[1].to_string(), meaning.into()]);
        }
    }
    (!grid.is_empty()).then(|| format!("\n{}\n", grid.show(page)))
}

fn tallies(counts: &VmCounts) -> [String; 4] {
    [counts.allowed, counts.denied, counts.excepted, counts.would_deny].map(|frames| frames.to_string())
}

/// VMs of which some frame was judged, those with most of what is asked for first; the unknown ones last.
fn vms(report: &Report, rank: Rank, page: Page) -> String {
    let mut grid = Grid::new(&["judged frames of", "allowed", "denied", "excepted", "would deny"], 1..5);
    let mut known: Vec<(&str, &Judged)> = report.vms.iter().filter(|(_, judged)| !judged.is_zero()).collect();
    known.sort_by_key(|(_, judged)| std::cmp::Reverse(judged.tallied(rank.by))); // Equal ones stay in the order of ids.
    let more = known.len() > rank.top;
    let unknown = [("(unknown VMs)", &report.unknown)];
    for (id, judged) in known.into_iter().take(rank.top).chain(unknown) {
        for (way, counts) in [("from", &judged.egress), ("to", &judged.ingress)] {
            if *counts != VmCounts::default() {
                grid.row([format!("{way} {}", plain(id, 64))].into_iter().chain(tallies(counts)));
            }
        }
    }
    match (grid.is_empty(), more) {
        (true, _) => "\nNo frame had to be judged by its VM.\n".into(),
        (_, false) => format!("\n{}\n", grid.show(page)),
        (_, true) => format!("\n{}\n… and more VMs; --json has them all.\n", grid.show(page)),
    }
}

/// One VM: record, class, mode, counters, and what was denied to it.
pub(super) fn vm(entry: &VmEntry, denied: &[DenialEntry], page: Page) -> String {
    let vm = &entry.vm;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text += &page.wrapped(&format!("{name:12} {value}"), 13);
        text.push('\n');
    };
    line("id", &plain(&vm.id.to_string(), 64));
    line("macs", &list(&vm.macs, usize::MAX));
    line("ips", &list(&vm.ips, usize::MAX));
    if let Some(address) = vm.public_ipv4 {
        line("public_ipv4", &address.to_string());
    }
    line("scope", &vm.scope.0.to_string());
    if let Some(tenant) = &vm.tenant {
        line("tenant", &plain(tenant, 128));
    }
    if let Some(class) = &vm.class {
        line("class", &plain(class, 64));
    }
    line("mode", vm.mode.name());
    for exception in &vm.exceptions {
        line("exception", &exception_line(exception));
    }
    if let Some(note) = &vm.note {
        line("note", &plain(note, 1024));
    }
    line("etag", &entry.etag.to_string());
    line("judged by", &plain(&entry.effective_class, 64));
    if entry.effective_mode == Mode::Monitor {
        let words = "In monitor mode: what its class closes is counted and forwarded all the same.";
        text += &page.notice(&page.wrapped(words, 0));
        text.push('\n');
    }
    let mut grid = Grid::new(&["judged frames", "allowed", "denied", "excepted", "would deny"], 1..5);
    for (way, counts) in [("from it", &entry.counters.egress), ("to it", &entry.counters.ingress)] {
        grid.row([way.to_owned()].into_iter().chain(tallies(counts)));
    }
    text += &format!("\n{}\n", grid.show(page));
    for denial in denials(denied, "it") {
        text += &page.wrapped(&denial, 2);
        text.push('\n');
    }
    text
}

/// `12 frames from it to port 25 dropped (port_closed)`, kind by kind.
pub(super) fn denials<'a>(denied: &'a [DenialEntry], who: &'a str) -> impl Iterator<Item = String> + 'a {
    denied.iter().map(move |DenialEntry { direction, verdict, reason, port, frames }| {
        let way = match direction {
            Direction::Egress => "from",
            Direction::Ingress => "to",
        };
        let port = match (port, reason.as_ref()) {
            (Some(port), "reply_closed") => format!(" that came from port {port}"),
            (Some(port), _) => format!(" to port {port}"),
            (None, _) => String::new(),
        };
        let verdict = if *verdict == Becomes::Watched { "only watched" } else { "dropped" };
        format!(
            "{frames} {} {way} {who}{port} {verdict} ({})",
            if *frames == 1 { "frame" } else { "frames" },
            plain(reason, 64)
        )
    })
}

/// `4711: opens 587 towards 192.0.2.25 until 2026-12-01T10:00:00Z; ticket 4711; agreed by phone`
pub(super) fn exception_line(exception: &Exception) -> String {
    let Exception { name, peer, opens, until, reason, ticket } = exception;
    let mut text = format!("{name}: opens {}", plain(&opens.to_string(), 128));
    if let Some(peer) = peer {
        text += &format!(" towards {peer}");
    }
    text += &until.map_or_else(|| ", for good".into(), |until| format!(" until {until}"));
    if let Some(ticket) = ticket {
        text += &format!("; ticket {}", plain(ticket, 256));
    }
    if let Some(reason) = reason {
        text += &format!("; {}", plain(reason, 256));
    }
    text
}

/// VMs, one a row.
pub(super) fn vms_listed(vms: &[VmEntry], revision: Revision, page: Page) -> String {
    let header = ["VM", "class", "MACs", "addresses", "public", "scope", "mode", "denied"];
    let mut grid = Grid::new(&header, 7..8);
    for entry in vms {
        let vm = &entry.vm;
        grid.row([
            plain(&vm.id.to_string(), 64),
            plain(&entry.effective_class, 64),
            list(&vm.macs, 2),
            list(&vm.ips, 2),
            vm.public_ipv4.map_or_else(|| "-".into(), |address| address.to_string()),
            vm.scope.0.to_string(),
            entry.effective_mode.name().into(),
            entry.counters.egress.denied.saturating_add(entry.counters.ingress.denied).to_string(),
        ]);
    }
    format!("{}\n{} VM(s), revision {}\n", grid.show(page), vms.len(), revision.0)
}

/// The first of them, and how many more there are.
fn list<T: ToString>(values: &[T], most: usize) -> String {
    let mut words: Vec<String> = values.iter().take(most).map(ToString::to_string).collect();
    if let more @ 1.. = values.len().saturating_sub(most) {
        words.push(format!("and {more} more"));
    }
    if words.is_empty() { "-".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_came_divided_by_the_time_it_took() {
        assert_eq!(rate(1_500, Duration::from_millis(500)), "3000");
        assert_eq!(rate(7, Duration::ZERO), "7000000");
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        assert_eq!((list(&[1, 2, 3], 2), list::<u8>(&[], 2)), ("1, 2, and 1 more".into(), "-".into()));
    }
}
