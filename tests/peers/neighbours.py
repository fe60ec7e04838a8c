"""What stations tell their neighbours, a sentence each: the rows of the contract's section "Strict".

Each is sent by a restricted VM that has the address, and by those who have not.
"""

import ipaddress
import struct

import golden
from wire import ARP, IPV4, UDP, Way, be16, extension, fragment_header, tag

ICMP, IGMP, ICMPV6 = 1, 2, 58
GATEWAY4, GATEWAY6 = "10.0.0.1", "fe80::1"

CONFIG = golden.CONFIG.replace(
    "[policy]\n", f'protect = ["{GATEWAY4}", "{GATEWAY6}"]\n\n[policy]\nidentity = "strict"\n'
).replace("}]\n\nprotect", "}]\nprotect")


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def packed(address):
    return ipaddress.ip_address(address).packed


def arp_packet(sender_mac, sender, target, operation=1, shape=(1, IPV4, 6, 4)):
    head = struct.pack(">HHBBH", *shape, operation)
    return head + mac_bytes(sender_mac) + packed(sender) + bytes(6) + packed(target)


def option(kind, mac):
    return bytes([kind, 1]) + mac_bytes(mac)


def neighbour(kind, target=None, *options):
    return bytes([kind]) + bytes(7) + (packed(target) if target else b"") + b"".join(options)


def speakers():
    """Label, MAC, IPv4, IPv6 of who says something."""
    web1, mail1, two = (golden.addresses_of(vm_id) for vm_id in ("web1", "mail1", "two-nics"))
    yield "restricted VM", *web1
    yield "restricted VM with a neighbour's addresses", web1[0], *mail1[1:]
    yield "restricted VM with nobody's addresses", web1[0], golden.NOBODY4, golden.NOBODY6
    yield "restricted VM from its link-local address", web1[0], "169.254.7.7", golden.LINK_LOCAL
    yield "restricted VM without an address", web1[0], "0.0.0.0", "::"
    yield "VM of two MACs", *two
    yield "VM that lists no IPv6", golden.addresses_of("only4")[0], golden.addresses_of("only4")[1], "2001:db8::99"
    yield "VM known by its MAC", golden.addresses_of("macs-closed")[0], golden.NOBODY4, golden.NOBODY6
    yield "stranger with the address of a VM without MACs", golden.STRANGER, *golden.addresses_of("ips-closed")[1:]
    yield "stranger with a VM's addresses", golden.STRANGER, *web1[1:]
    yield "stranger", golden.STRANGER, golden.NOBODY4, golden.NOBODY6
    yield "stranger with the gateway's addresses", golden.STRANGER, GATEWAY4, GATEWAY6
    yield "VM known by its MAC with the gateway's addresses", golden.addresses_of("macs-closed")[0], GATEWAY4, GATEWAY6
    yield "router", golden.ROUTER, GATEWAY4, GATEWAY6
    yield "router with a VM's addresses", golden.ROUTER, *web1[1:]


