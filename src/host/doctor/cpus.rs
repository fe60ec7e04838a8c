//! Whether the workers have their CPUs to themselves, at full speed, and near their devices.

use super::{Finding, Machine};
use crate::config::{Config, Device};
use crate::host::cores::{Cores, parse, ranges};

pub(super) fn examine(machine: &Machine, config: &Config, cores: &Cores) -> Vec<Finding> {
    let all =
        [isolated(machine, cores), siblings(machine, cores), governor(machine, cores), interrupts(machine, cores)];
    all.into_iter().flatten().chain(distance(machine, config, cores)).collect()
}

/// CPUs in the file of a list; none if it is not there or empty.
fn listed(machine: &Machine, path: &str) -> Vec<u32> {
    machine.read(path).and_then(|text| parse(&text).ok()).unwrap_or_default()
}

fn isolated(machine: &Machine, cores: &Cores) -> Option<Finding> {
    const CHECK: &str = "isolated_cpus";
    let isolated = listed(machine, "/sys/devices/system/cpu/isolated");
    let shared: Vec<u32> = cores.workers.iter().copied().filter(|cpu| !isolated.contains(cpu)).collect();
    let workers = ranges(&cores.workers);
    Some(match shared.is_empty() {
        true => Finding::fine(CHECK, format!("the kernel leaves CPUs {workers} to the workers")),
        false => Finding::warning(
            CHECK,
            format!(
                "the kernel runs other programs on CPUs {}, where workers poll: they take a worker's time, and frames wait. \
                 Add `isolcpus={workers} nohz_full={workers} rcu_nocbs={workers}` to the kernel's command line",
                ranges(&shared)
            ),
        ),
    })
}

