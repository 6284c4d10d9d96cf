"""yzdht: a Kademlia DHT whose records are sealed and signed end to end.

The public API; see README.md for five lines of it.
"""

from yzdht.client import Client
from yzdht.crypto.sealing import Public, Self
from yzdht.errors import (
    CasMismatch,
    ConfigError,
    Conflict,
    CryptoError,
    DataLocked,
    InvalidSignature,
    LookupFailed,
    NoNode,
    NotAReader,
    NotFound,
    ReadQuorumFailed,
    StaleRecord,
    StoreError,
    TransportError,
    UsageError,
    ValueTooLarge,
    WireError,
    WriteQuorumFailed,
    YzError,
)
from yzdht.node import Node
from yzdht.records import Origin, Receipt, Value
from yzdht.store.keyfile import Identity


__all__ = [
    "CasMismatch",
    "Client",
    "ConfigError",
    "Conflict",
    "CryptoError",
    "DataLocked",
    "Identity",
    "InvalidSignature",
    "LookupFailed",
    "NoNode",
    "Node",
    "NotAReader",
    "NotFound",
    "Origin",
    "Public",
    "ReadQuorumFailed",
    "Receipt",
    "Self",
    "StaleRecord",
    "StoreError",
    "TransportError",
    "UsageError",
    "Value",
    "ValueTooLarge",
    "WireError",
    "WriteQuorumFailed",
    "YzError",
]
