from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.kad.kit import at, node_id, peer
from tests.sim.authors import NET, WALL, NullChecks, Pen, forged
from yzdht.crypto.signing import RecordChecks
from yzdht.ids import NodeId, Publisher, RecordHash, Target
from yzdht.kad.holder import Holder, Refused, payer_of, shorten, status_of, sure_range
from yzdht.limits import (
    CLOCK_SKEW_S,
    DAY_S,
    FIND_VALUE_BODY_BYTES_DEFAULT,
    MULTI_ENTRIES_MAX,
    RECORD_BYTES_MAX,
    RECORD_LIFE_S_MAX,
    REPLICAS,
    SEQ_MAX,
    STORE_BURST_BYTES_STRANGER,
    STORE_BYTES_PER_S_STRANGER,
    STORE_CHARGE_BYTES_MIN,
    STORE_PREFIX_ALLOWANCE,
    STORE_QUEUE_WRITES_MAX,
    TABLE_PEER_ALLOWANCE,
    VALUE_BYTES_MAX,
)
from yzdht.store.memory import MemoryStore
from yzdht.wire.record import EXPIRES_NEVER
from yzdht.wire.rpc import FindValue, Refusal, Row, Status, Store
from yzdht.wire.slot import CasRefused, Equivocation, OverQuota, SeqTooLow, StoreBroken, Stored, Write


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.authors import Note
    from yzdht.rpc.engine import Peer


PEN = Pen(1)
NAME = "name"
NOTE = PEN.mutable(NAME, 5, b"value")
ELSEWHERE = Target(bytes(32))
NOW = at(0.0)
MONTH = RECORD_LIFE_S_MAX


class Node:
    """A holder and its store; verdicts come when they are told."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.store = MemoryStore(lambda _batch: None, self.waiting.append)
        self.checks = NullChecks(NET)
        self.holder = Holder(self.store, self.checks)

    def admit(self, body: Store) -> Write | Refused:
        return self.holder.admit(body, node_id(7), NOW)

    def offer(self, note: Note, cas: int | None = None, target: Target | None = None) -> Write | Refused:
        return self.admit(Store(target or note.target, note.raw, cas))

    def keep(self, note: Note) -> None:
        admitted = self.holder.admit(Store(note.target, note.raw), node_id(7), NOW)
        assert isinstance(admitted, Write)
        self.store.submit(1, admitted)


def refused(status: Status, number: int = 0, shown: bytes = b"") -> Refused:
    return Refused(status, Refusal(number, shown))


# What is admitted


def test_an_admitted_record_is_ready_to_be_written() -> None:
    write = Node().offer(NOTE, cas=0)

    assert write == Write(
        target=NOTE.target,
        publisher=PEN.public_key,
        kind=NOTE.record.kind,
        seq=5,
        hash=NOTE.record.hash,
        created=WALL,
        expires=WALL + DAY_S,
        body=NOTE.raw,
        cas=0,
        keep_until=0,
        stored_by=node_id(7),
        is_pinned=False,
        wall_now=NOW.wall,
    )


def test_what_the_own_user_stores_is_pinned() -> None:
    write = Node().holder.admit(Store(NOTE.target, NOTE.raw), b"", NOW)

    assert isinstance(write, Write)
    assert write.is_pinned


def test_really_signed_records_are_admitted() -> None:
    note = Pen(1, is_signed=True).mutable(NAME, 5)
    holder = Holder(Node().store, RecordChecks(NET))

    assert isinstance(holder.admit(Store(note.target, note.raw), b"", NOW), Write)
    assert holder.admit(Store(note.target, forged(note)), b"", NOW) == refused(Status.BAD_SIGNATURE)


@pytest.mark.parametrize(
    ("asked", "kept"), [(0, MONTH), (100, 100), (MONTH, MONTH), (MONTH + 1, MONTH), (10 * MONTH, MONTH)]
)
def test_an_immutable_record_is_kept_as_long_as_asked_and_a_month_at_most(asked: int, kept: int) -> None:
    note = PEN.immutable(b"value")
    write = Node().admit(Store(note.target, note.raw, None, asked and WALL + asked))

    assert isinstance(write, Write)
    assert (write.keep_until, write.expires) == (WALL + kept, WALL + kept)


def test_a_move_record_never_expires_and_is_kept_for_a_month() -> None:
    note = PEN.move(1, b"new key")
    write = Node().offer(note)

    assert isinstance(write, Write)
    assert (write.keep_until, write.expires) == (WALL + MONTH, EXPIRES_NEVER)


@pytest.mark.parametrize("value", [b"", b"\x90\x90", b"new key", b"\xc0"])
def test_the_last_seq_of_a_move_slot_is_kept_for_revocations(value: bytes) -> None:
    """A thief could take it otherwise, and the owner's revocation would be answered 409."""
    node = Node()

    assert node.offer(PEN.move(SEQ_MAX, value)) == refused(Status.BAD_SIGNATURE)
    assert isinstance(node.offer(PEN.move(SEQ_MAX - 1, value)), Write)
    assert isinstance(node.offer(PEN.move(SEQ_MAX, b"\x90")), Write)


