//! What is said about a port: what is asked of it, how it describes itself, what it would not do, what it counts.

use core::ffi::{CStr, c_char};
use core::fmt;

use crate::error::{Errno, check};
use crate::{Eal, Error, PortId, sys};

/// What to ask of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues, and as many transmit queues.
    pub queues: u16,
    /// Largest frame without its Ethernet header and VLAN tags.
    pub mtu: u16,
    /// Bytes to ask of the device beyond the MTU, so that full frames have room for tags whatever its driver adds by
    /// itself. A device that does not have it gets less, and a note.
    pub tag_room: u16,
    /// Descriptors of each receive queue; fitted to the device's limits.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue; fitted to the device's limits.
    pub tx_descriptors: u16,
}

/// A device as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// PCI address, or the virtual device's name.
    pub name: String,
    /// The driver's name, such as `net_ixgbe`.
    pub driver: String,
    /// The device's own address.
    pub mac: [u8; 6],
    /// Receive queues the device can have.
    pub max_rx_queues: u16,
    /// Transmit queues the device can have.
    pub max_tx_queues: u16,
    /// The NUMA node it is attached to, where known.
    pub numa_socket: Option<u16>,
    /// The MTU as read back from the device, without the room for tags.
    pub mtu: u16,
    /// Bytes beyond the MTU that the device was given for tags; 0 before the port is configured.
    pub tag_room: u16,
    /// Descriptors of each receive queue; 0 before the port is configured.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue; 0 before the port is configured.
    pub tx_descriptors: u16,
}

/// Something a port was asked for and did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortNote {
    /// The MTU is another one.
    MtuRefused {
        /// Asked for.
        asked: u16,
        /// In force.
        actual: u16,
    },
    /// Rings are of another size.
    DescriptorsAdjusted {
        /// Receive descriptors a queue.
        rx: u16,
        /// Transmit descriptors a queue.
        tx: u16,
    },
    /// Frames of the full MTU have less room for tags than was asked for, unless the driver adds some by itself.
    TagRoomRefused {
        /// Bytes asked for.
        asked: u16,
        /// Bytes had.
        actual: u16,
    },
    /// The driver does not say how large its rings are.
    RingSizesUnknown,
    /// The device leaves this traffic on one queue, whatever flow it is of.
    RssPartial(Traffic),
    /// The device cannot spread IP over its queues.
    RssUnavailable {
        /// Queues it has nevertheless.
        queues: u16,
    },
    /// The device does not offer to receive a frame into several buffers.
    ScatterNotOffered,
    /// The device does not offer to send a frame from several buffers.
    MultiSegmentNotOffered,
    /// The device hears only frames to its own address.
    PromiscuousRefused(Errno),
    /// The device hears only multicast it was told of.
    AllMulticastRefused(Errno),
    /// The device goes on sending or heeding pause frames.
    FlowControlKept(Errno),
    /// The device goes on stripping or filtering VLAN tags.
    VlanOffloadKept(Errno),
}

impl fmt::Display for PortNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MtuRefused { asked, actual } => write!(f, "MTU {asked} refused, it is {actual}"),
            Self::DescriptorsAdjusted { rx, tx } => write!(f, "descriptors adjusted to {rx} (rx) and {tx} (tx)"),
            Self::TagRoomRefused { asked, actual } => {
                write!(
                    f,
                    "of {asked} bytes for VLAN tags beyond the MTU {actual} are had: full frames with tags may be lost"
                )
            }
            Self::RingSizesUnknown => f.write_str("the driver does not say what it made of the descriptors asked for"),
            Self::RssPartial(traffic) => {
                write!(f, "no RSS for {traffic}: all of that goes to one queue, thus to one worker")
            }
            Self::RssUnavailable { queues } => write!(f, "no RSS over IP: the device may not use all {queues} queues"),
            Self::ScatterNotOffered => f.write_str("receiving into several buffers is not offered"),
            Self::MultiSegmentNotOffered => f.write_str("sending from several buffers is not offered"),
            Self::PromiscuousRefused(cause) => write!(f, "promiscuous mode refused: {cause}"),
            Self::AllMulticastRefused(cause) => write!(f, "all-multicast mode refused: {cause}"),
            Self::FlowControlKept(cause) => write!(f, "flow control could not be switched off: {cause}"),
            Self::VlanOffloadKept(cause) => write!(f, "VLAN offloads could not be switched off: {cause}"),
        }
    }
}

/// Traffic that RSS leaves on one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic(pub(super) sys::shim_traffic);

impl Traffic {
    /// What hash functions leave over, where that is anything.
    pub(crate) fn from_raw(uncovered: u32) -> Option<Self> {
        (uncovered != 0).then_some(Self(uncovered))
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (sys::SHIM_TRAFFIC_TCP_IPV4, "TCP over IPv4"),
            (sys::SHIM_TRAFFIC_UDP_IPV4, "UDP over IPv4"),
            (sys::SHIM_TRAFFIC_TCP_IPV6, "TCP over IPv6"),
            (sys::SHIM_TRAFFIC_UDP_IPV6, "UDP over IPv6"),
        ];
        let named: Vec<_> = names.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| *name).collect();
        f.write_str(&named.join(", "))
    }
}

