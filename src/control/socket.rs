//! The socket in the file system: who may have it, and how it comes and goes.
//!
//! A lock file beside the socket (`SOCKET.lock`, flock) says who serves it: it is held as long as the process lives and
//! disappears with it however it ends, where the socket itself stays behind after a crash. Who holds the lock may take a
//! stale socket over. Nothing but a socket that nobody answers at is ever removed, and no symbolic link is followed.
//!
//! *Permissions.* The socket's own mode is set before it has a name, so it is born with 0660 less the umask, never more;
//! it gets its 0660 while nobody can connect yet, since it does not listen. The usual way, a umask for the moment of
//! `bind`, changes the whole process: a folder that another thread (EAL's, say) makes in that moment could not be entered.
//! The lock file stays: removing it would let two processes hold locks on two files of one name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, chmod, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use crate::failure::Cause;

/// Longest path of a socket (`sun_path` of unix(7), less its final zero).
pub const PATH_BYTES_MAX: usize = 107;
/// Who may connect: owner and group.
const SOCKET_MODE: Mode = Mode::from_raw_mode(0o660);
/// Who can open the lock file can hold its lock, and thereby keep us from starting.
const LOCK_MODE: Mode = Mode::from_raw_mode(0o600);
/// Connections that wait to be accepted; the kernel's own limit may be lower.
const BACKLOG: i32 = 128;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nothing to call it by.
    #[error("{path:?} names no file; the control socket needs a path, as /run/portcullis/control.sock")]
    NoName {
        /// As given.
        path: PathBuf,
    },
    /// A service manager listens for us where nobody looks.
    #[error(
        "the service manager's socket is at {at}, and `control.socket` says {path}; make ListenStream= and \
         `control.socket` the same", path = path.display()
    )]
    Elsewhere {
        /// `control.socket`.
        path: PathBuf,
        /// What was handed over.
        at: String,
    },
    /// More than an address holds.
    #[error("{path}: {bytes} bytes are too many for the path of a socket; at most {PATH_BYTES_MAX} are possible", path = path.display())]
    TooLong {
        /// As given.
        path: PathBuf,
        /// How long.
        bytes: usize,
    },
    /// Nowhere to put it.
    #[error(
        "the folder {folder} of the control socket does not exist; make it (mode 0750), or let systemd do so with \
         RuntimeDirectory=", folder = folder.display()
    )]
    NoFolder {
        /// Which folder.
        folder: PathBuf,
    },
    /// Not our folder.
    #[error(
        "no permission to make the control socket {path}; the folder must be writable for the user that runs portcullis",
        path = path.display()
    )]
    Permission {
        /// Of what.
        path: PathBuf,
    },
    /// Another portcullis has the lock.
    #[error("another portcullis{} serves {path}", pid_text(*pid), path = path.display())]
    InUse {
        /// Of what.
        path: PathBuf,
        /// Whose lock it is, if it says.
        pid: Option<u32>,
    },
    /// A socket that is alive, or cannot be asked.
    #[error("another program serves {path}, or does not say that it does not ({source}); not touched", path = path.display())]
    Alive {
        /// Of what.
        path: PathBuf,
        /// What came of asking.
        source: io::Error,
    },
    /// Something that is not ours to remove.
    #[error("{path} is {what}, not a socket of ours; not touched: remove it or set another path (`control.socket`)", path = path.display())]
    Obstacle {
        /// The socket's or the lock's.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// Anything else.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    System {
        /// What failed.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl SocketError {
    /// What it comes down to.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::NoName { .. }
            | Self::Elsewhere { .. }
            | Self::TooLong { .. }
            | Self::NoFolder { .. }
            | Self::Obstacle { .. } => Cause::Configuration,
            Self::Permission { .. } => Cause::Permission,
            Self::InUse { .. } | Self::Alive { .. } => Cause::Unavailable,
            Self::System { .. } => Cause::Os,
        }
    }
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// The socket, listening, and the right to it. Dropped, its name disappears.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the name, to remove no other's; none if the name is the service manager's.
    identity: Option<(u64, u64)>,
    /// Locked.
    _lock: File,
}

