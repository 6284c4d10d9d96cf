"""Who is of a closed network, and what a guest may ask there (PROTOCOL.md section 12).

Pure: what a peer showed in its handshake, and the present, come in; a standing comes out. A member is served like any
peer of an open network, a stranger not at all, and a guest, who shows an invite, with what redeeming it takes: the
identity record of the issuer, its answer and its revocations are read, one redemption is stored. Refuses by default: a
method or a target that is not named here is not for guests.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from yzdht.crypto.invite import Office, check_membership, check_subject, check_token_times, verify_token
from yzdht.crypto.naming import (
    admit_tag,
    move_tag,
    multi_target,
    mutable_target,
    node_id_of,
    redeem_tag,
    revoked_tag,
)
from yzdht.errors import InviteRefused, WireError
from yzdht.ids import Target
from yzdht.limits import (
    CLOCK_SKEW_S,
    GUEST_RECORD_BYTES_MAX,
    GUEST_S_MAX,
    GUEST_SPARE_AFTER_S,
    GUESTS_MAX,
    GUESTS_PER_INVITE_MAX,
)
from yzdht.sessions.admission import Refusal
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import Get, Method, Put
from yzdht.wire.slot import Kind
from yzdht.wire.token import TokenType, decode_token


if TYPE_CHECKING:
    from yzdht.ids import NetworkId, NodeId, PublicKey, Tag, TokenId
    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body
    from yzdht.wire.token import Token


class Standing(Enum):
    """What a peer is to a closed network."""

    MEMBER = "member"
    GUEST = "guest"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Rights:
    """What one guest may ask beside PING, WHOAMI and REDEEM.

    Attributes:
        invite: The token that it shows.
        guest: Who it is, 33 bytes.
        readable: The targets that it may GET.
        entry: The multi target that it may PUT its redemption to.
        entry_tag: The tag that the redemption has.

    """

    invite: TokenId
    guest: PublicKey
    readable: frozenset[Target]
    entry: Target
    entry_tag: Tag

    def cover(self, method: Method, body: Body) -> bool:
        """True for a request that is answered."""
        match body:
            case Get():
                return body.target in self.readable
            case Put():
                return body.target == self.entry and self._is_redemption(body.record)
            case _:
                return method in (Method.PING, Method.WHOAMI, Method.REDEEM)

    def _is_redemption(self, raw: bytes) -> bool:
        """Whether a record may be the guest's own; what is inside is the issuer's to judge."""
        if len(raw) > GUEST_RECORD_BYTES_MAX:
            return False
        try:
            record = decode_record(raw)
        except WireError:
            return False
        return (record.kind, record.publisher, record.tag) == (Kind.MULTI, self.guest, self.entry_tag)


@dataclass(frozen=True, slots=True)
class Pass:
    """How a peer stands, and for how long.

    Attributes:
        standing: What it is.
        ends_at: Unix seconds after which it has to show something else; infinity for the issuer itself.
        rights: A guest's; None of others.

    """

    standing: Standing
    ends_at: float = float("inf")
    rights: Rights | None = None


STRANGER = Pass(Standing.STRANGER)


class ClosedNetwork:
    """A closed network, as one of its nodes or clients sees it.

    Args:
        network: NET.
        issuer: The key that `--invite-only` names.

    Attributes:
        revoked: The newest revocation list that is known. While none was ever seen, memberships count by their times.

    """

    def __init__(self, network: NetworkId, issuer: PublicKey) -> None:
        self.network = network
        self.issuer = issuer
        self.revoked: frozenset[TokenId] = frozenset()
        self._office = Office(network, issuer, TokenType.NETWORK)
        tags = (
            revoked_tag(network),
            move_tag(network),
        )  # whoever seals to the issuer asks whether its key still counts
        slots = (mutable_target(network, issuer, tag) for tag in tags)
        self._public = frozenset({Target(node_id_of(issuer)), *slots})

    def judge(self, peer: PublicKey, shown: bytes | None, wall_now: float) -> Pass:
        """How a peer stands whose key the handshake proved.

        Args:
            peer: Its key, 33 bytes.
            shown: What it showed; None for nothing.
            wall_now: Unix seconds.

        """
        if peer == self.issuer:
            return Pass(Standing.MEMBER)
        if shown is None:
            return STRANGER
        try:
            token = decode_token(shown)
            if token.is_bearer or token.uses_max:
                return self._guest(token, peer, wall_now)
            check_membership(token, self._office, node_id_of(peer), self.revoked, wall_now)
        except (WireError, InviteRefused):
            return STRANGER
        return Pass(Standing.MEMBER, token.not_after + CLOCK_SKEW_S)

    def _guest(self, token: Token, peer: PublicKey, wall_now: float) -> Pass:
        """Whoever shows an invite of this network in its time; the secret of one is the issuer's to ask for.

        Raises:
            InviteRefused: It is forged, out of its time, or for another.

        """
        is_ours = (token.issuer, token.type) == (self.issuer, TokenType.NETWORK)
        if not is_ours or not token.uses_max or token.id in self.revoked:
            return STRANGER
        node_id = node_id_of(peer)
        if not token.is_bearer:
            check_subject(token, self.network, None, node_id)
        check_token_times(token, wall_now)
        verify_token(token, self.network)
        ends_at = min(token.not_after + CLOCK_SKEW_S, wall_now + GUEST_S_MAX)
        return Pass(Standing.GUEST, ends_at, self._rights(token.id, peer, node_id))

    def _rights(self, invite: TokenId, guest: PublicKey, node_id: NodeId) -> Rights:
        answer = mutable_target(self.network, self.issuer, admit_tag(self.network, invite, node_id))
        entry_tag = redeem_tag(self.network, invite)
        entry = multi_target(self.network, entry_tag)
        own_end = mutable_target(self.network, guest, move_tag(self.network))
        return Rights(invite, guest, self._public | {answer, own_end}, entry, entry_tag)


class Guests:
    """The sessions of guests: few, and few of one invite."""

    def __init__(self) -> None:
        self._invites: dict[Connection, TokenId] = {}  # in the order of their age

    def __len__(self) -> int:
        return len(self._invites)

    def enter(self, connection: Connection, invite: TokenId, mono: float) -> Refusal | Connection | None:
        """Take a guest in, until `leave`.

        Returns:
            A Refusal if there is no room; else whose session ends for it, mostly nobody's.

        """
        counts = Counter(self._invites.values())
        displaced: Connection | None = None
        if counts[invite] >= GUESTS_PER_INVITE_MAX or len(self) >= GUESTS_MAX:
            most = invite if counts[invite] else max(counts, key=lambda each: counts[each])
            displaced = next(c for c, shown in self._invites.items() if shown == most)
            if displaced.opened_at is None or mono - displaced.opened_at < GUEST_SPARE_AFTER_S:
                return Refusal("links_refused", "guests")
            self.leave(displaced)
        self._invites[connection] = invite
        return displaced

    def leave(self, connection: Connection) -> None:
        """A session ended; a no-op for who is no guest."""
        self._invites.pop(connection, None)
