"""Publish a line a second: python examples/publisher.py ws://127.0.0.1:8083 news [COUNT]."""

from __future__ import annotations

import asyncio
import sys

from yzdht import Client, YzError


async def main(node: str, topic: str, count: int) -> None:
    """Publish so many messages; what too few hosts took goes along with the next one."""
    async with Client.connect(node) as dht:
        for number in range(count):
            try:
                done = await dht.publish(topic, f"news number {number}".encode())
                print(f"{number}: stored by {done.stored} of {done.hosts} hosts")
            except YzError as error:
                print(f"{number}: {error}", file=sys.stderr)
            if number + 1 < count:
                await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else 60))
