"""Records sealed to one KEM key."""

from __future__ import annotations

import pytest

from tests.inviting import Host, Town
from tests.test_records import NET, refusal_of, refused
from yzdht.crypto.sealing import Public
from yzdht.errors import Conflict, NotAReader, WriteQuorumFailed
from yzdht.ids import TokenId
from yzdht.letters import answer_slot, letter_to, read, redemption_slot, send
from yzdht.limits import DAY_S, RECORD_LIFE_S_MAX, SEQ_MAX
from yzdht.ports import Mark
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind


TOKEN_ID = TokenId(b"i" * 16)


@pytest.fixture
def anna() -> Host:
    return Host(Town())


@pytest.fixture
def ben(anna: Host) -> Host:
    return Host(anna.town)


async def test_a_letter_is_read_by_whom_it_is_for_and_not_even_by_its_writer(anna: Host, ben: Host) -> None:
    place = anna.invites._place
    slot = answer_slot(NET, anna.key, TOKEN_ID, ben.key)

    record = await send(place, anna.identity.signer, slot, b"hello", letter_to(ben.kem, place.rng))

    assert read(record, tuple(k.key for k in ben.identity.kem)) == b"hello"
    with pytest.raises(NotAReader):
        read(record, tuple(k.key for k in anna.identity.kem))
    assert b"hello" not in record.raw


async def test_every_try_is_sealed_afresh(anna: Host, ben: Host) -> None:
    place = anna.invites._place
    slot = answer_slot(NET, anna.key, TOKEN_ID, ben.key)
    anna.town.verdicts.append(refused(Status.SEQ_TOO_LOW, int(anna.town.wall * 1_000) + 5))

    await send(place, anna.identity.signer, slot, b"hello", letter_to(ben.kem, place.rng))

    first, second = anna.town.values()
    assert second.seq > first.seq
    assert first.salt != second.salt
    assert first.hdr0[86:] != second.hdr0[86:]


async def test_a_letter_lives_as_long_as_it_is_told_and_no_shorter_than_the_one_before(
    anna: Host, ben: Host
) -> None:
    place = anna.invites._place
    slot = redemption_slot(NET, TOKEN_ID, anna.key)
    readers = letter_to(ben.kem, place.rng)

    long = await send(place, anna.identity.signer, slot, b"1", readers, 2 * DAY_S)
    short = await send(place, anna.identity.signer, slot, b"2", readers, 1)
    public = await send(place, anna.identity.signer, slot, b"3", Public())

    assert long.expires == short.expires == long.created + 2 * DAY_S
    assert long.seq < short.seq < public.seq
    assert public.expires == public.created + RECORD_LIFE_S_MAX
    assert public.payload == b"3"


async def test_a_letter_that_no_quorum_holds_is_not_sent(anna: Host) -> None:
    anna.town.verdicts.append(refused(Status.OVER_QUOTA))

    slot = redemption_slot(NET, TOKEN_ID, anna.key)
    work = send(anna.invites._place, anna.identity.signer, slot, b"", Public())
    await refusal_of(work, WriteQuorumFailed)


async def test_a_slot_without_numbers_left_is_said_to_be_one(anna: Host) -> None:
    slot = redemption_slot(NET, TOKEN_ID, anna.key)
    anna.marks.raise_to(slot.key, Mark(SEQ_MAX - 1, b"h" * 32, 2**31, is_tombstone=False))  # type: ignore[arg-type] # a hash

    await refusal_of(send(anna.invites._place, anna.identity.signer, slot, b"", Public()), Conflict)


def test_redemptions_lie_side_by_side_and_answers_apart(anna: Host, ben: Host) -> None:
    first, second = (redemption_slot(NET, TOKEN_ID, host.key) for host in (anna, ben))
    assert first.target == second.target
    assert first.key != second.key
    assert first.kind is Kind.MULTI

    answers = {answer_slot(NET, anna.key, TOKEN_ID, host.key).target for host in (anna, ben)}
    answers.add(answer_slot(NET, anna.key, TokenId(b"j" * 16), ben.key).target)
    assert len(answers) == 3
