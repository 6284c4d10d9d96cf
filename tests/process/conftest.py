"""Nodes end with their test, a failure shows what they said, and what was measured is printed at the end of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import Fleet
from tests.process.tapped import tap


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from pathlib import Path

    from tests.process.tapped import Tapped

    Note = Callable[[str], None]


_FIGURES: pytest.StashKey[list[str]] = pytest.StashKey()
_STDERR_SHOWN = 4_000


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[_FIGURES]
    if figures:
        terminalreporter.section("measured on real processes")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fleet = getattr(item, "funcargs", {}).get("fleet")
    if report.failed and isinstance(fleet, Fleet):
        for node in fleet.nodes:
            report.sections.append((f"stderr of {node.spec.name}", node.stderr()[-_STDERR_SHOWN:]))
    return report


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Nodes of this test; none outlives it, and none ever showed a traceback."""
    async with Fleet(tmp_path) as made:
        yield made
    assert made.errors() == []


@pytest.fixture
async def tapped(fleet: Fleet, tmp_path: Path) -> AsyncIterator[Tapped]:
    """Nodes of this test behind wiretaps."""
    async with tap(fleet, tmp_path / "home") as made:
        yield made


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Keeps a line for the end of the run."""

    def keep(text: str) -> None:
        request.config.stash[_FIGURES].append(f"{request.node.name}: {text}")

    return keep
