"""What a member keeps of a group between runs, sealed for its own identity (PROTOCOL.md section 10).

Owns the form and the merging of two that processes of one home have come to know. A file that is stolen shows nothing
of a group without the identity's keys. Salts come from the caller, fresh for every sealing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from yzdht.crypto.group_records import Keyring, KnownEpoch
from yzdht.crypto.groups import Recorded, ends, group_id_of, record_root
from yzdht.crypto.message_epochs import in_order, lasting
from yzdht.crypto.naming import kdf
from yzdht.crypto.primitives import IV_BYTES, KEY_BYTES, Aead, PrivateKey, sha256
from yzdht.crypto.topics import MessageEpoch
from yzdht.errors import DecryptionFailed, InvalidKey, WireError
from yzdht.ids import EpochSecret, GroupId, NetworkId, PublicKey, RecordHash, RecordRoot
from yzdht.limits import (
    GROUP_EPOCHS_KEPT_MAX,
    GROUP_FORKS_KEPT_MAX,
    MESSAGE_EPOCHS_KEPT_MAX,
    RECORD_BYTES_MAX,
    REPLAY_KEPT_S,
)
from yzdht.wire.group_state import EPOCH_FIRST, GroupState, Role, decode_group_state, encode_group_state
from yzdht.wire.record import SALT_BYTES, Record, decode_record, order_key


if TYPE_CHECKING:
    from collections.abc import Iterable


class Fork(NamedTuple):
    """Two states of one epoch that admins who did not see each other have written.

    Attributes:
        epoch: Of both.
        known: Hash of the record that was known, 32 bytes.
        other: Hash of the one that was shown, or that another state names.

    """

    epoch: int
    known: bytes
    other: bytes


@dataclass(frozen=True, slots=True)
class KeptGroup:
    """One group as one home knows it.

    Attributes:
        group_key: pkG of the present.
        record: The record of the newest state that is known; it may have expired.
        state: What stands in it.
        epochs: What records are opened with, as `Keyring.epochs` gives it.
        private_key: skG; None for who is no admin, or could not open it yet.
        successions: How often the group's key was replaced.
        forks: The last that were seen under the present key.
        is_removed: True once a newer state was shown that is not for this member.
        messages: In which epochs messages are opened, as `in_order` gives them; the last is the newest.

    """

    group_key: PublicKey
    record: Record = field(repr=False)
    state: GroupState
    epochs: tuple[KnownEpoch, ...]
    private_key: PrivateKey | None = field(default=None, repr=False)
    successions: int = 0
    forks: tuple[Fork, ...] = ()
    is_removed: bool = False
    messages: tuple[MessageEpoch, ...] = ()

    @property
    def at(self) -> Recorded:
        """The newest state, and where it stands."""
        return Recorded(self.state, self.record.hash, self.record.created)

    def group_id(self, network: NetworkId) -> GroupId:
        """group_id16 of the present key."""
        return group_id_of(self.group_key, network)

    def missed(self, network: NetworkId) -> int | None:
        """The newest earlier epoch of which nothing is known, although this member was in the group then, or before; None for none."""
        group_id = self.group_id(network)
        known = sorted({known.epoch for known in self.epochs if known.group_id == group_id}, reverse=True)
        if self.successions:  # it was there when this key was new
            known.append(EPOCH_FIRST - 1)
        return next((newer - 1 for newer, older in pairwise(known) if older < newer - 1), None)

    def newest(self, network: NetworkId) -> KnownEpoch:
        """The epoch to write in: that of the state that counts, whatever branches of a fork were learnt after it."""
        root = record_root(self.state.epoch_secret)
        return KnownEpoch(self.group_id(network), self.state.epoch, self.record.hash, root)

    def with_state(self, record: Record, state: GroupState, network: NetworkId, wall: int) -> KeptGroup:
        """The same group in another state under the same key, which was checked; unix seconds."""
        at = _recorded(record, state)
        return replace(
            self,
            record=record,
            state=state,
            epochs=self._with_epochs(self.group_key, at, network),
            is_removed=False,
            messages=self._with_messages(_message_epochs(self.group_key, at, network, wall), at),
        )

    def with_epochs_of(self, record: Record, state: GroupState, network: NetworkId, wall: int) -> KeptGroup:
        """The same group in the same state, able to read what was written and said in another one."""
        at = _recorded(record, state)
        return replace(
            self,
            epochs=self._with_epochs(self.group_key, at, network),
            messages=self._with_messages(_message_epochs(self.group_key, at, network, wall), self.at),
        )

    def moved(
        self, key: PublicKey, record: Record, state: GroupState, network: NetworkId, wall: int
    ) -> KeptGroup:
        """The same group under its next key, where epochs begin anew: forks of the old one say nothing there."""
        at = _recorded(record, state)
        return replace(
            self,
            group_key=key,
            record=record,
            state=state,
            epochs=self._with_epochs(key, at, network),
            private_key=None,
            successions=self.successions + 1,
            forks=(),
            is_removed=False,
            messages=self._with_messages(_message_epochs(key, at, network, wall), at),
        )

    def lasting(self, wall: int) -> KeptGroup:
        """The same group, with epochs in which messages are opened still, and when they were seen; unix seconds."""
        return replace(self, messages=lasting(self.messages, self.record.hash, wall))

    def with_fork(self, fork: Fork) -> KeptGroup:
        """The same group, and a fork that was seen."""
        others = tuple(known for known in self.forks if set(known) != set(fork))
        return replace(self, forks=(*others, fork)[-GROUP_FORKS_KEPT_MAX:])

    def is_admin(self, member: PublicKey) -> bool:
        """True if the newest state lists somebody as an admin."""
        found = self.state.member(member)
        return found is not None and found.role is Role.ADMIN

    def _with_epochs(self, key: PublicKey, at: Recorded, network: NetworkId) -> tuple[KnownEpoch, ...]:
        ring = Keyring(self.epochs)
        ring.learn(group_id_of(key, network), at)
        return ring.epochs

    def _with_messages(self, learnt: Iterable[MessageEpoch], newest: Recorded) -> tuple[MessageEpoch, ...]:
        return in_order((*self.messages, *learnt), newest.hash)


def _recorded(record: Record, state: GroupState) -> Recorded:
    return Recorded(state, record.hash, record.created)


def _message_epochs(key: PublicKey, at: Recorded, network: NetworkId, wall: int) -> list[MessageEpoch]:
    """The epoch of a state, and those that it hands over and that did not end too long ago."""
    group_id, state = group_id_of(key, network), at.state
    handed = zip(state.past, state.recent, ends(state, at.created), strict=False)
    return [
        MessageEpoch(group_id, state.epoch, at.hash, state.epoch_secret),
        *(
            MessageEpoch(group_id, past.epoch, past.state_hash, recent.secret)
            for past, recent, ended in handed
            if wall < ended + REPLAY_KEPT_S
        ),
    ]


def first_kept(key: PublicKey, record: Record, state: GroupState, network: NetworkId, wall: int) -> KeptGroup:
    """A group as its first state that is seen shows it; unix seconds."""
    ring, at = Keyring(), _recorded(record, state)
    ring.learn(group_id_of(key, network), at)
    messages = in_order(_message_epochs(key, at, network, wall), at.hash)
    return KeptGroup(key, record, state, ring.epochs, messages=messages)


def merged(stored: KeptGroup, mine: KeptGroup) -> KeptGroup:
    """What two processes of a home know together, whichever comes first; of two states the later one."""
    older, newer = sorted((stored, mine), key=_rank)
    epochs = Keyring((*older.epochs, *newer.epochs)).epochs
    key, forks = newer.private_key, newer.forks
    if older.group_key == newer.group_key:
        key = key or older.private_key
        forks = (*(fork for fork in older.forks if fork not in newer.forks), *newer.forks)
    return replace(
        newer,
        epochs=epochs,
        private_key=key,
        forks=forks[-GROUP_FORKS_KEPT_MAX:],
        messages=in_order((*older.messages, *newer.messages), newer.record.hash),
    )


def _rank(kept: KeptGroup) -> tuple[object, ...]:
    """By the state; of one state whoever was shown more stands behind."""
    hashes = tuple(known.state_hash for known in kept.epochs)
    shown = kept.is_removed, len(hashes), hashes, len(kept.forks), kept.forks
    return kept.successions, kept.state.epoch, order_key(kept.record), *shown


# On disk

_Key = Annotated[bytes, Meta(min_length=33, max_length=33)]
_Epochs = Annotated[tuple[tuple[bytes, int, bytes, bytes], ...], Meta(max_length=GROUP_EPOCHS_KEPT_MAX)]
_Forks = Annotated[tuple[tuple[int, bytes, bytes], ...], Meta(max_length=GROUP_FORKS_KEPT_MAX)]
_Record = Annotated[bytes, Meta(max_length=RECORD_BYTES_MAX)]
_Messages = Annotated[
    tuple[tuple[bytes, int, bytes, bytes, int], ...], Meta(max_length=MESSAGE_EPOCHS_KEPT_MAX)
]


class _Fields(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    group_key: _Key
    record: _Record
    state: bytes
    epochs: _Epochs
    private_key: bytes
    successions: int
    forks: _Forks
    is_removed: bool
    messages: _Messages = ()
    """Missing in what was kept before there were messages."""

    def __repr__(self) -> str:
        return "_Fields(…)"  # it holds everything that a group keeps secret


_FIELDS_WITHOUT_RECENT = 9  # of a state of before

_decoder = msgspec.msgpack.Decoder(_Fields)
_encoder = msgspec.msgpack.Encoder()


def seal_kept(kept: KeptGroup, self_key: bytes, context: bytes, salt: bytes) -> bytes:
    """Build what a file holds of a group.

    Args:
        kept: What is known.
        self_key: K_self of section 2, 32 bytes.
        context: Where it will lie, so that nothing can be put in another place.
        salt: 24 random bytes, fresh for every sealing.

    """
    fields = _Fields(
        group_key=kept.group_key,
        record=kept.record.raw,
        state=encode_group_state(kept.state),
        epochs=tuple(
            (known.group_id, known.epoch, known.state_hash, known.record_root) for known in kept.epochs
        ),
        private_key=b"" if kept.private_key is None else kept.private_key.to_pkcs8(),
        successions=kept.successions,
        forks=kept.forks,
        is_removed=kept.is_removed,
        messages=tuple((of.group_id, of.epoch, of.state_hash, of.secret, of.seen) for of in kept.messages),
    )
    cipher, iv = _derive(self_key, salt, context)
    return salt + cipher.seal(iv, _encoder.encode(fields), context)


def open_kept(sealed: bytes, self_key: bytes, context: bytes) -> KeptGroup:
    """Read what `seal_kept` built.

    Raises:
        DecryptionFailed: It is damaged, of another identity or of another place.

    """
    salt, box = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
    if len(salt) < SALT_BYTES:
        raise DecryptionFailed("what is kept of a group is damaged")
    cipher, iv = _derive(self_key, salt, context)
    content = cipher.open(iv, box, context)
    try:
        return _kept_of(_decoder.decode(content))
    except (msgspec.DecodeError, WireError, InvalidKey):
        raise DecryptionFailed("what is kept of a group is damaged, or of another version") from None


def _kept_of(fields: _Fields) -> KeptGroup:
    record, state = decode_record(fields.record), _state_of(fields.state)
    epochs = tuple(KnownEpoch(GroupId(g), n, RecordHash(h), RecordRoot(r)) for g, n, h, r in fields.epochs)
    return KeptGroup(
        group_key=PublicKey(fields.group_key),
        record=record,
        state=state,
        epochs=epochs,
        private_key=PrivateKey.from_pkcs8(fields.private_key) if fields.private_key else None,
        successions=fields.successions,
        forks=tuple(Fork(*fork) for fork in fields.forks),
        is_removed=fields.is_removed,
        messages=_messages_of(fields) or _newest_alone(epochs, _recorded(record, state)),
    )


def _messages_of(fields: _Fields) -> tuple[MessageEpoch, ...]:
    return tuple(
        MessageEpoch(GroupId(g), n, RecordHash(h), EpochSecret(s), seen)
        for g, n, h, s, seen in fields.messages
    )


def _state_of(encoded: bytes) -> GroupState:
    """A state as it was kept, also before states handed over what opens messages.

    Raises:
        WireError, msgspec.DecodeError: It is none.

    """
    fields = msgspec.msgpack.decode(encoded, type=list[msgspec.Raw])
    if len(fields) != _FIELDS_WITHOUT_RECENT:
        return decode_group_state(encoded)
    return decode_group_state(_encoder.encode([*fields[:-1], [], fields[-1]]))


def _newest_alone(epochs: tuple[KnownEpoch, ...], at: Recorded) -> tuple[MessageEpoch, ...]:
    """What a version without messages has kept of them: the state; it was seen after it was made."""
    return tuple(
        MessageEpoch(known.group_id, known.epoch, at.hash, at.state.epoch_secret, at.created)
        for known in epochs
        if known.state_hash == at.hash
    )


def _derive(self_key: bytes, salt: bytes, context: bytes) -> tuple[Aead, bytes]:
    okm = kdf(self_key, salt, "yz1 kept group", sha256(context), KEY_BYTES + IV_BYTES)
    return Aead(okm[:KEY_BYTES]), okm[KEY_BYTES:]
