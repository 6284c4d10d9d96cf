"""Meets nodes of the same network on the local network, by DNS-SD over multicast DNS (PROTOCOL.md section 6).

On request only: who is announced is seen by everybody there. Nothing that is announced names the node or its network:
the service has a name by chance, and a tag that only who knows the network recognises. What others announce is worth a
dial to an address of the local network, so many a minute; who they are is proved by the handshake, as everywhere.
The library is loaded when this begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self

from yzdht.addresses import is_on_link, local_hosts
from yzdht.crypto.naming import lan_tag
from yzdht.errors import DialFailed
from yzdht.limits import (
    DIAL_TIMEOUT_S,
    HANDSHAKE_TIMEOUT_S,
    LAN_AGAIN_S,
    LAN_CLOSE_S,
    LAN_HOSTS_MAX,
    LAN_LOOK_EVERY_S,
    LAN_RESOLVE_S,
    LAN_SEEN_MAX,
    LAN_TRIES_BURST,
    LAN_TRIES_PER_S,
)
from yzdht.rpc.bucket import Buckets, Rate


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    from yzdht.config import NodeConfig
    from yzdht.ids import NodeId, PublicKey
    from yzdht.ports import Rng


log = logging.getLogger(__name__)

SERVICE = "_yzdht._tcp.local."
"""Under which nodes are announced."""
TAG = b"net"
"""Of the tag in the text record."""

_NAME_BYTES = 8
_TRIES = Rate(LAN_TRIES_PER_S, LAN_TRIES_BURST)
_MS = 1_000


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What the local network is to a node.

    Attributes:
        tag: Of the node's network (`crypto.naming.lan_tag`).
        port: Where the node listens.
        hosts: Its own IPv4 addresses there, now.
        is_near: True for an address that is reached without a router.
        dial: Opens a session with whoever is at a URL; raises DialFailed.
        is_alone: True while the node knows nobody.

    """

    tag: bytes
    port: int
    hosts: Callable[[], Sequence[str]]
    is_near: Callable[[str], bool]
    dial: Callable[[str, NodeId | None], Awaitable[object]]
    is_alone: Callable[[], bool]

    @classmethod
    def of(
        cls,
        config: NodeConfig,
        issuer: PublicKey | None,
        port: int,
        dial: Callable[[str, NodeId | None], Awaitable[object]],
        is_alone: Callable[[], bool],
    ) -> Self:
        """That of a node.

        Args:
            config: How it runs.
            issuer: Of its closed network.
            port: Where it listens.
            dial: As above.
            is_alone: As above.

        """
        tag = lan_tag(config.network_id, config.network_key, issuer)
        return cls(tag, port, lambda: local_hosts(config.host), is_on_link, dial, is_alone)


@dataclass(slots=True)
class _Seen:
    """An announcement.

    Attributes:
        tried_at: Monotonic seconds; minus infinity if it was not.
        is_of_us: True if it carries the tag.
        is_met: True if a node of the network answered there.

    """

    tried_at: float = float("-inf")
    is_of_us: bool = False
    is_met: bool = False


