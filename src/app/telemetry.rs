//! What the box says on DPDK's telemetry socket: the numbers of the statistics, in the shape that telemetry takes.

use std::sync::Arc;

use dpdk::telemetry::{Answer, Answerer, Served, Value};
use dpdk::{Eal, Error};

use crate::config::Shown;
use crate::control::reading::{self, Source};
use crate::control::rpc::{Answer as Answered, Call, DropEntry, WantedDrops};
use crate::metrics::Scrape;
use crate::model::Direction;
use crate::policy::Tally;
use crate::telemetry::report::{Both, Judged, LinkReport, Named, PortReport, Report};
use crate::vm::record::VmId;

/// How many of the last drops are told.
const DROPS: usize = 100;

/// Answers `/portcullis/...` from `source`, until what is returned is dropped.
///
/// # Errors
/// DPDK does not take the commands.
pub fn serve<S>(eal: &Eal, source: S) -> Result<Served, Error>
where
    S: Source + Clone + Send + Sync + 'static,
{
    let answerer = |answer: fn(&S, Option<&str>) -> Option<Answer>| -> Answerer {
        let source = source.clone();
        Arc::new(move |parameters| answer(&source, parameters))
    };
    Served::new(
        eal,
        vec![
            ("/portcullis/info", "What runs. No parameters", answerer(|source, _| Some(info(&taken(source)?)))),
            (
                "/portcullis/stats",
                "Frames by reason. No parameters",
                answerer(|source, _| Some(stats(&taken(source)?.report))),
            ),
            ("/portcullis/link", "Counters of a link's ports. Parameters: int number, from 0", answerer(link)),
            ("/portcullis/worker", "How busy a worker is. Parameters: int number, from 0", answerer(worker)),
            ("/portcullis/vm", "Judged frames of a VM. Parameters: string id", answerer(vm)),
            ("/portcullis/drops", "The last drops, last first. No parameters", answerer(|source, _| drops(source))),
        ],
    )
}

fn taken(source: &impl Source) -> Option<Scrape> {
    Scrape::take(source, Shown::Top(0)).ok()
}

fn number(name: &str, number: u64) -> (String, Value) {
    (name.to_owned(), Value::Number(number))
}

fn text(name: &str, text: impl Into<String>) -> (String, Value) {
    (name.to_owned(), Value::Text(text.into()))
}

fn info(scrape: &Scrape) -> Answer {
    let Scrape { report, health, dpdk } = scrape;
    let mut members = vec![
        text("version", crate::VERSION),
        text("dpdk", dpdk.clone().unwrap_or_default()),
        text("boot", health.boot.to_string()),
        number("revision", report.revision.0),
        number("uptime_s", health.uptime_s),
        number("links", report.links.iter().count() as u64),
        number("workers", report.workers.len() as u64),
        number("healthy", health.healthy.into()),
    ];
    if let Some(daemon) = &report.daemon {
        members.push(text("mode", daemon.mode.name()));
        members.push(number("table/vms", daemon.table.vms.into()));
        members.push(number("table/keys", daemon.table.keys.into()));
        members.push(number("table/keys_max", daemon.table.keys_max.into()));
    }
    Answer::Members(members)
}

fn stats(report: &Report) -> Answer {
    let mut members = vec![number("balanced", report.balanced.into())];
    for (group, counts) in
        [("reasons", &report.reasons), ("would_deny", &report.would_deny), ("observed", &report.observed)]
    {
        members.extend(named(group, counts));
    }
    members.extend(judged("unknown/", &report.unknown));
    Answer::Members(members)
}

fn named<'a>(group: &'a str, counts: &'a Both<Named<u64>>) -> impl Iterator<Item = (String, Value)> + 'a {
    Direction::ALL.into_iter().flat_map(move |way| {
        counts.way(way).iter().map(move |(name, &count)| number(&format!("{group}/{}/{name}", way.name()), count))
    })
}

fn judged(prefix: &str, judged: &Judged) -> Vec<(String, Value)> {
    let member = |(way, tally, frames): (Direction, Tally, u64)| {
        number(&format!("{prefix}{}/{}", way.name(), tally.name()), frames)
    };
    judged.each().map(member).collect()
}

fn link(source: &impl Source, parameters: Option<&str>) -> Option<Answer> {
    let at: usize = parameters?.parse().ok()?;
    let report = taken(source)?.report;
    let (name, LinkReport { inside, outside }) = report.links.iter().nth(at)?;
    let mut members = vec![text("name", name)];
    for (side, port) in [("inside", inside), ("outside", outside)] {
        let PortReport { rx, tx, device, rx_by_worker: _ } = port;
        let restored = ("rx_tags_restored", device.rx_tags_restored);
        let counts = [("rx", *rx), ("tx", *tx), restored].into_iter().chain(device.losses.named());
        members.extend(counts.map(|(name, count)| number(&format!("{side}/{name}"), count)));
        if let Some(link) = device.link {
            members.push(number(&format!("{side}/up"), link.up.into()));
        }
    }
    Some(Answer::Members(members))
}

fn worker(source: &impl Source, parameters: Option<&str>) -> Option<Answer> {
    let at: usize = parameters?.parse().ok()?;
    let report = taken(source)?.report;
    let load = report.workers.get(at)?;
    let bursts = load.bursts.iter().map(|(most, &count)| number(&format!("bursts/{most}"), count));
    let mut members = vec![
        number("rx", report.received_by(at)),
        number("turns", load.turns),
        number("turns_empty", load.turns_empty),
        number("busy_ns", load.busy_ns),
    ];
    members.extend(bursts);
    Some(Answer::Members(members))
}

fn vm(source: &impl Source, parameters: Option<&str>) -> Option<Answer> {
    let id: VmId = parameters?.parse().ok()?;
    let Answered::Vm(answer) = reading::answer(source, Call::VmGet { id }).ok()? else { return None };
    let mut members =
        vec![text("class", &*answer.entry.effective_class), text("mode", answer.entry.effective_mode.name())];
    members.extend(judged("", &answer.entry.counters));
    Some(Answer::Members(members))
}

fn drops(source: &impl Source) -> Option<Answer> {
    let wanted = WantedDrops { limit: DROPS, ..WantedDrops::default() };
    let Answered::Drops(answer) = reading::answer(source, Call::DropList(wanted)).ok()? else { return None };
    Some(Answer::Lines(answer.drops.iter().map(line).collect()))
}

/// When, why, whose, to where.
fn line(drop: &DropEntry) -> String {
    let vm = drop.vm.as_ref().map_or("-", |vm| vm.as_str());
    let peer = drop.peer.map_or_else(|| "-".into(), |peer| peer.to_string());
    let port = drop.destination_port.map_or_else(String::new, |port| format!(" port {port}"));
    format!("{} {} {} {vm} {peer}{port}", drop.at, drop.direction.name(), drop.reason)
}
