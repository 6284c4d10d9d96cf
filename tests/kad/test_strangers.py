from __future__ import annotations

from dataclasses import replace

import pytest

from tests.kad.kit import node_id, peer
from yzdht.kad.strangers import Strangers
from yzdht.limits import SESSIONS_MAX, SOFT_DEADLINE_S_MAX, SOFT_DEADLINE_S_MIN, SOFT_DEADLINE_S_UNKNOWN


ONE, OTHER = node_id(1), node_id(2)
PEER = replace(peer(1), host="9.9.9.7", prefix="9.9.9.0/24")


def test_a_stranger_is_expected_within_the_unknown_time_before_any_has_answered() -> None:
    assert Strangers().expected_of(ONE) == SOFT_DEADLINE_S_UNKNOWN


def test_one_estimate_serves_all_strangers() -> None:
    strangers = Strangers()
    for _ in range(200):
        strangers.took(0.01)

    assert strangers.expected_of(ONE) == strangers.expected_of(OTHER)
    assert strangers.expected_of(ONE) == pytest.approx(SOFT_DEADLINE_S_MIN)


def test_slow_answers_do_not_make_lookups_wait_for_them() -> None:
    """One in fourteen takes ten seconds, by accident or on purpose: a mean and its deviation would run away."""
    strangers = Strangers()
    for number in range(1, 1_400):
        strangers.took(10.0 if number % 14 == 0 else 0.06)

    assert 0.06 < strangers.expected_s < SOFT_DEADLINE_S_UNKNOWN


def test_however_slow_all_strangers_are_the_wait_is_bounded() -> None:
    strangers = Strangers()
    for _ in range(200):
        strangers.took(600.0)

    assert strangers.expected_s == pytest.approx(SOFT_DEADLINE_S_MAX)


def test_a_linked_stranger_has_its_own_time_and_prefix_until_its_session_ends() -> None:
    strangers = Strangers()
    strangers.linked(PEER)
    strangers.answered(ONE, 0.07)
    strangers.answered(OTHER, 0.07)
    assert (strangers.expected_of(ONE), strangers.prefix_of(ONE)) == (0.07, "9.9.9.0/24")
    assert (strangers.host_of(ONE), strangers.host_of(OTHER)) == ("9.9.9.7", "")
    assert (strangers.expected_of(OTHER), strangers.prefix_of(OTHER)) == (SOFT_DEADLINE_S_UNKNOWN, None)

    assert (strangers.peer_of(ONE), strangers.peer_of(OTHER)) == (PEER, None)

    strangers.unlinked(ONE)

    assert (strangers.expected_of(ONE), strangers.prefix_of(ONE)) == (SOFT_DEADLINE_S_UNKNOWN, None)


def test_linked_strangers_are_bounded() -> None:
    strangers = Strangers()
    for number in range(SESSIONS_MAX + 1):
        strangers.linked(replace(PEER, node_id=node_id(number)))

    assert strangers.prefix_of(node_id(0)) is None
    assert strangers.prefix_of(node_id(1)) is not None
