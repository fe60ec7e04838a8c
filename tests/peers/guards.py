"""Rule 2: what a guard, and then the identity table, make of a frame that came in inside at `strict` or `observe`.

Written from the contract's section "Strict". `objection` answers with the reason of the drop, or with nothing.
"""

import ipaddress

ALL = ("arp", "dhcp", "nd", "ra")
RS, RA, NS, NA, REDIRECT, CPS = 133, 134, 135, 136, 137, 148
ICMP, IGMP, UDP, ICMPV6 = 1, 2, 17, 58
NOWHERE = {ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("::")}


class Sender:
    """The station a frame came from, and what it may say of itself."""

    def __init__(self, sight, policy, inventory):
        self.policy, self.inventory = policy, inventory
        self.scope, self.mac = policy.scope_of(sight.vlans), sight.src_mac
        self.is_router = policy.is_router(self.mac, sight.vlans)
        self.vm = None if self.is_router else inventory.of_mac(self.scope, self.mac)

    def has(self, mac):
        if self.vm:
            return self.inventory.of_mac(self.scope, mac) is self.vm
        return mac == self.mac

    def lister(self, address):
        return self.inventory.of_address(self.scope, address)

    def is_contradicted_by(self, address):
        """The rows of the table that end in a contradiction."""
        other = self.lister(address)
        if self.vm is None:
            return not self.is_router and other is not None and bool(other.macs)
        if other is not None:
            return other is not self.vm
        return self.vm.lists_family(address.version) and not (address.version == 6 and address.is_link_local)

    def protected(self, address):
        return not self.is_router and address in self.policy.protect

    def may_not_claim(self, address):
        return self.protected(address) or self.is_contradicted_by(address)


def objection(sight, policy, inventory):
    sender = Sender(sight, policy, inventory)
    if sight.hidden:
        return "opaque_" + sight.reason if set(policy.guards) - {"arp"} else ""
    for name, objects in (("arp", arp), ("dhcp", dhcp), ("nd", nd), ("ra", ra)):
        if name in policy.guards and objects(sight, sender):
            return name + "_guard"
    return ""


def claims_no_address(sight):
    """Who has none yet, or needs none."""
    if sight.addresses is None:
        return True
    source = ipaddress.ip_address(sight.addresses[0])
    if source not in NOWHERE:
        return False
    if source.version == 4:
        return sight.protocol == IGMP or (sight.protocol == UDP and (sight.udp_sport, sight.udp_dport) == (68, 67))
    return sight.protocol == ICMPV6 and sight.message[:1] in (b"\x82", b"\x83", b"\x84", b"\x8f", b"\x85", b"\x87")


def arp(sight, sender):
    if sight.what != "arp" or sight.kind != "other":
        return False
    packet = sight.message
    if len(packet) < 28 or packet[2:6] != b"\x08\x00\x06\x04" or not sender.has(packet[8:14]):
        return True
    source, target = ipaddress.ip_address(packet[14:18]), ipaddress.ip_address(packet[24:28])
    if source in NOWHERE:
        lister = sender.lister(target)
        return sender.protected(target) or (lister is not None and sender.is_contradicted_by(target))
    return sender.may_not_claim(source)


def dhcp(sight, sender):
    if sight.protocol != UDP or len(sight.message) < 4 or sender.is_router:
        return False
    first = sight.message[8:9]
    if sight.udp_dport in (68, 546):
        return True
    server = {67: b"\x02", 547: b"\x02\x07\x0a\x0d"}.get(sight.udp_dport)
    return server is not None and (first in [server[i : i + 1] for i in range(len(server))] if first else sight.unfinished)


def nd(sight, sender):
    if sight.protocol != ICMPV6 or not sight.message:
        return False
    kind = sight.message[0]
    if sight.fragmented and kind in (RS, RA, NS, NA, REDIRECT, CPS):
        return True
    if kind not in (RS, NS, NA):
        return False
    source = ipaddress.ip_address(sight.addresses[0])
    if kind in (RS, NS) and sender.protected(source):
        return True
    if kind == NA or (kind == NS and source in NOWHERE):
        target = sight.message[8:24]
        if len(target) < 16 or sender.may_not_claim(ipaddress.ip_address(target)):
            return True
    fixed = 8 if kind == RS else 24
    if len(sight.message) < fixed:
        return True
    options = sight.message[fixed:]
    while options:
        length = options[1] * 8 if len(options) > 1 else 0
        if length == 0 or length > len(options):
            return True
        if options[0] in (1, 2) and not sender.has(options[2:8]):
            return True
        options = options[length:]
    return False


def ra(sight, sender):
    if sender.is_router or not sight.message:
        return False
    return (sight.protocol == ICMPV6 and sight.message[0] in (RA, REDIRECT)) or (
        sight.protocol == ICMP and sight.message[0] in (5, 9)
    )
