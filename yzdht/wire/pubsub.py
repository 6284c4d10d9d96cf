"""Pubsub on the wire: envelopes, the plaintext in them, what goes over a session unasked (PROTOCOL.md section 11).

Owns the layout only: it opens nothing and verifies no signature. Refuses every mode, suite, length and padding that
section 11 does not name; keys are checked to look compressed, not to be on the curve.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from msgspec import Meta

from yzdht.errors import UsageError, WireError
from yzdht.ids import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    MessageId,
    PublicKey,
    SendSession,
    Signature,
    TopicId,
    looks_compressed,
)
from yzdht.limits import (
    BODY_EXTRA_BYTES_MAX,
    DELIVERED_TOGETHER_BYTES_MAX,
    DELIVERED_TOGETHER_MAX,
    ENVELOPES_PER_ANSWER_MAX,
    PUBSUB_DATA_BYTES_MAX,
    PUBSUB_ENVELOPE_BYTES_MAX,
    SUMMARY_ROWS_MAX,
    TOPICS_PER_ANNOUNCEMENT_MAX,
)
from yzdht.wire.holdings import Series
from yzdht.wire.rpc import SummaryRow, check_shortest_form


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


VERSION = 0xFA
SUITE = 0x01
TOPIC_BYTES = 16
MESSAGE_KID_BYTES = 8
SEND_SESSION_BYTES = 8
MESSAGE_ID_BYTES = 20
INDEX_MAX = 2**32 - 2
"""One less than 32 bits hold: a summary names the index after the last."""
NO_KID = bytes(MESSAGE_KID_BYTES)
FIXED_BYTES = 73  # the additional data of what is sealed
_BLOCK_BYTES = 64
_GCM_TAG_BYTES = 16
_LENGTH_BYTES = 4
_FIXED = struct.Struct(f">BBBB{TOPIC_BYTES}s{MESSAGE_KID_BYTES}s{PUBLIC_KEY_BYTES}s{SEND_SESSION_BYTES}sI")
_HEAD = struct.Struct(">IB")
_LEAST_BYTES = FIXED_BYTES + _BLOCK_BYTES + SIGNATURE_BYTES


class Mode(IntEnum):
    """Who can read a message; all are signed."""

    GROUP = 0
    PUBLIC = 1


_MODES = {mode.value: mode for mode in Mode}


@dataclass(frozen=True, slots=True)
class PubsubEnvelope:
    """One envelope that parses; its signature is not checked.

    Attributes:
        raw: The whole envelope.
        mode: Who can read it.
        topic: 16 bytes.
        kid: Which epoch's keys open it, 8 bytes; zeros in public.
        series: Sender and run: the messages that are counted together.
        index: Counts the messages of a series to a topic, from 0.

    """

    raw: bytes
    mode: Mode
    topic: TopicId
    kid: bytes
    series: Series
    index: int
    _digest: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def sender(self) -> PublicKey:
        """Who signed it, 33 bytes."""
        return self.series.sender

    @property
    def session(self) -> SendSession:
        """The run of the sender's process, 8 bytes."""
        return self.series.session

    @property
    def fixed(self) -> bytes:
        """What stands before the body, 73 bytes; bound to what is sealed."""
        return self.raw[:FIXED_BYTES]

    @property
    def body(self) -> bytes:
        """Ciphertext and tag, or the padded plaintext in public."""
        return self.raw[FIXED_BYTES:-SIGNATURE_BYTES]

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        return self.raw[:-SIGNATURE_BYTES]

    @property
    def signature(self) -> Signature:
        """64 bytes."""
        return Signature(self.raw[-SIGNATURE_BYTES:])

    @property
    def digest(self) -> bytes:
        """SHA-256 of the bytes that the signature covers; computed once."""
        known = self._digest
        if known is None:
            known = sha256(self.signed).digest()
            object.__setattr__(self, "_digest", known)
        return known

    @property
    def id(self) -> MessageId:
        """Names this message."""
        return MessageId(self.digest[:MESSAGE_ID_BYTES])


