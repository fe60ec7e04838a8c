//! What makes sense together: every fault of a document, not only the first, and what is allowed but should be known.

use std::net::IpAddr;

use super::vlan::{Via, VlanKey, VlanScope};
use super::{Document, LinkSection, Wrong};
use crate::model::{Direction, MacAddr, Mode};
use crate::policy::{Deny, IdentityLevel, PublicIpv4, UNRESTRICTED};
use crate::text::{is_name, plain};

impl Document {
    /// Everything that is wrong; `key` says how a link's section is called.
    pub fn faults(&self, key: impl Fn(&str) -> String) -> Vec<Wrong> {
        let mut faults = Faults::default();
        faults.0.extend(self.classes_and_unknown().err());
        for (name, link) in &self.links {
            faults.link(link, &key(name));
        }
        faults.routers("policy.via", self.policy.via.iter().map(|&mac| Via { mac, vlan: None }));
        if self.policy.directions.is_empty() {
            faults.add(
                "policy.directions",
                "no direction would be judged, so no rule applied; name one, or leave the key out",
            );
        }
        if self.policy.guards.is_some() && self.policy.identity == IdentityLevel::Mail {
            let message = "guards look at frames where `policy.identity` is \"strict\" or \"observe\"; it is \"mail\"";
            faults.add("policy.guards", message);
        }
        let within = |value: u32, key: &str, most: u32| {
            let message = format!("{value} is not from 1 to {most}");
            (!(1..=most).contains(&value)).then(|| Wrong(key.into(), message))
        };
        faults.0.extend(within(self.policy.reject_rate, "policy.reject_rate", 1_000_000));
        faults.0.extend(within(self.policy.reject_burst, "policy.reject_burst", 10_000));
        let mut relays: Vec<&str> = Vec::new();
        for (at, relay) in self.policy.relays.iter().enumerate() {
            if relay.ports.is_empty() {
                faults.add(format!("policy.relay[{at}].ports"), "a relay without ports covers nothing");
            }
            match (&relay.prefix, &relay.vm) {
                (Some(prefix), None) if prefix.trunc() != *prefix => {
                    let message = format!("{prefix} has host bits set; did you mean {}?", prefix.trunc());
                    faults.add(format!("policy.relay[{at}].prefix"), message);
                }
                (Some(_), None) if relay.tenant => {
                    let message = "a tenant is a VM's, so `vm` must say whose; `prefix` has none";
                    faults.add(format!("policy.relay[{at}].tenant"), message);
                }
                (None, Some(id)) if !is_name(id) => {
                    let message = format!("`{}` is no VM's name; use 1 to 64 of A-Z a-z 0-9 . _ : -", plain(id, 80));
                    faults.add(format!("policy.relay[{at}].vm"), message);
                }
                (Some(_), Some(_)) => {
                    faults.add(format!("policy.relay[{at}].vm"), "a relay has a `prefix` or is a `vm`, not both");
                }
                (None, None) => faults.add(format!("policy.relay[{at}].prefix"), "say where it is: `prefix`, or `vm`"),
                (Some(_), None) | (None, Some(_)) => {}
            }
            if relays.contains(&relay.name.as_str()) {
                faults.add(format!("policy.relay[{at}].name"), format!("two relays are called `{}`", relay.name));
            }
            relays.push(&relay.name);
        }
        faults.0
    }

    /// Whether the box or a class rejects.
    pub(super) fn rejects_at_all(&self) -> bool {
        let by_class = self.classes.values().any(|class| class.deny == Some(Deny::Reject));
        by_class || self.policy.deny == Deny::Reject
    }

