"""A program that publishes numbered messages to a topic until it is killed, and prints the number of each that was acknowledged.

python speaker.py URL HOME TOPIC LIFE
"""

from __future__ import annotations

import asyncio
import sys

from yzdht import Client


async def main() -> None:
    """Publish without a pause."""
    url, home, topic, life = sys.argv[1:5]
    async with Client.connect(url, home=home) as dht:
        number = 0
        while True:
            await dht.publish(topic, f"{life}/{number}".encode())
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    asyncio.run(main())
