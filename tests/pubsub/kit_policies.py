"""A public topic with an owner, and the policies that its owner signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.pubsub.kit_host import WALL
from tests.vectors.golden import NETWORK
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record
from yzdht.crypto.signing import KeySigner
from yzdht.crypto.topic_policy import owned_topic, policy_tag, topic_tag
from yzdht.limits import DAY_S
from yzdht.wire.slot import Kind
from yzdht.wire.topic_policy import PolicyPayload, encode_topic_policy


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import PublicKey, Tag


class OwnedTopic:
    """One, of a new owner."""

    def __init__(self, name: str = "news", key: PrivateKey | None = None) -> None:
        self.key = key or PrivateKey.generate()
        self.tag = topic_tag(NETWORK, name)
        self.topic = owned_topic(NETWORK, self.owner, self.tag)

    @property
    def owner(self) -> PublicKey:
        return self.key.public_key

    def policy(
        self, seq: int = 1, writers: Iterable[PublicKey] = (), *, created: float = WALL, life_s: int = DAY_S
    ) -> bytes:
        payload = encode_topic_policy(PolicyPayload(self.tag, tuple(sorted(writers))))
        return self.record(payload, seq, created=created, life_s=life_s)

    def record(
        self,
        payload: bytes,
        seq: int = 1,
        *,
        created: float = WALL,
        life_s: int = DAY_S,
        tag: Tag | None = None,
        kind: Kind = Kind.MUTABLE,
    ) -> bytes:
        """What the owner can sign, a policy or not."""
        lies_under = policy_tag(NETWORK, self.tag) if tag is None else tag
        draft = RecordDraft(kind, int(created), int(created) + life_s, seq, lies_under)
        return seal_record(draft, payload, Public(), Author(KeySigner(self.key), b"", NETWORK), b"")
