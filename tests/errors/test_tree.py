from __future__ import annotations

import inspect

import pytest

from yzdht import errors
from yzdht.errors import (
    CasMismatch,
    CryptoError,
    ExitCode,
    NotAReader,
    QuorumFailed,
    StaleRecord,
    UsageError,
    WireError,
    YzError,
)


ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
TRUNKS = {
    "UsageError",
    "ConfigError",
    "WireError",
    "CryptoError",
    "LookupFailed",
    "StoreError",
    "TransportError",
}


def test_every_error_hangs_on_one_tree() -> None:
    assert all(issubclass(kind, YzError) for kind in ALL)
    assert {kind.__name__ for kind in YzError.__subclasses__()} == TRUNKS


@pytest.mark.parametrize("kind", ALL)
def test_hints_are_said_as_the_command_line_says_them(kind: type[YzError]) -> None:
    hint = kind.default_hint

    assert not hint.endswith((".", "!"))
    assert hint == hint.strip()
    assert kind.__doc__


def test_a_hint_of_the_moment_replaces_that_of_the_class() -> None:
    assert NotAReader("no").hint == NotAReader.default_hint
    assert NotAReader("no", hint="ask B").hint == "ask B"
    assert NotAReader("no", hint="").hint == ""
    assert str(NotAReader("no")) == "no"


def test_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "NOT_FOUND": 3,
        "STALE": 4,
        "BAD_SIGNATURE": 5,
        "QUORUM": 6,
        "NO_NODE": 7,
        "CONFLICT": 8,
        "NOT_A_READER": 9,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (YzError, ExitCode.FAILURE),
        (WireError, ExitCode.FAILURE),
        (UsageError, ExitCode.USAGE),
        (errors.ConfigError, ExitCode.USAGE),
        (errors.NotFound, ExitCode.NOT_FOUND),
        (StaleRecord, ExitCode.STALE),
        (CryptoError, ExitCode.BAD_SIGNATURE),
        (errors.WrongNodeId, ExitCode.BAD_SIGNATURE),
        (errors.UnsafeFile, ExitCode.BAD_SIGNATURE),
        (QuorumFailed, ExitCode.QUORUM),
        (errors.NoNode, ExitCode.NO_NODE),
        (CasMismatch, ExitCode.CONFLICT),
        (errors.Conflict, ExitCode.CONFLICT),
        (NotAReader, ExitCode.NOT_A_READER),
        (errors.UnknownEpoch, ExitCode.NOT_A_READER),
        (errors.GroupChangeRefused, ExitCode.USAGE),
        (errors.GroupStateRefused, ExitCode.BAD_SIGNATURE),
        (errors.GroupForked, ExitCode.CONFLICT),
        (errors.StaleGroupState, ExitCode.STALE),
    ],
)
def test_errors_end_the_command_line_with_their_code(kind: type[YzError], code: ExitCode) -> None:
    assert kind.exit_code is code
