//! The control thread: the one owner of the [`State`], and what connections ask it for.
//!
//! Changes that have queued are made together: published once, awaited once, all answered. Between them comes one read at a
//! time, so a change waits for at most one page of somebody's list.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::watch::Bell;
use crate::control::audit::Audit;
use crate::control::handler::{self, State, Wanted};
use crate::control::history::{Entry, Recall, Who};
use crate::control::inventory::collector::Collector;
use crate::control::inventory::{self, Changer, SyncAnswer, SyncCall};
use crate::control::reading::{Overview, Rows, Source, Take};
use crate::control::reload::Reload;
use crate::control::roles::Roles;
use crate::control::rpc::{ExplainAnswer, Guard, Kind, Made, Question, Reloaded, RpcError};
use crate::model::Boot;
use crate::telemetry::heartbeat::{Heartbeat, PERIOD};

/// Jobs in the queue; each connection has one at most, so who finds it full does not wait long.
const JOBS_MAX: usize = 256;
/// Changes that are made together, about: those of further jobs wait for the next turn.
const TOGETHER: usize = 10_000;

/// What comes of changes, in their order.
type Outcomes = Vec<Result<Made, RpcError>>;

/// Something for the control thread to do.
pub(super) enum Job {
    /// Make changes.
    Change(Vec<Wanted>, Sender<Outcomes>),
    /// Something quick.
    Run(Box<dyn FnOnce(&mut State) + Send>),
    /// End.
    Quit,
}

/// A way to the [`State`] of a running server, for any thread.
#[derive(Clone)]
pub struct Handle {
    jobs: Sender<Job>,
    stopping: Arc<AtomicBool>,
    reload: Option<Reload>,
    collector: Arc<Collector>,
    roles: Arc<Roles>,
    audit: Option<(Audit, Boot)>,
    bell: Arc<Bell>,
}

/// The way to a control thread that will own this state, and what comes by it.
pub(super) fn open(stopping: Arc<AtomicBool>, state: &State) -> (Handle, Receiver<Job>) {
    let (jobs, queue) = bounded(JOBS_MAX);
    let handle = Handle {
        jobs,
        stopping,
        reload: state.reload().cloned(),
        collector: state.collector(),
        roles: Arc::clone(state.roles()),
        audit: state.audit().cloned(),
        bell: Arc::default(),
    };
    (handle, queue)
}

impl Handle {
    /// Runs `work` on the control thread between two calls, and waits for what it returns: nothing once the server
    /// stops. Not to be called by `work` itself: it would wait for its own end.
    pub fn run<R: Send + 'static>(&self, work: impl FnOnce(&mut State) -> R + Send + 'static) -> Option<R> {
        if self.is_stopping() {
            return None;
        }
        let (reply, answer) = bounded(1);
        let job = Job::Run(Box::new(move |state| {
            let _ = reply.send(work(state)); // Who asked may be gone.
        }));
        self.jobs.send(job).ok()?;
        answer.recv().ok()
    }

    /// Makes changes, and waits for what becomes of each.
    pub(super) fn change(&self, wanted: Vec<Wanted>) -> Outcomes {
        let count = wanted.len();
        let made = || {
            let (reply, answer) = bounded(1);
            self.jobs.send(Job::Change(wanted, reply)).ok()?;
            answer.recv().ok()
        };
        let outcomes = if self.is_stopping() { None } else { made() };
        outcomes.unwrap_or_else(|| (0..count).map(|_| Err(gone())).collect())
    }

    /// Reads the configuration file, in the caller's thread, and makes its policy what is in force.
    pub(super) fn reload(&self, guard: Guard, who: Who) -> Result<Reloaded, RpcError> {
        let reload = self.reload.as_ref().ok_or_else(handler::no_file)?;
        let links = self.overview()?.settings.links.clone();
        let (wanted, needs_restart) = reload.read(&links, guard, who)?;
        let made = self.change(vec![wanted]).pop().unwrap_or_else(|| Err(gone()))?;
        Reloaded::new(made, needs_restart)
    }

    /// Does what is asked of a sync; what takes long, in the caller's thread.
    pub(super) fn sync(&self, call: SyncCall, who: Who) -> Result<SyncAnswer, RpcError> {
        inventory::answer(&mut self.clone(), &self.collector, call, who)
    }

    /// Who may do what.
    pub(super) fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Writes down that somebody is refused something.
    pub(super) fn refused(&self, who: Who, method: &'static str, error: &RpcError) {
        if let Some((audit, boot)) = &self.audit {
            audit.refused(*boot, who, method, error.clone());
        }
    }

    /// What is rung when something was changed.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn quit(&self) {
        let _ = self.jobs.send(Job::Quit); // It has ended already.
    }
}

impl Changer for Handle {
    fn change_one(&mut self, wanted: Wanted) -> Result<Made, RpcError> {
        self.change(vec![wanted]).pop().unwrap_or_else(|| Err(gone()))
    }
}

impl Source for Handle {
    fn overview(&self) -> Result<Overview, RpcError> {
        self.run(|state| state.overview()).unwrap_or_else(|| Err(gone()))
    }

    fn rows(&self, take: Take) -> Result<Rows, RpcError> {
        self.run(move |state| state.rows(take)).unwrap_or_else(|| Err(gone()))
    }

    fn explain(&self, question: Question) -> Result<ExplainAnswer, RpcError> {
        self.run(move |state| state.explain(question)).unwrap_or_else(|| Err(gone()))
    }

    fn history(&self, recall: Recall) -> Result<(Vec<Entry>, bool), RpcError> {
        self.run(move |state| state.history(recall)).unwrap_or_else(|| Err(gone()))
    }
}

fn gone() -> RpcError {
    RpcError::new(Kind::ShuttingDown, "portcullis is about to end; nothing was done")
}

/// The control thread, until it is told to quit.
pub(super) fn serve(mut state: State, queue: &Receiver<Job>, bell: &Bell, heart: &Heartbeat) -> State {
    let mut reads = VecDeque::new();
    let mut told = state.history_end();
    loop {
        heart.beat();
        let now = Instant::now();
        state.undo_unconfirmed(now);
        state.end_exceptions(now);
        state.collector().expire(now);
        if told != state.history_end() {
            told = state.history_end();
            bell.ring();
        }
        let first = match reads.is_empty() {
            true => match queue.recv_timeout(PERIOD) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return state,
            },
            false => None,
        };
        let (mut changes, mut askers, mut quit) = (Vec::new(), Vec::new(), false);
        let mut next = first.or_else(|| queue.try_recv().ok());
        while let Some(job) = next {
            match job {
                Job::Change(wanted, reply) => {
                    askers.push((wanted.len(), reply));
                    changes.extend(wanted);
                }
                Job::Run(read) => reads.push_back(read),
                Job::Quit => quit = true,
            }
            next = if quit || changes.len() >= TOGETHER { None } else { queue.try_recv().ok() };
        }
        if !changes.is_empty() {
            let mut outcomes = state.change(changes).into_iter();
            for (count, reply) in askers {
                let _ = reply.send(outcomes.by_ref().take(count).collect()); // Who asked may be gone.
            }
        }
        match quit {
            true => {
                reads.into_iter().for_each(|read| read(&mut state));
                return state;
            }
            false => {
                if let Some(read) = reads.pop_front() {
                    read(&mut state);
                }
            }
        }
    }
}
