"""What holds for every test: leaks fail the run, and property tests are never judged by the clock."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings


if TYPE_CHECKING:
    import warnings

    import pytest


IS_SOAK = os.environ.get("YZ_SOAK") == "1"

# A busy machine is slow; that is no fault of what is tested.
settings.register_profile(
    "quick", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("soak", settings.get_profile("quick"), max_examples=2_000)
settings.load_profile("soak" if IS_SOAK else "quick")

_leaks: list[str] = []


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """Note a ResourceWarning; raised as an error inside a destructor it would be lost, or hang an event loop."""
    if issubclass(warning_message.category, ResourceWarning):
        _leaks.append(f"{nodeid or 'between tests'}: {warning_message.message}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that leaves a file, socket or loop open fails the run, though the test itself has passed."""
    gc.collect()
    if _leaks and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left open."""
    if _leaks:
        terminalreporter.section("left open: the run fails for it", red=True)
        for leak in _leaks:
            terminalreporter.write_line(leak)
