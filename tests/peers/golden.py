"""The golden frames: at least one for every row and clause of the contract, each with a sentence to name it by.

Two tables. `forms()` are shapes of frames; each is sent by a restricted VM to a mail port, by the same VM to 443, and
by an unrestricted VM to the mail port, both ways, so that every shape shows whether the box saw through it.
`matters()` are the questions of identity, scope, relay, monitor mode and port numbers.
"""

import ipaddress
import json
import struct

from wire import (
    AH, ARP, C_TAG, DSTOPT, EPHEMERAL, ESP, FRAGMENT, HIP, HOPOPT, IPV4, IPV6, MOBILITY, NONE, ROUTING, S_TAG, SAP_06,
    SHIM6, TCP, UDP, Way, ah, be16, extension, fragment_header, routing, snap, tag,
)

CONFIG = """\
# The configuration that the golden captures are judged by.
[[link]]
name = "link0"
inside = "net_null0"
outside = "net_null1"
scopes = { "100" = 1, "300" = "refuse", "*" = 0 }
via = [{ mac = "52:54:00:ff:ff:02", vlan = 200 }]

[policy]
unknown_class = "restricted"
via = ["52:54:00:ff:ff:01"]

[[policy.relay]]
name = "smarthost"
prefix = "198.51.100.25/32"
ports = ["587"]

[[policy.relay]]
name = "smarthost6"
prefix = "2001:db8:ffff::25/128"
ports = ["587"]

[class.mta-only]
ports = ["25"]

# A class in monitor mode, closing 25.
[class.watch]
ports = ["25"]
mode = "monitor"

# A class that closes what `restricted` leaves open: contradictions about it are forwarded, and observed.
[class.alternate]
ports = ["2525"]
"""

ROUTER_OF_200 = "52:54:00:ff:ff:02"
ROUTER, GATEWAY, STRANGER = "52:54:00:ff:ff:01", "52:54:00:ee:ee:01", "52:54:00:dd:dd:01"
PEER4, PEER6 = "198.51.100.7", "2001:db8:ffff::7"
RELAY4, RELAY6 = "198.51.100.25", "2001:db8:ffff::25"
NOBODY4, NOBODY6 = "10.99.0.1", "2001:db8:99::1"
LINK_LOCAL = "fe80::5054:ff:fe00:1"


def mac(number):
    return f"52:54:00:00:00:{number:02x}"


VMS = [
    {"id": "web1", "macs": [mac(1)], "ips": ["10.0.0.5", "2001:db8::5"]},
    {"id": "mail1", "macs": [mac(2)], "ips": ["10.0.0.6", "2001:db8::6"], "public_ipv4": "203.0.113.6"},
    {"id": "web2", "macs": [mac(3)], "ips": ["10.0.0.7", "2001:db8::7"]},
    {"id": "mail2", "macs": [mac(4)], "ips": ["2001:db8::8"], "public_ipv4": "203.0.113.8"},
    {"id": "only4", "macs": [mac(5)], "public_ipv4": "203.0.113.9"},
    {"id": "only6", "macs": [mac(6)], "ips": ["2001:db8::a"], "class": "unrestricted"},
    {"id": "macs-free", "macs": [mac(7)], "class": "unrestricted"},
    {"id": "macs-closed", "macs": [mac(8)]},
    {"id": "ips-free", "ips": ["2001:db8::b"], "public_ipv4": "203.0.113.11"},
    {"id": "ips-closed", "ips": ["10.0.0.12", "2001:db8::c"]},
    {"id": "mta1", "macs": [mac(9)], "ips": ["10.0.0.13", "2001:db8::d"], "class": "mta-only"},
    {"id": "mta-only4", "macs": [mac(0x0A)], "ips": ["10.0.0.14"], "class": "mta-only"},
    {"id": "monitored", "macs": [mac(0x0B)], "ips": ["10.0.0.15"], "mode": "monitor"},
    {"id": "monitored-free4", "macs": [mac(0x0C)], "public_ipv4": "203.0.113.16", "mode": "monitor"},
    {"id": "watched", "macs": [mac(0x0D)], "ips": ["10.0.0.17", "2001:db8::11"], "class": "watch"},
    {"id": "alternate1", "macs": [mac(0x0E)], "ips": ["10.0.0.18", "2001:db8::12"], "class": "alternate"},
    {"id": "net1", "macs": [mac(0x0F)], "ips": ["10.20.0.0/24", "2001:db8:20::/64"]},
    {"id": "in-net1", "macs": [mac(0x10)], "ips": ["10.20.0.9", "2001:db8:20::9"], "class": "unrestricted"},
    {"id": "two-nics", "macs": [mac(0x11), mac(0x12)], "ips": ["2001:db8::14", "2001:db8::15"],
     "public_ipv4": "203.0.113.20"},
    {"id": "public-closed", "macs": [mac(0x13)], "ips": ["2001:db8::16"], "public_ipv4": "203.0.113.22",
     "class": "restricted"},
    {"id": "web1-of-scope-1", "macs": [mac(1)], "ips": ["10.0.0.5", "2001:db8::5"], "class": "unrestricted",
     "scope": 1},
    {"id": "mail1-of-scope-1", "macs": [mac(2)], "ips": ["203.0.113.6", "2001:db8::6"], "scope": 1},
]
VMS_JSONL = "".join(json.dumps(vm) + "\n" for vm in VMS)


def addresses_of(vm_id):
    """MAC, IPv4, IPv6 of a VM; a public IPv4 before a private one; None where it lists none."""
    vm = next(vm for vm in VMS if vm["id"] == vm_id)
    by_family = {4: vm.get("public_ipv4"), 6: None}
    for text in vm.get("ips", []):
        first = ipaddress.ip_network(text)
        address = str(first[5] if first.num_addresses > 1 else first[0])
        by_family[first.version] = by_family[first.version] or address
    return (vm.get("macs") or [None])[0], by_family[4], by_family[6]


class Golden:
    """Collects frames and their labels for both sides."""

    def __init__(self):
        self.frames = {"inside": [], "outside": []}
        self.labels = {"inside": [], "outside": []}

    def add(self, side, label, frame):
        assert len(frame) >= 14, label
        self.frames[side].append(frame)
        self.labels[side].append(label)

    def both_ways(self, label, vm_mac, vm4, vm6, build, peer4=PEER4, peer6=PEER6):
        """`build(way)` towards the peer on inside, and towards the VM on outside."""
        way = Way(vm_mac, GATEWAY, vm4, peer4, vm6, peer6)
        self.add("inside", label, build(way))
        self.add("outside", label, build(way.back()))


# ---------------------------------------------------------------------------------------------------- shapes


def forms():
    """(label, build(way, port)) for each shape; decoys carry 25 when the true port is 443, and 443 when it is 25."""
    yield from link_forms()
    yield from llc_forms()
    yield from ipv4_forms()
    yield from ipv6_forms()
    yield from chain_forms()
    yield from fragment_forms()
    yield from tcp_forms()
    yield from other_forms()
    yield from tunnel_forms()


def decoy(port):
    """Port pairs that say the opposite of the truth, to be strewn where no port is."""
    return struct.pack(">HH", *((443, 443) if port == 25 else (25, 25)))


def packet(w, family, port, **options):
    return w.ip(family, w.tcp(family, port, **options))


