"""How long to wait before something is tried again: as somebody said, or each time twice as long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.rpc.engine import Answer
from yzdht.wire.rpc import Refusal, Status


if TYPE_CHECKING:
    from yzdht.rpc.engine import Failed


_DOUBLED_MAX = 16  # times; a day of tries would be no number any more


def limited(wait_s: float) -> Answer:
    """What is answered to who asks too much: to come again in so many seconds."""
    return Answer(Status.RATE_LIMITED, Refusal(int(wait_s * 1_000) + 1))


def told_s(outcome: Answer | Failed) -> float:
    """After how long one is to ask again, by the answer of `limited`; 0 if it says nothing of that."""
    if not isinstance(outcome, Answer) or outcome.status is not Status.RATE_LIMITED:
        return 0.0
    return outcome.body.number / 1_000 if isinstance(outcome.body, Refusal) else 0.0


def doubled_s(first_s: float, longest_s: float, times: int) -> float:
    """After so many failures, of which the first counts 1."""
    return min(longest_s, first_s * 2.0 ** min(max(0, times - 1), _DOUBLED_MAX))
