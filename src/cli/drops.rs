//! `portcullis drops`, `would-drop` and `unknown`: what is denied of late, and to whom.

use std::fmt::Display;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::completions;
use super::layout::{Grid, Page};
use super::out::{Reader, print_more};
use super::remote::Remote;
use super::render;
use crate::control::rpc::{DropEntry, DropsAnswer, UnknownAnswer, UnknownEntry, WouldDropEntry, WouldDropsAnswer};
use crate::failure::Failure;
use crate::model::{Direction, MacAddr, Revision};
use crate::text::plain;
use crate::vm::explanation::Becomes;
use crate::vm::record::VmId;

/// How often it is asked for more.
const FOLLOW: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis drops                          the last ones
  portcullis drops --vm web1                of one VM
  portcullis drops --reason spoof_mac       for one reason (docs/policy.md lists them)
  portcullis drops --follow --json | jq .   as they come, one JSON object a line

Of each VM the first eight frames of every tenth of a second are told of; how many there were is counted exactly,
and `portcullis vm show` says it.")]
pub(super) struct DropsArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    wanted: Wanted,
    /// How many at most, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Go on with those that come, until Ctrl-C
    #[arg(long)]
    follow: bool,
}

/// Which dropped frames are wanted.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// Only of this VM
    #[arg(long, value_name = "ID", add = completions::vm())]
    vm: Option<VmId>,
    /// Only from or to this MAC, on the VM's side
    #[arg(long, value_name = "MAC")]
    mac: Option<MacAddr>,
    /// Only from or to this address, on the VM's side
    #[arg(long, value_name = "IP")]
    ip: Option<IpAddr>,
    /// Only for this reason
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only what was dropped, or only what was forwarded because it is watched (monitor mode)
    #[arg(long, value_parser = ["dropped", "watched"])]
    verdict: Option<String>,
}

impl Wanted {
    /// As parameters of `drop.list`.
    pub(super) fn params(&self) -> Map<String, Value> {
        let members = [
            ("vm", self.vm.as_ref().map(|vm| json!(vm))),
            ("mac", self.mac.map(|mac| json!(mac))),
            ("ip", self.ip.map(|ip| json!(ip))),
            ("reason", self.reason.as_ref().map(|reason| json!(reason))),
            ("verdict", self.verdict.as_ref().map(|verdict| json!(verdict))),
        ];
        members.into_iter().filter_map(|(member, value)| Some((member.to_owned(), value?))).collect()
    }
}

impl DropsArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let mut params = self.wanted.params();
        params.insert("limit".into(), json!(self.limit));
        let mut client = self.remote.connect()?;
        let answer = self.remote.call(&mut client, "drop.list", &params)?;
        if !self.follow {
            return self.remote.answer(answer, |answer: &DropsAnswer| listed(answer, Page::of_stdout()));
        }
        params.insert("limit".into(), json!(1000));
        let mut answer: DropsAnswer = self.remote.understand(answer)?;
        loop {
            for drop in answer.drops.iter().rev() {
                let text = if self.remote.json { json!(drop).to_string() } else { line(drop) };
                if print_more(&text)? == Reader::Gone {
                    return Ok(());
                }
            }
            if let Some(last) = answer.drops.first() {
                params.insert("after".into(), json!(last.number));
            }
            thread::sleep(FOLLOW);
            answer = self.remote.ask(&mut client, "drop.list", &params)?;
        }
    }
}

fn listed(answer: &DropsAnswer, page: Page) -> String {
    let DropsAnswer { drops, lost, .. } = answer;
    let mut text = match drops.is_empty() {
        true => "nothing of the kind was dropped of late\n".into(),
        false => {
            let mut grid = Grid::new(&["when", "VM", "reason", "what"], 4..4).with_prose();
            for drop in drops {
                grid.row([drop.at.to_string(), whose(drop.vm.as_ref()), reason(drop), what(drop)]);
            }
            format!("{}\n", grid.show(page))
        }
    };
    if *lost > 0 {
        text += &page.wrapped(
            &format!("{lost} frames since the start are told of nowhere: there were too many kinds at once."),
            0,
        );
        text.push('\n');
    }
    text
}

/// One drop in a line.
pub(super) fn line(drop: &DropEntry) -> String {
    format!("{}  {}  {}  {}", drop.at, whose(drop.vm.as_ref()), reason(drop), what(drop))
}

fn whose(vm: Option<&VmId>) -> String {
    vm.map_or_else(|| "-".into(), |vm| plain(vm.as_str(), 64))
}

fn reason(drop: &DropEntry) -> String {
    let reason = plain(&drop.reason, 64);
    if drop.verdict == Becomes::Watched { format!("{reason} (only watched)") } else { reason }
}