def link_forms():
    stacks = [
        ("no tag", b""),
        ("one tag", tag(5)), ("one tag, priority 7", tag(5, priority=7)), ("one tag, VLAN 4095", tag(4095)),
        ("priority tag", tag(0)), ("S-tag alone", tag(5, S_TAG)), ("S priority tag", tag(0, S_TAG)),
        ("TPID 9100", tag(5, 0x9100)), ("TPID 9200", tag(5, 0x9200)), ("TPID 9300", tag(5, 0x9300)),
        ("QinQ", tag(7, S_TAG) + tag(5)), ("two C-tags", tag(7) + tag(5)), ("two S-tags", tag(7, S_TAG) * 2),
        ("tags 9100 and 8100", tag(7, 0x9100) + tag(5)), ("tags 9200 and 9300", tag(7, 0x9200) + tag(5, 0x9300)),
        ("priority tag, then a tag", tag(0) + tag(5)), ("tag, then a priority tag", tag(5) + tag(0)),
        ("two priority tags", tag(0) * 2),
        ("three tags", tag(7) + tag(6) + tag(5)), ("three priority tags", tag(0) * 3),
        ("three tags, the third 9300", tag(7, S_TAG) + tag(6) + tag(5, 0x9300)),
        ("four tags", tag(8) + tag(7) + tag(6) + tag(5)), ("six tags", tag(5) * 6),
    ]
    for name, tags in stacks:
        for family in (4, 6):
            yield f"{name}, IPv{family}", lambda w, p, f=family, t=tags: w.smtp(f, p, tags=t)
    yield "three tags over ARP", lambda w, p: w.ether(ARP, arp(w), tag(7) + tag(6) + tag(5))
    yield "two tags over ARP", lambda w, p: w.ether(ARP, arp(w), tag(7) + tag(6))
    for tpid, name in ((0x9400, "9400"), (0x88E7, "88e7 (PBB)"), (0x893F, "893f (E-tag)"), (0x8101, "8101"),
                       (0x8200, "8200"), (0x9A00, "9a00")):
        yield f"{name} is no tag of ours", lambda w, p, t=tpid: w.smtp(4, p, tags=tag(5, t))
    for kept in range(4):
        yield f"tag cut after {kept} bytes", lambda w, p, k=kept: w.ether(C_TAG, (be16(5) + be16(IPV4))[:k])
    yield "second tag cut", lambda w, p: w.ether(S_TAG, be16(0)[:1], tag(5))
    yield "third tag cut", lambda w, p: w.ether(C_TAG, b"", tag(5) + tag(6))
    yield "tag, then nothing behind IPv4", lambda w, p: w.ether(IPV4, b"", tag(5))
    yield "tag, then nothing behind IPv6", lambda w, p: w.ether(IPV6, b"", tag(5))
    yield "padded to 60 bytes with decoys", lambda w, p: w.smtp(4, p) + decoy(p) + decoy(p)[:2]


def llc_forms():
    for family, ether_type in ((4, IPV4), (6, IPV6)):
        ip = lambda w, p, f=family: packet(w, f, p)  # noqa: E731
        for oui, name in (("000000", "SNAP"), ("0000f8", "SNAP 0000f8")):
            head = snap(ether_type, oui)
            yield f"{name}, IPv{family}", lambda w, p, i=ip, h=head: w.llc(h + i(w, p))
            for length in (0, 3, 8, 1500, 0x05FF):
                yield (f"{name}, false length {length}, IPv{family}",
                       lambda w, p, i=ip, h=head, n=length: w.llc(h + i(w, p), n))
        head = snap(ether_type)
        yield f"tag, SNAP, IPv{family}", lambda w, p, i=ip, h=head: w.llc(h + i(w, p), tags=tag(5))
        yield f"priority tag, SNAP, false length, IPv{family}", lambda w, p, i=ip, h=head: w.llc(h + i(w, p), 1, tag(0))
        yield f"two tags, SNAP, IPv{family}", lambda w, p, i=ip, h=head: w.llc(h + i(w, p), tags=tag(0, S_TAG) + tag(5))
        yield (f"SNAP, then a tag, IPv{family}",
               lambda w, p, i=ip, t=ether_type: w.llc(snap(C_TAG) + be16(5) + be16(t) + i(w, p)))
        yield (f"tag, SNAP, tag, IPv{family}",
               lambda w, p, i=ip, t=ether_type: w.llc(snap(S_TAG) + be16(0) + be16(t) + i(w, p), tags=tag(5)))
        yield (f"tag, SNAP, tag, SNAP, IPv{family}",
               lambda w, p, i=ip, h=head: w.llc(snap(C_TAG) + be16(5) + be16(0x60) + h + i(w, p), tags=tag(0)))
        yield (f"two tags, SNAP, a third tag, IPv{family}",
               lambda w, p, i=ip, t=ether_type: w.llc(snap(C_TAG) + be16(5) + be16(t) + i(w, p), tags=tag(0) * 2))
        yield f"SAP 06, IPv{family}", lambda w, p, i=ip: w.llc(SAP_06 + i(w, p))
        yield f"SAP 06, false length, IPv{family}", lambda w, p, i=ip: w.llc(SAP_06 + i(w, p), 4)
        yield f"tag, SAP 06, IPv{family}", lambda w, p, i=ip: w.llc(SAP_06 + i(w, p), tags=tag(0))
        yield f"SAP 06 from SAP aa, IPv{family}", lambda w, p, i=ip: w.llc(b"\x06\xaa\x03" + i(w, p))
        yield (f"SNAP of another organisation, IPv{family}",
               lambda w, p, i=ip, t=ether_type: w.llc(snap(t, "00000c") + i(w, p)))
    yield "SAP 06, version 5", lambda w, p: w.llc(SAP_06 + w.ip4(w.tcp(4, p), version=5))
    yield "SAP 06, nothing behind", lambda w, p: w.llc(SAP_06)
    yield "SAP 06, IPv4 header cut", lambda w, p: w.llc(SAP_06 + packet(w, 4, p)[:19])
    yield "SAP 06, another control byte", lambda w, p: w.llc(b"\x06\x06\xf3" + packet(w, 4, p))
    yield "SAP 07 (group)", lambda w, p: w.llc(b"\x07\x06\x03" + packet(w, 4, p))
    yield "SNAP, IPv4 type over IPv6", lambda w, p: w.llc(snap(IPV4) + packet(w, 6, p))
    yield "SNAP, IPv6 type over IPv4", lambda w, p: w.llc(snap(IPV6) + packet(w, 4, p))
    yield "SNAP with ARP", lambda w, p: w.llc(snap(ARP) + arp(w))
    yield "SNAP with a type below 0600", lambda w, p: w.llc(snap(0x0060) + snap(IPV4) + packet(w, 4, p))
    yield "SNAP with another control byte", lambda w, p: w.llc(b"\xaa\xaa\xf3" + snap(IPV4)[3:] + packet(w, 4, p))
    yield "SNAP to SAP ab", lambda w, p: w.llc(b"\xab\xaa\x03" + snap(IPV4)[3:] + packet(w, 4, p))
    for kept in range(3):
        yield f"LLC cut after {kept} bytes", lambda w, p, k=kept: w.llc(snap(IPV4)[:k])
        yield f"STP cut after {kept} bytes", lambda w, p, k=kept: w.llc(b"\x42\x42\x03"[:k], 38)
    for kept in range(3, 8):
        yield f"SNAP cut after {kept} bytes", lambda w, p, k=kept: w.llc(snap(IPV4)[:k], 60)
    yield "SNAP, nothing behind", lambda w, p: w.llc(snap(IPV4))
    yield "type 05ff is a length", lambda w, p: w.ether(0x05FF, snap(IPV4) + packet(w, 4, p))
    yield "type 8870 (LLC of jumbo frames) over SNAP", lambda w, p: w.ether(0x8870, snap(IPV4) + packet(w, 4, p))
    yield "type 0600 is a type", lambda w, p: w.ether(0x0600, snap(IPV4) + packet(w, 4, p))


