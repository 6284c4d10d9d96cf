"""The tables of `records.sqlite` and how a row becomes a Head.

One row is one slot. The body is the last column, so that heads are read without touching its overflow pages; the row
outlives its body (`size` 0) until `expires_max`. `due` is when a sweep next has work with the row: one index serves
both ends of a slot's life. `seq` is stored less 2**63, since SQLite's integers are signed; the order stays.

`usage` is kept by triggers, in the transaction of the write itself: a sum over an index would cost as much as the
publisher has records, and sums kept by hand could differ from the rows after an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yzdht.store.schema import Schema
from yzdht.wire.slot import Head, Kind


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.ids import RecordHash


SEQ_BIAS = 1 << 63

_COUNT_NEW = """
    INSERT INTO usage (owner, slots, records, bytes)
    SELECT NEW.owner, 1, NEW.size > 0, NEW.size
    UNION ALL SELECT x'2a', 1, NEW.size > 0, NEW.size WHERE NEW.owner != x''
    ON CONFLICT (owner) DO UPDATE SET
        slots = slots + 1, records = records + excluded.records, bytes = bytes + excluded.bytes;
"""
_UNCOUNT_OLD = """
    UPDATE usage SET slots = slots - 1, records = records - (OLD.size > 0), bytes = bytes - OLD.size
    WHERE owner = OLD.owner OR (owner = x'2a' AND OLD.owner != x'');
"""
_FORGET_OLD = "DELETE FROM usage WHERE owner = OLD.owner AND slots = 0;"

_RECORDS = (
    """
    CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        target BLOB NOT NULL,
        publisher BLOB NOT NULL,
        kind INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        hash BLOB NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        keep_until INTEGER NOT NULL,
        expires_max INTEGER NOT NULL,
        size INTEGER NOT NULL,
        pinned INTEGER NOT NULL,
        due INTEGER NOT NULL,
        last_stored REAL NOT NULL,
        stored_by BLOB NOT NULL,
        owner BLOB NOT NULL,
        body BLOB
    )
    """,
    "CREATE UNIQUE INDEX records_slot ON records (target, publisher)",
    "CREATE INDEX records_body ON records (target) WHERE size > 0",
    "CREATE INDEX records_due ON records (due)",
    """
    CREATE TABLE usage (
        owner BLOB PRIMARY KEY,
        slots INTEGER NOT NULL,
        records INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    f"CREATE TRIGGER records_added AFTER INSERT ON records BEGIN {_COUNT_NEW} END",
    f"CREATE TRIGGER records_removed AFTER DELETE ON records BEGIN {_UNCOUNT_OLD} {_FORGET_OLD} END",
    f"""
    CREATE TRIGGER records_changed AFTER UPDATE OF owner, size ON records
    WHEN OLD.owner != NEW.owner OR OLD.size != NEW.size
    BEGIN {_COUNT_NEW} {_UNCOUNT_OLD} {_FORGET_OLD} END
    """,
)

RECORDS_SCHEMA = Schema(application_id=0x595A4452, steps=(_RECORDS,))  # "YZDR"

_HEAD = "kind, seq, hash, created, expires, keep_until, expires_max, size, pinned"
HEAD_COLUMNS = 9

SELECT_HEAD = f"SELECT {_HEAD} FROM records WHERE target = ? AND publisher = ?"  # noqa: S608 - constant columns
SELECT_UNDER_TARGET = f"SELECT {_HEAD}, publisher, body FROM records WHERE target = ? AND size > 0"  # noqa: S608 - constant columns
SELECT_PAGE = f"""
    SELECT {_HEAD}, target, publisher FROM records INDEXED BY records_body
    WHERE target > ? AND size > 0 ORDER BY target LIMIT ?
"""  # noqa: S608 - constant columns
SELECT_REST_OF_PAGE = f"SELECT {_HEAD}, target, publisher FROM records WHERE target = ? AND size > 0"  # noqa: S608 - constant columns
SELECT_TOTALS = "SELECT total(records), total(bytes) FROM usage WHERE owner IN (x'', x'2a')"

SELECT_SLOT = f"""
    SELECT {_HEAD}, id, owner, mine.slots, mine.bytes, everybody.slots, everybody.bytes
    FROM (SELECT 1)
    LEFT JOIN records ON target = ?1 AND publisher = ?2
    LEFT JOIN usage AS mine ON mine.owner = ?3
    LEFT JOIN usage AS everybody ON everybody.owner = x'2a'
""".replace("id, owner,", "records.id, records.owner,")  # noqa: S608 - constant columns
SELECT_ENTRIES = """
    SELECT expires, seq, publisher, id FROM records WHERE target = ? AND size > 0 AND publisher != ?
"""
INSERT_SLOT = """
    INSERT INTO records (kind, seq, hash, created, expires, keep_until, expires_max, size, pinned, due, last_stored,
                         stored_by, owner, body, target, publisher)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
REPLACE_SLOT = """
    UPDATE records SET kind = ?, seq = ?, hash = ?, created = ?, expires = ?, keep_until = ?, expires_max = ?,
                       size = ?, pinned = ?, due = ?, last_stored = ?, stored_by = ?, owner = ?, body = ?
    WHERE id = ?
"""
PROLONG_SLOT = """
    UPDATE records SET expires = ?, keep_until = ?, expires_max = ?, pinned = ?, due = ?, last_stored = ?, owner = ?
    WHERE id = ?
"""
DROP_BODY = "UPDATE records SET body = NULL, size = 0, due = expires_max WHERE id = ?"

SWEEP_BODIES = """
    UPDATE records SET body = NULL, size = 0, due = expires_max WHERE id IN (
        SELECT id FROM records WHERE due <= ?1 AND expires_max > ?1 LIMIT ?2)
"""
SWEEP_SLOTS = """
    DELETE FROM records WHERE id IN (SELECT id FROM records WHERE due <= ?1 AND expires_max <= ?1 LIMIT ?2)
"""

_KINDS = tuple(Kind)


def head_of(row: Sequence[Any]) -> Head:
    """Build a head from the first HEAD_COLUMNS columns of a row."""
    kind, seq, record_hash, created, expires, keep_until, expires_max, size, pinned = row[:HEAD_COLUMNS]
    return Head(
        _KINDS[kind],
        seq + SEQ_BIAS,
        record_hash,
        created,
        expires,
        keep_until,
        expires_max,
        size,
        size > 0,
        pinned == 1,
    )


def columns_of(head: Head) -> tuple[int, int, RecordHash, int, int, int, int, int, bool]:
    """The first HEAD_COLUMNS columns of a row, as `head_of` reads them."""
    return (
        int(head.kind),
        head.seq - SEQ_BIAS,
        head.hash,
        head.created,
        head.expires,
        head.keep_until,
        head.expires_max,
        head.size,
        head.is_pinned,
    )
