"""A man in the middle of a real socket: he sees whole messages, and changes, keeps, repeats or swaps them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.sessions.kit import PATIENCE_S
from yzdht.transport.websocket import WebSocketTransport


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import Link, Listener


UP, DOWN = "up", "down"
"""From the initiator, and back."""

HELLO, PROOF = (UP, 0), (UP, 1)
WELCOME, READY = (DOWN, 0), (DOWN, 1)


class _End:
    """One end of a relayed channel."""

    def __init__(self, wire: Wire, direction: str) -> None:
        self.wire = wire
        self.direction = direction
        self.link: Link
        self.other: _End
        self.is_open = False
        self.waiting: list[bytes] = []

    def on_message(self, message: bytes) -> None:
        for changed in self.wire.change(self.direction, message):
            self.other.send(changed)

    def send(self, message: bytes) -> None:
        if self.is_open:
            self.link.send(message)
        else:
            self.waiting.append(message)

    def opened(self, link: Link) -> _End:
        self.link, self.is_open = link, True
        for message in self.waiting:
            link.send(message)
        return self

    def on_writable(self) -> None:
        pass

    def on_closed(self, reason: str) -> None:
        del reason
        self.is_open = False
        if self.other.is_open:
            self.other.link.close()


class Wire:
    """One relayed channel.

    Attributes:
        seen: Every message, by direction and number, before it was changed.

    """

    def __init__(self, middle: Middle) -> None:
        self.middle = middle
        self.near, self.far = _End(self, UP), _End(self, DOWN)
        self.near.other, self.far.other = self.far, self.near
        self.seen: dict[tuple[str, int], bytes] = {}
        self._counts = {UP: 0, DOWN: 0}

    def change(self, direction: str, message: bytes) -> list[bytes]:
        place = direction, self._counts[direction]
        self._counts[direction] += 1
        self.seen[place] = message
        return self.middle.change(self, place, message)

    def inject(self, direction: str, message: bytes) -> None:
        (self.far if direction == UP else self.near).send(message)


class Middle:
    """Listens beside a node and relays to it.

    Args:
        target: Where the node listens.

    Attributes:
        change: What becomes of a message: given its wire, its place and itself; relays it by default.
        wires: Every channel so far.

    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._transport = WebSocketTransport()
        self._listener: Listener
        self._dials: set[asyncio.Task[None]] = set()
        self.wires: list[Wire] = []
        self.change: Callable[[Wire, tuple[str, int], bytes], list[bytes]] = lambda _wire, _place, m: [m]

    async def listen(self) -> str:
        self._listener = await self._transport.listen("127.0.0.1", 0, self._accept)
        return f"ws://127.0.0.1:{self._listener.endpoints[0].port}"

    def _accept(self, link: Link) -> _End:
        wire = Wire(self)
        self.wires.append(wire)
        task = asyncio.ensure_future(self._dial(wire))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        return wire.near.opened(link)

    async def _dial(self, wire: Wire) -> None:
        await self._transport.dial(self._target, wire.far.opened, PATIENCE_S)

    def rewrite(self, place: tuple[str, int], change: Callable[[bytes], bytes]) -> None:
        """Change the message at one place of every channel."""
        self.change = lambda _wire, at, message: [change(message) if at == place else message]

    def multiply(self, place: tuple[str, int], count: int) -> None:
        """Leave the message at one place of every channel out, or repeat it."""
        self.change = lambda _wire, at, message: [message] * (count if at == place else 1)

    async def close(self) -> None:
        await self._listener.close()
        for wire in self.wires:
            for end in (wire.near, wire.far):
                if end.is_open:
                    end.link.abort()


def flip(message: bytes, bit: int) -> bytes:
    """The message with one bit flipped, counted round where it is short."""
    changed = bytearray(message)
    changed[bit // 8 % len(message)] ^= 1 << bit % 8
    return bytes(changed)
