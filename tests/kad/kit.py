"""Contacts and entries that a person can check: small numbers become ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.authors import WALL
from yzdht.ids import NodeId, PublicKey, SessionId, Target
from yzdht.kad.candidates import Candidates
from yzdht.kad.table import Entry
from yzdht.ports import Now
from yzdht.rpc.engine import Answer, Failed, FailReason, Peer
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import FoundNodes, FoundValue, Refusal, Row, Status


if TYPE_CHECKING:
    from yzdht.kad.candidates import Ask


NODE = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
ORIGIN = Target(bytes(32))
TIMEOUT = Failed(FailReason.TIMEOUT)
GONE = Failed(FailReason.UNREACHABLE)


def at(mono: float) -> Now:
    return Now(mono, WALL + mono)


def node_id(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


def number_of(contact: Contact) -> int:
    return int.from_bytes(contact.node_id)


def contact(number: int, caps: Caps = NODE) -> Contact:
    key = PublicKey(b"\x02" + number.to_bytes(32))
    return Contact(node_id(number), key, (f"ws://10.0.0.{number % 250 + 1}:1",), caps)


def entry(number: int, caps: Caps = NODE, **changes: object) -> Entry:
    made = Entry(node_id(number), contact(number).public_key, number, caps)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def peer(number: int, caps: Caps = NODE, host: str = "10.0.0.9") -> Peer:
    return Peer(node_id(number), contact(number).public_key, caps, SessionId(number.to_bytes(16)), host, None)


def candidates(*numbers: int, own: int | None = None, prefixes: dict[int, str] | None = None) -> Candidates:
    entries = [entry(n, prefix=(prefixes or {}).get(n)) for n in numbers]
    return Candidates(ORIGIN, entries, contact(own) if own is not None else None)


def asked(asks: list[Ask]) -> list[int]:
    return [number_of(ask.contact) for ask in asks]


def nodes_answer() -> Answer:
    return Answer(Status.OK, FoundNodes())


def shows(*records: bytes | Row) -> Answer:
    return Answer(Status.OK, FoundValue(tuple(records)))


def refuses(status: Status, number: int = 0, shown: bytes = b"") -> Answer:
    return Answer(status, Refusal(number, shown))
