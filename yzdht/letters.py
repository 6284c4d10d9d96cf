"""Records sealed to one KEM key: how a joiner and an issuer write to each other (PROTOCOL.md section 12).

Owns where such letters lie and how long. What they say, and who may say it, is judged by who reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.naming import admit_tag, multi_target, mutable_target, node_id_of, redeem_tag
from yzdht.crypto.sealing import Author, Named, OpeningKeys, Public, RecordDraft, open_record, seal_record
from yzdht.crypto.stanzas import CEK_BYTES
from yzdht.errors import Conflict
from yzdht.limits import RECORD_LIFE_S_MAX, SEQ_MAX
from yzdht.quorum_writer import QuorumWriter
from yzdht.slots import Slot
from yzdht.wire.record import SALT_BYTES, decode_record, seq_at
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.access import IssuerAccess
    from yzdht.crypto.primitives import PrivateKey
    from yzdht.ids import NetworkId, PublicKey, TokenId
    from yzdht.ports import Marks, Rng, Signer
    from yzdht.slots import SlotReader
    from yzdht.wire.record import Record


_NO_SELF_KEY = b""  # nothing here is sealed for its writer


class Place(NamedTuple):
    """One network, as one home issues and redeems invites there.

    Attributes:
        network: NET.
        access: The way to the replicas, and to issuers.
        slots: Reads through it.
        marks: What this home has seen.
        rng: For ids, secrets, salts and content keys.

    """

    network: NetworkId
    access: IssuerAccess
    slots: SlotReader
    marks: Marks
    rng: Rng


def redemption_slot(network: NetworkId, token_id: TokenId, joiner: PublicKey) -> Slot:
    """Where a joiner leaves its redemption of an invite, beside those of others."""
    tag = redeem_tag(network, token_id)
    return Slot(joiner, tag, multi_target(network, tag), Kind.MULTI)


def answer_slot(network: NetworkId, issuer: PublicKey, token_id: TokenId, joiner: PublicKey) -> Slot:
    """Where an issuer answers to that."""
    tag = admit_tag(network, token_id, node_id_of(joiner))
    return Slot(issuer, tag, mutable_target(network, issuer, tag))


async def send(
    place: Place,
    signer: Signer,
    slot: Slot,
    value: bytes,
    readers: Named | Public,
    life_s: int = RECORD_LIFE_S_MAX,
) -> Record:
    """Write a value into a slot until a quorum holds it.

    Args:
        place: Where.
        signer: The slot's publisher.
        slot: A slot of its own.
        value: What to say.
        readers: `letter_to` whom, or everybody.
        life_s: Seconds that it lives.

    Raises:
        Conflict, WriteQuorumFailed, NoNode: As of `QuorumWriter.write`.
        InvalidKey: The reader's KEM key is not on the curve.

    """
    author = Author(signer, _NO_SELF_KEY, place.network)

    async def seal(least_seq: int) -> Record:
        mark, wall = place.slots.mark(slot), place.access.now().wall
        seq = max(least_seq, seq_at(wall), 0 if mark is None else 1 + mark.seq)
        if seq >= SEQ_MAX:
            raise Conflict("this slot has used up its sequence numbers")
        created = int(wall)
        ends = created + life_s if mark is None else max(created + life_s, mark.expires)
        draft = RecordDraft(slot.kind, created, min(ends, created + RECORD_LIFE_S_MAX), seq, slot.tag)
        fresh = readers if isinstance(readers, Public) else letter_to(readers.kem[0], place.rng)
        return decode_record(seal_record(draft, value, fresh, author, place.rng.token(SALT_BYTES)))

    return (await QuorumWriter(place.access, place.slots).write(slot, seal)).record


def letter_to(kem: PublicKey, rng: Rng) -> Named:
    """Readers: the holder of one KEM key, and not even the writer."""
    return Named((kem,), rng.token(CEK_BYTES), has_self=False)


def read(record: Record, kem: tuple[PrivateKey, ...]) -> bytes:
    """What a letter says.

    Args:
        record: It is verified.
        kem: The reader's KEM keys.

    Raises:
        NotAReader, DecryptionFailed, NotFound, WireError: It is for others, damaged, a tombstone, or no letter.

    """
    return open_record(record, OpeningKeys(None, kem))
