"""No STORE or PUT is answered before its record is on the disk: the system calls of a node say so, in their order."""

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
