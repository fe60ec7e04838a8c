//! `portcullis vm`: the VMs of a running daemon.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::change::Change;
use super::completions;
use super::layout::Page;
use super::records::Lines;
use super::remote::Remote;
use super::render;
use super::why::Why;
use crate::control::client::Client;
use crate::control::rpc::{Filter, LookupAnswer, Match, VmAnswer, VmsAnswer};
use crate::failure::{Cause, Failure};
use crate::model::{MacAddr, Mode, Scope};
use crate::vm::record::VmId;

#[derive(Debug, Args)]
pub(super) struct VmArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: VmCommand,
}

#[derive(Debug, Subcommand)]
enum VmCommand {
    #[command(flatten)]
    Change(Box<Change>),
    /// Set every VM of an inventory: JSON Lines, or CSV with named columns
    #[command(after_help = "\
A CSV's first line names its columns, in any case: id (or name, vm), macs (mac), ips (ip, ipv4, ipv6, address), public_ipv4
(public), scope, tenant, class, mode, note. Several MACs or addresses stand in one field, separated by blanks or `;`, or in
several columns. What cannot be set is named by its line, the rest is set (exit code 65).

Examples:
  portcullis vm import inventory.csv --ignore owner
  portcullis vm export | ssh other-box portcullis vm import -")]
    Import {
        /// The inventory; - is standard input
        file: PathBuf,
        /// A column that is not about VMs as the box knows them; repeat for more
        #[arg(long, value_name = "COLUMN")]
        ignore: Vec<String>,
    },
    /// Print every VM, a JSON object a line, as `import` and `set --file` take it
    Export,
    /// Show a VM, its class and what was judged of it
    Show {
        /// Its name
        #[arg(add = completions::vm())]
        id: VmId,
    },
    /// Say what a VM may not do, why, and how to lift it, in words for a tenant's ticket
    #[command(after_help = "\
Examples:
  portcullis vm why web1
  portcullis vm why web1 --peer 192.0.2.25                 towards that server
  portcullis vm why --mac 52:54:00:00:00:01 --ip 10.0.0.5  of what was seen, be it a known VM's or not")]
    Why(Why),
    /// Show whose an address is, as workers see it: a MAC, or an IP address within its longest prefix
    #[command(after_help = "\
Examples:
  portcullis vm lookup 52:54:00:00:00:01
  portcullis vm lookup 2001:db8:5::7 --scope 100")]
    Lookup {
        /// A MAC or an IP address
        address: String,
        /// In this scope only
        #[arg(long, value_name = "N")]
        scope: Option<u16>,
    },
    /// List VMs in the order of their names
    #[command(after_help = "\
Examples:
  portcullis vm list --class restricted --id web
  portcullis vm list --ip 10.0.0.5             whose address is it?
  portcullis vm list --mode monitor --json | jq -r .vms[].vm.id")]
    List(Wanted),
}

/// Which VMs to list: those for which all of it is true.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// Judged by this class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// In this mode in the end, VM, class and box considered
    #[arg(long, value_parser = mode)]
    mode: Option<Mode>,
    /// In this scope
    #[arg(long, value_name = "N")]
    scope: Option<u16>,
    /// Of this tenant
    #[arg(long, value_name = "LABEL")]
    tenant: Option<String>,
    /// Names that begin so
    #[arg(long, value_name = "PREFIX")]
    id: Option<String>,
    /// Those with this address, listed or within a prefix
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
}

fn mode(text: &str) -> Result<Mode, String> {
    serde_json::from_value(text.into()).map_err(|_| "enforce or monitor".to_owned())
}

impl From<Wanted> for Filter {
    fn from(Wanted { class, mode, scope, tenant, id, ip }: Wanted) -> Self {
        Self { class, mode, scope: scope.map(Scope), tenant, id_prefix: id, ip }
    }
}

