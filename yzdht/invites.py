"""Invites of one home in one network: issued, counted, redeemed, answered, taken back (PROTOCOL.md section 12).

Owns what an issuer does, and in which order: a token is in the ledger before its link is handed out, a use before anybody is
let in. So whatever ends in between is made good when the joiner asks again. How one joins is invitee.py's. Reaches the
network through `Place`, the disk through the ledger, groups through `InvitingGroups`; reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.crypto.invite import Bearer, Named, Terms, issue
from yzdht.crypto.invite_ledger import is_forgettable, is_membership, revoked_memberships, row_of
from yzdht.crypto.naming import mutable_target, node_id_of, revoked_tag
from yzdht.crypto.sealing import Public
from yzdht.errors import (
    NoSuchInvite,
    UsageError,
    WireError,
)
from yzdht.ids import NodeId, TokenId
from yzdht.invitee import Invitee
from yzdht.letters import send
from yzdht.limits import (
    INVITE_ID_DIGITS_MIN,
    INVITE_LIFE_S_DEFAULT,
    INVITE_LIFE_S_MAX,
    REVOKED_TOKENS_MAX,
)
from yzdht.registrar import HomeRegistrar
from yzdht.slots import Slot
from yzdht.wire.group_state import Role
from yzdht.wire.invite_link import INVITE_LINK_BASE, decode_invite_link, encode_invite_link
from yzdht.wire.revocation import decode_revoked, encode_revoked
from yzdht.wire.token import (
    ROLE_MEMBER,
    SECRET_BYTES,
    TOKEN_ID_BYTES,
    TokenType,
)


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.crypto.invite import Office
    from yzdht.ids import GroupId, PublicKey
    from yzdht.invitee import Joined, Waiting
    from yzdht.letters import Place
    from yzdht.people import People
    from yzdht.ports import InviteLedger, InviteRow, InviteStanding, Rng, Signer
    from yzdht.registrar import Authority, InvitingGroups, Served
    from yzdht.wire.invite_link import InviteLink
    from yzdht.wire.record import Record
    from yzdht.wire.token import Token


@dataclass(frozen=True, slots=True)
class Offer:
    """What an invite is to admit to; where it leads to is said apart.

    Attributes:
        uses_max: Identities that may redeem it, 1 to 65,535.
        life_s: Seconds until it ends, 1 to 365 days.
        invitee: The one identity that it is for; None for whoever holds the link.
        is_admin: Whether who joins a group becomes one of its admins.
        has_history: Whether they read what was written before, and so may then every member.
        base: What stands before the `#` of the link.

    """

    uses_max: int = 1
    life_s: int = INVITE_LIFE_S_DEFAULT
    invitee: PublicKey | None = None
    is_admin: bool = False
    has_history: bool = False
    base: str = INVITE_LINK_BASE


@dataclass(frozen=True, slots=True)
class Issued:
    """A new invite.

    Attributes:
        link: To be handed to who is invited; it is not kept, and of a bearer invite it is the key.
        token: What it carries.

    """

    link: str = field(repr=False)
    token: Token


class Invites:
    """What one home issues, redeems and joins in one network.

    Args:
        people: Whose home it is.
        place: The network.
        ledger: What was issued, and who redeemed it.
        groups: Those of this identity; None where there are none.

    Attributes:
        registrar: Redeems what was issued here, for a node that is asked to.

    """

    def __init__(
        self, people: People, place: Place, ledger: InviteLedger, groups: InvitingGroups | None = None
    ) -> None:
        self._people = people
        self._place = place
        self._ledger = ledger
        self._groups = groups
        self.registrar = HomeRegistrar(people, place, ledger, groups)

    # Issuing

    async def invite_network(self, offer: Offer) -> Issued:
        """Invite to the closed network of this identity, that is of nodes with `--invite-only` and its key.

        Raises:
            UsageError: A number is out of range, or the offer contradicts itself.
            LedgerFull: There are too many open invites.
            LookupFailed: The keys that a joiner seals to could not be published.
            StoreError: The ledger cannot be written.

        """
        if offer.is_admin or offer.has_history:
            raise UsageError(
                "a network has neither admins nor a history", hint="leave --admin and --history out"
            )
        return await self._issue(self.registrar.network_authority(), offer)

    async def invite_group(self, name: str, offer: Offer) -> Issued:
        """Invite to a group; raises as `invite_network`.

        Raises:
            NotFound: There is no such group.
            GroupChangeRefused: This identity is no admin of it.

        """
        if self._groups is None:
            raise UsageError("there are no groups here")
        return await self._issue(self.registrar.group_authority(name, self._groups.key_of(name)), offer)

    async def _issue(self, authority: Authority, offer: Offer) -> Issued:
        start = int(self._place.access.now().wall)
        issued = make_invite(
            authority.people.identity.signer, authority.office, offer, self._place.rng, start
        )
        await authority.people.publish()  # whoever joins while this home is away seals to these keys
        self.registrar.enter(row_of(issued.token, start, has_history=offer.has_history))
        return issued

    # Listed, and taken back

    def standings(self) -> list[InviteStanding]:
        """Every invite and membership of the ledger, the newest first."""
        return self._ledger.standings()

    async def revoke(self, text: str) -> InviteRow:
        """Take an invite or a membership back.

        Who was let into a group by it stays there. A membership of a closed network ends as soon as its nodes have read
        the list of revocations, which is written here; see `take_back`.

        Args:
            text: The whole link, or the first digits of the id.

        Raises:
            NoSuchInvite: The ledger holds no such invite.
            UsageError: Several begin like that.
            LookupFailed: The list could not be written; `serve_once` makes up for it.

        """
        standing = find_invite(self._ledger.standings(), text)
        row, _ = take_back(self._ledger, standing.row, self._place.access.now().wall)
        if is_membership(row):
            await self.publish_revocations()
        return row

    def forget_member(self, group_id: GroupId, member: PublicKey) -> list[TokenId]:
        """Take the invites to a group back by which somebody came who was removed: they know the links."""
        wall = self._place.access.now().wall
        revoked = []
        for token_id in self._ledger.redeemed_by(node_id_of(member)):
            standing = self._ledger.standing(token_id)
            if standing is not None and standing.row.scope == group_id:
                self._ledger.revoke(token_id, wall)
                revoked.append(token_id)
        return revoked

    async def publish_revocations(self) -> None:
        """Write the list of revoked memberships of this identity's network; see `publish_revocations`."""
        await publish_revocations(self._place, self._people.identity.signer, self._ledger)

    async def serve_once(self) -> list[Served]:
        """Look for redemptions that were left while this home was away, and answer them.

        Returns:
            What was answered, and what was put off.

        Raises:
            LookupFailed: The issuer's keys, or its list of revocations, could not be published.
            NoNode: No node could be reached.
            StoreError: The ledger cannot be read or written.

        """
        served = await self.registrar.serve_once()
        await self.publish_revocations()
        return served

    # Joining

    async def join(self, link: InviteLink, name: str, waiting: Waiting) -> Joined:
        """Redeem an invite, and take up what it admits to; see `Invitee.join`.

        A group that this home knows already keeps its name.

        Raises:
            UsageError: Another group has that name; nothing was redeemed.

        """
        if self._groups is None:
            return await Invitee(self._people, self._place, None).join(link, name, waiting)
        known = {self._groups.group_key(each): each for each in self._groups.names()}
        name = known.get(link.token.issuer, name)
        if name in known.values() and link.token.issuer not in known and link.token.type is TokenType.GROUP:
            raise UsageError(f"another group is called {name!r} here", hint="choose another with --name")
        return await Invitee(self._people, self._place, self._groups.adopt).join(link, name, waiting)


