"""Whom a node asks whether it is reached, and over which version of IP; and how it dials an address of its own.

A peer that has both versions is asked over each: over the one by which it is connected in that session, over the other in
a session of its own, as a client, which replaces none that stands.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from yzdht.asking import Asking
from yzdht.crypto.handshake import Credentials
from yzdht.dial_back import word_of_failure
from yzdht.errors import DialFailed, ReachedAnother
from yzdht.limits import DIAL_BACK_S_MAX, DIAL_BACK_TIMEOUT_S, DIAL_TIMEOUT_S
from yzdht.reachability import Version, Word, host_of, is_name, word_of
from yzdht.rpc.engine import NOT_INVITED, Answer, FailReason
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.world import World
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters
from yzdht.transport.names import look_up
from yzdht.wire.address import is_loopback, is_public, parse_url, public_prefix, scope_of
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import DialBack, DialledBack, Empty, Method, WhoAmI


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence

    from yzdht.ids import NodeId
    from yzdht.kad.bucket import Entry
    from yzdht.ports import Endpoint, Link, LinkHandler, Listener, Transport
    from yzdht.pump import Pump
    from yzdht.rpc.engine import Failed
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body

    Ask = Callable[[Method, Body, float], Awaitable[Answer | Failed]]


CLIENT_CAPS = Caps.ALWAYS | Caps.CLIENT
"""Of a node that nobody reaches, and of a session of its own for a question."""


class Prober(NamedTuple):
    """Somebody to ask.

    Attributes:
        contact: Who.
        host: Where it is.
        group: With whom it shares a voice.
        url: Where to dial it for the question; None to ask in the session that there is, or comes about.

    """

    contact: Contact
    host: str
    group: str
    url: str | None = None


def group_of(node_id: NodeId, host: str) -> str:
    """With whom a peer shares a voice: its public prefix, else its address; on one machine each has its own."""
    if is_loopback(host):
        return node_id.hex()
    return public_prefix(host) or host


def probers_over(
    version: Version, entries: Iterable[Entry], may_tell: Callable[[str], bool], *, is_dialling: bool
) -> list[Prober]:
    """Whom to ask over one version of IP: of each network one before any second, whoever needs no dial first.

    Args:
        version: Of IP.
        entries: Who is known, in the order in which to ask.
        may_tell: Whether somebody at an IP address can tell anything.
        is_dialling: Whether this machine can dial over that version.

    """
    found: list[Prober] = []
    others: list[Prober] = []
    for entry in entries:
        if not may_tell(entry.host):
            continue
        if Version.of(entry.host) is version:
            found.append(Prober(entry.contact(), entry.host, group_of(entry.node_id, entry.host)))
        elif is_dialling and (url := _url_over(version, entry, may_tell)) is not None:
            host = host_of(url)
            others.append(Prober(entry.contact(), host, group_of(entry.node_id, host), url))
    return _of_many_networks([*found, *others])


def _url_over(version: Version, entry: Entry, may_tell: Callable[[str], bool]) -> str | None:
    """An address of a peer over a version of IP other than that by which it is connected; a name may lead to either."""
    for url in entry.contact().urls:
        host = host_of(url)
        if host and not is_name(host) and Version.of(host) is version and may_tell(host):
            return url
    return None


def _of_many_networks(probers: Sequence[Prober]) -> list[Prober]:
    first = {prober.group: prober for prober in reversed(probers)}
    return [prober for prober in probers if first[prober.group] is prober]


class Probes:
    """Asks, and dials.

    Args:
        pump: The way to others.
        world: What the node's sessions stand on.

    """

    def __init__(self, pump: Pump, world: World) -> None:
        self._pump = pump
        self._world = world

    @asynccontextmanager
    async def line_to(self, prober: Prober) -> AsyncIterator[Ask | None]:
        """A way to ask somebody more than once; None if there is none."""
        if prober.url is None:
            yield partial(self._pump.ask, prober.contact)
            return
        asking = Asking(self._world_of_a_client())
        try:
            contact = await self._dialled(asking, prober.url, prober.contact.node_id)
            yield None if contact is None else partial(asking.ask, contact)
        finally:
            with contextlib.suppress(TimeoutError):
                await asking.close()

    @staticmethod
    async def _dialled(asking: Asking, url: str, node_id: NodeId) -> Contact | None:
        try:
            async with asyncio.timeout(DIAL_BACK_S_MAX):
                return await asking.dial(url, node_id)
        except (DialFailed, TimeoutError):
            return None

    def _world_of_a_client(self) -> World:
        world = self._world
        return World(
            replace(world.credentials, caps=CLIENT_CAPS),
            world.transports,
            world.clock,
            Counters(),
            is_private_allowed=True,
            bounds=SessionBounds(sessions_max=2, dials_in_flight_max=1),
            papers=world.papers,
            closed=world.closed,
        )

    @staticmethod
    async def where_seen(ask: Ask) -> str | None:
        """The IP address at which somebody sees this node; None for no answer of use."""
        answer = await ask(Method.WHOAMI, Empty(), DIAL_TIMEOUT_S)
        if not isinstance(answer, Answer) or not isinstance(answer.body, WhoAmI):
            return None
        return answer.body.host if scope_of(answer.body.host) is not None else None

    @staticmethod
    async def dialled_back(ask: Ask, urls: Sequence[str]) -> dict[str, Word] | None:
        """What somebody says of some addresses; None for nothing."""
        answer = await ask(Method.DIAL_BACK, DialBack(tuple(urls)), DIAL_BACK_TIMEOUT_S)
        if not isinstance(answer, Answer) or not isinstance(answer.body, DialledBack):
            return None
        return {
            url: word_of(result.error, is_reachable=result.is_reachable)
            for url, result in zip(urls, answer.body.results, strict=False)
        }

    async def try_itself(self, url: str, own_id: NodeId, own_hosts: Collection[str]) -> Word:
        """Dial an address of one's own as somebody else would; a name of a day for that: nobody meets itself.

        A router may turn such a dial around (hairpinning). That shows that it forwards the port, and not that anybody
        outside gets so far: it is told by where the dial seems to come from, which is a public address if it was outside. In a
        closed network nobody says where.

        Args:
            url: The address.
            own_id: Who must answer.
            own_hosts: IP addresses of this machine: nothing is learned from a dial that does not leave it.

        Returns:
            REACHED; TURNED_AROUND where that proves nothing; SILENT where nobody answers; NOT_YOURS where somebody does that
            is not this node, or the dial is refused; NOT_DIALLED where this node does, and says nothing: it may be full.

        """
        world = self._world
        somebody = Credentials(
            Identity.generate().signer, world.credentials.network, CLIENT_CAPS, world.credentials.psk
        )
        way_out = _WayOut(own_hosts)
        asking = Asking(
            World(
                somebody,
                [_Outwards(transport, way_out) for transport in world.transports],
                world.clock,
                Counters(),
                is_private_allowed=True,
            )
        )
        try:
            async with asyncio.timeout(DIAL_BACK_S_MAX):
                answer = await asking.ask_at(url, own_id, Method.WHOAMI, Empty())
        except ReachedAnother:
            return Word.NOT_YOURS
        except DialFailed as error:
            if way_out.is_barred:
                return Word.TURNED_AROUND
            if NOT_INVITED in str(error):  # it was this node that said so: its id was proved before
                return Word.REACHED
            word = word_of_failure(error)
            return word if word in (Word.SILENT, Word.NOT_DIALLED) else Word.NOT_YOURS
        except TimeoutError:
            return Word.NOT_DIALLED if asking.sessions.open_connections() else Word.SILENT
        finally:
            with contextlib.suppress(TimeoutError):
                await asking.close()
        if not isinstance(answer, Answer):
            return Word.REACHED if answer.reason is FailReason.UNINVITED else Word.NOT_DIALLED
        comes_from = answer.body.host if isinstance(answer.body, WhoAmI) else ""
        return Word.REACHED if is_public(comes_from) else Word.TURNED_AROUND


class _WayOut:
    """Says whether an address leads out of this machine and its networks; remembers if one did not."""

    def __init__(self, own_hosts: Collection[str]) -> None:
        self._own_hosts = own_hosts
        self.is_barred = False

    def __call__(self, host: str) -> bool:
        leads_out = is_public(host) and host not in self._own_hosts
        self.is_barred = self.is_barred or not leads_out
        return leads_out


@dataclass(frozen=True, slots=True)
class _Outwards:
    """A transport that reaches no name that leads back into this machine or its networks."""

    inner: Transport
    leads_out: Callable[[str], bool]

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
        parsed = parse_url(url)
        if is_name(parsed.host):
            try:
                hosts = tuple(dict.fromkeys(await look_up(parsed.host, parsed.port)))
            except (OSError, UnicodeError) as error:
                raise DialFailed(f"{url}: its host has no address") from error
            if not all(map(self.leads_out, hosts)):
                raise DialFailed(f"{url}: its name leads to this network")
        return await self.inner.dial(url, accept, timeout_s, hosts, avoid)

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> Listener:
        raise AssertionError("nobody listens to meet itself")
