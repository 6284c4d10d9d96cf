"""Both ends of REDEEM at a node: the desk that answers it, and the node that redeems the link it was started with.

PROTOCOL.md sections 5 and 12. A bearer link's secret is handed to nobody but the issuer itself: whoever else learnt it
could use the invite up. So a node redeems such a link where the issuer's key answers, and an invite that names it anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.asking import Asking
from yzdht.crypto.invite import Office, accept_link
from yzdht.crypto.naming import node_id_of
from yzdht.errors import (
    CryptoError,
    DialFailed,
    InvalidKey,
    InviteRefused,
    InviteUnanswered,
    LookupFailed,
    NotAdmitted,
    NotTheIssuer,
    StoreError,
    WireError,
)
from yzdht.invitee import membership_in
from yzdht.limits import (
    DIAL_TIMEOUT_S,
    HANDSHAKE_TIMEOUT_S,
    PREFIXES_TRACKED_MAX,
    REDEEM_PAUSE_S_MAX,
    REDEEM_PAUSE_S_MIN,
    REDEEM_TIMEOUT_S,
    REDEEMS_BURST,
    REDEEMS_BURST_PER_PEER,
    REDEEMS_PER_S,
    REDEEMS_PER_S_PER_PEER,
)
from yzdht.registrar import Issuer
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate
from yzdht.rpc.engine import Answer, Failed
from yzdht.sessions.membership import ClosedNetwork
from yzdht.sessions.world import Papers, World
from yzdht.telemetry import Counters
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Body, Method, Redeem, RedeemAnswer, Refusal, Status
from yzdht.wire.token import TokenType, decode_redemption, encode_redemption, encode_token


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.background import Background
    from yzdht.config import Bootstrap
    from yzdht.crypto.handshake import Credentials
    from yzdht.ids import NetworkId, NodeId, PublicKey
    from yzdht.ports import InviteLedger, Registrar, Rng, Signer, Transport
    from yzdht.rpc.engine import Peer
    from yzdht.sessions.clock import Clock
    from yzdht.sessions.connection import Connection
    from yzdht.telemetry import Telemetry
    from yzdht.wire.invite_link import InviteLink
    from yzdht.wire.token import Redemption, Token


log = logging.getLogger(__name__)

GUEST_CAPS = Caps.ALWAYS | Caps.CLIENT
"""Whoever redeems only asks, also if it will be a node."""

REDEEM_HINT = (
    "check that the issuer's node runs, and that --bootstrap names it; where the issuer is a person, stop this node and "
    "run: yz join LINK --data DIR"
)
"""For who runs a node that waits for its issuer."""

_PEER = Rate(REDEEMS_PER_S_PER_PEER, REDEEMS_BURST_PER_PEER)
_ALL = Rate(REDEEMS_PER_S, REDEEMS_BURST)


# The issuer's end


class NetworkRegistrar:
    """Redeems the invites of a closed network whose key this node has.

    Args:
        signer: The key that `--invite-only` names.
        network: NET.
        ledger: What it issued.
        clock: The present.

    """

    def __init__(self, signer: Signer, network: NetworkId, ledger: InviteLedger, clock: Clock) -> None:
        self._issuer = Issuer(signer, network, ledger)
        self._clock = clock

    async def redeem(self, redemption: Redemption, joiner: PublicKey) -> RedeemAnswer:
        """Judge, count, and answer with a membership, which is in the ledger first so that it can be revoked.

        Raises:
            NotTheIssuer: The invite is another key's.
            StoreError: The ledger cannot be read or written.

        """
        if redemption.token.issuer != self._issuer.signer.public_key:
            raise NotTheIssuer("this node issues no invites of that key")
        return self._issuer.redeem(redemption, joiner, self._clock.now().wall)


class Desk:
    """Answers REDEEM, at a price: each peer has a bucket, and all of them share one fairly by where they are.

    Args:
        registrars: Whose invites are redeemed here, each asked until one is the issuer's; may change.
        background: Keeps what is not answered at once.
        clock: The present.
        telemetry: Where answers are counted.

    """

    def __init__(
        self, registrars: list[Registrar], background: Background, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._registrars = registrars
        self._background = background
        self._clock = clock
        self._telemetry = telemetry
        self._peers = Buckets(PREFIXES_TRACKED_MAX)
        self._all = FairBuckets(PREFIXES_TRACKED_MAX)

    def serve(self, connection: Connection, number: int, body: Redeem) -> None:
        """Answer one request, now or once the ledger has it on disk."""
        assert connection.peer is not None
        if not self._registrars:
            self._reply(connection, number, Status.NOT_FOUND, Refusal())
        elif wait_s := self._wait_s(connection.peer):
            self._telemetry.add("rate_limited", "redemptions")
            self._reply(connection, number, Status.RATE_LIMITED, Refusal(int(wait_s * 1000) + 1))
        else:
            self._background.start(self._redeem(connection, number, body))

    def _wait_s(self, peer: Peer) -> float:
        mono = self._clock.now().mono
        if wait_s := self._peers.take(peer.node_id, 1, _PEER, mono):
            return wait_s
        if wait_s := self._all.take(None, peer.group, 1, _ALL, mono):
            self._peers.put_back(peer.node_id, 1)
        return wait_s

    async def _redeem(self, connection: Connection, number: int, body: Redeem) -> None:
        assert connection.peer is not None
        status: Status
        answer: Body = Refusal()
        try:
            answer = await self._judged(decode_redemption(body.redemption), connection.peer.public_key)
            status = Status.OK
        except WireError:
            status = Status.BAD_REQUEST
        except NotTheIssuer:
            status = Status.NOT_FOUND
        except (StoreError, LookupFailed, CryptoError) as error:  # of the home, or of the way to its groups
            log.warning("redemption not answered reason=%s", error)
            status = Status.BUSY
        self._reply(connection, number, status, answer)

    async def _judged(self, redemption: Redemption, joiner: PublicKey) -> RedeemAnswer:
        for registrar in list(self._registrars):
            try:
                return await registrar.redeem(redemption, joiner)
            except NotTheIssuer:
                continue
        raise NotTheIssuer("this node redeems no invites of that key")

    def _reply(self, connection: Connection, number: int, status: Status, body: Body) -> None:
        self._telemetry.served(Method.REDEEM, status)
        connection.reply(number, status, body)


# The joiner's end


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who wants to join, and with what.

    Attributes:
        credentials: Its half of every handshake.
        kem: Its newest KEM key, 33 bytes.
        link: Its invite.

    """

    credentials: Credentials
    kem: PublicKey
    link: InviteLink

    @property
    def node_id(self) -> NodeId:
        """Its node id."""
        return node_id_of(self.credentials.signer.public_key)


