from __future__ import annotations

from tests.vectors.golden import load
from tests.vectors.make import FILE, SECTIONS, build


def test_the_file_is_what_the_script_makes() -> None:
    assert load(FILE.name) == build()


def test_every_section_says_what_it_is() -> None:
    assert all("comment" in section() for section in SECTIONS.values())
