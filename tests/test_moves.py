"""Who moved and who is revoked, as homes find it out over replicas that a test holds in its hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.group_homes import Holders, Member
from tests.test_records import MS, NET, WALL, Person, Replicas, refusal_of, refused
from yzdht.access import Reading
from yzdht.crypto.moving import (
    REVOCATION_SEQ,
    Moved,
    Revoked,
    consent,
    encode_move,
    sign_move,
    sign_revocation,
    verify_revocation,
)
from yzdht.crypto.naming import move_tag
from yzdht.crypto.sealing import Public, RecordDraft, Self, seal_record
from yzdht.errors import (
    Conflict,
    IdentityMoved,
    IdentityRevoked,
    InvalidSignature,
    NoNode,
    PersonMoved,
    PublisherRevoked,
    ReadQuorumFailed,
    StaleRecord,
    UsageError,
    WriteQuorumFailed,
    WrongTarget,
)
from yzdht.limits import DAY_S, MOVE_LOOKED_UP_S, MOVE_UNSEEN_S_MAX, PUT_RETRIES_MAX
from yzdht.moves import known_end
from yzdht.ports import KeptMove
from yzdht.readers import Group, Passphrase, To
from yzdht.wire.record import EXPIRES_NEVER, decode_record
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind
from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from yzdht.ids import PublicKey


SEQ = int(WALL * MS)
SILENT = Reading((), 1, 4)


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


@pytest.fixture
def anna(replicas: Replicas) -> Person:
    return Person(replicas)


@pytest.fixture
def ben(replicas: Replicas) -> Person:
    return Person(replicas)


@pytest.fixture
def new(replicas: Replicas) -> Person:
    """Whom somebody moves to."""
    return Person(replicas)


def key_of(person: Person) -> PublicKey:
    return person.identity.public_key


def move_of(old: Person, new: Person, seq: int = SEQ) -> bytes:
    return sign_move(old.author, consent(new.identity.signer, key_of(old), NET), int(WALL), seq)


def in_move_slot(author: Person, payload: bytes, seq: int = SEQ) -> bytes:
    draft = RecordDraft(Kind.MUTABLE, int(WALL), EXPIRES_NEVER, seq, move_tag(NET))
    return seal_record(draft, payload, Public(), author.author, b"")


def flipped(record: bytes) -> bytes:
    """The same with a signature that is not its publisher's."""
    return record[:-1] + bytes((record[-1] ^ 1,))


def next_day(replicas: Replicas | Holders) -> None:
    replicas.wall += MOVE_LOOKED_UP_S


async def public(person: Person, value: bytes = b"news") -> None:
    await person.records.store("news", value, Public())


# Revoked


async def test_nothing_of_a_revoked_publisher_is_returned(anna: Person, ben: Person) -> None:
    await public(anna)
    done = await anna.records.moves.revoke()

    error = await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)

    assert anna.identity.fingerprint in str(error)
    assert (done.publisher, done.successor) == (key_of(anna), None)
    assert (done.accepted, done.asked, done.needed) == (5, 8, 5)
    await refusal_of(ben.records.get_slot(key_of(anna), anna.records.tags_of("news")[1]), PublisherRevoked)
    await refusal_of(ben.records.get("nothing", key_of(anna)), PublisherRevoked)


async def test_a_revocation_is_stored_by_whoever_has_it(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    """It was kept apart; the keys are lost."""
    await public(anna)
    kept = sign_revocation(anna.author)

    done = await ben.records.moves.store_revocation(verify_revocation(kept, NET))

    assert done.publisher == key_of(anna)
    await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)
    await refusal_of(Person(replicas).records.get("news", key_of(anna)), PublisherRevoked)


async def test_nothing_is_sealed_to_somebody_revoked(replicas: Replicas, anna: Person, ben: Person) -> None:
    await ben.records.people.publish()
    await ben.records.moves.revoke()

    await refusal_of(anna.records.store("note", b"", To([key_of(ben)])), PublisherRevoked)
    await refusal_of(anna.records.put_bytes(b"", To([key_of(ben)])), PublisherRevoked)

    assert [record.tag for record in replicas.values()] == [move_tag(NET)]


