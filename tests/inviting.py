"""Homes that invite each other, over replicas that a test holds in its hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tests.group_homes import Holders
from tests.test_records import NET, WALL
from yzdht.access import Reading
from yzdht.crypto.groups import group_id_of, state_tag
from yzdht.crypto.invite_ledger import MemoryLedger
from yzdht.crypto.naming import mutable_target
from yzdht.invitee import Waiting
from yzdht.invites import Invites, Offer
from yzdht.letters import Place
from yzdht.records import Keeps, Records
from yzdht.store.entropy import SystemRng
from yzdht.store.groups import SqliteGroups
from yzdht.store.keyfile import Identity
from yzdht.store.marks import MemoryMarks
from yzdht.wire.group_state import Member, Role
from yzdht.wire.invite_link import decode_invite_link
from yzdht.wire.token import decode_redemption


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from yzdht.access import Writing
    from yzdht.ids import GroupId, PublicKey, Target
    from yzdht.invitee import Joined
    from yzdht.ports import InviteLedger, Now, Registrar
    from yzdht.wire.rpc import RedeemAnswer

T = TypeVar("T")
HOUR = 3_600


class Town(Holders):
    """Replicas, and who can be reached by a session."""

    def __init__(self) -> None:
        super().__init__()
        self.online: dict[PublicKey, Registrar] = {}


class Way:
    """One home's way into the town."""

    def __init__(self, town: Town, own: PublicKey) -> None:
        self._town = town
        self._own = own
        self.urls: list[str] = []
        self.unanswered: list[Target] = []

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        for target in targets:
            if target in self.unanswered:
                self.unanswered.remove(target)
                return [[Reading((), 1, 4)] for _ in targets]
        return await self._town.read(targets, paths)

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        return await self._town.write(target, record, cas, keep_until)

    async def redeem(self, issuer: PublicKey, redemption: bytes, urls: Sequence[str]) -> RedeemAnswer | None:
        self.urls = list(urls)
        registrar = self._town.online.get(issuer)
        if registrar is None:
            return None
        return await registrar.redeem(decode_redemption(redemption), self._own)

    def start(self, work: Coroutine[None, None, None]) -> None:
        self._town.start(work)

    async def compute(self, work: Callable[[], T]) -> T:
        return await self._town.compute(work)

    def now(self) -> Now:
        return self._town.now()

    def count(self, name: str) -> None:
        self._town.count(name)


class Host:
    """One identity with one home that issues invites and joins by them."""

    def __init__(self, town: Town, ledger: InviteLedger | None = None) -> None:
        self.identity = Identity.generate(wall_now=WALL)
        self.town = town
        self.marks = MemoryMarks()
        self._shelf = SqliteGroups(None)
        self.ledger: InviteLedger = MemoryLedger() if ledger is None else ledger
        self.way = Way(town, self.key)
        self.invites = self.restarted()

    def restarted(self) -> Invites:
        """As another process of the same home has it."""
        self.records = Records(self.identity, NET, self.way, Keeps(self.marks, self._shelf), SystemRng())
        self.groups = self.records.groups
        place = Place(NET, self.way, self.records._slots, self.marks, SystemRng())
        self.invites = Invites(self.records.people, place, self.ledger, self.groups)
        self.groups.on_removed = self._take_links_back
        return self.invites

    def _take_links_back(self, group_id: GroupId, member: PublicKey) -> None:
        self.invites.forget_member(group_id, member)

    @property
    def key(self) -> PublicKey:
        return self.identity.public_key

    @property
    def kem(self) -> PublicKey:
        return self.identity.kem[0].key.public_key

    def member(self, role: Role = Role.MEMBER) -> Member:
        """Itself, as a group lists it."""
        return Member(self.key, self.kem, role)

    async def founds(self, name: str = "family") -> PublicKey:
        """Make a group; its key."""
        return (await self.groups.create(name)).group_key

    async def members(self, name: str = "family") -> dict[PublicKey, Member]:
        """Who is in a group, as nodes show it now."""
        return {member.public_key: member for member in (await self.groups.info(name)).members}

    def state_target(self, name: str = "family") -> Target:
        """Where the states of a group are."""
        return mutable_target(NET, key := self.groups.group_key(name), state_tag(group_id_of(key, NET), NET))

    def goes_online(self) -> None:
        """Whoever holds the network's key, or a group's, can be asked by a session with it."""
        for issuer in (self.key, *map(self.groups.group_key, self.groups.names())):
            self.town.online[issuer] = self.invites.registrar

    async def join(
        self, link: str, name: str = "family", while_waiting: Callable[[], Awaitable[object]] | None = None
    ) -> Joined:
        """Join, and let time pass, or something happen, at every look for an answer."""

        async def pause(seconds: float) -> None:
            self.town.wall += seconds
            if while_waiting is not None:
                await while_waiting()

        return await self.invites.join(decode_invite_link(link), name, Waiting(10.0, 3.0, pause))

    async def uses(self) -> list[int]:
        return [standing.uses for standing in self.ledger.standings() if standing.row.uses_max]


async def link_of(host: Host, group: str | None = "family", offer: Offer | None = None) -> str:
    """A new link to a group, or to the network."""
    offer = offer or Offer()
    if group is None:
        return (await host.invites.invite_network(offer)).link
    return (await host.invites.invite_group(group, offer)).link
