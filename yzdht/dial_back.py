"""Answers DIAL_BACK: tries whether an asker can be reached at addresses of its own (PROTOCOL.md section 5).

Whoever can make others dial has a weapon, so nothing is dialled but the IP address that the request came from. A name
must lead there, too; of all that it leads to, that address alone is dialled, and it is not looked up again for that. Beside
the asker only those who share its address can be met that way: ports of the system's own services are refused, paths say
nothing, answers name no more than a handful of outcomes, and each peer, each prefix and all together have their bounds.
A proxy's address is never dialled, nor loopback, unless private addresses are allowed: what comes from there stands for
people elsewhere.

The places for trials under way are few. A prefix has a part of them, and whose addresses did not answer lately, or who
comes when half of them are taken, holds its own for a moment only: so many cannot come in that moment that none is left.

A dial is a session of its own, as a client's, beside those that stand; it counts once the asker's id is proved in it,
and a PING in it is answered. The asker sees that PING, and need not believe an answer alone.
"""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from yzdht.asking import Asking
from yzdht.errors import DialFailed, ReachedAnother, UsageError
from yzdht.limits import (
    DIAL_BACK_S_HURRIED,
    DIAL_BACK_S_MAX,
    DIAL_BACKS_AT_ONCE_MAX,
    DIAL_BACKS_AT_ONCE_PER_PREFIX_MAX,
    DIAL_BACKS_BURST,
    DIAL_BACKS_BURST_PER_PREFIX,
    DIAL_BACKS_PER_S,
    DIAL_BACKS_PER_S_PER_PEER,
    DIAL_BACKS_PER_S_PER_PREFIX,
    PREFIXES_TRACKED_MAX,
    SILENT_PREFIX_S,
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
    from collections.abc import Callable, Collection, Sequence

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

_REJECTIONS = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EHOSTDOWN})
"""What a router's or a firewall's word that nobody gets through comes to, depending on the word."""

