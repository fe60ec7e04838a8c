//! What would let a denied frame through: the commands that make the inventory say what the frame shows, and its VM's class
//! allow it. They add and never replace, so whatever was right before stays right.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::record::{EXCEPTIONS_MAX, IPS_MAX, MACS_MAX, Vm, VmPrefix};
use super::registry::{self, Registry};
use crate::model::{ClassId, Direction, MacAddr, Scope, VmIndex};
use crate::policy::{Case, DropReason, Finding, Judgement, Subject, UNRESTRICTED};

/// How a denied frame could pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Lift {
    /// By these commands, in order.
    Commands {
        /// As they are typed.
        commands: Vec<String>,
        /// What the frame shows may be forged.
        doubtful: bool,
        /// The VM could have a public address instead.
        or_public: bool,
        /// Or, for a time and for this peer and no more, by this command.
        or_exception: Option<String>,
    },
    /// By none.
    Nothing {
        /// Why.
        because: Cow<'static, str>,
    },
}

impl Lift {
    const fn nothing(because: &'static str) -> Self {
        Self::Nothing { because: Cow::Borrowed(because) }
    }
}

impl fmt::Display for Lift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { because } => write!(f, "To lift: no command can, {because}."),
            Self::Commands { commands, doubtful, or_public, or_exception } => {
                f.write_str(if *doubtful { "To lift, if this is not forged: " } else { "To lift: " })?;
                write!(f, "`{}`", commands.join("`, then `"))?;
                if *or_public {
                    f.write_str(", or give it its public address (--public-ipv4 ADDRESS)")?;
                }
                if let Some(command) = or_exception {
                    write!(f, "; for a time, and towards this peer: `{command}`")?;
                }
                f.write_str(".")
            }
        }
    }
}

/// A VM or an exception that is not made yet; whoever makes it calls it something better.
const NEW: &str = "NAME";

/// How a denied frame could pass: `case` is what it shows, `judgement` what was made of it.
#[must_use]
pub fn lift(registry: &Registry, case: &Case, judgement: &Judgement) -> Lift {
    let identity = &judgement.identity;
    match judgement.verdict.reason() {
        Some(DropReason::ArpGuard | DropReason::NdGuard) => {
            return Lift::nothing("before the VM's record lists the MAC and the address that the message claims");
        }
        Some(DropReason::RaGuard | DropReason::DhcpGuard) => {
            return Lift::nothing("since only a station of `via` may send it");
        }
        _ => {}
    }
    let doubtful = identity.finding.is_some();
    let vm = identity.vm.and_then(|index| registry.by_index(index));
    let commands = match (identity.finding, vm) {
        (None, Some(vm)) => Ok(vec![format!("portcullis vm patch {}{}", vm.id, grant(registry, case, vm))]),
        (Some(Finding::SpoofMac), Some(vm)) => add_mac(registry, case, vm),
        (Some(_), Some(vm)) => add_address(registry, case, vm, identity.other),
        (_, None) => make(registry, case),
    };
    let or_public = !doubtful && vm.is_some_and(|vm| vm.public_ipv4.is_none());
    match commands {
        Ok(commands) => {
            let or_exception = vm.filter(|_| !doubtful).and_then(|vm| except(registry, case, vm));
            Lift::Commands { commands, doubtful, or_public, or_exception }
        }
        Err(why) => Lift::nothing(why),
    }
}

type Commands = Result<Vec<String>, &'static str>;

fn add_mac(registry: &Registry, case: &Case, vm: &Vm) -> Commands {
    if !is_station(case.mac) {
        return Err("since its MAC is no station's");
    }
    if is_router(registry, case.mac) {
        return Err("since its MAC is a router's of another link or VLAN (`via`)");
    }
    if vm.macs.len() >= MACS_MAX {
        return Err("since the VM lists as many MACs as it may");
    }
    Ok(vec![format!("portcullis vm patch {} --add-mac {}{}", vm.id, case.mac, grant(registry, case, vm))])
}

fn add_address(registry: &Registry, case: &Case, vm: &Vm, other: Option<VmIndex>) -> Commands {
    let Some(address) = case.address() else {
        return Err("since its addresses cannot be read, so nothing confirms them");
    };
    let prefix = of_vm(address).ok_or("since no VM can have that address")?;
    if vm.prefixes().count() >= IPS_MAX {
        return Err("since the VM lists as many addresses as it may; a prefix counts as one");
    }
    let other = other.and_then(|index| registry.by_index(index));
    let mut commands: Vec<String> = other.and_then(|other| take_away(other, prefix)).into_iter().collect();
    commands.push(format!("portcullis vm patch {} --add-ip {address}{}", vm.id, grant(registry, case, vm)));
    Ok(commands)
}

