"""Joining, and joining again after everybody was lost; tests/test_node.py and tests/process show the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.config import parse_bootstrap
from yzdht.errors import DialFailed
from yzdht.joining import Joining
from yzdht.store.entropy import SystemRng


if TYPE_CHECKING:
    import pytest

    from yzdht.ids import NodeId


class Doors:
    """The one call of `Sessions` that joining makes: a door opens once it was knocked at often enough."""

    def __init__(self, opens_at: int) -> None:
        self._opens_at = opens_at
        self.knocks: list[str] = []

    async def dial(self, url: str, _expected: NodeId | None = None) -> None:
        self.knocks.append(url)
        if len(self.knocks) < self._opens_at:
            raise DialFailed("nobody is there")


def joining_at(opens_at: int, *urls: str) -> tuple[Joining, Doors, list[dict[str, object]]]:
    doors, told = Doors(opens_at), list[dict[str, object]]()
    bootstraps = [parse_bootstrap(url) for url in urls]
    return Joining(bootstraps, doors, SystemRng(), told.append), doors, told  # type: ignore[arg-type] # Doors dials


async def test_every_address_is_dialled_and_counted() -> None:
    joining, doors, _ = joining_at(2, "ws://192.0.2.1:1", "ws://192.0.2.2:2")

    assert await joining.try_once() == 1
    assert sorted(doors.knocks) == ["ws://192.0.2.1:1", "ws://192.0.2.2:2"]
    assert (joining.tried, joining.joined) == (2, 1)


async def test_what_kept_an_address_from_answering_is_known_until_it_answers() -> None:
    joining, _, _ = joining_at(3, "ws://192.0.2.1:1", "ws://192.0.2.2:2")
    await joining.try_once()

    assert joining.trouble == "ws://192.0.2.1:1: nobody is there"
    assert await joining.try_once() == 2
    assert joining.trouble == ""


async def test_it_goes_on_until_an_address_answers_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.joining.BOOTSTRAP_PAUSE_S_MIN", 0.001)
    joining, doors, told = joining_at(4, "ws://192.0.2.1:1")
    await joining.keep_trying(lambda: False)

    assert len(doors.knocks) == 4
    assert ["retryInS" in event for event in told] == [True] * 4 + [False]
    assert told[-1] == {"event": "bootstrap", "tried": 1, "joined": 1}


async def test_it_ends_when_others_have_found_this_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.joining.BOOTSTRAP_PAUSE_S_MIN", 0.001)
    joining, doors, told = joining_at(100, "ws://192.0.2.1:1")
    await joining.keep_trying(lambda: True)

    assert len(doors.knocks) == 1
    assert all("retryInS" in event for event in told)
