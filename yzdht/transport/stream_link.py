"""What every link over a byte stream does alike, whatever its framing: a socket, or TLS on one.

Owns back-pressure both ways, what waits and for how long, and the one end that the owner is told. A subclass owns the
framing: it parses what comes and hands whole messages to `_deliver`, and says what leaves. One asyncio.Protocol per
connection: no task, no coroutine, no await per message. Bytes written within one callback leave in one write.

Cut off is who sends very many messages while nobody hears them: while reading is paused, of one read, or after this end
has closed. Source: PROTOCOL.md section 4.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING

from yzdht.limits import LINK_FLUSH_BYTES, LINK_UNHEARD_MESSAGES_MAX


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import override

    from yzdht.ports import Endpoint, LinkHandler
    from yzdht.transport.bounds import LinkBounds
else:

    def override(method: Callable[..., object]) -> Callable[..., object]:
        """Mark a method that overrides one of its base class; `typing` has this from Python 3.12 on."""
        return method


__all__ = ["StreamLink", "override"]


class StreamLink(asyncio.Protocol):
    """One end of an open connection; implements `yzdht.ports.Link` but for `send`.

    `on_closed` is told one of: "closed" (close() here), "closed by peer", "aborted" (abort() here), "reset",
    "stalled", "overrun", "message too large", "too many messages", or what the framing adds.
    A link whose peer left while
    reading was paused still delivers what had arrived, and is closed after that; but not if it left without reading what
    it was sent: an owner that waits until it may write would wait for ever. After close() or abort() nothing more is
    delivered.

    Args:
        transport: The connected socket, whose protocol this link becomes, or TLS on it.
        remote: The other end.
        bounds: What the link may hold and for how long.

    Attributes:
        bytes_in: Bytes read from the transport, framing included; under TLS what is inside it.
        bytes_out: Bytes written to it, as `bytes_in`.

    """

    __slots__ = (
        "_bounds",
        "_close_timer",
        "_congested_timer",
        "_handler",
        "_inbox",
        "_inbox_bytes",
        "_is_aborted",
        "_is_busy",
        "_is_deaf",
        "_is_eof_written",
        "_is_flush_due",
        "_is_lost",
        "_is_open",
        "_is_paused",
        "_loop",
        "_owes_writable",
        "_pending_bytes",
        "_reason",
        "_remote",
        "_transport",
        "_unheard",
        "bytes_in",
        "bytes_out",
    )

    def __init__(self, transport: asyncio.Transport, remote: Endpoint, bounds: LinkBounds) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._remote = remote
        self._bounds = bounds
        self._handler: LinkHandler | None = None
        self._inbox: deque[bytes] | None = None  # while there is nothing: an empty one takes 760 bytes
        self._inbox_bytes = 0
        self._pending_bytes = 0
        self._unheard = 0  # messages that came after this end had closed
        self._reason = ""
        self._is_open = True
        self._is_deaf = False
        self._is_aborted = False
        self._is_lost = False
        self._is_paused = False
        self._is_busy = True  # until it is started: what accept() sends follows what opened the link
        self._is_flush_due = False
        self._is_eof_written = False
        self._owes_writable = False  # the owner was congested and was not told yet that it is no longer
        self._congested_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        transport.set_write_buffer_limits(high=bounds.unsent_bytes_high, low=bounds.unsent_bytes_low)
        transport.set_protocol(self)

    def refuse(self) -> None:
        """Nobody wants this link: drop it, whatever its opening has queued included."""
        self._abort("aborted")

    # What the framing owns

    @property
    @abstractmethod
    def _partial_bytes(self) -> int:
        """Bytes of a message that is not whole yet."""

    @property
    @abstractmethod
    def _is_all_said(self) -> bool:
        """True once nothing follows what was taken out: this end of the connection may be closed."""

    @abstractmethod
    def _take_out(self) -> Sequence[bytes]:
        """What is to be written, in order; it is the framing's no longer."""

    @abstractmethod
    def _say_goodbye(self) -> None:
        """Queue what tells the peer that nothing more comes, where the framing has such a thing."""

    # What the owner calls

    @property
    def remote(self) -> Endpoint:
        """The other end, as this machine sees it."""
        return self._remote

    @property
    def is_congested(self) -> bool:
        """True from LINK_UNSENT_BYTES_HIGH unsent bytes until they are down to LINK_UNSENT_BYTES_LOW."""
        return self._congested_timer is not None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait in this process; those in the kernel's buffer are not counted."""
        return self._pending_bytes + self._transport.get_write_buffer_size()

    @property
    def held_bytes(self) -> int:
        """Bytes that wait in this process: unsent, read while reading was paused, and of a message that is not whole."""
        return self.unsent_bytes + self._inbox_bytes + self._partial_bytes

    def pause_reading(self) -> None:
        """Stop delivering messages and reading the socket."""
        if self._is_paused:
            return
        self._is_paused = True
        if self._is_open and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Deliver messages again, those that had arrived first."""
        if not self._is_paused:
            return
        self._is_paused = False
        if self._inbox or self._is_lost:
            self._loop.call_soon(self._drain)
        else:
            self._read_socket()

    def flush(self) -> None:
        """Write what is queued now; while messages are delivered that follows at their end."""
        if self._pending_bytes and not self._is_busy:
            self._flush()

    def close(self) -> None:
        """Send what is queued and say goodbye; aborts after `close_s` if the peer does not follow."""
        if self._is_deaf:
            return
        self._stop_delivering()
        if not self._is_open:
            return
        self._reason = "closed"
        self._say_goodbye()
        self._begin_closing()
        if not self._is_busy:
            self._flush()

    def abort(self) -> None:
        """Close the socket at once and drop what is queued."""
        self._abort(self._reason if self._reason and not self._is_deaf else "aborted")

    # What the socket says

    @override
    def pause_writing(self) -> None:
        """Become congested."""
        self._owes_writable = True
        self._congested_timer = self._loop.call_later(self._bounds.stalled_s, self._abort, "stalled")

    @override
    def resume_writing(self) -> None:
        """No longer be congested."""
        if self._congested_timer is not None:
            self._congested_timer.cancel()
            self._congested_timer = None
        # Not called from here: some loops resume from within write(), and the owner must not be re-entered from send().
        self._loop.call_soon(self._tell_writable)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Be gone: after what has arrived, if reading is paused."""
        self._is_lost = True
        self._is_open = False
        if not self._reason:
            self._reason = "closed by peer" if exc is None else "reset"
        if self._owes_writable:
            self._inbox = None
            self._inbox_bytes = 0
        for timer in (self._congested_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._congested_timer = self._close_timer = None
        if not self._inbox:
            self._finish()

    # Messages in

    def _count_unheard(self, messages: int) -> None:
        """Cut off who goes on talking: nothing paces what nobody hears, and small ones cost a multiple of their bytes."""
        self._unheard += messages
        if self._unheard > LINK_UNHEARD_MESSAGES_MAX:
            self._abort(self._reason)

    def _deliver(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_deaf or self._handler is None:
            return
        message = data if type(data) is bytes else bytes(data)
        if self._is_paused or self._inbox:
            if self._inbox is None:
                self._inbox = deque()
            self._inbox.append(message)
            self._inbox_bytes += len(message)
            if len(self._inbox) > LINK_UNHEARD_MESSAGES_MAX:
                self._abort("too many messages")
        else:
            self._handler.on_message(message)

    def _drain(self) -> None:
        """Deliver what arrived while reading was paused; then read on, or report the loss that came after it."""
        self._is_busy = True
        try:
            while self._inbox and not self._is_paused and self._handler is not None:
                message = self._inbox.popleft()
                self._inbox_bytes -= len(message)
                self._handler.on_message(message)
        finally:
            self._is_busy = False
        self._flush()
        if self._inbox:
            return
        self._inbox = None
        if self._is_paused:
            return
        if self._is_lost:
            self._finish()
        else:
            self._read_socket()

    def _read_socket(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # Bytes out

    def _queue(self, size: int) -> None:
        """A message of so many bytes waits: write it with what else waits by the end of this turn, or now if that is much."""
        self._pending_bytes += size
        if self._pending_bytes > LINK_FLUSH_BYTES:
            self._flush()
        elif not self._is_busy and not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Hand what waits to the transport in one write."""
        self._is_flush_due = False
        self._pending_bytes = 0
        writes = self._take_out()
        transport = self._transport
        if transport.is_closing():
            return
        if writes:
            written = writes[0] if len(writes) == 1 else b"".join(writes)
            self.bytes_out += len(written)
            transport.write(written)
            if (
                self._congested_timer is not None
                and transport.get_write_buffer_size() > self._bounds.unsent_bytes_max
            ):
                self._abort("overrun")
                return
        if self._is_all_said and not self._is_eof_written:
            self._is_eof_written = True
            self._write_eof()

    def _write_eof(self) -> None:
        """Half-close where possible: closing with bytes unread would reset, and what was sent last could be lost."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _tell_writable(self) -> None:
        if self._is_open and self._congested_timer is None and self._handler is not None:
            self._owes_writable = False
            self._handler.on_writable()

    # The end

    def _begin_closing(self) -> None:
        """Send no more messages; read on, so that the peer's answer is seen, but not for ever."""
        self._is_open = False
        self._close_timer = self._loop.call_later(self._bounds.close_s, self._give_up)
        if self._is_paused:
            self._read_socket()

    def _give_up(self) -> None:
        self._abort("stalled" if self._is_deaf else self._reason)

    def _stop_delivering(self) -> None:
        self._is_deaf = True
        self._inbox = None
        self._inbox_bytes = 0
        if self._is_lost:
            self._loop.call_soon(self._finish)

    def _abort(self, reason: str) -> None:
        if self._is_aborted:
            return
        self._is_aborted = True
        self._reason = reason
        self._is_open = False
        self._stop_delivering()
        # One of asyncio's that closed with bytes unwritten, wrote them and is gone has no loop left to abort with.
        if not self._is_lost:
            self._transport.abort()

    def _finish(self) -> None:
        """Tell the owner, once."""
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_closed(self._reason)
