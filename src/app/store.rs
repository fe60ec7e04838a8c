//! The store and the registry, at the start: what was kept is known again, and what changes from then on is kept.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::failure::{Cause, Failure};
use crate::model::Revision;
use crate::policy::Settings;
use crate::policy::document::Document;
use crate::store::open::{self, Examined, Opened};
use crate::store::record::{Before, PolicyBefore};
use crate::store::writer::Store;
use crate::vm::edit::Edit;
use crate::vm::journal::{NoJournal, WayBack};
use crate::vm::policy::PolicyEdit;
use crate::vm::record::VmSet;
use crate::vm::registry::Registry;

/// How long an examination may take; a million VMs take about a second.
const EXAMINATION: Duration = Duration::from_secs(60);
/// How often it is looked whether it is over.
const GLANCE: Duration = Duration::from_millis(2);
/// VMs that are named one by one; of more only the number is said.
const NAMED: usize = 20;

/// Opens the store, if one is configured; both files are examined by processes of their own first. Whatever state it is in,
/// the box starts, and the log says what is wrong.
///
/// `exit_code` is what such a process returns for a cause.
pub fn open(path: Option<&Path>, exit_code: fn(Cause) -> i32) -> Option<Opened> {
    let Some(path) = path else {
        info!("no store is configured (`store.path`): what is changed over the socket ends with this process");
        return None;
    };
    let opened = open::open(path, |path| examine(path, exit_code));
    opened.alarms.iter().for_each(|alarm| error!("{alarm}"));
    Some(opened)
}

/// Makes known what was kept, and keeps what changes from now on.
///
/// # Errors
/// There can be no thread that writes.
pub fn load(opened: Option<Opened>, mut registry: Registry) -> Result<Registry, Failure> {
    let Some(Opened { vms, policy, before, revision, files, clock, .. }) = opened else { return Ok(registry) };
    if let Some(clock) = clock.filter(|&clock| registry.clock().not_before(clock)) {
        warn!("the system's clock is behind: the store has seen {clock}, so exceptions end by that");
    }
    let configured = Arc::clone(registry.settings());
    if let Some(policy) = policy {
        take_policy(&mut registry, policy);
    }
    let (count, left_out) = (vms.len(), take(&mut registry, vms));
    for (id, error) in left_out.iter().take(NAMED) {
        error!("VM {id} of the store is left out, and stays in it until that VM is set anew: {error}");
    }
    if left_out.len() > NAMED {
        error!("{} VMs of the store are left out in all", left_out.len());
    }
    let Some(files) = files else {
        error!("the store is not used in this run: changes end with the process");
        let trouble = Some("the store could not be read at the start".to_owned());
        return Ok(registry.with_journal(NoJournal { trouble }, Revision(0)));
    };
    info!("the store: {count} VMs, revision {}", revision.0);
    let store = Store::start(files, revision).map_err(|error| Failure::new(Cause::Os, error))?;
    let mut registry = registry.with_journal(store, revision);
    if let Some(before) = before {
        go_back(&mut registry, before, configured);
    }
    Ok(registry)
}

/// Undoes the change that nobody had confirmed when the process ended.
fn go_back(registry: &mut Registry, before: Before, configured: Arc<Settings>) {
    let vms = before.vms.into_iter().map(|(id, vm)| Edit::Restore(id, vm));
    let policy = before.policy.map(|policy| match policy {
        PolicyBefore::Configuration => Edit::Settings(configured),
        PolicyBefore::Document(mut document) => {
            leave_out_gone_links(registry.settings(), &mut document);
            Edit::Policy(Box::new(PolicyEdit::Set(*document)))
        }
    });
    let edits: Vec<Edit> = vms.chain(policy).collect();
    let whole = registry.stage_as(edits.iter().cloned(), WayBack::Dropped);
    if let Err((_, error)) = whole {
        error!(
            "the change that nobody had confirmed cannot be undone as a whole, so each part of it by itself is: {error}"
        );
        for edit in edits {
            let what = edit.id().map_or("policy".to_owned(), |id| format!("VM {id}"));
            if let Err((_, error)) = registry.stage([edit]) {
                error!("{what} stays as the change that nobody had confirmed left it: {error}");
            }
        }
        // The last word, so that it is not tried again at each start.
        let _ = registry.stage_confirmation();
    }
    registry.publish();
    warn!("a change that nobody had confirmed before the process ended is undone: revision {}", registry.revision().0);
}

/// The policy that was set over the socket, as far as this box has its links. Without it the configuration's holds.
fn take_policy(registry: &mut Registry, mut policy: Document) {
    leave_out_gone_links(registry.settings(), &mut policy);
    match registry.apply([Edit::Policy(Box::new(PolicyEdit::Set(policy)))]) {
        Ok(_) => info!(
            "the policy is the one that was set over the control socket, not the configuration's (`portcullis reload` \
             returns to that)"
        ),
        Err((_, error)) => error!("the policy of the store cannot be, the configuration's holds: {error}"),
    }
}

fn leave_out_gone_links(settings: &Settings, policy: &mut Document) {
    let gone: Vec<String> = policy.links.keys().filter(|name| !settings.links.contains(name)).cloned().collect();
    for link in gone {
        warn!("the policy of the store speaks of link {link}, which is not configured any more: that part is left out");
        policy.links.remove(&link);
    }
}

/// All at once, or if that cannot be one by one. Those that cannot be, and why.
fn take(registry: &mut Registry, vms: Vec<VmSet>) -> Vec<(String, String)> {
    if registry.apply(vms.iter().cloned().map(Edit::Set)).is_ok() {
        return Vec::new();
    }
    let mut left_out = Vec::new();
    for set in vms {
        let id = set.id.to_string();
        if let Err((_, error)) = registry.stage([Edit::Set(set)]) {
            left_out.push((id, error.to_string()));
        }
    }
    registry.publish();
    left_out
}

/// Has a file examined by `portcullis store check`.
fn examine(path: &Path, exit_code: fn(Cause) -> i32) -> Examined {
    // Not by name: it may have been replaced since this process started.
    let mut command = Command::new("/proc/self/exe");
    command.args(["store", "check", "--json"]).arg(path);
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Examined::OutOfReach(format!("{} cannot be examined: {error}", path.display())),
    };
    let deadline = Instant::now() + EXAMINATION;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(GLANCE),
            Ok(None) | Err(_) => break None,
        }
    };
    let damaged = |what: &str| Examined::Damaged(format!("{} is damaged: {what}", path.display()));
    let Some(status) = status else {
        let _ = child.kill(); // It has ended just now.
        let _ = child.wait();
        return damaged("its examination does not end");
    };
    // An answer is shorter than what a pipe holds.
    let mut answer = String::new();
    let read = child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut answer));
    let answer: serde_json::Value = match read {
        Some(Ok(_)) => serde_json::from_str(&answer).unwrap_or_default(),
        _ => serde_json::Value::Null,
    };
    let words = answer.pointer("/error/message").and_then(serde_json::Value::as_str);
    match (status.code(), words) {
        (Some(0), _) => match serde_json::from_value(answer) {
            Ok(summary) => Examined::Good(summary),
            Err(error) => Examined::OutOfReach(format!("{}: its examination is unclear: {error}", path.display())),
        },
        (Some(code), Some(words)) if code == exit_code(Cause::Configuration) => Examined::Damaged(words.to_owned()),
        (Some(_), Some(words)) => Examined::OutOfReach(words.to_owned()),
        (None, _) => damaged(&format!("its examination ended by signal {}", status.signal().unwrap_or_default())),
        (Some(code), None) => damaged(&format!("its examination ended with {code} and without a word")),
    }
}
