"""Slots written until a quorum holds them; seqs and tries through names are tested in test_records.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.test_records import MS, NET, WALL, Person, Replicas, refused
from yzdht.access import Writing
from yzdht.crypto.naming import multi_target, mutable_target, public_tag
from yzdht.crypto.sealing import Public
from yzdht.crypto.signing import RecordChecks
from yzdht.errors import CasMismatch, Conflict, WriteQuorumFailed
from yzdht.limits import DAY_S, PUT_RETRIES_MAX, RECORD_LIFE_S_MAX
from yzdht.ports import Mark
from yzdht.slot_writer import Intent, SlotWriter
from yzdht.slots import Slot, SlotReader
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.ids import Target


TAG = public_tag(NET, "note")


class Desk:
    """Somebody who writes one slot."""

    def __init__(self, kind: Kind = Kind.MUTABLE) -> None:
        self.replicas = Replicas()
        self.person = Person(self.replicas)
        publisher = self.person.identity.public_key
        is_entry = kind is Kind.MULTI
        target = multi_target(NET, TAG) if is_entry else mutable_target(NET, publisher, TAG)
        self.slot = Slot(publisher, TAG, target, kind)
        records = self.person.records
        self.slots = records._slots
        self.writer = SlotWriter(self.replicas, records._slots, records._keys)

    def intent(self, value: bytes | None = b"v", if_seq: int | None = None, life_s: int = DAY_S) -> Intent:
        return Intent(self.slot, value, Public(), life_s, if_seq, ("a warning",))


async def test_a_receipt_says_what_was_written_and_where() -> None:
    desk = Desk()

    receipt = await desk.writer.write(desk.intent())

    assert (receipt.seq, receipt.expires) == (int(WALL * MS), int(WALL) + DAY_S)
    assert (receipt.accepted, receipt.asked, receipt.needed) == (5, 8, 5)
    assert receipt.link.startswith("yz:")
    assert receipt.warnings == ("a warning",)


async def test_an_entry_is_of_its_kind_and_no_link_names_it() -> None:
    desk = Desk(Kind.MULTI)

    receipt = await desk.writer.write(desk.intent())

    [(target, record, _)] = desk.replicas.writes
    assert (target, record.kind) == (multi_target(NET, TAG), Kind.MULTI)
    assert receipt.link == ""


async def test_what_this_home_has_written_counts_for_the_next_seq_of_that_slot_alone() -> None:
    desk = Desk(Kind.MULTI)
    first = await desk.writer.write(desk.intent())
    second = await desk.writer.write(desk.intent())
    other = Desk(Kind.MULTI)
    other.person.marks.raise_to(
        desk.slot.target, Mark(2**60, desk.replicas.writes[0][1].hash, 0, is_tombstone=False)
    )

    assert second.seq == first.seq + 1
    assert (await other.writer.write(other.intent())).seq == int(WALL * MS)


async def test_a_record_expires_no_earlier_than_what_it_replaces_and_within_30_days() -> None:
    desk = Desk()
    await desk.writer.write(desk.intent(life_s=RECORD_LIFE_S_MAX))
    desk.replicas.wall += DAY_S

    receipt = await desk.writer.write(desk.intent(life_s=10))

    assert receipt.expires == int(WALL) + RECORD_LIFE_S_MAX


async def test_a_condition_that_does_not_hold_says_what_is_stored() -> None:
    desk = Desk()
    first = await desk.writer.write(desk.intent(if_seq=0))
    for if_seq in (0, first.seq - 1):
        with pytest.raises(CasMismatch) as caught:
            await desk.writer.write(desk.intent(if_seq=if_seq))
        assert caught.value.seq == first.seq

    assert (await desk.writer.write(desk.intent(if_seq=first.seq))).seq == first.seq + 1


async def test_a_refusal_is_told_and_remembered_by_nobody() -> None:
    desk = Desk()
    desk.replicas.verdicts.append(refused(Status.OVER_QUOTA))
    with pytest.raises(WriteQuorumFailed, match="over quota"):
        await desk.writer.write(desk.intent())

    assert desk.slots.mark(desk.slot) is None


async def test_whoever_is_faster_each_time_wins() -> None:
    desk = Desk()
    seq = int(WALL * MS)
    desk.replicas.verdicts.extend(
        Writing(0, 8, 5, Status.SEQ_TOO_LOW, seq + 10 * number) for number in range(1, 5)
    )
    with pytest.raises(Conflict):
        await desk.writer.write(desk.intent())

    assert len(desk.replicas.writes) == 1 + PUT_RETRIES_MAX


async def test_a_deletion_is_written_as_a_tombstone() -> None:
    desk = Desk()
    await desk.writer.write(desk.intent(None))

    assert desk.replicas.writes[0][1].is_tombstone


async def test_a_condition_that_this_very_record_has_met_is_no_mismatch() -> None:
    """A node stored it and never answered; the next one finds it there."""
    desk = Desk()

    class Silent(Replicas):
        async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
            await super().write(target, record, cas, keep_until)
            return await super().write(target, record, cas, keep_until)

    silent = Silent()
    writer = SlotWriter(
        silent, SlotReader(silent, desk.person.marks, RecordChecks(NET)), desk.person.records._keys
    )

    receipt = await writer.write(desk.intent(if_seq=0))

    assert receipt.seq == int(WALL * MS)
    with pytest.raises(CasMismatch):
        await writer.write(desk.intent(if_seq=0))