def test_nothing_follows_a_revocation() -> None:
    node = Node()
    last = PEN.move(SEQ_MAX, b"\x90")
    node.keep(last)

    lower = refused(Status.SEQ_TOO_LOW, SEQ_MAX, last.record.hash)
    assert node.offer(PEN.move(SEQ_MAX - 1, b"new key")) == lower
    assert node.offer(PEN.move(SEQ_MAX, b"new key")) == refused(Status.BAD_SIGNATURE)


def test_keep_until_means_nothing_for_other_records() -> None:
    write = Node().admit(Store(NOTE.target, NOTE.raw, None, 5))

    assert isinstance(write, Write)
    assert write.keep_until == 0


# What is refused, and in which order


def test_a_record_over_its_size_is_too_big() -> None:
    assert Node().admit(Store(NOTE.target, bytes(RECORD_BYTES_MAX + 1))) == refused(Status.RECORD_TOO_BIG)


def test_a_value_over_its_size_is_too_big() -> None:
    note = PEN.mutable(NAME, 5, bytes(VALUE_BYTES_MAX))
    raw = note.raw[:-64] + b"\0" + note.raw[-64:]

    assert Node().admit(Store(note.target, raw)) == refused(Status.RECORD_TOO_BIG)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        NOTE.raw[:100],
        b"\xf8" + NOTE.raw[1:],
        NOTE.raw[:1] + b"\x04" + NOTE.raw[2:],
        NOTE.raw[:1] + b"\x11" + NOTE.raw[2:],
        NOTE.raw[:2] + b"\x02" + NOTE.raw[3:],
        NOTE.raw[:3] + b"\x04" + NOTE.raw[4:],
    ],
    ids=["empty", "garbage", "short", "version", "kind", "reserved bit", "suite", "readers"],
)
def test_what_does_not_parse_is_a_bad_request(raw: bytes) -> None:
    assert Node().admit(Store(NOTE.target, raw)) == refused(Status.BAD_REQUEST)


@pytest.mark.parametrize(
    ("created", "expires", "is_good"),
    [
        (CLOCK_SKEW_S, DAY_S, True),
        (CLOCK_SKEW_S + 1, DAY_S, False),
        (-10, 1, True),
        (-10, 0, False),
        (0, MONTH, True),
        (-1, MONTH, False),
        (CLOCK_SKEW_S, MONTH + CLOCK_SKEW_S, True),
    ],
)
def test_times_out_of_range_are_answered_with_the_holders_time(
    created: int,
    expires: int,
    is_good: bool,  # noqa: FBT001 - a case
) -> None:
    answer = Node().offer(PEN.mutable(NAME, 5, created=WALL + created, expires=WALL + expires))

    assert isinstance(answer, Write) if is_good else answer == refused(Status.BAD_LIFETIME, WALL)


def test_an_immutable_record_that_would_be_gone_at_once_is_refused() -> None:
    note = PEN.immutable(b"value")

    assert Node().admit(Store(note.target, note.raw, None, WALL)) == refused(Status.BAD_LIFETIME, WALL)


