"""What holds for every test: leaks fail the run, and property tests are never judged by the clock.

A run ends with the figures that its tests recorded, with the CPU that each file of tests/sim took, and with how many
sealings were watched for a nonce that serves twice.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.watched.plugin import SealingsWatch


if TYPE_CHECKING:
    import warnings
    from collections.abc import Callable, Generator

    Figures = Callable[..., None]


IS_SOAK = os.environ.get("YZ_SOAK") == "1"

# A busy machine is slow; that is no fault of what is tested.
settings.register_profile(
    "quick", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("soak", settings.get_profile("quick"), max_examples=2_000)
settings.load_profile("soak" if IS_SOAK else "quick")

LINES_MAX = 150
"""Of figures of one test, whatever its parameters."""
LINE_CHARS_MAX = 400

_leaks: list[str] = []
_figures: pytest.StashKey[dict[str, list[str]]] = pytest.StashKey()
_cpu_s: pytest.StashKey[dict[str, float]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_figures] = {}
    config.stash[_cpu_s] = {}
    config.pluginmanager.register(SealingsWatch())


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Keep lines for the end of the run; with -s they are shown at once too."""
    kept = request.config.stash[_figures].setdefault(request.node.nodeid.partition("[")[0], [])

    def keep(*lines: str) -> None:
        kept.extend(lines)
        if request.config.getoption("capture") == "no":
            print("\n".join(("", *lines)), flush=True)  # noqa: T201 - a long run is watched

    return keep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Count the CPU of the simulator's tests, that of children that ended included; it is shown, never judged."""
    began = os.times()
    answer = yield
    if item.path.parent.name == "sim":
        cpu_s = item.config.stash[_cpu_s]
        cpu_s[item.path.name] = cpu_s.get(item.path.name, 0.0) + sum(os.times()[:4]) - sum(began[:4])
    return answer


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """Note a ResourceWarning; raised as an error inside a destructor it would be lost, or hang an event loop."""
    if issubclass(warning_message.category, ResourceWarning):
        _leaks.append(f"{nodeid or 'between tests'}: {warning_message.message}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that leaves a file, socket or loop open fails the run, though the test itself has passed."""
    gc.collect()
    if _leaks and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was measured, and what was left open."""
    figures = {test: lines for test, lines in config.stash[_figures].items() if lines}
    if figures:
        terminalreporter.section("figures")
        for test, lines in figures.items():
            terminalreporter.write_line(test)
            for line in lines[:LINES_MAX]:
                terminalreporter.write_line(f"  {line[:LINE_CHARS_MAX]}")
            if len(lines) > LINES_MAX:
                terminalreporter.write_line(f"  and {len(lines) - LINES_MAX} lines more")
    cpu_s = config.stash[_cpu_s]
    if cpu_s:
        terminalreporter.section("seconds of CPU in tests/sim")
        files = (f"{name.removesuffix('.py')} {used_s:.1f}" for name, used_s in sorted(cpu_s.items()))
        terminalreporter.write_line(f"{', '.join(files)}; all {sum(cpu_s.values()):.1f}")
    if _leaks:
        terminalreporter.section("left open: the run fails for it", red=True)
        for leak in _leaks:
            terminalreporter.write_line(leak)
