"""A small SQLite file that several processes of one home share: read, and changed in transactions that see what others did."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, TypeVar

from yzdht.store.schema import as_store_error, open_database


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from yzdht.store.schema import Schema


_T = TypeVar("_T")


class SharedFile:
    """One such file, opened at its first use; every method may wait for the disk.

    Args:
        path: The file, created if needed; its folder exists. None keeps everything in memory.
        schema: Its form.

    Every method raises:
        NewerFormat: A newer version of yzdht wrote it.
        UnsafeFile: Others can write it.
        StoreError: It cannot be opened, is damaged or belongs to another program.

    """

    def __init__(self, path: Path | None, schema: Schema) -> None:
        self._path = path
        self._schema = schema
        self._opened: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """For statements inside `transact`."""
        if self._opened is None:
            self._opened = (
                self._in_memory() if self._path is None else open_database(self._path, self._schema)
            )
        return self._opened

    def all(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Every row that a statement selects."""
        return self._told(lambda: self.connection.execute(statement, parameters).fetchall())

    def first(self, statement: str, parameters: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first of them; None if there is none."""
        rows = self.all(statement, parameters)
        return rows[0] if rows else None

    def version(self) -> tuple[int, int] | None:
        """Another one after each change, by this process or another: what was read at the same one is the same still.

        None inside `transact`: what is read there may be taken back.
        """
        if self.connection.in_transaction:
            return None
        changes_of_others = self._told(lambda: self.connection.execute("PRAGMA data_version").fetchone()[0])
        return changes_of_others, self.connection.total_changes

    def transact(self, work: Callable[[], _T]) -> _T:
        """Do something that no other process comes between, durable when this returns; what raises changes nothing."""

        def whole() -> _T:
            with self.connection:  # which commits, or takes it all back
                self.connection.execute("BEGIN IMMEDIATE")
                return work()

        return self._told(whole)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._opened is not None:
            self._opened.close()

    def _told(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except sqlite3.Error as error:
            if self._path is None:
                raise
            raise as_store_error(error, self._path) from error

    def _in_memory(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in (statement for step in self._schema.steps for statement in step):
            connection.execute(statement)
        return connection
