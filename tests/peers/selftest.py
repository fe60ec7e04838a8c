"""Frames written by hand, with the verdict that the contract gives them: who judges the judge.

Bytes are spelled out here and share nothing with the builders of the captures.
"""

import json

import ruling as rulings

CONFIG = """
[[link]]
name = "link0"
scopes = { "100" = 1, "300" = "refuse" }
via = ["52:54:00:ff:ff:02", { mac = "52:54:00:ff:ff:03", vlan = 200 }]
[policy]
via = ["52:54:00:ff:ff:01"]
[[policy.relay]]
name = "smarthost"
prefix = "198.51.100.25/32"
ports = ["587"]
[[policy.relay]]
name = "tenants"
vm = "tenants-mail"
tenant = true
ports = ["25"]
[class.mta-only]
ports = ["25"]
[class.watch]
ports = ["25"]
mode = "monitor"
[class.odd]
ports = ["2525"]
"""
AT = "2026-12-01T10:00:00Z"
EXCEPTIONS = [
    {"name": "a", "ports": [587], "peer": "198.51.100.0/28", "permanent": True},
    {"name": "over", "ports": [465], "until": AT},
    {"name": "soon", "ports": [465], "peer": "192.0.2.1", "until": "2026-12-01T10:00:01Z"},
]
VMS = """
{"id":"web1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5","2001:db8::5"]}
{"id":"mail1","macs":["52:54:00:00:00:02"],"public_ipv4":"203.0.113.6"}
{"id":"macs-only","macs":["52:54:00:00:00:03"],"class":"unrestricted"}
{"id":"watch1","macs":["52:54:00:00:00:04"],"ips":["10.0.0.8"],"class":"watch"}
{"id":"mta1","macs":["52:54:00:00:00:05"],"ips":["10.0.0.9"],"class":"mta-only"}
{"id":"mail1-in-1","macs":["52:54:00:00:00:01"],"ips":["10.0.0.5"],"class":"unrestricted","scope":1}
{"id":"excepted","macs":["52:54:00:00:00:06"],"ips":["10.0.0.10"],"tenant":"blue","exceptions":EXCEPTIONS}
{"id":"tenants-mail","ips":["192.0.2.53"],"tenant":"blue"}
""".replace("EXCEPTIONS", json.dumps(EXCEPTIONS))

WEB1, MAIL1, MACS_ONLY, WATCH1, MTA1, EXCEPTED = (f"52540000000{n}" for n in range(1, 7))
ROUTER, GATEWAY, STRANGER = "525400ffff01", "525400eeee01", "525400dddd01"
IP_WEB1, IP_MAIL1, IP_WATCH1, IP_MTA1 = "0a000005", "cb007106", "0a000008", "0a000009"
IP_PEER, IP_RELAY, IP_EXCEPTED, IP_192, IP_TENANTS = "c6336407", "c6336419", "0a00000a", "c0000201", "c0000235"
IP6_WEB1, IP6_MAIL1 = "20010db8" + "00" * 11 + "05", "20010db8" + "00" * 11 + "06"
IP6_PEER = "20010db8ffff" + "00" * 9 + "07"

PORT_25, PORT_443, PORT_465, PORT_587, PORT_2525, HIGH = "0019", "01bb", "01d1", "024b", "09dd", "9c40"
TCP_REST = "00000001" "00000000" "5002" "2000" "0000" "0000"  # sequence to urgent pointer: 20 bytes with the ports


def ether(src, rest, dst=GATEWAY):
    return dst + src + rest


def ipv4(src, dst, rest, first="45", total=None, fragment="0000", protocol="06", options=""):
    header = 20 + len(options) // 2
    total = f"{header + len(rest) // 2:04x}" if total is None else total
    return first + "00" + total + "0001" + fragment + "40" + protocol + "0000" + src + dst + options + rest


def ipv6(src, dst, rest, next_header="06"):
    return "60000000" + f"{len(rest) // 2:04x}" + next_header + "40" + src + dst + rest


def tcp(sport, dport):
    return sport + dport + TCP_REST


TO_25, TO_443 = tcp(HIGH, PORT_25), tcp(HIGH, PORT_443)
WEB1_TO_25 = ipv4(IP_WEB1, IP_PEER, TO_25)
MAIL1_TO_25 = ipv4(IP_MAIL1, IP_PEER, TO_25)
HOP_BY_HOP = "00" "010400000000"  # length 0 and a PadN, its next-header byte left to the row

EGRESS, INGRESS = rulings.INSIDE, rulings.OUTSIDE
FORWARD = "forward"

