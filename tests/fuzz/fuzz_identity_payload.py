"""What an identity record says, and the JSON view of it (PROTOCOL.md section 6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEM_1, KEY_A
from yzdht.crypto.naming import node_id_of
from yzdht.errors import WireError
from yzdht.wire.address import (
    IdentityPayload,
    KemEntry,
    address_of,
    decode_identity_payload,
    encode_identity_payload,
    json_view,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.wire.address.decode_identity_payload",)


def seeds() -> Iterator[bytes]:
    kem = (KemEntry(1, KEM_1.public_key, 1_700_000_000),)
    yield encode_identity_payload(IdentityPayload("client", (), 1, kem))
    addresses = (address_of("ws://192.0.2.1:8083"), address_of("wss://node1.yz.example"))
    yield encode_identity_payload(IdentityPayload("community", addresses, 0x31, kem * 2))


def one(data: bytes) -> None:
    try:
        payload = decode_identity_payload(data)
    except WireError:
        return
    json.dumps(json_view(node_id_of(KEY_A.public_key), payload, 1, 2))
    assert decode_identity_payload(encode_identity_payload(payload)) == payload


if __name__ == "__main__":
    run(one, seeds())
