"""Names to sealed records and back, over replicas that a test holds in its hand."""

from __future__ import annotations

import asyncio
import math
import unicodedata
from collections import Counter, deque
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given, strategies as st

from yzdht.access import Reading, Writing
from yzdht.crypto.naming import move_tag, multi_target, mutable_target, network_id, public_tag
from yzdht.crypto.sealing import Author, Public, RecordDraft, Self, seal_box, seal_record, tombstone
from yzdht.crypto.signing import RECORD_LABEL, RecordChecks
from yzdht.errors import (
    CasMismatch,
    Conflict,
    CryptoError,
    InvalidSignature,
    NoNode,
    NotAReader,
    NotFound,
    ReadQuorumFailed,
    StaleRecord,
    UsageError,
    ValueTooLarge,
    WireError,
    WriteQuorumFailed,
    WrongTarget,
    YzError,
)
from yzdht.ids import Address, Target
from yzdht.limits import CLOCK_SKEW_S, DAY_S, PUT_RETRIES_MAX, RECORD_LIFE_S_MAX, SEQ_MAX, VALUE_BYTES_MAX
from yzdht.ports import Now
from yzdht.readers import Passphrase, To
from yzdht.records import Keeps, Origin, Records
from yzdht.store.entropy import SystemRng
from yzdht.store.groups import SqliteGroups
from yzdht.store.keyfile import Identity
from yzdht.store.marks import MemoryMarks
from yzdht.wire.address import decode_identity_payload
from yzdht.wire.record import IDENTITY_TAG, Readers, Record, decode_record, encode_fixed
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind
from yzdht.wire.text import decode_slot_link


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence


T = TypeVar("T")
NET = network_id("main")
WALL = 1_800_000_000.0
MS = 1_000
LYING_FUTURE = 2**63


class Replicas:
    """Replicas in memory that keep the protocol's rules, and an `Access` to them that a test can make lie."""

    def __init__(self) -> None:
        self.wall = WALL
        self.held: dict[Target, bytes] = {}
        self.writes: list[tuple[Target, Record, int | None]] = []
        self.reads: list[Target] = []
        self.paths: list[int] = []
        self.verdicts: deque[Writing] = deque()
        self.shown: dict[Target, list[Reading]] = {}
        self.counted: Counter[str] = Counter()
        self.is_reachable = True
        self.begun: list[asyncio.Task[None]] = []

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        if not self.is_reachable:
            raise NoNode("no node could be reached")
        self.reads += targets
        self.paths.append(paths)
        return [self.shown.get(target, [self._honest(target)]) for target in targets]

    def _honest(self, target: Target) -> Reading:
        return Reading((self.held[target],) if target in self.held else (), 4, 4)

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        if not self.is_reachable:
            raise NoNode("no node could be reached")
        decoded = decode_record(record)
        self.writes.append((target, decoded, cas))
        if self.verdicts:
            return self.verdicts.popleft()
        return self._judge(target, decoded, cas)

    def _judge(self, target: Target, record: Record, cas: int | None) -> Writing:
        stored = decode_record(self.held[target]) if target in self.held else None
        seq = stored.seq if stored else 0
        if stored is not None and stored.hash != record.hash and record.seq <= seq:
            status = Status.SEQ_TOO_LOW if record.seq < seq else Status.EQUIVOCATION
            return refused(status, seq)
        if cas is not None and cas != seq:
            return refused(Status.CAS_MISMATCH, seq)
        self.held[target] = record.raw
        return Writing(5, 8, 5, Status.OK, 0)

    def start(self, work: Coroutine[None, None, None]) -> None:
        self.begun.append(asyncio.get_running_loop().create_task(work))

    async def settle(self) -> None:
        """Until nothing is under way in the background."""
        await asyncio.gather(*self.begun)

    async def compute(self, work: Callable[[], T]) -> T:
        return work()

    def now(self) -> Now:
        return Now(self.wall - WALL, self.wall)

    def count(self, name: str) -> None:
        self.counted[name] += 1

    def values(self) -> list[Record]:
        """What was written, identity records left out."""
        return [record for _, record, _ in self.writes if record.kind is not Kind.IDENTITY]

    def identities(self) -> list[Record]:
        return [record for _, record, _ in self.writes if record.kind is Kind.IDENTITY]


def refused(status: Status, number: int = 0) -> Writing:
    return Writing(0, 8, 5, status, number)


class Person:
    """One identity with one home."""

    def __init__(self, replicas: Replicas, identity: Identity | None = None) -> None:
        self.identity = identity or Identity.generate(wall_now=WALL)
        self.marks = MemoryMarks()
        self.keeps = Keeps(self.marks, SqliteGroups(None))
        self.records = Records(self.identity, NET, replicas, self.keeps, SystemRng())

    def target(self, name: str, *, is_public: bool = False) -> Target:
        tag = self.records.tags_of(name)[is_public]
        return mutable_target(NET, self.identity.public_key, tag)

    @property
    def move_target(self) -> Target:
        return mutable_target(NET, self.identity.public_key, move_tag(NET))

    def other_device(self, replicas: Replicas) -> Person:
        return Person(replicas, self.identity)

    def draft(self, name: str, seq: int, *, is_public: bool = False) -> RecordDraft:
        tag = self.records.tags_of(name)[is_public]
        return RecordDraft(Kind.MUTABLE, int(WALL), int(WALL) + DAY_S, seq, tag)

    @property
    def author(self) -> Author:
        return Author(self.identity.signer, self.identity.self_key, NET)

    def sealed(self, name: str, value: bytes, seq: int) -> bytes:
        return seal_record(self.draft(name, seq), value, Self(), self.author, SystemRng().token(24))

    def signed(self, name: str, value: bytes, seq: int) -> bytes:
        return seal_record(self.draft(name, seq, is_public=True), value, Public(), self.author, b"")


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


@pytest.fixture
def anna(replicas: Replicas) -> Person:
    return Person(replicas)


