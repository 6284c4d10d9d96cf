"""Text forms of keys, node ids and slots (PROTOCOL.md section 7), and of revocations (section 13).

Refuses every form but the canonical one, so that two texts never name one thing.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode, urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from yzdht.errors import WireError
from yzdht.ids import NodeId, PublicKey, Tag, looks_compressed


_PUBLIC_KEY = re.compile(r"[A-Za-z0-9_-]{44}")
_NODE_ID = re.compile(r"[0-9a-f]{64}")
_REVOCATION = re.compile(r"yz-revocation:([A-Za-z0-9_-]{203})")
REVOCATION_BYTES = 152
"""A whole record, 151 bytes around a payload of one."""

_SLOT_LINK = re.compile(r"yz:([a-z2-7]{53})\.([a-z2-7]{52})")


class SlotLink(NamedTuple):
    """A mutable slot as one identity names it to another.

    Attributes:
        publisher: Who signs its records.
        tag: Its blinded name.

    """

    publisher: PublicKey
    tag: Tag


def encode_public_key(public_key: PublicKey) -> str:
    """44 characters of base64url."""
    return urlsafe_b64encode(public_key).decode()


def decode_public_key(text: str) -> PublicKey:
    """Parse 44 characters of base64url; the point is not checked to be on the curve.

    Raises:
        WireError: It is not the text of a compressed point.

    """
    if not _PUBLIC_KEY.fullmatch(text):
        raise WireError("a public key is 44 characters of base64url")
    return _compressed(urlsafe_b64decode(text))


def encode_node_id(node_id: NodeId) -> str:
    """64 lower-case hexadecimal digits."""
    return node_id.hex()


def decode_node_id(text: str) -> NodeId:
    """Parse 64 lower-case hexadecimal digits.

    Raises:
        WireError: It is anything else.

    """
    if not _NODE_ID.fullmatch(text):
        raise WireError("a node id is 64 lower-case hexadecimal digits")
    return NodeId(bytes.fromhex(text))


def encode_slot_link(publisher: PublicKey, tag: Tag) -> str:
    """`yz:<pk33 base32>.<tag base32>`, lower case, no padding; 109 characters."""
    return f"yz:{_encode_base32(publisher)}.{_encode_base32(tag)}"


def decode_slot_link(text: str) -> SlotLink:
    """Parse a `yz:` link; the point is not checked to be on the curve.

    Raises:
        WireError: It is not the canonical text of a publisher and a tag.

    """
    match = _SLOT_LINK.fullmatch(text)
    if match is None:
        raise WireError("a link is yz:, 53 characters of base32, a dot and 52 more")
    return SlotLink(_compressed(_decode_base32(match[1])), Tag(_decode_base32(match[2])))


def encode_revocation(record: bytes) -> str:
    """`yz-revocation:<record base64url>`, no padding; 217 characters.

    Args:
        record: The record by which an identity is revoked, REVOCATION_BYTES.

    """
    assert len(record) == REVOCATION_BYTES
    return f"yz-revocation:{_encode_base64(record)}"


def decode_revocation(text: str) -> bytes:
    """The record in the text of a revocation, REVOCATION_BYTES; nothing of it is checked.

    Raises:
        WireError: It is not the canonical text of so many bytes.

    """
    match = _REVOCATION.fullmatch(text)
    if match is None:
        raise WireError("a revocation is yz-revocation: and 203 characters of base64url")
    raw = urlsafe_b64decode(match[1] + "=")
    if _encode_base64(raw) != match[1]:
        raise WireError("a revocation has stray bits")
    return raw


def _encode_base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _compressed(raw: bytes) -> PublicKey:
    if not looks_compressed(raw):
        raise WireError("a public key is a compressed point")
    return PublicKey(raw)


def _encode_base32(raw: bytes) -> str:
    return b32encode(raw).decode().rstrip("=").lower()


def _decode_base32(text: str) -> bytes:
    raw = b32decode(text.upper() + "=" * (-len(text) % 8))
    if _encode_base32(raw) != text:
        raise WireError("a link has stray bits")
    return raw
