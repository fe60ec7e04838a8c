//! One connection, from its first line to its last.

use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::lines::{Lines, Next};
use super::queue::Handle;
use super::{CHUNK_BYTES, Limits, peer, refuse, watch};
use crate::control::handler::{Asked, Wanted};
use crate::control::history::Who;
use crate::control::reading;
use crate::control::roles::{Process, forbidden};
use crate::control::rpc::{self, Answer, Batch, Call, Id, Kind, Line, Request, Response, RpcError, Watch, WatchAnswer};
use crate::model::Role;

/// Answers a client until it goes, or must go.
pub(super) fn hold(stream: &UnixStream, handle: &Handle, limits: &Limits) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(CHUNK_BYTES, Timed::new(stream, limits.write_timeout));
    let held = converse(stream, &mut out, handle, limits);
    let _ = stream.shutdown(Shutdown::Both);
    drop(out); // What is left in it goes nowhere now, instead of waiting for who does not read.
    held
}

fn converse(stream: &UnixStream, out: &mut BufWriter<Timed<'_>>, handle: &Handle, limits: &Limits) -> io::Result<()> {
    let peer = Peer::of(stream, handle);
    let mut lines = Lines::new(Timed::new(stream, limits.idle), limits.line_bytes);
    while !handle.is_stopping() {
        lines.stream.allow(limits.idle);
        let line = match lines.next()? {
            Next::Line(line) => line,
            Next::End => break,
            Next::Cut => {
                refuse(stream, Kind::ParseError, "the last line has no end (LF): it was not done");
                break;
            }
            Next::TooLong => {
                let message = format!("a line may have {} bytes; this one has more", limits.line_bytes);
                refuse(stream, Kind::TooLarge, &message);
                break;
            }
        };
        out.get_mut().allow(limits.answer);
        match rpc::parse_line(line) {
            Line::Blank => continue,
            Line::One(request) => {
                let Request { id, call } = *request;
                let asked = call.and_then(|call| peer.ask(call, handle));
                if let (Some(id), Ok(Asked::Watch(watch))) = (&id, &asked) {
                    return follow(stream, out, handle, limits, id, *watch);
                }
                let outcome = asked.and_then(|asked| answer(asked, peer, handle));
                let Some(id) = id else { continue };
                write(out, &id, &outcome)?;
                out.write_all(b"\n")?;
            }
            Line::Batch(batch) => answer_all(batch, peer, handle, out)?,
        }
        out.flush()?;
    }
    Ok(())
}

/// The other end: who it is, and how much he may do.
#[derive(Clone, Copy)]
struct Peer {
    who: Who,
    role: Option<Role>,
}

impl Peer {
    fn of(stream: &UnixStream, handle: &Handle) -> Self {
        let (who, gid) = peer(stream);
        Self { who, role: handle.roles().of(Process { uid: who.uid, gid }) }
    }

    /// What a call asks for, if he may make it.
    fn ask(self, call: Call, handle: &Handle) -> Result<Asked, RpcError> {
        let Self { who, role } = self;
        match role.filter(|&role| role >= call.needs()) {
            Some(role) => Ok(Asked::of(call, who, role)),
            None => {
                let error = forbidden(&format!("`{}`", call.method()), call.needs(), role, who);
                handle.refused(who, call.method(), &error);
                Err(error)
            }
        }
    }

    /// Writes down what he is refused, unless he only asked for something.
    fn note<T>(self, method: Option<&'static str>, outcome: &Result<T, RpcError>, handle: &Handle) {
        if let (Some(method), Err(error)) = (method, outcome)
            && !error.is_applied()
        {
            handle.refused(self.who, method, error);
        }
    }
}

fn answer(asked: Asked, peer: Peer, handle: &Handle) -> Result<Answer<'_>, RpcError> {
    let method = asked.changes_by();
    let outcome = match asked {
        Asked::Change(wanted) => handle.change(vec![wanted]).pop().unwrap_or_else(unanswered).map(Answer::from),
        Asked::Reload(guard, who) => handle.reload(guard, who).map(Answer::Reloaded),
        Asked::Sync(call, who) => handle.sync(call, who).map(Answer::Sync),
        Asked::Watch(_) => {
            let message = "`watch` takes a connection for itself: send it alone, with an `id`";
            Err(RpcError::new(Kind::InvalidRequest, message))
        }
        Asked::Question(call) => reading::answer(handle, *call),
    };
    peer.note(method, &outcome, handle);
    outcome
}

