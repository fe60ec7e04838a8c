//! What ends by itself. Workers have closed what an exception opened when it is over; here it leaves its VM's record, so that
//! everybody sees it: a revision, with its entry in the history and its notification.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{State, Wanted};
use crate::control::history::{By, Who};
use crate::control::rpc::Guard;
use crate::vm::edit::Edit;

/// How often it is looked for exceptions that are over.
const LOOK: Duration = Duration::from_secs(1);
/// How often the time is written down. So much longer than it should an exception may last, if the system's clock is set back while
/// the process is not there.
const NOTE: Duration = Duration::from_secs(60);

/// When the next looks are due; at once, if nothing is said.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    look: Option<Instant>,
    note: Option<Instant>,
}

/// Whether it is time; then the next time is `every` later.
fn is_due(due: &mut Option<Instant>, now: Instant, every: Duration) -> bool {
    let is_due = due.is_none_or(|due| due <= now);
    if is_due {
        *due = Some(now + every);
    }
    is_due
}

impl State {
    /// Takes exceptions that are over out of their records, each VM's for itself: what cannot be taken now, since a change of that VM waits
    /// to be confirmed, is tried again.
    pub fn end_exceptions(&mut self, now: Instant) {
        if is_due(&mut self.expiry.note, now, NOTE) {
            self.registry.note_time();
        }
        if !is_due(&mut self.expiry.look, now, LOOK) {
            return;
        }
        let by = By { who: Who::ourselves(), method: "exception.expire" };
        for (vm, over) in self.registry.over() {
            let names = over.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let wanted = Wanted::new(Edit::no_more(vm.clone(), over), Guard::default(), by);
            match self.change(vec![wanted]).pop() {
                Some(Err(error)) => {
                    warn!(
                        "VM {vm}: exception {names} is over, so it opens nothing, but its record keeps it for now: {error}"
                    );
                    self.expiry.look = Some(now + NOTE);
                }
                _ => info!("VM {vm}: exception {names} is over"),
            }
        }
    }
}