async def test_a_revocation_once_seen_holds_whatever_nodes_show_later(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    await public(anna)
    await anna.records.moves.revoke()
    await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)

    for shown in ((), (move_of(anna, new),), (in_move_slot(anna, b"garbage", REVOCATION_SEQ - 1),)):
        next_day(replicas)
        replicas.shown[anna.move_target] = [Reading(shown, 4, 4)]
        await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)
    await replicas.settle()


async def test_one_node_that_shows_a_revocation_is_enough(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    await public(anna)
    revocation = sign_revocation(anna.author)
    low = in_move_slot(anna, encode_move(Revoked()), 5)

    for number, each in enumerate((revocation, low)):
        replicas.shown[anna.move_target] = [
            Reading((move_of(anna, new),), 4, 4),
            Reading((each,), 1, 4),
        ]
        reader = ben if number else Person(replicas)
        await refusal_of(reader.records.get("news", key_of(anna)), PublisherRevoked)
    await replicas.settle()


async def test_a_stolen_key_does_not_move_after_a_revocation(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    await public(anna)
    await anna.records.moves.revoke()
    thief = anna.other_device(replicas)

    await refusal_of(thief.records.moves.move(new.identity.signer), IdentityRevoked)
    await replicas.write(anna.move_target, move_of(anna, new, REVOCATION_SEQ - 1), None, 0)

    await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)


async def test_a_forged_revocation_is_none(replicas: Replicas, anna: Person, ben: Person) -> None:
    await public(anna)
    forged = flipped(sign_revocation(anna.author))
    replicas.shown[anna.move_target] = [Reading((forged,), 4, 4), Reading((), 4, 4)]

    assert (await ben.records.get("news", key_of(anna))).data == b"news"
    assert replicas.counted["rejected_records"] == 1


async def test_who_is_shown_forgeries_alone_reads_nothing_that_it_never_looked_up(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await public(anna)
    replicas.shown[anna.move_target] = [Reading((sign_revocation(ben.author),), 4, 4)]
    await refusal_of(ben.records.get("news", key_of(anna)), WrongTarget)

    replicas.shown[anna.move_target] = [Reading((flipped(sign_revocation(anna.author)),), 4, 4)]
    await refusal_of(ben.records.get("news", key_of(anna)), InvalidSignature)


async def test_a_revocation_made_elsewhere_counts_as_ones_own(replicas: Replicas, anna: Person) -> None:
    other = sign_move(anna.author, Revoked(), int(WALL), REVOCATION_SEQ)
    replicas.held[anna.move_target] = other

    done = await anna.records.moves.revoke()

    assert done.accepted == 5
    assert replicas.held[anna.move_target] == other


async def test_a_revocation_that_too_few_nodes_took_is_not_announced(
    replicas: Replicas, anna: Person
) -> None:
    for status in (Status.BUSY, Status.EQUIVOCATION):
        replicas.verdicts.append(refused(status, REVOCATION_SEQ))
        await refusal_of(anna.records.moves.revoke(), WriteQuorumFailed)

    assert anna.records.moves.own_end() is None


# Moved


async def test_a_value_of_somebody_who_moved_says_whereto(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    await public(anna)
    assert (await ben.records.get("news", key_of(anna))).moved_to is None

    done = await anna.records.moves.move(new.identity.signer)
    assert (await ben.records.get("news", key_of(anna))).moved_to is None, "it asks once a day"
    next_day(replicas)
    value = await ben.records.get("news", key_of(anna))

    assert (value.data, value.moved_to) == (b"news", key_of(new))
    assert (done.publisher, done.successor) == (key_of(anna), key_of(new))
    await replicas.settle()


async def test_nobody_is_followed_to_a_new_key_unasked(anna: Person, ben: Person, new: Person) -> None:
    for person in (ben, new):
        await person.records.people.publish()
    await ben.records.moves.move(new.identity.signer)

    error = await refusal_of(anna.records.store("note", b"", To([key_of(ben)])), PersonMoved)

    assert isinstance(error, PersonMoved)
    assert error.successor == key_of(new)
    assert f"yz id add NAME {encode_public_key(key_of(new))} --force" in error.hint
    assert new.identity.fingerprint in error.hint
    await anna.records.store("note", b"for the new key", To([key_of(new)]))


async def test_a_move_without_the_consent_of_its_successor_is_none(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    await public(anna)
    agreed = consent(new.identity.signer, key_of(ben), NET)  # to somebody else's end
    for payload in (
        encode_move(agreed),
        encode_move(replace(agreed, successor=key_of(ben))),
        encode_move(Moved(key_of(anna), agreed.signature)),
        b"",
    ):
        next_day(replicas)
        replicas.shown[anna.move_target] = [Reading((in_move_slot(anna, payload),), 4, 4)]
        assert (await ben.records.get("news", key_of(anna))).moved_to is None
    assert replicas.counted["rejected_moves"] == 4


async def test_a_chain_of_moves_is_shown_link_by_link_and_a_circle_does_no_harm(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    reader = Person(replicas)
    people = [anna, ben, new]
    for person in people:
        await public(person)
    for old, successor in zip(people, [ben, new, anna], strict=True):
        await old.records.moves.move(successor.identity.signer)

    moved_to = [(await reader.records.get("news", key_of(person))).moved_to for person in people]

    assert moved_to == [key_of(ben), key_of(new), key_of(anna)]


async def test_a_later_move_takes_the_place_of_an_earlier_one_and_never_the_other_way(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    await public(anna)
    await anna.records.moves.move(new.identity.signer)
    earlier = replicas.held[anna.move_target]
    await anna.records.moves.move(ben.identity.signer)
    reader = Person(replicas)
    assert (await reader.records.get("news", key_of(anna))).moved_to == key_of(ben)

    next_day(replicas)
    replicas.shown[anna.move_target] = [Reading((earlier,), 4, 4)]

    assert (await reader.records.get("news", key_of(anna))).moved_to == key_of(ben)
    await replicas.settle()


async def test_nobody_moves_to_themselves(anna: Person) -> None:
    await refusal_of(anna.records.moves.move(anna.identity.signer), UsageError)


async def test_a_move_that_is_outrun_each_time_gives_up(
    replicas: Replicas, anna: Person, new: Person
) -> None:
    replicas.verdicts.extend(refused(Status.SEQ_TOO_LOW, 9) for _ in range(1 + PUT_RETRIES_MAX))
    assert "revoke" in (await refusal_of(anna.records.moves.move(new.identity.signer), Conflict)).hint

    replicas.verdicts.append(refused(Status.BUSY))
    await refusal_of(anna.records.moves.move(new.identity.signer), WriteQuorumFailed)

    replicas.held[anna.move_target] = move_of(anna, new, REVOCATION_SEQ - 1)
    assert "stolen" in (await refusal_of(anna.records.moves.move(new.identity.signer), Conflict)).hint
    await anna.records.moves.revoke()


# Hidden, lost, out of reach


async def test_a_move_that_was_seen_is_not_forgotten_when_it_is_hidden(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    await public(anna)
    await anna.records.moves.move(new.identity.signer)
    await ben.records.get("news", key_of(anna))

    replicas.shown[anna.move_target] = [Reading((), 4, 4)]
    next_day(replicas)

    assert (await ben.records.get("news", key_of(anna))).moved_to == key_of(new)
    await replicas.settle()


async def test_what_this_home_has_forgotten_it_does_not_take_for_never_said(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    await public(anna)
    await anna.records.moves.move(new.identity.signer)
    await ben.records.get("news", key_of(anna))
    ben.marks._moves.clear()  # as of too many
    replicas.shown[anna.move_target] = [Reading((), 4, 4)]

    await refusal_of(ben.records.get("news", key_of(anna)), StaleRecord)


async def test_reads_go_on_for_a_week_while_the_move_slot_is_out_of_reach(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await public(anna)
    replicas.shown[anna.move_target] = [SILENT]
    await refusal_of(ben.records.get("news", key_of(anna)), ReadQuorumFailed)

    del replicas.shown[anna.move_target]
    await ben.records.get("news", key_of(anna))
    replicas.shown[anna.move_target] = [SILENT]
    replicas.wall += MOVE_UNSEEN_S_MAX - 1
    assert (await ben.records.get("news", key_of(anna))).data == b"news"
    replicas.wall += 1
    await refusal_of(ben.records.get("news", key_of(anna)), ReadQuorumFailed)


async def test_a_revocation_holds_while_nobody_answers(replicas: Replicas, anna: Person, ben: Person) -> None:
    await public(anna)
    await anna.records.moves.revoke()
    await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)

    replicas.shown[anna.move_target] = [SILENT]
    replicas.wall += 365 * DAY_S

    await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)


async def test_somebody_is_looked_up_in_the_round_of_the_read_and_once_a_day(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await public(anna)
    replicas.reads.clear()
    replicas.paths.clear()
    slot = anna.target("news", is_public=True)

    await ben.records.get("news", key_of(anna), paths=2)
    assert (replicas.reads, replicas.paths) == ([slot, anna.move_target], [2])
    replicas.wall += MOVE_LOOKED_UP_S - 1
    await ben.records.get("news", key_of(anna))
    assert len(replicas.reads) == 3
    replicas.wall += 1
    await ben.records.get("news", key_of(anna))
    assert replicas.reads[3:] == [slot, anna.move_target]


async def test_a_clock_that_was_set_back_puts_no_look_up_off(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await public(anna)
    ahead = KeptMove(b"", 0, is_revocation=False, looked_at=replicas.wall + 400 * DAY_S)
    ben.marks.keep_move(anna.identity.node_id, NET, ahead)
    replicas.reads.clear()

    await ben.records.get("news", key_of(anna))

    assert anna.move_target in replicas.reads


async def test_whoever_reads_keeps_a_revocation_alive(replicas: Replicas, anna: Person, ben: Person) -> None:
    await public(anna)
    await anna.records.moves.revoke()
    revocation = replicas.held[anna.move_target]
    await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)
    await replicas.settle()
    replicas.held.pop(anna.move_target)  # every holder lost it
    replicas.writes.clear()

    await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)
    await replicas.settle()
    assert replicas.writes == [], "once a day"
    next_day(replicas)
    await refusal_of(ben.records.get("news", key_of(anna)), PublisherRevoked)
    await replicas.settle()

    assert replicas.held[anna.move_target] == revocation
    assert [cas for _, _, cas in replicas.writes] == [None]


async def test_what_nobody_takes_to_prolong_is_for_another_day(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await public(anna)
    await anna.records.moves.revoke()
    get = ben.records.get("news", key_of(anna))
    await refusal_of(get, PublisherRevoked)
    replicas.is_reachable = False
    await replicas.settle()

    assert replicas.counted["moves_not_prolonged"] == 1


# Entries


async def test_entries_of_the_revoked_are_left_out_and_those_of_the_moved_say_whereto(
    replicas: Replicas, anna: Person, ben: Person, new: Person
) -> None:
    entries = []
    for person in (anna, ben, new):
        await person.records.store_entry("guestbook", b"was here", Public())
        entries.append(replicas.values()[-1].raw)
    [target] = {target for target, record, _ in replicas.writes if record.kind is Kind.MULTI}
    replicas.shown[target] = [Reading(tuple(entries), 4, 4)]
    await anna.records.moves.revoke()
    await ben.records.moves.move(new.identity.signer)
    reader = Person(replicas)
    replicas.paths.clear()

    values = await reader.records.get_entries("guestbook")

    assert {value.publisher: value.moved_to for value in values} == {
        key_of(ben): key_of(new),
        key_of(new): None,
    }
    assert len(replicas.paths) == 2, "the entries, then everybody who wrote one"
    replicas.shown[new.move_target] = [SILENT]
    assert len(await Person(replicas).records.get_entries("guestbook")) == 1


# Groups


async def test_what_a_revoked_member_stored_in_a_group_does_not_count() -> None:
    holders = Holders()
    anna, ben = Member(holders), Member(holders)
    await anna.records.groups.create("team")
    await ben.records.people.publish()
    await anna.records.groups.add("team", ben.key)
    await ben.records.groups.adopt("team", anna.records.groups.group_key("team"))
    await anna.records.store("plan", b"at ten", Group("team"))
    holders.wall += 1
    await ben.records.store("plan", b"at noon", Group("team"))
    assert (await anna.records.get_from_group("team", "plan")).data == b"at noon"
    await ben.records.moves.revoke()
    next_day(holders)

    assert (await anna.records.get_from_group("team", "plan")).data == b"at ten"
    await refusal_of(anna.records.get_from_group("team", "plan", ben.key), PublisherRevoked)
    await refusal_of(ben.records.store("plan", b"again", Group("team")), IdentityRevoked)
    await refusal_of(ben.records.delete_from_group("team", "plan"), IdentityRevoked)
    await refusal_of(ben.records.groups.create("other"), IdentityRevoked)
    await holders.settle()
    members = (await anna.records.groups.info("team")).members  # an admin's home takes them out
    assert [member.public_key for member in members] == [anna.key]


async def test_who_moved_is_not_taken_into_a_group_under_the_old_key() -> None:
    holders = Holders()
    anna, ben, new = (Member(holders) for _ in range(3))
    await anna.records.groups.create("team")
    await ben.records.people.publish()
    await ben.records.moves.move(new.identity.signer)

    await refusal_of(anna.records.groups.add("team", ben.key), PersonMoved)


# Oneself


async def test_an_identity_that_was_revoked_elsewhere_writes_no_more_and_reads_what_it_has(
    replicas: Replicas, anna: Person
) -> None:
    await anna.records.store("note", b"mine", Self())
    thief = anna.other_device(replicas)
    await thief.records.moves.revoke()
    next_day(replicas)
    count = len(replicas.values())

    for write in (
        anna.records.store("note", b"", Self()),
        anna.records.store("note", b"", Passphrase("correct horse")),
        anna.records.store_entry("note", b"", Public()),
        anna.records.delete("note"),
        anna.records.delete_entry("note"),
    ):
        error = await refusal_of(write, IdentityRevoked)
        assert "yz id new" in error.hint
    assert (await anna.records.get("note")).data == b"mine"
    await replicas.settle()
    assert [record.tag for record in replicas.values()[count:]] == [move_tag(NET)], "kept alive"
    identities = len(replicas.identities())
    replicas.wall += 8 * DAY_S
    await anna.records.get("note")
    await replicas.settle()
    assert len(replicas.identities()) == identities, "it is published no more"


async def test_an_identity_that_moved_writes_no_more(anna: Person, new: Person) -> None:
    await anna.records.store("note", b"mine", Self())
    await anna.records.moves.move(new.identity.signer)

    error = await refusal_of(anna.records.store("note", b"", Self()), IdentityMoved)

    assert isinstance(error, IdentityMoved)
    assert error.successor == key_of(new)
    assert new.identity.fingerprint in str(error)
    assert (await anna.records.get("note")).moved_to == key_of(new)
    await new.records.store("note", b"", Self())


async def test_nobody_is_kept_from_writing_by_nodes_that_do_not_say_how_oneself_stands(
    replicas: Replicas, anna: Person
) -> None:
    replicas.shown[anna.move_target] = [SILENT]
    await anna.records.store("note", b"", Self())

    replicas.is_reachable = False
    await refusal_of(anna.records.store("note", b"", Self()), NoNode)


def test_what_is_kept_is_read_back(anna: Person, new: Person) -> None:
    move = decode_record(move_of(anna, new))
    looked = KeptMove(b"", 0, is_revocation=False, looked_at=WALL)

    assert known_end(None) is known_end(looked) is None
    assert known_end(looked._replace(record=sign_revocation(anna.author))) == Revoked()
    end = known_end(looked._replace(record=move.raw, seq=move.seq))
    assert isinstance(end, Moved)
    assert end.successor == key_of(new)
