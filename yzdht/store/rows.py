"""The tables of `records.sqlite` and how a row becomes a Head.

One row is one slot. The body stands last but for its sum, so that heads are read without touching its overflow pages;
the sum tells a body that the disk changed, which SQLite does not notice. The row outlives its body (`size` 0) until `expires_max`. `due` is when a sweep next has work with the row: one index serves
both ends of a slot's life. `seq` is stored less 2**63, since SQLite's integers are signed; the order stays.

`usage` is kept by triggers, in the transaction of the write itself: a sum over an index would cost as much as the
publisher has records, and sums kept by hand could differ from the rows after an error. It has a row for each payer of
`policy.payers_of`. An update fires one trigger at most: three of them, each with as few sums as change, since a newer
version mostly comes from another node than the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from yzdht.ids import ID_BYTES
from yzdht.store.schema import Schema
from yzdht.store.topic_rows import HISTORIES, HOSTS_TOGETHER
from yzdht.wire.slot import PAYER_STRANGERS_BYTES, Head, Kind


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.ids import RecordHash


SEQ_BIAS = 1 << 63

_ADD = """
    ON CONFLICT (payer) DO UPDATE SET
        slots = slots + 1, records = records + excluded.records, bytes = bytes + excluded.bytes;
"""
_COUNT_NEW = f"""
    INSERT INTO usage (payer, slots, records, bytes)
    SELECT iif(NEW.pinned, x'', x'2a'), 1, NEW.size > 0, NEW.size
    UNION ALL SELECT NEW.publisher, 1, NEW.size > 0, NEW.size WHERE NOT NEW.pinned AND NEW.publisher != x''
    UNION ALL SELECT NEW.stored_by, 1, NEW.size > 0, NEW.size WHERE NOT NEW.pinned AND NEW.stored_by != x''
    {_ADD}
"""
_OLD_PAYERS = """
    iif(OLD.pinned, x'', x'2a'),
    iif(OLD.pinned, NULL, nullif(OLD.publisher, x'')),
    iif(OLD.pinned, NULL, nullif(OLD.stored_by, x''))
"""
_UNCOUNT = """
    UPDATE usage SET slots = slots - 1, records = records - (OLD.size > 0), bytes = bytes - OLD.size
    WHERE payer IN ({payers});
    DELETE FROM usage WHERE payer IN ({payers}) AND slots = 0;
"""
_UNCOUNT_OLD = _UNCOUNT.format(payers=_OLD_PAYERS)
_RELIEVE_OLD_BRINGER = _UNCOUNT.format(payers="nullif(OLD.stored_by, x'')")
_CHARGE_NEW_BRINGER = f"""
    INSERT INTO usage (payer, slots, records, bytes)
    SELECT NEW.stored_by, 1, NEW.size > 0, NEW.size WHERE NEW.stored_by != x'' {_ADD}
"""
_GROW = """
    UPDATE usage SET records = records + (NEW.size > 0) - (OLD.size > 0), bytes = bytes + NEW.size - OLD.size
    WHERE OLD.size != NEW.size AND payer IN ({payers});
