//! `portcullis vm set`, `patch` and `delete`: what is typed, as the call that it stands for.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::completions;
use super::records::Records;
use super::remote::Remote;
use crate::control::rpc::Applied;
use crate::failure::{Cause, Failure};
use crate::model::{Boot, MacAddr, Revision};
use crate::text::plain;
use crate::vm::record::{Etag, EtagError, VmId, VmPrefix};

#[derive(Debug, Subcommand)]
pub(super) enum Change {
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
        #[arg(required_unless_present = "file", add = completions::vm())]
        id: Option<VmId>,
        /// Read records from a JSON file, one a line if there are several (`-` is standard input)
        #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "macs", "ips", "public_ipv4", "scope", "tenant", "class", "mode", "note"])]
        file: Option<PathBuf>,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        only: OnlyVm,
    },
    /// Change parts of a VM; what is not named stays
    #[command(after_help = "\
Examples:
  portcullis vm patch web1 --public-ipv4 203.0.113.5       lift the restriction
  portcullis vm patch web1 --no-public-ipv4                and put it back
  portcullis vm patch web1 --class unrestricted --note 'ticket 4711'
  portcullis vm patch web1 --no-class
  portcullis vm patch web1 --add-ip 2001:db8:5::/64        its other addresses stay")]
    Patch {
        /// Its name
        #[arg(add = completions::vm())]
        id: VmId,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        lists: Lists,
        /// Take its public address away
        #[arg(long, conflicts_with = "public_ipv4")]
        no_public_ipv4: bool,
        /// End the override of its class
        #[arg(long, conflicts_with = "class")]
        no_class: bool,
        /// Take its tenant away
        #[arg(long, conflicts_with = "tenant")]
        no_tenant: bool,
        /// Remove the note
        #[arg(long, conflicts_with = "note")]
        no_note: bool,
        /// Take all its MACs away
        #[arg(long, conflicts_with = "macs")]
        no_macs: bool,
        /// Take all its addresses away
        #[arg(long, conflicts_with = "ips")]
        no_ips: bool,
        #[command(flatten)]
        only: OnlyVm,
    },
    /// Forget a VM: its frames are an unknown VM's then
    Delete {
        /// Its name
        #[arg(add = completions::vm())]
        id: VmId,
        #[command(flatten)]
        only: OnlyVm,
    },
}

/// What comes to the lists of a VM, and what goes.
#[derive(Debug, Args)]
pub(super) struct Lists {
    /// A further MAC of it; repeat for more
    #[arg(long = "add-mac", value_name = "MAC", conflicts_with_all = ["macs", "no_macs"])]
    add_macs: Vec<MacAddr>,
    /// A MAC that it has no more; repeat for more
    #[arg(long = "del-mac", value_name = "MAC", conflicts_with_all = ["macs", "no_macs"])]
    del_macs: Vec<MacAddr>,
    /// A further IP address or prefix of it; repeat for more
    #[arg(long = "add-ip", value_name = "IP", conflicts_with_all = ["ips", "no_ips"])]
    add_ips: Vec<VmPrefix>,
    /// An IP address or prefix that it has no more; repeat for more
    #[arg(long = "del-ip", value_name = "IP", conflicts_with_all = ["ips", "no_ips"])]
    del_ips: Vec<VmPrefix>,
}

impl Lists {
    fn put(self, params: &mut Map<String, Value>) {
        let lists = [
            ("add_macs", json!(self.add_macs)),
            ("del_macs", json!(self.del_macs)),
            ("add_ips", json!(self.add_ips)),
            ("del_ips", json!(self.del_ips)),
        ];
        let given = lists.into_iter().filter(|(_, list)| list.as_array().is_some_and(|list| !list.is_empty()));
        params.extend(given.map(|(name, list)| (name.to_owned(), list)));
    }
}

/// Parts of a VM record.
#[derive(Debug, Args)]
pub(super) struct Fields {
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
    /// Whose it is: relays may serve the VMs of one tenant
    #[arg(long, value_name = "LABEL")]
    tenant: Option<String>,
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
        put("tenant", self.tenant.map(Into::into));
        put("class", self.class.map(Into::into));
        put("mode", self.mode.map(Into::into));
        put("note", self.note.map(Into::into));
        params
    }
}

/// When to refuse a change.
#[derive(Debug, Args)]
pub(super) struct Only {
    /// Refuse unless this is the current revision, of this run of the daemon if its boot id is given
    #[arg(long, value_name = "N[@BOOT]")]
    if_revision: Option<AtRevision>,
}

/// When to refuse a change of one VM.
#[derive(Debug, Args)]
pub(super) struct OnlyVm {
    #[command(flatten)]
    only: Only,
    /// Refuse unless the VM is as it was: its etag, as `vm show` has it, or `none` if there must be none
    #[arg(long, value_name = "ETAG", value_parser = etag)]
    if_etag: Option<Expected>,
}

