from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.store.messages import NOW, bringer, message, run, series, topic, wanted
from tests.store.writes import mutable, publisher, target
from yzdht.errors import StoreError
from yzdht.limits import HISTORY_QUEUE_BYTES_MAX
from yzdht.store.history_policy import HistoryQuotas, TopicTotals
from yzdht.store.rows import RECORDS_SCHEMA
from yzdht.store.topic_rows import HISTORIES
from yzdht.wire.history import Conflicting, ForgetBefore, ForgetTopic, Kept, Over
from yzdht.wire.slot import StoreBroken, Stored


if TYPE_CHECKING:
    from tests.store.conftest import OpenTopics
    from tests.store.topic_shelf import TopicShelf
    from yzdht.store.sqlite import SqliteStore


ONE = topic(1)
ROOT = Path(__file__).parents[2]
CHILD = """
import asyncio, sys
from pathlib import Path
from tests.store.messages import message
from yzdht.store.history_policy import HistoryQuotas
from yzdht.store.sqlite import Histories, SqliteStore
from yzdht.wire.history import Kept

async def main():
    def sink(batch):
        for op, verdict in batch:
            assert isinstance(verdict, Kept)
            print(op, *(index for _, index in verdict.dropped), flush=True)
    histories = Histories(sink, HistoryQuotas(messages=50, series=100))
    run = asyncio.get_running_loop().call_soon_threadsafe
    store = SqliteStore.open(Path(sys.argv[1]), lambda _: None, run, histories=histories).histories
    op = 0
    while True:
        while store.has_room(message().bringer):
            store.submit(op, message(op))
            op += 1
        await asyncio.sleep(0)

asyncio.run(main())
"""


def store_of(shelf: TopicShelf) -> SqliteStore:
    assert shelf.sqlite is not None
    return shelf.sqlite


async def test_history_floors_and_who_brought_what_outlive_a_restart(open_sqlite_topics: OpenTopics) -> None:
    quotas = HistoryQuotas(messages=8, series=16)
    shelf = open_sqlite_topics(quotas)
    await shelf.put(*run(0, 10), message(0, by=2, bringer=bringer(2)), message(0, by=3))
    before = shelf.held(ONE)
    await shelf.close()

    again = open_sqlite_topics(quotas)

    assert again.held(ONE) == before
    assert list(again.held(ONE)) == [(1, 0), (2, 0), (3, 0)]
    assert again.store.totals().messages == 8
    assert await again.put(message(0), message(9, text="other")) == [Over(), Conflicting(message(9).id)]
    assert await again.put_one(message(1, by=3)) == Kept(((series(1), before[1, 0][0]),))


async def test_numbers_of_messages_go_on_after_a_restart(open_sqlite_topics: OpenTopics) -> None:
    shelf = open_sqlite_topics()
    await shelf.put(message(0), message(0, by=2), ForgetBefore(NOW + 1))
    await shelf.close()

    again = open_sqlite_topics()
    await again.put(message(1))

    assert list(again.held(ONE)) == [(2, 0), (1, 0)]  # the one that got a message last is last


async def test_records_and_messages_share_a_transaction(open_sqlite_topics: OpenTopics) -> None:
    shelf = open_sqlite_topics()
    store = store_of(shelf)
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        first = shelf.submit(message(0))
        store.submit(7, mutable(1))
        second = shelf.submit(message(1))
        store.submit(8, mutable(2))
        blocker.execute("ROLLBACK")

    assert await shelf.settled([*first, *second]) == [Kept(), Kept()]
    assert await shelf.settled_records([7, 8]) == [Stored(), Stored()]
    sizes = [commit.writes for commit in store.take_commits()]
    assert sum(sizes) == 4
    assert len(sizes) <= 2  # one more when the thread woke for the first write alone


async def test_reader_sees_what_the_writer_has_not_committed(open_sqlite_topics: OpenTopics) -> None:
    shelf = open_sqlite_topics(HistoryQuotas(messages=3, series=6))
    await shelf.put(*run(0, 5))
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")  # now the writer thread must wait
        ops = shelf.submit(message(1), message(6), message(3, text="other"), message(0, of=2))

        assert shelf.held(ONE) == {(1, 0): (2, [2, 3, 4, 6])}  # what will leave is still shown
        found, _ = shelf.store.envelopes(ONE, [wanted(0, 4), wanted(5, 9)], 1_000)
        assert found == [message(index).envelope for index in (2, 3, 6)]
        assert shelf.store.message_id(ONE, series(), 1) is None  # below the floor: it will be refused
        assert shelf.store.message_id(ONE, series(), 6) == message(6).id
        assert shelf.store.topics(None, 9) == [ONE, topic(2)]
        assert shelf.verdicts.keys().isdisjoint(ops)
        blocker.execute("ROLLBACK")

    verdicts = await shelf.settled(ops)
    assert verdicts == [Over(), Kept(((series(), 2),)), Conflicting(message(3).id), Kept()]
    assert shelf.held(ONE) == {(1, 0): (3, [3, 4, 6])}


async def test_what_the_disk_refused_is_gone_from_reads_after_its_verdict(
    open_sqlite_topics: OpenTopics,
) -> None:
    shelf = open_sqlite_topics(HistoryQuotas(messages=2, series=4))
    store = store_of(shelf)
    await shelf.put(*run(0, 2))
    store._writing.execute("PRAGMA query_only=1")

    assert await shelf.put(message(2), ForgetTopic(ONE), message(0, of=2)) == [StoreBroken()] * 3

    assert shelf.held(ONE) == {(1, 0): (0, [0, 1])}
    assert shelf.store.topics(None, 9) == [ONE]
    store._writing.execute("PRAGMA query_only=0")
    assert await shelf.put_one(message(2)) == Kept(((series(), 0),))


