"""Hints of what the caller asked for."""

from __future__ import annotations

from yzdht.errors import ValueTooLarge
from yzdht.limits import VALUE_BYTES_MAX


def test_the_largest_value_in_the_hint_is_the_real_one() -> None:
    assert f"{VALUE_BYTES_MAX:,} bytes" in ValueTooLarge.default_hint
