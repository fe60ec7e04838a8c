//! What was denied of late, and to whom: put together by the thread of the connection that asked.
//!
//! Samples know VMs by number, and numbers change hands.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::reading::{Only, Overview, Row, Source, Take, each_page, no_vm};
use super::rpc::{
    DenialEntry, DropEntry, DropsAnswer, FrameEntry, RpcError, UnknownAnswer, UnknownEntry, WantedDrops,
    WouldDropEntry, WouldDropsAnswer,
};
use crate::model::VmIndex;
use crate::policy::Settings;
use crate::telemetry::denials::{Denial, DenialCounts};
use crate::telemetry::drops::busiest::Sender;
use crate::telemetry::drops::{Seen, of_vm};
use crate::text::hex;
use crate::vm::explanation::Becomes;
use crate::vm::record::VmId;

/// What was denied to a VM.
pub(super) fn denials(row: &Row) -> Vec<DenialEntry> {
    entries(&row.denied)
}

fn entries(DenialCounts(counts): &DenialCounts) -> Vec<DenialEntry> {
    let entry = |&(Denial { direction, watched, reason, port }, frames): &(Denial, u64)| DenialEntry {
        direction,
        verdict: becomes(watched),
        reason: reason.name().into(),
        port,
        frames,
    };
    counts.iter().map(entry).collect()
}

const fn becomes(watched: bool) -> Becomes {
    if watched { Becomes::Watched } else { Becomes::Dropped }
}

/// The last drops of those that are wanted.
pub(super) fn list(source: &impl Source, overview: &Overview, wanted: &WantedDrops) -> Result<DropsAnswer, RpcError> {
    let is_wanted = |Seen { number, sample, .. }: &Seen| {
        *number > wanted.after
            && wanted.mac.is_none_or(|mac| Some(mac) == sample.mac)
            && wanted.ip.is_none_or(|ip| Some(ip) == sample.address)
            && wanted.reason.is_none_or(|reason| reason == sample.reason)
            && wanted.verdict.is_none_or(|verdict| verdict == becomes(sample.watched))
    };
    let take = |limit: usize| match &wanted.vm {
        None => Ok(overview.drops.latest(limit, is_wanted)),
        Some(id) => {
            let rows = source.rows(Take { only: Some(Only::Vm(id.clone())), ..Take::default() })?;
            let row = rows.rows.first().ok_or_else(|| no_vm(id))?;
            let of_vm = |seen: &Seen| seen.sample.vm == Some(row.index) && is_wanted(seen);
            // Its own are kept longer than everybody's, and fewer.
            let mut drops = overview.drops.latest(limit, of_vm);
            drops.extend(overview.drops.of_vm(row.index).0.into_iter().filter(is_wanted));
            drops.sort_by_key(|seen| Reverse(seen.number));
            drops.dedup();
            drops.truncate(limit);
            Ok(drops)
        }
    };
    let (drops, names) = named(source, take, wanted.limit)?;
    let entry = |seen: &Seen| DropEntry {
        frame: wanted.frames.then(|| FrameEntry { at_ms: seen.at_ms, head: hex(seen.sample.head.bytes()) }),
        ..drop_entry(&overview.settings, &names, seen)
    };
    Ok(DropsAnswer {
        drops: drops.iter().map(entry).collect(),
        lost: overview.drops.lost(),
        revision: overview.revision,
        boot: overview.daemon.boot,
    })
}

