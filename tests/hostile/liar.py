"""A node that proves who it is and then answers as a script says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sessions.kit import NODE, Party, Time
from yzdht.crypto.naming import mutable_target, network_id, own_tag
from yzdht.crypto.sealing import Author, RecordDraft, Self, seal_record
from yzdht.limits import DAY_S
from yzdht.store.entropy import SystemRng
from yzdht.wire.frame import Caps, RecordType
from yzdht.wire.rpc import Body, Empty, Got, Method, PutDone, Refusal, Status, WhoAmI, encode_response
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import Target
    from yzdht.sessions.connection import Connection
    from yzdht.store.keyfile import Identity

    Script = Callable[[Connection, int, Method, Body], None]


class Liar(Party):
    """A storage node to look at; GET and PUT are answered by `on_get` and `on_put`, the rest with nothing."""

    def __init__(self, clock: Time, identity: Identity | None = None, caps: Caps = NODE) -> None:
        super().__init__(clock, identity=identity, caps=caps)
        self.on_asked = self._lie
        self.on_get: Script = silence
        self.on_put: Script = silence

    def asked(self, method: Method) -> int:
        return sum(request[2] is method for request in self.requests)

    def _lie(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        match method:
            case Method.GET:
                self.on_get(connection, number, method, body)
            case Method.PUT:
                self.on_put(connection, number, method, body)
            case Method.WHOAMI:
                connection.reply(number, Status.OK, WhoAmI("127.0.0.1", 1, "ws"))
            case _:
                connection.reply(number, Status.OK, Empty())


# Scripts


def silence(_connection: Connection, _number: int, _method: Method, _body: Body) -> None:
    """Never answer."""


def show(*records: bytes, answered: int = 1, needed: int = 1) -> Script:
    """Answer a GET with these records."""
    return reply(Status.OK, Got(records, answered, needed))


def acknowledge(accepted: int = 1, needed: int = 1) -> Script:
    """Answer a PUT as if so many replicas had stored it."""
    return reply(Status.OK, PutDone(accepted, max(accepted, needed), needed))


def refuse_put(status: Status, *detail: int | bytes) -> Script:
    """Answer a PUT as if every replica had refused it."""
    return reply(Status.OK, PutDone(0, 1, 1, int(status), detail))


def reply(status: Status, body: Body) -> Script:
    def script(connection: Connection, number: int, _method: Method, _body: Body) -> None:
        connection.reply(number, status, body)

    return script


def refuse(status: Status, number: int = 0, shown: bytes = b"") -> Script:
    return reply(status, Refusal(number, shown))


def raw_answer(status: int, body: bytes) -> Script:
    """Answer with bytes that no encoder of ours would make."""

    def script(connection: Connection, number: int, _method: Method, _body: Body) -> None:
        say(connection, RecordType.RESPONSE, encode_response(number, status, body))

    return script


def say(connection: Connection, record_type: RecordType, data: bytes) -> None:
    """Send one message of any type, cut where it is long, whatever its length."""
    assert connection.session is not None
    piece = 16_000
    for start in range(0, max(len(data), 1), piece):
        connection.session._send_record(
            record_type, data[start : start + piece], 0.0, more=start + piece < len(data)
        )
    connection._pump()


def hang_up(connection: Connection, number: int, _method: Method, _body: Body) -> None:
    """Begin an answer and close in the middle of it."""
    assert connection.session is not None
    connection.session._send_record(
        RecordType.RESPONSE, encode_response(number, 0, b"\x93\x91"), 0.0, more=True
    )
    connection._pump()
    connection.link.close()


# Records


def target_of(identity: Identity, name: str, network: str = "main") -> Target:
    net = network_id(network)
    return mutable_target(net, identity.public_key, own_tag(identity.name_key, net, name))


def sealed(identity: Identity, name: str, value: bytes, seq: int, clock: Time) -> bytes:
    """A valid private record of that identity."""
    net = network_id("main")
    created = int(clock.now().wall)
    draft = RecordDraft(Kind.MUTABLE, created, created + DAY_S, seq, own_tag(identity.name_key, net, name))
    author = Author(identity.signer, identity.self_key, net)
    return seal_record(draft, value, Self(), author, SystemRng().token(24))


def forged(record: bytes) -> bytes:
    """The same record with one bit of its signature flipped."""
    return record[:-1] + bytes((record[-1] ^ 1,))
