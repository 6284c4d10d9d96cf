from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.store.writes import record_hash, target
from yzdht.crypto.naming import fingerprint, node_id_of
from yzdht.crypto.primitives import PrivateKey
from yzdht.errors import InvalidKey, NewerFormat, StoreError, UsageError
from yzdht.ids import NetworkId, NodeId, PublicKey
from yzdht.ports import KeptIdentity, KeptMove, Mark
from yzdht.store.marks import MARKS_SCHEMA, MemoryMarks, SqliteMarks
from yzdht.store.schema import Schema, open_database


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.ids import Target

    AnyMarks = MemoryMarks | SqliteMarks


ROOT = Path(__file__).parents[2]
NETWORK = NetworkId(bytes(8))
NODE = NodeId(bytes(32))
RAISER = """
import sys
from pathlib import Path
from tests.store.writes import record_hash, target
from yzdht.ports import Mark
from yzdht.store.marks import SqliteMarks
marks = SqliteMarks(Path(sys.argv[1]))
for seq in range(int(sys.argv[2]), 120, 4):
    marks.raise_to(target(1), Mark(seq, record_hash(str(seq)), 9, False))
    marks.raise_to(target(1_000 + seq), Mark(seq, record_hash(str(seq)), 9, False))
marks.close()
"""


def mark(seq: int, text: str = "a", expires: int = 9, *, is_tombstone: bool = False) -> Mark:
    return Mark(seq, record_hash(text), expires, is_tombstone)


@pytest.fixture(params=["memory", "sqlite"])
def marks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyMarks]:
    if request.param == "memory":
        yield MemoryMarks()
        return
    kept = SqliteMarks(tmp_path / "marks.sqlite")
    yield kept
    kept.close()


def test_slot_never_seen_has_no_mark(marks: AnyMarks) -> None:
    assert marks.get(target(1)) is None


def test_mark_is_read_back(marks: AnyMarks) -> None:
    for number, each in enumerate((mark(0), mark(2**64 - 1), mark(5, is_tombstone=True))):
        marks.raise_to(target(number), each)
        assert marks.get(target(number)) == each


@pytest.mark.parametrize("older", [mark(4, "z", 99), mark(5, "z", 8), mark(5, "a", 9)])
def test_mark_is_never_lowered(marks: AnyMarks, older: Mark) -> None:
    marks.raise_to(target(1), mark(5, "m", 9))

    marks.raise_to(target(1), older)

    assert marks.get(target(1)) == mark(5, "m", 9)


@pytest.mark.parametrize("newer", [mark(6, "a", 1), mark(5, "a", 10), mark(5, "z", 9)])
def test_mark_is_raised_by_seq_then_expires_then_hash(marks: AnyMarks, newer: Mark) -> None:
    marks.raise_to(target(1), mark(5, "m", 9))

    marks.raise_to(target(1), newer)

    assert marks.get(target(1)) == newer


def test_identity_met_is_found_by_its_fingerprint_as_people_type_it(marks: AnyMarks) -> None:
    public_key = PrivateKey.generate().public_key
    text = fingerprint(node_id_of(public_key))
    assert marks.resolve_fingerprint(text) is None

    marks.met(public_key)
    marks.met(public_key)

    assert marks.resolve_fingerprint(text) == public_key
    assert marks.resolve_fingerprint(text.lower().replace("-", " ")) == public_key


def test_fingerprint_that_cannot_be_one_is_refused(marks: AnyMarks) -> None:
    with pytest.raises(UsageError):
        marks.resolve_fingerprint("nonsense")


def test_only_keys_are_met(marks: AnyMarks) -> None:
    with pytest.raises(InvalidKey):
        marks.met(PublicKey(bytes(33)))


def test_publication_is_remembered_per_node_and_network(marks: AnyMarks) -> None:
    assert marks.published_at(NODE, NETWORK) is None

    marks.set_published_at(NODE, NETWORK, 1.5)
    marks.set_published_at(NODE, NETWORK, 2.5)

    assert marks.published_at(NODE, NETWORK) == 2.5
    assert marks.published_at(NODE, NetworkId(b"12345678")) is None


steps = st.builds(
    Mark,
    st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1]),
    st.sampled_from([record_hash("a"), record_hash("b")]),
    st.integers(0, 2),
    st.booleans(),
)


