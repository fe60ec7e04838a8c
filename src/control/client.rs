//! The other end of the socket, for the command line: one call at a time, and errors that tell a person what to do.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::failure::Cause;

/// How long a server may be silent before a call is given up.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("portcullis does not serve {path} ({source}); is it running? `--socket` names another socket", path = path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not for us.
    #[error("no permission to use {path}; be root, or a member of the group that owns it", path = path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// No answer in time. What was asked may have been done.
    #[error("no answer from {path} within {} s; whether it was done is not known", timeout.as_secs(), path = path.display())]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// How long.
        timeout: Duration,
    },
    /// The connection ended before the answer. What was asked may have been done.
    #[error("{path} closed the connection without an answer; whether it was done is not known", path = path.display())]
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// The connection ended while nothing was asked.
    #[error("{path} closed the connection", path = path.display())]
    Ended {
        /// The socket.
        path: PathBuf,
    },
    /// The connection failed otherwise.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not what a portcullis answers.
    #[error("{path} does not answer like portcullis: {what}", path = path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What was unexpected.
        what: String,
    },
    /// The server says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl ClientError {
    /// What it comes down to.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Permission { .. } => Cause::Permission,
            Self::NotRunning { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::Ended { .. }
            | Self::Protocol { .. } => Cause::Unavailable,
            Self::Io { .. } => Cause::Os,
            Self::Refused(refusal) => match refusal.kind() {
                "not_in_force" | "shutting_down" | "too_many_connections" => Cause::Unavailable,
                "internal" => Cause::Bug,
                "forbidden" => Cause::Permission,
                _ => Cause::Refused,
            },
        }
    }
}

/// An error as the server sent it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Refusal {
    /// JSON-RPC's number.
    pub code: i64,
    /// For people.
    pub message: String,
    /// For programs: `kind`, and what belongs to it.
    #[serde(default)]
    pub data: Map<String, Value>,
}

impl Refusal {
    /// Which kind of error, see [`Kind`](super::rpc::Kind); empty if the server did not say.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.data.get("kind").and_then(Value::as_str).unwrap_or_default()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// A connection to a running portcullis.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    timeout: Duration,
    calls: u64,
    /// An answer may be on its way that nobody waits for any more.
    lost: bool,
}

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a P,
}

#[derive(Deserialize)]
struct Reply {
    id: Option<u64>,
    result: Option<Value>,
    error: Option<Refusal>,
}

impl Client {
    /// Connects to the socket at `path`; a call may take [`TIMEOUT`].
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::Permission`], or what else the system says.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::connect_with(path, TIMEOUT)
    }

    /// As [`connect`](Self::connect), with another timeout (not zero).
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Permission { path: path.to_owned() },
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ClientError::NotRunning { path: path.to_owned(), source }
            }
            _ => ClientError::Io { path: path.to_owned(), source },
        })?;
        let set = stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)));
        set.map_err(|source| ClientError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), stream: BufReader::new(stream), timeout, calls: 0, lost: false })
    }

    /// Calls a method; `params` must serialise to an object.
    ///
    /// # Errors
    /// [`ClientError::Refused`] is the server's answer, and the connection is good for the next call. Every other error
    /// ends it.
    pub fn call(&mut self, method: &str, params: &impl Serialize) -> Result<Value, ClientError> {
        if self.lost {
            return Err(ClientError::Closed { path: self.path.clone() });
        }
        self.lost = true;
        self.calls += 1;
        let line = self.exchange(&Request { jsonrpc: "2.0", id: self.calls, method, params })?;
        let reply: Reply = self.read(&line)?;
        match (reply.id == Some(self.calls), reply.error, reply.result) {
            (answered, Some(refusal), None) => {
                self.lost = !answered; // Without our id it is the last word before the connection is closed.
                Err(refusal.into())
            }
            (true, None, result) => {
                self.lost = false;
                Ok(result.unwrap_or(Value::Null))
            }
            _ => Err(self.unexpected("a reply to something else")),
        }
    }

    /// As [`call`](Self::call), with the result's type.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ClientError::Protocol`] for a result that is none.
    pub fn call_as<T: DeserializeOwned>(&mut self, method: &str, params: &impl Serialize) -> Result<T, ClientError> {
        let result = self.call(method, params)?;
        serde_json::from_value(result).map_err(|error| self.unexpected(&error.to_string()))
    }

    /// Calls a method many times in one line; the answers in the same order. The server makes such changes together.
    ///
    /// # Errors
    /// As [`call`](Self::call), but for refusals of single calls, which stand among the answers.
    pub fn call_each(
        &mut self,
        method: &str,
        params: &[impl Serialize],
    ) -> Result<Vec<Result<Value, Refusal>>, ClientError> {
        if self.lost {
            return Err(ClientError::Closed { path: self.path.clone() });
        }
        self.lost = true;
        let first = self.calls + 1;
        let requests: Vec<_> =
            params.iter().zip(first..).map(|(params, id)| Request { jsonrpc: "2.0", id, method, params }).collect();
        self.calls += params.len() as u64;
        let line = self.exchange(&requests)?;
        if !line.starts_with(b"[") {
            // The last word before the connection is closed.
            let reply: Reply = self.read(&line)?;
            return Err(reply.error.map_or_else(|| self.unexpected("one reply to many calls"), Into::into));
        }
        let replies: Vec<Reply> = self.read(&line)?;
        if replies.len() != params.len() {
            return Err(self.unexpected("a reply to other calls"));
        }
        let mut answers = Vec::with_capacity(replies.len());
        for (reply, id) in replies.into_iter().zip(first..) {
            answers.push(match reply {
                Reply { id: Some(answered), error: Some(refusal), result: None } if answered == id => Err(refusal),
                Reply { id: Some(answered), error: None, result } if answered == id => {
                    Ok(result.unwrap_or(Value::Null))
                }
                _ => return Err(self.unexpected("a reply to something else")),
            });
        }
        self.lost = false;
        Ok(answers)
    }

    /// What the server tells next after `watch` was answered, however long that takes.
    ///
    /// # Errors
    /// The connection ended.
    pub fn next_notification(&mut self) -> Result<Value, ClientError> {
        self.stream.get_ref().set_read_timeout(None).map_err(|error| self.failed(error))?;
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => self.read(&line),
            Ok(_) => Err(ClientError::Ended { path: self.path.clone() }),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn read<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line).map_err(|error| self.unexpected(&error.to_string()))
    }

    /// Sends a line and waits for one.
    fn exchange(&mut self, request: &impl Serialize) -> Result<Vec<u8>, ClientError> {
        let mut line = serde_json::to_vec(request).map_err(|error| self.unexpected(&error.to_string()))?;
        line.push(b'\n');
        // Who closes without listening (too many connections, a line too long) says why first: so read in any case.
        let sent = self.stream.get_mut().write_all(&line);
        let mut reply = Vec::new();
        match (self.stream.read_until(b'\n', &mut reply), sent) {
            (Ok(_), _) if reply.ends_with(b"\n") => Ok(reply),
            (_, Err(error)) | (Err(error), _) => Err(self.failed(error)),
            (Ok(_), Ok(())) => Err(ClientError::Closed { path: self.path.clone() }),
        }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Timeout { path, timeout: self.timeout },
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed { path },
            _ => ClientError::Io { path, source },
        }
    }

    fn unexpected(&self, what: &str) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), what: crate::text::plain(what, 200) }
    }
}