async def test_full_disk_breaks_the_batch_whole(open_sqlite_topics: OpenTopics) -> None:
    shelf = open_sqlite_topics()
    store = store_of(shelf)
    await shelf.put(message(0))
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count={pages}")

    large = [message(index, size=60_000) for index in (1, 2)]
    assert set(await shelf.put(*large)) == {StoreBroken()}

    assert shelf.held(ONE) == {(1, 0): (0, [0])}
    store._writing.execute("PRAGMA max_page_count=1000000")
    assert await shelf.put(*large) == [Kept(), Kept()]
    assert shelf.store.totals() == TopicTotals(1, 3, 120_000 + len(message(0).envelope))


async def test_envelope_that_the_disk_changed_is_a_gap_that_others_fill(
    open_sqlite_topics: OpenTopics,
) -> None:
    shelf, told = open_sqlite_topics(), list[StoreError]()
    writes = run(0, 3)
    await shelf.put(*writes)
    await shelf.close()
    raw = shelf.path.read_bytes()
    shelf.path.write_bytes(raw.replace(writes[0].envelope, b"9" + writes[0].envelope[1:]))
    shelf = open_sqlite_topics()
    store_of(shelf)._on_unreadable = told.append

    for _ in range(2):
        assert shelf.store.envelopes(ONE, [wanted(0, 9)], 1_000) == (
            [write.envelope for write in writes[1:]],
            False,
        )

    assert [str(failure) for failure in told] == [f"{shelf.path} holds a message that the disk changed"]
    await shelf.put(message(0, of=2))  # behind the damaged one, which goes
    assert shelf.held(ONE) == {(1, 0): (0, [1, 2])}
    assert await shelf.put_one(writes[0]) == Kept()
    assert shelf.store.envelopes(ONE, [wanted(0, 9)], 1_000)[0] == [write.envelope for write in writes]


async def test_damage_found_while_reading_is_a_store_error(open_sqlite_topics: OpenTopics) -> None:
    shelf = open_sqlite_topics()
    store = store_of(shelf)
    await shelf.put(*run(0, 50, size=3_000))
    store._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = shelf.path.stat().st_size
    with shelf.path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (size - 4_096))

    with pytest.raises(StoreError, match="damaged"):
        shelf.store.envelopes(ONE, [wanted(0, 50)], 1 << 20)


async def test_page_that_is_cut_off_leaves_no_read_open(open_sqlite_topics: OpenTopics) -> None:
    """An open read would keep the log from being folded into the file."""
    shelf = open_sqlite_topics()
    await shelf.put(*run(0, 50, size=3_000))

    assert shelf.store.envelopes(ONE, [wanted(0, 50)], 1)[1]
    await shelf.put(message(50))

    busy, *_ = store_of(shelf)._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0


async def test_the_bytes_that_wait_for_the_disk_are_bounded(open_sqlite_topics: OpenTopics) -> None:
    shelf = open_sqlite_topics()
    large = HISTORY_QUEUE_BYTES_MAX // 4
    ops = shelf.submit(*(message(number, size=large, bringer=bringer(number)) for number in range(6)))
    assert not shelf.store.has_room()

    verdicts = await shelf.settled(ops)

    assert verdicts[4:] == [StoreBroken()] * 2
    mine = shelf.submit(*run(8, 11, size=large))
    assert not shelf.store.has_room(bringer(1))
    assert shelf.store.has_room(bringer(2))
    assert [isinstance(verdict, Kept) for verdict in await shelf.settled(mine)] == [True, True, False]
    assert shelf.store.has_room()
    assert store_of(shelf).has_room()


async def test_file_of_a_version_without_histories_is_migrated_with_its_records(
    open_sqlite_topics: OpenTopics,
) -> None:
    shelf = open_sqlite_topics()
    store_of(shelf).submit(7, mutable(1))
    await shelf.settled_records([7])
    await shelf.close()
    with closing(sqlite3.connect(shelf.path)) as other:
        for table in ("messages", "series", "topics", "shares"):
            other.execute(f"DROP TABLE {table}")
        other.execute(f"PRAGMA user_version={RECORDS_SCHEMA.steps.index(HISTORIES)}")

    again = open_sqlite_topics()

    assert await again.put_one(message(0)) == Kept()
    assert store_of(again).head(target(1), publisher(1)) is not None


def killed_while_writing(path: Path) -> list[int]:
    """Run a child that writes without end, kill it, and return the ops that its sink reported."""
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(500)]
        child.send_signal(signal.SIGKILL)
        lines += re.findall(r"[^\n]*\n", child.stdout.read())
    return [int(line.split()[0]) for line in lines]


@pytest.mark.process
async def test_killed_process_loses_no_message_that_its_sink_reported(
    open_sqlite_topics: OpenTopics, tmp_path: Path
) -> None:
    reported = killed_while_writing(tmp_path / "records.sqlite")

    shelf = open_sqlite_topics(HistoryQuotas(messages=50, series=100))

    floor, indexes = shelf.held(ONE)[1, 0]
    assert indexes == [*range(floor, floor + 50)]  # it is whole
    assert max(reported) < floor + 50
    assert shelf.store.totals().messages == 50
    envelopes, _ = shelf.store.envelopes(ONE, [wanted(0, floor + 50)], 1 << 20)
    assert envelopes == [message(index).envelope for index in indexes]
    assert await shelf.put_one(message(floor + 50)) == Kept(((series(), floor),))
