"""Keys, ids, links, fingerprints and revocations as text (PROTOCOL.md sections 2, 7 and 13)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEY_A
from yzdht.crypto.naming import fingerprint, node_id_of, parse_fingerprint
from yzdht.errors import UsageError, WireError
from yzdht.ids import Tag
from yzdht.wire.text import (
    REVOCATION_BYTES,
    decode_node_id,
    decode_public_key,
    decode_revocation,
    decode_slot_link,
    encode_node_id,
    encode_public_key,
    encode_revocation,
    encode_slot_link,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.wire.text.decode_public_key",
    "yzdht.wire.text.decode_node_id",
    "yzdht.wire.text.decode_slot_link",
    "yzdht.wire.text.decode_revocation",
    "yzdht.wire.text._decode_base32",
    "yzdht.crypto.naming.parse_fingerprint",
)


def seeds() -> Iterator[bytes]:
    node_id = node_id_of(KEY_A.public_key)
    yield encode_public_key(KEY_A.public_key).encode()
    yield encode_node_id(node_id).encode()
    yield encode_slot_link(KEY_A.public_key, Tag(bytes(32))).encode()
    yield encode_revocation(bytes(REVOCATION_BYTES)).encode()
    yield fingerprint(node_id).encode()


def one(data: bytes) -> None:
    text = data.decode(errors="replace")
    with contextlib.suppress(WireError):
        assert encode_public_key(decode_public_key(text)) == text
    with contextlib.suppress(WireError):
        assert encode_node_id(decode_node_id(text)) == text
    with contextlib.suppress(WireError):
        assert encode_slot_link(*decode_slot_link(text)) == text
    with contextlib.suppress(WireError):
        assert encode_revocation(decode_revocation(text)) == text
    with contextlib.suppress(UsageError):
        assert parse_fingerprint(parse_fingerprint(text)) == parse_fingerprint(text)


if __name__ == "__main__":
    run(one, seeds())
