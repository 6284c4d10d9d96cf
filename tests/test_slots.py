"""Which of the records that nodes show is a slot's; through names and values it is tested in test_records.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.test_records import damaged
from tests.vectors.golden import KEY_A, KEY_B, NETWORK, SELF_KEY_A
from yzdht.access import Reading, Writing
from yzdht.crypto.naming import mutable_target, public_tag
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record, tombstone
from yzdht.crypto.signing import KeySigner, RecordChecks
from yzdht.errors import InvalidSignature, ReadQuorumFailed, StaleRecord, WireError, WrongTarget
from yzdht.limits import CLOCK_SKEW_S, DAY_S
from yzdht.ports import Now
from yzdht.slots import Slot, SlotReader
from yzdht.store.marks import MemoryMarks
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from yzdht.ids import Target


T = TypeVar("T")
WALL = 1_800_000_000.0
TAG = public_tag(NETWORK, "note")
PUBLISHER = KEY_A.public_key
SLOT = Slot(PUBLISHER, TAG, mutable_target(NETWORK, PUBLISHER, TAG))
AUTHOR = Author(KeySigner(KEY_A), SELF_KEY_A, NETWORK)


class Shown:
    """What nodes show, as a test says."""

    def __init__(self, target: Target = SLOT.target) -> None:
        self._target = target
        self.readings: list[Reading] = []
        self.wall = WALL
        self.rejected = 0

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        assert (list(targets), paths) == ([self._target], 1)
        return [self.readings]

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        raise AssertionError("reading writes nothing")

    def start(self, work: Coroutine[None, None, None]) -> None:
        raise AssertionError("reading begins nothing")

    async def compute(self, work: Callable[[], T]) -> T:
        raise AssertionError("reading computes nothing long")

    def now(self) -> Now:
        return Now(0, self.wall)

    def count(self, name: str) -> None:
        assert name == "rejected_records"
        self.rejected += 1


def draft(seq: int, life_s: int = DAY_S) -> RecordDraft:
    return RecordDraft(Kind.MUTABLE, int(WALL), int(WALL) + life_s, seq, TAG)


def record(seq: int, value: bytes = b"v", life_s: int = DAY_S) -> bytes:
    return seal_record(draft(seq, life_s), value, Public(), AUTHOR, b"")


def reader(*readings: Reading) -> tuple[SlotReader, Shown]:
    shown = Shown()
    shown.readings = list(readings)
    return SlotReader(shown, MemoryMarks(), RecordChecks(NETWORK)), shown


def by_quorum(*records: bytes) -> Reading:
    return Reading(records, 4, 4)


async def test_the_newest_of_all_is_taken() -> None:
    slots, _ = reader(by_quorum(record(1), record(3)), by_quorum(record(2)))

    seen = await slots.read(SLOT)

    assert seen is not None
    assert (seen.record.seq, seen.is_conflict) == (3, False)


async def test_nothing_shown_by_a_quorum_is_nothing() -> None:
    slots, _ = reader(Reading((), 1, 4), by_quorum())

    assert await slots.read(SLOT) is None


async def test_nothing_shown_by_too_few_is_no_answer() -> None:
    slots, _ = reader(Reading((), 1, 4), Reading((), 3, 4))
    with pytest.raises(ReadQuorumFailed, match="3 of"):
        await slots.read(SLOT)


async def test_what_was_seen_before_is_never_undone() -> None:
    slots, shown = reader(by_quorum(record(2)))
    await slots.read(SLOT)
    for older in (by_quorum(record(1)), by_quorum()):
        shown.readings = [older]
        with pytest.raises(StaleRecord) as caught:
            await slots.read(SLOT)
        assert caught.value.seen_seq == 2


async def test_what_was_seen_may_have_expired_since() -> None:
    slots, shown = reader(by_quorum(record(2)))
    await slots.read(SLOT)
    shown.wall += DAY_S + CLOCK_SKEW_S + 1

    assert await slots.read(SLOT) is None


async def test_two_bodies_with_one_seq_are_a_conflict_also_if_seen_one_after_the_other() -> None:
    slots, shown = reader(by_quorum(record(1, b"a"), record(1, b"b")))
    seen = await slots.read(SLOT)
    assert seen is not None
    assert seen.is_conflict
    slots, shown = reader(by_quorum(record(1, b"a")))
    await slots.read(SLOT)
    shown.readings = [by_quorum(record(1, b"b"))]

    seen = await slots.read(SLOT)

    assert seen is not None
    assert seen.is_conflict


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"no record", WireError),
        (damaged(record(1)), InvalidSignature),
        (
            seal_record(draft(1), b"", Public(), Author(KeySigner(KEY_B), SELF_KEY_A, NETWORK), b""),
            WrongTarget,
        ),
    ],
)
async def test_a_node_that_shows_what_is_not_the_slots_is_not_believed(
    raw: bytes, fault: type[Exception]
) -> None:
    slots, shown = reader(by_quorum(raw), by_quorum(record(1)))
    seen = await slots.read(SLOT)
    assert seen is not None
    assert (seen.record.seq, shown.rejected) == (1, 1)

    shown.readings = [by_quorum(raw)]
    with pytest.raises(fault):
        await slots.read(SLOT)


async def test_there_is_something_to_delete_if_nodes_or_this_home_say_so() -> None:
    slots, _ = reader()
    assert not slots.has_something(SLOT, [by_quorum()])
    assert slots.has_something(SLOT, [by_quorum(record(1))])
    assert slots.has_something(SLOT, [by_quorum()])  # known since then
    assert not slots.has_something(SLOT, [by_quorum(tombstone(draft(2), AUTHOR))])
    assert not slots.has_something(SLOT, [by_quorum()])
