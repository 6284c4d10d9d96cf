"""Topics and the messages in them (PROTOCOL.md section 11)."""

from __future__ import annotations

from dataclasses import replace
from os import urandom
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.crypto.company import GROUP_ID, NAMES, fresh
from tests.vectors.golden import CREATED, KEY_A, KEY_B, NETWORK, OFF_CURVE, PROTOCOL, load
from yzdht.crypto.naming import dh, network_id
from yzdht.crypto.primitives import Aead
from yzdht.crypto.signing import KeySigner, sign_message
from yzdht.crypto.topics import (
    EnvelopeChecks,
    MessageEpoch,
    MessageKeys,
    MessagePlace,
    group_topic,
    message_key,
    message_kid,
    open_message,
    public_message,
    public_topic,
    read_public,
    seal_message,
    sender_root,
    sign_envelope,
    topic_host_target,
    verify_envelope,
)
from yzdht.errors import (
    CryptoError,
    DecryptionFailed,
    InvalidSignature,
    UnknownEpoch,
    UsageError,
    WireError,
)
from yzdht.ids import EpochSecret, GroupId, NameSecret, RecordHash, SendSession, Signature, TopicId
from yzdht.limits import PUBSUB_DATA_BYTES_MAX, SENDER_ROOTS_MAX
from yzdht.wire.pubsub import INDEX_MAX, Mode, PubsubEnvelope, PubsubMessage, decode_envelope, encode_fixed


GOLDEN = PROTOCOL["pubsub"]
OURS = load("project-v1.json")["pubsub"]
SIGNER = KeySigner(KEY_A, deterministic=True)
HELLO = PubsubMessage(CREATED, 0, b"hello")
EPOCH = MessageEpoch(GROUP_ID, 3, RecordHash(b"h" * 32), fresh())
TOPIC = group_topic(NAMES, NETWORK, "chat")

messages = st.builds(PubsubMessage, st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=300))


def hexed(key: str, section: dict[str, Any] = GOLDEN) -> bytes:
    return bytes.fromhex(section[key])


def golden_epoch() -> MessageEpoch:
    group = PROTOCOL["records"]["group"]
    ids = GroupId(hexed("group_id16", group)), group["epoch"], RecordHash(hexed("state_hash"))
    return MessageEpoch(*ids, EpochSecret(hexed("es", group)))


def place(index: int = 0, topic: TopicId = TOPIC) -> MessagePlace:
    """A new session every time: nothing else is sealed where this message is."""
    return MessagePlace(topic, KEY_A.public_key, SendSession(urandom(8)), index)


def golden_place(topic: str) -> MessagePlace:
    return MessagePlace(TopicId(hexed(topic)), KEY_A.public_key, SendSession(hexed("session8")), 258)


def signed(unsigned: bytes) -> PubsubEnvelope:
    return decode_envelope(sign_envelope(unsigned, SIGNER, NETWORK))


def sealed(message: PubsubMessage = HELLO, epoch: MessageEpoch = EPOCH) -> PubsubEnvelope:
    return signed(seal_message(place(), message, epoch))


def flipped(raw: bytes, bit: int) -> bytes:
    at = bit // 8
    return raw[:at] + bytes((raw[at] ^ 1 << bit % 8,)) + raw[at + 1 :]


def epochs_of(count: int) -> list[MessageEpoch]:
    """The newest first."""
    return [replace(EPOCH, epoch=number, secret=fresh()) for number in range(count, 0, -1)]


# Golden values


def test_topics_reproduce() -> None:
    names = PROTOCOL["names"]

    assert group_topic(NameSecret(hexed("name_secret", names)), NETWORK, "chat") == hexed("topic16")
    assert public_topic(NETWORK, "news") == hexed("public_topic16")


def test_the_keys_of_a_message_reproduce() -> None:
    epoch, at = golden_epoch(), golden_place("topic16")

    assert message_kid(epoch.secret, at.session) == hexed("kid8")
    assert message_key(sender_root(epoch, *at.series), at.index) == hexed("message_key")


def test_the_golden_envelope_of_a_group_reproduces_verifies_and_opens() -> None:
    unsigned = seal_message(golden_place("topic16"), HELLO, golden_epoch())

    raw = sign_envelope(unsigned, SIGNER, NETWORK)

    assert raw == hexed("envelope")
    envelope = decode_envelope(raw)
    verify_envelope(envelope, NETWORK)
    assert open_message(envelope, golden_epoch()) == HELLO
    assert envelope.id == hexed("message_id")


