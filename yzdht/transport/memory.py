"""Channels within one process: for tests, and for programs that embed several nodes.

The same behaviour as a real transport, order, back-pressure and reasons of closing included, without a socket. Nothing is
delivered within the call that caused it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from yzdht.errors import DialFailed, ListenFailed, NoOtherAddress
from yzdht.ports import Endpoint
from yzdht.transport.bounds import LinkBounds


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from yzdht.ports import Link, LinkHandler


SCHEME = "memory"


class MemoryLink:
    """One end of a channel in memory; implements `yzdht.ports.Link`.

    What an end sends waits in the other end's inbox until it is delivered there; those are its unsent bytes.

    Args:
        remote: The other end.
        bounds: What the link may hold and for how long.

    Attributes:
        bytes_in: Bytes of the messages that were delivered here.
        bytes_out: Bytes of the messages that were sent from here.

    """

    def __init__(self, remote: Endpoint, bounds: LinkBounds) -> None:
        self._loop = asyncio.get_running_loop()
        self._remote = remote
        self._bounds = bounds
        self._other: MemoryLink
        self._handler: LinkHandler | None = None
        self._inbox: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._is_open = True
        self._is_deaf = False
        self._is_paused = False
        self._reason = ""
        self._is_ended = False  # the other end closed: nothing follows what is in the inbox
        self._is_finished = False
        self._is_delivery_due = False
        self._congested_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self.bytes_in = 0
        self.bytes_out = 0

    @staticmethod
    def pair(near: Endpoint, far: Endpoint, bounds: LinkBounds) -> tuple[MemoryLink, MemoryLink]:
        """Make both ends: the one at `near` and the one at `far`."""
        here, there = MemoryLink(far, bounds), MemoryLink(near, bounds)
        here._other, there._other = there, here
        return here, there

    def start(self, handler: LinkHandler) -> None:
        """Begin: the owner is known."""
        self._handler = handler
        self._deliver_soon()

    @property
    def remote(self) -> Endpoint:
        """The other end."""
        return self._remote

    @property
    def is_congested(self) -> bool:
        """True from LINK_UNSENT_BYTES_HIGH unsent bytes until they are down to LINK_UNSENT_BYTES_LOW."""
        return self._congested_timer is not None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the other end has not taken yet."""
        return self._unsent_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes that wait to be sent; what waits to be delivered are the other end's."""
        return self._unsent_bytes

    def send(self, message: bytes) -> None:
        """Queue one message; a no-op on a link that is closing."""
        if not self._is_open:
            return
        self._unsent_bytes += len(message)
        self.bytes_out += len(message)
        self._other._inbox.append(message)
        self._other._deliver_soon()
        if self._unsent_bytes > self._bounds.unsent_bytes_max:
            self._abort("overrun")
        elif self._unsent_bytes > self._bounds.unsent_bytes_high and self._congested_timer is None:
            self._congested_timer = self._loop.call_later(self._bounds.stalled_s, self._abort, "stalled")

    def flush(self) -> None:
        """What is sent is the other end's at once."""

    def pause_reading(self) -> None:
        """Stop delivering messages."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """Deliver messages again."""
        self._is_paused = False
        self._deliver_soon()

    def close(self) -> None:
        """Let the other end take what is queued, then close; aborts after `close_s` if it does not. Idempotent."""
        if self._is_deaf:
            return
        self._stop_delivering()
        self._deliver_soon()  # for the other end's close, if that came first
        if not self._is_open:
            return
        self._is_open = False
        self._reason = "closed"
        self._close_timer = self._loop.call_later(self._bounds.close_s, self._abort, "stalled")
        self._other._hear_end()

    def abort(self) -> None:
        """Close at once and drop what is queued. Idempotent."""
        self._abort(self._reason if self._reason and not self._is_deaf else "aborted")

    # Between the two ends

    def _deliver_soon(self) -> None:
        if not self._is_delivery_due:
            self._is_delivery_due = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """Deliver what is here now; what that causes to be sent comes with the next turn."""
        self._is_delivery_due = False
        for _ in range(len(self._inbox)):
            if self._is_paused or self._handler is None or not self._inbox:
                break
            message = self._inbox.popleft()
            self._other._hear_taken(len(message))
            self.bytes_in += len(message)
            if len(message) > self._bounds.message_bytes_max:
                self._finish("message too large")
                self._other._finish("closed by peer")
                return
            self._handler.on_message(message)
        if self._is_ended and not self._inbox and (self._is_deaf or not self._is_paused):
            self._finish(self._reason)
            self._other._finish(self._other._reason)
        elif self._inbox and not self._is_paused and self._handler is not None:
            self._deliver_soon()

    def _hear_taken(self, taken_bytes: int) -> None:
        self._unsent_bytes -= taken_bytes
        if self._congested_timer is not None and self._unsent_bytes <= self._bounds.unsent_bytes_low:
            self._congested_timer.cancel()
            self._congested_timer = None
            self._loop.call_soon(self._tell_writable)

    def _hear_end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._reason = "closed by peer"
        self._is_ended = True
        self._deliver_soon()

    def _tell_writable(self) -> None:
        if self._is_open and not self.is_congested and self._handler is not None:
            self._handler.on_writable()

    def _stop_delivering(self) -> None:
        self._is_deaf = True
        dropped_bytes = sum(map(len, self._inbox))
        self._inbox.clear()
        self._other._hear_taken(dropped_bytes)

    def _abort(self, reason: str) -> None:
        if not self._is_finished:
            self._finish(reason)
            self._other._finish(self._other._reason or "reset")

    def _finish(self, reason: str) -> None:
        """Let go of everything, and tell the owner in a later turn."""
        if self._is_finished:
            return
        self._is_finished = True
        self._is_open = False
        self._reason = reason
        self._stop_delivering()
        for timer in (self._congested_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._congested_timer = self._close_timer = None
        self._loop.call_soon(self._tell_closed)

    def _tell_closed(self) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_closed(self._reason)


class MemoryNetwork:
    """The names that transports of one process listen under."""

    def __init__(self) -> None:
        self.listeners: dict[str, MemoryListener] = {}


class MemoryListener:
    """A name that is being listened under; implements `yzdht.ports.Listener`."""

    def __init__(
        self,
        network: MemoryNetwork,
        name: str,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None,
    ) -> None:
        self._network = network
        self._name = name
        self._accept = accept
        self._admit = admit
        network.listeners[name] = self

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Its one name."""
        return [Endpoint(self._name, 0, SCHEME)]

    def accept(self, link: Link) -> LinkHandler | None:
        """Who owns a link that somebody dialled; None if it is not wanted."""
        is_admitted = self._admit is None or self._admit(link.remote)
        return self._accept(link) if is_admitted else None

    async def close(self) -> None:
        """Give the name back; links already open stay open. Idempotent."""
        if self._network.listeners.get(self._name) is self:
            del self._network.listeners[self._name]


