from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from yzdht.cli.screen import Screen, error_view, printable
from yzdht.errors import (
    CasMismatch,
    ConfigError,
    Conflict,
    DataLocked,
    DecryptionFailed,
    ExitCode,
    InvalidKey,
    InvalidSignature,
    ListenFailed,
    NoNode,
    NotAReader,
    NotFound,
    ReadQuorumFailed,
    StaleRecord,
    StoreError,
    UnsafeFile,
    UsageError,
    ValueTooLarge,
    WireError,
    WriteQuorumFailed,
    WrongPassphrase,
    WrongTarget,
    YzError,
)


if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2), (ConfigError("x"), 2), (ValueTooLarge("x"), 2),
        (NotFound("x"), 3),
        (StaleRecord(1, 2), 4),
        (InvalidSignature("x"), 5), (InvalidKey("x"), 5), (WrongTarget("x"), 5), (DecryptionFailed("x"), 5),
        (WrongPassphrase("x"), 5), (UnsafeFile("x"), 5),
        (ReadQuorumFailed(1, 2, 3), 6), (WriteQuorumFailed(1, 2, 3), 6),
        (NoNode("x"), 7),
        (CasMismatch(4), 8), (Conflict("x"), 8),
        (NotAReader("x"), 9),
        (StoreError("x"), 1), (DataLocked("x"), 1), (ListenFailed("x"), 1), (WireError("x"), 1), (YzError("x"), 1),
    ],
)  # fmt: skip
def test_each_error_ends_with_its_documented_exit_code(error: YzError, code: int) -> None:
    assert error.exit_code == code
    assert error_view(error)["exitCode"] == code


def test_the_exit_codes_are_all_told_in_the_help() -> None:
    from yzdht.cli.manual import manual  # noqa: PLC0415 - the module under test is another

    words = manual("yz", codes=tuple(ExitCode)).split()
    assert [code for code in ExitCode if str(int(code)) not in words] == []


def test_the_data_of_an_error_are_fields_of_its_object() -> None:
    assert error_view(WriteQuorumFailed(1, 2, 3, "over quota")) == {
        "error": "1 of 3 nodes stored it durably, 2 are needed (over quota)",
        "hint": "check that enough nodes are up, then try again",
        "exitCode": 6,
        "answered": 1,
        "needed": 2,
        "asked": 3,
    }
    stale = error_view(StaleRecord(7, 8))
    assert (stale["seq"], stale["seenSeq"]) == (7, 8)
    assert error_view(CasMismatch(9))["seq"] == 9


def test_an_error_is_one_fact_and_one_hint_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Screen("yz").fail(NotFound("nothing is stored", hint="check the name"))

    assert capsys.readouterr() == ("", "yz: error: nothing is stored\nyz: hint: check the name\n")


def test_an_error_that_repeats_a_line_end_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    Screen("yz").fail(YzError("no folder a\nyz: hint: b\tc", hint="chmod a\nb"))

    assert capsys.readouterr().err == "yz: error: no folder a\\nyz: hint: b\\tc\nyz: hint: chmod a\\nb\n"


def test_a_warning_is_one_fact_and_may_have_one_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Screen("yz").warn("two\nyz: hint: lines", "mend it")
    Screen("yz").warn("it is old")
    Screen("yz", is_json=True).warn("it is old", "mend it")

    assert capsys.readouterr().err == (
        "yz: warning: two\\nyz: hint: lines\nyz: hint: mend it\nyz: warning: it is old\n"
    )


def test_an_error_for_programs_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Screen("yz", is_json=True).fail(NotFound("two\nlines \x1b[31m"))

    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert json.loads(err)["error"] == "two\nlines \x1b[31m"


def test_nothing_is_said_beside_objects(capsys: pytest.CaptureFixture[str]) -> None:
    Screen("yz", is_json=True).say("stored")

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "write",
    [lambda s, t: s.say(t), lambda s, t: s.line(t), lambda s, t: s.fail(YzError(t))],
    ids=["say", "line", "fail"],
)
def test_text_from_elsewhere_cannot_steer_the_terminal(
    write: Callable[[Screen, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write(Screen("yz"), "a\x1b]0;title\x07\x9b31m\u202eb\ud800é")

    out, err = capsys.readouterr()
    assert "a\\x1b]0;title\\x07\\x9b31m\\u202eb\\ud800é" in out + err


def test_line_ends_and_tabs_are_shown_as_they_are() -> None:
    assert printable("a\tb\nc") == "a\tb\nc"
