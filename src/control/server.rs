//! Clients of the socket: a thread that accepts, a thread for each connection, and the one control thread that owns the
//! [`State`] and does what they ask, one call after the other.
//!
//! A connection's thread reads a line, parses it, hands the call over, waits, and writes the answer; then comes its
//! next line. So replies keep the order of requests, a client has at most one call in the queue, and what a client can
//! make us remember is a line and an answer. A slow or silent client has its own thread to keep waiting; one that does
//! not read its answers loses its connection after a time. An answer is serialised into the stream, not copied first.

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::handler::State;
use super::rpc::{self, Answer, Batch, Call, Id, Kind, Line, Request, Response, RpcError};
use super::socket::Socket;
use crate::telemetry::heartbeat::{Heartbeat, PERIOD};

/// What clients can take of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Longest line, its LF not counted.
    pub line_bytes: usize,
    /// How long a client may leave a full socket unread.
    pub write_timeout: Duration,
    /// How long connections have to end by themselves when the server stops.
    pub goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            line_bytes: rpc::LINE_BYTES_MAX,
            write_timeout: Duration::from_secs(10),
            goodbye: Duration::from_secs(1),
        }
    }
}

/// Calls in the queue; each connection has one at most, so who finds it full does not wait long.
const QUEUE: usize = 64;
/// What is read at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// Pause after a connection that could not be accepted for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

enum Job {
    Run(Box<dyn FnOnce(&mut State) + Send>),
    Quit,
}

/// A way to the [`State`] of a running server, for any thread.
#[derive(Clone)]
pub struct Handle {
    jobs: Sender<Job>,
    stopping: Arc<AtomicBool>,
}

impl Handle {
    /// Runs `work` on the control thread between two calls, and waits for what it returns: nothing once the server
    /// stops. Not to be called by `work` itself: it would wait for its own end.
    pub fn run<R: Send + 'static>(&self, work: impl FnOnce(&mut State) -> R + Send + 'static) -> Option<R> {
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let (reply, answer) = bounded(1);
        let job = Job::Run(Box::new(move |state| {
            let _ = reply.send(work(state)); // Who asked may be gone.
        }));
        self.jobs.send(job).ok()?;
        answer.recv().ok()
    }

    fn call(&self, call: Call) -> Result<Answer, RpcError> {
        let gone = || Err(RpcError::new(Kind::ShuttingDown, "portcullis is about to end; nothing was done"));
        self.run(|state| state.handle(call)).unwrap_or_else(gone)
    }
}

/// A control socket that is served. Dropped, it is stopped.
pub struct Server {
    shared: Arc<Shared>,
    handle: Handle,
    listener: Option<JoinHandle<()>>,
    control: Option<JoinHandle<State>>,
    heartbeats: [Arc<Heartbeat>; 2],
}

struct Shared {
    socket: Socket,
    limits: Limits,
    stopping: Arc<AtomicBool>,
    connections: Clients,
}

/// Apart from the socket: a connection's thread that is about to end must not keep its lock.
type Clients = Arc<Mutex<Connections>>;

#[derive(Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, (Arc<UnixStream>, JoinHandle<()>)>,
}

fn locked(clients: &Mutex<Connections>) -> MutexGuard<'_, Connections> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Serves `state` at `socket` until [`stop`](Self::stop).
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(socket: Socket, state: State) -> io::Result<Self> {
        Self::start_with(socket, state, Limits::default())
    }

    /// As [`start`](Self::start), with other limits.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start_with(socket: Socket, state: State, limits: Limits) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (jobs, queue) = bounded(QUEUE);
        let handle = Handle { jobs, stopping: stopping.clone() };
        let shared = Arc::new(Shared { socket, limits, stopping, connections: Clients::default() });
        let heartbeats = ["control", "control-accept"].map(|name| Arc::new(Heartbeat::new(name)));
        let [owner, listener] = heartbeats.clone();
        let control = spawn(owner.name(), move || own(state, &queue, &owner))?;
        let (shared_too, handle_too) = (shared.clone(), handle.clone());
        let mut server = Self { shared, handle, listener: None, control: Some(control), heartbeats };
        let accept = move || accept(&shared_too, &handle_too, &listener);
        server.listener = Some(spawn("control-accept", accept)?);
        Ok(server)
    }

    /// The hearts of the control thread and of the one that accepts.
    #[must_use]
    pub fn heartbeats(&self) -> &[Arc<Heartbeat>] {
        &self.heartbeats
    }

    /// A way to the state while it is served.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        locked(&self.shared.connections).open.len()
    }

    /// Removes the socket, closes every connection (a call that has begun is answered first) and gives the state back.
    ///
    /// # Panics
    /// If the control thread did.
    #[must_use]
    pub fn stop(mut self) -> State {
        let control = self.close();
        control.and_then(|control| control.join().ok()).expect("the control thread ends when it is told to, not before")
    }

    fn close(&mut self) -> Option<JoinHandle<State>> {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.socket.unlink();
        // Linux ends a pending accept(2) with EINVAL then.
        let _ = rustix::net::shutdown(self.shared.socket.listener(), rustix::net::Shutdown::Both);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        self.end_connections();
        let control = self.control.take();
        if control.is_some() {
            let _ = self.handle.jobs.send(Job::Quit);
        }
        control
    }

    /// Nothing more is read; who does not take his last answer in time is cut off.
    fn end_connections(&self) {
        let shut = |how| {
            for (stream, _) in locked(&self.shared.connections).open.values() {
                let _ = stream.shutdown(how);
            }
        };
        shut(Shutdown::Read);
        let deadline = Instant::now() + self.shared.limits.goodbye;
        while self.connections() > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        shut(Shutdown::Both);
        let left = std::mem::take(&mut locked(&self.shared.connections).open);
        for (_, thread) in left.into_values() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(control) = self.close() {
            let _ = control.join();
        }
    }
}