class LanDiscovery:
    """Announces one node, and dials those that others announce.

    Args:
        near: What it works on.
        rng: Makes the name of the announcement.

    Attributes:
        trouble: Why nothing is announced, for people; empty if it is.

    """

    def __init__(self, near: Neighbourhood, rng: Rng) -> None:
        self.trouble = ""
        self._near = near
        self._rng = rng
        self._forgot_at = float("inf")
        self._name = f"{rng.token(_NAME_BYTES).hex()}.{SERVICE}"
        self._seen: dict[str, _Seen] = {}
        self._has_heard = asyncio.Event()
        self._tries = Buckets(1)

    @property
    def found(self) -> int:
        """How many nodes of the network are announced, this one not counted."""
        return sum(seen.is_of_us for seen in self._seen.values())

    @property
    def met(self) -> int:
        """How many of them answered."""
        return sum(seen.is_met for seen in self._seen.values())

    async def go_on(self) -> None:
        """Announce and look until cancelled, which takes the announcement back; begins anew as the interfaces change, and after a flood."""
        from zeroconf import Error  # noqa: PLC0415 - loaded where it is asked for

        while True:
            try:
                self._note(await self._stay())
            except (OSError, Error) as error:
                self._note(f"the local network cannot be asked: {str(error) or type(error).__name__}")
            if self.trouble:
                await asyncio.sleep(LAN_LOOK_EVERY_S)

    async def _stay(self) -> str:
        """Announce and look until the interfaces change; why that is not possible, empty if it was."""
        hosts = self._hosts()
        if not hosts:
            return "this machine has no address of a local network"
        async with self._announced(hosts) as library:
            await self._look_around(library, hosts)
        return ""

    def _hosts(self) -> list[str]:
        return list(self._near.hosts())[:LAN_HOSTS_MAX]

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("local network not asked reason=%s", trouble)
        self.trouble = trouble

    @contextlib.asynccontextmanager
    async def _announced(self, hosts: list[str]) -> AsyncIterator[AsyncZeroconf]:
        from zeroconf import IPVersion  # noqa: PLC0415 - as above
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf  # noqa: PLC0415 - as above

        own = AsyncServiceInfo(
            SERVICE,
            self._name,
            port=self._near.port,
            properties={TAG: self._near.tag.hex().encode()},
            server=f"{self._name.partition('.')[0]}.local.",
            parsed_addresses=hosts,
        )
        self._seen.clear()
        library = AsyncZeroconf(interfaces=hosts, ip_version=IPVersion.V4Only)
        try:
            await library.async_register_service(own, cooperating_responders=True)  # its name is by chance
            browser = AsyncServiceBrowser(library.zeroconf, SERVICE, handlers=[self._heard])
            self.trouble = ""
            try:
                yield library
            finally:
                await browser.async_cancel()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAN_CLOSE_S):
                    await library.async_close()

    # What others announce

    def _heard(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """Called by the library; nothing of a name is shown or logged, it is whatever somebody likes."""
        from zeroconf import ServiceStateChange  # noqa: PLC0415 - as above

        if name == self._name:
            return
        if state_change is ServiceStateChange.Removed:
            self._seen.pop(name, None)
            return
        if name not in self._seen:
            self._make_room()
            self._seen[name] = _Seen()
        self._has_heard.set()

    def _make_room(self) -> None:
        if len(self._seen) >= LAN_SEEN_MAX:
            self._forgot_at = min(self._forgot_at, _mono())
            oldest = next(
                (name for name, seen in self._seen.items() if not seen.is_met), next(iter(self._seen))
            )
            del self._seen[oldest]

    async def _look_around(self, library: AsyncZeroconf, hosts: list[str]) -> None:
        """Try what is announced, until the interfaces change, or until it is time to hear again what was forgotten."""
        self._forgot_at = float("inf")
        while self._is_current(hosts):
            self._has_heard.clear()
            while (name := self._next()) is not None and self._is_current(hosts):
                await self._turn()
                if (seen := self._seen.get(name)) is not None:
                    await self._try(library, name, seen)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAN_LOOK_EVERY_S):
                    await self._has_heard.wait()

    async def _turn(self) -> None:
        """Wait until one more announcement may be looked into."""
        while (wait_s := self._tries.take("", 1, _TRIES, _mono())) > 0:  # noqa: ASYNC110 - for time itself; nothing was taken
            await asyncio.sleep(wait_s)

    def _is_current(self, hosts: list[str]) -> bool:
        return self._hosts() == hosts and _mono() < self._forgot_at + LAN_AGAIN_S

    def _next(self) -> str | None:
        """The announcement to look into: one by chance of those that wait longest; names decide nothing."""
        before, is_alone = _mono() - LAN_AGAIN_S, self._near.is_alone()
        due = [(name, seen) for name, seen in self._seen.items() if seen.tried_at <= before]
        due = [(name, seen) for name, seen in due if is_alone or not seen.is_met]
        return min(due, key=lambda one: (one[1].tried_at, self._rng.uniform(0, 1)))[0] if due else None

    async def _try(self, library: AsyncZeroconf, name: str, seen: _Seen) -> None:
        seen.tried_at = _mono()
        seen.is_of_us = seen.is_met = False
        for url in await self._urls(library, name):
            seen.is_of_us = True
            with contextlib.suppress(DialFailed, TimeoutError):
                async with asyncio.timeout(DIAL_TIMEOUT_S + HANDSHAKE_TIMEOUT_S):
                    await self._near.dial(url, None)
                    seen.is_met = True
                    return

    async def _urls(self, library: AsyncZeroconf, name: str) -> list[str]:
        """Where somebody of the network is said to be; nothing for somebody else, and for nonsense."""
        from zeroconf import Error  # noqa: PLC0415 - as above
        from zeroconf.asyncio import AsyncServiceInfo  # noqa: PLC0415 - as above

        try:
            info = AsyncServiceInfo(SERVICE, name)
            if not await info.async_request(library.zeroconf, LAN_RESOLVE_S * _MS):
                return []
        except (OSError, Error):
            return []
        return urls_of(info, self._near)


def urls_of(info: AsyncServiceInfo, near: Neighbourhood) -> list[str]:
    """The addresses of an announcement that a node of this network may be dialled at.

    Args:
        info: Somebody's claim.
        near: Whose network, and what is near.

    """
    if info.properties.get(TAG) != near.tag.hex().encode() or not info.port:
        return []
    hosts = [str(ip) for ip in map(ip_address, info.parsed_addresses()[:LAN_HOSTS_MAX]) if ip.version == 4]  # noqa: PLR2004 - IPv4
    return [f"tcp://{host}:{info.port}" for host in dict.fromkeys(hosts) if near.is_near(host)]


def _mono() -> float:
    return asyncio.get_running_loop().time()
