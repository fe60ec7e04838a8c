//! What every DPDK test needs: a process of its own, an EAL without hugepages, and the way to clean up after both.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dpdk::{Burst, Eal, LcoreId, Mempool, Port, PortConfig, Queues, Started};

/// What `Port::configure` gets where a test does not care.
pub(crate) const CONFIG: PortConfig =
    PortConfig { queues: 1, mtu: 1500, tag_room: 0, rx_descriptors: 256, tx_descriptors: 256 };

/// EAL starts once per process. cargo-nextest gives each test its own; under plain `cargo test` the test runs itself
/// again in a child, and this answers false in the parent once the child has passed.
#[must_use]
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os("NEXTEST").is_some() || std::env::var_os("DPDK_TEST_CHILD").is_some() {
        return true;
    }
    let child = Command::new(std::env::current_exe().expect("the test binary has a path"))
        .args([test, "--exact", "--nocapture"])
        .env("DPDK_TEST_CHILD", "1")
        .output()
        .expect("the test binary can be run");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    false
}

/// A running EAL, and its directories gone afterwards.
pub(crate) struct Lab {
    pub(crate) eal: Eal,
    _traces: Traces,
    folder: PathBuf,
}

/// Dropped after `eal`: fields are dropped in order.
struct Traces(Vec<PathBuf>);

impl Drop for Traces {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Removes what an EAL that did not start has left of this process.
pub(crate) fn sweep() {
    let user = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
    drop(Traces(
        ["/var/run", "/tmp", &user]
            .map(|at| Path::new(at).join(format!("dpdk/dpdk-test-{}", std::process::id())))
            .into(),
    ));
}

/// The arguments of a small EAL that needs neither hugepages nor root nor a second CPU.
pub(crate) fn arguments(extra: &[&str]) -> Vec<String> {
    let prefix = format!("--file-prefix=dpdk-test-{}", std::process::id());
    let fixed = ["test", "--no-huge", "--no-pci", "--no-telemetry", "-m", "64", "--lcores", "0@0,1@0,3@0", &prefix];
    fixed.iter().chain(extra).map(ToString::to_string).collect()
}

impl Lab {
    /// Starts EAL with these virtual devices. `DIR` in their texts is the scratch folder.
    pub(crate) fn new(devices: &[&str]) -> Self {
        let folder = Self::prepare();
        let devices: Vec<String> =
            devices.iter().map(|d| format!("--vdev={}", d.replace("DIR", &folder.to_string_lossy()))).collect();
        let eal = Eal::init(&arguments(&devices.iter().map(String::as_str).collect::<Vec<_>>())).expect("EAL starts");
        let traces = Traces(vec![folder.clone(), eal.runtime_dir()]);
        Self { eal, _traces: traces, folder }
    }

    /// The scratch folder, for captures that must exist before EAL starts.
    pub(crate) fn prepare() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("dpdk-test-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a scratch folder");
        folder
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A tiny pool, so that a leak shows as exhaustion.
    pub(crate) fn pool(&self, mbufs: u32, data_room: u16) -> Mempool {
        Mempool::new(&self.eal, "pool", mbufs, 0, data_room).expect("a small pool")
    }

    /// A started port.
    pub(crate) fn port(&self, name: &str, config: PortConfig, pool: &Mempool) -> (Port<Started>, Queues) {
        let id = self.eal.port_by_name(name).expect("the device exists");
        Port::configure(&self.eal, id, &config, pool).expect("configures").start().expect("starts")
    }

    pub(crate) fn worker(&self) -> LcoreId {
        *self.eal.worker_lcores().first().expect("a worker lcore")
    }
}

/// A frame that tells its number in every byte that has room for it.
pub(crate) fn frame(number: u32, length: usize) -> Vec<u8> {
    let number = number.to_be_bytes().into_iter().cycle();
    number.zip(0..length).map(|(byte, at)| byte ^ u8::try_from(at / 4 % 256).expect("below 256")).collect()
}

/// The whole frame, over all its buffers.
pub(crate) fn bytes(burst: &Burst, index: usize) -> Vec<u8> {
    let mut out = vec![0; burst.length(index)];
    assert_eq!(burst.gather(index, &mut out), out.len());
    out
}

/// Writes an Ethernet capture.
pub(crate) fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("a frame is short");
        for word in [1, 0, length, length] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    fs::write(path, out).expect("the capture can be written");
}

/// Reads a capture back.
pub(crate) fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let all = fs::read(path).expect("the capture exists");
    let mut rest = all.get(24..).expect("a capture has a header");
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (frame, after) = after.split_at(length);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}