def ipv4_forms():
    for ihl in range(6, 16):
        yield (f"IPv4, IHL {ihl}, decoys in the options",
               lambda w, p, n=ihl: w.ip4_frame(w.tcp(4, p), options=decoy(p) * (n - 5)))
        yield (f"IPv4, IHL {ihl}, options of no-ops",
               lambda w, p, n=ihl: w.ip4_frame(w.tcp(4, p), options=b"\x01" * 4 * (n - 5)))
    yield "IPv4, record route", lambda w, p: w.ip4_frame(w.tcp(4, p), options=bytes.fromhex("0707040000000000"))
    yield "IPv4, loose source route", lambda w, p: w.ip4_frame(w.tcp(4, p), options=bytes.fromhex("830704c000020100"))
    for ihl in range(5):
        yield f"IPv4, IHL {ihl}", lambda w, p, n=ihl: w.ip4_frame(w.tcp(4, p), ihl=n)
    yield "IPv4, IHL 15 past the total length", lambda w, p: w.ip4_frame(w.tcp(4, p), ihl=15)
    yield ("IPv4, IHL 11 past the total length but not the frame",
           lambda w, p: w.ip4_frame(w.tcp(4, p) + decoy(p) * 8, ihl=11, total=40))
    for version in (0, 1, 3, 5, 6, 15):
        yield f"IPv4, version {version}", lambda w, p, v=version: w.ip4_frame(w.tcp(4, p), version=v)
    for total in (0, 1, 19, 41, 42, 1500, 65535):
        yield f"IPv4, total length {total} of 40", lambda w, p, n=total: w.ip4_frame(w.tcp(4, p), total=n)
    yield "IPv4, total length 20, TCP behind it", lambda w, p: w.ip4_frame(w.tcp(4, p), total=20)
    yield "IPv4, total length 23, port cut by it", lambda w, p: w.ip4_frame(w.tcp(4, p), total=23)
    yield "IPv4, total length 24, ports just within", lambda w, p: w.ip4_frame(w.tcp(4, p), total=24)
    yield ("IPv4, total length within the options",
           lambda w, p: w.ip4_frame(w.tcp(4, p), options=b"\x01" * 8, total=24))
    yield "IPv4, UDP, decoys after the total length", lambda w, p: w.ip4_frame(w.udp(4, p), UDP) + w.tcp(4, p)
    yield "IPv4, trailer of 1000 decoy bytes", lambda w, p: w.smtp(4, p) + decoy(p) * 250
    for kept in (0, 1, 8, 12, 19):
        yield f"IPv4 header cut after {kept} bytes", lambda w, p, k=kept: w.ether(IPV4, packet(w, 4, p)[:k])
    yield "IPv4 cut to its header", lambda w, p: w.ether(IPV4, packet(w, 4, p)[:20])
    yield "IPv4 type over an IPv6 packet", lambda w, p: w.ether(IPV4, packet(w, 6, p))
    yield "ARP type over an IPv4 packet", lambda w, p: w.ether(ARP, packet(w, 4, p))
    yield "IPv4, don't fragment", lambda w, p: w.ip4_frame(w.tcp(4, p), df=True)
    yield "IPv4, evil bit", lambda w, p: w.ip4_frame(w.tcp(4, p), evil=True)
    yield "IPv4, TTL 0", lambda w, p: w.ip4_frame(w.tcp(4, p), ttl=0)
    for protocol in (HOPOPT, ROUTING, FRAGMENT, DSTOPT, MOBILITY, HIP, SHIM6):
        yield (f"IPv4, protocol {protocol} is no extension header here",
               lambda w, p, n=protocol: w.ip4_frame(extension(TCP) + w.tcp(4, p), n))


def ipv6_forms():
    for extra in (1, 2, 1000):
        yield (f"IPv6, payload length {extra} beyond the frame",
               lambda w, p, n=extra: w.frame(6, w.ip6(w.tcp(6, p), length=20 + n)))
    yield "IPv6, payload length 65535", lambda w, p: w.frame(6, w.ip6(w.tcp(6, p), length=65535))
    yield "IPv6, payload length 3, port cut by it", lambda w, p: w.frame(6, w.ip6(w.tcp(6, p), length=3))
    yield "IPv6, payload length 4, ports just within", lambda w, p: w.frame(6, w.ip6(w.tcp(6, p), length=4))
    yield "IPv6, trailer of decoys", lambda w, p: w.smtp(6, p) + decoy(p) * 10
    yield "IPv6, UDP, TCP after the payload", lambda w, p: w.frame(6, w.ip6(w.udp(6, p), UDP)) + w.tcp(6, p)
    yield "IPv6, payload length 0, TCP to the frame's end", lambda w, p: w.frame(6, w.ip6(w.tcp(6, p), length=0))
    yield "IPv6, payload length 0, nothing behind TCP", lambda w, p: w.frame(6, w.ip6(b""))
    yield "IPv6, payload length 0, 3 bytes of TCP", lambda w, p: w.frame(6, w.ip6(w.tcp(6, p)[:3], length=0))
    yield "IPv6, payload length 0, no next header", lambda w, p: w.frame(6, w.ip6(b"", NONE))
    yield "IPv6, payload length 0, hop-by-hop missing", lambda w, p: w.frame(6, w.ip6(b"", HOPOPT))
    yield ("IPv6 jumbogram", lambda w, p: w.frame(6, w.ip6(
        extension(TCP, 8, bytes.fromhex("c2040000001c")) + w.tcp(6, p), HOPOPT, length=0)))
    for version in (0, 4, 5, 7, 15):
        yield f"IPv6, version {version}", lambda w, p, v=version: w.frame(6, w.ip6(w.tcp(6, p), version=v))
    for kept in (0, 1, 8, 24, 39):
        yield f"IPv6 header cut after {kept} bytes", lambda w, p, k=kept: w.ether(IPV6, packet(w, 6, p)[:k])
    yield "IPv6 cut to its header", lambda w, p: w.ether(IPV6, packet(w, 6, p)[:40])
    yield "IPv6 type over an IPv4 packet", lambda w, p: w.ether(IPV6, packet(w, 4, p) + bytes(20))


def chain(kinds, last, body):
    """Headers in the given order in front of `body`; a kind is (protocol, build(next header))."""
    protocols = [protocol for protocol, _ in kinds] + [last]
    headers = b"".join(build(following) for (_, build), following in zip(kinds, protocols[1:]))
    return protocols[0], headers + body


def six(w, kinds, p, last=TCP, body=None, keep=None):
    first, data = chain(kinds, last, w.tcp(6, p) if body is None else body)
    return w.frame(6, w.ip6(data[:keep], first))


OPTS8 = (DSTOPT, lambda n: extension(n))
ATOMIC = (FRAGMENT, lambda n: fragment_header(n))
FIRST = (FRAGMENT, lambda n: fragment_header(n, more=True))
AH24 = (AH, lambda n: ah(n))


def opts(total):
    return (DSTOPT, lambda n: extension(n, total))


