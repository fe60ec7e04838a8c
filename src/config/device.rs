//! How devices are written.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A port's device: a PCI address (`0000:03:00.0`, with device arguments behind a comma if need be) or the description
/// of a virtual one (`net_pcap0,rx_pcap=in.pcap`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Device {
    /// On the PCI bus. The name is the full address, as EAL calls the port.
    Pci {
        /// `0000:03:00.0`
        name: String,
        /// What EAL's `-a` takes.
        allow: String,
    },
    /// Made by EAL.
    Virtual {
        /// `net_pcap0`
        name: String,
        /// What EAL's `--vdev` takes.
        vdev: String,
    },
}

/// Text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is neither a PCI address (0000:03:00.0) nor a virtual device (net_tap0,iface=inside){}", .0, offer(.0))]
pub struct DeviceError(String);

/// What may have been meant: people write the name of a kernel interface.
fn offer(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && text.len() <= 15 && text.bytes().all(plain) && !text.starts_with("net_") {
        format!(
            "; for the kernel interface of that name write `net_af_packet0,iface={text}`, with another number at each port"
        )
    } else {
        String::new()
    }
}

/// What a virtual device is an end of, outside the box. Two ports with one end would be a loop, or write over each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A kernel interface.
    Interface(String),
    /// A capture.
    File(PathBuf, Use),
}

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Written,
}

impl Device {
    /// Whether its driver copies every frame with the CPU, so that no hardware reads or writes packet buffers.
    #[must_use]
    pub fn copies(&self) -> bool {
        const DRIVERS: [&str; 5] = ["net_pcap", "net_null", "net_ring", "net_af_packet", "net_tap"];
        match self {
            Self::Pci { .. } => false,
            Self::Virtual { name, .. } => DRIVERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit())),
        }
    }

    /// The interfaces and files it is an end of, each once.
    pub(super) fn ends(&self) -> Vec<End> {
        let Self::Virtual { vdev, .. } = self else { return Vec::new() };
        let mut ends = Vec::new();
        for (key, value) in vdev.split(',').skip(1).filter_map(|argument| argument.split_once('=')) {
            let end = match key {
                "iface" | "rx_iface" | "rx_iface_in" | "tx_iface" | "remote" => End::Interface(value.to_owned()),
                "rx_pcap" => End::File(place(Path::new(value)), Use::Read),
                "tx_pcap" => End::File(place(Path::new(value)), Use::Written),
                _ => continue,
            };
            if !ends.contains(&end) {
                ends.push(end);
            }
        }
        ends
    }

    /// The kernel's interfaces that it is an end of.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        let interface = |end| match end {
            End::Interface(name) => Some(name),
            End::File(..) => None,
        };
        self.ends().into_iter().filter_map(interface).collect()
    }

    /// The name of the port that EAL makes of it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pci { name, .. } | Self::Virtual { name, .. } => name,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci { allow, .. } => f.write_str(allow),
            Self::Virtual { vdev, .. } => f.write_str(vdev),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        let (name, arguments) = text.split_once(',').map_or((text.as_str(), ""), |(name, rest)| (name, rest));
        if let Some(address) = pci_address(name) {
            let comma = if arguments.is_empty() { "" } else { "," };
            return Ok(Self::Pci { allow: format!("{address}{comma}{arguments}"), name: address });
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let (driver, number) = name.split_at(name.trim_end_matches(|c: char| c.is_ascii_digit()).len());
        if driver.len() > 4 && driver.contains('_') && driver.bytes().all(plain) && number.len() <= 5 {
            return Ok(Self::Virtual { name: name.to_owned(), vdev: text });
        }
        Err(DeviceError(text.chars().take(120).collect()))
    }
}

/// A file's one name, as far as it can be told: links are followed, and the last part need not be there.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

/// `0000:03:00.0` for that or for `03:00.0`, in any case.
fn pci_address(text: &str) -> Option<String> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let (device, bus, domain) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0000"));
    let hex = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
    let valid = parts.next().is_none() && hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1);
    valid.then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_normalised() {
        for text in ["0000:03:00.0", "03:00.0", "0000:3B:00.1,mprq_en=1"] {
            let device = Device::try_from(text.to_owned()).unwrap();
            assert!(matches!(&device, Device::Pci { name, .. } if name.starts_with("0000:")), "{device:?}");
        }
        assert_eq!(Device::try_from("0000:3B:00.1,a=1".to_owned()).unwrap().to_string(), "0000:3b:00.1,a=1");
    }

    #[test]
    fn virtual_devices_keep_their_arguments() {
        let device = Device::try_from("net_pcap0,rx_pcap=in.pcap,tx_pcap=out.pcap".to_owned()).unwrap();
        assert_eq!(
            (device.name(), device.to_string().as_str()),
            ("net_pcap0", "net_pcap0,rx_pcap=in.pcap,tx_pcap=out.pcap")
        );
    }

    #[test]
    fn drivers_that_copy_are_known_by_name() {
        for (text, copies) in [
            ("net_pcap0,rx_pcap=in.pcap", true),
            ("net_af_packet12,iface=eth0", true),
            ("net_af_xdp0,iface=eth0", false),
            ("net_virtio_user0,path=/dev/vhost-net", false),
            ("0000:03:00.0", false),
        ] {
            assert_eq!(Device::try_from(text.to_owned()).unwrap().copies(), copies, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "eth0", "3:0.0", "0000:03:00", "net pcap0", "net_", "net_pcap0 ,x", "--no-pci"] {
            assert!(Device::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn who_names_a_kernel_interface_is_told_how_it_is_written() {
        for text in ["eth0", "enp3s0f1", "br-lan", "eth0.100"] {
            let error = Device::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(error.contains(&format!("`net_af_packet0,iface={text}`")), "{error}");
        }
        for text in ["", "net_pcap 0", "a-name-that-no-interface-has", "3:0.0", "eth0,iface=x"] {
            assert!(!Device::try_from(text.to_owned()).unwrap_err().to_string().contains("af_packet"), "{text}");
        }
    }
}
