//! Whether DPDK can have the devices, and whether the kernel's interfaces are ready.

use super::{Finding, Machine};
use crate::config::{Config, Device, Link};
use crate::host::pci::Pci;

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for link in &config.links {
        for (side, device) in [("inside", &link.inside), ("outside", &link.outside)] {
            let whose = format!("link {}, {side}", link.name);
            match device {
                Device::Pci { name, .. } => findings.push(pci(machine, &whose, name)),
                Device::Virtual { .. } => {
                    let found = device.interfaces().into_iter().map(|name| interface(machine, link, &whose, &name));
                    findings.extend(found.flatten());
                }
            }
        }
    }
    findings.extend(iommu(machine, config));
    findings
}

fn pci(machine: &Machine, whose: &str, address: &str) -> Finding {
    const CHECK: &str = "driver";
    let pci = Pci::below(&machine.root, address);
    let message = format!("{whose}: {address}: {pci}");
    let folder = format!("/sys/bus/pci/devices/{address}");
    // Whoever binds a disk away has no machine any more.
    if let Some(class) = machine.read(format!("{folder}/class")).filter(|class| !class.starts_with("0x02")) {
        let message = format!("{whose}: {address} is no network device (its PCI class is {class}, not 0x02....)");
        return Finding::failure(CHECK, message);
    }
    // The kernel may be using it for something that matters more, such as this very session.
    let in_use = interfaces(machine, &folder)
        .find(|name| machine.read(format!("/sys/class/net/{name}/operstate")).is_some_and(|state| state == "up"));
    let bind = format!("modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}");
    match (&pci, in_use) {
        (Pci::Vfio(Some(_)) | Pci::Shared(_), _) => Finding::fine(CHECK, format!("{whose}: {address} can be had")),
        (Pci::Vfio(None), _) => Finding::warning(CHECK, message),
        (Pci::Uio { .. }, _) if !pci.is_out_of_reach() => Finding::warning(CHECK, message),
        (Pci::Kernel(_), Some(name)) => Finding::failure(
            CHECK,
            format!("{message}. Its interface {name} is up: take it down first, if nothing needs it"),
        ),
        (Pci::Unbound | Pci::Kernel(_), _) => Finding::failure(CHECK, message).mended_by(bind),
        (Pci::Missing | Pci::Uio { .. }, _) => Finding::failure(CHECK, message),
    }
}

/// What the kernel calls it; the interfaces of virtio hang one folder deeper.
fn interfaces(machine: &Machine, folder: &str) -> impl Iterator<Item = String> {
    let below = machine.names(folder).into_iter().filter(|name| name.starts_with("virtio"));
    let folders: Vec<String> =
        std::iter::once(folder.to_owned()).chain(below.map(|name| format!("{folder}/{name}"))).collect();
    folders.into_iter().flat_map(|folder| machine.names(format!("{folder}/net")))
}

