//! What makes sense together: every fault of a file, not only the first.

use std::collections::BTreeMap;

use super::device::{End, Use};
use super::{Config, Link, Listen};
use crate::policy::document::Wrong;

impl Config {
    /// Everything that is wrong, in the order of the file.
    pub(super) fn faults(&self) -> Vec<Wrong> {
        let mut faults = Faults::default();
        let section = |name: &str| self.section(name);
        faults.0.extend(self.document().faults(section));
        let mut names: Vec<&str> = Vec::new();
        let mut devices: BTreeMap<&str, String> = BTreeMap::new();
        let mut ends: Vec<(End, String)> = Vec::new();
        for (at, link) in self.links.iter().enumerate() {
            let key = |field: &str| format!("link[{at}].{field}");
            faults.numbers(link, key);
            if names.contains(&link.name.as_str()) {
                faults.add(key("name"), format!("two links are called `{}`", link.name));
            }
            names.push(&link.name);
            for (field, device) in [("inside", &link.inside), ("outside", &link.outside)] {
                if let Some(other) = devices.insert(device.name(), key(field)) {
                    let message = format!("`{}` is also {other}; each port needs a device of its own", device.name());
                    faults.add(key(field), message);
                }
                for end in device.ends() {
                    for (_, other) in ends.iter().filter(|(there, whose)| clash(&end, there, *whose == key(field))) {
                        faults.add(key(field), shared(&end, other, *other == key(field)));
                    }
                    ends.push((end, key(field)));
                }
            }
        }
        for (key, number) in [("table.vms", self.table.vms), ("table.keys", self.table.keys)] {
            faults.within(key, number, 1, 1 << 28, "");
        }
        let percent = u32::from(self.control.sync_remove_max_percent);
        faults.within("control.sync_remove_max_percent", percent, 0, 100, "");
        if self.dpdk.file_prefix.is_empty() || self.dpdk.file_prefix.contains(['/', '%', ' ']) {
            faults.add("dpdk.file_prefix", "a name without `/`, `%` and blanks is needed");
        }
        let mut taken = vec![&self.control.socket];
        for (key, path) in [("store.path", &self.store.path), ("control.audit", &self.control.audit)] {
            let Some(path) = path else { continue };
            if path.file_name().is_none() || taken.contains(&path) {
                faults.add(key, format!("`{}` is no name for a file of its own", path.display()));
            }
            taken.push(path);
        }
        for (at, end) in self.metrics.listen.iter().enumerate() {
            let key = format!("metrics.listen[{at}]");
            if self.metrics.listen.iter().take(at).any(|other| other == end) {
                faults.add(key, format!("{end} stands there twice"));
            } else if let Listen::Unix(path) = end
                && (path.file_name().is_none() || taken.contains(&path))
            {
                faults.add(key, format!("`{end}` is no name for a socket of its own"));
            }
        }
        faults.0
    }

    /// What is allowed, and for a laboratory: said wherever a configuration is looked at.
    #[must_use]
    pub fn remarks(&self) -> Vec<Wrong> {
        self.document().remarks(|name| self.section(name))
    }

    /// How the section of a link is called in the file.
    fn section(&self, link: &str) -> String {
        format!("link[{}]", self.links.iter().position(|other| other.name == link).unwrap_or(0))
    }
}

#[derive(Default)]
struct Faults(Vec<Wrong>);

impl Faults {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Wrong(key.into(), message.into()));
    }

    fn within(&mut self, key: impl Into<String>, number: u32, least: u32, most: u32, unit: &str) {
        if !(least..=most).contains(&number) {
            self.add(key, format!("{number} is not between {least} and {most}{unit}"));
        }
    }

    /// What a link can have wrong without another.
    fn numbers(&mut self, link: &Link, key: impl Fn(&str) -> String) {
        if link.name.is_empty() || link.name.len() > 64 {
            self.add(key("name"), "a link's name has 1 to 64 characters");
        }
        if link.queues == Some(0) {
            self.add(key("queues"), "a port needs at least one queue");
        }
        self.within(key("mtu"), link.mtu.into(), 68, 9600, " bytes");
        self.within(key("rx_descriptors"), link.rx_descriptors.into(), 32, 16384, "");
        self.within(key("tx_descriptors"), link.tx_descriptors.into(), 32, 16384, "");
    }
}

/// Whether two ends cannot be beside each other. One device may send where it receives, but into no file that it reads.
fn clash(one: &End, other: &End, same_device: bool) -> bool {
    match (one, other) {
        (End::Interface(one), End::Interface(other)) => one == other && !same_device,
        (End::File(one, use_of_one), End::File(other, use_of_other)) => {
            one == other && (*use_of_one, *use_of_other) != (Use::Read, Use::Read)
        }
        _ => false,
    }
}

fn shared(end: &End, other: &str, same_device: bool) -> String {
    let other = if same_device { "the same port" } else { other };
    match end {
        End::Interface(name) => {
            format!("kernel interface `{name}` is also {other}'s; what leaves by one port would come in by the other")
        }
        End::File(path, Use::Read) => format!("{other} writes `{}`, which is read here", path.display()),
        End::File(path, Use::Written) => {
            format!("`{}` is also {other}'s; a file that is written needs to be nobody else's", path.display())
        }
    }
}
