"""Values for named readers and under a passphrase: who opens them, who does not, and what the record shows of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from os import urandom

import pytest
from hypothesis import given, settings, strategies as st

from tests.vectors.golden import CREATED, EXPIRES, KEM_1, KEY_A, KEY_B, NETWORK, OFF_CURVE, SELF_KEY_A
from yzdht.crypto.naming import kdf
from yzdht.crypto.passphrase import ARGON2_DEFAULT, NO_KDF, PBKDF2_DEFAULT, Kdf, KdfParameters
from yzdht.crypto.primitives import Aead, PrivateKey, hpke_seal, sha256
from yzdht.crypto.sealing import (
    Author,
    OpeningKeys,
    RecordDraft,
    open_record,
    seal_box,
    seal_immutable,
    seal_record,
)
from yzdht.crypto.signing import KeySigner
from yzdht.crypto.stanzas import (
    Locked,
    Named,
    WrapContext,
    encode_locked,
    encode_named,
    passphrase_stanza,
    unlock,
)
from yzdht.errors import (
    CryptoError,
    InvalidKey,
    NotAReader,
    PassphraseNeeded,
    UsageError,
    WireError,
    WrongPassphrase,
)
from yzdht.ids import PublicKey, Tag
from yzdht.limits import NAMED_READERS_MAX, RECORD_BYTES_MAX, STANZAS_MAX, VALUE_BYTES_MAX
from yzdht.wire.codec import lp
from yzdht.wire.record import (
    Readers,
    Record,
    decode_record,
    encode_fixed,
    encode_immutable_fixed,
    split_stanzas,
)
from yzdht.wire.slot import Kind


SALT = bytes(range(24))
CEK = b"c" * 32
AUTHOR = Author(KeySigner(KEY_A), SELF_KEY_A, NETWORK)
OWN = OpeningKeys(SELF_KEY_A, (), KEY_A.public_key)
DRAFT = RecordDraft(Kind.MUTABLE, CREATED, EXPIRES, 1, Tag(b"t" * 32))
CONTEXT = WrapContext(encode_fixed(DRAFT, Readers.STANZAS, KEY_A.public_key), SALT)
KEY = b"k" * 32
LOCKED = Locked(KEY, PBKDF2_DEFAULT, b"s" * 16, CEK)
PEOPLE = [PrivateKey.generate() for _ in range(NAMED_READERS_MAX)]


def keys_of(people: list[PrivateKey]) -> tuple[PublicKey, ...]:
    return tuple(person.public_key for person in people)


def reader(*kem: PrivateKey) -> OpeningKeys:
    return OpeningKeys(b"another" + bytes(25), kem, KEY_B.public_key)


def sealed(value: bytes, people: list[PrivateKey], *, has_self: bool = True) -> Record:
    named = Named(keys_of(people), CEK, has_self)
    return decode_record(seal_record(DRAFT, value, named, AUTHOR, urandom(24)))


def locked(value: bytes, readers: Locked = LOCKED) -> Record:
    return decode_record(seal_record(DRAFT, value, readers, AUTHOR, urandom(24)))


# Named readers


@settings(max_examples=10)
@given(st.binary(max_size=2_000), st.integers(1, 5))
def test_each_named_reader_and_the_publisher_open_it_and_nobody_else(value: bytes, count: int) -> None:
    parsed = sealed(value, PEOPLE[:count])

    for person in PEOPLE[:count]:
        assert open_record(parsed, reader(person)) == value
    assert open_record(parsed, OWN) == value
    for nobody in (reader(), reader(PEOPLE[count]), OpeningKeys(None)):
        with pytest.raises(NotAReader):
            open_record(parsed, nobody)


def test_the_publisher_can_be_left_out() -> None:
    parsed = sealed(b"v", PEOPLE[:2], has_self=False)

    assert open_record(parsed, reader(PEOPLE[1])) == b"v"
    with pytest.raises(NotAReader):
        open_record(parsed, OWN)


def test_an_older_key_of_a_reader_opens_it_too() -> None:
    assert open_record(sealed(b"v", PEOPLE[:1]), reader(PEOPLE[5], PEOPLE[6], PEOPLE[0])) == b"v"


def test_immutables_are_sealed_for_named_readers_and_under_a_passphrase() -> None:
    named = decode_record(seal_immutable(b"v", Named(keys_of(PEOPLE[:2]), CEK), AUTHOR, urandom(24)))
    under = decode_record(seal_immutable(b"v", LOCKED, AUTHOR, urandom(24)))

    assert open_record(named, reader(PEOPLE[1])) == b"v"
    assert open_record(named, OWN) == b"v"
    assert open_record(under, OpeningKeys(None, passphrase_key=KEY)) == b"v"


def test_a_record_costs_what_the_protocol_page_says() -> None:
    for count in (1, 2, 32):
        assert len(sealed(bytes(252), PEOPLE[:count], has_self=False).raw) - 256 == 224 + 116 * count


def test_the_largest_value_for_all_readers_and_oneself_fits_a_record() -> None:
    parsed = sealed(bytes(VALUE_BYTES_MAX), PEOPLE)

    assert len(parsed.raw) <= RECORD_BYTES_MAX
    assert open_record(parsed, reader(PEOPLE[-1])) == bytes(VALUE_BYTES_MAX)


def test_nothing_in_a_record_names_a_reader() -> None:
    raw = sealed(b"v", PEOPLE[:3]).raw
    for person in PEOPLE[:3]:
        for part in (person.public_key, person.public_key[1:], sha256(person.public_key)):
            assert part not in raw


def test_the_place_of_a_stanza_says_nothing_of_whose_it_is() -> None:
    first = Counter[int]()
    for number in range(120):
        salt = number.to_bytes(24)
        parsed = decode_record(seal_record(DRAFT, b"", Named(keys_of(PEOPLE[:3]), CEK), AUTHOR, salt))
        info = WrapContext(parsed.fixed, salt).hpke_info
        [(_, body), *_] = split_stanzas(parsed.header)
        first[next(at for at, person in enumerate(PEOPLE[:3]) if opens(person, body, info))] += 1

    assert min(first[at] for at in range(3)) > 10


def opens(person: PrivateKey, body: bytes, info: bytes) -> bool:
    try:
        person.hpke_open(body, info)
    except CryptoError:
        return False
    return True


@pytest.mark.parametrize("count", [0, STANZAS_MAX + 1])
def test_a_record_has_readers_and_not_too_many(count: int) -> None:
    keys = (KEM_1.public_key,) * count
    with pytest.raises(UsageError, match="stanzas"):
        encode_named(Named(keys, CEK, has_self=False), CONTEXT, SELF_KEY_A)


def test_as_many_stanzas_as_the_wire_allows_are_written() -> None:
    prefix = encode_named(Named((KEM_1.public_key,) * (STANZAS_MAX - 1), CEK), CONTEXT, SELF_KEY_A)

    assert prefix[0] == STANZAS_MAX
    assert len(prefix) == 1 + 116 * (STANZAS_MAX - 1) + 51


def test_a_kem_key_that_is_no_point_is_refused() -> None:
    with pytest.raises(InvalidKey):
        encode_named(Named((OFF_CURVE,), CEK), CONTEXT, SELF_KEY_A)


# Stanzas of others


def test_stanzas_do_not_open_in_another_record() -> None:
    parsed = sealed(b"v", PEOPLE[:1])
    other = encode_fixed(replace(DRAFT, seq=2), Readers.STANZAS, KEY_A.public_key)
    prefix = parsed.header[:-56]
    moved = decode_record(seal_box(CEK, parsed.salt, other, prefix, b"v") + bytes(64))
    for keys in (reader(PEOPLE[0]), OWN):
        with pytest.raises(NotAReader):
            open_record(moved, keys)


def test_a_stanza_that_wraps_another_key_opens_no_box() -> None:
    named = Named(keys_of(PEOPLE[:1]), b"x" * 32, has_self=False)
    prefix = encode_named(named, CONTEXT, SELF_KEY_A)
    parsed = decode_record(seal_box(CEK, SALT, CONTEXT.fixed, prefix, b"v") + bytes(64))
    with pytest.raises(CryptoError, match="not sealed under this key"):
        open_record(parsed, reader(PEOPLE[0]))


def test_the_stanzas_are_those_of_the_protocol_page() -> None:
    """Opened with nothing of this module but the primitives."""
    parsed = sealed(b"v", PEOPLE[:1])
    stanzas = dict(split_stanzas(parsed.header))
    info = lp("yz1 wrap hpke") + sha256(parsed.fixed) + parsed.salt
    wrap = kdf(SELF_KEY_A, parsed.salt, "yz1 wrap self", sha256(parsed.fixed), 32)

    assert PEOPLE[0].hpke_open(stanzas[2], info) == CEK
    assert Aead(wrap).open(bytes(12), stanzas[1]) == CEK


# Under a passphrase


@given(st.binary(max_size=2_000))
def test_the_passphrase_opens_it_and_nothing_else_does(value: bytes) -> None:
    parsed = locked(value)

    assert open_record(parsed, OpeningKeys(None, passphrase_key=KEY)) == value
    with pytest.raises(WrongPassphrase):
        open_record(parsed, OpeningKeys(SELF_KEY_A, passphrase_key=b"x" * 32))
    with pytest.raises(PassphraseNeeded):
        open_record(parsed, OWN)


@pytest.mark.parametrize("parameters", [PBKDF2_DEFAULT, ARGON2_DEFAULT])
def test_the_reader_learns_which_kdf_to_use(parameters: KdfParameters) -> None:
    stanza = passphrase_stanza(locked(b"v", replace(LOCKED, parameters=parameters)))

    assert stanza is not None
    assert (stanza.parameters, stanza.salt) == (parameters, b"s" * 16)


def test_a_record_that_is_under_no_passphrase_asks_for_none() -> None:
    assert passphrase_stanza(sealed(b"v", PEOPLE[:1])) is None


def test_the_passphrase_stanza_is_that_of_the_protocol_page() -> None:
    parsed = locked(b"v")
    [(kind, body)] = split_stanzas(parsed.header)
    wrap = kdf(KEY, parsed.salt, "yz1 wrap pass", sha256(parsed.fixed), 32)

    assert (kind, len(body)) == (4, 71)
    assert body[:23] == b"\x02" + (600_000).to_bytes(4) + b"\0\0" + b"s" * 16
    assert Aead(wrap).open(bytes(12), body[23:]) == CEK


@pytest.mark.parametrize(
    "parameters", [NO_KDF, KdfParameters(Kdf.PBKDF2, 599_999, 0, 0), KdfParameters(Kdf.ARGON2ID, 1_024, 1, 1)]
)
def test_a_cheap_kdf_is_not_written_and_not_tried(parameters: KdfParameters) -> None:
    with pytest.raises(UsageError):
        encode_locked(replace(LOCKED, parameters=parameters), CONTEXT)
    with pytest.raises(WireError):
        passphrase_stanza(with_cost(bytes((parameters.kdf,)) + parameters.m_kib.to_bytes(4) + b"\0\0"))


@pytest.mark.parametrize("cost", ["03000927c00000", "02ffffffff0000", "02000927c00100", "01001000010303"])
def test_a_hostile_cost_is_refused_before_anything_is_done_for_it(cost: str) -> None:
    parsed = with_cost(bytes.fromhex(cost))
    for keys in (OWN, OpeningKeys(None, passphrase_key=KEY)):
        with pytest.raises(WireError):
            open_record(parsed, keys)


def with_cost(cost: bytes) -> Record:
    prefix = b"\x01\x04\x00\x47" + cost + bytes(64)
    return decode_record(seal_box(CEK, SALT, CONTEXT.fixed, prefix, b"v") + bytes(64))


def test_a_passphrase_stanza_does_not_open_in_another_record() -> None:
    parsed = locked(b"v")
    other = encode_fixed(replace(DRAFT, seq=2), Readers.STANZAS, KEY_A.public_key)
    moved = decode_record(seal_box(CEK, parsed.salt, other, parsed.header[:-56], b"v") + bytes(64))
    stanza = passphrase_stanza(moved)
    assert stanza is not None
    with pytest.raises(WrongPassphrase):
        unlock(moved, stanza, KEY)


# Hostile bytes


@settings(max_examples=50)
@given(st.binary(min_size=113, max_size=113), st.binary(min_size=48, max_size=48))
def test_hostile_stanzas_raise_only_crypto_errors(hpke: bytes, wrapped: bytes) -> None:
    prefix = b"\x03\x02\x00\x71" + hpke + b"\x02\x00\x71\x04" + hpke[1:] + b"\x01\x00\x30" + wrapped
    fixed = encode_immutable_fixed(Readers.STANZAS)
    parsed = decode_record(seal_box(CEK, SALT, fixed, prefix, b"v"))
    with pytest.raises(NotAReader):
        open_record(parsed, OpeningKeys(SELF_KEY_A, (KEM_1,)))


def test_hpke_of_another_info_opens_nothing() -> None:
    body = hpke_seal(KEM_1.public_key, CEK, lp("yz1 wrap hpke") + sha256(CONTEXT.fixed) + bytes(24))
    prefix = b"\x01\x02\x00\x71" + body
    parsed = decode_record(seal_box(CEK, SALT, CONTEXT.fixed, prefix, b"v") + bytes(64))
    with pytest.raises(NotAReader):
        open_record(parsed, reader(KEM_1))
