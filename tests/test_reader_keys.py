"""Keys to seal with for whom a caller names, and to open with; through names they are tested in test_people.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.test_records import NET, WALL, Person, Replicas
from yzdht.crypto.sealing import RecordDraft
from yzdht.errors import NotAReader, PassphraseNeeded, UsageError, WrongPassphrase
from yzdht.ids import Tag
from yzdht.limits import DAY_S
from yzdht.reader_keys import ReaderKeys
from yzdht.readers import Passphrase, Public, Self, To
from yzdht.store.entropy import SystemRng
from yzdht.wire.record import Readers, decode_record, split_stanzas
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.readers import AnyReaders
    from yzdht.wire.record import Record


T = TypeVar("T")
DRAFT = RecordDraft(Kind.MUTABLE, int(WALL), int(WALL) + DAY_S, 1, Tag(b"t" * 32))


class Computing(Replicas):
    """Counts what is done beside the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0

    async def compute(self, work: Callable[[], T]) -> T:
        self.computed += 1
        return work()


@pytest.fixture
def replicas() -> Computing:
    return Computing()


def keys_of(person: Person, replicas: Replicas) -> ReaderKeys:
    return ReaderKeys(person.records.people, person.records.known_groups, NET, replicas, SystemRng())


async def sealed(keys: ReaderKeys, readers: AnyReaders, value: bytes = b"v") -> Record:
    sealed_for, warnings = await keys.sealed_for(readers)
    assert warnings == ()
    return keys.seal(DRAFT, value, sealed_for)


@pytest.mark.parametrize(
    ("readers", "form"),
    [(Self(), Readers.SELF), (Public(), Readers.PUBLIC), (Passphrase("p"), Readers.STANZAS)],
)
async def test_what_is_sealed_opens(replicas: Computing, readers: AnyReaders, form: Readers) -> None:
    keys = keys_of(Person(replicas), replicas)

    record = await sealed(keys, readers)

    assert record.readers is form
    assert await keys.open(record, "p") == b"v"
    sealed_for, _ = await keys.sealed_for(readers)
    assert await keys.open(decode_record(keys.seal_immutable(b"i", sealed_for)), "p") == b"i"


async def test_every_sealing_has_a_salt_and_a_content_key_of_its_own(replicas: Computing) -> None:
    anna, ben = Person(replicas), Person(replicas)
    await ben.records.people.publish()
    keys = keys_of(anna, replicas)
    for readers in (To([ben.identity.public_key]), Passphrase("p"), Self()):
        sealed_for, _ = await keys.sealed_for(readers)
        one, other = (keys.seal(DRAFT, b"v", sealed_for) for _ in range(2))
        assert one.salt != other.salt
        assert one.payload != other.payload
        if one.readers is Readers.STANZAS:
            assert [body for _, body in split_stanzas(one.header)] != [
                body for _, body in split_stanzas(other.header)
            ]


async def test_an_expensive_kdf_runs_beside_the_loop_and_only_if_it_is_needed(replicas: Computing) -> None:
    keys = keys_of(Person(replicas), replicas)
    record = await sealed(keys, Passphrase("p"))
    assert replicas.computed == 1
    await keys.open(record, "p")
    assert replicas.computed == 3  # stanzas are tried beside the loop, too

    await keys.open(await sealed(keys, Self()), "p")
    assert replicas.computed == 3
    with pytest.raises(PassphraseNeeded):
        await keys.open(record, None)
    assert replicas.computed == 4

    with pytest.raises(WrongPassphrase):
        await keys.open(record, "q")


@pytest.mark.parametrize("text", ["", "x" * 1_025, "\ud800"])
async def test_a_passphrase_that_is_none_is_refused(replicas: Computing, text: str) -> None:
    keys = keys_of(Person(replicas), replicas)
    with pytest.raises(UsageError):
        await keys.sealed_for(Passphrase(text))
    with pytest.raises(UsageError):
        await keys.open(await sealed(keys, Passphrase("p")), text)


async def test_no_value_is_a_tombstone(replicas: Computing) -> None:
    keys = keys_of(Person(replicas), replicas)

    record = keys.seal(DRAFT, None, Public())

    assert record.is_tombstone


async def test_somebody_else_opens_nothing_of_ones_own(replicas: Computing) -> None:
    anna, ben = keys_of(Person(replicas), replicas), keys_of(Person(replicas), replicas)
    with pytest.raises(NotAReader):
        await ben.open(await sealed(anna, Self()), None)