async def refusal_of(work: Awaitable[object], kind: type[YzError]) -> YzError:
    with pytest.raises(kind) as caught:
        await work
    return caught.value


# Round trips


async def test_what_was_verified_elsewhere_in_the_process_is_not_verified_again(
    replicas: Replicas, anna: Person
) -> None:
    checks = RecordChecks(NET)
    records = Records(anna.identity, NET, replicas, anna.keeps, SystemRng(), checks)
    target = anna.target("note")
    replicas.held[target] = anna.sealed("note", b"mine", 7)
    checks.verify(replicas.held[target], target)

    assert (await records.get("note")).data == b"mine"

    assert (checks.verified, checks.cache_hits) == (1, 1)


async def test_a_value_comes_back_as_it_was_stored(anna: Person) -> None:
    receipt = await anna.records.store("note", b"hello", Self(), ttl=DAY_S)

    value = await anna.records.get("note")

    assert (value.data, value.origin, value.seq) == (b"hello", Origin.SEALED, receipt.seq)
    assert value.publisher == receipt.publisher == anna.identity.public_key
    assert (value.created, value.expires) == (int(WALL), int(WALL) + DAY_S)
    assert receipt.expires == value.expires
    assert (receipt.accepted, receipt.asked, receipt.needed) == (5, 8, 5)
    assert not value.is_conflict
    assert decode_slot_link(receipt.link) == (anna.identity.public_key, anna.records.tags_of("note")[0])


async def test_the_replicas_see_neither_name_nor_value(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("my secret name", b"my secret value", Self())

    seen = b"".join(record.raw + target for target, record, _ in replicas.writes)

    assert b"secret" not in seen


async def test_a_public_value_is_read_by_everybody_under_its_name(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"hello", Public())

    value = await Person(replicas).records.get("note", anna.identity.public_key)

    assert (value.data, value.origin, value.publisher) == (b"hello", Origin.SIGNED, anna.identity.public_key)


async def test_a_second_device_reads_what_the_first_one_stored(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"hello", Self())

    assert (await anna.other_device(replicas).records.get("note")).data == b"hello"


@given(value=st.binary(max_size=2_000), is_public=st.booleans())
async def test_every_value_comes_back(value: bytes, *, is_public: bool) -> None:
    anna = Person(Replicas())
    await anna.records.store("note", value, Public() if is_public else Self())

    assert (await anna.records.get("note")).data == value


async def test_the_largest_value_fits_and_one_byte_more_is_refused_with_the_limit(
    replicas: Replicas, anna: Person
) -> None:
    for readers in (Self(), Public()):
        largest = bytes(VALUE_BYTES_MAX)
        await anna.records.store("note", largest, readers)
        assert (await anna.records.get("note")).data == largest
        count = len(replicas.writes)

        error = await refusal_of(anna.records.store("note", largest + b"x", readers), ValueTooLarge)

        assert "61,436" in str(error)
        assert "61,436" in error.hint
        assert len(replicas.writes) == count
        await anna.records.delete("note")
    assert VALUE_BYTES_MAX == 61_436


async def test_a_value_that_does_not_fit_is_refused_before_anything_is_sent(
    replicas: Replicas, anna: Person
) -> None:
    await refusal_of(anna.records.store("note", bytes(70_000), Self()), ValueTooLarge)

    assert replicas.writes == []
    assert replicas.reads == []


# Names and lifetimes


async def test_a_name_is_the_same_however_it_is_composed(anna: Person) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Müller Å ﬁ") for form in ("NFC", "NFD"))
    assert composed != decomposed
    await anna.records.store(decomposed, b"hello", Self())
    await anna.records.store(composed, b"public", Public())

    assert (await anna.records.get(composed)).data == b"hello"
    assert (await anna.records.get(decomposed, anna.identity.public_key)).data == b"public"
    assert anna.records.tags_of(composed) == anna.records.tags_of(decomposed)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 1_025, "ü" * 513])
async def test_what_is_no_name_is_refused_before_anything_is_sent(
    replicas: Replicas, anna: Person, name: str
) -> None:
    for work in (
        anna.records.store(name, b"", Self()),
        anna.records.store(name, b"", Public()),
        anna.records.get(name),
        anna.records.get(name, anna.identity.public_key),
        anna.records.delete(name),
    ):
        await refusal_of(work, UsageError)
    assert replicas.writes == []
    assert replicas.reads == []


@pytest.mark.parametrize("name", ["x", "x" * 1_024, "ü" * 512, " ", "a/b\nc"])
async def test_what_is_a_name_is_taken(anna: Person, name: str) -> None:
    await anna.records.store(name, b"hello", Self())

    assert (await anna.records.get(name)).data == b"hello"


@pytest.mark.parametrize("ttl", [0, 0.9, -1, RECORD_LIFE_S_MAX + 1, math.inf, -math.inf, math.nan])
async def test_a_lifetime_out_of_range_is_refused(replicas: Replicas, anna: Person, ttl: float) -> None:
    await refusal_of(anna.records.store("note", b"", Self(), ttl=ttl), UsageError)

    assert replicas.writes == []


@pytest.mark.parametrize("ttl", [1, 1.9, DAY_S, RECORD_LIFE_S_MAX])
async def test_a_lifetime_is_whole_seconds_from_now(anna: Person, ttl: float) -> None:
    receipt = await anna.records.store("note", b"", Self(), ttl=ttl)

    assert receipt.expires == int(WALL) + int(ttl)


@pytest.mark.parametrize("if_seq", [-1, SEQ_MAX, 2**64])
async def test_an_expected_seq_out_of_range_is_refused(anna: Person, if_seq: int) -> None:
    await refusal_of(anna.records.store("note", b"", Self(), if_seq=if_seq), UsageError)


