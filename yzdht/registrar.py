"""Invites redeemed at their issuer: judged, counted, acted on, answered (PROTOCOL.md section 12).

Owns the order in which that happens: a use is in the ledger before anybody is let in, so that whatever ends in between is
made good when the joiner asks again. Reaches the network through `Place`, the disk through the ledger, groups through
`InvitingGroups`; reads no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from yzdht.crypto.groups import group_id_of, group_kem
from yzdht.crypto.identity import STORAGE_SECRET_BYTES, IdentityKeys, KemKey
from yzdht.crypto.invite import Office, issue_membership, judge
from yzdht.crypto.invite_ledger import is_forgettable, row_of
from yzdht.crypto.invite_outcome import Outcome, outcome_of
from yzdht.crypto.naming import node_id_of
from yzdht.errors import (
    AlreadyAMember,
    CryptoError,
    GroupChangeRefused,
    GroupMoved,
    InvalidKey,
    InviteRefused,
    LedgerFull,
    LookupFailed,
    NoNode,
    NotAdmitted,
    NotTheIssuer,
    PersonMoved,
    PublisherRevoked,
    WireError,
)
from yzdht.letters import answer_slot, letter_to, read, redemption_slot, send
from yzdht.limits import (
    ANSWERED_REMEMBERED_MAX,
    INVITE_KEPT_AFTER_S,
    KEM_KEY_LIFE_S,
    MEMBERSHIP_LIFE_S,
    REDEEM_SLOTS_PER_ROUND_MAX,
    REDEMPTIONS_PER_ROUND_MAX,
)
from yzdht.moves import Moves
from yzdht.people import People
from yzdht.slots import publisher_of
from yzdht.wire.group_state import Member, Role
from yzdht.wire.rpc import RedeemAnswer, encode_body
from yzdht.wire.token import (
    TokenType,
    decode_redemption,
    encode_token,
)


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.crypto.primitives import PrivateKey
    from yzdht.ids import NetworkId, NodeId, PublicKey, RecordHash, TokenId
    from yzdht.letters import Place
    from yzdht.ports import InviteLedger, InviteRow, Signer
    from yzdht.wire.record import Record
    from yzdht.wire.token import Redemption, Token


_ANSWERED_BY_RECORD = frozenset(
    {Outcome.ADMITTED, Outcome.UNKNOWN, Outcome.REVOKED, Outcome.USED_UP, Outcome.NOT_ADMITTED}
)
"""Outcomes that only whoever holds the link can bring about: strangers cannot make an issuer write."""


class InvitingGroups(Protocol):
    """What invites ask of this identity's groups."""

    def names(self) -> list[str]:
        """All groups, by the names that this home gives them."""
        ...

    def group_key(self, name: str) -> PublicKey:
        """The public key of a group. Raises NotFound."""
        ...

    def key_of(self, name: str) -> PrivateKey:
        """The private key of a group. Raises NotFound; GroupChangeRefused or GroupMoved where this identity is no admin."""
        ...

    async def add(self, name: str, member: Member, *, history: bool | None = None) -> object:
        """Take somebody in. Raises AlreadyAMember, GroupChangeRefused, LookupFailed."""
        ...

    async def adopt(self, name: str, group_key: PublicKey) -> object:
        """Take up a group whose member this identity is already. Raises NotAReader while it is none."""
        ...


class Served(NamedTuple):
    """One redemption that was looked at.

    Attributes:
        token_id: The invite.
        joiner: Whose redemption it was, 33 bytes.
        outcome: What it came to.

    """

    token_id: TokenId
    joiner: PublicKey
    outcome: Outcome


class Authority(NamedTuple):
    """As whom this home issues and redeems: a group, or the one who closes the network.

    Attributes:
        office: What is redeemed for.
        people: The issuer: its keys, published.
        group: The group's name; None for the network.

    """

    office: Office
    people: People
    group: str | None


class Issuer(NamedTuple):
    """Whoever has the key of a closed network, and what it keeps of that.

    Attributes:
        signer: The key that `--invite-only` names.
        network: NET.
        ledger: What it issued.

    """

    signer: Signer
    network: NetworkId
    ledger: InviteLedger

    def redeem(self, redemption: Redemption, joiner: PublicKey, wall_now: float) -> RedeemAnswer:
        """Judge and count one redemption, and answer it with a membership.

        Args:
            redemption: What a peer sent.
            joiner: Who, as the handshake proved it, or as it signed the record.
            wall_now: Unix seconds.

        Raises:
            StoreError: The ledger cannot be read or written; nothing was counted.

        """
        office = Office(self.network, self.signer.public_key, TokenType.NETWORK)
        try:
            judge(redemption, joiner, office, self.ledger, wall_now)
            membership = self.admit(redemption.token.id, node_id_of(joiner), wall_now)
        except (InviteRefused, InvalidKey) as error:
            return RedeemAnswer(outcome_of(error))
        except LedgerFull:
            return RedeemAnswer(Outcome.NOT_ADMITTED)
        return RedeemAnswer(Outcome.ADMITTED, encode_token(membership))

    def admit(self, invite_id: TokenId, node_id: NodeId, wall_now: float) -> Token:
        """Sign a membership for a year; it is in the ledger when this returns, so that it can be revoked.

        Args:
            invite_id: The invite that was redeemed; a new random id where there was none.
            node_id: The member's.
            wall_now: Unix seconds.

        Raises:
            InviteRevoked: This very membership was revoked.
            LedgerFull: There is no room for it.
            StoreError: The ledger cannot be written.

        """
        times = (int(wall_now), int(wall_now) + MEMBERSHIP_LIFE_S)
        given = issue_membership(self.signer, self.network, invite_id, node_id, times)
        enter(self.ledger, row_of(given, wall_now), wall_now)
        return given