def test_the_golden_public_envelope_reproduces_and_verifies() -> None:
    raw = sign_envelope(public_message(golden_place("public_topic16"), HELLO), SIGNER, NETWORK)

    assert raw == hexed("public_envelope")
    envelope = decode_envelope(raw)
    verify_envelope(envelope, NETWORK)
    assert read_public(envelope) == HELLO


# Names


def test_a_topic_has_another_name_on_the_wire_in_each_group_each_network_and_in_public() -> None:
    other_network, other_secret = network_id("other"), NameSecret(b"o" * 32)

    seen = {
        group_topic(NAMES, NETWORK, "chat"),
        group_topic(NAMES, NETWORK, "Chat"),
        group_topic(NAMES, other_network, "chat"),
        group_topic(other_secret, NETWORK, "chat"),
        public_topic(NETWORK, "chat"),
        public_topic(other_network, "chat"),
    }

    assert len(seen) == 6
    assert {len(topic) for topic in seen} == {16}


def test_a_topic_is_one_however_its_letters_are_composed() -> None:
    assert group_topic(NAMES, NETWORK, "cafe\u0301") == group_topic(NAMES, NETWORK, "caf\u00e9")
    assert public_topic(NETWORK, "cafe\u0301") == public_topic(NETWORK, "caf\u00e9")


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 1_025])
def test_what_is_no_name_is_no_topic(name: str) -> None:
    with pytest.raises(UsageError):
        group_topic(NAMES, NETWORK, name)
    with pytest.raises(UsageError):
        public_topic(NETWORK, name)


def test_hosts_are_looked_for_at_a_target_of_the_topic_alone() -> None:
    assert topic_host_target(TOPIC, NETWORK) == dh("yz1 topic host", NETWORK, TOPIC)
    for topic, target in (("topic16", "host_target"), ("public_topic16", "public_host_target")):
        assert topic_host_target(TopicId(hexed(topic)), NETWORK) == hexed(target, OURS)
    assert topic_host_target(TOPIC, network_id("other")) != topic_host_target(TOPIC, NETWORK)


# Sealing and opening


@given(messages)
def test_a_message_comes_back_in_both_modes(message: PubsubMessage) -> None:
    assert open_message(sealed(message), EPOCH) == message
    assert read_public(signed(public_message(place(), message))) == message


def test_the_longest_message_is_sealed_and_the_last_index_has_a_key() -> None:
    longest = PubsubMessage(CREATED, 255, urandom(PUBSUB_DATA_BYTES_MAX))

    envelope = signed(seal_message(place(INDEX_MAX), longest, EPOCH))

    assert open_message(envelope, EPOCH) == longest
    with pytest.raises(UsageError):
        seal_message(place(), longest._replace(data=longest.data + b"x"), EPOCH)


def test_an_envelope_shows_neither_what_it_says_nor_its_topic() -> None:
    raw = sealed(PubsubMessage(CREATED, 7, b"a canary in a cage")).raw

    assert b"canary" not in raw
    assert b"chat" not in raw
    assert len(raw) == len(sealed(PubsubMessage(CREATED, 7, b"x")).raw)  # both fit one block


def test_every_place_and_every_epoch_has_a_key_of_its_own() -> None:
    first = place()
    others = [EPOCH, replace(EPOCH, secret=fresh()), replace(EPOCH, state_hash=RecordHash(b"o" * 32))]
    others.append(replace(EPOCH, group_id=GroupId(b"o" * 16)))
    places = [
        first,
        replace(first, topic=TopicId(b"o" * 16)),
        replace(first, sender=KEY_B.public_key),
        replace(first, session=SendSession(b"o" * 8)),
    ]

    keys = {
        message_key(sender_root(epoch, *each.series), index)
        for epoch in others
        for each in places
        for index in (0, 1, INDEX_MAX)
    }

    assert len(keys) == len(others) * len(places) * 3


def test_a_changed_envelope_neither_verifies_nor_opens() -> None:
    envelope = sealed()
    for bit in range(0, 8 * len(envelope.raw), 7):
        try:
            changed = decode_envelope(flipped(envelope.raw, bit))
        except WireError:
            continue
        with pytest.raises(InvalidSignature):
            verify_envelope(changed, NETWORK)
        if bit >= 8 * len(envelope.signed):
            continue  # the signature is not what it opens with
        with pytest.raises(CryptoError):
            open_message(changed, EPOCH)


