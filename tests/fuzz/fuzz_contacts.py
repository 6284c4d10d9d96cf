"""Contacts that an answer names, and identity records that a node shows of itself (PROTOCOL.md sections 5 and 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import CREATED, KEY_A, KEY_B, NETWORK, PROTOCOL
from yzdht.crypto.naming import node_id_of
from yzdht.crypto.signing import RecordChecks
from yzdht.errors import WireError
from yzdht.kad.contacts import Contacts, Own
from yzdht.kad.strangers import Strangers
from yzdht.kad.table import Entry, Table
from yzdht.kad.upkeep import Hearsay
from yzdht.limits import CONTACT_URLS_MAX
from yzdht.ports import Now
from yzdht.rpc.engine import Answer
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import FoundNodes, FoundValue, Status, WireContact, decode_body, encode_body


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ()
CAPS = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
OWN, NAMER = node_id_of(KEY_B.public_key), node_id_of(KEY_A.public_key)


def seeds() -> Iterator[bytes]:
    heard = WireContact(KEY_A.public_key, ("ws://203.0.113.5:1", "ws://[2001:db8::1]:2", "x:y"), int(CAPS))
    yield b"\0" + encode_body(FoundNodes((heard,)))
    records = [
        bytes.fromhex(case["record"])
        for case in PROTOCOL["records"].values()
        if isinstance(case, dict) and "record" in case
    ]
    for record in records:
        yield b"\1" + encode_body(FoundValue((record,)))


def _desk() -> Contacts:
    table = Table(OWN)
    own = Contact(OWN, KEY_B.public_key, (), CAPS)
    contacts = Contacts(Own(own), table, Hearsay(), Strangers(), RecordChecks(NETWORK), lambda _name: None)
    entry = Entry(NAMER, KEY_A.public_key, int.from_bytes(NAMER), CAPS)
    entry.reached(None, "203.0.113.9", None)
    table.admit(entry)
    return contacts


def one(data: bytes) -> None:
    if not data:
        return
    desk = _desk()
    try:
        if data[0] & 1:
            answer = Answer(Status.OK, decode_body(data[1:], FoundValue))
            desk.on_identity(NAMER, answer, Now(0.0, CREATED))
        else:
            for contact in desk.usable(decode_body(data[1:], FoundNodes).contacts, NAMER):
                assert 1 <= len(contact.urls) <= CONTACT_URLS_MAX
    except WireError:
        return  # the body itself


if __name__ == "__main__":
    run(one, seeds())
