from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.store.writes import LATER, NOW, mutable, publisher, target
from yzdht.errors import NewerFormat, StoreError
from yzdht.limits import STORE_BATCH_WRITES_MAX, STORE_QUEUE_BYTES_MAX
from yzdht.store.rows import RECORDS_SCHEMA
from yzdht.store.sqlite import SqliteStore
from yzdht.wire.slot import SeqTooLow, StoreBroken, Stored


if TYPE_CHECKING:
    from tests.store.conftest import OpenShelf
    from tests.store.shelf import Shelf
    from yzdht.wire.slot import Verdict


ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0  # only a failing test waits so long
CHILD = """
import asyncio, sys
from pathlib import Path
from tests.store.writes import mutable
from yzdht.store.sqlite import SqliteStore
from yzdht.wire.slot import Stored

async def main():
    def sink(batch):
        for op, verdict in batch:
            assert verdict == Stored()
            print(op, flush=True)
    store = SqliteStore.open(Path(sys.argv[1]), sink, asyncio.get_running_loop().call_soon_threadsafe)
    op = 0
    while True:
        while store.has_room():
            op += 1
            store.submit(op, mutable(op))
        await asyncio.sleep(0)

asyncio.run(main())
"""


def store_of(shelf: Shelf) -> SqliteStore:
    assert isinstance(shelf.store, SqliteStore)
    return shelf.store


def opened(path: Path) -> SqliteStore:
    return SqliteStore.open(path, lambda _: None, lambda run: run())


async def test_commit_waits_for_the_disk(open_sqlite: OpenShelf) -> None:
    writing = store_of(open_sqlite())._writing

    assert writing.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: each commit syncs the log
    assert writing.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_reading_connection_cannot_write(open_sqlite: OpenShelf) -> None:
    reading = store_of(open_sqlite())._reading

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.execute("DELETE FROM records")


async def test_verdict_is_handed_out_only_after_the_commit(tmp_path: Path) -> None:
    told: list[int] = []
    path = tmp_path / "records.sqlite"

    def sink(_: list[tuple[int, Verdict]]) -> None:
        with closing(sqlite3.connect(path)) as other:  # sees committed rows only
            told.extend(other.execute("SELECT count(*) FROM records").fetchone())

    store = SqliteStore.open(path, sink, asyncio.get_running_loop().call_soon_threadsafe)
    store.submit(1, mutable(1))
    await store.close()

    assert told == [1]


async def test_closing_does_not_wait_for_the_threads_that_look_up_names(open_sqlite: OpenShelf) -> None:
    loop, answered = asyncio.get_running_loop(), threading.Event()
    pool = ThreadPoolExecutor(1)
    loop.set_default_executor(pool)
    slow_name = loop.run_in_executor(None, answered.wait)
    shelf = open_sqlite()
    shelf.submit(mutable(1))

    async with asyncio.timeout(PATIENCE_S):
        await shelf.store.close()

    assert not slow_name.done()
    assert shelf.verdicts
    answered.set()
    await slow_name
    pool.shutdown()


