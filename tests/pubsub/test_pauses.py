"""How long to wait before something is tried again."""

from __future__ import annotations

import pytest

from yzdht.pubsub.pauses import doubled_s, limited, told_s
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.wire.rpc import Empty, Refusal, Status


@pytest.mark.parametrize("wait_s", [0.001, 0.5, 7.25])
def test_who_is_told_to_wait_knows_for_how_long_and_not_for_less(wait_s: float) -> None:
    assert wait_s <= told_s(limited(wait_s)) <= wait_s + 0.002


@pytest.mark.parametrize(
    "outcome",
    [
        Failed(FailReason.TIMEOUT),
        Answer(Status.OVER_QUOTA, Refusal(4_000)),
        Answer(Status.RATE_LIMITED, Empty()),
    ],
)
def test_others_say_nothing_of_it(outcome: Answer | Failed) -> None:
    assert told_s(outcome) == 0.0


def test_each_pause_is_twice_as_long_up_to_the_longest_however_many_there_were() -> None:
    assert [doubled_s(0.5, 3.0, times) for times in range(6)] == [0.5, 0.5, 1.0, 2.0, 3.0, 3.0]
    assert doubled_s(0.25, 2.0, 1_000_000) == 2.0
