//! What `run`, its dry run, `check` and `replay` share: whatever can be found wrong before anything starts is found here, by
//! the same code, so that they never say different things.
//!
//! Everything is looked at even when something before it is wrong, as far as that makes sense: who mends a configuration
//! gets the whole list.

use std::path::{Path, PathBuf};

use super::engine::EngineError;
use super::vms::{self, BadLines, VmFile};
use crate::config::{Config, Link};
use crate::failure::{Cause, Failure};
use crate::host::cores::Cores;
use crate::host::eal;
use crate::host::memory::{self, Plan};
use crate::policy::Settings;

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The configuration file.
    pub config: PathBuf,
    /// VM lines to start with.
    pub vms: Option<PathBuf>,
    /// What becomes of VM lines that cannot be.
    pub bad_lines: BadLines,
    /// Path of the control socket, if not the configuration's.
    pub socket: Option<PathBuf>,
    /// More EAL options.
    pub eal: Vec<String>,
}

/// What a start is made of.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The configuration.
    pub config: Config,
    /// What workers need of it.
    pub settings: Settings,
    /// CPUs.
    pub cores: Cores,
    /// Memory.
    pub plan: Plan,
    /// EAL's argument vector.
    pub eal_arguments: Vec<String>,
    /// VM lines to start with.
    pub vms: Option<VmFile>,
    /// What is allowed and should be known.
    pub alarms: Vec<String>,
}

impl Asked {
    /// Works everything out and starts nothing.
    ///
    /// # Errors
    /// Everything that cannot be, a line each.
    pub fn prepare(&self) -> Result<Prepared, Failure> {
        let file = self.config.display();
        let mut config = Config::load(&self.config)?;
        let settings = config.policy().map_err(|error| Failure::new(Cause::Configuration, error))?;
        if let Some(socket) = &self.socket {
            config.control.socket.clone_from(socket);
        }
        let mut faults: Vec<String> = Vec::new();
        let mut alarms: Vec<String> = config.remarks().iter().map(|remark| format!("{file}: {remark}")).collect();
        let folder =
            config.store.path.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            alarms.push(format!("{file}: store.path: there is no folder {}: nothing would be kept", folder.display()));
        }
        if config.links.is_empty() {
            faults.push(format!(
                "{file}: no link is configured, so nothing would be forwarded; add a [[link]] with name, inside and outside"
            ));
        }
        let cores = Cores::choose(config.dpdk.cores.as_deref(), config.dpdk.main_core, &eal::available_cpus());
        let started = match cores {
            Ok(cores) => {
                let workers = cores.workers.len();
                faults.extend(self.too_many_queues(&config, workers));
                let plan = memory::plan(&config, u32::try_from(workers).unwrap_or(u32::MAX));
                match eal::arguments(&config, &cores, plan, &self.eal) {
                    Ok(arguments) => Some((cores, plan, arguments)),
                    Err(failure) => {
                        faults.push(failure.message);
                        None
                    }
                }
            }
            Err(error) => {
                faults.push(format!("{file}: {error}"));
                None
            }
        };
        let vms = match &self.vms {
            Some(path) => match vms::read(path, &config, &settings, self.bad_lines, &mut alarms) {
                Ok(vms) => Some(vms),
                Err(failure) if failure.cause == Cause::Configuration => {
                    faults.push(failure.message);
                    None
                }
                // What the system says of a file is told at once, with its own code, unless there is worse.
                Err(failure) if faults.is_empty() => return Err(failure),
                Err(failure) => {
                    faults.push(failure.message);
                    None
                }
            },
            None => None,
        };
        match started {
            Some((cores, plan, eal_arguments)) if faults.is_empty() => {
                Ok(Prepared { config, settings, cores, plan, eal_arguments, vms, alarms })
            }
            _ => Err(Failure::new(Cause::Configuration, faults.join("\n"))),
        }
    }

    /// Links that want more queues than there are workers. With EAL's own `-l` or `--lcores` their number is EAL's, and the
    /// engine looks again.
    fn too_many_queues(&self, config: &Config, workers: usize) -> Vec<String> {
        let mut words = self.eal.iter().chain(&config.dpdk.extra_args);
        if words.any(|word| word.starts_with("-l") || word.starts_with("--lcores")) {
            return Vec::new();
        }
        let links = config.links.iter().filter(|link| link.queues.is_some_and(|queues| usize::from(queues) > workers));
        let fault = |link: &Link| {
            let (link, queues) = (link.name.clone(), link.queues.unwrap_or_default());
            let error = EngineError::TooManyQueues { link, queues, workers };
            format!("{}: {error}", self.config.display())
        };
        links.map(fault).collect()
    }
}