async def test_a_record_that_expired_within_the_clocks_tolerance_still_counts(
    replicas: Replicas, anna: Person
) -> None:
    receipt = await anna.records.store("note", b"hello", Self(), ttl=100)

    replicas.wall = receipt.expires + CLOCK_SKEW_S
    assert (await anna.records.get("note")).data == b"hello"
    replicas.wall += 1
    await refusal_of(anna.records.get("note"), NotFound)


# Sequence numbers


async def test_a_first_seq_is_the_time_in_milliseconds(replicas: Replicas, anna: Person) -> None:
    replicas.wall = WALL + 0.25

    assert (await anna.records.store("note", b"", Self())).seq == int(WALL * MS) + 250


async def test_a_seq_is_above_what_this_home_has_written_though_its_clock_stands_still(anna: Person) -> None:
    seqs = [(await anna.records.store("note", b"", Self())).seq for _ in range(3)]

    assert seqs == [int(WALL * MS), int(WALL * MS) + 1, int(WALL * MS) + 2]


async def test_a_seq_is_above_what_this_home_has_read(replicas: Replicas, anna: Person) -> None:
    replicas.held[anna.target("note")] = anna.sealed("note", b"other device", int(WALL * MS) + 5_000)
    await anna.records.get("note")

    assert (await anna.records.store("note", b"", Self())).seq == int(WALL * MS) + 5_001


@pytest.mark.parametrize("ahead", [0, 1, 7_000, CLOCK_SKEW_S * MS])
async def test_a_put_that_was_outrun_tries_again_above_what_is_stored(
    replicas: Replicas, anna: Person, ahead: int
) -> None:
    stored = int(WALL * MS) + ahead
    replicas.held[anna.target("note")] = anna.sealed("note", b"faster device", stored)

    receipt = await anna.records.store("note", b"mine", Self())

    assert receipt.seq == stored + 1
    assert (await anna.records.get("note")).data == b"mine"
    assert len(replicas.values()) == 2


async def test_a_put_is_sealed_anew_at_every_try(replicas: Replicas, anna: Person) -> None:
    await anna.records.people.publish()
    replicas.verdicts.append(refused(Status.SEQ_TOO_LOW, int(WALL * MS)))

    await anna.records.store("note", b"mine", Self())

    first, second = replicas.values()
    assert second.seq > first.seq
    assert second.salt != first.salt


async def test_a_put_that_succeeds_at_once_is_sealed_once(replicas: Replicas, anna: Person) -> None:
    drawn = []

    class CountingRng(SystemRng):
        def token(self, size: int) -> bytes:
            drawn.append(size)
            return super().token(size)

    records = Records(anna.identity, NET, replicas, anna.keeps, CountingRng())

    await records.store("note", b"mine", Self())

    assert drawn == [24]  # one salt
    assert (await records.get("note")).data == b"mine"


async def test_a_put_tries_again_twice_then_says_that_another_writer_was_faster(
    replicas: Replicas, anna: Person
) -> None:
    await anna.records.people.publish()
    seq = int(WALL * MS)
    replicas.verdicts.extend(refused(Status.SEQ_TOO_LOW, seq + 10 * n) for n in range(1, 5))

    error = await refusal_of(anna.records.store("note", b"mine", Self()), Conflict)

    assert len(replicas.values()) == 1 + PUT_RETRIES_MAX
    assert error.exit_code == 8
    assert anna.marks.get(anna.target("note")) is None


async def test_a_quorum_beside_a_holder_of_something_newer_is_no_success_yet(
    replicas: Replicas, anna: Person
) -> None:
    await anna.records.people.publish()
    seq = int(WALL * MS)
    replicas.verdicts.append(Writing(5, 8, 5, Status.SEQ_TOO_LOW, seq + 100))

    receipt = await anna.records.store("note", b"mine", Self())

    assert receipt.seq == seq + 101
    assert len(replicas.values()) == 2


async def test_a_quorum_beside_holders_of_something_older_is_success(
    replicas: Replicas, anna: Person
) -> None:
    await anna.records.people.publish()
    replicas.verdicts.append(Writing(5, 8, 5, Status.OVER_QUOTA, 0))

    await anna.records.store("note", b"mine", Self())

    assert len(replicas.values()) == 1


async def test_a_seq_from_the_future_counts_only_if_a_record_carries_it(
    replicas: Replicas, anna: Person
) -> None:
    """Otherwise one liar could use up all numbers of a slot."""
    await anna.records.people.publish()
    replicas.verdicts.append(refused(Status.SEQ_TOO_LOW, LYING_FUTURE))

    await refusal_of(anna.records.store("note", b"mine", Self()), Conflict)

    replicas.held[anna.target("note")] = anna.sealed("note", b"fast clock", LYING_FUTURE)
    receipt = await anna.records.store("note", b"mine", Self())
    assert receipt.seq == LYING_FUTURE + 1


async def test_one_holder_that_claims_the_future_does_not_undo_a_quorum(
    replicas: Replicas, anna: Person
) -> None:
    for status in (Status.SEQ_TOO_LOW, Status.EQUIVOCATION):
        await anna.records.people.publish()
        replicas.verdicts.append(Writing(5, 8, 5, status, LYING_FUTURE))

        receipt = await anna.records.store("note", b"mine", Self())

        assert receipt.seq < LYING_FUTURE
        assert receipt.accepted == 5
    assert len(replicas.values()) == 2


async def test_one_holder_that_shows_a_record_from_the_future_is_outdone(
    replicas: Replicas, anna: Person
) -> None:
    await anna.records.people.publish()
    replicas.verdicts.append(Writing(5, 8, 5, Status.SEQ_TOO_LOW, LYING_FUTURE + 7))
    replicas.held[anna.target("note")] = anna.sealed("note", b"fast clock", LYING_FUTURE)

    receipt = await anna.records.store("note", b"mine", Self())

    assert receipt.seq == LYING_FUTURE + 1
    assert (await anna.records.get("note")).data == b"mine"


