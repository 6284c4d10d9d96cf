"""Has the router forward one port, as a node does: `mapping.py PORT [ROUTER OWN]`; told on stdin to `keep` or `end`, says JSON.

Runs at home, behind a router of its own (routers.py). With an address of its own it is another machine there, which speaks
UPnP alone.
"""

from __future__ import annotations

import asyncio
import json
import sys

from yzdht.port_mapping import SSDP_PORT, PortMapping
from yzdht.store.entropy import SystemRng
from yzdht.upnp import Upnp


async def obey(port: int, *other: str) -> None:
    """Until stdin ends."""
    if other:
        print(await Upnp(port, SystemRng(), SSDP_PORT).keep(*other), flush=True)  # noqa: T201 - the answer
        return
    kept = PortMapping(port, SystemRng())
    while word := await asyncio.to_thread(sys.stdin.readline):
        await (kept.keep() if word == "keep\n" else kept.end())
        mapping = None if kept.mapping is None else kept.mapping._asdict()
        print(json.dumps({"mapping": mapping, "trouble": kept.trouble}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(obey(int(sys.argv[1]), *sys.argv[2:]))
