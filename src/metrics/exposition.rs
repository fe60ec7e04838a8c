//! Every metric: its name, what it means, and where in a [`Scrape`] it stands.

use super::families::{Families, Sample};
use super::{Scrape, process};
use crate::control::health::Problem;
use crate::model::{Direction, Mode};
use crate::policy::Tally;
use crate::telemetry::load::LoadReport;
use crate::telemetry::report::{Both, DaemonReport, Judged, Named, PortLosses, PortReport, Report};

/// The text that Prometheus reads.
pub(super) fn text(scrape: &Scrape) -> Vec<u8> {
    families(scrape).text()
}

fn families(scrape: &Scrape) -> Families {
    let mut families = Families::default();
    about(&mut families, scrape);
    let report = &scrape.report;
    frames(&mut families, report);
    ports(&mut families, report);
    workers(&mut families, report);
    if let Some(daemon) = &report.daemon {
        control(&mut families, daemon);
    }
    process::add(&mut families);
    families
}

/// The box as a whole.
fn about(families: &mut Families, Scrape { report, health, dpdk }: &Scrape) {
    let versions = [("version", crate::VERSION), ("dpdk", dpdk.as_deref().unwrap_or_default())];
    families.gauges("portcullis_build_info", "1; its labels are versions.", [Sample::new(versions, 1.0)]);
    families.gauge("portcullis_uptime_seconds", "Since the process serves its control socket.", health.uptime_s as f64);
    families.gauge(
        "portcullis_revision",
        "Number of the last change of VMs or policy that is in force.",
        report.revision.0 as f64,
    );
    let is_monitor = report.daemon.as_ref().is_some_and(|daemon| daemon.mode == Mode::Monitor);
    families.gauge("portcullis_monitor_mode", "1 if the box denies nothing and only counts what it would.", is_monitor);
    families.gauge(
        "portcullis_balanced",
        "1 if every received frame was sent or counted under one reason; 0 is a fault of ours.",
        report.balanced,
    );
    families.counters(
        "portcullis_log_lines_lost_total",
        "Lines of the log that could not be written.",
        [Sample::count([], report.log_lines_lost)],
    );
    let help = "1 for each kind of problem that `portcullis health` names.";
    let found = |kind| health.problems.iter().any(|problem| problem.kind() == kind);
    let problem = |kind| Sample::count([("kind", kind)], u64::from(found(kind)));
    families.gauges("portcullis_problem", help, Problem::KINDS.map(problem));
    families.gauge(
        "portcullis_unconfirmed",
        "1 while a change waits to be confirmed and will be undone if it is not.",
        health.unconfirmed.is_some(),
    );
}

/// What became of frames.
fn frames(families: &mut Families, report: &Report) {
    let by_name = |label: &'static str, counts: &Both<Named<u64>>| {
        let one_way = |direction: Direction| {
            let named = counts.way(direction).iter();
            named
                .map(move |(name, &count)| Sample::count([("direction", direction.name()), (label, name)], count))
                .collect()
        };
        Direction::ALL.map(one_way).into_iter().flat_map(|samples: Vec<Sample>| samples).collect::<Vec<Sample>>()
    };
    families.counters(
        "portcullis_dropped_frames_total",
        "Dropped frames of all links, by the reason.",
        by_name("reason", &report.reasons),
    );
    families.counters(
        "portcullis_would_deny_frames_total",
        "Frames of all links that were forwarded because they are only watched, by the reason that they would have been \
         dropped for.",
        by_name("reason", &report.would_deny),
    );
    families.counters(
        "portcullis_observed_frames_total",
        "Frames of all links on which something was seen beside, and answers that the box made.",
        by_name("observation", &report.observed),
    );
    families.counters(
        "portcullis_unknown_frames_total",
        "Judged frames that no VM answers for.",
        report
            .unknown
            .each()
            .map(|(way, tally, count)| Sample::count([("direction", way.name()), ("tally", tally.name())], count)),
    );
    let of_vm = |(id, judged): (&str, &Judged)| {
        let sample = |(way, tally, count): (Direction, Tally, u64)| {
            Sample::count([("vm", id), ("direction", way.name()), ("tally", tally.name())], count)
        };
        judged.each().map(sample).collect::<Vec<_>>()
    };
    families.counters(
        "portcullis_vm_frames_total",
        "Judged frames of a VM. Only VMs of which some were judged, and of those the ones to which most were denied: as many \
         as `metrics.vms` says.",
        report.vms.iter().flat_map(of_vm),
    );
}

