"""Records that a group's members read, and the epochs that a member keeps for them (PROTOCOL.md sections 8 and 10).

Owns the key and the kid of an epoch, and which epoch a record is sealed in. Refuses, with a type of its own, records of
epochs that are not known: their reader looks for a newer state. Salts come from the caller, fresh for every sealing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.crypto.group_chain import check_past
from yzdht.crypto.groups import past_row
from yzdht.crypto.naming import kdf
from yzdht.crypto.primitives import KEY_BYTES, hmac_sha256, is_equal
from yzdht.crypto.sealing import open_box, seal_box
from yzdht.crypto.signing import RECORD_LABEL
from yzdht.errors import NotFound, UnknownEpoch, UsageError, WireError
from yzdht.limits import GROUP_EPOCHS_KEPT_MAX, GROUP_PAST_MAX
from yzdht.wire.group_state import PastEpoch
from yzdht.wire.record import GROUP_KID_BYTES, Readers, encode_fixed, encode_immutable_fixed
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.crypto.groups import Recorded
    from yzdht.crypto.sealing import Author
    from yzdht.ids import GroupId, RecordHash, RecordRoot
    from yzdht.wire.record import Record, RecordDraft


@dataclass(frozen=True, slots=True)
class KnownEpoch:
    """What a member keeps of one epoch to seal and open records in it.

    Attributes:
        group_id: Of the group key under which the epoch's state stood.
        epoch: 1 to 2³² - 1.
        state_hash: Hash of the record that held the state.
        record_root: rk, 32 bytes.

    """

    group_id: GroupId
    epoch: int
    state_hash: RecordHash
    record_root: RecordRoot = field(repr=False)


def record_key(known: KnownEpoch) -> bytes:
    """K of the group records of an epoch, 32 bytes."""
    return kdf(known.record_root, known.group_id, "yz1 group record", known.epoch.to_bytes(4), KEY_BYTES)


def record_kid(root: RecordRoot, salt: bytes) -> bytes:
    """kid8: says to those who know an epoch that a record with this salt is sealed in it."""
    return _kid(_kid_key(root), salt)


def _kid_key(root: RecordRoot) -> bytes:
    return kdf(root, b"", "yz1 kid", b"", KEY_BYTES)


def _kid(kid_key: bytes, salt: bytes) -> bytes:
    return hmac_sha256(kid_key, salt)[:GROUP_KID_BYTES]


# Writing


def seal_group_record(
    draft: RecordDraft, value: bytes, known: KnownEpoch, author: Author, salt: bytes
) -> bytes:
    """Build a signed record for a group.

    Args:
        draft: What the record says about itself; its kind is multi, its tag a group name's.
        value: At most 61,436 bytes.
        known: The group's newest epoch.
        author: The member who signs it.
        salt: 24 random bytes, fresh for every sealing.

    Raises:
        ValueTooLarge: The value does not fit a record.
        UsageError: The draft is out of range, a tombstone, or of another kind.

    """
    if draft.kind is not Kind.MULTI:
        raise UsageError("what a group reads has one entry for each member", hint="store it as kind multi")
    fixed = encode_fixed(draft, Readers.GROUP, author.signer.public_key)
    unsigned = _seal(fixed, value, known, salt)
    return unsigned + author.signer.sign(RECORD_LABEL, author.network, unsigned)


def seal_group_immutable(value: bytes, known: KnownEpoch, salt: bytes) -> bytes:
    """Build an immutable record for a group; arguments and errors as `seal_group_record`."""
    return _seal(encode_immutable_fixed(Readers.GROUP), value, known, salt)


def _seal(fixed: bytes, value: bytes, known: KnownEpoch, salt: bytes) -> bytes:
    return seal_box(record_key(known), salt, fixed, record_kid(known.record_root, salt), value)


# Reading


class Keyring:
    """The epochs of one group that a member knows, under all group keys that it has had.

    The oldest are forgotten above GROUP_EPOCHS_KEPT_MAX. An epoch that forked is kept once for each of its states: what was
    written in either opens.

    Args:
        epochs: What `epochs` gave before, in that order.

    """

    __slots__ = ("_kid_keys",)

    def __init__(self, epochs: Iterable[KnownEpoch] = ()) -> None:
        self._kid_keys: dict[KnownEpoch, bytes] = {}  # oldest first, as `epochs`
        self._keep(epochs)

    @property
    def epochs(self) -> tuple[KnownEpoch, ...]:
        """All of them, oldest first: by group key in the order in which these were met, then by number."""
        return tuple(self._kid_keys)

    @property
    def newest(self) -> KnownEpoch | None:
        """The epoch to write in; None when nothing is known."""
        return next(reversed(self._kid_keys), None)

    def check(self, group_id: GroupId, at: Recorded) -> None:
        """Check that a state and the past that it hands over contradict nothing that is known.

        Raises:
            GroupForked: It, or a row of its past, is of a known epoch and has another hash.
            GroupStateRefused: A row of its past has another key for a known state.

        """
        check_past(self._rows(group_id), (past_row(at), *at.state.past))

    def learn(self, group_id: GroupId, at: Recorded) -> None:
        """Keep the epoch of a state that was checked, and those that it hands over; of a forked one, this last."""
        rows = (*reversed(at.state.past), past_row(at))
        self._keep(KnownEpoch(group_id, row.epoch, row.state_hash, row.record_root) for row in rows)

    def past(self, group_id: GroupId, before: int) -> tuple[PastEpoch, ...]:
        """The newest 64 epochs below `before` under one group key, newest first: what `groups.add` can hand over."""
        by_epoch = {row.epoch: row for row in self._rows(group_id) if row.epoch < before}
        return tuple(by_epoch[epoch] for epoch in sorted(by_epoch, reverse=True))[:GROUP_PAST_MAX]

    def find(self, record: Record) -> KnownEpoch:
        """The epoch that a group record is sealed in.

        Raises:
            WireError: It is no group's.
            UnknownEpoch: None of those that are known.

        """
        if record.readers is not Readers.GROUP:
            raise WireError("the record is not sealed for a group")
        kid = record.header[:GROUP_KID_BYTES]
        for known, kid_key in reversed(self._kid_keys.items()):
            if is_equal(_kid(kid_key, record.salt), kid):
                return known
        raise UnknownEpoch(self.newest.epoch if self.newest else 0)

    def open(self, record: Record) -> bytes:
        """Return the value of a group record whose target and signature are verified.

        Raises:
            NotFound: The record is a tombstone.
            UnknownEpoch: It is sealed in an epoch that is not known.
            WireError: It is no group's.
            DecryptionFailed: The commitment, the ciphertext or the padding was refused.

        """
        if record.is_tombstone:
            raise NotFound("the record was deleted")
        return open_box(record, record_key(self.find(record)))

    def _rows(self, group_id: GroupId) -> list[PastEpoch]:
        mine = (known for known in self._kid_keys if known.group_id == group_id)
        return [PastEpoch(known.epoch, known.state_hash, known.record_root) for known in mine]

    def _keep(self, epochs: Iterable[KnownEpoch]) -> None:
        learnt = list(epochs)
        met = dict.fromkeys(known.group_id for known in (*self._kid_keys, *learnt))
        place = {group_id: number for number, group_id in enumerate(met)}
        for known in learnt:
            kid_key = self._kid_keys.pop(known, None) or _kid_key(known.record_root)
            self._kid_keys[known] = kid_key  # behind another state of the same epoch
        in_order = sorted(self._kid_keys, key=lambda known: (place[known.group_id], known.epoch))
        self._kid_keys = {known: self._kid_keys[known] for known in in_order[-GROUP_EPOCHS_KEPT_MAX:]}