fn spawn<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> io::Result<JoinHandle<R>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

/// The control thread.
fn own(mut state: State, queue: &Receiver<Job>, heart: &Heartbeat) -> State {
    loop {
        heart.beat();
        match queue.recv_timeout(PERIOD) {
            Ok(Job::Run(job)) => job(&mut state),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Job::Quit) | Err(RecvTimeoutError::Disconnected) => return state,
        }
    }
}

fn accept(shared: &Shared, handle: &Handle, heart: &Heartbeat) {
    // A client that is gone again when its turn comes must not keep us in accept(2).
    let _ = shared.socket.listener().set_nonblocking(true);
    while !shared.stopping.load(Ordering::Acquire) {
        heart.beat();
        wait_for_client(shared.socket.listener());
        match shared.socket.listener().accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok((stream, _)) => admit(shared, handle, Arc::new(stream)),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
            Err(_) if shared.stopping.load(Ordering::Acquire) => {}
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
}

/// Until there is one, or for a heart's period.
fn wait_for_client(listener: &UnixListener) {
    let period = Timespec::try_from(PERIOD).unwrap_or_default();
    // An error leaves it to accept(2) to say what is wrong.
    let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&period));
}

/// Gives a new connection its thread, or a word of regret.
fn admit(shared: &Shared, handle: &Handle, stream: Arc<UnixStream>) {
    let limit = shared.limits.connections;
    if stream.set_write_timeout(Some(shared.limits.write_timeout)).is_err() {
        return;
    }
    let mut connections = locked(&shared.connections);
    if connections.open.len() >= limit {
        drop(connections);
        let message = format!("{limit} clients are connected, as many as can be; close one or try again later");
        refuse(&stream, Kind::TooManyConnections, &message);
        return;
    }
    let number = connections.next;
    connections.next += 1;
    let (work, handle, clients) = (stream.clone(), handle.clone(), shared.connections.clone());
    let limits = shared.limits;
    // The list is locked until the new thread is in it, so that the thread cannot leave it before.
    let thread = spawn("control-client", move || {
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, &*work);
        let _ = converse(&work, &mut out, &handle, &limits); // A client that is gone needs no answer.
        let _ = work.shutdown(Shutdown::Both);
        drop(out); // What is left in it goes nowhere now, instead of waiting for who does not read.
        locked(&clients).open.remove(&number);
    });
    match thread {
        Ok(thread) => drop(connections.open.insert(number, (stream, thread))),
        Err(_) => refuse(&stream, Kind::Internal, "no thread is to be had for another client; try again later"),
    }
}

/// One connection, from its first line to its last.
fn converse(stream: &UnixStream, out: &mut BufWriter<&UnixStream>, handle: &Handle, limits: &Limits) -> io::Result<()> {
    let mut lines = Lines::new(stream, limits.line_bytes);
    while !handle.stopping.load(Ordering::Acquire) {
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
        match rpc::parse_line(line) {
            Line::Blank => continue,
            Line::One(request) => {
                let Some((id, outcome)) = answer(*request, handle) else { continue };
                write(out, &id, &outcome)?;
                out.write_all(b"\n")?;
            }
            Line::Batch(batch) => answer_all(batch, handle, out)?,
        }
        out.flush()?;
    }
    Ok(())
}

/// Does what a request asks; nothing to say to a notification.
fn answer(request: Request, handle: &Handle) -> Option<(Id, Result<Answer, RpcError>)> {
    let outcome = request.call.and_then(|call| handle.call(call));
    request.id.map(|id| (id, outcome))
}

