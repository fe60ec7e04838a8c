//! The policy as people and programs write it: what the configuration file says of it, and what `policy.set` takes.
//!
//! A [`Document`] and [`Settings`] say the same, the one in names and lists, the other as workers need it; either is made of
//! the other. So there is one truth at a time, and what is asked for is what is in force.

mod check;
mod sections;
mod vlan;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::sections::{ClassSection, LinkSection, PolicySection, RelaySection};
pub use self::vlan::{Via, VlanKey, VlanScope};
use super::{Class, Classes, Guards, Origin, RESTRICTED, RejectRate, Relay, RelayAt, Routers, Settings, UNRESTRICTED};
use crate::model::{ClassId, Direction};
use crate::text::did_you_mean;

/// Everything that decides beside the VMs. What is left out has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// What holds for the whole box.
    pub policy: PolicySection,
    /// Named sets of closed ports.
    #[serde(rename = "class")]
    pub classes: BTreeMap<String, ClassSection>,
    /// VLANs and routers of a link, by its name.
    #[serde(rename = "link")]
    pub links: BTreeMap<String, LinkSection>,
}

/// A key, and what is wrong with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String, pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

impl std::error::Error for Wrong {}

pub(super) fn wrong<T>(key: impl Into<String>, message: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(key.into(), message.into()))
}

