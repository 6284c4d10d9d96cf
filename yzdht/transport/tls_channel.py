"""TLS on a connection that is open already, of which bytes may have been read: a Transport on a Transport.

What `loop.start_tls` does cannot be used here, since it takes no bytes that came before; and the protocol behind it keeps
256 KiB for each connection. Here nothing waits: what comes is handed on as it is opened, what is written is sealed and
written at once, and back-pressure both ways is that of the connection below. A MemoryBIO however keeps the room that it once
needed, and OpenSSL the part of a record that came: hence both BIOs are filled with little at a time. After the handshake no
byte of it is anybody's proof: who is there is the business of the handshake of sessions inside. Source: RFC 8446.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from yzdht.limits import (
    TLS_READ_BYTES,
    TLS_RECORD_OVERHEAD_BYTES,
    TLS_RECORD_OVERHEAD_BYTES_1_2,
    TLS_SILENT_BYTES_MAX,
    TLS_SILENT_PART,
    TLS_SLICE_BYTES,
)


if TYPE_CHECKING:
    from collections.abc import Callable


def hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, with which no peer can begin a second handshake: writing could then wait for reading."""
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


class TlsChannel(asyncio.Transport, asyncio.Protocol):
    """One end of TLS: the transport of what is inside, the protocol of the connection below.

    Until `set_protocol` its maker feeds it; then the connection does.

    Args:
        transport: The connection below.
        context: Certificates.
        is_server: False for the end that dialled.
        host: Whose certificate is expected; of that end alone.

    Attributes:
        has_ended: True once the other end has said that it sends no more.
        is_open: True once the handshake is done.

    """

    def __init__(
        self,
        transport: asyncio.Transport,
        context: ssl.SSLContext,
        *,
        is_server: bool = True,
        host: str | None = None,
    ) -> None:
        super().__init__()
        self._below = transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, is_server, host)
        self._protocol: asyncio.Protocol | None = None
        self._is_goodbye_said = False
        self._is_end_told = False
        self._fault: ssl.SSLError | None = None
        self._silent_bytes = 0  # of what came since the handshake: neither data nor what its records add
        self._plain_bytes = 0
        self.has_ended = False
        self.is_open = False

    def feed(self, data: bytes) -> bytes:
        """Take what came; what was inside.

        Raises:
            ssl.SSLError: It is no TLS, the two ends do not agree, or much came with nothing inside (KeyUpdate without
                end); what tells the other end is written.

        """
        view = memoryview(data)
        pieces: list[bytes] = []
        for start in range(0, len(view) or 1, TLS_SLICE_BYTES):  # of nothing one too: it begins the handshake
            if self.has_ended:
                break
            pieces += self._open(view[start : start + TLS_SLICE_BYTES])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _open(self, part: memoryview) -> list[bytes]:
        """Take a part that is small; what each record held that is whole by now."""
        was_open = self.is_open
        self._incoming.write(part)
        try:
            if not was_open:
                self._tls.do_handshake()
                self.is_open = True
            pieces = self._read()
        except ssl.SSLWantReadError:
            return []
        finally:
            self._write_out()
        self._weigh(len(part) if was_open else 0, pieces)
        return pieces

    def _read(self) -> list[bytes]:
        pieces = []
        with suppress(ssl.SSLWantReadError):
            while piece := self._tls.read(TLS_READ_BYTES):  # one record each
                pieces.append(piece)
            self.has_ended = True
        return pieces

    def _weigh(self, taken: int, pieces: list[bytes]) -> None:
        """Count what came for nothing: nobody inside can, and a KeyUpdate of 27 bytes costs as much as 16 KiB of data.

        Raises:
            ssl.SSLError: It is too much.

        """
        is_1_3 = self._tls.version() == "TLSv1.3"
        overhead = TLS_RECORD_OVERHEAD_BYTES if is_1_3 else TLS_RECORD_OVERHEAD_BYTES_1_2
        plain = sum(map(len, pieces))
        self._plain_bytes += plain
        self._silent_bytes = max(0, self._silent_bytes + taken - plain - overhead * len(pieces))
        if self._silent_bytes > TLS_SILENT_BYTES_MAX + self._plain_bytes // TLS_SILENT_PART:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "too many TLS records with nothing inside")

    def _write_out(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    # What the connection below says

    def data_received(self, data: bytes) -> None:
        """Open what came and hand it on."""
        try:
            plain = self.feed(data)
        except ssl.SSLError as error:
            self._fault = error
            self._below.abort()
            return
        if plain:
            self.hand_in(plain)
        if self.has_ended:
            self.tell_end()

    def hand_in(self, plain: bytes) -> None:
        """Tell whoever is inside what came; who that is may change with every call."""
        self._inside.data_received(plain)

    def eof_received(self) -> None:
        """The other end sends no more, whether it said so inside or not: sessions know whether that was meant."""
        self._tell_eof()

    def tell_end(self) -> bool:
        """Tell whoever is inside that the other end sends no more, and close; False if nobody is."""
        if self._protocol is None:
            return False
        self._tell_eof()
        self.close()
        return True

    def _tell_eof(self) -> None:
        if not self._is_end_told:
            self._is_end_told = True
            self._inside.eof_received()

    def pause_writing(self) -> None:
        """Too much waits below."""
        self._inside.pause_writing()

    def resume_writing(self) -> None:
        """It no longer does."""
        self._inside.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection below is gone."""
        self._inside.connection_lost(exc or self._fault)

    @property
    def _inside(self) -> asyncio.Protocol:
        assert self._protocol is not None
        return self._protocol

    # What the protocol inside calls

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """From now on what is inside is this one's."""
        self._protocol = cast("asyncio.Protocol", protocol)
        self._below.set_protocol(self)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whose it is."""
        return self._inside

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as of any transport
        """`ssl_object`, or what the connection below knows."""
        return self._tls if name == "ssl_object" else self._below.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Seal and write; a no-op once this end has said goodbye."""
        if self._is_goodbye_said or self._below.is_closing():
            return
        view = memoryview(data)
        sealed = []
        try:
            while view:
                view = view[self._tls.write(view[:TLS_SLICE_BYTES]) :]  # one record
                sealed.append(self._outgoing.read())
        except ssl.SSLError as error:
            self._fault = error
            self._below.abort()
            return
        if sealed:
            self._below.write(b"".join(sealed))

    def can_write_eof(self) -> bool:
        """TLS closes each direction by itself."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more comes, and half-close."""
        self._say_goodbye()
        if not self._below.is_closing():
            self._below.write_eof()

    def _say_goodbye(self) -> None:
        if not self._is_goodbye_said:
            self._is_goodbye_said = True
            with suppress(ssl.SSLError):  # it also wants the answer, which may never come
                self._tls.unwrap()
            self._write_out()

    def close(self) -> None:
        """Say goodbye, write what waits, then close."""
        self._say_goodbye()
        self._below.close()

    def abort(self) -> None:
        """Close at once."""
        self._below.abort()

    def is_closing(self) -> bool:
        """True once it closes."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Read nothing from below."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._below.resume_reading()

    def is_reading(self) -> bool:
        """False while paused."""
        return self._below.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """From how many waiting bytes, sealed, `pause_writing` is told."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """As set."""
        return self._below.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """How many bytes wait, sealed."""
        return self._below.get_write_buffer_size()


class TlsDial(asyncio.Protocol):
    """The handshake of a connection that was dialled, until whoever is inside takes over.

    Args:
        context: Whose certificates count.
        host: Whose certificate is expected, a name or an address.
        inside: Is told of its connection once the handshake is done, or of the loss of the one below.
        on_fault: Told why there is no TLS, before that loss.

    """

    def __init__(
        self,
        context: ssl.SSLContext,
        host: str,
        inside: asyncio.Protocol,
        on_fault: Callable[[ssl.SSLError | UnicodeError], None],
    ) -> None:
        self._context = context
        self._host = host
        self._inside = inside
        self._on_fault = on_fault
        self._below: asyncio.Transport
        self._channel: TlsChannel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello, or give up where no certificate can be for such a host: one with an empty label, for one."""
        self._below = cast("asyncio.Transport", transport)
        try:
            self._channel = TlsChannel(self._below, self._context, is_server=False, host=self._host)
            self._channel.feed(b"")
        except ssl.SSLError as error:
            self._give_up(error)
        except ValueError as error:  # a UnicodeError among them
            self._give_up(UnicodeError(str(error)))

    def data_received(self, data: bytes) -> None:
        """Take a part of the handshake; hand over once it is done."""
        channel = self._channel
        try:
            plain = channel.feed(data)
        except ssl.SSLError as error:
            self._give_up(error)
            return
        if not channel.is_open:
            return
        channel.set_protocol(self._inside)
        self._inside.connection_made(channel)
        if plain:
            channel.hand_in(plain)
        if channel.has_ended:
            channel.tell_end()

    def _give_up(self, error: ssl.SSLError | UnicodeError) -> None:
        self._on_fault(error)
        self._below.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Be gone before it was done."""
        self._inside.connection_lost(exc)
