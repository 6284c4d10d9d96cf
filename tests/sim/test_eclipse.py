"""An attacker with 500 ids ground around one target, in a thousand honest nodes.

It names only its own nodes near the target, acknowledges what is stored there and keeps nothing, or shows what is old.
Other targets are read and written as before, those that have its ids for all of their nearest included; and of the
target itself what was written, before or after it came, is nearly always found. Nothing forged is returned, and a reader
that saw newer is told that what is shown is stale. One kind of attacker shows an old record, one refuses every record for
a newer one that nobody has, one has few ids, spaced so that they look no denser than chance. The short form has one
network and one kind of attacker, the long form up to 10 networks for each of six kinds (YZ_SEEDS).
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.sim.authors import NET, Pen, forged, key
from tests.sim.forks import tell
from tests.sim.ground import (
    AUTHOR,
    HONEST,
    NAME,
    attacked,
    nearest_honest,
    neighbours,
    numbers,
    point_of,
    spaced,
)
from tests.sim.liars import Colluder, SimAccess, add_public, besiege, drive, get
from tests.sim.node import SimRng
from tests.sim.world import World, seeds
from yzdht.crypto.identity import IdentityKeys
from yzdht.errors import CryptoError, LookupFailed, StaleRecord
from yzdht.ids import Target
from yzdht.limits import BUCKET_SIZE, REACHES_WANTED, REPLICAS
from yzdht.records import Keeps, Records
from yzdht.store.groups import SqliteGroups
from yzdht.store.marks import MemoryMarks


if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.conftest import Figures
    from tests.sim.authors import Note
    from tests.sim.node import SimNode


IS_SOAK = os.environ.get("YZ_SOAK") == "1"
WITHIN_S = 3_000.0 if IS_SOAK else 600.0
"""Real seconds; much more than it needs, for a machine that is busy."""

SEEDS_MAX = 10  # of a network each that costs half a minute of CPU
KINDS = (
    ["ground 1", "ground 25", "ground 500", "ground 25 stale", "ground 25 refusing", "spaced 60"]
    if IS_SOAK
    else ["ground 25"]
)
"""How the ids were ground, over how many public prefixes the attacker is spread, and what it does beside being silent."""

OTHERS = 200 if IS_SOAK else 60
"""Other targets; each is written once and read once."""

READERS = 10
PATHS = (1, 3)
WHEN = ("before", "after")
NEIGHBOURS_FOUND = 0.99 if IS_SOAK else 0.95
NEIGHBOURS = 6
"""So many targets beside the attacked one are sought out: of the others hardly any is there."""


def test_the_spaced_ids_look_like_chance_and_are_most_of_the_nearest() -> None:
    point = int.from_bytes(attacked())
    ids = [point_of(number) ^ point for number in spaced()]
    honest = [point_of(number) ^ point for number in range(HONEST)]

    assert all(sum(other ^ middle < 2**256 // HONEST for other in ids) < 5 for middle in (0, *ids))
    assert len({*sorted(ids + honest)[:REPLICAS]} & {*ids}) >= 5


def test_the_ground_ids_are_nearer_than_any_honest_node() -> None:
    point, edge = int.from_bytes(attacked()), nearest_honest()
    distances = [point_of(number) ^ point for number in numbers()]

    assert len(set(distances)) == 500
    assert max(distances) < edge
    assert distances == sorted(distances)


# What it can deny


def build() -> World:
    world = World(is_connected=False)
    add_public(world, HONEST)
    if IS_SOAK:
        let_some_refresh(world)
    return world


def let_some_refresh(world: World) -> None:
    """Half of the nodes know from lookups of their own how dense the network is, the others from their tables."""
    for _ in range(REACHES_WANTED):
        for node in world.nodes[::2]:
            far = Target((node.point ^ (1 << 255) ^ world.random.getrandbits(255)).to_bytes(32))
            node.engine._searches.find(far, BUCKET_SIZE, lambda *_: None, node.now(), is_own_choice=True)
            node.pump()
        world.run_for(10)
    assert all(len(node.engine._searches._density._reaches) >= REACHES_WANTED for node in world.nodes[::2])


class Siege:
    """Reads and writes before and after the attacker came."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.honest = list(world.nodes)
        self.figures: Counter[str] = Counter()
        self.written: set[bytes] = set()

    def put(self, what: str, note: Note) -> None:
        self.written.add(note.raw)
        result = self.world.put(self.world.random.choice(self.honest), note.draft())
        self.count(f"put {what}", is_good=result.accepted >= result.needed)

    def read(self, what: str, note: Note, paths: int, readers: Iterable[SimNode]) -> None:
        """Read; a record older than the newest written counts as not found."""
        ops = [(reader, get(reader, note.target, paths)) for reader in readers]
        for result in self.world.gather(ops):
            shown = [record.raw for record in result.records]
            assert self.written.issuperset(shown), "a reader saw what nobody wrote"
            self.count(f"get {what} paths={paths}", is_good=shown == [note.raw])

    def count(self, what: str, *, is_good: bool) -> None:
        self.figures[f"{what}|all"] += 1
        self.figures[f"{what}|good"] += is_good

    def is_beside(self, note: Note) -> bool:
        """True if a ground id is one of the nearest to this other target, which is then partly denied too."""
        return any(isinstance(node, Colluder) for node in self.world.nearest(note.target, REPLICAS))

    def readers(self, wanted: int = READERS) -> list[SimNode]:
        return self.world.random.sample(self.honest, wanted)

    def run(self, ids: list[int], prefixes: int, manner: list[str]) -> dict[str, int]:
        target = Pen(AUTHOR)
        others = [Pen(200_000 + number).mutable("other", 1) for number in range(OTHERS)]
        early, late = others[: len(others) // 2], others[len(others) // 2 :]
        beside = [Pen(number).mutable("other", 1) for number in neighbours(NEIGHBOURS)]
        before, after = target.mutable(NAME, 1), target.mutable(NAME, 2)
        self.put("target, before", before)
        self.put_all("before", early, beside[::2])
        self.world.run_for(20)
        stale = before.raw if "stale" in manner else None
        besiege(self.world, ids, prefixes, before.target, stale=stale, is_refusing="refusing" in manner)
        self.world.run_for(20)
        for paths in PATHS:
            self.read("target, before", before, paths, self.readers())
        self.put("target, after", after)
        self.put_all("after", late, beside[1::2])
        self.world.run_for(20)
        for paths in PATHS:
            self.read("target, after", after, paths, self.readers())
            self.read_all("before", early, beside[::2], paths)
            self.read_all("after", late, beside[1::2], paths)
        assert all(map(self.is_beside, beside)), "these are no neighbours"
        for note in others:
            self.count("no neighbours of the target", is_good=not self.is_beside(note))
        return dict(self.figures)

    def put_all(self, when: str, others: list[Note], beside: list[Note]) -> None:
        for note in others:
            self.put(f"others, {when}", note)
        for note in beside:
            self.put(f"neighbours, {when}", note)

    def read_all(self, when: str, others: list[Note], beside: list[Note], paths: int) -> None:
        for number, note in enumerate(others):
            is_beside = self.is_beside(note)
            if paths == 1 or number % 5 == 0 or is_beside:
                whose = "neighbours" if is_beside else "others"
                self.read(f"{whose}, {when}", note, paths, self.readers(1))
        for note in beside:
            self.read(f"neighbours, {when}", note, paths, self.readers(READERS // 2))


def besieged(kind: str, world: World) -> dict[str, int]:
    how, prefixes, *manner = kind.split()
    return Siege(world).run(spaced() if how == "spaced" else numbers(), int(prefixes), manner)


@pytest.mark.timeout(WITHIN_S + 100)
def test_ground_ids_deny_their_target_and_no_other(figures: Figures) -> None:
    stories = [partial(besieged, kind) for kind in KINDS]
    told = tell(build, stories, seeds(1)[:SEEDS_MAX], within_s=WITHIN_S)
    for kind, results in zip(KINDS, told.results, strict=True):
        counted: Counter[str] = Counter()
        for result in results.values():
            counted.update(result)
        figures(*lines_of(kind, len(results), counted))
        check(counted)


def check(figures: Counter[str]) -> None:
    for what in ("put others, after", "get others, before paths=1", "get others, after paths=1"):
        assert rate(figures, what) >= 0.99, what
    for what in ("get others, before paths=3", "get others, after paths=3"):
        assert rate(figures, what) >= 0.97, what
    for when in WHEN:
        assert rate(figures, f"get target, {when} paths=3") >= 0.9, when
        for paths in PATHS:
            assert rate(figures, f"get neighbours, {when} paths={paths}") >= NEIGHBOURS_FOUND, when
        assert rate(figures, f"put target, {when}") >= 0.9, when
        assert rate(figures, f"put neighbours, {when}") >= NEIGHBOURS_FOUND, when
    assert rate(figures, "no neighbours of the target") >= 0.95


def rate(figures: Counter[str], what: str) -> float:
    return figures[f"{what}|good"] / figures[f"{what}|all"]


def lines_of(kind: str, networks: int, figures: Counter[str]) -> list[str]:
    how, prefixes, *manner = kind.split()
    count = len(spaced() if how == "spaced" else numbers())
    lines = [
        f"{networks} networks of {HONEST}, {count} {how} ids in {prefixes} prefixes, {' '.join(manner) or 'silent'}"
    ]
    for what in sorted(name.removesuffix("|all") for name in figures if name.endswith("|all")):
        good, total = figures[f"{what}|good"], figures[f"{what}|all"]
        lines.append(f"  {what:34} {good:5} of {total:5}  {good / total:6.1%}")
    return lines


# What it can show


def reader_of(world: World, node: SimNode) -> Records:
    """Somebody who reads through a node, with real checks and a memory."""
    somebody = IdentityKeys(key(300_000), (), bytes(32))
    return Records(
        somebody, NET, SimAccess(world, node), Keeps(MemoryMarks(), SqliteGroups(None)), SimRng("reader")
    )


def overtaken(world: World, shown: str) -> tuple[Records, Records]:
    """Sixty honest nodes with a record in its second version, then forty colluders nearest to it.

    Returns:
        Somebody who read it before they came, and somebody who did not.

    """
    pen = Pen(AUTHOR, is_signed=True)
    honest = add_public(world, 60)
    older, newer = (pen.mutable(NAME, seq, b"version %d" % seq) for seq in (1, 2))
    for note in (older, newer):
        result = world.put(honest[0], note.draft())
        assert result.accepted >= result.needed
        world.run_for(1)
    old_hand, novice = reader_of(world, honest[7]), reader_of(world, honest[8])
    assert drive(old_hand.get(NAME, pen.public_key)).data == b"version 2"
    stale = {"older": older.raw, "nothing": None, "forged": forged(newer)}[shown]
    besiege(world, numbers()[:40], 40, older.target, stale=stale)
    world.run_for(20)
    return old_hand, novice


@pytest.mark.parametrize(("shown", "seq"), [("older", 1), ("nothing", 0)])
def test_a_reader_that_saw_newer_is_told_that_the_answer_is_stale(shown: str, seq: int) -> None:
    with World(is_signed=True, is_connected=False) as world:
        old_hand, _ = overtaken(world, shown)
        with pytest.raises(StaleRecord) as caught:
            drive(old_hand.get(NAME, key(AUTHOR).public_key))

        assert (caught.value.seq, caught.value.seen_seq) == (seq, 2)


@pytest.mark.parametrize("shown", ["older", "nothing", "forged"])
@pytest.mark.parametrize("paths", PATHS)
def test_whatever_the_colluders_show_a_value_is_one_that_was_written(shown: str, paths: int) -> None:
    with World(is_signed=True, is_connected=False) as world:
        old_hand, novice = overtaken(world, shown)
        assert look(old_hand, paths) in (b"version 2", None)
        assert look(novice, paths) in (b"version 2", b"version 1", None)


def look(records: Records, paths: int) -> bytes | None:
    """What somebody reads; None for an error that says so."""
    try:
        data: bytes = drive(records.get(NAME, key(AUTHOR).public_key, paths)).data
    except (LookupFailed, CryptoError):
        return None
    return data