def chain_forms():
    singles = [
        ("hop-by-hop", (HOPOPT, lambda n: extension(n))),
        ("hop-by-hop of 64 bytes", (HOPOPT, lambda n: extension(n, 64))),
        ("destination options", OPTS8), ("destination options of 256 bytes", opts(256)),
        ("routing, no segments left", (ROUTING, lambda n: routing(n, 0))),
        ("routing, one segment left", (ROUTING, lambda n: routing(n, 1))),
        ("routing type 0", (ROUTING, lambda n: routing(n, 1, kind=0))),
        ("routing type 2", (ROUTING, lambda n: routing(n, 1, kind=2))),
        ("AH of 24 bytes", AH24), ("AH of 16 bytes", (AH, lambda n: ah(n, 16))),
        ("AH of 12 bytes", (AH, lambda n: ah(n, 12))), ("AH of 8 bytes", (AH, lambda n: ah(n, 8))),
        ("mobility", (MOBILITY, lambda n: extension(n))), ("HIP", (HIP, lambda n: extension(n, 40))),
        ("shim6", (SHIM6, lambda n: extension(n))), ("atomic fragment", ATOMIC),
    ]
    for name, kind in singles:
        yield f"IPv6, {name}", lambda w, p, k=kind: six(w, [k], p)
        yield f"IPv6, {name}, then UDP", lambda w, p, k=kind: six(w, [k], p, UDP, w.udp(6, p))
    hop = (HOPOPT, lambda n: extension(n))
    route = (ROUTING, lambda n: routing(n, 0))
    yield "IPv6, the full order of RFC 8200", lambda w, p: six(w, [hop, OPTS8, route, ATOMIC, AH24, OPTS8], p)
    yield "IPv6, hop-by-hop misplaced", lambda w, p: six(w, [OPTS8, hop], p)
    yield "IPv6, AH twice", lambda w, p: six(w, [AH24, AH24], p)
    yield "IPv6, decoys in the options", lambda w, p: six(w, [(DSTOPT, lambda n: extension(n, 32, decoy(p) * 7))], p)

    for count in range(13):
        yield f"IPv6, {count} headers", lambda w, p, n=count: six(w, [OPTS8] * n, p)
        yield f"IPv6, {count} headers, then UDP", lambda w, p, n=count: six(w, [OPTS8] * n, p, UDP, w.udp(6, p))
        yield (f"IPv6, {count} headers and an atomic fragment header",
               lambda w, p, n=count: six(w, [OPTS8] * n + [ATOMIC], p))
        yield f"IPv4, AH {count} times", lambda w, p, n=count: w.ip4_frame(*ah_chain(n, w.tcp(4, p)))
    for total in (8, 12, 16, 252, 256, 260, 1028):
        yield f"IPv4, AH of {total} bytes", lambda w, p, n=total: w.ip4_frame(ah(TCP, n) + w.tcp(4, p), AH)
    yield "IPv4, AH, then UDP", lambda w, p: w.ip4_frame(ah(UDP) + w.udp(4, p), AH)
    yield "IPv4, AH, then ESP", lambda w, p: w.ip4_frame(ah(ESP) + bytes(40), AH)
    yield "IPv4, AH behind options", lambda w, p: w.ip4_frame(ah(TCP) + w.tcp(4, p), AH, options=decoy(p) * 2)

    for totals in ((256,), (264,), (248, 8), (248, 16), (128, 128), (128, 136), (64,) * 4, (64,) * 5, (2048,)):
        name = " and ".join(map(str, totals)) if len(totals) < 3 else f"{len(totals)} times {totals[0]}"
        yield f"IPv6, options of {name} bytes", lambda w, p, t=totals: six(w, [opts(n) for n in t], p)
    yield "IPv6, 252 bytes of AH, then 8 of options", lambda w, p: six(w, [(AH, lambda n: ah(n, 252)), OPTS8], p)
    yield "IPv6, 252 bytes of AH, then a fragment header", lambda w, p: six(w, [(AH, lambda n: ah(n, 252)), ATOMIC], p)
    yield "IPv6, 248 bytes of options, then a fragment header", lambda w, p: six(w, [opts(248), ATOMIC], p)
    for present in (0, 1, 2, 7, 8, 100, 255, 256, 257, 300):
        yield (f"IPv6, options of 2048 bytes, {present} of them there",
               lambda w, p, k=present: six(w, [opts(2048)], p, keep=k))
    for present in (0, 1, 2, 7):
        yield (f"IPv6, fragment header cut after {present} bytes",
               lambda w, p, k=present: six(w, [ATOMIC], p, keep=k))
        yield f"IPv4, AH cut after {present} bytes", lambda w, p, k=present: w.ip4_frame(ah(TCP)[:k], AH)
    yield "IPv4, AH cut after 23 bytes", lambda w, p: w.ip4_frame(ah(TCP)[:23], AH)
    yield "IPv6, eight headers, a ninth announced and absent", lambda w, p: six(w, [OPTS8] * 8, p, DSTOPT, b"")
    yield "IPv6, eight headers, the last one cut", lambda w, p: six(w, [OPTS8] * 8, p, keep=60)
    yield "IPv6, 256 bytes, more announced and absent", lambda w, p: six(w, [opts(256)], p, DSTOPT, b"")

    for name, kinds in (
        ("two atomic fragment headers", [ATOMIC, ATOMIC]), ("atomic, then first fragment header", [ATOMIC, FIRST]),
        ("first, then atomic fragment header", [FIRST, ATOMIC]),
        ("fragment headers about an options header", [ATOMIC, OPTS8, ATOMIC]),
        ("atomic, then later fragment header", [ATOMIC, (FRAGMENT, lambda n: fragment_header(n, 64))]),
        ("later fragment header, then another", [(FRAGMENT, lambda n: fragment_header(n, 64)), ATOMIC]),
    ):
        yield f"IPv6, {name}", lambda w, p, k=kinds: six(w, k, p)
    yield "IPv6, second fragment header announced and absent", lambda w, p: six(w, [ATOMIC], p, FRAGMENT, b"")
    for name, protocol in (("no next header", NONE), ("ESP", ESP), ("unknown header 253", 253)):
        yield f"IPv6, options, then {name}", lambda w, p, n=protocol: six(w, [OPTS8], p, n)


def ah_chain(count, segment):
    first, data = chain([AH24] * count, TCP, segment)
    return data, first


