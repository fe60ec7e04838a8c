//! `portcullis vm`: the VMs of a running daemon.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::layout::Page;
use super::remote::Remote;
use super::{records, render};
use crate::control::client::Client;
use crate::control::rpc::Applied;
use crate::control::wire::{self, Entry};
use crate::failure::{Cause, Failure};
use crate::model::{MacAddr, Mode, Revision};
use crate::text::plain;
use crate::vm::record::{VmId, VmPrefix};

#[derive(Debug, Args)]
pub(super) struct VmArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: VmCommand,
}

#[derive(Debug, Subcommand)]
enum VmCommand {
    /// Make a VM, or replace its inventory; what the operator said before (class, mode, note) stays unless given
    #[command(after_help = "\
Examples:
  portcullis vm set web1 --mac 52:54:00:00:00:01 --ip 10.0.0.5 --ip 2001:db8::5
  portcullis vm set web1 --mac 52:54:00:00:00:01 --ip 10.0.0.5 --public-ipv4 203.0.113.5
  portcullis vm set --file inventory.jsonl                 one JSON object a line
  producer | portcullis vm set --file -                    the same from a pipe

With several records each is set for itself: bad ones are named, by their lines, the others are set.")]
    Set {
        /// Its name: 1 to 64 of A-Z a-z 0-9 . _ : -
        #[arg(required_unless_present = "file")]
        id: Option<VmId>,
        /// Read records from a JSON file, one a line if there are several (`-` is standard input)
        #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "macs", "ips", "public_ipv4", "scope", "class", "mode", "note"])]
        file: Option<PathBuf>,
        #[command(flatten)]
        fields: Fields,
        /// Refuse unless this is the current revision
        #[arg(long, value_name = "N")]
        if_revision: Option<u64>,
    },
    /// Change parts of a VM; what is not named stays
    #[command(after_help = "\
Examples:
  portcullis vm patch web1 --public-ipv4 203.0.113.5       lift the restriction
  portcullis vm patch web1 --no-public-ipv4                and put it back
  portcullis vm patch web1 --class unrestricted --note 'ticket 4711'
  portcullis vm patch web1 --no-class")]
    Patch {
        /// Its name
        id: VmId,
        #[command(flatten)]
        fields: Fields,
        /// Take its public address away
        #[arg(long, conflicts_with = "public_ipv4")]
        no_public_ipv4: bool,
        /// End the override of its class
        #[arg(long, conflicts_with = "class")]
        no_class: bool,
        /// Remove the note
        #[arg(long, conflicts_with = "note")]
        no_note: bool,
        /// Take all its MACs away
        #[arg(long, conflicts_with = "macs")]
        no_macs: bool,
        /// Take all its addresses away
        #[arg(long, conflicts_with = "ips")]
        no_ips: bool,
        /// Refuse unless this is the current revision
        #[arg(long, value_name = "N")]
        if_revision: Option<u64>,
    },
    /// Forget a VM: its frames are an unknown VM's then
    Delete {
        /// Its name
        id: VmId,
        /// Refuse unless this is the current revision
        #[arg(long, value_name = "N")]
        if_revision: Option<u64>,
    },
    /// Show a VM, its class and what was judged of it
    Show {
        /// Its name
        id: VmId,
    },
    /// List VMs in the order of their names
    #[command(after_help = "\
Examples:
  portcullis vm list --class restricted --id web
  portcullis vm list --ip 10.0.0.5             whose address is it?
  portcullis vm list --mode monitor --json | jq -r .vms[].vm.id")]
    List(Filter),
}

/// Which VMs to list: those for which all of it is true.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Judged by this class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// In this mode in the end, VM, class and box considered
    #[arg(long, value_parser = ["enforce", "monitor"])]
    mode: Option<String>,
    /// Names that begin so
    #[arg(long, value_name = "PREFIX")]
    id: Option<String>,
    /// Those with this address, listed or within a prefix
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        let mode = if entry.mode() == Mode::Monitor { "monitor" } else { "enforce" };
        self.class.as_ref().is_none_or(|class| *class == entry.effective_class)
            && self.mode.as_ref().is_none_or(|wanted| wanted == mode)
            && self.id.as_ref().is_none_or(|prefix| entry.vm.id.to_string().starts_with(prefix))
            && self.ip.is_none_or(|ip| entry.vm.prefixes().any(|prefix| prefix.contains(&ip)))
    }
}

