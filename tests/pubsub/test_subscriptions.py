"""Who is subscribed to what, against a plain set of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.pubsub.kit_host import ASKING, HOSTING, peer, topic
from yzdht.limits import (
    SUBSCRIBERS_PER_TOPIC_MAX,
    SUBSCRIPTIONS_MAX,
    SUBSCRIPTIONS_PER_BRINGER_MAX,
    TOPICS_PER_SESSION_MAX,
)
from yzdht.pubsub.subscriptions import Subscriptions, session_key


if TYPE_CHECKING:
    from yzdht.rpc.engine import Peer


ALICE, BOB = peer(101), peer(102)


def add(subscriptions: Subscriptions, who: Peer, number: int, *, account: bytes = b"a") -> bool:
    return subscriptions.add(who, account, topic(number), 0, is_pushed=True, is_further=False)


@given(st.lists(st.tuples(st.sampled_from("arfd"), st.integers(0, 3), st.integers(0, 3)), max_size=60))
def test_it_holds_what_was_added_and_not_removed(steps: list[tuple[str, int, int]]) -> None:
    subscriptions, model = Subscriptions(), set[tuple[int, int]]()
    for what, who, of in steps:
        match what:
            case "a":
                assert add(subscriptions, peer(who), of)
                model.add((who, of))
            case "r":
                subscriptions.remove(peer(who), topic(of))
                model.discard((who, of))
            case "f":
                subscriptions.forget(topic(of))
                model = {pair for pair in model if pair[1] != of}
            case _:
                dropped = set(subscriptions.drop(peer(who)))
                assert dropped == {topic(of) for w, of in model if w == who}
                model = {pair for pair in model if pair[0] != who}
        for number in range(4):
            there = {subscriber.peer for subscriber in subscriptions.of(topic(number))}
            assert there == {peer(w) for w, o in model if o == number}
            assert subscriptions.has(topic(number)) is bool(there)
        assert len(subscriptions) == len(model)
        assert subscriptions.sessions == len({w for w, _ in model})


def test_a_node_is_one_whatever_its_session_and_a_client_is_not() -> None:
    assert session_key(peer(1, HOSTING, run=1)) == session_key(peer(1, HOSTING, run=2))
    assert session_key(peer(1, ASKING, run=1)) != session_key(peer(1, ASKING, run=2))


def test_a_session_that_moved_is_served_where_it_is() -> None:
    subscriptions = Subscriptions()
    old, new = peer(1, HOSTING, run=1), peer(1, HOSTING, run=2)
    add(subscriptions, old, 0)
    subscriptions.moved(new)
    subscriptions.moved(BOB)

    assert [subscriber.peer for subscriber in subscriptions.of(topic(0))] == [new]


def test_subscribing_again_changes_what_is_wanted_and_counts_once() -> None:
    subscriptions = Subscriptions()
    add(subscriptions, ALICE, 0)
    subscriptions.add(ALICE, b"a", topic(0), 7, is_pushed=False, is_further=False)

    [subscriber] = subscriptions.of(topic(0))
    assert len(subscriptions) == 1
    assert subscriber.pushed == set()
    assert subscriber.told == {topic(0): 7}


@pytest.mark.parametrize("is_further", [True, False])
def test_a_later_page_leaves_what_is_to_be_told(is_further: bool) -> None:  # noqa: FBT001 - a parameter of the test
    subscriptions = Subscriptions()
    add(subscriptions, ALICE, 0)
    [subscriber] = subscriptions.of(topic(0))
    subscriber.changed[topic(0)] = None
    subscriptions.add(ALICE, b"a", topic(0), 7, is_pushed=True, is_further=is_further)

    assert (topic(0) in subscriber.changed) is is_further
    assert subscriber.told[topic(0)] == (0 if is_further else 7)


def test_a_session_a_topic_and_an_address_have_bounds() -> None:
    subscriptions = Subscriptions()

    topics = sum(add(subscriptions, ALICE, n) for n in range(TOPICS_PER_SESSION_MAX + 9))
    members = sum(
        add(subscriptions, peer(200 + n), 10**6, account=n.to_bytes(4))
        for n in range(SUBSCRIBERS_PER_TOPIC_MAX + 9)
    )
    shared = sum(
        add(subscriptions, peer(20_000 + n // 1_000), 2_000_000 + n, account=b"shared")
        for n in range(SUBSCRIPTIONS_PER_BRINGER_MAX + 9)
    )

    assert topics == TOPICS_PER_SESSION_MAX
    assert members == SUBSCRIBERS_PER_TOPIC_MAX
    assert shared == SUBSCRIPTIONS_PER_BRINGER_MAX
    assert len(subscriptions) == topics + members + shared


def test_all_sessions_together_have_a_bound() -> None:
    subscriptions = Subscriptions()
    topics = [topic(number) for number in range(TOPICS_PER_SESSION_MAX)]
    for number in range(SUBSCRIPTIONS_MAX // TOPICS_PER_SESSION_MAX):
        who, account = peer(200 + number), number.to_bytes(4)
        for each in topics:
            subscriptions.add(who, account, each, 0, is_pushed=False, is_further=False)
    before = add(subscriptions, ALICE, 10**6)
    subscriptions.remove(peer(200), topic(0))

    assert not before
    assert add(subscriptions, ALICE, 10**6)
    assert len(subscriptions) == SUBSCRIPTIONS_MAX


def test_what_was_given_up_can_be_had_by_another_of_the_same_address() -> None:
    subscriptions = Subscriptions()
    for n in range(SUBSCRIPTIONS_PER_BRINGER_MAX):
        add(subscriptions, peer(200 + n // 1_000), n)
    before = add(subscriptions, ALICE, 10**6)
    subscriptions.drop(peer(200))

    assert not before
    assert add(subscriptions, ALICE, 10**6)