/// A port's counters since it was started. Drivers count `tx_frames` as they please: no proof of delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames lost because nobody fetched them in time.
    pub rx_missed: u64,
    /// Frames the device found wrong.
    pub rx_errors: u64,
    /// Frames lost for want of a buffer.
    pub rx_no_mbuf: u64,
    /// Frames the device could not send.
    pub tx_errors: u64,
    /// Frames whose VLAN tags the device had taken off, unasked, and that got them back.
    pub rx_tags_restored: u64,
    /// Frames that could not get such tags back and were freed.
    pub rx_tags_lost: u64,
}

/// One of the counters that a driver keeps of what it lost or found wrong, by its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The driver's name for it, such as `rx_oversize_errors`.
    pub name: String,
    /// Frames, or whatever the driver counts.
    pub count: u64,
}

impl Trouble {
    /// The counter, if it is about trouble and not one of [`PortStats`].
    pub(crate) fn from_raw(raw: &sys::shim_xstat) -> Option<Self> {
        const WORDS: [&str; 14] = [
            "error",
            "err_",
            "drop",
            "discard",
            "oversize",
            "ovrsz",
            "undersize",
            "jabber",
            "too_long",
            "miss",
            "crc",
            "fragment",
            "nombuf",
            "no_buf",
        ];
        const KNOWN: [&str; 4] = ["rx_errors", "tx_errors", "rx_missed_errors", "rx_mbuf_allocation_errors"];
        let name = text(&raw.name);
        let about = WORDS.iter().any(|word| name.contains(word)) && !KNOWN.contains(&name.as_str());
        about.then_some(Self { name, count: raw.value })
    }

    /// Whether it counts frames that were longer than the port takes.
    pub fn is_too_long(&self) -> bool {
        self.name.starts_with("rx")
            && ["oversize", "ovrsz", "jabber", "too_long"].iter().any(|word| self.name.contains(word))
    }
}

/// A port's link as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether there is one. Not to be trusted with stopping anything: some devices lie.
    pub up: bool,
    /// Its speed, where the device knows.
    pub speed_mbps: Option<u32>,
    /// Whether both sides may send at once.
    pub full_duplex: bool,
}

impl PortInfo {
    /// Asks a device about itself; it need not be configured.
    pub fn query(eal: &Eal, port: PortId) -> Result<Self, Error> {
        let _claims = eal.claims();
        Self::query_claimed(port)
    }

    /// The same for callers that hold EAL's claims.
    pub(super) fn query_claimed(port: PortId) -> Result<Self, Error> {
        // SAFETY: any number may be asked about; the caller holds the claims, so nobody closes a port meanwhile.
        if unsafe { sys::rte_eth_dev_is_valid_port(port.0) } == 0 {
            return Err(Error::NoSuchPort(port));
        }
        let mut raw = sys::shim_port_info::default();
        // SAFETY: the port is valid, `raw` outlives the call, and the caller holds the claims.
        check(unsafe { sys::shim_port_info(port.0, &raw mut raw) })
            .map_err(|cause| cause.on_port(&format!("port {port}"), "ask the device about itself"))?;
        Ok(Self {
            name: text(&raw.name),
            driver: text(&raw.driver),
            mac: raw.mac,
            max_rx_queues: raw.max_rx_queues,
            max_tx_queues: raw.max_tx_queues,
            numa_socket: u16::try_from(raw.numa_socket).ok(),
            mtu: raw.mtu,
            tag_room: 0,
            rx_descriptors: 0,
            tx_descriptors: 0,
        })
    }
}

/// What a configured port was asked for and did not do.
pub(super) fn notes(asked: &PortConfig, had: &sys::shim_port_setup) -> Vec<PortNote> {
    let lacks = |what: sys::shim_lack| had.lacks & what != 0;
    let mut notes = Vec::new();
    if had.mtu != asked.mtu {
        notes.push(PortNote::MtuRefused { asked: asked.mtu, actual: had.mtu });
    }
    if had.mtu == asked.mtu && had.tag_room != asked.tag_room {
        notes.push(PortNote::TagRoomRefused { asked: asked.tag_room, actual: had.tag_room });
    }
    if lacks(sys::SHIM_LACKS_RING_SIZES) {
        notes.push(PortNote::RingSizesUnknown);
    }
    if (had.rx_descriptors, had.tx_descriptors) != (asked.rx_descriptors, asked.tx_descriptors) {
        notes.push(PortNote::DescriptorsAdjusted { rx: had.rx_descriptors, tx: had.tx_descriptors });
    }
    if lacks(sys::SHIM_LACKS_RSS) {
        notes.push(PortNote::RssUnavailable { queues: had.queues });
    }
    if lacks(sys::SHIM_LACKS_SCATTER) {
        notes.push(PortNote::ScatterNotOffered);
    }
    if lacks(sys::SHIM_LACKS_MULTI_SEGS) {
        notes.push(PortNote::MultiSegmentNotOffered);
    }
    notes
}

/// A C text in a field of fixed size.
fn text(field: &[c_char]) -> String {
    let bytes: Vec<u8> = field.iter().map(|&c| c.cast_unsigned()).collect();
    CStr::from_bytes_until_nul(&bytes).map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}
