"""The signed record in which a node or a person says who it is (PROTOCOL.md section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record
from yzdht.limits import KEM_KEYS_MAX
from yzdht.wire.address import IdentityPayload, KemEntry, encode_identity_payload
from yzdht.wire.record import IDENTITY_TAG, SUITE, Record, decode_record, seq_at
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import NetworkId
    from yzdht.wire.address import Address, NodeType
    from yzdht.wire.frame import Caps


class About(NamedTuple):
    """What an identity says of itself, its keys apart.

    Attributes:
        node_type: Gives no privilege.
        addresses: Where it is reached; none for a person.
        caps: What it can do.
        life_s: Seconds that the record lives.

    """

    node_type: NodeType
    addresses: tuple[Address, ...]
    caps: Caps
    life_s: int


class Signed(NamedTuple):
    """A payload and the record that carries it."""

    payload: IdentityPayload
    record: Record


def sign_identity_record(
    identity: IdentityKeys, network: NetworkId, about: About, wall_now: float, least_seq: int = 0
) -> Signed:
    """Sign the identity record of `identity`, with its newest KEM keys.

    Args:
        identity: Whose record.
        network: NET.
        about: What it says.
        wall_now: Unix seconds.
        least_seq: The seq is at least this; else unix time in milliseconds. A clock that was set back would
            otherwise sign records that lose against older ones.

    """
    kem = tuple(KemEntry(SUITE, k.key.public_key, k.not_after) for k in identity.kem[:KEM_KEYS_MAX])
    payload = IdentityPayload(about.node_type.value, about.addresses, int(about.caps), kem)
    created = int(wall_now)
    seq = max(least_seq, seq_at(wall_now))
    draft = RecordDraft(Kind.IDENTITY, created, created + about.life_s, seq, IDENTITY_TAG)
    author = Author(identity.signer, identity.self_key, network)
    raw = seal_record(draft, encode_identity_payload(payload), Public(), author, b"")
    return Signed(payload, decode_record(raw))
