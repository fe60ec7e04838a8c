//! Members of `params`: those of the call, and those of the record that it is about.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::control::rpc::{ECHO_CHARS_MAX, Guard, Kind, RpcError, explained};
use crate::text::plain;
use crate::vm::record::VmId;

/// Parameters from their JSON text, or what is wrong with which of them.
pub(super) fn read<'de, X: Extra, T: Deserialize<'de>>(params: &'de str) -> Result<Params<X, T>, RpcError> {
    let mut json = serde_json::Deserializer::from_str(params);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = plain(&error.path().to_string(), ECHO_CHARS_MAX);
        let message = explained(&error.inner().to_string(), X::NAMES);
        match path.as_str() {
            "." | "?" => RpcError::new(Kind::InvalidParams, format!("params: {message}")),
            _ => RpcError::new(Kind::InvalidParams, format!("{path}: {message}")).with("path", path),
        }
    })
}

/// Parameters: members that belong to the call, and a record with its own members beside them. Serde's `flatten`
/// would take unknown members and lose the path of an error.
pub(super) struct Params<X, T> {
    pub(super) extra: X,
    pub(super) own: T,
}

/// Members that belong to the call.
pub(super) trait Extra: Default {
    const NAMES: &'static [&'static str];

    /// Reads the value of `key` if the member is one of these.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;
}

#[derive(Default)]
pub(super) struct Nothing;

impl Extra for Nothing {
    const NAMES: &'static [&'static str] = &[];

    fn take<'de, A: MapAccess<'de>>(&mut self, _: &str, _: &mut A) -> Result<bool, A::Error> {
        Ok(false)
    }
}

#[derive(Default)]
pub(super) struct If {
    pub(super) guard: Guard,
}

impl Extra for If {
    const NAMES: &'static [&'static str] = &["if_revision", "if_boot"];

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        take_guard(&mut self.guard, key, map)
    }
}

/// [`If`], of a call about one VM.
#[derive(Default)]
pub(super) struct IfVm {
    pub(super) guard: Guard,
}

impl Extra for IfVm {
    const NAMES: &'static [&'static str] = &["if_revision", "if_boot", "if_etag"];

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "if_etag" => once(&mut self.guard.etag, "if_etag", map).map(|()| true),
            _ => take_guard(&mut self.guard, key, map),
        }
    }
}

#[derive(Default)]
pub(super) struct IdAndIf {
    pub(super) id: Option<VmId>,
    pub(super) guard: Guard,
}

impl Extra for IdAndIf {
    const NAMES: &'static [&'static str] = &["id", "if_revision", "if_boot", "if_etag"];

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "id" => once(&mut self.id, "id", map).map(|()| true),
            "if_etag" => once(&mut self.guard.etag, "if_etag", map).map(|()| true),
            _ => take_guard(&mut self.guard, key, map),
        }
    }
}

/// [`IfVm`], with the VM itself beside what it is to have.
#[derive(Default)]
pub(super) struct VmAndIf {
    pub(super) vm: Option<VmId>,
    pub(super) guard: Guard,
}

impl Extra for VmAndIf {
    const NAMES: &'static [&'static str] = &["vm", "if_revision", "if_boot", "if_etag"];

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "vm" => once(&mut self.vm, "vm", map).map(|()| true),
            "if_etag" => once(&mut self.guard.etag, "if_etag", map).map(|()| true),
            _ => take_guard(&mut self.guard, key, map),
        }
    }
}

fn take_guard<'de, A: MapAccess<'de>>(guard: &mut Guard, key: &str, map: &mut A) -> Result<bool, A::Error> {
    match key {
        "if_revision" => once(&mut guard.revision, "if_revision", map).map(|()| true),
        "if_boot" => once(&mut guard.boot, "if_boot", map).map(|()| true),
        _ => Ok(false),
    }
}

fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    name: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    match slot {
        Some(_) => Err(serde::de::Error::duplicate_field(name)),
        None => map.next_value().map(|value| *slot = Some(value)),
    }
}

impl<'de, X: Extra, T: Deserialize<'de>> Deserialize<'de> for Params<X, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<X, T>(PhantomData<(X, T)>);

        impl<'de, X: Extra, T: Deserialize<'de>> Visitor<'de> for Object<X, T> {
            type Value = Params<X, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of named parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let mut extra = X::default();
                let own = T::deserialize(MapAccessDeserializer::new(Own { map, extra: &mut extra }))?;
                Ok(Params { extra, own })
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// The members of an object that [`Extra::take`] leaves.
struct Own<'x, A, X> {
    map: A,
    extra: &'x mut X,
}

impl<'de, A: MapAccess<'de>, X: Extra> MapAccess<'de> for Own<'_, A, X> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if !self.extra.take(&key, &mut self.map)? {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