    /// What is allowed and should be known; `key` says how a link's section is called.
    #[must_use]
    pub fn remarks(&self, key: impl Fn(&str) -> String) -> Vec<Wrong> {
        let mut remarks = Faults::default();
        if self.policy.public_ipv4 == PublicIpv4::Any {
            let message =
                "`any`: a VM whose `public_ipv4` is a private address may send mail; this is for laboratories";
            remarks.add("policy.public_ipv4", message);
        }
        if self.policy.mode == Mode::Monitor {
            remarks.add("policy.mode", "`monitor`: no rule is enforced, what would be denied is only counted");
        }
        for (name, _) in self.classes.iter().filter(|(_, class)| class.mode == Mode::Monitor) {
            let message = "`monitor`: its VMs are denied nothing, what would be is only counted";
            remarks.add(format!("class.{name}.mode"), message);
        }
        if !self.policy.directions.contains(&Direction::Egress) && self.rejects_at_all() {
            let message = "`reject` answers who sends from inside, and `policy.directions` leaves egress out: nothing is answered";
            remarks.add("policy.deny", message);
        }
        if self.policy.unknown_class == UNRESTRICTED {
            let message = "`unrestricted`: whoever the inventory does not know may send mail";
            remarks.add("policy.unknown_class", message);
        }
        match self.policy.identity {
            IdentityLevel::Mail => {}
            IdentityLevel::Observe => {
                let message = "`observe`: who sends under a name that is not his is only counted (would_deny)";
                remarks.add("policy.identity", message);
            }
            IdentityLevel::Strict if self.policy.unknown_class == UNRESTRICTED => {
                let message = "`strict` with `policy.unknown_class` `unrestricted`: who takes a MAC and an address that nobody \
                               lists is not held to any rule";
                remarks.add("policy.identity", message);
            }
            IdentityLevel::Strict => {}
        }
        for (name, link) in &self.links {
            if !link.protect.is_empty() && self.policy.identity == IdentityLevel::Mail {
                let message = "nothing is protected while `policy.identity` is \"mail\"";
                remarks.add(format!("{}.protect", key(name)), message);
            }
            if !link.scopes.is_empty() && !link.scopes.contains_key(&VlanKey::Rest) {
                let message = "VLANs that are not listed are scope 0, which a VM on a trunk may choose; say \"*\" = \"refuse\", \
                               or \"*\" = 0 if that is meant";
                remarks.add(format!("{}.scopes", key(name)), message);
            }
        }
        remarks.0
    }
}

/// Whether a station of a link may have this address.
fn is_station(address: IpAddr) -> bool {
    let is_reserved = matches!(address, IpAddr::V4(address) if address.octets()[0] == 0 || address.octets()[0] >= 240);
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_reserved)
}

#[derive(Default)]
struct Faults(Vec<Wrong>);

impl Faults {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Wrong(key.into(), message.into()));
    }

    fn link(&mut self, link: &LinkSection, key: &str) {
        self.routers(&format!("{key}.via"), link.via.iter().copied());
        self.protected(&format!("{key}.protect"), &link.protect);
        let sources = [link.reject_ipv4.map(IpAddr::V4), link.reject_ipv6.map(IpAddr::V6)];
        for (name, address) in ["reject_ipv4", "reject_ipv6"].into_iter().zip(sources) {
            if let Some(address) = address.filter(|&address| !is_station(address)) {
                self.add(format!("{key}.{name}"), format!("{address} is no station's address"));
            }
        }
        // Untagged frames are let through without a look at the link's VLANs.
        if link.scopes.get(&VlanKey::Vlan(0)) == Some(&VlanScope::Refuse) {
            self.add(format!("{key}.scopes"), "\"0\": untagged frames cannot be refused");
        }
    }

    /// Each once, and each a station's that may be asked for.
    fn protected(&mut self, key: &str, addresses: &[IpAddr]) {
        let mut seen = Vec::new();
        for &address in addresses {
            if !is_station(address) {
                self.add(key, format!("{address} is no station's address"));
            }
            if seen.contains(&address) {
                self.add(key, format!("{address} is listed twice"));
            }
            seen.push(address);
        }
    }

    /// Each once, and each a station's.
    fn routers(&mut self, key: &str, routers: impl Iterator<Item = Via>) {
        let mut seen = Vec::new();
        for router in routers {
            let Via { mac, vlan } = router;
            if mac.is_group() {
                self.add(key, format!("{mac} is a group address; a router has one of its own"));
            }
            if mac == MacAddr([0; 6]) {
                self.add(key, format!("{mac} is nobody's address; a router has one of its own"));
            }
            if let Some(vlan) = vlan.filter(|vlan| !(1..=4095).contains(vlan)) {
                self.add(key, format!("{vlan} is not a VLAN id from 1 to 4095; leave `vlan` out for all of them"));
            }
            if seen.contains(&router) {
                self.add(key, format!("{mac} is listed twice"));
            }
            seen.push(router);
        }
    }
}
