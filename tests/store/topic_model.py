"""The rules of histories again, as plainly as they can be said: no sums, no indexes, everything is looked at every time."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import FLOOR_KEPT_S, FORGET_ROWS_MAX
from yzdht.wire.history import Conflicting, Forgotten, Kept, KnownAlready, Over, account_of
from yzdht.wire.slot import OverQuota


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.ids import TopicId
    from yzdht.store.history_policy import HistoryQuotas
    from yzdht.wire.history import TopicVerdict, TopicWrite
    from yzdht.wire.holdings import Series

    Key = tuple[TopicId, Series]


class Held(NamedTuple):
    number: int
    write: TopicWrite

    @property
    def key(self) -> Key:
        return self.write.topic, self.write.series

    @property
    def size(self) -> int:
        return len(self.write.envelope)


def owners(held: Held) -> list[tuple[TopicId, bytes, bytes]]:
    write = held.write
    payer = account_of(write.bringer)
    return [(write.topic, payer, b""), (write.topic, payer, write.sender)]


class Model:
    def __init__(self, quotas: HistoryQuotas) -> None:
        self.quotas = quotas
        self.held: list[Held] = []
        self.floors: dict[Key, int] = {}  # in the order in which series began
        self.changed: dict[Key, tuple[int, int]] = {}  # number and time of the last message
        self.opened_by: dict[TopicId, bytes] = {}
        self.since: dict[
            tuple[TopicId, bytes, bytes], int
        ] = {}  # since when somebody has something, without a break
        self.count = 0

    # What is there

    def of_topic(self, topic: TopicId) -> list[Held]:
        return [each for each in self.held if each.write.topic == topic]

    def of_series(self, key: Key) -> list[Held]:
        return sorted((each for each in self.held if each.key == key), key=lambda each: each.write.index)

    def series_of(self, topic: TopicId) -> list[Key]:
        """The one that got a message last is the last."""
        return sorted((key for key in self.floors if key[0] == topic), key=lambda key: self.changed[key])

    # What is done

    def put(self, write: TopicWrite) -> TopicVerdict:
        key = (write.topic, write.series)
        if write.index < self.floors.get(key, 0):
            return Over()
        for each in self.of_series(key):
            if each.write.index == write.index:
                return KnownAlready() if each.write.id == write.id else Conflicting(each.write.id)
        lowest = min((each.write.index for each in self.of_series(key)), default=None)
        before = (
            copy(self.held),
            copy(self.floors),
            copy(self.changed),
            copy(self.opened_by),
            copy(self.since),
        )
        verdict, is_out = self._put_in(write)
        if verdict is None:
            self.held, self.floors, self.changed, self.opened_by, self.since = before
            if is_out and lowest is not None and write.index < lowest:
                self.floors[key] = write.index + 1
                return Over()
            return OverQuota()
        return verdict

    def _put_in(self, write: TopicWrite) -> tuple[Kept | None, bool]:
        key = (write.topic, write.series)
        if write.topic not in self.opened_by:
            mine = sum(1 for by in self.opened_by.values() if by == write.bringer)
            if len(self.opened_by) >= self.quotas.topics or mine >= max(1, self.quotas.topics // 4):
                return None, False
            self.opened_by[write.topic] = write.bringer
        if key not in self.floors:
            if len(self.series_of(write.topic)) >= self.quotas.series:
                self._forget(next(k for k in self.series_of(write.topic) if not self.of_series(k)))
            self.floors[key] = 0
        bytes_before, own_before = self._bytes(self.held), self._bytes(self._of(self.held, write.bringer))
        self.count += 1
        new = Held(self.count, write)
        self.held.append(new)
        for owner in owners(new):
            self.since.setdefault(owner, self.count)
        self.changed[key] = (self.count, max(write.received, self.changed.get(key, (0, 0))[1]))
        dropped = self._make_room(new)
        if new in dropped:
            return None, True
        total, own = self._bytes(self.held), self._bytes(self._of(self.held, write.bringer))
        if total > max(bytes_before, self.quotas.total_bytes):
            return None, False
        if own > max(own_before, self.quotas.total_bytes // 4):
            return None, False
        return Kept(tuple((each.write.series, each.write.index) for each in dropped)), False

    def _make_room(self, new: Held) -> list[Held]:
        dropped: list[Held] = []
        while True:
            there = self.of_topic(new.write.topic)
            if len(there) > self.quotas.messages:
                victim = self._victim(new, there, len)
            elif self._bytes(there) > self.quotas.bytes:
                victim = self._victim(new, there, self._bytes)
            else:
                return dropped
            self.held.remove(victim)
            self._look_who_is_there()
            self.floors[victim.key] = victim.write.index + 1
            dropped.append(victim)
            if victim == new:
                return dropped

    def _victim(self, new: Held, there: list[Held], measure: Callable[[list[Held]], int]) -> Held:
        payer = account_of(new.write.bringer)
        mine = self._by(there, payer)
        is_greedy = len(mine) > self.quotas.messages // 4 or self._bytes(mine) > self.quotas.bytes // 4
        if not is_greedy:
            bringers = {account_of(each.write.bringer) for each in there}
            payer = max(bringers, key=lambda by: self._rank(self._by(there, by), measure, by, b""))
        own = self._by(there, payer)
        lowest = {key: self.of_series(key)[0] for key in self.floors if self.of_series(key)}
        low_senders = {e.write.sender for e in lowest.values() if e in own}
        senders = low_senders or {e.write.sender for e in own}
        if not low_senders and is_greedy:
            return lowest[new.key]
        sender = max(
            senders, key=lambda s: self._rank([e for e in own if e.write.sender == s], measure, payer, s)
        )
        candidates = [
            each
            for key, each in lowest.items()
            if key[0] == new.write.topic and each.write.sender == sender and (each in own or not low_senders)
        ]
        return candidates[0]

    def _rank(
        self, messages: list[Held], measure: Callable[[list[Held]], int], by: bytes, sender: bytes
    ) -> tuple[int, int]:
        """Most first; of equals whoever came first."""
        return measure(messages), -self.since[messages[0].write.topic, by, sender]

    def _look_who_is_there(self) -> None:
        there = {owner for each in self.held for owner in owners(each)}
        self.since = {owner: number for owner, number in self.since.items() if owner in there}

    def _by(self, messages: Iterable[Held], payer: bytes) -> list[Held]:
        return [each for each in messages if account_of(each.write.bringer) == payer]

    def _of(self, messages: Iterable[Held], bringer: bytes) -> list[Held]:
        return [each for each in messages if each.write.bringer == bringer]

    def _bytes(self, messages: Iterable[Held]) -> int:
        return sum(each.size for each in messages)

    def _forget(self, key: Key) -> None:
        del self.floors[key], self.changed[key]
        if not self.series_of(key[0]):
            del self.opened_by[key[0]]

    def forget_topic(self, topic: TopicId) -> Forgotten:
        dropped = self.of_topic(topic)
        self.held = [each for each in self.held if each.write.topic != topic]
        for key in self.series_of(topic):
            self._forget(key)
        self._look_who_is_there()
        return Forgotten(len(dropped))

    def forget_before(self, wall: int) -> Forgotten:
        """For less than a page."""
        old: dict[Key, int] = {}
        for each in self.held:
            if each.write.received < wall:
                old[each.key] = max(each.write.index, old.get(each.key, 0))
        leaving = [each for each in self.held if each.write.index <= old.get(each.key, -1)]
        self.held = [each for each in self.held if each not in leaving]
        self._look_who_is_there()
        for key, index in old.items():
            self.floors[key] = index + 1
        for key in [key for key in self.floors if not self.of_series(key)]:
            if self.changed[key][1] < wall - FLOOR_KEPT_S:
                self._forget(key)
        assert len(leaving) < FORGET_ROWS_MAX
        return Forgotten(len(leaving))
