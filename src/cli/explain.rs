//! `portcullis explain`: why a frame is forwarded or dropped, and how it could pass.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::completions;
use super::layout::{Grid, Page};
use super::remote::Remote;
use crate::app::explain::{frames, imagine};
use crate::control::client::Client;
use crate::control::explain;
use crate::control::rpc::{EXPLAIN_MAX, ExplainAnswer};
use crate::failure::{Cause, Failure};
use crate::model::{MacAddr, Moment};
use crate::text::hex;
use crate::vm::connection::{Connection, Protocol};
use crate::vm::explanation::{Becomes, Explanation};
use crate::vm::record::VmId;
use crate::vm::registry::Registry;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis explain --vm web1 --port 25                           may web1 send mail, and if not, why?
  portcullis explain --vm web1 --port 587 --peer 2001:db8:7::25 --json | jq .explanations[0].lift
  portcullis explain --side outside --mac 52:54:00:00:00:01 --ip 10.0.0.5 --source-port 25 --port 40000
  portcullis explain --hex '52540000ee01 525400000001 0800 4500...'
  portcullis explain --pcap from-vms.pcap --frame 12
  portcullis explain --pcap from-vms.pcap --vm web1                what became of web1's frames
  portcullis explain --pcap from-vms.pcap --config portcullis.toml --vms vms.jsonl      without a daemon")]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    remote: Remote,
    /// The VM whose connection it is: its first MAC and address. Of a capture: whose frames are shown
    #[arg(long, value_name = "ID", add = completions::vm())]
    vm: Option<VmId>,
    /// The port that the connection goes to
    #[arg(long, value_name = "PORT", required_unless_present_any = ["hex", "pcap"])]
    port: Option<u16>,
    /// The port that it comes from [default: 40000]
    #[arg(long, value_name = "PORT", requires = "port")]
    source_port: Option<u16>,
    /// The other end [default: somebody in the Internet]
    #[arg(long, value_name = "IP", requires = "port")]
    peer: Option<IpAddr>,
    /// The VM's MAC, if not its first
    #[arg(long, value_name = "MAC", requires = "port")]
    mac: Option<MacAddr>,
    /// The VM's address, if not its first
    #[arg(long, value_name = "IP", requires = "port")]
    ip: Option<IpAddr>,
    /// The VLAN that it comes in by
    #[arg(long, value_name = "ID", requires = "port")]
    vlan: Option<u16>,
    /// UDP instead of TCP
    #[arg(long, requires = "port")]
    udp: bool,
    /// A frame in hexadecimal digits, from the Ethernet header on
    #[arg(long, value_name = "DIGITS", conflicts_with_all = ["port", "pcap", "vm"])]
    hex: Option<String>,
    /// Every frame of a capture: pcap or pcapng, also gzipped
    #[arg(long, value_name = "FILE", conflicts_with = "port")]
    pcap: Option<PathBuf>,
    /// Only the frame of this number, from 1
    #[arg(long, value_name = "N", requires = "pcap", conflicts_with = "vm", value_parser = clap::value_parser!(u64).range(1..))]
    frame: Option<u64>,
    /// The port of the box that it comes in by: inside is from VMs, outside to them
    #[arg(long, value_enum, default_value_t)]
    side: Side,
    /// The link that it comes in by [default: the first]
    #[arg(long, value_name = "NAME")]
    link: Option<String>,
    /// Without a daemon: by this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without a daemon: by these VM records
    #[arg(long, value_name = "VMS.jsonl")]
    vms: Option<PathBuf>,
    /// Without a daemon: at this time [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Side {
    #[default]
    Inside,
    Outside,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

/// Who answers.
enum Whom {
    /// A daemon.
    Running(Client),
    /// Nobody.
    Imagined(Box<Registry>),
}

/// Bytes of frames that are sent at once: as hexadecimal digits they fit in a line.
const BYTES_AT_ONCE: usize = 400_000;
/// Frames of a capture that people are shown one by one.
const SHOWN: usize = 1_000;

