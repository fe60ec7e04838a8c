//! Methods and their parameters: JSON text → [`Call`].

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::rpc::{
    Call, ECHO_CHARS_MAX, Guard, Kind, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, RpcError, TOP_MAX, Wish, explained,
};
use crate::policy::Tally;
use crate::text::did_you_mean;
use crate::text::plain;
use crate::vm::policy::PolicyEdit;
use crate::vm::record::VmId;

/// Every method there is.
pub const METHODS: [&str; 11] = [
    "version",
    "vm.set",
    "vm.patch",
    "vm.delete",
    "vm.get",
    "vm.list",
    "policy.get",
    "policy.set",
    "policy.patch",
    "config.reload",
    "stats.get",
];

/// The call that a method and the JSON text of its parameters stand for.
pub(super) fn call(method: &str, params: &str) -> Result<Call, RpcError> {
    match method {
        "vm.set" => {
            let Params { extra: If { guard }, own: set } = read(params)?;
            Ok(Call::VmSet { set, guard })
        }
        "vm.patch" => {
            let Params { extra: IdAndIf { id, guard }, own: patch } = read(params)?;
            let id = id.ok_or_else(|| RpcError::new(Kind::InvalidParams, "missing field `id`"))?;
            Ok(Call::VmPatch { id, patch, guard })
        }
        "vm.delete" => {
            let Params { extra: If { guard }, own: OfVm { id } } = read(params)?;
            Ok(Call::VmDelete { id, guard })
        }
        "vm.get" => {
            let Params { extra: Nothing, own: OfVm { id } } = read(params)?;
            Ok(Call::VmGet { id })
        }
        "vm.list" => {
            let Params { extra: Nothing, own: List { after, limit } } = read(params)?;
            match limit.map_or(Ok(LIST_LIMIT_DEFAULT), usize::try_from) {
                Ok(limit) if (1..=LIST_LIMIT_MAX).contains(&limit) => Ok(Call::VmList { after, limit }),
                _ => {
                    let message = format!("limit: must be 1 to {LIST_LIMIT_MAX}, not {}", limit.unwrap_or(0));
                    Err(RpcError::new(Kind::InvalidParams, message).with("path", "limit"))
                }
            }
        }
        "policy.get" => {
            let Params { extra: Nothing, own: Empty {} } = read(params)?;
            Ok(Call::PolicyGet)
        }
        "policy.set" => {
            let Params { extra: If { guard }, own: document } = read(params)?;
            Ok(Call::PolicyChange { edit: Box::new(PolicyEdit::Set(document)), guard })
        }
        "policy.patch" => {
            let Params { extra: If { guard }, own: patch } = read(params)?;
            Ok(Call::PolicyChange { edit: Box::new(PolicyEdit::Patch(patch)), guard })
        }
        "config.reload" => {
            let Params { extra: If { guard }, own: Empty {} } = read(params)?;
            Ok(Call::ConfigReload { guard })
        }
        "stats.get" => {
            let Params { extra: Nothing, own: stats } = read::<_, Stats>(params)?;
            stats.wish().map(|vms| Call::StatsGet { vms })
        }
        "version" => {
            let Params { extra: Nothing, own: Empty {} } = read(params)?;
            Ok(Call::Version)
        }
        unknown => {
            let suggestion = did_you_mean(unknown, METHODS);
            let unknown = plain(unknown, ECHO_CHARS_MAX);
            let message = format!("there is no method `{unknown}`; there are {}{suggestion}", METHODS.join(", "));
            Err(RpcError::new(Kind::UnknownMethod, message))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfVm {
    id: VmId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    after: Option<VmId>,
    #[serde(default)]
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stats {
    #[serde(default)]
    vms: Option<bool>,
    #[serde(default)]
    top: Option<u64>,
    #[serde(default)]
    by: Option<String>,
}

impl Stats {
    fn wish(self) -> Result<Wish, RpcError> {
        let Self { vms, top, by } = self;
        let refuse = |path: &str, message: String| {
            Err(RpcError::new(Kind::InvalidParams, format!("{path}: {message}")).with("path", path))
        };
        let Some(top) = top else {
            return match by {
                Some(_) => refuse("by", "ranks VMs, so `top` must say how many are wanted".into()),
                None => Ok(if vms.unwrap_or(true) { Wish::All } else { Wish::None }),
            };
        };
        if vms == Some(false) {
            return refuse("top", "names VMs, and `vms` is false".into());
        }
        let Some(count) = usize::try_from(top).ok().filter(|count| (1..=TOP_MAX).contains(count)) else {
            return refuse("top", format!("must be 1 to {TOP_MAX}, not {top}"));
        };
        let name = by.as_deref().unwrap_or(Tally::Denied.name());
        match Tally::ALL.into_iter().find(|tally| tally.name() == name) {
            Some(by) => Ok(Wish::Top { count, by }),
            None => {
                let names = Tally::ALL.map(Tally::name);
                let nearest = did_you_mean(name, names);
                let name = plain(name, ECHO_CHARS_MAX);
                refuse("by", format!("`{name}` is no tally; there are {}{nearest}", names.join(", ")))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// Parameters from their JSON text, or what is wrong with which of them.
fn read<'de, X: Extra, T: Deserialize<'de>>(params: &'de str) -> Result<Params<X, T>, RpcError> {
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
struct Params<X, T> {
    extra: X,
    own: T,
}

/// Members that belong to the call.
trait Extra: Default {
    const NAMES: &'static [&'static str];

    /// Reads the value of `key` if the member is one of these.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;
}

#[derive(Default)]
struct Nothing;

impl Extra for Nothing {
    const NAMES: &'static [&'static str] = &[];

    fn take<'de, A: MapAccess<'de>>(&mut self, _: &str, _: &mut A) -> Result<bool, A::Error> {
        Ok(false)
    }
}

#[derive(Default)]
struct If {
    guard: Guard,
}

impl Extra for If {
    const NAMES: &'static [&'static str] = &["if_revision", "if_boot"];

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        take_guard(&mut self.guard, key, map)
    }
}

#[derive(Default)]
struct IdAndIf {
    id: Option<VmId>,
    guard: Guard,
}

impl Extra for IdAndIf {
    const NAMES: &'static [&'static str] = &["id", "if_revision", "if_boot"];

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "id" => once(&mut self.id, "id", map).map(|()| true),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Boot, Mode, Revision};
    use crate::vm::record::{VmPatch, VmSet};
    use serde_json::Value;

    fn refusal(method: &str, params: &str) -> RpcError {
        call(method, params).unwrap_err()
    }

    #[test]
    fn every_method_becomes_its_call() {
        let id: VmId = "web1".parse().unwrap();
        let set = VmSet {
            id: id.clone(),
            macs: vec!["52:54:00:00:00:01".parse().unwrap()],
            ips: vec!["10.0.0.5".parse().unwrap()],
            public_ipv4: None,
            scope: crate::model::Scope(0),
            class: Some(None),
            mode: Some(Some(Mode::Monitor)),
            note: None,
        };
        let patch = VmPatch { public_ipv4: Some(None), ..VmPatch::default() };
        for (method, params, expected) in [
            (
                "vm.set",
                r#"{"if_revision":7,"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"],"class":null,"mode":"monitor"}"#,
                Call::VmSet { set, guard: Guard { revision: Some(Revision(7)), boot: None } },
            ),
            (
                "vm.patch",
                r#"{"public_ipv4":null,"id":"web1"}"#,
                Call::VmPatch { id: id.clone(), patch, guard: Guard::default() },
            ),
            (
                "vm.delete",
                r#"{"id":"web1","if_revision":0,"if_boot":"0000001f"}"#,
                Call::VmDelete { id: id.clone(), guard: Guard { revision: Some(Revision(0)), boot: Some(Boot(0x1f)) } },
            ),
            ("vm.get", r#"{"id":"web1"}"#, Call::VmGet { id: id.clone() }),
            ("vm.list", "{}", Call::VmList { after: None, limit: 1000 }),
            ("vm.list", r#"{"after":"web1","limit":10000}"#, Call::VmList { after: Some(id), limit: 10_000 }),
            ("stats.get", "{}", Call::StatsGet { vms: Wish::All }),
            ("stats.get", r#"{"vms":false}"#, Call::StatsGet { vms: Wish::None }),
            ("stats.get", r#"{"top":5}"#, Call::StatsGet { vms: Wish::Top { count: 5, by: Tally::Denied } }),
            (
                "stats.get",
                r#"{"top":1000,"by":"would_deny","vms":true}"#,
                Call::StatsGet { vms: Wish::Top { count: 1000, by: Tally::WouldDeny } },
            ),
            ("version", "{}", Call::Version),
        ] {
            assert_eq!(call(method, params), Ok(expected), "{method} {params}");
        }
    }

    #[test]
    fn an_unknown_method_is_answered_with_the_nearest() {
        let error = refusal("vm.sett", "{}");
        assert_eq!(error.kind, Kind::UnknownMethod);
        assert!(error.message.contains("`vm.sett`") && error.message.contains("did you mean `vm.set`?"), "{error}");
        assert!(!refusal("x", "{}").message.contains("did you mean"));
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (method, params, path, words) in [
            ("vm.set", r#"{"id":"a","macs":["52:54:00:00:00:01","zz"]}"#, "macs[1]", "`zz` is not a MAC address"),
            ("vm.set", r#"{"id":"a","ips":["10.0.0.5/24"]}"#, "ips[0]", "did you mean 10.0.0.0/24"),
            ("vm.set", r#"{"id":"a b"}"#, "id", "`a b` is not a VM id"),
            ("vm.set", r#"{"id":"a","macs":7}"#, "macs", "expected a sequence"),
            ("vm.set", r#"{"id":"a","mode":"monitr"}"#, "mode", "did you mean `monitor`?"),
            ("vm.set", r#"{"id":"a","scope":70000}"#, "scope", "70000"),
            ("vm.set", r#"{"id":"a","if_revision":1e3}"#, "if_revision", "expected u64"),
            ("vm.set", r#"{"id":"a","if_revision":-1}"#, "if_revision", "-1"),
            ("vm.set", r#"{"id":"a","if_revision":null}"#, "if_revision", "null"),
            ("vm.set", r#"{"id":"a","if_revision":99999999999999999999}"#, "if_revision", "expected u64"),
            ("vm.patch", r#"{"id":5}"#, "id", "expected"),
            ("vm.list", r#"{"limit":10001}"#, "limit", "10001"),
            ("vm.set", r#"{"id":"a","if_boot":"1"}"#, "if_boot", "eight hexadecimal digits"),
            ("stats.get", r#"{"vms":1}"#, "vms", "expected a boolean"),
            ("stats.get", r#"{"top":0}"#, "top", "1 to 1000, not 0"),
            ("stats.get", r#"{"top":1001}"#, "top", "1001"),
            ("stats.get", r#"{"by":"denied"}"#, "by", "`top` must say"),
            ("stats.get", r#"{"top":1,"vms":false}"#, "top", "`vms` is false"),
            ("stats.get", r#"{"top":1,"by":"deny"}"#, "by", "did you mean `denied`?"),
        ] {
            let error = refusal(method, params);
            assert_eq!(error.kind, Kind::InvalidParams, "{params}");
            assert_eq!(error.data, [("path", Value::from(path))], "{params}: {error}");
            assert!(error.message.starts_with(&format!("{path}: ")) && error.message.contains(words), "{error}");
            assert!(!error.message.contains(" at line "), "{error}");
        }
    }

    #[test]
    fn parameters_are_an_object_of_known_members_each_given_once() {
        for (method, params, words) in [
            ("vm.set", r#"{"id":"a","pubic_ipv4":"203.0.113.5"}"#, "did you mean `public_ipv4`?"),
            ("vm.set", r#"{"id":"a","if_revison":1}"#, "did you mean `if_revision`?"),
            ("vm.patch", r#"{"id":"a","clas":"x"}"#, "did you mean `class`?"),
            ("vm.set", r#"{"id":"a","id":"b"}"#, "duplicate field `id`"),
            ("vm.set", r#"{"id":"a","if_revision":1,"if_revision":1}"#, "duplicate field `if_revision`"),
            ("vm.patch", r#"{"id":"a","note":"x","id":"a"}"#, "duplicate field `id`"),
            ("vm.patch", r#"{"note":"x"}"#, "missing field `id`"),
            ("vm.set", r#"{}"#, "missing field `id`"),
            ("vm.set", r#"["a"]"#, "expected an object"),
            ("vm.set", "null", "expected an object"),
            ("version", "[]", "expected an object"),
            ("version", r#"{"x":1}"#, "unknown field `x`"),
        ] {
            let error = refusal(method, params);
            assert_eq!(error.kind, Kind::InvalidParams, "{params}");
            assert!(error.message.contains(words), "{params}: {error}");
        }
    }
}
