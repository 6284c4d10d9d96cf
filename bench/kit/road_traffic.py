"""What goes over a road that is measured: requests and answers of sessions, or messages of the bare channel below.

A round trip of 1 KiB is a FIND_VALUE that names records which the asker has, and an answer with one record: both have
REQUEST_BYTES, and so has a message of the bare channel, which comes back as it is. In bulk goes a STORE of 60,000 bytes,
answered with nothing; on the bare channel as many bytes in as many messages as the session cuts it into, answered with one
byte.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final, Protocol

from yzdht.crypto.handshake import Credentials, Initiator, Responder
from yzdht.crypto.naming import network_id
from yzdht.ids import RecordHash, Target
from yzdht.limits import HANDSHAKE_MESSAGES_PER_LOOP_TURN, RECORD_DATA_BYTES_MAX, RECORD_OVERHEAD_BYTES
from yzdht.loop_turns import LoopTurns
from yzdht.rpc.engine import Answer
from yzdht.rpc.session import Answered, Ended, Event, Opened, Requested
from yzdht.sessions.clock import SystemClock
from yzdht.sessions.connection import Connection
from yzdht.sessions.request_turns import RequestTurns
from yzdht.store.keyfile import Identity
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import (
    Empty,
    FindValue,
    FoundValue,
    Method,
    Status,
    Store,
    encode_answer,
    encode_body,
    encode_request,
    encode_response,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import Link


STORED_BYTES: Final = 60_000
BULK_AT_ONCE: Final = 8
CALL_S: Final = 60.0
_CAPS: Final = Caps.ALWAYS | Caps.CLIENT
_KNOWN: Final = 29  # makes it 1,034 bytes


def _find() -> FindValue:
    known = tuple(RecordHash(os.urandom(32)) for _ in range(_KNOWN))
    return FindValue(Target(os.urandom(32)), known)


def _found() -> FoundValue:
    """An answer as long as the request."""
    empty = len(encode_response(1, Status.OK, encode_answer(Status.OK, FoundValue((bytes(900),)))))
    return FoundValue((os.urandom(900 + REQUEST_BYTES - empty),))


FIND: Final = _find()
REQUEST_BYTES: Final = len(encode_request(1, Method.FIND_VALUE, encode_body(FIND)))
FOUND: Final = _found()
STORE: Final = Store(Target(os.urandom(32)), os.urandom(STORED_BYTES))
_NOTHING: Final = Empty()
_ECHOED: Final = b"\1" + os.urandom(
    REQUEST_BYTES - 1
)  # begins as the Hello by which a raw connection is known
_PIECES: Final = -(-STORED_BYTES // RECORD_DATA_BYTES_MAX)
_PIECE: Final = os.urandom(STORED_BYTES // _PIECES + RECORD_OVERHEAD_BYTES)
_TAKEN: Final = b"\1"


def credentials() -> Credentials:
    """Of somebody new, who only asks."""
    return Credentials(Identity.generate().signer, network_id("main"), _CAPS)


# The end that was dialled


class Answerer:
    """Owner of the sessions that others open: it has a record of 1 KiB for whoever asks for one, and takes any."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = SystemClock()
        self._credentials = credentials()
        self.handshake_turns = LoopTurns(self._loop, HANDSHAKE_MESSAGES_PER_LOOP_TURN, Connection.hear_early)
        self.request_turns = RequestTurns(self._loop, Connection.serve_next)

    def accept(self, link: Link) -> Connection:
        connection = Connection(link, self._clock, self._loop, self)
        connection.begin(Responder(self._credentials))
        return connection

    def on_event(self, connection: Connection, event: Event) -> None:
        if isinstance(event, Requested):
            answer = FOUND if event.method is Method.FIND_VALUE else _NOTHING
            connection.reply(event.number, Status.OK, answer)

    def is_busy(self, topic: bytes) -> bool:
        return False

    def on_weight(self, connection: Connection, held: int) -> None:
        pass

    def on_carried(self, connection: Connection, taken: int, given: int) -> None:
        pass

    def on_gone(self, connection: Connection) -> None:
        pass


