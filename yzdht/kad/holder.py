"""The storing node: what it takes in and what it shows (PROTOCOL.md section 8, "Storing node").

Cheap tests come first, the signature last but one, the durable write last. The reply to a STORE leaves only once the
store has said that the record is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.errors import CryptoError, LifetimeRefused, RecordTooLarge, WireError
from yzdht.limits import (
    ANSWER_BODIES_BYTES_MAX,
    PREFIXES_TRACKED_MAX,
    RECORD_BYTES_MAX,
    RECORD_LIFE_S_MAX,
    REPLICAS,
    STORE_BURST_BYTES_STRANGER,
    STORE_BYTES_PER_S_STRANGER,
    STORE_CHARGE_BYTES_MIN,
    STORE_PREFIX_ALLOWANCE,
    TABLE_PEER_ALLOWANCE,
)
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate
from yzdht.wire.record import Record, decode_record
from yzdht.wire.rpc import Refusal, Row, Status
from yzdht.wire.slot import (
    CasRefused,
    Equivocation,
    Kind,
    OverQuota,
    SeqTooLow,
    StoreBroken,
    Stored,
    Verdict,
    Write,
    judge,
    payer_of_strangers,
)


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.ids import NodeId, Target
    from yzdht.ports import Now, RecordStore, RecordVerifier
    from yzdht.rpc.engine import Peer
    from yzdht.wire.rpc import FindValue, Get, Store


_STRANGER = Rate(STORE_BYTES_PER_S_STRANGER, STORE_BURST_BYTES_STRANGER)
_NOTHING = Refusal()
_TABLE_PEER = _STRANGER.times(TABLE_PEER_ALLOWANCE)


@dataclass(frozen=True, slots=True)
class Refused:
    """A STORE that goes no further."""

    status: Status
    detail: Refusal = _NOTHING


def _rate(*, is_table_peer: bool) -> Rate:
    return _TABLE_PEER if is_table_peer else _STRANGER


def payer_of(peer: Peer, *, is_table_peer: bool) -> NodeId | bytes:
    """Whose quota counts what a peer brings: a node of the table its own, a stranger that of its prefix or address.

    Ids are free, addresses are not; and a table has only some nodes of each prefix.
    """
    group = peer.group
    return peer.node_id if is_table_peer or not group else payer_of_strangers(group)


def status_of(verdict: Verdict) -> tuple[Status, Refusal]:
    """How a store's verdict is answered."""
    match verdict:
        case Stored():
            return Status.OK, Refusal()
        case SeqTooLow(seq, shown):
            return Status.SEQ_TOO_LOW, Refusal(seq, shown)
        case CasRefused(seq, shown):
            return Status.CAS_MISMATCH, Refusal(seq, shown)
        case Equivocation(seq, shown):
            return Status.EQUIVOCATION, Refusal(seq, shown)
        case OverQuota():
            return Status.OVER_QUOTA, Refusal()
        case StoreBroken():
            return Status.BUSY, Refusal()


def sure_range(own_id: NodeId, nearest: Sequence[NodeId]) -> int:
    """The distance below which a target surely has this node among its REPLICAS nearest.

    Who is nearer to a target at a distance below 2**k is itself at one below 2**k from the own id, and there are
    fewer than REPLICAS of these if the REPLICAS-th nearest is not among them.

    Args:
        own_id: This node's.
        nearest: The storage nodes nearest to it, nearest first.

    """
    if len(nearest) < REPLICAS:
        return 1 << 256
    distance = int.from_bytes(own_id) ^ int.from_bytes(nearest[REPLICAS - 1])
    return 1 << distance.bit_length() - 1