async def test_reader_sees_what_the_writer_has_not_committed(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    store = store_of(shelf)
    await shelf.put(mutable(seq=1))
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")  # now the writer thread must wait
        ops = shelf.submit(mutable(seq=2), mutable(2))

        assert [each.head.seq for each in store.get(target(1), NOW)] == [2]
        assert [head.seq for head, _ in store.heads(target(1), NOW)] == [2]
        assert store.body(target(1), publisher(1), mutable(seq=2).hash) == mutable(seq=2).body
        assert store.body(target(1), publisher(1), mutable(seq=1).hash) is None
        assert store.head(target(2), publisher(2)) is not None
        assert shelf.verdicts.keys().isdisjoint(ops)
        blocker.execute("ROLLBACK")

    assert await shelf.settled(ops) == [Stored(), Stored()]
    assert store._overlay.waiting == 0


async def test_refused_write_is_gone_from_reads_after_its_verdict(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    store = store_of(shelf)
    await shelf.put(mutable(seq=1))
    store._writing.execute("PRAGMA query_only=1")

    ops = shelf.submit(mutable(seq=2))
    await shelf.settled(ops)

    head = store.head(target(1), publisher(1))
    assert head is not None
    assert head.seq == 1


async def test_queued_writes_share_a_transaction(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        ops = shelf.submit(*(mutable(slot) for slot in range(STORE_BATCH_WRITES_MAX * 2 + 10)))
        blocker.execute("ROLLBACK")
    await shelf.settled(ops)

    sizes = [commit.writes for commit in store_of(shelf).take_commits()]
    assert sizes == [len(batch) for batch in shelf.batches]
    assert max(sizes) == STORE_BATCH_WRITES_MAX
    assert len(sizes) <= 4  # one more when the thread woke for the first write alone
    assert [op for batch in shelf.batches for op, _ in batch] == ops


async def test_commits_are_told_once(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    await shelf.put(mutable())

    (commit,) = store_of(shelf).take_commits()

    assert (commit.writes, commit.failure) == (1, None)
    assert commit.seconds > 0
    assert store_of(shelf).take_commits() == []


async def test_records_survive_closing_and_opening(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    await shelf.put(mutable(1, seq=3), mutable(2))
    await shelf.store.close()
    assert not shelf.path.with_name("records.sqlite-wal").exists()

    again = open_sqlite()

    assert again.store.totals().records == 2
    assert isinstance(await again.put_one(mutable(1, seq=2)), SeqTooLow)


async def test_close_ends_the_thread(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    await shelf.store.close()

    assert not store_of(shelf)._thread.is_alive()
    assert "yzdht-store" not in {thread.name for thread in threading.enumerate()}


async def test_files_are_for_their_owner_only(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    await shelf.put(mutable())

    assert {path.name: path.stat().st_mode & 0o777 for path in shelf.path.parent.iterdir()} == {
        "records.sqlite": 0o600,
        "records.sqlite-wal": 0o600,
        "records.sqlite-shm": 0o600,
    }


# When the disk is in the way


async def test_full_disk_breaks_the_batch_and_reads_go_on(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    store = store_of(shelf)
    await shelf.put(mutable(1))
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count={pages}")

    assert await shelf.put_one(mutable(2, body=bytes(60_000))) == StoreBroken()

    assert store.head(target(2), publisher(2)) is None
    assert len(store.get(target(1), NOW)) == 1
    store._writing.execute("PRAGMA max_page_count=1000000")
    assert await shelf.put_one(mutable(2, body=bytes(60_000))) == Stored()
    failures = [str(commit.failure) for commit in store.take_commits() if commit.failure]
    assert failures == [f"{shelf.path} cannot grow: the disk is full"]


async def test_sweep_on_a_broken_disk_changes_nothing_and_can_be_tried_again(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    store = store_of(shelf)
    await shelf.put(mutable(1))
    store._writing.execute("PRAGMA query_only=1")

    await shelf.sweep(LATER)
    assert store.totals().records == 1
    store._writing.execute("PRAGMA query_only=0")
    await shelf.sweep(LATER)

    assert store.totals().records == 0


async def test_damage_found_while_reading_is_a_store_error(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    store = store_of(shelf)
    await shelf.put(*(mutable(slot, body=bytes(3_000)) for slot in range(50)))
    store._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = shelf.path.stat().st_size
    with shelf.path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (size - 4_096))

    with pytest.raises(StoreError, match="damaged"):
        [store.get(target(slot), NOW) for slot in range(50)]


async def test_body_that_the_disk_changed_is_not_shown_and_can_be_stored_again(
    open_sqlite: OpenShelf,
) -> None:
    shelf = open_sqlite()
    write, told = mutable(1, body=b"some body"), list[StoreError]()
    await shelf.put(write, mutable(2, body=b"another"))
    await shelf.store.close()
    raw = shelf.path.read_bytes()
    shelf.path.write_bytes(raw.replace(b"some body", b"some bodz"))
    shelf = open_sqlite()
    store_of(shelf)._on_unreadable = told.append

    (held,) = shelf.store.heads(target(1), NOW)

    assert shelf.store.body(target(1), publisher(1), held.head.hash) is None
    assert shelf.store.get(target(1), NOW) == shelf.store.get(target(1), NOW) == []

    assert [str(failure) for failure in told] == [f"{shelf.path} holds a record that the disk changed"]
    assert "comes again from other nodes" in told[0].hint
    assert len(shelf.store.get(target(2), NOW)) == 1
    await shelf.put(mutable(3))  # behind the damaged body, which goes
    head = shelf.store.head(target(1), publisher(1))
    assert head is not None
    assert (head.seq, head.has_body) == (1, False)  # what is older stays out
    assert await shelf.put_one(write) == Stored()
    assert [record.body for record in shelf.store.get(target(1), NOW)] == [write.body]


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be one" * 100, b"SQLite format 3\0"]
)
def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(content)

    with pytest.raises(StoreError) as caught:
        opened(path)

    assert "move the file away" in caught.value.hint
    assert path.read_bytes() == content


async def test_truncated_file_is_refused(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    await shelf.put(*(mutable(slot, body=bytes(3_000)) for slot in range(50)))
    await shelf.store.close()
    raw = shelf.path.read_bytes()
    shelf.path.write_bytes(raw[: len(raw) // 2])

    with pytest.raises(StoreError, match="damaged"):
        opened(shelf.path)


async def test_newer_file_is_refused(open_sqlite: OpenShelf) -> None:
    shelf = open_sqlite()
    await shelf.store.close()
    with closing(sqlite3.connect(shelf.path)) as other:
        other.execute(f"PRAGMA user_version={RECORDS_SCHEMA.version + 1}")

    with pytest.raises(NewerFormat) as caught:
        opened(shelf.path)

    assert "upgrade" in caught.value.hint


def test_folder_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        opened(tmp_path / "nowhere" / "records.sqlite")

    assert caught.value.hint == "check the path"


async def test_loop_that_was_closed_first_ends_the_thread_quietly(tmp_path: Path) -> None:
    def closed(_: object) -> None:
        raise RuntimeError("Event loop is closed")

    store = SqliteStore.open(tmp_path / "records.sqlite", lambda _: None, closed)
    store.submit(1, mutable())
    await store.close()

    assert not store._thread.is_alive()


def killed_while_writing(path: Path) -> list[int]:
    """Run a child that writes without end, kill it, and return the ops that its sink reported."""
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        reported = [int(child.stdout.readline()) for _ in range(1_000)]
        child.send_signal(signal.SIGKILL)
        return reported + [int(line) for line in re.findall(r"(\d+)\n", child.stdout.read())]


@pytest.mark.process
async def test_killed_process_loses_nothing_that_its_sink_reported(
    open_sqlite: OpenShelf, tmp_path: Path
) -> None:
    reported = killed_while_writing(tmp_path / "records.sqlite")

    store = open_sqlite().store

    assert [op for op in reported if store.head(target(op), publisher(op)) is None] == []
    assert store.totals().records >= len(reported)


async def test_the_bytes_that_wait_for_the_disk_are_bounded_and_then_there_is_room_again(
    open_sqlite: OpenShelf,
) -> None:
    shelf = open_sqlite()
    large = STORE_QUEUE_BYTES_MAX // 4
    ops = shelf.submit(*(mutable(number, body=bytes(large)) for number in range(1, 7)))
    assert not shelf.store.has_room()

    verdicts = await shelf.settled(ops)

    assert verdicts == [Stored()] * 4 + [StoreBroken()] * 2
    assert shelf.store.has_room()
    assert await shelf.put_one(mutable(9)) == Stored()