"""

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
        body BLOB
    )
    """,
    "CREATE UNIQUE INDEX records_slot ON records (target, publisher)",
    "CREATE INDEX records_body ON records (target) WHERE size > 0",
    "CREATE INDEX records_due ON records (due)",
    """
    CREATE TABLE usage (
        payer BLOB PRIMARY KEY,
        slots INTEGER NOT NULL,
        records INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    f"CREATE TRIGGER records_added AFTER INSERT ON records BEGIN {_COUNT_NEW} END",
    f"CREATE TRIGGER records_removed AFTER DELETE ON records BEGIN {_UNCOUNT_OLD} END",
    f"""
    CREATE TRIGGER records_resized AFTER UPDATE OF size ON records
    WHEN OLD.size != NEW.size AND OLD.pinned = NEW.pinned AND (NEW.pinned OR OLD.stored_by = NEW.stored_by)
    BEGIN {_GROW.format(payers=_OLD_PAYERS)} END
    """,
    f"""
    CREATE TRIGGER records_taken_over AFTER UPDATE OF stored_by ON records
    WHEN OLD.stored_by != NEW.stored_by AND NOT OLD.pinned AND NOT NEW.pinned
    BEGIN
        {_CHARGE_NEW_BRINGER} {_RELIEVE_OLD_BRINGER} {_GROW.format(payers="x'2a', nullif(OLD.publisher, x'')")}
    END
    """,
    f"""
    CREATE TRIGGER records_pinned AFTER UPDATE OF pinned ON records WHEN OLD.pinned != NEW.pinned
    BEGIN {_COUNT_NEW} {_UNCOUNT_OLD} END
    """,
)

_SUMS = ("ALTER TABLE records ADD COLUMN sum INTEGER",)  # NULL: written before there were any

_BRINGERS = (
    "length(payer) IN (16, 32)"  # strangers of one prefix, and nodes; neither publishers nor the words
)
_GREED = (  # by whose, and of whom: what a store gives up that is full of what lies in its own range
    "CREATE INDEX records_brought ON records (stored_by, target)",
    "CREATE INDEX records_brought_body ON records (stored_by, target) WHERE size > 0",
    f"CREATE INDEX usage_slots ON usage (length(payer), slots) WHERE {_BRINGERS}",
    f"CREATE INDEX usage_bytes ON usage (length(payer), bytes) WHERE {_BRINGERS}",
)

RECORDS_SCHEMA = Schema(  # "YZDR"
    application_id=0x595A4452, steps=(_RECORDS, _SUMS, _GREED, HISTORIES, HOSTS_TOGETHER)
)

_HEAD = "kind, seq, hash, created, expires, keep_until, expires_max, size, pinned"
HEAD_COLUMNS = 9

SELECT_HEAD = f"SELECT {_HEAD} FROM records WHERE target = ? AND publisher = ?"  # noqa: S608 - constant columns
SELECT_UNDER_TARGET = f"SELECT {_HEAD}, publisher, body, sum FROM records WHERE target = ? AND size > 0"  # noqa: S608 - constant columns
SELECT_HEADS_UNDER_TARGET = f"SELECT {_HEAD}, publisher FROM records WHERE target = ? AND size > 0"  # noqa: S608 - constant columns
SELECT_RECORD = f"SELECT {_HEAD}, publisher, body, sum FROM records WHERE target = ? AND publisher = ? AND hash = ? AND size > 0"  # noqa: S608 - constant columns
SELECT_PAGE = f"""
    SELECT {_HEAD}, target, publisher FROM records INDEXED BY records_body
    WHERE target > ? AND size > 0 ORDER BY target LIMIT ?
"""  # noqa: S608 - constant columns
SELECT_REST_OF_PAGE = f"SELECT {_HEAD}, target, publisher FROM records WHERE target = ? AND size > 0"  # noqa: S608 - constant columns
SELECT_TOTALS = "SELECT total(records), total(bytes) FROM usage WHERE payer IN (x'', x'2a')"

SELECT_SLOT = f"""
    SELECT {_HEAD}, records.id, records.stored_by, by_publisher.slots, by_publisher.bytes,
           by_bringer.slots, by_bringer.bytes, by_all.slots, by_all.bytes
    FROM (SELECT 1)
    LEFT JOIN records ON target = ?1 AND publisher = ?2
    LEFT JOIN usage AS by_publisher ON by_publisher.payer = ?2
    LEFT JOIN usage AS by_bringer ON by_bringer.payer = ?3
    LEFT JOIN usage AS by_all ON by_all.payer = x'2a'
"""  # noqa: S608 - constant columns
SELECT_ENTRIES = """
    SELECT expires, seq, publisher, id FROM records WHERE target = ? AND size > 0 AND publisher != ?
