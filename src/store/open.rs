//! The start: which file is believed, and what becomes of the other.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::file::{self, File, FileError, Summary};
use super::record::Before;
use crate::model::{Moment, Revision};
use crate::policy::document::Document;
use crate::vm::record::VmSet;

/// Damaged files that are kept beside each file, the newest.
const KEPT: usize = 3;

/// What an examination found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examined {
    /// All of it can be read.
    Good(Summary),
    /// It cannot be believed: why.
    Damaged(String),
    /// It cannot be got at, which says nothing about what is in it: why.
    OutOfReach(String),
}

impl From<Result<Summary, FileError>> for Examined {
    fn from(result: Result<Summary, FileError>) -> Self {
        match result {
            Ok(summary) => Self::Good(summary),
            Err(error @ (FileError::Damaged { .. } | FileError::Format { .. })) => Self::Damaged(error.to_string()),
            Err(error @ (FileError::Io { .. } | FileError::InUse { .. })) => Self::OutOfReach(error.to_string()),
        }
    }
}

/// A store at the start.
#[derive(Debug)]
pub struct Opened {
    /// Every VM that was acknowledged, in the order of the names.
    pub vms: Vec<VmSet>,
    /// The policy that somebody set over the socket, if that is the newest.
    pub policy: Option<Document>,
    /// What was before the change that nobody confirmed yet, if there is one.
    pub before: Option<Before>,
    /// The revision of the last change.
    pub revision: Revision,
    /// The latest time that was seen.
    pub clock: Option<Moment>,
    /// Both files, as far as they can be written now; none at all if something may lie there that cannot be got at.
    pub files: Option<[Place; 2]>,
    /// What somebody should know.
    pub alarms: Vec<String>,
}

/// Where a file of the store is, or should be.
#[derive(Debug)]
pub struct Place {
    /// Where.
    pub path: PathBuf,
    /// The file, open.
    pub file: Option<File>,
}

/// The path of the second file.
#[must_use]
pub fn copy_of(path: &Path) -> PathBuf {
    with_ending(path, ".copy")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Opens the store at `path` and its copy, whatever state they are in. `examine` looks at one file, see
/// [`file::examine`].
pub fn open(path: &Path, examine: impl Fn(&Path) -> Examined + Sync) -> Opened {
    let paths = [path.to_owned(), copy_of(path)];
    let [first, second] = &paths;
    let look = |path: &Path| path.exists().then(|| examine(path));
    let found = std::thread::scope(|scope| {
        let other = scope.spawn(|| look(second));
        // Its panic would have ended the process.
        [look(first), other.join().unwrap_or(None)]
    });
    let [one, two] = found.each_ref().map(|found| match found {
        Some(Examined::Good(summary)) => Some(summary.revision),
        _ => None,
    });
    let (known, better) = if two > one { (two, second) } else { (one, first) };
    let clock = found.iter().filter_map(|found| match found {
        Some(Examined::Good(summary)) => summary.clock,
        _ => None,
    });
    let mut opened = Opened {
        vms: Vec::new(),
        policy: None,
        before: None,
        revision: known.unwrap_or_default(),
        clock: clock.max(),
        files: None,
        alarms: Vec::new(),
    };
    opened.make_room([first, second], &found);
    let out_of_reach = found.iter().any(|found| matches!(found, Some(Examined::OutOfReach(_))));
    match known {
        Some(Revision(revision)) => {
            if !opened.alarms.is_empty() {
                opened.alarms.push(format!("the store goes on from {}, revision {revision}", better.display()));
            }
            opened.go_on(paths, two > one, one == two);
        }
        None => {
            if found.iter().any(Option::is_some) {
                let words = "no file of the store can be read: the box starts without any VM of it, so their mail ports \
                             are closed until they are set again";
                opened.alarms.push(words.into());
            }
            // What may be there still is not written over.
            if !out_of_reach {
                opened.begin(paths);
            }
        }
    }
    opened
}

impl Opened {
    /// Sets aside what is damaged, so that what is good can take its place, and complains of what is not good.
    fn make_room(&mut self, paths: [&PathBuf; 2], found: &[Option<Examined>; 2]) {
        for (path, found) in paths.into_iter().zip(found) {
            match found {
                Some(Examined::Damaged(why)) => self.alarms.push(match set_aside(path) {
                    Ok(aside) => format!("{why}; it is kept as {}", aside.display()),
                    Err(error) => format!("{why}, and it cannot be set aside: {error}"),
                }),
                Some(Examined::OutOfReach(why)) => self.alarms.push(why.clone()),
                None | Some(Examined::Good(_)) => {}
            }
        }
    }

    /// Opens the better file, and the other, made the same first unless it is.
    fn go_on(&mut self, paths: [PathBuf; 2], second_is_better: bool, same: bool) {
        let mut files = paths.map(|path| Place { path, file: None });
        let [first, second] = &mut files;
        let (better, other) = if second_is_better { (second, first) } else { (first, second) };
        let copied = if same { Ok(()) } else { file::copy(&better.path, &other.path) };
        match File::open(&better.path).and_then(|file| Ok((file.read()?, file.policy()?, file.before()?, file))) {
            Ok((vms, policy, before, file)) => {
                (self.vms, self.policy, self.before) = (vms, policy, before);
                better.file = Some(file);
            }
            Err(error) => {
                self.alarms.push(format!("the store was found good and yet cannot be read: {error}"));
                self.revision = Revision(0);
                return;
            }
        }
        let copied = copied.map_err(|error| format!("{}: {error}", other.path.display()));
        match copied.and_then(|()| File::open(&other.path).map_err(|error| error.to_string())) {
            Ok(file) => other.file = Some(file),
            Err(error) => self.alarms.push(format!("the store has one file only: {error}")),
        }
        self.files = Some(files);
    }

    /// Makes both files.
    fn begin(&mut self, paths: [PathBuf; 2]) {
        let alarms = &mut self.alarms;
        self.files = Some(paths.map(|path| match File::create(&path) {
            Ok(file) => Place { path, file: Some(file) },
            Err(error) => {
                alarms.push(format!("the store cannot be made: {error}"));
                Place { path, file: None }
            }
        }));
    }
}

/// Renames a file so that it is out of the way and can be looked at.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Two in a second are two.
    let free = (0..1000).map(|more| with_ending(path, &format!(".damaged-{}", seconds + more))).find(|to| !to.exists());
    let aside = free.ok_or(io::ErrorKind::AlreadyExists)?;
    std::fs::rename(path, &aside)?;
    let mut kept: Vec<PathBuf> = earlier(path)?;
    kept.sort();
    let surplus = kept.len().saturating_sub(KEPT);
    kept.drain(..surplus).for_each(|old| _ = std::fs::remove_file(old));
    Ok(aside)
}

/// What was set aside of this file.
fn earlier(path: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = with_ending(path, ".damaged-").file_name().map(OsString::from).unwrap_or_default();
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_earlier = |name: &OsString| {
        let digits = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
    };
    let entries = std::fs::read_dir(folder)?.filter_map(Result::ok);
    Ok(entries.filter(|entry| is_earlier(&entry.file_name())).map(|entry| entry.path()).collect())
}
