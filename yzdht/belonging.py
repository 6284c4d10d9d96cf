"""What a node does to belong to a closed network (PROTOCOL.md section 12).

It redeems the link that it was started with, says when its membership ends, keeps the revocation list, and, where its own
key closes the network, redeems the invites of others. A node of an open network does none of that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from yzdht.certificates import trust_in
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.invite_ledger import MemoryLedger, revoked_memberships
from yzdht.errors import CryptoError, InviteRefused, LookupFailed, StoreError, WireError
from yzdht.ids import shorten
from yzdht.invites import publish_revocations
from yzdht.letters import Place
from yzdht.limits import REVOCATIONS_READ_EVERY_S, REVOCATIONS_RETRY_S
from yzdht.own_access import OwnAccess
from yzdht.own_membership import OwnMembership
from yzdht.redeeming import GUEST_CAPS, REDEEM_HINT, Applicant, Desk, Joiner, NetworkRegistrar, Way
from yzdht.revocations import Revocations
from yzdht.slots import SlotReader
from yzdht.store.ledger import SqliteLedger
from yzdht.store.marks import MemoryMarks
from yzdht.transport.one_port import OnePort


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.background import Background
    from yzdht.config import NodeConfig
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import TokenId
    from yzdht.ports import RecordVerifier, Registrar, Rng
    from yzdht.pump import Pump
    from yzdht.sessions import Clock, Sessions
    from yzdht.store.folder import DataFolder
    from yzdht.telemetry import Telemetry
    from yzdht.wire.token import Token


log = logging.getLogger(__name__)

_KEEP_HINT = "make room for it and start this node again with the same --join"


class Circumstances(NamedTuple):
    """What a node lends to it.

    Attributes:
        clock: The present.
        rng: For jitter.
        telemetry: Counts, and keeps what people should see.
        background: For answers that take a moment.
        on_event: Hears `invite` events.
        checks: Verifies records.

    """

    clock: Clock
    rng: Rng
    telemetry: Telemetry
    background: Background
    on_event: Callable[[dict[str, object]], None]
    checks: RecordVerifier


class Belonging:
    """One node in its network, from its start to its end.

    Args:
        identity: The node's.
        config: What it was told.
        folder: Its data folder; None for a node that keeps nothing.
        pump: Its way to the others; its desk is opened here.
        circumstances: What the node lends.

    Attributes:
        membership: What it is to its network.
        registrars: Whose invites it redeems; may be added to.

    Raises:
        StoreError: The folder cannot be read.

    """

    def __init__(
        self,
        identity: IdentityKeys,
        config: NodeConfig,
        folder: DataFolder | None,
        pump: Pump,
        circumstances: Circumstances,
    ) -> None:
        self._identity = identity
        self._config = config
        self._around = circumstances
        self.membership = OwnMembership(identity, config, None if folder is None else folder.path)
        self.registrars: list[Registrar] = []
        self._ledger: MemoryLedger | SqliteLedger | None = None
        self._revocations: Revocations | None = None
        self._place: Place | None = None
        self._joiner: Joiner | None = None
        self._is_waiting = False
        self._open_desk(folder, pump)
        self._know_revocations(folder, pump)

    def _open_desk(self, folder: DataFolder | None, pump: Pump) -> None:
        """Whoever has the key of a closed network redeems its invites."""
        around = self._around
        pump.desk = Desk(self.registrars, around.background, around.clock, around.telemetry)
        if self.membership.is_issuer:
            self._ledger = MemoryLedger() if folder is None else SqliteLedger(folder.ledger_path)
            signer, network = self._identity.signer, self._config.network_id
            self.registrars.append(NetworkRegistrar(signer, network, self._ledger, around.clock))

    def _know_revocations(self, folder: DataFolder | None, pump: Pump) -> None:
        """Take up what an earlier run knew of them."""
        closed, around = self.membership.closed, self._around
        if closed is None:
            return
        access = OwnAccess(pump, around.background, around.clock, around.telemetry)
        self._revocations = revocations = Revocations(closed, access, around.checks)
        marks = MemoryMarks()
        slots = SlotReader(access, marks, around.checks)
        self._place = Place(self._config.network_id, access, slots, marks, around.rng)
        if folder is not None:
            revocations.keep_in(folder)

    # Becoming a member

    async def ask_for_admission(self) -> bool:
        """Redeem the link, if that is what this node lacks; True if it has to be tried again.

        Raises:
            InviteRefused: The issuer, or the link itself, says no.
            StoreError: The membership cannot be kept.

        """
        link, around = self._config.join, self._around
        if link is None or self.membership.lack(around.clock.now().wall) is None:
            self.look()
            return False
        credentials = Credentials(
            self._identity.signer, self._config.network_id, GUEST_CAPS, self._config.network_key
        )
        applicant = Applicant(credentials, self._identity.kem[0].key.public_key, link)
        way = Way(
            self._config.bootstraps(),
            [OnePort(trust=trust_in(self._config.tls.ca))],
            around.clock,
            around.rng,
        )
        self._joiner = Joiner(applicant, way, around.on_event)
        membership = await self._joiner.try_once()
        if membership is not None:
            self._accept(membership)
            return False
        self._remember(f"the invite is not redeemed yet: {self._joiner.trouble}", REDEEM_HINT)
        self._is_waiting = True
        return True

    async def wait_for_admission(self) -> bool:
        """Go on asking until there is an answer; True if it is yes."""
        assert self._joiner is not None
        try:
            self._accept(await self._joiner.keep_trying())
        except StoreError as error:
            log.warning("membership not kept reason=%s hint=%s", error, error.hint)
            self._remember(f"the membership cannot be kept: {error}", error.hint or _KEEP_HINT)
            return self.membership.lack(self._around.clock.now().wall) is None
        except InviteRefused as error:
            log.warning("invite refused reason=%s hint=%s", error, error.hint)
            self._remember(f"the invite was refused: {error}", error.hint)
            self._around.on_event({"event": "invite", "redeemed": False, "refused": str(error)})
            return False
        finally:
            self._is_waiting = False
        return True

    def _accept(self, membership: Token) -> None:
        self.membership.accept(membership)
        log.info("member node=%s until=%d", shorten(self._identity.node_id), membership.not_after)
        self._around.on_event({"event": "invite", "redeemed": True, "until": membership.not_after})

    # Being one

    def look(self) -> None:
        """Say so if this node is no member, or is none any more; not while it waits for the issuer."""
        if self._is_waiting:
            return
        lack = self.membership.news(self._around.clock.now().wall)
        if lack is not None:
            self._remember(*lack)

    async def watch_revocations(self, sessions: Sessions, joined: asyncio.Event) -> None:
        """Read who was shut out, once others are known and then hourly; their sessions end."""
        assert self._revocations is not None, "the network is closed"
        await joined.wait()
        pause_s = REVOCATIONS_RETRY_S
        while True:
            before = self._revoked()
            is_well = await self._publish_revocations()
            if await self._revocations.refresh():
                sessions.look_again()
                self.look()
            if is_well and self._revocations.is_fresh:
                await self._pause(before, REVOCATIONS_READ_EVERY_S)
                pause_s = REVOCATIONS_RETRY_S
            else:
                await self._pause(before, pause_s)
                pause_s = min(2 * pause_s, REVOCATIONS_READ_EVERY_S)

    async def _pause(self, before: frozenset[TokenId], pause_s: float) -> None:
        """Wait; not so long where somebody else is shut out by now in this node's own ledger."""
        while pause_s > 0:
            step_s = pause_s if self._ledger is None else min(pause_s, REVOCATIONS_RETRY_S)
            await asyncio.sleep(step_s)
            pause_s -= step_s
            if self._revoked() != before:
                return

    def _revoked(self) -> frozenset[TokenId]:
        """Whom the ledger of this node's own key shuts out; nobody where it cannot be read, or is another node's."""
        if self._ledger is None:
            return frozenset()
        try:
            return frozenset(revoked_memberships(self._ledger.standings(), self._identity.public_key))
        except StoreError:
            return frozenset()

    async def _publish_revocations(self) -> bool:
        """Tell whom the owner of this node's key shut out, where that key closes the network; False if nobody took it."""
        if self._ledger is None or self._place is None:
            return True
        try:
            await publish_revocations(self._place, self._identity.signer, self._ledger, is_closer=True)
        except (LookupFailed, CryptoError, WireError, StoreError) as error:
            log.warning("revocations not published reason=%s", error)
            return False
        return True

    def close(self) -> None:
        """Close what it keeps open. Idempotent."""
        if isinstance(self._ledger, SqliteLedger):
            self._ledger.close()

    def _remember(self, what: str, hint: str) -> None:
        self._around.telemetry.error(what, self._around.clock.now().wall, hint)
