"""Keys of people for the tests of groups: number 0 is always an admin, nobody's keys are random."""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from tests.vectors.golden import CREATED, EXPIRES, NETWORK
from yzdht.crypto.groups import NewKey, Recorded, create, group_id_of, state_tag
from yzdht.crypto.primitives import PrivateKey, hpke_seal, sha256
from yzdht.crypto.sealing import RecordDraft, seal_box
from yzdht.crypto.signing import RECORD_LABEL, KeySigner
from yzdht.ids import EpochSecret, NameSecret, PublicKey, RecordHash
from yzdht.wire.codec import lp
from yzdht.wire.group_state import GroupState, Member, Role, encode_group_state
from yzdht.wire.record import Readers, Record, decode_record, encode_fixed
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import Tag

NAMES = NameSecret(b"n" * 32)
_numbers = count()


@cache
def key_of(who: str, number: int) -> PrivateKey:
    return PrivateKey.from_scalar(sha256(f"{who} {number}".encode()))


GROUP = key_of("group", 0)
GROUP_ID = group_id_of(GROUP.public_key, NETWORK)
STATE_TAG = state_tag(GROUP_ID, NETWORK)


@cache
def person(number: int, role: Role = Role.MEMBER) -> Member:
    return Member(key_of("identity", number).public_key, key_of("kem", number).public_key, role)


def key(number: int) -> PublicKey:
    return person(number).public_key


def fresh() -> EpochSecret:
    """Another epoch secret every time."""
    return EpochSecret(sha256(f"epoch secret {next(_numbers)}".encode()))


def new_key(number: int = 1) -> NewKey:
    return NewKey(key_of("group", number).public_key, fresh(), fresh())


def recorded(state: GroupState) -> Recorded:
    """As if it stood in a record."""
    return Recorded(state, RecordHash(sha256(b"record" + state.epoch_secret + state.prev_hash)), CREATED)


def group_of(size: int, *, admins: int = 1, has_history: bool = False) -> Recorded:
    """A group in its first epoch; numbers below `admins` are admins."""
    members = [person(number, Role.ADMIN if number < admins else Role.MEMBER) for number in range(size)]
    return recorded(create(members, NAMES, fresh(), NETWORK, has_history=has_history))


def members_of(state: GroupState) -> set[PublicKey]:
    return {member.public_key for member in state.members}


def sealed(
    value: bytes,
    kems: Iterable[PublicKey],
    tag: Tag = STATE_TAG,
    by: PrivateKey = GROUP,
    kind: Kind = Kind.MUTABLE,
    created: int = CREATED,
) -> Record:
    """A record with readers 2, one HPKE stanza for each key, as section 8 says."""
    salt, cek = bytes(range(24)), b"c" * 32
    fixed = encode_fixed(RecordDraft(kind, created, EXPIRES, 7, tag), Readers.STANZAS, by.public_key)
    info = lp("yz1 wrap hpke") + sha256(fixed) + salt
    stanzas = [b"\x02\x00\x71" + hpke_seal(kem, cek, info) for kem in kems]
    unsigned = seal_box(cek, salt, fixed, bytes((len(stanzas),)) + b"".join(stanzas), value)
    return decode_record(unsigned + KeySigner(by).sign(RECORD_LABEL, NETWORK, unsigned))


def sealed_state(state: GroupState, created: int = CREATED) -> Record:
    return sealed(encode_group_state(state), [member.kem for member in state.members], created=created)
