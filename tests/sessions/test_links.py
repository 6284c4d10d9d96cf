"""The links of a process: how many are in use, who is cut off, what they carried, and when none is left."""

from __future__ import annotations

import asyncio

from tests.sessions.proved import connection
from yzdht.sessions.links import Links


async def test_a_link_that_closes_slowly_is_cut_off_for_the_next() -> None:
    links = Links(2)
    slow, open_ = connection("a"), connection("b")
    links.add(slow)
    links.add(open_)
    assert links.in_use() == 2, "nobody is closing"

    links.ended(slow)

    assert links.in_use() == 1
    assert links.in_use() == 1, "it is cut off once"
    assert slow in links
    links.gone(slow)
    assert slow not in links
    assert (len(links), links.in_use()) == (1, 1)


async def test_a_session_that_ends_after_its_link_closes_nothing() -> None:
    links = Links(1)
    quick, open_ = connection("a"), connection("b")
    links.add(quick)
    links.gone(quick)
    links.ended(quick)
    links.add(open_)

    assert links.in_use() == 1


async def test_what_links_carried_is_counted_when_they_are_gone() -> None:
    links = Links(4)
    one, other = connection("a"), connection("b")
    links.add(one)
    links.add(other)
    one.link.send(bytes(100))
    before = links.traffic()
    links.gone(one)

    assert before["out", "memory"] >= 100
    assert links.traffic() == before
    assert list(links) == [other]


async def test_the_last_link_to_go_ends_the_wait() -> None:
    links = Links(4)
    await links.none_left(60.0)
    only = connection("a")
    links.add(only)
    waiting = asyncio.create_task(links.none_left(60.0))
    await asyncio.sleep(0)
    assert not waiting.done()

    links.gone(only)

    await waiting
    links.add(only)
    await links.none_left(0.0)
    assert len(links) == 1