impl Document {
    /// What these settings say.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let own = settings.classes.iter().filter(|class| class.name != UNRESTRICTED);
        let class = |class: &Class| ClassSection { ports: class.ports.ranges(), mode: class.mode, deny: class.deny };
        let relay = |relay: &Relay| RelaySection {
            name: relay.name.clone(),
            prefix: match relay.at {
                RelayAt::Prefix(prefix) => Some(prefix),
                RelayAt::Vm { .. } => None,
            },
            vm: match &relay.at {
                RelayAt::Prefix(_) => None,
                RelayAt::Vm { id, .. } => Some(id.clone()),
            },
            tenant: matches!(relay.at, RelayAt::Vm { tenant: true, .. }),
            ports: relay.ports.ranges(),
        };
        let links = settings.links.iter().enumerate().map(|(at, name)| (name.clone(), LinkSection::of(settings, at)));
        Self {
            policy: PolicySection {
                directions: Direction::ALL.into_iter().filter(|&direction| settings.judges(direction)).collect(),
                unknown_class: settings.classes.get(settings.unknown_class).name.clone(),
                identity: settings.identity,
                deny: settings.deny,
                reject_rate: settings.reject_rate.per_second,
                reject_burst: settings.reject_rate.burst,
                guards: (settings.guards != Guards::default()).then(|| settings.guards.iter().collect()),
                mode: settings.mode,
                public_ipv4: settings.public_ipv4,
                via: settings.via.everywhere().to_vec(),
                relays: settings.relays.iter().map(relay).collect(),
            },
            classes: own.map(|own| (own.name.clone(), class(own))).collect(),
            links: links.filter(|(_, link)| *link != LinkSection::default()).collect(),
        }
    }

    /// What workers need of it, on a box with these links.
    ///
    /// # Errors
    /// Everything that cannot be.
    pub fn settings(&self, links: &[String]) -> Result<Settings, Vec<Wrong>> {
        let mut faults = self.faults(|name| format!("link.{name}"));
        for name in self.links.keys().filter(|name| !links.contains(name)) {
            let known = did_you_mean(name, links.iter().map(String::as_str));
            let message = format!("there is no such link{known}; links change by a restart");
            faults.push(Wrong(format!("link.{name}"), message));
        }
        match self.classes_and_unknown() {
            Ok((classes, unknown_class)) if faults.is_empty() => {
                Ok(self.settings_of(classes, unknown_class, links.to_vec()))
            }
            _ => Err(faults),
        }
    }

    fn settings_of(&self, classes: Classes, unknown_class: ClassId, links: Vec<String>) -> Settings {
        let of_link = |name: &String| self.links.get(name).cloned().unwrap_or_default();
        let sections: Vec<LinkSection> = links.iter().map(of_link).collect();
        let relay = |RelaySection { name, prefix, vm, tenant, ports }: &RelaySection| {
            let at = match (prefix, vm) {
                (Some(prefix), _) => RelayAt::Prefix(*prefix),
                (None, Some(id)) => RelayAt::Vm { id: id.clone(), tenant: *tenant },
                (None, None) => return None, // Which is a fault.
            };
            Some(Relay { name: name.clone(), at, ports: ports.iter().copied().collect() })
        };
        Settings {
            classes,
            unknown_class,
            identity: self.policy.identity,
            deny: self.policy.deny,
            rejects_at_all: self.rejects_at_all(),
            reject_rate: RejectRate { per_second: self.policy.reject_rate, burst: self.policy.reject_burst },
            refusal_sources: sections.iter().map(LinkSection::refusal_sources).collect(),
            guards: self.policy.guards.clone().map_or_else(Guards::default, Guards::from_iter),
            protect: sections.iter().map(|section| section.protect.clone()).collect(),
            mode: self.policy.mode,
            public_ipv4: self.policy.public_ipv4,
            judge_egress: self.policy.directions.contains(&Direction::Egress),
            judge_ingress: self.policy.directions.contains(&Direction::Ingress),
            via: Routers::new(self.policy.via.clone(), sections.iter().map(LinkSection::routers).collect()),
            relays: self.policy.relays.iter().filter_map(relay).collect(),
            scopes: sections.iter().map(LinkSection::vlan_scopes).collect(),
            links,
            origin: Origin::Configuration,
        }
    }

    /// The classes, and the number of the one of unknown frames.
    fn classes_and_unknown(&self) -> Result<(Classes, ClassId), Wrong> {
        let class = |name: &str, section: &ClassSection| Class {
            name: name.into(),
            ports: section.ports.iter().copied().collect(),
            mode: section.mode,
            deny: section.deny,
        };
        let restricted = match self.classes.get(RESTRICTED) {
            Some(section) => class(RESTRICTED, section),
            None => Classes::default().get(ClassId::RESTRICTED).clone(),
        };
        if self.classes.contains_key(UNRESTRICTED) {
            return wrong("class.unrestricted", "the built-in class closes no port and cannot be changed; add another");
        }
        for name in self.classes.keys() {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
                return wrong(format!("class.{name}"), "a class's name has 1 to 64 of A-Z a-z 0-9 . _ -");
            }
        }
        let own = self.classes.iter().filter(|(name, _)| *name != RESTRICTED);
        let classes = Classes::new(restricted, own.map(|(name, section)| class(name, section)))
            .map_err(|error| Wrong("class".into(), error.to_string()))?;
        match classes.find(&self.policy.unknown_class) {
            Some(unknown_class) => Ok((classes, unknown_class)),
            None => {
                let message = format!(
                    "there is no class `{}`{}",
                    self.policy.unknown_class,
                    did_you_mean(&self.policy.unknown_class, classes.iter().map(|class| class.name.as_str()))
                );
                wrong("policy.unknown_class", message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = r#"{
        "policy": {"identity": "strict", "guards": ["arp", "nd"], "deny": "reject", "reject_rate": 7, "reject_burst": 3, "directions": ["egress"], "unknown_class": "games", "mode": "monitor",
            "public_ipv4": "any", "via": ["02:00:00:00:00:01"],
            "relay": [{"name": "smarthost", "prefix": "198.51.100.25/32", "ports": [25, "587-588"]}]},
        "class": {"restricted": {"ports": [25], "mode": "enforce"}, "games": {"ports": ["2000-2010"], "mode": "monitor", "deny": "drop"}},
        "link": {"uplink": {"scopes": {"0": 3, "100": 1, "200": "refuse", "*": "refuse"},
            "via": ["02:00:00:00:00:02", {"mac": "02:00:00:00:00:03", "vlan": 100}], "protect": ["192.0.2.1", "fe80::1"], "reject_ipv4": "192.0.2.254", "reject_ipv6": "2001:db8::fe"}}
    }"#;

    fn links() -> Vec<String> {
        vec!["other".into(), "uplink".into()]
    }

    #[test]
    fn a_document_and_its_settings_say_the_same() {
        let document: Document = serde_json::from_str(ALL).unwrap();
        let settings = document.settings(&links()).unwrap();
        assert_eq!(Document::of(&settings), document);
        assert_eq!(Document::of(&settings).settings(&links()).unwrap(), settings);
        let json = serde_json::to_value(&document).unwrap();
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(ALL).unwrap(), "it is written as it is read");
        let toml = toml::to_string(&document).unwrap();
        assert_eq!(toml::from_str::<Document>(&toml).unwrap(), document, "{toml}");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings = Document::default().settings(&[]).unwrap();
        assert_eq!(settings, Settings::default());
        let restricted = ClassSection { ports: [25, 465, 587].map(Into::into).to_vec(), ..ClassSection::default() };
        let classes = [(RESTRICTED.to_owned(), restricted)].into();
        assert_eq!(Document::of(&settings), Document { classes, ..Document::default() });
    }

    #[test]
    fn every_fault_is_named_by_its_key() {
        let document: Document = serde_json::from_str(
            r#"{"policy": {"unknown_class": "gone", "directions": [], "via": ["01:00:00:00:00:01"],
                    "relay": [{"name": "a", "prefix": "10.0.0.1/8", "ports": []}, {"name": "a", "prefix": "10.0.0.1", "ports": [25]}]},
                "link": {"uplnik": {}, "uplink": {"scopes": {"0": "refuse"}, "via": [{"mac": "02:00:00:00:00:03", "vlan": 0}]}}}"#,
        )
        .unwrap();
        let faults = document.settings(&links()).unwrap_err();
        let keys: Vec<&str> = faults.iter().map(|fault| fault.0.as_str()).collect();
        assert_eq!(
            keys,
            [
                "policy.unknown_class",
                "link.uplink.via",
                "link.uplink.scopes",
                "policy.via",
                "policy.directions",
                "policy.relay[0].ports",
                "policy.relay[0].prefix",
                "policy.relay[1].name",
                "link.uplnik"
            ]
        );
        assert!(faults.last().unwrap().1.contains("did you mean `uplink`?"), "{faults:?}");
    }
}
