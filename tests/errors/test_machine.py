"""Errors of files and sockets, as the command line tells them."""

from __future__ import annotations

from yzdht.errors import DialFailed, DialledTooOften, ExitCode, ReachedAnother, StoreError, UnsafeFile


def test_a_file_that_others_can_read_ends_a_command_otherwise_than_a_full_disk() -> None:
    assert UnsafeFile.exit_code is ExitCode.BAD_SIGNATURE
    assert StoreError.exit_code is ExitCode.FAILURE


def test_every_reason_why_a_dial_failed_is_one() -> None:
    assert issubclass(DialledTooOften, DialFailed)
    assert issubclass(ReachedAnother, DialFailed)
