//! One database file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::record::{self, Before};
use crate::model::{Moment, Revision};
use crate::policy::document::Document;
use crate::vm::record::{Vm, VmId, VmSet};

/// How the tables are laid out. Earlier formats are read, and become this one by the next change: 1 has no policy, 1 and 2 have
/// nothing before an unconfirmed change, 1 to 3 no exceptions and no clock. Others are not read.
pub const FORMAT: u64 = 4;
/// The oldest format that is read.
const FORMAT_OLDEST: u64 = 1;

/// Records by the name of the VM, see [`record`].
const VMS: TableDefinition<&str, &[u8]> = TableDefinition::new("vms");
/// Numbers by their names.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
/// The policy that somebody set over the socket, if it was not the configuration's; see [`record`].
const POLICY: TableDefinition<(), &[u8]> = TableDefinition::new("policy");
/// What was before a change that waits to be confirmed, if one does; see [`record`].
const BEFORE: TableDefinition<(), &[u8]> = TableDefinition::new("before");
/// The first format that has a policy.
const FORMAT_POLICY: u64 = 2;
/// The first format that has something before an unconfirmed change.
const FORMAT_BEFORE: u64 = 3;
const FORMAT_KEY: &str = "format";
const REVISION_KEY: &str = "revision";
/// The latest time that was seen, in seconds since 1970.
const CLOCK_KEY: &str = "clock";

/// Bytes of the file that are kept in memory; the database would take a GiB.
const CACHE_BYTES: usize = 32 << 20;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody has it open.
    #[error("{path} is in use: a portcullis that runs keeps it open", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("{path} is damaged: {what}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Another version's.
    #[error("{path} has format {format}, this portcullis reads {FORMAT_OLDEST} to {FORMAT}; start the version that wrote it", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The number in it.
        format: u64,
    },
}

/// What a file holds, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// [`FORMAT`]
    pub format: u64,
    /// The revision of its last change.
    pub revision: Revision,
    /// How many VMs it has.
    pub vms: u64,
    /// Whether it has a policy, too.
    #[serde(default)]
    pub policy: bool,
    /// Whether a change of it waits to be confirmed.
    #[serde(default)]
    pub unconfirmed: bool,
    /// The latest time that was seen.
    #[serde(default)]
    pub clock: Option<Moment>,
}

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    /// What each VM is now, or that it is none any more.
    pub vms: BTreeMap<VmId, Option<Arc<Vm>>>,
    /// The policy that is kept now, or that it is the configuration's again; nothing if it is as it was.
    pub policy: Option<Option<Document>>,
    /// What was before a change that waits to be confirmed now, or that none does any more; nothing if that is as it was.
    pub before: Option<Option<Before>>,
    /// What time it is; nothing if nobody says so.
    pub clock: Option<Moment>,
}

impl Differences {
    /// Takes what came later, and leaves nothing there.
    pub fn append(&mut self, later: &mut Self) {
        self.vms.append(&mut later.vms);
        self.policy = later.policy.take().or(self.policy.take());
        self.before = later.before.take().or(self.before.take());
        self.clock = later.clock.take().or(self.clock.take());
    }

    /// Forgets all of it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A file that is open for writing; nobody else can open it meanwhile.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    database: Database,
}

