#!/usr/bin/python3
"""Throughput of the whole box against DPDK's own testpmd, on one core, without a NIC.

Both forward the same capture from `net_pcap` (infinite_rx: preloaded, copied into fresh buffers at each receive) to
`net_null`, in turns, A B A B: A is testpmd's io-forward, which touches no byte of a frame, B is Portcullis. Frames are
counted at DPDK's telemetry socket, the same for both. What counts is B/A of a round; processes differ by 15 % from one
to the next, so figures of different runs are not comparable.

A timing with a wrong answer is refused: the share that Portcullis drops must be the share that the policy drops of the
capture, as `portcullis replay` says.

Needs the machine to itself. Example: bench/run.py --vms 1000 --rounds 9
"""

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORTCULLIS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "portcullis"


def run_dir(prefix):
    """Where EAL keeps a process's run-time files."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "/tmp") if os.geteuid() else "/var/run"
    return f"{runtime}/dpdk/{prefix}"


class Telemetry:
    """A process's DPDK telemetry socket."""

    def __init__(self, prefix, patience_s=30):
        path = f"{run_dir(prefix)}/dpdk_telemetry.v2"
        deadline = time.monotonic() + patience_s
        while True:
            try:
                self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > deadline:
                    raise SystemExit(f"no telemetry socket at {path}")
                time.sleep(0.05)
        self.buffer_bytes = json.loads(self.socket.recv(1024))["max_output_len"]

    def ask(self, command):
        self.socket.send(command.encode())
        return next(iter(json.loads(self.socket.recv(self.buffer_bytes)).values()))

    def port(self, name):
        for port in self.ask("/ethdev/list"):
            if self.ask(f"/ethdev/info,{port}")["name"] == name:
                return port
        raise SystemExit(f"no port {name}")


def start(command, log):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)


def memory_mib(mbufs, huge):
    """Without huge pages each packet buffer takes a page of its own."""
    return mbufs * (2560 if huge else 4096) // (1 << 20) + (64 if huge else 128)


def eal(prefix, capture, mbufs, huge):
    """EAL options that both contenders get."""
    return [
        "--lcores", "0@0,1@1", "--file-prefix", prefix, "--huge-unlink" if huge else "--no-huge",
        "-m", str(memory_mib(mbufs, huge)),
        "--vdev", f"net_pcap0,rx_pcap={capture},infinite_rx=1", "--vdev", "net_null1,size=64,no-rx=1",
    ]


def testpmd(prefix, capture, mbufs, huge, log):
    return start(
        ["dpdk-testpmd", *eal(prefix, capture, mbufs, huge), "--no-pci", "--", "--forward-mode=io", "--auto-start",
         "--no-flush-rx", f"--total-num-mbufs={mbufs}", "--nb-cores=1", "--rxq=1", "--txq=1", "--rxd=1024", "--txd=1024",
         "--stats-period=0", "--no-lsc-interrupt"], log)


def portcullis(prefix, capture, mbufs, huge, log, work, vms):
    config = work / "bench.toml"
    config.write_text(
        f'[dpdk]\nfile_prefix = "{prefix}"\ncores = "1"\nmain_core = 0\nhugepages = "{"on" if huge else "off"}"\n'
        f'mbufs = {mbufs}\nmemory_mib = {memory_mib(mbufs, huge)}\n'
        '[[link]]\nname = "bench"\nlink_propagation = false\n'
        f'inside = "net_pcap0,rx_pcap={capture},infinite_rx=1"\noutside = "net_null1,size=64,no-rx=1"\n'
        f'[control]\nsocket = "{work}/bench.sock"\n')
    return start([PORTCULLIS, "run", "--config", config, "--vms", vms], log)


def measure(process, prefix, seconds, samples, warm_s):
    """Millions of frames received a second: the median of some samples; and the share that was not forwarded."""
    try:
        telemetry = Telemetry(prefix)
        inside, outside = telemetry.port("net_pcap0"), telemetry.port("net_null1")
        time.sleep(warm_s)
        rates, dropped = [], []
        for _ in range(samples):
            before, t0 = telemetry.ask(f"/ethdev/stats,{inside}")["ipackets"], time.perf_counter()
            sent0 = telemetry.ask(f"/ethdev/stats,{outside}")["opackets"]
            time.sleep(seconds)
            after, t1 = telemetry.ask(f"/ethdev/stats,{inside}")["ipackets"], time.perf_counter()
            sent1 = telemetry.ask(f"/ethdev/stats,{outside}")["opackets"]
            rates.append((after - before) / (t1 - t0) / 1e6)
            dropped.append(1 - (sent1 - sent0) / max(1, after - before))
        if process.poll() is not None:
            raise SystemExit("the process ended during its measurement")
        return statistics.median(rates), statistics.median(dropped)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # testpmd leaves its own behind; the prefix is ours alone.
        shutil.rmtree(run_dir(prefix), ignore_errors=True)


