"""Topics: what follows from their names, and messages sealed, signed, verified and opened (PROTOCOL.md section 11).

Pure. Refuses what is not signed by its sender for this network, and what does not open. Whether its sender is a member, whether it
was seen before and whether it comes in time is judged above, by pubsub/subscriber.py.

There is one key for each message, and so no salt: whoever seals must never use a session and an index twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.crypto.naming import dh, kdf, normalise_name
from yzdht.crypto.primitives import IV_BYTES, KEY_BYTES, Aead, hmac_sha256, is_equal, sha256
from yzdht.crypto.signing import verify_message
from yzdht.errors import DecryptionFailed, InvalidKey, InvalidSignature, UnknownEpoch, WireError
from yzdht.ids import Target, TopicId
from yzdht.limits import SENDER_ROOTS_MAX, VERIFIED_CACHE_ENTRIES
from yzdht.wire.codec import lp
from yzdht.wire.pubsub import (
    INDEX_MAX,
    MESSAGE_KID_BYTES,
    NO_KID,
    TOPIC_BYTES,
    Mode,
    decode_message,
    encode_fixed,
    encode_message,
)


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import EpochSecret, GroupId, NameSecret, NetworkId, PublicKey, RecordHash, SendSession
    from yzdht.ports import Signer
    from yzdht.wire.pubsub import PubsubEnvelope, PubsubMessage


ENVELOPE_LABEL = "yz1 pub"
_ZERO_IV = bytes(IV_BYTES)


@dataclass(frozen=True, slots=True)
class MessageEpoch:
    """What a member keeps of one epoch to seal and open messages in it.

    Attributes:
        group_id: Of the group key under which the epoch's state stood.
        epoch: 1 to 2³² - 1.
        state_hash: Hash of the record that held the state.
        secret: es, 32 bytes.
        seen: Unix seconds at which this home saw the state first; 0 if that is not known.

    """

    group_id: GroupId
    epoch: int
    state_hash: RecordHash
    secret: EpochSecret = field(repr=False)
    seen: int = 0


@dataclass(frozen=True, slots=True)
class MessagePlace:
    """Where a message stands; no other of a group or topic stands there.

    Attributes:
        topic: 16 bytes.
        sender: Who signs it.
        session: The run of the sender's process, 8 random bytes.
        index: Counts the messages of the session to the topic, from 0 to INDEX_MAX.

    """

    topic: TopicId
    sender: PublicKey
    session: SendSession
    index: int

    @property
    def series(self) -> tuple[TopicId, PublicKey, SendSession]:
        """What all messages of the session to the topic have in common."""
        return self.topic, self.sender, self.session


# Names


def group_topic(name_secret: NameSecret, network: NetworkId, topic: str) -> TopicId:
    """topic16 that only the members of a group can compute.

    Raises:
        UsageError: As of `normalise_name`.

    """
    blinded = hmac_sha256(name_secret, lp("yz1 topic") + network + normalise_name(topic).encode())
    return TopicId(blinded[:TOPIC_BYTES])


def public_topic(network: NetworkId, topic: str) -> TopicId:
    """topic16 that everybody who knows the name can compute; raises as `group_topic`."""
    return TopicId(dh("yz1 pubtopic", network, normalise_name(topic).encode())[:TOPIC_BYTES])


def topic_host_target(topic: TopicId, network: NetworkId) -> Target:
    """The nodes nearest to this are a topic's hosts."""
    return Target(dh("yz1 topic host", network, topic))


# Keys


def message_kid(epoch_secret: EpochSecret, session: SendSession) -> bytes:
    """kid8: says to those who know an epoch that a session's messages are sealed in it."""
    return _kid(_kid_key(epoch_secret), session)


def _kid_key(epoch_secret: EpochSecret) -> bytes:
    return kdf(epoch_secret, b"", "yz1 pkid", b"", KEY_BYTES)


def _kid(kid_key: bytes, session: SendSession) -> bytes:
    return hmac_sha256(kid_key, session)[:MESSAGE_KID_BYTES]


