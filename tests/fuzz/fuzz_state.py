"""The saved state of a node: a damaged file is no reason not to start."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEY_A
from yzdht.limits import PEERS_SAVED_MAX
from yzdht.state import SavedPeer, _State, decode_state
from yzdht.wire.address import address_of
from yzdht.wire.rpc import encode_body


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.state.decode_state",)
logging.disable()  # it warns of each damaged file


def seeds() -> Iterator[bytes]:
    peer = SavedPeer(KEY_A.public_key, (address_of("ws://192.0.2.1:8083"),), 0x31, 480_000)
    yield encode_body(_State((peer,)))
    yield encode_body(_State((peer,) * 3))
    yield encode_body(_State())


def one(data: bytes) -> None:
    assert len(decode_state(data)) <= PEERS_SAVED_MAX


if __name__ == "__main__":
    run(one, seeds())
