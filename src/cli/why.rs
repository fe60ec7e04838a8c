//! `portcullis vm why`: what a tenant may not do and why, in words for his ticket.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::completions;
use super::drops;
use super::layout::Page;
use super::remote::Remote;
use super::render;
use crate::control::client::Client;
use crate::control::rpc::{DropEntry, DropsAnswer, ExplainAnswer, LookupAnswer, PolicyAnswer, VmAnswer};
use crate::failure::{Cause, Failure};
use crate::model::{MacAddr, Mode};
use crate::telemetry::counters::VmCounts;
use crate::vm::connection::{PEER_IPV4, PEER_IPV6};
use crate::vm::explanation::Explanation;
use crate::vm::record::{Vm, VmId};

#[derive(Debug, Args)]
pub(super) struct Why {
    /// Its name
    #[arg(add = completions::vm(), required_unless_present_any = ["mac", "ip"])]
    id: Option<VmId>,
    /// Instead of a name: a MAC that was seen
    #[arg(long, value_name = "MAC", conflicts_with = "id")]
    mac: Option<MacAddr>,
    /// Instead of a name: an address that was seen
    #[arg(long, value_name = "IP", conflicts_with = "id")]
    ip: Option<IpAddr>,
    /// Towards this server [default: somebody in the Internet]
    #[arg(long, value_name = "IP")]
    peer: Option<IpAddr>,
}

/// How many of the last drops are shown.
const DROPS_SHOWN: usize = 5;
/// Mail between servers (RFC 5321): whom no VM answers for is asked about this.
const SMTP: u16 = 25;
/// What a VM that is known by its MAC alone may send from (RFC 5737).
const SOME_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

impl Why {
    pub(super) fn run(self, remote: &Remote) -> Result<(), Failure> {
        let mut client = remote.connect()?;
        let id = match self.id.clone() {
            Some(id) => Some(id),
            None => self.owner(remote, &mut client)?,
        };
        match id {
            Some(id) => {
                let vm = remote.ask(&mut client, "vm.get", &json!({ "id": id }))?;
                self.of_vm(remote, &mut client, &vm)
            }
            None => self.of_nobody(remote, &mut client),
        }
    }

    /// Whose the MAC is, else the address.
    fn owner(&self, remote: &Remote, client: &mut Client) -> Result<Option<VmId>, Failure> {
        let asked = [self.mac.map(|mac| json!({ "mac": mac })), self.ip.map(|ip| json!({ "ip": ip }))];
        for params in asked.into_iter().flatten() {
            let LookupAnswer { matches, .. } = remote.ask(client, "vm.lookup", &params)?;
            match &matches[..] {
                [] => {}
                [one] => return Ok(Some(one.entry.vm.id.clone())),
                several => {
                    let ids: Vec<&str> = several.iter().map(|one| one.entry.vm.id.as_str()).collect();
                    let message =
                        format_args!("{} VMs have it, each in a scope of its own: {}", ids.len(), ids.join(", "));
                    return Err(Failure::new(Cause::Usage, message));
                }
            }
        }
        Ok(None)
    }

    fn of_vm(&self, remote: &Remote, client: &mut Client, vm: &VmAnswer) -> Result<(), Failure> {
        let entry = &vm.entry;
        let policy: PolicyAnswer = remote.ask(client, "policy.get", &json!({}))?;
        let class = policy.document.classes.get(&entry.effective_class);
        let closed = class.and_then(|class| class.ports.first()).map(|range| range.first);
        let explanation = match closed {
            Some(port) => Some(explain(remote, client, &self.connection(Some(&entry.vm), port))?),
            None => None,
        };
        let DropsAnswer { drops, .. } =
            remote.ask(client, "drop.list", &json!({ "vm": entry.vm.id, "limit": DROPS_SHOWN }))?;
        if remote.json {
            let said = json!({ "vm": entry, "denials": vm.denials, "drops": drops, "explanation": explanation });
            return super::out::print(&said.to_string());
        }
        let lift = explanation.as_ref().and_then(|explanation| explanation.lift.as_ref());
        let lift = lift.map(|lift| self.as_asked(&lift.to_string()));
        super::out::print(&of_vm(vm, &drops, explanation.as_ref(), lift, Page::of_stdout()))
    }

