"""What the box can see: the parse outcome of one frame.

A second, slow reading of the contract's table "What can the box see?", written from that page and from the RFCs
it names, never from the Rust parser. Clarity over speed: bytes are cut and compared, nothing is clever.

Every frame gets exactly one outcome, as `Sight.kind`:

    runt     fewer than 14 bytes
    tcp      `sport` and `dport` are known
    other    certainly not TCP; `what` says which kind
    later    a later fragment that can do no harm
    opaque   it might be TCP to a mail port; `reason` is malformed, fragment, header_chain or vlan_depth
"""

from dataclasses import dataclass, field
from typing import List, Optional, Tuple

TAG_TYPES = {0x8100, 0x88A8, 0x9100, 0x9200, 0x9300}
TAGS_MAX = 2
TYPE_IPV4 = 0x0800
TYPE_IPV6 = 0x86DD
TYPE_ARP = 0x0806
TYPE_MIN = 0x0600  # anything below is an 802.3 length
SNAP_OUIS = {b"\x00\x00\x00", b"\x00\x00\xf8"}  # RFC 1042, and the bridge tunnel encapsulation of 802.1H

TCP, UDP, AH, FRAGMENT = 6, 17, 51, 44
ROUTING = 43
# Hop-by-hop, routing, destination options, mobility, HIP, shim6: all are "next header, length in 8 bytes less one".
IPV6_PLAIN_HEADERS = {0, ROUTING, 60, 135, 139, 140}
CHAIN_HEADERS_MAX = 8
CHAIN_BYTES_MAX = 256

TCP_HEADER_MIN = 20
TCP_PORTS = 4
LATER_TCP_OFFSET_SAFE = 3  # 8-byte units: RFC 3128; a first fragment with 20 bytes ends inside unit 2
LATER_CHAIN_OFFSET_SAFE = 35  # 35 * 8 = 280 >= 256 bytes of chain + 20 of TCP

LSRR, SSRR = 131, 137

IP_KINDS = {
    1: "icmp", 4: "ipip", 17: "udp", 41: "6in4", 47: "gre", 50: "esp", 58: "icmpv6", 59: "no_next_header",
    97: "etherip", 115: "l2tp", 132: "sctp", 137: "mpls",
    **dict.fromkeys((53, 55, 94, 98, 108, 142, 143, 144, 145), "other"),
}
UDP_TUNNELS = {
    1701: "l2tp", 2152: "gtp_u", 3544: "teredo", 4500: "esp", 4789: "vxlan", 6081: "geneve", 8472: "vxlan",
    51820: "wireguard", **dict.fromkeys((4341, 4790, 6080, 6635), "other"),
}
ETHER_KINDS = {
    0x0806: "arp", 0x8035: "rarp", 0x0842: "wake_on_lan", 0x8808: "pause", 0x8809: "slow", 0x8863: "pppoe_discovery",
    0x888E: "eapol", 0x88CC: "lldp", 0x88F7: "ptp", 0x8902: "cfm", 0x9000: "loopback",
    0x8864: "pppoe", 0x8847: "mpls", 0x8848: "mpls", 0x88E5: "macsec",
}
OTHER_TUNNEL = "other"  # whatever the contract does not know to carry no packet
# What carries frames or packets inside, by the names that the box counts under.
TUNNELS = {"ipip", "6in4", "gre", "esp", "etherip", "mpls", "pppoe", "macsec", OTHER_TUNNEL} | set(UDP_TUNNELS.values())