/// The etag that a VM must have; nothing if there must be none.
type Expected = Option<Etag>;

fn etag(text: &str) -> Result<Expected, EtagError> {
    if text == "none" { Ok(None) } else { text.parse().map(Some) }
}

impl OnlyVm {
    pub(super) fn put(&self, params: &mut Map<String, Value>) {
        self.only.put(params);
        if let Some(etag) = self.if_etag {
            params.insert("if_etag".into(), json!(etag));
        }
    }

    fn is_given(&self) -> bool {
        self.only.if_revision.is_some() || self.if_etag.is_some()
    }
}

/// A revision, and of which run of the process: `7`, `7@5f3a0c21`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AtRevision {
    revision: u64,
    boot: Option<Boot>,
}

impl FromStr for AtRevision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (revision, boot) = match text.split_once('@') {
            Some((revision, boot)) => (revision, Some(boot)),
            None => (text, None),
        };
        let revision = revision.parse().map_err(|_| "a revision is a number, as answers name it".to_owned())?;
        let boot = boot.map(str::parse).transpose().map_err(|_| "a boot id is eight hexadecimal digits".to_owned())?;
        Ok(Self { revision, boot })
    }
}

impl Only {
    pub(super) fn put(&self, params: &mut Map<String, Value>) {
        if let Some(at) = self.if_revision {
            at.put("if_revision", params);
        }
    }
}

impl AtRevision {
    pub(super) fn put(self, name: &str, params: &mut Map<String, Value>) {
        params.insert(name.into(), self.revision.into());
        if let Some(boot) = self.boot {
            params.insert("if_boot".into(), boot.to_string().into());
        }
    }
}

impl Change {
    pub(super) fn run(self, remote: &Remote) -> Result<(), Failure> {
        // Whoever reads a file says what is wrong with it before anybody is asked.
        let (method, params) = match self {
            Self::Set { file: Some(path), only, .. } => match Records::read(&path)? {
                Records::One(mut record) => {
                    only.put(&mut record);
                    ("vm.set", record)
                }
                Records::Many(lines) if !only.is_given() => return lines.set(remote),
                Records::Many(_) => {
                    let message = "--if-revision and --if-etag are about one change, and the file has several records";
                    return Err(Failure::new(Cause::Usage, message));
                }
            },
            change => change.call()?,
        };
        let answer = remote.call(&mut remote.connect()?, method, &params)?;
        let id = params.get("id").and_then(Value::as_str).map(|id| plain(id, 64)).unwrap_or_default();
        remote.answer(answer, |&Applied { revision: Revision(revision), changed, applied_us, .. }: &Applied| {
            if changed {
                format!("{id}: revision {revision}, in force on every worker after {applied_us} us")
            } else {
                format!("{id}: nothing to change, revision {revision}")
            }
        })
    }

    /// The method and its parameters; a file is not read.
    pub(super) fn call(self) -> Result<(&'static str, Map<String, Value>), Failure> {
        match self {
            Self::Set { id, fields, only, .. } => {
                let Some(id) = id else { return Err(Failure::new(Cause::Usage, "a VM's name or --file is needed")) };
                let mut params = fields.into_params(&id);
                only.put(&mut params);
                Ok(("vm.set", params))
            }
            Self::Patch { id, fields, lists, no_public_ipv4, no_tenant, no_class, no_note, no_macs, no_ips, only } => {
                let mut params = fields.into_params(&id);
                lists.put(&mut params);
                for (asked, name, value) in [
                    (no_public_ipv4, "public_ipv4", Value::Null),
                    (no_tenant, "tenant", Value::Null),
                    (no_class, "class", Value::Null),
                    (no_note, "note", Value::Null),
                    (no_macs, "macs", json!([])),
                    (no_ips, "ips", json!([])),
                ] {
                    if asked {
                        params.insert(name.into(), value);
                    }
                }
                only.put(&mut params);
                Ok(("vm.patch", params))
            }
            Self::Delete { id, only } => {
                let mut params = Map::from_iter([("id".to_owned(), json!(id))]);
                only.put(&mut params);
                Ok(("vm.delete", params))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_may_name_its_boot() {
        assert_eq!("7".parse(), Ok(AtRevision { revision: 7, boot: None }));
        assert_eq!("7@5f3a0c21".parse(), Ok(AtRevision { revision: 7, boot: Some(Boot(0x5f3a_0c21)) }));
        for text in ["", "x", "-1", "7@", "7@5f3a0c2", "@5f3a0c21", "7@5f3a0c21@1"] {
            assert!(text.parse::<AtRevision>().is_err(), "{text}");
        }
    }
}
