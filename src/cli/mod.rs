//! The command line: what may be typed, and what is printed for people and for programs.

mod apply;
mod capture;
mod change;
mod check;
mod completions;
mod confirm;
#[cfg(feature = "dpdk")]
mod doctor;
mod drops;
mod exception;
mod exit;
mod explain;
mod history;
mod inventory;
mod layout;
mod manual;
mod out;
mod policy;
mod records;
mod remote;
mod render;
#[cfg(feature = "dpdk")]
mod replay;
mod rpc;
#[cfg(feature = "dpdk")]
mod run;
mod store;
mod sync;
mod vm;
mod watch;
mod why;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::VERSION;
use crate::app::log;
use crate::failure::{Cause, Failure};
use exit::Exit;

/// A mail-port firewall on DPDK.
///
/// Portcullis sits between virtual machines and the uplink, forwards every frame unchanged and drops TCP to the mail
/// ports 25, 465 and 587 of VMs without a public IPv4 address.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version = VERSION, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  portcullis replay --vms vms.jsonl --inside from-vms.pcap     judge a capture, no root needed
  portcullis check --config /etc/portcullis/portcullis.toml    is the configuration fine?
  portcullis run --config /etc/portcullis/portcullis.toml      the daemon
  portcullis vm patch web1 --public-ipv4 203.0.113.5           lift a VM's restriction at once

Exit codes: 0 done, 1 and 2 what `doctor` finds, 64 usage, 65 the daemon says no, 69 something is not there, 70 a bug, 71 the system refused,
75 something stood still, 77 permission, 78 configuration. With --json an error is printed as JSON too.

Environment: PORTCULLIS_SOCKET names the control socket, PORTCULLIS_LOG=debug says more, NO_COLOR means no colours.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge captures with the real pipeline and say what was dropped, and why
    #[cfg(feature = "dpdk")]
    Replay(replay::ReplayArgs),
    /// Forward and judge frames between the ports of every link, until told to stop
    #[cfg(feature = "dpdk")]
    Run(run::RunArgs),
    /// Check a configuration, and VM lines, without starting anything
    Check(check::CheckArgs),
    /// What of this machine keeps the box from working, or from being fast, and what mends it
    #[cfg(feature = "dpdk")]
    Doctor(doctor::DoctorArgs),
    /// Change and show the VMs of a running daemon
    Vm(Box<vm::VmArgs>),
    /// Let single VMs do what their class closes, for a time
    Exception(Box<exception::ExceptionArgs>),
    /// Why a frame is forwarded or dropped, and how it could pass
    Explain(Box<explain::ExplainArgs>),
    /// The last frames that were dropped, and why
    Drops(drops::DropsArgs),
    /// Write dropped frames into a capture, with the reason beside each
    Capture(capture::CaptureArgs),
    /// What would be dropped if it were not only watched
    WouldDrop(drops::WouldDropArgs),
    /// Who is denied most of those whom no VM lists
    Unknown(drops::UnknownArgs),
    /// Change VMs and policy together, all of it or nothing
    Apply(apply::ApplyArgs),
    /// Keep what `apply --confirm` changed
    Confirm(confirm::EndArgs),
    /// Undo at once what `apply --confirm` changed
    Rollback(confirm::EndArgs),
    /// Make an inventory all that the box knows of VMs
    Sync(sync::SyncArgs),
    /// Show and change what decides beside the VMs, on a running daemon
    Policy(policy::PolicyArgs),
    /// Make a running daemon read its configuration file again
    Reload(policy::ReloadArgs),
    /// What a running daemon received, forwarded and dropped
    Stats(remote::StatsArgs),
    /// Who changed what on a running daemon
    History(history::HistoryArgs),
    /// Changes of a running daemon, as they are made
    Watch(watch::WatchArgs),
    /// Whether all is well with a running daemon
    Health(remote::HealthArgs),
    /// Any call of the control socket
    Rpc(rpc::RpcArgs),
    /// Examine or export what the daemon keeps on disk
    Store(store::StoreArgs),
    /// Completions for a shell, with the names of VMs
    Completions(completions::CompletionsArgs),
    /// Man pages of every command, for who makes a package
    #[command(hide = true)]
    Manual(manual::ManualArgs),
    /// The version of this program and of a running daemon
    Version(remote::VersionArgs),
}

