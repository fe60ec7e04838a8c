"""The story of `make demo`, told frame by frame: one restricted VM, one mail server, one machine nobody knows.

Addresses are private or from documentation ranges (RFC 5737, RFC 3849). scapy writes the conversations, so that they
read well in Wireshark; the attacks are bytes.
"""

import json
import logging

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.all import (  # noqa: E402
    ARP, DNS, DNSQR, DNSRR, ICMP, IP, TCP, UDP, Dot1AD, Dot1Q, Ether, ICMPv6EchoRequest, ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr, IPv6, Raw,
)

import wire  # noqa: E402

GATEWAY = "52:54:00:ee:ee:01"
VMS = [
    {"id": "web1", "macs": ["52:54:00:00:00:01"], "ips": ["10.0.0.5", "2001:db8::5"]},
    {"id": "mail1", "macs": ["52:54:00:00:00:02"], "ips": ["2001:db8::6"], "public_ipv4": "203.0.113.6"},
]
VMS_JSONL = "".join(json.dumps(vm) + "\n" for vm in VMS)


class Host:
    def __init__(self, mac, ip4, ip6):
        self.mac, self.ip4, self.ip6 = mac, ip4, ip6


WEB1 = Host("52:54:00:00:00:01", "10.0.0.5", "2001:db8::5")
MAIL1 = Host("52:54:00:00:00:02", "203.0.113.6", "2001:db8::6")
STRANGER = Host("52:54:00:dd:dd:01", "10.0.0.66", "2001:db8::66")
SHOP = Host(GATEWAY, "192.0.2.80", "2001:db8:80::1")  # a web server somewhere
MX = Host(GATEWAY, "198.51.100.7", "2001:db8:25::1")  # a mail server somewhere
DNS_SERVER = Host(GATEWAY, "192.0.2.53", "2001:db8:53::1")


class Story:
    def __init__(self):
        self.frames = {"inside": [], "outside": []}
        self.labels = {"inside": [], "outside": []}
        self.ticks = {"inside": [], "outside": []}
        self.tick = 0

    def tell(self, side, label, frame):
        self.ticks[side].append(self.tick)
        self.tick += 1
        self.frames[side].append(bytes(frame))
        self.labels[side].append(label)


def ethernet(src, dst, *tags):
    frame = Ether(src=src.mac, dst=dst.mac)
    for layer in tags:
        frame = frame / layer
    return frame


def ip(family, src, dst, **fields):
    return IP(src=src.ip4, dst=dst.ip4, **fields) if family == 4 else IPv6(src=src.ip6, dst=dst.ip6, **fields)


def segment(family, src, dst, sport, dport, flags="S", seq=1000, ack=0, data=b"", tags=()):
    tcp = TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, window=64240)
    frame = ethernet(src, dst, *tags) / ip(family, src, dst) / tcp
    return frame / Raw(data) if data else frame


def conversation(story, family, client, server, sport, dport, label, words, tags=()):
    """Handshake, the words of either side, and FIN: a session that passes in both directions."""
    inside, outside = ("inside", "outside") if server.mac == GATEWAY else ("outside", "inside")
    mine, theirs = 1000, 9000

    def say(side, src, dst, ports, flags, seq, ack, what, data=b""):
        story.tell(side, f"{label}: {what}", segment(family, src, dst, *ports, flags, seq, ack, data, tags))

    to, fro = (sport, dport), (dport, sport)
    say(inside, client, server, to, "S", mine, 0, "SYN")
    say(outside, server, client, fro, "SA", theirs, mine + 1, "SYN ACK")
    mine, theirs = mine + 1, theirs + 1
    say(inside, client, server, to, "A", mine, theirs, "ACK")
    for speaker, data in words:
        if speaker == "client":
            say(inside, client, server, to, "PA", mine, theirs, "client speaks", data)
            mine += len(data)
        else:
            say(outside, server, client, fro, "PA", theirs, mine, "server speaks", data)
            theirs += len(data)
    say(inside, client, server, to, "FA", mine, theirs, "FIN")
    say(outside, server, client, fro, "FA", theirs, mine + 1, "FIN ACK")


SMTP_WORDS = [("server", b"220 mx.example ESMTP\r\n"), ("client", b"EHLO mail1.example\r\n"),
              ("server", b"250 mx.example\r\n"), ("client", b"QUIT\r\n")]
