from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from yzdht.rpc.engine import (
    Answer,
    Call,
    Cancel,
    Drop,
    Failed,
    FailReason,
    Find,
    Outgoing,
    Persist,
    Push,
    Reply,
)
from yzdht.wire.rpc import Empty, Status


def test_outgoing_is_the_closed_union_of_the_house() -> None:
    assert set(get_args(Outgoing)) == {Call, Cancel, Reply, Push, Persist, Find, Drop}


def test_failures_have_the_names_that_counters_use() -> None:
    names = {reason.value for reason in FailReason}

    assert names == {"unreachable", "timeout", "closed", "wrong_id", "busy", "garbage"}


def test_what_engines_are_told_cannot_be_changed() -> None:
    answer = Answer(Status.OK, Empty())

    with pytest.raises(FrozenInstanceError):
        answer.status = Status.BUSY  # type: ignore[misc]  # that is the point
    assert Failed(FailReason.BUSY) == Failed(FailReason.BUSY)
