//! Ports: `Port<Configured>` becomes `Port<Started>` and hands out its queues, once.
//!
//! A device is stopped and closed when its `Port` and all its queue handles are gone, so a queue is never polled on a
//! closed device. [`Port::close`] does the same on the spot and reports what the driver answers (`net_pcap` writes
//! out its file there).
//!
//! What a device lacks is a [`PortNote`] for the operator, never an error; only what would keep frames from flowing is.
//! Link-change interrupts stay off: several drivers accept and never raise them, so the link is polled.
//!
//! Refuses to know: which port is inside and which outside.

mod facts;

use core::cell::Cell;
use core::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::facts::notes;
pub use self::facts::{Link, PortConfig, PortInfo, PortNote, PortStats, Traffic, Trouble};
use crate::error::{Errno, check};
use crate::{Burst, Eal, Error, Mempool, PortId, sys};

/// A port that is set up but does not run yet.
#[derive(Debug)]
pub enum Configured {}

/// A port that runs.
#[derive(Debug)]
pub enum Started {}

/// The claim on a device, shared by its `Port` and its queues; whoever drops it last stops and closes the device.
#[derive(Debug)]
struct Device {
    id: PortId,
    name: String,
    started: AtomicBool,
    eal: Eal,
}

/// A port this process owns.
#[derive(Debug)]
pub struct Port<State> {
    device: Arc<Device>,
    info: PortInfo,
    queues: u16,
    notes: Vec<PortNote>,
    state: PhantomData<State>,
}

/// A started port's queues: the pair at place `q` is queue `q`.
pub type Queues = Vec<(RxQueue, TxQueue)>;

/// A receive queue: one owner, on one thread at a time.
#[derive(Debug)]
pub struct RxQueue {
    device: Arc<Device>,
    queue: u16,
    not_sync: PhantomData<Cell<()>>,
}

/// A transmit queue: one owner, on one thread at a time.
#[derive(Debug)]
pub struct TxQueue {
    device: Arc<Device>,
    queue: u16,
    not_sync: PhantomData<Cell<()>>,
}

impl<State> Port<State> {
    /// Its number in DPDK.
    pub fn id(&self) -> PortId {
        self.device.id
    }

    /// The device as it describes itself, with what was agreed on.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// Queues in each direction.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// What it was asked for and did not do. Starting the port may add to it.
    pub fn notes(&self) -> &[PortNote] {
        &self.notes
    }
}

impl Port<Configured> {
    /// Sets a device up: its queues, its rings, and every offload off that would change a frame. What it receives lies
    /// in buffers of `pool`.
    ///
    /// Nobody else in the process may have the port. If this fails, it can be tried again with other numbers.
    pub fn configure(eal: &Eal, id: PortId, config: &PortConfig, pool: &Mempool) -> Result<Self, Error> {
        let mut claims = eal.claims();
        let mut info = PortInfo::query_claimed(id)?;
        if config.queues == 0 {
            return Err(Error::NoQueues(id));
        }
        if config.queues > info.max_rx_queues.min(info.max_tx_queues) {
            return Err(Error::TooManyQueues {
                port: info.name,
                asked: config.queues,
                rx_queues_max: info.max_rx_queues,
                tx_queues_max: info.max_tx_queues,
            });
        }
        if claims.ports.contains(&id) {
            return Err(Error::PortInUse(id));
        }
        let mut setup = sys::shim_port_setup {
            queues: config.queues,
            mtu: config.mtu,
            tag_room: config.tag_room,
            rx_descriptors: config.rx_descriptors,
            tx_descriptors: config.tx_descriptors,
            step: sys::SHIM_STEP_INFO,
            lacks: 0,
        };
        // SAFETY: the port is valid and nobody's (checked under the claims, still held), so it does not run; the pool
        // lives as long as EAL, hence longer than the device's use of it.
        check(unsafe { sys::shim_port_configure(id.0, pool.as_ptr(), &raw mut setup) })
            .map_err(|cause| cause.on_port(&info.name, step_name(setup.step)))?;
        claims.ports.insert(id);
        drop(claims);

        info.mtu = setup.mtu;
        info.tag_room = setup.tag_room;
        info.rx_descriptors = setup.rx_descriptors;
        info.tx_descriptors = setup.tx_descriptors;
        let device = Device { id, name: info.name.clone(), started: AtomicBool::new(false), eal: eal.clone() };
        let notes = notes(config, &setup);
        Ok(Self { device: Arc::new(device), info, queues: config.queues, notes, state: PhantomData })
    }