TLS_RECORD = bytes.fromhex("1703030010") + bytes(range(16))
HTTPS_WORDS = [("client", TLS_RECORD), ("server", TLS_RECORD)]


def build():
    story = Story()
    tell = story.tell

    # The net comes up.
    for name, host in (("web1", WEB1), ("mail1", MAIL1), ("unknown VM", STRANGER)):
        gateway4 = host.ip4.rpartition(".")[0] + ".1"
        tell("inside", f"{name} asks for its gateway by ARP", Ether(src=host.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
            op=1, hwsrc=host.mac, psrc=host.ip4, hwdst="00:00:00:00:00:00", pdst=gateway4))
        tell("outside", f"the gateway answers {name}", Ether(src=GATEWAY, dst=host.mac) / ARP(
            op=2, hwsrc=GATEWAY, psrc=gateway4, hwdst=host.mac, pdst=host.ip4))
    tell("inside", "web1 asks for its IPv6 gateway", Ether(src=WEB1.mac, dst="33:33:ff:00:00:01") / IPv6(
        src=WEB1.ip6, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="2001:db8::1") / ICMPv6NDOptSrcLLAddr(
        lladdr=WEB1.mac))
    question = DNS(id=7, rd=1, qd=DNSQR(qname="mx.example", qtype="A"))
    answer = DNS(id=7, qr=1, rd=1, ra=1, qd=DNSQR(qname="mx.example", qtype="A"),
                 an=DNSRR(rrname="mx.example", ttl=60, rdata=MX.ip4))
    tell("inside", "web1 looks up mx.example, UDP 53",
         ethernet(WEB1, DNS_SERVER) / ip(4, WEB1, DNS_SERVER) / UDP(sport=40053, dport=53) / question)
    tell("outside", "the answer",
         ethernet(DNS_SERVER, WEB1) / ip(4, DNS_SERVER, WEB1) / UDP(sport=53, dport=40053) / answer)

    # What flows: web for everybody, mail for the mail server.
    conversation(story, 4, WEB1, SHOP, 40443, 443, "web1 browses", HTTPS_WORDS)
    conversation(story, 6, WEB1, SHOP, 40444, 443, "web1 browses over IPv6", HTTPS_WORDS)
    conversation(story, 4, STRANGER, SHOP, 40445, 443, "unknown VM browses", HTTPS_WORDS[:1])
    conversation(story, 4, MAIL1, MX, 40025, 25, "mail1 sends mail", SMTP_WORDS)
    conversation(story, 6, MAIL1, MX, 40026, 25, "mail1 sends mail over IPv6", SMTP_WORDS[:2])
    conversation(story, 4, MX, MAIL1, 50025, 25, "mail1 receives mail", SMTP_WORDS)
    for port in (465, 587):
        tell("inside", f"mail1 submits, tcp/{port}", segment(4, MAIL1, MX, 40000 + port, port))
        tell("outside", f"mail1 is submitted to, tcp/{port}", segment(4, MX, MAIL1, 50000 + port, port))

    # What the restricted VM may not do.
    for port in (25, 465, 587):
        for family in (4, 6):
            tell("inside", f"web1 tries tcp/{port} over IPv{family}", segment(family, WEB1, MX, 41000, port))
    tell("inside", "web1 tries again, in the middle of a session",
         segment(4, WEB1, MX, 41000, 25, "PA", 2000, 3000, b"MAIL FROM:<>\r\n"))
    tell("inside", "unknown VM tries tcp/25", segment(4, STRANGER, MX, 41001, 25))
    tell("outside", "somebody tries web1's tcp/25", segment(4, MX, WEB1, 51000, 25))
    tell("outside", "somebody tries web1's tcp/587 over IPv6", segment(6, MX, WEB1, 51001, 587))
    tell("outside", "an answer from tcp/25 to web1, which never asked",
         segment(4, MX, WEB1, 25, 42000, "SA", 9000, 1001))
    tell("outside", "the same over IPv6", segment(6, MX, WEB1, 25, 42001, "SA", 9000, 1001))

    # The ways around it.
    tell("inside", "web1 hides tcp/25 behind a VLAN tag", segment(4, WEB1, MX, 43000, 25, tags=[Dot1Q(vlan=5)]))
    tell("inside", "web1 hides tcp/25 behind a priority tag", segment(6, WEB1, MX, 43000, 25, tags=[Dot1Q(vlan=0)]))
    tell("inside", "web1 hides tcp/25 behind QinQ",
         segment(4, WEB1, MX, 43001, 25, tags=[Dot1AD(vlan=7), Dot1Q(vlan=5)]))
    tell("inside", "web1 hides behind three tags",
         segment(4, WEB1, MX, 43002, 443, tags=[Dot1AD(vlan=7), Dot1Q(vlan=6), Dot1Q(vlan=5)]))
    tell("inside", "web1 browses behind a VLAN tag", segment(4, WEB1, SHOP, 43003, 443, tags=[Dot1Q(vlan=5)]))
    tell("inside", "web1 browses behind QinQ",
         segment(6, WEB1, SHOP, 43004, 443, tags=[Dot1AD(vlan=7), Dot1Q(vlan=5)]))
    out = wire.Way(WEB1.mac, GATEWAY, WEB1.ip4, MX.ip4, WEB1.ip6, MX.ip6)
    tell("inside", "web1 hides tcp/25 in LLC/SNAP",
         out.llc(wire.snap(wire.IPV4) + out.ip4(out.tcp(4, 25, sport=43005))))
    tell("inside", "web1 hides tcp/25 in LLC/SNAP with a false length, behind a priority tag",
         out.llc(wire.snap(wire.IPV6) + out.ip6(out.tcp(6, 25, sport=43006)), 8, wire.tag(0)))
    tell("inside", "web1 browses in LLC/SNAP", out.llc(wire.snap(wire.IPV4) + out.ip4(out.tcp(4, 443, sport=43007))))
    ehlo = out.tcp(4, 25, sport=43008, flags=0x18, data=b"EHLO web1\r\n")
    tell("inside", "web1 sends a tiny first fragment", out.frame(4, out.ip4(ehlo[:8], more=True)))
    tell("inside", "... and the rest of the header as a later one", out.frame(4, out.ip4(ehlo[8:], offset=1)))
    tell("inside", "web1 sends a tiny first fragment over IPv6", out.frame(6, out.ip6(
        wire.fragment_header(wire.DSTOPT, more=True) + wire.extension(wire.TCP), wire.FRAGMENT)))
    big = wire.Way(WEB1.mac, GATEWAY, WEB1.ip4, DNS_SERVER.ip4)
    datagram = big.udp(4, 4000, data=bytes(2000))
    tell("inside", "web1 sends a large datagram, first fragment",
         big.frame(4, big.ip4(datagram[:1480], wire.UDP, more=True)))
    tell("inside", "... and its later fragment", big.frame(4, big.ip4(datagram[1480:], wire.UDP, offset=185)))
    tell("inside", "web1 puts a decoy port into IP options", out.frame(
        4, out.ip4(out.tcp(4, 25, sport=43009), options=bytes.fromhex("01bb01bb"))))
    tell("inside", "web1 hides tcp/25 behind IPv6 options", out.frame(
        6, out.ip6(wire.extension(wire.TCP, 32) + out.tcp(6, 25, sport=43010), wire.DSTOPT)))
    tell("inside", "web1 lies about the total length", out.frame(4, out.ip4(out.tcp(4, 443, sport=43011), total=1500)))
    spoof = Host(WEB1.mac, MAIL1.ip4, MAIL1.ip6)
    tell("inside", "web1 sends mail as mail1", segment(4, spoof, MX, 44000, 25))
    tell("inside", "web1 sends mail as mail1 over IPv6", segment(6, spoof, MX, 44001, 25))
    tell("inside", "unknown VM sends mail as mail1", segment(4, Host(STRANGER.mac, MAIL1.ip4, ""), MX, 44002, 25))

    # What is not TCP is let through, and some of it is counted.
    tell("inside", "web1 sends UDP 25", ethernet(WEB1, MX) / ip(4, WEB1, MX) / UDP(sport=45000, dport=25) / b"hello")
    tell("inside", "web1 pings", ethernet(WEB1, SHOP) / ip(4, WEB1, SHOP) / ICMP(id=1, seq=1) / b"ping")
    tell("inside", "web1 pings over IPv6",
         ethernet(WEB1, SHOP) / ip(6, WEB1, SHOP) / ICMPv6EchoRequest(id=1, seq=1, data=b"ping"))
    tell("inside", "web1 answers from its web server", segment(4, WEB1, SHOP, 443, 50443, "SA", 9000, 1001))
    tell("outside", "somebody browses web1", segment(4, SHOP, WEB1, 50443, 443))
    return story
