"""An invite redeemed by whoever holds its link (PROTOCOL.md section 12).

Owns the ways to an issuer, in this order: a session with it, then a record that it finds when it is back. The link's secret
goes to nobody else: a node that were handed it could join in the joiner's place. Refuses what the issuer did not sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.invite import Office, accept_link, check_membership
from yzdht.crypto.invite_outcome import Outcome, error_of
from yzdht.crypto.naming import node_id_of
from yzdht.errors import (
    CryptoError,
    InviteUnanswered,
    KeysUnknown,
    LookupFailed,
    NoNode,
    NotAReader,
    UsageError,
    WireError,
)
from yzdht.letters import answer_slot, letter_to, read, redemption_slot, send
from yzdht.limits import CLOCK_SKEW_S, RECORD_LIFE_S_MAX
from yzdht.wire.address import decode_identity_payload
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import RedeemAnswer, decode_body
from yzdht.wire.token import TokenType, decode_token, encode_redemption


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yzdht.ids import NodeId, PublicKey
    from yzdht.letters import Place
    from yzdht.people import People
    from yzdht.slots import Slot
    from yzdht.wire.invite_link import InviteLink
    from yzdht.wire.token import Redemption, Token

    Adopt = Callable[[str, PublicKey], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait for an issuer that is away.

    Attributes:
        patience_s: Seconds in all.
        every_s: Seconds between two looks.
        pause: Waits so many seconds.

    """

    patience_s: float
    every_s: float
    pause: Callable[[float], Awaitable[object]]


class Joined(NamedTuple):
    """What an invite admitted to.

    Attributes:
        token: The invite.
        membership: What to show to the nodes of a closed network; None for a group.
        name: What this home calls the group; empty for a network.

    """

    token: Token
    membership: Token | None
    name: str


class _Answered(NamedTuple):
    answer: RedeemAnswer
    seq: int


