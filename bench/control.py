#!/usr/bin/python3
"""The control socket under load, on a box that forwards: how long changes take, and whom long answers keep waiting.

Each durable change waits for the disk, so the disk's own fdatasync is measured beside it, in the same folder: what counts
is the difference. Needs the machine to itself; the folder of the store (--folder) should lie on the disk that will keep it.

Example: bench/control.py --vms 1000000 --folder /var/lib/portcullis-bench
"""

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORTCULLIS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "portcullis"


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def send(self, method, **params):
        self.socket.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")

    def receive(self):
        answer = json.loads(self.lines.readline())
        if "error" in answer:
            raise SystemExit(f"refused: {answer['error']}")
        return answer["result"]

    def call(self, method, **params):
        self.send(method, **params)
        return self.receive()

    def skim(self, method, **params):
        """Calls, and reads the answer without keeping it; how many bytes it has."""
        self.send(method, **params)
        total = 0
        while True:
            chunk = self.lines.read1(1 << 16)
            total += len(chunk)
            if chunk.endswith(b"\n"):
                return total


def vm(number, note=None):
    mac = f"02:00:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    record = {"id": f"vm{number:08}", "macs": [mac], "ips": [f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"]}
    return record if note is None else record | {"note": note}


def percentiles(seconds):
    ordered = sorted(seconds)
    at = lambda share: round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
    return {"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1)}


def fdatasync(folder, seconds):
    """What the disk takes for 4 KiB by itself."""
    took, end = [], time.perf_counter() + seconds
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
        at = 0
        while time.perf_counter() < end:
            begun = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(4096), at)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
            at = (at + 4096) % (1 << 20)
    return percentiles(took)


def single_changes(path, clients, seconds):
    """Each client has one change under way at any time."""
    all_clients = [Client(path) for _ in range(clients)]
    begun, took, poller, at = {}, [], select.poll(), 0
    by_fd = {client.socket.fileno(): client for client in all_clients}

    def next_change(client):
        nonlocal at
        at += 1
        begun[client] = time.perf_counter()
        client.send("vm.patch", id=f"vm{at % 1000:08}", note=str(at))

    start = time.perf_counter()
    for client in all_clients:
        poller.register(client.socket, select.POLLIN)
        next_change(client)
    while (now := time.perf_counter()) < start + seconds:
        for fd, _ in poller.poll(1000):
            client = by_fd[fd]
            answer = client.receive()
            if not answer["changed"]:
                raise SystemExit(f"refused: nothing was changed: {answer}")
            took.append(time.perf_counter() - begun[client])
            next_change(client)
    for client in all_clients:
        client.receive()
    return {"clients": clients, "per_second": round(len(took) / (now - start)), "durable": answer["durable"]} | percentiles(took)


def transactions(path, seconds, size=1000):
    """Changes of VMs in transactions of so many."""
    client, took, round_number = Client(path), [], 0
    start = time.perf_counter()
    # The texts are made before: what they cost is the client's.
    texts = [
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "txn", "params": {"operations": [
            {"method": "vm.patch", "params": {"id": f"vm{number:08}", "note": note}} for number in range(size)]}}).encode() + b"\n"
        for note in ("a", "b")]
    start = time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        begun = now
        client.socket.sendall(texts[round_number % 2])
        client.receive()
        took.append(time.perf_counter() - begun)
        round_number += 1
    return {"operations": size, "changes_per_second": round(size * len(took) / (now - start))} | percentiles(took)


def while_it_lasts(path, long):
    """What another client's changes take while something long is answered; and how long that took."""
    ended = threading.Event()
    result = {}

    def run():
        begun = time.perf_counter()
        result["bytes"] = long()
        result["seconds"] = round(time.perf_counter() - begun, 2)
        ended.set()

    client, took, at = Client(path), [], 0
    client.call("vm.set", scope=1, **vm(1 << 25))
    thread = threading.Thread(target=run)
    thread.start()
    while not ended.is_set():
        begun = time.perf_counter()
        client.call("vm.patch", id=f"vm{1 << 25:08}", note=str(at))
        took.append(time.perf_counter() - begun)
        at += 1
    thread.join()
    return result | {"changes_meanwhile": len(took)} | percentiles(took)


