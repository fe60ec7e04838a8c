//! `portcullis capture`: dropped frames as a capture that Wireshark reads, with the reason beside each.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::drops::Wanted;
use super::out::{print, printed};
use super::remote::Remote;
use crate::capture::{Annotated, Annotator};
use crate::control::rpc::{DROPS_LIMIT_MAX, DropEntry, DropsAnswer};
use crate::failure::{Cause, Failure};
use crate::model::Direction;
use crate::policy::DropReason;
use crate::telemetry::drops::feed::HEAD_BYTES;
use crate::text::unhex;
use crate::vm::explanation::Becomes;

/// How often it is asked for more: in that time one VM is told of eight times.
const FOLLOW: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis capture -w drops.pcapng --last             what is remembered, and end
  portcullis capture -w drops.pcapng --count 100        the next hundred
  portcullis capture -w - --vm web1 | wireshark -k -i - as they come, of one VM
  portcullis capture -w - --reason spoof_mac | tshark -r - -Tfields -e frame.comment -e eth.src

The reason, what it means and the VM stand beside each frame as a comment. Of each VM the first eight dropped frames of
every tenth of a second are there, of each its first 128 bytes. Ctrl-C ends it; the file is whole at any time.")]
pub(super) struct CaptureArgs {
    #[command(flatten)]
    remote: Remote,
    /// The file that is written, pcapng; - is standard output
    #[arg(short = 'w', long, value_name = "FILE")]
    write: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// End after so many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep so many bytes of each frame at most
    #[arg(long, value_name = "BYTES", default_value_t = HEAD_BYTES as u64, value_parser = clap::value_parser!(u64).range(1..=HEAD_BYTES as u64))]
    snaplen: u64,
    /// Take those that are remembered, and end
    #[arg(long)]
    last: bool,
}

impl CaptureArgs {
    pub(super) fn json(&self) -> bool {
        self.remote.json
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        let is_stdout = self.write == Path::new("-");
        if is_stdout && io::stdout().is_terminal() {
            let message = "-w -: standard output is a terminal, and a capture is no text; name a file, or pipe it on";
            return Err(Failure::new(Cause::Usage, message));
        }
        let mut params = self.wanted.params();
        params.extend([("limit".to_owned(), json!(DROPS_LIMIT_MAX)), ("frames".to_owned(), json!(true))]);
        let mut client = self.remote.connect()?;
        let mut answer: DropsAnswer = self.remote.ask(&mut client, "drop.list", &params)?;
        if !self.last {
            // From now on.
            params.insert("after".into(), json!(answer.drops.first().map_or(0, |last| last.number)));
            answer.drops.clear();
        }
        let about = format!(
            "What portcullis dropped, revision {}, boot {}: of each VM the first eight frames of every tenth of a second.",
            answer.revision.0, answer.boot
        );
        let written = self.write(is_stdout, &about, |annotator| {
            let wanted = self.count.unwrap_or(u64::MAX);
            let mut frames = 0;
            loop {
                let left = usize::try_from(wanted - frames).unwrap_or(usize::MAX);
                for drop in answer.drops.iter().rev().take(left) {
                    self.add(annotator, drop)?;
                    frames += 1;
                }
                annotator.flush().map_err(Stop::Write)?;
                if self.last || frames == wanted {
                    return Ok(frames);
                }
                if let Some(last) = answer.drops.first() {
                    params.insert("after".into(), json!(last.number));
                }
                thread::sleep(FOLLOW);
                answer = self.remote.ask(&mut client, "drop.list", &params).map_err(Stop::Ask)?;
            }
        })?;
        match written {
            Some(frames) if !is_stdout => print(&match self.remote.json {
                true => json!({ "frames": frames, "file": self.write }).to_string(),
                false => format!("{frames} frames in {}", self.write.display()),
            }),
            _ => Ok(()),
        }
    }

    /// How many frames were written; nothing if who reads them has gone away.
    fn write(
        &self,
        is_stdout: bool,
        about: &str,
        add: impl FnOnce(&mut Annotator<Box<dyn Write>>) -> Result<u64, Stop>,
    ) -> Result<Option<u64>, Failure> {
        let failed = |error: io::Error| match is_stdout {
            true => printed(Err(error)),
            false => Err(Failure::io(Cause::Os, &error, format_args!("{}: {error}", self.write.display()))),
        };
        let out: Box<dyn Write> = match is_stdout {
            true => Box::new(BufWriter::new(io::stdout().lock())),
            false => match File::create(&self.write) {
                Ok(file) => Box::new(BufWriter::new(file)),
                Err(error) => return failed(error).map(|()| None),
            },
        };
        let application = format!("portcullis {}", crate::VERSION);
        let outcome = Annotator::begin(out, &application, about)
            .map_err(Stop::Write)
            .and_then(|mut annotator| add(&mut annotator));
        match outcome {
            Ok(frames) => Ok(Some(frames)),
            Err(Stop::Ask(failure)) => Err(failure),
            Err(Stop::Write(error)) => failed(error).map(|()| None),
        }
    }

    fn add(&self, annotator: &mut Annotator<Box<dyn Write>>, drop: &DropEntry) -> Result<(), Stop> {
        let Some(frame) = &drop.frame else { return Ok(()) };
        let head = unhex(&frame.head).unwrap_or_default();
        let snaplen = usize::try_from(self.snaplen).unwrap_or(HEAD_BYTES);
        let side = if drop.direction == Direction::Egress { "inside" } else { "outside" };
        let frame = Annotated {
            interface: &format!("{}, {side}", drop.link.as_deref().unwrap_or("link")),
            at_ms: frame.at_ms,
            head: head.get(..snaplen).unwrap_or(&head),
            bytes: drop.bytes,
            comment: &comment(drop),
        };
        annotator.add(&frame).map_err(Stop::Write)
    }
}

/// Why no more is written.
enum Stop {
    Ask(Failure),
    Write(io::Error),
}

/// `dropped: port_closed (The destination port is closed for the VM's class.); VM web1`
fn comment(drop: &DropEntry) -> String {
    let verdict = if drop.verdict == Becomes::Watched { "only watched" } else { "dropped" };
    let meaning = DropReason::ALL.into_iter().find(|reason| reason.name() == drop.reason);
    let meaning = meaning.map(|reason| format!(" ({})", reason.meaning())).unwrap_or_default();
    let vm = drop.vm.as_ref().map_or_else(|| "no VM".to_owned(), |vm| format!("VM {}", vm.as_str()));
    format!("{verdict}: {}{meaning}; {vm}", drop.reason)
}
