"""The record layer: one session's two directions of sealed, counted records (PROTOCOL.md section 4).

Owns keys, counters and key updates. Records open only in the order in which they were sealed: one that is lost,
repeated, moved or changed ends the receiving direction for good. Framing of the channel, UDP and links live elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from yzdht.crypto.naming import kdf
from yzdht.crypto.primitives import IV_BYTES, KEY_BYTES, Aead
from yzdht.errors import DecryptionFailed, FrameTooLarge, UsageError, WireError
from yzdht.limits import (
    KEY_UPDATE_BYTES,
    KEY_UPDATE_RECORDS,
    KEY_UPDATE_S,
    RECORD_OVERHEAD_BYTES,
    RELAY_DATA_BYTES_MAX,
)
from yzdht.wire.frame import RecordType, decode_inner, encode_inner


_MESSAGE_BYTES_MAX = RELAY_DATA_BYTES_MAX + RECORD_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How much one key may protect before a key update (PROTOCOL.md section 4); lower ones are for tests.

    Attributes:
        records: Records, the key update not counted.
        bytes: Bytes of sealed records, tags included.
        seconds: Age of the sending key.

    """

    records: int = KEY_UPDATE_RECORDS
    bytes: int = KEY_UPDATE_BYTES
    seconds: float = KEY_UPDATE_S


_DEFAULT_LIMITS = KeyLimits()
_KEY_UPDATE = (
    RecordType.KEY_UPDATE
)  # bound once: read for every record, and an attribute of an enum costs a call


def _key_of(secret: bytes) -> tuple[Aead, int]:
    """Cipher and iv (as an integer) of one secret."""
    raw = kdf(secret, b"", "yz1 key", b"", KEY_BYTES + IV_BYTES)
    return Aead(raw[:KEY_BYTES]), int.from_bytes(raw[KEY_BYTES:])


def _next_secret(secret: bytes) -> bytes:
    return kdf(secret, b"", "yz1 upd", b"", KEY_BYTES)


class RecordLayer:
    """Seal and open the records of one session.

    Args:
        secret_out: 32 bytes, from the handshake, for what this end sends.
        secret_in: 32 bytes, for what it receives.
        now_mono: Monotonic seconds; the age of the sending key counts from here.
        limits: How much one key may protect.

    """

    __slots__ = (
        "_aead_in",
        "_aead_out",
        "_born_out",
        "_bytes_in",
        "_bytes_out",
        "_iv_in",
        "_iv_out",
        "_limits",
        "_records_in",
        "_records_out",
        "_refused",
        "_secret_in",
        "_secret_out",
    )

    def __init__(
        self, secret_out: bytes, secret_in: bytes, now_mono: float, limits: KeyLimits = _DEFAULT_LIMITS
    ) -> None:
        self._limits = limits
        self._refused = False
        self._records_out = self._bytes_out = 0
        self._records_in = self._bytes_in = 0
        self._set_key_out(secret_out, now_mono)
        self._set_key_in(secret_in)

    def seal(self, record_type: RecordType, data: bytes, *, pad: int = 0, more: bool = False) -> bytes:
        """Seal one record.

        Args:
            record_type: Inner type; key updates are made by `due_key_update` alone.
            data: At most RECORD_DATA_BYTES_MAX bytes with the padding (relay data: RELAY_DATA_BYTES_MAX).
            pad: Zero bytes that hide the length.
            more: True in all pieces of a cut message but the last.

        Returns:
            ciphertext‖tag, RECORD_OVERHEAD_BYTES longer than data and pad.

        Raises:
            UsageError: The record is not allowed, or the key is used up: call `due_key_update` first.

        """
        if record_type == _KEY_UPDATE:
            raise UsageError("key updates are made by due_key_update")
        if self._records_out >= self._limits.records or self._bytes_out >= self._limits.bytes:
            raise UsageError("the sending key is used up", hint="call due_key_update before sealing")
        return self._seal(encode_inner(record_type, data, pad=pad, more=more))

    def due_key_update(self, now_mono: float) -> bytes | None:
        """Change the sending key if it has protected enough.

        Call it before each record or batch: it is three comparisons when nothing is due. The returned record must be
        sent before any that is sealed later.

        Args:
            now_mono: Monotonic seconds.

        Returns:
            A sealed key_update, after which the new key is in force; None when nothing is due.

        """
        limits = self._limits
        if (
            self._records_out < limits.records
            and self._bytes_out < limits.bytes
            and now_mono - self._born_out < limits.seconds
        ):
            return None
        message = self._seal(encode_inner(_KEY_UPDATE, b""))
        self._set_key_out(_next_secret(self._secret_out), now_mono)
        return message

    def open(self, message: bytes) -> tuple[RecordType, bytes, bool]:
        """Open the next record of the other end; a key_update is applied before it is returned.

        Args:
            message: ciphertext‖tag.

        Returns:
            The type, the data, and whether more pieces of the same message follow.

        Raises:
            DecryptionFailed: It is not the next genuine record, or an earlier one was refused.
            WireError: It is too long, its plaintext is not a record, or its key had protected too much already.

        """
        if self._refused:
            raise DecryptionFailed("an earlier record of this session was refused")
        self._refused = True  # until this one has passed
        size = len(message)
        if size > _MESSAGE_BYTES_MAX:
            raise FrameTooLarge("a record is longer than any may be")
        count = self._records_in
        opened = decode_inner(self._aead_in.open((self._iv_in ^ count).to_bytes(12, "big"), message))
        if opened[0] is _KEY_UPDATE:
            self._set_key_in(_next_secret(self._secret_in))
        elif count >= self._limits.records or self._bytes_in >= self._limits.bytes:
            raise WireError("the other end did not change its key in time")
        else:
            self._records_in = count + 1
            self._bytes_in += size
        self._refused = False
        return opened

    def _seal(self, plaintext: bytes) -> bytes:
        nonce = (self._iv_out ^ self._records_out).to_bytes(12, "big")
        self._records_out += 1  # first: no nonce may ever serve twice
        message = self._aead_out.seal(nonce, plaintext)
        self._bytes_out += len(message)
        return message

    def _set_key_out(self, secret: bytes, now_mono: float) -> None:
        self._secret_out = secret
        self._aead_out, self._iv_out = _key_of(secret)
        self._records_out = 0
        self._bytes_out = 0
        self._born_out = now_mono

    def _set_key_in(self, secret: bytes) -> None:
        self._secret_in = secret
        self._aead_in, self._iv_in = _key_of(secret)
        self._records_in = 0
        self._bytes_in = 0
