from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.cli.durations import parse_duration, parse_timeout, parse_ttl
from yzdht.errors import UsageError
from yzdht.limits import RECORD_LIFE_S_MAX


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1), ("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("4w", 2_419_200),
        ("30d", 2_592_000), ("0007d", 604_800),
    ],
)  # fmt: skip
def test_a_ttl_is_seconds_or_a_number_with_a_unit(text: str, seconds: int) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "d", "1.5h", "-1", "+1", "1 d", "7D", "1d12h", "\uff11", "7y", "1" * 10, "9" * 9_999]
)
def test_what_is_no_duration_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration") as caught:
        parse_ttl(text)
    assert "90s, 15m, 12h, 7d, 4w" in caught.value.hint


@pytest.mark.parametrize("text", ["0", "0w", "31d", "5w", "2592001", "999999999w"])
def test_a_ttl_out_of_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(UsageError, match="between 1 second and 30 days"):
        parse_ttl(text)


@given(st.text(max_size=20))
def test_any_text_is_a_ttl_in_range_or_a_usage_error(text: str) -> None:
    try:
        ttl_s = parse_ttl(text)
    except UsageError:
        return
    assert 1 <= ttl_s <= RECORD_LIFE_S_MAX


@pytest.mark.parametrize(("text", "seconds"), [("1", 1), ("30s", 30), ("1d", 86_400)])
def test_a_timeout_is_a_second_to_a_day(text: str, seconds: int) -> None:
    assert parse_timeout(text) == seconds
    for wrong in ("0", "86401", "2d"):
        with pytest.raises(UsageError, match="between 1 second and a day"):
            parse_timeout(wrong)


def test_another_span_may_be_longer_or_nothing() -> None:
    assert parse_duration("365d", "life") == 365 * 86_400
    assert parse_duration("0", "wait") == 0
    with pytest.raises(UsageError, match="the wait 'soon' is not a duration"):
        parse_duration("soon", "wait")
