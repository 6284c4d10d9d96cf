"""Keyfiles and the identity inside (PROTOCOL.md section 13); the costly kdfs are left to the unit tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEM_1, KEY_A, PROTOCOL
from yzdht.crypto.identity import IdentityKeys, KemKey
from yzdht.crypto.keyfile import (
    decode_identity,
    encode_identity,
    needs_passphrase,
    open_keyfile,
    seal_keyfile,
)
from yzdht.crypto.passphrase import NO_KDF
from yzdht.errors import CryptoError, WireError


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.crypto.keyfile.open_keyfile",
    "yzdht.crypto.keyfile.decode_identity",
    "yzdht.crypto.keyfile._parse",
    "yzdht.crypto.keyfile._decode_kem",
    "yzdht.crypto.keyfile._decode_private_key",
)
IDENTITY = encode_identity(IdentityKeys(KEY_A, (KemKey(KEM_1, 1_700_000_000),), bytes(32)))


def seeds() -> Iterator[bytes]:
    yield IDENTITY
    yield seal_keyfile(IDENTITY, "", NO_KDF, bytes(16))
    yield bytes.fromhex(PROTOCOL["keyfile"]["file"])


def one(data: bytes) -> None:
    with contextlib.suppress(WireError, CryptoError):
        if not needs_passphrase(data):
            open_keyfile(data, "")
    try:
        identity = decode_identity(data)
    except (WireError, CryptoError):
        return
    again = decode_identity(encode_identity(identity))
    assert again.node_id == identity.node_id


if __name__ == "__main__":
    run(one, seeds())
