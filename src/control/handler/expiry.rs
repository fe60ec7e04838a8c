//! What ends by itself. Workers have closed what an exception opened when it is over; here it leaves its VM's record, so that
//! everybody sees it: a revision, with its entry in the history and its notification.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{State, Wanted};
use crate::control::history::{By, Who};
use crate::control::rpc::Guard;
use crate::vm::edit::Edit;
use crate::vm::record::{ExceptionName, VmId};

/// How often it is looked for exceptions that are over.
const LOOK: Duration = Duration::from_secs(1);
/// VMs that are looked after at once: their changes are published, and written to the disk, together.
const TOGETHER: usize = 1_000;
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
    /// Takes exceptions that are over out of their records, each VM's by a revision of its own: what cannot be taken now, since a change of
    /// that VM waits to be confirmed, is tried again.
    pub fn end_exceptions(&mut self, now: Instant) {
        if is_due(&mut self.expiry.note, now, NOTE) {
            self.registry.note_time();
        }
        if !is_due(&mut self.expiry.look, now, LOOK) {
            return;
        }
        let over = self.registry.over(TOGETHER);
        if over.len() == TOGETHER {
            // There may be more: they come next, after what others want.
            self.expiry.look = None;
        }
        let by = By { who: Who::ourselves(), method: "exception.expire" };
        let edit = |(vm, names): &(VmId, Vec<ExceptionName>)| Edit::no_more(vm.clone(), names.clone());
        let wanted = over.iter().map(|one| Wanted::new(edit(one), Guard::default(), by)).collect();
        for ((vm, names), outcome) in over.iter().zip(self.change(wanted)) {
            let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            match outcome {
                Ok(_) => info!("VM {vm}: exception {names} is over"),
                Err(error) => {
                    warn!(
                        "VM {vm}: exception {names} is over, so it opens nothing, but its record keeps it for now: {error}"
                    );
                    self.expiry.look = Some(now + NOTE);
                }
            }
        }
    }
}
