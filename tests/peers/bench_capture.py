#!/usr/bin/python3
"""A capture for benchmarks and its inventory: many VMs, some mail, the rest web; the same bytes on every run.

    bench_capture.py OUT.pcap VMS.jsonl --vms 1000 --frames 100000 --mail-share 0.05 --size 60|imix
                     [--restricted 50] [--unknown-share 0.01] [--ipv6-share 0] [--lengths 1] [--extensions 0]
                     [--mix tcp|udp|hosting] [--vlan ID]... [--seed 1]

What is no mail is TCP to web ports, or UDP to port 443, or a mix as a gateway of a hosting network sees it: TCP and UDP
over IPv4 and IPv6, some ICMP, ARP, ESP and later fragments; there, three of ten mail frames are IPv6. Without --mix
hosting, --ipv6-share says how many frames are. --vlan given twice makes two tags.

All frames are egress: feed them to an inside port. Sizes are bytes of frame without FCS; imix is 60, 590 and 1514
bytes in the proportion 7:4:1. VMs are shuffled over the inventory, so that lookups miss the cache as they would.
"""

import argparse
import random
import struct
import sys

sys.dont_write_bytecode = True
from pcapfile import EPOCH_S, SNAP_BYTES  # noqa: E402
from wire import checksum  # noqa: E402

MAIL_PORTS, WEB_PORTS = (25, 465, 587), (443, 80, 8080)
IMIX = (60,) * 7 + (590,) * 4 + (1514,)
GATEWAY = bytes.fromhex("525400eeee01")
FRAMES_PER_WRITE = 4096
# What is no mail in a hosting mix: kind, IPv6, and how many of 96 frames.
HOSTING = (
    ("tcp", False, 44),
    ("udp", False, 20),
    ("tcp", True, 16),
    ("udp", True, 10),
    ("icmp", False, 3),
    ("arp", False, 1),
    ("esp", False, 1),
    ("later fragment", False, 1),
)
HOSTING_MAIL_IPV6 = 0.3
PROTOCOLS = {"udp": 17, "icmp": 1, "esp": 50, "later fragment": 17}
PEER6 = bytes.fromhex("20010db8ffff") + bytes(9) + b"\x07"


def vm_mac(index):
    return b"\x52\x54" + struct.pack(">I", index + 1)


def vm_ip4(index):
    return struct.pack(">I", (10 << 24) + index + 1)


def vm_ip6(index):
    return bytes.fromhex("20010db8") + bytes(8) + struct.pack(">I", index + 1)


def is_restricted(index, percent):
    """Spread evenly over the indices: exactly `percent` of each hundred."""
    return (index + 1) * percent // 100 > index * percent // 100


def write_inventory(path, args):
    with open(path, "w") as out:
        for index in range(args.vms):
            mac = vm_mac(index).hex(":")
            ips = [".".join(map(str, vm_ip4(index)))]
            if args.ipv6_share or args.mix == "hosting":
                text = vm_ip6(index).hex()
                ips.append(":".join(text[i : i + 4] for i in range(0, 32, 4)))
            klass = "restricted" if is_restricted(index, args.restricted) else "unrestricted"
            quoted = ",".join(f'"{ip}"' for ip in ips)
            out.write(f'{{"id":"vm{index}","macs":["{mac}"],"ips":[{quoted}],"class":"{klass}"}}\n')
        if args.lengths > 1:
            write_prefixes(out, args.lengths)


def write_prefixes(out, lengths):
    """A VM with prefixes of so many lengths less one of each family, none of which any frame comes from."""
    ips = [f"172.16.0.0/{31 - n}" for n in range(lengths - 1)] + [f"2001:db9::/{64 - n}" for n in range(lengths - 1)]
    quoted = ",".join(f'"{ip}"' for ip in ips)
    out.write(f'{{"id":"ranges","ips":[{quoted}],"class":"restricted"}}\n')


def extension_headers(count):
    """Destination options of padding alone, and the type of the first."""
    nexts = [60] * (count - 1) + [6]
    return b"".join(struct.pack(">BBBBI", after, 0, 1, 4, 0) for after in nexts[:count]), 60 if count else 6


def make_frame(index, peer, sport, dport, size, ipv6, tag, extensions):
    head = GATEWAY + vm_mac(index) + tag
    tcp_seq = struct.pack(">IIBBHHH", 1000, 2000, 0x50, 0x10, 64240, 0, 0)
    ports = struct.pack(">HH", sport, dport)
    room = max(0, size - len(head) - 2 - (60 + 8 * extensions if ipv6 else 40))
    if ipv6:
        headers, first = extension_headers(extensions)
        payload = len(headers) + 20 + room
        ip = struct.pack(">IHBB", 6 << 28, payload, first, 64) + vm_ip6(index) + PEER6 + headers
        return head + b"\x86\xdd" + ip + ports + tcp_seq + bytes(room)
    start = struct.pack(">BBHHHBBH", 0x45, 0, 40 + room, sport, 0x4000, 64, 6, 0)
    ip = start + vm_ip4(index) + peer
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    # The TCP checksum stays 0: the box never reads it, and summing payloads would dominate the run.
    return head + b"\x08\x00" + ip + ports + tcp_seq + bytes(room)


