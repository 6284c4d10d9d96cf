"""What follows from names and keys: NET, node ids, fingerprints, tags and targets (PROTOCOL.md sections 1, 2 and 7).

Owns the labelled hash and kdf that every other derivation uses. Refuses names that are not 1 to 1,024 bytes of UTF-8
(network names 1 to 64) without U+0000 and lone surrogates; it normalises to NFC itself.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from yzdht.crypto.primitives import KEY_BYTES, coordinates, hkdf, hmac_sha256, sha256
from yzdht.errors import UsageError
from yzdht.ids import NetworkId, NodeId, PublicKey, Tag, Target, TokenId
from yzdht.limits import LAN_TAG_BYTES, NAME_BYTES_MAX, NETWORK_NAME_BYTES_MAX, PUBLIC_KEY_CACHE_ENTRIES
from yzdht.wire.codec import lp


NETWORK_ID_BYTES = 8
FINGERPRINT_SYMBOLS = 16

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CROCKFORD_TYPED = str.maketrans("ILO", "110", " -")  # what people type for 1 and 0, and separators


# Section 1: hashes and the kdf


def dh(label: str, network: NetworkId, *parts: bytes) -> bytes:
    """SHA(lp(label) ‖ NET ‖ parts), 32 bytes; parts have a fixed length except the last (section 1)."""
    return sha256(b"".join((lp(label), network, *parts)))


def kdf(ikm: bytes, salt: bytes, label: str, ctx: bytes, length: int) -> bytes:
    """HKDF-SHA256(ikm, salt, info = lp(label) ‖ ctx), `length` bytes (section 1)."""
    return hkdf(ikm, salt, lp(label) + ctx, length)


def network_id(name: str) -> NetworkId:
    """NET, the 8 bytes that enter every hash and signature of a network (section 1).

    Args:
        name: The network's name; normalised to NFC here.

    Raises:
        UsageError: It is not 1 to 64 bytes of UTF-8, or holds U+0000 or a lone surrogate.

    """
    return NetworkId(
        sha256(b"yz-net:" + _normalised(name, "network name", NETWORK_NAME_BYTES_MAX))[:NETWORK_ID_BYTES]
    )


def _normalised(text: str, what: str, bytes_max: int) -> bytes:
    if not isinstance(text, str):
        raise UsageError(f"a {what} is text, not {type(text).__name__}")
    if "\0" in text:
        raise UsageError(f"a {what} cannot hold U+0000")
    try:
        raw = unicodedata.normalize("NFC", text).encode()
    except UnicodeEncodeError:
        raise UsageError(f"a {what} must be valid Unicode") from None
    if not 1 <= len(raw) <= bytes_max:
        raise UsageError(f"a {what} is 1 to {bytes_max:,} bytes of UTF-8, this one is {len(raw):,}")
    return raw


# Section 2: node ids, the keys of the storage secret, fingerprints


@lru_cache(maxsize=PUBLIC_KEY_CACHE_ENTRIES)
def node_id_of(public_key: bytes) -> NodeId:
    """SHA(X ‖ Y) of an identity key (section 2).

    Raises:
        InvalidKey: `public_key` is not a compressed P-256 point.

    """
    return NodeId(sha256(coordinates(public_key)))


def self_key(storage_secret: bytes, node_id: NodeId) -> bytes:
    """K_self, 32 bytes: seals what only its publisher reads (section 2)."""
    return hkdf(storage_secret, node_id, b"yz-network-encryption-v1", KEY_BYTES)


def name_key(storage_secret: bytes, node_id: NodeId) -> bytes:
    """K_name, 32 bytes: blinds the names of one's own records (section 2)."""
    return hkdf(storage_secret, node_id, b"yz-network-naming-v1", KEY_BYTES)


def fingerprint(node_id: NodeId) -> str:
    """First 80 bits of a node id for people: `XXXX-XXXX-XXXX-XXXX`, upper-case Crockford base32 (section 2)."""
    number = int.from_bytes(node_id[:10])
    symbols = [_CROCKFORD[number >> shift & 31] for shift in range(75, -1, -5)]
    return _grouped("".join(symbols))


