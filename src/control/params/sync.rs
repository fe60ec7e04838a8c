//! `sync.*`.

use serde::Deserialize;

use super::Empty;
use super::members::{If, Nothing, Params, read};
use crate::control::inventory::collector::SyncId;
use crate::control::inventory::{Commit, SyncCall};
use crate::control::rpc::RpcError;
use crate::vm::record::VmSet;

pub(super) fn call(method: &str, params: &str) -> Result<SyncCall, RpcError> {
    match method {
        "sync.begin" => {
            let Params { extra: Nothing, own: Empty {} } = read(params)?;
            Ok(SyncCall::Begin)
        }
        "sync.chunk" => {
            let Params { extra: Nothing, own: Chunk { sync, at, vms } } = read(params)?;
            Ok(SyncCall::Chunk { sync, at, vms })
        }
        "sync.commit" => {
            let Params { extra: If { guard }, own: OfCommit { sync, dry_run, force } } = read(params)?;
            Ok(SyncCall::Commit(Commit { sync, dry_run, force, guard }))
        }
        "sync.abort" => {
            let Params { extra: Nothing, own: OfSync { sync } } = read(params)?;
            Ok(SyncCall::Abort(sync))
        }
        _ => {
            let Params { extra: Nothing, own: OfSync { sync } } = read(params)?;
            Ok(SyncCall::Status(sync))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chunk {
    sync: SyncId,
    at: u64,
    vms: Vec<VmSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfCommit {
    sync: SyncId,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfSync {
    sync: SyncId,
}
