"""Strangers flood topics at one of four nodes, and whoever uses these, or others there, loses nothing.

All run in a network where every process has a public prefix of its own choice (internet.py). Two honest clients publish to the
flooded topic and listen to it, one of them in the prefix of some attackers, both through nodes that are flooded. In a process of
their own (others.py) people use other topics through the same nodes, so that what the flood costs them is the nodes' doing: whoever
listens to a flooded public topic verifies all of it. Whatever was acknowledged must come to everybody who listens, in order and once,
also to who comes late; but for what a client says whose part of every history attackers share (`is_neighbour_spared`). Memory and files of
the node are bounded; nothing that the others do fails. The long form says how many times longer they wait than before and after
the flood: all nodes and clients share the machine with it, so that this is no more than a hint, and says how much of the machine
was idle. Three floods that leave nothing of it come again with a quarter as many messages. Attackers get what CPU the rest
leave (SCHED_IDLE).
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from tests.process.broadcast import Speakers
from tests.process.fleet import WITH_HTTP, Spec, percentiles, quantile, start_all, steady_port
from tests.process.flood import Attackers, Plan
from tests.process.internet import own_internet
from tests.process.others import DEEDS, Where
from tests.process.topic_siege import UNREAD, Siege, aimed_at, drawn_for
from tests.process.vitals import MIB
from yzdht import Client, Identity
from yzdht.limits import (
    EDGE_PART_OF_ONE_BRINGER,
    EDGE_TOPICS_MAX,
    HISTORY_BYTES_MAX,
    HISTORY_MESSAGES_MAX,
    HISTORY_PART_OF_ONE_BRINGER,
    IDLE_SESSION_BYTES,
    LINK_UNSENT_BYTES_HIGH,
    PUBSUB_ENVELOPE_BYTES_MAX,
    PUSH_BESIDE_BYTES_MAX,
    TOPIC_HOSTS,
)


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess
    from tests.process.topic_siege import Watched
    from tests.process.vitals import Vitals


pytestmark = pytest.mark.process

NODES = 4
STREET = [f"11.100.0.{number}" for number in range(10, 18)]
"""Addresses of attackers in the prefix where the honest client lives that is called the neighbour."""
NEIGHBOUR, FAR, LATE = "11.100.0.99", "11.200.0.1", "11.202.0.1"
CROWD = [f"11.{110 + number // 250}.{number % 250}.1" for number in range(1_000)]
"""Attackers in as many prefixes."""
OWN_PART = HISTORY_MESSAGES_MAX // HISTORY_PART_OF_ONE_BRINGER
LARGE_BYTES = 60_000
TASKS_MORE_MAX = 16
"""Neither a message nor a subscription has a task of its own."""
UNREAD_BYTES = 1 << 20
"""That wait in the kernel for each subscriber that does not read: the node holds the rest of what it has for it."""
SLACK_BYTES = 32 << 20
"""Caches of messages and keys that fill, SQLite's pages, and what malloc keeps."""
TOPIC_BYTES, SUBSCRIPTION_BYTES = 4_000, 2_000
FILE_SLACK_BYTES = 16 << 20
"""Of the log beside the database, which keeps the size that it once had."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large and long.

    Attributes:
        strangers: Sessions from the crowd where there are many; and a fifth of these from the street.
        per_s: Messages or subscriptions of all of them together.
        large_per_s: Messages where each is large.
        topics: So many are published to, and subscribed to, where they are without end.
        quiet_s: How long it is watched without a flood: before, and in the long form after it too.
        flood_s: And with one, at least.
        every_s: From one message of an honest client to the flooded topic to the next.
        is_timed: Whether times are compared: said, and nothing asserted.

    """

    strangers: int
    per_s: float
    large_per_s: float
    topics: int
    quiet_s: float
    flood_s: float
    every_s: float
    is_timed: bool = False


SHORT = Scale(20, 800, 300, 300, quiet_s=0.3, flood_s=0.5, every_s=0.1)
LONG = Scale(250, 2_000, 200, 10_000, quiet_s=15, flood_s=30, every_s=0.2, is_timed=True)
MILD = replace(LONG, per_s=LONG.per_s / 4)