/// Those VMs of which most frames are only watched.
pub(super) fn would_drop(
    source: &impl Source,
    overview: &Overview,
    limit: usize,
) -> Result<WouldDropsAnswer, RpcError> {
    let mut found: Vec<WouldDropEntry> = Vec::new();
    let mut more = false;
    let mut add = |vm: Option<&VmId>, denied: &DenialCounts, kinds: &[of_vm::Kind]| {
        for &(denial, frames) in denied.0.iter().filter(|(denial, _)| denial.watched) {
            let kind = kinds.iter().find(|kind| kind.covers(denial));
            found.push(WouldDropEntry {
                vm: vm.cloned(),
                direction: denial.direction,
                reason: denial.reason.name().into(),
                port: denial.port,
                frames,
                peers: kind.map(of_vm::Kind::peers),
                last: kind.map(|kind| kind.last),
            });
        }
        if found.len() > 2 * limit {
            more |= ranked(&mut found, limit);
        }
    };
    add(None, &overview.ledger.denied(None).since(&DenialCounts::default()), &[]);
    each_page(source, &overview.ledger, true, |page| {
        let watched = |row: &&Row| row.denied.0.iter().any(|(denial, _)| denial.watched);
        for row in page.rows.iter().filter(watched) {
            add(Some(&row.vm.id), &row.denied, &overview.drops.of_vm(row.index).1);
        }
        Ok::<_, RpcError>(())
    })?;
    more |= ranked(&mut found, limit);
    Ok(WouldDropsAnswer { would_drop: found, more, revision: overview.revision, boot: overview.daemon.boot })
}

/// Keeps those with most frames, and answers whether others are gone.
fn ranked(found: &mut Vec<WouldDropEntry>, limit: usize) -> bool {
    found.sort_by(|a, b| b.frames.cmp(&a.frames).then_with(|| (&a.vm, a.port).cmp(&(&b.vm, b.port))));
    let more = found.len() > limit;
    found.truncate(limit);
    more
}

/// Who sends most of what nobody lists and is denied.
pub(super) fn unknown(overview: &Overview, limit: usize) -> UnknownAnswer {
    let (macs, ips) = overview.drops.strangers();
    UnknownAnswer {
        denials: entries(&overview.ledger.denied(None).since(&DenialCounts::default())),
        macs: senders(&overview.settings, macs, limit),
        ips: senders(&overview.settings, ips, limit),
        revision: overview.revision,
        boot: overview.daemon.boot,
    }
}

fn senders<K>(settings: &Settings, ranked: Vec<Sender<K>>, limit: usize) -> Vec<UnknownEntry<K>> {
    let entry = |Sender { who, frames, over, last }| {
        let last = drop_entry(settings, &HashMap::new(), &last);
        UnknownEntry { who, frames, over, last }
    };
    ranked.into_iter().take(limit).map(entry).collect()
}

fn drop_entry(settings: &Settings, names: &HashMap<VmIndex, VmId>, seen: &Seen) -> DropEntry {
    let Seen { number, at_ms: _, sample } = *seen;
    DropEntry {
        number,
        at: seen.at(),
        link: settings.links.get(sample.way.link.0).cloned(),
        direction: sample.way.direction,
        verdict: becomes(sample.watched),
        reason: sample.reason.name().into(),
        vm: sample.vm.and_then(|vm| names.get(&vm)).cloned(),
        mac: sample.mac,
        vlan: sample.vlan.0,
        ip: sample.address,
        peer: sample.peer,
        source_port: sample.ports.map(|(source, _)| source),
        destination_port: sample.ports.map(|(_, destination)| destination),
        bytes: sample.bytes,
        frame: None,
    }
}

/// The drops that `take` takes, and the names of their VMs. Drops of a VM are forgotten before its number is another's: so
/// those that are still there when the names are known were its all the time.
fn named(
    source: &impl Source,
    take: impl Fn(usize) -> Result<Vec<Seen>, RpcError>,
    limit: usize,
) -> Result<(Vec<Seen>, HashMap<VmIndex, VmId>), RpcError> {
    let mut drops = take(limit)?;
    let numbers: BTreeSet<VmIndex> = drops.iter().filter_map(|seen| seen.sample.vm).collect();
    let only = Some(Only::Numbered(numbers.into_iter().collect()));
    let rows = source.rows(Take { only, ..Take::default() })?.rows;
    let still: HashSet<Seen> = take(usize::MAX)?.into_iter().collect();
    drops.retain(|seen| seen.sample.vm.is_none() || still.contains(seen));
    Ok((drops, rows.into_iter().map(|row| (row.index, row.vm.id.clone())).collect()))
}
