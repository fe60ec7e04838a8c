//! A scratch folder with the box in it: running it to its end, running it as a daemon, reading what it says.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The box.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// How long a test waits for what must come. Nothing is decided by it but that a test has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Waits until something is there.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "waited {} s in vain until {what}", LIMIT.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The CPUs this process may use.
pub(crate) fn cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap();
    (0..1024).filter(|&cpu| set.is_set(cpu)).collect()
}

/// `dpdk.cores` for so many workers, on the last CPUs there are; the main one is among them if they do not suffice.
pub(crate) fn cores(workers: usize) -> String {
    let cpus = cpus();
    assert!(cpus.len() >= workers, "this test needs {workers} CPUs; the process may use {cpus:?}");
    let last: Vec<String> = cpus.iter().rev().take(workers).map(ToString::to_string).collect();
    last.join(",")
}

/// Runs a helper to its end; what it printed.
#[track_caller]
pub(crate) fn helper(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&said));
    String::from_utf8(output.stdout).unwrap()
}

/// A scratch folder. EAL's run directory lies in it too, so tests see nothing of each other.
pub(crate) struct Lab {
    folder: TempDir,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: killed by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("portcullis-").tempdir().unwrap();
        Self { folder }
    }

    /// A place in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text, for command lines.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    /// Where EAL keeps the run-time files of a process of this name.
    pub(crate) fn run_dir(&self, file_prefix: &str) -> PathBuf {
        self.path("dpdk").join(file_prefix)
    }

    /// Nothing of EAL's is left in the run directory.
    #[track_caller]
    pub(crate) fn assert_no_run_dir(&self) {
        let Ok(entries) = fs::read_dir(self.path("dpdk")) else { return };
        let left: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "EAL's run directory is left behind: {left:?}");
    }

    /// The box with a command line.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        self.prepare(command.args(args));
        command
    }

    /// The box with a command line, as a user who may do nothing that others may not. The folder is opened to him.
    pub(crate) fn command_of_nobody(&self, args: &[&str]) -> Command {
        if !is_root() {
            return self.command(args);
        }
        // The build folder may be closed to him.
        let binary = self.path("portcullis");
        if !binary.exists() {
            fs::copy(BINARY, &binary).unwrap();
        }
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary);
        self.prepare(command.args(args));
        command
    }

    /// A folder that nobody may write to.
    pub(crate) fn foreign_folder(&self) -> PathBuf {
        self.foreign("foreign", 0o755)
    }

    /// A folder that anybody may write to.
    pub(crate) fn open_folder(&self) -> PathBuf {
        self.foreign("open", 0o777)
    }

    fn foreign(&self, name: &str, mode: u32) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        let mode = if is_root() || mode == 0o777 { mode } else { 0o555 };
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn prepare(&self, command: &mut Command) {
        command.env("RUNTIME_DIRECTORY", self.folder.path());
        for name in ["PORTCULLIS_LOG", "PORTCULLIS_SOCKET", "COLUMNS"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
    }

    /// Runs the box to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.finish(&mut self.command(args))
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn finish(&self, command: &mut Command) -> Ended {
        // Files instead of pipes: nobody has to read while it runs.
        let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let mut child = Killed(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let status = wait_for(&format!("{command:?} ends"), || child.0.try_wait().unwrap());
        Ended { code: status.code(), stdout: content(&mut out), stderr: content(&mut err) }
    }

    /// A configuration of one link.
    pub(crate) fn config(&self, inside: &str, outside: &str) -> Config {
        Config {
            inside: inside.into(),
            outside: outside.into(),
            cores: cores(1),
            dpdk: String::new(),
            link: String::new(),
            rest: String::new(),
            socket: self.path("control.sock"),
        }
    }
}

/// A configuration file in the making.
#[derive(Clone)]
pub(crate) struct Config {
    inside: String,
    outside: String,
    cores: String,
    /// More of `[dpdk]`.
    dpdk: String,
    /// More of `[[link]]`.
    link: String,
    rest: String,
    socket: PathBuf,
}

/// `dpdk.file_prefix` of every configuration here: run directories are apart anyway.
pub(crate) const FILE_PREFIX: &str = "lab";

impl Config {
    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.cores = cores(workers);
        self
    }

    pub(crate) fn cores(mut self, cores: &str) -> Self {
        cores.clone_into(&mut self.cores);
        self
    }

    pub(crate) fn dpdk(mut self, line: &str) -> Self {
        self.dpdk += &format!("{line}\n");
        self
    }

    pub(crate) fn link(mut self, line: &str) -> Self {
        self.link += &format!("{line}\n");
        self
    }

    pub(crate) fn and(mut self, text: &str) -> Self {
        self.rest += &format!("{text}\n");
        self
    }

    pub(crate) fn socket(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.socket);
        self
    }

    pub(crate) fn toml(&self) -> String {
        let Self { inside, outside, cores, dpdk, link, rest, socket } = self;
        let cores = if cores.is_empty() { String::new() } else { format!("cores = \"{cores}\"\n") };
        format!(
            "[dpdk]\nhugepages = \"off\"\nfile_prefix = \"{FILE_PREFIX}\"\n{cores}{dpdk}\n\
             [[link]]\nname = \"uplink\"\ninside = \"{inside}\"\noutside = \"{outside}\"\n{link}\n\
             [control]\nsocket = \"{}\"\n\n{rest}",
            socket.display()
        )
    }
}

impl Ended {
    /// It was successful.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// It was successful and printed one JSON object and nothing else.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let ended = self.done();
        let document: Value =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout));
        assert!(document.is_object(), "{document}");
        assert_eq!(ended.stdout.trim_end().lines().count(), 1, "one object a line");
        document
    }

    /// It failed with this code, printed nothing where results go, and said why in words that hold all of `parts`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "standard output is for results");
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        }
        self
    }
}