async def test_a_seq_just_past_the_tolerated_future_is_looked_at(replicas: Replicas, anna: Person) -> None:
    await anna.records.people.publish()
    replicas.verdicts.append(refused(Status.SEQ_TOO_LOW, int((WALL + CLOCK_SKEW_S) * MS) + 1))

    await refusal_of(anna.records.store("note", b"mine", Self()), Conflict)

    assert replicas.reads == [anna.identity.node_id, anna.move_target, anna.target("note")]


async def test_a_slot_whose_numbers_are_used_up_is_written_no_more(replicas: Replicas, anna: Person) -> None:
    replicas.held[anna.target("note")] = anna.sealed("note", b"last", SEQ_MAX - 1)

    await refusal_of(anna.records.store("note", b"mine", Self()), Conflict)


# Compare and swap


async def test_a_value_is_replaced_only_if_the_expected_one_is_stored(
    replicas: Replicas, anna: Person
) -> None:
    first = await anna.records.store("note", b"1", Self(), if_seq=0)
    second = await anna.records.store("note", b"2", Self(), if_seq=first.seq)

    error = await refusal_of(anna.records.store("note", b"3", Self(), if_seq=first.seq), CasMismatch)

    assert isinstance(error, CasMismatch)
    assert error.seq == second.seq
    assert (await anna.records.get("note")).data == b"2"
    assert [cas for _, r, cas in replicas.writes if r.kind is Kind.MUTABLE] == [0, first.seq, first.seq]


async def test_a_first_write_is_refused_where_something_is_stored(anna: Person, replicas: Replicas) -> None:
    stored = await anna.records.store("note", b"1", Self())

    error = await refusal_of(
        anna.other_device(replicas).records.store("note", b"2", Self(), if_seq=0), CasMismatch
    )

    assert isinstance(error, CasMismatch)
    assert error.seq == stored.seq
    assert str(stored.seq) in str(error)
    assert error.exit_code == 8


async def test_replacing_what_is_not_there_says_that_nothing_is_stored(anna: Person) -> None:
    error = await refusal_of(anna.records.store("note", b"2", Self(), if_seq=7), CasMismatch)

    assert isinstance(error, CasMismatch)
    assert error.seq == 0
    assert "nothing is stored" in str(error)


@pytest.mark.parametrize("status", [Status.SEQ_TOO_LOW, Status.EQUIVOCATION])
async def test_a_conditional_put_that_is_outrun_does_not_try_again(
    replicas: Replicas, anna: Person, status: Status
) -> None:
    await anna.records.people.publish()
    replicas.verdicts.append(refused(status, 99))

    error = await refusal_of(anna.records.store("note", b"2", Self(), if_seq=7), CasMismatch)

    assert isinstance(error, CasMismatch)
    assert error.seq == 99
    assert len(replicas.values()) == 1


# Expiry


async def test_a_record_does_not_expire_before_the_one_that_it_replaces(anna: Person) -> None:
    """Otherwise an older copy would come back to life when the newer one is gone."""
    long = await anna.records.store("note", b"1", Self(), ttl=10 * DAY_S)
    short = await anna.records.store("note", b"2", Self(), ttl=60)

    assert short.expires == long.expires


async def test_a_tombstone_outlives_every_copy_of_what_it_deletes(anna: Person) -> None:
    await anna.records.store("note", b"1", Self(), ttl=60)

    [receipt] = await anna.records.delete("note")

    assert receipt.expires == int(WALL) + RECORD_LIFE_S_MAX


async def test_no_record_lives_longer_than_a_node_would_take(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"1", Self())
    replicas.wall -= CLOCK_SKEW_S

    receipt = await anna.records.store("note", b"2", Self())

    assert receipt.expires == int(replicas.wall) + RECORD_LIFE_S_MAX


# Private, public, deleted


async def test_the_private_value_comes_before_the_public_one(anna: Person) -> None:
    await anna.records.store("note", b"public", Public())
    await anna.records.store("note", b"private", Self())

    assert (await anna.records.get("note")).data == b"private"
    assert (await anna.records.get("note", anna.identity.public_key)).data == b"public"


async def test_the_guessable_public_slot_is_not_asked_for_while_a_private_value_answers(
    replicas: Replicas, anna: Person
) -> None:
    await anna.records.store("note", b"private", Self())
    replicas.reads.clear()

    await anna.records.get("note")

    assert [each for each in replicas.reads if each != Target(anna.identity.node_id)] == [anna.target("note")]


async def test_every_slot_of_a_read_is_asked_for_along_as_many_paths(
    replicas: Replicas, anna: Person
) -> None:
    receipt = await anna.records.store("note", b"public", Public())
    replicas.paths.clear()

    await anna.records.get("note", paths=3)
    await anna.records.get("note", anna.identity.public_key, paths=2)
    await anna.records.get_slot(*decode_slot_link(receipt.link), paths=3)
    await anna.records.get("note")

    assert replicas.paths == [3, 3, 2, 3, 1, 1]


async def test_the_public_value_is_taken_where_the_private_one_was_deleted(
    replicas: Replicas, anna: Person
) -> None:
    await anna.records.store("note", b"public", Public())
    seq = int(WALL * MS)
    replicas.held[anna.target("note")] = tombstone(anna.draft("note", seq), anna.author)

    assert (await anna.records.get("note")).data == b"public"


async def test_deleting_removes_the_private_and_the_public_value(replicas: Replicas, anna: Person) -> None:
    stored = [
        await anna.records.store("note", b"private", Self()),
        await anna.records.store("note", b"public", Public()),
    ]

    receipts = await anna.records.delete("note")

    assert [r.link for r in receipts] == [r.link for r in stored]
    assert [r.seq for r in receipts] == [r.seq + 1 for r in stored]
    assert all(decode_record(raw).is_tombstone for raw in map(replicas.held.get, map_targets(anna)) if raw)
    await refusal_of(anna.records.get("note"), NotFound)
    await refusal_of(anna.records.get("note", anna.identity.public_key), NotFound)
    await refusal_of(anna.records.delete("note"), NotFound)


