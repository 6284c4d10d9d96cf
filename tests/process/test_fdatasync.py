"""No STORE, PUT or PUBLISH is answered before its record or message is on the disk: the system calls of a node say so, in their order."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import Spec, steady_port, through
from tests.process.syscalls import TRACED, Call, answers_of, commits_of, parse
from yzdht import Identity


if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess


pytestmark = pytest.mark.process

VALUE = bytes(5_000)  # so long that no other message is taken for a request to store
LOG = "records.sqlite-wal"
ANSWER_BYTES_MAX = 40
"""To PUBLISH it takes 28; what hosts ask each other meanwhile takes more."""


def traced_spec(name: str, trace: Path, port: int = 0) -> Spec:
    strace = shutil.which("strace")
    assert strace is not None, "strace is missing: apt-get install strace (make test does so)"
    flags = ["-f", "-yy", "-s", "0", "-e", f"trace={TRACED}", "-e", "signal=none", "-o", str(trace)]
    return Spec(name, before=[strace, *flags], port=port)


async def put_one_after_the_other(node: NodeProcess, label: str, count: int) -> None:
    async with through(node, Identity.generate()) as dht:
        await dht.records.people.publish()  # it would go out beside the first value: one request at a time
        for number in range(count):
            await dht.store(f"{label}/{number}", VALUE)


async def publish_one_after_the_other(node: NodeProcess, topic: str, count: int) -> None:
    async with through(node, Identity.generate()) as dht:
        await dht.records.people.publish()
        for _ in range(count):
            await dht.publish(topic, VALUE)


def read_trace(trace: Path) -> list[Call]:
    return parse(trace.read_text().splitlines())


async def test_every_put_is_on_the_disk_before_its_answer(fleet: Fleet, tmp_path: Path, note: Note) -> None:
    node = await fleet.start(traced_spec("traced", tmp_path / "trace"))
    await put_one_after_the_other(node, "alone", 20)
    await node.stop()
    calls = read_trace(tmp_path / "trace")
    answers = answers_of(calls, len(VALUE), LOG)
    assert [answer.commits for answer in answers] == [1] * 20
    note(f"{len(calls)} system calls: each of 20 answers follows a transaction and its fdatasync")


async def test_puts_that_share_a_transaction_wait_for_its_sync(
    fleet: Fleet, tmp_path: Path, note: Note
) -> None:
    node = await fleet.start(traced_spec("traced", tmp_path / "trace"))
    await asyncio.gather(*(put_one_after_the_other(node, f"client{i}", 10) for i in range(8)))
    await node.stop()
    calls = read_trace(tmp_path / "trace")
    answers = answers_of(calls, len(VALUE), LOG)
    assert len(answers) == 80
    assert [answer for answer in answers if not answer.commits] == []
    commits = [c for c in commits_of(calls, LOG) if answers[0].requested < c[0]]
    note(f"80 answers to 8 clients, in {len(commits)} transactions, none before its fdatasync")


async def test_every_store_of_another_node_is_on_the_disk_before_its_answer(
    fleet: Fleet, tmp_path: Path
) -> None:
    traced = await fleet.start(traced_spec("traced", tmp_path / "trace", port=steady_port()))
    other = await fleet.start(Spec("other", bootstrap=[traced.url]))
    await fleet.settle([traced, other])
    await put_one_after_the_other(other, "through the other", 20)  # with two nodes, both must have stored it
    await other.stop()
    await traced.stop()
    answers = answers_of(read_trace(tmp_path / "trace"), len(VALUE), LOG)
    assert [answer.commits for answer in answers] == [1] * 20


async def test_every_message_is_on_the_disk_before_a_publish_is_answered(
    fleet: Fleet, tmp_path: Path
) -> None:
    node = await fleet.start(traced_spec("traced", tmp_path / "trace"))
    await publish_one_after_the_other(node, "alone", 20)
    await node.stop()
    answers = answers_of(read_trace(tmp_path / "trace"), len(VALUE), LOG)
    assert [answer.commits for answer in answers] == [1] * 20


async def test_messages_that_share_a_transaction_wait_for_its_sync(
    fleet: Fleet, tmp_path: Path, note: Note
) -> None:
    node = await fleet.start(traced_spec("traced", tmp_path / "trace"))
    await asyncio.gather(*(publish_one_after_the_other(node, f"topic {i % 2}", 10) for i in range(8)))
    await node.stop()
    calls = read_trace(tmp_path / "trace")
    answers = answers_of(calls, len(VALUE), LOG)
    assert len(answers) == 80
    assert [answer for answer in answers if not answer.commits] == []
    commits = [c for c in commits_of(calls, LOG) if answers[0].requested < c[0]]
    note(f"80 messages of 8 clients were answered, in {len(commits)} transactions, none before its fdatasync")


async def test_every_message_that_another_node_brings_is_on_the_disk_before_its_answer(
    fleet: Fleet, tmp_path: Path
) -> None:
    traced = await fleet.start(traced_spec("traced", tmp_path / "trace", port=steady_port()))
    other = await fleet.start(Spec("other", bootstrap=[traced.url]))
    await fleet.settle([traced, other])
    await publish_one_after_the_other(other, "through the other", 20)  # with two hosts, both must have it
    await other.stop()
    await traced.stop()
    answers = answers_of(read_trace(tmp_path / "trace"), len(VALUE), LOG, ANSWER_BYTES_MAX)
    assert len(answers) >= 10  # one that leaves together with something else is not told apart
    assert [answer for answer in answers if not answer.commits] == []