impl Socket {
    /// Takes the right to serve at `path` and listens there.
    ///
    /// # Errors
    /// [`SocketError`]; whatever is there is as it was.
    pub fn take(path: &Path) -> Result<Self, SocketError> {
        Self::with(path, || {
            clear(path)?;
            let listener = listening(path)?.into();
            let metadata = fs::symlink_metadata(path).map_err(|source| system("look at", path, source))?;
            Ok((listener, Some((metadata.dev(), metadata.ino()))))
        })
    }

    /// Takes the right to serve at `path`, where a service manager listens for us: `listener` is what it handed over. The name
    /// is there before us and stays behind, so clients wait for the next process instead of being turned away.
    ///
    /// # Errors
    /// [`SocketError`], also where it listens elsewhere.
    pub fn take_over(path: &Path, listener: UnixListener) -> Result<Self, SocketError> {
        let elsewhere = |at| SocketError::Elsewhere { path: path.to_owned(), at };
        let address = listener.local_addr().map_err(|source| system("look at", path, source))?;
        match address.as_pathname() {
            Some(at) if at == path => Self::with(path, || Ok((listener, None))),
            at => Err(elsewhere(at.map_or_else(|| "no path".to_owned(), |at| at.display().to_string()))),
        }
    }

    fn with(
        path: &Path,
        listen: impl FnOnce() -> Result<(UnixListener, Option<(u64, u64)>), SocketError>,
    ) -> Result<Self, SocketError> {
        let name = path.file_name().filter(|_| !path.as_os_str().as_bytes().ends_with(b"/"));
        let Some(name) = name else { return Err(SocketError::NoName { path: path.to_owned() }) };
        let bytes = path.as_os_str().len();
        if bytes > PATH_BYTES_MAX {
            return Err(SocketError::TooLong { path: path.to_owned(), bytes });
        }
        let mut lock_name = name.to_owned();
        lock_name.push(".lock");
        let lock = lock(&path.with_file_name(lock_name), path)?;
        let (listener, identity) = listen()?;
        Ok(Self { path: path.to_owned(), listener, identity, _lock: lock })
    }

    /// Where it is.
    #[cfg(feature = "testkit")]
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where connections come from.
    #[must_use]
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Takes the name away and ends a pending accept(2) with EINVAL. A service manager's socket stays as it is: who
    /// connects now is answered by the next process.
    pub fn close(&self) {
        self.unlink();
        if self.identity.is_some() {
            let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        }
    }