def map_targets(person: Person) -> list[Target]:
    return [person.target("note"), person.target("note", is_public=True)]


async def test_deleting_writes_a_tombstone_only_where_something_is(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"public", Public())

    [receipt] = await anna.records.delete("note")

    assert decode_slot_link(receipt.link)[1] == anna.records.tags_of("note")[1]
    assert anna.target("note") not in replicas.held


async def test_deleting_what_never_was_says_so_and_writes_nothing(replicas: Replicas, anna: Person) -> None:
    error = await refusal_of(anna.records.delete("note"), NotFound)

    assert error.exit_code == 3
    assert replicas.writes == []


async def test_what_the_nodes_hide_is_deleted_all_the_same(replicas: Replicas, anna: Person) -> None:
    """This home knows that it is there: a node that shows nothing must not keep it alive."""
    await anna.records.store("note", b"1", Self())
    replicas.shown[anna.target("note")] = [Reading((), 4, 4)]

    [receipt] = await anna.records.delete("note")

    assert decode_record(replicas.held[anna.target("note")]).is_tombstone
    assert receipt.seq == int(WALL * MS) + 1


async def test_what_the_nodes_show_too_old_is_deleted_above_what_this_home_has_seen(
    replicas: Replicas, anna: Person
) -> None:
    stored = await anna.records.store("note", b"new", Self())
    replicas.shown[anna.target("note")] = [Reading((anna.sealed("note", b"old", 5),), 4, 4)]

    [receipt] = await anna.records.delete("note")

    assert receipt.seq == stored.seq + 1


async def test_a_deleted_name_can_be_stored_again(anna: Person) -> None:
    await anna.records.store("note", b"1", Self())
    await anna.records.delete("note")
    await anna.records.store("note", b"2", Self())

    assert (await anna.records.get("note")).data == b"2"


# What a reader refuses


async def test_a_link_to_somebody_else_s_sealed_value_does_not_open_it(
    replicas: Replicas, anna: Person
) -> None:
    receipt = await anna.records.store("note", b"hello", Self())
    publisher, tag = decode_slot_link(receipt.link)

    error = await refusal_of(Person(replicas).records.get_slot(publisher, tag), NotAReader)

    assert error.exit_code == 9
    assert (await anna.records.get_slot(publisher, tag)).data == b"hello"


async def test_an_empty_slot_is_not_found(anna: Person) -> None:
    slot = anna.identity.public_key, anna.records.tags_of("note")[0]

    await refusal_of(anna.records.get_slot(*slot), NotFound)


async def test_an_older_record_than_this_home_has_seen_is_stale(replicas: Replicas, anna: Person) -> None:
    old = anna.sealed("note", b"old", 5)
    seen = await anna.records.store("note", b"new", Self())
    replicas.held[anna.target("note")] = old

    error = await refusal_of(anna.records.get("note"), StaleRecord)

    assert isinstance(error, StaleRecord)
    assert (error.seq, error.seen_seq) == (5, seen.seq)
    assert error.exit_code == 4


async def test_an_older_record_than_the_tombstone_that_was_seen_is_stale(
    replicas: Replicas, anna: Person
) -> None:
    await anna.records.store("note", b"1", Self())
    alive = replicas.held[anna.target("note")]
    await anna.records.delete("note")
    replicas.held[anna.target("note")] = alive

    await refusal_of(anna.records.get("note"), StaleRecord)


async def test_the_newest_of_what_the_nodes_show_is_taken(replicas: Replicas, anna: Person) -> None:
    old, new = anna.sealed("note", b"old", 5), anna.sealed("note", b"new", 6)
    for first, second in ((old, new), (new, old)):
        replicas.shown[anna.target("note")] = [Reading((first,), 4, 4), Reading((second,), 4, 4)]

        value = await anna.records.get("note")

        assert value.data == b"new"
        assert not value.is_conflict


async def test_two_bodies_with_one_seq_are_a_conflict_that_the_order_decides(
    replicas: Replicas, anna: Person
) -> None:
    bodies = [anna.sealed("note", data, 5) for data in (b"a", b"b")]
    winner = max(bodies, key=lambda raw: decode_record(raw).hash)
    replicas.shown[anna.target("note")] = [Reading((raw,), 4, 4) for raw in bodies]

    value = await anna.records.get("note")

    assert value.is_conflict
    assert value.data == (b"a", b"b")[bodies.index(winner)]


async def test_another_body_than_was_seen_before_is_a_conflict(replicas: Replicas, anna: Person) -> None:
    replicas.held[anna.target("note")] = anna.sealed("note", b"a", 5)
    assert not (await anna.records.get("note")).is_conflict

    replicas.held[anna.target("note")] = anna.sealed("note", b"b", 5)

    value = await anna.records.get("note")
    assert value.is_conflict
    assert value.data == b"b"


def damaged(raw: bytes) -> bytes:
    return raw[:-1] + bytes((raw[-1] ^ 1,))


def lies_about(anna: Person, replicas: Replicas) -> dict[str, tuple[bytes, type[YzError]]]:
    """What no reader may take for anna's note, and what is raised if nobody shows better."""
    other = Person(replicas)
    return {
        "forged": (damaged(anna.sealed("note", b"lie", 9)), InvalidSignature),
        "moved": (anna.sealed("diary", b"lie", 9), WrongTarget),
        "foreign": (other.sealed("note", b"lie", 9), WrongTarget),
        "public in the private slot": (anna.signed("note", b"lie", 9), WrongTarget),
        "garbage": (b"\xf9" * 300, WireError),
        "empty": (b"", WireError),
        "cut": (anna.sealed("note", b"lie", 9)[:-1], WireError),
        "longer": (anna.sealed("note", b"lie", 9) + b"\0", WireError),
    }