class HomeRegistrar:
    """Redeems the invites that one home issued in one network (`ports.Registrar`).

    Args:
        people: Whose home it is.
        place: The network.
        ledger: What was issued, and who redeemed it.
        groups: Those of this identity; None where there are none.

    """

    def __init__(
        self, people: People, place: Place, ledger: InviteLedger, groups: InvitingGroups | None = None
    ) -> None:
        self._people = people
        self._place = place
        self._ledger = ledger
        self._groups = groups
        self._answered: dict[RecordHash, None] = {}  # redemptions, the one answered first is forgotten first
        self._round = 0

    # Who issues

    def network_authority(self) -> Authority:
        """Invites to the network that this identity closes."""
        office = Office(self._place.network, self._people.identity.public_key, TokenType.NETWORK)
        return Authority(office, self._people, None)

    def group_authority(self, name: str, key: PrivateKey) -> Authority:
        """Invites to a group; `key` is its private one."""
        place = self._place
        keys = group_identity(key, place.access.now().wall)
        moves = Moves(keys, place.network, place.access, place.slots, place.marks)
        people = People(keys, place.network, place.access, place.slots, place.marks, moves)
        scope = group_id_of(key.public_key, place.network)
        return Authority(Office(place.network, key.public_key, TokenType.GROUP, scope), people, name)

    def enter(self, row: InviteRow) -> None:
        """Put a token into the ledger; raises as `enter`."""
        enter(self._ledger, row, self._place.access.now().wall)

    # Redeeming

    async def redeem(self, redemption: Redemption, joiner: PublicKey) -> RedeemAnswer:
        """Judge, count and act (PROTOCOL.md section 12).

        Args:
            redemption: What a peer sent.
            joiner: The peer, as the handshake proved it, or as it signed the record.

        Raises:
            NotTheIssuer: This home does not issue such invites.
            StoreError: The ledger cannot be read or written; nothing was counted.

        """
        return await self._decide(self._authority_of(redemption.token.issuer), redemption, joiner)

    async def _decide(self, authority: Authority, redemption: Redemption, joiner: PublicKey) -> RedeemAnswer:
        wall = self._place.access.now().wall
        if authority.group is None:
            issuer = Issuer(self._people.identity.signer, self._place.network, self._ledger)
            return issuer.redeem(redemption, joiner, wall)
        try:
            admission = judge(redemption, joiner, authority.office, self._ledger, wall)
            member = Member(joiner, admission.kem, Role(redemption.token.role))
            await self._add(authority.group, redemption.token, member)
        except (InviteRefused, InvalidKey) as error:
            return RedeemAnswer(outcome_of(error))
        except (LookupFailed, CryptoError):  # of the group's change: the use stands, and is not counted again
            self._place.access.count("redemptions_put_off")
            return RedeemAnswer(Outcome.LATER)
        return RedeemAnswer(Outcome.ADMITTED)

    async def _add(self, group: str, token: Token, member: Member) -> None:
        assert self._groups is not None
        standing = self._ledger.standing(token.id)
        is_granted = standing is not None and standing.row.has_history
        try:  # who was not granted the past gets what the group gives to everybody
            await self._groups.add(group, member, history=True if is_granted else None)
        except AlreadyAMember:
            return  # the answer to an earlier redemption was lost
        except (GroupChangeRefused, GroupMoved, PersonMoved, PublisherRevoked) as error:
            raise NotAdmitted(str(error)) from error

    def _authority_of(self, issuer: PublicKey) -> Authority:
        """Raises NotTheIssuer for an issuer that this identity is not, and whose key it does not hold."""
        if issuer == self._people.identity.public_key:
            return self.network_authority()
        if self._groups is not None:
            for name in self._groups.names():
                try:
                    if self._groups.group_key(name) == issuer:
                        return self.group_authority(name, self._groups.key_of(name))
                except (GroupChangeRefused, GroupMoved, LookupFailed):
                    continue  # no admin of this one any more
        raise NotTheIssuer("this home does not issue the invites of that key")

    # Redeeming by record

    async def serve_once(self) -> list[Served]:
        """Look for redemptions that were left while this home was away, and answer them.

        Returns:
            What was answered, and what was put off.

        Raises:
            LookupFailed: The issuer's keys could not be published.
            NoNode: No node could be reached.
            StoreError: The ledger cannot be read or written.

        """
        authorities: dict[PublicKey, Authority | None] = {}
        served: list[Served] = []
        for row in self._due():
            if row.issuer not in authorities:
                authorities[row.issuer] = await self._manned(row.issuer)
            authority = authorities[row.issuer]
            if authority is not None:
                served += await self._serve(authority, row)
        return served

    def _due(self) -> Sequence[InviteRow]:
        """Invites that are not over, so many at a time; those of which there are more take turns."""
        wall = self._place.access.now().wall
        rows = [s.row for s in self._ledger.standings() if s.row.uses_max and not is_forgettable(s.row, wall)]
        first = self._round * REDEEM_SLOTS_PER_ROUND_MAX
        if first >= len(rows):
            first = self._round = 0
        self._round += 1
        return rows[first : first + REDEEM_SLOTS_PER_ROUND_MAX]

    async def _manned(self, issuer: PublicKey) -> Authority | None:
        try:
            authority = self._authority_of(issuer)
        except NotTheIssuer:
            return None
        try:
            await authority.people.publish()
        except NoNode:
            raise
        except (LookupFailed, CryptoError):
            if authority.group is None:
                raise
            self._place.access.count("issuers_unpublished")  # another admin's doing: other groups go on
            return None
        return authority

    async def _serve(self, authority: Authority, row: InviteRow) -> list[Served]:
        place = self._place
        slot = redemption_slot(place.network, row.token_id, row.issuer)
        try:
            entries = await place.slots.entries(slot.tag, slot.target)
        except NoNode:
            raise
        except (LookupFailed, CryptoError, WireError):
            place.access.count("redemptions_unread")
            return []
        served = []
        for seen in entries[:REDEMPTIONS_PER_ROUND_MAX]:
            redemption = self._opened(authority, row, seen.record)
            if redemption is not None:
                outcome = await self._settle(authority, redemption, seen.record)
                served.append(Served(row.token_id, publisher_of(seen.record), outcome))
        return served

    def _opened(self, authority: Authority, row: InviteRow, record: Record) -> Redemption | None:
        """A redemption that is not answered yet; None for one that is, and for what is none."""
        answer = answer_slot(self._place.network, row.issuer, row.token_id, publisher_of(record))
        mark = self._place.slots.mark(answer)
        is_answered = (
            mark is not None and mark.seq > record.seq and mark.expires > self._place.access.now().wall
        )
        if is_answered or record.hash in self._answered:
            return None
        try:
            redemption = decode_redemption(read(record, tuple(k.key for k in authority.people.identity.kem)))
        except (CryptoError, WireError):
            self._place.access.count("redemptions_unreadable")
            return None
        return redemption if redemption.token.id == row.token_id else None

    async def _settle(self, authority: Authority, redemption: Redemption, record: Record) -> Outcome:
        place, joiner = self._place, publisher_of(record)
        answer = await self._decide(authority, redemption, joiner)
        outcome = Outcome(answer.outcome)
        if outcome in _ANSWERED_BY_RECORD:
            slot = answer_slot(place.network, authority.office.issuer, redemption.token.id, joiner)
            readers = letter_to(redemption.kem, place.rng)
            try:
                await send(place, authority.people.identity.signer, slot, encode_body(answer), readers)
            except NoNode:
                raise
            except LookupFailed:
                place.access.count("redemptions_put_off")
                return Outcome.LATER
        if outcome is not Outcome.LATER:
            self._remember(record.hash)
        return outcome

    def _remember(self, answered: RecordHash) -> None:
        self._answered[answered] = None
        if len(self._answered) > ANSWERED_REMEMBERED_MAX:
            del self._answered[next(iter(self._answered))]


def enter(ledger: InviteLedger, row: InviteRow, wall_now: float) -> None:
    """Put a token into a ledger; what ended long ago makes room. Raises as `InviteLedger.add`."""
    try:
        ledger.add(row)
    except LedgerFull:
        if not ledger.forget_expired(wall_now - INVITE_KEPT_AFTER_S):
            raise
        ledger.add(row)


def group_identity(key: PrivateKey, wall_now: float) -> IdentityKeys:
    """A group as an identity: what its admins publish, so that joiners can seal to them.

    It has no storage secret: nothing may ever be sealed for the group "itself".

    Args:
        key: The group's private key.
        wall_now: Unix seconds.

    """
    kem = KemKey(group_kem(key), int(wall_now) + KEM_KEY_LIFE_S)
    return IdentityKeys(key, (kem,), bytes(STORAGE_SECRET_BYTES))
