"""How people write a number of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.cli.sizes import SIZE_MAX, parse_size, show_size
from yzdht.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1048576", 1 << 20),
        ("512MiB", 512 << 20),
        ("512 mib", 512 << 20),
        ("10GB", 10**10),
        ("10gb", 10**10),
        ("7B", 7),
        ("1kB", 1_000),
        ("1KiB", 1_024),
        ("2TiB", 2 << 40),
        (str(SIZE_MAX), SIZE_MAX),
    ],
)
def test_a_size_is_a_number_and_perhaps_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "0MiB", "-1", "1.5GiB", "1e6", "MiB", "1MiB/s", "1  MiB", " 1", "1 ", "1M", "\u0661", "1\u212aB",
        "1MiB\n", "9" * 20, str(SIZE_MAX + 1), "4194305TiB",
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)

    assert "512MiB" in caught.value.hint


@given(st.integers(1, SIZE_MAX) | st.integers(1, 1 << 22).map(lambda n: n << 40))
def test_a_shown_size_reads_as_what_it_was(size: int) -> None:
    assert parse_size(show_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (16 << 30, "16GiB"),
        (1_025, "1025"),
        (3 << 20, "3MiB"),
        (1_024, "1KiB"),
        (0, "0"),
        (1 << 60, "1048576TiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_without_a_fraction(size: int, text: str) -> None:
    assert show_size(size) == text


@given(st.text(max_size=30))
def test_whatever_is_typed_is_a_size_or_an_error(text: str) -> None:
    try:
        size = parse_size(text)
    except UsageError:
        return
    assert 1 <= size <= SIZE_MAX
