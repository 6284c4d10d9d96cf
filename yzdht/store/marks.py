"""What a home remembers between runs: the newest record seen of each slot, identities met and named, what was published when.

Durable before a call returns, so that a crash never makes a reader forget what it has seen (PROTOCOL.md section 8,
Reader). Several processes may share the file. A mark is small and kept for ever: dropping one would let a stale
record pass.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.naming import fingerprint, node_id_of, parse_fingerprint
from yzdht.errors import UsageError
from yzdht.ids import PublicKey, RecordHash
from yzdht.limits import CONTACT_NAME_BYTES_MAX, CONTACTS_MAX, MOVES_KEPT_MAX, PEOPLE_KEPT_MAX
from yzdht.ports import KeptIdentity, KeptMove, Mark
from yzdht.store.rows import SEQ_BIAS
from yzdht.store.schema import Schema
from yzdht.store.shared_file import SharedFile


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.ids import NetworkId, NodeId, Target


_TABLES = (
    """
    CREATE TABLE marks (
        target BLOB PRIMARY KEY,
        seq INTEGER NOT NULL,
        hash BLOB NOT NULL,
        expires INTEGER NOT NULL,
        is_tombstone INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE TABLE met (fingerprint TEXT PRIMARY KEY, public_key BLOB NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE published (
        node_id BLOB NOT NULL,
        network BLOB NOT NULL,
        wall REAL NOT NULL,
        PRIMARY KEY (node_id, network)
    ) WITHOUT ROWID
    """,
)

_PEOPLE = (
    """
    CREATE TABLE people (
        node_id BLOB NOT NULL,
        network BLOB NOT NULL,
        record BLOB NOT NULL,
        seen_at REAL NOT NULL,
        PRIMARY KEY (node_id, network)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX people_by_age ON people (seen_at)",
    "CREATE TABLE contacts (key TEXT PRIMARY KEY, name TEXT NOT NULL, public_key BLOB NOT NULL) WITHOUT ROWID",
)

_MOVES = (
    """
    CREATE TABLE moves (
        node_id BLOB NOT NULL,
        network BLOB NOT NULL,
        record BLOB NOT NULL,
        seq INTEGER NOT NULL,
        says INTEGER NOT NULL,
        looked_at REAL NOT NULL,
        PRIMARY KEY (node_id, network)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX moves_by_age ON moves (says, looked_at)",
)
_NOTHING, _MOVED, _REVOKED = range(3)  # what a row of `moves` says

MARKS_SCHEMA = Schema(application_id=0x595A444D, steps=(_TABLES, _PEOPLE, _MOVES))  # "YZDM"

_SELECT_MARK = "SELECT seq, hash, expires, is_tombstone FROM marks WHERE target = ?"
_RAISE_MARK = (  # as `_is_newer` has it: another process may have raised it further in between
    "INSERT INTO marks (target, seq, hash, expires, is_tombstone) VALUES (?, ?, ?, ?, ?) ON CONFLICT (target) DO UPDATE "
    "SET (seq, hash, expires, is_tombstone) = (excluded.seq, excluded.hash, excluded.expires, excluded.is_tombstone) "
    "WHERE (excluded.seq, excluded.expires, excluded.hash) > (seq, expires, hash)"
)
_SELECT_MET = "SELECT public_key FROM met WHERE fingerprint = ?"
_INSERT_MET = "INSERT OR IGNORE INTO met (fingerprint, public_key) VALUES (?, ?)"
_SELECT_PUBLISHED = "SELECT wall FROM published WHERE node_id = ? AND network = ?"
_REPLACE_PUBLISHED = "INSERT OR REPLACE INTO published (node_id, network, wall) VALUES (?, ?, ?)"

_SELECT_PERSON = "SELECT record, seen_at FROM people WHERE node_id = ? AND network = ?"
_REPLACE_PERSON = "INSERT OR REPLACE INTO people (node_id, network, record, seen_at) VALUES (?, ?, ?, ?)"
_SELECT_CONTACT = "SELECT name, public_key FROM contacts WHERE key = ?"
_SELECT_CONTACTS = "SELECT name, public_key FROM contacts ORDER BY key"
_COUNT_CONTACTS = "SELECT count(*) FROM contacts"
_REPLACE_CONTACT = "INSERT OR REPLACE INTO contacts (key, name, public_key) VALUES (?, ?, ?)"
_DELETE_CONTACT = "DELETE FROM contacts WHERE key = ?"
_FORGET_PEOPLE = (
    "DELETE FROM people WHERE (node_id, network) IN "
    "(SELECT node_id, network FROM people ORDER BY seen_at DESC LIMIT -1 OFFSET ?)"
)
_SELECT_MOVE = "SELECT record, seq, says, looked_at FROM moves WHERE node_id = ? AND network = ?"
_REPLACE_MOVE = (
    "INSERT OR REPLACE INTO moves (node_id, network, record, seq, says, looked_at) VALUES (?, ?, ?, ?, ?, ?)"
)
_FORGET_MOVES = (
    "DELETE FROM moves WHERE (node_id, network) IN (SELECT node_id, network FROM moves WHERE says < ? "
    "ORDER BY says DESC, looked_at DESC LIMIT -1 OFFSET ?)"
)


def _says(kept: KeptMove) -> int:
    if kept.is_revocation:
        return _REVOKED
    return _MOVED if kept.record else _NOTHING


def _is_newer(mark: Mark, known: Mark | None) -> bool:
    return known is None or (mark.seq, mark.expires, mark.hash) > (known.seq, known.expires, known.hash)


class Contact(NamedTuple):
    """Somebody to whom this home has given a name.

    Attributes:
        name: As `contact_name` returns it.
        public_key: 33 bytes.

    """

    name: str
    public_key: PublicKey


def contact_name(text: str) -> str:
    """A name for somebody, in NFC and without spaces around it.

    Raises:
        UsageError: It is empty or over 64 bytes, or not one line of letters, digits, and what stands between them.

    """
    name = unicodedata.normalize("NFC", text.strip())
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= CONTACT_NAME_BYTES_MAX or not name.isprintable() or name.startswith("-"):
        raise UsageError(
            f"a name is 1 to {CONTACT_NAME_BYTES_MAX} bytes of printable text, without a - in front"
        )
    return name


def contact_key(name: str) -> str:
    """By which a name is found: Anna, ANNA and anna are one; what is no text is nobody's name."""
    name = name.encode(errors="replace").decode()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.strip()).casefold())


def _refuse_too_many(others: int) -> None:
    if others >= CONTACTS_MAX:
        raise UsageError(
            f"at most {CONTACTS_MAX:,} people can be named", hint="remove some: yz id remove NAME"
        )


class MemoryMarks:
    """Marks that end with the process."""

    def __init__(self) -> None:
        self._marks: dict[Target, Mark] = {}
        self._met: dict[str, PublicKey] = {}
        self._published: dict[tuple[NodeId, NetworkId], float] = {}
        self._contacts: dict[str, Contact] = {}
        self._people: OrderedDict[tuple[NodeId, NetworkId], KeptIdentity] = OrderedDict()  # oldest first
        self._moves: dict[tuple[NodeId, NetworkId], KeptMove] = {}

    def get(self, target: Target) -> Mark | None:
        """The mark of a slot, None if it was never read or written."""
        return self._marks.get(target)

    def raise_to(self, target: Target, mark: Mark) -> None:
        """Remember `mark` if it is newer than what is known (order: seq, expires, hash)."""
        if _is_newer(mark, self._marks.get(target)):
            self._marks[target] = mark

    def met(self, public_key: PublicKey) -> None:
        """Remember an identity; of two with one fingerprint the one met first stays.

        Raises:
            InvalidKey: It is not a compressed P-256 point.

        """
        self._met.setdefault(fingerprint(node_id_of(public_key)), public_key)

    def resolve_fingerprint(self, fingerprint: str) -> PublicKey | None:
        """The identity of a 16-symbol fingerprint among those met; None if unknown.

        Raises:
            UsageError: It is not 16 Crockford base32 symbols.

        """
        return self._met.get(parse_fingerprint(fingerprint))

    def published_at(self, node_id: NodeId, network: NetworkId) -> float | None:
        """Unix seconds at which this home last published that identity record; None if never."""
        return self._published.get((node_id, network))

    def set_published_at(self, node_id: NodeId, network: NetworkId, wall: float) -> None:
        """Remember when the identity record was published."""
        self._published[node_id, network] = wall

    def identity_record(self, node_id: NodeId, network: NetworkId) -> KeptIdentity | None:
        """The identity record of somebody as it was seen last; None if it never was, or was forgotten."""
        return self._people.get((node_id, network))

    def keep_identity_record(self, node_id: NodeId, network: NetworkId, kept: KeptIdentity) -> None:
        """Keep it in place of the one before; of too many the one that was seen longest ago is forgotten."""
        self._people[node_id, network] = kept
        self._people.move_to_end((node_id, network))
        if len(self._people) > PEOPLE_KEPT_MAX:
            self._people.popitem(last=False)

    def move(self, node_id: NodeId, network: NetworkId) -> KeptMove | None:
        """What is known of the move slot of somebody; None if nodes were never asked."""
        return self._moves.get((node_id, network))

    def keep_move(self, node_id: NodeId, network: NetworkId, kept: KeptMove) -> None:
        """Keep what follows from it and from what was known; see `ports.Marks` for what is forgotten."""
        self._moves[node_id, network] = kept.after(self._moves.get((node_id, network)))
        if len(self._moves) <= MOVES_KEPT_MAX:
            return
        others = [key for key, each in self._moves.items() if not each.is_revocation]
        if len(others) > MOVES_KEPT_MAX:
            del self._moves[
                min(others, key=lambda key: (_says(self._moves[key]), self._moves[key].looked_at))
            ]

    def contact(self, name: str) -> Contact | None:
        """Who has this name; in any case of its letters."""
        return self._contacts.get(contact_key(name))

    def contacts(self) -> list[Contact]:
        """Everybody who has a name, by name."""
        return [self._contacts[key] for key in sorted(self._contacts)]

    def set_contact(self, contact: Contact) -> None:
        """Give somebody a name, whoever had it before.

        Raises:
            UsageError: Nobody more can be named.

        """
        key = contact_key(contact.name)
        _refuse_too_many(len(self._contacts) - (key in self._contacts))
        self._contacts[key] = contact
        self.met(contact.public_key)

    def remove_contact(self, name: str) -> None:
        """Forget a name; nothing happens if nobody has it."""
        self._contacts.pop(contact_key(name), None)


class SqliteMarks:
    """Marks in a file that several processes may share; every method may wait for the disk.

    Args:
        path: The file, created if needed; its folder exists.

    Raises:
        NewerFormat: A newer version of yzdht wrote it.
        UnsafeFile: Others can write it.
        StoreError: It cannot be opened, is damaged or belongs to another program. Every method may raise it too.

    """

    def __init__(self, path: Path) -> None:
        self._file = SharedFile(path, MARKS_SCHEMA)
        self._connection = self._file.connection

    def get(self, target: Target) -> Mark | None:
        """The mark of a slot, None if it was never read or written."""
        row = self._file.first(_SELECT_MARK, (target,))
        return None if row is None else Mark(row[0] + SEQ_BIAS, RecordHash(row[1]), row[2], bool(row[3]))

    def raise_to(self, target: Target, mark: Mark) -> None:
        """Remember `mark` if it is newer than what is known (order: seq, expires, hash)."""
        # What is not newer would write nothing, and need not wait for the disk.
        if _is_newer(mark, self.get(target)):
            columns = (target, mark.seq - SEQ_BIAS, mark.hash, mark.expires, mark.is_tombstone)
            self._file.transact(lambda: self._connection.execute(_RAISE_MARK, columns))

    def met(self, public_key: PublicKey) -> None:
        """Remember an identity; of two with one fingerprint the one met first stays.

        Raises:
            InvalidKey: It is not a compressed P-256 point.

        """
        name = fingerprint(node_id_of(public_key))
        if self._file.first(_SELECT_MET, (name,)) is None:
            self._file.transact(lambda: self._connection.execute(_INSERT_MET, (name, public_key)))

    def resolve_fingerprint(self, fingerprint: str) -> PublicKey | None:
        """The identity of a 16-symbol fingerprint among those met; None if unknown.

        Raises:
            UsageError: It is not 16 Crockford base32 symbols.

        """
        row = self._file.first(_SELECT_MET, (parse_fingerprint(fingerprint),))
        return None if row is None else PublicKey(row[0])

    def published_at(self, node_id: NodeId, network: NetworkId) -> float | None:
        """Unix seconds at which this home last published that identity record; None if never."""
        row = self._file.first(_SELECT_PUBLISHED, (node_id, network))
        return None if row is None else float(row[0])

    def set_published_at(self, node_id: NodeId, network: NetworkId, wall: float) -> None:
        """Remember when the identity record was published."""
        self._file.transact(lambda: self._connection.execute(_REPLACE_PUBLISHED, (node_id, network, wall)))

    def identity_record(self, node_id: NodeId, network: NetworkId) -> KeptIdentity | None:
        """The identity record of somebody as it was seen last; None if it never was, or was forgotten."""
        row = self._file.first(_SELECT_PERSON, (node_id, network))
        return None if row is None else KeptIdentity(row[0], float(row[1]))

    def keep_identity_record(self, node_id: NodeId, network: NetworkId, kept: KeptIdentity) -> None:
        """Keep it in place of the one before; of too many the one that was seen longest ago is forgotten."""

        def keep() -> None:
            self._connection.execute(_REPLACE_PERSON, (node_id, network, kept.record, kept.seen_at))
            self._connection.execute(_FORGET_PEOPLE, (PEOPLE_KEPT_MAX,))

        self._file.transact(keep)

    def move(self, node_id: NodeId, network: NetworkId) -> KeptMove | None:
        """What is known of the move slot of somebody; None if nodes were never asked."""
        row = self._file.first(_SELECT_MOVE, (node_id, network))
        return None if row is None else KeptMove(row[0], row[1] + SEQ_BIAS, row[2] == _REVOKED, float(row[3]))

    def keep_move(self, node_id: NodeId, network: NetworkId, kept: KeptMove) -> None:
        """Keep what follows from it and from what was known; see `ports.Marks` for what is forgotten."""

        def keep() -> None:
            new = kept.after(self.move(node_id, network))  # inside the transaction: another process may have
            columns = (node_id, network, new.record, new.seq - SEQ_BIAS, _says(new), new.looked_at)
            self._connection.execute(_REPLACE_MOVE, columns)
            self._connection.execute(_FORGET_MOVES, (_REVOKED, MOVES_KEPT_MAX))

        self._file.transact(keep)

    def contact(self, name: str) -> Contact | None:
        """Who has this name; in any case of its letters."""
        row = self._file.first(_SELECT_CONTACT, (contact_key(name),))
        return None if row is None else Contact(row[0], PublicKey(row[1]))

    def contacts(self) -> list[Contact]:
        """Everybody who has a name, by name."""
        return [Contact(name, PublicKey(key)) for name, key in self._file.all(_SELECT_CONTACTS, ())]

    def set_contact(self, contact: Contact) -> None:
        """Give somebody a name, whoever had it before.

        Raises:
            UsageError: Nobody more can be named.

        """
        key = contact_key(contact.name)

        def add() -> None:
            [count] = self._connection.execute(_COUNT_CONTACTS).fetchone()
            is_there = self._connection.execute(_SELECT_CONTACT, (key,)).fetchone() is not None
            _refuse_too_many(count - is_there)
            self._connection.execute(_REPLACE_CONTACT, (key, contact.name, contact.public_key))

        self._file.transact(add)
        self.met(contact.public_key)

    def remove_contact(self, name: str) -> None:
        """Forget a name; nothing happens if nobody has it."""
        self._file.transact(lambda: self._connection.execute(_DELETE_CONTACT, (contact_key(name),)))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()
