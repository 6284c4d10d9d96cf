"""RPC bodies: methods, statuses and the MessagePack arrays they carry (PROTOCOL.md section 5).

Every body is one array in field order, in shortest form. Extra trailing fields are ignored and missing ones take
their default, so fields can be added; maps, floats and ext types are refused wherever they stand, and nothing may
follow the array.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from yzdht.errors import WireError
from yzdht.ids import PublicKey, RecordHash, SendSession, Target, TopicId
from yzdht.limits import (
    ANSWER_BODIES_BYTES_MAX,
    BODY_DEPTH_MAX,
    BODY_EXTRA_BYTES_MAX,
    BUCKET_SIZE,
    CONTACT_URLS_MAX,
    CONTACTS_PER_ANSWER_MAX,
    DIAL_BACK_URLS_MAX,
    ENVELOPES_PER_ANSWER_MAX,
    FIND_VALUE_BODY_BYTES_DEFAULT,
    GET_BODY_BYTES_DEFAULT,
    HELD_BYTES_PER_HOLE,
    HELD_BYTES_PER_REQUEST,
    HELD_BYTES_PER_ROW,
    HOLES_MAX,
    KNOWN_HASHES_MAX,
    MULTI_ENTRIES_MAX,
    READ_PATHS_MAX,
    RECORD_BYTES_MAX,
    SUMMARY_ROWS_MAX,
    TOPIC_POLICY_BYTES_MAX,
    URL_BYTES_MAX,
)
from yzdht.wire.token import REDEMPTION_BYTES, TOKEN_BYTES


class Method(IntEnum):
    """What a request asks for."""

    PING = 0x01
    FIND_NODE = 0x02
    FIND_VALUE = 0x03
    STORE = 0x04
    GET = 0x05
    PUT = 0x06
    WHOAMI = 0x07
    DIAL_BACK = 0x08
    RELAY_RESERVE = 0x10
    RELAY_OPEN = 0x11
    RELAY_CLOSE = 0x12
    SUBSCRIBE = 0x20
    UNSUBSCRIBE = 0x21
    PUBLISH = 0x22
    BACKLOG = 0x23
    TOPIC_SYNC = 0x24
    REDEEM = 0x30


class Status(IntEnum):
    """How a request ended."""

    OK = 0
    BAD_REQUEST = 100
    UNKNOWN_METHOD = 101
    TOO_LARGE = 102
    RATE_LIMITED = 103
    OVER_QUOTA = 104
    NOT_FOUND = 105
    BUSY = 106
    REFUSED = 107
    RECORD_TOO_BIG = 205
    BAD_SIGNATURE = 206
    BAD_LIFETIME = 207
    CAS_MISMATCH = 301
    SEQ_TOO_LOW = 302
    EQUIVOCATION = 409


_U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
_U64 = Annotated[int, Meta(ge=0)]  # MessagePack itself ends at 2**64 - 1
_Key = Annotated[PublicKey, Meta(min_length=33, max_length=33)]
_Target = Annotated[Target, Meta(min_length=32, max_length=32)]
_Hash = Annotated[RecordHash, Meta(min_length=32, max_length=32)]
_HashOrNone = Annotated[bytes, Meta(max_length=32)]
_Topic = Annotated[TopicId, Meta(min_length=16, max_length=16)]
_Session = Annotated[SendSession, Meta(min_length=8, max_length=8)]
_Url = Annotated[str, Meta(max_length=URL_BYTES_MAX)]
_Known = Annotated[tuple[_Hash, ...], Meta(max_length=KNOWN_HASHES_MAX)]
_Record = Annotated[bytes, Meta(max_length=RECORD_BYTES_MAX)]
_Envelope = Annotated[bytes, Meta(max_length=RECORD_BYTES_MAX)]
_Policy = Annotated[bytes, Meta(max_length=TOPIC_POLICY_BYTES_MAX)]
_Envelopes = Annotated[tuple[_Envelope, ...], Meta(max_length=ENVELOPES_PER_ANSWER_MAX)]


class Body(Struct, frozen=True, array_like=True, gc=False):
    """One request or response body."""


class Empty(Body, frozen=True, array_like=True, gc=False):
    """The body of what carries nothing: []."""


class Row(Struct, frozen=True, array_like=True, gc=False):
    """A record named, not carried; publisher empty and seq 0 for an immutable one."""

    publisher: Annotated[bytes, Meta(max_length=33)]
    seq: _U64
    hash: _Hash


class WireContact(Struct, frozen=True, array_like=True, gc=False):
    """A node as another one names it; its id is computed from the key, never sent."""

    public_key: _Key
    urls: Annotated[tuple[_Url, ...], Meta(max_length=CONTACT_URLS_MAX)]
    caps: _U32


_RecordOrRow = _Record | Row
_Records = Annotated[tuple[_RecordOrRow, ...], Meta(max_length=MULTI_ENTRIES_MAX)]
_Contacts = Annotated[tuple[WireContact, ...], Meta(max_length=CONTACTS_PER_ANSWER_MAX)]


class FindNode(Body, frozen=True, array_like=True, gc=False):
    """FIND_NODE: the contacts nearest to a target."""

    target: _Target
    count: _U32 = BUCKET_SIZE


class FoundNodes(Body, frozen=True, array_like=True, gc=False):
    """Answer of FIND_NODE."""

    contacts: _Contacts = ()


class FindValue(Body, frozen=True, array_like=True, gc=False):
    """FIND_VALUE: the records under a target, and contacts closer to it."""

    target: _Target
    known: _Known = ()
    body_max: _U32 = FIND_VALUE_BODY_BYTES_DEFAULT


class FoundValue(Body, frozen=True, array_like=True, gc=False):
    """Answer of FIND_VALUE."""

    records: _Records = ()
    contacts: _Contacts = ()


class Store(Body, frozen=True, array_like=True, gc=False):
    """STORE: keep a record here."""

    target: _Target
    record: bytes
    cas: _U64 | None = None
    keep_until: _U32 = 0


class Get(Body, frozen=True, array_like=True, gc=False):
    """GET: look a record up on behalf of the asker, along so many disjoint paths."""

    target: _Target
    known: _Known = ()
    body_max: _U32 = GET_BODY_BYTES_DEFAULT
    paths: Annotated[int, Meta(ge=1, le=READ_PATHS_MAX)] = 1


class Got(Body, frozen=True, array_like=True, gc=False):
    """Answer of GET; no record and answered >= needed is not found."""

    records: _Records = ()
    answered: _U32 = 0
    needed: _U32 = 0


class Put(Body, frozen=True, array_like=True, gc=False):
    """PUT: store a record at its replicas on behalf of the asker."""

    target: _Target
    record: bytes
    cas: _U64 | None = None
    keep_until: _U32 = 0


class Refusal(Body, frozen=True, array_like=True, gc=False):
    """Body of an error that carries data; which fields count depends on the status.

    103: [milliseconds]; 207: [holder's unix seconds]; 301, 302 and 409: [stored seq, its hash], of a message its
    index and id, 302 the lowest index that is not over, and no hash; others: [].
    """

    number: _U64 = 0
    hash: _HashOrNone = b""


_Fields = Annotated[tuple[_U64 | _HashOrNone, ...], Meta(max_length=2)]


def refusal_fields(status: Status, refusal: Refusal) -> tuple[int | bytes, ...]:
    """The fields of a refusal that its status carries."""
    if status in (Status.RATE_LIMITED, Status.BAD_LIFETIME):
        return (refusal.number,)
    if status in (Status.CAS_MISMATCH, Status.SEQ_TOO_LOW, Status.EQUIVOCATION):
        return (refusal.number, refusal.hash)
    return ()


class PutDone(Body, frozen=True, array_like=True, gc=False):
    """Answer of PUT: how many replicas hold the record durably, and the commonest refusal with its fields."""

    accepted: _U32 = 0
    asked: _U32 = 0
    needed: _U32 = 0
    refusal: _U32 = 0
    detail: _Fields = ()


class WhoAmI(Body, frozen=True, array_like=True, gc=False):
    """Answer of WHOAMI: where the answerer sees the asker."""

    host: Annotated[str, Meta(max_length=255)] = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    protocol: Annotated[str, Meta(max_length=32)] = ""


class DialBack(Body, frozen=True, array_like=True, gc=False):
    """DIAL_BACK: can these addresses of mine be reached?"""

    urls: Annotated[tuple[_Url, ...], Meta(max_length=DIAL_BACK_URLS_MAX)] = ()


class Reached(Struct, frozen=True, array_like=True, gc=False):
    """One line of a DIAL_BACK answer."""

    is_reachable: bool
    error: Annotated[str, Meta(max_length=255)] = ""


class DialledBack(Body, frozen=True, array_like=True, gc=False):
    """Answer of DIAL_BACK, in the order asked."""

    results: Annotated[tuple[Reached, ...], Meta(max_length=DIAL_BACK_URLS_MAX)] = ()


class SummaryRow(Struct, frozen=True, array_like=True, gc=False):
    """What is held of one sender's session of a topic."""

    sender: _Key
    session: _Session
    first: _U32
    next: _U32
    holes: Annotated[tuple[_U32, ...], Meta(max_length=HOLES_MAX)] = ()


_Summary = Annotated[tuple[SummaryRow, ...], Meta(max_length=SUMMARY_ROWS_MAX)]


class Range(Struct, frozen=True, array_like=True, gc=False):
    """Indexes of one sender's session, `to` exclusive."""

    sender: _Key
    session: _Session
    start: _U32
    to: _U32


class Subscribe(Body, frozen=True, array_like=True, gc=False):
    """SUBSCRIBE to a topic at one of its hosts, or at a node that does so for the asker.

    `push` asks for the messages themselves, else for announcements alone; the answer leaves out so many rows (`skip`).
    """

    topic: _Topic
    summary: _Summary = ()
    delegate: bool = False
    push: bool = True
    skip: _U32 = 0


class Subscribed(Body, frozen=True, array_like=True, gc=False):
    """Answer of SUBSCRIBE."""

    hosts: _Contacts = ()
    push: bool = False
    summary: _Summary = ()


class Unsubscribe(Body, frozen=True, array_like=True, gc=False):
    """UNSUBSCRIBE from a topic."""

    topic: _Topic


_TOPIC_IN_ENVELOPE = slice(4, 20)
"""Section 11, Envelope."""


class Publish(Body, frozen=True, array_like=True, gc=False):
    """PUBLISH one envelope; `policy` shows who writes to a topic that has an owner, and is empty if the host knows."""

    envelope: _Envelope
    delegate: bool = False
    policy: _Policy = b""


class Published(Body, frozen=True, array_like=True, gc=False):
    """Answer of PUBLISH."""

    stored: _U32 = 0
    asked: _U32 = 0


class Backlog(Body, frozen=True, array_like=True, gc=False):
    """BACKLOG: envelopes that the asker misses."""

    topic: _Topic
    ranges: Annotated[tuple[Range, ...], Meta(max_length=SUMMARY_ROWS_MAX)] = ()
    bytes_max: _U32 = ANSWER_BODIES_BYTES_MAX


class BacklogPage(Body, frozen=True, array_like=True, gc=False):
    """Answer of BACKLOG."""

    envelopes: _Envelopes = ()
    more: bool = False


class TopicSync(Body, frozen=True, array_like=True, gc=False):
    """TOPIC_SYNC: reconcile a topic between two hosts; both summaries leave out so many rows (`skip`)."""

    topic: _Topic
    summary: _Summary = ()
    skip: _U32 = 0


class TopicSynced(Body, frozen=True, array_like=True, gc=False):
    """Answer of TOPIC_SYNC."""

    envelopes: _Envelopes = ()
    summary: _Summary = ()


class Redeem(Body, frozen=True, array_like=True, gc=False):
    """REDEEM an invite at its issuer (PROTOCOL.md section 12)."""

    redemption: Annotated[bytes, Meta(min_length=REDEMPTION_BYTES, max_length=REDEMPTION_BYTES)]

    def __repr__(self) -> str:
        return "Redeem(…)"  # it holds the secret of a link


class RedeemAnswer(Body, frozen=True, array_like=True, gc=False):
    """Answer of REDEEM, and the value of an answer by record: an outcome of section 12, and a network's membership."""

    outcome: Annotated[int, Meta(ge=0, le=255)]
    membership: Annotated[bytes, Meta(max_length=TOKEN_BYTES)] = b""


REQUESTS: dict[Method, type[Body]] = {
    Method.PING: Empty,
    Method.FIND_NODE: FindNode,
    Method.FIND_VALUE: FindValue,
    Method.STORE: Store,
    Method.GET: Get,
    Method.PUT: Put,
    Method.WHOAMI: Empty,
    Method.DIAL_BACK: DialBack,
    Method.SUBSCRIBE: Subscribe,
    Method.UNSUBSCRIBE: Unsubscribe,
    Method.PUBLISH: Publish,
    Method.BACKLOG: Backlog,
    Method.TOPIC_SYNC: TopicSync,
    Method.REDEEM: Redeem,
}
"""Body types of requests; a method that is not here is answered 101."""

RESPONSES: dict[Method, type[Body]] = {
    Method.PING: Empty,
    Method.FIND_NODE: FoundNodes,
    Method.FIND_VALUE: FoundValue,
    Method.STORE: Empty,
    Method.GET: Got,
    Method.PUT: PutDone,
    Method.WHOAMI: WhoAmI,
    Method.DIAL_BACK: DialledBack,
    Method.SUBSCRIBE: Subscribed,
    Method.UNSUBSCRIBE: Empty,
    Method.PUBLISH: Published,
    Method.BACKLOG: BacklogPage,
    Method.TOPIC_SYNC: TopicSynced,
    Method.REDEEM: RedeemAnswer,
}
"""Body types of responses with status 0; every other status carries a Refusal."""

_encoder = msgspec.msgpack.Encoder()
_B = TypeVar("_B", bound=Struct)
_decoders: dict[type[Struct], msgspec.msgpack.Decoder[Struct]] = {}


# Bound once: read for every request, and a union is made anew each time.
_CARRIERS = (Store, Put)
_ABOUT_TOPIC = (Subscribe, Unsubscribe)
_SUMMARIES = (Subscribe, TopicSync)


def topic_of(body: Body) -> bytes | None:
    """Which topic a PUBLISH, SUBSCRIBE or UNSUBSCRIBE is about, 16 bytes, as its sender says; None for every other request."""
    if isinstance(body, Publish):
        return body.envelope[_TOPIC_IN_ENVELOPE]
    return body.topic if isinstance(body, _ABOUT_TOPIC) else None


def held_bytes_of(body: Body) -> int:
    """About how many bytes of memory a decoded request takes."""
    if isinstance(body, _CARRIERS):
        return HELD_BYTES_PER_REQUEST + len(body.record)
    if isinstance(body, Publish):
        return HELD_BYTES_PER_REQUEST + len(body.envelope) + len(body.policy)
    if isinstance(body, _SUMMARIES):
        holes = sum([len(row.holes) for row in body.summary])
        return HELD_BYTES_PER_REQUEST + HELD_BYTES_PER_ROW * len(body.summary) + HELD_BYTES_PER_HOLE * holes
    if isinstance(body, Backlog):
        return HELD_BYTES_PER_REQUEST + HELD_BYTES_PER_ROW * len(body.ranges)
    return HELD_BYTES_PER_REQUEST


def encode_body(body: Struct) -> bytes:
    """One MessagePack array in shortest form."""
    return _encoder.encode(body)


def encode_answer(status: Status, body: Body) -> bytes:
    """The body of a response: the method's own, or the fields that a refusal of this status carries."""
    if isinstance(body, Refusal):
        return _encoder.encode(refusal_fields(status, body))
    return _encoder.encode(body)


def decode_body(data: bytes, body_type: type[_B]) -> _B:
    """Decode one body.

    Args:
        data: The whole body.
        body_type: A struct of this module, or any other array-like struct.

    Raises:
        WireError: Not one array of this form.

    """
    decoder = _decoders.get(body_type)
    if decoder is None:
        decoder = _decoders[body_type] = msgspec.msgpack.Decoder(body_type)
    try:
        body = decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise WireError("the body is not the array that this message carries") from None
    # The usual case costs one encoding. A body with defaults left out or with fields of a newer version differs from
    # its own encoding and is checked the slow way, so what it adds is bounded: a million empty arrays in one request
    # would hold the loop for half a second.
    own = _encoder.encode(body)
    if own != data:
        if len(data) > len(own) + BODY_EXTRA_BYTES_MAX:
            raise WireError("the body carries more than any newer version would add")
        check_shortest_form(data)
    assert isinstance(body, body_type)
    return body


def check_shortest_form(data: bytes) -> None:
    """Refuse what is no array in shortest form, or holds what no body may.

    Raises:
        WireError: It does.

    """
    try:
        tree = msgspec.msgpack.decode(data)
        _refuse_foreign(tree)
        is_shortest = _encoder.encode(tree) == data
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError, TypeError):
        raise WireError("the body is not valid MessagePack") from None
    if not is_shortest:
        raise WireError("the body is not in shortest form")


