"""What it costs to keep a message of a topic: CPU of the writer and bytes written, alone and in batches, beside a record.

One thread and one file, as in a node, with envelopes and records of 1 KiB; what is written is the log and what SQLite puts
beside it. A full topic gives up one message for each that comes; ever new senders are the dearest flood of one bringer.
Then what it costs the loop to read what is held. Run: make bench, or python bench/histories.py.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from yzdht.ids import (
    ID_BYTES,
    PUBLIC_KEY_BYTES,
    MessageId,
    PublicKey,
    RecordHash,
    SendSession,
    Target,
    TopicId,
)
from yzdht.limits import HISTORY_MESSAGES_MAX
from yzdht.store.policy import Quotas
from yzdht.store.rows import RECORDS_SCHEMA
from yzdht.store.schema import open_database
from yzdht.store.sqlite import SqliteStore
from yzdht.store.writer import Writer
from yzdht.wire.history import BRINGER_BYTES, Bringer, TopicWrite
from yzdht.wire.pubsub import MESSAGE_ID_BYTES, SEND_SESSION_BYTES, TOPIC_BYTES
from yzdht.wire.slot import Kind, Write


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.wire.history import TopicChange


NOW = 1_000_000
KIBIBYTE = 1024
BODY = os.urandom(KIBIBYTE)
PUBLISHERS = 50


def message(index: int, sender: int = 0, topic: int = 0, bringer: int = 0) -> TopicWrite:
    key = PublicKey(b"\x02" + sender.to_bytes(PUBLIC_KEY_BYTES - 1))
    name = sha256(b"%d/%d/%d" % (topic, sender, index)).digest()
    return TopicWrite(
        TopicId(topic.to_bytes(TOPIC_BYTES)),
        key,
        SendSession(bytes(SEND_SESSION_BYTES)),
        index,
        MessageId(name[:MESSAGE_ID_BYTES]),
        BODY,
        NOW + index,
        Bringer((bringer + 1).to_bytes(BRINGER_BYTES)),
    )


def record(number: int) -> Write:
    name = sha256(b"%d" % number).digest()
    key = PublicKey(b"\x02" + (number % PUBLISHERS).to_bytes(PUBLIC_KEY_BYTES - 1))
    by = (number % PUBLISHERS + 1).to_bytes(ID_BYTES)
    target, its_hash = Target(name), RecordHash(name[::-1])
    return Write(
        target,
        key,
        Kind.MUTABLE,
        1,
        its_hash,
        NOW,
        NOW + 9_999,
        BODY,
        None,
        0,
        by,
        is_pinned=False,
        wall_now=NOW,
    )


FULL = [message(index) for index in range(HISTORY_MESSAGES_MAX)]
CASES: dict[str, tuple[list[TopicChange], Callable[[int], Write | TopicChange]]] = {
    "a record": ([], record),
    "a message, topic not full": ([], lambda n: message(n // PUBLISHERS, topic=n % PUBLISHERS)),
    "topic full": ([*FULL], lambda n: message(HISTORY_MESSAGES_MAX + n)),
    "full, ever new senders": ([*FULL], lambda n: message(0, sender=n + 1, bringer=1)),
}


def written() -> int:
    """Bytes that this process has written so far."""
    rows = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(rows["wchar"])


def measure(
    before: Sequence[TopicChange], writes: Sequence[Write | TopicChange], batch: int
) -> tuple[float, float]:
    """Microseconds of CPU and bytes written for each write."""
    with tempfile.TemporaryDirectory() as folder:
        connection = open_database(Path(folder) / "records.sqlite", RECORDS_SCHEMA)
        writer = Writer(connection, Quotas())
        if before:
            writer.commit(before)
        bytes_before, started = written(), time.thread_time()
        for at in range(0, len(writes), batch):
            writer.commit(writes[at : at + batch])
        took, size = time.thread_time() - started, written() - bytes_before
        connection.close()
    return took / len(writes) * 1e6, size / len(writes)


async def read(changes: Sequence[TopicChange], rounds: int) -> float:
    """Milliseconds of CPU of the loop for what is held of a topic, the least of some rounds."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.sqlite"
        store = SqliteStore.open(path, lambda _: None, loop.call_soon_threadsafe)
        for op, change in enumerate(changes):
            store.histories.submit(op, change)
        await store.close()
        store = SqliteStore.open(path, lambda _: None, loop.call_soon_threadsafe)
        took = []
        for _ in range(rounds):
            started = time.thread_time()
            held = store.histories.holdings(TopicId(bytes(TOPIC_BYTES)))
            took.append(time.thread_time() - started)
        assert len(held)
        await store.close()
    return min(took) * 1e3


HELD = {
    "one sender": FULL,
    "one sender, a gap after every other": [message(n // 2 * 3 + n % 2) for n in range(HISTORY_MESSAGES_MAX)],
    "as many senders": [message(0, sender=n) for n in range(HISTORY_MESSAGES_MAX)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2_000, help="writes of each kind")
    parser.add_argument("--rounds", type=int, default=30, help="reads of each kind")
    arguments = parser.parse_args()
    print(f"{'each of 1 KiB':36}" + "".join(f"{'batch ' + str(batch):>20}" for batch in (1, 10, 100)))
    for name, (before, make) in CASES.items():
        writes = [make(number) for number in range(arguments.count)]
        found = (measure(before, writes, batch) for batch in (1, 10, 100))
        print(f"{name:36}" + "".join(f"{cpu:9.0f} us {size / KIBIBYTE:4.0f} KiB" for cpu, size in found))
    for name, changes in HELD.items():
        took = asyncio.run(read(changes, arguments.rounds))
        print(f"{'held, ' + name:48}{took:8.2f} ms")


if __name__ == "__main__":
    main()
