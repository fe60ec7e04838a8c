#!/usr/bin/python3
"""Builds the captures that the tests and `make demo` replay; the same bytes on every run.

    captures.py OUTDIR           write them
    captures.py --check OUTDIR   build them again and compare; exit 1 if a file differs
"""

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import demo  # noqa: E402
import golden  # noqa: E402
import neighbours  # noqa: E402
from pcapfile import pcap_bytes  # noqa: E402


def build():
    """File name -> content."""
    files = {"demo-vms.jsonl": demo.VMS_JSONL, "golden-vms.jsonl": golden.VMS_JSONL, "excepted-vms.jsonl": golden.EXCEPTED_JSONL,
             "golden.toml": golden.CONFIG,
             "strict.toml": neighbours.CONFIG}

    def capture(name, frames, labels, ticks=None):
        assert len(frames) == len(labels) and not any("\n" in label for label in labels)
        files[name + ".pcap"] = pcap_bytes(frames, ticks)
        files[name + ".labels"] = "".join(label + "\n" for label in labels)

    story, rows = demo.build(), golden.build()
    for side in ("inside", "outside"):
        capture(f"demo-{side}", story.frames[side], story.labels[side], story.ticks[side])
        capture(f"golden-{side}", rows.frames[side], rows.labels[side])
    capture("strict-inside", *neighbours.build())
    capture("runts-inside", *golden.runts())
    capture("sizes-inside", *golden.sizes())
    return {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with what is there, write nothing")
    args = parser.parse_args()
    files = build()
    if args.check:
        differ = [name for name, content in files.items()
                  if not (args.outdir / name).is_file() or (args.outdir / name).read_bytes() != content]
        for name in differ:
            print(f"{args.outdir / name}: not what captures.py builds")
        print(f"{len(files) - len(differ)} of {len(files)} files are as built")
        sys.exit(1 if differ else 0)
    args.outdir.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (args.outdir / name).write_bytes(content)


if __name__ == "__main__":
    main()
