from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given, strategies as st

from yzdht.errors import UsageError, WireError
from yzdht.ids import TokenId
from yzdht.limits import REVOKED_TOKENS_MAX, VALUE_BYTES_MAX
from yzdht.wire.revocation import decode_revoked, encode_revoked


IDS = st.binary(min_size=16, max_size=16).map(TokenId)
A, B = TokenId(b"a" * 16), TokenId(b"b" * 16)


@given(st.lists(IDS, max_size=20))
def test_lists_round_trip_in_one_form(ids: list[TokenId]) -> None:
    payload = encode_revoked(ids)

    assert decode_revoked(payload) == frozenset(ids)
    assert encode_revoked(reversed(ids + ids)) == payload


def test_the_longest_list_fits_a_record() -> None:
    ids = {TokenId(number.to_bytes(16)) for number in range(REVOKED_TOKENS_MAX)}
    payload = encode_revoked(ids)

    assert len(payload) <= VALUE_BYTES_MAX
    assert decode_revoked(payload) == ids
    with pytest.raises(UsageError):
        encode_revoked(ids | {A})
    with pytest.raises(WireError):
        decode_revoked(msgspec.msgpack.encode(sorted(ids | {A})))


REFUSED: list[object] = [
    [B, A],
    [A, A],
    [A[:15]],
    [A + b"a"],
    [A, None],
    ["a" * 16],
    [[A]],
    {A: 1},
    A,
    None,
]


@pytest.mark.parametrize("value", REFUSED)
def test_what_is_no_list_of_ids_in_order_is_refused(value: object) -> None:
    with pytest.raises(WireError):
        decode_revoked(msgspec.msgpack.encode(value))


@pytest.mark.parametrize(
    "raw", [b"", b"\x90\x00", b"\xdc\x00\x00", b"\x91\xc5\x00\x10" + A, b"\x91\xc4\x10" + A[:-1]]
)
def test_longer_forms_tails_and_cut_lists_are_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        decode_revoked(raw)


@given(st.binary(max_size=99))
def test_any_bytes_are_refused_or_read_back(raw: bytes) -> None:
    with contextlib.suppress(WireError):
        assert encode_revoked(decode_revoked(raw)) == raw
