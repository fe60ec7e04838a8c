#!/usr/bin/python3
"""The independent judge: decides every frame of a capture from the contract's text alone.

    judge.py --vms VMS.jsonl [--config FILE.toml] [--at TIME] --inside IN.pcap [--outside IN2.pcap]
             [--outside-out OUT.pcap] [--inside-out OUT2.pcap] [--verbose] [--json] [--rulings]
             [--compare-outside FORWARDED.pcap] [--compare-inside FORWARDED.pcap] [--tshark]
    judge.py --self-test

`--outside-out` and `--compare-outside` speak of what leaves by the outside port, so of frames that came in inside.
`--at` is the time, now unless said, by which exceptions are judged.
`--rulings` adds to the JSON what was ruled of each frame, and what its sender is told.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import replies  # noqa: E402
import ruling as rulings  # noqa: E402
from pcapfile import read_frames, write_frames  # noqa: E402
from ruling import INSIDE, OUTSIDE  # noqa: E402

OTHER_PORT = {INSIDE: OUTSIDE, OUTSIDE: INSIDE}


class Side:
    """One capture with what the contract says of each frame."""

    def __init__(self, incoming, path, policy, inventory):
        self.incoming, self.path = incoming, Path(path)
        self.frames = read_frames(path)
        self.rulings = [rulings.rule(frame, incoming, policy, inventory) for frame in self.frames]
        side_file = self.path.with_suffix(".labels")
        self.labels = side_file.read_text().splitlines() if side_file.exists() else []

    def name(self, number):
        label = self.labels[number - 1] if number <= len(self.labels) else ""
        return f"{self.incoming} frame {number}" + (f" ({label})" if label else "")

    def expected(self):
        return [(n, f) for n, (f, r) in enumerate(zip(self.frames, self.rulings), 1) if r.forward]

    def print_rulings(self):
        for number, ruling in enumerate(self.rulings, 1):
            label = self.labels[number - 1] if number <= len(self.labels) else ""
            outcome = ruling.reason or ruling.outcome or "-"
            print(f"{number} {'forward' if ruling.forward else 'drop'} {outcome}" + (f"  # {label}" if label else ""))


def compare(side, forwarded_path):
    """Exactly the expected frames, unchanged and in order; names the first that differs."""
    expected, actual = side.expected(), read_frames(forwarded_path)
    for (number, frame), got in zip(expected, actual):
        if frame == got:
            continue
        print(f"{forwarded_path}: differs at {side.name(number)}\n  expected {frame.hex()}\n  got      {got.hex()}")
        explain_stranger(side, got, number)
        return False
    if len(actual) < len(expected):
        number, frame = expected[len(actual)]
        print(f"{forwarded_path}: ends before {side.name(number)}, {len(expected) - len(actual)} missing")
        print(f"  expected {frame.hex()}")
        return False
    if len(actual) > len(expected):
        got = actual[len(expected)]
        print(f"{forwarded_path}: {len(actual) - len(expected)} frames too many, the first:\n  got      {got.hex()}")
        explain_stranger(side, got)
        return False
    print(f"{forwarded_path}: {len(actual)} frames as expected")
    return True


def explain_stranger(side, got, after=0):
    """The same bytes may have come in more than once: the next one is meant, else the first."""
    numbered = list(enumerate(zip(side.frames, side.rulings), 1))
    for number, (frame, ruling) in numbered[after:] + numbered[:after]:
        if frame == got:
            verdict = "is to be forwarded" if ruling.forward else f"should have been dropped: {ruling.reason}"
            print(f"  which is {side.name(number)}; it {verdict}")
            return
    print("  which no received frame equals: altered, or made by the box")


# Layers under which tshark's TCP is the outermost one; anything else in the way is a tunnel.
TSHARK_PLAIN = {
    "eth", "ethertype", "vlan", "ieee8021ad", "llc", "ip", "ipv6", "ah", "ipv6.hopopts", "ipv6.routing",
    "ipv6.dstopts", "ipv6.fraghdr", "ipv6.shim6", "mipv6", "hip",
}


def cross_check(side):
    """The judge's ports against tshark's, where tshark sees one IP layer and TCP in it."""
    fields = ["frame.number", "frame.protocols", "tcp.srcport", "tcp.dstport", "ip.proto", "ipv6.nxt"]
    command = ["tshark", "-r", str(side.path), "-T", "fields", "-E", "separator=;"]
    for name in ("ip", "ipv6"):
        command += ["-o", f"{name}.defragment:FALSE"]
    for name in fields:
        command += ["-e", name]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    agreed, unseen, wrong = 0, 0, 0
    for line in lines:
        number, protocols, sports, dports, ip4, ip6 = line.split(";")
        sight = side.rulings[int(number) - 1].sight
        before_tcp = protocols.split(":tcp")[0].split(":")
        one_ip = len(list(filter(None, (ip4 + "," + ip6).split(",")))) == 1
        # tshark walks IPv6 extension headers behind IPv4 too, where the contract names AH alone, and LLC behind
        # type 8870, where the contract names no IP.
        foreign = "ip" in before_tcp and any(layer.startswith("ipv6.") for layer in before_tcp)
        foreign |= "ethertype:llc" in protocols
        plain = bool(sports) and one_ip and not foreign and set(before_tcp) <= TSHARK_PLAIN
        if not plain:
            unseen += sight.kind == "tcp"
            continue
        theirs = (int(sports.split(",")[0]), int(dports.split(",")[0]))
        if sight.kind == "tcp" and (sight.sport, sight.dport) == theirs:
            agreed += 1
        elif sight.kind in ("opaque", "later"):
            continue  # the contract refuses what tshark is willing to guess
        else:
            wrong += 1
            ours = f"tcp {sight.sport} {sight.dport}" if sight.kind == "tcp" else f"{sight.kind} {sight.what}"
            print(f"{side.name(int(number))}: judge {ours}, tshark {theirs} in {protocols}")
    print(f"{side.path.name}: tshark agrees on {agreed} TCP frames, differs on {wrong}, dissects no TCP in {unseen}")
    return wrong == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("vms", "config", "inside", "outside", "inside-out", "outside-out", "compare-inside",
                   "compare-outside", "at"):
        parser.add_argument("--" + option)
    for flag in ("json", "rulings", "verbose", "tshark", "self-test"):
        parser.add_argument("--" + flag, action="store_true")
    args = parser.parse_args()

    if args.self_test:
        import selftest

        sys.exit(0 if selftest.run() else 1)
    if not args.vms or not (args.inside or args.outside):
        parser.error("--vms and one of --inside and --outside are needed")

    policy = rulings.Policy(Path(args.config).read_text() if args.config else "", args.at)
    inventory = rulings.Inventory(Path(args.vms).read_text(), policy)
    ledger = rulings.Ledger(inventory)
    sides = {}
    for incoming, path in ((INSIDE, args.inside), (OUTSIDE, args.outside)):
        if path:
            sides[incoming] = side = Side(incoming, path, policy, inventory)
            for number, ruling in enumerate(side.rulings, 1):
                ledger.add(number, incoming, ruling)

    good = True
    for side in sides.values():
        leaving = OTHER_PORT[side.incoming]
        out, forwarded = getattr(args, f"{leaving}_out"), getattr(args, f"compare_{leaving}")
        if args.verbose:
            print(f"# {side.incoming}")
            side.print_rulings()
        if out:
            write_frames(out, [frame for _, frame in side.expected()])
        if forwarded:
            good &= compare(side, forwarded)
        if args.tshark:
            good &= cross_check(side)
    for leaving in (INSIDE, OUTSIDE):
        asked = getattr(args, f"compare_{leaving}") or getattr(args, f"{leaving}_out")
        if asked and OTHER_PORT[leaving] not in sides:
            parser.error(f"what leaves {leaving} needs --{OTHER_PORT[leaving]}")
    report = ledger.as_json()
    if args.rulings:
        for side in sides.values():
            report[side.incoming]["rulings"] = [ruling.as_json() for ruling in side.rulings]
            answers = [replies.expected(frame, ruling, policy) for frame, ruling in zip(side.frames, side.rulings)]
            report[side.incoming]["replies"] = [answer and answer.hex() for answer in answers]
    if args.json or args.rulings:
        print(json.dumps(report, indent=None if args.rulings else 1))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
