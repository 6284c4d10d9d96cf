"""The calls that a node and a client offer alike."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from yzdht.crypto.primitives import check_public_key
from yzdht.errors import InvalidKey, NotFound, UsageError
from yzdht.ids import ID_BYTES
from yzdht.limits import (
    PUBLISH_DEADLINE_S,
    PUBLISH_TIMEOUT_S_MAX,
    READ_PATHS_MAX,
    SUBSCRIPTION_MESSAGES_DEFAULT,
)
from yzdht.readers import AnyReaders, Group, Public, Self, To, check_passphrase
from yzdht.records import DEFAULT_TTL_S, Records, Value
from yzdht.subscription import Subscription, Terms


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.groups import Groups
    from yzdht.ids import Address, PublicKey
    from yzdht.pubsub.events import Heard, Message
    from yzdht.slot_writer import Receipt
    from yzdht.subscription import Listening, Overflow, Since
    from yzdht.topics import Published, Topics


class _Missing(Enum):
    RAISE = auto()


_T = TypeVar("_T")


def _check_store(value: object, readers: object, ttl: object, if_seq: object) -> None:
    """Refuse what types alone would have refused; a value of None would be a deletion further down."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise UsageError(f"a value is bytes, not {type(value).__name__}", hint="encode text: text.encode()")
    if not isinstance(readers, AnyReaders):
        raise UsageError("readers is Self(), Public(), To([…]), Group(…) or Passphrase(…)")
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise UsageError("a ttl is a number of seconds", hint="for a week: ttl=7 * 86400")
    if if_seq is not None and (isinstance(if_seq, bool) or not isinstance(if_seq, int)):
        raise UsageError("if_seq is a sequence number, or 0 for nothing stored")


def _check_read(disjoint: object, passphrase: object = None) -> None:
    is_number = isinstance(disjoint, int) and not isinstance(disjoint, bool)
    if not (is_number and disjoint in range(1, 1 + READ_PATHS_MAX)):
        raise UsageError("disjoint is a number of paths, 1 to 3", hint="disjoint=3 for what matters most")
    if passphrase is not None:
        check_passphrase(passphrase)


def _check_address(address: object) -> None:
    if not isinstance(address, bytes) or len(address) != ID_BYTES:
        raise UsageError("an address has 32 bytes", hint="put_bytes returns it")


def _check_channel(group: object, owner: object) -> None:
    if group is not None and not isinstance(group, str):
        raise UsageError("a group is given by its name, as text", hint='group="team"')
    if owner is not None:
        _check_publisher(owner, "an owner")


def _check_timeout(timeout: object) -> None:
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not (is_number and 0 < float(timeout) <= PUBLISH_TIMEOUT_S_MAX):  # type: ignore[arg-type] # it is a number then
        raise UsageError("a timeout is a number of seconds, up to a day", hint="for a minute: timeout=60")


