"""The list of tokens that the issuer of a closed network took back: bytes to ids and back (PROTOCOL.md section 12).

Refuses what is not in ascending order, so that one set has one list, and a list that does not fit a record.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from yzdht.errors import UsageError, WireError
from yzdht.ids import TokenId
from yzdht.limits import REVOKED_TOKENS_MAX
from yzdht.wire.token import TOKEN_ID_BYTES


if TYPE_CHECKING:
    from collections.abc import Iterable


_Id = Annotated[TokenId, Meta(min_length=TOKEN_ID_BYTES, max_length=TOKEN_ID_BYTES)]
_Ids = Annotated[tuple[_Id, ...], Meta(max_length=REVOKED_TOKENS_MAX)]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Ids)


def encode_revoked(token_ids: Iterable[TokenId]) -> bytes:
    """The payload of a revocation list; order and repetition of `token_ids` do not matter.

    Raises:
        UsageError: They are more than REVOKED_TOKENS_MAX.

    """
    ordered = sorted(set(token_ids))
    if len(ordered) > REVOKED_TOKENS_MAX:
        raise UsageError(f"a list of revocations holds {REVOKED_TOKENS_MAX:,} ids at most")
    assert all(len(token_id) == TOKEN_ID_BYTES for token_id in ordered)
    return _encoder.encode(ordered)


def decode_revoked(payload: bytes) -> frozenset[TokenId]:
    """Parse the payload of a revocation list; the record that carried it is verified.

    Raises:
        WireError: It is not one array of ids in ascending order, in shortest form.

    """
    try:
        token_ids = _decoder.decode(payload)
    except msgspec.DecodeError:
        raise WireError("a list of revocations does not parse") from None
    if _encoder.encode(token_ids) != payload or any(a >= b for a, b in pairwise(token_ids)):
        raise WireError("a list of revocations is not in its one form")
    return frozenset(token_ids)
