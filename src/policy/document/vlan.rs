//! What is said of a link's VLANs: their scopes, and the routers in them.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::LinkSection;
use crate::model::{LinkIndex, MacAddr, Scope, VlanId};
use crate::packet::RefusalSources;
use crate::policy::{LinkRouter, Settings, VlanScopes};

/// A VLAN as a key of `scopes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum VlanKey {
    /// One, or `0` for untagged frames.
    Vlan(u16),
    /// `*`: those from 1 to 4095 that are not listed.
    Rest,
}

impl TryFrom<String> for VlanKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Rest);
        }
        match text.parse::<u16>() {
            // Written in one way only: "0100" would be a second key for VLAN 100.
            Ok(id) if id <= 4095 && id.to_string() == text => Ok(Self::Vlan(id)),
            _ => Err(format!(
                "`{text}` is not a VLAN id; write \"1\" to \"4095\", \"0\" for untagged frames, or \"*\" for VLANs that are not \
                 listed"
            )),
        }
    }
}

impl From<VlanKey> for String {
    fn from(key: VlanKey) -> Self {
        match key {
            VlanKey::Vlan(id) => id.to_string(),
            VlanKey::Rest => "*".into(),
        }
    }
}

/// What becomes of a VLAN's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanScope {
    /// They are looked up in a scope.
    Scope(Scope),
    /// They are dropped.
    Refuse,
}

impl VlanScope {
    fn scope(self) -> Option<Scope> {
        match self {
            Self::Scope(scope) => Some(scope),
            Self::Refuse => None,
        }
    }
}

impl From<Option<Scope>> for VlanScope {
    fn from(scope: Option<Scope>) -> Self {
        scope.map_or(Self::Refuse, Self::Scope)
    }
}

impl Serialize for VlanScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scope(scope) => serializer.serialize_u16(scope.0),
            Self::Refuse => serializer.serialize_str("refuse"),
        }
    }
}

impl<'de> Deserialize<'de> for VlanScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl Visitor<'_> for Read {
            type Value = VlanScope;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scope from 0 to 65535, or \"refuse\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<VlanScope, E> {
                let scope =
                    u16::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))?;
                Ok(VlanScope::Scope(Scope(scope)))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<VlanScope, E> {
                let scope =
                    u16::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))?;
                Ok(VlanScope::Scope(Scope(scope)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<VlanScope, E> {
                match text {
                    "refuse" => Ok(VlanScope::Refuse),
                    text => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Read)
    }
}

/// A router of a link: `"MAC"`, or `{ mac = "MAC", vlan = 100 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// Its station address.
    pub mac: MacAddr,
    /// The VLAN it is in; any if none is said.
    pub vlan: Option<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InVlan {
    mac: MacAddr,
    vlan: u16,
}

impl Serialize for Via {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.vlan {
            Some(vlan) => InVlan { mac: self.mac, vlan }.serialize(serializer),
            None => self.mac.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Via {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Via;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a MAC, or { mac = \"MAC\", vlan = 100 }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Via, E> {
                Ok(Via { mac: text.parse().map_err(E::custom)?, vlan: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Via, A::Error> {
                let InVlan { mac, vlan } = InVlan::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Via { mac, vlan: Some(vlan) })
            }
        }

        deserializer.deserialize_any(Read)
    }
}

impl LinkSection {
    /// What settings say of a link.
    pub(super) fn of(settings: &Settings, link: usize) -> Self {
        let scopes = settings.scopes.get(link).cloned().unwrap_or_default();
        let listed = scopes.listed().iter().map(|&(vlan, scope)| (VlanKey::Vlan(vlan.0), scope.into()));
        // What is not said is scope 0.
        let rest = (scopes.rest() != Some(Scope(0))).then(|| (VlanKey::Rest, scopes.rest().into()));
        let via = |router: &LinkRouter| Via { mac: router.mac, vlan: router.vlan.map(|vlan| vlan.0) };
        let routers = settings.via.of(LinkIndex(link));
        Self {
            scopes: listed.chain(rest).collect(),
            via: routers.iter().map(via).collect(),
            protect: settings.protect.get(link).cloned().unwrap_or_default(),
            reject_ipv4: settings.refusal_sources(LinkIndex(link)).ipv4,
            reject_ipv6: settings.refusal_sources(LinkIndex(link)).ipv6,
        }
    }

    pub(super) fn vlan_scopes(&self) -> VlanScopes {
        let listed = self.scopes.iter().filter_map(|(key, scope)| match key {
            VlanKey::Vlan(vlan) => Some((VlanId(*vlan), scope.scope())),
            VlanKey::Rest => None,
        });
        let rest = self.scopes.get(&VlanKey::Rest).map_or(Some(Scope(0)), |rest| rest.scope());
        VlanScopes::new(listed, rest)
    }

    pub(super) fn refusal_sources(&self) -> RefusalSources {
        RefusalSources { ipv4: self.reject_ipv4, ipv6: self.reject_ipv6 }
    }

    pub(super) fn routers(&self) -> Vec<LinkRouter> {
        self.via.iter().map(|via| LinkRouter { mac: via.mac, vlan: via.vlan.map(VlanId) }).collect()
    }
}
