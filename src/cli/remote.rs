//! The commands that talk to a running daemon: `vm`, `stats`, `version`.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::render;
use crate::config::DEFAULT_SOCKET;
use crate::control::client::{Client, ClientError};
use crate::failure::{Cause, Failure};
use crate::model::MacAddr;
use crate::text::plain;
use crate::vm::record::{VmId, VmPrefix};

/// How to reach the daemon, and how to answer.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, global = true)]
    socket: PathBuf,
    /// Print the daemon's answer as one JSON object
    #[arg(long, global = true)]
    json: bool,
}

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
  portcullis vm set --file web1.json")]
    Set {
        /// Its name: 1 to 64 of A-Z a-z 0-9 . _ : -
        #[arg(required_unless_present = "file")]
        id: Option<VmId>,
        /// Read the whole record from a JSON file (`-` is standard input)
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
    List,
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

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    #[command(flatten)]
    remote: Remote,
}

impl VmArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { remote, command } = self;
        let mut client = remote.connect()?;
        match command {
            VmCommand::Set { id, file, fields, if_revision } => {
                let mut params = match (id, file) {
                    (_, Some(path)) => record(&path)?,
                    (Some(id), None) => fields.into_params(&id),
                    (None, None) => return Err(Failure::new(Cause::Usage, "a VM's name or --file is needed")),
                };
                guard(&mut params, if_revision);
                remote.change(&mut client, "vm.set", &params)
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
                remote.change(&mut client, "vm.patch", &params)
            }
            VmCommand::Delete { id, if_revision } => {
                let mut params = Map::from_iter([("id".to_owned(), json!(id))]);
                guard(&mut params, if_revision);
                remote.change(&mut client, "vm.delete", &params)
            }
            VmCommand::Show { id } => {
                let answer = call(&mut client, "vm.get", &json!({ "id": id }))?;
                remote.answer(&answer, render::vm)
            }
            VmCommand::List => list(&remote, &mut client),
        }
    }
}

impl StatsArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = call(&mut self.remote.connect()?, "stats.get", &json!({}))?;
        self.remote.answer(&answer, render::report)
    }
}

impl VersionArgs {
    /// This program's version always; the daemon's when it runs.
    pub(super) fn run(self) -> Result<(), Failure> {
        let daemon =
            Client::connect(&self.remote.socket).ok().and_then(|mut client| client.call("version", &json!({})).ok());
        let answer = json!({ "client": crate::VERSION, "daemon": daemon });
        self.remote.answer(&answer, |answer| match answer.get("daemon") {
            Some(Value::Object(daemon)) => {
                let text = |name: &str| daemon.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
                format!("portcullis {}\ndaemon {} ({})", crate::VERSION, text("version"), text("dpdk"))
            }
            _ => format!("portcullis {}\nno daemon on {}", crate::VERSION, self.remote.socket.display()),
        })
    }
}

impl Remote {
    fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.socket).map_err(|error| failure(&error))
    }

    fn answer(&self, answer: &Value, people: impl Fn(&Value) -> String) -> Result<(), Failure> {
        super::out::print(&if self.json { answer.to_string() } else { people(answer) })
    }

    fn change(&self, client: &mut Client, method: &str, params: &Map<String, Value>) -> Result<(), Failure> {
        let answer = call(client, method, params)?;
        let id = params.get("id").and_then(Value::as_str).map(|id| plain(id, 64)).unwrap_or_default();
        self.answer(&answer, |answer| {
            let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
            match answer.get("changed").and_then(Value::as_bool) {
                Some(true) => {
                    let (revision, us) = (number("revision"), number("applied_us"));
                    format!("{id}: revision {revision}, in force on every worker after {us} us")
                }
                _ => format!("{id}: nothing to change, revision {}", number("revision")),
            }
        })
    }
}

fn call(client: &mut Client, method: &str, params: &impl serde::Serialize) -> Result<Value, Failure> {
    client.call(method, params).map_err(|error| failure(&error))
}

fn failure(error: &ClientError) -> Failure {
    Failure::new(error.cause(), error)
}

fn guard(params: &mut Map<String, Value>, if_revision: Option<u64>) {
    if let Some(revision) = if_revision {
        params.insert("if_revision".into(), revision.into());
    }
}

/// A record from a file, or from standard input.
fn record(path: &Path) -> Result<Map<String, Value>, Failure> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::io(Cause::Usage, &error, format_args!("{}: {error}", path.display())))?;
    let wrong =
        |error: &dyn std::fmt::Display| Failure::new(Cause::Configuration, format_args!("{}: {error}", path.display()));
    match serde_json::from_str(&text).map_err(|error| wrong(&error))? {
        Value::Object(record) => Ok(record),
        _ => Err(wrong(&"a VM record is one JSON object")),
    }
}

/// Every page of `vm.list`.
fn list(remote: &Remote, client: &mut Client) -> Result<(), Failure> {
    let (mut vms, mut after, mut revision) = (Vec::new(), Value::Null, Value::Null);
    loop {
        let params = if after.is_null() { json!({}) } else { json!({ "after": after }) };
        let Value::Object(mut page) = call(client, "vm.list", &params)? else { break };
        if let Some(Value::Array(more)) = page.remove("vms") {
            vms.extend(more);
        }
        revision = page.remove("revision").unwrap_or_default();
        after = page.remove("next").unwrap_or_default();
        if after.is_null() {
            break;
        }
    }
    remote.answer(&json!({ "vms": vms, "revision": revision }), render::vms_listed)
}
