"""Requests, responses and their bodies (PROTOCOL.md section 5): the first byte chooses which body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct  # noqa: TC002 - annotates a constant

from tests.fuzz.engine import run
from tests.vectors.golden import load
from yzdht.errors import WireError
from yzdht.wire.rpc import (
    REQUESTS,
    RESPONSES,
    Refusal,
    decode_body,
    decode_request,
    decode_response,
    encode_body,
    encode_request,
    encode_response,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.wire.rpc.decode_body",
    "yzdht.wire.rpc.decode_request",
    "yzdht.wire.rpc.decode_response",
)
TYPES: tuple[type[Struct], ...] = (*dict.fromkeys((*REQUESTS.values(), *RESPONSES.values())), Refusal)


def seeds() -> Iterator[bytes]:
    vectors = load("rpc-v1.json")
    for case in (*vectors["cases"], *vectors["refused"]):
        encoded = bytes.fromhex(case["encoded"])
        bodies = REQUESTS if case.get("kind") == "request" else RESPONSES
        body_type = bodies.get(case.get("method"), Refusal)
        yield bytes((TYPES.index(body_type),)) + encoded


def one(data: bytes) -> None:
    if not data:
        return
    body_type = TYPES[data[0] % len(TYPES)]
    _decode_message(data[1:])
    try:
        body = decode_body(data[1:], body_type)
    except WireError:
        return
    again = decode_body(encode_body(body), body_type)
    assert again == body, (body, again)


def _decode_message(data: bytes) -> None:
    try:
        assert encode_request(*decode_request(data)) == data
        assert encode_response(*decode_response(data)) == data
    except WireError:
        return


if __name__ == "__main__":
    run(one, seeds())
