//! Rule 6: what lets a frame pass though its VM's class may close its port, which is an exception of that VM or a relay.

use std::net::IpAddr;

use super::exception::Wanted;
use super::identity::{Finding, Identity};
use super::{Case, Exception, Exceptions, RelayInForce, Snapshot, Subject};
use crate::model::{Direction, Scope};
use crate::packet::Ports;

/// What may let frames pass, as workers have it: published beside the table.
#[derive(Clone, Debug)]
pub struct Grants {
    /// What some VMs may do though their class closes it.
    pub exceptions: Exceptions,
    /// Peers that VMs may reach.
    pub relays: Vec<RelayInForce>,
}

impl Grants {
    /// Whether a peer is a relay on any port, for frames of a scope.
    #[inline]
    #[must_use]
    pub fn is_relay(&self, scope: Scope, peer: IpAddr) -> bool {
        self.relays.iter().any(|relay| relay.is_at(scope, peer))
    }
}

/// What lets a frame pass.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grant<'a> {
    /// An exception of its VM.
    Exception(&'a Exception),
    /// A relay.
    Relay(&'a RelayInForce),
}

/// What grants a frame: a relay that it goes to or answers for, or an exception of its VM that opens what is closed to it. Each of
/// its ports that is closed must be opened; a port counts as for rules 7 (destination) and 8 (source).
///
/// An exception is a privilege of its VM, so the evidence must agree; a relay serves everybody who does not contradict himself.
#[inline(always)]
pub(super) fn grant<'a>(snapshot: Snapshot<'a>, identity: &Identity, case: &Case) -> Option<Grant<'a>> {
    if !identity.has_exceptions && snapshot.grants.relays.is_empty() {
        return None;
    }
    // Copies, so that where nobody is granted anything neither has to lie in memory.
    let (identity, case) = (*identity, *case);
    sought(snapshot, &identity, &case)
}

#[inline(never)]
fn sought<'a>(snapshot: Snapshot<'a>, identity: &Identity, case: &Case) -> Option<Grant<'a>> {
    let Snapshot { settings, grants, .. } = snapshot;
    let exceptions = &grants.exceptions;
    let excepted = identity.vm.filter(|_| identity.has_exceptions && identity.finding.is_none());
    let ports = match case.subject {
        Subject::Tcp(ports) => ports,
        // What hides there may go to any port of anybody.
        Subject::Opaque(_) if identity.closes_any(settings) => {
            return exceptions.opening(excepted?, &settings.classes, Wanted::Everything).map(Grant::Exception);
        }
        Subject::Opaque(_) | Subject::Passing(_) => return None,
    };
    if case.source_routed || identity.finding.is_some_and(Finding::is_contradiction) {
        return None;
    }
    let exception = |port| {
        let wanted = Wanted::Port(case.peer()?, port);
        exceptions.opening(excepted?, &settings.classes, wanted).map(Grant::Exception)
    };
    let relay = |port| {
        let peer = case.peer()?;
        let serves = |relay: &&RelayInForce| relay.ports.contains(port) && relay.serves(identity.vm);
        grants.relays.iter().filter(serves).find(|relay| relay.is_at(case.scope, peer)).map(Grant::Relay)
    };
    // None where it stays closed.
    let opened = |relay: Option<Grant<'a>>, port| match relay {
        None if identity.closes(settings, port) => exception(port).map(Some),
        relay => Some(relay),
    };
    let Ports { source, destination } = ports;
    match case.direction {
        Direction::Egress => opened(relay(destination), destination)?,
        // A relay's answers only: it never opens a VM's own port.
        Direction::Ingress => {
            let (to, from) = (opened(None, destination)?, opened(relay(source), source)?);
            to.or(from)
        }
    }
}
