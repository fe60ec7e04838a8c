//! Router advertisements, router discovery and redirects: only routers send them (RFC 4861, RFC 1256, RFC 792).

use super::Sender;
use crate::packet::{Message, icmpv6};

const ICMP_REDIRECT: u8 = 5;
const ICMP_ROUTER_ADVERTISEMENT: u8 = 9;

/// From who is no router of this link and VLAN.
pub(super) fn objects(sender: &Sender<'_>, message: &Message<'_>) -> bool {
    let is_routers = match message {
        Message::Icmp(kind) => matches!(*kind, ICMP_REDIRECT | ICMP_ROUTER_ADVERTISEMENT),
        Message::Icmpv6(message) => matches!(message.kind, icmpv6::ROUTER_ADVERTISEMENT | icmpv6::REDIRECT),
        _ => false,
    };
    is_routers && !sender.is_router
}
