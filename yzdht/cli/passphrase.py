"""Where a passphrase comes from: a file descriptor, a systemd credential, a prompt; never the arguments.

Others on the machine can read a process's arguments, and often its environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from yzdht.errors import UsageError, WrongPassphrase
from yzdht.limits import PASSPHRASE_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Callable


CREDENTIAL_NAME = "yz-passphrase"
NO_PROMPT_HINT = (
    f"run it on a terminal, use --passphrase-fd N, or provide the systemd credential {CREDENTIAL_NAME}"
)

_T = TypeVar("_T")


def given_passphrase(descriptor: int | None) -> str | None:
    """What --passphrase-fd or the credential says; None without either, the descriptor wins over the credential.

    Raises:
        UsageError: It cannot be read, or is no text.

    """
    if descriptor is not None:
        return read_passphrase_fd(descriptor)
    return credential()


def read_passphrase_fd(descriptor: int) -> str:
    """The first line of a file descriptor, without its line end.

    Reads byte by byte and no further: the value may follow on the same descriptor.

    Raises:
        UsageError: It cannot be read, or is no text.

    """
    raw = bytearray()
    try:
        while len(raw) <= PASSPHRASE_BYTES_MAX and (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
            raw += byte
    except OSError as error:
        raise UsageError(
            f"the passphrase cannot be read from descriptor {descriptor}: {error.strerror}",
            hint="open it for the program: yz --passphrase-fd 3 … 3<FILE",
        ) from error
    return _text(bytes(raw), f"descriptor {descriptor}")


def credential() -> str | None:
    """The systemd credential `yz-passphrase`; None if there is none.

    Raises:
        UsageError: It cannot be read, or is no text.

    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    path = Path(folder) / CREDENTIAL_NAME
    try:
        with path.open("rb") as file:
            raw = file.read(PASSPHRASE_BYTES_MAX + 2)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"the credential {path} cannot be read: {error.strerror}") from error
    return _text(raw.removesuffix(b"\n"), f"the credential {CREDENTIAL_NAME}")


def _text(raw: bytes, where: str) -> str:
    if len(raw) > PASSPHRASE_BYTES_MAX:
        raise UsageError(f"the passphrase from {where} is longer than {PASSPHRASE_BYTES_MAX:,} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise UsageError(f"the passphrase from {where} is not UTF-8") from None
    if not text:
        raise UsageError(f"the passphrase from {where} is empty")
    return text


def ask(prompt: str) -> str:
    """Prompt for a passphrase without showing it.

    Raises:
        WrongPassphrase: Nobody can be asked: stdin is not a terminal, or was closed.

    """
    if not is_terminal():
        raise WrongPassphrase("a passphrase is needed and none was given", hint=NO_PROMPT_HINT)
    import getpass  # noqa: PLC0415 - rarely needed

    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise WrongPassphrase("no passphrase was typed", hint=NO_PROMPT_HINT) from None


def ask_twice(prompt: str) -> str:
    """Prompt for a new passphrase; a typing error would lock its owner out.

    Raises:
        WrongPassphrase: Nobody can be asked.
        UsageError: The two differ.

    """
    text = ask(prompt)
    if ask("the same again: ") != text:
        raise UsageError("the two passphrases differ", hint="try again; nothing was changed")
    return text


def is_terminal() -> bool:
    """True if somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def opened(open_with: Callable[[str | None], _T], given: str | None, prompt: str) -> _T:
    """Open something that may be under a passphrase; asks only if it is and none was given.

    Raises:
        WrongPassphrase: It does not open with this passphrase, or needs one and nobody can be asked.

    """
    try:
        return open_with(given)
    except WrongPassphrase as error:
        if given is not None:
            raise
        if not is_terminal():
            error.hint = NO_PROMPT_HINT
            raise
    return open_with(ask(prompt))
