"""Writes that a person can check: small numbers become targets, publishers and hashes."""

from __future__ import annotations

from typing import Any

from yzdht.ids import PublicKey, RecordHash, Target
from yzdht.wire.slot import Kind, Write


NOW = 1_000
LATER = NOW + 100


def target(number: int) -> Target:
    return Target(number.to_bytes(32))


def publisher(number: int) -> PublicKey:
    return PublicKey(b"\x02" + number.to_bytes(32))


def peer(number: int) -> bytes:
    return number.to_bytes(32, "little")


def record_hash(text: str) -> RecordHash:
    return RecordHash(text.encode().ljust(32, b"."))


def mutable(slot: int = 1, seq: int = 1, text: str = "", **changes: Any) -> Write:
    """A mutable record of publisher `slot` in slot `slot`; `text` tells records of one seq apart."""
    fields: dict[str, Any] = {
        "target": target(slot),
        "publisher": publisher(slot),
        "kind": Kind.MUTABLE,
        "seq": seq,
        "hash": record_hash(f"{slot}/{seq}/{text}/{changes.get('expires', LATER)}"),
        "created": NOW,
        "expires": LATER,
        "body": f"body of {slot}/{seq}/{text}".encode(),
        "cas": None,
        "keep_until": 0,
        "stored_by": peer(1),
        "is_pinned": False,
        "wall_now": NOW,
    }
    return Write(**(fields | changes))


def multi(by: int, seq: int = 1, *, slot: int = 7, **changes: Any) -> Write:
    """An entry of publisher `by` in a target that publishers share."""
    fields: dict[str, Any] = {"target": target(slot), "publisher": publisher(by), "kind": Kind.MULTI}
    return mutable(by, seq, f"multi {slot}", **(fields | changes))


def immutable(slot: int = 1, keep_until: int = LATER, **changes: Any) -> Write:
    """An immutable record; its hash is that of its slot whenever it is kept until."""
    fields: dict[str, Any] = {
        "publisher": b"",
        "kind": Kind.IMMUTABLE,
        "hash": record_hash(f"immutable {slot}"),
        "body": f"immutable body {slot}".encode(),
        "created": 0,
        "expires": keep_until,
        "keep_until": keep_until,
    }
    return mutable(slot, 0, **(fields | changes))


def move(seq: int = 1, keep_until: int = LATER, **changes: Any) -> Write:
    """A move record: `expires` never comes, `keep_until` does."""
    return mutable(1, seq, "move", expires=2**32 - 1, keep_until=keep_until, **changes)