@dataclass(frozen=True, slots=True)
class Part:
    """Attackers of one kind.

    Attributes:
        kind: Of topic_flood.FLOODS.
        crowd: How many, each from a prefix of its own.
        street: How many from one prefix.
        per_s: Of all of them.
        hosts: At so many of the topic's hosts, the flooded node first.
        size: Bytes of each message.
        is_aimed: True at the flooded topic, False at topics without end.

    """

    kind: str
    crowd: int
    street: int
    per_s: float
    hosts: int = 1
    size: int = 0
    is_aimed: bool = True

    def plans(self, nodes: Sequence[NodeProcess], topic: str) -> list[Plan]:
        per_s = self.per_s / (self.crowd + self.street) / self.hosts
        topics = [topic] if self.is_aimed else []
        return [
            Plan(self.kind, addresses, node.port, count, per_s * count, topics=topics, size=self.size)
            for node in nodes[: self.hosts]
            for addresses, count in ((CROWD, self.crowd), (STREET, self.street))
            if count
        ]


@dataclass(frozen=True, slots=True)
class Case:
    """One flood.

    Attributes:
        name: What it is.
        parts: Who takes part.
        memory_bytes_max: What the node may grow by.
        file_bytes_max: And its files.
        wanted: What the node must say of topics, more than before, before it is over.
        is_kept: True if what the honest said in the flooded topic is all there in the end: it fills no more than its part, and
            who floods is one bringer at each host.
        is_neighbour_spared: False if some of what the neighbour says may be gone before a listener fetched it: attackers have the
            neighbour's part of a history at every host, by his prefix and by the node that he uses: what he says lasts there for
            less than a second, and who was not sent it in that time lacks it. How much that was is said; half of it is a fault.

    """

    name: str
    parts: Sequence[Part]
    memory_bytes_max: int
    file_bytes_max: int
    wanted: Mapping[str, int] = field(default_factory=dict)
    is_kept: bool = False
    is_neighbour_spared: bool = True


def sessions_bytes(count: int) -> int:
    """Each may have so much unsent, and what was added last."""
    unsent = LINK_UNSENT_BYTES_HIGH + 2 * PUSH_BESIDE_BYTES_MAX
    return count * (IDLE_SESSION_BYTES + unsent + 2 * PUBSUB_ENVELOPE_BYTES_MAX)


