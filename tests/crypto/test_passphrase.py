"""What a passphrase becomes; kdfs and bounds are tested where they guard something, in test_keyfile.py and test_stanzas.py."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.crypto.passphrase import generate_phrase


class Fixed:
    def __init__(self, token: bytes) -> None:
        self._token = token

    def token(self, size: int) -> bytes:
        assert size == len(self._token)
        return self._token

    def uniform(self, low: float, high: float) -> float:
        raise AssertionError((low, high))


@pytest.mark.parametrize(
    ("token", "phrase"),
    [
        (bytes(10), "0000-0000-0000-0000"),
        (b"\xff" * 10, "zzzz-zzzz-zzzz-zzzz"),
        (bytes(9) + b"\x01", "0000-0000-0000-0001"),
        (b"\x08" + bytes(9), "1000-0000-0000-0000"),
    ],
)
def test_phrase_is_80_bits_of_crockford(token: bytes, phrase: str) -> None:
    assert generate_phrase(Fixed(token)) == phrase


@given(st.binary(min_size=10, max_size=10))
def test_phrase_loses_no_bit(token: bytes) -> None:
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    number = 0
    for symbol in generate_phrase(Fixed(token)).replace("-", ""):
        number = number * 32 + alphabet.index(symbol)

    assert number.to_bytes(10) == token