impl File {
    /// Makes a file of no VM, at revision 0.
    ///
    /// # Errors
    /// There is such a file, or there cannot be.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let refused = |source| FileError::Io { path: path.to_owned(), source };
        let made = private().create_new(true).open(path).map_err(refused)?;
        let made = builder().create_file(made).map_err(|error| of_database(path, error))?;
        let mut file = Self { path: path.to_owned(), database: made };
        file.write(&Differences::default(), Revision(0))?;
        sync_folder(path).map_err(refused)?;
        Ok(file)
    }

    /// Opens a file that was [`examine`]d before.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let database = builder().open(path).map_err(|error| of_database(path, error))?;
        Ok(Self { path: path.to_owned(), database })
    }

    /// Writes differences and the revision that they lead to, and waits for the disk: all of it or nothing.
    ///
    /// # Errors
    /// Nothing of it is written. The file may have to be opened anew before it can be.
    pub fn write(&mut self, differences: &Differences, revision: Revision) -> Result<(), FileError> {
        self.try_write(differences, revision).map_err(|error| of_storage(&self.path, error))
    }

    fn try_write(&mut self, differences: &Differences, revision: Revision) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut vms = transaction.open_table(VMS)?;
            for (id, vm) in &differences.vms {
                match vm {
                    Some(vm) => vms.insert(id.as_str(), record::encode(vm).as_slice())?,
                    None => vms.remove(id.as_str())?,
                };
            }
            let mut policy = transaction.open_table(POLICY)?;
            match &differences.policy {
                Some(Some(document)) => _ = policy.insert((), record::encode_policy(document).as_slice())?,
                Some(None) => _ = policy.remove(())?,
                None => {}
            }
            let mut before = transaction.open_table(BEFORE)?;
            match &differences.before {
                Some(Some(kept)) => _ = before.insert((), record::encode_before(kept).as_slice())?,
                Some(None) => _ = before.remove(())?,
                None => {}
            }
            let mut numbers = transaction.open_table(NUMBERS)?;
            numbers.insert(FORMAT_KEY, FORMAT)?;
            numbers.insert(REVISION_KEY, revision.0)?;
            if let Some(clock) = differences.clock {
                numbers.insert(CLOCK_KEY, clock.unix())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Every VM, in the order of the names.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn read(&self) -> Result<Vec<VmSet>, FileError> {
        let mut vms = Vec::new();
        self.each(|set| vms.push(set))?;
        Ok(vms)
    }

    /// What it holds.
    ///
    /// # Errors
    /// It is of another format, or its numbers cannot be read.
    pub fn summary(&self) -> Result<Summary, FileError> {
        let of = |error: redb::Error| of_storage(&self.path, error);
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let numbers = transaction.open_table(NUMBERS)?;
            let number = |name| Ok::<_, redb::Error>(numbers.get(name)?.map(|number| number.value()));
            let format = number(FORMAT_KEY)?;
            let has = |table, since| match format {
                Some(format) if format >= since => Ok::<_, redb::Error>(transaction.open_table(table)?.len()? > 0),
                _ => Ok(false),
            };
            let (policy, before) = (has(POLICY, FORMAT_POLICY)?, has(BEFORE, FORMAT_BEFORE)?);
            let (revision, clock) = (number(REVISION_KEY)?, number(CLOCK_KEY)?.map(Moment::of_unix));
            Ok((format, revision, transaction.open_table(VMS)?.len()?, policy, before, clock))
        };
        match read().map_err(of)? {
            (Some(format @ FORMAT_OLDEST..=FORMAT), Some(revision), vms, policy, unconfirmed, clock) => {
                Ok(Summary { format, revision: Revision(revision), vms, policy, unconfirmed, clock })
            }
            (Some(format), ..) if !(FORMAT_OLDEST..=FORMAT).contains(&format) => {
                Err(FileError::Format { path: self.path.clone(), format })
            }
            _ => Err(FileError::Damaged { path: self.path.clone(), what: "it has no format or no revision".into() }),
        }
    }

    /// Shows every VM, in the order of the names.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn each(&self, mut take: impl FnMut(VmSet)) -> Result<(), FileError> {
        let of = |error: redb::Error| of_storage(&self.path, error);
        let transaction = self.database.begin_read().map_err(|error| of(error.into()))?;
        let table = transaction.open_table(VMS).map_err(|error| of(error.into()))?;
        for entry in table.iter().map_err(|error| of(error.into()))? {
            let (id, bytes) = entry.map_err(|error| of(error.into()))?;
            take(record::decode(id.value(), bytes.value()).map_err(|error| self.damaged(&error))?);
        }
        Ok(())
    }

    /// The policy that it keeps, if it keeps one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn policy(&self) -> Result<Option<Document>, FileError> {
        let bytes = if self.summary()?.policy { self.single(POLICY)? } else { None };
        bytes.map(|bytes| record::decode_policy(&bytes)).transpose().map_err(|error| self.damaged(&error))
    }

    /// What was before the change that waits to be confirmed, if one does.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn before(&self) -> Result<Option<Before>, FileError> {
        let bytes = if self.summary()?.unconfirmed { self.single(BEFORE)? } else { None };
        bytes.map(|bytes| record::decode_before(&bytes)).transpose().map_err(|error| self.damaged(&error))
    }

    /// The one value of a table.
    fn single(&self, table: TableDefinition<(), &[u8]>) -> Result<Option<Vec<u8>>, FileError> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let bytes = transaction.open_table(table)?.get(())?.map(|bytes| bytes.value().to_vec());
            Ok(bytes)
        };
        read().map_err(|error| of_storage(&self.path, error))
    }

    /// As another version would.
    #[cfg(test)]
    pub fn set_format(&self, format: u64) {
        let transaction = self.database.begin_write().unwrap();
        transaction.open_table(NUMBERS).unwrap().insert(FORMAT_KEY, format).unwrap();
        transaction.commit().unwrap();
    }

    fn damaged(&self, what: &impl ToString) -> FileError {
        FileError::Damaged { path: self.path.clone(), what: what.to_string() }
    }
}

