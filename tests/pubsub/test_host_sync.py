"""Hosts of one topic: what one of them has all have, through losses, restarts, nearer hosts and hosts that lie."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from tests.pubsub.kit_host import (
    TOPIC,
    Asked,
    Author,
    HostNode,
    World,
    contact,
    peer,
    topic,
)
from yzdht.limits import (
    HANDED_OVER_KEPT_S,
    HOSTS_LOOK_AFTER_S,
    SUMMARY_ROWS_MAX,
    SYNC_EVERY_S,
)
from yzdht.wire.pubsub import Announcement
from yzdht.wire.rpc import Backlog, BacklogPage, Method, Status, SummaryRow


A_WHILE_S = 3 * SYNC_EVERY_S
ALICE = peer(101)


def three(world: World) -> list[HostNode]:
    hosts = [world.host(number) for number in (1, 2, 3)]
    world.meet(1, 2, 3)
    world.run(5.0)
    return hosts


def test_what_one_host_has_the_others_fetch() -> None:
    world = World()
    hosts = three(world)
    author = Author()
    for index in range(10):
        hosts[index % 3].publish(author.envelope(index))
    world.run(A_WHILE_S)

    assert [host.holds(author) for host in hosts] == [list(range(10))] * 3


def test_two_hosts_have_each_what_the_other_has() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    authors = [Author() for _ in range(40)]
    for number, author in enumerate(authors):
        (one, two)[number % 2].publish(author.envelope())
    world.meet(1, 2)
    world.run(A_WHILE_S)

    assert all(host.holds(author) == [0] for host in (one, two) for author in authors)


def test_more_series_than_one_summary_has_are_fetched_too() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    authors = [Author() for _ in range(3 * SUMMARY_ROWS_MAX)]
    for author in authors:
        one.publish(author.envelope())
    world.meet(1, 2)
    world.run(A_WHILE_S)

    assert all(two.holds(author) == [0] for author in authors)


def test_a_host_that_was_away_has_all_when_it_is_back() -> None:
    world = World()
    hosts = three(world)
    author = Author()
    hosts[0].publish(author.envelope(0))
    world.run(A_WHILE_S)
    world.crash(3)
    for index in range(1, 20):
        for host in hosts[:2]:
            host.publish(author.envelope(index))
    world.run(10.0)

    again = world.restart(3)
    again.on_neighbourhood([1, 2])
    world.run(10.0)

    assert again.holds(author) == list(range(20))


def test_a_host_with_an_empty_disk_has_all_once_somebody_subscribes() -> None:
    world = World()
    hosts = [world.host(1), world.host(2)]
    world.meet(1, 2)
    author = Author()
    for host in hosts:
        host.publish(author.envelope())
    world.run(1.0)
    new = world.host(3)
    new.on_neighbourhood([1, 2])
    new.subscribe(ALICE)
    world.run(5.0)

    assert new.holds(author) == [0]


def test_what_was_fetched_is_told_to_subscribers_and_sent_to_none() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    world.meet(1, 2)
    world.run(5.0)
    one.subscribe(ALICE)
    author = Author()
    two.publish(author.envelope())
    world.run(A_WHILE_S)

    assert one.pushed(ALICE) == []
    assert one.announced(ALICE) == [Announcement(((TOPIC, (SummaryRow(*author.series, 0, 1),)),))]


def test_an_idle_topic_is_compared_when_hosts_change_and_not_for_ever() -> None:
    world = World()
    hosts = three(world)
    for host in hosts:
        host.publish(Author().envelope())
    world.run(3 * 3_600.0)
    before = sum(host.asks[Method.TOPIC_SYNC] for host in hosts)
    world.run(3 * 3_600.0)

    assert before > 0
    assert sum(host.asks[Method.TOPIC_SYNC] for host in hosts) == before


def test_a_host_that_does_not_answer_is_asked_again() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    author = Author()
    one.publish(author.envelope())
    world.cut.add(frozenset((one.contact.node_id, two.contact.node_id)))
    world.meet(1, 2)
    world.run(60.0)
    apart = two.holds(author)
    world.cut.clear()
    world.run(SYNC_EVERY_S + 10.0)

    assert apart == []
    assert two.holds(author) == [0]


# Nearer hosts


def test_nearer_hosts_get_the_history_and_the_old_one_forgets_it_an_hour_later() -> None:
    world = World()
    old = world.host(9)
    author = Author()
    for index in range(50):
        old.publish(author.envelope(index))
    world.run(1.0)
    new = [world.host(number) for number in (1, 2, 3)]
    world.meet(1, 2, 3, 9)
    world.run(A_WHILE_S)
    between = old.holds(author)
    world.run(HANDED_OVER_KEPT_S + 60.0)

    assert [host.holds(author) for host in new] == [list(range(50))] * 3
    assert between == list(range(50))
    assert old.holds(author) == []
    assert old.host.topics == 0


@pytest.mark.parametrize("latency_s", [1.0, 4.0])
def test_a_history_is_handed_over_between_hosts_whose_answers_take_long(latency_s: float) -> None:
    world = World(latency_s)
    old = world.host(9)
    author = Author()
    for index in range(50):
        old.publish(author.envelope(index))
    world.run(1.0)
    new = [world.host(number) for number in (1, 2, 3)]
    world.meet(1, 2, 3, 9)
    world.run(HANDED_OVER_KEPT_S + A_WHILE_S)

    assert [host.holds(author) for host in new] == [list(range(50))] * 3
    assert old.host.topics == 0


def test_the_old_host_keeps_everything_while_one_new_host_lacks_something() -> None:
    world = World()
    old = world.host(9)
    author = Author()
    old.publish(author.envelope())
    new = [world.host(number) for number in (1, 2, 3)]
    world.crash(2)
    world.meet(1, 2, 3, 9)
    world.run(5 * HANDED_OVER_KEPT_S)

    assert new[0].holds(author) == [0]
    assert old.holds(author) == [0]


def test_the_old_host_serves_until_it_has_forgotten() -> None:
    world = World()
    old = world.host(9)
    author = Author()
    envelope = author.envelope()
    old.publish(envelope)
    old.subscribe(ALICE, push=False)
    new = [world.host(number) for number in (1, 2, 3)]
    world.meet(1, 2, 3, 9)
    world.run(A_WHILE_S)
    for host in new:
        host.publish(author.envelope(1))
    world.run(A_WHILE_S)

    page = old.ask(ALICE, Backlog(TOPIC, (author.range(0, 2),))).body
    assert isinstance(page, BacklogPage)
    assert page.envelopes[0] == envelope.raw
    assert len(page.envelopes) == 2
    assert old.announced(ALICE)


def test_a_host_that_is_one_again_forgets_nothing() -> None:
    world = World()
    old = world.host(9)
    author = Author()
    old.publish(author.envelope())
    for number in (1, 2, 3):
        world.host(number)
    world.meet(1, 2, 3, 9)
    world.run(A_WHILE_S)
    old.on_neighbourhood([])
    world.run(2 * HANDED_OVER_KEPT_S)

    assert old.holds(author) == [0]


def test_what_is_published_to_a_node_that_is_none_of_the_three_reaches_them() -> None:
    world = World()
    hosts = [world.host(number) for number in (1, 2, 3, 4)]
    world.meet(1, 2, 3, 4)
    author = Author()
    hosts[3].publish(author.envelope())
    world.run(10.0)

    assert [host.holds(author) for host in hosts] == [[0]] * 4


def test_many_changes_of_the_table_are_looked_at_once() -> None:
    world = World()
    host = world.host(1)
    for number in range(100):
        host.subscribe(ALICE, topic(number))
    looks = host.neighbourhood.looks
    for _ in range(50):
        host.on_neighbourhood([2, 3])
        world.run(HOSTS_LOOK_AFTER_S / 100)
    world.run(2.0)

    assert host.neighbourhood.looks == looks + 100


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(1, 3), st.integers(0, 2)),
            st.tuples(st.just("restart"), st.integers(1, 3), st.just(0)),
            st.tuples(st.just("cut"), st.integers(1, 3), st.integers(1, 3)),
            st.tuples(st.just("run"), st.integers(1, 40), st.just(0)),
        ),
        max_size=25,
    )
)
def test_whatever_happens_what_was_acknowledged_is_at_all_hosts_in_the_end(
    steps: list[tuple[str, int, int]],
) -> None:
    world = World()
    for number in (1, 2, 3):
        world.host(number)
    world.meet(1, 2, 3)
    authors = [Author(), Author(), Author()]
    nexts = [0, 0, 0]
    asked: list[tuple[Asked, int, int]] = []
    for what, a, b in steps:
        match what:
            case "publish":
                asked.append((world.hosts[a].publish(authors[b].envelope(nexts[b])), b, nexts[b]))
                nexts[b] += 1
            case "restart":
                world.restart(a).on_neighbourhood(n for n in (1, 2, 3) if n != a)
            case "cut":
                world.cut ^= {frozenset((contact(a).node_id, contact(b).node_id))}
            case _:
                world.run(float(a))
    world.cut.clear()
    world.run(A_WHILE_S)

    held = [[set(host.holds(author)) for author in authors] for host in world.hosts.values()]
    assert held[0] == held[1] == held[2]
    acknowledged = {(b, index) for each, b, index in asked if each.is_answered and each.status is Status.OK}
    assert all(index in held[0][b] for b, index in acknowledged)