@dataclass(frozen=True, slots=True)
class Way:
    """How the issuer is reached.

    Attributes:
        bootstraps: Where, and who must answer.
        transports: Ways to dial.
        clock: The present.
        rng: For jitter.

    """

    bootstraps: Sequence[Bootstrap]
    transports: Sequence[Transport]
    clock: Clock
    rng: Rng


class Joiner:
    """Redeems a link at the nodes of a closed network, as a guest of theirs.

    Args:
        applicant: Who joins.
        way: Where.
        on_event: Hears `invite` events.

    Attributes:
        trouble: Why the last try came to nothing, for people; empty before it.

    """

    def __init__(self, applicant: Applicant, way: Way, on_event: Callable[[dict[str, object]], None]) -> None:
        self._applicant = applicant
        self._way = way
        self._on_event = on_event
        self._is_secret = applicant.link.secret is not None
        self.trouble = ""

    async def try_once(self) -> Token | None:
        """Ask each node once, until one has an answer.

        Returns:
            The membership, checked; None if nobody answered that could.

        Raises:
            InviteRefused: The issuer, or the link itself, says no; one of its leaves.

        """
        asking = Asking(self._world())
        try:
            for bootstrap in self._way.bootstraps:
                try:
                    return await self._ask_at(asking, bootstrap)
                except (DialFailed, TimeoutError, InviteUnanswered, WireError) as error:
                    self.trouble = str(error) or f"{bootstrap.url} does not answer"
                    log.warning(
                        "invite not redeemed url=%s reason=%s hint=%s",
                        bootstrap.url,
                        self.trouble,
                        REDEEM_HINT,
                    )
        finally:
            await asking.close()
        return None

    async def keep_trying(self) -> Token:
        """Try until there is an answer; raises as `try_once`."""
        pause_s = REDEEM_PAUSE_S_MIN
        while True:
            self._on_event({"event": "invite", "redeemed": False, "retryInS": round(pause_s, 1)})
            await asyncio.sleep(pause_s * self._way.rng.uniform(0.75, 1.25))
            if (membership := await self.try_once()) is not None:
                return membership
            pause_s = min(2 * pause_s, REDEEM_PAUSE_S_MAX)

    def _world(self) -> World:
        applicant, token = self._applicant, self._applicant.link.token
        closed = ClosedNetwork(applicant.credentials.network, token.issuer)
        papers = Papers(invite=encode_token(token))
        clock, transports = self._way.clock, self._way.transports
        return World(
            applicant.credentials,
            transports,
            clock,
            Counters(),
            is_private_allowed=True,
            papers=papers,
            closed=closed,
        )

    async def _ask_at(self, asking: Asking, bootstrap: Bootstrap) -> Token:
        """Redeem at one node.

        Raises:
            DialFailed: It is not there, or no member.
            InviteUnanswered: It cannot say; whoever is not the issuer can hand out what the issuer signed, and refuse nothing.
            WireError: It answers nonsense.
            InviteRefused: The issuer says no.

        """
        async with asyncio.timeout(DIAL_TIMEOUT_S + HANDSHAKE_TIMEOUT_S):
            contact = await asking.dial(bootstrap.url, bootstrap.node_id)
        issuer = self._applicant.link.token.issuer
        if self._is_secret and contact.public_key != issuer:
            raise InviteUnanswered(
                f"{bootstrap.url} is not the issuer, who alone is shown the secret of a link for anybody"
            )
        body = Redeem(encode_redemption(self._redemption()))
        outcome = await asking.ask(contact, Method.REDEEM, body, REDEEM_TIMEOUT_S)
        if not isinstance(outcome, Answer) or not isinstance(outcome.body, RedeemAnswer):
            why = outcome.reason.value if isinstance(outcome, Failed) else outcome.status.name.lower()
            raise InviteUnanswered(f"{bootstrap.url} did not redeem the invite: {why.replace('_', ' ')}")
        applicant = self._applicant
        office = Office(applicant.credentials.network, issuer, TokenType.NETWORK)
        try:
            return membership_in(outcome.body, office, applicant.node_id, self._way.clock.now().wall)
        except (InviteRefused, InvalidKey) as error:
            if contact.public_key != issuer:
                raise InviteUnanswered(f"{bootstrap.url} refused the invite, and is not its issuer") from None
            if isinstance(error, InvalidKey):
                raise NotAdmitted(str(error)) from None
            raise

    def _redemption(self) -> Redemption:
        """Raises InviteRefused for a link that cannot be good."""
        applicant = self._applicant
        return accept_link(
            applicant.link,
            applicant.credentials.network,
            applicant.credentials.signer.public_key,
            applicant.kem,
            self._way.clock.now().wall,
        )