def cases(scale: Scale) -> list[Case]:
    many, few, per_s, topics = scale.strangers, scale.strangers // 5, scale.per_s, scale.topics
    history, files = SLACK_BYTES + HISTORY_BYTES_MAX, FILE_SLACK_BYTES + 2 * HISTORY_BYTES_MAX
    return [
        Case(
            "messages of throw-away senders",
            [
                Part("messages", many, few, per_s / 2, hosts=TOPIC_HOSTS),
                Part("errands", many, few, per_s / 2),
            ],
            history + sessions_bytes(2 * (many + few)),
            files,
            {"yz_hosted_messages": min(topics, HISTORY_MESSAGES_MAX) // 3},
            is_neighbour_spared=False,
        ),
        Case(
            "subscribers that do not read",
            [
                Part("deaf", many, few, per_s),
                Part("messages", 2, 0, scale.large_per_s, size=LARGE_BYTES),
            ],
            history + sessions_bytes(many + few),
            files,
            {UNREAD: (many + few) * UNREAD_BYTES},
        ),
        Case(
            "throw-away senders of a prefix against a history",
            [Part("messages", 0, 6, scale.large_per_s, hosts=TOPIC_HOSTS, size=LARGE_BYTES)],
            history + HISTORY_BYTES_MAX,
            files,
            {"yz_hosted_bytes": HISTORY_BYTES_MAX - 2 * PUBSUB_ENVELOPE_BYTES_MAX},
            is_kept=True,
        ),
        Case(
            "topics and subscriptions without end",
            [
                Part("messages", max(5, few), few, per_s / 2, is_aimed=False),
                Part("subscriptions", max(5, few), few, per_s / 2, is_aimed=False),
            ],
            SLACK_BYTES + topics * (TOPIC_BYTES + SUBSCRIPTION_BYTES),
            FILE_SLACK_BYTES + topics * TOPIC_BYTES,
            {"yz_hosted_messages": topics, 'yz_topic_subscriptions{of="hosted"}': topics},
        ),
        Case(
            "subscriptions of one client without end",
            [Part("ears", 0, 1, per_s, is_aimed=False)],
            SLACK_BYTES + topics * TOPIC_BYTES,
            FILE_SLACK_BYTES,
            {
                'yz_topic_subscriptions{of="clients"}': min(
                    topics, EDGE_TOPICS_MAX // EDGE_PART_OF_ONE_BRINGER - 10
                )
            },
        ),
    ]


def further_cases(scale: Scale) -> list[Case]:
    """What takes too long for the short form."""
    return [
        Case(
            "messages of throw-away senders by one",
            [Part("messages", 0, 1, scale.per_s)],
            SLACK_BYTES + HISTORY_BYTES_MAX,
            FILE_SLACK_BYTES + 2 * HISTORY_BYTES_MAX,
            is_kept=True,
        ),
        Case(
            "errands of a prefix against what others have brought through the same node",
            [Part("errands", 0, 6, scale.large_per_s, size=LARGE_BYTES)],
            SLACK_BYTES + 2 * HISTORY_BYTES_MAX,
            FILE_SLACK_BYTES + 2 * HISTORY_BYTES_MAX,
            {"yz_hosted_bytes": HISTORY_BYTES_MAX - 2 * PUBSUB_ENVELOPE_BYTES_MAX},
            is_kept=True,
        ),
        Case(
            "throw-away senders of a prefix against a history, by number",
            [Part("messages", 0, 6, scale.per_s, hosts=TOPIC_HOSTS)],
            SLACK_BYTES + HISTORY_BYTES_MAX,
            FILE_SLACK_BYTES + 2 * HISTORY_BYTES_MAX,
            {"yz_hosted_messages": HISTORY_MESSAGES_MAX},
            is_kept=True,
        ),
    ]


@dataclass(slots=True)
class Trial:
    """One flood after the other."""

    siege: Siege
    attackers: Attackers
    note: Note
    scale: Scale
    problems: list[str] = field(default_factory=list)

    async def prove(self, case: Case) -> None:
        """Flood once."""
        siege, scale, began = self.siege, self.scale, time.monotonic()
        unsure = None if case.is_neighbour_spared else siege.people[0]
        async with siege.topic(unsure) as flooded:
            speakers = Speakers(flooded, [(dht, None) for dht in siege.people], scale.every_s, OWN_PART)
            async with speakers:
                before = await siege.watch(scale.quiet_s)
                at_first = await siege.vitals()
                plans = [p for part in case.parts for p in part.plans(siege.nodes, aimed_at(flooded))]
                async with self.attackers.flooding(plans) as tally:
                    under = await siege.watch(scale.flood_s, case.wanted)
                    at_last = await siege.vitals()
                    figures = await siege.figures()
            if case.is_kept:
                await siege.comes_late(flooded, LATE, siege.nodes[-1])
        watched = {"quiet": before, "flood": under}
        if scale.is_timed:
            watched["after"] = await siege.watch(scale.quiet_s)
        self.note(f"{case.name}: {time.monotonic() - began:.1f} s in all")
        for name, each in watched.items():
            self.note(f"  {name}: {each.shown()}")
        self.note(
            f"  {len(flooded.acked)} of {len(flooded.said)} acknowledged in the flooded topic,"
            f" publish {percentiles(flooded.ack_s)}; attackers {dict(tally)}"
        )
        if unsure is not None:
            said = flooded.acknowledged_of(unsure._records().identity.public_key)
            self.note(f"  of {said} messages of the neighbour the listeners lack {siege.lacked}")
            if 2 * max(siege.lacked) >= said:
                self.problems.append(f"{case.name}: of {said} of the neighbour {siege.lacked} never came")
        self.note(f"  {figures}, {at_last.tasks} tasks, {at_last.descriptors} descriptors")
        self._judge_others(case, watched.values())
        self._judge(case, under, at_first, at_last)
        if scale.is_timed:
            self._compare(**watched)

    def _judge_others(self, case: Case, watched: Iterable[Watched]) -> None:
        for each in watched:
            if errors := each.errors():
                self.problems.append(f"{case.name}: {dict(errors)}")

    def _judge(self, case: Case, under: Watched, before: Vitals, after: Vitals) -> None:
        memory = max(under.pss, after.pss) - before.pss
        files = after.database + after.log - before.database - before.log
        self.note(
            f"  memory {memory / MIB:+.1f} MiB of {case.memory_bytes_max / MIB:.0f},"
            f" files {files / MIB:+.1f} of {case.file_bytes_max / MIB:.0f}"
        )
        if memory > case.memory_bytes_max:
            self.problems.append(f"{case.name}: memory grew by {memory:,} B, over {case.memory_bytes_max:,}")
        if files > case.file_bytes_max:
            self.problems.append(f"{case.name}: files grew by {files:,} B, over {case.file_bytes_max:,}")
        if after.tasks > before.tasks + TASKS_MORE_MAX:
            self.problems.append(f"{case.name}: {before.tasks} tasks, then {after.tasks}")

    def _compare(self, quiet: Watched, flood: Watched, after: Watched) -> None:
        """Say how many times longer it took others."""
        slower = [
            f"{what} {'/'.join(f'{slower_by(what, part, quiet, flood, after):.1f}' for part in (0.5, 0.99))}"
            for what in DEEDS
        ]
        self.note(f"  times longer than in quiet, p50/p99: {', '.join(slower)}")


def slower_by(what: str, part: float, quiet: Watched, flood: Watched, after: Watched) -> float:
    usual_s = max(quantile(each.took_s(what), part) for each in (quiet, after))
    return quantile(flood.took_s(what), part) / usual_s


async def start_network(fleet: Fleet) -> list[NodeProcess]:
    """Nodes whose addresses are public, the first of them with a status page."""
    nodes: list[NodeProcess] = []
    for number in range(NODES):
        port = steady_port()
        flags = ["--public-address", f"ws://11.0.{number}.1:{port}", "--type", "infrastructure"]
        flags += ["--trusted-prefix", "11.0.0.0/16"]  # who connects to 11.0.0.1 comes from there, too
        flags += [] if number else WITH_HTTP
        bootstrap = [node.url for node in nodes[:1]]
        nodes.append(fleet.add(Spec(f"n{number}", flags, port, "0.0.0.0", bootstrap)))
        if not number:
            await nodes[0].start()
    await start_all(nodes[1:])
    await fleet.settle(nodes)
    return nodes


@contextlib.asynccontextmanager
async def trial(fleet: Fleet, note: Note, scale: Scale) -> AsyncIterator[Trial]:
    nodes = await start_network(fleet)
    async with contextlib.AsyncExitStack() as stack:
        attackers = await stack.enter_async_context(Attackers(2, "tests.process.topic_flood"))
        where = Where(
            people=[f"ws://{NEIGHBOUR}:{nodes[0].port}", f"ws://{FAR}:{nodes[0].port}"],
            visited=f"ws://11.201.{{}}.1:{nodes[0].port}",
            late=f"ws://{LATE}:{nodes[-1].port}",
            usual=drawn_for(nodes),
            old=drawn_for(nodes),
        )
        others = await stack.enter_async_context(where.process())
        people = [
            await stack.enter_async_context(
                Client.connect(f"ws://{address}:{node.port}", identity=Identity.generate())
            )
            for address, node in ((NEIGHBOUR, nodes[0]), (FAR, nodes[1]))
        ]
        made = Trial(Siege(nodes, people, others), attackers, note, scale)
        yield made
    assert made.problems == []
    await nodes[0].stop()


@pytest.fixture
def internet() -> Iterator[None]:
    with own_internet():
        yield


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("internet")
async def test_whoever_floods_topics_the_honest_lose_nothing(fleet: Fleet, note: Note) -> None:
    async with trial(fleet, note, SHORT) as made:
        for case in cases(SHORT):
            await made.prove(case)


MANY_MESSAGES = {
    "messages of throw-away senders",
    "topics and subscriptions without end",
    "throw-away senders of a prefix against a history, by number",
}
EVERY = [(LONG, case) for case in (*cases(LONG), *further_cases(LONG))]
EVERY += [
    (MILD, replace(case, name=f"{case.name}, a quarter"))
    for case in (*cases(MILD), *further_cases(MILD))
    if case.name in MANY_MESSAGES
]


@pytest.mark.soak
@pytest.mark.timeout(3_000)
@pytest.mark.usefixtures("internet")
@pytest.mark.parametrize(("scale", "case"), EVERY, ids=[case.name for _, case in EVERY])
async def test_while_thousands_flood_topics_nothing_of_the_honest_is_lost(
    fleet: Fleet, note: Note, scale: Scale, case: Case
) -> None:
    async with trial(fleet, note, scale) as made:
        await made.prove(case)
