"""What the writer thread does to the histories of topics: decides changes inside the transaction of their batch.

Synchronous and without a thread of its own, like `Writer`, whose transaction this works in. PROTOCOL.md section 11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from yzdht.limits import FLOOR_KEPT_S, FORGET_ROWS_MAX, RUNS_PER_SESSION_MAX
from yzdht.store.history_policy import HistoryQuotas, Measure, NodeShare, Part, Taken, Victim, is_same
from yzdht.store.rows import sum_of
from yzdht.store.topic_rows import (
    COUNT_MESSAGES,
    DROP_BY_ID,
    DROP_FIRST_ENDED,
    DROP_MESSAGES_BELOW,
    DROP_MESSAGES_OF_TOPIC,
    DROP_OLD_FLOORS,
    DROP_SERIES_OF_TOPIC,
    INSERT_MESSAGE,
    INSERT_SERIES,
    INSERT_TOPIC,
    RAISE_FLOOR,
    SELECT_BELOW,
    SELECT_ENVELOPE,
    SELECT_GREEDIEST_BY_BYTES,
    SELECT_GREEDIEST_BY_MESSAGES,
    SELECT_HIGHEST_OF_OLD,
    SELECT_LAST_NUMBERS,
    SELECT_LOWEST,
    SELECT_LOWEST_BELOW,
    SELECT_LOWEST_INDEX,
    SELECT_LOWEST_OF_GREATEST_BY_BYTES,
    SELECT_LOWEST_OF_GREATEST_BY_MESSAGES,
    SELECT_OLDEST,
    SELECT_OWN_LOWEST_BY_BYTES,
    SELECT_OWN_LOWEST_BY_MESSAGES,
    SELECT_PLACE,
    SELECT_RUNS,
    SELECT_SECOND_RUN,
    SELECT_TOPIC,
)
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
from yzdht.wire.holdings import Series
from yzdht.wire.slot import OverQuota


if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from yzdht.wire.history import Bringer, TopicChange, TopicVerdict


class _Place(NamedTuple):
    """Where a message belongs, as SELECT_PLACE tells it; None for what is not there yet."""

    topic: int | None
    series_of_topic: int
    line: int | None
    floor: int
    runs: int
    known: bytes | None
    taken: Taken


class TopicWriter:
    """Decides changes on a connection that nobody else writes to.

    Args:
        connection: As `open_database` returns it.
        quotas: How much is kept of topics.
        begin: Begins the transaction, unless it has begun: called before there is more than one change.

    """

    def __init__(
        self, connection: sqlite3.Connection, quotas: HistoryQuotas, begin: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._quotas = quotas
        self._begin = begin
        connection.execute(
            "PRAGMA temp_store=MEMORY"
        )  # what a savepoint may have to take back; else a file each time
        self._last_number = max(row[0] or 0 for row in connection.execute(SELECT_LAST_NUMBERS))

    def decide(self, change: TopicChange) -> TopicVerdict:
        """Decide one change and make it; the caller commits."""
        match change:
            case TopicWrite():
                return self._write(change)
            case ForgetBefore():
                return self._forget_before(change.wall)
            case ForgetTopic():
                return self._forget_topic(change)
        assert_never(change)

    def drop_damaged(self, number: int) -> bool:
        """Drop an envelope that is not what was written, so that it is a gap which others fill; True if it was there."""
        row = self._connection.execute(SELECT_ENVELOPE, (number,)).fetchone()
        if row is None or sum_of(row[0]) == row[1]:
            return False
        self._connection.execute(DROP_BY_ID, (number,))
        return True

    # A message

    def _write(self, write: TopicWrite) -> TopicVerdict:
        place = self._place_of(write)
        if write.index < place.floor:
            return Over()
        if place.known is not None:
            return KnownAlready() if place.known == write.id else Conflicting(place.known)  # type: ignore[arg-type]  # a column
        size = len(write.envelope)
        if self._quotas.excess(place.taken.whole.plus(size)) or place.runs >= RUNS_PER_SESSION_MAX:
            return self._squeeze_in(write, place)
        if not self._quotas.admits(place.taken, size, size):
            return OverQuota()
        self._insert(write, place)
        return Kept()

    def _place_of(self, write: TopicWrite) -> _Place:
        key = (
            write.topic,
            write.sender,
            write.session,
            write.index,
            account_of(write.bringer),
            write.bringer,
        )
        row = self._connection.execute(SELECT_PLACE, key).fetchone()
        topic, series_of_topic, line, floor, runs, known = row[:6]
        whole, mine, node, own = ((row[at] or 0, row[at + 1] or 0) for at in range(6, 14, 2))
        taken = Taken(Part(*whole), Part(*mine), NodeShare(*node), NodeShare(*own), topic is None)
        return _Place(topic, series_of_topic or 0, line, floor or 0, runs or 0, known, taken)

    def _insert(self, write: TopicWrite, place: _Place) -> tuple[int, int]:
        """Put a message into its history, which and its series are made if need be; return the rows of both."""
        topic, line = place.topic, place.line
        if topic is None:
            self._begin()
            topic = self._made(INSERT_TOPIC, write.topic, write.bringer)
        if line is None:
            self._begin()
            if place.series_of_topic >= self._quotas.series:
                self._connection.execute(DROP_FIRST_ENDED, (topic,))
            line = self._made(INSERT_SERIES, topic, write.sender, write.session)
        self._last_number += 1
        self._connection.execute(
            INSERT_MESSAGE,
            (
                self._last_number,
                line,
                topic,
                write.index,
                write.received,
                write.bringer,
                len(write.envelope),
                write.id,
                sum_of(write.envelope),
                write.envelope,
            ),
        )
        return topic, line

    def _made(self, statement: str, *values: bytes | int) -> int:
        number = self._connection.execute(statement, values).lastrowid
        assert number is not None
        return number

    def _squeeze_in(self, write: TopicWrite, place: _Place) -> TopicVerdict:
        """Put a message into a history that is full with it, if what has to leave may; else change nothing."""
        self._begin()
        self._connection.execute("SAVEPOINT squeeze")
        topic, line = self._insert(write, place)
        dropped = self._drop_lowest_run(write, line) if place.runs >= RUNS_PER_SESSION_MAX else []
        payer = account_of(write.bringer)
        mine = [each.size for each in dropped if account_of(each.bringer) == payer]
        taken = place.taken._replace(
            whole=place.taken.whole.without([each.size for each in dropped]),
            mine=place.taken.mine.without(mine),
        )
        is_out = any(is_same(each, write) for each in dropped)
        if not is_out:
            dropped += self._quotas.make_room(write, taken, _History(self._connection, topic, line))
            is_out = bool(dropped) and is_same(dropped[-1], write)
        if is_out or not self._is_admitted(write, place, dropped):
            self._connection.execute("ROLLBACK TO squeeze")
            self._connection.execute("RELEASE squeeze")
            return self._refuse(write, place, is_out=is_out)
        self._connection.execute("RELEASE squeeze")
        return Kept(tuple((each.series, each.at) for each in dropped))

    def _drop_lowest_run(self, write: TopicWrite, line: int) -> list[Victim]:
        """Give up the lowest run of a series that has one too many, as `Held.add` does."""
        (runs,) = self._connection.execute(SELECT_RUNS, (line,)).fetchone()
        if runs <= RUNS_PER_SESSION_MAX:
            return []
        (floor,) = self._connection.execute(SELECT_SECOND_RUN, (line,)).fetchone()
        rows = self._connection.execute(SELECT_BELOW, (line, floor)).fetchall()
        self._connection.execute(DROP_MESSAGES_BELOW, (line, floor))
        self._connection.execute(RAISE_FLOOR, (floor, line))
        return [Victim(line, write.series, *row) for row in rows]

    def _is_admitted(self, write: TopicWrite, place: _Place, dropped: Sequence[Victim]) -> bool:
        size = len(write.envelope)
        own = sum(each.size for each in dropped if each.bringer == write.bringer)
        return self._quotas.admits(place.taken, size - sum(each.size for each in dropped), size - own)

    def _refuse(self, write: TopicWrite, place: _Place, *, is_out: bool) -> TopicVerdict:
        """What comes below all that is held of its series, and has no room, is over: it is not to be fetched again."""
        if is_out and place.line is not None:
            (lowest,) = self._connection.execute(SELECT_LOWEST_INDEX, (place.line,)).fetchone()
            if lowest is not None and write.index < lowest:
                self._connection.execute(RAISE_FLOOR, (write.index + 1, place.line))
                return Over()
        return OverQuota()

    # Forgetting

    def _forget_before(self, wall: int) -> Forgotten:
        self._begin()
        dropped = 0
        while dropped < FORGET_ROWS_MAX:
            row = self._connection.execute(SELECT_OLDEST, (wall,)).fetchone()
            if row is None:
                break
            dropped += self._drop_old(row[0], wall, FORGET_ROWS_MAX - dropped)
        floors = self._connection.execute(DROP_OLD_FLOORS, (wall - FLOOR_KEPT_S, FORGET_ROWS_MAX)).rowcount
        return Forgotten(dropped, dropped >= FORGET_ROWS_MAX or floors >= FORGET_ROWS_MAX)

    def _drop_old(self, line: int, wall: int, limit: int) -> int:
        """Drop the lowest messages of a series up to the highest that is old; how many."""
        (highest,) = self._connection.execute(SELECT_HIGHEST_OF_OLD, (line, wall)).fetchone()
        rows = self._connection.execute(SELECT_LOWEST_BELOW, (line, highest, limit)).fetchall()
        floor = rows[-1][0] + 1
        self._connection.execute(DROP_MESSAGES_BELOW, (line, floor))
        self._connection.execute(RAISE_FLOOR, (floor, line))
        return len(rows)

    def _forget_topic(self, change: ForgetTopic) -> Forgotten:
        row = self._connection.execute(SELECT_TOPIC, (change.topic,)).fetchone()
        if row is None:
            return Forgotten(0)
        self._begin()
        count = self._connection.execute(COUNT_MESSAGES, row).fetchone()
        self._connection.execute(DROP_MESSAGES_OF_TOPIC, row)
        self._connection.execute(DROP_SERIES_OF_TOPIC, row)
        return Forgotten(count[0] if count else 0)


class _History:
    """One history as `history_policy.Shelf`, with a new message in one of its series."""

    def __init__(self, connection: sqlite3.Connection, topic: int, line: int) -> None:
        self._connection = connection
        self._topic = topic
        self._line = line

    def greediest(self, measure: Measure) -> Bringer:
        """Who brought most of it."""
        is_bytes = measure is Measure.BYTES
        statement = SELECT_GREEDIEST_BY_BYTES if is_bytes else SELECT_GREEDIEST_BY_MESSAGES
        found: tuple[Bringer] = self._connection.execute(statement, (self._topic,)).fetchone()
        return found[0]

    def own_lowest(self, bringer: Bringer, measure: Measure) -> Victim | None:
        """What a bringer loses of the series whose lowest message it brought."""
        is_bytes = measure is Measure.BYTES
        statement = SELECT_OWN_LOWEST_BY_BYTES if is_bytes else SELECT_OWN_LOWEST_BY_MESSAGES
        row = self._connection.execute(statement, (self._topic, bringer)).fetchone()
        return None if row is None else _victim_of(row)

    def lowest_of_greatest(self, bringer: Bringer, measure: Measure) -> Victim:
        """The lowest message of the sender of which a bringer brought most."""
        is_bytes = measure is Measure.BYTES
        statement = SELECT_LOWEST_OF_GREATEST_BY_BYTES if is_bytes else SELECT_LOWEST_OF_GREATEST_BY_MESSAGES
        return _victim_of(self._connection.execute(statement, (self._topic, bringer)).fetchone())

    def lowest_of_its_series(self) -> Victim:
        """The lowest message of the series that the new one is in."""
        return _victim_of(self._connection.execute(SELECT_LOWEST, (self._line,)).fetchone())

    def drop(self, victim: Victim) -> None:
        """Drop it and raise the floor of its series above it."""
        self._connection.execute(DROP_MESSAGES_BELOW, (victim.line, victim.at + 1))
        self._connection.execute(RAISE_FLOOR, (victim.at + 1, victim.line))


def _victim_of(row: Sequence[Any]) -> Victim:
    line, sender, session, index, size, bringer = row
    return Victim(line, Series(sender, session), index, size, bringer)