class PubsubMessage(NamedTuple):
    """What an envelope carries.

    Attributes:
        created: Unix seconds, u32, by the sender's clock.
        type: The application's, 0 to 255.
        data: 0 to PUBSUB_DATA_BYTES_MAX bytes.

    """

    created: int
    type: int
    data: bytes


def encode_fixed(
    mode: Mode, topic: TopicId, kid: bytes, sender: PublicKey, session: SendSession, index: int
) -> bytes:
    """Build what stands before the body, 73 bytes; after INDEX_MAX a sender begins another session."""
    assert (len(topic), len(kid), len(session)) == (TOPIC_BYTES, MESSAGE_KID_BYTES, SEND_SESSION_BYTES)
    assert len(sender) == PUBLIC_KEY_BYTES
    assert 0 <= index <= INDEX_MAX
    return _FIXED.pack(VERSION, mode, SUITE, 0, topic, kid, sender, session, index)


def decode_envelope(raw: bytes) -> PubsubEnvelope:
    """Parse one envelope.

    Raises:
        WireError: It is not an envelope of section 11.

    """
    if len(raw) > PUBSUB_ENVELOPE_BYTES_MAX:
        raise WireError("an envelope is at most 65,536 bytes")
    if len(raw) < _LEAST_BYTES:
        raise WireError("an envelope ends too early")
    version, mode_byte, suite, zero, topic, kid, sender, session, index = _FIXED.unpack_from(raw)
    mode = _MODES.get(mode_byte)
    if (version, suite, zero) != (VERSION, SUITE, 0) or mode is None or not looks_compressed(sender):
        raise WireError("not an envelope of a known form")
    if index > INDEX_MAX:
        raise WireError("an envelope has an index that no summary can go beyond")
    padded = len(raw) - FIXED_BYTES - SIGNATURE_BYTES - (_GCM_TAG_BYTES if mode is Mode.GROUP else 0)
    if padded <= 0 or padded % _BLOCK_BYTES:
        raise WireError("an envelope's body has a length that no padding gives")
    if mode is Mode.PUBLIC and kid != NO_KID:
        raise WireError("a public envelope names no key")
    series = Series(PublicKey(sender), SendSession(session))
    return PubsubEnvelope(raw, mode, TopicId(topic), kid, series, index)


def encode_message(message: PubsubMessage) -> bytes:
    """The plaintext of an envelope, padded to a multiple of 64 bytes.

    Raises:
        UsageError: The data is too long, or a number is out of range.

    """
    if len(message.data) > PUBSUB_DATA_BYTES_MAX:
        raise UsageError(
            f"a message is at most {PUBSUB_DATA_BYTES_MAX:,} bytes, this one is {len(message.data):,}",
            hint="store it with put and publish its name",
        )
    try:
        plaintext = _HEAD.pack(message.created, message.type) + message.data
    except struct.error:
        raise UsageError("a message's type is 0 to 255, and its time 32-bit seconds") from None
    framed = len(plaintext).to_bytes(_LENGTH_BYTES) + plaintext
    return framed.ljust(_padded_length(len(framed)), b"\0")


def decode_message(padded: bytes) -> PubsubMessage:
    """Take apart what an envelope carries.

    Raises:
        WireError: The length is not the padding's for this message, or a padding byte is not zero.

    """
    end = _LENGTH_BYTES + int.from_bytes(padded[:_LENGTH_BYTES])
    is_whole = _LENGTH_BYTES + _HEAD.size <= end <= len(padded) == _padded_length(end)
    if not is_whole or padded.count(0, end) != len(padded) - end:
        raise WireError("the padding of a message was refused")
    created, kind = _HEAD.unpack_from(padded, _LENGTH_BYTES)
    return PubsubMessage(created, kind, padded[_LENGTH_BYTES + _HEAD.size : end])


