//! What of a configuration changes while the box runs, and what only a restart changes.

use super::Config;

impl Config {
    /// The keys that are other in `new` and need a restart; policy is not among them.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        let mut compare = |key: String, same: bool| {
            if !same {
                keys.push(key);
            }
        };
        let (was, is) = (&self.dpdk, &new.dpdk);
        compare("dpdk.cores".into(), was.cores == is.cores);
        compare("dpdk.main_core".into(), was.main_core == is.main_core);
        compare("dpdk.hugepages".into(), was.hugepages == is.hugepages);
        compare("dpdk.mbufs".into(), was.mbufs == is.mbufs);
        compare("dpdk.memory_mib".into(), was.memory_mib == is.memory_mib);
        compare("dpdk.file_prefix".into(), was.file_prefix == is.file_prefix);
        compare("dpdk.extra_args".into(), was.extra_args == is.extra_args);
        compare("table.vms".into(), self.table.vms == new.table.vms);
        compare("table.keys".into(), self.table.keys == new.table.keys);
        compare("control.socket".into(), self.control.socket == new.control.socket);
        let (was, is) = (&self.control, &new.control);
        let key = "control.sync_remove_max_percent";
        compare(key.into(), was.sync_remove_max_percent == is.sync_remove_max_percent);
        compare("control.roles".into(), was.roles == is.roles);
        compare("control.audit".into(), was.audit == is.audit);
        compare("store.path".into(), self.store.path == new.store.path);
        compare("metrics.listen".into(), self.metrics.listen == new.metrics.listen);
        compare("metrics.vms".into(), self.metrics.vms == new.metrics.vms);
        // Links are told apart by their place: it is in the statistics and in the snapshot.
        if self.link_names() != new.link_names() {
            compare("link".into(), false);
            return keys;
        }
        for (at, (was, is)) in self.links.iter().zip(&new.links).enumerate() {
            let mut compare = |field: &str, same| compare(format!("link[{at}].{field}"), same);
            compare("inside", was.inside == is.inside);
            compare("outside", was.outside == is.outside);
            compare("queues", was.queues == is.queues);
            compare("mtu", was.mtu == is.mtu);
            compare("rx_descriptors", was.rx_descriptors == is.rx_descriptors);
            compare("tx_descriptors", was.tx_descriptors == is.tx_descriptors);
            compare("link_propagation", was.link_propagation == is.link_propagation);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("portcullis.toml")).unwrap()
    }

    #[test]
    fn policy_changes_in_flight_and_everything_else_by_a_restart() {
        let link = "[[link]]\nname = \"a\"\ninside = \"net_null0\"\noutside = \"net_null1\"\n";
        let running = parse(link);
        let policy = "[policy]\nmode = \"monitor\"\nvia = [\"02:00:00:00:00:01\"]\n[class.x]\nports = [1]\n";
        let more = "via = [\"02:00:00:00:00:02\"]\nscopes = { \"*\" = \"refuse\" }\n";
        assert_eq!(running.needs_restart(&parse(&format!("{policy}{link}{more}"))), [""; 0]);
        for (text, keys) in [
            (format!("{link}mtu = 9000\nqueues = 1"), vec!["link[0].queues", "link[0].mtu"]),
            (link.replace("net_null1", "net_null2"), vec!["link[0].outside"]),
            (
                format!("{link}rx_descriptors = 512\ntx_descriptors = 512\nlink_propagation = false"),
                vec!["link[0].rx_descriptors", "link[0].tx_descriptors", "link[0].link_propagation"],
            ),
            (link.replace("net_null0", "net_null2"), vec!["link[0].inside"]),
            (link.replace("\"a\"", "\"b\""), vec!["link"]),
            (String::new(), vec!["link"]),
            (
                format!(
                    "[dpdk]\ncores = \"1\"\nmain_core = 0\nhugepages = \"off\"\nmbufs = 9000\nmemory_mib = 300\n\
                     file_prefix = \"x\"\nextra_args = [\"--no-pci\"]\n{link}"
                ),
                vec![
                    "dpdk.cores",
                    "dpdk.main_core",
                    "dpdk.hugepages",
                    "dpdk.mbufs",
                    "dpdk.memory_mib",
                    "dpdk.file_prefix",
                    "dpdk.extra_args",
                ],
            ),
            (
                format!(
                    "[table]\nvms = 5\nkeys = 5\n[control]\nsocket = \"/x\"\nsync_remove_max_percent = 5\naudit = \"/z\"\nroles = {{ read = [\"*\"] }}\n[store]\npath = \"/y\"\n[metrics]\nlisten = [\"[::1]:1\"]\nvms = 5\n{link}"
                ),
                vec![
                    "table.vms",
                    "table.keys",
                    "control.socket",
                    "control.sync_remove_max_percent",
                    "control.roles",
                    "control.audit",
                    "store.path",
                    "metrics.listen",
                    "metrics.vms",
                ],
            ),
        ] {
            assert_eq!(running.needs_restart(&parse(&text)), keys, "{text}");
        }
    }
}
