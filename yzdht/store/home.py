"""A person's home: the identity and what it has seen, made on first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from yzdht.crypto.invite_ledger import MemoryLedger
from yzdht.records import Keeps
from yzdht.store.files import make_folder, refuse_unsafe_folder
from yzdht.store.groups import SqliteGroups
from yzdht.store.keyfile import AnyPath, Identity
from yzdht.store.ledger import SqliteLedger
from yzdht.store.marks import MemoryMarks, SqliteMarks


KEY_NAME = "identity.key"
MARKS_NAME = "marks.sqlite"
LEDGER_NAME = "invites.sqlite"
GROUPS_NAME = "groups.sqlite"


@dataclass(frozen=True)
class Home:
    """An identity and its high-water marks.

    Attributes:
        identity: Signs and seals.
        marks: On disk, or in memory for a home that is not kept.
        groups: The groups that it knows, likewise.
        path: Its folder; None for a home that is not kept.

    """

    identity: Identity
    marks: MemoryMarks | SqliteMarks
    groups: SqliteGroups
    path: Path | None = None

    @cached_property
    def ledger(self) -> MemoryLedger | SqliteLedger:
        """What this home issued; the file is made at the first use, since few ever issue an invite.

        Raises:
            UnsafeFile: Others can write it.
            StoreError: It cannot be opened, or is damaged.

        """
        return MemoryLedger() if self.path is None else SqliteLedger(self.path / LEDGER_NAME)

    @classmethod
    def open(
        cls, path: AnyPath | None, *, identity: Identity | None = None, passphrase: str | None = None
    ) -> Home:
        """Open a home, making what is missing.

        Args:
            path: Folder; None keeps everything in memory.
            identity: Used instead of the home's own.
            passphrase: Opens the home's keyfile.

        Raises:
            UnsafeFile: Others can write the folder or the marks, or get at the keyfile.
            StoreError: The folder cannot be read or written.
            WrongPassphrase: The keyfile does not open.

        """
        if path is None:
            return cls(identity or Identity.generate(), MemoryMarks(), SqliteGroups(None))
        path = Path(path)
        make_folder(path)
        refuse_unsafe_folder(path)
        if identity is None:
            identity = Identity.load_or_create(path / KEY_NAME, passphrase=passphrase)
        return cls(identity, SqliteMarks(path / MARKS_NAME), SqliteGroups(path / GROUPS_NAME), path)

    @property
    def keeps(self) -> Keeps:
        """All that records need of it."""
        return Keeps(self.marks, self.groups)

    def close(self) -> None:
        """Close the files."""
        if isinstance(self.marks, SqliteMarks):
            self.marks.close()
        ledger = vars(self).get("ledger")
        if isinstance(ledger, SqliteLedger):
            ledger.close()
        self.groups.close()