    /// Starts the device and hands out its queues, in order.
    pub fn start(self) -> Result<(Port<Started>, Queues), Error> {
        let Self { device, info, queues, mut notes, state: _ } = self;
        let mut refusals = sys::shim_port_refusals::default();
        {
            let _claims = device.eal.claims();
            // SAFETY: the port is configured and ours; the claims keep out every other control call.
            check(unsafe { sys::rte_eth_dev_start(device.id.0) })
                .map_err(|cause| cause.on_port(&device.name, "start the device"))?;
            device.started.store(true, Ordering::Release);
            // SAFETY: as above; `refusals` outlives the call.
            unsafe { sys::shim_port_open_ears(device.id.0, &raw mut refusals) };
        }
        let mut note = |answer, what: fn(Errno) -> PortNote| {
            if let Err(cause) = check(answer) {
                notes.push(what(cause));
            }
        };
        note(refusals.promiscuous, PortNote::PromiscuousRefused);
        note(refusals.allmulticast, PortNote::AllMulticastRefused);
        note(refusals.flow_control_off, PortNote::FlowControlKept);
        note(refusals.vlan_off, PortNote::VlanOffloadKept);
        let unavailable = notes.iter().any(|note| matches!(note, PortNote::RssUnavailable { .. }));
        notes.extend(Traffic::from_raw(refusals.uncovered).filter(|_| !unavailable).map(PortNote::RssPartial));
        let handles = (0..queues)
            .map(|queue| {
                let rx = RxQueue { device: Arc::clone(&device), queue, not_sync: PhantomData };
                let tx = TxQueue { device: Arc::clone(&device), queue, not_sync: PhantomData };
                (rx, tx)
            })
            .collect();
        Ok((Port { device, info, queues, notes, state: PhantomData }, handles))
    }
}

impl Port<Started> {
    /// Reads the counters.
    pub fn stats(&self) -> Result<PortStats, Error> {
        let _claims = self.device.eal.claims();
        self.device.stats()
    }

    /// What the driver counts of frames it lost or found wrong, beyond [`PortStats`] and where it is not 0. Drivers count
    /// what they like under names they like, and some of it twice.
    pub fn troubles(&self) -> Result<Vec<Trouble>, Error> {
        let _claims = self.device.eal.claims();
        let mut raw: Vec<sys::shim_xstat> = Vec::new();
        for _ in 0..2 {
            let room = u32::try_from(raw.len()).unwrap_or(u32::MAX);
            // SAFETY: the device is ours and not closed while `self` exists; `raw` has `room` places and outlives the call.
            let named = check(unsafe { sys::shim_port_xstats(self.device.id.0, raw.as_mut_ptr(), room) })
                .map_err(|cause| cause.on_port(&self.device.name, "read the driver's own counters"))?;
            raw.resize_with(usize::try_from(named).unwrap_or(0), sys::shim_xstat::default);
        }
        Ok(raw.iter().filter_map(Trouble::from_raw).filter(|trouble| trouble.count != 0).collect())
    }

    /// Reads the link without waiting for it to settle.
    pub fn link(&self) -> Result<Link, Error> {
        let mut raw = sys::shim_link::default();
        let _claims = self.device.eal.claims();
        // SAFETY: the device is ours and not closed while `self` exists; `raw` outlives the call.
        check(unsafe { sys::shim_port_link(self.device.id.0, &raw mut raw) })
            .map_err(|cause| cause.on_port(&self.device.name, "read the link"))?;
        Ok(Link {
            up: raw.up != 0,
            speed_mbps: (raw.speed_mbps != 0).then_some(raw.speed_mbps),
            full_duplex: raw.full_duplex != 0,
        })
    }

    /// Brings the link up or down, where the driver can.
    pub fn set_link(&self, up: bool) -> Result<(), Error> {
        let port = self.device.id.0;
        let _claims = self.device.eal.claims();
        let (answer, action) = if up {
            // SAFETY: the device is ours and not closed while `self` exists; the claims serialise control calls.
            (unsafe { sys::rte_eth_dev_set_link_up(port) }, "bring the link up")
        } else {
            // SAFETY: as above.
            (unsafe { sys::rte_eth_dev_set_link_down(port) }, "bring the link down")
        };
        check(answer).map(drop).map_err(|cause| cause.on_port(&self.device.name, action))
    }