# sentence, direction, frame in hex, the drop's reason or "forward", outcome counted for a VM ("" when not judged)
ROWS = [
    ("A restricted VM cannot send mail.",
     EGRESS, ether(WEB1, "0800" + WEB1_TO_25), "port_closed", "denied"),
    ("Every other port flows, and nobody is looked up.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_443)), FORWARD, ""),
    ("A VM with a public IPv4 address is not restricted.",
     EGRESS, ether(MAIL1, "0800" + MAIL1_TO_25), FORWARD, "allowed"),
    ("An unknown VM is restricted.",
     EGRESS, ether(STRANGER, "0800" + ipv4("0a0000c8", IP_PEER, TO_25)), "port_closed", "denied"),
    ("The rule holds for IPv6 too.",
     EGRESS, ether(WEB1, "86dd" + ipv6(IP6_WEB1, IP6_PEER, TO_25)), "port_closed", "denied"),
    ("An unrestricted VM that lists no IPv6 address lacks the evidence for it.",
     EGRESS, ether(MAIL1, "86dd" + ipv6(IP6_MAIL1, IP6_PEER, TO_25)), "missing_evidence", "denied"),
    ("A forged address of the mail server is a spoof.",
     EGRESS, ether(WEB1, "0800" + MAIL1_TO_25), "spoof_ip", "denied"),
    ("The mail server's address behind a strange MAC is a spoof.",
     EGRESS, ether(STRANGER, "0800" + MAIL1_TO_25), "spoof_mac", "denied"),
    ("Behind a router only the IP identifies the VM.",
     EGRESS, ether(ROUTER, "0800" + MAIL1_TO_25), FORWARD, "allowed"),
    ("A VLAN tag hides nothing.",
     EGRESS, ether(WEB1, "8100" "0005" "0800" + WEB1_TO_25), "port_closed", "denied"),
    ("VLAN 100 is another scope, where the same addresses are another VM's.",
     EGRESS, ether(WEB1, "88a8" "0000" "8100" "0064" "0800" + WEB1_TO_25), FORWARD, "allowed"),
    ("A refused VLAN is shut, whoever sends and whatever it is.",
     EGRESS, ether(MAIL1, "8100" "012c" "0800" + MAIL1_TO_25), "scope_refused", ""),
    ("So it is for what is not IP.",
     EGRESS, ether(WEB1, "8100" "0000" "8100" "012c" "0806" + "00" * 28), "scope_refused", ""),
    ("A third tag behind a refused VLAN does not help.",
     EGRESS, ether(MACS_ONLY, "8100" "012c" "8100" "0006" "8100" "0007" "0806"), "scope_refused", ""),
    ("A router of the link is one in any VLAN.",
     EGRESS, ether("525400ffff02", "8100" "0005" "0800" + MAIL1_TO_25), FORWARD, "allowed"),
    ("A router of one VLAN is one there.",
     EGRESS, ether("525400ffff03", "8100" "00c8" "0800" + MAIL1_TO_25), FORWARD, "allowed"),
    ("Elsewhere its MAC is nobody's.",
     EGRESS, ether("525400ffff03", "0800" + MAIL1_TO_25), "spoof_mac", "denied"),
    ("A third tag hides everything, so the frame counts as mail.",
     EGRESS, ether(WEB1, "8100" "0005" "8100" "0006" "8100" "0007" "0806" + "00" * 28), "opaque_vlan_depth", "denied"),
    ("What cannot be read passes for a VM known by its MAC alone and unrestricted.",
     EGRESS, ether(MACS_ONLY, "8100" "0005" "8100" "0006" "8100" "0007" "0806"), FORWARD, "allowed"),
    ("What cannot be read is denied to an unrestricted VM that lists addresses.",
     EGRESS, ether(MAIL1, "8100" "0005" "8100" "0006" "8100" "0007" "0806"), "missing_evidence", "denied"),
    ("LLC/SNAP with a false length hides nothing.",
     EGRESS, ether(WEB1, "0001" "aaaa03" "000000" "0800" + WEB1_TO_25), "port_closed", "denied"),
    ("Neither does LLC SAP 06.",
     EGRESS, ether(WEB1, "002b" "060603" + WEB1_TO_25), "port_closed", "denied"),
    ("Spanning tree is not IP and passes.",
     EGRESS, ether(WEB1, "0026" "424203" + "00" * 35, "0180c2000000"), FORWARD, ""),
    ("Ports stand behind the options; a decoy within them is not read.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_25, first="46", options=PORT_443 * 2)), "port_closed",
     "denied"),
    ("A total length beyond the frame is malformed.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_443, total="0029")), "opaque_malformed", "denied"),
    ("Mail ports in the padding are not read.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, "", total="0014", protocol="11") + TO_25), FORWARD, ""),
    ("A whole packet with 3 bytes of TCP is malformed.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_443[:6])), "opaque_malformed", "denied"),
    ("Four bytes of TCP tell the ports.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_443[:8])), FORWARD, ""),
    ("A first fragment without the whole TCP header is opaque.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_443[:16], fragment="2000")), "opaque_fragment", "denied"),
    ("A later TCP fragment at offset 2 could overwrite the header.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_25, fragment="0002")), "opaque_fragment", "denied"),
    ("A later TCP fragment at offset 3 could not.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_25, fragment="0003")), FORWARD, ""),
    ("An IPv6 later fragment below offset 35 is opaque whatever its next header.",
     EGRESS, ether(WEB1, "86dd" + ipv6(IP6_WEB1, IP6_PEER, "11000110" "00000001" + TO_25, "2c")), "opaque_fragment",
     "denied"),
    ("From offset 35 on it passes.",
     EGRESS, ether(WEB1, "86dd" + ipv6(IP6_WEB1, IP6_PEER, "06000118" "00000001" + TO_25, "2c")), FORWARD, ""),
    ("Eight extension headers are looked through.",
     EGRESS, ether(WEB1, "86dd" + ipv6(IP6_WEB1, IP6_PEER, ("3c" + HOP_BY_HOP) * 7 + "06" + HOP_BY_HOP + TO_443, "3c")),
     FORWARD, ""),
    ("Nine are too many.",
     EGRESS, ether(WEB1, "86dd" + ipv6(IP6_WEB1, IP6_PEER, ("3c" + HOP_BY_HOP) * 8 + "06" + HOP_BY_HOP + TO_443, "3c")),
     "opaque_header_chain", "denied"),
    ("The port stands behind AH, whose length counts in 4 bytes less two.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, "06040000" + "00" * 20 + TO_25, protocol="33")), "port_closed",
     "denied"),
    ("UDP is not judged.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, HIGH + PORT_25 + "00080000", protocol="11")), FORWARD, ""),
    ("ARP is not judged.",
     EGRESS, ether(WEB1, "0806" + "0001080006040001" + WEB1 + IP_WEB1 + "000000000000" + IP_PEER), FORWARD, ""),
    ("Every VM may submit mail to the smarthost.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_RELAY, tcp(HIGH, PORT_587))), FORWARD, "excepted"),
    ("But not with a source route.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_RELAY, tcp(HIGH, PORT_587), first="47", options="8307040a01020300")),
     "port_closed", "denied"),
    ("Nor with options that cannot be read to their end: they may hide one.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_RELAY, tcp(HIGH, PORT_587), first="46", options="94ff0000")),
     "port_closed", "denied"),
    ("A VM known by its MAC alone lacks no evidence on a link-local address either.",
     EGRESS, ether(MACS_ONLY, "86dd" + ipv6("fe80" + "00" * 13 + "03", IP6_PEER, TO_25)), FORWARD, "allowed"),
    ("The third tag is not looked through, so its VLAN names no scope.",
     EGRESS, ether(WEB1, "8100" "0000" "8100" "0000" "8100" "0064" "0800" + WEB1_TO_25), "opaque_vlan_depth", "denied"),
    ("A class of its own closes its own ports only.",
     EGRESS, ether(MTA1, "0800" + ipv4(IP_MTA1, IP_PEER, tcp(HIGH, PORT_587))), FORWARD, "allowed"),
    ("A class in monitor mode denies nothing.",
     EGRESS, ether(WATCH1, "0800" + ipv4(IP_WATCH1, IP_PEER, TO_25)), FORWARD, "would_deny"),
    ("Monitor mode ends where identity is contradicted.",
     EGRESS, ether(WATCH1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_25)), "spoof_ip", "denied"),
    ("A contradiction on a port that nobody named has closed is observed, and forwarded.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_MAIL1, IP_PEER, tcp(HIGH, PORT_2525))), FORWARD, "allowed"),
    ("What comes in for another's address is a spoof where a VM that it names would have been let have it.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_MAIL1, TO_25), WEB1), "spoof_ip", "denied"),
    ("The same with the parts exchanged.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_WEB1, TO_25), MAIL1), "spoof_ip", "denied"),
    ("What neither VM would have been let have is a closed port.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_WEB1, TO_25), MTA1), "port_closed", "denied"),
    ("On egress it is a spoof all the same.",
     EGRESS, ether(MTA1, "0800" + ipv4(IP_WEB1, IP_PEER, TO_25)), "spoof_ip", "denied"),
    ("Nobody's address at the MAC of a restricted VM is a closed port when it comes in.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, "0a0000c8", TO_25), WEB1), "port_closed", "denied"),
    ("A restricted VM's address at a strange MAC is a closed port when it comes in.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_WEB1, TO_25), STRANGER), "port_closed", "denied"),
    ("From a closed port it is an answer, by the class of the VM that the MAC names.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_WEB1, tcp(PORT_25, HIGH)), MTA1), "reply_closed", "denied"),
    ("What is only watched would have passed, were it not for the contradiction.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_WATCH1, TO_25), WEB1), "spoof_ip", "denied"),
    ("A contradiction closes what is open to the VM of the MAC.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_WEB1, tcp(HIGH, PORT_587)), MTA1), "spoof_ip", "denied"),
    ("A restricted VM cannot be a mail server.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_WEB1, TO_25), WEB1), "port_closed", "denied"),
    ("The answer of a mail server that somebody else asked in its name does not reach it.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_WEB1, tcp(PORT_25, HIGH)), WEB1), "reply_closed", "denied"),
    ("The smarthost's answers do.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_RELAY, IP_WEB1, tcp(PORT_587, HIGH)), WEB1), FORWARD, "excepted"),
    ("The smarthost does not open a closed port of the VM.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_RELAY, IP_WEB1, tcp(PORT_587, PORT_25)), WEB1), "port_closed", "denied"),
    ("An exception opens its port towards its peer.",
     EGRESS, ether(EXCEPTED, "0800" + ipv4(IP_EXCEPTED, IP_PEER, tcp(HIGH, PORT_587))), FORWARD, "excepted"),
    ("And towards nobody else.",
     EGRESS, ether(EXCEPTED, "0800" + ipv4(IP_EXCEPTED, IP_192, tcp(HIGH, PORT_587))), "port_closed", "denied"),
    ("Nor any other port.",
     EGRESS, ether(EXCEPTED, "0800" + ipv4(IP_EXCEPTED, IP_PEER, TO_25)), "port_closed", "denied"),
    ("At its end it is over.",
     EGRESS, ether(EXCEPTED, "0800" + ipv4(IP_EXCEPTED, IP_PEER, tcp(HIGH, PORT_465))), "port_closed", "denied"),
    ("A second before it is not.",
     EGRESS, ether(EXCEPTED, "0800" + ipv4(IP_EXCEPTED, IP_192, tcp(HIGH, PORT_465))), FORWARD, "excepted"),
    ("The answers come back.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_EXCEPTED, tcp(PORT_587, HIGH)), EXCEPTED), FORWARD, "excepted"),
    ("An answer from its port to a closed one is no way in.",
     INGRESS, ether(GATEWAY, "0800" + ipv4(IP_PEER, IP_EXCEPTED, tcp(PORT_587, PORT_25)), EXCEPTED), "port_closed", "denied"),
    ("Who borrows the name of a VM does not get its exceptions.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_EXCEPTED, IP_PEER, tcp(HIGH, PORT_587))), "spoof_ip", "denied"),
    ("A tenant's VM may reach the tenant's mail server.",
     EGRESS, ether(EXCEPTED, "0800" + ipv4(IP_EXCEPTED, IP_TENANTS, TO_25)), FORWARD, "excepted"),
    ("A VM of nobody's may not.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_TENANTS, TO_25)), "port_closed", "denied"),
    ("Egress from port 25 is no concern of the box.",
     EGRESS, ether(WEB1, "0800" + ipv4(IP_WEB1, IP_PEER, tcp(PORT_25, HIGH))), FORWARD, ""),
    ("Thirteen bytes are a runt.",
     EGRESS, GATEWAY + WEB1 + "08", "runt", ""),
]


def run():
    policy = rulings.Policy(CONFIG, AT)
    inventory = rulings.Inventory(VMS, policy)
    failed = 0
    for sentence, incoming, frame_hex, expected, outcome in ROWS:
        ruling = rulings.rule(bytes.fromhex(frame_hex), incoming, policy, inventory)
        got = FORWARD if ruling.forward else ruling.reason
        if (got, ruling.outcome) != (expected, outcome):
            failed += 1
            print(f"FAILED  {sentence}\n  expected {expected} {outcome}, got {got} {ruling.outcome}: {ruling.sight}")
    print(f"self-test: {len(ROWS) - failed} of {len(ROWS)} sentences hold")
    return failed == 0
