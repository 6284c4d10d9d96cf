"""One's own keys published in the course of time, and those of others found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.test_records import MS, NET, WALL, Person, Replicas, damaged, refusal_of, refused
from yzdht.access import Reading, Writing
from yzdht.crypto.identity import IdentityKeys, KemKey
from yzdht.crypto.primitives import check_public_key
from yzdht.crypto.sealing import Public
from yzdht.errors import (
    Conflict,
    InvalidKey,
    InvalidSignature,
    KemKeyMissing,
    KeysUnknown,
    KeyTooOld,
    NoNode,
    NotAReader,
    ReadQuorumFailed,
    WriteQuorumFailed,
    YzError,
)
from yzdht.identity_record import About, sign_identity_record
from yzdht.ids import PublicKey, Target
from yzdht.limits import (
    CLOCK_SKEW_S,
    DAY_S,
    KEM_KEY_KEPT_S,
    KEM_KEY_LIFE_S,
    KEM_KEY_RENEW_S,
    KEM_KEY_USED_AFTER_S,
    KEYS_RELOADED_S,
    PERSON_IDENTITY_LIFE_S,
    PERSON_IDENTITY_RENEW_S,
    PERSON_LOOKED_UP_S,
    PUT_RETRIES_MAX,
)
from yzdht.people import _usable
from yzdht.readers import Passphrase, To
from yzdht.records import Origin
from yzdht.store.keyfile import Identity
from yzdht.wire.address import KemEntry, NodeType, decode_identity_payload
from yzdht.wire.frame import Caps
from yzdht.wire.record import SUITE, decode_record
from yzdht.wire.rpc import Status


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.wire.record import Record


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


@pytest.fixture
def anna(replicas: Replicas) -> Person:
    return Person(replicas)


@pytest.fixture
def ben(replicas: Replicas) -> Person:
    return Person(replicas)


def kept_in(folder: Path, replicas: Replicas, name: str = "person") -> Person:
    """Somebody whose keys lie in a file, as those of a home do."""
    path = folder / f"{name}.key"
    if not path.exists():
        Identity.generate(wall_now=WALL).save(path)
    return Person(replicas, Identity.load(path))


def with_its_own_key_as_kem(person: Person, wall: float) -> bytes:
    """An identity record that names the identity key for both uses."""
    identity = replace(person.identity, kem=(KemKey(person.identity.signing, int(wall) + KEM_KEY_LIFE_S),))
    about = About(NodeType.CLIENT, (), Caps.ALWAYS | Caps.CLIENT, PERSON_IDENTITY_LIFE_S)
    return sign_identity_record(identity, NET, about, wall, int(wall * MS) + 1).record.raw


def kem_of(record: Record) -> list[PublicKey]:
    return [kem.public_key for kem in decode_identity_payload(record.payload).kem]


def faults_of(person: Person) -> list[YzError]:
    fault = person.records.people.fault
    return [] if fault is None else [fault]


def published(person: Person, replicas: Replicas) -> Record:
    return [r for r in replicas.identities() if r.publisher == person.identity.public_key][-1]


# Values for others


async def test_a_value_for_somebody_is_read_by_them_and_its_publisher_and_nobody_else(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await ben.records.people.publish()

    receipt = await anna.records.store("note", b"for ben", To([ben.identity.public_key]))

    value = await ben.records.get("note", anna.identity.public_key)
    assert (value.data, value.origin) == (b"for ben", Origin.SEALED)
    assert (await anna.records.get("note")).data == b"for ben"
    assert receipt.warnings == ()
    await refusal_of(Person(replicas).records.get("note", anna.identity.public_key), NotAReader)
    assert b"for ben" not in replicas.values()[-1].raw


async def test_oneself_needs_not_be_published_to_be_named(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"mine", To([anna.identity.public_key]))

    assert (await anna.records.get("note")).data == b"mine"
    assert replicas.reads.count(anna.identity.node_id) <= 1  # type: ignore[arg-type] # it lies there


async def test_several_are_looked_up_at_once_and_known_for_a_day(replicas: Replicas, anna: Person) -> None:
    people = [Person(replicas) for _ in range(3)]
    for person in people:
        await person.records.people.publish()
    await anna.records.people.publish()
    replicas.reads.clear()
    replicas.paths.clear()
    readers = To(person.identity.public_key for person in people)

    await anna.records.store("note", b"1", readers)
    asked = [Target(person.identity.node_id) for person in people]
    asked += [person.move_target for person in (*people, anna)]
    assert replicas.reads == asked
    assert len(replicas.paths) == 1, "in one round"
    replicas.wall += PERSON_LOOKED_UP_S - 1
    await anna.records.store("note", b"2", readers)
    assert replicas.reads == asked
    replicas.wall += 1
    await anna.records.store("note", b"3", readers)
    assert replicas.reads == 2 * asked

    for person in people:
        assert (await person.records.get("note", anna.identity.public_key)).data == b"3"


async def test_who_has_published_nothing_cannot_be_sealed_to(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    error = await refusal_of(anna.records.store("note", b"", To([ben.identity.public_key])), KeysUnknown)

    assert ben.identity.fingerprint in str(error)
    assert replicas.values() == []


async def test_an_identity_record_that_is_forged_or_stale_is_not_sealed_to(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await ben.records.people.publish()
    target = ben.identity.node_id
    good = replicas.held[target]  # type: ignore[index] # it lies there
    replicas.shown[target] = [Reading((damaged(good),), 4, 4)]  # type: ignore[index] # as above
    await refusal_of(anna.records.store("note", b"", To([ben.identity.public_key])), InvalidSignature)

    replicas.shown[target] = [Reading((good,), 4, 4)]  # type: ignore[index] # as above
    [known] = await anna.records.people.seal_to([ben.identity.public_key])
    older = sign_identity_record(
        IdentityKeys(ben.identity.signing, (), ben.identity.storage_secret),
        NET,
        About(NodeType.CLIENT, (), Caps.ALWAYS | Caps.CLIENT, PERSON_IDENTITY_LIFE_S),
        WALL - DAY_S,
    )
    replicas.shown[target] = [Reading((older.record.raw,), 4, 4)]  # type: ignore[index] # as above
    replicas.wall += 2 * DAY_S

    assert [await anna.records.people.seal_to([ben.identity.public_key])] == [
        [known.__class__(known.person, known.kem, known.ended_s + 2 * DAY_S)]
    ]


async def test_what_was_known_of_somebody_serves_while_nodes_do_not_answer(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await ben.records.people.publish()
    await anna.records.people.seal_to([ben.identity.public_key])
    replicas.wall += 2 * DAY_S
    replicas.shown[ben.identity.node_id] = [Reading((), 1, 4)]  # type: ignore[index] # it lies there

    assert len(await anna.records.people.seal_to([ben.identity.public_key])) == 1
    replicas.is_reachable = False
    await refusal_of(anna.records.people.seal_to([ben.identity.public_key]), NoNode)


async def test_a_key_past_its_time_is_warned_of_and_then_refused(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    await ben.records.people.publish()
    to_ben = To([ben.identity.public_key])
    await anna.records.store("note", b"0", to_ben)
    replicas.wall = WALL + KEM_KEY_LIFE_S
    assert (await anna.records.store("note", b"1", to_ben)).warnings == ()

    replicas.wall = WALL + KEM_KEY_LIFE_S + 3 * DAY_S
    [warning] = (await anna.records.store("note", b"2", to_ben)).warnings
    assert ben.identity.fingerprint in warning
    assert "3 days ago" in warning
    assert (await ben.records.get("note", anna.identity.public_key)).data == b"2"

    replicas.wall = WALL + KEM_KEY_LIFE_S + KEM_KEY_USED_AFTER_S + 1
    await refusal_of(anna.records.store("note", b"3", to_ben), KeyTooOld)


async def test_ten_readers_who_were_away_for_29_days_open_what_was_sealed_for_them(
    replicas: Replicas, anna: Person, tmp_path: Path
) -> None:
    people = [kept_in(tmp_path, replicas, f"{number}") for number in range(10)]
    for person in people:
        await person.records.people.publish()
    await anna.records.store("note", b"wait for me", To(p.identity.public_key for p in people))

    replicas.wall += 29 * DAY_S
    for number, person in enumerate(people):
        again = kept_in(tmp_path, replicas, f"{number}")  # a new process
        assert again.identity.public_key == person.identity.public_key
        await again.records.people.publish()  # makes a new key
        assert (await again.records.get("note", anna.identity.public_key)).data == b"wait for me"


# Under a passphrase


async def test_a_value_under_a_passphrase_needs_it_of_everybody(anna: Person, ben: Person) -> None:
    receipt = await anna.records.store("note", b"secret", Passphrase("correct horse"))
    tag = anna.records.tags_of("note")[0]

    assert (await anna.records.get("note", passphrase="correct horse")).data == b"secret"
    assert (await ben.records.get_slot(anna.identity.public_key, tag, 1, "correct horse")).data == b"secret"
    for person in (anna, ben):
        read = person.records.get_slot
        for passphrase, fault in ((None, "PassphraseNeeded"), ("wrong", "WrongPassphrase")):
            with pytest.raises(Exception, match="passphrase") as caught:
                await read(anna.identity.public_key, tag, 1, passphrase)
            assert type(caught.value).__name__ == fault
    assert receipt.link.startswith("yz:")


async def test_a_passphrase_that_is_not_needed_is_not_looked_at(anna: Person) -> None:
    await anna.records.store("note", b"open", Public())

    assert (await anna.records.get("note", passphrase="x" * 5_000)).data == b"open"


# One's own keys in the course of time


async def test_a_new_key_is_made_in_time_and_the_one_before_stays_published(
    replicas: Replicas, tmp_path: Path
) -> None:
    person = kept_in(tmp_path, replicas)
    await person.records.people.publish()
    [first] = kem_of(published(person, replicas))

    replicas.wall += KEM_KEY_LIFE_S - KEM_KEY_RENEW_S + DAY_S
    await person.records.people.publish()

    new, old = kem_of(published(person, replicas))
    assert old == first
    on_disk = Identity.load(tmp_path / "person.key")
    assert [kem.key.public_key for kem in on_disk.kem] == [new, old]
    assert [kem.key.public_key for kem in person.records.identity.kem] == [new, old]


async def test_two_processes_of_one_home_make_one_key(replicas: Replicas, tmp_path: Path) -> None:
    one, two = kept_in(tmp_path, replicas), kept_in(tmp_path, replicas)
    await one.records.people.publish()
    replicas.wall += KEM_KEY_LIFE_S

    await one.records.people.publish()
    await two.records.people.publish()

    assert kem_of(published(two, replicas)) == [k.key.public_key for k in one.records.identity.kem]
    assert len(Identity.load(tmp_path / "person.key").kem) == 2


async def test_the_key_of_another_device_is_never_hidden(replicas: Replicas, tmp_path: Path) -> None:
    laptop = kept_in(tmp_path, replicas)
    exported = laptop.identity.export_bytes("a phrase of many words")
    phone = Person(replicas, Identity.import_bytes(exported, "a phrase of many words"))
    phone.identity.save(tmp_path / "phone.key")
    await laptop.records.people.publish()
    replicas.wall += KEM_KEY_LIFE_S
    await laptop.records.people.publish()
    before = published(laptop, replicas)

    assert "import again" in (await refusal_of(phone.records.people.publish(), KemKeyMissing)).hint
    assert [type(fault) for fault in faults_of(phone)] == [KemKeyMissing]
    assert published(laptop, replicas) == before

    merged = phone.identity.merged(laptop.records.identity, replicas.wall)
    merged.save(tmp_path / "phone.key", replace=True)
    await phone.records.people.publish()  # looks at its file
    assert faults_of(phone) == []
    assert kem_of(published(laptop, replicas)) == kem_of(before)


async def test_the_key_of_another_device_that_has_ended_is_not_waited_for(
    replicas: Replicas, tmp_path: Path
) -> None:
    laptop = kept_in(tmp_path, replicas)
    await laptop.records.people.publish()
    secret = laptop.identity.storage_secret
    phone = Person(replicas, Identity(laptop.identity.signing, (), secret))
    phone.identity.save(tmp_path / "phone.key")
    replicas.wall += KEM_KEY_LIFE_S + DAY_S  # the record that named it has ended, too

    await phone.records.people.publish()

    assert len(kem_of(published(phone, replicas))) == 1


async def test_no_key_is_made_before_a_foreign_one_is_taken_over(replicas: Replicas, tmp_path: Path) -> None:
    laptop = kept_in(tmp_path, replicas)
    phone = Person(replicas, Identity.import_bytes(laptop.identity.export_bytes("p" * 20), "p" * 20))
    phone.identity.save(tmp_path / "phone.key")
    replicas.wall += KEM_KEY_LIFE_S
    await laptop.records.people.publish()

    await refusal_of(phone.records.people.publish(), KemKeyMissing)

    assert len(Identity.load(tmp_path / "phone.key").kem) == 1


async def test_an_identity_record_that_no_quorum_took_is_not_published(
    replicas: Replicas, anna: Person
) -> None:
    replicas.verdicts.extend(Writing(3, 8, 5, Status.SEQ_TOO_LOW, 99) for _ in range(1 + PUT_RETRIES_MAX))

    await refusal_of(anna.records.people.publish(), Conflict)

    assert anna.marks.published_at(anna.identity.node_id, NET) is None


async def test_the_key_that_another_device_publishes_during_a_write_is_not_hidden(
    tmp_path: Path,
) -> None:
    class Raced(Replicas):
        async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
            if self.verdicts and decode_record(record).seq == int(self.wall * MS):
                self.held[target] = rival.record.raw
            return await super().write(target, record, cas, keep_until)

    replicas = Raced()
    laptop = kept_in(tmp_path, replicas)
    phone = Identity(laptop.identity.signing, (), laptop.identity.storage_secret)
    about = About(NodeType.CLIENT, (), Caps.ALWAYS | Caps.CLIENT, PERSON_IDENTITY_LIFE_S)
    phone.save(tmp_path / "phone.key")
    rival = sign_identity_record(phone.renewed(WALL), NET, about, WALL, int(WALL * MS) + 1)
    replicas.verdicts.append(Writing(5, 8, 5, Status.SEQ_TOO_LOW, rival.record.seq))

    await refusal_of(laptop.records.people.publish(), KemKeyMissing)

    assert replicas.held[Target(laptop.identity.node_id)] == rival.record.raw


async def test_what_nodes_lost_of_the_own_record_is_published_again(replicas: Replicas, anna: Person) -> None:
    await anna.records.people.publish()
    replicas.held.clear()
    replicas.wall += PERSON_IDENTITY_RENEW_S

    await anna.records.people.publish()

    assert len(replicas.identities()) == 2


async def test_keys_that_no_file_keeps_are_never_renewed(replicas: Replicas, anna: Person) -> None:
    """They would be lost with the process, and what was sealed to them."""
    await anna.records.people.publish()
    replicas.wall += KEM_KEY_LIFE_S

    await anna.records.people.publish()

    assert kem_of(published(anna, replicas)) == [anna.identity.kem[0].key.public_key]


async def test_a_year_of_a_home_keeps_few_keys_and_each_for_long_enough(
    replicas: Replicas, tmp_path: Path
) -> None:
    person = kept_in(tmp_path, replicas)
    ended: dict[PublicKey, float] = {}
    for _ in range(365 // 7):
        await person.records.people.publish()
        for kem in person.records.identity.kem:
            ended[kem.key.public_key] = kem.not_after
        replicas.wall += PERSON_IDENTITY_RENEW_S
    held = {kem.key.public_key for kem in person.records.identity.kem}

    assert len(ended) > 15
    assert len(held) <= 10
    for key, end in ended.items():
        assert key in held or end + KEM_KEY_KEPT_S < replicas.wall


async def test_a_record_that_was_signed_under_a_clock_ahead_is_outdone(
    replicas: Replicas, anna: Person
) -> None:
    replicas.wall += CLOCK_SKEW_S / 2
    await anna.records.people.publish()
    replicas.wall -= CLOCK_SKEW_S / 2
    anna.marks.set_published_at(anna.identity.node_id, NET, 0)

    await anna.records.people.publish()

    first, second = replicas.identities()
    assert second.seq == first.seq + 1 > int(replicas.wall * MS)


async def test_a_publishing_that_fails_is_tried_again(replicas: Replicas, anna: Person) -> None:
    replicas.shown[anna.identity.node_id] = [Reading((), 1, 4)]  # type: ignore[index] # it lies there
    await refusal_of(anna.records.people.publish(), ReadQuorumFailed)
    replicas.shown.clear()
    replicas.verdicts.append(refused(Status.BUSY))
    await refusal_of(anna.records.people.publish(), WriteQuorumFailed)

    await anna.records.people.publish()

    assert len(replicas.identities()) == 2


async def test_a_key_that_another_process_of_the_home_made_opens_what_is_sealed_to_it(
    replicas: Replicas, anna: Person, tmp_path: Path
) -> None:
    running, command = kept_in(tmp_path, replicas), kept_in(tmp_path, replicas)
    replicas.wall += KEM_KEY_RENEW_S
    await command.records.people.publish()
    person = To([running.identity.public_key])
    await anna.records.store("note", b"to the new key", person)
    address = await anna.records.put_bytes(b"another", person)

    assert (await running.records.get("note", anna.identity.public_key)).data == b"to the new key"
    assert await running.records.get_bytes(address) == b"another"


async def test_keys_are_looked_for_once_a_minute_at_most(replicas: Replicas, tmp_path: Path) -> None:
    running, command = kept_in(tmp_path, replicas), kept_in(tmp_path, replicas)
    people, before = running.records.people, running.identity
    replicas.wall += KEM_KEY_RENEW_S
    assert not await people.has_more_keys(before)
    await command.records.people.publish()
    assert not await people.has_more_keys(before)
    replicas.wall += KEYS_RELOADED_S

    answers = await asyncio.gather(*(people.has_more_keys(before) for _ in range(3)))

    assert answers == [True, True, True], "whoever waits for the same keys has them, too"
    (tmp_path / "person.key").unlink()
    replicas.wall += KEYS_RELOADED_S
    assert not await people.has_more_keys(people.identity)
    assert replicas.counted["keys_not_reloaded"] == 1


async def test_what_is_published_as_a_key_and_is_none_is_not_sealed_to(
    replicas: Replicas, anna: Person, ben: Person
) -> None:
    off_the_curve = PublicKey(b"\x02" + bytes(31) + b"\x07")
    with pytest.raises(InvalidKey):
        check_public_key(off_the_curve)
    own, good = ben.identity.public_key, ben.identity.kem[0].key.public_key
    named = [KemEntry(SUITE, key, int(WALL) + DAY_S) for key in (off_the_curve, own, good)]

    assert _usable(own, tuple(named)) == named[2:]

    replicas.held[Target(ben.identity.node_id)] = with_its_own_key_as_kem(ben, WALL)
    await refusal_of(anna.records.store("note", b"for ben", To([own])), KeysUnknown)
