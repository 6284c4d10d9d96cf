from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from tests.vectors.golden import KEM_1, KEY_A, PROTOCOL
from yzdht.errors import UsageError, WireError
from yzdht.ids import PublicKey, Signature, TokenId
from yzdht.wire.token import (
    NO_SCOPE,
    NO_SECRET,
    REDEMPTION_BYTES,
    TOKEN_BYTES,
    Redemption,
    Token,
    TokenType,
    decode_redemption,
    decode_token,
    encode_redemption,
    encode_token,
)


GOLDEN = bytes.fromhex(PROTOCOL["invite"]["token"])
SECRET = bytes.fromhex(PROTOCOL["invite"]["secret16"])
U32 = st.integers(0, 2**32 - 1)


def token(**changes: object) -> Token:
    plain = Token(
        type=TokenType.GROUP,
        is_bearer=True,
        is_single_use=False,
        issuer=KEY_A.public_key,
        subject=bytes(32),
        scope=bytes(range(16)),
        not_before=1,
        not_after=2,
        uses_max=3,
        role=0,
        id=TokenId(b"i" * 16),
        signature=Signature(b"s" * 64),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # a test names what it changes


@st.composite
def tokens(draw: st.DrawFn) -> Token:
    kind = draw(st.sampled_from(TokenType))
    is_network = kind is TokenType.NETWORK
    uses_max = draw(st.integers(0, 65_535))
    return token(
        type=kind,
        is_bearer=draw(st.booleans()),
        is_single_use=uses_max == 1 and draw(st.booleans()),
        subject=draw(st.binary(min_size=32, max_size=32)),
        scope=NO_SCOPE if is_network else draw(st.binary(min_size=16, max_size=16)),
        not_before=draw(U32),
        not_after=draw(U32),
        uses_max=uses_max,
        role=0 if is_network else draw(st.integers(0, 1)),
        signature=draw(st.binary(min_size=64, max_size=64)),
    )


@given(tokens())
def test_tokens_round_trip(given_token: Token) -> None:
    raw = encode_token(given_token)

    assert len(raw) == TOKEN_BYTES
    assert decode_token(raw) == given_token


@given(tokens(), st.booleans())
def test_redemptions_round_trip(given_token: Token, has_secret: object) -> None:
    redemption = Redemption(
        given_token, SECRET if has_secret and given_token.is_bearer else NO_SECRET, KEM_1.public_key
    )
    raw = encode_redemption(redemption)

    assert len(raw) == REDEMPTION_BYTES
    assert decode_redemption(raw) == redemption


@given(st.binary(max_size=REDEMPTION_BYTES + 9))
def test_any_other_bytes_are_refused_or_read_back(raw: bytes) -> None:
    with contextlib.suppress(WireError):
        assert encode_token(decode_token(raw)) == raw
    with contextlib.suppress(WireError):
        assert encode_redemption(decode_redemption(raw)) == raw


@given(st.integers(0, TOKEN_BYTES * 8 - 1))
def test_a_flipped_bit_is_refused_or_read_back(bit: int) -> None:
    raw = bytearray(GOLDEN)
    raw[bit // 8] ^= 1 << bit % 8

    with contextlib.suppress(WireError):
        assert encode_token(decode_token(bytes(raw))) == raw


@pytest.mark.parametrize("size", range(TOKEN_BYTES))
def test_tokens_and_redemptions_cut_short_are_refused(size: int) -> None:
    with pytest.raises(WireError):
        decode_token(GOLDEN[:size])
    with pytest.raises(WireError):
        decode_redemption(GOLDEN + (SECRET + KEM_1.public_key)[: min(size, 48)])


def test_a_tail_is_refused() -> None:
    with pytest.raises(WireError):
        decode_token(GOLDEN + b"\0")
    with pytest.raises(WireError):
        decode_redemption(GOLDEN + SECRET + KEM_1.public_key + b"\0")


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0xFA), (1, 0), (1, 5), (2, 0), (2, 2), (3, 4), (3, 0x81), (4, 4), (95, 2), (95, 255), (3, 3)],
)
def test_what_this_version_does_not_know_is_refused(at: int, value: int) -> None:
    raw = bytearray(GOLDEN)
    raw[at] = value

    with pytest.raises(WireError):
        decode_token(bytes(raw))


CONTRADICTIONS = [
    {"is_single_use": True},
    {"is_single_use": True, "uses_max": 0},
    {"role": 2},
    {"type": TokenType.NETWORK},
    {"type": TokenType.NETWORK, "scope": NO_SCOPE, "role": 1},
    {"issuer": PublicKey(b"\x04" + bytes(32))},
]


@pytest.mark.parametrize("changes", CONTRADICTIONS)
def test_fields_that_contradict_each_other_are_refused_both_ways(changes: dict[str, object]) -> None:
    wrong = token(**changes)

    with pytest.raises(WireError):
        decode_token(wrong.unsigned + wrong.signature)
    with pytest.raises(UsageError):
        encode_token(wrong)


@pytest.mark.parametrize(
    "changes",
    [{"not_before": -1}, {"not_after": 2**32}, {"uses_max": 65_536}, {"uses_max": -1}, {"role": 256}],
)
def test_numbers_out_of_range_are_the_callers_mistake(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        encode_token(token(**changes))


def test_a_named_invite_comes_without_a_secret() -> None:
    raw = encode_token(token(is_bearer=False))

    assert decode_redemption(raw + NO_SECRET + KEM_1.public_key).secret == NO_SECRET
    with pytest.raises(WireError):
        decode_redemption(raw + SECRET + KEM_1.public_key)


@pytest.mark.parametrize("first", [0, 4, 5])
def test_a_key_that_is_not_compressed_is_refused(first: int) -> None:
    with pytest.raises(WireError):
        decode_redemption(GOLDEN + SECRET + bytes((first,)) + bytes(32))
