//! How much memory DPDK needs.

use crate::config::Config;

/// Mbufs a worker's cache may hold on to, beyond what is in rings and bursts.
pub const MBUF_CACHE: u32 = 256;

/// Smallest room for a frame in one packet buffer: an ordinary Ethernet frame with tags fits, and drivers like it.
const ROOM_BYTES_MIN: u16 = 2048;
/// Ethernet header, four tags and frame check sequence around an IP packet of the MTU.
const FRAMING_BYTES: u16 = 14 + 4 * 4 + 4;
/// Descriptor, headroom, pool header and cache-line padding of one packet buffer.
const MBUF_OVERHEAD_BYTES: u64 = 128 + 128 + 64 + 64;
/// Without huge pages no packet buffer that a device must reach may straddle two pages.
const PAGE_BYTES: u64 = 4096;
/// What EAL, drivers and rings take beside the packet buffers.
const BASE_MIB: u32 = 32;

/// How packet buffers lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Each within one page, so that devices can reach it.
    Dma,
    /// One behind the other, for drivers that copy with the CPU: less memory, and the CPU's caches are used evenly.
    Packed,
}

/// What to ask of DPDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Packet buffers of the one pool.
    pub mbufs: u32,
    /// Bytes of a frame that fit in one.
    pub room_bytes: u16,
    /// How they lie in memory.
    pub layout: Layout,
    /// Memory in MiB.
    pub memory_mib: u32,
}

/// Plans for a configuration whose ports have up to `queues` queues each.
#[must_use]
pub fn plan(config: &Config, workers: u32) -> Plan {
    let mtu = config.links.iter().map(|link| link.mtu).max().unwrap_or(1500);
    let room_bytes = mtu.saturating_add(FRAMING_BYTES).next_multiple_of(64).max(ROOM_BYTES_MIN);
    // Every descriptor of every queue may hold a buffer, every worker a burst on each lane and a full cache.
    let rings: u32 = config
        .links
        .iter()
        .map(|link| {
            let queues = link.queues.map_or(workers, u32::from);
            2 * queues * (u32::from(link.rx_descriptors) + u32::from(link.tx_descriptors))
        })
        .sum();
    let lanes = u32::try_from(config.links.len()).unwrap_or(u32::MAX).saturating_mul(2);
    let held = workers.saturating_mul(MBUF_CACHE * 2 + lanes.saturating_mul(64));
    // A ring of 2^n - 1 wastes least.
    let computed = rings.saturating_add(held).clamp(1023, 1 << 30).next_power_of_two() - 1;
    let mbufs = config.dpdk.mbufs.unwrap_or(computed);
    let copies = config.links.iter().all(|link| link.inside.copies() && link.outside.copies());
    let layout = if copies { Layout::Packed } else { Layout::Dma };
    let memory_mib = config.dpdk.memory_mib.unwrap_or_else(|| memory_mib(mbufs, room_bytes, layout));
    Plan { mbufs, room_bytes, layout, memory_mib }
}

/// MiB for so many buffers.
#[must_use]
pub fn memory_mib(mbufs: u32, room_bytes: u16, layout: Layout) -> u32 {
    let mbuf = u64::from(room_bytes) + MBUF_OVERHEAD_BYTES;
    let mbuf = if layout == Layout::Dma { mbuf.next_multiple_of(PAGE_BYTES) } else { mbuf };
    let bytes = u64::from(mbufs) * mbuf;
    u32::try_from((bytes + bytes / 16) >> 20).unwrap_or(u32::MAX).saturating_add(BASE_MIB)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(link: &str) -> Config {
        let text = format!("[[link]]\nname = \"a\"\ninside = \"net_null0\"\noutside = \"net_null1\"\n{link}");
        Config::parse(&text, Path::new("test")).unwrap()
    }

    #[test]
    fn every_descriptor_can_hold_a_buffer() {
        let one = plan(&config(""), 1);
        assert_eq!((one.mbufs, one.room_bytes), (8191, 2048), "2 ports x 2 x 1024 descriptors, caches, bursts");
        let four = plan(&config(""), 4);
        assert_eq!(four.mbufs, 32767);
        assert!(four.memory_mib > one.memory_mib);
    }

    #[test]
    fn jumbo_frames_fit_in_one_buffer() {
        let plan = plan(&config("mtu = 9000"), 1);
        assert!(plan.room_bytes >= 9034 && plan.room_bytes.is_multiple_of(64));
        assert!(u64::from(plan.memory_mib) << 20 > u64::from(plan.mbufs) * u64::from(plan.room_bytes));
    }

    #[test]
    fn buffers_are_packed_unless_a_device_must_reach_them() {
        let copying = plan(&config(""), 1);
        let text = "[[link]]\nname = \"a\"\ninside = \"0000:03:00.0\"\noutside = \"net_null1\"\n";
        let device = plan(&Config::parse(text, Path::new("test")).unwrap(), 1);
        assert_eq!((copying.layout, device.layout), (Layout::Packed, Layout::Dma));
        assert_eq!((copying.memory_mib, device.memory_mib), (52, 65));
    }

    #[test]
    fn what_the_file_says_is_taken() {
        let mut config = config("queues = 2");
        config.dpdk.mbufs = Some(100_000);
        assert_eq!(plan(&config, 1).mbufs, 100_000);
    }
}
