"""Topics on one, two and three real nodes; subscribers who were away for a while, or for too long; senders who are killed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.broadcast import Hearer, Topic
from tests.process.clocks import Clock
from tests.process.fleet import PATIENCE_S, Spec, kill_all, start_all, steady_port, through, until
from tests.sessions.kit import Time
from yzdht import Client, Identity, Node
from yzdht.limits import DAY_S, HISTORY_MESSAGES_MAX, HOUR_S
from yzdht.pubsub.events import Message


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess


pytestmark = pytest.mark.process

GROUP = "ours"
LIVES = 5
SPOKEN_PER_LIFE = 20
TOGETHER = 64
"""Messages that a program publishes at once."""


def drawn() -> Topic:
    return Topic(f"topic-{secrets.token_hex(12)}")


async def say(topic: Topic, dht: Client | Node, count: int, group: str | None = None) -> None:
    """Publish so many, one after the other; each is acknowledged."""
    for _ in range(count):
        await topic.publish(dht, group)
    assert topic.failures == []


async def hear_all(hearer: Hearer) -> None:
    await until(has_all(hearer), f"{hearer.name} hears everything")


def has_all(hearer: Hearer) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return not hearer.missing()

    return holds


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_publishing_works_with_so_few_nodes(fleet: Fleet, count: int) -> None:
    nodes, topic = await fleet.grow(count), drawn()
    async with contextlib.AsyncExitStack() as stack:
        speaker = await stack.enter_async_context(through(nodes[0], Identity.generate()))
        other = await stack.enter_async_context(through(nodes[-1], Identity.generate()))
        live = Hearer("live", topic)
        await live.listen(other)
        published = await topic.publish(speaker)
        assert published is not None
        assert published.hosts == count
        assert published.stored >= count // 2 + 1
        await say(topic, speaker, 20)
        await say(topic, other, 20)
        await hear_all(live)
        await live.rest()
        late = Hearer("late", topic)
        await late.listen(speaker, DAY_S)
        await hear_all(late)
        await late.rest()
    assert len(live.messages) == len(late.messages) == 41


async def test_a_node_alone_publishes_to_itself_and_hears_it() -> None:
    topic = drawn()
    async with Node(0, host="127.0.0.1", identity=Identity.generate()) as node:
        live, late = Hearer("live", topic), Hearer("late", topic)
        await live.listen(node)
        await say(topic, node, 20)
        await late.listen(node, DAY_S)
        for hearer in (live, late):
            await hear_all(hearer)
            await hearer.rest()
            hearer.check()
            assert len(hearer.messages) == 20


async def grow(fleet: Fleet, clock: Clock, count: int) -> list[NodeProcess]:
    """Nodes that know each other and go by a clock that a test sets."""
    first = await fleet.start(Spec("n0", port=steady_port(), before=clock.before))
    others = [
        fleet.add(Spec(f"n{n}", port=steady_port(), bootstrap=[first.url], before=clock.before))
        for n in range(1, count)
    ]
    await start_all(others)
    await fleet.settle([first, *others])
    return [first, *others]


@pytest.mark.parametrize("count", [1, 3])
async def test_who_was_away_for_an_hour_catches_up_although_all_hosts_were_killed(
    fleet: Fleet, tmp_path: Path, count: int
) -> None:
    clock, time, topic = Clock(tmp_path / "clock"), Time(), drawn()
    nodes = await grow(fleet, clock, count)
    hearer, hearer_id = Hearer("away", topic), Identity.generate()
    async with Client([nodes[0].url], identity=Identity.generate(), clock=time) as speaker:
        async with Client([nodes[-1].url], identity=hearer_id, clock=time) as dht:
            await hearer.listen(dht)
            await say(topic, speaker, 20)
            await hear_all(hearer)
            await hearer.rest()
        await say(topic, speaker, 50)
    clock.set(HOUR_S)
    time.set_wall_ahead(HOUR_S)
    await kill_all(nodes)
    await start_all(nodes)
    await fleet.settle(nodes)
    async with Client([nodes[0].url], identity=hearer_id, clock=time) as dht:
        await hearer.listen(dht)
        await hear_all(hearer)
        async with Client([nodes[-1].url], identity=Identity.generate(), clock=time) as speaker:
            await say(topic, speaker, 10)
        await hear_all(hearer)
        await hearer.rest()
    hearer.check()
    assert len(hearer.messages) == 80
    assert not hearer.gaps
    assert all(message.is_history for message in hearer.messages[20:70])
    assert hearer.messages[-1].created - hearer.messages[69].created >= HOUR_S - 1


@pytest.mark.parametrize("change", ["new secrets", "somebody joins"])
async def test_a_member_who_was_away_over_three_epochs_catches_up_on_all_messages(
    fleet: Fleet, tmp_path: Path, change: str
) -> None:
    nodes, topic = await fleet.grow(3), drawn()
    async with contextlib.AsyncExitStack() as stack:
        speaker = await stack.enter_async_context(Client.connect(nodes[0].url, home=tmp_path / "speaker"))
        groups = speaker.records.groups
        await groups.create(GROUP)
        hearer = Hearer("away", topic, GROUP)
        async with Client.connect(nodes[1].url, home=tmp_path / "hearer") as dht:
            await dht.records.people.publish()
            await groups.add(GROUP, dht.identity.public_key)
            await dht.records.groups.adopt(GROUP, groups.group_key(GROUP))
            await hearer.listen(dht)
            await say(topic, speaker, 5, GROUP)
            await hear_all(hearer)
            await hearer.rest()
        for _ in range(3):
            if change == "new secrets":
                await groups.rotate(GROUP)
            else:
                other = await stack.enter_async_context(through(nodes[2], Identity.generate()))
                await other.records.people.publish()
                await groups.add(GROUP, other.identity.public_key)
            await say(topic, speaker, 5, GROUP)
        async with Client.connect(nodes[2].url, home=tmp_path / "hearer") as dht:
            await hearer.listen(dht)
            await say(topic, speaker, 5, GROUP)
            await hear_all(hearer)
            await hearer.rest()
    hearer.check()
    assert len(hearer.messages) == 25
    assert not hearer.lost


async def test_a_member_that_learns_of_an_epoch_late_is_told_all_that_was_said_in_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    nodes, topic = await fleet.grow(3), drawn()
    async with (
        Client.connect(nodes[0].url, home=tmp_path / "speaker") as speaker,
        Client.connect(nodes[1].url, home=tmp_path / "hearer") as dht,
    ):
        groups, hearer = speaker.records.groups, Hearer("member", topic, GROUP)
        await groups.create(GROUP)
        await dht.records.people.publish()
        await groups.add(GROUP, dht.identity.public_key)
        await dht.records.groups.adopt(GROUP, groups.group_key(GROUP))
        await hearer.listen(dht)
        await groups.rotate(GROUP)
        await say(topic, speaker, 1, GROUP)
        await hear_all(hearer)  # it has looked at the group a moment ago, and does not do so at once again
        await groups.rotate(GROUP)
        for _ in range(HISTORY_MESSAGES_MAX // TOGETHER):
            await asyncio.gather(*(topic.publish(speaker, GROUP) for _ in range(TOGETHER)))
        await hear_all(hearer)
        await hearer.rest()
    assert topic.failures == []
    hearer.check()
    assert not hearer.lost


async def test_who_was_away_for_two_days_is_told_what_is_gone(fleet: Fleet, tmp_path: Path) -> None:
    clock, time, topic = Clock(tmp_path / "clock"), Time(), drawn()
    nodes = await grow(fleet, clock, 3)
    hearer, hearer_id = Hearer("away", topic), Identity.generate()
    async with Client([nodes[0].url], identity=Identity.generate(), clock=time) as speaker:
        async with Client([nodes[0].url], identity=hearer_id, clock=time) as dht:
            await hearer.listen(dht)
            await say(topic, speaker, 20)
            await hear_all(hearer)
            await hearer.rest()
        await say(topic, speaker, 20)  # nobody hears these
        gone = set(topic.acked[20:])
        clock.set(2 * DAY_S)
        time.set_wall_ahead(2 * DAY_S)
        await kill_all(nodes)
        await start_all(nodes)
        await fleet.settle(nodes)
        await say(topic, speaker, 5)
        async with Client([nodes[-1].url], identity=hearer_id, clock=time) as dht:
            await hearer.listen(dht)

            async def is_told() -> (
                bool
            ):  # as lost at once, where hosts say that they had it, or as missing first
                return bool(hearer.gaps["gap"] or hearer.lost)

            async def is_heard() -> bool:
                return hearer.missing() <= gone

            async def is_heard_in_time() -> bool:
                await time.advance(1.0)  # no more at once: it would count as stopped, or hosts as silent
                return await is_heard()

            await until(is_told, "something is missing or lost")
            await until(is_heard_in_time, "what is there is heard")
            await say(topic, speaker, 5)
            await until(is_heard, "what comes then is heard")
            await hearer.rest()
    assert hearer.missing() == gone
    assert [(lost.span.start, lost.span.to) for lost in hearer.lost] == [(20, 40)]
    assert [message.index for message in hearer.messages] == [*range(20), *range(40, 50)]
    assert not any(message.is_late for message in hearer.messages)


async def test_a_sender_that_is_killed_again_and_again_loses_nothing_and_makes_no_gap(
    fleet: Fleet, tmp_path: Path, note: Note
) -> None:
    nodes, topic = await fleet.grow(3), drawn()
    acked: list[str] = []
    async with through(nodes[1], Identity.generate()) as dht:
        subscription = dht.subscribe(topic.name, gaps=True)
        async with subscription as events:
            for life in range(LIVES):
                acked += await speak(nodes[life % 3], tmp_path / "home", topic.name, life)
            told: list[Message] = []
            async with asyncio.timeout(PATIENCE_S):
                while not set(acked) <= {message.data.decode() for message in told}:
                    event = await anext(events)
                    assert isinstance(event, Message), event
                    told.append(event)
    texts = [message.data.decode() for message in told]
    assert len(texts) == len(set(texts))
    for life in range(LIVES):
        of_life = [message for message in told if message.data.startswith(b"%d/" % life)]
        assert [message.index for message in of_life] == list(range(len(of_life)))
        assert [message.data for message in of_life] == [b"%d/%d" % (life, i) for i in range(len(of_life))]
        assert len({message.series for message in of_life}) == 1
    assert len({message.series.sender for message in told}) == 1
    note(f"{LIVES} lives of a sender, {len(acked)} acknowledged, {len(told)} heard")


async def speak(node: NodeProcess, home: Path, topic: str, life: int) -> list[str]:
    """Have a program publish, and kill it while it does: what it was told is stored."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("speaker.py")),
        *(node.url, str(home), topic, str(life)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            lines = [await process.stdout.readline() for _ in range(SPOKEN_PER_LIFE)]
    finally:
        process.send_signal(signal.SIGKILL)
    lines += (await process.stdout.read()).splitlines()
    await process.wait()
    return [f"{life}/{int(line)}" for line in lines if line.strip()]
