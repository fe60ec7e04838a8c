//! `portcullis policy` and `portcullis reload`: what decides beside the VMs, on a running daemon.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::change::Only;
use super::remote::Remote;
use crate::config::{Config, DEFAULT_CONFIG};
use crate::control::rpc::{Applied, PolicyAnswer, Reloaded};
use crate::failure::{Cause, Failure};
use crate::policy::Origin;
use crate::policy::document::Document;

#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Show the policy that is in force: in TOML as the configuration has it, with --json as `policy.set` takes it
    Show,
    /// Show what would change if a file were applied
    #[command(after_help = "\
Examples:
  portcullis policy diff                                       the configuration file against what is in force
  portcullis policy show >p.toml; $EDITOR p.toml; portcullis policy diff p.toml")]
    Diff {
        /// A policy, as `show` prints it, or a whole configuration; - is standard input
        #[arg(default_value = DEFAULT_CONFIG)]
        file: PathBuf,
    },
    /// Make the policy of a file what is in force, whole: what the file leaves out has its default
    #[command(after_help = "\
Examples:
  portcullis policy apply p.toml
  portcullis policy show --json | jq '.document | .class.restricted.ports += [2525]' | portcullis policy apply -

It holds until it is changed again, over restarts if there is a store, or until `portcullis reload`.")]
    Apply {
        /// A policy, as `show` prints it, or a whole configuration; - is standard input
        file: PathBuf,
        #[command(flatten)]
        only: Only,
    },
    /// Change a part of the policy: a JSON merge patch (RFC 7396)
    #[command(after_help = "\
Examples:
  portcullis policy patch '{\"policy\":{\"mode\":\"monitor\"}}'
  portcullis policy patch '{\"class\":{\"mta-only\":{\"ports\":[465,587]}}}'
  portcullis policy patch '{\"class\":{\"mta-only\":null}}'        the class is gone, if no VM has it")]
    Patch {
        /// What is to be laid over it: null takes away, lists are replaced whole
        #[arg(value_name = "JSON")]
        patch: String,
        #[command(flatten)]
        only: Only,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
It is what SIGHUP does, with an answer. Ports, memory, the table's size and paths change by a restart only: such keys
are named. A file that cannot be used changes nothing (exit code 65).")]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    only: Only,
}

impl PolicyArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { remote, command } = self;
        match command {
            PolicyCommand::Show => {
                let answer = remote.call(&mut remote.connect()?, "policy.get", &json!({}))?;
                remote.answer(answer, shown)
            }
            PolicyCommand::Diff { file } => {
                let document = read(&file)?;
                let now: PolicyAnswer = remote.ask(&mut remote.connect()?, "policy.get", &json!({}))?;
                diff(&remote, &now, document, &file)
            }
            PolicyCommand::Apply { file, only } => {
                let document = json!(read(&file)?);
                let mut params = document.as_object().cloned().unwrap_or_default();
                only.put(&mut params);
                change(&remote, "policy.set", &params)
            }
            PolicyCommand::Patch { patch, only } => {
                let usage =
                    |what: String| Failure::new(Cause::Usage, format_args!("the patch is no JSON object: {what}"));
                let mut params: Map<String, Value> =
                    serde_json::from_str(&patch).map_err(|error| usage(error.to_string()))?;
                only.put(&mut params);
                change(&remote, "policy.patch", &params)
            }
        }
    }
}

impl ReloadArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let mut params = Map::new();
        self.only.put(&mut params);
        let answer = self.remote.call(&mut self.remote.connect()?, "config.reload", &params)?;
        self.remote.answer(answer, |Reloaded { applied, needs_restart }: &Reloaded| {
            let mut words = outcome(applied);
            if !needs_restart.is_empty() {
                words += &format!("\nwaiting for a restart: {}", needs_restart.join(", "));
            }
            words
        })
    }
}

fn change(remote: &Remote, method: &str, params: &Map<String, Value>) -> Result<(), Failure> {
    let answer = remote.call(&mut remote.connect()?, method, params)?;
    remote.answer(answer, outcome)
}

