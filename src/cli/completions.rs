//! `portcullis completions`: the shell completes commands, options, and the names of VMs.
//!
//! The shell asks this program itself at each Tab (`PORTCULLIS_COMPLETE=SHELL portcullis -- WORDS`), so what it offers is what there is.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use serde_json::{Value, json};

use super::Cli;
use crate::config::DEFAULT_SOCKET;
use crate::control::client::Client;
use crate::failure::{Cause, Failure};

/// The variable by which the shell asks. Not clap's `COMPLETE`, which somebody may have for something else: no command would run.
const ASKS: &str = "PORTCULLIS_COMPLETE";
/// How long a daemon may take that is asked for names: somebody waits at a prompt.
const PATIENCE: Duration = Duration::from_millis(500);
/// Names that are offered at a time.
const OFFERED: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis completions zsh > /usr/local/share/zsh/site-functions/_portcullis
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish

Names of VMs are those of the running daemon; PORTCULLIS_SOCKET says where, if not at the default.")]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

impl CompletionsArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let name = self.shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let shells = Shells::builtins();
        let mut script = Vec::new();
        shells
            .completer(&name)
            .ok_or_else(|| std::io::Error::other("there is none for it"))
            .and_then(|shell| shell.write_registration(ASKS, "portcullis", "portcullis", "portcullis", &mut script))
            .map_err(|error| Failure::new(Cause::Bug, format_args!("completions for {name}: {error}")))?;
        super::out::print(String::from_utf8_lossy(&script).trim_end())
    }
}

/// Answers the shell and ends, if it is the shell that asks.
pub(super) fn answer() {
    CompleteEnv::with_factory(Cli::command).var(ASKS).complete();
}

/// Completes the name of a VM.
pub(super) fn vm() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| names(begun).unwrap_or_default())
}

/// Names of VMs that begin so; nothing if nobody can be asked.
fn names(begun: &OsStr) -> Option<Vec<CompletionCandidate>> {
    let socket = std::env::var_os("PORTCULLIS_SOCKET").unwrap_or_else(|| DEFAULT_SOCKET.into());
    let mut client = Client::connect_with(Path::new(&socket), PATIENCE).ok()?;
    let params = json!({"limit": OFFERED, "filter": {"id_prefix": begun.to_str()?}});
    let answer = client.call("vm.list", &params).ok()?;
    let names = answer.get("vms").and_then(Value::as_array)?.iter().filter_map(|entry| {
        let class = entry.get("effective_class").and_then(Value::as_str).map(|class| class.to_owned().into());
        Some(CompletionCandidate::new(entry.get("vm")?.get("id")?.as_str()?).help(class))
    });
    Some(names.collect())
}
