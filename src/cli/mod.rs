//! The command line: what may be typed, and what is printed for people and for programs.

mod check;
mod exit;
mod out;
mod remote;
mod render;
#[cfg(feature = "dpdk")]
mod replay;
#[cfg(feature = "dpdk")]
mod run;

use std::io::IsTerminal as _;
use std::process::ExitCode;

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

Exit codes: 0 done, 64 usage, 65 the daemon refuses, 69 something is not there, 70 a bug, 71 the system refused, 75 something
stood still, 77 permission, 78 configuration.";

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
    /// Change and show the VMs of a running daemon
    Vm(remote::VmArgs),
    /// What a running daemon received, forwarded and dropped
    Stats(remote::StatsArgs),
    /// The version of this program and of a running daemon
    Version(remote::VersionArgs),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    log::say_panics();
    let ended = match Cli::try_parse() {
        Ok(cli) => dispatch(cli.command),
        // Help and version are answers, not errors.
        Err(error) if !error.use_stderr() => out::printed(error.print()),
        Err(error) => {
            // In colour where somebody looks; who does not want to hear it finds the exit code.
            if std::io::stderr().is_terminal() {
                let _ = error.print();
            } else {
                log::last_words(error.render().to_string().trim_end());
            }
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    log::flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::last_words(format_args!("portcullis: {failure}"));
            if failure.cause == Cause::Stuck {
                // Whatever stands still would keep an orderly exit from ending, too.
                signal_hook::low_level::exit(Exit::Stuck as i32);
            }
            ExitCode::from(Exit::from(failure.cause) as u8)
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "dpdk")]
        Command::Replay(args) => args.run(),
        #[cfg(feature = "dpdk")]
        Command::Run(args) => args.run(),
        Command::Check(args) => args.run(),
        Command::Vm(args) => args.run(),
        Command::Stats(args) => args.run(),
        Command::Version(args) => args.run(),
    }
}