_OWN_TROUBLE = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.EADDRINUSE,
        errno.EAFNOSUPPORT,
        errno.EPERM,
    }
)
"""What keeps this machine from dialling anybody: a table that is full, a version of IP that it lacks, its own firewall."""

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
        avoid: Collection[str] = (),
    ) -> Link:
        return await self.inner.dial(url, accept, timeout_s, (self.host,), avoid)

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
        self._under_way: dict[NodeId, str] = {}  # by whom, and for which prefix
        self._silent: OrderedDict[str, float] = OrderedDict()  # prefixes that did not answer, and when

    def serve(self, connection: Connection, number: int, body: DialBack) -> None:
        """Answer one request, now or once its addresses were tried."""
        peer = connection.peer
        assert peer is not None
        if not self._may_be_dialled(peer):
            results = tuple(Reached(is_reachable=False, error=Word.NOT_DIALLED) for _ in body.urls)
            self._reply(connection, number, Status.OK, DialledBack(results))
        elif not self._has_place(peer):  # before anything is charged: whoever is sent away has had nothing
            self._reply(connection, number, Status.BUSY, Refusal())
        elif wait_s := self._wait_s(peer):
            self._telemetry.add("rate_limited", "dial_backs")
            self._reply(connection, number, Status.RATE_LIMITED, Refusal(int(wait_s * 1_000) + 1))
        else:
            time_s = self._time_s(_prefix_of(peer))
            self._under_way[peer.node_id] = _prefix_of(peer)
            self._background.start(self._try_all(connection, peer, number, body, time_s))

    def _has_place(self, peer: Peer) -> bool:
        taken = list(self._under_way.values())
        return (
            peer.node_id not in self._under_way
            and len(taken) < DIAL_BACKS_AT_ONCE_MAX
            and taken.count(_prefix_of(peer)) < DIAL_BACKS_AT_ONCE_PER_PREFIX_MAX
        )

    def _time_s(self, prefix: str) -> float:
        """How long each address of a request is given."""
        since = self._silent.get(prefix)
        is_silent = since is not None and self._world.clock.now().mono - since < SILENT_PREFIX_S
        is_crowded = 2 * len(self._under_way) >= DIAL_BACKS_AT_ONCE_MAX
        return DIAL_BACK_S_HURRIED if is_silent or is_crowded else DIAL_BACK_S_MAX

    def _note_silence(self, prefix: str, words: Sequence[Word]) -> None:
        """Remember whose addresses do not answer; one that was reached makes good for a prefix."""
        if Word.REACHED in words:
            self._silent.pop(prefix, None)
        elif Word.SILENT in words:
            self._silent[prefix] = self._world.clock.now().mono
            self._silent.move_to_end(prefix)
            if len(self._silent) > PREFIXES_TRACKED_MAX:
                self._silent.popitem(last=False)

    def _may_be_dialled(self, peer: Peer) -> bool:
        if peer.is_proxied or peer.is_hidden or scope_of(peer.host) is None:
            return False
        return self._world.is_private_allowed or not is_loopback(peer.host)

    def _wait_s(self, peer: Peer) -> float:
        """Seconds until there is a turn; 0 if it was taken. A peer has one for each IP version that it comes in."""
        mono = self._world.clock.now().mono
        prefix, who = _prefix_of(peer), (peer.node_id, ":" in peer.host)
        if wait_s := self._peers.take(who, 1, _PEER, mono):
            return wait_s
        if wait_s := self._prefixes.take(prefix, peer.host, 1, _PREFIX, mono):
            self._peers.put_back(who, 1)
            return wait_s
        if wait_s := self._all.take(None, prefix, 1, _ALL, mono):
            self._peers.put_back(who, 1)
            self._prefixes.put_back(prefix, peer.host, 1)
        return wait_s

    async def _try_all(
        self, connection: Connection, peer: Peer, number: int, body: DialBack, time_s: float
    ) -> None:
        try:
            words = await asyncio.gather(*(self._try(url, peer, time_s) for url in body.urls))
        finally:
            del self._under_way[peer.node_id]
        if time_s < DIAL_BACK_S_MAX:  # a name and TLS may take longer, and so may a long way
            words = [Word.NOT_DIALLED if word is Word.SILENT else word for word in words]
        self._note_silence(_prefix_of(peer), words)
        results = tuple(
            Reached(is_reachable=word is Word.REACHED, error="" if word is Word.REACHED else word)
            for word in words
        )
        self._telemetry.add("dialled_back", amount=len(results))
        self._reply(connection, number, Status.OK, DialledBack(results))

    async def _try(self, text: str, peer: Peer, time_s: float) -> Word:
        try:
            url = parse_url(text)
        except UsageError:
            return Word.NOT_DIALLED  # a protocol of a newer version, or nonsense
        if not is_harmless(url):
            return Word.NOT_DIALLED
        try:
            async with asyncio.timeout(time_s):
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
            return word_of_failure(error)
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


def _prefix_of(peer: Peer) -> str:
    return limit_prefix(peer.host) or peer.host


def is_harmless(url: Url) -> bool:
    """Whether a knock there disturbs nobody who shares the asker's address; nothing else is dialled back."""
    has_port = url.port >= _PORTS_OF_THE_SYSTEM_END or url.port in _PORTS_OF_THE_WEB
    return has_port and _PLAIN_PATH.fullmatch(url.path) is not None


async def _where(url: Url, host: str) -> str | None:
    """The address to dial, which leads to one IP address, perhaps beside others; None if it does not."""
    if url.ip is not None:
        return url.text if url.host == host else None
    try:
        found = set(await look_up(url.host, url.port, is_hearsay=True))
    except (OSError, UnicodeError):
        return None
    return url.text if host in found else None


def word_of_failure(error: DialFailed) -> Word:
    """What a failed dial is told as: by its cause, where the system or TLS named one, else by what it says."""
    match error.__cause__:
        case ConnectionRefusedError():
            return Word.REFUSED
        case TimeoutError():
            return Word.SILENT
        case ssl.SSLCertVerificationError():
            return Word.UNTRUSTED
        case OSError(errno=number) if number in _OWN_TROUBLE:
            return Word.NOT_DIALLED
        case OSError(errno=number) if number in _REJECTIONS:
            return Word.REJECTED
        case _:
            texts = {"timed out": Word.SILENT, ": its certificate ": Word.UNTRUSTED}
            return next((word for text, word in texts.items() if text in str(error)), Word.NO_NODE)
