//! Who has a PCI device: why DPDK does not find it, in words that help.

use std::fmt;
use std::fs;
use std::path::Path;

/// A device as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pci {
    /// There is none of this address.
    Missing,
    /// No driver has it.
    Unbound,
    /// A driver of the kernel has it, and DPDK does not share it.
    Kernel(String),
    /// A driver of the kernel has it, and DPDK works beside that one.
    Shared(String),
    /// One of the uio drivers; whether this process may do what they need.
    Uio {
        /// Its name.
        driver: String,
        /// Capabilities that the process lacks.
        lacks: Vec<&'static str>,
    },
    /// vfio-pci; and the IOMMU group, if there is one.
    Vfio(Option<String>),
}

/// Drivers that DPDK works beside: the device stays an interface of the kernel.
const SHARED: [&str; 3] = ["mlx4_core", "mlx5_core", "mana"];

/// What uio needs, by the bit in the kernel's sets of capabilities.
const UIO_NEEDS: [(u32, &str); 2] = [(21, "CAP_SYS_ADMIN"), (17, "CAP_SYS_RAWIO")];

impl Pci {
    /// The device of a full address, `0000:03:00.0`.
    #[must_use]
    pub fn look(address: &str) -> Self {
        Self::below(Path::new("/"), address)
    }

    pub(super) fn below(root: &Path, address: &str) -> Self {
        let device = root.join("sys/bus/pci/devices").join(address);
        let name = |link: &str| {
            fs::read_link(device.join(link)).ok()?.file_name().map(|name| name.to_string_lossy().into_owned())
        };
        match name("driver") {
            _ if !device.exists() => Self::Missing,
            None => Self::Unbound,
            Some(driver) if driver == "vfio-pci" => Self::Vfio(name("iommu_group")),
            Some(driver) if driver.contains("uio") => {
                let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
                Self::Uio { driver, lacks: lacks(&status) }
            }
            Some(driver) if SHARED.contains(&driver.as_str()) => Self::Shared(driver),
            Some(driver) => Self::Kernel(driver),
        }
    }

    /// Whether DPDK cannot have the device as it is.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Missing | Self::Unbound | Self::Kernel(_) => true,
            Self::Uio { lacks, .. } => !lacks.is_empty(),
            Self::Shared(_) | Self::Vfio(_) => false,
        }
    }
}

/// What of [`UIO_NEEDS`] a process with this `/proc/PID/status` does not have.
fn lacks(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()) else { return Vec::new() };
    UIO_NEEDS.iter().filter(|(bit, _)| effective & 1 << bit == 0).map(|(_, name)| *name).collect()
}

impl fmt::Display for Pci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("this machine has no such PCI device (`lspci -D` lists what there is)"),
            Self::Unbound => f.write_str("no driver has it; bind it to vfio-pci (`dpdk-devbind.py --bind=vfio-pci ...`)"),
            Self::Kernel(driver) => write!(
                f,
                "the kernel's driver `{driver}` has it; bind it to vfio-pci (`dpdk-devbind.py --bind=vfio-pci ...`), but \
                 never the interface by which you are logged in"
            ),
            Self::Shared(driver) => write!(
                f,
                "the kernel's driver `{driver}` has it and may keep it; is DPDK's driver for it installed (librte-net-...)?"
            ),
            Self::Uio { driver, lacks } if lacks.is_empty() => write!(
                f,
                "it is bound to `{driver}`, which works with huge pages only, and with an IOMMU that is off"
            ),
            Self::Uio { driver, lacks } => write!(
                f,
                "it is bound to `{driver}`, which needs physical addresses, and this process lacks {} (in a unit: \
                 `CapabilityBoundingSet=` of a drop-in); huge pages are needed too",
                lacks.join(" and ")
            ),
            Self::Vfio(Some(group)) => write!(
                f,
                "it is bound to vfio-pci, IOMMU group {group}: may this process open /dev/vfio/{group}, and is every device \
                 of the group bound?"
            ),
            Self::Vfio(None) => f.write_str(
                "it is bound to vfio-pci, but there is no IOMMU: switch it on (`intel_iommu=on`), or allow vfio without \
                 one (`enable_unsafe_noiommu_mode`)",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "0000:03:00.0";

    fn device(driver: Option<&str>, group: Option<&str>, capabilities: u64) -> Pci {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("sys/bus/pci/devices").join(ADDRESS);
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(root.path().join("proc/self/status"), format!("Name:\tx\nCapEff:\t{capabilities:016x}\n")).unwrap();
        for (link, name) in [("driver", driver), ("iommu_group", group)] {
            if let Some(name) = name {
                std::os::unix::fs::symlink(format!("../../{link}/{name}"), device.join(link)).unwrap();
            }
        }
        Pci::below(root.path(), ADDRESS)
    }

    #[test]
    fn who_has_a_device_is_told() {
        assert_eq!(Pci::below(Path::new("/nowhere"), ADDRESS), Pci::Missing);
        assert_eq!(device(None, None, 0), Pci::Unbound);
        assert_eq!(device(Some("e1000e"), Some("7"), 0), Pci::Kernel("e1000e".into()));
        assert_eq!(device(Some("mlx5_core"), None, 0), Pci::Shared("mlx5_core".into()));
        assert_eq!(device(Some("vfio-pci"), Some("7"), 0), Pci::Vfio(Some("7".into())));
        assert!(device(Some("e1000e"), None, 0).to_string().contains("`e1000e` has it; bind it to vfio-pci"));
        assert!(device(Some("vfio-pci"), None, 0).to_string().contains("no IOMMU"));
    }

    #[test]
    fn uio_without_the_right_to_physical_addresses_is_said_and_not_called_unbound() {
        let unit = device(Some("uio_pci_generic"), None, 1 << 14 | 1 << 12);
        assert!(unit.is_out_of_reach());
        let words = unit.to_string();
        assert!(
            words.contains("bound to `uio_pci_generic`") && words.contains("CAP_SYS_ADMIN and CAP_SYS_RAWIO"),
            "{words}"
        );
        let admin = device(Some("igb_uio"), None, 1 << 21);
        assert!(admin.to_string().contains("lacks CAP_SYS_RAWIO ("), "{admin}");
        let root = device(Some("igb_uio"), None, u64::MAX);
        assert!(!root.is_out_of_reach() && root.to_string().contains("huge pages only"));
    }

    #[test]
    fn devices_that_dpdk_can_have_are_in_reach() {
        assert!(!device(Some("vfio-pci"), Some("7"), 0).is_out_of_reach());
        assert!(!device(Some("mlx5_core"), None, 0).is_out_of_reach());
        assert!(device(Some("virtio-pci"), None, u64::MAX).is_out_of_reach());
    }
}
