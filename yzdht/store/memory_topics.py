"""Histories of topics in memory, with the semantics of those on disk: for tests, the simulator and nodes without a disk."""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from typing import TYPE_CHECKING, assert_never

from yzdht.limits import (
    ENVELOPES_PER_ANSWER_MAX,
    FLOOR_KEPT_S,
    FORGET_ROWS_MAX,
    HISTORY_QUEUE_WRITES_MAX,
    STORE_BATCH_WRITES_MAX,
)
from yzdht.store.history_policy import HistoryQuotas, NodeShare, Taken, TopicTotals, Victim, is_same
from yzdht.store.memory_history import NOTHING, MemoryHistory, Undo
from yzdht.wire.history import (
    Conflicting,
    ForgetBefore,
    ForgetTopic,
    Forgotten,
    Kept,
    KnownAlready,
    Over,
    TopicWrite,
    account_of,
)
from yzdht.wire.holdings import Holdings, Series
from yzdht.wire.slot import OverQuota, StoreBroken


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ids import MessageId, TopicId
    from yzdht.wire.history import Bringer, TopicChange, TopicVerdict
    from yzdht.wire.rpc import Range

    Schedule = Callable[[Callable[[], None]], object]
    TopicSink = Callable[[list[tuple[int, TopicVerdict]]], None]


_SLACK = 1_024
_NO_SHARE = NodeShare(0, 0)


