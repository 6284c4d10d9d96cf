from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from yzdht.crypto.identity import IdentityKeys, KemKey
from yzdht.crypto.naming import network_id
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.signing import verify_message
from yzdht.errors import UsageError
from yzdht.limits import KEM_KEY_LIFE_S, KEM_KEYS_KEPT_MAX


VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "protocol-v1.json").read_text())
A, KEM_1, KEM_2 = (
    PrivateKey.from_scalar(bytes.fromhex(VECTORS["keys"][name])) for name in ("sk_A", "kem_1", "kem_2")
)
SECRET = bytes.fromhex(VECTORS["identity"]["S"])


class Counting:
    """An Rng whose bytes a person can check."""

    def token(self, size: int) -> bytes:
        return bytes(range(size))

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


def identity(kem: tuple[KemKey, ...] = ()) -> IdentityKeys:
    return IdentityKeys(A, kem, SECRET)


def test_identity_vector_reproduces() -> None:
    expected = VECTORS["identity"]

    assert identity().public_key.hex() == VECTORS["keys"]["pk33_A"]
    assert identity().node_id.hex() == expected["node_id"]
    assert identity().self_key.hex() == expected["K_self"]
    assert identity().name_key.hex() == expected["K_name"]


def test_generated_identity_has_three_independent_secrets() -> None:
    one = IdentityKeys.generate(Counting(), 1_000.7)
    other = IdentityKeys.generate(Counting(), 1_000.7)

    assert one.storage_secret == bytes(range(32))
    assert [kem.not_after for kem in one.kem] == [1_000 + KEM_KEY_LIFE_S]
    keys = {one.public_key, other.public_key, one.kem[0].key.public_key, other.kem[0].key.public_key}
    assert len(keys) == 4


def test_generate_makes_a_subclass_of_itself() -> None:
    class Kept(IdentityKeys):
        pass

    assert type(Kept.generate(Counting(), 0.0)) is Kept


def test_signer_signs_as_this_identity() -> None:
    network = network_id("main")

    signature = identity().signer.sign("yz1 rec", network, b"message")

    assert identity().signer.public_key == identity().public_key
    verify_message(identity().public_key, "yz1 rec", network, b"message", signature)


def test_repr_shows_only_the_fingerprint() -> None:
    shown = repr(identity((KemKey(KEM_1, 1),)))

    assert shown == f"<IdentityKeys {identity().fingerprint}>"
    assert len(identity().fingerprint) == 19


def test_identity_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        identity().storage_secret = bytes(32)  # type: ignore[misc]  # that is the point


def test_kem_keys_are_newest_first() -> None:
    identity((KemKey(KEM_2, 200), KemKey(KEM_1, 100)))

    with pytest.raises(UsageError, match="newest first"):
        identity((KemKey(KEM_1, 100), KemKey(KEM_2, 200)))


def test_kem_keys_are_bounded() -> None:
    identity((KemKey(KEM_1, 100),) * KEM_KEYS_KEPT_MAX)

    with pytest.raises(UsageError, match="at most"):
        identity((KemKey(KEM_1, 100),) * (KEM_KEYS_KEPT_MAX + 1))


@pytest.mark.parametrize("not_after", [-1, 2**32])
def test_end_of_life_is_a_u32(not_after: int) -> None:
    with pytest.raises(UsageError):
        KemKey(KEM_1, not_after)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_storage_secret_has_32_bytes(size: int) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        IdentityKeys(A, (), bytes(size))
