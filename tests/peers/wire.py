"""Bytes of frames: the few builders that the captures are made of.

A `Way` is who talks to whom: the two MACs and the addresses of both families. Its methods build packets along that
way; whatever a row needs to break (a length, a version, an offset) is an argument, and nothing is repaired.
"""

import ipaddress
import struct
from dataclasses import dataclass, replace

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
C_TAG, S_TAG = 0x8100, 0x88A8
HOPOPT, TCP, UDP, ROUTING, FRAGMENT, ESP, AH, NONE, DSTOPT = 0, 6, 17, 43, 44, 50, 51, 59, 60
MOBILITY, HIP, SHIM6 = 135, 139, 140
EPHEMERAL = 40000
SYN = 0x02


def be16(value):
    return struct.pack(">H", value)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tag(vlan, tpid=C_TAG, priority=0):
    return be16(tpid) + be16(priority << 13 | vlan)


def snap(ether_type, oui="000000"):
    return bytes.fromhex("aaaa03" + oui) + be16(ether_type)


SAP_06 = bytes.fromhex("060603")


def extension(next_header, total=8, body=None):
    """Any IPv6 header of the form next header, length; padded by PadN so that hosts would accept it."""
    assert total % 8 == 0
    pad = b""
    room = total - 2
    while room > 0 and body is None:
        take = min(room, 257)
        pad += b"\x00" if take == 1 else bytes([1, take - 2]) + bytes(take - 2)
        room -= take
    return bytes([next_header, total // 8 - 1]) + (pad if body is None else body.ljust(total - 2, b"\x00"))


def routing(next_header, segments_left, addresses=1, kind=4):
    """A segment routing header (RFC 8754) of documentation addresses; other kinds lie in the same place."""
    hops = ipaddress.ip_address("2001:db8:ffff::99").packed * addresses
    return bytes([next_header, addresses * 2, kind, segments_left]) + bytes([max(addresses - 1, 0), 0, 0, 0]) + hops


def ah(next_header, total=24):
    """RFC 4302: the length counts in 4 bytes, less two."""
    return (bytes([next_header, total // 4 - 2]) + bytes.fromhex("0000") + b"\x00\x00\x10\x01" + bytes(total))[:total]


def fragment_header(next_header, offset=0, more=False, ident=0x50C0FFEE):
    return struct.pack(">BBHI", next_header, 0, offset << 3 | more, ident)


@dataclass(frozen=True)
class Way:
    src_mac: str
    dst_mac: str
    src4: str = "0.0.0.0"
    dst4: str = "0.0.0.0"
    src6: str = "::"
    dst6: str = "::"

    def but(self, **changes):
        return replace(self, **changes)

    def back(self):
        return Way(self.dst_mac, self.src_mac, self.dst4, self.src4, self.dst6, self.src6)

    # Ethernet ----------------------------------------------------------------------------------------------

    def macs(self):
        return bytes.fromhex((self.dst_mac + self.src_mac).replace(":", ""))

    def ether(self, ether_type, payload=b"", tags=b"", pad=0):
        frame = self.macs() + tags + be16(ether_type) + payload
        return frame + bytes(max(0, pad - len(frame)))

    def llc(self, payload, length=None, tags=b""):
        """An 802.3 frame; `length` is the field when it is to lie."""
        return self.macs() + tags + be16(len(payload) if length is None else length) + payload

    def frame(self, family, packet, tags=b""):
        return self.ether(IPV4 if family == 4 else IPV6, packet, tags)

    # IP ----------------------------------------------------------------------------------------------------

    def addresses(self, family):
        pair = (self.src4, self.dst4) if family == 4 else (self.src6, self.dst6)
        return b"".join(ipaddress.ip_address(a).packed for a in pair)

    def ip4(self, payload, protocol=TCP, options=b"", offset=0, more=False, df=False, evil=False, version=4, ihl=None,
            total=None, ident=0x2525, ttl=64):
        header_bytes = 20 + len(options)
        flags = evil << 15 | df << 14 | more << 13 | offset
        header = bytearray(struct.pack(
            ">BBHHHBBH", version << 4 | (header_bytes // 4 if ihl is None else ihl), 0,
            header_bytes + len(payload) if total is None else total, ident, flags, ttl, protocol, 0,
        ) + self.addresses(4) + options)
        header[10:12] = be16(checksum(bytes(header)))
        return bytes(header) + payload

    def ip6(self, payload, next_header=TCP, version=6, length=None, hops=64):
        length = len(payload) if length is None else length
        return struct.pack(">IHBB", version << 28, length, next_header, hops) + self.addresses(6) + payload

    def ip(self, family, payload, protocol=TCP):
        return self.ip4(payload, protocol) if family == 4 else self.ip6(payload, protocol)

    # Transport ---------------------------------------------------------------------------------------------

    def summed(self, family, protocol, segment, at):
        pseudo = self.addresses(family) + struct.pack(">II", len(segment), protocol)
        segment = bytearray(segment)
        segment[at : at + 2] = be16(checksum(pseudo + bytes(segment)))
        return bytes(segment)

    def tcp(self, family, dport, sport=EPHEMERAL, flags=SYN, data=b"", seq=0x1000, ack=0, offset=5):
        ack = ack or (0x2000 if flags & 0x10 else 0)
        segment = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, offset << 4, flags, 64240, 0, 0) + data
        return self.summed(family, TCP, segment, 16)

    def udp(self, family, dport, sport=EPHEMERAL, data=b""):
        segment = struct.pack(">HHHH", sport, dport, 8 + len(data), 0) + data
        return self.summed(family, UDP, segment, 6)

    def smtp(self, family, dport, **options):
        """A whole frame with a plain TCP segment."""
        tags = options.pop("tags", b"")
        return self.frame(family, self.ip(family, self.tcp(family, dport, **options)), tags)
