"""The tree of every error that leaves yzdht: its root, and the seven that hang on it.

An error names a fact, keeps the data as attributes, carries a hint (what to try, imperative) and the exit code
that the command line ends with. Verification errors never say which byte was wrong.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of `yz` and `yz-node`; scripts depend on them."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    STALE = 4
    BAD_SIGNATURE = 5
    QUORUM = 6
    NO_NODE = 7
    CONFLICT = 8
    NOT_A_READER = 9
    INTERRUPTED = 130
    TERMINATED = 143


class YzError(Exception):
    """Root of every error that yzdht raises on purpose.

    Args:
        message: One sentence that names the fact.
        hint: What to try next, imperative; the class default when None.

    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint


class UsageError(YzError):
    """An argument is out of its documented range."""

    exit_code = ExitCode.USAGE
    default_hint = "see --help, or the description of this call in docs/api.md, for what it takes"


class ConfigError(YzError):
    """The configuration of a node or client cannot work."""

    exit_code = ExitCode.USAGE
    default_hint = "see yz-node --help, or docs/operating.md, for what it takes"


class WireError(YzError):
    """Bytes do not parse as the protocol says (PROTOCOL.md)."""


class CryptoError(YzError):
    """A key, a signature or a ciphertext was refused."""

    exit_code = ExitCode.BAD_SIGNATURE


class LookupFailed(YzError):
    """A read or a write did not reach its end."""


class StoreError(YzError):
    """A file or database cannot be read or written."""


class TransportError(YzError):
    """A connection could not be opened, or broke."""
