"""What all openings of a listener have in common; more of it is in test_one_port.py and test_websocket_opening.py."""

from __future__ import annotations

from tests.transport.roads import PATIENCE_S, Owners
from tests.transport.strangers import Stranger
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.first_bytes import Kind
from yzdht.transport.openings import Openings, ignore_refusal, listen


async def test_where_one_kind_is_served_nothing_is_told_apart() -> None:
    owners = Owners()
    kinds = frozenset({Kind.RAW})
    openings = Openings(owners, ignore_refusal, PATIENCE_S, LinkBounds(), kinds=kinds)
    listener = await listen("127.0.0.1", 0, "tcp", openings)
    stranger = await Stranger.call(listener.endpoints[0].port)
    owner = await owners.next()  # before it has said anything
    stranger.say(b"\x00\x03GET")

    assert await owner.take(1) == [b"GET"]
    assert not openings.pending
    await listener.close()
    owner.link.abort()
    await owner.closed()
    await stranger.hang_up()


async def test_an_endpoint_shows_what_the_listener_is_said_to_speak() -> None:
    openings = Openings(Owners(), ignore_refusal, PATIENCE_S, LinkBounds())
    listener = await listen("127.0.0.1", 0, "tcp", openings)

    assert [place.protocol for place in listener.endpoints] == ["tcp"]
    await listener.close()
    await listener.close()
