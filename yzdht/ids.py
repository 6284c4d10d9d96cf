"""The vocabulary of identifiers: fixed-length bytes that must not be mistaken for each other.

PROTOCOL.md section 1 and 2. Lengths are checked where bytes enter (wire/, crypto/); everything inside trusts the type.
"""

from __future__ import annotations

from typing import NewType


NodeId = NewType("NodeId", bytes)
"""32 bytes: SHA-256 of the X and Y coordinates of the node's identity key."""

PublicKey = NewType("PublicKey", bytes)
"""33 bytes: a SEC1 compressed P-256 point, first byte 02 or 03."""

Publisher = PublicKey | bytes
"""Who signed a record; the empty bytes for an immutable one."""

Target = NewType("Target", bytes)
"""32 bytes: a point of the DHT's key space, where a record belongs."""

Tag = NewType("Tag", bytes)
"""32 bytes: a blinded name."""

RecordHash = NewType("RecordHash", bytes)
"""32 bytes: SHA-256 of a record without its signature; of the whole record when it is immutable."""

Signature = NewType("Signature", bytes)
"""64 bytes: r and s, big-endian, s at most half the group order."""

NetworkId = NewType("NetworkId", bytes)
"""8 bytes: NET of PROTOCOL.md section 1; never sent."""

SessionId = NewType("SessionId", bytes)
"""16 bytes: names one session at both ends; also its channel binding."""

Address = NewType("Address", bytes)
"""32 bytes: where an immutable value lies; follows from its record (PROTOCOL.md section 7)."""

TokenId = NewType("TokenId", bytes)
"""16 bytes: names one invite, at random."""

GroupId = NewType("GroupId", bytes)
"""16 bytes: names a group in its members' derivations; follows from its public key (PROTOCOL.md section 10)."""

EpochSecret = NewType("EpochSecret", bytes)
"""32 bytes: `es`, from which all keys of one epoch of a group follow."""

EpochCommit = NewType("EpochCommit", bytes)
"""32 bytes: commits to an epoch secret."""

NameSecret = NewType("NameSecret", bytes)
"""32 bytes: blinds the names of a group's values, for the life of the group."""

RecordRoot = NewType("RecordRoot", bytes)
"""32 bytes: `rk`, from which the keys of all group records of one epoch follow."""

TopicId = NewType("TopicId", bytes)
"""16 bytes: a blinded topic (PROTOCOL.md section 11)."""

SendSession = NewType("SendSession", bytes)
"""8 bytes: names one run of a sender's process; indexes count within it."""

MessageId = NewType("MessageId", bytes)
"""20 bytes: names one pubsub message; from the hash of its envelope without the signature."""

ID_BYTES = 32
GROUP_ID_BYTES = 16
SECRET_BYTES = 32
PUBLIC_KEY_BYTES = 33
SIGNATURE_BYTES = 64


def looks_compressed(key: bytes) -> bool:
    """True for the form of a public key; whether it is on the curve is known where it is used."""
    return len(key) == PUBLIC_KEY_BYTES and key[0] in (2, 3)


def distance(a: NodeId | Target, b: NodeId | Target) -> int:
    """XOR distance of two points, as an integer of 256 bits (Kademlia paper, section 2.1)."""
    return int.from_bytes(a) ^ int.from_bytes(b)


def shorten(identifier: bytes) -> str:
    """First 8 hexadecimal digits of an identifier, for logs."""
    return identifier[:4].hex()
