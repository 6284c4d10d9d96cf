"""A person's home: the identity and what it has seen, made on first use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yzdht.store.files import make_folder, refuse_unsafe_folder
from yzdht.store.keyfile import AnyPath, Identity
from yzdht.store.marks import MemoryMarks, SqliteMarks


KEY_NAME = "identity.key"
MARKS_NAME = "marks.sqlite"


@dataclass(frozen=True, slots=True)
class Home:
    """An identity and its high-water marks.

    Attributes:
        identity: Signs and seals.
        marks: On disk, or in memory for a home that is not kept.

    """

    identity: Identity
    marks: MemoryMarks | SqliteMarks

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
            return cls(identity or Identity.generate(), MemoryMarks())
        path = Path(path)
        make_folder(path)
        refuse_unsafe_folder(path)
        if identity is None:
            identity = Identity.load_or_create(path / KEY_NAME, passphrase=passphrase)
        return cls(identity, SqliteMarks(path / MARKS_NAME))

    def close(self) -> None:
        """Close the files."""
        if isinstance(self.marks, SqliteMarks):
            self.marks.close()
