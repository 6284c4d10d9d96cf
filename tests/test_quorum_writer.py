"""A record written until a quorum holds it; through values and identity records in test_slot_writer.py and test_people.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.test_records import LYING_FUTURE, MS, NET, WALL, Person, Replicas, damaged, refusal_of, refused
from yzdht.access import Reading, Writing
from yzdht.crypto.naming import mutable_target
from yzdht.crypto.sealing import Public, seal_record
from yzdht.errors import CasMismatch, Conflict, NoNode, UsageError, WriteQuorumFailed
from yzdht.limits import PUT_RETRIES_MAX
from yzdht.quorum_writer import QuorumWriter
from yzdht.slots import Slot
from yzdht.wire.record import Record, decode_record, seq_at
from yzdht.wire.rpc import Status


if TYPE_CHECKING:
    from yzdht.ids import Target


NOW = seq_at(WALL)


class Desk:
    """Somebody who writes one slot, and the seqs that were asked of them."""

    def __init__(self) -> None:
        self.replicas = Replicas()
        self.person = Person(self.replicas)
        tag = self.person.records.tags_of("note")[1]
        publisher = self.person.identity.public_key
        self.slot = Slot(publisher, tag, mutable_target(NET, publisher, tag))
        self.slots = self.person.records._slots
        self.writer = QuorumWriter(self.replicas, self.slots)
        self.asked_for: list[int] = []

    async def seal(self, least_seq: int) -> Record:
        self.asked_for.append(least_seq)
        draft = self.person.draft("note", max(least_seq, NOW), is_public=True)
        return decode_record(seal_record(draft, b"v", Public(), self.person.author, b""))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def outrun(number: int, accepted: int = 0) -> Writing:
    return Writing(accepted, 8, 5, Status.SEQ_TOO_LOW, number)


async def test_what_a_quorum_holds_is_returned_and_remembered(desk: Desk) -> None:
    written = await desk.writer.write(desk.slot, desk.seal)

    mark = desk.slots.mark(desk.slot)
    assert mark is not None
    assert (mark.seq, mark.hash) == (written.record.seq, written.record.hash)
    assert written.done.is_quorum
    assert desk.asked_for == [1]


async def test_it_is_sealed_again_above_what_outran_it(desk: Desk) -> None:
    desk.replicas.verdicts.extend([outrun(NOW), outrun(NOW + 7)])

    written = await desk.writer.write(desk.slot, desk.seal)

    assert desk.asked_for == [1, NOW + 1, NOW + 8]
    assert written.record.seq == NOW + 8


async def test_a_quorum_beside_something_newer_is_no_success_while_tries_are_left(desk: Desk) -> None:
    desk.replicas.verdicts.extend(outrun(NOW + 10 * number, accepted=5) for number in range(9))

    written = await desk.writer.write(desk.slot, desk.seal)

    assert written.record.raw == desk.replicas.writes[-1][1].raw
    assert len(desk.asked_for) == 1 + PUT_RETRIES_MAX


@pytest.mark.parametrize("number", [0, NOW - 1, NOW + 60 * 60 * MS, LYING_FUTURE])
async def test_a_newer_record_that_nobody_can_show_is_not_outbid(desk: Desk, number: int) -> None:
    desk.replicas.verdicts.append(outrun(number))
    await refusal_of(desk.writer.write(desk.slot, desk.seal), Conflict)
    assert desk.slots.mark(desk.slot) is None

    desk.replicas.verdicts.append(outrun(number, accepted=5))
    assert (await desk.writer.write(desk.slot, desk.seal)).record.seq == NOW


async def test_the_condition_is_the_least_seq_and_no_second_try_is_made(desk: Desk) -> None:
    for verdict in (outrun(NOW + 5), refused(Status.CAS_MISMATCH, NOW + 5)):
        desk.replicas.verdicts.append(verdict)
        error = await refusal_of(desk.writer.write(desk.slot, desk.seal, NOW + 2), CasMismatch)
        assert isinstance(error, CasMismatch)
        assert error.seq == NOW + 5

    assert desk.asked_for == [NOW + 3, NOW + 3]
    assert [cas for _, _, cas in desk.replicas.writes] == [NOW + 2, NOW + 2]


async def test_another_refusal_ends_it_at_once(desk: Desk) -> None:
    desk.replicas.verdicts.append(refused(Status.OVER_QUOTA))

    await refusal_of(desk.writer.write(desk.slot, desk.seal), WriteQuorumFailed)

    assert len(desk.asked_for) == 1


async def test_what_sealing_raises_leaves_as_it_is_and_nothing_is_sent(desk: Desk) -> None:
    async def refuse(least_seq: int) -> Record:
        raise UsageError(f"nothing to seal at {least_seq}")

    await refusal_of(desk.writer.write(desk.slot, refuse), UsageError)

    assert desk.replicas.writes == []


async def test_a_network_that_is_gone_is_no_conflict(desk: Desk) -> None:
    """Whether the record that the nodes hold is this very one cannot be told."""

    class Leaving(Replicas):
        async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
            done = await super().write(target, record, cas, keep_until)
            self.is_reachable = False
            return done

    for verdict, if_seq in ((outrun(LYING_FUTURE), None), (refused(Status.CAS_MISMATCH, NOW), 0)):
        replicas = Leaving()
        replicas.verdicts.append(verdict)
        writer = QuorumWriter(replicas, Person(replicas).records._slots)
        await refusal_of(writer.write(desk.slot, desk.seal, if_seq), NoNode)


async def test_a_forged_record_shows_nothing_newer(desk: Desk) -> None:
    good = desk.person.signed("note", b"v", LYING_FUTURE)
    desk.replicas.shown[desk.slot.target] = [Reading((damaged(good),), 4, 4)]
    desk.replicas.verdicts.append(outrun(LYING_FUTURE))

    await refusal_of(desk.writer.write(desk.slot, desk.seal), Conflict)