    fn of_nobody(&self, remote: &Remote, client: &mut Client) -> Result<(), Failure> {
        let explanation = explain(remote, client, &self.connection(None, SMTP))?;
        let seen = json!({ "mac": self.mac, "ip": self.ip, "limit": DROPS_SHOWN });
        let DropsAnswer { drops, .. } = remote.ask(client, "drop.list", &seen)?;
        if remote.json {
            let said = json!({ "vm": null, "drops": drops, "explanation": explanation });
            return super::out::print(&said.to_string());
        }
        let page = Page::of_stdout();
        // Part of the frame may be made up.
        let sentences = explanation.sentences().filter(|sentence| !sentence.starts_with("Frame: "));
        let sentences = sentences.map(|sentence| self.as_asked(&sentence)).chain(last(&drops));
        let lines: Vec<String> = sentences.map(|sentence| page.wrapped(&sentence, 2)).collect();
        super::out::print(&lines.join("\n"))
    }

    /// With words where addresses are made up.
    fn as_asked(&self, sentence: &str) -> String {
        let made_up = [
            (self.peer.is_none(), format!("--peer {PEER_IPV4} "), "--peer SERVER "),
            (self.peer.is_none(), format!("--peer {PEER_IPV6} "), "--peer SERVER "),
            (self.ip.is_none(), format!("--ip {SOME_IPV4} "), "--ip ADDRESS "),
        ];
        let made_up = made_up.into_iter().filter(|(is_made_up, ..)| *is_made_up);
        made_up.fold(sentence.to_owned(), |sentence, (_, address, word)| sentence.replace(&address, word))
    }

    /// A connection that it may not make, of a family that it has.
    fn connection(&self, vm: Option<&Vm>, port: u16) -> Value {
        let has = |ipv4: bool| vm.is_some_and(|vm| vm.prefixes().any(|net| matches!(net, IpNet::V4(_)) == ipv4));
        let (ip, peer) = match (self.ip, self.peer) {
            (None, None) if has(true) => (None, Some(PEER_IPV4.into())),
            (None, None) if has(false) => (None, Some(PEER_IPV6.into())),
            (None, None) => (Some(SOME_IPV4.into()), Some(PEER_IPV4.into())),
            given => given,
        };
        json!({
            "connection": {"vm": vm.map(|vm| &vm.id), "mac": self.mac, "ip": ip, "peer": peer, "destination_port": port}
        })
    }
}

fn explain(remote: &Remote, client: &mut Client, params: &Value) -> Result<Explanation, Failure> {
    let ExplainAnswer { explanations, .. } = remote.ask(client, "explain", params)?;
    let none = || Failure::new(Cause::Unavailable, "the daemon explains nothing");
    explanations.into_iter().next().ok_or_else(none)
}

/// The last drops, a line each.
fn last(drops: &[DropEntry]) -> impl Iterator<Item = String> + '_ {
    drops.iter().map(|drop| format!("Seen: {}.", drops::line(drop)))
}

fn of_vm(
    VmAnswer { entry, denials, .. }: &VmAnswer,
    drops: &[DropEntry],
    explanation: Option<&Explanation>,
    lift: Option<String>,
    page: Page,
) -> String {
    let vm = &entry.vm;
    let mut lines = Vec::new();
    let class =
        explanation.and_then(|explanation| explanation.steps.iter().find_map(|step| step.strip_prefix("Class: ")));
    lines.push(match class {
        Some(class) => format!("{class} They are closed in both directions, over IPv4 and IPv6."),
        None => format!("{} is `{}`: no TCP port is closed to it.", vm.id, entry.effective_class),
    });
    if entry.effective_mode == Mode::Monitor {
        lines.push("It is only watched (monitor mode): what would be dropped is counted and forwarded.".into());
    }
    lines.extend(vm.exceptions.iter().map(|one| format!("Exception {}.", render::exception_line(one))));
    for (way, counts) in [("From", &entry.counters.egress), ("To", &entry.counters.ingress)] {
        let VmCounts { allowed, denied, excepted, would_deny } = counts;
        let counted = format!(
            "{allowed} allowed, {denied} denied, {excepted} by an exception or a relay, {would_deny} only watched"
        );
        lines.push(format!("{way} it since the box started, of frames that somebody had to judge: {counted}."));
    }
    lines.extend(render::denials(denials, "it").map(|denial| format!("Denied: {denial}.")));
    lines.extend(last(drops));
    lines.extend(lift);
    lines.iter().map(|line| page.wrapped(line, 2)).collect::<Vec<_>>().join("\n")
}
