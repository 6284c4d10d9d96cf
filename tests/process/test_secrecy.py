"""Nobody but its readers sees a value, a name, a passphrase or the name of a private network.

Everything that any of them sent over a WebSocket is kept by wiretaps, in front of every node, through which all clients
and all other nodes have to go. That and every file of every node is searched for the secrets in eleven forms. The same
search finds a public value in the files, and on the wire what was planted there raw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import until
from tests.process.needles import files_below, found_in
from tests.process.tapped import NODES, plant, strangers_to_the_taps
from yzdht import Public


if TYPE_CHECKING:
    from tests.process.conftest import Note
    from tests.process.tapped import Tapped


pytestmark = pytest.mark.process


async def use(tapped: Tapped, count: int) -> None:
    """Everything that a person does with secrets: store, overwrite, read from elsewhere, fail to read, delete."""
    drawn = tapped.secrets
    names = [f"{'x' * (number % 3)}{drawn.name}/{number}" for number in range(count)]
    async with tapped.client(0, 1) as dht:
        for number, name in enumerate(names):
            value = f"{'y' * (number % 3)}{drawn.value}" * (1 + number % 40)
            await dht.store(name, value.encode())
            await dht.store(name, value.encode("utf-16-le"))
        await dht.store(f"{drawn.name} of the canary", drawn.canary.encode(), readers=Public())
    async with tapped.client(2, 3) as dht:
        for name in names:
            assert (await dht.get(name)).seq
        await dht.get(f"{drawn.name}, never stored", default=None)
        for name in names[::4]:
            await dht.delete(name)


async def prove_secrecy(tapped: Tapped, note: Note, count: int) -> None:
    drawn = tapped.secrets
    await use(tapped, count)
    assert strangers_to_the_taps(tapped) == []
    talks = sum(len(tap.conversations) for tap in tapped.taps)
    assert talks >= NODES * (NODES - 1) // 2 + 4  # each pair of nodes, and two clients at two nodes each
    wires = tapped.wires()
    assert found_in(wires, [*drawn.all_but_canary, drawn.canary]) == []

    await plant(tapped)

    async def is_recorded() -> bool:
        return bool(found_in(tapped.wires(), [drawn.canary]))

    await until(is_recorded, "the wiretap saw the planted canary")
    shown = found_in(tapped.wires(), [drawn.canary])
    assert all("unmasked" in line and "utf-8" in line for line in shown), shown

    files = tapped.files()
    assert found_in(files, drawn.all_but_canary) == []
    shown = found_in(files, [drawn.canary])
    assert len({line.rpartition(" in ")[2].partition("/")[0] for line in shown}) == NODES, (
        shown
    )  # every node stores it
    assert any(name.endswith("records.sqlite-wal") for name in files)

    for node in tapped.nodes:
        await node.stop()
    files = tapped.files()  # now the log is folded into the file, and the state is written
    assert found_in(files, drawn.all_but_canary) == []
    assert found_in(files, [drawn.canary])
    assert {"state", "node.key", "records.sqlite"} <= {name.rpartition("/")[2] for name in files}
    assert found_in(files_below(tapped.home), drawn.all_but_canary) == []
    wire_bytes = sum(len(content) for place, content in wires.items() if "unmasked" not in place)
    file_bytes = sum(len(content) for content in files.values())
    note(f"searched {wire_bytes:,} B of {talks} connections and {file_bytes:,} B of files, {count} names")


async def test_no_wire_and_no_file_of_a_node_shows_a_value_or_a_name(tapped: Tapped, note: Note) -> None:
    await prove_secrecy(tapped, note, 24)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
async def test_no_wire_and_no_file_shows_one_of_a_thousand_values(tapped: Tapped, note: Note) -> None:
    await prove_secrecy(tapped, note, 1_000)