def make_other(kind, index, peer, sport, size, ipv6, tag):
    """A frame that is no TCP. Checksums of what IP carries stay 0, as above."""
    head = GATEWAY + vm_mac(index) + tag
    if kind == "arp":
        # Who has the gateway's address?
        arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + vm_mac(index) + vm_ip4(index) + bytes(6) + b"\x0a\x00\x00\x01"
        return (head + b"\x08\x06" + arp).ljust(size, b"\x00")
    payload = struct.pack(">HHHH", sport, 443, 8, 0) if kind == "udp" else struct.pack(">BBHI", 8, 0, 0, index)
    room = bytes(max(0, size - len(head) - 2 - (40 if ipv6 else 20) - len(payload)))
    bytes_behind = len(payload) + len(room)
    if kind == "udp":
        payload = struct.pack(">HHHH", sport, 443, bytes_behind, 0)
    if ipv6:
        ip = struct.pack(">IHBB", 6 << 28, bytes_behind, PROTOCOLS[kind], 64) + vm_ip6(index) + PEER6
        return head + b"\x86\xdd" + ip + payload + room
    fragment = 0x00B9 if kind == "later fragment" else 0x4000
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + bytes_behind, sport, fragment, 64, PROTOCOLS[kind], 0)
    ip += vm_ip4(index) + peer
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return head + b"\x08\x00" + ip + payload + room


def write_capture(path, args):
    rng = random.Random(args.seed)
    tag = b"".join(struct.pack(">HH", 0x8100, vlan) for vlan in args.vlan)
    kinds, weights = [(kind, ipv6) for kind, ipv6, _ in HOSTING], [weight for *_, weight in HOSTING]
    mail = 0
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAP_BYTES, 1))
        parts = []
        for number in range(args.frames):
            index = rng.randrange(args.vms)
            if rng.random() < args.unknown_share:
                index += args.vms  # the same pattern, listed nowhere
            is_mail = rng.random() < args.mail_share
            mail += is_mail
            dport = rng.choice(MAIL_PORTS if is_mail else WEB_PORTS)
            peer = b"\xc0\x00\x02" + bytes([rng.randrange(1, 255)])
            size = rng.choice(IMIX) if args.size == "imix" else int(args.size)
            ipv6 = rng.random() < (HOSTING_MAIL_IPV6 if args.mix == "hosting" else args.ipv6_share)
            sport, kind = 32768 + rng.randrange(28000), args.mix
            if kind == "hosting":
                kind, ipv6 = ("tcp", ipv6) if is_mail else rng.choices(kinds, weights)[0]
            if kind == "tcp" or is_mail:
                frame = make_frame(index, peer, sport, dport, size, ipv6, tag, args.extensions)
            else:
                frame = make_other(kind, index, peer, sport, size, ipv6, tag)
            seconds, micros = divmod(number, 1_000_000)  # a frame each microsecond
            parts.append(struct.pack("<IIII", EPOCH_S + seconds, micros, len(frame), len(frame)))
            parts.append(frame)
            if len(parts) >= 2 * FRAMES_PER_WRITE:
                out.write(b"".join(parts))
                parts.clear()
        out.write(b"".join(parts))
    return mail


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture")
    parser.add_argument("inventory")
    parser.add_argument("--vms", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--mail-share", type=float, default=0.05)
    parser.add_argument("--unknown-share", type=float, default=0.0)
    parser.add_argument("--ipv6-share", type=float, default=0.0)
    parser.add_argument("--lengths", type=int, default=1, help="prefix lengths in use, of each family")
    parser.add_argument("--extensions", type=int, default=0, help="extension headers of an IPv6 frame")
    parser.add_argument("--restricted", type=int, default=50, metavar="PERCENT")
    parser.add_argument("--size", default="60", help="bytes of frame, or imix")
    parser.add_argument("--mix", choices=("tcp", "udp", "hosting"), default="tcp", help="what is no mail")
    parser.add_argument("--vlan", type=int, action="append", default=[], help="a tag; twice for two")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if not 1 <= args.vms <= 8_000_000:
        parser.error("--vms: 1 to 8000000, so that unknown VMs have addresses in 10.0.0.0/8 too")
    if not 0 <= args.restricted <= 100:
        parser.error("--restricted: 0 to 100")
    if not 1 <= args.lengths <= 16 or not 0 <= args.extensions <= 16:
        parser.error("--lengths: 1 to 16; --extensions: 0 to 16")
    if args.size != "imix" and not 60 <= int(args.size) <= 9018:
        parser.error("--size: 60 to 9018, or imix")
    write_inventory(args.inventory, args)
    mail = write_capture(args.capture, args)
    print(f"{args.frames} frames, {mail} to mail ports, {args.vms} VMs, {args.restricted} % restricted")


if __name__ == "__main__":
    main()
