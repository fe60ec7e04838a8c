//! The commands that ask a running daemon how it goes: `stats`, `version`; and how any command reaches it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::layout::Page;
use super::out::Reader;
use super::render::{self, Rank};
use crate::config::DEFAULT_SOCKET;
use crate::control::client::{Client, ClientError};
use crate::control::health::Problem;
use crate::control::rpc::{HealthAnswer, VersionAnswer, Waiting};
use crate::failure::{Cause, Failure};
use crate::policy::Tally;
use crate::telemetry::report::Report;

/// How to reach the daemon, and how to answer.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, env = "PORTCULLIS_SOCKET", global = true)]
    socket: PathBuf,
    /// Print the daemon's answer as one JSON object; an error too, as {"error":{...}}
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis stats                              with rates: two readings, a second apart
  portcullis stats --top 5 --by would_deny      what is only watched and would be denied, most first
  portcullis stats --watch                      again every second, until Ctrl-C
  portcullis stats --json > mark.json           a mark; and later, what was counted since:
  portcullis stats --since mark.json
  portcullis stats --json | jq .reasons")]
pub(super) struct StatsArgs {
    #[command(flatten)]
    remote: Remote,
    /// Show the N VMs that stand out most
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "json", value_parser = clap::value_parser!(u32).range(..1000))]
    top: u32,
    /// By which frames VMs stand out
    #[arg(long, value_name = "TALLY", value_parser = ["allowed", "denied", "excepted", "would_deny"], default_value = "denied", conflicts_with = "json")]
    by: String,
    /// Seconds between the two readings that rates are made of; 0 leaves the rates out
    #[arg(long, value_name = "S", default_value_t = 1, conflicts_with = "json", value_parser = clap::value_parser!(u64).range(..=3600))]
    seconds: u64,
    /// Show it again with every reading, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Only what was counted since a mark: the file has what `stats --json` said
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 69 means that there are problems, or no daemon; with --json the answer is printed all the same.")]
pub(super) struct HealthArgs {
    #[command(flatten)]
    remote: Remote,
}

impl HealthArgs {
    pub(super) fn json(&self) -> bool {
        // The answer itself says what is wrong.
        false
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.call(&mut self.remote.connect()?, "health", &json!({}))?;
        let HealthAnswer { problems, hints, unconfirmed, uptime_s, .. } = self.remote.understand(answer.clone())?;
        if self.remote.json {
            super::out::print(&answer.to_string())?;
        } else if problems.is_empty() {
            super::out::print(&format!("fine, up {uptime_s} s"))?;
        }
        if let Some(Waiting { revision, left_s }) = unconfirmed.filter(|_| !self.remote.json) {
            let revision = revision.0;
            super::out::print(&format!(
                "revision {revision} is undone in {left_s} s unless `portcullis confirm` comes first"
            ))?;
        }
        for hint in hints.iter().filter(|_| !self.remote.json) {
            super::out::print(&format!("hint: {}", hint.message()))?;
        }
        if problems.is_empty() {
            return Ok(());
        }
        let words: Vec<&str> = problems.iter().map(Problem::message).collect();
        Err(Failure::new(Cause::Unavailable, words.join("\n")))
    }
}

#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    #[command(flatten)]
    remote: Remote,
}

impl StatsArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        if self.watch && self.seconds == 0 {
            return Err(Failure::new(
                Cause::Usage,
                "--watch with --seconds 0 would never wait; give it a second at least",
            ));
        }
        let mark = self.since.as_deref().map(mark).transpose()?;
        let counted = |report: Report| match &mark {
            Some(mark) => since(report, mark),
            None => Ok(report),
        };
        let mut client = self.remote.connect()?;
        if self.remote.json {
            let answer = self.remote.call(&mut client, "stats.get", &json!({}))?;
            return super::out::print(&match mark {
                Some(_) => json!(counted(self.remote.understand(answer)?)?).to_string(),
                None => answer.to_string(),
            });
        }
        let by = Tally::ALL.into_iter().find(|tally| tally.name() == self.by).unwrap_or(Tally::Denied);
        let rank = Rank { top: self.top as usize, by };
        // A mark names all of its VMs, and which stand out since is seen only when all are compared.
        let wish = if mark.is_some() { json!({}) } else { self.wish() };
        let mut before: Option<(Report, Instant)> = None;
        if self.seconds > 0 {
            let report = self.remote.ask(&mut client, "stats.get", &json!({ "vms": false }))?;
            before = Some((counted(report)?, Instant::now()));
        }
        loop {
            std::thread::sleep(Duration::from_secs(self.seconds));
            let report = counted(self.remote.ask(&mut client, "stats.get", &wish)?)?;
            let taken = Instant::now();
            let page = Page::of_stdout();
            let earlier = before.as_ref().map(|(report, then)| (report, taken.duration_since(*then)));
            let text = render::report(&report, earlier, rank, page);
            if !self.watch {
                return super::out::print(&text);
            }
            if super::out::print_more(&page.anew(&text))? == Reader::Gone {
                return Ok(());
            }
            before = Some((report, taken));
        }
    }

    /// The VMs that are shown, and one more, so that it can be said that there are more.
    fn wish(&self) -> Value {
        match self.top.saturating_add(1).min(TOP_MAX) {
            1 => json!({ "vms": false }),
            top => json!({ "top": top, "by": self.by }),
        }
    }
}