def fragment_forms():
    for kept in (0, 4, 8, 16, 19, 20, 24, 32):
        yield (f"IPv4 first fragment, {kept} bytes of TCP",
               lambda w, p, k=kept: w.ip4_frame(w.tcp(4, p, data=b"EHLO there\r\n")[:k], more=True))
        yield (f"IPv6 first fragment, {kept} bytes of TCP",
               lambda w, p, k=kept: six(w, [FIRST], p, body=w.tcp(6, p, data=b"EHLO there\r\n")[:k]))
    yield ("IPv4 first fragment with options, 16 bytes of TCP",
           lambda w, p: w.ip4_frame(w.tcp(4, p)[:16], more=True, options=decoy(p) * 3))
    yield ("IPv4 first fragment padded, the header behind its end",
           lambda w, p: w.ip4_frame(w.tcp(4, p), more=True, total=28))
    for kept in range(0, 56, 8):
        yield (f"IPv4 first fragment with AH, {kept} bytes in all",
               lambda w, p, k=kept: w.ip4_frame((ah(TCP) + w.tcp(4, p, data=bytes(12)))[:k], AH, more=True))
    route = (ROUTING, lambda n: routing(n, 0))
    for kept in range(8, 112, 8):
        yield (f"IPv6 first fragment with options, routing and AH, {kept} bytes in all",
               lambda w, p, k=kept: six(w, [FIRST, OPTS8, route, AH24], p, keep=k))
    yield "IPv6 first fragment, 9 headers", lambda w, p: six(w, [FIRST] + [OPTS8] * 8, p)
    yield "IPv6 first fragment, over 256 bytes", lambda w, p: six(w, [FIRST, opts(264)], p)
    yield "IPv6 first fragment, chain cut before byte 256", lambda w, p: six(w, [FIRST, opts(2048)], p, keep=200)
    yield "IPv6 first fragment, chain cut after byte 256", lambda w, p: six(w, [FIRST, opts(2048)], p, keep=304)
    for name, protocol in (("UDP", UDP), ("ICMP", 1), ("ESP", ESP), ("GRE", 47), ("unknown", 253)):
        yield (f"IPv4 first fragment of {name}",
               lambda w, p, n=protocol: w.ip4_frame(w.udp(4, p, data=bytes(16)), n, more=True))
        yield (f"IPv6 first fragment of {name}",
               lambda w, p, n=protocol: six(w, [FIRST], p, n, w.udp(6, p, data=bytes(16))))
    yield "IPv4 first fragment of UDP without ports", lambda w, p: w.ip4_frame(b"", UDP, more=True)

    for offset in (1, 2, 3, 34, 35, 256, 257, 4096, 4097, 8189, 8191):
        for name, protocol in (("TCP", TCP), ("UDP", UDP), ("AH", AH), ("ESP", ESP)):
            yield (f"IPv4 later fragment of {name} at offset {offset}",
                   lambda w, p, o=offset, n=protocol: w.ip4_frame(w.tcp(4, p), n, offset=o))
        for name, protocol in (("TCP", TCP), ("UDP", UDP), ("options", DSTOPT), ("no next header", NONE)):
            later = (FRAGMENT, lambda n, o=offset: fragment_header(n, o))
            yield (f"IPv6 later fragment of {name} at offset {offset}",
                   lambda w, p, k=later, n=protocol: six(w, [k], p, n))
    for offset in (1, 3):
        yield (f"IPv4 later fragment at offset {offset}, more to come",
               lambda w, p, o=offset: w.ip4_frame(w.tcp(4, p) + bytes(4), offset=o, more=True))
        yield (f"IPv4 later fragment at offset {offset} behind options and two tags",
               lambda w, p, o=offset: w.ip4_frame(w.tcp(4, p), offset=o, options=decoy(p), tags=tag(0) + tag(5)))
        yield f"IPv4 later fragment at offset {offset}, empty", lambda w, p, o=offset: w.ip4_frame(b"", offset=o)
    for offset in (34, 35):
        later = (FRAGMENT, lambda n, o=offset: fragment_header(n, o, more=True))
        yield f"IPv6 later fragment at offset {offset} behind options", lambda w, p, k=later: six(w, [OPTS8, k], p)
    yield "IPv6 atomic fragment of UDP", lambda w, p: six(w, [ATOMIC], p, UDP, w.udp(6, p))


def tcp_forms():
    for kept in range(20):
        yield f"IPv4, {kept} bytes of TCP", lambda w, p, k=kept: w.ip4_frame(w.tcp(4, p)[:k])
        yield f"IPv6, {kept} bytes of TCP", lambda w, p, k=kept: w.frame(6, w.ip6(w.tcp(6, p)[:k]))
    yield ("IPv4, 2 bytes of TCP, the rest as padding",
           lambda w, p: w.ip4_frame(w.tcp(4, p), total=22))
    for name, flags in (("no flags", 0), ("FIN", 1), ("RST", 4), ("SYN ACK", 0x12), ("ACK", 0x10), ("PSH ACK", 0x18),
                        ("FIN ACK", 0x11), ("RST ACK", 0x14), ("all flags", 0xFF)):
        for family in (4, 6):
            yield f"TCP {name}, IPv{family}", lambda w, p, f=family, x=flags: w.smtp(f, p, flags=x, data=b"NOOP\r\n")
    for words in (0, 4, 15):
        yield f"TCP data offset {words}", lambda w, p, n=words: w.smtp(4, p, offset=n)


def arp(w, operation=1):
    sender = w.macs()[6:] + ipaddress.ip_address(w.src4).packed
    return struct.pack(">HHBBH", 1, IPV4, 6, 4, operation) + sender + bytes(6) + ipaddress.ip_address(w.dst4).packed


def other_forms():
    for family in (4, 6):
        for port in (25, 465, 587, 53, 2525):
            yield f"UDP {port}, IPv{family}", lambda w, p, f=family, n=port: w.frame(f, w.ip(f, w.udp(f, n), UDP))
        yield (f"UDP from port 25, IPv{family}",
               lambda w, p, f=family: w.frame(f, w.ip(f, w.udp(f, 53, sport=25), UDP)))
        for kept in (0, 3, 4, 7):
            yield (f"{kept} bytes of UDP to 25, IPv{family}",
                   lambda w, p, f=family, k=kept: w.frame(f, w.ip(f, w.udp(f, 25)[:k], UDP)))
        for name, protocol in (("SCTP", 132), ("DCCP", 33), ("UDP-Lite", 136), ("ICMP", 1), ("ICMPv6", 58),
                               ("ESP", ESP), ("IGMP", 2), ("OSPF", 89), ("no next header", NONE), ("unknown 253", 253),
                               ("unknown 255", 255)):
            yield (f"{name} with mail ports, IPv{family}",
                   lambda w, p, f=family, n=protocol: w.frame(f, w.ip(f, w.tcp(f, p), n)))
    for name, ether_type in (("RARP", 0x8035), ("EAPOL", 0x888E), ("pause", 0x8808), ("loopback", 0x9000),
                             ("NSH", 0x894F), ("TRILL", 0x22F3), ("EtherCAT", 0x88A4), ("type ffff", 0xFFFF),
                             ("slow protocols", 0x8809), ("PTP", 0x88F7), ("CFM", 0x8902), ("Wake-on-LAN", 0x0842),
                             ("VN-Tag", 0x8926), ("DSA (dada)", 0xDADA), ("DSA without a type (c028)", 0xC028)):
        yield f"{name} over an IPv4 packet", lambda w, p, t=ether_type: w.ether(t, packet(w, 4, p))
    yield "ARP", lambda w, p: w.ether(ARP, arp(w), pad=60)
    yield "ARP cut to 14 bytes", lambda w, p: w.ether(ARP)
    yield "LLDP", lambda w, p: w.but(dst_mac="01:80:c2:00:00:0e").ether(
        0x88CC, bytes.fromhex("0207 04 525400000001 0403 05 6531 0602 0078 0000"), pad=60)
    yield "STP", lambda w, p: w.but(dst_mac="01:80:c2:00:00:00").llc(
        bytes.fromhex("424203 0000 00 00 00 8000525400000001 00000000 8000525400000001 8001 0000 1400 0200 0f00"))
    yield "CDP", lambda w, p: w.but(dst_mac="01:00:0c:cc:cc:cc").llc(snap(0x2000, "00000c") + bytes.fromhex("02b40000"))
    yield "IPX in raw 802.3", lambda w, p: w.llc(b"\xff\xff" + be16(30) + bytes(28))
    yield "NetBEUI", lambda w, p: w.llc(b"\xf0\xf0\x03" + bytes(40))
    yield "IS-IS", lambda w, p: w.llc(b"\xfe\xfe\x03\x83" + bytes(40))


