"""What a node remembers over a restart: whom it knew, so that it finds them without its bootstrap addresses."""

from __future__ import annotations

import logging
from heapq import nsmallest
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from yzdht.crypto.naming import node_id_of
from yzdht.errors import WireError
from yzdht.ids import PublicKey
from yzdht.kad.bucket import Entry
from yzdht.limits import ADDRESSES_MAX, HOUR_S, PEERS_SAVED_MAX, URL_BYTES_MAX
from yzdht.wire.address import Address, address_of
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import decode_body, encode_body


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import NodeId
    from yzdht.ports import Now


log = logging.getLogger(__name__)


class SavedPeer(Struct, frozen=True, array_like=True, gc=False):
    """One node that was known.

    Attributes:
        public_key: Its identity key.
        addresses: As it published them; else the one that worked.
        caps: Capability bits it showed.
        seen_hour: When it last gave a sign of life, in hours of unix time.
        worked: The address at which it was dialled with success last; empty for none.

    """

    public_key: Annotated[PublicKey, Meta(min_length=33, max_length=33)]
    addresses: Annotated[tuple[Address, ...], Meta(max_length=ADDRESSES_MAX)]
    caps: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    seen_hour: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    worked: Annotated[str, Meta(max_length=URL_BYTES_MAX)] = ""


class _State(Struct, frozen=True, array_like=True, gc=False):
    peers: Annotated[tuple[SavedPeer, ...], Meta(max_length=PEERS_SAVED_MAX)] = ()
    is_client: bool = False


def encode_state(entries: Iterable[Entry], own_id: NodeId, now: Now, *, is_client: bool = False) -> bytes:
    """The state file's bytes; a node without published addresses is kept with the one that worked.

    A node that nobody reaches is a client; it begins as one after a restart. Of more than PEERS_SAVED_MAX peers those that were seen last are kept, and of these the nearest. Whole hours keep the
    bytes the same while nothing but time has changed.
    """
    own_point = int.from_bytes(own_id)
    peers: list[tuple[int, int, SavedPeer]] = []
    for entry in entries:
        addresses = entry.addresses
        if not addresses and entry.worked_url is not None:
            addresses = (address_of(entry.worked_url),)
        if addresses:
            seen = now.wall if entry.has_session else now.wall - (now.mono - entry.seen_at)
            hour = max(0, int(seen // HOUR_S))
            peer = SavedPeer(entry.public_key, addresses, int(entry.caps), hour, entry.worked_url or "")
            peers.append((-hour, entry.point ^ own_point, peer))
    kept = nsmallest(PEERS_SAVED_MAX, peers, key=lambda ranked: ranked[:2])
    return encode_body(_State(tuple(peer for _, _, peer in kept), is_client))


def entry_of(peer: SavedPeer, now: Now) -> Entry:
    """The node as the table takes it in again."""
    node_id = node_id_of(peer.public_key)
    age_s = max(0.0, now.wall - peer.seen_hour * HOUR_S)
    return Entry(
        node_id,
        peer.public_key,
        int.from_bytes(node_id),
        Caps(peer.caps),
        peer.addresses,
        peer.worked or None,
        seen_at=now.mono - age_s,
    )


def decode_state(data: bytes) -> tuple[SavedPeer, ...]:
    """The peers of a state file; none, with a warning, if it is damaged."""
    try:
        return decode_body(data, _State).peers
    except WireError:
        log.warning("the state file is damaged and is made anew")
        return ()


def is_damaged(data: bytes) -> bool:
    """Whether a state file cannot be read."""
    try:
        decode_body(data, _State)
    except WireError:
        return True
    return False


def was_client(data: bytes) -> bool:
    """Whether the node was a client when it wrote a state file; not if that is damaged."""
    try:
        return decode_body(data, _State).is_client
    except WireError:
        return False
