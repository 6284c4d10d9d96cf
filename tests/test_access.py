"""What comes back from the replicas, and what a refused write says; tests/test_records.py shows the rest."""

from __future__ import annotations

import pytest

from yzdht.access import Offline, Reading, Writing, refused
from yzdht.errors import NoNode
from yzdht.ids import Target
from yzdht.ports import Now
from yzdht.wire.rpc import Status


NOW = Now(0.0, 1_000.0)


@pytest.mark.parametrize(
    ("answered", "needed", "is_quorum"),
    [(4, 4, True), (8, 4, True), (3, 4, False), (0, 0, False), (1, 0, False)],
)
def test_a_quorum_is_as_many_as_had_to_and_never_where_none_had_to(
    answered: int, needed: int, *, is_quorum: bool
) -> None:
    assert Reading((), answered, needed).is_quorum is is_quorum
    assert Writing(answered, 8, needed, Status.OK, 0).is_quorum is is_quorum


@pytest.mark.parametrize(
    ("refusal", "number", "why", "hint"),
    [
        (Status.OK, 0, "5 are needed", "enough nodes are up"),
        (Status.BUSY, 0, "(busy)", "the nodes have too much to do"),
        (Status.BAD_LIFETIME, 700, "your clock is 300 s fast", "set this machine's clock"),
        (Status.BAD_LIFETIME, 1_300, "your clock is 300 s slow", "set this machine's clock"),
        (Status.OVER_QUOTA, 0, "(over quota)", "delete what is no longer needed"),
        (Status.RATE_LIMITED, 250, "(rate limited)", "wait 250 ms"),
    ],
)
def test_a_refused_write_says_why_and_what_to_do(refusal: Status, number: int, why: str, hint: str) -> None:
    error = refused(Writing(2, 8, 5, refusal, number), NOW)

    assert why in str(error)
    assert hint in error.hint
    assert (error.answered, error.needed, error.asked) == (2, 5, 8)


async def test_without_a_way_to_nodes_nothing_is_asked_and_nothing_is_left_begun() -> None:
    offline, done = Offline(lambda: NOW), []

    async def work() -> None:
        done.append("asked")

    with pytest.raises(NoNode):
        await offline.read([Target(bytes(32))])
    with pytest.raises(NoNode):
        await offline.write(Target(bytes(32)), b"", None, 0)
    offline.start(work())
    offline.count("anything")

    assert done == []
    assert await offline.compute(lambda: 7) == 7
    assert offline.now() == NOW
