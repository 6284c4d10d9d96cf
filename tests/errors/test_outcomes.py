"""What a lookup, a read or a write came to, in words."""

from __future__ import annotations

from yzdht.errors import CasMismatch, LookupFailed, ReadQuorumFailed, StaleRecord, WriteQuorumFailed


def test_a_stale_record_says_what_was_shown_and_what_was_seen() -> None:
    error = StaleRecord(5, 9)

    assert (error.seq, error.seen_seq) == (5, 9)
    assert str(error) == "the nodes showed seq 5, but seq 9 was seen before"


def test_a_failed_quorum_counts() -> None:
    read, write = ReadQuorumFailed(1, 4, 8), WriteQuorumFailed(2, 5, 8, "301")

    assert (read.answered, read.needed, read.asked) == (1, 4, 8)
    assert str(read) == "1 of 8 nodes answered, 4 are needed"
    assert str(write) == "2 of 8 nodes stored it durably, 5 are needed (301)"
    assert isinstance(write, LookupFailed)


def test_a_cas_mismatch_says_what_is_stored() -> None:
    assert str(CasMismatch(7)) == "compare-and-swap refused: seq 7 is stored"
    assert str(CasMismatch(0)) == "compare-and-swap refused: nothing is stored"
    assert CasMismatch(7).seq == 7