def find_invite(standings: Sequence[InviteStanding], text: str) -> InviteStanding:
    """The invite that a person means.

    Args:
        standings: What the ledger holds.
        text: The whole link, or the first digits of an id in hexadecimal.

    Raises:
        NoSuchInvite: There is none.
        UsageError: Several begin like that, or the text is neither a link nor digits.

    """
    digits = decode_invite_link(text).token.id.hex() if "#" in text else text.strip().lower()
    if len(digits) < INVITE_ID_DIGITS_MIN or not set(digits) <= set("0123456789abcdef"):
        raise UsageError(
            "an invite is named by its link, or by at least the first four digits of its id",
            hint="see: yz invite list",
        )
    found = [s for s in standings if s.row.token_id.hex().startswith(digits)]
    if not found:
        raise NoSuchInvite("the ledger holds no such invite")
    if len(found) > 1:
        raise UsageError(f"{len(found)} invites begin with {digits}", hint="give more digits of its id")
    return found[0]


def take_back(ledger: InviteLedger, row: InviteRow, wall_now: float) -> tuple[InviteRow, list[TokenId]]:
    """Revoke an invite, or a membership and first the invites by which its holder came: they know those links.

    Args:
        ledger: Where it is.
        row: What is taken back.
        wall_now: Unix seconds.

    Returns:
        The row as it is kept, and the invites that were open until now.

    Raises:
        NoSuchInvite, LedgerFull: As of `InviteLedger.revoke`.

    """
    came_by: list[TokenId] = []
    if is_membership(row):
        for token_id in ledger.redeemed_by(NodeId(row.subject)):
            standing = ledger.standing(token_id)
            if standing is None or standing.row.revoked_at is not None:
                continue
            if (standing.row.type, standing.row.issuer) == (row.type, row.issuer):
                ledger.revoke(token_id, wall_now)
                came_by.append(token_id)
    return ledger.revoke(row.token_id, wall_now), came_by


