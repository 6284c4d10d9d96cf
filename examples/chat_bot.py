"""A member of a group that answers: python examples/chat_bot.py ws://127.0.0.1:8083 HOME GROUP; talk to it by `yz chat GROUP`.

HOME is the folder of its identity; make it a member first: yz --home HOME join --name GROUP LINK.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from yzdht import Client


async def main(node: str, home: str, group: str) -> None:
    """Tell the time to whoever asks for it."""
    async with (
        Client.connect(node, home=home) as dht,
        dht.subscribe("chat", group=group) as messages,
    ):
        print("listening", flush=True)
        async for message in messages:
            is_asked = message.data.strip().lower() == b"what time is it?"
            if is_asked and message.sender != dht.identity.public_key:
                now = datetime.now(UTC).strftime("%H:%M UTC")
                await dht.publish("chat", f"it is {now}".encode(), group=group)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