/// Answers `watch`, and what it is told from then on.
fn follow(
    stream: &UnixStream,
    out: &mut BufWriter<Timed<'_>>,
    handle: &Handle,
    limits: &Limits,
    id: &Id,
    watch: Watch,
) -> io::Result<()> {
    let Some((place, revision, boot)) = handle.run(move |state| state.watch(watch)) else { return Ok(()) };
    write(out, id, &Ok(Answer::Watching(WatchAnswer { revision, boot })))?;
    out.write_all(b"\n")?;
    out.flush()?;
    watch::stream(stream, out, handle, boot, place, limits.answer)
}

/// The answers of a batch as one array; no array if there are none. Changes that follow each other are made together; whatever
/// else is asked for is answered before the next is read.
fn answer_all(batch: Batch<'_>, peer: Peer, handle: &Handle, out: &mut impl Write) -> io::Result<()> {
    let mut answers = Answers { out, before: b"[", peer };
    let (mut ids, mut changes) = (Vec::new(), Vec::new());
    for Request { id, call } in batch {
        let outcome = match call.and_then(|call| peer.ask(call, handle)) {
            Ok(Asked::Change(wanted)) => {
                ids.push(id);
                changes.push(wanted);
                continue;
            }
            Ok(other) => Ok(other),
            Err(error) => Err(error),
        };
        answers.change(&mut ids, &mut changes, handle)?;
        let outcome = outcome.and_then(|asked| answer(asked, peer, handle));
        answers.one(id, &outcome)?;
    }
    answers.change(&mut ids, &mut changes, handle)?;
    answers.end()
}

/// The array that answers a batch, as far as it is written.
struct Answers<'a, W> {
    out: &'a mut W,
    before: &'static [u8],
    peer: Peer,
}

impl<W: Write> Answers<'_, W> {
    fn change(&mut self, ids: &mut Vec<Option<Id>>, changes: &mut Vec<Wanted>, handle: &Handle) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let methods: Vec<&'static str> = changes.iter().map(Wanted::method).collect();
        let outcomes = handle.change(std::mem::take(changes));
        for ((id, method), outcome) in ids.drain(..).zip(methods).zip(outcomes) {
            self.peer.note(Some(method), &outcome, handle);
            self.one(id, &outcome.map(Answer::from))?;
        }
        Ok(())
    }

    /// Nothing to say to a notification.
    fn one(&mut self, id: Option<Id>, outcome: &Result<Answer<'_>, RpcError>) -> io::Result<()> {
        let Some(id) = id else { return Ok(()) };
        self.out.write_all(std::mem::replace(&mut self.before, b","))?;
        write(self.out, &id, outcome)
    }

    fn end(self) -> io::Result<()> {
        if self.before == b"," { self.out.write_all(b"]\n") } else { Ok(()) }
    }
}

fn write(out: &mut impl Write, id: &Id, outcome: &Result<Answer<'_>, RpcError>) -> io::Result<()> {
    Ok(serde_json::to_writer(out, &Response { id, outcome })?)
}

fn unanswered() -> Result<rpc::Made, RpcError> {
    Err(RpcError::new(Kind::Internal, "a change was made and not answered; ask for what there is"))
}

/// A stream whose other side has so long for the whole of something, and so long for each piece of it.
pub(super) struct Timed<'a> {
    stream: &'a UnixStream,
    piece: Duration,
    until: Instant,
}

impl<'a> Timed<'a> {
    fn new(stream: &'a UnixStream, piece: Duration) -> Self {
        Self { stream, piece, until: Instant::now() + piece }
    }

    /// From now on there is that long for all that comes.
    pub(super) fn allow(&mut self, whole: Duration) {
        self.until = Instant::now() + whole;
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            Some(left) => Ok(Some(left.min(self.piece))),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        (&mut &*self.stream).read(into)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        (&mut &*self.stream).write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&mut &*self.stream).flush()
    }
}
