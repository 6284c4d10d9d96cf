"""Answers DIAL_BACK: tries whether an asker can be reached at addresses of its own (PROTOCOL.md section 5).

Whoever can make others dial has a weapon, so nothing is dialled but the IP address that the request came from, and a
name that leads there alone; the address is dialled, wherever the name leads by then. Beside the asker only those who share its address can be
met that way: ports of the system's own services are refused, paths say nothing, answers name no more than a handful of
outcomes, and each peer, each prefix and all together have their bounds. A proxy's address is never dialled, nor
loopback, unless private addresses are allowed: what comes from there stands for people elsewhere.

A dial is a session of its own, as a client's, beside those that stand; it counts once the asker's id is proved in it,
and a PING in it is answered. The asker sees that PING, and need not believe an answer alone.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from yzdht.asking import Asking
from yzdht.errors import DialFailed, ReachedAnother, UsageError
from yzdht.limits import (
    DIAL_BACK_S_MAX,
    DIAL_BACKS_AT_ONCE_MAX,
    DIAL_BACKS_BURST,
    DIAL_BACKS_BURST_PER_PREFIX,
    DIAL_BACKS_PER_S,
    DIAL_BACKS_PER_S_PER_PEER,
    DIAL_BACKS_PER_S_PER_PREFIX,
    PREFIXES_TRACKED_MAX,
)
from yzdht.reachability import Word
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate
from yzdht.rpc.engine import Answer
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.world import World
from yzdht.telemetry import Counters
from yzdht.transport.names import look_up
from yzdht.wire.address import is_loopback, limit_prefix, parse_url, scope_of
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import DialBack, DialledBack, Empty, Method, Reached, Refusal, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.background import Background
    from yzdht.ids import NodeId
    from yzdht.ports import Endpoint, Link, LinkHandler, Listener, Transport
    from yzdht.rpc.engine import Peer
    from yzdht.sessions.connection import Connection
    from yzdht.telemetry import Telemetry
    from yzdht.wire.address import Url
    from yzdht.wire.rpc import Body


_PEER = Rate(DIAL_BACKS_PER_S_PER_PEER, 1)
_PREFIX = Rate(DIAL_BACKS_PER_S_PER_PREFIX, DIAL_BACKS_BURST_PER_PREFIX)
_ALL = Rate(DIAL_BACKS_PER_S, DIAL_BACKS_BURST)

_PORTS_OF_THE_SYSTEM_END = 1_024
_PORTS_OF_THE_WEB = frozenset({80, 443})
"""A proxy in front of a node listens there; SSH, SMTP and the like listen on the others below 1,024, and log strangers."""

_PLAIN_PATH = re.compile(r"(?:/[a-z0-9_-]{0,32}){1,2}")
"""The asker chooses what others behind its address are asked over HTTP: nothing with a query or an extension."""


@dataclass(frozen=True, slots=True)
class _Pinned:
    """A transport that reaches one IP address, whatever a name leads to by now."""

    inner: Transport
    host: str

    @property
    def schemes(self) -> frozenset[str]:
        return self.inner.schemes

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
    ) -> Link:
        return await self.inner.dial(url, accept, timeout_s, (self.host,))

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> Listener:
        raise AssertionError("nobody listens to be dialled back")


class BackDialler:
    """The answering end of DIAL_BACK.

    Args:
        world: What the node's sessions stand on; trials have sessions of their own.
        background: Keeps what is not answered at once.
        telemetry: Where answers are counted.

    """

    def __init__(self, world: World, background: Background, telemetry: Telemetry) -> None:
        self._world = world
        self._background = background
        self._telemetry = telemetry
        self._peers = Buckets(PREFIXES_TRACKED_MAX)
        self._prefixes = FairBuckets(PREFIXES_TRACKED_MAX)
        self._all = FairBuckets(PREFIXES_TRACKED_MAX)
        self._under_way: set[NodeId] = set()

    def serve(self, connection: Connection, number: int, body: DialBack) -> None:
        """Answer one request, now or once its addresses were tried."""
        peer = connection.peer
        assert peer is not None
        if not self._may_be_dialled(peer):
            results = tuple(Reached(is_reachable=False, error=Word.NOT_DIALLED) for _ in body.urls)
            self._reply(connection, number, Status.OK, DialledBack(results))
        elif wait_s := self._wait_s(peer):
            self._telemetry.add("rate_limited", "dial_backs")
            self._reply(connection, number, Status.RATE_LIMITED, Refusal(int(wait_s * 1_000) + 1))
        elif peer.node_id in self._under_way or len(self._under_way) >= DIAL_BACKS_AT_ONCE_MAX:
            self._reply(connection, number, Status.BUSY, Refusal())
        else:
            self._under_way.add(peer.node_id)
            self._background.start(self._try_all(connection, peer, number, body))

    def _may_be_dialled(self, peer: Peer) -> bool:
        if peer.is_proxied or peer.is_hidden or scope_of(peer.host) is None:
            return False
        return self._world.is_private_allowed or not is_loopback(peer.host)

    def _wait_s(self, peer: Peer) -> float:
        """Seconds until there is a turn; 0 if it was taken."""
        mono = self._world.clock.now().mono
        prefix = limit_prefix(peer.host) or peer.host
        if wait_s := self._peers.take(peer.node_id, 1, _PEER, mono):
            return wait_s
        if wait_s := self._prefixes.take(prefix, peer.host, 1, _PREFIX, mono):
            self._peers.put_back(peer.node_id, 1)
            return wait_s
        if wait_s := self._all.take(None, prefix, 1, _ALL, mono):
            self._peers.put_back(peer.node_id, 1)
            self._prefixes.put_back(prefix, peer.host, 1)
        return wait_s

    async def _try_all(self, connection: Connection, peer: Peer, number: int, body: DialBack) -> None:
        try:
            words = await asyncio.gather(*(self._try(url, peer) for url in body.urls))
        finally:
            self._under_way.discard(peer.node_id)
        results = tuple(
            Reached(is_reachable=word is Word.REACHED, error="" if word is Word.REACHED else word)
            for word in words
        )
        self._telemetry.add("dialled_back", amount=len(results))
        self._reply(connection, number, Status.OK, DialledBack(results))

    async def _try(self, text: str, peer: Peer) -> Word:
        try:
            url = parse_url(text)
        except UsageError:
            return Word.NOT_DIALLED  # a protocol of a newer version, or nonsense
        if not _is_harmless(url):
            return Word.NOT_DIALLED
        try:
            async with asyncio.timeout(DIAL_BACK_S_MAX):
                where = await _where(url, peer.host)
                return Word.NOT_YOURS if where is None else await self._reach(where, peer)
        except TimeoutError:
            return Word.SILENT

    async def _reach(self, url: str, peer: Peer) -> Word:
        asking = Asking(self._world_of_one(peer.host))
        try:
            answer = await asking.ask_at(url, peer.node_id, Method.PING, Empty())
        except ReachedAnother:
            return Word.ANOTHER
        except DialFailed as error:
            return _word_of(error)
        finally:
            await asking.close()
        return Word.REACHED if isinstance(answer, Answer) else Word.SILENT

    def _world_of_one(self, host: str) -> World:
        """Sessions that lead nowhere else, in which this node is a client: they replace none that stand."""
        world = self._world
        credentials = replace(world.credentials, caps=Caps.ALWAYS | Caps.CLIENT)
        transports = [_Pinned(transport, host) for transport in world.transports]
        return World(
            credentials,
            transports,
            world.clock,
            Counters(),
            is_private_allowed=True,
            bounds=SessionBounds(sessions_max=2, dials_in_flight_max=1),
            papers=world.papers,
            closed=world.closed,
        )

    def _reply(self, connection: Connection, number: int, status: Status, body: Body) -> None:
        self._telemetry.served(Method.DIAL_BACK, status)
        connection.reply(number, status, body)


def _is_harmless(url: Url) -> bool:
    """Whether a knock there disturbs nobody who shares the asker's address."""
    has_port = url.port >= _PORTS_OF_THE_SYSTEM_END or url.port in _PORTS_OF_THE_WEB
    return has_port and _PLAIN_PATH.fullmatch(url.path) is not None


async def _where(url: Url, host: str) -> str | None:
    """The address to dial so that it leads to one IP address and no other; None if there is none."""
    if url.ip is not None:
        return url.text if url.host == host else None
    try:
        found = set(await look_up(url.host, url.port, is_hearsay=True))
    except (OSError, UnicodeError):
        return None
    if found == {host}:
        return url.text
    # A name with several addresses: only that one is dialled, and a certificate would be of the name.
    return url.with_host(host) if host in found and url.protocol != "wss" else None


def _word_of(error: DialFailed) -> Word:
    text = str(error)
    if "refused" in text:
        return Word.REFUSED
    return Word.SILENT if "timed out" in text else Word.NO_NODE
