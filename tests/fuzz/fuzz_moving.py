"""Payloads of move records (PROTOCOL.md section 13)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEY_B
from yzdht.crypto.moving import Moved, Revoked, decode_move, encode_move
from yzdht.errors import WireError
from yzdht.ids import Signature


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.crypto.moving.decode_move",)


def seeds() -> Iterator[bytes]:
    yield encode_move(Revoked())
    yield encode_move(Moved(KEY_B.public_key, Signature(b"s" * 64)))


def one(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert encode_move(decode_move(data)) == data


if __name__ == "__main__":
    run(one, seeds())