class Returner:
    """Owner of a bare channel: what comes goes back, and what comes in pieces is acknowledged."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pieces = 0

    def on_message(self, message: bytes) -> None:
        if len(message) == len(_ECHOED):
            self._link.send(message)
            return
        self._pieces += 1
        if self._pieces == _PIECES:
            self._pieces = 0
            self._link.send(_TAKEN)

    def on_writable(self) -> None:
        pass

    def on_closed(self, reason: str) -> None:
        pass


# The end that dials


class Traveller(Protocol):
    """Whoever goes to and fro on a road."""

    async def opened(self) -> None:
        """Wait until it may go."""
        ...

    async def go(self, count: int) -> list[float]:
        """So many round trips of 1 KiB, one after the other; seconds of each."""
        ...

    async def carry(self, count: int) -> None:
        """So many times STORED_BYTES, BULK_AT_ONCE at a time."""
        ...

    @property
    def link(self) -> Link:
        """What it goes on."""
        ...


class _Trips:
    """Keeps so many round trips under way until all are done, from callbacks alone."""

    def __init__(self, send: Callable[[], None], at_once: int, count: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.took_s: list[float] = []
        self._send = send
        self._unsent = self._left = count
        self._sent_at = 0.0
        for _ in range(min(at_once, count)):
            self._start()

    def _start(self) -> None:
        self._unsent -= 1
        self._sent_at = time.perf_counter()
        self._send()

    def back(self) -> None:
        """One came back; the time is right where only one is under way."""
        self.took_s.append(time.perf_counter() - self._sent_at)
        self._left -= 1
        if self._unsent:
            self._start()
        elif not self._left:
            self.done.set_result(None)


class Asker:
    """Owner of one session that it opens."""

    def __init__(self, own: Credentials | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._credentials = own or credentials()
        self._opening: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._connection: Connection
        self._trips: _Trips
        self._calls = 0
        self.is_open = False
        self.handshake_turns = LoopTurns(self._loop, 1, Connection.hear_early)
        self.request_turns = RequestTurns(self._loop, Connection.serve_next)

    @property
    def link(self) -> Link:
        return self._connection.link

    def accept(self, link: Link) -> Connection:
        self._connection = Connection(link, SystemClock(), self._loop, self)
        self._connection.begin(Initiator(self._credentials))
        return self._connection

    async def opened(self) -> None:
        await self._opening

    async def leave(self) -> None:
        """Say goodbye, and wait until the other end has gone through all that came before it."""
        self._connection.close()
        await self._gone

    async def go(self, count: int) -> list[float]:
        return await self._travel(Method.FIND_VALUE, FIND, 1, count)

    async def carry(self, count: int) -> None:
        await self._travel(Method.STORE, STORE, BULK_AT_ONCE, count)

    async def _travel(self, method: Method, body: FindValue | Store, at_once: int, count: int) -> list[float]:
        def send() -> None:
            self._calls += 1
            self._connection.call(self._calls, method, body, CALL_S)

        self._trips = _Trips(send, at_once, count)
        await self._trips.done
        return self._trips.took_s

    def on_event(self, _connection: Connection, event: Event) -> None:
        if isinstance(event, Answered):
            assert isinstance(event.outcome, Answer), event.outcome
            self._trips.back()
        elif isinstance(event, Opened):
            self.is_open = True
            if not self._opening.done():
                self._opening.set_result(None)
        elif isinstance(event, Ended) and not self._opening.done():
            self._opening.set_exception(ConnectionError(event.reason))

    def is_busy(self, topic: bytes) -> bool:
        return False

    def on_weight(self, connection: Connection, held: int) -> None:
        pass

    def on_carried(self, connection: Connection, taken: int, given: int) -> None:
        pass

    def on_gone(self, _connection: Connection) -> None:
        self.is_open = False
        self._gone.set_result(None)


class Sender:
    """Owner of one bare channel that it opens."""

    def __init__(self) -> None:
        self.link: Link
        self._trips: _Trips | None = None

    def accept(self, link: Link) -> Sender:
        self.link = link
        return self

    async def opened(self) -> None:
        """At once: nobody proves anything here."""

    async def go(self, count: int) -> list[float]:
        self._trips = _Trips(lambda: self.link.send(_ECHOED), 1, count)
        await self._trips.done
        return self._trips.took_s

    async def carry(self, count: int) -> None:
        def send() -> None:
            for _ in range(_PIECES):
                self.link.send(_PIECE)

        self._trips = _Trips(send, BULK_AT_ONCE, count)
        await self._trips.done

    def on_message(self, _message: bytes) -> None:
        assert self._trips is not None
        self._trips.back()

    def on_writable(self) -> None:
        pass

    def on_closed(self, reason: str) -> None:
        if self._trips is not None and not self._trips.done.done():
            self._trips.done.set_exception(ConnectionError(reason))
