//! Huge pages, and how much memory may be pinned.

use super::{Finding, Machine};
use crate::config::{Config, Hugepages};
use crate::host::hugepages::HugePages;
use crate::host::memory::{Layout, Plan};

pub(super) fn examine(machine: &Machine, config: &Config, plan: Plan) -> Vec<Finding> {
    let mut findings = vec![huge_pages(&HugePages::below(&machine.root), config.dpdk.hugepages, plan)];
    findings.extend(pinned(machine, plan));
    findings
}

fn huge_pages(pages: &HugePages, wanted: Hugepages, plan: Plan) -> Finding {
    const CHECK: &str = "huge_pages";
    let needed = plan.memory_mib;
    let is_for_devices = plan.layout == Layout::Dma;
    if wanted == Hugepages::Off {
        return match is_for_devices {
            true => Finding::warning(
                CHECK,
                "`dpdk.hugepages` is \"off\", and a device has to reach the packet buffers: that takes an IOMMU, and is slower",
            ),
            false => Finding::fine(CHECK, "`dpdk.hugepages` is \"off\": ordinary pages"),
        };
    }
    if pages.free_mib() >= u64::from(needed) {
        return Finding::fine(CHECK, format!("{needed} MiB are needed, and there are {pages}"));
    }
    let message = format!("{needed} MiB are needed, and there are {pages}");
    let finding = match (is_for_devices, wanted) {
        (true, _) | (_, Hugepages::On) => Finding::failure(CHECK, message),
        (false, _) => Finding::warning(CHECK, format!("{message}; ordinary pages will do for these devices, slower")),
    };
    match pages.reserve(needed) {
        Some(command) => finding.mended_by(command),
        None => finding,
    }
}

/// Packet buffers are pinned. Root may pin everything.
fn pinned(machine: &Machine, plan: Plan) -> Option<Finding> {
    const CHECK: &str = "memlock";
    let limits = machine.read("/proc/self/limits")?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?.split_whitespace().next()?;
    let status = machine.read("/proc/self/status").unwrap_or_default();
    let is_root = status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    let mib = soft.parse::<u64>().ok().map(|bytes| bytes >> 20);
    match mib {
        Some(mib) if !is_root && mib < u64::from(plan.memory_mib) => Some(Finding::warning(
            CHECK,
            format!(
                "this user may pin {mib} MiB and {} are needed; the packaged unit has LimitMEMLOCK=infinity",
                plan.memory_mib
            ),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level::{Failure, Fine, Warning};
    use super::super::testing::{Made, assert_found, config};
    use super::*;

    fn plan(layout: Layout) -> Plan {
        Plan { mbufs: 8191, room_bytes: 2048, layout, memory_mib: 65 }
    }

    fn machine(total: u32, free: u32, mounts: &str) -> Made {
        let folder = "sys/kernel/mm/hugepages/hugepages-2048kB";
        Made::of(&[
            ("proc/meminfo", "Hugepagesize: 2048 kB\n"),
            ("proc/mounts", mounts),
            (&format!("{folder}/nr_hugepages"), &total.to_string()),
            (&format!("{folder}/free_hugepages"), &free.to_string()),
        ])
    }

    const MOUNT: &str = "hugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n";

    #[test]
    fn pages_that_are_missing_are_reserved_beside_those_that_are_taken() {
        let auto = config("0000:03:00.0", "0000:03:00.1", "");
        let found = |made: &Made, layout| examine(&made.machine(), &auto, plan(layout));
        assert_found(&found(&machine(64, 33, MOUNT), Layout::Dma), &[(Fine, "65 MiB are needed", None)]);
        let reserve = "echo 87 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
        assert_found(&found(&machine(64, 10, MOUNT), Layout::Dma), &[(Failure, "10 of them free", Some(reserve))]);
        assert_found(&found(&machine(64, 10, MOUNT), Layout::Packed), &[(Warning, "will do", Some(reserve))]);
        let mount = "mkdir -p /dev/hugepages && mount -t hugetlbfs -o pagesize=2M none /dev/hugepages && echo 33 > \
                     /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
        assert_found(&found(&machine(0, 0, ""), Layout::Dma), &[(Failure, "not mounted", Some(mount))]);
        assert_found(&found(&Made::of(&[]), Layout::Dma), &[(Failure, "no huge pages in this kernel", None)]);
    }

    #[test]
    fn who_wants_none_is_told_only_where_a_device_needs_them() {
        let off = |layout| huge_pages(&HugePages::default(), Hugepages::Off, plan(layout));
        assert_found(&[off(Layout::Packed), off(Layout::Dma)], &[(Fine, "off", None), (Warning, "IOMMU", None)]);
    }

    #[test]
    fn who_is_not_root_may_pin_too_little() {
        let of = |uid: u32, limit: &str| {
            let made = Made::of(&[
                ("proc/self/status", &format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")),
                (
                    "proc/self/limits",
                    &format!("Limit  Soft\nMax locked memory         {limit}              x  bytes\n"),
                ),
            ]);
            pinned(&made.machine(), plan(Layout::Dma))
        };
        assert_eq!((of(0, "8388608"), of(1000, "unlimited"), of(1000, "68157440")), (None, None, None));
        assert_found(&[of(1000, "8388608").unwrap()], &[(Warning, "may pin 8 MiB and 65 are needed", None)]);
    }
}
