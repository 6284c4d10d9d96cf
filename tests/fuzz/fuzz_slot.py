"""What may replace what in one slot (PROTOCOL.md section 8): any writes, in any order, at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import Pieces, run
from yzdht.ids import PublicKey, RecordHash, Target
from yzdht.limits import SEQ_MAX
from yzdht.wire.slot import CasRefused, Head, Kind, SeqTooLow, Stored, Write, head_after, judge


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ()
_PIECE_BYTES = 9


def seeds() -> Iterator[bytes]:
    yield bytes((1, 0, 10, 1, 0, 50, 0, 0, 1)) + bytes((1, 0, 11, 2, 0, 50, 0, 0, 2))
    yield bytes((0, 0, 0, 1, 0, 50, 50, 0, 1)) * 2
    yield bytes((1, 0, 5, 1, 0, 50, 0, 1, 1)) + bytes((1, 100, 4, 2, 0, 200, 0, 6, 1))


def one(data: bytes) -> None:
    pieces = Pieces(data)
    head: Head | None = None
    wall = 0
    while not pieces.is_empty:
        write = _write(Pieces(pieces.take(_PIECE_BYTES)), wall)
        wall = int(write.wall_now)
        verdict = judge(head, write)
        if not isinstance(verdict, Stored):
            assert head is not None or isinstance(verdict, CasRefused)
            assert not isinstance(verdict, SeqTooLow) or head is None or write.seq < head.seq
            continue
        after = head_after(head, write)
        if head is not None and head.is_remembered(write.wall_now):
            assert after.seq >= head.seq, (head, write)
            assert after.expires_max >= head.expires_max, (head, write)
            assert after.is_pinned or not head.is_pinned
        head = after


def _write(p: Pieces, wall: int) -> Write:
    kind = Kind(p.byte() % len(Kind))
    wall += p.byte()
    seq = 0 if kind is Kind.IMMUTABLE else min(p.byte(), SEQ_MAX)
    number = p.byte()
    created = wall + p.byte()
    expires = wall + p.byte()
    keep = p.byte()
    cas = p.byte()
    return Write(
        target=Target(bytes(32)),
        publisher=PublicKey(bytes(33)),
        kind=kind,
        seq=seq,
        hash=RecordHash(bytes((number,)) * 32),
        created=created,
        expires=expires,
        body=bytes(number),
        cas=cas - 1 if cas else None,
        keep_until=wall + keep if keep else 0,
        stored_by=b"",
        is_pinned=bool(p.byte() & 1),
        wall_now=wall,
    )


if __name__ == "__main__":
    run(one, seeds())