def _check_publisher(publisher: object, who: str = "a publisher") -> None:
    try:
        check_public_key(publisher if isinstance(publisher, bytes) else b"")
    except InvalidKey:
        raise UsageError(
            f"{who} is a public key of 33 bytes",
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

    def _topics(self) -> tuple[Topics, Listening]:
        """The identity's topics, and what listens to them; raises as `_records`."""
        raise AssertionError("Node and Client say whose topics these are")

    async def publish(
        self,
        topic: str,
        data: bytes,
        *,
        group: str | None = None,
        type: int = 0,  # noqa: A002 - as it is called
        owner: PublicKey | None = None,
        timeout: float = PUBLISH_DEADLINE_S,  # noqa: ASYNC109 - what is tried no more is told by PublishFailed, with figures
    ) -> Published:
        """Publish a message; those of a topic have their places in the order of the calls.

        Args:
            topic: 1 to 1,024 bytes of UTF-8.
            data: At most 65,335 bytes.
            group: What this home calls the group that it is for; for everybody, and signed, when None.
            type: The application's, 0 to 255.
            owner: Whose public topic it is: the owner writes to it, and whom `set_topic_policy` lists. Everybody's when None.
            timeout: Seconds for which hosts that are away are tried again, more than 0, a day at the most.

        Returns:
            Which place it has, and how many of how many hosts have it on disk: a majority.

        Raises:
            UsageError: Not connected, or an argument is out of range.
            NoSuchGroup: This home knows no such group.
            NotAMember: This identity was removed from it.
            NotAWriter: The owner of the topic does not list this identity.
            PublishFailed: No majority of the hosts has it, as far as is known; it may arrive all the same.
            NoNode: No node could be reached, or none that hosts topics.
            TooManyMessages: Too many are on their way; nothing began.
            DecryptionFailed, StoreError: What this home keeps of the group cannot be read.

        """
        _check_channel(group, owner)
        _check_timeout(timeout)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise UsageError(
                f"a message is bytes, not {data.__class__.__name__}", hint="encode text: text.encode()"
            )
        topics, _ = self._topics()
        return await topics.publish(topic, bytes(data), group, type, owner, timeout)

    async def set_topic_policy(self, topic: str, *, writers: Iterable[PublicKey] = ()) -> Receipt:
        """Say who writes to this identity's own public topic beside it; it replaces what was said before.

        Args:
            topic: 1 to 1,024 bytes of UTF-8.
            writers: At most 256 public keys of 33 bytes; nobody when empty.

        Returns:
            What was stored, and by how many nodes.

        Raises:
            UsageError: Not connected, or an argument is out of range.
            WriteQuorumFailed: Too few nodes took it.
            Conflict: It was changed from elsewhere at the same time.
            NoNode: No node could be reached.

        """
        writers = list(writers)
        for writer in writers:
            _check_publisher(writer, "a writer")
        topics, _ = self._topics()
        return await topics.set_policy(topic, writers)

    @overload
    def subscribe(
        self,
        topic: str,
        *,
        group: str | None = None,
        since: Since = None,
        overflow: Overflow = "wait",
        size: int = SUBSCRIPTION_MESSAGES_DEFAULT,
        gaps: Literal[False] = False,
        owner: PublicKey | None = None,
    ) -> Subscription[Message]: ...

    @overload
    def subscribe(
        self,
        topic: str,
        *,
        group: str | None = None,
        since: Since = None,
        overflow: Overflow = "wait",
        size: int = SUBSCRIPTION_MESSAGES_DEFAULT,
        gaps: bool,
        owner: PublicKey | None = None,
    ) -> Subscription[Heard]: ...

    def subscribe(  # noqa: PLR0913 - as it is called
        self,
        topic: str,
        *,
        group: str | None = None,
        since: Since = None,
        overflow: Overflow = "wait",
        size: int = SUBSCRIPTION_MESSAGES_DEFAULT,
        gaps: bool = False,
        owner: PublicKey | None = None,
    ) -> Subscription[Heard]:
        """Hear what is published: `async with dht.subscribe(topic) as messages: async for message in messages`.

        Args:
            topic: 1 to 1,024 bytes of UTF-8.
            group: What this home calls the group; a public topic when None.
            since: Seconds before now from which the history is wanted; the cursor of an earlier subscription, to go on
                where it was; None for what is published from now on.
            overflow: When `size` messages wait: "wait" lets the others wait at the hosts, "drop" drops the oldest, "raise" ends.
            size: 1 to 100,000.
            gaps: True to be told of what is missing, too: Gap, then Filled or Lost; and of what came and is not told: Refused.
            owner: Whose public topic it is: messages of others than its owner, and whom it lists, are not told.

        Returns:
            The subscription; `async with` begins it, `async for` takes from it, and both raise what they say.

        Raises:
            UsageError: Not connected, or an argument is out of range.

        """
        _check_channel(group, owner)
        topics, listening = self._topics()
        return Subscription(topics, listening, topic, Terms(group, since, overflow, size, gaps, owner))

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
        group: str | None = None,
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
        group: str | None = None,
    ) -> Value | _T: ...

    async def get(
        self,
        name: str,
        *,
        publisher: PublicKey | None = None,
        default: object = _Missing.RAISE,
        disjoint: int = 1,
        passphrase: str | None = None,
        group: str | None = None,
    ) -> object:
        """Read the newest value under a name; see `Records.get` and `Records.get_from_group` for errors.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            publisher: Whose, public or for named people; None for one's own.
            default: Returned instead of raising NotFound.
            disjoint: Paths through the network that share no node, 1 to 3. Nodes that hide a value or show an old one
                must then lie on every path; it costs as many times the messages.
            passphrase: Of a value that is under one.
            group: What this home calls the group whose name it is; then whoever of it wrote last, or `publisher`.

        """
        if publisher is not None:
            _check_publisher(publisher)
        _check_read(disjoint, passphrase)
        records = self._records()
        try:
            if group is not None:
                return await records.get_from_group(Group(group).name, name, publisher, disjoint)
            return await records.get(name, publisher, disjoint, passphrase)
        except NotFound:
            if default is _Missing.RAISE:
                raise
            return default

    async def store_entry(
        self,
        name: str,
        value: bytes,
        *,
        readers: Public | To | None = None,
        ttl: float = DEFAULT_TTL_S,
        if_seq: int | None = None,
    ) -> Receipt:
        """Store one's own entry under a name where everybody has one; see `Records.store_entry` for errors.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            value: At most 61,436 bytes.
            readers: `Public()` when None, or `To([…])`.
            ttl: Seconds it lives, 1 to 30 days.
            if_seq: Store only if this seq of one's own is stored now, 0 for nothing.

        """
        readers = Public() if readers is None else readers
        _check_store(value, readers, ttl, if_seq)
        if not isinstance(readers, Public | To):
            raise UsageError("an entry is for others: Public() or To([…])", hint="store() keeps one's own")
        return await self._records().store_entry(name, bytes(value), readers, ttl, if_seq)

    async def get_entries(self, name: str, *, disjoint: int = 1) -> list[Value]:
        """The entries under a name that this identity can read, newest first; see `Records.get_entries` for errors.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            disjoint: As of `get`.

        """
        _check_read(disjoint)
        return await self._records().get_entries(name, disjoint)

    async def delete_entry(self, name: str) -> Receipt:
        """Delete one's own entry under a name; see `Records.delete_entry` for errors."""
        return await self._records().delete_entry(name)

    async def put_bytes(
        self, value: bytes, *, readers: AnyReaders | None = None, keep: float = DEFAULT_TTL_S
    ) -> Address:
        """Store a value that never changes; returns its address, 32 bytes. See `Records.put_bytes` for errors.

        Args:
            value: At most 61,436 bytes.
            readers: Who can read it, given the address; `Self()` when None.
            keep: Seconds that holders keep it, 1 to 30 days.

        """
        readers = Self() if readers is None else readers
        _check_store(value, readers, keep, None)
        return await self._records().put_bytes(bytes(value), readers, keep)

    async def get_bytes(self, address: Address, *, disjoint: int = 1, passphrase: str | None = None) -> bytes:
        """Read the value at an address; see `Records.get_bytes` for errors.

        Args:
            address: 32 bytes, as `put_bytes` returned it.
            disjoint: As of `get`.
            passphrase: Of a value that is under one.

        """
        _check_address(address)
        _check_read(disjoint, passphrase)
        return await self._records().get_bytes(address, disjoint, passphrase)

    async def delete(self, name: str, *, group: str | None = None) -> list[Receipt]:
        """Delete what is stored under a name, private and public; see `Records.delete` for errors.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            group: What this home calls the group whose name it is; then what any member stored there.

        """
        if group is not None:
            return [await self._records().delete_from_group(Group(group).name, name)]
        return await self._records().delete(name)

    @property
    def groups(self) -> Groups:
        """The groups of this identity: made, joined and changed."""
        return self._records().groups