/// An earlier answer of `stats --json`.
fn mark(path: &Path) -> Result<Report, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::io(Cause::Usage, &error, format_args!("{}: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        let path = path.display();
        Failure::new(Cause::Usage, format_args!("{path}: this is not what `portcullis stats --json` says: {error}"))
    })
}

/// What was counted since a mark, which must be of the same run.
fn since(report: Report, mark: &Report) -> Result<Report, Failure> {
    let boot = |report: &Report| report.daemon.as_ref().map(|daemon| daemon.boot);
    match (boot(mark), boot(&report)) {
        (Some(then), Some(now)) if then != now => {
            let message = format_args!(
                "the mark is of boot {then}, and this is boot {now}: counters have started anew, so there is nothing to compare"
            );
            Err(Failure::new(Cause::Usage, message))
        }
        _ => Ok(report.since(mark)),
    }
}

/// Most VMs that the daemon ranks.
const TOP_MAX: u32 = 1_000;

impl VersionArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    /// This program's version always; the daemon's when it runs.
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut client = Client::connect(&self.remote.socket).ok();
        if self.remote.json {
            let daemon = client.as_mut().and_then(|client| client.call("version", &json!({})).ok());
            return super::out::print(&json!({ "client": crate::VERSION, "daemon": daemon }).to_string());
        }
        let daemon = client.as_mut().and_then(|client| client.call_as::<VersionAnswer>("version", &json!({})).ok());
        super::out::print(&match daemon {
            Some(daemon) => {
                let dpdk = daemon.dpdk.as_deref().unwrap_or("no DPDK");
                format!("portcullis {}\ndaemon {} ({dpdk})", crate::VERSION, daemon.version)
            }
            None => format!("portcullis {}\nno daemon on {}", crate::VERSION, self.remote.socket.display()),
        })
    }
}

impl Remote {
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.socket).map_err(failure)
    }

    /// The same, to wait for answers that take longer.
    pub(super) fn connect_with(&self, timeout: Duration) -> Result<Client, Failure> {
        Client::connect_with(&self.socket, timeout).map_err(failure)
    }

    /// What the daemon answers, as it answers it.
    pub(super) fn call(
        &self,
        client: &mut Client,
        method: &str,
        params: &impl serde::Serialize,
    ) -> Result<Value, Failure> {
        client.call(method, params).map_err(failure)
    }

    /// The same, understood.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        client: &mut Client,
        method: &str,
        params: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        self.understand(self.call(client, method, params)?)
    }

    /// The same for many calls in one line; what is refused is refused for itself.
    pub(super) fn ask_each<T: DeserializeOwned>(
        &self,
        client: &mut Client,
        method: &str,
        params: &[impl serde::Serialize],
    ) -> Result<Vec<Result<T, Failure>>, Failure> {
        let understand = |answer| match answer {
            Ok(answer) => self.understand(answer).map(Ok),
            Err(refusal) => Ok(Err(failure(ClientError::Refused(refusal)))),
        };
        client.call_each(method, params).map_err(failure)?.into_iter().map(understand).collect()
    }

    /// An answer as its type.
    pub(super) fn understand<T: DeserializeOwned>(&self, answer: Value) -> Result<T, Failure> {
        serde_json::from_value(answer).map_err(|error| {
            let path = self.socket.display();
            Failure::new(Cause::Unavailable, format_args!("{path} does not answer like this portcullis: {error}"))
        })
    }

    /// Prints an answer as it is, or in words for people.
    pub(super) fn answer<T: DeserializeOwned>(
        &self,
        answer: Value,
        people: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return super::out::print(&answer.to_string());
        }
        super::out::print(&people(&self.understand(answer)?))
    }
}

pub(super) fn failure(error: ClientError) -> Failure {
    let failure = Failure::new(error.cause(), &error);
    match error {
        ClientError::Refused(refusal) => Failure { data: refusal.data, ..failure },
        _ => failure,
    }
}
