#!/usr/bin/python3
"""Frames that nobody thought of, for box and judge to agree about; the same bytes for the same seed.

    fuzz_capture.py OUT.pcap --side inside|outside --frames 20000 --seed 1

Golden frames, and what neighbours tell each other, with bytes changed, cut, doubled or spliced, and stacks of headers drawn at random. Judge the capture
with `golden.toml` or `strict.toml` and `golden-vms.jsonl`. What the two disagree about becomes a row of `golden.py`.
"""

import argparse
import random
import sys

sys.dont_write_bytecode = True
import golden  # noqa: E402
import neighbours  # noqa: E402
from pcapfile import write_frames  # noqa: E402
from wire import (  # noqa: E402
    AH, DSTOPT, FRAGMENT, HOPOPT, IPV4, IPV6, MOBILITY, ROUTING, SAP_06, SHIM6, TCP, UDP, Way, ah, be16, extension,
    fragment_header, routing, snap, tag,
)

TELLING_BYTES = (0, 1, 2, 3, 4, 5, 6, 8, 20, 25, 40, 44, 51, 60, 0x45, 0x46, 0x60, 0x81, 0x88, 0xA8, 0xAA, 0xFF)
PORTS = (25, 465, 587, 2525, 443, 80, 40000)
ETHER_MIN = 14


def mutate(rng, frame, other):
    frame = bytearray(frame)
    for _ in range(rng.randrange(1, 4)):
        # Mostly in the headers, and behind the MACs: a frame of nobody's teaches little.
        at = rng.randrange(12, max(13, min(len(frame), 120)))
        choice = rng.randrange(6)
        if choice == 0 and at < len(frame):
            frame[at] = rng.choice(TELLING_BYTES)
        elif choice == 1 and at < len(frame):
            frame[at] ^= 1 << rng.randrange(8)
        elif choice == 2:
            del frame[max(ETHER_MIN, at):]
        elif choice == 3:
            frame += rng.randbytes(rng.randrange(1, 40))
        elif choice == 4:
            cut = rng.choice((2, 4, 8))
            frame[at:at] = frame[at : at + cut]
        else:
            frame[at:] = other[at:]
    return bytes(frame) if len(frame) >= ETHER_MIN else bytes(frame).ljust(ETHER_MIN, b"\0")


def random_way(rng, side):
    """Half of the time a VM as it is; else the MAC of one, the addresses of others."""
    macs = [vm_mac for vm in golden.VMS for vm_mac in vm.get("macs", [])] + [golden.ROUTER, golden.STRANGER]
    known = [golden.addresses_of(vm["id"]) for vm in golden.VMS]
    vm_mac, vm4, vm6 = rng.choice(known)
    if rng.random() < 0.5:
        vm_mac, vm4, vm6 = rng.choice(macs), rng.choice(known)[1], rng.choice(known)[2]
    relay = rng.random() < 0.3
    way = Way(vm_mac or golden.STRANGER, golden.GATEWAY, vm4 or golden.NOBODY4,
              golden.RELAY4 if relay else golden.PEER4,
              vm6 or rng.choice((golden.NOBODY6, golden.LINK_LOCAL)), golden.RELAY6 if relay else golden.PEER6)
    return way if side == "inside" else way.back()


def random_chain(rng, segment, protocol, ipv6):
    """Up to ten headers, built from the inside out."""
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 7, 8, 9, 10))):
        kind = rng.choice((HOPOPT, ROUTING, DSTOPT, MOBILITY, SHIM6, AH, FRAGMENT)) if ipv6 else AH
        if kind == AH:
            header = ah(protocol, rng.choice((8, 12, 24, 24, 64, 252)))
        elif kind == FRAGMENT:
            header = fragment_header(protocol, rng.choice((0, 0, 0, 1, 34, 35)), rng.random() < 0.4)
        elif kind == ROUTING:
            header = routing(protocol, rng.randrange(2))
        else:
            header = extension(protocol, rng.choice((8, 8, 16, 40, 128, 248, 256, 2048)))
        segment, protocol = header + segment, kind
    return segment, protocol


def build(rng, side):
    way = random_way(rng, side)
    family = rng.choice((4, 6))
    dport, sport = rng.choice(PORTS), rng.choice(PORTS)
    if rng.random() < 0.85:
        segment, protocol = way.tcp(family, dport, sport=sport, data=bytes(rng.randrange(30))), TCP
    else:
        segment, protocol = way.udp(family, dport, sport=sport), UDP
    segment, protocol = random_chain(rng, segment, protocol, family == 6)
    if rng.random() < 0.25:
        segment = segment[: rng.randrange(len(segment) + 1)]
    if family == 4:
        options = rng.choice((b"", b"", b"\x01" * 4, bytes.fromhex("830704c000020100"), be16(25) * 8))
        offset = rng.choice((0, 0, 0, 0, 1, 2, 3, 34, 35))
        packet = way.ip4(segment, protocol, options=options, offset=offset, more=rng.random() < 0.2)
    else:
        packet = way.ip6(segment, protocol, length=rng.choice((None, None, None, None, 0)))
    if rng.random() < 0.2:
        packet += rng.randbytes(rng.randrange(30))
    if rng.random() < 0.05:
        packet = packet[: rng.randrange(len(packet))]
    ether_type = IPV4 if family == 4 else IPV6
    tags = b"".join(tag(rng.choice((0, 5, 100)), rng.choice((0x8100, 0x8100, 0x88A8, 0x9300)))
                    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))))
    choice = rng.random()
    if choice < 0.75:
        return way.ether(ether_type, packet, tags)
    length = rng.choice((None, 0, 1535))
    if choice < 0.9:
        inner = tag(rng.choice((0, 100)))[2:] if rng.random() < 0.3 else b""
        head = snap(0x8100) + inner + be16(ether_type) if inner else snap(ether_type, rng.choice(("000000", "0000f8")))
        return way.llc(head + packet, length, tags)
    return way.llc(SAP_06 + packet, length, tags)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture")
    parser.add_argument("--side", choices=("inside", "outside"), default="inside")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(f"{args.seed} {args.side}")
    stock = golden.build().frames[args.side]
    if args.side == "inside":
        stock = stock + neighbours.build()[0]
    frames = []
    for _ in range(args.frames):
        if rng.random() < 0.5:
            frames.append(mutate(rng, rng.choice(stock), rng.choice(stock)))
        else:
            frames.append(build(rng, args.side))
    write_frames(args.capture, frames)


if __name__ == "__main__":
    main()
