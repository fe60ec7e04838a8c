//! Why a record is refused.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::{EXCEPTIONS_MAX, ExceptionName, IPS_MAX, MACS_MAX, NOTE_BYTES_MAX, TENANT_BYTES_MAX, VmId};
use crate::model::MacAddr;

/// Why a record is refused, whatever other VMs there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a name.
    #[error("`{0}` is not a VM id; use 1 to 64 of A-Z a-z 0-9 . _ : -")]
    Id(String),
    /// Not an address or prefix.
    #[error("`{0}` is not an IP address or prefix; write 10.0.0.5, 10.0.0.0/24, 2001:db8::5 or 2001:db8:5::/64")]
    Prefix(String),
    /// Bits behind the prefix length are set.
    #[error("`{text}` has bits set behind its prefix length; did you mean {network} or the single address?")]
    HostBits {
        /// As written.
        text: String,
        /// The prefix it lies in.
        network: IpNet,
    },
    /// Nobody's address.
    #[error("`{text}` cannot belong to a VM: it covers {what}")]
    Unassignable {
        /// As written.
        text: String,
        /// What it covers.
        what: &'static str,
    },
    /// A public address that is none.
    #[error(
        "public_ipv4 {address} of VM {id} is not a public address: it is {what}; leave `public_ipv4` out, or allow any in a \
         laboratory (`policy.public_ipv4 = \"any\"`)"
    )]
    NotPublic {
        /// Whose.
        id: VmId,
        /// As written.
        address: Ipv4Addr,
        /// What it is instead.
        what: &'static str,
    },
    /// A MAC that names no single station.
    #[error("MAC {0} cannot belong to a VM: it is {1}")]
    GroupMac(MacAddr, &'static str),
    /// Nothing to recognise the VM by.
    #[error("VM {0} has neither MAC nor IP address; give at least one")]
    NoKey(VmId),
    /// Too many MACs.
    #[error("VM {id} has {count} MACs; at most {MACS_MAX} are possible")]
    TooManyMacs {
        /// Whose.
        id: VmId,
        /// How many.
        count: usize,
    },
    /// Too many addresses.
    #[error("VM {id} has {count} addresses and prefixes (its public one included); at most {IPS_MAX} are possible")]
    TooManyIps {
        /// Whose.
        id: VmId,
        /// How many.
        count: usize,
    },
    /// A list that is to be replaced and changed.
    #[error(
        "VM {id}: `{list}` replaces the whole list, `add_{list}` and `del_{list}` change it; give one or the other"
    )]
    WholeAndPart {
        /// Whose.
        id: VmId,
        /// `macs`, `ips` or `exceptions`.
        list: &'static str,
    },
    /// A tenant without a label, or with a book.
    #[error("the tenant of VM {id} has {bytes} bytes; 1 to {TENANT_BYTES_MAX} are possible")]
    Tenant {
        /// Whose.
        id: VmId,
        /// How long.
        bytes: usize,
    },
    /// Not the name of an exception.
    #[error("`{0}` is no name of an exception; use 1 to 64 of A-Z a-z 0-9 . _ : -")]
    ExceptionName(String),
    /// An exception that says too little, or too much.
    #[error("exception {name}: {what}")]
    Exception {
        /// Which.
        name: ExceptionName,
        /// What is wrong.
        what: String,
    },
    /// Two exceptions of a name.
    #[error("VM {id} has two exceptions that are called {name}")]
    SameException {
        /// Whose.
        id: VmId,
        /// Which.
        name: ExceptionName,
    },
    /// Too many exceptions.
    #[error("VM {id} has {count} exceptions; at most {EXCEPTIONS_MAX} are possible; a class may be what is wanted")]
    TooManyExceptions {
        /// Whose.
        id: VmId,
        /// How many.
        count: usize,
    },
    /// A note that is a book.
    #[error("the note of VM {id} has {bytes} bytes; at most {NOTE_BYTES_MAX} are possible")]
    LongNote {
        /// Whose.
        id: VmId,
        /// How long.
        bytes: usize,
    },
}
