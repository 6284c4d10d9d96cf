"""What becomes of a running node when its machine fails it: a disk, a database, a clock, a port, a folder.

Of each: what the operator is told and by which exit code, what goes on, what comes back by itself, and that nothing
acknowledged is lost. Floods and other strangers are in tests/hostile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import time
from itertools import count
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.process.clocks import Clock
from tests.process.disks import SmallDisk
from tests.process.fleet import WITH_HTTP, Spec, run_yz, steady_port, through, until
from tests.process.library import Library
from tests.process.test_durability import WRITES_BETWEEN_KILLS, Writer, lost
from yzdht import Identity, StaleRecord, WriteQuorumFailed
from yzdht.limits import DAY_S, GOODBYE_S_MAX, HOUR_S, LEAVE_S_MAX


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.process.conftest import Note
    from tests.process.fleet import Event, Fleet, NodeProcess
    from yzdht import Client


pytestmark = pytest.mark.process

_DISK_BYTES = 12 << 20


async def status_of(node: NodeProcess) -> Event:
    _, status = await node.page("/status.json")
    return status


async def is_ready(node: NodeProcess) -> bool:
    status, _ = await node.page("/readyz")
    return status == 200


async def doctor(node: NodeProcess, *words: str, before: Sequence[str] = ()) -> tuple[int, dict[str, Event]]:
    """Its exit code, and the worst finding of each check, with the facts of all of that check."""
    code, out, _ = await run_yz("--json", "doctor", "--data", str(node.data), *words, before=before)
    worst = ["ok", "unknown", "warning", "problem"]
    checks = sorted(json.loads(out)["checks"], key=lambda check: worst.index(check["outcome"]))
    found: dict[str, Event] = {}
    for check in checks:
        before_it = found.get(check["check"], {"fact": ""})["fact"]
        found[check["check"]] = check | {"fact": f"{before_it}; {check['fact']}".removeprefix("; ")}
    return code, found


async def refused(node: NodeProcess) -> tuple[int, str, str]:
    """A start that cannot be: the exit code, the error and the hint, which is all that it says."""
    said_before = len(node.stderr())
    await node.spawn()
    code = await node.ended()
    assert node.events == []
    [line] = node.stderr()[said_before:].splitlines()
    told = json.loads(line)
    error, hint = told["error"], told["hint"]
    assert told == {"error": error, "hint": hint, "exitCode": code}
    return code, error, hint


async def write_for_ever(library: Library, dht: Client) -> NoReturn:
    """Until an error leaves it; a disk without a free block takes some more in the last one of a file."""
    for number in count():
        await library.overwrite(dht, [f"filling/{number}"], "some value")
    raise AssertionError


# A disk that fills


async def test_a_node_on_a_full_disk_says_so_goes_on_reading_and_recovers_by_itself(fleet: Fleet) -> None:
    async with SmallDisk(fleet.folder / "node" / "data", _DISK_BYTES) as disk:
        node = await fleet.start(Spec("node", WITH_HTTP, before=disk.before))
        library = Library()
        async with through(node, Identity.generate()) as dht:
            await library.fill(dht, 10, "before")
            disk.fill()
            with pytest.raises(WriteQuorumFailed, match="busy") as told:
                await write_for_ever(library, dht)
            assert "disks are full" in told.value.hint

            full, hint = (
                f"{node.data / 'records.sqlite'} cannot grow: the disk is full",
                "free some space on this disk",
            )
            assert f'disk refuses records reason="{full}" hint="{hint}"' in node.stderr()
            answer, ready = await node.page("/readyz")
            assert (answer, ready["reason"], ready["hint"]) == (503, f"its disk fails: {full}", hint)
            status = await status_of(node)
            assert status["state"] == "failing"
            errors = [(error["what"], error["hint"]) for error in status["errors"]]
            assert (f"the disk refused records: {full}", hint) in errors
            await library.check(dht)  # reads go on
            code, shown, _ = await run_yz("status", "--data", str(node.data), before=disk.before)
            assert code == 0
            assert f"the disk refused records: {full}" in shown.decode()
            code, found = await doctor(node, before=disk.before)
            assert code == 1
            assert found["disk space"]["outcome"] == found["readiness"]["outcome"] == "problem"
            assert found["readiness"]["hint"] == hint
            assert full in found["node reports"]["fact"]

            disk.make_room()
            await until(lambda: is_ready(node), "it finds by itself that there is room again")
            assert "disk takes records again" in node.stderr()
            await library.overwrite(dht, ["after"], "it")
            await library.check(dht)
        await node.stop()


async def test_a_full_disk_costs_no_writer_anything_and_a_start_says_what_is_missing(fleet: Fleet) -> None:
    """Of three nodes one has no room: the two others are a quorum."""
    first = await fleet.start(Spec("first"))
    second = await fleet.start(Spec("second", bootstrap=[first.url]))
    async with SmallDisk(fleet.folder / "full" / "data", _DISK_BYTES) as disk:
        full = await fleet.start(Spec("full", bootstrap=[first.url], before=disk.before))
        await fleet.settle([first, second, full])
        library, identity = Library(), Identity.generate()
        async with through(full, identity) as dht:
            await library.fill(dht, 20, "before")
            disk.fill()
            await library.overwrite(dht, [f"before/{n}" for n in range(1, 20)], "while full")
            await library.check(dht)
        await full.kill()
        await full.start()  # with the log that is there: it serves what it has, and others what it missed
        assert "run.json not written" in full.stderr()
        async with through(full, identity) as dht:
            await library.check(dht)
        disk.make_room()
        await full.stop()  # that folds the log into the file, and takes it away

        disk.fill()
        full_text = f"{full.data / 'records.sqlite'} cannot grow: the disk is full"
        assert await refused(full) == (1, full_text, "free some space on this disk")
        disk.make_room()
        await full.start()
        async with through(full, identity) as dht:
            await library.check(dht)


# A clock that is off


@pytest.mark.parametrize(
    ("shift_s", "word", "relation"), [(DAY_S, "fast", "ahead of"), (-DAY_S, "slow", "behind")]
)
async def test_a_clock_that_is_off_at_the_start_is_told_with_what_to_do(
    fleet: Fleet, tmp_path: Path, shift_s: float, word: str, relation: str
) -> None:
    clock = Clock(tmp_path / "clock", shift_s)
    others = await fleet.grow(2, WITH_HTTP)
    urls = [node.url for node in others]
    off = await fleet.start(Spec("off", WITH_HTTP, bootstrap=urls, before=clock.before))
    await fleet.settle([*others, off])

    status, ready = await off.page("/readyz")
    assert status == 503
    assert f"(this machine's clock is about 24 hours {word})" in ready["reason"]
    assert ready["hint"] == "set this machine's clock"
    code, found = await doctor(off, "--bootstrap", urls[0], before=clock.before)
    assert code == 1
    assert found["clock"]["outcome"] == "problem"
    assert found["clock"]["fact"] == f"is 1 d {relation} 1 other node"
    assert found["clock"]["hint"] == "set this machine's clock, and let it be kept right by NTP"
    for other in others:
        assert await is_ready(other)
    code, out, said = await run_yz(
        "--home",
        str(tmp_path / "home"),
        "--node",
        urls[0],
        "put",
        "name",
        stdin=b"value",
        before=clock.before,
    )  # a writer whose own clock is off
    if word == "slow":
        assert code == 0  # what it stores expires a day early, and is no danger to anybody
    else:
        assert (code, out) == (6, b"")
        assert re.search(r"your clock is 8640\d s fast", said)
        assert "yz: hint: set this machine's clock, then try again" in said


async def test_nothing_vanishes_when_clocks_jump_a_day_forward_and_come_back(
    fleet: Fleet, tmp_path: Path
) -> None:
    """All clocks of a network jump, then one of them alone; most of what is stored expires within the day."""
    clocks = [Clock(tmp_path / f"clock{number}") for number in range(3)]
    first = await fleet.start(Spec("n0", WITH_HTTP, before=clocks[0].before))
    nodes = [first] + [
        await fleet.start(Spec(f"n{number}", WITH_HTTP, bootstrap=[first.url], before=clocks[number].before))
        for number in (1, 2)
    ]
    await fleet.settle(nodes)
    identity = Identity.generate()
    values = {f"name/{number}": str(number).encode() for number in range(10)}
    async with through(first, identity) as dht:
        for name, value in values.items():
            await dht.store(name, value, ttl=HOUR_S)
        await jump(nodes, clocks, DAY_S)
        with pytest.raises(StaleRecord):  # nobody is shown what has expired, and who knows better says so
            await dht.get("name/1")
        await jump(nodes, clocks, 0)
        assert {name: (await dht.get(name)).data for name in values} == values

        await jump(nodes[2:], clocks[2:], DAY_S)
        await until(
            lambda: has_error(nodes[2], "clock is ahead of those of others"), "it is told so by others"
        )
        await dht.store("name/1", b"meanwhile", ttl=HOUR_S)
        assert (await dht.get("name/1")).data == b"meanwhile"
        await jump(nodes[2:], clocks[2:], 0)
        await until(lambda: is_ready(nodes[2]), "it is ready again")
        assert (await dht.get("name/1")).data == b"meanwhile"
    del values["name/1"]  # two of three took it in, and it was not to be had of the third
    for node in nodes:
        await node.kill()
    nodes[2].spec.bootstrap = []
    (nodes[2].data / "state").unlink()
    await nodes[2].start()  # alone: what it still shows it has kept itself
    async with through(nodes[2], identity) as dht:
        assert {name: (await dht.get(name)).data for name in values} == values


async def has_error(node: NodeProcess, what: str) -> bool:
    return any(what in error["what"] for error in (await status_of(node))["errors"])


async def jump(nodes: Sequence[NodeProcess], clocks: Sequence[Clock], shift_s: float) -> None:
    """Set the clocks of nodes, and wait until each has noticed."""
    seen = [node.stderr().count("clock jumped") for node in nodes]
    for clock in clocks:
        clock.set(shift_s)

    async def is_noticed() -> bool:
        return all(
            node.stderr().count("clock jumped") > count for node, count in zip(nodes, seen, strict=True)
        )

    await until(is_noticed, "the clock has jumped")


# A port that is taken, a folder that cannot be used


async def test_a_port_that_is_taken_is_told_with_what_to_do(fleet: Fleet) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        node = fleet.add(Spec("node", port=taken))
        code, error, hint = await refused(node)
        assert await node.run_in_words() == (code, f"yz-node: error: {error}\nyz-node: hint: {hint}\n")
        assert (code, hint) == (1, "choose another --port, or stop what is using this one")
        assert f"127.0.0.1:{taken}" in error

        node.spec.port, node.spec.flags = steady_port(), ["--http", "--http-port", str(taken)]
        code, error, hint = await refused(node)
        assert code == 1
        assert error == f"the status page: 127.0.0.1:{taken} is in use"
        assert "choose another --http-port" in hint
    await node.start()  # nothing was left behind


WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
"""Root is then a user like any other: modes and owners bind it."""

NOBODY = 65_534
_ACCESS_HINT = "check that the disk is not read-only and that this user may write there"


async def test_a_folder_that_cannot_be_written_is_told_with_what_to_do(fleet: Fleet) -> None:
    node = await fleet.start(Spec("node", before=WITHOUT_RIGHTS))
    await node.stop()
    node.data.chmod(0o500)
    code, error, hint = await refused(node)
    assert code == 1
    assert error.startswith(f"{node.data}/records.sqlite cannot be written: ")
    assert "that this user may write there" in hint
    node.data.chmod(0o700)
    await node.start()


async def test_a_disk_that_is_read_only_is_told_with_what_to_do(fleet: Fleet) -> None:
    async with SmallDisk(fleet.folder / "node" / "data", _DISK_BYTES) as disk:
        node = await fleet.start(Spec("node", before=disk.before))
        await node.stop()
        await disk.remount("ro")
        assert await refused(node) == (1, f"{node.data}/lock: Read-only file system", _ACCESS_HINT)
        await disk.remount("rw")
        await node.start()


async def test_a_folder_of_somebody_else_is_refused(fleet: Fleet) -> None:
    """To a user like any other it is closed; root, who could open it, would leave files in it that shut its owner out."""
    node = fleet.add(Spec("node", before=WITHOUT_RIGHTS))
    node.data.mkdir(parents=True, mode=0o700)
    os.chown(node.data, NOBODY, NOBODY)
    told = f"{node.data} belongs to user {NOBODY}, who can change it"
    what_to_do = f"run this as that user, or: chown 0 {node.data}"
    assert await refused(node) == (5, told, what_to_do)
    node.spec.before = []
    assert await refused(node) == (5, told, what_to_do)
    assert list(node.data.iterdir()) == []
    os.chown(node.data, 0, 0)
    await node.start()


async def test_something_else_in_the_place_of_a_folder_or_file_is_told(fleet: Fleet) -> None:
    node = fleet.add(Spec("node"))
    node.folder.mkdir()
    node.data.write_text("a file")
    assert await refused(node) == (1, f"{node.data}: File exists", "name a folder, not a file")
    node.data.unlink()
    node.data.mkdir(mode=0o700)
    for name in ("lock", "version", "node.key", "records.sqlite"):
        (node.data / name).mkdir()
        told = (1, f"{node.data / name}: Is a directory", "name a file, not a folder")
        assert await refused(node) == told
        (node.data / name).rmdir()
    await node.start()


# A database that is damaged


async def stored_in_three(fleet: Fleet, identity: Identity) -> tuple[list[NodeProcess], Library]:
    """Three nodes, each with everything; the third is stopped, so that all is in its one file."""
    nodes = await fleet.grow(3, WITH_HTTP)
    library = Library()
    async with through(nodes[0], identity) as dht:
        await library.fill(dht, 40, "shelf")
        library.public.add("marked")
        await library.overwrite(dht, ["marked"], MARK.decode())
    await nodes[2].stop()
    return nodes, library


MARK = b"here is where the disk will change a bit"


def garbled(path: Path) -> None:
    """Bytes in the middle, of every page but the first."""
    raw = bytearray(path.read_bytes())
    for at in range(4_096, len(raw), 4_096):
        raw[at : at + 64] = b"\xff" * 64
    path.write_bytes(raw)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replaced(path: Path) -> None:
    path.write_bytes(b"This is the text of somebody's letter, and no database.\n" * 100)


async def test_a_damaged_database_is_refused_stays_as_it_is_and_comes_back_from_others(fleet: Fleet) -> None:
    identity = Identity.generate()
    nodes, library = await stored_in_three(fleet, identity)
    hurt = nodes[2]
    records = hurt.data / "records.sqlite"
    sound = records.read_bytes()
    for damage in (garbled, cut_short, replaced):
        damage(records)
        damaged = records.read_bytes()
        code, error, hint = await refused(hurt)
        assert code == 1
        assert error.startswith(f"{records} is damaged")
        assert "restore it from a backup, or move the file away, with its -wal" in hint
        assert records.read_bytes() == damaged
        records.write_bytes(sound)

    garbled(records)
    code, found = await doctor(hurt)
    assert (code, found["database"]["outcome"]) == (1, "problem")
    records.rename(records.with_name("records.sqlite.damaged"))
    await hurt.start()
    async with through(nodes[0], identity) as dht:

        async def has_all() -> bool:
            await library.check(dht)  # a read hands on what one of the nearest lacks
            return all([await library.holders(dht, name, [hurt]) for name in library.seqs])

        await until(has_all, "what others have comes back")


async def test_a_damaged_log_is_refused_and_stays_as_it_is(fleet: Fleet) -> None:
    node = await fleet.start(Spec("node"))
    library, identity = Library(), Identity.generate()
    async with through(node, identity) as dht:
        await library.fill(dht, 10, "shelf")
    await node.kill()
    log = node.data / "records.sqlite-wal"
    sound = log.read_bytes()
    log.write_bytes(os.urandom(len(sound)))
    garbage = log.read_bytes()
    code, error, hint = await refused(node)
    assert (code, error) == (1, f"{log} is damaged")
    assert "move it away and go on without what was last written" in hint
    assert log.read_bytes() == garbage
    log.write_bytes(sound[:40_000] + bytes(4_096) + sound[44_096:])
    code, error, _ = await refused(node)
    assert code == 1
    assert re.search(r"-wal is damaged: \d+ transactions in it cannot be read", error)
    log.write_bytes(sound)
    await node.start()
    async with through(node, identity) as dht:
        await library.check(dht)


async def test_a_database_that_is_damaged_under_a_running_node_is_told_and_others_answer(
    fleet: Fleet,
) -> None:
    identity = Identity.generate()
    nodes, library = await stored_in_three(fleet, identity)
    hurt = nodes[2]
    await hurt.start()
    garbled(hurt.data / "records.sqlite")
    async with through(hurt, identity) as dht:
        await library.check(dht)  # from the two others
        await library.overwrite(dht, ["shelf/1"], "while it is damaged")
        await library.check(dht)
    damaged = f"{hurt.data / 'records.sqlite'} is damaged or not a database"
    assert f'records cannot be read reason="{damaged}" hint="restore it' in hurt.stderr()
    answer, ready = await hurt.page("/readyz")
    assert (answer, ready["reason"]) == (503, f"its disk fails: {damaged}")
    told = f"records cannot be read: {damaged}"
    [error] = [error for error in (await status_of(hurt))["errors"] if error["what"] == told]
    code, found = await doctor(hurt)
    assert (code, found["readiness"]["outcome"]) == (1, "problem")
    assert found["readiness"]["hint"] == error["hint"]
    await hurt.stop()  # with exit code 0: what it cannot read it cannot hand over
    code, error_at_start, _ = await refused(hurt)
    assert code == 1
    assert error_at_start.startswith(f"{hurt.data / 'records.sqlite'} is damaged")


async def test_a_record_that_the_disk_changed_comes_back_from_others(fleet: Fleet) -> None:
    identity = Identity.generate()
    nodes, library = await stored_in_three(fleet, identity)
    hurt = nodes[2]
    records = hurt.data / "records.sqlite"
    raw = records.read_bytes()
    assert MARK in raw
    records.write_bytes(raw.replace(MARK, MARK.swapcase()))
    await hurt.start()  # SQLite finds nothing wrong with it
    async with through(hurt, identity) as dht:
        await library.check(dht)
        assert "holds a record that the disk changed" in hurt.stderr()

        async def is_back() -> bool:
            await library.check(dht, ["marked"])
            return bool(await library.holders(dht, "marked", [hurt]))

        await until(is_back, "the record is whole again")
    await hurt.stop()
    assert MARK in records.read_bytes()


# A signal while everybody writes


@contextlib.asynccontextmanager
async def writing(
    fleet: Fleet, nodes: Sequence[NodeProcess], identity: Identity
) -> AsyncIterator[list[Writer]]:
    """Four write on and on through whichever node answers, and keep count of what was acknowledged."""
    writers = [Writer(f"writer{i}", fleet.folder / f"acknowledged{i}", names=5) for i in range(4)]
    is_over = asyncio.Event()
    urls = [node.url for node in nodes]
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write_until(is_over, urls, identity))
        try:
            yield writers
        finally:
            is_over.set()


async def has_gone_on(writers: Sequence[Writer]) -> None:
    """Wait until they have written some more."""
    goal = sum(len(writer.put_s) for writer in writers) + WRITES_BETWEEN_KILLS

    async def is_reached() -> bool:
        return sum(len(writer.put_s) for writer in writers) >= goal

    await until(is_reached, "the writers go on")


async def test_a_node_leaves_under_load_and_nothing_acknowledged_is_lost(fleet: Fleet, note: Note) -> None:
    """Each of three is stopped while four write, and started again."""
    nodes = await fleet.grow(3)
    identity = Identity.generate()
    async with writing(fleet, nodes, identity) as writers:
        for node in nodes:
            await has_gone_on(writers)
            started = time.monotonic()
            await node.stop()  # with exit code 0
            bound_s = LEAVE_S_MAX + GOODBYE_S_MAX
            note(f"left under load after {time.monotonic() - started:.2f} s, bound {bound_s:.0f} s")
            assert "left before everything was handed over" not in node.stderr()
            await node.start()
            await fleet.settle(nodes)
    note(f"{sum(len(w.put_s) for w in writers)} acknowledged, {sum(w.failures for w in writers)} failed")
    assert await lost(nodes, writers, identity) == []


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_under_load_ends_a_node_at_once(fleet: Fleet, second: signal.Signals) -> None:
    nodes = await fleet.grow(2)
    identity = Identity.generate()

    async def has_heard() -> bool:
        return "stopping signal=SIGTERM" in nodes[0].stderr()

    async with writing(fleet, nodes, identity) as writers:
        await has_gone_on(writers)
        nodes[1].send(signal.SIGSTOP)  # so that handing over does not end
        nodes[0].send(signal.SIGTERM)
        await until(has_heard, "it heard the first")
        nodes[0].send(second)
        assert await nodes[0].ended() == -second  # to a shell 143 or 130: no handler of its own is left
        nodes[1].send(signal.SIGCONT)
        await nodes[0].start()
        await fleet.settle(nodes)
    assert await lost(nodes, writers, identity) == []
