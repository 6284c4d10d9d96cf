"""What a group's state record holds: whoever shares the group's key writes it, removed admins too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEM_1, KEM_2, KEY_A, KEY_B, NETWORK
from yzdht.crypto.groups import Recorded, add, create
from yzdht.errors import WireError
from yzdht.ids import EpochSecret, NameSecret, RecordHash
from yzdht.wire.group_state import Member, Role, decode_group_state, encode_group_state


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.wire.group_state.decode_group_state",)


def seeds() -> Iterator[bytes]:
    admin = Member(KEY_A.public_key, KEM_1.public_key, Role.ADMIN)
    first = create([admin], NameSecret(b"n" * 32), EpochSecret(b"1" * 32), NETWORK)
    yield encode_group_state(first)
    at = Recorded(first, RecordHash(b"h" * 32), 1)
    joiner = Member(KEY_B.public_key, KEM_2.public_key)
    yield encode_group_state(add(at, joiner, EpochSecret(b"2" * 32), NETWORK, history=()))


def one(data: bytes) -> None:
    try:
        state = decode_group_state(data)
    except WireError:
        return
    assert encode_group_state(state) == data


if __name__ == "__main__":
    run(one, seeds())
