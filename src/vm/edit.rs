//! What a change is made of, and why one is refused.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::policy::PolicyEdit;
use super::record::{Etag, Exception, ExceptionName, RecordError, Vm, VmId, VmPatch, VmSet};
use crate::model::{Key, MacAddr, Moment, Revision, Scope, VmIndex};
use crate::policy::document::Wrong;
use crate::policy::{Settings, TooManyClasses};
use crate::table::{NotSettled, TableError};

/// One step of a change. All steps of a change are checked together and taken together.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Makes or replaces a VM.
    Set(VmSet),
    /// Changes parts of a VM.
    Patch(VmId, VmPatch),
    /// Forgets a VM; nothing happens if there is none.
    Delete(VmId),
    /// Makes a VM exactly what it was, or forgets it.
    Restore(VmId, Option<Arc<Vm>>),
    /// Changes policy.
    Policy(Box<PolicyEdit>),
    /// Replaces the settings.
    Settings(Arc<Settings>),
    /// Does something about a VM if its record is this one, or if there is none.
    If(Option<Etag>, Box<Edit>),
}

impl Edit {
    /// Lets a VM do something all the same, in place of another exception of that name.
    #[must_use]
    pub fn except(vm: VmId, exception: Exception) -> Self {
        Self::Patch(vm, VmPatch { add_exceptions: vec![exception], ..VmPatch::default() })
    }

    /// Takes exceptions from a VM, as far as it has them.
    #[must_use]
    pub fn no_more(vm: VmId, names: Vec<ExceptionName>) -> Self {
        Self::Patch(vm, VmPatch { del_exceptions: names, ..VmPatch::default() })
    }

    /// The VM it is about, if it is about one.
    #[must_use]
    pub fn id(&self) -> Option<&VmId> {
        match self {
            Self::Set(set) => Some(&set.id),
            Self::Patch(id, _) | Self::Delete(id) | Self::Restore(id, _) => Some(id),
            Self::If(_, edit) => edit.id(),
            Self::Policy(_) | Self::Settings(_) => None,
        }
    }
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision that it made, or the current one when nothing was different.
    pub revision: Revision,
    /// Whether anything was different.
    pub changed: bool,
    /// Numbers of VMs that are gone. Another VM may have one of them at once; whatever is counted under it belongs to
    /// that one when the change is in force.
    pub deleted: Vec<VmIndex>,
}

/// Why a change was refused; nothing of it was applied.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The record itself.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A key that is another VM's.
    #[error("VM {vm}: {} belongs to VM {other} already{}", KeyText(*key), in_scope(*key))]
    Conflict {
        /// Who asks.
        vm: VmId,
        /// For what.
        key: Key,
        /// Whose it is.
        other: VmId,
    },
    /// A MAC that is a router's.
    #[error("VM {vm}: {mac} is a router's (`via`); behind a router a VM is known by its IP addresses")]
    Router {
        /// Who asks, or has it.
        vm: VmId,
        /// For what.
        mac: MacAddr,
    },
    /// An address that the box itself answers from.
    #[error(
        "VM {vm}: {address} is the box's own, which it answers from (`reject_ipv4`, `reject_ipv6` of a link); give one of them another"
    )]
    RefusalSource {
        /// Who asks, or has it.
        vm: VmId,
        /// For what.
        address: IpAddr,
    },
    /// No class of that name.
    #[error("VM {vm}: there is no class `{class}`; the configuration has {}", known.join(", "))]
    UnknownClass {
        /// Whose.
        vm: VmId,
        /// As asked.
        class: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A policy that cannot be.
    #[error("{}", sentences(.0))]
    Policy(Vec<Wrong>),
    /// A class that VMs have, or that their exceptions speak of, would be gone.
    #[error("class `{class}` cannot be removed: VM {vm} has it{}", others(*count))]
    ClassInUse {
        /// Which.
        class: String,
        /// The first VM that has it.
        vm: VmId,
        /// How many have it.
        count: usize,
    },
    /// More classes than there are numbers for.
    #[error(transparent)]
    Classes(#[from] TooManyClasses),
    /// An exception that is over before it begins.
    #[error(
        "VM {vm}: exception {name} would be over already: it is to end at {until}, and it is {now} by the box's clock"
    )]
    Over {
        /// Whose.
        vm: VmId,
        /// Which.
        name: ExceptionName,
        /// As asked.
        until: Moment,
        /// As the box has it.
        now: Moment,
    },
    /// A patch for nobody.
    #[error("there is no VM {0}")]
    NotFound(VmId),
    /// A record that somebody else has changed.
    #[error("VM {vm}: {}", match now {
        Some(now) => format!("its etag is {now}: it was changed meanwhile; read it again, then decide"),
        None => "there is none any more; read again, then decide".to_owned(),
    })]
    Etag {
        /// Which.
        vm: VmId,
        /// Of its record, if it has one.
        now: Option<Etag>,
    },
    /// As many VMs as there is room for.
    #[error("VM {vm}: the table is full, it holds {capacity} VMs (`table.vms`)")]
    VmsFull {
        /// Who asks.
        vm: VmId,
        /// `table.vms`.
        capacity: u32,
    },
    /// No room for a key.
    #[error("VM {vm}: {source}")]
    Table {
        /// Who asks.
        vm: VmId,
        /// What is full.
        source: TableError,
    },
    /// A VM that an unconfirmed change is about.
    #[error("VM {vm}: revision {}, which changed it, waits to be confirmed or rolled back", revision.0)]
    UnconfirmedVm {
        /// Which.
        vm: VmId,
        /// Made by the change that waits.
        revision: Revision,
    },
    /// Policy, while some change is unconfirmed.
    #[error("policy cannot be changed while revision {} waits to be confirmed or rolled back", revision.0)]
    UnconfirmedPolicy {
        /// Made by the change that waits.
        revision: Revision,
    },
    /// Afterwards the unconfirmed change could not be undone.
    #[error("revision {}, which waits to be confirmed, could not be rolled back any more: {why}", revision.0)]
    NoWayBack {
        /// Made by the change that waits.
        revision: Revision,
        /// What would be in the way.
        why: Box<EditError>,
    },
    /// Only one change at a time can wait to be confirmed.
    #[error("revision {} waits to be confirmed already; one at a time can", revision.0)]
    UnconfirmedAlready {
        /// Made by the change that waits.
        revision: Revision,
    },
    /// The change before is still on its way to some worker.
    #[error(transparent)]
    NotSettled(#[from] NotSettled),
}

/// A key as people write it.
struct KeyText(Key);

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Key::Mac(_, mac) => write!(f, "MAC {mac}"),
            Key::Prefix(_, net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr()),
            Key::Prefix(_, net) => write!(f, "{net}"),
        }
    }
}

fn in_scope(key: Key) -> String {
    match key {
        Key::Mac(Scope(0), _) | Key::Prefix(Scope(0), _) => String::new(),
        Key::Mac(Scope(scope), _) | Key::Prefix(Scope(scope), _) => format!(" in scope {scope}"),
    }
}

fn sentences(faults: &[Wrong]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl EditError {
    /// Whether it is about room, of which there may be more once earlier changes are in force.
    #[must_use]
    pub fn wants_room(&self) -> bool {
        match self {
            Self::VmsFull { .. } | Self::Table { .. } | Self::NotSettled(_) => true,
            Self::NoWayBack { why, .. } => why.wants_room(),
            _ => false,
        }
    }
}

fn others(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(", and {} more", count - 1),
    }
}