def test_a_moved_record_has_a_bad_target() -> None:
    assert Node().offer(NOTE, target=ELSEWHERE) == refused(Status.BAD_SIGNATURE)


def test_a_forged_record_has_a_bad_signature() -> None:
    assert Node().admit(Store(NOTE.target, forged(NOTE))) == refused(Status.BAD_SIGNATURE)


def test_a_full_queue_of_writes_is_busy() -> None:
    node = Node()
    node.keep(NOTE)
    for op in range(STORE_QUEUE_WRITES_MAX):
        node.store.submit(op, node.offer(NOTE))  # type: ignore[arg-type] # admitted as long as there is room
        if not node.store.has_room():
            break

    assert node.offer(NOTE) == refused(Status.BUSY)


def test_a_lower_seq_is_answered_with_what_is_stored() -> None:
    node = Node()
    node.keep(NOTE)

    assert node.offer(PEN.mutable(NAME, 4)) == refused(Status.SEQ_TOO_LOW, 5, NOTE.record.hash)


def test_another_body_of_the_same_seq_is_answered_with_what_is_stored() -> None:
    node = Node()
    node.keep(NOTE)

    assert node.offer(PEN.mutable(NAME, 5, b"other")) == refused(Status.EQUIVOCATION, 5, NOTE.record.hash)


def test_cas_is_answered_with_what_is_stored() -> None:
    node = Node()
    assert node.offer(NOTE, cas=4) == refused(Status.CAS_MISMATCH)
    node.keep(NOTE)
    newer = PEN.mutable(NAME, 6)

    assert node.offer(newer, cas=4) == refused(Status.CAS_MISMATCH, 5, NOTE.record.hash)
    assert node.offer(newer, cas=0) == refused(Status.CAS_MISMATCH, 5, NOTE.record.hash)
    assert isinstance(node.offer(newer, cas=5), Write)


def test_the_stored_record_is_admitted_again_whatever_the_cas() -> None:
    node = Node()
    node.keep(NOTE)

    assert isinstance(node.offer(NOTE), Write)
    assert isinstance(node.offer(NOTE, cas=0), Write)
    assert isinstance(node.offer(NOTE, cas=17), Write)


def test_the_stored_bytes_under_another_signature_are_still_verified() -> None:
    node = Node()
    node.keep(NOTE)

    assert node.admit(Store(NOTE.target, forged(NOTE))) == refused(Status.BAD_SIGNATURE)


def test_a_deleted_record_does_not_come_back() -> None:
    node = Node()
    node.keep(NOTE)
    grave = PEN.tombstone(NAME, 6)
    node.keep(grave)

    assert node.offer(NOTE) == refused(Status.SEQ_TOO_LOW, 6, grave.record.hash)


def test_times_come_before_the_target() -> None:
    late = PEN.mutable(NAME, 5, created=WALL + CLOCK_SKEW_S + 1)

    assert Node().offer(late, target=ELSEWHERE) == refused(Status.BAD_LIFETIME, WALL)


def test_the_target_comes_before_the_slot() -> None:
    node = Node()
    node.keep(NOTE)

    assert node.offer(PEN.mutable("other", 4), target=NOTE.target) == refused(Status.BAD_SIGNATURE)


def test_seq_comes_before_cas() -> None:
    node = Node()
    node.keep(NOTE)

    assert node.offer(PEN.mutable(NAME, 4), cas=17) == refused(Status.SEQ_TOO_LOW, 5, NOTE.record.hash)


def test_seq_and_cas_come_before_the_signature() -> None:
    """A flood of old records costs hashes, no signatures."""
    node = Node()
    node.keep(NOTE)
    old, new = PEN.mutable(NAME, 4), PEN.mutable(NAME, 6)

    assert node.admit(Store(old.target, forged(old))) == refused(Status.SEQ_TOO_LOW, 5, NOTE.record.hash)
    assert node.admit(Store(new.target, forged(new), 4)) == refused(Status.CAS_MISMATCH, 5, NOTE.record.hash)