def tunnel_forms():
    for family in (4, 6):
        for name, protocol, head in tunnel_heads():
            yield (f"{name} over IPv{family}, mail inside",
                   lambda w, p, f=family, n=protocol, h=head: w.frame(f, w.ip(f, h(w, f, p), n)))
    for name, ether_type, head in (
        ("PPPoE session", 0x8864, "11000001 002a 0021"), ("PPPoE discovery", 0x8863, "1109 0000 0004 0101 0000"),
        ("MPLS", 0x8847, "00064140"), ("MPLS multicast", 0x8848, "00064140"),
        ("MACsec, integrity only", 0x88E5, "0000 00000001 0800"),
    ):
        yield (f"{name}, mail inside",
               lambda w, p, t=ether_type, h=head: w.ether(t, bytes.fromhex(h) + packet(w, 4, p)))
        yield (f"{name} behind a tag, mail inside",
               lambda w, p, t=ether_type, h=head: w.ether(t, bytes.fromhex(h) + packet(w, 4, p), tag(5)))


def tunnel_heads():
    """(name, IP protocol, build(way, outer family, port)): the outer payload with an SMTP packet within."""
    def udp(port, head, inner_ether=False):
        def build(w, f, p):
            inner = w.smtp(4, p) if inner_ether else packet(w, 4, p)
            return w.udp(f, port, data=bytes.fromhex(head) + inner)
        return build

    return [
        ("GRE", 47, lambda w, f, p: be16(0) + be16(IPV4) + packet(w, 4, p)),
        ("GRE with Ethernet", 47, lambda w, f, p: be16(0) + be16(0x6558) + w.smtp(4, p)),
        ("IPIP", 4, lambda w, f, p: packet(w, 4, p)),
        ("6in4", 41, lambda w, f, p: packet(w, 6, p)),
        ("MPLS in IP", 137, lambda w, f, p: bytes.fromhex("00064140") + packet(w, 4, p)),
        ("L2TPv3", 115, lambda w, f, p: bytes.fromhex("00000001") + w.smtp(4, p)),
        ("VXLAN", UDP, udp(4789, "0800000000002a00", inner_ether=True)),
        ("Geneve", UDP, udp(6081, "0000655800002a00", inner_ether=True)),
        ("GTP-U", UDP, udp(2152, "30ff002800000001")),
        ("L2TP", UDP, udp(1701, "00020001 0001 ff03 0021")),
        ("minimal encapsulation", 55, lambda w, f, p: bytes.fromhex("06000000") + w.addresses(4)[4:] + w.tcp(4, p)),
        ("Ethernet as next header", 143, lambda w, f, p: w.smtp(4, p)),
        ("NSH in IP", 145, lambda w, f, p: bytes.fromhex("0fc20201 000001ff") + packet(w, 4, p)),
        ("LISP", UDP, udp(4341, "8000000000000001")),
        ("VXLAN-GPE", UDP, udp(4790, "0c00000100002a00")),
        ("GUE", UDP, udp(6080, "00040000")),
        ("MPLS in UDP", UDP, udp(6635, "00064140")),
        ("WireGuard", UDP, udp(51820, "04000000 00000001 0000000000000000")),
    ]


# The forms ask for a whole IPv4 frame with one thing wrong more often than for anything else.
def ip4_frame(self, payload, protocol=TCP, tags=b"", **broken):
    return self.frame(4, self.ip4(payload, protocol, **broken), tags)


Way.ip4_frame = ip4_frame


# -------------------------------------------------------------------------------------------------- questions


def matters(golden):
    ports(golden)
    identities(golden)
    addresses_that_are_nobodys(golden)
    scopes(golden)
    refused_vlans(golden)
    routers(golden)
    relays(golden)
    group_addresses(golden)


def ports(golden):
    """The whole 16 bits of a port count, in network byte order, and the side it stands on."""
    numbers = [0, 1, 24, 25, 26, 443, 464, 465, 466, 586, 587, 588, 2525, 6400, 0xD101, 0x4B02, 25 + 256, 0xFF19, 65535]
    for vm_id in ("web1", "mail1", "mta1", "watched", "alternate1", "monitored"):
        vm_mac, vm4, vm6 = addresses_of(vm_id)
        for family in (4, 6):
            if family == 6 and not vm6:
                continue
            for port in numbers:
                golden.both_ways(f"{vm_id}, IPv{family}, tcp/{port}", vm_mac, vm4, vm6 or "::",
                                 lambda w, f=family, n=port: w.smtp(f, n))
            for port in (24, 25, 26, 465, 587, 2525, 6400, 443):
                golden.both_ways(f"{vm_id}, IPv{family}, from tcp/{port}", vm_mac, vm4, vm6 or "::",
                                 lambda w, f=family, n=port: w.smtp(f, EPHEMERAL, sport=n, flags=0x12))
            for dport, sport in ((25, 587), (587, 25), (25, 25), (2525, 25), (25, 2525)):
                golden.both_ways(f"{vm_id}, IPv{family}, tcp/{sport} to tcp/{dport}", vm_mac, vm4, vm6 or "::",
                                 lambda w, f=family, d=dport, s=sport: w.smtp(f, d, sport=s))


def evidence():
    """(what the MAC says, what the address says, MAC, IPv4, IPv6) for each row of the identity table."""
    def of(vm_id):
        return addresses_of(vm_id)

    web1, mail1, mail2 = of("web1"), of("mail1"), of("mail2")
    yield "web1", "web1", *web1
    yield "mail1", "mail1", *mail1
    yield "web1", "mail1", web1[0], *mail1[1:]
    yield "mail1", "web1", mail1[0], *web1[1:]
    yield "mail1", "mail2", mail1[0], *mail2[1:]
    yield "mail1", "nobody", mail1[0], NOBODY4, NOBODY6
    yield "web1", "nobody", web1[0], NOBODY4, NOBODY6
    yield "mail1", "link-local", mail1[0], None, LINK_LOCAL
    yield "web1", "link-local", web1[0], None, LINK_LOCAL
    for vm_id in ("only4", "only6", "mta-only4", "monitored", "monitored-free4"):
        vm_mac, vm4, vm6 = of(vm_id)
        yield vm_id, "itself or nobody", vm_mac, vm4 or NOBODY4, vm6 or NOBODY6
        yield vm_id, "nobody", vm_mac, NOBODY4, NOBODY6
        yield vm_id, "link-local", vm_mac, None, LINK_LOCAL
        yield vm_id, "mail1", vm_mac, *mail1[1:]
    for vm_id in ("macs-free", "macs-closed"):
        vm_mac = of(vm_id)[0]
        yield vm_id, "nobody", vm_mac, NOBODY4, NOBODY6
        yield vm_id, "link-local", vm_mac, None, LINK_LOCAL
        yield vm_id, "mail1", vm_mac, *mail1[1:]
        yield vm_id, "ips-free", vm_mac, *of("ips-free")[1:]
    for name, address in (("router", ROUTER), ("nobody", STRANGER)):
        for vm_id in ("web1", "mail1", "ips-free", "ips-closed", "mta1", "watched", "alternate1", "net1", "in-net1"):
            yield name, vm_id, address, *of(vm_id)[1:]
        yield name, "nobody", address, NOBODY4, NOBODY6
        yield name, "link-local", address, None, LINK_LOCAL
    for vm_id in ("mta1", "watched", "alternate1"):
        yield vm_id, vm_id, *of(vm_id)
        yield vm_id, "web1", of(vm_id)[0], *web1[1:]
        yield vm_id, "mail1", of(vm_id)[0], *mail1[1:]
        yield vm_id, "link-local", of(vm_id)[0], None, LINK_LOCAL
    yield "web1", "alternate1", web1[0], *of("alternate1")[1:]
    yield "net1", "net1", *of("net1")
    yield "net1", "in-net1 (nested)", of("net1")[0], *of("in-net1")[1:]
    yield "in-net1", "in-net1", *of("in-net1")
    yield "in-net1", "net1", of("in-net1")[0], *of("net1")[1:]
    yield "two-nics", "two-nics", *of("two-nics")
    yield "two-nics (second NIC)", "two-nics", mac(0x12), *of("two-nics")[1:]
    yield "two-nics (second NIC)", "its private address", mac(0x12), None, "2001:db8::15"
    yield "mail1", "its private address", mail1[0], "10.0.0.6", None
    yield "public-closed", "public-closed", *of("public-closed")


