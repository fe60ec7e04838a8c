//! `portcullis exception`: what single VMs may do though their class closes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::change::OnlyVm;
use super::completions;
use super::layout::{Grid, Page};
use super::remote::Remote;
use super::render::duration;
use crate::control::rpc::{Applied, ExceptionEntry, ExceptionsAnswer};
use crate::failure::{Cause, Failure};
use crate::model::{Moment, Peer, Revision};
use crate::policy::PortRange;
use crate::text::plain;
use crate::vm::record::{ExceptionName, VmId};

#[derive(Debug, Args)]
pub(super) struct ExceptionArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: ExceptionCommand,
}

#[derive(Debug, Subcommand)]
enum ExceptionCommand {
    /// Let a VM do what its class closes, for a time or for good
    #[command(after_help = "\
Examples:
  portcullis exception add web1 --ports 587 --until 2h --ticket 4711
  portcullis exception add web1 --ports 25,465,587 --peer 192.0.2.25 --permanent --name smarthost --reason 'agreed by phone'
  portcullis exception add web1 --class mta-only --until 2027-01-01T00:00:00Z --ticket 4711

An exception of the same name is replaced, so a longer time is given by adding it again.")]
    Add {
        /// Whose: the VM's name
        #[arg(add = completions::vm())]
        vm: VmId,
        /// TCP ports that it opens, or ranges of them
        #[arg(long, value_name = "PORTS", value_delimiter = ',', required_unless_present = "class")]
        ports: Vec<PortRange>,
        /// It opens whatever this class does not close
        #[arg(long, value_name = "CLASS", conflicts_with = "ports")]
        class: Option<String>,
        /// Towards this address or prefix only
        #[arg(long, value_name = "IP")]
        peer: Option<Peer>,
        /// When it ends: a time from now (90s, 15m, 2h, 3days), or a moment (2026-12-01T10:00:00Z)
        #[arg(long, value_name = "TIME", value_parser = until, required_unless_present = "permanent")]
        until: Option<Moment>,
        /// It does not end by itself
        #[arg(long, conflicts_with = "until")]
        permanent: bool,
        /// Why it is made
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// What it is made for
        #[arg(long, value_name = "TEXT")]
        ticket: Option<String>,
        /// How it is called [default: the ticket]
        #[arg(long, value_name = "NAME", required_unless_present = "ticket")]
        name: Option<ExceptionName>,
        #[command(flatten)]
        only: OnlyVm,
    },
    /// Take an exception from a VM before it ends
    Remove {
        /// Whose: the VM's name
        #[arg(add = completions::vm())]
        vm: VmId,
        /// Which
        name: ExceptionName,
        #[command(flatten)]
        only: OnlyVm,
    },
    /// List the exceptions of a VM, or of all
    List {
        /// Whose: the VM's name
        #[arg(add = completions::vm())]
        vm: Option<VmId>,
    },
}

/// A moment as people type it: a time from now, or itself.
fn until(text: &str) -> Result<Moment, String> {
    match (text.parse::<Moment>(), humantime::parse_duration(text)) {
        (Ok(moment), _) => Ok(moment),
        (_, Ok(time)) if time >= Duration::from_secs(1) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(Moment::of_unix(now.saturating_add(time).as_secs()))
        }
        _ => {
            Err("write a time from now, of a second at least (90s, 15m, 2h, 3days), or a moment (2026-12-01T10:00:00Z)"
                .into())
        }
    }
}

impl ExceptionArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { remote, command } = self;
        match command {
            ExceptionCommand::List { vm } => list(&remote, vm.as_ref()),
            change => {
                let (method, params) = change.call()?;
                let answer = remote.call(&mut remote.connect()?, method, &params)?;
                let word = |member: &str| params.get(member).and_then(Value::as_str).map(|word| plain(word, 64));
                let what = format!("{} of {}", word("name").unwrap_or_default(), word("vm").unwrap_or_default());
                remote.answer(answer, |&Applied { revision: Revision(revision), changed, applied_us, .. }: &Applied| {
                    match changed {
                        true => format!("{what}: revision {revision}, in force on every worker after {applied_us} us"),
                        false => format!("{what}: nothing to change, revision {revision}"),
                    }
                })
            }
        }
    }

    /// The change that it is.
    #[cfg(feature = "testkit")]
    pub(super) fn call(self) -> Result<(&'static str, Map<String, Value>), Failure> {
        self.command.call()
    }
}