/// Every port, with the labels that tell it.
fn each_port<'a, T>(
    report: &'a Report,
    of: impl Fn([(&'a str, &'a str); 2], &'a PortReport) -> T + 'a,
) -> impl Iterator<Item = T> + 'a {
    let links = report.links.iter();
    let ports = links.flat_map(|(name, link)| [(name, "inside", &link.inside), (name, "outside", &link.outside)]);
    ports.map(move |(link, side, port)| of([("link", link), ("side", side)], port))
}

/// What ports and their drivers say.
fn ports(families: &mut Families, report: &Report) {
    families.counters(
        "portcullis_port_rx_frames_total",
        "Frames that the driver of a port handed over.",
        each_port(report, |labels, port| Sample::count(labels, port.rx)),
    );
    families.counters(
        "portcullis_port_tx_frames_total",
        "Frames that the driver of a port took, answers of the box apart.",
        each_port(report, |labels, port| Sample::count(labels, port.tx)),
    );
    // In the order of `PortLosses::named`.
    let meanings = [
        "Frames that found no receive descriptor free: the box is too slow.",
        "Frames that found no packet buffer free.",
        "Frames that the device received damaged or refused.",
        "Frames that failed on their way out.",
        "Frames longer than the port takes, as far as the driver tells; mostly among rx_errors too.",
        "Frames without a VLAN tag that the device had taken off, dropped because they had no room to get it back.",
    ];
    for (at, ((name, _), help)) in PortLosses::default().named().into_iter().zip(meanings).enumerate() {
        let name = format!("portcullis_port_{name}_frames_total");
        let lost = |port: &PortReport| port.device.losses.named().get(at).map_or(0, |&(_, frames)| frames);
        families.counters(&name, help, each_port(report, |labels, port| Sample::count(labels, lost(port))));
    }
    families.counters(
        "portcullis_port_rx_tags_restored_frames_total",
        "Frames that got a VLAN tag back which the device had taken off unasked.",
        each_port(report, |labels, port| Sample::count(labels, port.device.rx_tags_restored)),
    );
    let of_driver = each_port(report, |[link, side], port| {
        let counters = port.device.driver.iter();
        counters.map(|(name, &count)| Sample::count([link, side, ("counter", name)], count)).collect::<Vec<_>>()
    });
    families.counters(
        "portcullis_port_driver_frames_total",
        "What the driver counts of lost and wrong frames by names of its own, where it is not 0.",
        of_driver.flatten(),
    );
    let link = |of: fn(crate::telemetry::report::LinkState) -> Option<f64>| {
        each_port(report, move |labels, port| Some(Sample::new(labels, of(port.device.link?)?))).flatten()
    };
    families.gauges(
        "portcullis_port_link_up",
        "1 if the port has a link; absent where the device does not tell.",
        link(|it| Some(f64::from(u8::from(it.up)))),
    );
    families.gauges(
        "portcullis_port_link_kept_down",
        "1 if the box keeps the port down, because the other side of its link has none.",
        link(|it| Some(f64::from(u8::from(it.kept_down)))),
    );
    families.gauges(
        "portcullis_port_link_speed_bytes_per_second",
        "Speed of the port's link, where the device knows: 1.25e9 is 10 Gbit/s.",
        link(|it| it.speed_mbps.map(|mbps| f64::from(mbps) * 125e3)),
    );
}