impl ExplainArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let mut whom = match (&self.config, &self.vms, self.at) {
            (None, None, None) => Whom::Running(self.remote.connect()?),
            (config, vms, at) => Whom::Imagined(imagine(config.as_deref(), vms.as_deref(), at)?.into()),
        };
        match &self.pcap {
            Some(path) => self.capture(&mut whom, path),
            None => self.one(&mut whom),
        }
    }

    /// A connection, or a frame in digits.
    fn one(&self, whom: &mut Whom) -> Result<(), Failure> {
        let about = match (&self.hex, self.port) {
            (Some(digits), _) => json!({ "frame": digits }),
            (None, Some(port)) => json!({ "connection": self.connection(port) }),
            (None, None) => return Err(Failure::new(Cause::Usage, "--port, --hex or --pcap is needed")),
        };
        let answer = self.ask(whom, about)?;
        if self.remote.json {
            return super::out::print(&answer.to_string());
        }
        let ExplainAnswer { explanations, .. } = self.understand(answer)?;
        let page = Page::of_stdout();
        super::out::print(&explanations.iter().map(|one| shown(one, page)).collect::<Vec<_>>().join("\n"))
    }

    fn connection(&self, destination_port: u16) -> Connection {
        Connection {
            vm: self.vm.clone(),
            mac: self.mac,
            ip: self.ip,
            peer: self.peer,
            destination_port,
            source_port: self.source_port,
            vlan: self.vlan,
            protocol: if self.udp { Protocol::Udp } else { Protocol::Tcp },
        }
    }

    /// The frames of a capture, many at a time.
    fn capture(&self, whom: &mut Whom, path: &std::path::Path) -> Result<(), Failure> {
        let (mut number, mut failed, mut batch, mut bytes) = (0_u64, None, Vec::new(), 0);
        let mut seen = Seen::default();
        let warnings = frames(path, |frame| {
            number += 1;
            if self.frame.is_none_or(|wanted| wanted == number) {
                batch.push((number, frame.to_vec()));
                bytes += frame.len();
            }
            if batch.len() == EXPLAIN_MAX || bytes > BYTES_AT_ONCE {
                bytes = 0;
                failed = self.batch(whom, std::mem::take(&mut batch), &mut seen).err();
            }
            failed.is_none() && self.frame.is_none_or(|wanted| number < wanted)
        })?;
        failed.map_or(Ok(()), Err)?;
        self.batch(whom, batch, &mut seen)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        match self.frame {
            Some(wanted) if number < wanted => {
                let message = format_args!("{}: there is no frame {wanted}; it has {number}", path.display());
                Err(Failure::new(Cause::Usage, message))
            }
            _ if self.remote.json => Ok(()),
            _ => super::out::print(&seen.text(self.frame.is_some(), Page::of_stdout())),
        }
    }

    fn batch(&self, whom: &mut Whom, batch: Vec<(u64, Vec<u8>)>, seen: &mut Seen) -> Result<(), Failure> {
        if batch.is_empty() {
            return Ok(());
        }
        let digits: Vec<String> = batch.iter().map(|(_, frame)| hex(frame)).collect();
        let ExplainAnswer { explanations, .. } = self.understand(self.ask(whom, json!({ "frames": digits }))?)?;
        for ((number, _), explanation) in batch.into_iter().zip(explanations) {
            if self.vm.as_ref().is_some_and(|vm| explanation.vm.as_ref() != Some(vm)) {
                continue;
            }
            if self.remote.json {
                let mut line = json!(explanation);
                if let Some(members) = line.as_object_mut() {
                    members.insert("frame".into(), number.into());
                }
                super::out::print(&line.to_string())?;
            } else {
                seen.add(number, explanation);
            }
        }
        Ok(())
    }

    fn ask(&self, whom: &mut Whom, about: Value) -> Result<Value, Failure> {
        let mut params = Map::from_iter([("side".to_owned(), json!(self.side.name()))]);
        params.extend(self.link.as_ref().map(|link| ("link".to_owned(), json!(link))));
        params.extend(about.as_object().cloned().unwrap_or_default());
        match whom {
            Whom::Running(client) => self.remote.call(client, "explain", &params),
            Whom::Imagined(registry) => {
                let question = explain::question(&Value::from(params).to_string());
                let explanations = question.and_then(|question| explain::answer(registry, &question));
                let explanations = explanations.map_err(|error| Failure::new(Cause::Usage, error))?;
                Ok(json!({ "explanations": explanations, "revision": 0, "boot": "00000000" }))
            }
        }
    }

    fn understand(&self, answer: Value) -> Result<ExplainAnswer, Failure> {
        self.remote.understand(answer)
    }
}

/// What people are shown of a capture.
#[derive(Default)]
struct Seen {
    explained: Vec<(u64, Explanation)>,
    more: u64,
}

impl Seen {
    fn add(&mut self, number: u64, explanation: Explanation) {
        match self.explained.len() < SHOWN {
            true => self.explained.push((number, explanation)),
            false => self.more += 1,
        }
    }

    fn text(&self, whole: bool, page: Page) -> String {
        if whole {
            return self.explained.iter().map(|(_, one)| shown(one, page)).collect();
        }
        let mut grid = Grid::new(&["frame", "verdict", "rule", "VM", "tally", "class", "finding"], 0..1);
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        for (number, one) in &self.explained {
            grid.row([
                number.to_string(),
                verdict(one),
                one.rule.to_string(),
                or_dash(one.vm.as_ref().map(VmId::as_str)),
                or_dash(one.tally.as_deref()),
                or_dash(one.class.as_deref()),
                or_dash(one.finding.as_deref()),
            ]);
        }
        let mut text = format!("{}\n", grid.show(page));
        if self.more > 0 {
            text += &format!("and {} frames more; --json has them all\n", self.more);
        }
        text + "\n--frame N says all about one of them.\n"
    }
}

/// `dropped: port_closed`
fn verdict(one: &Explanation) -> String {
    let becomes = match one.verdict {
        Becomes::Forwarded => "forwarded",
        Becomes::Dropped => "dropped",
        Becomes::Watched => "forwarded, only watched",
    };
    match &one.reason {
        Some(reason) => format!("{becomes}: {reason}"),
        None => becomes.to_owned(),
    }
}

fn shown(one: &Explanation, page: Page) -> String {
    let head = format!("{} (rule {})", verdict(one), one.rule);
    let lines: Vec<String> = one.sentences().map(|sentence| page.wrapped(&sentence, 2)).collect();
    format!("{head}\n{}\n", lines.join("\n"))
}
