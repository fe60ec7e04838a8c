//! What makes a VM, and what changes one.

use std::net::Ipv4Addr;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Exception, ExceptionName, RecordError, Vm, VmId, VmPrefix, exception, lists};
use crate::model::{MacAddr, Mode, Scope};

/// A VM line, and the parameters of `vm.set`: the inventory replaces what was there; an absent field of the operator's
/// stays as it is, `null` clears it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSet {
    /// Which VM; made if there is none.
    pub id: VmId,
    /// At most [`MACS_MAX`](super::MACS_MAX).
    #[serde(default, deserialize_with = "or_default")]
    pub macs: Vec<MacAddr>,
    /// At most [`IPS_MAX`](super::IPS_MAX).
    #[serde(default, deserialize_with = "or_default")]
    pub ips: Vec<VmPrefix>,
    /// Makes the VM `unrestricted`.
    #[serde(default)]
    pub public_ipv4: Option<Ipv4Addr>,
    /// 0 unless the configuration maps VLANs to scopes.
    #[serde(default, deserialize_with = "or_default")]
    pub scope: Scope,
    /// What VMs of one tenant have in common.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Override of the class.
    #[serde(default, deserialize_with = "given")]
    pub class: Option<Option<String>>,
    /// The VM's own mode.
    #[serde(default, deserialize_with = "given")]
    pub mode: Option<Option<Mode>>,
    /// What it may do all the same.
    #[serde(default, deserialize_with = "given")]
    pub exceptions: Option<Option<Vec<Exception>>>,
    /// A remark.
    #[serde(default, deserialize_with = "given")]
    pub note: Option<Option<String>>,
}

impl VmSet {
    /// The record that results when `old` was there before.
    ///
    /// # Errors
    /// What no VM may be, see [`RecordError`].
    pub fn onto(self, old: Option<&Vm>) -> Result<Vm, RecordError> {
        Vm {
            id: self.id,
            macs: self.macs,
            ips: self.ips,
            public_ipv4: self.public_ipv4,
            scope: self.scope,
            tenant: self.tenant,
            class: self.class.unwrap_or_else(|| old.and_then(|old| old.class.clone())),
            mode: self.mode.map_or_else(|| old.map_or(Mode::default(), |old| old.mode), Option::unwrap_or_default),
            exceptions: match self.exceptions {
                Some(exceptions) => exceptions.unwrap_or_default(),
                None => old.map(|old| old.exceptions.clone()).unwrap_or_default(),
            },
            note: self.note.unwrap_or_else(|| old.and_then(|old| old.note.clone())),
        }
        .checked()
    }
}

/// The parameters of `vm.patch`: what is absent stays; `null` clears.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VmPatch {
    /// Replaces the MACs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs: Option<Vec<MacAddr>>,
    /// MACs that it has from now on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_macs: Vec<MacAddr>,
    /// MACs that it has no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub del_macs: Vec<MacAddr>,
    /// Replaces the addresses and prefixes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ips: Option<Vec<VmPrefix>>,
    /// Addresses and prefixes that it has from now on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_ips: Vec<VmPrefix>,
    /// Addresses and prefixes that it has no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub del_ips: Vec<VmPrefix>,
    /// Replaces or clears the public address.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub public_ipv4: Option<Option<Ipv4Addr>>,
    /// Moves the VM to another scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Replaces or clears the tenant.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Option<String>>,
    /// Replaces or clears the override of the class.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub class: Option<Option<String>>,
    /// Replaces the mode; `null` is `enforce`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub mode: Option<Option<Mode>>,
    /// Replaces the exceptions; `null` clears them.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub exceptions: Option<Option<Vec<Exception>>>,
    /// Exceptions that it has from now on, in place of others of their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_exceptions: Vec<Exception>,
    /// Names of exceptions that it has no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub del_exceptions: Vec<ExceptionName>,
    /// Replaces or clears the remark.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub note: Option<Option<String>>,
}

impl VmPatch {
    /// The record that results.
    ///
    /// # Errors
    /// What no VM may be, see [`RecordError`].
    pub fn onto(self, old: &Vm) -> Result<Vm, RecordError> {
        Vm {
            id: old.id.clone(),
            macs: lists::changed("macs", &old.id, &old.macs, self.macs, &self.add_macs, &self.del_macs)?,
            ips: lists::changed("ips", &old.id, &old.ips, self.ips, &self.add_ips, &self.del_ips)?,
            public_ipv4: self.public_ipv4.unwrap_or(old.public_ipv4),
            scope: self.scope.unwrap_or(old.scope),
            tenant: self.tenant.unwrap_or_else(|| old.tenant.clone()),
            class: self.class.unwrap_or_else(|| old.class.clone()),
            mode: self.mode.map_or(old.mode, Option::unwrap_or_default),
            exceptions: exception::changed(old, self.exceptions, &self.add_exceptions, &self.del_exceptions)?,
            note: self.note.unwrap_or_else(|| old.note.clone()),
        }
        .checked()
    }
}

/// `null` where there is nothing to clear means the same as a field that is absent.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Tells a field that is `null` (`Some(None)`) from one that is absent (`None`, by `default`).
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