def make_invite(signer: Signer, office: Office, offer: Offer, rng: Rng, start: int) -> Issued:
    """Sign an invite; its link must be handed to nobody before the token is in the ledger.

    Args:
        signer: The issuer's key.
        office: What it invites to.
        offer: On which terms.
        rng: For its id and secret.
        start: Unix seconds from which it is good.

    Raises:
        UsageError: A number is out of range, or the offer contradicts itself.

    """
    if not 1 <= offer.life_s <= INVITE_LIFE_S_MAX:
        raise UsageError("an invite lives between 1 second and 365 days", hint="for a week: --expires 7d")
    role = Role.ADMIN if offer.is_admin else ROLE_MEMBER
    terms = Terms(office.type, start, start + offer.life_s, offer.uses_max, office.scope, role)
    secret = rng.token(SECRET_BYTES)
    invitee = Bearer(secret) if offer.invitee is None else Named(node_id_of(offer.invitee))
    token = issue(signer, office.network, terms, TokenId(rng.token(TOKEN_ID_BYTES)), invitee)
    return Issued(encode_invite_link(token, secret if token.is_bearer else None, offer.base), token)


async def publish_revocations(
    place: Place, signer: Signer, ledger: InviteLedger, *, is_closer: bool = False
) -> None:
    """Write the list of revoked memberships, if nodes show another one or it is half-way to its end.

    Args:
        place: The network.
        signer: The key that closes it.
        ledger: What was revoked.
        is_closer: Whether the key surely closes a network: the ledger may have been lost, and the list has to live on.

    Raises:
        LookupFailed: The list could not be read or written.

    """
    wall = place.access.now().wall
    standings = ledger.standings()
    over = frozenset(s.row.token_id for s in standings if is_forgettable(s.row, wall))
    listed = frozenset(revoked_memberships(standings, signer.public_key)) - over
    tag = revoked_tag(place.network)
    slot = Slot(signer.public_key, tag, mutable_target(place.network, signer.public_key, tag))
    may_be_listed = is_closer or any(standing.row.type is TokenType.NETWORK for standing in standings)
    is_unseen = place.slots.mark(slot) is None
    if is_unseen and not may_be_listed:
        return
    seen = await place.slots.read(slot)
    shown = frozenset[TokenId]() if seen is None else _ids_of(seen.record)
    wanted = listed | (shown - over)  # what a ledger that was lost had revoked stays so
    if len(wanted) > REVOKED_TOKENS_MAX:
        wanted = listed
    if seen is None and is_unseen and not wanted:
        return  # nobody was ever shut out
    if seen is None or wanted != shown or _is_half_over(seen.record, wall):
        await send(place, signer, slot, encode_revoked(wanted), Public())


def _ids_of(record: Record) -> frozenset[TokenId]:
    try:
        return decode_revoked(record.payload)
    except WireError:
        return frozenset()


def _is_half_over(record: Record, wall: float) -> bool:
    return (record.expires - wall) * 2 < record.expires - record.created