/// How busy the workers were.
fn workers(families: &mut Families, report: &Report) {
    let each = |name: &str, help: &str, families: &mut Families, of: &dyn Fn(usize, &LoadReport) -> f64| {
        let workers = report.workers.iter().enumerate();
        let samples = workers.map(|(at, load)| Sample::new([("worker", &at.to_string())], of(at, load)));
        families.counters(name, help, samples);
    };
    each("portcullis_worker_rx_frames_total", "Frames that a worker received, of all links.", families, &|at, _| {
        report.received_by(at) as f64
    });
    each("portcullis_worker_turns_total", "How often a worker looked at every link once.", families, &|_, load| {
        load.turns as f64
    });
    each("portcullis_worker_turns_empty_total", "How often it found no frame there.", families, &|_, load| {
        load.turns_empty as f64
    });
    each(
        "portcullis_worker_busy_seconds_total",
        "Time that a worker's other turns took: its rate is the share of its CPU that is work.",
        families,
        &|_, load| load.busy_ns as f64 / 1e9,
    );
    let bursts = report.workers.iter().enumerate().map(|(at, load)| {
        let sizes = load.bursts.iter().filter_map(|(most, &count)| Some((most.parse().ok()?, count))).collect();
        (Sample::count([("worker", &at.to_string())], report.received_by(at)), sizes)
    });
    families.histograms("portcullis_worker_burst_frames", "Frames that a worker received at once.", bursts);
}