class Invitee:
    """Joins by invites.

    Args:
        people: Who joins, and the keys of issuers.
        place: The network.
        adopt: Takes up a group by its key; None where there are no groups.

    """

    def __init__(self, people: People, place: Place, adopt: Adopt | None) -> None:
        self._people = people
        self._place = place
        self._adopt = adopt

    async def join(self, link: InviteLink, name: str, waiting: Waiting) -> Joined:
        """Redeem an invite, and take up what it admits to; doing so again does no harm.

        Args:
            link: What `decode_invite_link` read.
            name: What this home is to call the group; not looked at for a network.
            waiting: How long to wait for an issuer that is away.

        Raises:
            InviteRefused: By its issuer, or before anybody is asked; its leaves say why.
            InviteUnanswered: The issuer has not answered in time; what was left for it stays.
            KeysUnknown: Nodes do not show the issuer's keys.
            KemKeyMissing: Another device of this identity published a KEM key that this one has not.
            UsageError: It is an invite to something else, or the name is none or taken.
            WriteQuorumFailed, ReadQuorumFailed: Too few replicas.
            NoNode: No node could be reached.

        """
        token = link.token
        if token.type not in {TokenType.NETWORK, TokenType.GROUP}:
            raise UsageError("this version does not join by such an invite", hint="upgrade yzdht")
        if token.type is TokenType.GROUP and self._adopt is None:
            raise UsageError("there are no groups here")
        until = self._place.access.now().mono + waiting.patience_s
        identity = self._people.identity
        if identity.kem:
            self._redemption(link)  # what cannot be good is refused before anybody is asked
        if not identity.kem or token.type is TokenType.GROUP:
            await self._people.publish()  # a guest of a closed network cannot; its members need not be found
        redemption = self._redemption(link)
        answer = await self._ask_directly(redemption)
        if answer is None:
            answer = await self._ask_by_record(redemption, waiting, until)
        if token.type is TokenType.NETWORK:
            office = Office(self._place.network, token.issuer, TokenType.NETWORK)
            wall = self._place.access.now().wall
            return Joined(token, membership_in(answer, office, identity.node_id, wall), "")
        if answer.outcome != Outcome.ADMITTED:
            raise error_of(answer.outcome)
        await self._take_up(name, token.issuer, waiting, until)
        return Joined(token, None, name)

    def _redemption(self, link: InviteLink) -> Redemption:
        identity, wall = self._people.identity, self._place.access.now().wall
        kem = identity.kem[0].key.public_key
        return accept_link(link, self._place.network, identity.public_key, kem, wall)

    async def _take_up(self, name: str, group_key: PublicKey, waiting: Waiting, until: float) -> None:
        """Take up the group; the state that lists the joiner may take a while until it is seen everywhere."""
        assert self._adopt is not None
        while True:
            try:
                await self._adopt(name, group_key)
            except NoNode:
                raise
            except (NotAReader, LookupFailed):
                if not await self._paused(waiting, until):
                    raise
            else:
                return

    # The issuer itself

    async def _ask_directly(self, redemption: Redemption) -> RedeemAnswer | None:
        """Its answer, if it can be reached; None if it cannot, or could not act."""
        issuer = redemption.token.issuer
        raw = encode_redemption(redemption)
        answer = await self._place.access.redeem(issuer, raw, await self._addresses(issuer))
        return None if answer is None or answer.outcome == Outcome.LATER else answer

    async def _addresses(self, issuer: PublicKey) -> list[str]:
        """Where the issuer says that it is reached; a group nowhere, and so most people."""
        try:
            await self._people.seal_to([issuer])
        except NoNode:
            raise
        except (LookupFailed, CryptoError, WireError):
            return []
        kept = self._place.marks.identity_record(node_id_of(issuer), self._place.network)
        if kept is None:
            return []
        return [
            address.url for address in decode_identity_payload(decode_record(kept.record).payload).addresses
        ]

    # A record that it finds

    async def _ask_by_record(self, redemption: Redemption, waiting: Waiting, until: float) -> RedeemAnswer:
        """Its answer; one of before counts if it admits, or if this home never saw it."""
        known = self._place.slots.mark(self._answer_slot(redemption.token))
        before = await self._answer(redemption.token)
        if before is not None:
            is_news = known is None or known.seq < before.seq
            if is_news or before.answer.outcome == Outcome.ADMITTED:
                return before.answer
        await self._leave(redemption)
        while True:
            found = await self._answer(redemption.token)
            if found is not None and (before is None or found.seq > before.seq):
                return found.answer
            if not await self._paused(waiting, until):
                raise InviteUnanswered("the issuer has not answered yet; the request is left for it")

    async def _leave(self, redemption: Redemption) -> None:
        """Leave the redemption where the issuer looks for it, for the issuer alone."""
        place, token = self._place, redemption.token
        try:
            [issuer] = await self._people.seal_to([token.issuer])
        except KeysUnknown as error:
            error.hint = "ask whoever invited you to run `yz invite serve`: that publishes them again"
            raise
        identity = self._people.identity
        slot = redemption_slot(place.network, token.id, identity.public_key)
        left_s = token.not_after + CLOCK_SKEW_S - int(place.access.now().wall)
        life_s = min(max(left_s, 1), RECORD_LIFE_S_MAX)
        readers = letter_to(issuer.kem, place.rng)
        await send(place, identity.signer, slot, encode_redemption(redemption), readers, life_s)

    async def _answer(self, token: Token) -> _Answered | None:
        """The issuer's answer; None while nodes show none."""
        place, identity = self._place, self._people.identity
        try:
            seen = await place.slots.read(self._answer_slot(token))
            if seen is None:
                return None
            value = read(seen.record, tuple(kem.key for kem in identity.kem))
            return _Answered(decode_body(value, RedeemAnswer), seen.record.seq)
        except NoNode:
            raise
        except (LookupFailed, CryptoError, WireError):
            place.access.count("answers_unreadable")
            return None

    def _answer_slot(self, token: Token) -> Slot:
        joiner = self._people.identity.public_key
        return answer_slot(self._place.network, token.issuer, token.id, joiner)

    async def _paused(self, waiting: Waiting, until: float) -> bool:
        """Wait for the next look; False if there is no time left."""
        left_s = until - self._place.access.now().mono
        if left_s <= 0:
            return False
        await waiting.pause(min(waiting.every_s, left_s))
        return True


def membership_in(answer: RedeemAnswer, office: Office, node_id: NodeId, wall_now: float) -> Token:
    """The membership that an issuer gave; nothing of it is believed unseen.

    Args:
        answer: To a redemption.
        office: The closed network.
        node_id: Whose membership it has to be.
        wall_now: Unix seconds.

    Raises:
        InviteRefused: The issuer said no, or gave what is no membership here.
        WireError: It gave nonsense.

    """
    if answer.outcome != Outcome.ADMITTED:
        raise error_of(answer.outcome)
    membership = decode_token(answer.membership)
    check_membership(membership, office, node_id, (), wall_now)
    return membership
