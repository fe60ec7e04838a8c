//! What Prometheus is told: the numbers of the statistics, whoever asks and however badly, and what Prometheus itself and its
//! tools make of them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portcullis::testkit::{NOBODY, PEER, Station, VM_A, VM_B, frame};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Daemon, Killed, Lab, number, pcap, wait_for};

/// A box that has seen mail, the web, a tunnel and what nobody sent, and sees no more. Metrics at a port of the loopback that is free,
/// and at `metrics.sock`.
pub(crate) fn quiet<'a>(lab: &'a Lab, control: &str, metrics: &str) -> (Daemon<'a>, SocketAddr) {
    let mail = |vm| Vec::from(frame().from(vm).to(PEER).tcp(25));
    let web = Vec::from(frame().from(VM_A).to(PEER).tcp(443));
    let tunnel = Vec::from(frame().from(VM_A).to(PEER).udp(4789));
    let frames = [mail(VM_A), mail(VM_A), mail(VM_B), mail(NOBODY), web.clone(), web, tunnel];
    let record =
        |vm: Station| format!("{{\"id\":\"{}\",\"macs\":[\"{}\"],\"ips\":[\"{}\"]}}\n", vm.id, vm.mac, vm.ipv4);
    let vms = lab.write("vms.jsonl", [VM_A, VM_B].map(record).concat());
    let capture = lab.write("in.pcap", pcap(&frames));
    let listen = format!("{control}\n[metrics]\nlisten = [\"127.0.0.1:0\", {:?}]\n{metrics}", lab.text("metrics.sock"));
    let config = lab.config(&format!("net_pcap0,rx_pcap={capture}"), "net_null0,no-rx=1").and(&listen);
    let mut daemon = Daemon::start_with(lab, &config, &["--vms", &vms]);
    daemon.stats_when("all frames are through", |stats| stats["links"]["uplink"]["inside"]["rx"] == 7);
    let log = daemon.log();
    let address = log.split("metrics at http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let address = address.parse().unwrap();
    (daemon, address)
}

/// Status, head and body of an answer.
fn http(mut stream: impl Read + Write, request: &str) -> (u16, String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request:?}: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn get(at: SocketAddr, path: &str) -> (u16, String, String) {
    http(TcpStream::connect(at).unwrap(), &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n"))
}

/// Every sample, by its name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

/// What the statistics say, by the names that it has for Prometheus.
fn of_statistics(stats: &Value) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    let mut put = |name: String, value: &Value| {
        let before = all.insert(name, value.as_f64().unwrap());
        assert_eq!(before, None);
    };
    for way in ["egress", "ingress"] {
        for (member, metric, label) in [
            ("reasons", "dropped", "reason"),
            ("would_deny", "would_deny", "reason"),
            ("observed", "observed", "observation"),
        ] {
            for (name, count) in stats[member][way].as_object().unwrap() {
                put(format!("portcullis_{metric}_frames_total{{direction=\"{way}\",{label}=\"{name}\"}}"), count);
            }
        }
        for (tally, count) in stats["unknown"][way].as_object().unwrap() {
            put(format!("portcullis_unknown_frames_total{{direction=\"{way}\",tally=\"{tally}\"}}"), count);
        }
        for (id, vm) in stats["vms"].as_object().unwrap() {
            for (tally, count) in vm[way].as_object().unwrap() {
                put(format!("portcullis_vm_frames_total{{vm=\"{id}\",direction=\"{way}\",tally=\"{tally}\"}}"), count);
            }
        }
    }
    for (link, ports) in stats["links"].as_object().unwrap() {
        for (side, port) in ports.as_object().unwrap() {
            for (name, count) in port.as_object().unwrap().iter().filter(|(_, value)| value.is_u64()) {
                put(format!("portcullis_port_{name}_frames_total{{link=\"{link}\",side=\"{side}\"}}"), count);
            }
        }
    }
    for name in ["vms", "vms_max", "keys", "ipv6_keys", "keys_max"] {
        put(format!("portcullis_table_{name}"), &stats["daemon"]["table"][name]);
    }
    put("portcullis_revision".into(), &stats["revision"]);
    put("portcullis_worker_rx_frames_total{worker=\"0\"}".into(), &json!(7));
    put("portcullis_worker_burst_frames_sum{worker=\"0\"}".into(), &json!(7));
    all
}

#[test]
fn every_number_is_that_of_the_statistics_by_tcp_and_by_a_socket() {
    let lab = Lab::new();
    let (daemon, at) = quiet(&lab, "", "");
    let expected = of_statistics(&daemon.stats());
    assert!(expected.len() > 100 && expected.values().any(|&value| value == 2.0), "{expected:?}");
    let (status, head, by_tcp) = get(at, "/metrics");
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    let socket = UnixStream::connect(lab.path("metrics.sock")).unwrap();
    let (_, _, by_socket) = http(socket, "GET /metrics?x=1 HTTP/1.0\r\n\r\n");
    for text in [by_tcp, by_socket] {
        let told = samples(&text);
        for (name, value) in &expected {
            assert_eq!(told.get(name), Some(value), "{name}");
        }
    }
    daemon.stop(Signal::TERM);
    assert!(!lab.path("metrics.sock").exists(), "the socket is gone with the box");
}

#[test]
fn only_as_many_vms_as_are_wanted_have_series() {
    let lab = Lab::new();
    let of_vms = |more: &str| {
        let (daemon, at) = quiet(&lab, "", more);
        let told = samples(&get(at, "/metrics").2);
        daemon.stop(Signal::TERM);
        let name = |vm: Station| {
            format!("portcullis_vm_frames_total{{vm=\"{}\",direction=\"egress\",tally=\"denied\"}}", vm.id)
        };
        [VM_A, VM_B].map(|vm| told.get(&name(vm)).copied())
    };
    assert_eq!(of_vms("vms = \"all\""), [Some(2.0), Some(1.0)]);
    assert_eq!(of_vms("vms = 1"), [Some(2.0), None], "to whom most was denied");
    assert_eq!(of_vms("vms = 0"), [None, None]);
}

#[test]
fn whoever_asks_badly_is_told_and_keeps_nobody_waiting() {
    let lab = Lab::new();
    let (daemon, at) = quiet(&lab, "", "");
    let ask = |request: &str| http(TcpStream::connect(at).unwrap(), request);
    let (status, _, body) = get(at, "/metric");
    assert!(status == 404 && body.contains("/metrics") && body.contains("/metric;"), "{status}: {body}");
    let (status, head, _) = ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert!(status == 405 && head.contains("allow: get, head"), "{status}: {head}");
    let (status, head, body) = ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""), "{head}");
    assert_eq!(get(at, "/").0, 200);
    assert_eq!(ask("HELO example.org\r\n\r\n").0, 400);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(at).unwrap();
    // It may be refused before all of it is sent.
    let _ = stream.write_all(long.as_bytes());
    let _ = stream.read_to_string(&mut String::new());

    // More than there are places for, none of which says anything: they lose them again.
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(at).unwrap()).collect();
    assert_eq!(get(at, "/metrics").0, 200);
    drop(silent);
    daemon.stop(Signal::TERM);
}