fn interface(machine: &Machine, link: &Link, whose: &str, name: &str) -> Vec<Finding> {
    let folder = format!("/sys/class/net/{name}");
    if !machine.exists(&folder) {
        let message = format!("{whose}: there is no interface {name} (`ip link` lists what there is)");
        return vec![Finding::failure("interface", message)];
    }
    let mut findings = Vec::new();
    let flags = machine.read(format!("{folder}/flags"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok());
    if flags.is_some_and(|flags| flags & 1 == 0) {
        let message = format!("{whose}: {name} is down");
        findings.push(Finding::failure("interface", message).mended_by(format!("ip link set {name} up")));
    } else if machine.read(format!("{folder}/carrier")).is_some_and(|carrier| carrier == "0") {
        findings.push(Finding::warning("interface", format!("{whose}: {name} has no link: cable, switch, other end")));
    }
    let mtu = machine.read(format!("{folder}/mtu")).and_then(|mtu| mtu.parse::<u32>().ok());
    if let Some(mtu) = mtu.filter(|&mtu| mtu < u32::from(link.mtu)) {
        let message = format!("{whose}: {name} takes packets of {mtu} bytes, and the link's `mtu` is {}", link.mtu);
        findings.push(Finding::failure("mtu", message).mended_by(format!("ip link set {name} mtu {}", link.mtu)));
    }
    if findings.is_empty() {
        findings.push(Finding::fine("interface", format!("{whose}: {name} is up")));
    }
    findings
}

/// Whether devices can be kept to the memory that is theirs.
fn iommu(machine: &Machine, config: &Config) -> Option<Finding> {
    const CHECK: &str = "iommu";
    let any = |link: &Link| [&link.inside, &link.outside].iter().any(|device| matches!(device, Device::Pci { .. }));
    if !config.links.iter().any(any) {
        return None;
    }
    let has_groups = !machine.names("/sys/kernel/iommu_groups").is_empty();
    let without = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    // Some kernels, Debian's among them, are built without that.
    let cannot = machine.exists("/sys/module/vfio") && !machine.exists(without);
    let none = "there is no IOMMU, which vfio-pci needs: switch it on in the firmware and by `intel_iommu=on iommu=pt` (AMD: \
                `iommu=pt`) on the kernel's command line";
    Some(match machine.read(without).as_deref() {
        _ if has_groups => Finding::fine(CHECK, "there is an IOMMU"),
        Some("Y" | "1") => Finding::warning(
            CHECK,
            "there is no IOMMU, and vfio may work without one: devices can write anywhere in memory",
        ),
        _ if cannot => Finding::failure(
            CHECK,
            format!("{none}. This kernel's vfio cannot do without; where there is no IOMMU, bind to uio_pci_generic"),
        ),
        _ => {
            Finding::failure(CHECK, format!("{none}; where there is none (most virtual machines), allow vfio without"))
                .mended_by(format!("modprobe vfio enable_unsafe_noiommu_mode=1 && echo 1 > {without}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level::{Failure, Fine, Warning};
    use super::super::testing::{Made, assert_found, config};
    use super::*;

    const BIND: &str = "modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci 0000:03:00.0";

    #[test]
    fn a_device_that_the_kernel_has_is_bound_unless_its_interface_is_up() {
        let made = Made::of(&[
            ("sys/bus/pci/devices/0000:03:00.0/net/eth3/x", ""),
            ("sys/bus/pci/devices/0000:03:00.1/net/eth4/x", ""),
            ("sys/class/net/eth3/operstate", "down"),
            ("sys/class/net/eth4/operstate", "up"),
            ("sys/kernel/iommu_groups/7/x", ""),
        ]);
        made.link("sys/bus/pci/devices/0000:03:00.0/driver", "../ixgbe");
        made.link("sys/bus/pci/devices/0000:03:00.1/driver", "../ixgbe");
        let found = examine(&made.machine(), &config("0000:03:00.0", "0000:03:00.1", ""));
        assert_found(
            &found,
            &[
                (Failure, "driver `ixgbe` has it", Some(BIND)),
                (Failure, "interface eth4 is up", None),
                (Fine, "there is an IOMMU", None),
            ],
        );
    }

    #[test]
    fn a_disk_is_never_bound_away_and_the_interface_of_virtio_is_found() {
        let made = Made::of(&[
            ("sys/bus/pci/devices/0000:03:00.0/class", "0x010000\n"),
            ("sys/bus/pci/devices/0000:03:00.1/class", "0x020000\n"),
            ("sys/bus/pci/devices/0000:03:00.1/virtio2/net/eth0/x", ""),
            ("sys/class/net/eth0/operstate", "up"),
            ("sys/kernel/iommu_groups/7/x", ""),
        ]);
        made.link("sys/bus/pci/devices/0000:03:00.0/driver", "../virtio-pci");
        made.link("sys/bus/pci/devices/0000:03:00.1/driver", "../virtio-pci");
        let found = examine(&made.machine(), &config("0000:03:00.0", "0000:03:00.1", ""));
        let expected =
            [(Failure, "no network device", None), (Failure, "interface eth0 is up", None), (Fine, "IOMMU", None)];
        assert_found(&found, &expected);
    }

    #[test]
    fn without_an_iommu_vfio_has_to_be_told() {
        let made = Made::of(&[]);
        made.link("sys/bus/pci/devices/0000:03:00.0/driver", "../vfio-pci");
        made.link("sys/bus/pci/devices/0000:03:00.1/driver", "../vfio-pci");
        let found = || examine(&made.machine(), &config("0000:03:00.0", "0000:03:00.1", ""));
        let fix = "modprobe vfio enable_unsafe_noiommu_mode=1 && echo 1 > \
                   /sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
        let none = (Warning, "there is no IOMMU", None);
        assert_found(&found(), &[none, none, (Failure, "there is no IOMMU", Some(fix))]);
        made.write("sys/module/vfio/version", "0.3");
        assert_found(&found(), &[none, none, (Failure, "uio_pci_generic", None)]);
        made.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
        assert_found(&found(), &[none, none, (Warning, "write anywhere", None)]);
    }

    #[test]
    fn interfaces_of_the_kernel_are_up_and_take_what_the_link_takes() {
        let made = Made::of(&[
            ("sys/class/net/eth1/flags", "0x1002"),
            ("sys/class/net/eth1/mtu", "1500"),
            ("sys/class/net/eth2/flags", "0x1003"),
            ("sys/class/net/eth2/carrier", "0"),
            ("sys/class/net/eth2/mtu", "9000"),
        ]);
        let between = |inside: &str, outside: &str| {
            let device = |number: u32, name: &str| format!("net_af_packet{number},iface={name}");
            examine(&made.machine(), &config(&device(0, inside), &device(1, outside), "mtu = 9000"))
        };
        assert_found(
            &between("eth1", "eth2"),
            &[
                (Failure, "eth1 is down", Some("ip link set eth1 up")),
                (Failure, "eth1 takes packets of 1500 bytes", Some("ip link set eth1 mtu 9000")),
                (Warning, "eth2 has no link", None),
            ],
        );
        made.write("sys/class/net/eth2/carrier", "1");
        assert_found(&between("eth9", "eth2"), &[(Failure, "no interface eth9", None), (Fine, "eth2 is up", None)]);
    }
}
