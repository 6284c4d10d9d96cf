"""The groups that a home knows, by the names that it gives them; what is known of each is sealed (crypto/kept_group.py).

Durable before a call returns. Several processes may share the file: what is kept is replaced inside one transaction, by
whoever looks at what is there first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.errors import UsageError
from yzdht.limits import GROUPS_KEPT_MAX
from yzdht.store.marks import contact_key, contact_name
from yzdht.store.schema import Schema
from yzdht.store.shared_file import SharedFile


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yzdht.ids import NetworkId


_TABLES = (
    """
    CREATE TABLE groups (
        network BLOB NOT NULL,
        key TEXT NOT NULL,
        name TEXT NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (network, key)
    ) WITHOUT ROWID
    """,
)
GROUPS_SCHEMA = Schema(application_id=0x595A4447, steps=(_TABLES,))  # "YZDG"

_SELECT_NAMES = "SELECT name FROM groups WHERE network = ? ORDER BY key"
_SELECT = "SELECT sealed FROM groups WHERE network = ? AND key = ?"
_COUNT = "SELECT count(*) FROM groups WHERE network = ?"
_INSERT = "INSERT INTO groups (network, key, name, sealed) VALUES (?, ?, ?, ?)"
_UPDATE = "UPDATE groups SET sealed = ? WHERE network = ? AND key = ?"
_DELETE = "DELETE FROM groups WHERE network = ? AND key = ?"


class SqliteGroups:
    """Groups in a file, or in memory for a home that is not kept; every method may wait for the disk.

    The file is opened, and made if needed, at the first use: most homes know no group.

    Args:
        path: The file; its folder exists. None keeps nothing.

    Every method raises:
        NewerFormat: A newer version of yzdht wrote it.
        UnsafeFile: Others can write it.
        StoreError: It cannot be opened, is damaged or belongs to another program.

    """

    def __init__(self, path: Path | None) -> None:
        self._file = SharedFile(path, GROUPS_SCHEMA)
        self._last_read: tuple[tuple[int, int], NetworkId, str, bytes | None] | None = None

    def names(self, network: NetworkId) -> list[str]:
        """All groups of a network, by name."""
        return [name for (name,) in self._file.all(_SELECT_NAMES, (network,))]

    def get(self, network: NetworkId, name: str) -> bytes | None:
        """What is kept of a group; None if there is none of this name, in any case of its letters."""
        version = self._file.version()  # before it is read: a change meanwhile has it read again
        last = self._last_read
        if last is not None and last[:3] == (version, network, name):
            return last[3]
        rows = self._file.all(_SELECT, (network, contact_key(name)))
        sealed = rows[0][0] if rows else None
        if version is not None:
            self._last_read = version, network, name, sealed
        return sealed

    def check_new(self, network: NetworkId, name: str) -> None:
        """Check that a group can be kept under a name.

        Raises:
            UsageError: The name is none or is taken, or there are too many groups.

        """
        name = contact_name(name)
        if self._file.all(_COUNT, (network,))[0][0] >= GROUPS_KEPT_MAX:
            raise UsageError(
                f"a home knows at most {GROUPS_KEPT_MAX} groups", hint="leave some: yz group leave NAME"
            )
        if self.get(network, name) is not None:
            raise UsageError(
                f"there is a group called {name!r} already", hint="choose another name; it is yours alone"
            )

    def add(self, network: NetworkId, name: str, sealed: bytes) -> None:
        """Keep a new group; raises as `check_new`."""

        def insert() -> None:
            self.check_new(network, name)  # inside the transaction: another process may have been faster
            row = (network, contact_key(name), contact_name(name), sealed)
            self._file.connection.execute(_INSERT, row)

        self._file.transact(insert)

    def change(self, network: NetworkId, name: str, make: Callable[[bytes], bytes]) -> None:
        """Replace what is kept of a group, if it is still there, by what `make` makes of what is there now."""
        key = contact_key(name)

        def replace() -> None:
            row = self._file.connection.execute(_SELECT, (network, key)).fetchone()
            if row is not None:
                self._file.connection.execute(_UPDATE, (make(row[0]), network, key))

        self._file.transact(replace)

    def remove(self, network: NetworkId, name: str) -> None:
        """Forget a group; nothing happens if there is none of this name."""
        self._file.transact(lambda: self._file.connection.execute(_DELETE, (network, contact_key(name))))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()
