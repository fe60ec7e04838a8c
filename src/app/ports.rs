//! A running port as the rest of the process sees it: what it is, what it cannot do, and what it says of itself.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use dpdk::{Port, PortInfo, PortNote, PortStats, Started, Trouble};
use tracing::{debug, info, warn};

use crate::config::Device;
use crate::telemetry::report::{LinkState, PortLosses, PortState};

/// Bytes to ask of a device beyond the MTU: two VLAN tags, for which hardware may make no room by itself. What is virtual
/// does not count a frame's bytes.
#[must_use]
pub fn tag_room(device: &Device) -> u16 {
    if is_hardware(device) { 8 } else { 0 }
}

fn is_hardware(device: &Device) -> bool {
    matches!(device, Device::Pci { .. })
}

/// A started port, with what is remembered of it.
#[derive(Debug)]
pub struct WatchedPort {
    port: Port<Started>,
    hardware: bool,
    /// Whether its link can be moved; not asked unless wanted.
    can_set_link: Option<Result<(), dpdk::Error>>,
    /// The last statistics that could be read: a driver that is busy is not a port that counts nothing.
    last: Mutex<PortState>,
}

impl Deref for WatchedPort {
    type Target = Port<Started>;

    fn deref(&self) -> &Self::Target {
        &self.port
    }
}

impl WatchedPort {
    /// A port that was just started. If its link is to follow the other side's, it is told to be up, which it is: what a
    /// driver answers to that tells whether it can move the link at all, before it is needed.
    #[must_use]
    pub fn new(port: Port<Started>, device: &Device, moves_link: bool) -> Self {
        let can_set_link = moves_link.then(|| port.set_link(true));
        Self { port, hardware: is_hardware(device), can_set_link, last: Mutex::default() }
    }

    /// The port alone.
    #[must_use]
    pub fn into_inner(self) -> Port<Started> {
        self.port
    }

    /// What it says of itself. What cannot be read is what it was.
    #[must_use]
    pub fn state(&self) -> PortState {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        renew(&mut last, self.port.stats().ok(), self.port.troubles().ok());
        let can_be_set = self.can_set_link.as_ref().map(Result::is_ok);
        let link =
            |link: dpdk::Link| LinkState { up: link.up, speed_mbps: link.speed_mbps, can_be_set, kept_down: false };
        last.link = self.port.link().ok().map(link);
        last.clone()
    }

    /// Says what it is, and what it was asked for and does not do.
    pub fn announce(&self, link: &str, side: &str) {
        let PortInfo { name, driver, mtu, tag_room, rx_descriptors, tx_descriptors, .. } = self.port.info();
        let tags = if *tag_room == 0 { String::new() } else { format!(" and {tag_room} bytes for VLAN tags") };
        let queues = self.port.queues();
        let told = !self.port.notes().contains(&PortNote::RingSizesUnknown);
        let asked = if told { "" } else { " asked for" };
        info!(
            "link {link}: {side} is {name} ({driver}), MTU {mtu}{tags}, {queues} queue(s) of {rx_descriptors} rx and \
             {tx_descriptors} tx descriptors{asked}"
        );
        for note in self.port.notes() {
            match note {
                // Most virtual devices say so; frames fit in one buffer anyway, and rings are what they are.
                PortNote::ScatterNotOffered | PortNote::MultiSegmentNotOffered | PortNote::RingSizesUnknown => {
                    debug!("link {link}: {name}: {note}");
                }
                note => warn!("link {link}: {name}: {note}"),
            }
        }
        match &self.can_set_link {
            Some(Err(error)) if self.hardware => warn!(
                "link {link}: the link of {side} cannot be taken down when the other side loses its own: {error}. Its \
                 neighbour will not notice; `link_propagation = false` says that this is known"
            ),
            Some(Err(error)) => info!("link {link}: the link of {side} does not follow the other side's: {error}"),
            _ => {}
        }
    }
}

/// Puts what could be read in the place of what was read before. Two readings make this up, and either may fail alone.
fn renew(last: &mut PortState, stats: Option<PortStats>, troubles: Option<Vec<Trouble>>) {
    if let Some(stats) = stats {
        last.losses = PortLosses { rx_too_long: last.losses.rx_too_long, ..losses(&stats) };
        last.rx_tags_restored = stats.rx_tags_restored;
    }
    if let Some(troubles) = troubles {
        last.losses.rx_too_long = troubles.iter().filter(|trouble| trouble.is_too_long()).map(|t| t.count).sum();
        last.driver = troubles.into_iter().map(|trouble| (trouble.name, trouble.count)).collect();
    }
}

fn losses(stats: &PortStats) -> PortLosses {
    PortLosses {
        rx_missed: stats.rx_missed,
        rx_no_mbuf: stats.rx_no_mbuf,
        rx_errors: stats.rx_errors,
        tx_errors: stats.tx_errors,
        rx_too_long: 0,
        rx_tags_lost: stats.rx_tags_lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_that_cannot_be_read_keep_their_last_value() {
        let stats = |n| PortStats {
            rx_missed: n,
            rx_errors: n + 1,
            rx_tags_lost: n + 2,
            rx_tags_restored: n + 3,
            ..PortStats::default()
        };
        let troubles = |n| {
            let counters = [("rx_oversize_errors", n), ("rx_crc_errors", n + 1)];
            counters.map(|(name, count)| Trouble { name: name.to_owned(), count }).to_vec()
        };
        let seen = |port: &PortState| {
            let PortLosses { rx_missed, rx_errors, rx_tags_lost, rx_too_long, .. } = port.losses;
            let driver = ["rx_oversize_errors", "rx_crc_errors"].map(|name| port.driver.get(name).copied());
            ([rx_missed, rx_errors, rx_tags_lost, port.rx_tags_restored], rx_too_long, driver)
        };
        let mut port = PortState::default();
        renew(&mut port, None, None);
        assert_eq!(port, PortState::default(), "nothing was ever read");
        renew(&mut port, Some(stats(10)), Some(troubles(20)));
        let first = ([10, 11, 12, 13], 20, [Some(20), Some(21)]);
        assert_eq!(seen(&port), first);
        renew(&mut port, None, None);
        assert_eq!(seen(&port), first, "neither is to be had");
        renew(&mut port, Some(stats(30)), None);
        assert_eq!(seen(&port), ([30, 31, 32, 33], first.1, first.2), "the driver's own are not to be had");
        renew(&mut port, None, Some(troubles(40)));
        assert_eq!(seen(&port), ([30, 31, 32, 33], 40, [Some(40), Some(41)]), "only they are");
        renew(&mut port, None, Some(Vec::new()));
        assert_eq!(
            seen(&port),
            ([30, 31, 32, 33], 0, [None; 2]),
            "a counter that is 0 again is not one that is not to be had"
        );
    }
}