#[test]
fn how_it_goes_is_a_status_too() {
    let lab = Lab::new();
    let (daemon, at) = quiet(&lab, "", "");
    let (status, head, body) = get(at, "/health");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["healthy"]), (200, &json!(true)), "{head}{body}");
    daemon.stop(Signal::TERM);
    let (daemon, at) = quiet(&lab, "audit = \"/proc/none/audit.jsonl\"", "");
    let (status, _, body) = get(at, "/health");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["problems"][0]["kind"]), (503, &json!("audit_degraded")), "{body}");
    assert_eq!(samples(&get(at, "/metrics").2)["portcullis_problem{kind=\"audit_degraded\"}"], 1.0);
    daemon.stop(Signal::TERM);
}

#[test]
fn a_port_that_is_taken_keeps_nothing_from_working() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = lab.config("net_null0", "net_null1");
    let mut daemon = Daemon::start(&lab, &config.and(&format!("[metrics]\nlisten = [\"{address}\", \"{other}\"]")));
    assert_eq!(get(other, "/metrics").0, 200, "the other end");
    daemon.stats_when("frames flow", |stats| number(&stats["links"]["uplink"]["inside"]["rx"]) > 1000);
    let log = daemon.log();
    assert!(log.contains(&format!("`metrics.listen`: {address}: Address already in use")), "{log}");
    daemon.stop(Signal::TERM);
}

