"""Every sort of readers on twelve real nodes: opened by its readers and by nobody else, and no node's file tells more.

Five homes store, and a sixth only reads: no node was ever told a key of it, so that its ids may be nowhere. The others publish
theirs, as everybody does; these may stand in their own records and in no other. Four are in a group, out of which one is taken;
what is written then, that one must not open. The passphrase's kdf is slow: in the short
form one home uses it, in the long one all do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import Person
from tests.conftest import IS_SOAK
from tests.process.circle import Circle
from tests.process.company import PHRASE, Company, publish_all, read_all, store_all
from tests.process.fleet import Fleet, NodeProcess, start_all
from tests.process.needles import files_below, found_in
from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.company import Member
    from tests.process.conftest import Note


pytestmark = pytest.mark.process

NODES = 12
REPLICAS = 8
SLOW_OWNERS = 5 if IS_SOAK else 1
NOT_A_READER, REFUSED = 9, 5


def files_of(nodes: list[NodeProcess]) -> dict[str, bytes]:
    """Every file of every node: its data folder, and what it said on stderr."""
    return {
        f"{node.spec.name}/{path}": content
        for node in nodes
        for path, content in files_below(node.folder).items()
    }


def rows_of(node: NodeProcess) -> list[tuple[bytes, bytes]]:
    """Publisher and the bytes of all columns of each record on the disk of a node that has stopped."""
    connection = sqlite3.connect(f"file:{node.data / 'records.sqlite'}?mode=ro", uri=True)
    try:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(records)")]
        place = columns.index("publisher")
        return [
            (row[place], b"|".join(v if isinstance(v, bytes) else str(v).encode() for v in row))
            for row in connection.execute("SELECT * FROM records")
        ]
    finally:
        connection.close()


def tells_of(members: list[Member], nodes: list[NodeProcess]) -> list[str]:
    """Records that hold an id of somebody who has not signed them."""
    found = []
    for member in members:
        foreign = {
            f"{node.spec.name}, row {number}": row
            for node in nodes
            for number, (publisher, row) in enumerate(rows_of(node))
            if publisher != member.identity.public_key
        }
        assert foreign
        found += found_in(foreign, member.ids())
    return found


async def test_each_value_is_opened_by_its_readers_alone_before_and_after_restarts(
    fleet: Fleet, tmp_path: Path, note: Note
) -> None:
    nodes = await fleet.grow(NODES, ["--log-level", "debug"])
    company = Company.gather(tmp_path / "homes")
    (tmp_path / "homes").mkdir()
    company.introduce_silent()
    await publish_all(company, nodes)
    await store_all(company, nodes, SLOW_OWNERS)
    opened = await read_all(company, nodes)
    circle = Circle(company)
    await circle.form(nodes)
    await circle.write(nodes)
    opened_in_group = await circle.read(nodes)
    await circle.remove(company.storing[2], nodes)
    await circle.write(nodes)
    await asyncio.to_thread(use_program, company, nodes)

    await asyncio.gather(*(node.stop() for node in nodes))
    await start_all(nodes)
    await fleet.settle(nodes)
    assert await read_all(company, nodes, shift=2) == opened
    # What the one who was taken out wrote before counts for nobody else any more; two have written since, for three.
    assert await circle.read(nodes) == opened_in_group - 3 + 2 * 3

    needles = [*company.needles(), *circle.needles()]
    assert found_in(files_of(nodes), needles) == []  # while the nodes write
    await asyncio.gather(*(node.stop() for node in nodes))
    files = files_of(nodes)
    assert found_in(files, needles) == []
    assert tells_of(company.storing, nodes) == []
    for canary in company.canaries():
        holders = {line.rpartition(" in ")[2].partition("/")[0] for line in found_in(files, [canary])}
        assert len(holders) >= REPLICAS, holders
    for member in company.storing:  # the same search finds an id where it may be
        assert any("records.sqlite" in line for line in found_in(files, member.ids()[:1]))
    note(
        f"{opened} reads opened of {len(company.members) * len(company.stored)}, {sum(map(len, files.values())):,} B"
    )


def use_program(company: Company, nodes: list[NodeProcess]) -> None:
    """One pass with `yz`: the first stores for the second, and the third, who is not meant, tries as well."""
    anna, ben, carla = (Person(member.home) for member in company.storing[:3])
    key = encode_public_key(company.storing[1].identity.public_key)
    owner = anna.at(nodes[0].url)
    links = {}
    for name, words, phrases in (
        ("for oneself", (), ()),
        ("for all", ("--public",), ()),
        ("for one", ("--to", key), ()),
        ("under a phrase", ("--passphrase-fd", "{fd0}"), (PHRASE,)),
    ):
        put = owner.yz("--json", "put", name, *words, stdin=name.encode(), passphrases=phrases)
        assert put.code == 0, put.stderr
        links[name] = put.object["link"]
    for person, node, name, code in (
        (ben, nodes[3], "for oneself", NOT_A_READER),
        (ben, nodes[3], "for all", 0),
        (ben, nodes[3], "for one", 0),
        (ben, nodes[3], "under a phrase", 0),
        (carla, nodes[5], "for one", NOT_A_READER),
    ):
        phrases = (PHRASE,) if name == "under a phrase" else ()
        got = person.at(node.url).yz("get", links[name], *_with(phrases), passphrases=phrases)
        assert (got.code, got.stdout) == (code, b"" if code else name.encode()), (name, got)
    wrong = carla.at(nodes[5].url).yz("get", links["under a phrase"], *_with(("x",)), passphrases=("x",))
    assert (wrong.code, wrong.stdout) == (REFUSED, b"")


def _with(phrases: tuple[str, ...]) -> tuple[str, ...]:
    return ("--passphrase-fd", "{fd0}") if phrases else ()
