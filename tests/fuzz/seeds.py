#!/usr/bin/python3
"""Makes the seeds of tests/corpus from the golden captures and what the tests are configured with.

    tests/fuzz/seeds.py        writes what is missing or differs; deletes nothing
"""

import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True
TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "peers"))
from pcapfile import read_frames  # noqa: E402

# One frame in so many: the shapes repeat for each VM and port.
STEP = 37


def write(target, name, content):
    path = TESTS / "corpus" / target / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def main():
    for side, direction in (("inside", 0), ("outside", 1)):
        frames = read_frames(TESTS / "pcaps" / f"golden-{side}.pcap")
        labels = (TESTS / "pcaps" / f"golden-{side}.labels").read_text().splitlines()
        for number in range(direction, len(frames), STEP):
            cut = number % 64
            write("parser", f"{side} {labels[number]}", bytes([direction | cut << 1]) + frames[number])

    vms = (TESTS / "pcaps" / "golden-vms.jsonl").read_text()
    write("vm_line", "golden", vms.encode())
    write("vm_line", "everything", b'{"id":"a","macs":["52-54-00-00-00-01"],"ips":["10.0.0.0/24","2001:db8::/64"],'
          b'"public_ipv4":"203.0.113.5","scope":7,"class":"mta-only","mode":"monitor","note":"x"}\n'
          b'{"id":"a","ips":["10.0.0.5"],"class":null,"mode":null,"note":null}')
    write("vm_line", "conflict", b'{"id":"a","ips":["10.0.0.5"]}\n{"id":"b","ips":["10.0.0.5"]}')
    write("vm_line", "refused", b'{"id":"a b","ips":["10.0.0.5/24"]}\n{"id":"a","macs":["ff:ff:ff:ff:ff:ff"]}\n{"id":"a"}')

    write("config", "golden", (TESTS / "pcaps" / "golden.toml").read_bytes())
    write("config", "everything", b'[dpdk]\ncores = "1-4,6"\nmain_core = 0\nhugepages = "off"\nmbufs = 8192\n'
          b'memory_mib = 512\nfile_prefix = "x"\nextra_args = ["--no-pci"]\n[[link]]\nname = "a"\n'
          b'inside = "0000:03:00.0"\noutside = "net_tap0,iface=x"\nqueues = 2\nmtu = 9000\nrx_descriptors = 512\n'
          b'tx_descriptors = 512\nlink_propagation = false\nscopes = { "0" = 1, "4095" = 65535 }\n[policy]\n'
          b'directions = ["egress"]\nmode = "monitor"\n[table]\nvms = 10\nkeys = 100\n[control]\nsocket = "/run/x"\n')

    def call(method, params):
        return ('{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}' % (method, params)).encode()

    line = vms.splitlines()[0]
    calls = [
        ("vm.set", line), ("vm.get", '{"id":"vm-a"}'), ("vm.list", '{"after":"vm-a","limit":1}'),
        ("vm.patch", '{"id":"vm-a","class":"mta-only","note":null,"if_revision":1}'), ("vm.delete", '{"id":"vm-b"}'),
        ("stats.get", '{"vms":true}'), ("version", "{}"), ("vm.sett", "{}"), ("health", "{}"), ("rpc.methods", "{}"),
        ("vm.lookup", '{"ip":"10.0.0.5","scope":0}'), ("history", '{"vm":"vm-a","before":9,"limit":1}'),
        ("txn", '{"operations":[{"method":"vm.set","params":%s},{"method":"policy.patch","params":{"policy":{"mode":"monitor"}}}],'
         '"dry_run":false,"confirm_s":60}' % line), ("txn.confirm", "{}"), ("txn.rollback", '{"if_revision":1}'),
        ("sync.begin", "{}"), ("sync.chunk", '{"sync":1,"at":0,"vms":[%s]}' % line), ("sync.status", '{"sync":1}'),
        ("sync.commit", '{"sync":1,"dry_run":true,"force":true}'), ("sync.abort", '{"sync":1}'), ("policy.get", "{}"),
        ("policy.set", '{"class":{"x":{"ports":[25,"587-588"]}}}'), ("policy.patch", '{"policy":{"via":["02:00:00:00:00:01"]}}'),
        ("config.reload", "{}"), ("watch", '{"from_revision":0}'),
        ("vm.delete if", '{"id":"vm-b","if_etag":"f7be87af1dfda3f5","if_boot":"0000001f","if_revision":0}'),
        ("vm.list filter", '{"filter":{"class":"restricted","mode":"enforce","scope":0,"id_prefix":"vm","ip":"10.0.0.5"}}'),
    ]
    for name, params in calls:
        method = name.split(" ")[0]
        write("rpc", name, call(method, params))
        # In one piece, and byte by byte; with a second line, and an end that is none.
        write("connection", name, b"\xff" + call(method, params) + b"\n")
        write("connection", name + " in bytes", b"\x00" + call("version", "{}") + b"\n" + call(method, params) + b"\n{")
    write("rpc", "story", b"\n".join(call(method, params) for method, params in calls))
    write("rpc", "batch", b"[" + b",".join(call(method, params) for method, params in calls) + b"]")
    write("rpc", "notification", b'{"jsonrpc":"2.0","method":"version"}')
    write("rpc", "refused", b'{"jsonrpc":"1.0","id":[]}\n[]\n{\n"x"\n{"jsonrpc":"2.0","id":"\\u0000","method":"\\n"}\n')


if __name__ == "__main__":
    main()
