//! DHCP (RFC 2131) and DHCPv6 (RFC 8415): VMs are clients, not servers.

use super::Sender;
use crate::packet::Message;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const CLIENT_PORT_V6: u16 = 546;
const SERVER_PORT_V6: u16 = 547;
/// The first byte of a BOOTP message: a server's.
const BOOT_REPLY: u8 = 2;
/// The first byte of what DHCPv6 servers say: advertise, reply, reconfigure, relay-reply.
const SERVER_MESSAGES_V6: [u8; 4] = [2, 7, 10, 13];

/// What goes to a client's port is a server's, whatever its source port and contents: clients do not look at them either.
/// What goes to a server's port may be a server's answer to a relay; a fragment that ends before it tells is taken for one.
pub(super) fn objects(sender: &Sender<'_>, message: &Message<'_>) -> bool {
    let Message::Udp { ports, first, goes_on } = *message else { return false };
    let says = |servers: &[u8]| first.map_or(goes_on, |first| servers.contains(&first));
    !sender.is_router
        && match ports.destination {
            CLIENT_PORT | CLIENT_PORT_V6 => true,
            SERVER_PORT => says(&[BOOT_REPLY]),
            SERVER_PORT_V6 => says(&SERVER_MESSAGES_V6),
            _ => false,
        }
}
