"""A person's home: the identity and what it has seen."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import psutil
import pytest

from yzdht.errors import StoreError, UnsafeFile, WrongPassphrase
from yzdht.ids import RecordHash, Target
from yzdht.ports import Mark
from yzdht.store.home import KEY_NAME, LEDGER_NAME, MARKS_NAME, Home
from yzdht.store.keyfile import Identity
from yzdht.store.marks import MemoryMarks


if TYPE_CHECKING:
    from pathlib import Path


TARGET = Target(b"t" * 32)
MARK = Mark(7, RecordHash(b"h" * 32), 2_000_000_000, is_tombstone=False)


def fds() -> int:
    return int(psutil.Process(os.getpid()).num_fds())


def test_a_home_is_made_on_first_use_and_keeps_identity_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "a" / "home"
    home = Home.open(path)
    home.marks.raise_to(TARGET, MARK)
    home.close()

    again = Home.open(str(path))

    assert again.identity.node_id == home.identity.node_id
    assert again.marks.get(TARGET) == MARK
    again.close()


def test_a_home_is_nobody_else_s_business(tmp_path: Path) -> None:
    Home.open(tmp_path / "home").close()

    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    for name in (KEY_NAME, MARKS_NAME):
        assert not (tmp_path / "home" / name).stat().st_mode & 0o077


def test_without_a_folder_everything_is_in_memory() -> None:
    first, second = Home.open(None), Home.open(None)

    assert isinstance(first.marks, MemoryMarks)
    assert first.identity.node_id != second.identity.node_id
    first.close()


def test_an_identity_that_is_given_takes_the_place_of_the_home_s(tmp_path: Path) -> None:
    person = Identity.generate()
    home = Home.open(tmp_path, identity=person)

    assert home.identity is person
    assert not (tmp_path / KEY_NAME).exists()
    home.close()
    assert Home.open(None, identity=person).identity is person


def test_a_home_under_a_passphrase_opens_with_it_alone(tmp_path: Path) -> None:
    home = Home.open(tmp_path, passphrase="correct horse")
    home.close()
    before = fds()

    for passphrase in ("wrong", None):
        with pytest.raises(WrongPassphrase):
            Home.open(tmp_path, passphrase=passphrase)

    assert fds() == before
    assert not (tmp_path / MARKS_NAME).exists() or fds() == before


def test_a_home_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Home.open(tmp_path).close()
    (tmp_path / KEY_NAME).chmod(0o644)
    before = fds()

    with pytest.raises(UnsafeFile):
        Home.open(tmp_path)

    assert fds() == before


def test_a_home_that_cannot_be_used_says_so_and_leaves_nothing_open(tmp_path: Path) -> None:
    Home.open(tmp_path / "home").close()
    (tmp_path / "home" / MARKS_NAME).write_bytes(b"no database" * 100)
    (tmp_path / "file").write_bytes(b"")
    before = fds()

    for path in (tmp_path / "home", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError):
            Home.open(path)

    assert fds() == before


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    home.close()
    home.close()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_home_that_others_can_write_is_refused_before_anything_is_made_in_it(
    tmp_path: Path, mode: int
) -> None:
    tmp_path.chmod(mode)
    before = fds()

    for identity in (None, Identity.generate()):
        with pytest.raises(UnsafeFile, match=f"{mode:04o}") as caught:
            Home.open(tmp_path, identity=identity)
        assert caught.value.hint == f"run: chmod 700 {tmp_path}"

    assert list(tmp_path.iterdir()) == []
    assert fds() == before


def test_a_home_whose_marks_others_can_change_is_refused(tmp_path: Path) -> None:
    Home.open(tmp_path).close()
    (tmp_path / MARKS_NAME).chmod(0o622)
    before = fds()

    with pytest.raises(UnsafeFile) as caught:
        Home.open(tmp_path)

    assert caught.value.hint == f"run: chmod 600 {tmp_path / MARKS_NAME}"
    assert fds() == before


def test_a_ledger_is_made_when_it_is_first_asked_for(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    assert not (tmp_path / "home" / LEDGER_NAME).exists()

    assert home.ledger.standings() == []
    home.close()

    assert stat.S_IMODE((tmp_path / "home" / LEDGER_NAME).stat().st_mode) == 0o600
    with pytest.raises(StoreError):
        home.ledger.standings()
    assert Home.open(None).ledger.standings() == []
