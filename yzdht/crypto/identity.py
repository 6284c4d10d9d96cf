"""The keys of one identity: three independent secrets (PROTOCOL.md section 2).

Owns how they are made and what is derived from them. Where they are kept is crypto/keyfile.py's bytes and
store/keyfile.py's file; neither the repr nor any error shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from yzdht.crypto.naming import fingerprint, name_key, node_id_of, self_key
from yzdht.crypto.primitives import KEY_BYTES, PrivateKey
from yzdht.crypto.signing import KeySigner
from yzdht.errors import UsageError
from yzdht.limits import DAY_S, KEM_KEY_KEPT_S, KEM_KEY_LIFE_S, KEM_KEY_RENEW_S, KEM_KEYS_KEPT_MAX


if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    from yzdht.ids import NodeId, PublicKey
    from yzdht.ports import Rng, Signer


STORAGE_SECRET_BYTES = KEY_BYTES
_NOT_AFTER_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class KemKey:
    """One `sk_kem`: others seal to it until `not_after`.

    Attributes:
        key: An ECDH key.
        not_after: Unix seconds, 0 to 2³² - 1.

    """

    key: PrivateKey
    not_after: int

    def __post_init__(self) -> None:
        if not 0 <= self.not_after <= _NOT_AFTER_MAX:
            raise UsageError("the end of a KEM key's life is a u32 of Unix seconds")


@dataclass(frozen=True, eq=False, repr=False)
class IdentityKeys:
    """The secrets of one identity.

    Args:
        signing: `sk_id`, for ECDSA alone.
        kem: `sk_kem`, newest first, at most KEM_KEYS_KEPT_MAX.
        storage_secret: `S`, 32 bytes; never leaves the device, save inside an export.

    Raises:
        UsageError: Too many KEM keys, not newest first, or a storage secret of another length.

    """

    signing: PrivateKey
    kem: tuple[KemKey, ...]
    storage_secret: bytes

    def __post_init__(self) -> None:
        if len(self.kem) > KEM_KEYS_KEPT_MAX:
            raise UsageError(f"an identity keeps at most {KEM_KEYS_KEPT_MAX} KEM keys")
        ends = [kem.not_after for kem in self.kem]
        if ends != sorted(ends, reverse=True):
            raise UsageError("KEM keys are kept newest first")
        if len(self.storage_secret) != STORAGE_SECRET_BYTES:
            raise UsageError("a storage secret has 32 bytes")

    @classmethod
    def generate(cls, rng: Rng, wall_now: float) -> Self:
        """Make a new identity with one KEM key that lives KEM_KEY_LIFE_S.

        Args:
            rng: Source of the storage secret; the two keys come from the library's own randomness.
            wall_now: Unix seconds.

        """
        kem = KemKey(PrivateKey.generate(), int(wall_now) + KEM_KEY_LIFE_S)
        return cls(PrivateKey.generate(), (kem,), rng.token(STORAGE_SECRET_BYTES))

    @property
    def public_key(self) -> PublicKey:
        """The identity key's public half, 33 bytes."""
        return self.signing.public_key

    @cached_property
    def node_id(self) -> NodeId:
        """SHA(X ‖ Y), 32 bytes."""
        return node_id_of(self.public_key)

    @property
    def fingerprint(self) -> str:
        """The node id for people: `XXXX-XXXX-XXXX-XXXX`."""
        return fingerprint(self.node_id)

    @cached_property
    def self_key(self) -> bytes:
        """K_self, 32 bytes: seals what only this identity reads."""
        return self_key(self.storage_secret, self.node_id)

    @cached_property
    def name_key(self) -> bytes:
        """K_name, 32 bytes: blinds the names of this identity's own records."""
        return name_key(self.storage_secret, self.node_id)

    @cached_property
    def signer(self) -> Signer:
        """Signs as this identity."""
        return KeySigner(self.signing)

    # KEM keys in the course of time

    def needs_kem_key(self, wall_now: float) -> bool:
        """True if it is time for a new KEM key.

        Args:
            wall_now: Unix seconds. A key that ends later than one made now would was made under a wrong clock.

        """
        if not self.kem:
            return True
        left_s = self.kem[0].not_after - wall_now
        return left_s <= KEM_KEY_RENEW_S or left_s > KEM_KEY_LIFE_S + DAY_S

    def with_kem_key(self, key: PrivateKey, wall_now: float, listed: Collection[PublicKey] = ()) -> Self:
        """The same identity with one more KEM key, without those that nobody can need any more.

        A key is kept for KEM_KEY_KEPT_S after its end, and as long as a group lists it. Of too many the oldest leave that
        no group lists.

        Args:
            key: A fresh one.
            wall_now: Unix seconds.
            listed: Public KEM keys in the newest states of this identity's groups.

        """
        newest = KemKey(key, int(wall_now) + KEM_KEY_LIFE_S)
        # Under a clock that was ahead a key was made that would stand before the new one.
        older = [
            k if k.not_after < newest.not_after else KemKey(k.key, newest.not_after - 1) for k in self.kem
        ]
        return self._with_kem([newest, *older], wall_now, listed)

    def merged(self, other: IdentityKeys, wall_now: float) -> Self:
        """The same identity with the KEM keys of both, as another device brings them; none is dropped for its age.

        Raises:
            UsageError: It is another identity, or another storage secret.

        """
        if (other.public_key, other.storage_secret) != (self.public_key, self.storage_secret):
            raise UsageError("these are keys of another identity")
        known = {kem.key.public_key for kem in self.kem}
        both = [*self.kem, *(k for k in other.kem if k.key.public_key not in known)]
        # Which of them groups list is not known here.
        return self._with_kem(both, wall_now, [kem.key.public_key for kem in both])

    def _with_kem(self, kem: list[KemKey], wall_now: float, listed: Collection[PublicKey]) -> Self:
        def is_needed(kem: KemKey) -> bool:
            return kem.key.public_key in listed or wall_now <= kem.not_after + KEM_KEY_KEPT_S

        def rank(kem: KemKey) -> tuple[bool, int]:
            return kem.key.public_key in listed, kem.not_after

        kem = sorted(kem, key=lambda k: k.not_after, reverse=True)
        newest, older = kem[:1], kem[1:]
        kept = sorted((k for k in older if is_needed(k)), key=rank, reverse=True)[: KEM_KEYS_KEPT_MAX - 1]
        kept.sort(key=lambda k: k.not_after, reverse=True)
        return type(self)(self.signing, (*newest, *kept), self.storage_secret)

    def renewed(self, wall_now: float, listed: Collection[PublicKey] = ()) -> Self:
        """These keys, or newer ones that are kept already: here always these, since nothing keeps them.

        A KEM key that is published and then lost makes what was sealed to it unreadable. So keys that live in memory
        are renewed by whoever keeps them (`with_kem_key`).

        Args:
            wall_now: Unix seconds.
            listed: Public KEM keys in the newest states of this identity's groups.

        """
        return self

    def reloaded(self, wall_now: float) -> Self:
        """These keys and those that were added where they are kept: here always these."""
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.fingerprint}>"