def _refuse_foreign(tree: list[object]) -> None:
    """Walk the arrays layer by layer: recursion would accept another depth on every call stack."""
    arrays = [tree]
    for _ in range(BODY_DEPTH_MAX):
        inner: list[list[object]] = []
        for array in arrays:
            for item in array:
                if isinstance(item, list):
                    inner.append(item)
                elif not (item is None or isinstance(item, bool | int | bytes | str)):
                    raise WireError("the body holds a map, a float or an ext type")
        if not inner:
            return
        arrays = inner
    raise WireError("the body is nested too deeply")


_HEADER_BYTES = 5
_RESPONSE_HEADER_BYTES = 6


def encode_request(number: int, method: int, body: bytes) -> bytes:
    """`id u32 ‖ method u8 ‖ body`."""
    return number.to_bytes(4) + bytes((method,)) + body


def decode_request(data: bytes) -> tuple[int, int, bytes]:
    """Return (id, method number, body)."""
    if len(data) < _HEADER_BYTES:
        raise WireError("the request is too short")
    return int.from_bytes(data[:4]), data[4], data[5:]


def encode_response(number: int, status: int, body: bytes) -> bytes:
    """`id u32 ‖ status u16 ‖ body`."""
    return number.to_bytes(4) + status.to_bytes(2) + body


def decode_response(data: bytes) -> tuple[int, int, bytes]:
    """Return (id, status number, body)."""
    if len(data) < _RESPONSE_HEADER_BYTES:
        raise WireError("the response is too short")
    return int.from_bytes(data[:4]), int.from_bytes(data[4:6]), data[6:]
