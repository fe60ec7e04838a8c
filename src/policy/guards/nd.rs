//! Neighbour discovery: nobody says of an address or a MAC that is not his where it is (RFC 4861, RFC 4862).

use std::net::IpAddr;

use super::Sender;
use crate::packet::icmpv6::{
    CERTIFICATION_PATH_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, REDIRECT, ROUTER_SOLICITATION,
};
use crate::packet::{Icmpv6, Message};

/// Whether it claims too much, or cannot be read. `source` is the message's source address.
pub(super) fn objects(sender: &Sender<'_>, source: Option<IpAddr>, message: &Message<'_>) -> bool {
    let Message::Icmpv6(message) = message else { return false };
    match message.kind {
        // Hosts ignore them in fragments, or should (RFC 6980).
        ROUTER_SOLICITATION..=REDIRECT | CERTIFICATION_PATH_SOLICITATION if message.is_fragment => true,
        ROUTER_SOLICITATION => speaks_as_router(sender, source) || gives_other_stations(sender, message),
        NEIGHBOUR_SOLICITATION => solicits_too_much(sender, source, message),
        NEIGHBOUR_ADVERTISEMENT => !claims_its_own(sender, message) || gives_other_stations(sender, message),
        _ => false,
    }
}

/// A solicitation asks *about* its target, which may be anybody's; without a source it is duplicate address detection, and
/// claims it.
fn solicits_too_much(sender: &Sender<'_>, source: Option<IpAddr>, message: &Icmpv6<'_>) -> bool {
    let detects_duplicates = source.is_some_and(|source| source.is_unspecified());
    (detects_duplicates && !claims_its_own(sender, message))
        || speaks_as_router(sender, source)
        || gives_other_stations(sender, message)
}

fn claims_its_own(sender: &Sender<'_>, message: &Icmpv6<'_>) -> bool {
    message.target().is_some_and(|target| sender.may_claim(target.into()))
}

/// Who receives a solicitation notes its source and the MAC beside it (RFC 4861, 7.2.3), so a gateway's address as the source
/// is a claim.
fn speaks_as_router(sender: &Sender<'_>, source: Option<IpAddr>) -> bool {
    source.is_some_and(|source| sender.is_protected(source))
}

fn gives_other_stations(sender: &Sender<'_>, message: &Icmpv6<'_>) -> bool {
    message.stations().any(|mac| mac.is_none_or(|mac| !sender.has(mac)))
}