/// Parts of a VM record.
#[derive(Debug, Args)]
struct Fields {
    /// A station address of it; repeat for more (at most 8)
    #[arg(long = "mac", value_name = "MAC")]
    macs: Vec<MacAddr>,
    /// An IP address or prefix of it; repeat for more (at most 64)
    #[arg(long = "ip", value_name = "IP")]
    ips: Vec<VmPrefix>,
    /// Its public IPv4 address: a VM with one is unrestricted
    #[arg(long, value_name = "ADDRESS")]
    public_ipv4: Option<Ipv4Addr>,
    /// The scope in which its addresses are looked up
    #[arg(long, value_name = "N")]
    scope: Option<u16>,
    /// Override its class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Drop what is denied (enforce), or only count it (monitor)
    #[arg(long, value_parser = ["enforce", "monitor"])]
    mode: Option<String>,
    /// A remark, e.g. a ticket number
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Fields {
    fn into_params(self, id: &VmId) -> Map<String, Value> {
        let mut params = Map::new();
        params.insert("id".into(), json!(id));
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                params.insert(name.into(), value);
            }
        };
        put("macs", (!self.macs.is_empty()).then(|| json!(self.macs)));
        put("ips", (!self.ips.is_empty()).then(|| json!(self.ips)));
        put("public_ipv4", self.public_ipv4.map(|address| json!(address)));
        put("scope", self.scope.map(Into::into));
        put("class", self.class.map(Into::into));
        put("mode", self.mode.map(Into::into));
        put("note", self.note.map(Into::into));
        params
    }
}

impl VmArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { remote, command } = self;
        // Whoever reads a file says what is wrong with it before anybody is asked.
        let command = match command {
            VmCommand::Set { file: Some(path), if_revision, .. } => {
                return set_records(&remote, records::Records::read(&path)?, if_revision);
            }
            command => command,
        };
        let mut client = remote.connect()?;
        match command {
            VmCommand::Set { id, fields, if_revision, .. } => {
                let Some(id) = id else { return Err(Failure::new(Cause::Usage, "a VM's name or --file is needed")) };
                let mut params = fields.into_params(&id);
                guard(&mut params, if_revision);
                change(&remote, &mut client, "vm.set", &params)
            }
            VmCommand::Patch { id, fields, no_public_ipv4, no_class, no_note, no_macs, no_ips, if_revision } => {
                let mut params = fields.into_params(&id);
                for (asked, name, value) in [
                    (no_public_ipv4, "public_ipv4", Value::Null),
                    (no_class, "class", Value::Null),
                    (no_note, "note", Value::Null),
                    (no_macs, "macs", json!([])),
                    (no_ips, "ips", json!([])),
                ] {
                    if asked {
                        params.insert(name.into(), value);
                    }
                }
                guard(&mut params, if_revision);
                change(&remote, &mut client, "vm.patch", &params)
            }
            VmCommand::Delete { id, if_revision } => {
                let mut params = Map::from_iter([("id".to_owned(), json!(id))]);
                guard(&mut params, if_revision);
                change(&remote, &mut client, "vm.delete", &params)
            }
            VmCommand::Show { id } => {
                let answer = remote.call(&mut client, "vm.get", &json!({ "id": id }))?;
                remote.answer(answer, |entry: &Entry| render::vm(entry, Page::of_stdout()))
            }
            VmCommand::List(filter) => list(&remote, &mut client, &filter),
        }
    }
}

fn set_records(remote: &Remote, records: records::Records, if_revision: Option<u64>) -> Result<(), Failure> {
    let one = match records {
        records::Records::One(record) => Some(record),
        records::Records::Many(lines) if if_revision.is_none() => return lines.set(remote),
        records::Records::Many(_) => None,
    };
    let Some(mut record) = one else {
        return Err(Failure::new(Cause::Usage, "--if-revision is about one change, and the file has several records"));
    };
    guard(&mut record, if_revision);
    change(remote, &mut remote.connect()?, "vm.set", &record)
}

fn change(remote: &Remote, client: &mut Client, method: &str, params: &Map<String, Value>) -> Result<(), Failure> {
    let answer = remote.call(client, method, params)?;
    let id = params.get("id").and_then(Value::as_str).map(|id| plain(id, 64)).unwrap_or_default();
    remote.answer(answer, |&Applied { revision: Revision(revision), changed, applied_us, .. }: &Applied| {
        if changed {
            format!("{id}: revision {revision}, in force on every worker after {applied_us} us")
        } else {
            format!("{id}: nothing to change, revision {revision}")
        }
    })
}

fn guard(params: &mut Map<String, Value>, if_revision: Option<u64>) {
    if let Some(revision) = if_revision {
        params.insert("if_revision".into(), revision.into());
    }
}

/// Every page of `vm.list`, and of it what is wanted.
fn list(remote: &Remote, client: &mut Client, filter: &Filter) -> Result<(), Failure> {
    let (mut vms, mut entries, mut after) = (Vec::new(), Vec::new(), None);
    let revision = loop {
        let params = after.map_or_else(|| json!({}), |after: VmId| json!({ "after": after }));
        let answer = remote.call(client, "vm.list", &params)?;
        let raw = answer.get("vms").and_then(Value::as_array).cloned().unwrap_or_default();
        let page: wire::Page = remote.understand(answer)?;
        for (value, entry) in raw.into_iter().zip(page.vms).filter(|(_, entry)| filter.takes(entry)) {
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
