"""Hear a topic, and go on where it was after a restart: python examples/subscriber.py ws://127.0.0.1:8083 news cursor."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from yzdht import Client, Lost, Message


def keep(cursor: bytes, path: Path) -> None:
    """Replace the file: whoever reads it finds the old cursor or the new one, never a half."""
    part = path.with_suffix(".part")
    part.write_bytes(cursor)
    part.replace(path)


async def main(node: str, topic: str, path: Path, since: float | bytes) -> None:
    """Show each message once, and what is lost."""
    async with Client.connect(node) as dht, dht.subscribe(topic, since=since, gaps=True) as events:
        async for event in events:
            if isinstance(event, Message):
                print(event.data.decode(errors="replace"), flush=True)
            elif isinstance(event, Lost):
                print(f"{event.count} messages are lost: {event.reason}", file=sys.stderr)
            keep(events.cursor, path)


if __name__ == "__main__":
    file = Path(sys.argv[3])
    start = file.read_bytes() if file.exists() else 3600.0  # at first, the last hour
    asyncio.run(main(sys.argv[1], sys.argv[2], file, start))
