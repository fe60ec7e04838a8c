//! A connection that watches: changes as they are published, until it goes.
//!
//! It takes them from what is remembered, at its own pace, so however slow it is nothing queues for it; who falls so far
//! behind that something is forgotten is told so.

use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::conversation::Timed;
use super::queue::Handle;
use crate::control::history::{Changed, Compacted, HistoryEntry, Place, Watched};
use crate::control::rpc::Notification;
use crate::model::Boot;

/// Entries of one notification at most.
const TOGETHER: usize = 500;
/// How often it is looked whether the client is there still.
const GLANCE: Duration = Duration::from_millis(250);

/// Rung when something was changed.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// How often.
    rung: Mutex<u64>,
    moved: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.moved.notify_all();
    }

    /// Waits until it was rung after `heard`, or for a while; how often it was rung.
    fn wait(&self, heard: u64) -> u64 {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moved.wait_timeout_while(rung, GLANCE, |rung| *rung == heard);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Tells a client of changes from `place` on, until it goes or says something. It has `patience` to take what it is told at a
/// time.
pub(super) fn stream(
    stream: &UnixStream,
    out: &mut BufWriter<Timed<'_>>,
    handle: &Handle,
    boot: Boot,
    mut place: Option<Place>,
    patience: Duration,
) -> io::Result<()> {
    let mut heard = 0;
    while is_listening(stream) && !handle.is_stopping() {
        let Some(watched) = handle.run(move |state| state.watched(place, TOGETHER)) else { break };
        out.get_mut().allow(patience);
        match watched {
            Watched::Changes { entries, next, more } => {
                if entries.is_empty() {
                    heard = handle.bell().wait(heard);
                }
                tell(out, entries.into_iter().map(Into::into).collect(), more, boot)?;
                place = Some(next);
            }
            Watched::Compacted { revision, next } => {
                write(out, "compacted", &Compacted { revision, boot })?;
                place = Some(next);
            }
        }
    }
    Ok(())
}

/// One notification for each revision; `more` says whether the last one goes on.
fn tell(out: &mut impl Write, entries: Vec<HistoryEntry>, more: bool, boot: Boot) -> io::Result<()> {
    let mut runs = entries.chunk_by(|one, next| one.revision == next.revision).peekable();
    while let Some(run) = runs.next() {
        let more = more && runs.peek().is_none();
        write(
            out,
            "change",
            &Changed {
                revision: run.first().map(|entry| entry.revision).unwrap_or_default(),
                boot,
                entries: run,
                more,
            },
        )?;
    }
    Ok(())
}

fn write(out: &mut impl Write, method: &'static str, params: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Notification { method, params })?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Whether it is there still and has nothing to say, which it has no business to.
fn is_listening(stream: &UnixStream) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::IN | PollFlags::RDHUP)];
    matches!(poll(&mut polled, Some(&Timespec::default())), Ok(0))
}