"""
INSERT_SLOT = """
    INSERT INTO records (kind, seq, hash, created, expires, keep_until, expires_max, size, pinned, due, last_stored,
                         stored_by, body, sum, target, publisher)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
REPLACE_SLOT = """
    UPDATE records SET kind = ?, seq = ?, hash = ?, created = ?, expires = ?, keep_until = ?, expires_max = ?,
                       size = ?, pinned = ?, due = ?, last_stored = ?, stored_by = ?, body = ?, sum = ?
    WHERE id = ?
"""
SELECT_BODY = "SELECT id, body, sum FROM records WHERE target = ? AND publisher = ? AND size > 0"
PROLONG_SLOT = """
    UPDATE records SET expires = ?, keep_until = ?, expires_max = ?, pinned = ?, due = ?, last_stored = ?
    WHERE id = ?
"""
DROP_BODY = "UPDATE records SET body = NULL, size = 0, due = expires_max WHERE id = ?"

_IN_RANGE = (
    "SELECT target FROM records INDEXED BY {index} WHERE target BETWEEN ?1 AND ?2 AND {has} NOT pinned"
)
SELECT_FIRST_BODY, SELECT_FIRST_SLOT, SELECT_LAST_BODY, SELECT_LAST_SLOT = (
    f"{_IN_RANGE.format(index=index, has=has)} ORDER BY target {order} LIMIT 1"
    for order in ("ASC", "DESC")
    for index, has in (("records_body", "size > 0 AND"), ("records_slot", ""))
)
SELECT_FIRST_BODY_OF, SELECT_FIRST_SLOT_OF, SELECT_LAST_BODY_OF, SELECT_LAST_SLOT_OF = (
    f"{_IN_RANGE.format(index=index, has=has)} AND stored_by = ?3 ORDER BY target {order} LIMIT 1"
    for order in ("ASC", "DESC")
    for index, has in (("records_brought_body", "size > 0 AND"), ("records_brought", ""))
)
_OF = "target = ?1 AND NOT pinned AND (?2 IS NULL OR stored_by = ?2)"
SELECT_LEAVING = f"SELECT count(*), total(size) FROM records WHERE {_OF}"  # noqa: S608 - constant columns
SELECT_LEAVING_BODIES = f"SELECT 0, total(size) FROM records INDEXED BY records_body WHERE size > 0 AND {_OF}"  # noqa: S608 - as above
DROP_BODIES = f"UPDATE records INDEXED BY records_body SET body = NULL, size = 0, due = expires_max WHERE size > 0 AND {_OF}"  # noqa: S608 - constant columns
DROP_SLOTS = f"DELETE FROM records WHERE {_OF}"  # noqa: S608 - constant columns

_GREEDIEST = """
    SELECT payer, slots, bytes FROM usage INDEXED BY usage_{what}
    WHERE {bringers} AND length(payer) = ? ORDER BY {what} DESC, payer DESC LIMIT 1
"""
SELECT_GREEDIEST_BY_SLOTS, SELECT_GREEDIEST_BY_BYTES = (
    _GREEDIEST.format(what=what, bringers=_BRINGERS) for what in ("slots", "bytes")
)
BRINGER_BYTES = (PAYER_STRANGERS_BYTES, ID_BYTES)

SWEEP_BODIES = """
    UPDATE records SET body = NULL, size = 0, due = expires_max WHERE id IN (
        SELECT id FROM records WHERE due <= ?1 AND expires_max > ?1 LIMIT ?2)
"""
SWEEP_SLOTS = """
    DELETE FROM records WHERE id IN (SELECT id FROM records WHERE due <= ?1 AND expires_max <= ?1 LIMIT ?2)
"""

_KINDS = tuple(Kind)


def sum_of(body: bytes) -> int:
    """What is stored beside a body, to tell whether it is still what was written."""
    return crc32(body)


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
