//! Jobs on worker lcores: EAL's own pinned threads, which have a mempool cache each.
//!
//! One job per lcore; the lcore is free again once the job was waited for. A [`Job`] that is dropped waits, as a
//! scoped thread would, so EAL never ends under a running job.
//!
//! Refuses to know: how a job is told to end. Give the closure a flag.

use core::ffi::{c_int, c_void};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::check;
use crate::{Eal, Error, LcoreId, sys};

pub use crate::eal::current_lcore as current;

/// A job launched on a lcore.
#[must_use = "a dropped job is waited for at once"]
#[derive(Debug)]
pub struct Job {
    lcore: LcoreId,
    finish: Arc<Finish>,
    eal: Eal,
}

/// What crosses to the lcore.
struct Task {
    work: Box<dyn FnOnce() + Send>,
    finish: Arc<Finish>,
}

#[derive(Debug, Default)]
struct Finish {
    done: Mutex<bool>,
    changed: Condvar,
}

/// Runs `work` on a worker lcore. A panic in it ends the process: there is no half-alive state to come back to.
pub fn launch(eal: &Eal, lcore: LcoreId, work: impl FnOnce() + Send + 'static) -> Result<Job, Error> {
    let mut claims = eal.claims();
    if !eal.worker_lcores().contains(&lcore) {
        return Err(Error::NotAWorker(lcore));
    }
    if !claims.lcores.insert(lcore) {
        return Err(Error::LcoreBusy(lcore));
    }
    let finish = Arc::new(Finish::default());
    let task = Box::new(Task { work: Box::new(work), finish: Arc::clone(&finish) });
    let task = Box::into_raw(task).cast::<c_void>();
    // SAFETY: `lcore` is an enabled worker and, by the claim, idle; launches are serialised by `claims`. `run` takes
    // over the box exactly once, on success only.
    if let Err(cause) = check(unsafe { sys::rte_eal_remote_launch(Some(run), task, lcore.0) }) {
        claims.lcores.remove(&lcore);
        drop(claims);
        // SAFETY: the launch failed, so the box was not taken over and is still ours alone.
        drop(unsafe { Box::from_raw(task.cast::<Task>()) });
        return Err(Error::Launch { lcore, cause });
    }
    drop(claims);
    Ok(Job { lcore, finish, eal: eal.clone() })
}

impl Job {
    /// The lcore it runs on.
    pub fn lcore(&self) -> LcoreId {
        self.lcore
    }

    /// Whether the closure has returned.
    pub fn is_finished(&self) -> bool {
        *self.finish.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until the closure has returned, then frees the lcore for the next job.
    pub fn wait(self) {}
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut done = self.finish.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            done = self.finish.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
        drop(done);
        // SAFETY: EAL runs while `self.eal` exists, and the lcore is still claimed by this job alone. It spins only for
        // the instant between `run` telling us and EAL noting the return.
        let _ = unsafe { sys::rte_eal_wait_lcore(self.lcore.0) };
        self.eal.claims().lcores.remove(&self.lcore);
    }
}

/// What EAL calls on the lcore. `extern "C"`: a panic aborts here and never unwinds into C.
unsafe extern "C" fn run(task: *mut c_void) -> c_int {
    // SAFETY: `launch` made this pointer from a `Box<Task>` and gave it to EAL, which calls us once.
    let Task { work, finish } = *unsafe { Box::from_raw(task.cast::<Task>()) };
    work(); // consumes what it captured, so queues and bursts are gone before anybody hears of the end
    *finish.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
    finish.changed.notify_all();
    0
}
