"""Has every sealing of a run watched, in this process and in the programs that tests start; a reuse fails the run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.watched.sealings import FOLDER_VARIABLE, Ledger, report_of
from yzdht.crypto import primitives


if TYPE_CHECKING:
    from collections.abc import Generator


HERE = Path(__file__).parent
FAULTS_SHOWN = 20
NOT_WATCHED = ("tests/sim/", "tests/vectors/")
"""Keys and salts there follow from a seed, or are golden. A test elsewhere that hands them in draws new ones for every
sealing; where it cannot, because they are what it is about, it is marked `own_salts` and says why."""


def inherited() -> dict[str, str]:
    """What a program started by a test needs in an environment of its own to be watched."""
    names = ("PYTHONPATH", FOLDER_VARIABLE)
    return {name: os.environ[name] for name in names if FOLDER_VARIABLE in os.environ and name in os.environ}


class SealingsWatch:
    """The plugin: one ledger of this process, one folder of the run."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sealings-"))
        self._path = os.environ.get("PYTHONPATH")
        self._ledger = Ledger(self._folder)
        self._ledger.watch(primitives)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), self._path)))
        self._set_watching(is_on=True)

    def _set_watching(self, *, is_on: bool) -> None:
        """In this process, and in those that it starts from now on."""
        self._ledger.is_paused = not is_on
        if is_on:
            os.environ[FOLDER_VARIABLE] = str(self._folder)
        else:
            os.environ.pop(FOLDER_VARIABLE, None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, bool | None, bool | None]:
        is_left_out = item.nodeid.startswith(NOT_WATCHED) or item.get_closest_marker("own_salts") is not None
        self._set_watching(is_on=not is_left_out)
        try:
            return (yield)
        finally:
            self._set_watching(is_on=True)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if report_of(self._folder).faults and session.exitstatus == 0:
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        report = report_of(self._folder)
        if not report.sealed:
            return
        terminalreporter.section("sealings watched")
        terminalreporter.write_line(
            f"{report.sealed:,} in {report.processes} processes; {report.counted_up:,} of these by counting, "
            f"{report.forgotten:,} not remembered"
        )
        if report.faults:
            terminalreporter.section("nonces that served twice: the run fails for them", red=True)
        faults = Counter(report.faults).most_common()
        for line, count in faults[:FAULTS_SHOWN]:
            terminalreporter.write_line(f"{count} times, {line}")
        if len(faults) > FAULTS_SHOWN:
            terminalreporter.write_line(f"and at {len(faults) - FAULTS_SHOWN} places more")

    def pytest_unconfigure(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.environ.pop(FOLDER_VARIABLE, None)
        if self._path is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = self._path
