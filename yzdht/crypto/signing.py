"""Signatures under a label and a network, and the checks every record passes (PROTOCOL.md sections 1 and 8).

Owns `sig` and `ver` of section 1. Refuses high-S signatures, keys that are not compressed points, and anything signed
under another label or for another network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.crypto.primitives import verify
from yzdht.wire.codec import lp


if TYPE_CHECKING:
    from yzdht.crypto.primitives import PrivateKey
    from yzdht.ids import NetworkId, PublicKey, Signature


def sign_message(
    key: PrivateKey, label: str, network: NetworkId, message: bytes, *, deterministic: bool = False
) -> Signature:
    """Sign lp(label) ‖ NET ‖ message (section 1, `sig`).

    Args:
        key: An ECDSA key.
        label: One of section 1's labels, `yz1 …`.
        network: NET, 8 bytes.
        message: Any length.
        deterministic: RFC 6979 nonces; only in vectors.

    """
    return key.sign(lp(label) + network + message, deterministic=deterministic)


def verify_message(
    public_key: bytes, label: str, network: NetworkId, message: bytes, signature: bytes
) -> None:
    """Check a signature over lp(label) ‖ NET ‖ message (section 1, `ver`).

    Raises:
        InvalidKey: `public_key` is not a compressed P-256 point.
        InvalidSignature: Wrong length, out of range, high-S, or it does not verify.

    """
    verify(public_key, lp(label) + network + message, signature)


class KeySigner:
    """A `Signer` over a private key that this process holds.

    Args:
        key: An ECDSA key.
        deterministic: RFC 6979 nonces; only in vectors.

    """

    __slots__ = ("_deterministic", "_key")

    def __init__(self, key: PrivateKey, *, deterministic: bool = False) -> None:
        self._key = key
        self._deterministic = deterministic

    @property
    def public_key(self) -> PublicKey:
        """The public half, 33 bytes."""
        return self._key.public_key

    def sign(self, label: str, network: NetworkId, message: bytes) -> Signature:
        """Sign lp(label) ‖ NET ‖ message (section 1)."""
        return sign_message(self._key, label, network, message, deterministic=self._deterministic)