class MemoryTopics:
    """A TopicStore without a disk; `submit` decides at once, the verdict comes later as from the other.

    Args:
        sink: Takes the verdicts of one batch.
        schedule: Runs a function soon, never at once: `loop.call_soon`.
        quotas: How much is kept.

    """

    def __init__(self, sink: TopicSink, schedule: Schedule, quotas: HistoryQuotas | None = None) -> None:
        self._sink = sink
        self._schedule = schedule
        self._quotas = quotas or HistoryQuotas()
        self._histories: dict[TopicId, MemoryHistory] = {}
        self._order: list[TopicId] = []  # of _histories, ascending
        self._shares: dict[bytes, NodeShare] = {}  # by bringer; of all of them under no name
        self._messages = 0
        self._undo = Undo()
        self._last_number = 0
        self._last_series = 0
        # Heaps of what gets old; entries may be out of date.
        self._received: list[tuple[int, int, TopicId, Series, int]] = []
        self._ended: list[tuple[int, int, TopicId, Series]] = []
        self._ended_max = _SLACK
        self._answers: list[tuple[int, TopicVerdict]] = []
        self._is_closed = False

    # Reads

    def topics(self, after: TopicId | None, limit: int) -> list[TopicId]:
        """One page of the topics, in their order as bytes."""
        start = bisect_right(self._order, after) if after is not None else 0
        return self._order[start : start + limit]

    def holdings(self, topic: TopicId) -> Holdings:
        """What is held of a topic, the caller's own from now on; the series that got a message last is the newest."""
        history = self._histories.get(topic)
        return Holdings() if history is None else history.holdings()

    def envelopes(self, topic: TopicId, ranges: Sequence[Range], bytes_max: int) -> tuple[list[bytes], bool]:
        """Envelopes of a topic, in the order of the ranges, within each by index; see the port."""
        found: list[bytes] = []
        history, room = self._histories.get(topic), bytes_max
        if history is None:
            return [], False
        for wanted in ranges:
            series = Series(wanted.sender, wanted.session)
            for index in history.within(series, wanted.start, wanted.to):
                envelope = history.messages[series, index].envelope
                if found and (len(envelope) > room or len(found) == ENVELOPES_PER_ANSWER_MAX):
                    return found, True
                found.append(envelope)
                room -= len(envelope)
        return found, False

    def message_id(self, topic: TopicId, series: Series, index: int) -> MessageId | None:
        """Which message is held under an index; None if none is."""
        history = self._histories.get(topic)
        message = history.messages.get((series, index)) if history else None
        return None if message is None else message.id

    def totals(self) -> TopicTotals:
        """How much is held."""
        return TopicTotals(len(self._histories), self._messages, self._share_of(b"").bytes)

    # Changes

    def submit(self, op: int, change: TopicChange) -> None:
        """Decide a change now and hand its verdict to the sink later, with the same `op`.

        When HISTORY_QUEUE_WRITES_MAX verdicts wait already, or the store is closed, the verdict is StoreBroken ("busy").
        """
        is_refused = self._is_closed or not self.has_room()
        if not self._answers:
            self._schedule(self._tell)
        self._answers.append((op, StoreBroken() if is_refused else self._decide(change)))

    def has_room(self, bringer: Bringer | None = None) -> bool:
        """False while HISTORY_QUEUE_WRITES_MAX verdicts wait."""
        return len(self._answers) < HISTORY_QUEUE_WRITES_MAX

    async def close(self) -> None:
        """Hand out the verdicts that wait, then refuse further changes. Idempotent."""
        self._is_closed = True
        while self._answers:
            self._tell()

    def _tell(self) -> None:
        batch, self._answers = self._answers[:STORE_BATCH_WRITES_MAX], self._answers[STORE_BATCH_WRITES_MAX:]
        if self._answers:
            self._schedule(self._tell)
        if batch:
            self._sink(batch)

    def _decide(self, change: TopicChange) -> TopicVerdict:
        match change:
            case TopicWrite():
                verdict = self._write(change)
                self._undo.forget()
                return verdict
            case ForgetBefore():
                return self._forget_before(change.wall)
            case ForgetTopic():
                return self._forget_topic(change.topic)
        assert_never(change)

    # A message

    def _write(self, write: TopicWrite) -> TopicVerdict:
        assert write.bringer
        history = self._histories.get(write.topic)
        line = history.lines.get(write.series) if history else None
        if line is not None and write.index < line.floor:
            return Over()
        known = self.message_id(write.topic, write.series, write.index)
        if known is not None:
            return KnownAlready() if known == write.id else Conflicting(known)
        return self._put_in(write, self._taken_before(write))

    def _taken_before(self, write: TopicWrite) -> Taken:
        history = self._histories.get(write.topic)
        whole, mine = (history.whole, history.part_of(write.bringer)) if history else (NOTHING, NOTHING)
        return Taken(whole, mine, self._share_of(b""), self._share_of(write.bringer), history is None)

    def _put_in(self, write: TopicWrite, taken: Taken) -> TopicVerdict:
        """Put a message into its history, if what has to leave may; else change nothing."""
        size = len(write.envelope)
        lowest = self._lowest_before(write)
        history = self._insert(write)
        dropped = self._drop_lowest_run(history, write)
        is_out = any(is_same(each, write) for each in dropped)
        if not is_out:
            mine = [each for each in dropped if account_of(each.bringer) == account_of(write.bringer)]
            taken_now = taken._replace(
                whole=taken.whole.without([each.size for each in dropped]),
                mine=taken.mine.without([each.size for each in mine]),
            )
            dropped += self._quotas.make_room(write, taken_now, history)
            is_out = bool(dropped) and is_same(dropped[-1], write)
        own = sum(each.size for each in dropped if each.bringer == write.bringer)
        growth = size - sum(each.size for each in dropped)
        if is_out or not self._quotas.admits(taken, growth, size - own):
            self._undo.run()
            return self._refuse(write, lowest, is_out=is_out)
        self._settle(write, dropped, is_new_topic=taken.is_new_topic)
        return Kept(tuple((each.series, each.at) for each in dropped))

    def _lowest_before(self, write: TopicWrite) -> int | None:
        history = self._histories.get(write.topic)
        line = history.lines.get(write.series) if history else None
        return line.indexes[0] if line is not None and line.indexes else None

    def _insert(self, write: TopicWrite) -> MemoryHistory:
        history = self._histories.get(write.topic)
        if history is None:
            history = MemoryHistory(write.bringer, self._undo)
            self._undo.put(self._histories, write.topic, history)
        if write.series not in history.lines:
            if len(history.lines) >= self._quotas.series:
                history.forget_first_ended()
            self._last_series += 1
        self._last_number += 1
        history.put_in(write, self._last_number, self._last_series)
        return history

    def _drop_lowest_run(self, history: MemoryHistory, write: TopicWrite) -> list[Victim]:
        """Give up the lowest run of a series that has one too many, as `Held.add` does."""
        series, dropped = write.series, list[Victim]()
        for index in history.runs_too_many(series):
            message = history.take_out(series, index)
            line = history.lines[series]
            dropped.append(Victim(line.number, series, index, len(message.envelope), message.bringer))
            history.raise_floor(series, line.indexes[0])
        return dropped

    def _refuse(self, write: TopicWrite, lowest: int | None, *, is_out: bool) -> TopicVerdict:
        """What comes below all that is held of its series, and has no room, is over: it is not to be fetched again."""
        if is_out and lowest is not None and write.index < lowest:
            self._histories[write.topic].raise_floor(write.series, write.index + 1)
            return Over()
        return OverQuota()

    def _settle(self, write: TopicWrite, dropped: Sequence[Victim], *, is_new_topic: bool) -> None:
        """Count what has changed, now that it stays."""
        if is_new_topic:
            self._open(write)
        self._count(write.bringer, 1, len(write.envelope))
        for each in dropped:
            self._count(each.bringer, -1, -each.size)
            self._end(write.topic, each.series)
        entry = (write.received, self._last_number, write.topic, write.series, write.index)
        heapq.heappush(self._received, entry)
        if len(self._received) > 2 * self._messages + _SLACK:
            self._received = [each for each in self._received if self._is_there(each)]
            heapq.heapify(self._received)

    def _open(self, write: TopicWrite) -> None:
        insort(self._order, write.topic)
        for name in (b"", write.bringer):
            share = self._share_of(name)
            self._shares[name] = share._replace(topics=share.topics + 1)

    def _share_of(self, bringer: bytes) -> NodeShare:
        return self._shares.get(bringer, _NO_SHARE)

    def _count(self, bringer: bytes, sign: int, size: int) -> None:
        self._messages += sign
        for name in (b"", bringer):
            share = self._share_of(name)
            self._set_share(name, share._replace(bytes=share.bytes + size))

    def _set_share(self, name: bytes, share: NodeShare) -> None:
        self._shares[name] = share
        if not share.bytes and not share.topics:
            del self._shares[name]

    # Forgetting

    def _forget_before(self, wall: int) -> Forgotten:
        dropped = 0
        while dropped < FORGET_ROWS_MAX and self._received and self._received[0][0] < wall:
            entry = self._received[0]
            if self._is_there(entry):
                dropped += self._drop_old(entry[2], entry[3], wall, FORGET_ROWS_MAX - dropped)
            else:
                heapq.heappop(self._received)
        self._undo.forget()
        floors = self._forget_floors(wall - FLOOR_KEPT_S)
        return Forgotten(dropped, dropped >= FORGET_ROWS_MAX or floors >= FORGET_ROWS_MAX)

    def _is_there(self, entry: tuple[int, int, TopicId, Series, int]) -> bool:
        _, number, topic, series, index = entry
        history = self._histories.get(topic)
        message = history.messages.get((series, index)) if history else None
        return message is not None and message.number == number

    def _drop_old(self, topic: TopicId, series: Series, wall: int, limit: int) -> int:
        """Drop the lowest messages of a series up to the highest that is old; how many."""
        history = self._histories[topic]
        indexes = history.lines[series].indexes
        highest = max(index for index in indexes if history.messages[series, index].received < wall)
        leaving = [index for index in indexes if index <= highest][:limit]
        for index in leaving:
            message = history.take_out(series, index)
            self._count(message.bringer, -1, -len(message.envelope))
        history.raise_floor(series, leaving[-1] + 1)
        self._end(topic, series)
        return len(leaving)

    def _end(self, topic: TopicId, series: Series) -> None:
        """Have a series forgotten one day, if nothing of it is left."""
        line = self._histories[topic].lines[series]
        if line.indexes:
            return
        heapq.heappush(self._ended, (line.received, line.number, topic, series))
        if len(self._ended) > self._ended_max:
            self._ended = [each for each in self._ended if self._has_ended(each)]
            heapq.heapify(self._ended)
            self._ended_max = 2 * len(self._ended) + _SLACK

    def _has_ended(self, entry: tuple[int, int, TopicId, Series]) -> bool:
        received, number, topic, series = entry
        history = self._histories.get(topic)
        line = history.lines.get(series) if history else None
        return line is not None and not line.indexes and (line.received, line.number) == (received, number)

    def _forget_floors(self, wall: int) -> int:
        dropped = 0
        while dropped < FORGET_ROWS_MAX and self._ended and self._ended[0][0] < wall:
            entry = heapq.heappop(self._ended)
            if not self._has_ended(entry):
                continue
            _, _, topic, series = entry
            history = self._histories[topic]
            history.forget(series)
            dropped += 1
            if not history.lines:
                self._close_topic(topic)
        self._undo.forget()
        return dropped

    def _forget_topic(self, topic: TopicId) -> Forgotten:
        history = self._histories.get(topic)
        if history is None:
            return Forgotten(0)
        for message in history.messages.values():
            self._count(message.bringer, -1, -len(message.envelope))
        self._close_topic(topic)
        return Forgotten(len(history.messages))

    def _close_topic(self, topic: TopicId) -> None:
        opened_by = self._histories.pop(topic).opened_by
        del self._order[bisect_right(self._order, topic) - 1]
        for name in (b"", opened_by):
            share = self._share_of(name)
            self._set_share(name, share._replace(topics=share.topics - 1))
