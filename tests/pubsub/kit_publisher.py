"""Contacts, envelopes and an outbox whose calls a test answers by hand."""

from __future__ import annotations

from yzdht.crypto.primitives import PrivateKey
from yzdht.ids import NodeId, PublicKey, SendSession, Target, TopicId
from yzdht.ports import Now
from yzdht.pubsub.outbox import Outbox
from yzdht.rpc.engine import Answer, Call, Failed, FailReason, Find
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.pubsub import (
    Mode,
    PubsubEnvelope,
    PubsubMessage,
    decode_envelope,
    encode_fixed,
    encode_message,
)
from yzdht.wire.rpc import Published, Refusal, Status


HOSTING = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING | Caps.PUBSUB
TOPIC = TopicId(bytes(16))
TARGET = Target(bytes(32))
STORED = Answer(Status.OK, Published(1, 1))
SILENT = Failed(FailReason.TIMEOUT)
_SENDER = PrivateKey.generate().public_key


def at(mono: float) -> Now:
    return Now(mono, 1_700_000_000.0 + mono)


def contact(number: int, caps: Caps = HOSTING) -> Contact:
    """Of a node whose distance from TARGET is its number."""
    return Contact(NodeId(number.to_bytes(32)), PublicKey(b"\2" + number.to_bytes(32)), (), caps)


def envelope(index: int = 0) -> PubsubEnvelope:
    """That parses; its signature is none."""
    fixed = encode_fixed(Mode.PUBLIC, TOPIC, bytes(8), _SENDER, SendSession(bytes(8)), index)
    return decode_envelope(fixed + encode_message(PubsubMessage(1, 0, b"x")) + bytes(64))


def refused(status: Status, number: int = 0) -> Answer:
    return Answer(status, Refusal(number))


class Desk:
    """What an outbox wants done, held until the test answers."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.calls: dict[bytes, Call] = {}
        self.finds: list[Find] = []

    def look(self) -> None:
        """Take what came up."""
        for item in self.outbox.take():
            if isinstance(item, Call):
                self.calls[item.contact.node_id] = item
            elif isinstance(item, Find):
                self.finds.append(item)

    def asked(self) -> list[int]:
        """Numbers of the nodes whose answers are waited for."""
        self.look()
        return sorted(int.from_bytes(node_id) for node_id in self.calls)

    def found(self, contacts: list[Contact], now: Now) -> None:
        """Answer the oldest search."""
        self.look()
        self.outbox.on_found(self.finds.pop(0).op, contacts, now)

    def answer(self, number: int, outcome: Answer | Failed, now: Now) -> None:
        """Answer what a node was asked."""
        self.look()
        call = self.calls.pop(contact(number).node_id)
        self.outbox.on_answer(call.call, outcome, now)