fn siblings(machine: &Machine, cores: &Cores) -> Option<Finding> {
    const CHECK: &str = "smt_siblings";
    let siblings =
        |cpu: u32| listed(machine, &format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    let shares = |&&cpu: &&u32| {
        siblings(cpu).iter().any(|other| *other != cpu && (cores.workers.contains(other) || *other == cores.main))
    };
    let sharing: Vec<u32> = cores.workers.iter().filter(shares).copied().collect();
    if cores.workers.iter().all(|&cpu| siblings(cpu).is_empty()) {
        return None;
    }
    Some(match sharing.is_empty() {
        true => Finding::fine(CHECK, "no worker shares a core with another worker or with the main lcore"),
        false => Finding::warning(
            CHECK,
            format!(
                "CPUs {} share a core with another worker or with the main lcore, and half of its speed; choose one CPU of \
                 each core for `dpdk.cores`",
                ranges(&sharing)
            ),
        ),
    })
}

fn governor(machine: &Machine, cores: &Cores) -> Option<Finding> {
    const CHECK: &str = "governor";
    let path = |cpu: u32| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    let governors: Vec<(u32, String)> =
        cores.workers.iter().filter_map(|&cpu| Some((cpu, machine.read(path(cpu))?))).collect();
    let slow: Vec<u32> = governors.iter().filter(|(_, name)| name != "performance").map(|&(cpu, _)| cpu).collect();
    let (_, name) = governors.iter().find(|(_, name)| name != "performance").or(governors.first())?;
    Some(match slow.is_empty() {
        true => Finding::fine(CHECK, "the workers' CPUs run at full speed (performance)"),
        false => {
            Finding::warning(CHECK, format!("CPUs {} change their speed (`{name}`)", ranges(&slow))).mended_by(format!(
                "for cpu in {}; do echo performance > /sys/devices/system/cpu/cpu$cpu/cpufreq/scaling_governor; done",
                words(&slow)
            ))
        }
    })
}

/// Interrupts of devices that arrive at a worker's CPU.
fn interrupts(machine: &Machine, cores: &Cores) -> Option<Finding> {
    const CHECK: &str = "interrupts";
    let lands_on = |number: &str| {
        let effective = listed(machine, &format!("/proc/irq/{number}/effective_affinity_list"));
        match effective.is_empty() {
            true => listed(machine, &format!("/proc/irq/{number}/smp_affinity_list")),
            false => effective,
        }
    };
    // One that somebody handles has a folder with the handler's name.
    let is_used = |number: &str| {
        let folder = format!("/proc/irq/{number}");
        machine.names(&folder).iter().any(|name| machine.at(format!("{folder}/{name}")).is_dir())
    };
    let numbers: Vec<String> =
        machine.names("/proc/irq").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect();
    if numbers.is_empty() {
        return None;
    }
    let mut on_workers: Vec<u32> = numbers
        .iter()
        .filter(|number| is_used(number) && lands_on(number).iter().any(|cpu| cores.workers.contains(cpu)))
        .filter_map(|number| number.parse().ok())
        .collect();
    on_workers.sort_unstable();
    let others: Vec<u32> = cores.others.iter().copied().filter(|cpu| !cores.workers.contains(cpu)).collect();
    if on_workers.is_empty() {
        return Some(Finding::fine(CHECK, "no device interrupts a worker"));
    }
    let message = format!(
        "{} interrupts arrive at workers' CPUs: {}. irqbalance moves them back unless it is told otherwise \
         (IRQBALANCE_BANNED_CPULIST)",
        on_workers.len(),
        ranges(&on_workers)
    );
    let finding = Finding::warning(CHECK, message);
    // Some cannot be moved; the others shall be all the same.
    Some(match others.is_empty() {
        true => finding,
        false => finding.mended_by(format!(
            "for irq in {}; do echo {} > /proc/irq/$irq/smp_affinity_list || true; done",
            words(&on_workers),
            ranges(&others)
        )),
    })
}

/// Devices whose memory is far from a worker.
fn distance(machine: &Machine, config: &Config, cores: &Cores) -> Vec<Finding> {
    const CHECK: &str = "numa";
    let node_of_cpu = |cpu: u32| {
        let names = machine.names(format!("/sys/devices/system/cpu/cpu{cpu}"));
        names.iter().find_map(|name| name.strip_prefix("node")?.parse::<i32>().ok())
    };
    let devices = config.links.iter().flat_map(|link| [&link.inside, &link.outside]);
    let far = |device: &Device| {
        let Device::Pci { name, .. } = device else { return None };
        let node = machine.read(format!("/sys/bus/pci/devices/{name}/numa_node"))?.parse::<i32>().ok()?;
        let far: Vec<u32> = cores
            .workers
            .iter()
            .copied()
            .filter(|&cpu| node >= 0 && node_of_cpu(cpu).is_some_and(|of_cpu| of_cpu != node))
            .collect();
        (!far.is_empty()).then(|| {
            let message = format!(
                "{name} is at NUMA node {node}, and workers on CPUs {} are at another: every frame crosses over; choose CPUs \
                 of node {node} for `dpdk.cores`",
                ranges(&far)
            );
            Finding::warning(CHECK, message)
        })
    };
    devices.filter_map(far).collect()
}

fn words(numbers: &[u32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::Level::{Fine, Warning};
    use super::super::testing::{Made, assert_found, config};
    use super::*;

    fn cores() -> Cores {
        Cores { main: 0, workers: vec![1, 2], others: vec![0, 3] }
    }

    #[test]
    fn a_machine_that_is_set_up_is_fine() {
        let made = Made::of(&[
            ("sys/devices/system/cpu/isolated", "1-2\n"),
            ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,5"),
            ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,6"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance"),
            ("sys/devices/system/cpu/cpu1/node0/x", ""),
            ("sys/bus/pci/devices/0000:03:00.0/numa_node", "0"),
            ("sys/bus/pci/devices/0000:03:00.1/numa_node", "-1"),
            ("proc/irq/24/effective_affinity_list", "0"),
            ("proc/irq/24/eth0/x", ""),
            // Nobody handles it.
            ("proc/irq/25/effective_affinity_list", "1"),
        ]);
        let found = examine(&made.machine(), &config("0000:03:00.0", "0000:03:00.1", ""), &cores());
        let fine = ["leaves CPUs 1-2", "no worker shares", "full speed", "no device interrupts"];
        assert_found(&found, &fine.map(|words| (Fine, words, None)));
    }

    #[test]
    fn what_takes_time_from_workers_is_found() {
        let made = Made::of(&[
            ("sys/devices/system/cpu/isolated", "\n"),
            ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1"),
            ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2-3"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance"),
            ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "schedutil"),
            ("sys/devices/system/cpu/cpu1/node0/x", ""),
            ("sys/devices/system/cpu/cpu2/node1/x", ""),
            ("sys/bus/pci/devices/0000:03:00.0/numa_node", "0"),
            ("proc/irq/9/smp_affinity_list", "0-3"),
            ("proc/irq/9/acpi/x", ""),
            ("proc/irq/24/effective_affinity_list", "2"),
            ("proc/irq/24/eth0/x", ""),
        ]);
        let found = examine(&made.machine(), &config("0000:03:00.0", "0000:03:00.1", ""), &cores());
        assert_found(
            &found,
            &[
                (Warning, "isolcpus=1-2", None),
                (Warning, "CPUs 1 share a core", None),
                (
                    Warning,
                    "CPUs 2 change their speed (`schedutil`)",
                    Some(
                        "for cpu in 2; do echo performance > /sys/devices/system/cpu/cpu$cpu/cpufreq/scaling_governor; done",
                    ),
                ),
                (
                    Warning,
                    "2 interrupts arrive at workers' CPUs: 9,24",
                    Some("for irq in 9 24; do echo 0,3 > /proc/irq/$irq/smp_affinity_list || true; done"),
                ),
                (Warning, "0000:03:00.0 is at NUMA node 0, and workers on CPUs 2", None),
            ],
        );
    }
}