def test_what_was_moved_to_another_place_and_signed_by_a_thief_does_not_open() -> None:
    """A member could sign another's ciphertext as its own."""
    victim = sealed()
    raw = bytearray(victim.raw)
    raw[28:61] = KEY_B.public_key
    stolen = decode_envelope(sign_envelope(bytes(raw[:-64]), KeySigner(KEY_B), NETWORK))

    verify_envelope(stolen, NETWORK)
    with pytest.raises(DecryptionFailed):
        open_message(stolen, EPOCH)


def test_padding_that_a_member_sealed_wrong_is_refused_as_damage() -> None:
    at = place()
    fixed = encode_fixed(
        Mode.GROUP, at.topic, message_kid(EPOCH.secret, at.session), at.sender, at.session, at.index
    )
    key = message_key(sender_root(EPOCH, *at.series), at.index)
    forged = signed(fixed + Aead(key).seal(bytes(12), b"\xff" * 64, fixed))

    with pytest.raises(DecryptionFailed):
        open_message(forged, EPOCH)


def test_each_mode_is_read_by_its_own_reader_alone() -> None:
    public = signed(public_message(place(), HELLO))

    with pytest.raises(WireError):
        open_message(public, EPOCH)
    with pytest.raises(WireError):
        read_public(sealed())


# Epochs


def test_the_epoch_of_a_message_is_found_by_its_kid() -> None:
    epochs = epochs_of(5)
    keys = MessageKeys(epochs)

    for epoch in epochs:
        envelope = sealed(epoch=epoch)
        assert keys.find(envelope) == epoch
        assert keys.open(envelope) == (HELLO, epoch)
    assert keys.epochs == tuple(epochs)


def test_messages_are_sealed_in_the_newest_epoch() -> None:
    epochs = epochs_of(3)

    envelope = signed(MessageKeys(epochs).seal(place(), HELLO))

    assert open_message(envelope, epochs[0]) == HELLO


def test_an_epoch_that_is_not_known_is_said_with_the_newest_that_is() -> None:
    for known, newest in ((epochs_of(4), 4), ([], 0)):
        with pytest.raises(UnknownEpoch) as raised:
            MessageKeys(known).open(sealed())
        assert raised.value.newest == newest


def test_both_branches_of_a_fork_open() -> None:
    one, other = (replace(EPOCH, secret=fresh(), state_hash=RecordHash(urandom(32))) for _ in range(2))
    keys = MessageKeys([one, other])

    assert keys.open(sealed(epoch=other)) == (HELLO, other)
    assert keys.open(sealed(epoch=one)) == (HELLO, one)


def test_an_epoch_of_another_state_with_the_same_secret_opens_nothing() -> None:
    with pytest.raises(DecryptionFailed):
        open_message(sealed(), replace(EPOCH, state_hash=RecordHash(b"o" * 32)))


def test_more_sessions_than_are_remembered_still_open() -> None:
    keys = MessageKeys([EPOCH])
    first = place()
    envelopes = [signed(keys.seal(replace(first, index=index), HELLO)) for index in range(2)]

    for _ in range(SENDER_ROOTS_MAX + 1):
        keys.seal(place(), HELLO)

    assert [keys.open(envelope)[0] for envelope in envelopes] == [HELLO, HELLO]


def test_no_repr_shows_a_secret() -> None:
    shown = repr(EPOCH)

    assert repr(EPOCH.secret)[2:-1] not in shown
    assert EPOCH.secret.hex() not in shown


# Signatures


def test_a_signature_holds_in_its_network_alone() -> None:
    envelope = sealed()
    verify_envelope(envelope, NETWORK)

    with pytest.raises(InvalidSignature):
        verify_envelope(envelope, network_id("other"))


def test_a_signature_under_another_label_or_by_another_key_is_refused() -> None:
    unsigned = seal_message(place(), HELLO, EPOCH)
    signatures = [
        sign_message(KEY_A, "yz1 rec", NETWORK, unsigned),
        sign_message(KEY_B, "yz1 pub", NETWORK, unsigned),
        Signature(bytes(64)),
    ]

    for signature in signatures:
        with pytest.raises(InvalidSignature):
            verify_envelope(decode_envelope(unsigned + signature), NETWORK)