def messages(way):
    """What each of them says: label, family, protocol or type, message."""
    own, other = way.src_mac, golden.addresses_of("mail1")[0]
    second = golden.VMS[[vm["id"] for vm in golden.VMS].index("two-nics")]["macs"][1]
    mail4, mail6 = golden.addresses_of("mail1")[1:]
    for name, mac in (("its own", own), ("a neighbour's", other), ("its second", second), ("nobody's", golden.STRANGER)):
        yield f"ARP of its address and {name} MAC", ARP, None, arp_packet(mac, way.src4, golden.PEER4)
        yield f"NA of its address and {name} MAC", 6, ICMPV6, neighbour(136, way.src6, option(2, mac))
        yield f"NS with {name} MAC", 6, ICMPV6, neighbour(135, golden.PEER6, option(1, mac))
        yield f"RS with {name} MAC", 6, ICMPV6, neighbour(133, None, option(1, mac))
    yield "gratuitous ARP", ARP, None, arp_packet(own, way.src4, way.src4, 2)
    yield "ARP about a neighbour", ARP, None, arp_packet(own, way.src4, mail4)
    yield "ARP of another shape", ARP, None, arp_packet(own, way.src4, golden.PEER4, shape=(1, IPV4, 6, 16))
    yield "ARP of another hardware", ARP, None, arp_packet(own, way.src4, golden.PEER4, 9, shape=(6, IPV4, 6, 4))
    yield "ARP cut short", ARP, None, arp_packet(own, way.src4, golden.PEER4)[:-1]
    for name, target in (("its own", way.src4), ("a neighbour's", mail4), ("nobody's", "10.0.0.250"),
                         ("the gateway's", GATEWAY4)):
        yield f"ARP probe for {name} address", ARP, None, arp_packet(own, "0.0.0.0", target)
    for name, target in (("its own", way.src6), ("a neighbour's", mail6), ("nobody's", "2001:db8::fa"),
                         ("the gateway's", GATEWAY6), ("a link-local", "fe80::99")):
        yield f"NA of {name} address", 6, ICMPV6, neighbour(136, target)
        yield f"NS about {name} address", 6, ICMPV6, neighbour(135, target)
    yield "NS with two MACs, the second a neighbour's", 6, ICMPV6, neighbour(135, mail6, option(1, own), option(1, other))
    yield "NS with a nonce", 6, ICMPV6, neighbour(135, mail6, bytes([14, 1, 1, 2, 3, 4, 5, 6]))
    yield "NS with an option of no length", 6, ICMPV6, neighbour(135, mail6, bytes([14, 0, 1, 2, 3, 4, 5, 6]))
    yield "NS with an option cut short", 6, ICMPV6, neighbour(135, mail6, bytes([14, 2, 1, 2, 3, 4, 5, 6]))
    yield "NS cut short", 6, ICMPV6, neighbour(135, mail6)[:-1]
    for kind in (130, 134, 137, 143, 148, 128):
        yield f"ICMPv6 {kind}", 6, ICMPV6, neighbour(kind, golden.PEER6)
    for kind in (0, 5, 8, 9):
        yield f"ICMP {kind}", 4, ICMP, bytes([kind]) + bytes(7)
    yield "IGMP", 4, IGMP, bytes([0x16]) + bytes(7)
    for family in (4, 6):
        for source, port, first in ((68, 67, b"\x01"), (67, 68, b"\x02"), (40000, 68, b""), (67, 67, b"\x02"),
                                    (546, 547, b"\x01"), (547, 546, b"\x07"), (547, 547, b"\x0d"), (547, 547, b"\x0c"),
                                    (40000, 67, b""), (40000, 53, b"\x02")):
            data = way.udp(family, port, sport=source, data=first)
            yield f"UDP from {source} to {port}, {first.hex() or 'empty'}, IPv{family}", family, UDP, data


def dressed(way, family, protocol, message):
    """The ways around: label and frame."""
    def frame(packet, tags=b""):
        return way.ether(ARP, packet, tags) if family == ARP else way.frame(family, packet, tags)

    packet = message if family == ARP else way.ip(family, message, protocol)
    yield "", frame(packet)
    yield ", in VLANs 5 and 7", frame(packet, tag(5) + tag(7))
    yield ", in VLAN 200", frame(packet, tag(200))
    ether_type = {ARP: ARP, 4: IPV4, 6: 0x86DD}[family]
    yield ", in LLC/SNAP", way.llc(bytes.fromhex("aaaa03000000") + be16(ether_type) + packet)
    if family == 6:
        for label, chain, kind in (
            (", behind hop-by-hop options", extension(protocol), 0),
            (", as an atomic fragment", fragment_header(protocol), 44),
            (", as a first fragment", fragment_header(protocol, more=True), 44),
            (", as an early fragment", fragment_header(protocol, 3), 44),
            (", as a later fragment", fragment_header(protocol, 100), 44),
        ):
            yield label, frame(way.ip6(chain + message, kind))
        longest = b"".join([extension(60)] * 8) + extension(protocol)
        yield ", behind nine headers", frame(way.ip6(longest + message, 60))
    if family == 4:
        yield ", as a first fragment", frame(way.ip4(message, protocol, more=True))
        yield ", as a later fragment", frame(way.ip4(message, protocol, offset=100))


def build():
    """Every message of everybody as it is; of one restricted VM and the router in every dress."""
    frames, labels = [], []
    for who, mac, ip4, ip6 in speakers():
        way = Way(mac, golden.GATEWAY, ip4, golden.PEER4, ip6, golden.PEER6)
        for said, family, protocol, message in messages(way):
            for dress, frame in dressed(way, family, protocol, message):
                if not dress or who in ("restricted VM", "router"):
                    frames.append(frame)
                    labels.append(f"{who}: {said}{dress}")
    return frames, labels