/// The answers of a batch as one array, each written before the next is asked for; no array if there are none.
fn answer_all(batch: Batch<'_>, handle: &Handle, out: &mut impl Write) -> io::Result<()> {
    let mut before: &[u8] = b"[";
    for request in batch {
        if let Some((id, outcome)) = answer(request, handle) {
            out.write_all(std::mem::replace(&mut before, b","))?;
            write(out, &id, &outcome)?;
        }
    }
    if before == b"," { out.write_all(b"]\n") } else { Ok(()) }
}

fn write(out: &mut impl Write, id: &Id, outcome: &Result<Answer, RpcError>) -> io::Result<()> {
    Ok(serde_json::to_writer(out, &Response { id, outcome })?)
}

/// A last word, as far as the client takes it.
fn refuse(mut stream: &UnixStream, kind: Kind, message: &str) {
    let outcome = Err(RpcError::new(kind, message));
    if let Ok(mut line) = serde_json::to_vec(&Response { id: &Id::null(), outcome: &outcome }) {
        line.push(b'\n');
        let _ = stream.write_all(&line);
    }
}

/// Lines of a stream, in memory for one line of the longest that may be and a chunk.
struct Lines<R> {
    stream: R,
    line_bytes_max: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out.
    taken: usize,
}

enum Next<'a> {
    /// Without its LF.
    Line(&'a [u8]),
    /// The other side is done.
    End,
    /// The other side is done in the middle of a line.
    Cut,
    /// More bytes than a line may have.
    TooLong,
}

impl<R: Read> Lines<R> {
    fn new(stream: R, line_bytes_max: usize) -> Self {
        Self { stream, line_bytes_max, buffer: Vec::new(), taken: 0 }
    }

    fn next(&mut self) -> io::Result<Next<'_>> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        if self.buffer.len() < CHUNK_BYTES {
            self.buffer.shrink_to(2 * CHUNK_BYTES); // After a long line.
        }
        let mut searched = 0;
        let length = loop {
            let end = self.buffer.iter().skip(searched).position(|&byte| byte == b'\n').map(|at| searched + at);
            match end {
                Some(length) if length <= self.line_bytes_max => break length,
                None if self.buffer.len() <= self.line_bytes_max => {}
                _ => return Ok(Next::TooLong),
            }
            searched = self.buffer.len();
            if !self.fill()? {
                let blank = self.buffer.iter().all(u8::is_ascii_whitespace);
                return Ok(if blank { Next::End } else { Next::Cut });
            }
        };
        self.taken = length + 1;
        Ok(Next::Line(self.buffer.get(..length).unwrap_or_default()))
    }

    /// Reads a chunk more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK_BYTES, 0);
        let read = loop {
            match self.stream.read(self.buffer.get_mut(length..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], max: usize) -> Vec<String> {
        let mut lines = Lines::new(text, max);
        let mut seen = Vec::new();
        loop {
            match lines.next().unwrap() {
                Next::Line(line) => seen.push(String::from_utf8(line.to_vec()).unwrap()),
                Next::End => break,
                Next::Cut => {
                    seen.push("(cut)".into());
                    break;
                }
                Next::TooLong => {
                    seen.push("(too long)".into());
                    break;
                }
            }
        }
        seen
    }

    #[test]
    fn lines_end_with_lf_and_only_then_count() {
        assert_eq!(lines(b"a\n\nbc\n", 10), ["a", "", "bc"]);
        assert_eq!(lines(b"a\nbc", 10), ["a", "(cut)"]);
        assert_eq!(lines(b"a\n \t", 10), ["a"]);
        assert_eq!(lines(b"", 10), [""; 0]);
        assert_eq!(lines(b"12345\n123456\n1\n", 5), ["12345", "(too long)"]);
        assert_eq!(lines(b"123456", 5), ["(too long)"]);
        let long = format!("{}\nb\n", "a".repeat(3 * CHUNK_BYTES));
        assert_eq!(lines(long.as_bytes(), 1 << 20)[1], "b");
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_a_long_one() {
        let mut lines = Lines::new(io::repeat(b'x'), 1 << 20);
        assert!(matches!(lines.next().unwrap(), Next::TooLong));
        assert!(lines.buffer.capacity() <= 4 << 20, "{}", lines.buffer.capacity());
    }

    #[test]
    fn memory_of_a_long_line_is_given_back() {
        let long = format!("{}\nb\n", "a".repeat(1 << 20));
        let mut lines = Lines::new(long.as_bytes(), 1 << 20);
        assert!(matches!(lines.next().unwrap(), Next::Line(_)));
        assert!(matches!(lines.next().unwrap(), Next::Line(b"b")));
        assert!(lines.buffer.capacity() <= 4 * CHUNK_BYTES, "{}", lines.buffer.capacity());
    }
}