@dataclass
class Sight:
    kind: str = "other"
    reason: str = ""  # of an opaque frame
    what: str = ""  # of an other frame
    dst_mac: bytes = b""
    src_mac: bytes = b""
    vlans: List[int] = field(default_factory=list)  # VLAN ids of the tags looked through, outermost first
    addresses: Optional[Tuple[bytes, bytes]] = None  # source, destination: 4 or 16 bytes each, when readable
    sport: int = 0
    dport: int = 0
    udp_dport: Optional[int] = None  # of a whole UDP packet or a first fragment
    steered: bool = False  # IPv4 source route, or a routing header with segments left
    # For guards.
    protocol: Optional[int] = None  # what the headers lead to, where they can be read
    message: bytes = b""  # from there on, or what stands behind the type of ARP
    udp_sport: Optional[int] = None
    fragmented: bool = False  # a fragment header was met, of an atomic fragment too
    unfinished: bool = False  # a first fragment
    hidden: bool = False  # IPv6 whose headers do not lead to a protocol

    def opaque(self, reason):
        self.kind, self.reason = "opaque", reason
        return self

    def other(self, what):
        self.kind, self.what = "other", what
        return self


def u16(data, at):
    return data[at] << 8 | data[at + 1]


def see(frame):
    """The outcome of one frame, as it came from the wire."""
    sight = Sight()
    if len(frame) < 14:
        sight.kind = "runt"
        return sight
    sight.dst_mac, sight.src_mac = frame[0:6], frame[6:12]
    ether_type, rest = u16(frame, 12), frame[14:]

    # Tags and LLC/SNAP may alternate; each turn takes a tag, and the third tag ends it.
    tags = 0
    while True:
        if ether_type in TAG_TYPES:
            if tags == TAGS_MAX:
                return sight.opaque("vlan_depth")
            if len(rest) < 4:
                return sight.opaque("malformed")
            sight.vlans.append(u16(rest, 0) & 0x0FFF)
            ether_type, rest = u16(rest, 2), rest[4:]
            tags += 1
            continue
        if ether_type >= TYPE_MIN:
            return see_ethertype(sight, ether_type, rest)

        # 802.3: the length field is not believed, the frame's own end counts.
        if len(rest) < 3:
            return sight.opaque("malformed")
        if rest[:3] == b"\xaa\xaa\x03":
            if len(rest) < 8:
                return sight.opaque("malformed")
            if rest[3:6] not in SNAP_OUIS:
                return sight.other(OTHER_TUNNEL)
            ether_type, rest = u16(rest, 6), rest[8:]
            if ether_type < TYPE_MIN:
                return sight.other(OTHER_TUNNEL)
            continue
        if rest[0] == 0x06 and rest[2] == 0x03:
            return see_sap_06(sight, rest[3:])
        return sight.other("llc")


def see_sap_06(sight, packet):
    """IP straight behind LLC: only the version says which."""
    version = packet[0] >> 4 if packet else None
    if version == 4:
        return see_ipv4(sight, packet)
    if version == 6:
        return see_ipv6(sight, packet)
    return sight.opaque("malformed")


def see_ethertype(sight, ether_type, packet):
    if ether_type == TYPE_IPV4:
        return see_ipv4(sight, packet)
    if ether_type == TYPE_IPV6:
        return see_ipv6(sight, packet)
    if ether_type == TYPE_ARP:
        sight.message = packet
    return sight.other(ETHER_KINDS.get(ether_type, OTHER_TUNNEL))


def see_ipv4(sight, packet):
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return sight.opaque("malformed")
    sight.addresses = (packet[12:16], packet[16:20])
    header_bytes = (packet[0] & 0x0F) * 4
    total_bytes = u16(packet, 2)
    if header_bytes < 20 or total_bytes < header_bytes or total_bytes > len(packet):
        return sight.opaque("malformed")
    packet = packet[:total_bytes]  # whatever follows is padding
    sight.steered = ipv4_is_source_routed(packet[20:header_bytes])
    protocol, payload = packet[9], packet[header_bytes:]
    more_fragments = bool(u16(packet, 6) & 0x2000)
    offset = u16(packet, 6) & 0x1FFF
    if offset:
        early = (protocol == TCP and offset < LATER_TCP_OFFSET_SAFE) or (
            protocol == AH and offset < LATER_CHAIN_OFFSET_SAFE
        )
        return see_later_fragment(sight, early)
    return see_chain(sight, protocol, payload, ipv6=False, first_fragment=more_fragments)


