from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.process.needles import files_below, forms_of, found_in


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


SECRET = "¿The secret? >>> 7f3a~ÿ"  # holds bytes that base64 and base64url write differently

KEY = bytes(range(200, 233))


ENCODERS: list[Callable[[bytes], bytes]] = [
    bytes,
    b64encode,
    urlsafe_b64encode,
    lambda raw: raw.hex().encode(),
    lambda raw: raw.hex().upper().encode(),
    lambda raw: raw.decode("latin-1").encode("latin-1"),
]


@given(st.binary(max_size=20), st.binary(max_size=20), st.sampled_from(ENCODERS))
def test_a_secret_is_found_in_whatever_contains_it(
    before: bytes, behind: bytes, encode: Callable[[bytes], bytes]
) -> None:
    assert found_in({"haystack": encode(before + SECRET.encode() + behind)}, [SECRET])


@given(st.binary(max_size=20), st.binary(max_size=20), st.sampled_from(ENCODERS))
def test_a_key_is_found_in_whatever_contains_it(
    before: bytes, behind: bytes, encode: Callable[[bytes], bytes]
) -> None:
    assert found_in({"haystack": encode(before + KEY + behind)}, [KEY])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_secret_is_found_in_wide_text(encoding: str) -> None:
    assert found_in({"haystack": f"x{SECRET}y".encode(encoding)}, [SECRET])


def test_base64_of_every_alignment_and_alphabet_is_looked_for() -> None:
    assert len([form for form in forms_of(SECRET) if form.startswith("base64")]) == 6
    assert all(len(needle) > len(SECRET) for needle in forms_of(SECRET).values())


def test_nothing_is_found_where_nothing_is() -> None:
    assert found_in({"haystack": bytes(range(256)) * 100}, [SECRET]) == []


def test_every_file_below_a_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / ".hidden").write_bytes(b"1")
    (tmp_path / "top").write_bytes(b"2")
    assert files_below(tmp_path) == {"a/b/.hidden": b"1", "top": b"2"}
