from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.cli.programs import NodeProcess, Person


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    InProcess = Callable[..., "Said"]


class Said(NamedTuple):
    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A network of one node, for everybody who needs no more."""
    with NodeProcess(tmp_path_factory.mktemp("node") / "data") as process:
        yield process.ready()


@pytest.fixture
def person(tmp_path: Path, node: NodeProcess) -> Person:
    """Somebody new, at the shared node."""
    return Person(tmp_path / "home").at(node.url)


@pytest.fixture
def offline(tmp_path: Path) -> Person:
    """Somebody new, with no node anywhere."""
    return Person(tmp_path / "home")


@pytest.fixture
def in_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    """Runs a `main` in this process; for what ends before anything is opened."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    root, ours = logging.getLogger(), logging.getLogger("yzdht")
    handlers, levels = root.handlers[:], (root.level, ours.level)

    def run(main: Callable[[list[str]], int], *words: str) -> Said:
        code = main(list(words))
        captured = capsys.readouterr()
        return Said(int(code), captured.out, captured.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
