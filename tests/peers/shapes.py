"""Shapes of frames, each with a sentence to name it by: every row of "What the box can see", and what stands beside it."""

import ipaddress
import struct

from wire import (
    AH, ARP, C_TAG, DSTOPT, ESP, FRAGMENT, HIP, HOPOPT, IPV4, IPV6, MOBILITY, NONE, ROUTING, S_TAG, SAP_06, SHIM6,
    TCP, UDP, Way, ah, be16, extension, fragment_header, routing, snap, tag,
)


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