    /// The MTU as the device has it now.
    pub fn mtu(&self) -> Result<u16, Error> {
        let mut mtu = 0_u16;
        let _claims = self.device.eal.claims();
        // SAFETY: the device is ours and not closed while `self` exists; `mtu` outlives the call.
        check(unsafe { sys::rte_eth_dev_get_mtu(self.device.id.0, &raw mut mtu) })
            .map_err(|cause| cause.on_port(&self.device.name, "read the MTU"))?;
        Ok(mtu)
    }

    /// Stops and closes the device at once and answers its last counters. `queues` are the handles that `start` gave;
    /// if some are missing the device stays open until the last of
    /// them is dropped, and this is an error.
    pub fn close(self, queues: Queues) -> Result<PortStats, Error> {
        drop(queues);
        let Self { device, .. } = self;
        let name = device.name.clone();
        let Some(device) = Arc::into_inner(device) else { return Err(Error::QueuesHeld { port: name }) };
        device.shut()
    }
}

impl Device {
    /// Reads the counters; the caller holds EAL's claims.
    fn stats(&self) -> Result<PortStats, Error> {
        let mut raw = sys::shim_stats::default();
        // SAFETY: the device is ours and not closed while `self` exists; `raw` outlives the call.
        check(unsafe { sys::shim_port_stats(self.id.0, &raw mut raw) })
            .map_err(|cause| cause.on_port(&self.name, "read the counters"))?;
        Ok(PortStats {
            rx_frames: raw.rx_frames,
            tx_frames: raw.tx_frames,
            rx_bytes: raw.rx_bytes,
            tx_bytes: raw.tx_bytes,
            rx_missed: raw.rx_missed,
            rx_errors: raw.rx_errors,
            rx_no_mbuf: raw.rx_no_mbuf,
            tx_errors: raw.tx_errors,
            rx_tags_restored: raw.rx_tags_restored,
            rx_tags_lost: raw.rx_tags_lost,
        })
    }

    /// Stops and closes the device if it runs. Every step is taken even if one before it fails; the first error wins.
    fn shut(&self) -> Result<PortStats, Error> {
        let _claims = self.eal.claims();
        if !self.started.swap(false, Ordering::AcqRel) {
            return Ok(PortStats::default());
        }
        // SAFETY: the device runs and is ours, and no queue handle is left that could poll it: the caller is its last
        // owner (`Drop`, or `close` after `Arc::into_inner`).
        let stopped = check(unsafe { sys::rte_eth_dev_stop(self.id.0) });
        let stats = self.stats();
        // SAFETY: as above. The frames in its rings go back to their pools, which live as long as `self.eal`.
        let closed = check(unsafe { sys::rte_eth_dev_close(self.id.0) });
        stopped.map_err(|cause| cause.on_port(&self.name, "stop the device"))?;
        closed.map_err(|cause| cause.on_port(&self.name, "close the device"))?;
        stats
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; `Port::close` is there for those who want to.
        let _ = self.shut();
        // A port that never ran is not closed, so it may be configured again.
        self.eal.claims().ports.remove(&self.id);
    }
}

impl RxQueue {
    /// Appends frames that have arrived, as many as the burst has room for; answers how many. Give it an empty burst:
    /// drivers with vector receive may deliver nothing into less than 8 free places.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        let port = self.device.id.0;
        // SAFETY: the device runs while `self.device` exists, this queue was set up (`start` hands out no other), and
        // `&mut self` of the only handle keeps every other thread off it. DPDK gives what it fills to us for good, and
        // fills at most `room` slots from `slots` on.
        unsafe { burst.fill(|slots, room| sys::shim_rx_burst(port, self.queue, slots, room)) }
    }

    /// Which of the port's queues it is.
    pub fn index(&self) -> u16 {
        self.queue
    }
}

impl TxQueue {
    /// Offers all frames; what the queue refused stays in the burst, in order. Answers how many it took.
    #[inline]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        let port = self.device.id.0;
        // SAFETY: as in `receive`; DPDK takes over the first frames, as many as it answers, and leaves the others.
        unsafe { burst.drain(|slots, count| sys::shim_tx_burst(port, self.queue, slots, count)) }
    }

    /// Which of the port's queues it is.
    pub fn index(&self) -> u16 {
        self.queue
    }
}

fn step_name(step: sys::shim_step) -> &'static str {
    match step {
        sys::SHIM_STEP_CONFIGURE => "configure the device",
        sys::SHIM_STEP_DESCRIPTORS => "fit the descriptors to the device",
        sys::SHIM_STEP_RX_QUEUE => "set up a receive queue",
        sys::SHIM_STEP_TX_QUEUE => "set up a transmit queue",
        _ => "ask the device about itself",
    }
}
