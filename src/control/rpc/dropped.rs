//! What is asked and answered of dropped frames.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Boot, Direction, MacAddr, Moment, Revision};
use crate::policy::DropReason;
use crate::vm::explanation::Becomes;
use crate::vm::record::VmId;

/// Which dropped frames are wanted: those for which all of it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedDrops {
    /// Counted for this VM.
    pub vm: Option<VmId>,
    /// From or to this station on the VM's side.
    pub mac: Option<MacAddr>,
    /// From or to this address on the VM's side.
    pub ip: Option<IpAddr>,
    /// For this reason.
    pub reason: Option<DropReason>,
    /// Dropped, or only watched.
    pub verdict: Option<Becomes>,
    /// Told of after the one of this number.
    pub after: u64,
    /// With their first bytes.
    pub frames: bool,
    /// How many at most, 1 to [`DROPS_LIMIT_MAX`](super::DROPS_LIMIT_MAX).
    pub limit: usize,
}

/// One kind of frames that were denied to a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialEntry {
    /// From the VM, or to it.
    pub direction: Direction,
    /// Dropped, or only watched.
    pub verdict: Becomes,
    /// Why.
    pub reason: Cow<'static, str>,
    /// The closed port; none if the denial is not about one, or too many were told apart.
    pub port: Option<u16>,
    /// How many there were.
    pub frames: u64,
}

/// A dropped frame, or one that was only watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropEntry {
    /// Counted from 1 on since the start, of those that are told of.
    pub number: u64,
    /// When, to a tenth of a second.
    pub at: Moment,
    /// The link that it came in by, if links have names.
    pub link: Option<String>,
    /// From a VM or to one.
    pub direction: Direction,
    /// Dropped, or only watched.
    pub verdict: Becomes,
    /// Why.
    pub reason: Cow<'static, str>,
    /// The VM that it counts for; none if for the unknown one, or if nobody had to ask.
    pub vm: Option<VmId>,
    /// The station on the VM's side; none of a runt.
    pub mac: Option<MacAddr>,
    /// In which VLAN; 0 if in none.
    pub vlan: u16,
    /// The address on the VM's side, if it can be read.
    pub ip: Option<IpAddr>,
    /// The other end's.
    pub peer: Option<IpAddr>,
    /// Of a TCP segment whose ports can be read.
    pub source_port: Option<u16>,
    /// Of a TCP segment whose ports can be read.
    pub destination_port: Option<u16>,
    /// Its length without the check sequence.
    pub bytes: u32,
    /// What it looked like, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameEntry>,
}

/// What a dropped frame looked like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameEntry {
    /// When it was told of, in milliseconds since 1970 (UTC): at most a tenth of a second late.
    pub at_ms: u64,
    /// Its first bytes, at most [`HEAD_BYTES`](crate::telemetry::drops::feed::HEAD_BYTES), in hexadecimal digits.
    pub head: String,
}

/// Answer of `drop.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropsAnswer {
    /// The last ones, last first.
    pub drops: Vec<DropEntry>,
    /// Frames, since the start, of which nothing was kept because there were too many kinds at once.
    pub lost: u64,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// Frames of a VM that were forwarded because somebody only watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldDropEntry {
    /// Whose; none is the unknown one.
    pub vm: Option<VmId>,
    /// From the VM, or to it.
    pub direction: Direction,
    /// Why they would be dropped.
    pub reason: Cow<'static, str>,
    /// The closed port; none if the denial is not about one, or too many were told apart.
    pub port: Option<u16>,
    /// How many there were.
    pub frames: u64,
    /// With how many other ends, about, of those frames that were looked at; none if it is not remembered.
    pub peers: Option<u32>,
    /// When one was seen last; none if it is not remembered.
    pub last: Option<Moment>,
}

/// Answer of `would_drop.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldDropsAnswer {
    /// Most frames first.
    pub would_drop: Vec<WouldDropEntry>,
    /// Whether there are more.
    pub more: bool,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}

/// Somebody who sends what is denied, and whom no VM lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownEntry<K> {
    /// The MAC or address.
    pub who: K,
    /// Denied or watched frames from it, about: samples stand for others.
    pub frames: u64,
    /// How many of them may be others', whose place it took.
    pub over: u64,
    /// The last one.
    pub last: DropEntry,
}

/// Answer of `unknown.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownAnswer {
    /// What was denied to everybody whom no VM lists, kind by kind, most frames first.
    pub denials: Vec<DenialEntry>,
    /// Those who send most, by MAC.
    pub macs: Vec<UnknownEntry<MacAddr>>,
    /// The same by address.
    pub ips: Vec<UnknownEntry<IpAddr>>,
    /// The current revision.
    pub revision: Revision,
    /// Of which run of the process.
    pub boot: Boot,
}
