"""Whatever becomes of pushes, announcements and hosts: what a live host holds arrives, once, and in order per sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings, strategies as st

from tests.pubsub.kit_feed import Ear, Host, World, forged, series
from yzdht.pubsub.events import Begins, Lost, Message
from yzdht.pubsub.feed import Start
from yzdht.wire.rpc import Status


if TYPE_CHECKING:
    from yzdht.wire.holdings import Series


HOSTS = (1, 2, 3)
CALLS_MAX = 100
"""At one host in 400 s in which nothing happens any more, whatever it does wrong."""
SENDERS = (series(1, 1), series(1, 2), series(2, 1))

publish = st.tuples(
    st.just("publish"), st.integers(0, 2), st.integers(1, 5), st.sets(st.sampled_from(HOSTS), min_size=1)
)
misfortune = st.tuples(
    st.sampled_from(
        ["die", "live", "silent", "speak", "withhold", "give", "forge", "no push", "refuse", "serve"]
    ),
    st.sampled_from(HOSTS),
)
wait = st.tuples(st.just("wait"), st.sampled_from([0.005, 0.02, 0.3, 1.1, 5.0, 40.0]))
restart = st.tuples(st.just("restart"))
forget = st.tuples(st.just("forget"), st.sampled_from(HOSTS), st.integers(0, 2), st.integers(1, 9))
steps = st.lists(st.one_of(publish, misfortune, wait, restart, forget), max_size=30)


class Story:
    """One run: what happens to the hosts, and one process that listens, perhaps in several lives."""

    def __init__(self, delays: list[float]) -> None:
        self.world = World(*HOSTS)
        turns = iter(range(10**9))
        self.world.delay = lambda: delays[next(turns) % len(delays)]
        self.next = dict.fromkeys(SENDERS, 0)
        self.told: list[Begins | Message | Lost] = []
        self.forgers: set[int] = set()
        self.ear = self.world.listen(Start.ALL)

    def act(self, step: tuple[object, ...]) -> None:
        match step:
            case ("publish", int(sender), int(count), set() as hosts):
                of = SENDERS[sender]
                indexes = range(self.next[of], self.next[of] + count)
                self.next[of] += count
                self.world.publish(of, indexes, *sorted(hosts))
            case ("wait", float(seconds)):
                self.world.run(seconds)
            case ("forget", int(number), int(sender), int(below)):
                self.world.hosts[number].forget(SENDERS[sender], below)
            case ("restart",):
                self.restart()
            case (str(what), int(number)):
                self.befall(what, self.world.hosts[number])
            case _:
                raise AssertionError(step)

    def befall(self, what: str, host: Host) -> None:
        match what:
            case "die" if host.is_up:
                host.die()
            case "live":
                host.live()
            case "silent" | "speak":
                host.is_silent = what == "silent"
            case "withhold":
                host.withholds = lambda index: index % 3 == 1
            case "give":
                host.withholds = lambda _index: False
            case "forge" if not self.forgers - {host.number}:
                host.spoils = forged
                self.forgers.add(host.number)
            case "no push":
                host.never_pushes = not host.never_pushes
            case "refuse" | "serve":
                host.refuses = Status.REFUSED if what == "refuse" else Status.OK
            case _:
                pass

    def restart(self) -> None:
        """The process ends and begins at its cursor."""
        if self.ear.feed.is_settled:
            cursor = self.ear.cursor.encode()
            self.keep(self.ear)
            self.ear.stop()
            self.ear = self.world.listen(cursor)

    def keep(self, ear: Ear) -> None:
        self.told += [event for event in ear.events if isinstance(event, Begins | Message | Lost)]

    def honest(self) -> list[Host]:
        return [
            host
            for host in self.world.hosts.values()
            if host.is_up and not host.is_silent and not host.refuses and host.number not in self.forgers
        ]

    def end(self) -> None:
        self.world.run(60)
        for host in self.world.hosts.values():
            host.asked.clear()
        self.world.run(400)
        self.keep(self.ear)


def told_of(told: list[Begins | Message | Lost], of: Series) -> list[Message | Lost]:
    return [event for event in told if event.series == of and not isinstance(event, Begins)]


def begin_of(told: list[Begins | Message | Lost], of: Series) -> int:
    return next((event.index for event in told if event.series == of and isinstance(event, Begins)), 0)


@settings(deadline=None)
@given(steps, st.lists(st.sampled_from([0.001, 0.01, 0.05, 0.4]), min_size=1, max_size=7))
def test_every_message_that_a_live_host_gives_is_told_once_and_in_order(
    steps: list[tuple[object, ...]], delays: list[float]
) -> None:
    story = Story(delays)
    for step in steps:
        story.act(step)
    story.end()

    for of in SENDERS:
        events = told_of(story.told, of)
        indexes = [event.index for event in events if isinstance(event, Message)]
        in_order = [e.index for e in events if isinstance(e, Message) and not e.is_late]
        given_by_somebody = {
            index
            for host in story.honest()
            for name, index in host.messages
            if name == of and not host.withholds(index)
        }
        assert len(indexes) == len(set(indexes))
        assert in_order == sorted(in_order)
        assert {index for index in given_by_somebody if index >= begin_of(story.told, of)} <= set(indexes)
        assert all(m.data == b"%d" % m.index for m in events if isinstance(m, Message))
    assert all(len(host.asked) <= CALLS_MAX for host in story.world.hosts.values())


@settings(deadline=None)
@given(steps, st.lists(st.sampled_from([0.001, 0.01, 0.05, 0.4]), min_size=1, max_size=7))
def test_whatever_is_not_told_below_what_is_told_was_declared_lost_first(
    steps: list[tuple[object, ...]], delays: list[float]
) -> None:
    story = Story(delays)
    for step in steps:
        story.act(step)
    story.end()

    for of in SENDERS:
        due = begin_of(story.told, of)
        for event in told_of(story.told, of):
            if isinstance(event, Lost):
                assert event.span.start == due
                due = event.span.to
            elif event.is_late:
                assert event.index < due
            else:
                assert event.index == due
                due += 1
