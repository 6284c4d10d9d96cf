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
from yzdht.limits import DAY_S, KEM_KEY_KEPT_S, KEM_KEY_LIFE_S, KEM_KEY_RENEW_S, KEM_KEYS_KEPT_MAX


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


# KEM keys in the course of time


def aged(*ends: int) -> IdentityKeys:
    return identity(tuple(KemKey(PrivateKey.generate(), end) for end in ends))


def test_a_key_is_needed_when_half_of_the_life_of_the_newest_is_over() -> None:
    now = 100 * DAY_S

    assert identity().needs_kem_key(now)
    assert aged(now + KEM_KEY_RENEW_S).needs_kem_key(now)
    assert not aged(now + KEM_KEY_RENEW_S + 1).needs_kem_key(now)
    assert not aged(now + KEM_KEY_LIFE_S + DAY_S).needs_kem_key(now)
    assert aged(now + KEM_KEY_LIFE_S + DAY_S + 1).needs_kem_key(now), "made under a clock that was ahead"


def test_a_new_key_stands_first_and_lives_its_time() -> None:
    old, key = aged(50 * DAY_S), PrivateKey.generate()

    new = old.with_kem_key(key, 40 * DAY_S + 0.7)

    assert [k.key.public_key for k in new.kem] == [key.public_key, old.kem[0].key.public_key]
    assert new.kem[0].not_after == 40 * DAY_S + KEM_KEY_LIFE_S
    assert new.storage_secret == old.storage_secret
    assert new.public_key == old.public_key


def test_a_new_key_stands_first_even_beside_one_of_a_clock_that_was_ahead() -> None:
    old, key = aged(5_000 * DAY_S, 50 * DAY_S), PrivateKey.generate()

    new = old.with_kem_key(key, 40 * DAY_S)

    assert new.kem[0].key is key
    assert [k.key for k in new.kem[1:]] == [k.key for k in old.kem]


def test_a_key_is_kept_for_90_days_past_its_end_and_longer_while_a_group_lists_it() -> None:
    now = 1_000 * DAY_S
    old = aged(now - KEM_KEY_KEPT_S, now - KEM_KEY_KEPT_S - 1, now - KEM_KEY_KEPT_S - 2)
    listed = {old.kem[2].key.public_key}

    new = old.with_kem_key(PrivateKey.generate(), now, listed)

    assert [k.key for k in new.kem[1:]] == [old.kem[0].key, old.kem[2].key]


def test_of_too_many_keys_the_oldest_leave_that_no_group_lists() -> None:
    now = 100 * DAY_S
    old = aged(*(now - number for number in range(KEM_KEYS_KEPT_MAX)))
    listed = {old.kem[-1].key.public_key}

    new = old.with_kem_key(PrivateKey.generate(), now, listed)

    assert len(new.kem) == KEM_KEYS_KEPT_MAX
    assert [k.key for k in new.kem[1:]] == [*(k.key for k in old.kem[:-2]), old.kem[-1].key]


def test_two_devices_merge_to_the_keys_of_both() -> None:
    one = aged(50, 30)
    other = IdentityKeys(A, (KemKey(KEM_1, 40), one.kem[1]), SECRET)

    assert [k.not_after for k in one.merged(other, 45).kem] == [50, 40, 30]
    assert [k.not_after for k in other.merged(one, 45).kem] == [50, 40, 30]


def test_another_identity_is_not_merged() -> None:
    for other in (IdentityKeys(KEM_1, (), SECRET), IdentityKeys(A, (), bytes(32))):
        with pytest.raises(UsageError):
            identity().merged(other, 0)


def test_keys_that_nothing_keeps_stay_as_they_are() -> None:
    old = aged(10)

    assert old.renewed(1_000 * DAY_S) is old