def ipv4_is_source_routed(options):
    """A list that cannot be read to its end may hide a source route: it earns no privilege either."""
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            return False
        if kind == 1:
            at += 1
            continue
        if kind in (LSRR, SSRR):
            return True
        if at + 1 >= len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            return True
        at += options[at + 1]
    return False


def see_ipv6(sight, packet):
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return sight.opaque("malformed")
    sight.addresses = (packet[8:24], packet[24:40])
    sight = see_behind_ipv6(sight, packet)
    sight.hidden = sight.kind == "opaque" and sight.protocol is None
    return sight


def see_behind_ipv6(sight, packet):
    payload_bytes = u16(packet, 4)
    payload = packet[40:]
    if payload_bytes > len(payload):
        return sight.opaque("malformed")
    if payload_bytes:  # 0 is a jumbogram or an offload: the packet ends with the frame
        payload = payload[:payload_bytes]
    return see_chain(sight, packet[6], payload, ipv6=True, first_fragment=False)


def see_later_fragment(sight, early):
    if early:
        return sight.opaque("fragment")
    sight.kind = "later"
    return sight


def see_chain(sight, protocol, data, ipv6, first_fragment):
    """Walks the headers between IP and its payload; `data` ends where the packet ends."""
    headers, used, fragment_header_seen = 0, 0, False
    while True:
        is_fragment_header = ipv6 and protocol == FRAGMENT
        is_plain_header = ipv6 and protocol in IPV6_PLAIN_HEADERS
        if not (is_fragment_header or is_plain_header or protocol == AH):
            break
        # The next-header field is met before the header that it announces.
        if headers == CHAIN_HEADERS_MAX or (is_fragment_header and fragment_header_seen):
            return sight.opaque("header_chain")
        length_known = len(data) - used >= 2
        if is_fragment_header:
            header_bytes = 8
        elif not length_known:
            header_bytes = 8  # at least; the end of the packet cuts it anyway
        elif protocol == AH:
            header_bytes = (data[used + 1] + 2) * 4
        else:
            header_bytes = (data[used + 1] + 1) * 8
        header_end = used + header_bytes
        if header_end > len(data) and len(data) < CHAIN_BYTES_MAX:
            return sight.opaque("fragment" if first_fragment else "malformed")
        if header_end > CHAIN_BYTES_MAX:
            return sight.opaque("header_chain")

        header = data[used:header_end]
        if is_fragment_header:
            fragment_header_seen = sight.fragmented = True
            offset = u16(header, 2) >> 3
            if offset:
                return see_later_fragment(sight, offset < LATER_CHAIN_OFFSET_SAFE)
            first_fragment = bool(header[3] & 1)  # without "more" it is atomic: a whole packet
        if ipv6 and protocol == ROUTING and header[3]:
            sight.steered = True
        protocol = header[0]
        headers, used = headers + 1, header_end

    return see_transport(sight, protocol, data[used:], first_fragment)


def see_transport(sight, protocol, segment, first_fragment):
    sight.protocol, sight.message, sight.unfinished = protocol, segment, first_fragment
    if protocol == TCP:
        if first_fragment and len(segment) < TCP_HEADER_MIN:
            return sight.opaque("fragment")
        if len(segment) < TCP_PORTS:
            return sight.opaque("malformed")
        sight.kind, sight.sport, sight.dport = "tcp", u16(segment, 0), u16(segment, 2)
        return sight
    if protocol == UDP and len(segment) >= 4:
        sight.udp_sport, sight.udp_dport = u16(segment, 0), u16(segment, 2)
        return sight.other(UDP_TUNNELS.get(sight.udp_dport, "udp"))
    return sight.other(IP_KINDS.get(protocol, "protocol"))