def parse_fingerprint(text: str) -> str:
    """Return a typed fingerprint as `fingerprint` writes it.

    Case, spaces and hyphens are ignored; I and L are read as 1, O as 0.

    Raises:
        UsageError: It is not 16 Crockford base32 symbols.

    """
    symbols = text.upper().translate(_CROCKFORD_TYPED) if text.isascii() else ""
    if len(symbols) != FINGERPRINT_SYMBOLS or not set(symbols) <= set(_CROCKFORD):
        raise UsageError(
            "a fingerprint is 16 letters and digits in groups of four", hint="type it as it was shown"
        )
    return _grouped(symbols)


def _grouped(symbols: str) -> str:
    return "-".join(symbols[start : start + 4] for start in range(0, FINGERPRINT_SYMBOLS, 4))


# Section 7: names, tags, targets


def normalise_name(name: str) -> str:
    """Return a record or topic name in NFC, ready to be hashed.

    Raises:
        UsageError: It is not 1 to 1,024 bytes of UTF-8, or holds U+0000 or a lone surrogate.

    """
    return _normalised(name, "name", NAME_BYTES_MAX).decode()


def own_tag(name_key: bytes, network: NetworkId, name: str) -> Tag:
    """Tag of a name that only its owner can compute, under K_name (section 7).

    Raises:
        UsageError: As `normalise_name`.

    """
    return _blinded_tag(name_key, network, name)


def group_tag(name_secret: bytes, network: NetworkId, name: str) -> Tag:
    """Tag of a name that only the members of a group can compute, under its name_secret (section 7).

    Raises:
        UsageError: As `normalise_name`.

    """
    return _blinded_tag(name_secret, network, name)


def _blinded_tag(key: bytes, network: NetworkId, name: str) -> Tag:
    return Tag(hmac_sha256(key, lp("yz1 name") + network + normalise_name(name).encode()))


def public_tag(network: NetworkId, name: str) -> Tag:
    """Tag of a name that everybody who knows it can compute (section 7).

    Raises:
        UsageError: As `normalise_name`.

    """
    return Tag(dh("yz1 pubname", network, normalise_name(name).encode()))


@lru_cache(maxsize=256)
def move_tag(network: NetworkId) -> Tag:
    """Tag under which an identity announces its move or revocation (section 13)."""
    return Tag(dh("yz1 move", network))


def redeem_tag(network: NetworkId, token_id: TokenId) -> Tag:
    """Tag of the multi record by which a joiner redeems an invite while its issuer is away (section 12)."""
    return Tag(dh("yz1 redeem", network, token_id))


def admit_tag(network: NetworkId, token_id: TokenId, joiner: NodeId) -> Tag:
    """Tag under which an issuer answers, by a record, to the redemption of one invite by one joiner (section 12)."""
    return Tag(dh("yz1 admit", network, token_id, joiner))


def revoked_tag(network: NetworkId) -> Tag:
    """Tag under which the issuer of a closed network lists the tokens it took back (section 12)."""
    return Tag(dh("yz1 revoked", network))


def lan_tag(network: NetworkId, network_key: bytes | None, issuer: PublicKey | None) -> bytes:
    """By which nodes of one network know each other on the local network, 8 bytes (section 6).

    Args:
        network: NET.
        network_key: 32 bytes of a private network: nobody without it recognises the tag.
        issuer: Whose invites a closed network takes.

    """
    return dh("yz1 lan", network, network_key or b"", issuer or b"")[:LAN_TAG_BYTES]


def mutable_target(network: NetworkId, publisher: bytes, tag: Tag) -> Target:
    """Target of the one slot of (publisher, tag) (section 7)."""
    return Target(dh("yz1 mut", network, publisher, tag))


def multi_target(network: NetworkId, tag: Tag) -> Target:
    """Target of the entries that several publishers hold under one tag (section 7)."""
    return Target(dh("yz1 multi", network, tag))


def immutable_target(network: NetworkId, record: bytes) -> Target:
    """Target of an immutable record: the hash of its bytes (section 7)."""
    return Target(dh("yz1 imm", network, record))