LIES = sorted(lies_about(Person(Replicas()), Replicas()))


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_alone_raises_what_was_wrong(replicas: Replicas, anna: Person, lie: str) -> None:
    raw, error = lies_about(anna, replicas)[lie]
    replicas.shown[anna.target("note")] = [Reading((raw,), 4, 4)]

    await refusal_of(anna.records.get("note"), error)

    assert replicas.counted["rejected_records"] == 1
    assert anna.marks.get(anna.target("note")) is None


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_lie_beside_an_honest_answer_is_rejected_and_counted(
    replicas: Replicas, anna: Person, lie: str, *, is_first: bool
) -> None:
    raw, _ = lies_about(anna, replicas)[lie]
    readings = [Reading((raw,), 4, 4), Reading((anna.sealed("note", b"honest", 7),), 4, 4)]
    replicas.shown[anna.target("note")] = readings if is_first else readings[::-1]

    assert (await anna.records.get("note")).data == b"honest"
    assert replicas.counted["rejected_records"] == 1


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_beside_an_honest_not_found_is_not_found(
    replicas: Replicas, anna: Person, lie: str
) -> None:
    raw, _ = lies_about(anna, replicas)[lie]
    replicas.shown[anna.target("note")] = [Reading((raw,), 4, 4), Reading((), 4, 4)]

    await refusal_of(anna.records.get("note"), NotFound)


async def test_a_record_beside_not_found_is_found(replicas: Replicas, anna: Person) -> None:
    readings = [Reading((), 4, 4), Reading((anna.sealed("note", b"honest", 7),), 4, 4)]
    replicas.shown[anna.target("note")] = readings

    assert (await anna.records.get("note")).data == b"honest"


async def test_too_few_answers_are_not_the_same_as_not_found(replicas: Replicas, anna: Person) -> None:
    replicas.shown[anna.target("note")] = [Reading((), 1, 4), Reading((), 2, 4)]

    error = await refusal_of(anna.records.get("note"), ReadQuorumFailed)

    assert isinstance(error, ReadQuorumFailed)
    assert (error.answered, error.needed) == (2, 4)
    assert error.exit_code == 6


async def test_an_answer_of_no_replicas_is_no_quorum(replicas: Replicas, anna: Person) -> None:
    """It is what a body of another method decodes to: nothing was asked, so nothing was not found."""
    replicas.shown[anna.target("note")] = [Reading((), 0, 0)]

    await refusal_of(anna.records.get("note"), ReadQuorumFailed)


async def test_a_write_that_no_replica_was_asked_for_has_failed(replicas: Replicas, anna: Person) -> None:
    replicas.verdicts.append(Writing(0, 0, 0, Status.OK, 0))
    await refusal_of(anna.records.people.publish(), WriteQuorumFailed)
    await anna.records.people.publish()
    replicas.verdicts.append(Writing(0, 0, 0, Status.OK, 0))

    await refusal_of(anna.records.store("note", b"", Self()), WriteQuorumFailed)

    assert anna.marks.get(anna.target("note")) is None


async def test_without_a_node_nothing_is_read_or_written(replicas: Replicas, anna: Person) -> None:
    replicas.is_reachable = False

    for work in (
        anna.records.store("note", b"", Self()),
        anna.records.get("note"),
        anna.records.delete("note"),
    ):
        error = await refusal_of(work, NoNode)
        assert error.exit_code == 7


# What a refused write says


async def test_a_clock_that_is_off_is_named_with_its_seconds(replicas: Replicas, anna: Person) -> None:
    for number, words in ((int(WALL) - 4_000, "4000 s fast"), (int(WALL) + 90, "90 s slow")):
        replicas.verdicts.append(refused(Status.BAD_LIFETIME, number))

        error = await refusal_of(anna.records.store("note", b"", Self()), WriteQuorumFailed)

        assert f"your clock is {words}" in str(error)
        assert "clock" in error.hint
        assert error.exit_code == 6


@pytest.mark.parametrize("number", [0, 2**32 - 1, 2**64 - 1])
async def test_an_absurd_time_of_a_holder_is_no_more_than_words(
    replicas: Replicas, anna: Person, number: int
) -> None:
    replicas.verdicts.append(refused(Status.BAD_LIFETIME, number))

    await refusal_of(anna.records.store("note", b"", Self()), WriteQuorumFailed)

    await anna.records.store("note", b"", Self())
    assert replicas.values()[-1].created == int(WALL)


@pytest.mark.parametrize(
    ("status", "number", "hint"),
    [
        (Status.OVER_QUOTA, 0, "delete what is no longer needed"),
        (Status.RATE_LIMITED, 1_500, "wait 1500 ms"),
        (Status.BUSY, 0, "the nodes have too much to do"),
        (Status.OK, 0, "enough nodes are up"),
    ],
)
async def test_a_refused_write_says_what_to_do(
    replicas: Replicas, anna: Person, status: Status, number: int, hint: str
) -> None:
    await anna.records.people.publish()
    replicas.verdicts.append(Writing(2, 8, 5, status, number))

    error = await refusal_of(anna.records.store("note", b"", Self()), WriteQuorumFailed)

    assert isinstance(error, WriteQuorumFailed)
    assert (error.answered, error.needed, error.asked) == (2, 5, 8)
    assert hint in error.hint
    assert anna.marks.get(anna.target("note")) is None


# The identity record


async def test_the_identity_record_goes_beside_the_first_value(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"", Self())
    assert len(replicas.values()) == 1
    assert replicas.identities() == []
    await replicas.settle()

    target, record, cas = replicas.writes[-1]
    assert target == Target(anna.identity.node_id)
    assert (record.kind, record.tag, cas) == (Kind.IDENTITY, IDENTITY_TAG, None)
    assert record.expires - record.created == RECORD_LIFE_S_MAX
    payload = decode_identity_payload(record.payload)
    assert payload.node_type == "client"
    assert payload.addresses == ()
    assert [k.public_key for k in payload.kem] == [k.key.public_key for k in anna.identity.kem]


