from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

import pytest

from yzdht.cli import passphrase
from yzdht.errors import UsageError, WrongPassphrase


if TYPE_CHECKING:
    from pathlib import Path


class Pipe:
    """A descriptor that carries something."""

    def __init__(self, raw: bytes) -> None:
        self.descriptor, write = os.pipe()
        os.write(write, raw)
        os.close(write)

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


@pytest.fixture(autouse=True)
def nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path / "yz-passphrase"


@pytest.mark.parametrize("raw", [b"four words of it", b"four words of it\n", b"four words of it\nvalue"])
def test_a_descriptor_gives_its_first_line(raw: bytes) -> None:
    with Pipe(raw) as descriptor:
        assert passphrase.given_passphrase(descriptor) == "four words of it"


def test_what_follows_on_the_descriptor_is_left_there() -> None:
    with Pipe(b"phrase\nthe value") as descriptor:
        passphrase.given_passphrase(descriptor)

        assert os.read(descriptor, 99) == b"the value"


def test_spaces_belong_to_a_passphrase() -> None:
    with Pipe(b"  spaced \n") as descriptor:
        assert passphrase.given_passphrase(descriptor) == "  spaced "


@pytest.mark.parametrize(
    ("raw", "why"), [(b"", "empty"), (b"\n", "empty"), (b"\xff\n", "UTF-8"), (b"a" * 1_025, "1,024 bytes")]
)
def test_what_is_no_passphrase_is_refused(raw: bytes, why: str) -> None:
    with Pipe(raw) as descriptor, pytest.raises(UsageError, match=why):
        passphrase.given_passphrase(descriptor)


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    with pytest.raises(UsageError, match="descriptor 99999"):
        passphrase.given_passphrase(99_999)


@pytest.mark.parametrize("raw", [b"from systemd", b"from systemd\n"])
def test_a_systemd_credential_gives_the_passphrase(credential: Path, raw: bytes) -> None:
    credential.write_bytes(raw)

    assert passphrase.given_passphrase(None) == "from systemd"


def test_the_descriptor_wins_over_the_credential(credential: Path) -> None:
    credential.write_text("from systemd")

    with Pipe(b"from the descriptor") as descriptor:
        assert passphrase.given_passphrase(descriptor) == "from the descriptor"


def test_a_credentials_folder_without_ours_gives_none(credential: Path) -> None:
    assert not credential.exists()
    assert passphrase.given_passphrase(None) is None


def test_a_credential_that_cannot_be_read_is_told(credential: Path) -> None:
    credential.mkdir()

    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        passphrase.given_passphrase(None)


def test_nobody_is_asked_without_a_terminal() -> None:
    with pytest.raises(WrongPassphrase) as caught:
        passphrase.ask("passphrase: ")
    assert "--passphrase-fd" in caught.value.hint


def test_what_needs_no_passphrase_is_opened_without_asking() -> None:
    assert passphrase.opened(lambda given: given, None, "passphrase: ") is None


def test_what_needs_one_says_how_to_give_it() -> None:
    def refuse(_given: str | None) -> None:
        raise WrongPassphrase("needs one")

    with pytest.raises(WrongPassphrase, match="needs one") as caught:
        passphrase.opened(refuse, None, "passphrase: ")
    assert "yz-passphrase" in caught.value.hint
