"""yzdht: a Kademlia DHT whose records are sealed and signed end to end.

The public API; see README.md for five lines of it. Names are imported when they are first used: `yz --version` must
not wait for the cryptography.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from yzdht.version import VERSION


if TYPE_CHECKING:
    from yzdht.client import Client
    from yzdht.config import Tls
    from yzdht.errors import (
        CasMismatch,
        ConfigError,
        Conflict,
        CryptoError,
        DataLocked,
        DecryptionFailed,
        GroupChangeRefused,
        IdentityMoved,
        IdentityRevoked,
        InvalidSignature,
        KemKeyMissing,
        KeysUnknown,
        KeyTooOld,
        LookupFailed,
        NoNode,
        NoSuchGroup,
        NotAMember,
        NotAReader,
        NotAWriter,
        NotFound,
        PassphraseNeeded,
        PersonMoved,
        PublisherRevoked,
        PublishFailed,
        ReadQuorumFailed,
        StaleRecord,
        StoreError,
        SubscriptionOverflow,
        TooManyMessages,
        TransportError,
        UnknownEpoch,
        UsageError,
        ValueTooLarge,
        WireError,
        WriteQuorumFailed,
        WrongPassphrase,
        YzError,
    )
    from yzdht.groups import GroupInfo, Groups
    from yzdht.ids import MessageId, PublicKey, SendSession
    from yzdht.node import Node
    from yzdht.pubsub.events import Filled, Gap, Heard, LossReason, Lost, Message, RefusalReason, Refused
    from yzdht.readers import Group, Passphrase, Public, Self, To
    from yzdht.records import Origin, Value
    from yzdht.slot_writer import Receipt
    from yzdht.store.keyfile import Identity
    from yzdht.subscription import Overflow, Since, Subscription
    from yzdht.topics import Published
    from yzdht.wire.holdings import Series, Span


__all__ = [
    "CasMismatch",
    "Client",
    "ConfigError",
    "Conflict",
    "CryptoError",
    "DataLocked",
    "DecryptionFailed",
    "Filled",
    "Gap",
    "Group",
    "GroupChangeRefused",
    "GroupInfo",
    "Groups",
    "Heard",
    "Identity",
    "IdentityMoved",
    "IdentityRevoked",
    "InvalidSignature",
    "KemKeyMissing",
    "KeyTooOld",
    "KeysUnknown",
    "LookupFailed",
    "LossReason",
    "Lost",
    "Message",
    "MessageId",
    "NoNode",
    "NoSuchGroup",
    "Node",
    "NotAMember",
    "NotAReader",
    "NotAWriter",
    "NotFound",
    "Origin",
    "Overflow",
    "Passphrase",
    "PassphraseNeeded",
    "PersonMoved",
    "Public",
    "PublicKey",
    "PublishFailed",
    "Published",
    "PublisherRevoked",
    "ReadQuorumFailed",
    "Receipt",
    "RefusalReason",
    "Refused",
    "Self",
    "SendSession",
    "Series",
    "Since",
    "Span",
    "StaleRecord",
    "StoreError",
    "Subscription",
    "SubscriptionOverflow",
    "Tls",
    "To",
    "TooManyMessages",
    "TransportError",
    "UnknownEpoch",
    "UsageError",
    "Value",
    "ValueTooLarge",
    "WireError",
    "WriteQuorumFailed",
    "WrongPassphrase",
    "YzError",
    "__version__",
]

__version__ = VERSION

_ELSEWHERE = {
    "Client": "yzdht.client",
    "Filled": "yzdht.pubsub.events",
    "Gap": "yzdht.pubsub.events",
    "Group": "yzdht.readers",
    "GroupInfo": "yzdht.groups",
    "Groups": "yzdht.groups",
    "Heard": "yzdht.pubsub.events",
    "Identity": "yzdht.store.keyfile",
    "LossReason": "yzdht.pubsub.events",
    "Lost": "yzdht.pubsub.events",
    "Message": "yzdht.pubsub.events",
    "MessageId": "yzdht.ids",
    "Node": "yzdht.node",
    "Origin": "yzdht.records",
    "Overflow": "yzdht.subscription",
    "Passphrase": "yzdht.readers",
    "Public": "yzdht.readers",
    "PublicKey": "yzdht.ids",
    "Published": "yzdht.topics",
    "Receipt": "yzdht.slot_writer",
    "RefusalReason": "yzdht.pubsub.events",
    "Refused": "yzdht.pubsub.events",
    "Self": "yzdht.readers",
    "SendSession": "yzdht.ids",
    "Series": "yzdht.wire.holdings",
    "Since": "yzdht.subscription",
    "Span": "yzdht.wire.holdings",
    "Subscription": "yzdht.subscription",
    "Tls": "yzdht.config",
    "To": "yzdht.readers",
    "Value": "yzdht.records",
}


if not TYPE_CHECKING:  # type checkers would take every name for an attribute

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_ELSEWHERE.get(name, "yzdht.errors")), name)
        globals()[name] = value  # the next use finds it without coming here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
