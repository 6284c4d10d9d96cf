"""What is peculiar to links within one process."""

from __future__ import annotations

import pytest

from tests.transport.roads import PATIENCE_S, Owner, Owners, turns
from yzdht.errors import DialFailed
from yzdht.ports import Endpoint
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.memory import MemoryNetwork, MemoryTransport


SMALL = LinkBounds(unsent_bytes_high=100, unsent_bytes_low=20, unsent_bytes_max=200)


async def connect(bounds: LinkBounds | None = None) -> tuple[Owner, Owner]:
    near, far = Owners(), Owners()
    network = MemoryNetwork()
    await MemoryTransport(network, "there").listen("there", 0, far)
    await MemoryTransport(network, "here", bounds).dial("memory://there", near, PATIENCE_S)
    return await near.next(), await far.next()


async def test_each_end_names_the_other() -> None:
    near, far = await connect()

    assert near.link.remote == Endpoint("there", 0, "memory")
    assert far.link.remote == Endpoint("here", 0, "memory")


async def test_two_networks_do_not_meet() -> None:
    await MemoryTransport(MemoryNetwork()).listen("there", 0, Owners())

    with pytest.raises(DialFailed, match="nobody listens"):
        await MemoryTransport(MemoryNetwork()).dial("memory://there", Owners(), PATIENCE_S)


async def test_a_transport_may_dial_itself() -> None:
    near, far = Owners(), Owners()
    transport = MemoryTransport(MemoryNetwork(), "alone")
    await transport.listen("alone", 0, far)

    await transport.dial("memory://alone", near, PATIENCE_S)

    (await near.next()).link.send(b"hello")
    assert await (await far.next()).take(1) == [b"hello"]


async def test_a_link_is_congested_above_high_and_writable_at_low() -> None:
    near, far = await connect(SMALL)
    far.link.pause_reading()
    near.link.send(bytes(100))
    assert not near.link.is_congested
    near.link.send(bytes(1))
    await near.until(lambda: near.link.is_congested)
    assert near.link.unsent_bytes == 101

    far.link.resume_reading()
    await near.until(lambda: near.writable == 1)

    assert near.link.unsent_bytes == 0
    near.link.abort()


async def test_more_than_the_hard_bound_overruns() -> None:
    near, far = await connect(SMALL)

    near.link.send(bytes(200))
    near.link.send(bytes(1))

    assert await near.closed() == "overrun"
    assert await far.closed() == "reset"
    assert far.messages == []


async def test_what_one_delivery_causes_comes_with_the_next_turn() -> None:
    near, far = await connect()
    near.react = far.react = lambda owner: owner.link.send(owner.messages[-1])
    near.link.send(b"ball")

    await turns(10)

    assert 1 < len(near.messages) + len(far.messages) <= 30
    near.link.abort()
    await near.closed()
