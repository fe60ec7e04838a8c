//! ARP: nobody says of an address or a MAC that is not his where it is (RFC 826, RFC 5227).

use std::net::IpAddr;

use super::Sender;
use crate::packet::{Arp, Message};

/// Requests, replies and announcements claim the sender's address and MAC; a probe claims the address that it asks about.
pub(super) fn objects(sender: &Sender<'_>, message: &Message<'_>) -> bool {
    let Message::Arp(arp) = *message else { return false };
    let Some(Arp { sender_mac, sender: address, target }) = arp else { return true };
    if !sender.has(sender_mac) {
        return true;
    }
    if address.is_unspecified() { takes(sender, target.into()) } else { !sender.may_claim(address.into()) }
}

/// Whether a probe is for an address that another VM lists. One that nobody lists may be probed for: that is how a host
/// learns that it is free.
fn takes(sender: &Sender<'_>, address: IpAddr) -> bool {
    sender.is_protected(address) || (sender.is_listed(address) && sender.contradicts(address))
}