def _padded_length(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


# Unasked: record type 0x12


class Delivery(NamedTuple):
    """Envelopes of topics that the receiver subscribed to; not parsed yet."""

    envelopes: tuple[bytes, ...]


class Announcement(NamedTuple):
    """What changed of the histories of some topics since the last one: rows with an index or more than before."""

    changes: tuple[tuple[TopicId, tuple[SummaryRow, ...]], ...]


_DELIVERY, _ANNOUNCEMENT = 0, 1
_FIXARRAY = 0x90
_ONE_DELIVERED = bytes((_FIXARRAY + 2, _DELIVERY))
_Rows = Annotated[list[SummaryRow], Meta(max_length=SUMMARY_ROWS_MAX)]
_Item = int | bytes | _Rows
_ITEMS_MAX = 1 + max(ENVELOPES_PER_ANSWER_MAX, 2 * TOPICS_PER_ANNOUNCEMENT_MAX)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Annotated[list[_Item], Meta(min_length=2, max_length=_ITEMS_MAX)])


def encode_delivery(envelopes: Iterable[bytes]) -> bytes:
    """`[0, envelope…]`, one or more."""
    return _encoder.encode([_DELIVERY, *envelopes])


def join_deliveries(bodies: Sequence[bytes]) -> list[bytes]:
    """Say what small bodies of this module said one after the other in as few.

    Args:
        bodies: As `encode_delivery` of one envelope and `encode_announcement` make them. Deliveries that stand side by side are
            joined up to DELIVERED_TOGETHER_MAX and DELIVERED_TOGETHER_BYTES_MAX; nothing overtakes anything.

    """
    joined: list[bytes] = []
    run: list[bytes] = []
    size = 0
    for body in bodies:
        is_delivery = body[:2] == _ONE_DELIVERED
        if run and (
            not is_delivery
            or len(run) == DELIVERED_TOGETHER_MAX
            or size + len(body) > DELIVERED_TOGETHER_BYTES_MAX
        ):
            joined.append(_joined(run))
            run, size = [], 0
        if is_delivery:
            run.append(body)
            size += len(body)
        else:
            joined.append(body)
    if run:
        joined.append(_joined(run))
    return joined


def _joined(deliveries: list[bytes]) -> bytes:
    if len(deliveries) == 1:
        return deliveries[0]
    head = bytes((_FIXARRAY + 1 + len(deliveries), _DELIVERY))
    return head + b"".join(delivery[len(_ONE_DELIVERED) :] for delivery in deliveries)


def encode_announcement(changes: Iterable[tuple[TopicId, Sequence[SummaryRow]]]) -> bytes:
    """`[1, topic16, rows…]`, of one topic or more; at most TOPICS_PER_ANNOUNCEMENT_MAX."""
    return _encoder.encode([_ANNOUNCEMENT, *(item for change in changes for item in change)])


def decode_push(data: bytes) -> Delivery | Announcement:
    """Parse the body of a record of type 0x12.

    Raises:
        WireError: It is neither of both forms.

    """
    try:
        items = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise WireError("not a pubsub body") from None
    own = _encoder.encode(items)
    if own != data:
        if len(data) > len(own) + BODY_EXTRA_BYTES_MAX:
            raise WireError("the body carries more than any newer version would add")
        check_shortest_form(data)
    kind, rest = items[0], items[1:]
    if kind == _DELIVERY:
        envelopes = tuple(item for item in rest if isinstance(item, bytes))
        if len(envelopes) == len(rest) <= ENVELOPES_PER_ANSWER_MAX:
            return Delivery(envelopes)
    elif kind == _ANNOUNCEMENT and len(rest) % 2 == 0 and len(rest) <= 2 * TOPICS_PER_ANNOUNCEMENT_MAX:
        return Announcement(tuple(map(_change, rest[::2], rest[1::2])))
    raise WireError("not a pubsub body")


def _change(
    topic: int | bytes | list[SummaryRow], rows: int | bytes | list[SummaryRow]
) -> tuple[TopicId, tuple[SummaryRow, ...]]:
    if not isinstance(topic, bytes) or len(topic) != TOPIC_BYTES or not isinstance(rows, list):
        raise WireError("not an announcement")
    return TopicId(topic), tuple(rows)
