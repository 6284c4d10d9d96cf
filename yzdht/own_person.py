"""The person of a node: whose `store`, `get` and `delete` a node's calls are, and whose invites it redeems.

The home is opened at the first use: most nodes have no person, and a home costs two databases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import UsageError
from yzdht.invites import Invites
from yzdht.letters import Place
from yzdht.records import Records
from yzdht.store.home import Home
from yzdht.topics import Topics


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.crypto.signing import RecordChecks
    from yzdht.ids import GroupId, NetworkId, PublicKey, TopicId
    from yzdht.own_access import OwnAccess
    from yzdht.ports import Rng
    from yzdht.store.keyfile import AnyPath, Identity
    from yzdht.topics import TopicAccess
    from yzdht.wire.rpc import RedeemAnswer
    from yzdht.wire.token import Redemption


class Whose(NamedTuple):
    """Who the person is.

    Attributes:
        identity: Used instead of the home's; None for that.
        home: Folder of the identity and of what it has seen; None keeps everything in memory.

    """

    identity: Identity | None
    home: AnyPath | None

    @property
    def is_anybody(self) -> bool:
        """False if nobody was named."""
        return self.identity is not None or self.home is not None


class OwnPerson:
    """One person, through one node.

    Args:
        whose: Who it is.
        network: NET.
        access: The node's way to the replicas.
        rng: For ids, secrets, salts.
        checks: Verifies records.

    """

    def __init__(
        self, whose: Whose, network: NetworkId, access: OwnAccess, rng: Rng, checks: RecordChecks
    ) -> None:
        self._whose = whose
        self._network = network
        self._access = access
        self._rng = rng
        self._checks = checks
        self._home: Home | None = None
        self._records: Records | None = None
        self._invites: Invites | None = None
        self._topics: Topics | None = None

    def records(self, *, may_be_made: bool) -> Records:
        """Its reads and writes.

        Args:
            may_be_made: Whether an identity that ends with the node will do where nobody was named.

        Raises:
            UsageError: Nobody was named.
            StoreError: The home cannot be opened.

        """
        if self._records is None:
            if not self._whose.is_anybody and not may_be_made:
                raise UsageError(
                    "this node has no person to store for",
                    hint="give Node(identity=Identity.load_or_create(path)) or Node(home=FOLDER)",
                )
            self._home = Home.open(self._whose.home, identity=self._whose.identity)
            keeps = self._home.keeps
            self._records = Records(
                self._home.identity, self._network, self._access, keeps, self._rng, self._checks
            )
            self._records.groups.on_removed = self._take_links_back
        return self._records

    def invites(self, *, may_be_made: bool) -> Invites:
        """Its invites; arguments and errors as of `records`."""
        if self._invites is None:
            records = self.records(may_be_made=may_be_made)
            assert self._home is not None
            place = Place(self._network, self._access, records._slots, self._home.marks, self._rng)
            self._invites = Invites(records.people, place, self._home.ledger, records.groups)
        return self._invites

    def topics(self, access: TopicAccess, show: Callable[[TopicId, bytes], None]) -> Topics:
        """Its topics, in this run; its records were opened. `show` is told of policies of topics that were found."""
        if self._topics is None:
            assert self._records is not None
            assert self._home is not None
            groups = self._records.known_groups
            policies = self._records.topic_policies(show)
            self._topics = Topics(self._home.identity, self._network, groups, access, self._rng, policies)
            self._topics.heed(self._records.moves)
        return self._topics

    async def redeem(self, redemption: Redemption, joiner: PublicKey) -> RedeemAnswer:
        """Redeem the invites of this person's groups and closed network; errors as of `ports.Registrar`."""
        return await self.invites(may_be_made=False).registrar.redeem(redemption, joiner)

    def _take_links_back(self, group_id: GroupId, member: PublicKey) -> None:
        """Whoever was removed from a group knows the links by which they came."""
        self.invites(may_be_made=True).forget_member(group_id, member)

    def close(self) -> None:
        """Close the home. Idempotent."""
        if self._home is not None:
            self._home.close()
            self._home = self._records = self._invites = self._topics = None