def identities(golden):
    for mac_says, ip_says, vm_mac, vm4, vm6 in evidence():
        label = f"MAC {mac_says}, IP {ip_says}"
        for family, address in ((4, vm4), (6, vm6)):
            if not address:
                continue
            for name, build in (
                ("tcp/25", lambda w, f=family: w.smtp(f, 25)), ("tcp/587", lambda w, f=family: w.smtp(f, 587)),
                ("tcp/2525", lambda w, f=family: w.smtp(f, 2525)), ("tcp/443", lambda w, f=family: w.smtp(f, 443)),
                ("from tcp/25", lambda w, f=family: w.smtp(f, EPHEMERAL, sport=25, flags=0x12)),
                ("from tcp/25 to tcp/587", lambda w, f=family: w.smtp(f, 587, sport=25)),
                ("malformed, addresses readable", lambda w, f=family: w.frame(f, unreadable(w, f))),
                ("three bytes of TCP", lambda w, f=family: w.frame(f, w.ip(f, w.tcp(f, 443)[:3]))),
                ("early later fragment", lambda w, f=family: early_fragment(w, f)),
            ):
                golden.both_ways(f"{label}, IPv{family}, {name}", vm_mac, vm4 or NOBODY4, vm6 or NOBODY6, build)
        for name, build in (
            ("three tags", lambda w: w.smtp(4, 443, tags=tag(5) * 3)),
            ("version 5", lambda w: w.ip4_frame(w.tcp(4, 443), version=5)),
            ("IPv6 header cut", lambda w: w.frame(6, w.ip6(b"")[:39])),
            ("ARP", lambda w: w.ether(ARP, arp(w), pad=60)),
        ):
            golden.both_ways(f"{label}, {name}", vm_mac, vm4 or NOBODY4, vm6 or NOBODY6, build)


def unreadable(w, family):
    """A packet whose lengths lie, behind a whole fixed header of the right version."""
    return w.ip4(w.tcp(4, 443), ihl=3) if family == 4 else w.ip6(w.tcp(6, 443), length=1000)


def early_fragment(w, family):
    return w.ip4_frame(w.tcp(4, 443), offset=1) if family == 4 else six(
        w, [(FRAGMENT, lambda n: fragment_header(n, 34))], 443)


def addresses_that_are_nobodys(golden):
    """Forms of an unrestricted VM's address that are not its address."""
    vm_mac, vm4, vm6 = addresses_of("mail1")
    for name, address in (
        ("v4-mapped", "::ffff:203.0.113.6"), ("v4-compatible", "::203.0.113.6"), ("6to4", "2002:cb00:7106::1"),
        ("NAT64", "64:ff9b::203.0.113.6"), ("unspecified", "::"), ("loopback", "::1"), ("multicast", "ff02::1"),
        ("febf::1, the last of fe80::/10", "febf::1"), ("fec0::1, just beyond it", "fec0::1"),
    ):
        golden.both_ways(f"mail1 as {name}, tcp/25", vm_mac, vm4, address, lambda w: w.smtp(6, 25))
    for name, address in (("0.0.0.0", "0.0.0.0"), ("broadcast", "255.255.255.255"), ("loopback", "127.0.0.1"),
                          ("its neighbour", "203.0.113.7"), ("its address reversed", "6.113.0.203")):
        golden.both_ways(f"mail1 as {name}, tcp/25", vm_mac, address, vm6, lambda w: w.smtp(4, 25))


def scopes(golden):
    for vm_id in ("web1", "mail1"):
        vm_mac, vm4, vm6 = addresses_of(vm_id)
        for name, tags in (
            ("VLAN 100", tag(100)), ("VLAN 101", tag(101)), ("S-tag 100", tag(100, S_TAG)),
            ("VLAN 100 with priority 5", tag(100, priority=5)),
            ("VLAN 100 with the drop bit", be16(C_TAG) + be16(0x1064)),
            ("priority tag, then 100", tag(0) + tag(100)), ("100, then a priority tag", tag(100) + tag(0)),
            ("100, then 5", tag(100) + tag(5)), ("5, then 100", tag(5, S_TAG) + tag(100)),
            ("priority tag", tag(0)), ("100 and two more tags", tag(100) + tag(5) + tag(6)),
        ):
            for family in (4, 6):
                golden.both_ways(f"{vm_id}'s addresses in {name}, IPv{family}, tcp/25", vm_mac, vm4, vm6,
                                 lambda w, f=family, t=tags: w.smtp(f, 25, tags=t))
        golden.both_ways(f"{vm_id}'s addresses, SNAP, then VLAN 100, tcp/25", vm_mac, vm4, vm6,
                         lambda w: w.llc(snap(C_TAG) + be16(100) + be16(IPV4) + packet(w, 4, 25)))
    # Known in scope 0 only: in scope 1 nobody answers for them.
    for vm_id in ("mail2", "macs-free", "ips-free"):
        vm_mac, vm4, vm6 = addresses_of(vm_id)
        golden.both_ways(f"{vm_id}'s addresses in VLAN 100, tcp/25", vm_mac or STRANGER, vm4 or NOBODY4,
                         vm6 or NOBODY6, lambda w: w.smtp(4, 25, tags=tag(100)))
    vm_mac = addresses_of("macs-free")[0]
    for name, tags in (("in VLAN 100", tag(100) + tag(5) + tag(6)), ("in VLAN 5", tag(5) + tag(100) + tag(6)),
                       ("with 100 in the tag that is too deep", tag(0) + tag(0) + tag(100))):
        golden.both_ways(f"macs-free {name}, three tags", vm_mac, NOBODY4, NOBODY6,
                         lambda w, t=tags: w.smtp(4, 25, tags=t))


def refused_vlans(golden):
    for vm_id in ("mail1", "macs-free", "web1"):
        vm_mac, vm4, vm6 = addresses_of(vm_id)
        vm4, vm6 = vm4 or NOBODY4, vm6 or NOBODY6
        for name, tags in (
            ("refused VLAN 300", tag(300)), ("S-tag 300", tag(300, S_TAG)), ("priority tag, then 300", tag(0) + tag(300)),
            ("300, then 100", tag(300) + tag(100)), ("100, then 300", tag(100) + tag(300)),
            ("300 and two more tags", tag(300) + tag(5) + tag(6)), ("two priority tags, then 300", tag(0) + tag(0) + tag(300)),
        ):
            for family, port in ((4, 25), (6, 25), (4, 443)):
                golden.both_ways(f"{vm_id}'s addresses in {name}, IPv{family}, tcp/{port}", vm_mac, vm4, vm6,
                                 lambda w, f=family, n=port, t=tags: w.smtp(f, n, tags=t))


def routers(golden):
    vm_mac, vm4, vm6 = addresses_of("mail1")
    for name, tags in (("untagged", b""), ("in VLAN 200", tag(200)), ("in VLAN 201", tag(201)),
                       ("priority tag, then 200", tag(0) + tag(200)), ("200, then 5", tag(200) + tag(5)),
                       ("5, then 200", tag(5) + tag(200))):
        for family in (4, 6):
            golden.both_ways(f"the router of VLAN 200 with mail1's address, {name}, IPv{family}, tcp/25", ROUTER_OF_200, vm4,
                             vm6, lambda w, f=family, t=tags: w.smtp(f, 25, tags=t))


