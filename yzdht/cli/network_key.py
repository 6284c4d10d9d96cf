"""The file of a private network's key; refused if anybody but its owner can get at it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from yzdht.errors import ConfigError, UnsafeFile, UsageError


if TYPE_CHECKING:
    from pathlib import Path


_BYTES_MAX = 256
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not hang us


def read_network_key(path: Path | None) -> bytes | None:
    """The 32 bytes in a network key file; None without one.

    Raises:
        UnsafeFile: Group or others can get at it.
        ConfigError: It does not hold a network key.
        UsageError: It cannot be read.

    """
    if path is None:
        return None
    from yzdht.config import parse_network_key  # noqa: PLC0415 - loads the cryptography

    try:
        raw = _read_private(path)
    except OSError as error:
        raise UsageError(
            f"the network key {path} cannot be read: {error.strerror}", hint="check the path"
        ) from error
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        text = ""  # refused with the same words as any other text
    try:
        return parse_network_key(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", hint=error.hint) from None


def _read_private(path: Path) -> bytes:
    with os.fdopen(os.open(path, _FLAGS), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode  # of what was opened: a path could change in between
        if not stat.S_ISREG(mode):
            raise UsageError(f"the network key {path} is not a file", hint="check the path")
        if mode & _OTHERS:
            raise UnsafeFile(
                f"{path} has mode {stat.S_IMODE(mode):04o}: others can get at the network key",
                hint=f"run: chmod 600 {path}",
            )
        return file.read(_BYTES_MAX)
