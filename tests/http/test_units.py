from __future__ import annotations

import pytest

from yzdht.http.units import show_bytes, show_ms, show_span


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (None, "unknown"), (0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (150 << 10, "150 KiB"),
        (1 << 30, "1.0 GiB"), (5 << 50, "5120 TiB"),
    ],
)  # fmt: skip
def test_sizes_are_short(size: float | None, shown: str) -> None:
    assert show_bytes(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 s"), (0.5, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_605, "1 h"), (90_061, "1 d 1 h")],
)
def test_times_have_two_units_that_follow_each_other(seconds: float, shown: str) -> None:
    assert show_span(seconds) == shown


def test_round_trips_are_short() -> None:
    assert [show_ms(ms) for ms in (None, 1.25, 250.4)] == ["unknown", "1.2 ms", "250 ms"]
