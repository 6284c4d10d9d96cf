"""Who makes room where too much waits, beside a plain search."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.pubsub.kit_feed import series
from yzdht.limits import WAITING_BYTES_MAX, WAITING_CROWD_PART, WAITING_MESSAGES_MAX
from yzdht.pubsub.waiting_room import WaitingRoom


if TYPE_CHECKING:
    from yzdht.ids import PublicKey
    from yzdht.wire.holdings import Series


LEAST = WAITING_BYTES_MAX // WAITING_MESSAGES_MAX
MUCH = WAITING_BYTES_MAX // WAITING_CROWD_PART
SIZES = st.sampled_from((0, 200, LEAST, 2 * LEAST, MUCH, 10 * LEAST + 1))


class WaitingRoomMachine(RuleBasedStateMachine):
    """Messages that come and go; who is to pay is searched among all."""

    def __init__(self) -> None:
        super().__init__()
        self.room = WaitingRoom()
        self.waiting: list[tuple[Series, int]] = []
        self.heard: set[PublicKey] = set()

    @rule(
        sender=st.integers(1, 6),
        session=st.integers(0, 2),
        size=SIZES,
        is_heard=st.booleans(),
        count=st.sampled_from((1, 1, 3, 90)),
    )
    def comes(self, sender: int, session: int, size: int, count: int, *, is_heard: bool) -> None:
        of = series(sender, session)
        for _ in range(count):
            self.room.enter(of, size, is_heard=is_heard)
            self.waiting.append((of, size))
        if is_heard:
            self.heard.add(of.sender)

    @rule(pick=st.integers(0, 10_000), count=st.sampled_from((1, 1, 60)))
    def goes(self, pick: int, count: int) -> None:
        for _ in range(min(count, len(self.waiting))):
            of, size = self.waiting.pop(pick % len(self.waiting))
            self.room.leave(of, size)
            self.heard &= {of.sender for of, _ in self.waiting}

    @rule(sender=st.integers(1, 7))
    def is_told(self, sender: int) -> None:
        key = series(sender).sender
        self.room.heard(key)
        if any(of.sender == key for of, _ in self.waiting):
            self.heard.add(key)

    @precondition(lambda self: self.waiting)
    @rule()
    def who_pays(self) -> None:
        weights: Counter[PublicKey] = Counter()
        for of, size in self.waiting:
            weights[of.sender] += max(size, LEAST)
        able = [sender for sender in weights if weights[sender] > MUCH]
        able = able or [sender for sender in weights if sender not in self.heard] or list(weights)
        payer = self.room.payer()
        assert weights[payer.sender] == max(weights[sender] for sender in able)
        assert payer.sender in able
        assert payer in {of for of, _ in self.waiting}

    @invariant()
    def it_counts(self) -> None:
        weight = sum(max(size, LEAST) for _, size in self.waiting)
        assert len(self.room) == len(self.waiting)
        assert self.room.is_over == (weight > WAITING_BYTES_MAX)
        assert len(self.room._most) <= 2 * 6 + 65


TestWaitingRoom = WaitingRoomMachine.TestCase
TestWaitingRoom.settings = settings(stateful_step_count=40, deadline=None)


def test_it_is_over_at_so_many_messages_or_bytes() -> None:
    for size, count in ((100, WAITING_MESSAGES_MAX), (60_000, WAITING_BYTES_MAX // 60_000)):
        room = WaitingRoom()
        for number in range(count):
            room.enter(series(1, number), size, is_heard=True)
        assert not room.is_over
        room.enter(series(2), size, is_heard=False)
        assert room.is_over