def export(path):
    """Every page of `vm.list`, read by another process."""
    with subprocess.Popen([PORTCULLIS, "vm", "export", "--socket", path], stdout=subprocess.PIPE) as process:
        return sum(len(chunk) for chunk in iter(lambda: process.stdout.read1(1 << 20), b""))


class Box:
    """A box that forwards a capture for ever."""

    def __init__(self, work, store):
        self.socket = work / "bench.sock"
        capture = work / "bench.pcap"
        if not capture.exists():
            subprocess.run(["/usr/bin/python3", ROOT / "tests/peers/bench_capture.py", capture, work / "vms.jsonl", "--vms",
                            "1000", "--frames", "4000"], check=True, stdout=subprocess.DEVNULL)
        config = work / "bench.toml"
        config.write_text(
            f'[dpdk]\nfile_prefix = "control-{os.getpid()}"\ncores = "1"\nmain_core = 0\nhugepages = "off"\nmbufs = 16383\n'
            '[[link]]\nname = "bench"\nlink_propagation = false\n'
            f'inside = "net_pcap0,rx_pcap={capture},infinite_rx=1"\noutside = "net_null1,size=64,no-rx=1"\n'
            f'[control]\nsocket = "{self.socket}"\nsync_remove_max_percent = 100\n'
            + (f'[store]\npath = "{store}"\n' if store else ""))
        self.log = open(work / "log", "a+")
        self.begun = time.perf_counter()
        self.process = subprocess.Popen([PORTCULLIS, "run", "--config", config], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        while True:
            try:
                Client(self.socket).call("version")
                break
            except (OSError, ValueError):
                if self.process.poll() is not None:
                    self.log.seek(0)
                    raise SystemExit("".join(self.log.readlines()[-20:]))
                time.sleep(0.005)
        self.ready_s = round(time.perf_counter() - self.begun, 2)

    def memory_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    def stop(self):
        stats = Client(self.socket).call("stats.get", vms=False)
        if not stats["balanced"] or stats["links"]["bench"]["inside"]["rx"] == 0:
            raise SystemExit(f"refused: the box does not forward: {stats}")
        begun = time.perf_counter()
        self.process.terminate()
        self.process.wait(60)
        return round(time.perf_counter() - begun, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vms", type=int, default=100_000, help="VMs in the box (100000)")
    parser.add_argument("--seconds", type=float, default=5, help="length of each measurement (5)")
    parser.add_argument("--folder", type=Path, help="where the store lies (a temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    results = {"vms": args.vms}

    def say(name, result):
        results[name] = result
        if not args.json:
            print(f"{name:28} " + (", ".join(f"{key} {value}" for key, value in result.items()) if isinstance(result, dict)
                                   else str(result)), flush=True)

    with tempfile.TemporaryDirectory(prefix="portcullis-bench-", dir=args.folder) as folder:
        work = Path(folder)
        inventory = work / "inventory.jsonl"
        with open(inventory, "w") as out:
            out.writelines(json.dumps(vm(number)) + "\n" for number in range(args.vms))
        for store in (None, work / "state.redb"):
            box, kind = Box(work, store), "store" if store else "memory"
            try:
                begun = time.perf_counter()
                subprocess.run([PORTCULLIS, "sync", inventory, "--socket", box.socket], check=True, stdout=subprocess.DEVNULL)
                say(f"{kind}: sync", {"seconds": round(time.perf_counter() - begun, 2), "rss_mib": box.memory_mib()})
                if store:
                    say("disk: fdatasync", fdatasync(work, args.seconds))
                for clients in (1, 32):
                    say(f"{kind}: single, {clients}", single_changes(box.socket, clients, args.seconds))
                say(f"{kind}: txn", transactions(box.socket, args.seconds))
                say(f"{kind}: during vm.list", while_it_lasts(box.socket, lambda: export(box.socket)))
                say(f"{kind}: during stats.get", while_it_lasts(box.socket, lambda: Client(box.socket).skim("stats.get")))
                say(f"{kind}: rss", {"mib": box.memory_mib()})
                if store:
                    box.process.kill()
                    box.process.wait()
                    box = Box(work, store)
                    say("store: start after a kill", {"seconds": box.ready_s})
                    box.stop()
                    box = Box(work, store)
                    say("store: start after a stop", {"seconds": box.ready_s})
                say(f"{kind}: stop", {"seconds": box.stop()})
            finally:
                box.process.kill()
                box.process.wait()
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
