"""What a node, or another program on its port, says of itself over HTTP and in run.json, and what is shown of it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from yzdht.cli import peers, status
from yzdht.cli.answers import PeersView, ReadyView, RefusalView, StatusView, decode_answer
from yzdht.cli.local_node import decode_run, parse_http
from yzdht.errors import NoNode, StoreError, UsageError


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.cli.answers.decode_answer",
    "yzdht.cli.local_node.decode_run",
    "yzdht.cli.local_node.parse_http",
)
NODE_ID = "ab" * 32
PATH = Path("run.json")
NOW = 1_800_000_000.0


def seeds() -> Iterator[bytes]:
    ready = {"ready": True, "alone": False, "reason": "fine", "throughPeers": 3, "checkedAt": 1, "hint": ""}
    peer = {"nodeId": NODE_ID, "host": "::1", "road": "ws", "dialled": True, "url": "ws://[::1]:1", "rttMs": 1.5,
            "sinceS": 3, "isClient": False, "isInTable": True, "bytesIn": 1, "bytesOut": 2}  # fmt: skip
    run_view = {"pid": 7, "port": 8083, "host": "127.0.0.1", "http": "http://127.0.0.1:8084", "nodeId": NODE_ID,
                "version": "1", "startedAt": 1}  # fmt: skip
    yield json.dumps(
        {"nodeId": NODE_ID, "version": "1.0", "network": "main", "state": "ready", "ready": ready, "startedAt": 1,
         "pid": 7, "uptimeS": 60, "data": "there", "listen": ["ws://127.0.0.1:8083"],
         "addresses": [{"url": "ws://192.0.2.1:8083", "reachable": "unknown"}], "http": "http://127.0.0.1:8084",
         "bootstrap": {"tried": 2, "joined": 1}, "table": {"nodes": 3, "mode": "small"},
         "sessions": {"nodes": 1, "clients": 2, "halfOpen": 0, "max": 200},
         "records": {"count": 1, "bytes": 2, "bytesMax": 3}, "traffic": {"in": {"ws": 1}, "out": {}, "inPerS": 0.1},
         "limits": {"refused": {"places": 2}}, "errors": [{"at": 1, "what": "it", "hint": "do", "times": 2}]}
    ).encode()  # fmt: skip
    yield json.dumps({"nodeId": NODE_ID, "peers": [peer, peer | {"isClient": True}]}).encode()
    yield json.dumps(ready).encode()
    yield json.dumps({"error": "none", "hint": "wait"}).encode()
    yield json.dumps(run_view).encode()
    yield b"http://127.0.0.1:8084"


def one(data: bytes) -> None:
    with suppress(NoNode):
        _look_at(list(status.lines_of(decode_answer(data, StatusView, "here"), NOW)))
    with suppress(NoNode):
        _look_at(peers.lines_of(decode_answer(data, PeersView, "here")))
    for shape in (ReadyView, RefusalView):
        with suppress(NoNode):
            decode_answer(data, shape, "here")
    with suppress(StoreError):
        decode_run(data, PATH)
    with suppress(UsageError):
        parse_http(data.decode(errors="replace"))


def _look_at(lines: list[str]) -> None:
    """No line of a stranger steers a terminal or begins another line."""
    for line in lines:
        assert line.isprintable() or not line, line


if __name__ == "__main__":
    run(one, seeds())