    /// Takes the name away, so that nobody finds the socket any more. It still listens.
    fn unlink(&self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|now| Some((now.dev(), now.ino())) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path); // Left behind, it is stale: the next start takes it over.
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// Takes the lock for this process's life and writes our pid into it, for the message to who comes second.
fn lock(lock: &Path, socket: &Path) -> Result<File, SocketError> {
    // O_NONBLOCK: a FIFO in its place must not keep us waiting.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(LOCK_MODE.as_raw_mode()).custom_flags(flags);
    let mut file = options.open(lock).map_err(|source| match (Errno::from_io_error(&source), lock.parent()) {
        (Some(Errno::NOENT | Errno::NOTDIR), Some(folder)) => SocketError::NoFolder { folder: folder.to_owned() },
        (Some(Errno::ACCESS | Errno::PERM), _) => SocketError::Permission { path: socket.to_owned() },
        (Some(Errno::LOOP), _) => SocketError::Obstacle { path: lock.to_owned(), what: "a symbolic link" },
        (Some(Errno::ISDIR), _) => SocketError::Obstacle { path: lock.to_owned(), what: "a folder" },
        _ => system("open", lock, source),
    })?;
    let metadata = file.metadata().map_err(|source| system("look at", lock, source))?;
    if !metadata.is_file() {
        return Err(SocketError::Obstacle { path: lock.to_owned(), what: "not a file" });
    }
    // It may be there already, with whatever mode.
    fchmod(&file, LOCK_MODE).map_err(|error| system("set the mode of", lock, error.into()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = (&mut file).take(32).read_to_string(&mut text); // The pid is a courtesy.
            return Err(SocketError::InUse { path: socket.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(error) => return Err(system("lock", lock, error.into())),
    }
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Removes a stale socket; leaves anything else alone and says what it is.
fn clear(path: &Path) -> Result<(), SocketError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(system("look at", path, source)),
    };
    let obstacle = |what| Err(SocketError::Obstacle { path: path.to_owned(), what });
    match kind {
        kind if kind.is_socket() => {}
        kind if kind.is_symlink() => return obstacle("a symbolic link"),
        kind if kind.is_dir() => return obstacle("a folder"),
        kind if kind.is_fifo() => return obstacle("a FIFO"),
        kind if kind.is_file() => return obstacle("a file"),
        _ => return obstacle("a device"),
    }
    // The lock keeps portcullis away, not other programs: a socket is stale only if it says so.
    let alive = |error: Errno| SocketError::Alive { path: path.to_owned(), source: error.into() };
    let probe = unix_socket(SocketFlags::NONBLOCK).map_err(|source| system("make a socket for", path, source))?;
    match SocketAddrUnix::new(path).and_then(|address| connect(&probe, &address)) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => {}
        Err(error) => return Err(alive(error)),
        Ok(()) => return Err(alive(Errno::ADDRINUSE)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system("remove the stale socket", path, error)),
        _ => Ok(()),
    }
}

/// A socket with its name, its mode and, only then, an ear.
fn listening(path: &Path) -> Result<OwnedFd, SocketError> {
    let fd = unix_socket(SocketFlags::empty()).map_err(|source| system("make a socket for", path, source))?;
    let address = SocketAddrUnix::new(path).map_err(|error| system("name the socket", path, error.into()))?;
    fchmod(&fd, SOCKET_MODE).map_err(|error| system("set the mode of", path, error.into()))?;
    bind(&fd, &address).map_err(|error| match error {
        Errno::ACCESS | Errno::PERM => SocketError::Permission { path: path.to_owned() },
        error => system("bind the socket", path, error.into()),
    })?;
    let ready = chmod(path, SOCKET_MODE)
        .map_err(|error| system("set the mode of", path, error.into()))
        .and_then(|()| listen(&fd, BACKLOG).map_err(|error| system("listen at", path, error.into())));
    if ready.is_err() {
        let _ = fs::remove_file(path); // We have just made it.
    }
    ready.map(|()| fd)
}

fn unix_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)?)
}

