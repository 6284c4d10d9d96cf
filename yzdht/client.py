"""A client: stores and reads through nodes that it does not trust.

It takes part in no routing. It asks two nodes where two can be reached and takes the newest of what verifies; a write
goes through one, and through the next with identical bytes if that one fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from yzdht.api import DhtCalls
from yzdht.certificates import trust_in
from yzdht.client_nodes import Club, Nodes
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.errors import (
    IdentityMoved,
    IdentityRevoked,
    PersonMoved,
    PublisherRevoked,
    UsageError,
)
from yzdht.invites import Invites
from yzdht.letters import Place
from yzdht.limits import (
    GOODBYE_S_MAX,
)
from yzdht.records import Records
from yzdht.sessions import Clock, SystemClock
from yzdht.sessions.membership import ClosedNetwork
from yzdht.sessions.world import Papers
from yzdht.store import memberships
from yzdht.store.entropy import SystemRng
from yzdht.store.home import Home
from yzdht.store.keyfile import Identity
from yzdht.topics import Topics
from yzdht.wire.address import parse_url
from yzdht.wire.frame import Caps
from yzdht.wire.invite_link import decode_invite_link
from yzdht.wire.token import TokenType, encode_token


if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from yzdht.client_nodes import Pinged
    from yzdht.ids import GroupId, PublicKey
    from yzdht.store.keyfile import AnyPath
    from yzdht.telemetry import Counters
    from yzdht.topic_pump import TopicPump


_HEEDED = (PublisherRevoked, PersonMoved, IdentityRevoked, IdentityMoved)
"""Errors that say how an identity ended: what says so is being stored again, which is let end."""


class Client(DhtCalls):
    """Stores and reads through nodes.

    Use it as `async with Client.connect(url, …) as dht:`.
    """

    def __init__(  # noqa: PLR0913 - what `connect` takes, by keyword, and the clock
        self,
        urls: Sequence[str],
        *,
        identity: Identity | None = None,
        home: AnyPath | None = None,
        passphrase: str | None = None,
        network: str = "main",
        network_key: bytes | None = None,
        invite: str | None = None,
        ca: AnyPath | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not urls:
            raise UsageError("a client needs the address of a node", hint="try ws://127.0.0.1:8083")
        self._urls = tuple(parse_url(url).text for url in urls)
        self._identity = identity
        self._home_path = home
        self._passphrase = passphrase
        self._network = network_id(network)
        self._network_key = network_key
        self._invite = None if invite is None else decode_invite_link(invite).token
        self._trust = trust_in(None if ca is None else Path(ca))
        self._clock = clock or SystemClock()
        self._home: Home | None = None
        self._nodes: Nodes | None = None
        self._own_records: Records | None = None
        self._own_invites: Invites | None = None
        self._own_topics: Topics | None = None

    @classmethod
    def connect(  # noqa: PLR0913 - what a client can be told, by keyword
        cls,
        *urls: str,
        identity: Identity | None = None,
        home: AnyPath | None = None,
        passphrase: str | None = None,
        network: str = "main",
        network_key: bytes | None = None,
        invite: str | None = None,
        ca: AnyPath | None = None,
    ) -> Client:
        """A client of the nodes at these addresses; several fail over.

        Args:
            urls: `tcp://`, `ws://` or `wss://` addresses.
            identity: Who reads and writes; the home's when None, a new one in memory without a home.
            home: Folder of the identity and of what it has seen; None remembers nothing after the end.
            passphrase: Opens the home's identity.
            network: Name of the network.
            network_key: 32 bytes, for a private network.
            invite: Link of an invite to a closed network, to be let in as a guest; a membership in the home needs none.
            ca: File of the authorities whose certificates count when wss is dialled; None for the system's.

        Raises:
            UsageError: An argument does not parse.
            CertificateRefused: The file of authorities cannot be used.

        """
        return cls(
            urls,
            identity=identity,
            home=home,
            passphrase=passphrase,
            network=network,
            network_key=network_key,
            invite=invite,
            ca=ca,
        )

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            NoNode: No node could be reached.
            StoreError: The home cannot be opened.

        """
        home = Home.open(self._home_path, identity=self._identity, passphrase=self._passphrase)
        try:
            nodes = await self._connected(home)
        except BaseException:
            home.close()
            raise
        self._home, self._nodes = home, nodes
        self._own_records = Records(home.identity, self._network, nodes, home.keeps, SystemRng())
        self._own_records.groups.on_removed = self._take_links_back
        self._own_topics = Topics(
            home.identity,
            self._network,
            self._own_records.known_groups,
            nodes.topics,
            SystemRng(),
            self._own_records.topic_policies(nodes.topics.learn_policy),
        )
        self._own_topics.heed(self._own_records.moves)
        return self

    async def _connected(self, home: Home) -> Nodes:
        caps = Caps.ALWAYS | Caps.CLIENT
        credentials = Credentials(home.identity.signer, self._network, caps, self._network_key)
        nodes = Nodes(self._urls, credentials, self._clock, self._club(home), self._trust)
        try:
            await nodes.connect()
        except BaseException:
            await nodes.close()
            raise
        return nodes

    def _club(self, home: Home) -> Club:
        """What this client shows: the invite that it was given, else the membership in its home."""
        token = self._invite
        if token is not None and token.type is TokenType.NETWORK:
            return Club(Papers(invite=encode_token(token)), ClosedNetwork(self._network, token.issuer))
        kept = None if home.path is None else memberships.read(home.path, self._network)
        if kept is None or kept.subject != home.identity.node_id:
            return Club(Papers(), None)
        return Club(Papers(membership=encode_token(kept)), ClosedNetwork(self._network, kept.issuer))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._nodes is not None:
            is_in_peace = kind is None or issubclass(kind, _HEEDED)
            await self._nodes.close(GOODBYE_S_MAX if is_in_peace else 0.0)
        if self._home is not None:
            self._home.close()
        self._home = self._nodes = self._own_records = self._own_invites = self._own_topics = None

    @property
    def identity(self) -> Identity:
        """Who reads and writes, with the keys of the present."""
        identity = self._records().identity
        assert isinstance(identity, Identity)  # it was one when this client connected
        return identity

    @property
    def counters(self) -> Counters:
        """What this client counted: rejected records, failed dials."""
        if self._nodes is None:
            raise _not_connected()
        return self._nodes.counters

    @property
    def records(self) -> Records:
        """Reads and writes by slot, and identity records."""
        return self._records()

    @property
    def invites(self) -> Invites:
        """Invites issued, redeemed and joined by."""
        if self._own_invites is None:
            records = self._records()
            assert self._home is not None
            assert self._nodes is not None
            place = Place(self._network, self._nodes, records._slots, self._home.marks, SystemRng())
            self._own_invites = Invites(records.people, place, self._home.ledger, records.groups)
        return self._own_invites

    def _take_links_back(self, group_id: GroupId, member: PublicKey) -> None:
        """Whoever was removed from a group knows the links by which they came."""
        self.invites.forget_member(group_id, member)

    def _records(self) -> Records:
        if self._own_records is None:
            raise _not_connected()
        return self._own_records

    def _topics(self) -> tuple[Topics, TopicPump]:
        if self._own_topics is None or self._nodes is None:
            raise _not_connected()
        return self._own_topics, self._nodes.topics

    async def ping(self) -> list[Pinged]:
        """Ask every node where it sees this client."""
        if self._nodes is None:
            raise _not_connected()
        return await self._nodes.ping()


def _not_connected() -> UsageError:
    return UsageError("the client is not connected", hint="use: async with Client.connect(url) as dht")
