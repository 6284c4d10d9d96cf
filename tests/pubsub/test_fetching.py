"""What hosts fetch of each other, from hosts that lie, stall, and claim everything, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_host import (
    HOSTING,
    LATENCY_S,
    TOPIC,
    Author,
    HostNode,
    World,
    contact,
    forged,
    node_id,
    peer,
    topic,
)
from yzdht.errors import StoreError
from yzdht.limits import (
    FETCH_SOURCES_MAX,
    HISTORY_MESSAGES_MAX,
    PULL_LATE_S,
    PULL_TURN_S,
    PULLED_TOPICS_MAX,
    SUMMARY_ROWS_MAX,
    SYNC_EVERY_S,
)
from yzdht.rpc.engine import Answer
from yzdht.wire.rpc import Backlog, BacklogPage, Method, Publish, Status, SummaryRow, TopicSync, TopicSynced


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.rpc.engine import Peer
    from yzdht.wire.rpc import Body


A_WHILE_S = 3 * SYNC_EVERY_S
OTHERS = "203.0.113.0/24"


def claims(author: Author, count: int) -> TopicSync:
    return TopicSync(TOPIC, (SummaryRow(*author.series, 0, count),))


def test_a_host_that_claims_what_it_does_not_send_stops_nothing() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    author, invented = Author(), Author()
    two.publish(author.envelope())
    world.run(1.0)
    world.meet(1, 2)
    liar = world.host(3)
    one.ask(peer(3, HOSTING), claims(invented, 2**32 - 1))
    world.run(A_WHILE_S)

    assert one.holds(author) == [0]
    assert one.holds(invented) == []
    assert liar.counts["pubsub_pulled"] == 0


class Liar(HostNode):
    """Answers BACKLOG with what a test says."""

    raws: tuple[bytes, ...] = ()
    served = 0

    def on_request(self, who: Peer, body: Body, on_reply: Callable[[Answer], None]) -> None:
        if isinstance(body, Backlog):
            self.served += 1
            on_reply(Answer(Status.OK, BacklogPage(self.raws)))
        elif isinstance(body, TopicSync):
            on_reply(Answer(Status.OK, TopicSynced()))


def test_a_summary_that_repeats_one_series_is_believed_once() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    author = Author()
    for index in range(0, 900, 2):
        one.publish(author.envelope(index))
        two.publish(author.envelope(index + 1))
    world.run(1.0)
    one.on_neighbourhood([2])
    row = SummaryRow(*author.series, 0, 900, tuple(range(1, 129, 2)))
    one.ask(peer(2, HOSTING), TopicSync(TOPIC, (row,) * SUMMARY_ROWS_MAX))
    world.run(A_WHILE_S)

    assert one.holds(author) == list(range(900))


def test_a_new_host_has_what_lies_below_a_gap_that_is_too_long_for_a_summary() -> None:
    world = World()
    one = world.host(1)
    world.host(2)
    author = Author()
    indexes = [*range(100), *range(300, 320)]
    for index in indexes:
        one.publish(author.envelope(index))
    world.run(1.0)
    world.meet(1, 2)
    world.run(A_WHILE_S)

    assert world.hosts[2].holds(author) == indexes


def fetched_within(seconds: float, *, messages_max: int) -> int:
    """How many messages a host fetches in so many seconds of one that has 900."""
    world = World()
    one, two = world.host(1, messages_max=messages_max), world.host(2)
    author = Author()
    for index in range(900):
        two.publish(author.envelope(index))
    world.run(1.0)
    world.meet(1, 2)
    while not one.counts["pubsub_pulled"]:
        world.run(0.1)
    world.run(seconds)
    return one.counts["pubsub_pulled"]


def test_a_host_whose_history_is_full_fetches_at_leisure_what_pushes_out_the_rest() -> None:
    assert fetched_within(3.0, messages_max=HISTORY_MESSAGES_MAX) == 900
    assert 100 <= fetched_within(3.0, messages_max=100) <= 600


def test_a_forged_message_that_was_fetched_is_not_kept() -> None:
    world = World()
    one = world.host(1)
    author = Author()
    liar = Liar(world, 2, one.disk.after_crash())
    liar.raws = (forged(author.envelope()),)
    world.hosts[2] = liar
    one.on_neighbourhood([2])
    one.ask(peer(2, HOSTING), claims(author, 1))
    world.run(A_WHILE_S)

    assert liar.served > 0
    assert one.holds(author) == []
    assert one.counts["pubsub_forged"] == liar.served


def test_a_stranger_to_the_topic_cannot_hold_all_places_for_fetching() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    for number in range(3, 12):
        world.host(number)
    author = Author()
    two.publish(author.envelope(of=topic(999)))
    one.on_neighbourhood([2, *range(3, 10)])
    far = Liar(world, 50, one.disk.after_crash())
    world.hosts[50] = far
    for number in range(2 * PULLED_TOPICS_MAX):
        row = SummaryRow(*author.series, 0, 1_000_000)
        one.ask(peer(50, HOSTING), TopicSync(topic(number), (row,)))
    two.on_neighbourhood([1])
    world.run(30.0)

    assert one.holds(author, topic(999)) == [0]


def test_topics_that_somebody_made_up_take_no_place() -> None:
    world = World()
    host = world.host(1)
    world.host(50)  # it has nothing
    invented = Author()
    for number in range(1, 500):
        row = SummaryRow(*invented.series, 0, 10)
        host.ask(peer(50, HOSTING), TopicSync(topic(number), (row,)))
        world.run(0.1)
    world.run(10.0)

    assert host.host.topics == 0


def test_topics_of_which_all_is_refused_take_no_place() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    liar = Liar(world, 50, host.disk.after_crash())
    liar.raws = (forged(author.envelope()),)
    world.hosts[50] = liar
    host.ask(peer(50, HOSTING), claims(author, 1))
    world.run(600.0)

    assert host.counts["pubsub_forged"] > 0
    assert host.host.is_quiet
    assert host.host.topics == 0


def test_nobody_ends_a_hand_over_by_a_forged_message() -> None:
    world = World()
    new, old = world.host(1), world.host(2)
    author = Author()
    old.publish(author.envelope())
    world.run(1.0)
    old.on_neighbourhood([1])
    while not new.host.topics:
        world.run(0.005)
    new.ask(peer(300), Publish(forged(Author().envelope())))
    world.run(1.0)

    assert new.holds(author) == [0]


def test_ever_new_nodes_that_claim_something_are_not_all_remembered() -> None:
    world = World()
    host, honest = world.host(1), world.host(2)
    author = Author()
    honest.publish(author.envelope())
    host.on_neighbourhood([2])
    holes = tuple(range(1, 129, 2))
    for number in range(50, 50 + 4 * FETCH_SOURCES_MAX):
        rows = tuple(SummaryRow(*Author(run).series, 0, 130, holes) for run in range(8))
        host.ask(peer(number, HOSTING), TopicSync(TOPIC, rows))
    (puller,) = host.host._fetching._pullers.values()
    strangers = len(puller.sources)
    honest.on_neighbourhood([1])
    world.run(A_WHILE_S)

    assert strangers == FETCH_SOURCES_MAX // 2
    assert host.holds(author) == [0]


def test_of_more_runs_than_a_history_can_have_the_rest_is_not_believed() -> None:
    world = World()
    host = world.host(1)
    holes = tuple(range(1, 129, 2))
    rows = tuple(SummaryRow(*Author(run).series, 0, 130, holes) for run in range(100))
    host.ask(peer(50, HOSTING), TopicSync(TOPIC, rows))
    (puller,) = host.host._fetching._pullers.values()
    (source,) = puller._sources.values()

    assert len(source.claims) == HISTORY_MESSAGES_MAX // (len(holes) + 1)


def test_a_topic_that_is_fetched_for_long_makes_place_for_another() -> None:
    world = World()
    host, other = world.host(1), world.host(2)
    author = Author()
    other.publish(author.envelope(of=topic(999)))
    world.run(1.0)
    host.on_neighbourhood([2, 3])  # 3 never answers
    row = SummaryRow(*Author().series, 0, 1_000)
    for number in range(2 * PULLED_TOPICS_MAX):
        host.ask(peer(3, HOSTING), TopicSync(topic(number), (row,)))
    other.on_neighbourhood([1, 3])
    world.run(3 * SYNC_EVERY_S)

    assert host.holds(author, topic(999)) == [0]


@pytest.mark.parametrize("latency_s", [1.0, 4.0])
def test_a_host_whose_answers_take_long_fills_another_one_all_the_same(latency_s: float) -> None:
    world = World(latency_s)
    new, old = world.host(1), world.host(2)
    author = Author()
    for index in range(20):
        old.publish(author.envelope(index))
    world.run(1.0)
    world.meet(1, 2)
    world.run(SYNC_EVERY_S)

    assert new.holds(author) == list(range(20))
    assert new.asks[Method.BACKLOG] == 1, "what is under way is waited for"


def test_a_node_that_is_gone_is_fetched_from_no_more_until_it_says_something_again() -> None:
    world = World()
    host = world.host(1)
    world.host(2)
    world.crash(2)
    host.on_neighbourhood([2])
    author = Author()
    host.ask(peer(2, HOSTING), claims(author, 5))
    host.ask(peer(50, HOSTING), claims(author, 5))
    (puller,) = host.host._fetching._pullers.values()
    host.leaves(peer(50, HOSTING))
    left = puller.sources
    host.leaves(peer(2, HOSTING))
    is_quiet = host.host._fetching.is_quiet
    world.run(10 * SYNC_EVERY_S)

    assert left == (node_id(2),)
    assert is_quiet
    assert host.host.topics == 0


def test_what_was_not_fetched_as_a_host_went_is_asked_for_when_it_is_back() -> None:
    world = World(1.0)
    new, old = world.host(1), world.host(2)
    author = Author()
    old.publish(author.envelope())
    world.run(1.0)
    old.on_neighbourhood([1])
    new.on_neighbourhood([2])
    while not new.asks[Method.BACKLOG]:
        world.run(0.1)
    new.leaves(peer(2, HOSTING))
    world.run(10.0)

    assert new.holds(author) == [0]


def test_what_nodes_of_one_prefix_bring_is_on_one_account_however_many_they_are() -> None:
    world = World()
    host = world.host(1)
    host.on_neighbourhood(range(2, 10))
    author, invented = Author(), [Author(number) for number in range(50, 54)]
    for index in range(600):
        host.publish(author.envelope(index), peer(101))
    for _ in range(400):
        host.publish(Author().envelope(), peer(102, prefix=OTHERS))
        host.write()
    for number, other in enumerate(invented, 50):
        liar = Liar(world, number, host.disk.after_crash())
        liar.raws = tuple(other.envelope(index).raw for index in range(40))
        world.hosts[number] = liar
        host.ask(peer(number, HOSTING, prefix=OTHERS), claims(other, 40))
    for number in range(1_000, 3_000):
        host.ask(peer(number, HOSTING, prefix=OTHERS), claims(Author(), 1))
    world.run(A_WHILE_S)

    assert host.counts["pubsub_pulled"] == 160
    assert host.holds(author) == list(range(600))


def test_strangers_who_never_answer_leave_a_turn_to_others() -> None:
    world = World()
    host = world.host(1)
    host.on_neighbourhood(range(2, 10))
    author = Author()
    for number in range(PULLED_TOPICS_MAX):  # 50 is not there
        host.ask(peer(50, HOSTING), TopicSync(topic(number), (SummaryRow(*Author().series, 0, 9),)))
    honest = Liar(world, 60, host.disk.after_crash())
    honest.raws = (author.envelope(of=topic(999)).raw,)
    world.hosts[60] = honest
    said = TopicSync(topic(999), (SummaryRow(*author.series, 0, 1),))
    host.ask(peer(60, HOSTING), said)
    early = host.holds(author, topic(999))
    world.run(PULL_TURN_S)
    host.ask(peer(60, HOSTING), said)
    world.run(1.0)

    assert early == []
    assert host.holds(author, topic(999)) == [0]


def test_topics_that_a_silent_host_made_up_take_as_many_places_as_are_fetched_at_most() -> None:
    world = World()
    host = world.host(1)
    host.on_neighbourhood([2])  # which never answers
    row = SummaryRow(*Author().series, 0, 10)
    for number in range(500):
        host.ask(peer(2, HOSTING), TopicSync(topic(number), (row,)))
        world.run(0.5)
    world.run(20 * SYNC_EVERY_S)
    silent = host.host.topics
    host.leaves(peer(2, HOSTING))
    world.run(20 * SYNC_EVERY_S)

    assert silent == PULLED_TOPICS_MAX
    assert host.host.topics == 0


def test_of_topics_that_cannot_be_read_nothing_is_fetched_meanwhile_and_the_others_go_on() -> None:
    world = World()
    host = world.host(1)
    near, stranger = peer(2, HOSTING), peer(3, HOSTING)
    host.on_neighbourhood([2, 3])  # which never answer
    author, topics = Author(), [topic(number) for number in range(1, 5)]
    damaged, whole = topics[:3], topics[3]
    for of in topics:
        for source in (near, stranger):
            host.ask(source, TopicSync(of, (SummaryRow(*author.series, 0, 10),)))
    world.run(0.1)
    asked = host.asks[Method.BACKLOG]
    world.faults.fails = lambda _number, of: of in damaged
    host.host._topics.reread()
    host.leaves(near)

    assert [host.host._fetching.is_fetching(of) for of in topics] == [False] * 3 + [True]
    assert host.asks[Method.BACKLOG] == asked + 1
    assert host.holds(author, whole) == []


@pytest.mark.parametrize("is_answered", [False, True])
def test_a_topic_that_cannot_be_read_as_an_answer_or_the_time_comes_does_not_keep_others_from_theirs(
    *, is_answered: bool
) -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    author = Author()
    damaged, whole = topic(1), topic(2)
    for of in (damaged, whole):
        two.publish(author.envelope(of=of))
    world.run(1.0)
    if not is_answered:
        world.cut.add(frozenset((node_id(1), node_id(2))))
    for of in (damaged, whole):
        one.ask(peer(2, HOSTING), TopicSync(of, (SummaryRow(*author.series, 0, 1),)))
    world.run(1.5 * LATENCY_S)  # what was asked for is on its way
    world.faults.fails = lambda _number, of: of == damaged
    one.host._topics.reread()
    world.run(PULL_LATE_S + 0.1)
    assert [one.host._fetching.is_fetching(of) for of in (damaged, whole)] == [False, not is_answered]
    assert one.holds(author, whole) == [0] * is_answered

    world.faults.fails = lambda _number, _topic: False
    world.cut.clear()
    world.meet(1, 2)
    world.run(A_WHILE_S)
    assert [one.holds(author, of) for of in (damaged, whole)] == [[0], [0]]


def test_a_topic_that_cannot_be_read_as_another_host_names_what_it_holds_is_fetched_no_more() -> None:
    world = World()
    host = world.host(1)
    row = SummaryRow(*Author().series, 0, 10)
    host.on_neighbourhood([2, 3])
    host.ask(peer(2, HOSTING), TopicSync(TOPIC, (row,)))
    hosted = host.host._topics.get(TOPIC)
    assert hosted is not None
    world.faults.fails = lambda _number, of: of == TOPIC
    host.host._topics.reread()
    host.host._fetching.hear(hosted, contact(3), (row,), world.now)

    assert not host.host._fetching.is_fetching(TOPIC)
    with pytest.raises(StoreError):
        host.host._fetching.hear(hosted, contact(3), (row,), world.now)