class MemoryTransport:
    """Channels between the transports of one MemoryNetwork; implements `yzdht.ports.Transport`.

    Args:
        network: Where names are looked up.
        name: The host that links dialled from here are seen from.
        bounds: What each link may hold and for how long.

    """

    def __init__(
        self, network: MemoryNetwork, name: str = "client", bounds: LinkBounds | None = None
    ) -> None:
        self._network = network
        self._name = name
        self._bounds = bounds or LinkBounds()

    @property
    def schemes(self) -> frozenset[str]:
        """URL schemes that it dials."""
        return frozenset({SCHEME})

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
        avoid: Collection[str] = (),
    ) -> MemoryLink:
        """Open a channel.

        Args:
            url: `memory://name`.
            accept: Called once with the open link, before any message is delivered; returns its handler.
            timeout_s: Seconds for the opening, which takes one turn of the loop.
            hosts: Not looked at.
            avoid: Names that are not dialled.

        Raises:
            NoOtherAddress: It is one of those.
            DialFailed: The url is none, nobody listens under the name, or who does refused.

        """
        scheme, _, name = url.partition("://")
        if scheme != SCHEME or not name:
            raise DialFailed(f"{url[:80]!r} is not a memory address", hint="write it like memory://name")
        if name in avoid:
            raise NoOtherAddress(f"{url} was tried")
        async with asyncio.timeout(timeout_s):
            await asyncio.sleep(0)
        listener = self._network.listeners.get(name)
        if listener is None:
            raise DialFailed(f"{url}: connection refused, nobody listens under that name")
        near, far = MemoryLink.pair(Endpoint(self._name, 0, SCHEME), Endpoint(name, 0, SCHEME), self._bounds)
        handler = listener.accept(far)
        if handler is None:
            far.abort()
            raise DialFailed(f"{url}: closed the connection while it was being opened")
        far.start(handler)
        near.start(accept(near))
        return near

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> MemoryListener:
        """Accept channels.

        Args:
            host: The name to listen under.
            port: Ignored; a name is enough.
            accept: Called for every link; None drops it, and the dialler fails.
            admit: Asked before that; False drops it, too.

        Raises:
            ListenFailed: The name is taken.

        """
        del port
        if host in self._network.listeners:
            raise ListenFailed(f"{SCHEME}://{host} is in use", hint="choose another name")
        return MemoryListener(self._network, host, accept, admit)