def expected_drops(capture, vms):
    """The share of the capture's frames that the policy drops."""
    answer = subprocess.run(
        [PORTCULLIS, "replay", "--vms", vms, "--inside", capture, "--json"], capture_output=True, check=True, text=True)
    link = next(iter(json.loads(answer.stdout)["links"].values()))
    return 1 - link["outside"]["tx"] / link["inside"]["rx"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vms", type=int, default=1000, help="VMs in the table and in the capture (1000)")
    parser.add_argument("--frames", type=int, default=0, help="frames of the capture (4 a VM, at least 4000)")
    parser.add_argument("--mail-share", type=float, default=0.05, help="share of frames to mail ports (0.05)")
    parser.add_argument("--size", default="60", help="frame size without FCS, or imix (60)")
    parser.add_argument("--rounds", type=int, default=9, help="A B pairs (9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a sample (1.0)")
    parser.add_argument("--samples", type=int, default=3, help="samples of a measurement (3)")
    parser.add_argument("--huge", action="store_true", help="huge pages for both, as a gateway has them (reserve them first: "
                        "echo 300 > /proc/sys/vm/nr_hugepages)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    args.frames = args.frames or max(4000, 4 * args.vms)

    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder:
        work = Path(folder)
        capture, vms, log = work / "bench.pcap", work / "vms.jsonl", open(work / "log", "w+")
        subprocess.run(
            ["/usr/bin/python3", ROOT / "tests/peers/bench_capture.py", capture, vms, "--vms", str(args.vms), "--frames",
             str(args.frames), "--mail-share", str(args.mail_share), "--size", args.size], check=True,
            stdout=subprocess.DEVNULL)
        # The capture's packets live in the pool, beside rings and caches.
        mbufs = (1 << (args.frames + 8192).bit_length()) - 1
        policy_drops = expected_drops(capture, vms)
        rounds = []
        for number in range(args.rounds):
            tag = f"bench-{os.getpid()}-{number}-{random.randrange(1 << 16)}"
            try:
                process = testpmd(tag + "a", capture, mbufs, args.huge, log)
                io, _ = measure(process, tag + "a", args.seconds, args.samples, 0.5)
                process = portcullis(tag + "b", capture, mbufs, args.huge, log, work, vms)
                box, dropped = measure(process, tag + "b", args.seconds, args.samples, 0.5)
            except SystemExit:
                log.seek(0)
                sys.stderr.write("".join(log.readlines()[-20:]))
                raise
            if abs(dropped - policy_drops) > 0.002:
                raise SystemExit(f"refused: {dropped:.4f} of the frames were dropped, the policy drops {policy_drops:.4f}")
            rounds.append((io, box))
            if not args.json:
                print(f"round {number + 1:2}: io {io:6.2f} Mpps, portcullis {box:6.2f} Mpps, ratio {box / io:.3f}, "
                      f"{1000 / box - 1000 / io:+.2f} ns a frame", flush=True)
        ratios = sorted(box / io for io, box in rounds)
        costs = [1000 / box - 1000 / io for io, box in rounds]
        result = {
            "huge": args.huge, "vms": args.vms, "frames": args.frames, "size": args.size, "mail_share": args.mail_share, "dropped_share": round(policy_drops, 4),
            "rounds": args.rounds,
            "io_mpps": round(statistics.median(io for io, _ in rounds), 2),
            "portcullis_mpps": round(statistics.median(box for _, box in rounds), 2),
            "ratio": {"min": round(ratios[0], 3), "median": round(statistics.median(ratios), 3), "max": round(ratios[-1], 3)},
            "cost_ns": round(statistics.median(costs), 2),
        }
        print(json.dumps(result) if args.json else
              f"ratio min {ratios[0]:.3f}, median {statistics.median(ratios):.3f}, max {ratios[-1]:.3f}; "
              f"{result['cost_ns']:+.2f} ns a frame over io; {100 * policy_drops:.1f} % dropped, as the policy says")


if __name__ == "__main__":
    main()
