"""One open TCP connection as a Link: each message behind its length in two bytes.

What all links do alike is stream_link.py's. Refused: a message above the bound, by its length alone; nothing is parsed
after that. Source: PROTOCOL.md section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.transport.stream_link import StreamLink, override


if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from yzdht.ports import Endpoint, LinkHandler
    from yzdht.transport.bounds import LinkBounds


class TcpLink(StreamLink):
    """One end of an open TCP connection; implements `yzdht.ports.Link`.

    A message has 65,535 bytes at most. There is no goodbye in the framing: an end that sends no more closes its half of
    the connection, and the session inside says whether that was meant.

    Args:
        transport: The connected socket, whose protocol this link becomes, or TLS on it.
        remote: The other end.
        bounds: What the link may hold and for how long.

    """

    __slots__ = ("_is_broken", "_rest", "_unsent")

    def __init__(self, transport: asyncio.Transport, remote: Endpoint, bounds: LinkBounds) -> None:
        self._unsent: list[bytes] = []
        self._rest = b""  # of a message that is not whole
        self._is_broken = False
        super().__init__(transport, remote, bounds)

    def start(self, handler: LinkHandler, data: bytes = b"") -> None:
        """Begin: the owner is known, and these bytes have come already."""
        self._handler = handler
        self.data_received(data)

    def send(self, message: bytes) -> None:
        """Queue one message; a no-op on a link that is closing."""
        if self._is_open:
            size = len(message)
            self._unsent += size.to_bytes(2, "big"), message
            self._queue(size)

    # What the socket says

    @override
    def data_received(self, data: bytes) -> None:
        """Take what one read held, then write what that caused."""
        self.bytes_in += len(data)
        self._is_busy = True
        try:
            self._rest = self._take(self._rest + data if self._rest else data)
        finally:
            self._is_busy = False
        self._flush()

    @override
    def eof_received(self) -> None:
        """The peer sends no more; the socket closes by itself when this returns."""
        if self._is_open:
            self._reason = "closed by peer"
            self._begin_closing()
        self._flush()

    def _take(self, data: bytes) -> bytes:
        """Deliver the whole messages of it; the rest."""
        at, end, size_max = 0, len(data), self._bounds.message_bytes_max
        while end - at > 1 and not self._is_aborted and not self._is_broken:
            size = data[at] << 8 | data[at + 1]
            if size > size_max:
                self._refuse_rest()
                break
            following = at + 2 + size
            if following > end:
                return data[at:]
            if self._is_deaf:
                self._count_unheard(1)
            else:
                self._deliver(data[at + 2 : following])
            at = following
        return b"" if self._is_broken or self._is_aborted else data[at:]

    def _refuse_rest(self) -> None:
        """Nobody can tell where the next message would begin."""
        self._is_broken = True
        if self._is_open:
            self._reason = "message too large"
            self._begin_closing()

    # What the framing says

    @property
    @override
    def _partial_bytes(self) -> int:
        return len(self._rest)

    @property
    @override
    def _is_all_said(self) -> bool:
        return not self._is_open

    @override
    def _take_out(self) -> Sequence[bytes]:
        unsent, self._unsent = self._unsent, []
        return unsent

    @override
    def _say_goodbye(self) -> None:
        """Closing this half of the connection says it."""
