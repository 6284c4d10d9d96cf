"""Nodes that know more peers than they have places for sessions: those take turns, and nobody is lost by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import percentiles, through
from tests.process.library import Library
from yzdht import Identity


if TYPE_CHECKING:
    from tests.process.conftest import Note
    from tests.process.fleet import Fleet


pytestmark = pytest.mark.process

LONG = (pytest.mark.soak, pytest.mark.timeout(900))
CROWDED = (
    pytest.param(14, 10, 30, id="14 of 10"),
    pytest.param(60, 48, 300, id="60 of 48", marks=LONG),
)
PATIENCE_S = 180.0


@pytest.mark.parametrize(("nodes", "places", "records"), CROWDED)
async def test_a_network_larger_than_its_nodes_have_places_is_whole(
    fleet: Fleet, note: Note, nodes: int, places: int, records: int
) -> None:
    everybody = await fleet.grow(nodes, ["--max-sessions", str(places)], PATIENCE_S)
    identity, library = Identity.generate(), Library()
    for at, node in enumerate(everybody[:3]):
        async with through(node, identity) as dht:
            await library.fill(dht, records // 3, f"part {at}")
    note(f"{nodes} nodes with {places} places each, put: {percentiles(library.put_s)}")
    for node in everybody[-3:]:
        async with through(node, identity) as dht:
            await library.check(dht)
    note(f"get: {percentiles(library.get_s)}")
    await fleet.settle(everybody, PATIENCE_S)
    stopped = [await node.stop() for node in everybody]
    displaced = sum(last["counters"].get("rate_limited:sessions_displaced", 0) for last in stopped)
    note(f"sessions that made place for others: {displaced}")
    assert displaced > 0