class Holder:
    """Judges what others want stored here.

    Args:
        store: Where records are.
        verifier: Checks signatures, once per record.

    """

    def __init__(self, store: RecordStore, verifier: RecordVerifier) -> None:
        self._store = store
        self._verifier = verifier
        self._peers = Buckets(PREFIXES_TRACKED_MAX)
        self._groups = FairBuckets(PREFIXES_TRACKED_MAX)

    # Showing

    def show(self, body: FindValue | Get, target: Target, wall: float) -> tuple[bytes | Row, ...]:
        """Records under a target: whole, or as a row where the asker knows them or the bytes would be too many."""
        room = min(body.body_max, ANSWER_BODIES_BYTES_MAX)
        answer: list[bytes | Row] = []
        for head, publisher in self._store.heads(target, wall):
            if head.hash in body.known or head.size > room:
                answer.append(Row(publisher, head.seq, head.hash))
                continue
            raw = self._store.body(target, publisher, head.hash)
            if raw is not None:  # else the disk changed it, or it was given up between the two reads
                room -= len(raw)
                answer.append(raw)
        return tuple(answer)

    # Taking in

    def charge(self, peer: Peer, size: int, now: Now, *, is_table_peer: bool) -> Refused | None:
        """Charge the bytes of a STORE or PUT to who brought them, and to all of its prefix or address; a Refused if over.

        Nodes of the table are charged apart from the strangers beside them: no crowd of new ids stops a hand-over.
        """
        if size > RECORD_BYTES_MAX:
            return Refused(Status.RECORD_TOO_BIG)
        cost, rate = max(size, STORE_CHARGE_BYTES_MIN), _rate(is_table_peer=is_table_peer)
        wait_s = self._peers.take(peer.node_id, cost, rate, now.mono)
        if not wait_s and (wait_s := self._take_of_group(peer, cost, now, is_table_peer=is_table_peer)):
            self._peers.put_back(peer.node_id, cost)
        return Refused(Status.RATE_LIMITED, Refusal(int(wait_s * 1000) + 1)) if wait_s else None

    def punish(self, peer: Peer, now: Now, *, is_table_peer: bool) -> None:
        """Charge a forged record as a large one, also to a bucket that is empty: it cost a check and brought nothing."""
        self._peers.overdraw(peer.node_id, RECORD_BYTES_MAX, _rate(is_table_peer=is_table_peer), now.mono)
        self._take_of_group(peer, RECORD_BYTES_MAX, now, is_table_peer=is_table_peer)

    def _take_of_group(self, peer: Peer, cost: int, now: Now, *, is_table_peer: bool) -> float:
        """0.0 when what all of a prefix or address may bring gave, else seconds after which to try again."""
        group = peer.group
        if not group:
            return 0.0
        rate = _rate(is_table_peer=is_table_peer).times(STORE_PREFIX_ALLOWANCE)
        return self._groups.take((group, is_table_peer), peer.node_id, cost, rate, now.mono)

    def admit(self, body: Store, stored_by: NodeId | bytes, now: Now) -> Write | Refused:
        """Run every test that needs no disk.

        Args:
            body: The request.
            stored_by: Whose quota it counts against, as `payer_of` says; empty for this node's own user, whom no quota counts.
            now: The present.

        """
        if len(body.record) > RECORD_BYTES_MAX:
            return Refused(Status.RECORD_TOO_BIG)
        try:
            record = decode_record(body.record)
        except RecordTooLarge:
            return Refused(Status.RECORD_TOO_BIG)
        except (WireError, CryptoError):
            return Refused(Status.BAD_REQUEST)
        try:
            return self._admit_record(record, body, stored_by, now)
        except LifetimeRefused:
            return Refused(Status.BAD_LIFETIME, Refusal(int(now.wall)))
        except (WireError, CryptoError):
            return Refused(Status.BAD_SIGNATURE)

    def _admit_record(
        self, record: Record, body: Store, stored_by: NodeId | bytes, now: Now
    ) -> Write | Refused:
        self._verifier.check_times(record, now.wall)
        if 0 < body.keep_until <= now.wall and self._is_kept_on_request(record):
            raise LifetimeRefused("the record would be gone at once")
        self._verifier.check_target(record, body.target)
        if not self._store.has_room():
            return Refused(Status.BUSY)
        write = self._write_of(record, body, stored_by, now)
        early = judge(self._store.head(write.target, write.publisher), write)
        if not isinstance(early, Stored):
            return Refused(
                *status_of(early)
            )  # before the signature: an old record costs no more than two hashes
        self._verifier.verify_record(record, body.target)
        return write

    def _is_kept_on_request(self, record: Record) -> bool:
        """True for records that carry no end of their own: immutables and moves."""
        return record.kind is Kind.IMMUTABLE or self._verifier.is_move(record)

    def _write_of(self, record: Record, body: Store, stored_by: NodeId | bytes, now: Now) -> Write:
        wall = int(now.wall)
        keep_until, expires = 0, record.expires
        if self._is_kept_on_request(record):
            latest = wall + RECORD_LIFE_S_MAX
            keep_until = min(body.keep_until, latest) if body.keep_until else latest
            if record.kind is Kind.IMMUTABLE:
                expires = keep_until
        return Write(
            target=body.target,
            publisher=record.publisher,
            kind=record.kind,
            seq=record.seq,
            hash=record.hash,
            created=record.created,
            expires=expires,
            body=record.raw,
            cas=body.cas,
            keep_until=keep_until,
            stored_by=stored_by,
            is_pinned=not stored_by,
            wall_now=now.wall,
        )


def shorten(
    records: Sequence[tuple[bytes, bytes, int, bytes]], body: FindValue | Get
) -> tuple[bytes | Row, ...]:
    """Replace by a row what the asker knows and what goes past its `body_max`.

    Args:
        records: (record, publisher, seq, hash) of each.
        body: The request, which says both.

    """
    room = min(body.body_max, ANSWER_BODIES_BYTES_MAX)
    shown: list[bytes | Row] = []
    for raw, publisher, seq, record_hash in records:
        if record_hash in body.known or len(raw) > room:
            shown.append(Row(publisher, seq, record_hash))  # type: ignore[arg-type] # a hash of 32 bytes
        else:
            room -= len(raw)
            shown.append(raw)
    return tuple(shown)