fn outcome(applied: &Applied) -> String {
    let &Applied { revision, changed, applied_us, durable, .. } = applied;
    match changed {
        true => {
            let kept = if durable { "" } else { "; not on disk" };
            format!("policy: revision {}, in force on every worker after {applied_us} us{kept}", revision.0)
        }
        false => format!("policy: nothing to change, revision {}", revision.0),
    }
}

/// A policy for people: TOML, so that it can be applied as it is printed.
fn shown(answer: &PolicyAnswer) -> String {
    let origin = match answer.origin {
        Origin::Configuration => "the configuration file",
        Origin::Socket => "the control socket; `portcullis reload` returns to the configuration file",
    };
    let mut text = format!("# revision {}@{}, from {origin}\n", answer.revision.0, answer.boot);
    for remark in &answer.remarks {
        text += &format!("# {}: {}\n", remark.key, remark.message);
    }
    text + "\n" + &toml(&answer.document)
}

fn toml(document: &Document) -> String {
    // Nothing in a document is unknown to TOML.
    toml::to_string(document).unwrap_or_default()
}

fn diff(remote: &Remote, now: &PolicyAnswer, mut wanted: Document, file: &Path) -> Result<(), Failure> {
    // As `show` would print it: defaults written out, links without a word left out.
    wanted.classes.entry(crate::policy::RESTRICTED.to_owned()).or_insert_with(|| {
        Document::of(&crate::policy::Settings::default()).classes.remove(crate::policy::RESTRICTED).unwrap_or_default()
    });
    wanted.links.retain(|_, link| *link != crate::policy::document::LinkSection::default());
    let (is, will) = (toml(&now.document), toml(&wanted));
    let same = is == will;
    if remote.json {
        let answer = json!({ "same": same, "in_force": now.document, "file": wanted, "revision": now.revision });
        return super::out::print(&answer.to_string());
    }
    if same {
        return super::out::print(&format!("{}: nothing would change", file.display()));
    }
    let diff = similar::TextDiff::from_lines(&is, &will);
    let names = (format!("in force, revision {}", now.revision.0), file.display().to_string());
    super::out::print(&diff.unified_diff().context_radius(2).header(&names.0, &names.1).to_string())
}

/// A policy in TOML or JSON, or the one of a whole configuration.
fn read(file: &Path) -> Result<Document, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|error| Failure::io(Cause::Usage, &error, format_args!("{}: {error}", file.display())))?;
    let wrong =
        |what: String| Failure::new(Cause::Configuration, format_args!("{}: {}", file.display(), what.trim_end()));
    if text.trim_start().starts_with('{') {
        let mut json = serde_json::Deserializer::from_str(&text);
        return serde_path_to_error::deserialize(&mut json).map_err(|error| wrong(error.to_string()));
    }
    let table: toml::Table = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    // Only a configuration has a list of links, or sections that are not policy's.
    let is_policy = |(key, value): (&String, &toml::Value)| {
        matches!(key.as_str(), "policy" | "class") || (key == "link" && !value.is_array())
    };
    if table.iter().all(is_policy) {
        toml::from_str(&text).map_err(|error| wrong(error.to_string()))
    } else {
        Ok(Config::parse(&text, file)?.document())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_from_toml_json_and_configurations() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p");
        let document = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file).map_err(|failure| failure.message)
        };
        let toml = "[class.x]\nports = [1]\n[link.uplink.scopes]\n\"*\" = \"refuse\"\n";
        let link = "[[link]]\nname = \"uplink\"\ninside = \"net_null0\"\noutside = \"net_null1\"\nscopes = { \"*\" = \"refuse\" }\n";
        let policy = document(toml).unwrap();
        assert_eq!(document(&json!(policy).to_string()).unwrap(), policy);
        assert_eq!(document(&format!("[class.x]\nports = [1]\n{link}")).unwrap(), policy);
        assert_eq!(document("").unwrap(), Document::default());
        for (text, words) in [
            ("{\"clas\":{}}", "unknown field `clas`"),
            ("{\"class\":{\"x\":{\"ports\":[70000]}}}", "class.x.ports[0]"),
            ("[class.x]\nports = [70000]", "expected a TCP port"),
            ("[clas.x]", "unknown field `clas`"),
            ("= 1", "TOML"),
        ] {
            let error = document(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