@given(st.lists(steps, max_size=10))
def test_both_kinds_end_with_the_largest(history: list[Mark]) -> None:
    memory = MemoryMarks()
    with tempfile.TemporaryDirectory() as folder, closing(SqliteMarks(Path(folder) / "marks")) as disk:
        for each in history:
            memory.raise_to(target(1), each)
            disk.raise_to(target(1), each)

        assert disk.get(target(1)) == memory.get(target(1))
    order = [(each.seq, each.expires, each.hash) for each in history]
    known = memory.get(target(1))
    assert (known is None) == (not order)
    assert known is None or (known.seq, known.expires, known.hash) == max(order)


def test_the_identity_record_seen_last_is_kept_per_node_and_network(marks: AnyMarks) -> None:
    other = NetworkId(b"another!")
    marks.keep_identity_record(NODE, NETWORK, KeptIdentity(b"old", 5.0))
    marks.keep_identity_record(NODE, NETWORK, KeptIdentity(b"new", 6.5))

    assert marks.identity_record(NODE, NETWORK) == KeptIdentity(b"new", 6.5)
    assert marks.identity_record(NODE, other) is None
    assert marks.identity_record(NodeId(b"n" * 32), NETWORK) is None


def test_of_too_many_people_the_one_seen_longest_ago_is_forgotten(
    marks: AnyMarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yzdht.store.marks.PEOPLE_KEPT_MAX", 3)
    people = [NodeId(bytes((number,)) * 32) for number in range(4)]
    for seen_at, number in enumerate((0, 1, 2, 0, 3)):
        marks.keep_identity_record(people[number], NETWORK, KeptIdentity(b"r", float(seen_at)))

    kept = [marks.identity_record(person, NETWORK) is not None for person in people]
    assert kept == [True, False, True, True]


def test_a_file_of_the_version_before_is_brought_forward(tmp_path: Path) -> None:
    path = tmp_path / "marks.sqlite"
    first = Schema(MARKS_SCHEMA.application_id, MARKS_SCHEMA.steps[:1])
    with closing(open_database(path, first)) as old:
        old.execute("INSERT INTO published VALUES (?, ?, ?)", (NODE, NETWORK, 7.0))

    with closing(SqliteMarks(path)) as marks:
        assert marks.published_at(NODE, NETWORK) == 7.0
        assert marks.identity_record(NODE, NETWORK) is None


def test_marks_survive_closing(tmp_path: Path) -> None:
    path = tmp_path / "marks.sqlite"
    with closing(SqliteMarks(path)) as before:
        before.raise_to(target(1), mark(5))
    assert path.stat().st_mode & 0o777 == 0o600

    with closing(SqliteMarks(path)) as after:
        assert after.get(target(1)) == mark(5)


def test_each_call_waits_for_the_disk(tmp_path: Path) -> None:
    with closing(SqliteMarks(tmp_path / "marks.sqlite")) as marks:
        assert marks._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_another_process_may_have_written_in_between(tmp_path: Path) -> None:
    path = tmp_path / "marks.sqlite"
    with closing(SqliteMarks(path)) as mine, closing(SqliteMarks(path)) as other:
        mine.raise_to(target(1), mark(1))
        other.raise_to(target(1), mark(9))
        mine.raise_to(target(1), mark(5))

        assert mine.get(target(1)) == other.get(target(1)) == mark(9)


@pytest.mark.parametrize("between", [mark(9), mark(5, "b"), mark(5, expires=10), mark(4, "z", 99)])
def test_another_process_may_write_between_a_look_and_a_write(tmp_path: Path, between: Mark) -> None:
    path = tmp_path / "marks.sqlite"

    class Overtaken(SqliteMarks):
        def get(self, target: Target) -> Mark | None:
            known = super().get(target)
            other.raise_to(target, between)
            return known

    with closing(Overtaken(path)) as mine, closing(SqliteMarks(path)) as other:
        mine.raise_to(target(1), mark(5))

        assert other.get(target(1)) == (mark(5) if between.seq < 5 else between)


@pytest.mark.process
def test_processes_that_start_at_once_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "marks.sqlite"
    raisers = [
        subprocess.Popen([sys.executable, "-c", RAISER, str(path), str(first)], cwd=ROOT)
        for first in range(4)
    ]

    assert [raiser.wait() for raiser in raisers] == [0] * 4

    with closing(SqliteMarks(path)) as marks:
        assert marks.get(target(1)) == mark(119, "119")
        assert [seq for seq in range(120) if marks.get(target(1_000 + seq)) is None] == []


def test_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "marks.sqlite"
    SqliteMarks(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version={MARKS_SCHEMA.version + 1}")

    with pytest.raises(NewerFormat):
        SqliteMarks(path)


def raise_many(marks: SqliteMarks) -> None:
    for number in range(1_000):
        marks.raise_to(target(number), mark(2))


def test_full_disk_is_a_store_error_and_the_mark_stays(tmp_path: Path) -> None:
    with closing(SqliteMarks(tmp_path / "marks.sqlite")) as marks:
        marks.raise_to(target(1), mark(1))
        pages = marks._connection.execute("PRAGMA page_count").fetchone()[0]
        marks._connection.execute(f"PRAGMA max_page_count={pages}")

        with pytest.raises(StoreError) as caught:
            raise_many(marks)

        assert "free some space" in caught.value.hint
        assert marks.get(target(0)) == mark(2)


def test_damage_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "marks.sqlite"
    path.write_bytes(b"no database" * 100)

    with pytest.raises(StoreError):
        SqliteMarks(path)


# Moves


def kept_move(seq: int, looked_at: float = 1.0, *, is_revocation: bool = False) -> KeptMove:
    return KeptMove(str(seq).encode() if seq else b"", seq, is_revocation, looked_at)


def test_what_is_known_of_a_move_slot_is_read_back_by_network(marks: AnyMarks) -> None:
    other = NetworkId(b"8" * 8)
    assert marks.move(NODE, NETWORK) is None

    for kept in (kept_move(0), kept_move(7), kept_move(2**64 - 1, is_revocation=True)):
        marks.keep_move(NODE, NETWORK, kept)
        assert marks.move(NODE, NETWORK) == kept
    assert marks.move(NODE, other) is None


@pytest.mark.parametrize(
    ("known", "lesser"),
    [
        (kept_move(7), kept_move(0, 2.0)),
        (kept_move(7), kept_move(6, 2.0)),
        (kept_move(5, is_revocation=True), kept_move(9, 2.0)),
        (kept_move(5, is_revocation=True), kept_move(0, 2.0)),
    ],
)
def test_what_is_known_gives_way_to_nothing_less(marks: AnyMarks, known: KeptMove, lesser: KeptMove) -> None:
    marks.keep_move(NODE, NETWORK, known)

    marks.keep_move(NODE, NETWORK, lesser)

    assert marks.move(NODE, NETWORK) == known._replace(looked_at=2.0)


def test_a_revocation_takes_the_place_of_any_move(marks: AnyMarks) -> None:
    marks.keep_move(NODE, NETWORK, kept_move(9))

    marks.keep_move(NODE, NETWORK, kept_move(5, is_revocation=True))

    assert marks.move(NODE, NETWORK) == kept_move(5, is_revocation=True)


def test_of_too_many_those_go_first_that_never_moved_and_revocations_never(
    marks: AnyMarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yzdht.store.marks.MOVES_KEPT_MAX", 3)
    nodes = [NodeId(bytes((number,)) * 32) for number in range(12)]
    for number, node_id in enumerate(nodes):
        kept = (kept_move(9, number, is_revocation=True), kept_move(5, number), kept_move(0, number))
        marks.keep_move(node_id, NETWORK, kept[number % 3])

    left = [number for number, node_id in enumerate(nodes) if marks.move(node_id, NETWORK)]

    assert set(left) >= {0, 3, 6, 9}, "the revoked"
    assert {number for number in left if number % 3} == {4, 7, 10}, "the moved that were looked up last"


def test_moves_are_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "marks.sqlite"
    with closing(SqliteMarks(path)) as marks:
        marks.keep_move(NODE, NETWORK, kept_move(2**64 - 1, is_revocation=True))
    with closing(SqliteMarks(path)) as marks:
        assert marks.move(NODE, NETWORK) == kept_move(2**64 - 1, is_revocation=True)