impl ExceptionCommand {
    fn call(self) -> Result<(&'static str, Map<String, Value>), Failure> {
        match self {
            Self::Add { vm, ports, class, peer, until, permanent, reason, ticket, name, only } => {
                let name = match (name, &ticket) {
                    (Some(name), _) => name,
                    (None, Some(ticket)) => ticket.parse().map_err(|error| {
                        Failure::new(
                            Cause::Usage,
                            format_args!("the ticket cannot be its name, so --name is needed: {error}"),
                        )
                    })?,
                    (None, None) => return Err(Failure::new(Cause::Usage, "--name or --ticket is needed")),
                };
                let mut params = Map::from_iter([("vm".to_owned(), json!(vm)), ("name".to_owned(), json!(name))]);
                let members = [
                    ("ports", (!ports.is_empty()).then(|| json!(ports))),
                    ("class", class.map(Value::from)),
                    ("peer", peer.map(|peer| json!(peer))),
                    ("until", until.map(|until| json!(until))),
                    ("permanent", permanent.then_some(json!(true))),
                    ("reason", reason.map(Value::from)),
                    ("ticket", ticket.map(Value::from)),
                ];
                params.extend(members.into_iter().filter_map(|(member, value)| Some((member.to_owned(), value?))));
                only.put(&mut params);
                Ok(("exception.add", params))
            }
            Self::Remove { vm, name, only } => {
                let mut params = Map::from_iter([("vm".to_owned(), json!(vm)), ("name".to_owned(), json!(name))]);
                only.put(&mut params);
                Ok(("exception.remove", params))
            }
            Self::List { .. } => Err(Failure::new(Cause::Usage, "no change")),
        }
    }
}

/// Every page of `exception.list`.
fn list(remote: &Remote, vm: Option<&VmId>) -> Result<(), Failure> {
    let (mut client, mut found, mut after) = (remote.connect()?, Vec::new(), None);
    let (revision, now) = loop {
        let mut params = Map::new();
        params.extend(vm.map(|vm| ("vm".to_owned(), json!(vm))));
        params.extend(after.map(|after: VmId| ("after".to_owned(), json!(after))));
        let page: ExceptionsAnswer = remote.ask(&mut client, "exception.list", &params)?;
        found.extend(page.exceptions);
        after = page.next;
        if after.is_none() {
            break (page.revision, page.now);
        }
    };
    super::out::print(&match remote.json {
        true => json!({ "exceptions": found, "now": now, "revision": revision }).to_string(),
        false => shown(&found, revision, Page::of_stdout()),
    })
}

fn shown(found: &[ExceptionEntry], Revision(revision): Revision, page: Page) -> String {
    if found.is_empty() {
        return format!("no exceptions, revision {revision}");
    }
    let mut grid = Grid::new(&["VM", "exception", "opens", "towards", "ends", "ticket", "reason"], 7..7);
    for ExceptionEntry { vm, exception, left_s } in found {
        let text = |text: &Option<String>| text.as_ref().map_or_else(|| "-".into(), |text| plain(text, 64));
        grid.row([
            vm.to_string(),
            exception.name.to_string(),
            plain(&exception.opens.to_string(), 128),
            exception.peer.map_or_else(|| "anybody".into(), |peer| peer.to_string()),
            match (exception.until, left_s) {
                (None, _) | (_, None) => "never".into(),
                (Some(_), Some(0)) => "over".into(),
                (Some(until), Some(left)) => format!("{until} (in {})", duration(*left)),
            },
            text(&exception.ticket),
            text(&exception.reason),
        ]);
    }
    format!("{}\n{} exception(s), revision {revision}\n", grid.show(page), found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_from_now_or_a_moment() {
        assert_eq!(until("2026-12-01T10:00:00Z").unwrap().to_string(), "2026-12-01T10:00:00Z");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h", 7200), ("3days", 259_200), ("1h 30min", 5400)] {
            let left = until(text).unwrap().unix() - now;
            assert!((seconds..seconds + 60).contains(&left), "{text}: {left} s");
        }
        for text in ["", "0s", "500ms", "tomorrow", "-2h", "2", "2026-12-01"] {
            assert!(until(text).is_err(), "{text}");
        }
    }
}