/// Looks at every byte that matters: pages, records, format. Whatever is wrong with the file, it is as it was afterwards, but
/// for a commit that the end of its writer interrupted. The database may panic on a damaged file, or take long: this is for
/// a process of its own.
///
/// # Errors
/// It cannot be used.
pub fn examine(path: &Path) -> Result<Summary, FileError> {
    let mut file = File::open(path)?;
    let before = file.summary()?;
    // Every page that matters is looked at. The database says that it repaired something also where nothing was wrong: where a
    // process that was killed left a full file, to open it makes it longer. So it is asked once more, and what it went back to
    // must be what it had.
    let mut sound = || file.database.check_integrity().map_err(|error| of_database(path, error));
    let is_sound = sound()? || sound()?;
    let summary = file.summary()?;
    if !is_sound || summary != before {
        return Err(file.damaged(&"pages are not what was written"));
    }
    let mut vms = 0;
    file.each(|_| vms += 1)?;
    file.policy()?;
    file.before()?;
    if vms != summary.vms {
        return Err(file.damaged(&format!("it has {vms} records and says {}", summary.vms)));
    }
    Ok(summary)
}

/// Makes a file the same as another, whole or not at all; neither may be open, or written meanwhile.
///
/// # Errors
/// It cannot be made; a file that was there is as it was.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let folder = folder(to);
    let mut new = tempfile::Builder::new().prefix(".portcullis-").tempfile_in(folder)?;
    io::copy(&mut std::fs::File::open(from)?, new.as_file_mut())?;
    new.as_file().sync_all()?;
    new.persist(to)?;
    sync_folder(to)
}

/// Makes the entry of a file in its folder as durable as the file.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    std::fs::File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Only the daemon's owner may read what its tenants are called.
fn private() -> std::fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn of_database(path: &Path, error: DatabaseError) -> FileError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => FileError::InUse { path: path.to_owned() },
        error => of_storage(path, error.into()),
    }
}

fn of_storage(path: &Path, error: redb::Error) -> FileError {
    let path = path.to_owned();
    match error {
        // What the system itself did not say was found in the bytes.
        redb::Error::Io(source) if source.raw_os_error().is_some() => FileError::Io { path, source },
        error => FileError::Damaged { path, what: error.to_string() },
    }
}