def sender_root(epoch: MessageEpoch, topic: TopicId, sender: PublicKey, session: SendSession) -> bytes:
    """From which the keys of a session's messages to a topic follow in one epoch, 32 bytes."""
    context = sha256(sender + session + topic + epoch.state_hash)
    return kdf(epoch.secret, epoch.group_id, "yz1 sender", context, KEY_BYTES)


def message_key(root: bytes, index: int) -> bytes:
    """`mk` of one message, 32 bytes; it protects this one alone."""
    return hmac_sha256(root, index.to_bytes(4))


# Writing


def public_message(place: MessagePlace, message: PubsubMessage) -> bytes:
    """Build what everybody can read, up to its signature.

    Raises:
        UsageError: The data is too long, or a number is out of range.

    """
    return _fixed(Mode.PUBLIC, place, NO_KID) + encode_message(message)


def _fixed(mode: Mode, place: MessagePlace, kid: bytes) -> bytes:
    return encode_fixed(mode, place.topic, kid, place.sender, place.session, place.index)


def seal_message(place: MessagePlace, message: PubsubMessage, epoch: MessageEpoch) -> bytes:
    """Build what the members of a group can read, up to its signature.

    Args:
        place: Never used before in this epoch.
        message: What it says.
        epoch: The group's newest.

    Raises:
        UsageError: The data is too long, or a number is out of range.

    """
    return MessageKeys([epoch]).seal(place, message)


def sign_envelope(unsigned: bytes, signer: Signer, network: NetworkId) -> bytes:
    """An envelope that its sender, who is named in it, has signed."""
    return unsigned + signer.sign(ENVELOPE_LABEL, network, unsigned)


# Reading


def verify_envelope(envelope: PubsubEnvelope, network: NetworkId) -> None:
    """Check that its sender signed it for this network.

    Raises:
        InvalidSignature: Nobody, or somebody else, did.

    """
    try:
        verify_message(envelope.sender, ENVELOPE_LABEL, network, envelope.signed, envelope.signature)
    except InvalidKey:
        raise InvalidSignature("an envelope's sender is no key that could have signed it") from None


def read_public(envelope: PubsubEnvelope) -> PubsubMessage:
    """What a public envelope says; its signature is verified.

    Raises:
        WireError: It is sealed for a group, or its padding is refused.

    """
    if envelope.mode is not Mode.PUBLIC:
        raise WireError("the envelope is sealed for a group")
    return decode_message(envelope.body)


def open_message(envelope: PubsubEnvelope, epoch: MessageEpoch) -> PubsubMessage:
    """What a group's envelope says; its signature is verified.

    Raises:
        WireError: It is public.
        UnknownEpoch: It is sealed in another epoch.
        DecryptionFailed: It does not open, or its padding is refused.

    """
    return MessageKeys([epoch]).open(envelope)[0]


@dataclass(slots=True, eq=False)
class _Met:
    """What follows from an epoch for the messages of one series.

    Attributes:
        next: The index after that of the message met last.
        ready: For the message of that index, if it was made ready.

    """

    epoch: MessageEpoch
    kid: bytes
    root: bytes = field(repr=False)
    next: int = 0
    ready: Aead | None = None

    def cipher(self, index: int) -> Aead:
        """For one message; what was made ready serves once."""
        ready, self.ready = self.ready, None
        if ready is None or index != self.next:
            ready = Aead(message_key(self.root, index))
        self.next = index + 1
        return ready