impl VmArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    /// The change that it is.
    #[cfg(feature = "testkit")]
    pub(super) fn call(self) -> Result<(&'static str, Map<String, Value>), Failure> {
        match self.command {
            VmCommand::Change(change) => change.call(),
            VmCommand::Import { .. }
            | VmCommand::Export
            | VmCommand::Show { .. }
            | VmCommand::Why(_)
            | VmCommand::Lookup { .. }
            | VmCommand::List(_) => Err(Failure::new(crate::failure::Cause::Usage, "no change")),
        }
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { remote, command } = self;
        match command {
            VmCommand::Change(change) => change.run(&remote),
            VmCommand::Show { id } => {
                let answer = remote.call(&mut remote.connect()?, "vm.get", &json!({ "id": id }))?;
                remote.answer(answer, |vm: &VmAnswer| render::vm(&vm.entry, &vm.denials, Page::of_stdout()))
            }
            VmCommand::Import { file, ignore } => Lines::of_inventory(&file, &ignore)?.set(&remote),
            VmCommand::Export => export(&remote, &mut remote.connect()?),
            VmCommand::Why(why) => why.run(&remote),
            VmCommand::Lookup { address, scope } => lookup(&remote, &address, scope),
            VmCommand::List(wanted) => list(&remote, &mut remote.connect()?, wanted.into()),
        }
    }
}

/// Every VM, a page at a time, so that a million need no memory.
fn export(remote: &Remote, client: &mut Client) -> Result<(), Failure> {
    let mut after: Option<VmId> = None;
    loop {
        let params = after.map_or_else(|| json!({}), |after| json!({ "after": after }));
        let page: VmsAnswer = remote.ask(client, "vm.list", &params)?;
        let lines: Vec<String> = page.vms.iter().map(|entry| json!(entry.vm).to_string()).collect();
        if !lines.is_empty() {
            super::out::print(&lines.join("\n"))?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Whose it is; nobody's is an answer, too.
fn lookup(remote: &Remote, address: &str, scope: Option<u16>) -> Result<(), Failure> {
    let member = match (address.parse::<IpAddr>(), address.parse::<MacAddr>()) {
        (Ok(ip), _) => json!({ "ip": ip }),
        (_, Ok(mac)) => json!({ "mac": mac }),
        (Err(_), Err(_)) => {
            let address = crate::text::plain(address, 64);
            let message = format_args!("`{address}` is neither a MAC (52:54:00:00:00:01) nor an IP address");
            return Err(Failure::new(Cause::Usage, message));
        }
    };
    let mut params = member;
    if let (Some(scope), Some(params)) = (scope, params.as_object_mut()) {
        params.insert("scope".into(), scope.into());
    }
    let answer = remote.call(&mut remote.connect()?, "vm.lookup", &params)?;
    remote.answer(answer, |LookupAnswer { matches, revision, .. }: &LookupAnswer| {
        if matches.is_empty() {
            return format!("{address} is nobody's, revision {}", revision.0);
        }
        let page = Page::of_stdout();
        let one = |Match { key, entry }: &Match| format!("by {key}\n{}", render::vm(entry, &[], page));
        matches.iter().map(one).collect::<Vec<_>>().join("\n")
    })
}

/// Every page of `vm.list`, and of it what is wanted.
fn list(remote: &Remote, client: &mut Client, filter: Filter) -> Result<(), Failure> {
    let (mut vms, mut entries, mut after) = (Vec::new(), Vec::new(), None);
    let revision = loop {
        let mut params = Map::new();
        if let Some(after) = &after {
            params.insert("after".into(), json!(after));
        }
        if filter != Filter::default() {
            params.insert("filter".into(), json!(filter));
        }
        let answer = remote.call(client, "vm.list", &params)?;
        let raw = answer.get("vms").and_then(Value::as_array).cloned().unwrap_or_default();
        let page: VmsAnswer = remote.understand(answer)?;
        for (value, entry) in raw.into_iter().zip(page.vms) {
            if remote.json {
                vms.push(value);
            } else {
                entries.push(entry);
            }
        }
        after = page.next;
        if after.is_none() {
            break page.revision;
        }
    };
    super::out::print(&if remote.json {
        json!({ "vms": vms, "revision": revision }).to_string()
    } else {
        render::vms_listed(&entries, revision, Page::of_stdout())
    })
}
