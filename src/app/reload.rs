//! The configuration file, read again while the box runs.

use std::path::PathBuf;

use tracing::{info, warn};

use crate::config::Config;
use crate::control::reload::{Reload, Reread};
use crate::control::rpc::{Reloaded, RpcError};
use crate::failure::Failure;

/// Reads the file that the process was started with; `running` is what it said then.
pub fn of(path: PathBuf, running: Config) -> Reload {
    Reload::new(move || read(&path, &running))
}

fn read(path: &std::path::Path, running: &Config) -> Result<Reread, Failure> {
    let mut config = Config::load(path)?;
    // `--socket` overrides it at every start.
    config.control.socket.clone_from(&running.control.socket);
    for remark in config.remarks() {
        warn!("{}: {remark}", path.display());
    }
    Ok(Reread { document: config.document(), needs_restart: running.needs_restart(&config) })
}

/// Says what SIGHUP did.
pub fn say(outcome: Result<Reloaded, RpcError>) {
    match outcome {
        Ok(Reloaded { applied, needs_restart }) => {
            let revision = applied.revision.0;
            match applied.changed {
                true => info!("SIGHUP: the policy of the configuration file is in force, revision {revision}"),
                false => info!("SIGHUP: the policy of the configuration file is in force already, revision {revision}"),
            }
            if !needs_restart.is_empty() {
                warn!(
                    "SIGHUP: these changed in the configuration file and wait for a restart: {}",
                    needs_restart.join(", ")
                );
            }
        }
        Err(error) => tracing::error!("SIGHUP: {error}"),
    }
}