fn system(doing: &'static str, path: &Path, source: io::Error) -> SocketError {
    SocketError::System { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        (folder, path)
    }

    fn refusal(path: &Path) -> SocketError {
        Socket::take(path).unwrap_err()
    }

    #[test]
    fn owner_and_group_may_connect_and_nobody_else() {
        let (_folder, path) = folder();
        let socket = Socket::take(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o660, "{mode:o}");
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert!(fs::symlink_metadata(&path).is_err(), "its name goes with it");
    }

    #[test]
    fn before_its_mode_is_set_by_name_a_socket_has_no_more_than_its_own() {
        let (_folder, path) = folder();
        let fd = unix_socket(SocketFlags::empty()).unwrap();
        fchmod(&fd, SOCKET_MODE).unwrap();
        bind(&fd, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777 & !0o660, 0, "{mode:o}");
        assert!(UnixStream::connect(&path).is_err(), "and it does not listen yet");
    }

    #[test]
    fn a_second_server_is_refused_and_told_who_is_first() {
        let (_folder, path) = folder();
        let first = Socket::take(&path).unwrap();
        let error = refusal(&path);
        assert_eq!(
            error.to_string(),
            format!("another portcullis (pid {}) serves {}", std::process::id(), path.display())
        );
        assert!(UnixStream::connect(&path).is_ok(), "the first one is not disturbed");
        drop(first);
        assert!(Socket::take(&path).is_ok());
    }

    #[test]
    fn a_socket_left_by_a_crash_is_taken_over() {
        let (_folder, path) = folder();
        drop(UnixListener::bind(&path).unwrap());
        assert!(fs::symlink_metadata(&path).is_ok());
        let _socket = Socket::take(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_socket_that_another_program_serves_stays() {
        let (_folder, path) = folder();
        let _other = UnixListener::bind(&path).unwrap();
        assert!(matches!(refusal(&path), SocketError::Alive { .. }));
        assert!(UnixStream::connect(&path).is_ok());

        let (_folder, path) = folder();
        let _other = UnixDatagram::bind(&path).unwrap();
        assert!(matches!(refusal(&path), SocketError::Alive { .. }));
    }

    #[test]
    fn whatever_is_no_socket_stays_as_it_is() {
        let (folder, path) = folder();
        let precious = folder.path().join("precious");
        fs::write(&precious, "data").unwrap();
        let check = |what: &str| {
            let error = refusal(&path);
            assert!(matches!(error, SocketError::Obstacle { .. }) && error.to_string().contains(what), "{error}");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "data");
        };
        symlink(&precious, &path).unwrap();
        check("a symbolic link");
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();

        let elsewhere = folder.path().join("elsewhere.sock");
        drop(UnixListener::bind(&elsewhere).unwrap());
        symlink(&elsewhere, &path).unwrap();
        check("a symbolic link");
        assert!(fs::symlink_metadata(&elsewhere).is_ok(), "not even the stale socket it leads to");
        fs::remove_file(&path).unwrap();

        fs::write(&path, "mail").unwrap();
        check("a file");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mail");
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        check("a folder");
        fs::remove_dir(&path).unwrap();

        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        check("a FIFO");
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    }

    #[test]
    fn nobody_else_can_open_the_lock_whatever_mode_it_had() {
        let (folder, path) = folder();
        let lock = folder.path().join("control.sock.lock");
        let mode = || fs::symlink_metadata(&lock).unwrap().permissions().mode() & 0o7777;
        drop(Socket::take(&path).unwrap());
        assert_eq!(mode(), 0o600, "a new one");
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o664)).unwrap();
        drop(Socket::take(&path).unwrap());
        assert_eq!(mode(), 0o600, "one of an earlier release");
    }

    #[test]
    fn a_lock_that_is_no_file_is_not_followed_and_not_waited_for() {
        let (folder, path) = folder();
        let lock = folder.path().join("control.sock.lock");
        let precious = folder.path().join("precious");
        fs::write(&precious, "data").unwrap();
        symlink(&precious, &lock).unwrap();
        assert!(matches!(refusal(&path), SocketError::Obstacle { .. }));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "data");
        fs::remove_file(&lock).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &lock, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(matches!(refusal(&path), SocketError::Obstacle { .. }));
    }

    #[test]
    fn a_path_that_cannot_be_is_refused_with_its_reason() {
        let (folder, _) = folder();
        for path in ["", "/", "..", "/tmp/..", "/tmp/x/"] {
            assert!(matches!(refusal(Path::new(path)), SocketError::NoName { .. }), "{path:?}");
        }
        let missing = folder.path().join("missing");
        let error = refusal(&missing.join("control.sock"));
        assert!(error.to_string().contains(&format!("folder {} ", missing.display())), "{error}");
        let used = folder.path().as_os_str().len() + 1;
        assert!(Socket::take(&folder.path().join("a".repeat(107 - used))).is_ok());
        let error = refusal(&folder.path().join("a".repeat(108 - used)));
        assert!(error.to_string().contains("108 bytes"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the lock of the one that could be");
    }

    #[test]
    fn a_folder_that_is_not_ours_is_refused() {
        let (folder, path) = folder();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
        match Socket::take(&path) {
            Err(error) => assert!(matches!(error, SocketError::Permission { .. }), "{error}"),
            Ok(_) => assert!(is_root(), "only root may write into a read-only folder"),
        }
    }

    fn is_root() -> bool {
        fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
    }
}
