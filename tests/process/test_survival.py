"""What was stored through one node is read through all others when that one and three more are gone.

The replicas are 8 of 12 nodes, so 4 deaths leave at least 4 of them. A restarted node finds the others by what it
remembers: the node that all had joined through is among the dead.
"""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - which nodes die, from a seed that the test prints
from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import Spec, ask, kill_all, percentiles, run_yz, start_all, steady_port, through
from tests.process.library import Library
from tests.process.wiretap import Wiretap
from yzdht import Identity
from yzdht.wire.rpc import Empty, Method


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess


pytestmark = pytest.mark.process

NODES = 12
KILLED = 4


async def check_through_each(nodes: Sequence[NodeProcess], identity: Identity, library: Library) -> None:
    for node in nodes:
        async with through(node, identity) as dht:
            await library.check(dht)


async def test_records_outlive_their_node_and_three_more_and_then_a_restart_of_the_rest(
    fleet: Fleet, note: Note
) -> None:
    identity, library = Identity.generate(), Library()
    first, *others = await fleet.grow(NODES)
    async with through(first, identity) as dht:
        await library.fill(dht, 50, "short")
    note(f"put through one of {NODES} nodes: {percentiles(library.put_s)}")

    await kill_all([first, *others[: KILLED - 1]])
    survivors = others[KILLED - 1 :]
    async with through(survivors[0], identity) as dht:
        await library.check(dht)
    note(f"get right after {KILLED} of {NODES} were killed: {percentiles(library.get_s)}")
    library.gets.clear()
    await check_through_each(survivors, identity, library)
    note(f"get through each of the {len(survivors)} survivors: {percentiles(library.get_s)}")

    await asyncio.gather(*(node.stop() for node in survivors))
    await start_all(survivors)  # at the same ports; the address they join through is dead
    assert all(node.ready["bootstrap"] == {"tried": 1, "joined": 0} for node in survivors)
    library.gets.clear()
    await check_through_each(survivors, identity, library)
    note(f"get through each, once all were restarted: {percentiles(library.get_s)}")
    await fleet.settle(survivors)

    await kill_all(survivors)
    await start_all(survivors)
    await check_through_each(survivors, identity, library)
    await fleet.settle(survivors)
    async with through(survivors[-1], Identity.generate()) as stranger:
        for name in sorted(library.public):
            value = await stranger.get(name, publisher=identity.public_key, default=None)
            assert (value and value.data) == library.expected[name]


async def test_the_first_get_at_a_restarted_node_finds_what_it_does_not_hold_itself(fleet: Fleet) -> None:
    identity, library = Identity.generate(), Library()
    first, *others = await fleet.grow(NODES)
    async with through(first, identity) as dht:
        await library.fill(dht, 20, "elsewhere")
    await first.kill()
    for node in others[:3]:
        await node.stop()
        await node.start()
        async with through(node, identity) as dht:
            await library.check(dht)


async def test_a_restarted_node_finds_nothing_missing_before_it_has_met_those_it_knew(fleet: Fleet) -> None:
    identity = Identity.generate()
    async with Wiretap() as tap:
        tap.node_port = steady_port()
        holder = await fleet.start(Spec("holder", ["--public-address", tap.url], port=tap.node_port))
        other = await fleet.start(Spec("other", bootstrap=[tap.url]))
        await fleet.settle([holder, other])
        async with through(holder, identity) as dht:
            await dht.store("name", b"value")
        await other.stop()
        for path in other.data.glob("records.sqlite*"):
            path.unlink()  # so that it can only ask

        tap.is_open.clear()  # whom it knew is slow to answer
        dead = f"ws://127.0.0.1:{steady_port()}"
        other.spec.bootstrap = [dead]
        await other.start()
        async with through(other, identity) as dht:
            get = asyncio.create_task(dht.get("name"))
            await ask(dht, other, Method.PING, Empty())  # the get has reached it
            tap.is_open.set()
            assert (await get).data == b"value"


async def test_the_command_line_puts_through_one_node_and_gets_through_another(
    fleet: Fleet, tmp_path: Path
) -> None:
    nodes = await fleet.grow(4)
    home = ["--home", str(tmp_path / "home")]
    code, _, err = await run_yz(*home, "--node", nodes[0].url, "put", "note", "-", stdin=b"by hand")
    assert code == 0, err
    await nodes[0].kill()
    code, out, err = await run_yz(*home, "--node", nodes[1].url, "get", "note")
    assert (code, out) == (0, b"by hand"), err


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_two_thousand_records_outlive_twenty_rounds_of_kills(fleet: Fleet, note: Note) -> None:
    seed = 20_240_607
    rng = random.Random(seed)
    identity, library = Identity.generate(), Library()
    nodes = await fleet.grow(NODES)
    async with through(nodes[0], identity) as dht:
        await library.fill(dht, 2_000, "long")
    note(f"seed {seed}; {len(library.expected)} records, put: {percentiles(library.put_s)}")
    names = sorted(library.expected)
    for number in range(20):
        dead = rng.sample(nodes, KILLED)
        alive = [node for node in nodes if node not in dead]
        await kill_all(dead)
        library.gets.clear()
        for node in alive:
            async with through(node, identity) as dht:
                await library.check(dht, rng.sample(names, 250))
        note(f"round {number}: get after {KILLED} kills: {percentiles(library.get_s)}")
        await start_all(dead)
        await fleet.settle(nodes)
        async with through(rng.choice(nodes), identity) as dht:
            living = [name for name in names if library.expected[name] is not None]
            await library.overwrite(dht, rng.sample(living, 50), f"round {number}")
            await library.delete(dht, rng.sample(living, 5))
    for node in nodes:
        async with through(node, identity) as dht:
            await library.check(dht)
    note(f"at the end, all {len(names)} through each of {NODES}")
