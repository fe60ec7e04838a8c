//! Parameters of what is asked about dropped frames.

use std::net::IpAddr;

use serde::Deserialize;

use super::members::{Nothing, Params, read};
use super::within;
use crate::control::rpc::{DROPS_LIMIT_DEFAULT, DROPS_LIMIT_MAX, ECHO_CHARS_MAX, Kind, RpcError, WantedDrops};
use crate::model::MacAddr;
use crate::policy::DropReason;
use crate::text::{did_you_mean, plain};
use crate::vm::explanation::Becomes;
use crate::vm::record::VmId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drops {
    #[serde(default)]
    vm: Option<VmId>,
    #[serde(default)]
    mac: Option<MacAddr>,
    #[serde(default)]
    ip: Option<IpAddr>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    verdict: Option<Denied>,
    #[serde(default)]
    after: u64,
    #[serde(default)]
    frames: bool,
    #[serde(default)]
    limit: Option<u64>,
}

/// What becomes of a denied frame.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Denied {
    Dropped,
    Watched,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    #[serde(default)]
    limit: Option<u64>,
}

/// Of `drop.list`.
pub(super) fn wanted(params: &str) -> Result<WantedDrops, RpcError> {
    let Params { extra: Nothing, own: Drops { vm, mac, ip, reason, verdict, after, frames, limit } } = read(params)?;
    Ok(WantedDrops {
        vm,
        mac,
        ip,
        reason: reason.as_deref().map(reason_of).transpose()?,
        verdict: verdict.map(|verdict| match verdict {
            Denied::Dropped => Becomes::Dropped,
            Denied::Watched => Becomes::Watched,
        }),
        after,
        frames,
        limit: within(limit, DROPS_LIMIT_DEFAULT, DROPS_LIMIT_MAX)?,
    })
}

/// Of what has nothing but a limit.
pub(super) fn limit(params: &str) -> Result<usize, RpcError> {
    let Params { extra: Nothing, own: Limit { limit } } = read(params)?;
    within(limit, DROPS_LIMIT_DEFAULT, DROPS_LIMIT_MAX)
}

fn reason_of(name: &str) -> Result<DropReason, RpcError> {
    DropReason::ALL.into_iter().find(|reason| reason.name() == name).ok_or_else(|| {
        let names = DropReason::ALL.map(DropReason::name);
        let nearest = did_you_mean(name, names);
        let message = format!(
            "reason: `{}` is no drop reason; there are {}{nearest}",
            plain(name, ECHO_CHARS_MAX),
            names.join(", ")
        );
        RpcError::new(Kind::InvalidParams, message).with("path", "reason")
    })
}
