from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from yzdht.cli.network_key import read_network_key
from yzdht.errors import ConfigError, UnsafeFile, UsageError


if TYPE_CHECKING:
    from pathlib import Path


KEY = bytes(range(32))


def written(path: Path, raw: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(raw)
    path.chmod(mode)
    return path


def test_a_network_key_is_read_from_a_private_file(tmp_path: Path) -> None:
    assert read_network_key(written(tmp_path / "key", KEY.hex().encode() + b"\n")) == KEY


def test_without_a_file_there_is_no_network_key() -> None:
    assert read_network_key(None) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UnsafeFile, match=f"{mode:04o}") as caught:
        read_network_key(written(tmp_path / "key", KEY.hex().encode(), mode))
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize(
    "raw", [b"", b"ab", b"\xff" * 64, KEY.hex().encode() + b"0", KEY.hex().encode() * 99]
)
def test_a_file_that_holds_anything_else_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(ConfigError, match="64 hexadecimal digits") as caught:
        read_network_key(written(tmp_path / "key", raw))
    assert "openssl rand" in caught.value.hint


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_network_key(tmp_path / "key")


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)

    with pytest.raises(UsageError, match="is not a file"):
        read_network_key(tmp_path / "key")