/// The control plane.
fn control(families: &mut Families, daemon: &DaemonReport) {
    let DaemonReport { table, changes, store, audit, boot: _, uptime_s: _, mode: _ } = daemon;
    families.gauge("portcullis_table_vms", "VMs that are known.", f64::from(table.vms));
    families.gauge("portcullis_table_vms_max", "Most VMs: `table.vms`.", f64::from(table.vms_max));
    families.gauge("portcullis_table_keys", "MACs, addresses and prefixes of all VMs together.", f64::from(table.keys));
    families.gauge("portcullis_table_ipv6_keys", "IPv6 addresses and prefixes among them.", f64::from(table.ipv6_keys));
    families.gauge(
        "portcullis_table_keys_max",
        "Most of them: `table.keys`; half of that for IPv6.",
        f64::from(table.keys_max),
    );
    families.counters(
        "portcullis_changes_total",
        "Changes that changed something and came into force.",
        [Sample::count([], changes.count)],
    );
    let micros = [("50", changes.p50_us), ("99", changes.p99_us), ("100", changes.max_us)];
    families.gauges(
        "portcullis_change_in_force_seconds",
        "From a change's arrival until every worker used it: so many percent of all since the start took no longer.",
        micros.map(|(percent, micros)| Sample::new([("percent", percent)], micros as f64 / 1e6)),
    );
    if let Some(store) = store {
        families.gauge("portcullis_store_durable", "1 if every change so far is on disk.", store.durable);
        families.gauge("portcullis_store_revision", "The last revision that is on disk.", store.revision.0 as f64);
        families.gauge(
            "portcullis_store_copies",
            "How many of the store's 2 files are written.",
            f64::from(store.copies),
        );
    }
    if let Some(audit) = audit {
        families.gauge("portcullis_audit_writable", "1 if the audit log can be written.", audit.trouble.is_none());
        families.counters(
            "portcullis_audit_records_lost_total",
            "Records of the audit log that could not be written.",
            [Sample::count([], audit.records_lost)],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::rpc::HealthAnswer;
    use crate::model::{Boot, Revision};
    use crate::policy::{DropReason, Observed};
    use crate::telemetry::counters::VmCounts;
    use crate::telemetry::report::{
        AuditReport, ChangesReport, LinkReport, LinkState, PortState, SCHEMA, StoreReport, TableReport,
    };

    /// In which everything that may be there is.
    fn scrape() -> Scrape {
        let link = Some(LinkState { up: true, speed_mbps: Some(10_000), can_be_set: Some(true), kept_down: false });
        let losses = PortLosses { rx_missed: 3, ..PortLosses::default() };
        let driver = [("rx_crc_errors", 2)].into_iter().collect();
        let inside = PortReport {
            rx: 9,
            tx: 4,
            device: PortState { losses, link, driver, ..PortState::default() },
            rx_by_worker: vec![4, 5],
        };
        let bursts = [("1", 1), ("2", 2)].into_iter().collect();
        let load = LoadReport { turns: 7, turns_empty: 4, busy_ns: 2_500_000_000, bursts };
        let table = TableReport { vms: 1, vms_max: 10, keys: 3, ipv6_keys: 1, keys_max: 40 };
        let changes = ChangesReport { count: 7, p50_us: 11, p99_us: 40, max_us: 52 };
        let store = StoreReport { durable: true, revision: Revision(7), copies: 2, trouble: None };
        let audit = AuditReport { records_lost: 1, trouble: Some("full".into()) };
        let daemon = DaemonReport {
            boot: Boot(1),
            uptime_s: 60,
            mode: Mode::Monitor,
            table,
            changes,
            store: Some(store),
            audit: Some(audit),
        };
        let judged = Judged { egress: VmCounts { denied: 6, ..VmCounts::default() }, ..Judged::default() };
        let report = Report {
            schema: SCHEMA,
            revision: Revision(7),
            daemon: Some(daemon),
            links: [("uplink", LinkReport { inside, outside: PortReport::default() })].into_iter().collect(),
            workers: vec![load.clone(), load],
            reasons: Both::of(|_| DropReason::ALL.map(|reason| (reason.name(), 6)).into_iter().collect()),
            would_deny: Both::of(|_| DropReason::ALL.map(|reason| (reason.name(), 5)).into_iter().collect()),
            observed: Both::of(|_| Observed::ALL.map(|seen| (seen.name(), 4)).into_iter().collect()),
            vms: [("web1", judged)].into_iter().collect(),
            unknown: judged,
            log_lines_lost: 0,
            balanced: true,
        };
        let problems = vec![Problem::AuditDegraded { records_lost: 1, message: "lost".into() }];
        let (revision, boot) = (Revision(7), Boot(1));
        let health =
            HealthAnswer { healthy: false, problems, hints: vec![], unconfirmed: None, uptime_s: 60, revision, boot };
        Scrape { report, health, dpdk: Some("DPDK 22.11".into()) }
    }

    #[test]
    fn each_number_stands_under_its_name_and_labels() {
        let text = String::from_utf8(text(&scrape())).unwrap();
        for line in [
            "portcullis_dropped_frames_total{direction=\"egress\",reason=\"port_closed\"} 6",
            "portcullis_would_deny_frames_total{direction=\"ingress\",reason=\"reply_closed\"} 5",
            "portcullis_observed_frames_total{direction=\"egress\",observation=\"udp_mail\"} 4",
            "portcullis_vm_frames_total{vm=\"web1\",direction=\"egress\",tally=\"denied\"} 6",
            "portcullis_unknown_frames_total{direction=\"egress\",tally=\"allowed\"} 0",
            "portcullis_port_rx_frames_total{link=\"uplink\",side=\"inside\"} 9",
            "portcullis_port_rx_missed_frames_total{link=\"uplink\",side=\"inside\"} 3",
            "portcullis_port_link_speed_bytes_per_second{link=\"uplink\",side=\"inside\"} 1250000000",
            "portcullis_worker_rx_frames_total{worker=\"1\"} 5",
            "portcullis_worker_busy_seconds_total{worker=\"0\"} 2.5",
            "portcullis_worker_burst_frames_bucket{worker=\"1\",le=\"2\"} 3",
            "portcullis_worker_burst_frames_sum{worker=\"1\"} 5",
            "portcullis_change_in_force_seconds{percent=\"99\"} 0.00004",
            "portcullis_problem{kind=\"audit_degraded\"} 1",
            "portcullis_problem{kind=\"link_down\"} 0",
            "portcullis_audit_writable 0",
            "portcullis_monitor_mode 1",
            "portcullis_store_durable 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        // A port that does not tell of its link has no such sample, rather than one that says it is down.
        assert!(!text.contains("portcullis_port_link_up{link=\"uplink\",side=\"outside\"}"), "{text}");
    }

    #[test]
    fn the_page_of_metrics_has_each_as_it_is() {
        let page = include_str!("../../docs/metrics.md");
        let rows: Vec<String> = families(&scrape())
            .described()
            .map(|[name, kind, labels, help]| {
                let labels = if labels.is_empty() { "-".into() } else { labels };
                format!("| `{name}` | {kind} | {labels} | {help} |")
            })
            .collect();
        let written: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(written, rows, "docs/metrics.md should have this table:\n\n{}\n", rows.join("\n"));
    }
}
