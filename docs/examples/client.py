#!/usr/bin/env python3
"""A client of the box's control socket, with nothing but Python's standard library."""
import json
import socket


class Refused(Exception):
    """What the box refuses: `kind` is for programs, the text for people."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.kind, self.data = error["data"]["kind"], error["data"]


class Portcullis:
    def __init__(self, path="/run/portcullis/control.sock"):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rw", encoding="utf-8")
        self.id = 0

    def __call__(self, method, **params):
        self.id += 1
        request = {"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}
        self.lines.write(json.dumps(request) + "\n")
        self.lines.flush()
        answer = json.loads(self.lines.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]


if __name__ == "__main__":
    import sys
    box = Portcullis(*sys.argv[1:])
    box("vm.set", id="web1", macs=["52:54:00:00:00:01"], ips=["10.0.0.5"])
    print(box("vm.get", id="web1")["effective_class"])