class MessageKeys:
    """Seals and opens messages in the epochs of one group that a member knows.

    Args:
        epochs: As `KnownGroups.message_epochs` gives them: the newest first. Two of one number are a fork's.

    """

    __slots__ = ("_kid_keys", "_met")

    def __init__(self, epochs: Iterable[MessageEpoch]) -> None:
        self._kid_keys = {epoch: _kid_key(epoch.secret) for epoch in epochs}
        self._met: dict[tuple[TopicId, PublicKey, SendSession], _Met] = {}  # the one met last is the last

    @property
    def epochs(self) -> tuple[MessageEpoch, ...]:
        """All of them, in the order given."""
        return tuple(self._kid_keys)

    def seal(self, place: MessagePlace, message: PubsubMessage) -> bytes:
        """Build what the group can read in its newest epoch, up to the signature; raises as `seal_message`."""
        newest = next(iter(self._kid_keys))
        met = self._met.get(place.series)
        if met is None or met.epoch is not newest:
            met = self._meet(newest, place.series)
        fixed = _fixed(Mode.GROUP, place, met.kid)
        cipher = self._cipher(met, place.series, place.index)
        return fixed + cipher.seal(_ZERO_IV, encode_message(message), fixed)

    def find(self, envelope: PubsubEnvelope) -> MessageEpoch:
        """The epoch that an envelope is sealed in.

        Raises:
            WireError: It is public.
            UnknownEpoch: None of those that are known.

        """
        if envelope.mode is not Mode.GROUP:
            raise WireError("the envelope is not sealed for a group")
        for epoch, kid_key in self._kid_keys.items():
            if is_equal(_kid(kid_key, envelope.session), envelope.kid):
                return epoch
        raise UnknownEpoch(max((epoch.epoch for epoch in self._kid_keys), default=0))

    def open(self, envelope: PubsubEnvelope) -> tuple[PubsubMessage, MessageEpoch]:
        """What an envelope says whose signature is verified, and in which epoch it was sealed.

        Raises:
            WireError, UnknownEpoch: As of `find`.
            DecryptionFailed: It does not open, or its padding is refused.

        """
        series = envelope.topic, envelope.sender, envelope.session
        met = self._met.get(series)
        if met is None or envelope.mode is not Mode.GROUP or not is_equal(met.kid, envelope.kid):
            met = self._meet(self.find(envelope), series)
        padded = self._cipher(met, series, envelope.index).open(_ZERO_IV, envelope.body, envelope.fixed)
        try:
            return decode_message(padded), met.epoch
        except WireError:
            raise DecryptionFailed("the padding of a message was refused") from None

    def make_ready(self) -> None:
        """Derive the key of the message that follows the one met last, if nobody waits for anything: it comes next, perhaps."""
        met = next(reversed(self._met.values()), None)
        if met is not None and met.ready is None and met.next <= INDEX_MAX:
            met.ready = Aead(message_key(met.root, met.next))

    def _meet(self, epoch: MessageEpoch, series: tuple[TopicId, PublicKey, SendSession]) -> _Met:
        kid = _kid(self._kid_keys[epoch], series[2])
        return _Met(epoch, kid, sender_root(epoch, *series))

    def _cipher(self, met: _Met, series: tuple[TopicId, PublicKey, SendSession], index: int) -> Aead:
        self._met.pop(series, None)
        if len(self._met) >= SENDER_ROOTS_MAX:
            del self._met[next(iter(self._met))]
        self._met[series] = met
        return met.cipher(index)


class EnvelopeChecks:
    """An `EnvelopeVerifier` that checks each distinct envelope's signature once.

    Args:
        network: NET.

    Attributes:
        verified: Signatures that were checked and are good.
        cache_hits: Envelopes whose signature was known to be good.

    """

    __slots__ = ("_known", "_network", "cache_hits", "verified")

    def __init__(self, network: NetworkId) -> None:
        self._network = network
        # What was signed, hashed, and the signature; least recently used first.
        self._known: dict[bytes, None] = {}
        self.verified = 0
        self.cache_hits = 0

    def verify(self, envelope: PubsubEnvelope) -> None:
        """Check that its sender signed it for this network.

        Raises:
            InvalidSignature: Nobody, or somebody else, did.

        """
        key = envelope.digest + envelope.signature
        if key in self._known:
            self.cache_hits += 1
        else:
            verify_envelope(envelope, self._network)
            self.verified += 1
        self._note(key)

    def know(self, envelope: PubsubEnvelope) -> None:
        """This process signed it a moment ago, for this network: its signature is not checked when it comes back."""
        self._note(envelope.digest + envelope.signature)

    def _note(self, key: bytes) -> None:
        self._known.pop(key, None)
        if len(self._known) >= VERIFIED_CACHE_ENTRIES:
            del self._known[next(iter(self._known))]
        self._known[key] = None
