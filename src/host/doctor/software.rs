//! Whether DPDK's libraries that a start loads are there.

use super::{Finding, Machine};
use crate::config::{Config, Device};

/// Where distributions keep them: `/usr/lib/TRIPLET/dpdk/pmds-ABI`, `/usr/lib64/dpdk/...`, `/usr/local/...`.
const PLACES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"];

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    const CHECK: &str = "libraries";
    let libraries = libraries(machine);
    if libraries.is_empty() {
        // It may be built in; the start says so if not.
        return Vec::new();
    }
    let has = |name: &str| libraries.iter().any(|library| library.starts_with(&format!("librte_{name}.so")));
    let mut findings = Vec::new();
    let mut lacking: Vec<String> = Vec::new();
    for device in config.links.iter().flat_map(|link| [&link.inside, &link.outside]) {
        let Device::Virtual { name, .. } = device else { continue };
        let driver = name.trim_end_matches(|c: char| c.is_ascii_digit());
        if !has(driver) && !lacking.iter().any(|other| other == driver) {
            lacking.push(driver.to_owned());
        }
    }
    for driver in &lacking {
        let package = format!("librte-{}", driver.replace('_', "-"));
        let message = format!("DPDK's driver {driver} is not installed (librte_{driver}.so; Debian: {package}...)");
        findings.push(
            Finding::failure(CHECK, message).mended_by("apt-get install --no-install-recommends librte-meta-net"),
        );
    }
    if !has("mempool_ring") {
        let message = "DPDK's driver mempool_ring is not installed: there would be no packet buffers";
        findings.push(
            Finding::failure(CHECK, message).mended_by("apt-get install --no-install-recommends librte-meta-mempool"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::fine(CHECK, "DPDK's drivers are installed"));
    }
    findings
}

/// Names of files in the folders that DPDK loads drivers from.
fn libraries(machine: &Machine) -> Vec<String> {
    let mut libraries = Vec::new();
    for place in PLACES {
        let below = machine.names(place).into_iter().map(|name| format!("{place}/{name}"));
        for folder in std::iter::once(place.to_owned()).chain(below) {
            let dpdk = format!("{folder}/dpdk");
            for pmds in machine.names(&dpdk).iter().filter(|name| name.starts_with("pmds-")) {
                libraries.extend(machine.names(format!("{dpdk}/{pmds}")));
            }
        }
    }
    libraries
}

#[cfg(test)]
mod tests {
    use super::super::Level::{Failure, Fine};
    use super::super::testing::{Made, assert_found, config};
    use super::*;

    const PMDS: &str = "usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0";

    #[test]
    fn a_driver_that_is_not_there_is_named_with_its_package() {
        let config = config("net_af_packet0,iface=eth1", "net_af_packet1,iface=eth2", "");
        let found = |libraries: &[&str]| {
            let made = Made::of(&[]);
            libraries.iter().for_each(|name| made.write(&format!("{PMDS}/{name}"), ""));
            examine(&made.machine(), &config)
        };
        let all = ["librte_net_af_packet.so.23", "librte_mempool_ring.so.23"];
        assert_found(&found(&all), &[(Fine, "are installed", None)]);
        assert_found(&found(&[]), &[]);
        let net = Some("apt-get install --no-install-recommends librte-meta-net");
        let mempool = Some("apt-get install --no-install-recommends librte-meta-mempool");
        let lacks_both = [(Failure, "librte-net-af-packet", net), (Failure, "no packet buffers", mempool)];
        assert_found(&found(&["librte_net_af_xdp.so.23"]), &lacks_both);
    }
}
