"""The golden frames: at least one for every row and clause of the contract, each with a sentence to name it by.

Two tables. `shapes.forms()` are shapes of frames; each is sent by a restricted VM to a mail port, by the same VM to 443, and
by an unrestricted VM to the mail port, both ways, so that every shape shows whether the box saw through it.
`matters()` are the questions of identity, scope, relay, monitor mode and port numbers.
"""

import ipaddress
import json

from shapes import arp, forms, packet, six
from wire import ARP, C_TAG, EPHEMERAL, FRAGMENT, IPV4, ROUTING, S_TAG, Way, be16, fragment_header, routing, snap, tag

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

# What some of them may do though their classes close it, for another judgement of the same captures, made at EXCEPTED_AT.
EXCEPTED_AT = "2026-12-01T10:00:00Z"
EXCEPTIONS = {
    "web1": [{"name": "submission", "ports": [587], "permanent": True},
             {"name": "mta", "ports": ["20-30"], "peer": "198.51.100.0/29", "until": "2026-12-01T10:00:01Z"},
             {"name": "six", "class": "unrestricted", "peer": "2001:db8:ffff::7", "permanent": True},
             {"name": "over", "ports": [465], "until": EXCEPTED_AT}],
    "mail1": [{"name": "never-needed", "ports": [25], "permanent": True}],
    "web2": [{"name": "all", "class": "unrestricted", "until": "2027-01-01T00:00:00Z"}],
    "macs-closed": [{"name": "all", "class": "unrestricted", "permanent": True}],
    "ips-closed": [{"name": "all", "class": "unrestricted", "permanent": True}],
    "mta1": [{"name": "other-class", "class": "alternate", "peer": "2001:db8::/32", "permanent": True}],
    "only4": [{"name": "all", "class": "unrestricted", "permanent": True}],
    "mta-only4": [{"name": "all", "class": "unrestricted", "permanent": True}],
    "monitored": [{"name": "submission", "ports": [465, 587], "permanent": True}],
    "watched": [{"name": "mta", "ports": [25], "peer": "198.51.100.7", "permanent": True}],
    "net1": [{"name": "a-part", "ports": [25], "permanent": True}, {"name": "rest", "ports": [465, 587], "permanent": True}],
    "two-nics": [{"name": "closes-nothing", "class": "restricted", "permanent": True}],
}
TENANTS = {"web2": "blue", "mta1": "blue", "mail1": "red", "web1-of-scope-1": "blue"}
# A mail server of a tenant is where the captures have their peer.
TENANTS_MAIL = {"id": "tenants-mail", "ips": [PEER6], "public_ipv4": PEER4, "tenant": "blue"}


def excepted(vm):
    more = {"exceptions": EXCEPTIONS.get(vm["id"], [])}
    return vm | more | ({"tenant": TENANTS[vm["id"]]} if vm["id"] in TENANTS else {})


EXCEPTED_JSONL = "".join(json.dumps(vm) + "\n" for vm in [*map(excepted, VMS), TENANTS_MAIL])


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
