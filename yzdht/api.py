"""The calls that a node and a client offer alike."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar, overload

from yzdht.crypto.primitives import check_public_key
from yzdht.errors import InvalidKey, NotFound, UsageError
from yzdht.limits import READ_PATHS_MAX
from yzdht.readers import AnyReaders, Self
from yzdht.records import DEFAULT_TTL_S, Receipt, Records, Value


if TYPE_CHECKING:
    from yzdht.ids import PublicKey


class _Missing(Enum):
    RAISE = auto()


_T = TypeVar("_T")


def _check_store(value: object, readers: object, ttl: object, if_seq: object) -> None:
    """Refuse what types alone would have refused; a value of None would be a deletion further down."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise UsageError(f"a value is bytes, not {type(value).__name__}", hint="encode text: text.encode()")
    if not isinstance(readers, AnyReaders):
        raise UsageError("readers is Self(), Public(), To([…]) or Passphrase(…)")
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise UsageError("a ttl is a number of seconds", hint="for a week: ttl=7 * 86400")
    if if_seq is not None and (isinstance(if_seq, bool) or not isinstance(if_seq, int)):
        raise UsageError("if_seq is a sequence number, or 0 for nothing stored")


def _check_disjoint(disjoint: object) -> None:
    is_number = isinstance(disjoint, int) and not isinstance(disjoint, bool)
    if not (is_number and disjoint in range(1, 1 + READ_PATHS_MAX)):
        raise UsageError("disjoint is a number of paths, 1 to 3", hint="disjoint=3 for what matters most")


def _check_publisher(publisher: object) -> None:
    try:
        check_public_key(publisher if isinstance(publisher, bytes) else b"")
    except InvalidKey:
        raise UsageError(
            "a publisher is a public key of 33 bytes",
            hint="a Receipt or a Value carries it; for a node id: await dht.records.resolve_node_id(node_id)",
        ) from None


class DhtCalls:
    """store, get and delete of one identity; `Node` and `Client` inherit them."""

    def _records(self) -> Records:
        """The identity's reads and writes.

        Raises:
            UsageError: Not connected, or without an identity.

        """
        raise AssertionError("Node and Client say whose records these are")

    async def store(
        self,
        name: str,
        value: bytes,
        *,
        readers: AnyReaders | None = None,
        ttl: float = DEFAULT_TTL_S,
        if_seq: int | None = None,
    ) -> Receipt:
        """Store a value under a name; see `Records.store` for ranges and errors.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            value: At most 61,436 bytes.
            readers: Who can read it; `Self()` when None.
            ttl: Seconds it lives, 1 to 30 days.
            if_seq: Store only if this seq is stored now, 0 for nothing.

        """
        readers = Self() if readers is None else readers
        _check_store(value, readers, ttl, if_seq)
        return await self._records().store(name, bytes(value), readers, ttl, if_seq)

    @overload
    async def get(
        self,
        name: str,
        *,
        publisher: PublicKey | None = None,
        disjoint: int = 1,
        passphrase: str | None = None,
    ) -> Value: ...

    @overload
    async def get(
        self,
        name: str,
        *,
        publisher: PublicKey | None = None,
        default: _T,
        disjoint: int = 1,
        passphrase: str | None = None,
    ) -> Value | _T: ...

    async def get(
        self,
        name: str,
        *,
        publisher: PublicKey | None = None,
        default: object = _Missing.RAISE,
        disjoint: int = 1,
        passphrase: str | None = None,
    ) -> object:
        """Read the newest value under a name; see `Records.get` for errors.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            publisher: Whose, public or for named people; None for one's own.
            default: Returned instead of raising NotFound.
            disjoint: Paths through the network that share no node, 1 to 3. Nodes that hide a value or show an old one
                must then lie on every path; it costs as many times the messages.
            passphrase: Of a value that is under one.

        """
        if publisher is not None:
            _check_publisher(publisher)
        _check_disjoint(disjoint)
        try:
            return await self._records().get(name, publisher, disjoint, passphrase)
        except NotFound:
            if default is _Missing.RAISE:
                raise
            return default

    async def delete(self, name: str) -> list[Receipt]:
        """Delete what is stored under a name, private and public; see `Records.delete` for errors."""
        return await self._records().delete(name)