/// A program of Prometheus': as installed, or as `scripts/setup` unpacked it.
fn program(name: &str) -> Command {
    let unpacked: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/prometheus/usr/bin").join(name);
    Command::new(if unpacked.exists() { unpacked } else { name.into() })
}

/// What it prints; it must agree.
#[track_caller]
fn agrees(command: &mut Command, input: &str) -> String {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}; `make setup` unpacks it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

#[test]
fn the_alert_rules_are_sound_and_each_of_them_fires() {
    agrees(program("promtool").args(["check", "rules"]).arg(packaged("prometheus/portcullis.rules.yml")), "");
    agrees(program("promtool").args(["test", "rules"]).arg(packaged("prometheus/portcullis.rules.test.yml")), "");
}

/// Every expression of the dashboard, its variables replaced.
fn panels() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_slice(&std::fs::read(packaged("grafana/portcullis.json")).unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let plain = |expression: &str| {
        [("$instance", ".*"), ("$job", "portcullis"), ("$__rate_interval", "1m")]
            .iter()
            .fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    targets.map(|target| plain(target["expr"].as_str().unwrap())).collect()
}

/// The questions of docs/metrics.md.
fn questions() -> Vec<String> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let rows = page.lines().skip_while(|line| *line != "| Question | PromQL |").skip(2);
    rows.map_while(|row| row.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").nth(1).map(str::to_owned)).collect()
}

#[test]
fn prometheus_itself_reads_it_and_answers_every_question() {
    let lab = Lab::new();
    let (daemon, at) = quiet(&lab, "", "");
    agrees(program("promtool").args(["check", "metrics"]), &get(at, "/metrics").2);

    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{:?}]\nscrape_configs:\n  - job_name: \
         portcullis\n    static_configs: [{{ targets: [\"{at}\"] }}]\n",
        packaged("prometheus/portcullis.rules.yml"),
    );
    let config = lab.write("prometheus.yml", config);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = std::fs::File::create(lab.path("prometheus.log")).unwrap();
    let mut command = program("prometheus");
    command.args([
        format!("--config.file={config}"),
        format!("--storage.tsdb.path={}", lab.text("tsdb")),
        format!("--web.listen-address={port}"),
    ]);
    let started = command.stdout(Stdio::null()).stderr(log).spawn();
    let _prometheus = Killed(started.unwrap_or_else(|error| panic!("{command:?}: {error}; `make setup` unpacks it")));
    let query = |expression: &str| -> Option<Value> {
        let stream = TcpStream::connect(port).ok()?;
        let path = format!("/api/v1/query?query={}", percent(expression));
        let (_, _, body) = http(stream, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        serde_json::from_str(&body).ok()
    };
    let results = |expression: &str| query(expression).map(|answer| answer["data"]["result"].clone());
    let value = |expression: &str| -> Option<f64> { results(expression)?[0]["value"][1].as_str()?.parse().ok() };
    wait_for("two scrapes", || (value("count_over_time(portcullis_revision[1m])")? >= 2.0).then_some(()));

    for (name, expected) in of_statistics(&daemon.stats()) {
        assert_eq!(value(&name), Some(expected), "{name}");
    }
    let questions = questions();
    assert_eq!(questions.len(), 6, "{questions:?}");
    for expression in panels().iter().chain(&questions) {
        let answer = query(expression).unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        for name in expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let is_metric = name.starts_with("portcullis_") || name.starts_with("process_");
            assert!(!is_metric || results(name).unwrap() != json!([]), "{name} of {expression} is no metric");
        }
    }
    assert_eq!(value("count(up == 1)"), Some(1.0));
    daemon.stop(Signal::TERM);
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