def test_a_sender_that_is_no_key_has_signed_nothing() -> None:
    unsigned = public_message(replace(place(), sender=OFF_CURVE), HELLO)

    with pytest.raises(InvalidSignature):
        verify_envelope(signed(unsigned), NETWORK)


def test_each_distinct_envelope_is_verified_once() -> None:
    checks, envelope = EnvelopeChecks(NETWORK), sealed()

    for _ in range(3):
        checks.verify(decode_envelope(envelope.raw))

    assert (checks.verified, checks.cache_hits) == (1, 2)


def test_what_this_process_signed_is_not_checked_and_vouches_for_nothing_else() -> None:
    checks, envelope = EnvelopeChecks(NETWORK), sealed()
    checks.know(envelope)
    checks.verify(decode_envelope(envelope.raw))

    assert (checks.verified, checks.cache_hits) == (0, 1)
    for bit in (8 * 80, 8 * len(envelope.raw) - 1):  # of the body, and of the signature
        with pytest.raises(InvalidSignature):
            checks.verify(decode_envelope(flipped(envelope.raw, bit)))


def test_a_bad_signature_is_not_remembered_as_good_and_spoils_no_good_one() -> None:
    checks, envelope = EnvelopeChecks(NETWORK), sealed()
    forged = decode_envelope(flipped(envelope.raw, 8 * len(envelope.raw) - 1))

    for _ in range(2):
        with pytest.raises(InvalidSignature):
            checks.verify(forged)
    checks.verify(envelope)
    with pytest.raises(InvalidSignature):
        checks.verify(forged)

    assert (checks.verified, checks.cache_hits) == (1, 0)


@settings(max_examples=20)
@given(st.binary(min_size=64, max_size=64))
def test_nobody_guesses_a_signature(signature: bytes) -> None:
    envelope = sealed()

    with pytest.raises(InvalidSignature):
        verify_envelope(decode_envelope(envelope.signed + signature), NETWORK)


# Keys made ready


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3), st.integers(0, 15)), max_size=20))
def test_what_was_made_ready_changes_nothing_that_is_sealed_or_opened(
    steps: list[tuple[int, int, int]],
) -> None:
    """Messages of two sessions in two epochs, some left out; those that seal and open make themselves ready now and then."""
    newer = replace(EPOCH, epoch=4, state_hash=RecordHash(b"n" * 32), secret=fresh())
    sealers = {epoch: MessageKeys([epoch, EPOCH]) for epoch in (EPOCH, newer)}
    opener = MessageKeys([newer, EPOCH])
    sessions, indexes = [SendSession(urandom(8)) for _ in range(2)], [0, 0]
    for number, further, what in steps:
        epoch = newer if what & 1 else EPOCH
        where = MessagePlace(TOPIC, KEY_A.public_key, sessions[number], indexes[number])
        indexes[number] += further
        envelope = signed(sealers[epoch].seal(where, HELLO))
        assert open_message(envelope, epoch) == HELLO
        for _ in range(what >> 1 & 1):
            opener.make_ready()
        for _ in range(1 + (what >> 2 & 1)):
            assert opener.open(envelope) == (HELLO, epoch)
        if what >> 3 & 1:
            for keys in (*sealers.values(), opener):
                keys.make_ready()


def test_what_was_made_ready_does_not_open_what_is_sealed_otherwise() -> None:
    keys = MessageKeys([EPOCH])
    keys.open(sealed())
    keys.make_ready()
    forged = bytearray(seal_message(replace(place(), index=place().index + 1), HELLO, EPOCH))
    forged[-1] ^= 1
    with pytest.raises(DecryptionFailed):
        keys.open(signed(bytes(forged)))
    assert (
        keys.open(signed(seal_message(replace(place(), index=place().index + 1), HELLO, EPOCH)))[0] == HELLO
    )


def test_after_the_last_index_nothing_is_made_ready() -> None:
    keys = MessageKeys([EPOCH])
    last = replace(place(), index=INDEX_MAX)
    keys.seal(last, HELLO)
    keys.make_ready()
    keys.make_ready()
    assert keys.open(signed(seal_message(last, HELLO, EPOCH)))[0] == HELLO
