"""Done in the order in which they were begun, however long each takes to get ready."""

from __future__ import annotations

import asyncio

import pytest

from tests.sessions.kit import turns
from yzdht.in_order import Lines


class Works:
    """Some who stand in lines, each until it is ready."""

    def __init__(self) -> None:
        self.lines: Lines[str] = Lines(10)
        self.ready: dict[str, asyncio.Event] = {}
        self.done: list[str] = []

    def begin(self, name: str, key: str = "one") -> asyncio.Task[None]:
        self.ready[name] = asyncio.Event()

        async def work() -> None:
            with self.lines.join(key) as place:
                await self.ready[name].wait()
                assert await place.turn(60)
                self.done.append(name)

        return asyncio.get_running_loop().create_task(work())


async def test_who_is_ready_first_waits_for_whoever_began_before() -> None:
    works = Works()
    tasks = [works.begin(name) for name in "abc"]
    await turns(2)
    for name, done in (("c", []), ("b", []), ("a", ["a", "b", "c"])):
        works.ready[name].set()
        await turns(5)
        assert works.done == done
    await asyncio.gather(*tasks)
    assert (works.lines._lines, works.lines._standing) == ({}, 0)


async def test_lines_of_other_keys_wait_for_nobody() -> None:
    works = Works()
    slow, quick = works.begin("slow"), works.begin("quick", "other")
    await turns(2)
    works.ready["quick"].set()
    await quick
    assert works.done == ["quick"]
    works.ready["slow"].set()
    await slow


@pytest.mark.parametrize("gone", ["a", "b"])
async def test_who_gives_up_holds_nobody_up(gone: str) -> None:
    works = Works()
    tasks = {name: works.begin(name) for name in "abc"}
    await turns(2)
    for name in set("abc") - {"a", gone}:
        works.ready[name].set()
    await turns(2)
    tasks[gone].cancel()
    await asyncio.wait((tasks[gone],))
    works.ready["a"].set()
    works.ready["b"].set()
    await asyncio.gather(*(task for name, task in tasks.items() if name != gone))
    assert works.done == [name for name in "abc" if name != gone]


async def test_who_gives_up_once_it_is_called_passes_the_turn_on() -> None:
    lines: Lines[str] = Lines(10)
    first, second, third = (lines.join("one") for _ in range(3))
    waiting = [asyncio.get_running_loop().create_task(place.turn(60)) for place in (second, third)]
    await turns(2)
    with first:
        pass
    waiting[0].cancel()
    await asyncio.wait((waiting[0],))
    assert waiting[0].cancelled()
    with second:
        pass
    await waiting[1]


async def test_nobody_has_to_wait_for_ever() -> None:
    lines: Lines[str] = Lines(10)
    with lines.join("one") as first, lines.join("one") as second:
        assert await first.turn(0)
        assert not await second.turn(0)
    assert lines._lines == {}


async def test_no_more_stand_there_than_there_is_room_for() -> None:
    works = Works()
    tasks = [works.begin(str(number), str(number % 2)) for number in range(10)]
    await turns(2)
    had_room = works.lines.has_room
    works.ready["0"].set()
    await tasks[0]
    assert (had_room, works.lines.has_room) == (False, True)
    for ready in works.ready.values():
        ready.set()
    await asyncio.gather(*tasks)
