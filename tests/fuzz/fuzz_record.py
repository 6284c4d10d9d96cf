"""Records of the DHT, from their bytes to their value (PROTOCOL.md section 8)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import CREATED, KEM_1, NETWORK, PROTOCOL, SELF_KEY_A
from yzdht.crypto.sealing import OpeningKeys, open_chunk, open_record
from yzdht.crypto.signing import RecordChecks, target_of
from yzdht.errors import CryptoError, NotFound, WireError
from yzdht.limits import RECORD_BYTES_MAX
from yzdht.wire.record import decode_record, order_key, pad, record_hash, split_stanzas, unpad


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.wire.record.decode_record",
    "yzdht.wire.record.split_stanzas",
    "yzdht.wire.record.unpad",
    "yzdht.wire.record._decode_signed",
    "yzdht.wire.record._decode_immutable",
    "yzdht.wire.record._decode_readers",
    "yzdht.wire.record._split_body",
    "yzdht.crypto.sealing.open_record",
    "yzdht.crypto.sealing.open_chunk",
    "yzdht.crypto.sealing.open_box",
)
KEYS = OpeningKeys(self_key=SELF_KEY_A, kem=(KEM_1,))
CHECKS = RecordChecks(NETWORK)


def seeds() -> Iterator[bytes]:
    for case in PROTOCOL["records"].values():
        if isinstance(case, dict) and "record" in case:
            yield bytes.fromhex(case["record"])
    yield pad(b"plaintext")


def one(data: bytes) -> None:
    _unpad(data)
    _split(data)
    try:
        record = decode_record(data)
    except WireError:
        return
    assert record.raw == data
    assert len(data) <= RECORD_BYTES_MAX
    order_key(record)
    record_hash(data)
    with contextlib.suppress(WireError, CryptoError):
        CHECKS.verify(data, target_of(record, NETWORK))
        CHECKS.check_times(record, CREATED)
    _open(data)


def _open(data: bytes) -> None:
    record = decode_record(data)
    with contextlib.suppress(WireError, CryptoError, NotFound):
        open_record(record, KEYS)
    with contextlib.suppress(WireError, CryptoError):
        open_chunk(record, SELF_KEY_A, 0, is_last=True)


def _unpad(data: bytes) -> None:
    try:
        assert pad(unpad(data)) == data
    except CryptoError:
        return


def _split(data: bytes) -> None:
    try:
        stanzas = split_stanzas(data)
    except WireError:
        return
    assert 1 <= len(stanzas) == data[0]


if __name__ == "__main__":
    run(one, seeds())
