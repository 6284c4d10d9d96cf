"""Who can read a value, as a caller says it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vectors.golden import KEM_1, KEM_2, KEY_A, KEY_B, OFF_CURVE
from yzdht.crypto.primitives import PrivateKey
from yzdht.errors import UsageError
from yzdht.limits import NAMED_READERS_MAX
from yzdht.readers import Passphrase, To


def test_people_are_named_once_in_the_order_given() -> None:
    keys = [KEY_B.public_key, KEY_A.public_key]

    assert To([*keys, *keys]).people == tuple(keys)
    assert To(key for key in keys) == To(keys)


def test_as_many_as_the_protocol_allows_can_be_named_and_no_more() -> None:
    people = [PrivateKey.generate().public_key for _ in range(NAMED_READERS_MAX + 1)]

    assert len(To(people[:-1]).people) == NAMED_READERS_MAX
    with pytest.raises(UsageError, match="33") as caught:
        To(people)
    assert caught.value.hint == "use a group"


@pytest.mark.parametrize(
    "people",
    [
        [],
        KEM_1.public_key,
        "anna",
        None,
        [b""],
        ["anna"],
        [None],
        [KEM_2.public_key[:-1]],
        [b"\x04" + bytes(32)],
        [OFF_CURVE],
    ],
)
def test_who_is_no_public_key_is_refused_with_what_to_do(people: Any) -> None:
    with pytest.raises(UsageError) as caught:
        To(people)
    assert caught.value.hint


def test_a_passphrase_shows_in_no_repr() -> None:
    assert "horse" not in repr(Passphrase("correct horse"))
