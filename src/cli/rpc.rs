//! `portcullis rpc`: any call of the control socket, as its documentation has it.

use std::io::Read;

use clap::Args;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::{Map, Value, json};

use super::out::{Reader, print, print_more};
use super::remote::{Remote, failure};
use crate::control::rpc::METHODS;
use crate::failure::{Cause, Failure};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis rpc                                        the methods that there are
  portcullis rpc vm.get '{\"id\":\"web1\"}'
  portcullis rpc txn - < change.json                    parameters from standard input
  portcullis rpc watch | jq -c .params                  goes on with what it is told

Printed is the result, one JSON object; with --json a refusal is, too. What methods take: docs/control.md.")]
pub(super) struct RpcArgs {
    #[command(flatten)]
    remote: Remote,
    /// The method; without it, they are listed
    #[arg(value_name = "METHOD", add = ArgValueCompleter::new(methods))]
    method: Option<String>,
    /// Its parameters, a JSON object; - reads them from standard input
    #[arg(value_name = "PARAMS")]
    params: Option<String>,
}

fn methods(typed: &std::ffi::OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    METHODS.iter().filter(|method| method.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

impl RpcArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let params = match self.params.as_deref() {
            None => Map::new(),
            Some("-") => {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map_err(|error| Failure::io(Cause::Usage, &error, format_args!("standard input: {error}")))?;
                object("standard input", &text)?
            }
            Some(text) => object("PARAMS", text)?,
        };
        let mut client = self.remote.connect()?;
        let Some(method) = &self.method else {
            let answer = self.remote.call(&mut client, "rpc.methods", &json!({}))?;
            let names = answer.get("methods").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            return print(&match self.remote.json {
                true => answer.to_string(),
                false => names.collect::<Vec<_>>().join("\n"),
            });
        };
        print(&self.remote.call(&mut client, method, &params)?.to_string())?;
        if method == "watch" {
            loop {
                let told = client.next_notification().map_err(failure)?;
                if print_more(&told.to_string())? == Reader::Gone {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn object(from: &str, text: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let message = format_args!("{from}: parameters are one JSON object, as {{\"id\":\"web1\"}}: {error}");
        Failure::new(Cause::Usage, message)
    })
}
