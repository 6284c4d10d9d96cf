"""Who makes room where too much waits, beside a plain search."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.pubsub.kit_feed import series
from yzdht.limits import WAITING_BYTES_MAX, WAITING_FEW, WAITING_HEARD_MAX, WAITING_MESSAGES_MAX
from yzdht.pubsub.waiting_room import WaitingRoom


if TYPE_CHECKING:
    from yzdht.ids import PublicKey
    from yzdht.wire.holdings import Series


LEAST = WAITING_BYTES_MAX // WAITING_MESSAGES_MAX
FEW = WAITING_FEW * LEAST
SIZES = st.sampled_from((0, 200, LEAST, 2 * LEAST, FEW, 10 * LEAST + 1))


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
        count=st.sampled_from((1, 1, 3, 20)),
    )
    def comes(self, sender: int, session: int, size: int, count: int) -> None:
        of = series(sender, session)
        for _ in range(count):
            self.room.enter(of, size)
            self.waiting.append((of, size))

    @rule(pick=st.integers(0, 10_000), count=st.sampled_from((1, 1, 60)))
    def goes(self, pick: int, count: int) -> None:
        for _ in range(min(count, len(self.waiting))):
            of, size = self.waiting.pop(pick % len(self.waiting))
            self.room.leave(of, size)

    @rule(sender=st.integers(1, 7))
    def is_told(self, sender: int) -> None:
        self.room.heard(series(sender).sender)
        self.heard.add(series(sender).sender)

    @precondition(lambda self: self.waiting)
    @rule()
    def who_pays(self) -> None:
        weights: Counter[PublicKey] = Counter()
        for of, size in self.waiting:
            weights[of.sender] += max(size, LEAST)
        able = [sender for sender in weights if weights[sender] > FEW]
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
            room.enter(series(1, number), size)
        assert not room.is_over
        room.enter(series(2), size)
        assert room.is_over


def test_so_many_senders_are_remembered_to_have_been_heard() -> None:
    room = WaitingRoom()
    for number in range(WAITING_HEARD_MAX + 100):
        room.heard(series(number).sender)
    assert len(room._heard) == WAITING_HEARD_MAX