async def test_the_identity_record_is_made_anew_after_seven_days(replicas: Replicas, anna: Person) -> None:
    for day in (0, 1, 6.99):
        replicas.wall = WALL + day * DAY_S
        await anna.records.store("note", b"", Self())
        await replicas.settle()
    assert len(replicas.identities()) == 1

    replicas.wall = WALL + 7 * DAY_S
    await anna.records.store("note", b"", Self())
    await replicas.settle()

    first, second = replicas.identities()
    assert second.seq > first.seq


async def test_reading_renews_the_identity_record_and_publishes_no_first_one(
    replicas: Replicas, anna: Person
) -> None:
    await refusal_of(anna.records.get("note"), NotFound)
    await replicas.settle()
    assert replicas.writes == []
    await anna.records.store("note", b"", Self())
    await replicas.settle()

    for day in (6.99, 7, 7.01):
        replicas.wall = WALL + day * DAY_S
        await anna.records.get("note")
        await replicas.settle()

    assert [record.created for record in replicas.identities()] == [int(WALL), int(WALL + 7 * DAY_S)]


async def test_many_calls_at_once_publish_one_identity_record(replicas: Replicas, anna: Person) -> None:
    for name in ("a", "b", "c"):
        await anna.records.store(name, b"", Self())
    await replicas.settle()

    assert len(replicas.identities()) == 1


async def test_deleting_publishes_the_identity_too(replicas: Replicas, anna: Person) -> None:
    replicas.held[anna.target("note")] = anna.sealed("note", b"other device", 5)

    await anna.records.delete("note")
    await replicas.settle()

    assert len(replicas.identities()) == 1


async def test_an_identity_record_that_was_refused_is_tried_again(replicas: Replicas, anna: Person) -> None:
    replicas.held[anna.target("note")] = anna.sealed("note", b"other device", 5)
    await anna.records.store("note", b"", Self())
    replicas.verdicts.append(refused(Status.OVER_QUOTA))
    await replicas.settle()
    assert replicas.counted["identity_unpublished"] == 1

    await anna.records.store("note", b"", Self())
    await replicas.settle()
    await anna.records.store("note", b"", Self())
    await replicas.settle()

    assert len(replicas.identities()) == 2


async def test_an_identity_record_that_was_outrun_is_signed_anew(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"", Self())
    replicas.verdicts.append(refused(Status.SEQ_TOO_LOW, int(WALL * MS) + 1))
    await replicas.settle()
    await anna.records.store("note", b"", Self())
    await replicas.settle()

    assert len(replicas.identities()) == 2
    assert anna.marks.published_at(anna.identity.node_id, NET) == replicas.wall
    assert not replicas.counted


async def test_a_node_id_leads_to_the_key_of_its_identity_record(replicas: Replicas, anna: Person) -> None:
    await anna.records.people.publish()
    ben = Person(replicas)

    assert await ben.records.resolve_node_id(anna.identity.node_id) == anna.identity.public_key
    assert ben.marks.resolve_fingerprint(anna.identity.fingerprint) == anna.identity.public_key


async def test_a_node_id_without_a_true_identity_record_leads_nowhere(
    replicas: Replicas, anna: Person
) -> None:
    ben = Person(replicas)
    node_id = anna.identity.node_id
    target = Target(node_id)
    await refusal_of(ben.records.resolve_node_id(node_id), NotFound)
    await anna.records.people.publish()
    await ben.records.people.publish()
    true = replicas.held[target]

    for lie in (damaged(true), replicas.held[Target(ben.identity.node_id)], b"", b"\xf9\x03"):
        replicas.shown[target] = [Reading((lie,), 4, 4)]
        await refusal_of(ben.records.resolve_node_id(node_id), NotFound)
    replicas.shown[target] = [Reading((), 1, 4)]
    await refusal_of(ben.records.resolve_node_id(node_id), ReadQuorumFailed)
    replicas.shown[target] = [Reading((), 0, 0)]
    await refusal_of(ben.records.resolve_node_id(node_id), ReadQuorumFailed)
    replicas.shown[target] = [Reading((damaged(true),), 4, 4), Reading((true,), 4, 4)]
    assert await ben.records.resolve_node_id(node_id) == anna.identity.public_key
    assert replicas.counted["rejected_records"] == 5


async def test_reading_meets_the_publisher(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"hello", Public())
    ben = Person(replicas)
    assert ben.marks.resolve_fingerprint(anna.identity.fingerprint) is None

    await ben.records.get("note", anna.identity.public_key)

    assert ben.marks.resolve_fingerprint(anna.identity.fingerprint) == anna.identity.public_key


async def test_networks_do_not_share_targets(replicas: Replicas, anna: Person) -> None:
    await anna.records.store("note", b"hello", Self())
    elsewhere = Records(
        anna.identity, network_id("other"), replicas, Keeps(MemoryMarks(), SqliteGroups(None)), SystemRng()
    )

    await refusal_of(elsewhere.get("note"), NotFound)


# Entries of several publishers under one name


def entry_target(name: str) -> Target:
    return multi_target(NET, public_tag(NET, name))