/// `10.0.0.5:40000 → 192.0.2.25:25, 52:54:00:00:00:05 on uplink, 74 bytes`: from whom to whom, as it travelled.
fn what(drop: &DropEntry) -> String {
    let end = |ip: Option<IpAddr>, port: Option<u16>| match (ip, port) {
        (Some(IpAddr::V6(ip)), Some(port)) => format!("[{ip}]:{port}"),
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        (Some(ip), None) => ip.to_string(),
        (None, _) => "?".into(),
    };
    let (source, destination) = match drop.direction {
        Direction::Egress => (drop.ip, drop.peer),
        Direction::Ingress => (drop.peer, drop.ip),
    };
    let mut text = match (source, destination) {
        (None, None) => String::new(),
        _ => format!("{} → {}, ", end(source, drop.source_port), end(destination, drop.destination_port)),
    };
    if let Some(mac) = drop.mac {
        text += &format!("{} {mac}", if drop.direction == Direction::Egress { "from" } else { "to" });
    }
    if drop.vlan != 0 {
        text += &format!(" in VLAN {}", drop.vlan);
    }
    if let Some(link) = &drop.link {
        text += &format!(" on {}", plain(link, 64));
    }
    text + &format!(", {} bytes", drop.bytes)
}

#[derive(Debug, Args)]
#[command(after_help = "\
What would be dropped if it were not only watched: mode = \"monitor\" of a VM, its class or the box, and
identity = \"observe\". When nothing stands here any more that should pass, it is time to enforce.")]
pub(super) struct WouldDropArgs {
    #[command(flatten)]
    remote: Remote,
    /// How many lines at most, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

impl WouldDropArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let answer =
            self.remote.call(&mut self.remote.connect()?, "would_drop.list", &json!({ "limit": self.limit }))?;
        self.remote.answer(answer, |answer: &WouldDropsAnswer| would_drop(answer, Page::of_stdout()))
    }
}

fn would_drop(
    WouldDropsAnswer { would_drop, more, revision: Revision(revision), .. }: &WouldDropsAnswer,
    page: Page,
) -> String {
    if would_drop.is_empty() {
        return format!("nothing would be dropped that is not, revision {revision}");
    }
    let mut grid = Grid::new(&["VM", "way", "port", "reason", "frames", "other ends", "last"], 4..6);
    for WouldDropEntry { vm, direction, reason, port, frames, peers, last } in would_drop {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        grid.row([
            vm.as_ref().map_or_else(|| "(unknown)".into(), |vm| plain(vm.as_str(), 64)),
            direction.name().into(),
            or_dash(port.map(|port| port.to_string())),
            plain(reason, 64),
            frames.to_string(),
            or_dash(peers.map(|peers| peers.to_string())),
            or_dash(last.map(|last| last.to_string())),
        ]);
    }
    let end = if *more { "\n… and more; --limit says how many are shown.\n" } else { "\n" };
    format!("{}{end}", grid.show(page))
}

#[derive(Debug, Args)]
#[command(after_help = "\
Somebody who stands here and is no intruder is a VM that nobody told the box of: `portcullis vm set`. If all of
them have one MAC, it is a router's: `via` of the link (docs/configuration.md).")]
pub(super) struct UnknownArgs {
    #[command(flatten)]
    remote: Remote,
    /// How many at most by MAC, and as many by address, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

impl UnknownArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.call(&mut self.remote.connect()?, "unknown.list", &json!({ "limit": self.limit }))?;
        self.remote.answer(answer, |answer: &UnknownAnswer| unknown(answer, Page::of_stdout()))
    }
}

fn unknown(
    UnknownAnswer { denials, macs, ips, revision: Revision(revision), .. }: &UnknownAnswer,
    page: Page,
) -> String {
    if denials.is_empty() {
        return format!("nothing was denied to anybody whom no VM lists, revision {revision}");
    }
    let mut text = String::from("Denied to those whom no VM lists:\n");
    for denial in render::denials(denials, "an unknown VM") {
        text += &page.wrapped(&format!("  {denial}"), 4);
        text.push('\n');
    }
    text + &senders("MAC", macs, page) + &senders("address", ips, page)
}

fn senders<K: Display>(what: &'static str, senders: &[UnknownEntry<K>], page: Page) -> String {
    if senders.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(&[what, "frames", "last", "to"], 1..2);
    for UnknownEntry { who, frames, over, last } in senders {
        let frames = if *over > 0 { format!("{} to {frames}", frames - over) } else { frames.to_string() };
        let port = last.destination_port.map_or_else(|| plain(&last.reason, 64), |port| format!("port {port}"));
        let to = last.peer.map_or_else(|| port.clone(), |peer| format!("{peer} {port}"));
        grid.row([who.to_string(), frames, last.at.to_string(), to]);
    }
    format!("\n{}\n", grid.show(page))
}
