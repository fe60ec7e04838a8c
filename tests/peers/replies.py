"""What the box answers to a denied frame where `deny = "reject"`, built anew from the contract's section "Denied frames" and
the RFCs it names. `expected` gives the whole frame, or nothing.
"""

import ipaddress
import struct

import sight as sights
from wire import be16, checksum

FIN, SYN, RST, ACK = 1, 2, 4, 16
TCP, ICMP, ICMPV6 = 6, 1, 58
NO_HOSTS = [ipaddress.ip_network(net) for net in (
    "0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "ff00::/8")]
GROUPS = [ipaddress.ip_network(net) for net in ("224.0.0.0/4", "255.255.255.255/32", "ff00::/8")]


def expected(frame, ruling, policy):
    sight = ruling.sight
    if ruling.forward or not ruling.rejects or sight.kind != "tcp" or sight.steered:
        return None
    at = 12
    while sights.u16(frame, at) in sights.TAG_TYPES:
        at += 4
    if sights.u16(frame, at) < sights.TYPE_MIN or frame[0] & 1 or frame[6] & 1:
        return None
    source, destination = (ipaddress.ip_address(raw) for raw in sight.addresses)
    if any(source in net for net in NO_HOSTS) or any(destination in net for net in GROUPS):
        return None
    segment = sight.message
    if len(segment) < 20:
        return None
    header_bytes, flags = (segment[12] >> 4) * 4, segment[13]
    if header_bytes < 20 or header_bytes > len(segment) or flags & RST:
        return None

    front = frame[6:12] + frame[0:6] + frame[12 : at + 2]
    packet = ip_packet(frame[at + 2 :], source.version)
    own = policy.reject_from.get(source.version)
    if own and flags & SYN and not flags & ACK:
        answer = icmp(packet, own, source)
    else:
        answer = ip(TCP, reset(segment, header_bytes, flags, destination, source), destination, source)
    return (front + answer).ljust(60, b"\0")


def ip_packet(behind, version):
    """Without what stands behind it."""
    length = sights.u16(behind, 2) if version == 4 else sights.u16(behind, 4) + 40
    return behind if length == 40 and version == 6 else behind[:length]


def icmp(packet, own, to):
    if own.version == 4:
        body = struct.pack(">BBHI", 3, 13, 0, 0) + packet[: 576 - 20 - 8]
        return ip(ICMP, body[:2] + be16(checksum(body)) + body[4:], own, to)
    body = struct.pack(">BBHI", 1, 1, 0, 0) + packet[: 1280 - 40 - 8]
    return ip(ICMPV6, body[:2] + be16(checksum(pseudo(ICMPV6, body, own, to) + body)) + body[4:], own, to)


def reset(segment, header_bytes, flags, own, to):
    sport, dport, seq, ack = struct.unpack(">HHII", segment[:12])
    if flags & ACK:
        numbers = (ack, 0, RST)
    else:
        length = len(segment) - header_bytes + bool(flags & SYN) + bool(flags & FIN)
        numbers = (0, (seq + length) % 2**32, RST | ACK)
    head = struct.pack(">HHIIBBHHH", dport, sport, *numbers[:2], 0x50, numbers[2], 0, 0, 0)
    return head[:16] + be16(checksum(pseudo(TCP, head, own, to) + head)) + head[18:]


def pseudo(protocol, body, own, to):
    return own.packed + to.packed + struct.pack(">II", len(body), protocol)


def ip(protocol, body, own, to):
    if own.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + own.packed + to.packed + body
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0) + own.packed + to.packed
    return head[:10] + be16(checksum(head)) + head[12:] + body