/// How long who reads an error may take nothing of it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    completions::answer();
    log::say_panics();
    let mut json = false;
    let ended = match Cli::try_parse() {
        Ok(cli) => {
            json = cli.command.json();
            dispatch(cli.command)
        }
        // Help and version are answers, not errors.
        Err(error) if !error.use_stderr() => out::printed(error.print()),
        Err(error) => {
            // In colour where somebody looks; who does not want to hear it finds the exit code.
            let words = error.render().to_string();
            if std::env::args().take_while(|word| word != "--").any(|word| word == "--json") {
                let what = words.lines().next().unwrap_or_default().trim_start_matches("error: ");
                let _ = out::print(&as_json(&Failure::new(Cause::Usage, what)));
            }
            if std::io::stderr().is_terminal() {
                let _ = error.print();
            } else {
                log::last_words(words.trim_end());
            }
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    log::flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::last_words(format_args!("portcullis: {failure}"));
            if json {
                // Who does not want to hear it finds the exit code.
                let _ = log::print(&as_json(&failure), LAST_WORDS);
            }
            if failure.cause == Cause::Stuck {
                // Whatever stands still would keep an orderly exit from ending, too.
                signal_hook::low_level::exit(Exit::Stuck as i32);
            }
            ExitCode::from(Exit::from(failure.cause) as u8)
        }
    }
}

/// A failure for programs: `{"error":{...}}`.
fn as_json(failure: &Failure) -> String {
    let Failure { cause, message, data } = failure;
    let mut error = data.clone();
    error.entry("kind").or_insert_with(|| cause.name().into());
    error.insert("exit_code".into(), exit::code(*cause).into());
    error.insert("message".into(), message.as_str().into());
    serde_json::json!({ "error": error }).to_string()
}

impl Command {
    /// Whether a program reads what is printed.
    fn json(&self) -> bool {
        match self {
            #[cfg(feature = "dpdk")]
            Self::Replay(args) => args.json(),
            #[cfg(feature = "dpdk")]
            Self::Run(args) => args.json(),
            Self::Check(args) => args.json(),
            #[cfg(feature = "dpdk")]
            Self::Doctor(args) => args.json(),
            Self::Vm(args) => args.json(),
            Self::Exception(args) => args.json(),
            Self::Explain(args) => args.json(),
            Self::Drops(args) => args.json(),
            Self::Capture(args) => args.json(),
            Self::WouldDrop(args) => args.json(),
            Self::Unknown(args) => args.json(),
            Self::Apply(args) => args.json(),
            Self::Confirm(args) | Self::Rollback(args) => args.json(),
            Self::Sync(args) => args.json(),
            Self::Policy(args) => args.json(),
            Self::Reload(args) => args.json(),
            Self::Stats(args) => args.json(),
            Self::History(args) => args.json(),
            Self::Watch(args) => args.json(),
            Self::Health(args) => args.json(),
            Self::Rpc(args) => args.json(),
            Self::Store(args) => args.json(),
            Self::Completions(_) | Self::Manual(_) => false,
            Self::Version(args) => args.json(),
        }
    }
}

/// The call that `portcullis vm ...` or `portcullis exception ...` stands for, by its words: for tests of what is printed to be typed.
///
/// # Errors
/// What is wrong with the words.
#[cfg(feature = "testkit")]
pub fn call_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<(&'static str, serde_json::Value), String> {
    match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Vm(args) => args.call(),
        Command::Exception(args) => args.call(),
        _ => return Err("not about VMs".into()),
    }
    .map(|(method, params)| (method, params.into()))
    .map_err(|failure| failure.message)
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "dpdk")]
        Command::Replay(args) => args.run(),
        #[cfg(feature = "dpdk")]
        Command::Run(args) => args.run(),
        Command::Check(args) => args.run(),
        #[cfg(feature = "dpdk")]
        Command::Doctor(args) => args.run(),
        Command::Vm(args) => args.run(),
        Command::Exception(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Drops(args) => args.run(),
        Command::Capture(args) => args.run(),
        Command::WouldDrop(args) => args.run(),
        Command::Unknown(args) => args.run(),
        Command::Apply(args) => args.run(),
        Command::Confirm(args) => args.confirm(),
        Command::Rollback(args) => args.roll_back(),
        Command::Sync(args) => args.run(),
        Command::Policy(args) => args.run(),
        Command::Reload(args) => args.run(),
        Command::Stats(args) => args.run(),
        Command::History(args) => args.run(),
        Command::Watch(args) => args.run(),
        Command::Health(args) => args.run(),
        Command::Rpc(args) => args.run(),
        Command::Store(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Manual(args) => args.run(),
        Command::Version(args) => args.run(),
    }
}