/// Every frame received is sent or dropped for a reason: what the document says, and what its numbers say.
#[track_caller]
pub(crate) fn assert_balance(document: &Value) {
    assert_eq!(document["balanced"], true, "{document}");
    for (way, from, to) in [("egress", "inside", "outside"), ("ingress", "outside", "inside")] {
        let links = document["links"].as_object().unwrap();
        let all = |side: &str, count: &str| links.values().map(|link| number(&link[side][count])).sum::<u64>();
        let drops: u64 = document["reasons"][way].as_object().unwrap().values().map(number).sum();
        assert_eq!(all(from, "rx"), all(to, "tx") + drops, "{way}: received = sent + dropped in {document}");
    }
}

#[track_caller]
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Ends with its test, however that ends.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running box.
pub(crate) struct Daemon<'a> {
    lab: &'a Lab,
    child: Killed,
    socket: String,
    out: File,
    err: File,
}

impl<'a> Daemon<'a> {
    /// `portcullis run --json`; it answers on its socket.
    #[track_caller]
    pub(crate) fn start(lab: &'a Lab, config: &Config) -> Self {
        Self::start_with(lab, config, &[])
    }

    /// The same with more arguments.
    #[track_caller]
    pub(crate) fn start_with(lab: &'a Lab, config: &Config, more: &[&str]) -> Self {
        Self::spawn(lab, config, more, Command::spawn)
    }

    /// The same, started by `spawn` (in another namespace, say).
    #[track_caller]
    pub(crate) fn spawn(
        lab: &'a Lab,
        config: &Config,
        more: &[&str],
        spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
    ) -> Self {
        let file = lab.write("portcullis.toml", config.toml());
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut command = lab.command(&["run", "--json", "--config", &file]);
        command.args(more).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let child = Killed(spawn(&mut command).unwrap());
        let mut daemon = Self { lab, child, socket: config.socket.to_str().unwrap().to_owned(), out, err };
        wait_for("the daemon answers", || {
            if let Some(status) = daemon.child.0.try_wait().unwrap() {
                panic!("the daemon ended ({status}):\n{}", content(&mut daemon.err));
            }
            let answer = daemon.command(&["version", "--json"]);
            (!answer.json()["daemon"].is_null()).then_some(())
        });
        daemon
    }

    /// A command to it.
    #[track_caller]
    pub(crate) fn command(&self, args: &[&str]) -> Ended {
        self.lab.run(&[args, &["--socket", &self.socket]].concat())
    }

    /// A command to it that is answered in JSON.
    #[track_caller]
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        self.command(&[args, &["--json"]].concat()).json()
    }

    /// A change, in force when this returns. Where the machine is so busy that a worker does not get its CPU for 100
    /// ms, the box says so, and asking again tells whether it is in force now.
    #[track_caller]
    pub(crate) fn change(&self, args: &[&str]) -> Value {
        wait_for("the change is in force", || {
            let ended = self.command(&[args, &["--json"]].concat());
            let late = ended.code == Some(69) && ended.stderr.contains("revision");
            (!late).then(|| ended.json())
        })
    }

    /// The statistics; the balance holds in each.
    #[track_caller]
    pub(crate) fn stats(&self) -> Value {
        let stats = self.ask(&["stats"]);
        assert_balance(&stats);
        stats
    }

    /// Waits until the statistics are as wanted.
    #[track_caller]
    pub(crate) fn stats_when(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        wait_for(what, || Some(self.stats()).filter(|stats| wanted(stats)))
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child.0)
    }

    /// Its end, if it has come: what was signalled to it last, and the rest.
    pub(crate) fn ended(&mut self) -> Option<(Option<i32>, Ended)> {
        let status = self.child.0.try_wait().unwrap()?;
        let ended = Ended { code: status.code(), stdout: content(&mut self.out), stderr: content(&mut self.err) };
        Some((status.signal(), ended))
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Sends it a signal and waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self, signal: Signal) -> Ended {
        kill_process(self.pid(), signal).unwrap();
        let status = wait_for("the daemon ends", || self.child.0.try_wait().unwrap());
        assert!(status.code().is_some() || status.signal() == Some(signal.as_raw()), "{status}");
        Ended { code: status.code(), stdout: content(&mut self.out), stderr: content(&mut self.err) }
    }

    /// Stops it in order; the final counters, balanced. Neither its socket nor EAL's files are left.
    #[track_caller]
    pub(crate) fn stop(mut self, signal: Signal) -> Value {
        let stats = self.end(signal).json();
        assert_balance(&stats);
        assert!(!Path::new(&self.socket).exists(), "the socket is gone");
        self.lab.assert_no_run_dir();
        stats
    }

    /// What it has logged so far.
    pub(crate) fn log(&mut self) -> String {
        content(&mut self.err)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[allow(clippy::print_stdout, reason = "nextest shows it with the failed test")]
            let () = println!("the daemon's log:\n{}", content(&mut self.err));
        }
    }
}

/// All of a file that somebody else writes at the same offset.
fn content(file: &mut File) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        match file.read_at(&mut chunk, bytes.len() as u64).unwrap() {
            0 => return String::from_utf8_lossy(&bytes).into_owned(),
            read => bytes.extend(&chunk[..read]),
        }
    }
}

/// Writes an Ethernet capture: microseconds, little-endian, as [`crate::files::read_pcap`] reads it.
pub(crate) fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap();
        for word in [1, 0, length, length] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}