@given(st.binary(max_size=400), st.integers(0, 2**64 - 1) | st.none(), st.integers(0, 2**32 - 1))
def test_any_bytes_are_answered(raw: bytes, cas: int | None, keep_until: int) -> None:
    assert isinstance(Node().admit(Store(NOTE.target, raw, cas, keep_until)), Refused)


@given(st.integers(0, len(NOTE.raw) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused(index: int, mask: int) -> None:
    raw = NOTE.raw[:index] + bytes((NOTE.raw[index] ^ mask,)) + NOTE.raw[index + 1 :]

    assert isinstance(Node().admit(Store(NOTE.target, raw)), Refused)


# The bytes a session may bring


def test_a_strangers_burst_ends_and_flows_back() -> None:
    holder = Node().holder
    stranger = peer(1)
    burst = STORE_BURST_BYTES_STRANGER // RECORD_BYTES_MAX
    for _ in range(burst):
        assert holder.charge(stranger, RECORD_BYTES_MAX, NOW, is_table_peer=False) is None

    wait_ms = RECORD_BYTES_MAX * 1_000 // STORE_BYTES_PER_S_STRANGER + 1
    empty = holder.charge(stranger, RECORD_BYTES_MAX, NOW, is_table_peer=False)
    assert empty == refused(Status.RATE_LIMITED, wait_ms)
    assert holder.charge(peer(2), RECORD_BYTES_MAX, NOW, is_table_peer=False) is None
    assert holder.charge(stranger, RECORD_BYTES_MAX, at(wait_ms / 1_000), is_table_peer=False) is None


def test_a_table_peer_has_ten_times_a_strangers_burst() -> None:
    holder = Node().holder
    burst = TABLE_PEER_ALLOWANCE * STORE_BURST_BYTES_STRANGER // RECORD_BYTES_MAX
    charges = [holder.charge(peer(1), RECORD_BYTES_MAX, NOW, is_table_peer=True) for _ in range(burst + 1)]

    assert charges[:-1] == [None] * burst
    assert charges[-1] is not None


@pytest.mark.parametrize("is_table_peer", [False, True])
def test_a_forger_whose_bucket_is_empty_is_charged_none_the_less(*, is_table_peer: bool) -> None:
    holder, forger = Node().holder, peer(1)
    while holder.charge(forger, STORE_CHARGE_BYTES_MIN, NOW, is_table_peer=is_table_peer) is None:
        pass
    holder.punish(forger, NOW, is_table_peer=is_table_peer)
    refused_for = holder.charge(forger, STORE_CHARGE_BYTES_MIN, NOW, is_table_peer=is_table_peer)

    per_s = STORE_BYTES_PER_S_STRANGER * (TABLE_PEER_ALLOWANCE if is_table_peer else 1)
    wait_ms = (RECORD_BYTES_MAX + STORE_CHARGE_BYTES_MIN) * 1_000 // per_s + 1
    assert refused_for == refused(Status.RATE_LIMITED, wait_ms)


def test_a_table_peer_that_forwarded_a_forged_record_keeps_the_burst_of_one() -> None:
    holder = Node().holder
    holder.punish(peer(1), NOW, is_table_peer=True)
    burst = TABLE_PEER_ALLOWANCE * STORE_BURST_BYTES_STRANGER // RECORD_BYTES_MAX
    charges = [holder.charge(peer(1), RECORD_BYTES_MAX, NOW, is_table_peer=True) for _ in range(burst)]

    assert charges[:-1] == [None] * (burst - 1)
    assert charges[-1] is not None


def test_a_record_over_its_size_is_not_charged() -> None:
    charged = Node().holder.charge(peer(1), RECORD_BYTES_MAX + 1, NOW, is_table_peer=False)

    assert charged == refused(Status.RECORD_TOO_BIG)


def from_prefix(number: int, prefix: str = "203.0.113.0/24") -> Peer:
    return replace(peer(number, host="203.0.113.5"), prefix=prefix)


def new_ids_bring(holder: Holder, seconds: int, prefix: str | None) -> int:
    """Bytes that 20 new ids a second bring, each until it is refused."""
    taken = 0
    for number in range(20 * seconds):
        stranger = replace(from_prefix(number), prefix=prefix)
        while holder.charge(stranger, RECORD_BYTES_MAX, at(number / 20), is_table_peer=False) is None:
            taken += RECORD_BYTES_MAX
    return taken


@pytest.mark.parametrize("prefix", ["203.0.113.0/24", None], ids=["prefix", "address"])
def test_new_ids_bring_no_more_than_their_prefix_or_address_may(prefix: str | None) -> None:
    seconds = 60
    may = STORE_PREFIX_ALLOWANCE * (STORE_BURST_BYTES_STRANGER + seconds * STORE_BYTES_PER_S_STRANGER)

    assert may * 0.8 < new_ids_bring(Node().holder, seconds, prefix) <= may


def test_a_crowd_of_new_ids_stops_neither_a_hand_over_beside_it_nor_other_prefixes() -> None:
    holder = Node().holder
    new_ids_bring(holder, 20, "203.0.113.0/24")
    burst = TABLE_PEER_ALLOWANCE * STORE_BURST_BYTES_STRANGER // RECORD_BYTES_MAX
    neighbour, elsewhere = from_prefix(1_000), from_prefix(1_001, "198.51.100.0/24")
    now = at(20.0)

    assert [holder.charge(neighbour, RECORD_BYTES_MAX, now, is_table_peer=True) for _ in range(burst)] == [
        None
    ] * burst
    assert holder.charge(elsewhere, RECORD_BYTES_MAX, now, is_table_peer=False) is None


def test_who_is_refused_for_its_prefix_keeps_what_it_may_bring_itself() -> None:
    holder, now = Node().holder, at(0.0)
    new_ids_bring(holder, 1, "203.0.113.0/24")
    quiet, left = from_prefix(1_000), STORE_BURST_BYTES_STRANGER // RECORD_BYTES_MAX
    while holder.charge(quiet, RECORD_BYTES_MAX, now, is_table_peer=False) is None:
        left -= 1
    moved = replace(quiet, prefix="198.51.100.0/24")
    charges = [holder.charge(moved, RECORD_BYTES_MAX, now, is_table_peer=False) for _ in range(left + 1)]

    assert left > 0
    assert charges[:-1] == [None] * left
    assert charges[-1] is not None


def test_strangers_without_an_address_have_only_their_own_bucket() -> None:
    holder = Node().holder
    burst = STORE_BURST_BYTES_STRANGER // RECORD_BYTES_MAX
    charges = [
        holder.charge(peer(number, host=""), RECORD_BYTES_MAX, NOW, is_table_peer=False)
        for number in range(2 * STORE_PREFIX_ALLOWANCE)
        for _ in range(burst)
    ]

    assert charges == [None] * len(charges)


def test_strangers_of_one_prefix_share_a_quota_and_nodes_of_the_table_have_their_own() -> None:
    one, two, other = from_prefix(1), from_prefix(2), from_prefix(3, "198.51.100.0/24")

    assert payer_of(one, is_table_peer=False) == payer_of(two, is_table_peer=False)
    assert payer_of(one, is_table_peer=False) != payer_of(other, is_table_peer=False)
    assert payer_of(one, is_table_peer=True) == one.node_id
    assert payer_of(peer(1), is_table_peer=False) == payer_of(peer(2), is_table_peer=False)
    assert payer_of(peer(1, host=""), is_table_peer=False) == node_id(1)


# Verdicts and what is shown


SHOWN = RecordHash(b"h" * 32)


@pytest.mark.parametrize(
    ("verdict", "status", "detail"),
    [
        (Stored(), Status.OK, Refusal()),
        (SeqTooLow(3, SHOWN), Status.SEQ_TOO_LOW, Refusal(3, SHOWN)),
        (CasRefused(3, SHOWN), Status.CAS_MISMATCH, Refusal(3, SHOWN)),
        (Equivocation(3, SHOWN), Status.EQUIVOCATION, Refusal(3, SHOWN)),
        (OverQuota(), Status.OVER_QUOTA, Refusal()),
        (StoreBroken(), Status.BUSY, Refusal()),
    ],
)
def test_every_verdict_has_its_status(verdict: Stored, status: Status, detail: Refusal) -> None:
    assert status_of(verdict) == (status, detail)


def row(note: Note) -> Row:
    return Row(note.record.publisher, note.record.seq, note.record.hash)


def test_a_record_is_shown_whole_or_as_a_row_where_it_is_known() -> None:
    node = Node()
    node.keep(NOTE)

    assert node.holder.show(FindValue(NOTE.target), NOTE.target, NOW.wall) == (NOTE.raw,)
    known = FindValue(NOTE.target, (NOTE.record.hash,))
    assert node.holder.show(known, NOTE.target, NOW.wall) == (row(NOTE),)
    assert node.holder.show(FindValue(NOTE.target, (), 0), NOTE.target, NOW.wall) == (row(NOTE),)


def test_what_goes_past_the_askers_limit_is_shown_as_rows() -> None:
    notes = [Pen(n).multi(NAME, n, bytes(3_000)) for n in range(1, 5)]
    node = Node()
    for note in notes:
        node.keep(note)
    target = notes[0].target
    shown = node.holder.show(FindValue(target), target, NOW.wall)

    assert [type(s) for s in shown] == [bytes, bytes, Row, Row]
    assert sum(len(s) for s in shown if isinstance(s, bytes)) <= FIND_VALUE_BODY_BYTES_DEFAULT


def test_an_answer_carries_512_kib_and_32_entries_at_most() -> None:
    notes = [Pen(n).multi(NAME, n, bytes(61_000)) for n in range(1, 11)]
    rows = [(n.raw, n.record.publisher, n.seq, n.record.hash) for n in notes]

    shown = shorten(rows, FindValue(ELSEWHERE, (), 2**32 - 1))

    assert sum(isinstance(s, bytes) for s in shown) == 8
    node = Node()
    for number in range(40):
        node.keep(Pen(number).multi(NAME, 1, life_s=1_000 + number))
    assert len(node.holder.show(FindValue(notes[0].target), notes[0].target, NOW.wall)) == MULTI_ENTRIES_MAX


def test_bodies_that_will_not_be_shown_are_not_read() -> None:
    node = Node()
    notes = [Pen(n).multi(NAME, n, bytes(3_000)) for n in range(1, 5)]
    for note in notes:
        node.keep(note)
    read: list[RecordHash] = []
    body_of = node.store.body

    def body(target: Target, publisher: Publisher, record_hash: RecordHash) -> bytes | None:
        read.append(record_hash)
        return body_of(target, publisher, record_hash)

    node.store.body = body  # type: ignore[method-assign] # the store is the real one, looked over the shoulder
    target = notes[0].target

    assert len(node.holder.show(FindValue(target, (), 0), target, NOW.wall)) == len(notes)
    assert len(node.holder.show(FindValue(target, (notes[3].record.hash,)), target, NOW.wall)) == len(notes)
    assert read == [note.record.hash for note in (notes[2], notes[1])]


def test_an_expired_record_is_not_shown() -> None:
    node = Node()
    node.keep(NOTE)

    assert node.holder.show(FindValue(NOTE.target), NOTE.target, WALL + DAY_S) == ()


@given(
    st.integers(0, 2**32), st.lists(st.integers(0, 2**32), min_size=0, max_size=40, unique=True), st.data()
)
def test_a_target_in_the_sure_range_has_this_node_among_its_nearest(
    own: int, others: list[int], data: st.DataObject
) -> None:
    others = sorted(set(others) - {own}, key=own.__xor__)
    radius = sure_range(NodeId(own.to_bytes(32)), [NodeId(other.to_bytes(32)) for other in others])
    target = own ^ data.draw(st.integers(0, radius - 1))

    assert sum(other ^ target < own ^ target for other in others) < REPLICAS


def test_the_sure_range_is_about_as_wide_as_the_way_to_the_last_of_the_nearest() -> None:
    others = [NodeId((2**number).to_bytes(32)) for number in range(20)]

    assert sure_range(NodeId(bytes(32)), others) == 2 ** (REPLICAS - 1)