/// Takes an address from a VM that lists it; one that has it by a prefix keeps that.
fn take_away(vm: &Vm, prefix: VmPrefix) -> Option<String> {
    let listed = vm.ips.contains(&prefix);
    let public = vm.public_ipv4.is_some_and(|public| IpNet::from(IpAddr::V4(public)) == prefix.net());
    if !listed && !public {
        return None;
    }
    if vm.macs.is_empty() && vm.prefixes().all(|net| net == prefix.net()) {
        return Some(format!("portcullis vm delete {}", vm.id));
    }
    let mut command = format!("portcullis vm patch {}", vm.id);
    if listed {
        command += &format!(" --del-ip {prefix}");
    }
    if public {
        command += " --no-public-ipv4";
    }
    Some(command)
}

/// Makes a VM of what no VM answers for.
fn make(registry: &Registry, case: &Case) -> Commands {
    let mac = Some(case.mac).filter(|&mac| is_station(mac) && !is_router(registry, mac));
    let address = case.address().and_then(of_vm);
    if mac.is_none() && (address.is_none() || case.address().is_none()) {
        return Err("since it shows neither a MAC nor an address that a VM can have");
    }
    let mut command = format!("portcullis vm set {NEW}");
    if let Some(mac) = mac {
        command += &format!(" --mac {mac}");
    }
    if let Some(address) = address {
        command += &format!(" --ip {address}");
    }
    if case.scope != Scope::default() {
        command += &format!(" --scope {}", case.scope.0);
    }
    if closes(registry, case, ClassId::RESTRICTED) {
        command += &format!(" --class {UNRESTRICTED}");
    }
    Ok(vec![command])
}

/// What lets a VM's own class allow the frame; nothing if it does.
fn grant(registry: &Registry, case: &Case, vm: &Vm) -> String {
    let (class, _) = registry::class(registry.settings(), vm);
    match (closes(registry, case, class), &vm.class, vm.public_ipv4) {
        (false, ..) => String::new(),
        // Its public address is enough, but for the override.
        (true, Some(_), Some(_)) => " --no-class".into(),
        (true, ..) => format!(" --class {UNRESTRICTED}"),
    }
}

/// What lets a VM do just this, for a time.
fn except(registry: &Registry, case: &Case, vm: &Vm) -> Option<String> {
    let (Subject::Tcp(ports), Some(peer)) = (case.subject, case.peer()) else { return None };
    if vm.exceptions.len() >= EXCEPTIONS_MAX || case.is_source_routed() {
        return None;
    }
    let (class, _) = registry::class(registry.settings(), vm);
    let closed = &registry.settings().classes.get(class).ports;
    let ends = match case.direction {
        Direction::Egress => vec![ports.destination],
        Direction::Ingress => vec![ports.destination, ports.source],
    };
    let mut wanted: Vec<u16> = ends.into_iter().filter(|&port| closed.contains(port)).collect();
    wanted.dedup();
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    (!wanted.is_empty()).then(|| {
        let (id, ports) = (&vm.id, wanted.join(","));
        format!("portcullis exception add {id} --ports {ports} --peer {peer} --until 2h --name {NEW}")
    })
}

fn closes(registry: &Registry, case: &Case, class: ClassId) -> bool {
    let closed = &registry.settings().classes.get(class).ports;
    match case.subject {
        Subject::Tcp(ports) => {
            closed.contains(ports.destination)
                || (case.direction == Direction::Ingress && closed.contains(ports.source))
        }
        Subject::Opaque(_) => !closed.is_empty(),
        Subject::Passing(_) => false,
    }
}

/// Of whatever place: no VM can have it.
fn is_router(registry: &Registry, mac: MacAddr) -> bool {
    registry.settings().via.macs().any(|router| router == mac)
}

fn is_station(mac: MacAddr) -> bool {
    !mac.is_group() && mac != MacAddr([0; 6])
}

fn of_vm(address: IpAddr) -> Option<VmPrefix> {
    VmPrefix::try_from(IpNet::from(address)).ok()
}
