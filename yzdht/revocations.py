"""The revocation list of a closed network: read by quorum, kept on disk, never given up for an older one (section 12).

Owns the rule that what is revoked stays revoked: nodes that show an older list, none, or nonsense change nothing, nor does
the issuer's deleting it. While no list was ever seen, memberships count by their times alone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from yzdht.crypto.naming import mutable_target, revoked_tag
from yzdht.errors import CryptoError, LookupFailed, StoreError, WireError
from yzdht.slots import Slot, SlotReader
from yzdht.store.marks import MemoryMarks
from yzdht.wire.record import Readers, decode_record
from yzdht.wire.revocation import decode_revoked
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.access import Access
    from yzdht.ports import RecordVerifier
    from yzdht.sessions.membership import ClosedNetwork
    from yzdht.store.folder import DataFolder
    from yzdht.wire.record import Record


log = logging.getLogger(__name__)


class Revocations:
    """Keeps what a closed network knows of its revocations.

    Args:
        closed: Its `revoked` is set here.
        access: The way to the replicas.
        checks: Verifies records.

    Attributes:
        is_fresh: True if a quorum answered when it was last read.

    """

    def __init__(self, closed: ClosedNetwork, access: Access, checks: RecordVerifier) -> None:
        self._closed = closed
        self._checks = checks
        self._folder: DataFolder | None = None
        tag = revoked_tag(closed.network)
        self._slot = Slot(closed.issuer, tag, mutable_target(closed.network, closed.issuer, tag))
        self._reader = SlotReader(access, MemoryMarks(), checks)
        self._known: Record | None = None
        self.is_fresh = False

    @property
    def is_known(self) -> bool:
        """True once a list was seen, in this run or before."""
        return self._known is not None

    def keep_in(self, folder: DataFolder) -> None:
        """Take up what an earlier run kept, though it may have expired meanwhile; and keep newer ones there.

        Raises:
            UnsafeFile: Others can write it.
            StoreError: It cannot be read, or is no list of this network's issuer.

        """
        self._folder = folder
        raw = folder.read_revoked(self._slot.target)
        if raw is None:
            return
        try:
            record = decode_record(raw)
            self._checks.verify_record(record, self._slot.target)
            self._take(record)
        except (WireError, CryptoError):
            raise StoreError(
                "the revocation list that was kept is damaged",
                hint="remove the file revoked-… of the data folder; it is read from the network again",
            ) from None

    async def refresh(self) -> bool:
        """Read it; True if there is a newer one."""
        self.is_fresh = False
        try:
            seen = await self._reader.read(self._slot)
            self.is_fresh = True
            if seen is None or not self._is_newer(seen.record):
                return False
            self._take(seen.record)
        except (LookupFailed, WireError, CryptoError) as error:
            log.warning("revocations not read reason=%s", error)
            return False
        self._keep(seen.record)
        log.info("revocations seq=%d ids=%d", seen.record.seq, len(self._closed.revoked))
        return True

    def _is_newer(self, record: Record) -> bool:
        known = self._known
        return not record.is_tombstone and (known is None or record.seq > known.seq)

    def _take(self, record: Record) -> None:
        """Believe a verified list.

        Raises:
            WireError: It is sealed, or holds no list.
            WrongTarget: It is somebody else's, or of another slot.

        """
        is_list = record.kind is Kind.MUTABLE and record.readers is Readers.PUBLIC and not record.is_tombstone
        if not is_list or (record.publisher, record.tag) != (self._slot.publisher, self._slot.tag):
            raise WireError("this is no revocation list")
        revoked = decode_revoked(record.payload)
        self._reader.remember(self._slot, record)
        self._known = record
        self._closed.revoked = revoked

    def _keep(self, record: Record) -> None:
        if self._folder is None:
            return
        try:
            self._folder.write_revoked(self._slot.target, record.raw)
        except StoreError as error:  # it counts in this run; the next one reads it again
            log.warning("revocations not kept reason=%s", error)