class Board(Replicas):
    """Replicas that keep an entry of each publisher under a multi target."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[Target, dict[bytes, bytes]] = {}

    def _honest(self, target: Target) -> Reading:
        if target in self.entries:
            return Reading(tuple(self.entries[target].values()), 4, 4)
        return super()._honest(target)

    def _judge(self, target: Target, record: Record, cas: int | None) -> Writing:
        if record.kind is not Kind.MULTI:
            return super()._judge(target, record, cas)
        self.entries.setdefault(target, {})[record.publisher] = record.raw
        return Writing(5, 8, 5, Status.OK, 0)


async def test_everybodys_entry_is_listed_with_its_publisher_newest_first() -> None:
    board = Board()
    people = [Person(board) for _ in range(3)]
    for number, person in enumerate(people):
        board.wall += 1
        await person.records.store_entry("guests", b"%d" % number, Public())

    values = await Person(board).records.get_entries("guests")

    assert [value.data for value in values] == [b"2", b"1", b"0"]
    assert [value.publisher for value in values] == [p.identity.public_key for p in reversed(people)]


async def test_ones_own_entry_is_replaced_and_deleted_and_nobody_elses() -> None:
    board = Board()
    anna, ben = Person(board), Person(board)
    await anna.records.store_entry("guests", b"anna", Public())
    await ben.records.store_entry("guests", b"ben", Public())

    await anna.records.store_entry("guests", b"anna again", Public())
    assert sorted(v.data for v in await ben.records.get_entries("guests")) == [b"anna again", b"ben"]
    await anna.records.delete_entry("guests")
    assert [v.data for v in await ben.records.get_entries("guests")] == [b"ben"]
    await refusal_of(anna.records.delete_entry("guests"), NotFound)


async def test_an_entry_for_others_is_left_out_and_counted() -> None:
    board = Board()
    anna, ben, cleo = Person(board), Person(board), Person(board)
    await ben.records.people.publish()
    await anna.records.store_entry("guests", b"for ben", To([ben.identity.public_key]))

    assert [v.data for v in await ben.records.get_entries("guests")] == [b"for ben"]
    assert await cleo.records.get_entries("guests") == []
    assert board.counted["unreadable_entries"] == 1


async def test_an_older_entry_than_was_seen_is_not_returned_and_a_missing_one_is_no_fault() -> None:
    board = Board()
    anna, ben = Person(board), Person(board)
    await anna.records.store_entry("guests", b"old", Public())
    old = dict(board.entries[entry_target("guests")])
    board.wall += 1
    await anna.records.store_entry("guests", b"new", Public())
    await ben.records.get_entries("guests")

    board.entries[entry_target("guests")] = old
    assert await ben.records.get_entries("guests") == []
    assert board.counted["stale_entries"] == 1
    board.entries[entry_target("guests")] = {}  # a name is full, the one that expires first leaves
    assert await ben.records.get_entries("guests") == []


async def test_entries_are_asked_of_a_quorum(anna: Person, replicas: Replicas) -> None:
    replicas.shown[entry_target("guests")] = [Reading((), 1, 4)]

    await refusal_of(anna.records.get_entries("guests"), ReadQuorumFailed)


async def test_a_record_of_another_name_is_no_entry(anna: Person, replicas: Replicas) -> None:
    other = seal_record(
        RecordDraft(Kind.MULTI, int(WALL), int(WALL) + DAY_S, 1, public_tag(NET, "other")),
        b"",
        Public(),
        anna.author,
        b"",
    )
    replicas.shown[entry_target("guests")] = [Reading((other,), 4, 4)]

    await refusal_of(anna.records.get_entries("guests"), WrongTarget)


async def test_an_entry_that_nobody_can_open_hides_no_other() -> None:
    board = Board()
    anna, mallory = Person(board), Person(board)
    await anna.records.store_entry("guests", b"anna", Public())
    tag = public_tag(NET, "guests")
    draft = RecordDraft(Kind.MULTI, int(WALL), int(WALL) + DAY_S, 1, tag)
    fixed = encode_fixed(draft, Readers.STANZAS, mallory.identity.public_key)
    unsigned = seal_box(bytes(32), bytes(24), fixed, b"\x01\x04\x00\x47\x09" + bytes(70), b"")
    signature = mallory.identity.signer.sign(RECORD_LABEL, NET, unsigned)
    board.entries[entry_target("guests")][mallory.identity.public_key] = unsigned + signature

    assert [v.data for v in await anna.records.get_entries("guests")] == [b"anna"]
    assert board.counted["unreadable_entries"] == 1


# Immutables


async def test_what_can_change_has_no_address(anna: Person) -> None:
    await anna.records.store("note", b"now this", Public())
    target = anna.target("note", is_public=True)

    await refusal_of(anna.records.get_bytes(Address(target)), WrongTarget)


async def test_an_immutable_value_is_read_at_its_address_by_its_readers(
    replicas: Replicas, anna: Person
) -> None:
    ben = Person(replicas)
    await ben.records.people.publish()
    own = await anna.records.put_bytes(b"own", Self())
    public = await anna.records.put_bytes(b"public", Public())
    named = await anna.records.put_bytes(b"named", To([ben.identity.public_key]))
    locked = await anna.records.put_bytes(b"locked", Passphrase("p"))

    assert await anna.records.get_bytes(own) == b"own"
    assert await ben.records.get_bytes(public) == b"public"
    assert await ben.records.get_bytes(named) == b"named"
    assert await ben.records.get_bytes(locked, 1, "p") == b"locked"
    assert await anna.records.put_bytes(b"public", Public()) == public
    assert await anna.records.put_bytes(b"own", Self()) != own
    await refusal_of(ben.records.get_bytes(own), CryptoError)
    await refusal_of(Person(replicas).records.get_bytes(named), NotAReader)


async def test_something_else_at_an_address_is_not_returned(replicas: Replicas, anna: Person) -> None:
    address = await anna.records.put_bytes(b"this", Public())
    other = await anna.records.put_bytes(b"that", Public())
    replicas.held[Target(address)] = replicas.held[Target(other)]

    await refusal_of(anna.records.get_bytes(address), WrongTarget)
    del replicas.held[Target(address)]
    await refusal_of(anna.records.get_bytes(address), NotFound)
    replicas.shown[Target(address)] = [Reading((), 1, 4)]
    await refusal_of(anna.records.get_bytes(address), ReadQuorumFailed)


@pytest.mark.parametrize("keep", [0, 0.5, RECORD_LIFE_S_MAX + 1, math.nan])
async def test_an_immutable_value_is_kept_for_30_days_at_most(anna: Person, keep: float) -> None:
    await refusal_of(anna.records.put_bytes(b"", Public(), keep), UsageError)
