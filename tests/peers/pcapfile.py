"""Captures in and out: scapy reads, sixteen bytes of struct write, so that the same frames give the same file."""

import logging
import struct

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.utils import RawPcapReader  # noqa: E402

SNAP_BYTES = 262144
EPOCH_S = 1_767_225_600  # 2026-01-01 00:00:00 UTC: captures are made, not recorded
GAP_US = 1000


def read_frames(path):
    """The frames of a capture, whole; a capture that cut them cannot be judged."""
    frames = []
    reader = RawPcapReader(str(path))
    for data, meta in reader:
        wire = getattr(meta, "wirelen", len(data))
        if wire != len(data):
            raise SystemExit(f"{path}: frame {len(frames) + 1} was cut from {wire} to {len(data)} bytes")
        frames.append(bytes(data))
    reader.close()
    return frames


def pcap_bytes(frames, ticks=None):
    """One frame each millisecond, or at the given ticks, so that two sides of one story can be merged."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAP_BYTES, 1)]
    for tick, frame in zip(ticks or range(len(frames)), frames):
        seconds, micros = divmod(tick * GAP_US, 1_000_000)
        parts.append(struct.pack("<IIII", EPOCH_S + seconds, micros, len(frame), len(frame)))
        parts.append(frame)
    return b"".join(parts)


def write_frames(path, frames):
    with open(path, "wb") as out:
        out.write(pcap_bytes(frames))