def relays(golden):
    lsrr, ssrr = bytes.fromhex("830704c000020100"), bytes.fromhex("890704c000020100")
    quiet = bytes.fromhex("0707040000000000")
    after_end = bytes.fromhex("0000000083070400c0000201")
    broken = bytes.fromhex("94ff0000")
    for vm_id in ("web1", "mail1", "mta1", "monitored", "watched", "alternate1", "only4", "mta-only4", "macs-free",
                  "unknown"):
        vm_mac, vm4, vm6 = (STRANGER, NOBODY4, NOBODY6) if vm_id == "unknown" else addresses_of(vm_id)
        vm4, vm6 = vm4 or NOBODY4, vm6 or NOBODY6

        def add(label, build):
            golden.both_ways(f"{vm_id} and the relay, {label}", vm_mac, vm4, vm6, build, RELAY4, RELAY6)

        for family in (4, 6):
            for port in (587, 25, 465, 443, 2525):
                add(f"IPv{family}, tcp/{port}", lambda w, f=family, n=port: w.smtp(f, n))
                add(f"IPv{family}, from tcp/{port}",
                    lambda w, f=family, n=port: w.smtp(f, EPHEMERAL, sport=n, flags=0x12))
            add(f"IPv{family}, from tcp/587 to tcp/25", lambda w, f=family: w.smtp(f, 25, sport=587))
            add(f"IPv{family}, from tcp/587 to tcp/2525", lambda w, f=family: w.smtp(f, 2525, sport=587))
            add(f"IPv{family}, malformed", lambda w, f=family: w.frame(f, unreadable(w, f)))
        for name, options in (("loose source route", lsrr), ("strict source route", ssrr), ("record route", quiet),
                              ("a source route after the end of options", after_end),
                              ("no-ops, then a source route", b"\x01\x01\x01\x01" + lsrr),
                              ("options that cannot be read", broken)):
            add(f"{name}, tcp/587", lambda w, o=options: w.ip4_frame(w.tcp(4, 587), options=o))
            add(f"{name}, from tcp/587",
                lambda w, o=options: w.ip4_frame(w.tcp(4, EPHEMERAL, sport=587, flags=0x12), options=o))
        for left in (0, 1):
            kind = (ROUTING, lambda n, s=left: routing(n, s))
            add(f"routing header with {left} segments left, tcp/587", lambda w, k=kind: six(w, [k], 587))
            add(f"routing header with {left} segments left, from tcp/587",
                lambda w, k=kind: six(w, [k], 0, body=w.tcp(6, EPHEMERAL, sport=587, flags=0x12)))
        add("first fragment, 20 bytes of TCP, tcp/587", lambda w: w.ip4_frame(w.tcp(4, 587) + bytes(4), more=True))
        add("first fragment, 16 bytes of TCP, tcp/587", lambda w: w.ip4_frame(w.tcp(4, 587)[:16], more=True))
    # Contradicted identity: the relay is for VMs, not for who borrows their names.
    web1, mail1 = addresses_of("web1"), addresses_of("mail1")
    golden.both_ways("web1 as mail1 and the relay, tcp/587", web1[0], *mail1[1:], lambda w: w.smtp(4, 587),
                     RELAY4, RELAY6)
    golden.both_ways("a stranger as mail1 and the relay, tcp/587", STRANGER, *mail1[1:], lambda w: w.smtp(6, 587),
                     RELAY4, RELAY6)
    golden.both_ways("web1 as mail1 and the relay, from tcp/587", web1[0], *mail1[1:],
                     lambda w: w.smtp(4, EPHEMERAL, sport=587), RELAY4, RELAY6)
    golden.both_ways("web1 and the relay's neighbour, tcp/587", *web1, lambda w: w.smtp(4, 587), "198.51.100.24",
                     "2001:db8:ffff::24")
    golden.both_ways("the router with mail1's address and the relay, tcp/587", ROUTER, *mail1[1:],
                     lambda w: w.smtp(4, 587), RELAY4, RELAY6)


def group_addresses(golden):
    """To everybody, or to a group: on ingress the destination's MAC names nobody."""
    web1, mail1 = addresses_of("web1"), addresses_of("mail1")
    for name, group in (("broadcast", "ff:ff:ff:ff:ff:ff"), ("multicast", "01:00:5e:00:00:01")):
        for vm_id, vm in (("web1", web1), ("mail1", mail1)):
            way = Way(vm[0], group, vm[1], "255.255.255.255", vm[2], "ff02::1")
            golden.add("inside", f"{vm_id} to {name}, tcp/25", way.smtp(4, 25))
            golden.add("inside", f"{vm_id} to {name}, tcp/25, IPv6", way.smtp(6, 25))
            back = Way(GATEWAY, group, PEER4, vm[1], PEER6, vm[2])
            golden.add("outside", f"{name} to {vm_id}'s address, tcp/25", back.smtp(4, 25))
            golden.add("outside", f"{name} to {vm_id}'s address, tcp/443", back.smtp(4, 443))


# ------------------------------------------------------------------------------------------------------ whole


def build():
    golden = Golden()
    subjects = [("restricted VM", "web1", 25), ("restricted VM", "web1", 443), ("unrestricted VM", "mail1", 25)]
    names = set()
    for label, form in forms():
        assert label not in names, label
        names.add(label)
        for who, vm_id, port in subjects:
            golden.both_ways(f"{who}, {label}, tcp/{port}", *addresses_of(vm_id), lambda w, n=port: form(w, n))
    matters(golden)
    return golden


def runts():
    """Frames that no Ethernet carries, between two that flow."""
    web1, mail1 = addresses_of("web1"), addresses_of("mail1")
    frames = [Way(web1[0], GATEWAY, web1[1], PEER4).smtp(4, 443)]
    labels = ["a whole frame before the runts"]
    whole = Way(mail1[0], GATEWAY, mail1[1], PEER4).smtp(4, 25)
    for length in range(14):
        frames.append(whole[:length])
        labels.append(f"unrestricted VM, {length} bytes of a frame")
    frames.append(whole)
    labels.append("unrestricted VM, a whole frame after the runts")
    return frames, labels


def sizes():
    """From the smallest to the largest frame, bytes that show every displacement."""
    frames, labels = [], []
    pattern = bytes((i * 7 + (i >> 8)) & 0xFF for i in range(9100))
    for size in (54, 59, 60, 61, 64, 65, 127, 128, 129, 256, 512, 1024, 1500, 1513, 1514, 1515, 1518, 1522, 2047, 2048,
                 2049, 2176, 4000, 8192, 9000, 9014, 9018):
        for who, vm_id, port in (("restricted VM", "web1", 443), ("restricted VM", "web1", 25),
                                 ("unrestricted VM", "mail1", 25)):
            vm_mac, vm4, vm6 = addresses_of(vm_id)
            way = Way(vm_mac, GATEWAY, vm4, PEER4, vm6, PEER6)
            for name, family, tags in (("IPv4", 4, b""), ("IPv6, two tags", 6, tag(7, S_TAG) + tag(5))):
                room = size - len(way.smtp(family, port, tags=tags))
                if room >= 0:
                    frames.append(way.smtp(family, port, tags=tags, flags=0x18, data=pattern[:room]))
                    labels.append(f"{who}, {name}, {size} bytes, tcp/{port}")
    return frames, labels
