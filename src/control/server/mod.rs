//! Clients of the socket: a thread that accepts, a thread for each connection (`conversation`), and the one control thread
//! that owns the [`State`] (`queue`).
//!
//! A connection's thread reads a line, parses it, hands over what it changes, waits, and writes the answer; then comes its
//! next line. So replies keep the order of requests, a client has at most one job in the queue, and what a client can
//! make us remember is a line and a page of VMs. A slow or silent client has its own thread to keep waiting, and loses its
//! connection after a time. An answer is serialised into the stream, not copied first.

mod conversation;
mod lines;
mod queue;
mod watch;

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use self::queue::Handle;
use super::handler::State;
use super::history::Who;
use super::rpc::{self, Guard, Id, Kind, Reloaded, Response, RpcError};
use super::socket::Socket;
use crate::telemetry::heartbeat::{Heartbeat, PERIOD};

/// What clients can take of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Longest line, its LF not counted.
    pub line_bytes: usize,
    /// Connections beside them that only root can have, so that nobody locks the operator out.
    pub reserved: usize,
    /// How long a client may leave a full socket unread.
    pub write_timeout: Duration,
    /// How long a client may take for its next line, from the answer to the one before.
    pub idle: Duration,
    /// How long a client may take to read the answers to one line.
    pub answer: Duration,
    /// How long connections have to end by themselves when the server stops.
    pub goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            reserved: 8,
            line_bytes: rpc::LINE_BYTES_MAX,
            write_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            answer: Duration::from_secs(60),
            goodbye: Duration::from_secs(1),
        }
    }
}

/// What is read at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// Pause after a connection that could not be accepted for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
        let (handle, queue) = queue::open(stopping.clone(), &state);
        let shared = Arc::new(Shared { socket, limits, stopping, connections: Clients::default() });
        let heartbeats = ["control", "control-accept"].map(|name| Arc::new(Heartbeat::new(name)));
        let [owner, listener] = heartbeats.clone();
        let handle_too = handle.clone();
        let control = spawn(owner.name(), move || queue::serve(state, &queue, handle_too.bell(), &owner))?;
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

    /// Does what `config.reload` does.
    ///
    /// # Errors
    /// The file cannot be used, or its policy cannot be in force.
    pub fn reload(&self) -> Result<Reloaded, RpcError> {
        let ourselves = Who::ourselves();
        self.handle.reload(Guard::default(), ourselves)
    }

    /// A way to the state while it is served.
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
        self.shared.socket.close();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        self.end_connections();
        let control = self.control.take();
        if control.is_some() {
            self.handle.quit();
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

fn accept(shared: &Shared, handle: &Handle, heart: &Heartbeat) {
    // A client that is gone again when its turn comes must not keep us in accept(2).
    let _ = shared.socket.listener().set_nonblocking(true);
    while !shared.stopping.load(Ordering::Acquire) {
        heart.beat();
        wait_for_client(shared.socket.listener());
        if shared.stopping.load(Ordering::Acquire) {
            return; // Who comes now is the next process's, where that gets the same socket.
        }
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
    if !has_place(connections.open.len(), &shared.limits, || is_root(&stream)) {
        drop(connections);
        let message = format!(
            "{limit} clients are connected, as many as can be; close one or try again later (root has {} places more)",
            shared.limits.reserved
        );
        refuse(&stream, Kind::TooManyConnections, &message);
        return;
    }
    let number = connections.next;
    connections.next += 1;
    let (work, handle, clients) = (stream.clone(), handle.clone(), shared.connections.clone());
    let limits = shared.limits;
    // The list is locked until the new thread is in it, so that the thread cannot leave it before.
    let thread = spawn("control-client", move || {
        let _ = conversation::hold(&work, &handle, &limits); // A client that is gone needs no answer.
        locked(&clients).open.remove(&number);
    });
    match thread {
        Ok(thread) => drop(connections.open.insert(number, (stream, thread))),
        Err(_) => refuse(&stream, Kind::Internal, "no thread is to be had for another client; try again later"),
    }
}

/// Whether there is room for one more beside those that are connected.
fn has_place(connected: usize, limits: &Limits, is_root: impl FnOnce() -> bool) -> bool {
    connected < limits.connections || (connected < limits.connections + limits.reserved && is_root())
}

fn is_root(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root())
}

/// Whose end of the connection the other one is, and the group that his process has.
fn peer(stream: &UnixStream) -> (Who, u32) {
    let nobody = (Who { uid: u32::MAX, pid: 0 }, u32::MAX);
    rustix::net::sockopt::socket_peercred(stream).map_or(nobody, |peer| {
        let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0);
        (Who { uid: peer.uid.as_raw(), pid }, peer.gid.as_raw())
    })
}

/// A last word, as far as the client takes it.
fn refuse(mut stream: &UnixStream, kind: Kind, message: &str) {
    let outcome = Err(RpcError::new(kind, message));
    if let Ok(mut line) = serde_json::to_vec(&Response { id: &Id::null(), outcome: &outcome }) {
        line.push(b'\n');
        let _ = stream.write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_roots() {
        let limits = Limits { connections: 2, reserved: 1, ..Limits::default() };
        for (connected, anybody, root) in [(0, true, true), (1, true, true), (2, false, true), (3, false, false)] {
            assert_eq!(has_place(connected, &limits, || false), anybody, "{connected} connected");
            assert_eq!(has_place(connected, &limits, || true), root, "{connected} connected, root");
        }
    }
}
