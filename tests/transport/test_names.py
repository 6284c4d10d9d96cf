"""Names whose servers do not answer keep neither others nor the end waiting."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from tests.transport.roads import PATIENCE_S
from yzdht.limits import NAMES_LOOKED_UP_MAX, NAMES_OF_HEARSAY_MAX
from yzdht.transport.names import TooManyNames, look_up


class Resolver:
    """The system's, but names that begin with "slow" have no answer until the test ends."""

    def __init__(self) -> None:
        self.answered = threading.Event()

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[object]:
        if host.startswith("slow"):
            self.answered.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    fake = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", fake.getaddrinfo)
    return fake


async def end(resolver: Resolver, slow: list[asyncio.Task[list[str]]]) -> None:
    resolver.answered.set()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_slow_names_keep_no_other_name_waiting(resolver: Resolver) -> None:
    slow = [asyncio.ensure_future(look_up(f"slow{number}.example", 1)) for number in range(40)]
    await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE_S):
        assert await look_up("quick.example", 1) == ["192.0.2.1"]

    assert not any(each.done() for each in slow)
    await end(resolver, slow)


async def test_of_too_many_names_those_that_come_last_are_refused(resolver: Resolver) -> None:
    slow = [
        asyncio.ensure_future(look_up(f"slow{number}.example", 1)) for number in range(NAMES_LOOKED_UP_MAX)
    ]
    await asyncio.sleep(0)

    with pytest.raises(TooManyNames, match="too many names"):
        await look_up("quick.example", 1)
    await end(resolver, slow)


async def test_slow_names_of_strangers_leave_room_for_others(resolver: Resolver) -> None:
    slow = [
        asyncio.ensure_future(look_up(f"slow{number}.example", 1, is_hearsay=True))
        for number in range(NAMES_LOOKED_UP_MAX)
    ]
    await asyncio.sleep(0)

    assert sum(each.done() for each in slow) == NAMES_LOOKED_UP_MAX - NAMES_OF_HEARSAY_MAX
    async with asyncio.timeout(PATIENCE_S):
        assert await look_up("quick.example", 1) == ["192.0.2.1"]
    await end(resolver, slow)
    async with asyncio.timeout(PATIENCE_S):
        assert await look_up("quick.example", 1, is_hearsay=True) == ["192.0.2.1"]


@pytest.mark.usefixtures("resolver")
async def test_where_there_are_no_more_threads_a_name_is_refused_and_its_place_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", start)
        for _ in range(NAMES_LOOKED_UP_MAX + 1):
            with pytest.raises(TooManyNames, match="no thread"):
                await look_up("quick.example", 1, is_hearsay=True)

    assert await look_up("quick.example", 1, is_hearsay=True) == ["192.0.2.1"]


def test_a_loop_ends_while_a_name_that_was_given_up_is_looked_up(resolver: Resolver) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await look_up("slow.example", 1)

    asyncio.run(give_up())

    assert not resolver.answered.is_set()
    resolver.answered.set()


async def test_a_name_that_has_no_address_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with pytest.raises(socket.gaierror):
        await look_up("nobody.example", 1)
